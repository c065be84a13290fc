"""Squares of photos through a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction
from scr3d.photos.look import Found


@torch.no_grad()
def explain_squares(
    network: PhotoGeometricAutoencoder,
    squares: Sequence[Found],
    refine_steps: int = 0,
    after_step: Callable[[int], None] | None = None,
) -> Reconstruction:
    """Explain some squares at once.

    Args:
        network: a model.
        squares: of its size, at least one.
        refine_steps: steps of fitting the network's answer to each square; 0 for none.
        after_step: told the number of steps taken, after each.
    """
    images = torch.stack([torch.from_numpy(found.image).movedim(-1, 0) for found in squares])
    images = images.contiguous().to(network.border.device)
    if not refine_steps:
        return network.reconstruct(images)
    from scr3d.refine import RefineOptions, refine

    return refine(network, images, RefineOptions(steps=refine_steps), after_step=after_step)
