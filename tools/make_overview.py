"""Make docs/images/overview.png, the picture of the README, from the output of `make demo`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from scr3d.data.images import write_png8

ROOT = Path(__file__).parent.parent
HEADS = ("head-01", "head-08", "head-11", "head-20")
COLUMNS = ("input", "reconstruction", "depth", "normals", "albedo", "shading", "canonical_image", "textureless")
TILE = 128


def main() -> None:
    rows = []
    for head in HEADS:
        tiles = [Image.open(ROOT / "demo" / head / f"{name}.png").convert("RGB") for name in COLUMNS]
        rows.append(
            np.concatenate([np.asarray(tile.resize((TILE, TILE), Image.Resampling.LANCZOS)) for tile in tiles], 1)
        )
    (ROOT / "docs" / "images").mkdir(exist_ok=True)
    write_png8(ROOT / "docs" / "images" / "overview.png", np.concatenate(rows, 0))


if __name__ == "__main__":
    main()
