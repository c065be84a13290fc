"""Synthetic heads with exact depth, normals, albedo, light, view and identity."""

from typing import TYPE_CHECKING

from scr3d.lazy import lazy_names

if TYPE_CHECKING:
    from scr3d.data.heads.config import HeadsConfig
    from scr3d.data.heads.samples import HeadSample, generate, sample, to_arrays

__all__ = ["HeadSample", "HeadsConfig", "generate", "sample", "to_arrays"]

__getattr__ = lazy_names(__name__, ("config", "samples"), __all__)
