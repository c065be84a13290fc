"""Synthetic heads with exact depth, normals, albedo, light, view and identity."""

from scr3d.data.heads.generate import HeadSample, HeadsConfig, generate, sample, to_arrays

__all__ = ["HeadSample", "HeadsConfig", "generate", "sample", "to_arrays"]
