"""The picture of photo textures in docs/photos.md.

python tools/texture_picture.py PHOTO [PHOTO ...] [--out docs/images/photo-texture.jpg]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import scr3d
from scr3d.api.result import PhotoReconstruction
from scr3d.export.media import image_grid, to_uint8
from scr3d.factors import View
from scr3d.geometry.camera import Camera
from scr3d.rendering import ViewOptions, render
from scr3d.rendering.projection import project_photo
from scr3d.rendering.views import enlarge

SIDE = 256
YAWS_DEG = (-25.0, 25.0)


@torch.no_grad()
def row(result: PhotoReconstruction) -> list[Tensor]:
    """The photo, and the surface turned, with both textures."""
    sample = result.sample
    depth = F.interpolate(sample.result.factors.canonical_depth[:1, None], (SIDE, SIDE), mode="bicubic")[:, 0]
    surface = enlarge(sample.result.factors, sample.camera, sample.depth_range, ViewOptions(SIDE, 1, 0.0))
    own = project_photo(sample.crop, sample.result.factors, surface).color
    cells = [sample.crop]
    for texture in (sample.result.canonical_image[0], own):
        fine = F.interpolate(texture[None], (SIDE, SIDE), mode="bilinear", align_corners=True)
        for yaw in YAWS_DEG:
            view = View(torch.tensor([[0.0, math.radians(yaw), 0.0]]), torch.zeros(1, 3))
            camera = Camera(SIDE, SIDE, sample.camera.fov_deg)
            seen = render(depth, view, fine, camera, sample.depth_range)
            cells.append(torch.where(seen.mask[:, None], seen.image, torch.ones(()))[0])
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/photo-texture.jpg"))
    given = parser.parse_args()
    model = scr3d.load()
    cells = [cell for photo in given.photos for cell in row(model.reconstruct(photo))]
    sheet = image_grid(cells, columns=1 + 2 * len(YAWS_DEG), size=SIDE)
    Image.fromarray(to_uint8(sheet)).save(given.out, quality=85)


if __name__ == "__main__":
    main()
