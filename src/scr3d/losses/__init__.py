"""Losses: pure functions of images, features and confidence.

An error counts by how large it was expected to be, and expecting much costs as well:

    >>> import torch
    >>> from scr3d.losses import photometric_loss
    >>> image, sigma = torch.zeros(1, 3, 8, 8), torch.ones(1, 8, 8)
    >>> round(float(photometric_loss(image + 0.5, image, sigma)), 3)  # sqrt(2) * 0.5 / 1 + log(1)
    0.707
    >>> bool(photometric_loss(image + 0.5, image, 0.7 * sigma) < photometric_loss(image + 0.5, image, sigma))
    True
"""

from scr3d.losses.photometric import masked_mean, perceptual_loss, photometric_loss
from scr3d.losses.regularisation import relief_loss, smoothness_loss, spread_loss

__all__ = ["masked_mean", "perceptual_loss", "photometric_loss", "relief_loss", "smoothness_loss", "spread_loss"]
