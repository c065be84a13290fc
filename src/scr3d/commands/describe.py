"""`scr3d describe`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from scr3d.commands.parsing import parse

ABOUT = """Say what a model is: its causal graph with weights, networks, training and scores; and draw the graph."""
BATCH = 64


@dataclass(frozen=True)
class DescribeArgs:
    """Options of `scr3d describe`."""

    model: tyro.conf.Positional[Path | None] = None
    """Run or model folder; without it, the model that comes with scr3d."""
    images: tuple[Path, ...] = ()
    """Photos over which the graphs of a dynamic structure are summed up."""
    data: Path | None = None
    """Data set for the same purpose."""
    split: Literal["train", "val", "test"] = "val"
    """Its split."""
    count: int = 256
    """How many of its images."""
    out: Path | None = None
    """Folder for graph.png and graph.svg; without it, nothing is drawn."""
    json: bool = False
    """Print JSON."""


def run(args: list[str]) -> None:
    """Parse the options and describe."""
    given = parse(DescribeArgs, args, "describe", ABOUT)
    import numpy as np
    import torch

    from scr3d.causal.structure import StructureKind
    from scr3d.data.dataset import open_dataset
    from scr3d.data.images import center_square, read_image, resize
    from scr3d.describe import describe
    from scr3d.models.io import find_model, read_model

    config, _ = read_model(find_model(given.model))
    batches = []
    if config.structure is StructureKind.DYNAMIC:
        if given.data is not None:
            cache = (given.out or Path("describe")) / "data"
            data = open_dataset(given.data, given.split, config.size, cache)
            chosen = np.arange(min(given.count, len(data)))
            parts = np.array_split(chosen, -(-len(chosen) // BATCH))
            batches = [data.batch(part, with_truth=False).image for part in parts]
        elif given.images:
            pixels = [resize(center_square(read_image(path)), config.size) for path in given.images]
            batches = [torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float()]
    found = describe(given.model, batches)
    print(json.dumps(found.record, indent=1) if given.json else found.text())
    if not found.panels:
        print("every image has a graph of its own: give images with --images or --data to see and draw it")
    elif given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        for name in ("graph.png", "graph.svg"):
            found.draw(given.out / name)
        if not given.json:
            print(f"drawn: {given.out / 'graph.png'}, {given.out / 'graph.svg'}")
