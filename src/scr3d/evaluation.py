"""Scoring a model on a data set, next to the baselines, on the same images."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rich.progress import track
from torch import Tensor

import scr3d
from scr3d.baselines import average_depth, null_depth
from scr3d.data.dataset import Dataset, Truth, open_dataset
from scr3d.evaluation_config import EvaluateConfig
from scr3d.files import write_bytes, write_json
from scr3d.metrics import DepthScores, correlation, depth_scores
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.models.hub import is_hub_name
from scr3d.models.io import find_model, load_model, read_description
from scr3d.out_of_memory import advised, reconstruction_work
from scr3d.processes import ALONE, Group
from scr3d.runtime import find_device, use_threads
from scr3d.training.validation import TrueComparison, compare_with_truth, evaluation_batches, summarise

BASELINE_ROWS = ("untrained start", "null depth", "average depth")
AGE_GROUPS = ((0.0, "under 35 years"), (35.0, "35 to 60 years"), (60.0, "over 60 years"))
ETHNICITIES = ("african", "asian", "caucasian")


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model and of the baselines.

    Attributes:
        record: everything, as plain JSON values: provenance, rows, factor errors, groups.
        per_image: one record per image.
    """

    record: dict[str, Any]
    per_image: list[dict[str, float]] = field(default_factory=list)

    def table(self) -> str:
        """The rows as text."""
        columns = ("SIDE x1e-2", "MAD deg", "coverage", "strict SIDE", "strict MAD")
        lines = [f"{'':17}" + "".join(f"{name:>18}" for name in columns)]
        for name, row in self.record["rows"].items():
            cells = [
                f"{row[key]['mean']:.3f} ± {row[key]['std']:.3f}"
                for key in ("side_e2", "mad_deg", "coverage", "strict_side_e2", "strict_mad_deg")
            ]
            lines.append(f"{name:17}" + "".join(f"{cell:>18}" for cell in cells))
        for title, values in (("factors", self.record["factors"]), ("image", self.record["image"])):
            lines += ["", *(f"{title + ': ' + name:45} {value:8.3f}" for name, value in values.items())]
        for group, row in self.record["groups"].items():
            lines.append(f"{group:30} n={row['count']:<6} SIDE {row['side_e2']:.3f}  MAD {row['mad_deg']:.2f}")
        return "\n".join(lines)


def evaluate(run: Path | None, config: EvaluateConfig, group: Group = ALONE) -> Evaluation:
    """Score a run's best model (or the shipped one) and write the results.

    The processes of a group share the images and get the same scores; the first one writes.

    Raises:
        CheckpointError: there is no model, or it is damaged.
        ConfigError: the device is not there.
        DataError: the data cannot be read or has another size.
        MemoryLimitError: a batch does not fit into the memory.
    """
    use_threads(config.threads)
    folder = find_model(run)
    model = load_model(run, find_device(config.device) if group.size == 1 else group.device)
    beside = Path() if run is None or is_hub_name(run) else Path(run)
    out = config.out or beside / "evaluation" / config.split
    data, train = group.first_then_others(lambda: open_data(config, model.config.size, out / "data"))
    rows: dict[str, DepthScores] = {}
    with advised(reconstruction_work(model, config.batch_size), model.border.device):
        comparison, errors = score_model(model, data, config, group)
    record: dict[str, Any] = {
        "version": scr3d.__version__,
        "torch": torch.__version__,
        "model": read_description(folder),
        "data": {"fingerprint": data.fingerprint(), "split": config.split, "source": data.store.info.source},
        "images": len(errors),
        "image": {"mean absolute error of the reconstruction": float(errors.mean())},
        "rows": {},
        "factors": {},
        "groups": {},
    }
    per_image: list[dict[str, float]] = [{"absolute_error": float(e)} for e in errors]
    if comparison is not None and train is not None:
        rows["model"] = comparison.depth
        rows |= score_baselines(model, (train, data), config, group)
        record["rows"] = {name: row_statistics(scores) for name, scores in rows.items()}
        record["factors"] = factor_errors(comparison) | diagnostics(comparison)
        record["groups"] = group_scores(comparison.depth, data, len(errors))
        per_image = per_image_records(rows, comparison, errors)
    evaluation = Evaluation(record, per_image)
    group.on_first(lambda: write_evaluation(out, evaluation))
    return evaluation


def open_data(config: EvaluateConfig, size: int, cache: Path) -> tuple[Dataset, Dataset | None]:
    """The split that is scored, and the training images for the baselines where there is truth."""
    data = open_dataset(config.data, config.split, size, cache)
    return data, open_dataset(config.data, "train", size, cache) if data.has_truth else None


@torch.no_grad()
def score_model(
    model: PhotoGeometricAutoencoder, data: Dataset, config: EvaluateConfig, group: Group = ALONE
) -> tuple[TrueComparison | None, Float[Tensor, " images"]]:
    """Comparison with the truth (None where there is none) and mean absolute image error over covered pixels."""
    own = []
    device = next(model.parameters()).device
    blocks = list(group.own(evaluation_batches(len(data), config.limit, config.batch_size)))
    for number, indices in track(blocks, "scoring", disable=not group.first):
        batch = data.batch(indices, device)
        explained = model.reconstruct(batch.image)
        difference = (explained.image.clamp(0, 1) - batch.explained).abs().mean(1) * explained.mask
        errors = difference.sum(dim=(1, 2)) / explained.mask.sum(dim=(1, 2)).clamp(min=1)
        compared = None if batch.truth is None else compare_with_truth(model, explained, batch.truth)
        own.append((number, (compared, errors)))
    found = group.in_order(own)
    comparisons = [compared for compared, _ in found if compared is not None]
    return (TrueComparison.cat(comparisons) if comparisons else None), torch.cat([errors for _, errors in found])


def score_baselines(
    model: PhotoGeometricAutoencoder, splits: tuple[Dataset, Dataset], config: EvaluateConfig, group: Group
) -> dict[str, DepthScores]:
    """The untrained start of the same configuration, the plane, and the average depth of the training split.

    `splits` are the training images and those that are scored.
    """
    size = model.config.size
    train, data = splits
    torch.manual_seed(0)
    untrained = PhotoGeometricAutoencoder(model.config).to(next(model.parameters()).device).eval()
    comparison, _ = score_model(untrained, data, config, group)
    assert comparison is not None  # the caller has seen the truth
    plane, average = null_depth(size), average_depth(train)
    return {
        "untrained start": comparison.depth,
        "null depth": score_depth(lambda _: plane, model, data, config),
        "average depth": score_depth(lambda _: average, model, data, config),
    }


def score_depth(
    predict: Callable[[Truth], Tensor], model: PhotoGeometricAutoencoder, data: Dataset, config: EvaluateConfig
) -> DepthScores:
    """Scores of a prediction that covers the whole frame."""
    parts = []
    for indices in evaluation_batches(len(data), config.limit, config.batch_size):
        truth = data.batch(indices).truth
        assert truth is not None  # the caller has seen the truth
        predicted = predict(truth).expand_as(truth.depth)
        everywhere = torch.ones_like(truth.foreground)
        parts.append(
            depth_scores(predicted, everywhere, truth.depth, truth.foreground, model.camera, model.depth_range)
        )
    return DepthScores.cat(parts)


def row_statistics(scores: DepthScores) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over images of every score; SIDE in units of 1e-2."""
    result = {}
    for item in fields(DepthScores):
        values = getattr(scores, item.name).double()
        name, factor = (f"{item.name}_e2", 100.0) if item.name.endswith("side") else (item.name, 1.0)
        scored = values[~values.isnan()]
        result[name] = {
            "mean": factor * float(scored.mean()),
            "std": factor * float(scored.std(correction=0)),
            "images": len(scored),
        }
    return result


def diagnostics(comparison: TrueComparison) -> dict[str, float]:
    """The correlations that tell a good model from a stuck one."""
    scored = {f.name for f in fields(DepthScores)} | {"side_e2", "strict_side_e2"}
    return {name.replace("_", " "): value for name, value in summarise(comparison).items() if name not in scored}


def factor_errors(comparison: TrueComparison) -> dict[str, float]:
    """Mean absolute errors of view and light, where they are known.

    What no photo can tell is removed first: for each angle one sign and one offset, common to all images (where
    the canonical frame looks, and which of its sides is left).
    """
    result = {}
    if not comparison.true_rotation_rad.isnan().any():
        for axis, name in enumerate(("pitch", "yaw", "roll")):
            error = aligned(comparison.rotation_rad[:, axis], comparison.true_rotation_rad[:, axis])
            result[f"{name} error (deg, aligned)"] = float(torch.rad2deg(error).abs().mean())
    if not comparison.true_light_direction.isnan().any():
        predicted, true = (light_angles(d) for d in (comparison.light_direction, comparison.true_light_direction))
        for axis, name in enumerate(("light azimuth", "light elevation")):
            error = aligned(predicted[:, axis], true[:, axis])
            result[f"{name} error (deg, aligned)"] = float(torch.rad2deg(error).abs().mean())
    return result


def light_angles(direction: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 2"]:
    """Azimuth atan(lx / lz) and elevation atan(ly / lz) of directions, in radians."""
    return torch.atan2(direction[:, :2], direction[:, 2:])


def aligned(predicted: Float[Tensor, " n"], true: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Differences after the best common offset, and the sign of the correlation, on the prediction."""
    relation = correlation(predicted, true)
    sign = -1.0 if relation < 0 else 1.0
    difference = sign * predicted - true
    return difference - difference.mean()


def group_scores(scores: DepthScores, data: Dataset, count: int) -> dict[str, dict[str, float]]:
    """SIDE and MAD by sex, age and ethnicity, where the data knows them."""
    members: dict[str, Tensor] = {}
    found = {
        name: torch.from_numpy(data.store.get(name, slice(0, count)))
        for name in ("sex", "age", "ethnicity")
        if name in data.store
    }
    if "sex" in found:
        members |= {"female": found["sex"] < 0.5, "male": found["sex"] >= 0.5}
    if "age" in found:
        limits = [*(start for start, _ in AGE_GROUPS), math.inf]
        for (low, name), high in zip(AGE_GROUPS, limits[1:], strict=True):
            members[name] = (found["age"] >= low) & (found["age"] < high)
    if "ethnicity" in found:
        main = found["ethnicity"].argmax(1)
        members |= {name: main == number for number, name in enumerate(ETHNICITIES)}
    return {
        name: {
            "count": int(chosen.sum()),
            "side_e2": 100 * float(scores.side.cpu()[chosen].nanmean()),
            "mad_deg": float(scores.mad_deg.cpu()[chosen].nanmean()),
        }
        for name, chosen in members.items()
        if chosen.any()
    }


def per_image_records(
    rows: dict[str, DepthScores], comparison: TrueComparison, errors: Tensor
) -> list[dict[str, float]]:
    """One flat record per image."""
    columns: dict[str, Tensor] = {"absolute_error": errors, "albedo_error": comparison.albedo_error}
    columns["relief_correlation"] = comparison.relief_correlation
    for row, scores in rows.items():
        prefix = row.replace(" ", "_")
        columns |= {f"{prefix}_{item.name}": getattr(scores, item.name) for item in fields(DepthScores)}
    lists = {name: values.tolist() for name, values in columns.items()}
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def write_evaluation(out: Path, evaluation: Evaluation) -> None:
    """Write scores.json, scores.csv and table.txt, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "scores.json", evaluation.record)
    write_bytes(out / "table.txt", (evaluation.table() + "\n").encode())
    text = io.StringIO()
    writer = csv.DictWriter(text, ["image", *evaluation.per_image[0]], lineterminator="\n")
    writer.writeheader()
    for number, row in enumerate(evaluation.per_image):
        writer.writerow({"image": number, **{name: f"{value:.6g}" for name, value in row.items()}})
    write_bytes(out / "scores.csv", text.getvalue().encode())
