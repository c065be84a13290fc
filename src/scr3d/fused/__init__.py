"""Layers and losses of a training step as single kernels for the CPU, each beside the PyTorch that defines it."""
