"""What the representation can score: true canonical depth, turned by the true view, against true depth.

    python tools/true_factors.py [--size 64] [--count 512] [--out results/true-factors.json]

Rows that mix true and predicted factors of the shipped model tell which of them costs how much.

A height field is what a model turns. Here it is the true depth of each validation head seen from the front, continued
behind the outline at `background`, and turned by the true view with the project's own renderer. Also scored: the
average depth of these images; the same by true yaw. The numbers say what a model would score that got every factor
right, and therefore which targets are beyond the representation rather than beyond a model.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import scr3d
from scr3d.data.heads.draws import SPLIT_CODES
from scr3d.data.heads.identity import draw_identities
from scr3d.data.heads.render import render as render_heads
from scr3d.data.heads.samples import HeadSample, HeadsConfig, sample
from scr3d.data.heads.scene import draw_scenes
from scr3d.geometry.camera import Camera, DepthRange
from scr3d.metrics import depth_scores
from scr3d.models import load_model
from scr3d.rendering import render

BACKGROUNDS = (1.0, 1.02, 1.04)
YAW_LIMITS_DEG = (0, 5, 10, 20, 30, 60)


def frontal_depth(config: HeadsConfig, indices: np.ndarray) -> tuple[Tensor, Tensor]:
    """Depth and foreground of the same heads, not turned and not shifted."""
    numbers, rows = np.unique(indices // config.views, return_inverse=True)
    scenes = draw_scenes(config.seed, config.split, indices)
    still = np.zeros_like(scenes.rotation_rad)
    turned_back = replace(
        scenes,
        rotation_rad=still,
        translation=np.zeros_like(scenes.translation),
        rotation=np.tile(np.eye(3), (len(indices), 1, 1)),
    )
    seen = render_heads(
        draw_identities(config.seed, config.split, numbers),
        rows,
        turned_back,
        Camera(config.size, config.size, config.fov_deg),
        subsamples=config.subsamples,
        textured=False,
        device=torch.device("cpu"),
    )
    return seen.depth, seen.foreground


def score(predicted: Tensor, mask: Tensor, truth: HeadSample, camera: Camera) -> dict[str, Any]:
    """Means over images, and SIDE by true yaw."""
    found = depth_scores(predicted, mask, truth.depth, truth.foreground, camera, DepthRange())
    yaw = torch.rad2deg(truth.view.rotation_rad[:, 1].abs())
    by_yaw = {}
    for low, high in itertools.pairwise(YAW_LIMITS_DEG):
        chosen = (yaw >= low) & (yaw < high)
        by_yaw[f"{low} to {high} deg"] = round(100 * float(found.side[chosen].nanmean()), 4)
    return {
        "side_e2": round(100 * float(found.side.nanmean()), 4),
        "mad_deg": round(float(found.mad_deg.nanmean()), 3),
        "coverage": round(float(found.coverage.nanmean()), 4),
        "side_e2_by_yaw": by_yaw,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--split", choices=sorted(SPLIT_CODES), default="val")
    parser.add_argument("--out", type=Path, default=Path("results/true-factors.json"))
    arguments = parser.parse_args()
    config = HeadsConfig(split=arguments.split, count=arguments.count, size=arguments.size)
    camera = Camera(arguments.size, arguments.size, config.fov_deg)
    indices = np.arange(arguments.count)
    truth = sample(config, indices)
    depth, foreground = frontal_depth(config, indices)
    record: dict[str, Any] = {
        "version": scr3d.__version__,
        "split": arguments.split,
        "size": arguments.size,
        "images": arguments.count,
        "rows": {},
    }
    for background in BACKGROUNDS:
        canonical = torch.where(foreground, depth, torch.full_like(depth, background))
        texture = torch.zeros_like(depth)[:, None]
        seen = render(canonical, truth.view, texture, camera, DepthRange())
        record["rows"][f"true factors, background at {background}"] = score(seen.depth, seen.mask, truth, camera)
    canonical = torch.where(foreground, depth, torch.full_like(depth, BACKGROUNDS[-1]))
    model = load_model()
    if model.config.size == arguments.size:
        with torch.no_grad():
            found = model.reconstruct(truth.image).factors
        shape, view = found.canonical_depth, found.view
        mixed = {
            "true mean shape, true views": (canonical.mean(0).expand_as(canonical), truth.view),
            "shipped model": (shape, view),
            "shipped model's mean shape, its views": (shape.mean(0).expand_as(shape), view),
        }
        for name, (surface, seen_from) in mixed.items():
            seen = render(surface, seen_from, torch.zeros_like(depth)[:, None], camera, DepthRange())
            record["rows"][name] = score(seen.depth, seen.mask, truth, camera)
    shown = truth.foreground.float()
    average = (truth.depth * shown).sum(0) / shown.sum(0).clamp(min=1)
    average = torch.where(shown.sum(0) > 0, average, torch.full_like(average, DepthRange().border))
    everywhere = torch.ones_like(truth.foreground)
    record["rows"]["average depth of these images"] = score(average.expand_as(depth), everywhere, truth, camera)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
