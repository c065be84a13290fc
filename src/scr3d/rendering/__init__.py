"""Differentiable rendering of height fields."""

from scr3d.rendering.heightfield import Rendering, ViewSampling, look_up, render, sample_view
from scr3d.rendering.shading import light_surface, shade

__all__ = ["Rendering", "ViewSampling", "light_surface", "look_up", "render", "sample_view", "shade"]
