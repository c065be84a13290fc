"""What training at twice the size adds: a model as it was grown, and after training at its new size; docs/photos.md.

    python tools/growth_table.py TRAINED --from SMALLER --data DATA [--split test] [--count 2000]
        [--out results/growth-128.json] [--picture docs/images/growth-128.png]

A grown model computes what the smaller one computes, on the image at half the size. Detail is what an image has beyond
its half-sized self, enlarged again. Inside the true foreground, `sharpness` is the size of the reconstruction's detail
against the photo's, whether or not it lies in the same place; `detail` is the share that lies where the photo's does:
1 - |photo's - reconstruction's|^2 / |photo's|^2; `feature_distance` is the mean squared distance of the frozen features
of the perceptual loss, which forgive a small shift.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from scr3d.data.dataset import Truth, open_dataset
from scr3d.files import write_json
from scr3d.losses.features import squeezenet_features
from scr3d.metrics import depth_scores
from scr3d.models import PhotoGeometricAutoencoder, load_model
from scr3d.models.growth import grow
from scr3d.models.io import find_model, read_model
from scr3d.runtime import use_threads

PAGE = Path(__file__).parent.parent / "docs" / "photos.md"
BEGIN, END = "<!-- growth-table -->", "<!-- /growth-table -->"
BATCH = 32
SHOWN = (3, 8, 21, 34, 55, 89)
"""Images of the picture."""
ROWS = (
    "photo",
    "grown: image",
    "trained: image",
    "grown: albedo",
    "trained: albedo",
    "grown: normals",
    "trained: normals",
)


def grown_model(folder: Path) -> PhotoGeometricAutoencoder:
    """A model of twice the size that computes the same."""
    config, weights = grow(*read_model(find_model(folder)))
    model = PhotoGeometricAutoencoder(config)
    model.load_state_dict(weights)
    return model.eval()


def detail(image: Tensor) -> Tensor:
    """What an image has beyond its half-sized self."""
    return image - F.interpolate(F.avg_pool2d(image, 2), scale_factor=2, mode="bilinear", align_corners=False)


@torch.no_grad()
def score(model: PhotoGeometricAutoencoder, data: Path, split: str, count: int) -> dict[str, Any]:
    """Means over the images, with standard errors where they are means."""
    dataset = open_dataset(data, split, model.config.size, data)
    rows: dict[str, list[float]] = {name: [] for name in ("side_e2", "mad_deg", "image_error", "feature_distance")}
    features = squeezenet_features()
    sums = torch.zeros(3, dtype=torch.float64)
    for start in range(0, min(count, len(dataset)), BATCH):
        numbers = np.arange(start, min(start + BATCH, count, len(dataset)))
        batch = dataset.batch(numbers)
        truth = batch.truth
        assert isinstance(truth, Truth)
        found = model.reconstruct(batch.image)
        scores = depth_scores(
            found.view_depth, found.mask, truth.depth, truth.foreground, model.camera, model.depth_range
        )
        inside = truth.foreground[:, None].float()
        error = ((found.image.clamp(0, 1) - batch.image).abs() * inside).sum((1, 2, 3)) / (3 * inside.sum((1, 2, 3)))
        rows["side_e2"] += (100 * scores.side).tolist()
        rows["mad_deg"] += scores.mad_deg.tolist()
        rows["image_error"] += error.tolist()
        filled = found.image.clamp(0, 1) * inside + batch.image * (1 - inside)
        apart = (features(filled) - features(batch.image)).square().mean((1, 2, 3))
        rows["feature_distance"] += apart.tolist()
        photo, seen = detail(batch.image) * inside, detail(found.image.clamp(0, 1)) * inside
        sums += torch.stack([(photo * photo).sum(), (seen * seen).sum(), (photo * seen).sum()]).double()
    own, other, both = sums.tolist()
    result: dict[str, Any] = {
        name: {"mean": float(np.mean(values)), "standard_error": float(np.std(values) / len(values) ** 0.5)}
        for name, values in rows.items()
    }
    return result | {"sharpness": (other / own) ** 0.5, "detail": (2 * both - other) / own}


def write_table(models: dict[str, dict[str, Any]]) -> None:
    """The table in docs/photos.md."""

    def cell(value: Any, digits: int) -> str:
        if isinstance(value, float):
            return f"{value:.{digits}f}"
        return f"{value['mean']:.{digits}f} ± {value['standard_error']:.{digits}f}"

    columns = {
        "SIDE (x 1e-2)": ("side_e2", 3),
        "MAD (degrees)": ("mad_deg", 2),
        "image error": ("image_error", 4),
        "feature distance": ("feature_distance", 4),
        "sharpness": ("sharpness", 2),
    }
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, title in (("grown", "grown, not trained on"), ("trained", "after training")):
        values = [cell(models[name][key], digits) for key, digits in columns.values()]
        lines.append(f"| {title} | {' | '.join(values)} |")
    page = PAGE.read_text(encoding="utf-8")
    head, tail = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{tail}", encoding="utf-8")


@torch.no_grad()
def picture(models: dict[str, PhotoGeometricAutoencoder], data: Path, split: str) -> Image.Image:
    """Photos, and what both models make of them."""
    size = next(iter(models.values())).config.size
    image = open_dataset(data, split, size, data).batch(np.array(SHOWN)).image
    found = {name: model.reconstruct(image) for name, model in models.items()}
    rows = [image]
    rows += [found[name].image for name in models]
    rows += [found[name].factors.canonical_albedo for name in models]
    rows += [found[name].canonical_normal * torch.tensor([1, -1, -1]).view(1, 3, 1, 1) / 2 + 0.5 for name in models]
    sheet = Image.new("RGB", (110 + size * len(SHOWN), size * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (title, pictures) in enumerate(zip(ROWS, rows, strict=True)):
        draw.text((4, row * size + size // 2), title, fill="black")
        for column, one in enumerate((255 * pictures.clamp(0, 1)).byte().permute(0, 2, 3, 1).numpy()):
            sheet.paste(Image.fromarray(one), (110 + column * size, row * size))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path)
    parser.add_argument("--from", dest="smaller", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("results/growth-128.json"))
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    use_threads(1)
    models = {"grown": grown_model(given.smaller), "trained": load_model(given.trained)}
    found = {name: score(model, given.data, given.split, given.count) for name, model in models.items()}
    size = models["trained"].config.size
    write_json(given.out, {"size": size, "split": given.split, "images": given.count, "models": found})
    for name, values in found.items():
        print(name, values)
    write_table(found)
    if given.picture:
        picture(models, given.data, given.split).save(given.picture)


if __name__ == "__main__":
    main()
