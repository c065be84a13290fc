"""What fitting to one photo does to the scores: trials on the validation heads, the chosen options on the test heads.

    python tools/refine_table.py HEADS --split val  --images 96  --trials --out results/refine/trials.json
    python tools/refine_table.py HEADS --split test --images 400 --out results/refine/test.json

HEADS holds synthetic heads of 64 pixels (scr3d data heads). Every row is scored at several numbers of steps of the same
fit; step 0 is the network's answer.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from scr3d.data.dataset import Dataset
from scr3d.data.store import Store
from scr3d.files import write_json
from scr3d.models import load_model
from scr3d.models.autoencoder import PhotoGeometricAutoencoder, Reconstruction
from scr3d.refine import RefineOptions, refine
from scr3d.training.validation import TrueComparison, compare_with_truth, summarise

BATCH = 48
NONE = RefineOptions(view_rate=0, light_rate=0, albedo_rate=0, depth_rate=0)
CHOSEN = RefineOptions()
TRIALS = {
    "view alone": replace(NONE, view_rate=0.05),
    "light alone": replace(NONE, light_rate=0.05),
    "albedo alone": replace(NONE, albedo_rate=0.03),
    "depth alone": replace(NONE, depth_rate=0.01),
    "all but depth": replace(CHOSEN, depth_rate=0.0),
    "chosen": CHOSEN,
    "all at 0.02": RefineOptions(view_rate=0.02, light_rate=0.02, albedo_rate=0.02, depth_rate=0.02),
    "chosen, depth 0.02": replace(CHOSEN, depth_rate=0.02),
    "chosen, depth 0.02 held by 30": replace(CHOSEN, depth_rate=0.02, depth_weight=30.0),
    "chosen, flip weight 2": replace(CHOSEN, flip_weight=2.0),
    "chosen, no symmetry": replace(CHOSEN, symmetry=False),
}
KEPT = ("side_e2", "mad_deg", "coverage", "relief_correlation", "albedo_error", "yaw_correlation", "yaw_slope")


def score(
    model: PhotoGeometricAutoencoder, data: Dataset, images: int, options: RefineOptions, steps: list[int]
) -> list[dict[str, float]]:
    """Scores after each number of steps."""
    rows = []
    for number in steps:
        comparisons, errors = [], []
        for start in range(0, images, BATCH):
            batch = data.batch(torch.arange(start, min(start + BATCH, images)).numpy())
            explained = fitted(model, batch.image, replace(options, steps=max(1, number)), number > 0)
            comparisons.append(compare_with_truth(model, explained, batch.truth))
            errors.append(image_error(explained, batch.image))
        summary = summarise(TrueComparison.cat(comparisons))
        scores = TrueComparison.cat(comparisons).depth
        error = torch.cat(errors)
        rows.append(
            {
                "steps": number,
                **{name: summary[name] for name in KEPT},
                "image_error": float(error.mean()),
                "side_e2_each": [round(100 * value, 4) for value in scores.side.tolist()],
                "mad_deg_each": [round(value, 3) for value in scores.mad_deg.tolist()],
            }
        )
        print(f"  {number:4} steps  " + "  ".join(f"{k} {v:.4f}" for k, v in rows[-1].items() if isinstance(v, float)))
    return rows


def fitted(model: PhotoGeometricAutoencoder, image: torch.Tensor, options: RefineOptions, fit: bool) -> Reconstruction:
    with torch.no_grad():
        return refine(model, image, options) if fit else model.reconstruct(image)


def image_error(explained: Reconstruction, image: torch.Tensor) -> torch.Tensor:
    """Mean absolute error over covered pixels, per image."""
    difference = (explained.image.clamp(0, 1) - image).abs().mean(1) * explained.mask
    return difference.sum(dim=(1, 2)) / explained.mask.sum(dim=(1, 2)).clamp(min=1)


def paired(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add how many images got better, and the mean change with its standard error; drop the single images."""
    first = rows[0]
    for row in rows[1:]:
        for name in ("side_e2", "mad_deg"):
            change = torch.tensor(row[f"{name}_each"]) - torch.tensor(first[f"{name}_each"])
            row[f"{name}_change"] = float(change.mean())
            row[f"{name}_change_standard_error"] = float(change.std()) / math.sqrt(len(change))
            row[f"{name}_better"] = float((change < 0).float().mean())
    return [{key: value for key, value in row.items() if not key.endswith("_each")} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--trials", action="store_true")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 10, 20, 40])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, data = load_model(), Dataset(Store(given.heads / given.split))
    images = min(given.images, len(data))
    record: dict[str, Any] = {"split": given.split, "images": images, "data": data.fingerprint(), "rows": {}}
    for name, options in (TRIALS if given.trials else {"chosen": CHOSEN}).items():
        print(name, flush=True)
        steps = given.steps if name == "chosen" or not given.trials else [0, max(given.steps)]
        rows = paired(score(model, data, images, options, steps))
        record["rows"][name] = {"options": {k: v for k, v in asdict(options).items() if k != "steps"}, "scores": rows}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(given.out, json.loads(json.dumps(record)))


if __name__ == "__main__":
    main()
