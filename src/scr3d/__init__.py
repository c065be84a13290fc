"""Structural causal 3D reconstruction from single photos."""

__version__ = "0.1.0"
