"""The training losses and the features they compare."""
