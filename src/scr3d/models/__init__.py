"""Networks and the photo-geometric autoencoder."""

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
