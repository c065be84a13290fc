"""Losses: pure functions of images, features and confidence."""

from scr3d.losses.photometric import masked_mean, perceptual_loss, photometric_loss
from scr3d.losses.regularisation import relief_loss, smoothness_loss, spread_loss

__all__ = ["masked_mean", "perceptual_loss", "photometric_loss", "relief_loss", "smoothness_loss", "spread_loss"]
