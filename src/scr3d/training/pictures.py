"""Pictures of training: what the numbers do not show."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction
from scr3d.rendering import render

ROWS = (
    "input",
    "reconstruction",
    "depth",
    "normals",
    "albedo",
    "shading",
    "canonical image",
    "symmetry axis",
)


@torch.no_grad()
def picture_grid(
    model: PhotoGeometricAutoencoder, image: Float[Tensor, "batch 3 size size"]
) -> Float[Tensor, "3 rows columns"]:
    """One column per image, one row per quantity of `ROWS`, values in [0, 1]."""
    explained = model.reconstruct(image)
    rows = [
        image,
        explained.image,
        depth_picture(explained.factors.canonical_depth, model),
        normal_picture(explained.canonical_normal),
        explained.factors.canonical_albedo,
        explained.canonical_shading[:, None].expand(-1, 3, -1, -1) / 1.5,
        explained.canonical_image,
        symmetry_axis(model, image, explained),
    ]
    return torch.cat([torch.cat(list(row.clamp(0, 1)), dim=2) for row in rows], dim=1).cpu()


def depth_picture(
    depth: Float[Tensor, "batch size size"], model: PhotoGeometricAutoencoder
) -> Float[Tensor, "batch 3 size size"]:
    """Nearer is brighter."""
    near, far = model.depth_range.near, model.depth_range.far
    return ((far - depth) / (far - near))[:, None].expand(-1, 3, -1, -1)


def normal_picture(normal: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch 3 size size"]:
    """Outward normals as colours, right red, up green, toward the viewer blue (OpenGL's way)."""
    flip = normal.new_tensor([-1.0, 1.0, 1.0])[:, None, None]
    return normal * flip / 2 + 0.5


def symmetry_axis(
    model: PhotoGeometricAutoencoder, image: Float[Tensor, "batch 3 size size"], explained: Reconstruction
) -> Float[Tensor, "batch 3 size size"]:
    """The image with the middle of the canonical frame drawn into it."""
    size = image.shape[-1]
    stripe = torch.zeros(len(image), 1, size, size, device=image.device)
    stripe[..., size // 2 - 1 : size // 2 + 1] = 1
    factors = explained.factors
    seen = render(factors.canonical_depth, factors.view, stripe, model.camera, model.depth_range).image
    red = image.new_tensor([1.0, 0.1, 0.1])[:, None, None]
    return image * (1 - seen) + red * seen
