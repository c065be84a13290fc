"""Pictures of a result: the same test images under every method."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scr3d.data.dataset import Dataset
from scr3d.geometry.normals import normals_from_depth
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.rendering import shade
from scr3d.training.pictures import depth_picture, normal_picture

PICTURED = 6
"""Test images in a picture."""
ROWS = ("input", "reconstruction", "depth", "normals", "textureless", "albedo")
"""Rows of a picture; depth and normals are those of the input view, as they are scored."""
FRONTAL_LIGHT = (-0.3, 0.3)
"""Slopes of the light of the textureless view."""


@torch.no_grad()
def result_pictures(model: PhotoGeometricAutoencoder, data: Dataset) -> bytes:
    """A PNG with one column for each of the first test images and one row for each of `ROWS`."""
    device = next(model.parameters()).device
    image = data.batch(np.arange(min(PICTURED, len(data))), device, with_truth=False).image
    explained = model.reconstruct(image)
    depth = torch.where(explained.mask, explained.view_depth, torch.full_like(explained.view_depth, 1.1))
    normal = normals_from_depth(depth, model.camera)
    rows = [
        image,
        explained.image,
        depth_picture(depth, model),
        normal_picture(normal),
        textureless(normal),
        explained.factors.canonical_albedo,
    ]
    return png(torch.cat([torch.cat(list(row.clamp(0, 1)), dim=2) for row in rows], dim=1))


def textureless(normal: Tensor) -> Tensor:
    """The surface in grey under one light [batch, 3, height, width]."""
    from scr3d.factors import Light

    count = len(normal)
    slopes = normal.new_tensor(FRONTAL_LIGHT).expand(count, 2)
    light = Light.from_slopes(normal.new_full((count,), 0.15), normal.new_full((count,), 0.85), slopes)
    return shade(normal, light)[:, None].expand(-1, 3, -1, -1)


def png(picture: Tensor) -> bytes:
    """A picture [3, height, width] in [0, 1] as a PNG file."""
    buffer = io.BytesIO()
    values = (picture.permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
    Image.fromarray(values).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
