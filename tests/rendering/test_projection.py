"""The photo as a texture: it comes back from where the surface was painted, and nothing is invented."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from PIL import Image
from torch import Tensor

import scr3d
from scr3d.cli import main
from scr3d.factors import Factors, Light, View
from scr3d.geometry.camera import Camera
from scr3d.models import ModelConfig
from scr3d.models.autoencoder import Reconstruction, explain
from scr3d.rendering import ViewOptions
from scr3d.rendering.projection import project_photo
from scr3d.rendering.views import enlarge

SIZE = 64
CONFIG = ModelConfig(size=SIZE)
CAMERA = Camera(SIZE, SIZE, CONFIG.fov_deg)


def pattern(size: int) -> Tensor:
    """Smooth colours that differ from place to place, centres of pixels on [0, 1]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(9 * x), 0.5 + 0.4 * torch.cos(7 * y), 0.3 + 0.4 * x * y])


def painted(yaw_deg: float, relief: float) -> Reconstruction:
    """A bump under even light with a pattern on it, turned."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    depth = 1.04 - relief * torch.exp(-3 * (x * x + y * y))
    view = View(torch.tensor([[0.0, math.radians(yaw_deg), 0.0]]), torch.zeros(1, 3))
    light = Light(torch.ones(1), torch.zeros(1), torch.tensor([[0.0, 0.0, 1.0]]))
    factors = Factors(view, depth[None], light, pattern(SIZE)[None])
    maps = torch.ones(1, SIZE, SIZE), torch.ones(1, SIZE // 4, SIZE // 4)
    return explain(factors, CAMERA, CONFIG, *maps)


def texture(result: Reconstruction, photo: Tensor) -> Tensor:
    """The photo on the surface, and black where the photo does not show it."""
    factors = replace(result.factors, canonical_albedo=torch.zeros_like(result.factors.canonical_albedo))
    surface = enlarge(factors, CAMERA, CONFIG.depth_range, ViewOptions(photo.shape[-1], 1, 0.0))
    return project_photo(photo, factors, surface).color


@pytest.mark.parametrize("yaw_deg", [0.0, -20.0, 20.0])
def test_the_texture_is_what_the_surface_was_painted_with(yaw_deg: float) -> None:
    result = painted(yaw_deg, relief=0.02)
    found = texture(result, result.image[0])
    middle = slice(SIZE // 4, -SIZE // 4)
    error = (found - pattern(SIZE))[:, middle, middle].abs()
    assert error.mean() < 0.01
    assert error.max() < 0.05


def test_a_photo_of_more_pixels_gives_a_texture_of_more_pixels() -> None:
    """A texel lies where the surface's point lies: the pixels of the maps are means over squares of the photo."""
    result, side = painted(0.0, relief=0.0), 256
    x = (torch.arange(side) + 0.5) / side
    photo = torch.sin(40 * x).expand(3, side, side) / 2 + 0.5
    found = texture(result, photo)
    place = torch.linspace(-1, 1, side) * (SIZE - 1) / SIZE  # centres of the outer pixels lie inside the photo
    expected = torch.sin(40 * (place / 2 + 0.5)) / 2 + 0.5
    assert found.shape == (3, side, side)
    assert (found[:, side // 2] - expected)[:, 8:-8].abs().max() < 0.02


def test_what_the_photo_does_not_show_is_the_models() -> None:
    """A steep bump hides a part of itself: there, and only there, the model's colours are used."""
    result = painted(35.0, relief=0.12)
    white = torch.ones(3, SIZE, SIZE)
    share = texture(result, white)[0]
    row = share[SIZE // 2]
    left, right = row[SIZE // 4 : SIZE // 2].mean(), row[SIZE // 2 : -SIZE // 4].mean()
    assert min(left, right) < 0.6 < 0.95 < max(left, right)
    assert 0 <= share.min() <= share.max() <= 1


def test_a_mesh_with_the_photo_on_it(tmp_path: Path) -> None:
    photo = F.interpolate(scr3d_example()[None], scale_factor=4, mode="bilinear")[0]
    Image.fromarray((255 * photo.clamp(0, 1)).byte().movedim(0, -1).numpy()).save(tmp_path / "face.png")
    options = ["--texture", "photo", "--crop", "center", "--only", "mesh", "--render-size", "200"]
    main(["reconstruct", str(tmp_path / "face.png"), "--out", str(tmp_path / "out"), *options])
    mesh = trimesh.load(tmp_path / "out" / "face" / "mesh.glb", force="mesh")
    texture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"), dtype=float) / 255
    assert texture.shape == (200, 200, 3)
    result = scr3d.load().reconstruct(tmp_path / "face.png", crop="center")
    result.export(tmp_path / "image.glb")
    result.export(tmp_path / "photo.glb", texture="photo")
    plain, own = (
        np.asarray(trimesh.load(tmp_path / name, force="mesh").visual.material.baseColorTexture.convert("RGB"))
        for name in ("image.glb", "photo.glb")
    )
    assert plain.shape == (64, 64, 3)
    assert own.shape == (256, 256, 3)


def scr3d_example() -> Tensor:
    """One of the example heads."""
    image = Image.open(Path(__file__).parent.parent.parent / "examples" / "head-01.png").convert("RGB")
    return torch.from_numpy(np.array(image)).movedim(-1, 0).float() / 255
