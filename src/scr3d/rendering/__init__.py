"""Differentiable rendering of height fields."""
