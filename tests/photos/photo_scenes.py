"""Photos with faces: synthetic heads from the examples in larger pictures, and one real photo."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

NAMES = ("head-01", "head-04", "head-06", "head-08", "head-11", "head-14", "head-20", "head-25")
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
REAL_PHOTO = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def head(name: str = "head-01", side: int = 128) -> np.ndarray:
    """An example head as floats."""
    raster = Image.open(EXAMPLES / f"{name}.png").convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(raster, np.float32) / 255


def scene(heads: list[tuple[np.ndarray, int, int]], height: int = 240, width: int = 320) -> np.ndarray:
    """Heads (picture, left, top) in front of a soft gradient."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    picture = np.stack([0.3 + 0.2 * x / width, 0.4 + 0.1 * y / height, 0.5 - 0.2 * x / width], axis=2)
    for image, left, top in heads:
        picture[top : top + len(image), left : left + len(image)] = image
    return picture
