"""Training: recipe, step, loop, checkpoints and validation."""
