"""One run: train (or predict without), score, and write the result."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from scr3d.baselines import average_depth, null_depth
from scr3d.benchmark.choices import chosen_rate, order_of
from scr3d.benchmark.config import BenchmarkConfig, Stage
from scr3d.benchmark.pictures import result_pictures
from scr3d.benchmark.plan import Run
from scr3d.benchmark.records import HELDOUT, Results, rounded, write_result
from scr3d.causal.kinds import StructureKind
from scr3d.data.dataset import Dataset, open_dataset
from scr3d.data.heads.config import HeadsConfig
from scr3d.errors import CollapseError, DataError
from scr3d.evaluation import diagnostics, factor_errors, score_model
from scr3d.evaluation_config import EvaluateConfig
from scr3d.files import write_bytes
from scr3d.metrics import DepthScores, depth_scores
from scr3d.models.autoencoder import PhotoGeometricAutoencoder
from scr3d.provenance import machine
from scr3d.runtime import find_device, use_threads
from scr3d.search.config import ScoreKind, SearchConfig, Strategy
from scr3d.search.objective import score_images
from scr3d.serialization import to_json
from scr3d.training.collapse import find_collapse
from scr3d.training.config import GraphConfig, TrainConfig, in_todays_words, recipe_defaults
from scr3d.training.trainer import Trainer
from scr3d.training.validation import TrueComparison, evaluation_batches, validate

SPLITS: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Job:
    """A run with everything that it needs from others.

    Attributes:
        run: of the plan.
        training: its configuration; None where nothing is trained.
    """

    run: Run
    training: TrainConfig | None


def resolve(run: Run, results: Results, config: BenchmarkConfig) -> Job:
    """Fill in what other results decide.

    Raises:
        WaitingError: they are not there yet.
    """
    if not run.method.trained:
        return Job(run, None)
    protocol = config.settings
    rate = chosen_rate(results, protocol, run.method) if run.rate is None else run.rate
    return Job(run, training_config(run, order_of(run, results, protocol), rate, config))


def training_config(run: Run, order: str | None, rate: float, config: BenchmarkConfig) -> TrainConfig:
    """How a run is trained; all runs of a protocol differ only in what makes their row, seed, length and rate."""
    protocol = config.settings
    model, losses, _ = recipe_defaults(protocol.recipe)
    _, _, optimiser = recipe_defaults(protocol.recipe)
    common = {"preset": protocol.preset, "size": protocol.size, "width": protocol.width}
    fields_of_row = {**common, **protocol.model, **run.method.model, **run.model}
    if run.method.supervised:
        supervised_model, losses, _ = recipe_defaults("supervised")
        fields_of_row |= {
            name: getattr(supervised_model, name) for name in ("structure", "max_rotation_deg", "max_translation")
        }
    else:
        losses = replace(losses, **(protocol.losses | run.losses))
    model = replace(model, order=order, **fields_of_row)
    return TrainConfig(
        data=data_folder(config),
        out=config.work / protocol.name / run.stage.value / run.name,
        model=model,
        recipe=losses,
        optimiser=replace(optimiser, rate=rate),
        graph=GraphConfig(**protocol.graph),
        images=run.images,
        seed=run.seed,
        features=protocol.features,
        vgg16_file=config.vgg16_file,
        validate_every=max(1, run.images // protocol.curve_points),
        validation_images=protocol.scored_images,
        device=config.device,
        threads=1,
        keep_going=True,
    )


def data_folder(config: BenchmarkConfig) -> Path:
    """The data set of a benchmark: the one given, or the built-in heads."""
    return config.data or config.work / "data" / f"heads{config.settings.size}-{config.protocol}"


def prepare_data(config: BenchmarkConfig) -> dict[str, str]:
    """Make the built-in heads if they are missing; returns the fingerprint of each split.

    Raises:
        DataError: a split is missing, or has no true depth.
    """
    counts = config.settings.counts
    if config.data is None and counts is not None:
        from scr3d.data.heads.samples import generate

        for split in SPLITS:
            heads = HeadsConfig(split=split, count=counts[split], size=config.settings.size)
            generate(heads, data_folder(config))
    fingerprints: dict[str, str] = {}
    for split in SPLITS:
        data = open_split(config, split)
        if not data.has_truth:
            raise DataError(f"a benchmark needs true depth, which {data.store.folder} does not have")
        fingerprints[split] = data.fingerprint()
    return fingerprints


def open_split(config: BenchmarkConfig, split: str) -> Dataset:
    """A split of the benchmark's data."""
    return open_dataset(data_folder(config), split, config.settings.size, config.work / "data" / "imported")


def execute(job: Job, config: BenchmarkConfig, data: dict[str, str]) -> Path:
    """Do a run, from its checkpoint if it has one, and write its result.

    A training that collapses goes on, so that all see the same images, and is scored as it is: that is its result.
    """
    if job.training is None:
        record = predict_without_training(job.run, config)
    elif job.run.stage is Stage.SHARING:
        record = share(job.training, config)
    else:
        record = train_and_score(job, config)
    run = job.run
    device = "cpu" if job.training is None else str(find_device(device_name(config)))
    about = {
        "protocol": config.protocol,
        "stage": run.stage.value,
        "name": run.name,
        "method": run.method.name,
        "seed": run.seed,
        "order": None if job.training is None else job.training.model.order,
        "rate": None if job.training is None else job.training.optimiser.rate,
        "machine": machine(torch.get_num_threads(), device),
        "data": data,
        "training": None if job.training is None else recorded(job.training),
    }
    return write_result(config.folder, {**about, **record})


def recorded(training: TrainConfig) -> dict[str, Any]:
    """A configuration without what differs from machine to machine."""
    record = to_json(training)
    for name in ("data", "out", "device", "threads", "vgg16_file"):
        del record[name]
    return record


def same_options(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a recorded configuration is the wanted one, in all that matters to its structure.

    An option that a record does not have is younger than it; the record then stands for its default.
    """
    found, usual = in_todays_words(found), recorded(TrainConfig(Path(), Path()))
    if wanted["model"]["structure"] != StructureKind.GENERIC:
        found, wanted = ({**options, "graph": usual["graph"]} for options in (found, wanted))
    return _same(found, wanted, usual)


def _same(found: dict[str, Any], wanted: dict[str, Any], usual: dict[str, Any]) -> bool:
    if not found.keys() <= wanted.keys():
        return False
    return all(
        _same(found[name], value, usual[name])
        if isinstance(value, dict) and name in found
        else found.get(name, usual[name]) == value
        for name, value in wanted.items()
    )


def device_name(config: BenchmarkConfig) -> str:
    """cpu or the CUDA device of the runs."""
    if config.device != "auto":
        return config.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def train_and_score(job: Job, config: BenchmarkConfig) -> dict[str, Any]:
    """Train, and score the averaged weights at the end on validation and, where the plan says so, on test."""
    assert job.training is not None  # execute has looked
    trainer = Trainer(job.training)
    first, started, stopped = trainer.images_seen, time.monotonic(), ""
    try:
        trainer.run()
    except CollapseError as error:
        stopped = str(error)
    seconds = time.monotonic() - started
    model = trainer.averaged_model.eval()
    recipe = job.training.recipe
    scalars = validate(model, trainer.features, trainer.data.val, recipe, trainer.data.scored_images)
    collapsed = stopped or find_collapse(scalars, trainer.images_seen, recipe) or ""
    comparison, validation = score_validation(model, trainer, job.training)
    record = {
        "images_seen": trainer.images_seen,
        "extra_images": extra_images(trainer),
        "seconds": round(seconds, 3),
        "timed_images": trainer.images_seen - first,
        "collapsed": collapsed,
        "curve": read_curve(job.training.out / "log.jsonl"),
        "validation": validation,
        "test": None,
        "factors": finite({**factor_errors(comparison), **diagnostics(comparison)}),
        "graph": trainer.graph.record() if trainer.graph is not None else None,
    }
    if job.run.tested:
        test = open_split(config, "test")
        settings = EvaluateConfig(job.training.data, device=device_name(config))
        tested, _ = score_model(model, test, settings)
        assert tested is not None  # prepare_data has seen the truth
        comparison = tested
        record["test"] = comparison_scores(comparison)
        record["factors"] = finite({**factor_errors(comparison), **diagnostics(comparison)})
        if job.training.model.structure is StructureKind.DYNAMIC:
            record["graph"] = {"mean": mean_weights(model, test)}
        folder = config.folder / job.run.stage.value
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / f"{job.run.name}.png", result_pictures(model, test))
    return record


def score_validation(
    model: PhotoGeometricAutoencoder, trainer: Trainer, training: TrainConfig
) -> tuple[TrueComparison, dict[str, list[float | None]]]:
    """Comparison with the truth and per-image scores on the validation images that choices are made on."""
    count = min(trainer.data.scored_images, training.validation_images)
    val = trainer.data.val
    heldout = score_images(model, trainer.features, val, training.recipe, count, ScoreKind.HELDOUT)
    settings = EvaluateConfig(training.data, device=str(next(model.parameters()).device), limit=count)
    comparison, _ = score_model(model, val, settings)
    assert comparison is not None  # prepare_data has seen the truth
    return comparison, {HELDOUT: rounded(heldout.tolist()), **comparison_scores(comparison)}


def comparison_scores(comparison: TrueComparison) -> dict[str, list[float | None]]:
    """Per-image scores as plain numbers."""
    albedo = {} if comparison.albedo_error.isnan().all() else {"albedo_error": comparison.albedo_error}
    return depth_columns(comparison.depth) | {name: rounded(values.tolist()) for name, values in albedo.items()}


def depth_columns(scores: DepthScores) -> dict[str, list[float | None]]:
    """SIDE (x 1e-2), MAD, coverage and the strict scores of every image."""
    columns = {}
    for item in fields(DepthScores):
        side = item.name.endswith("side")
        values: Tensor = getattr(scores, item.name) * (100 if side else 1)
        columns[f"{item.name}_e2" if side else item.name] = rounded(values.tolist())
    return columns


def extra_images(trainer: Trainer) -> int:
    """Images beyond those that the weights are trained on: held-out ones of a learned graph."""
    graph = trainer.graph
    if graph is None or not graph.bilevel:
        return 0
    return math.ceil(graph.learning_steps / graph.round) * trainer.config.optimiser.batch_size


def read_curve(path: Path) -> list[dict[str, float]]:
    """The validations of a run; where a resumed run has repeated one, the later."""
    points: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["group"] == "validation":
            keys = ("reconstruction", "side_e2", "mad_deg", "coverage")
            points[entry["images"]] = {"images": entry["images"]} | {
                key: float(f"{entry[key]:.5g}") for key in keys if key in entry
            }
    return [points[images] for images in sorted(points)]


@torch.no_grad()
def mean_weights(model: PhotoGeometricAutoencoder, data: Dataset) -> list[list[float]]:
    """Mean over images of the graph of a dynamic structure, [child][parent]."""
    device = next(model.parameters()).device
    total, count = torch.zeros(4, 4, dtype=torch.float64), 0
    for indices in evaluation_batches(len(data), len(data)):
        embeddings = model.encode(data.batch(indices, device, with_truth=False).image)
        total += model.structure(embeddings).double().sum(0).cpu()
        count += len(indices)
    return (total / count).tolist()


def share(training: TrainConfig, config: BenchmarkConfig) -> dict[str, Any]:
    """Train one network under all orders; its scores rank them."""
    from scr3d.search.one_shot import FOLDER, train_shared

    template = replace(training, model=replace(training.model, order=None))
    started = time.monotonic()
    outcomes = train_shared(SearchConfig(template, strategy=Strategy.ONE_SHOT, score=ScoreKind.HELDOUT))
    return {
        "images_seen": training.images,
        "extra_images": 0,
        "seconds": round(time.monotonic() - started, 3),
        "timed_images": training.images,
        "collapsed": "",
        "curve": read_curve(training.out / FOLDER / "log.jsonl"),
        "validation": None,
        "test": None,
        "factors": {},
        "graph": None,
        "shared": {
            order: {"score": outcome.score, "standard_error": outcome.standard_error}
            for order, outcome in outcomes.items()
        },
    }


def predict_without_training(run: Run, config: BenchmarkConfig) -> dict[str, Any]:
    """The scores of the plane or of the average depth."""
    use_threads(1)
    size = config.settings.size
    predicted = average_depth(open_split(config, "train")) if run.method.name == "average-depth" else null_depth(size)
    model, _, _ = recipe_defaults(config.settings.recipe)
    model = replace(model, preset=config.settings.preset, size=size, order="VDLA")
    reference = PhotoGeometricAutoencoder(model)  # for its camera and depth range alone
    scores = {}
    for split, limit in (("val", config.settings.scored_images), ("test", None)):
        data = open_split(config, split)
        parts = []
        for indices in evaluation_batches(len(data), limit or len(data)):
            truth = data.batch(indices).truth
            assert truth is not None  # prepare_data has seen the truth
            everywhere = torch.ones_like(truth.foreground)
            depth = predicted.expand_as(truth.depth)
            parts.append(
                depth_scores(depth, everywhere, truth.depth, truth.foreground, reference.camera, reference.depth_range)
            )
        scores[split] = depth_columns(DepthScores.cat(parts))
    return {
        "images_seen": 0,
        "extra_images": 0,
        "seconds": 0.0,
        "timed_images": 0,
        "collapsed": "",
        "curve": [],
        "validation": scores["val"],
        "test": scores["test"],
        "factors": {},
        "graph": None,
    }


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """Numbers with few digits; None for those that are not finite."""
    return {name: (float(f"{value:.5g}") if math.isfinite(value) else None) for name, value in values.items()}
