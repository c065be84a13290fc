"""Search for the causal order that suits a data set: studies, strategies, and Bayesian optimisation over orders."""
