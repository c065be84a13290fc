"""What the depth error of trained models consists of: results/depth-error-parts.json.

    python tools/depth_error_parts.py NAME=RUN/last [NAME=RUN/last ...] --data DIR [--size 32] [--images 512]

The squared error of log depth over the valid pixels of an image (that of SIDE) splits into the plane of the error (the
object turned by a wrong angle: tilt along x comes with yaw, along y with pitch), a wrong scale of what lies before the
plane (the relief), what is left in common to all images (the mean shape), and the rest (single shapes). Shares are of
the mean over images; the two tilts overlap a little, since faces are no squares.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scr3d.data.dataset import Dataset, open_dataset
from scr3d.files import write_json
from scr3d.metrics import erode, log_depth_parts
from scr3d.models import load_model

OUT = Path(__file__).parent.parent / "results" / "depth-error-parts.json"
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL")
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set with true depth")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--images", type=int, default=512, help="of the validation split")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    data = open_dataset(arguments.data, "val", arguments.size, arguments.data)
    named = dict(word.split("=", 1) for word in arguments.models)
    record = {
        "data": data.fingerprint(),
        "images": arguments.images,
        "models": {name: error_parts(Path(model), data, arguments.images) for name, model in named.items()},
    }
    write_json(arguments.out, record)
    for name, parts in record["models"].items():
        print(name, parts)


def error_parts(model_folder: Path, data: Dataset, images: int) -> dict[str, float]:
    """SIDE, and the share of every part."""
    model, found = load_model(model_folder).eval(), []
    for start in range(0, images, BATCH):
        batch = data.batch(np.arange(start, min(images, start + BATCH)), "cpu")
        with torch.no_grad():
            explained = model.reconstruct(batch.image)
        valid = erode(explained.mask.bool()) & erode(batch.truth.foreground)
        found.append((explained.view_depth, batch.truth.depth, valid))
    predicted, true, valid = (torch.cat(part) for part in zip(*found, strict=True))
    error = centered(predicted.clamp(min=1e-6).log() - true.clamp(min=1e-6).log(), valid)
    relief, true_relief = (log_depth_parts(depth, valid)[1] for depth in (predicted, true))
    difference = relief - true_relief
    scale = (relief * true_relief).sum((1, 2)) / relief.square().sum((1, 2))
    scaled = scale[:, None, None] * relief - true_relief
    single = (scaled - scaled.sum(0) / valid.sum(0).clamp(min=1)) * valid
    whole, tilts = mean_square(error, valid), tilt(error, valid)
    return {
        "side_e2": 100 * float(mean_squares(error, valid).sqrt().mean()),
        "tilt": 1 - mean_square(difference, valid) / whole,
        "tilt along x": 1 - mean_square(centered(error - tilts[0], valid), valid) / whole,
        "tilt along y": 1 - mean_square(centered(error - tilts[1], valid), valid) / whole,
        "scale of the relief": (mean_square(difference, valid) - mean_square(scaled, valid)) / whole,
        "mean shape": (mean_square(scaled, valid) - mean_square(single, valid)) / whole,
        "single shapes": mean_square(single, valid) / whole,
    }


def tilt(error: Float[Tensor, "batch height width"], valid: Bool[Tensor, "batch height width"]) -> list[Tensor]:
    """The parts of an error's plane that rise along x and along y."""
    plane, _ = log_depth_parts(error.exp(), valid)
    height, width = error.shape[1:]
    x, y = torch.linspace(-0.5, 0.5, width), torch.linspace(-0.5, 0.5, height)[:, None]
    return [plane[:, 0, None, None] * x, plane[:, 1, None, None] * y]


def centered(values: Tensor, valid: Tensor) -> Tensor:
    """Values without their mean over the valid pixels of an image; 0 elsewhere."""
    mean = torch.where(valid, values, 0.0).sum((1, 2)) / valid.sum((1, 2))
    return torch.where(valid, values - mean[:, None, None], 0.0)


def mean_squares(values: Tensor, valid: Tensor) -> Tensor:
    """Mean square over the valid pixels of every image."""
    return (values.square() * valid).sum((1, 2)) / valid.sum((1, 2))


def mean_square(values: Tensor, valid: Tensor) -> float:
    """Mean of `mean_squares` over the images."""
    return float(mean_squares(values, valid).mean())


if __name__ == "__main__":
    main()
