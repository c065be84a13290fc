"""Make the example images: test heads of the built-in benchmark, which no training has seen, at 256x256."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scr3d.data.heads import HeadsConfig, sample, to_arrays
from scr3d.data.images import write_png8

INDICES = (1, 4, 6, 8, 11, 14, 20, 25)
OUT = Path(__file__).parent.parent / "examples"


def main() -> None:
    made = to_arrays(sample(HeadsConfig(split="test", size=256), np.array(INDICES)))
    OUT.mkdir(exist_ok=True)
    for index, image in zip(INDICES, made["image"], strict=True):
        write_png8(OUT / f"head-{index:02d}.png", image)


if __name__ == "__main__":
    main()
