"""Networks and the photo-geometric autoencoder: batches of images in, factors and rendered images out.

    >>> import torch
    >>> from scr3d.models import ModelConfig, PhotoGeometricAutoencoder
    >>> model = PhotoGeometricAutoencoder(ModelConfig(size=32, width=4, order="ADLV"))
    >>> explained = model.reconstruct(torch.rand(2, 3, 32, 32))
    >>> tuple(explained.image.shape), tuple(explained.factors.canonical_depth.shape)
    ((2, 3, 32, 32), (2, 32, 32))

`load_model` and `save_model` read and write model folders; `scr3d.load` is the way in for single photos.
"""

from typing import TYPE_CHECKING

from scr3d.lazy import lazy_names

if TYPE_CHECKING:
    from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction
    from scr3d.models.config import DepthStart, ModelConfig, Preset
    from scr3d.models.io import load_model, save_model, shipped_model

__all__ = [
    "DepthStart",
    "ModelConfig",
    "PhotoGeometricAutoencoder",
    "Preset",
    "Reconstruction",
    "load_model",
    "save_model",
    "shipped_model",
]

__getattr__ = lazy_names(__name__, ("config", "autoencoder", "io"), __all__)
