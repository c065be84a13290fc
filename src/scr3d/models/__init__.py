"""Networks and the photo-geometric autoencoder."""

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
