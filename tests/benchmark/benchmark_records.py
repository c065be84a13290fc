"""Results that look like those of runs, for tests of what is made of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from scr3d.benchmark.config import BenchmarkConfig, Stage
from scr3d.benchmark.plan import OrderChoice, Run, plan
from scr3d.benchmark.records import write_result
from scr3d.benchmark.run import recorded, training_config

FINGERPRINTS = {"train": "0" * 32, "val": "1" * 32, "test": "2" * 32}
MACHINE = {
    "processor": "a processor",
    "cores": 2,
    "threads": 1,
    "device": "cpu",
    "platform": "Linux x86_64",
    "python": "3.11.7",
    "torch": "2.13.0",
    "warp": "1.9.0",
    "scr3d": "0.1.0",
    "commit": None,
}
IMAGES = 40
CHOSEN = "VDLA"
"""Order of the runs that take one by results, unless it is given."""


def scores(level: float, seed: int) -> dict[str, list[float]]:
    """Scores around a level."""
    random = np.random.default_rng(seed)
    spread = 1 + 0.1 * random.normal(size=IMAGES)
    return {
        "heldout": (level * spread).round(4).tolist(),
        "side_e2": (level * spread).round(4).tolist(),
        "mad_deg": (20 * level * spread).round(3).tolist(),
        "coverage": [0.99] * IMAGES,
        "strict_side_e2": (1.1 * level * spread).round(4).tolist(),
        "strict_mad_deg": (22 * level * spread).round(3).tolist(),
        "albedo_error": [0.1] * IMAGES,
    }


def write_record(config: BenchmarkConfig, run: Run, level: float, order: str | None = None, **changes: Any) -> Path:
    """The result of a run whose scores lie around a level."""
    order = order or CHOSEN if isinstance(run.order, OrderChoice) else run.order
    training = None
    if run.method.trained:
        training = recorded(training_config(run, order, run.rate or config.settings.rates[0], config))
    learned = str(run.method.model.get("structure")) == "generic"
    own = 17 * run.seed + len(run.name)
    record = {
        "protocol": config.protocol,
        "stage": run.stage.value,
        "name": run.name,
        "method": run.method.name,
        "seed": run.seed,
        "order": order,
        "rate": None if training is None else training["optimiser"]["rate"],
        "images_seen": run.images,
        "extra_images": 0,
        "machine": MACHINE,
        "seconds": run.images / 100,
        "timed_images": run.images,
        "data": FINGERPRINTS,
        "training": training,
        "collapsed": "",
        "curve": [
            {"images": run.images // 2, "reconstruction": 2 * level, "side_e2": 2 * level, "mad_deg": 40 * level},
            {"images": run.images, "reconstruction": level, "side_e2": level, "mad_deg": 20 * level},
        ],
        "validation": scores(level, own),
        "test": scores(level, own + 1) if run.tested else None,
        "factors": {"yaw error (deg, aligned)": 3.0},
        "graph": {"projected": (0.5 * np.tri(4, k=-1)).tolist()} if learned else None,
        **changes,
    }
    return write_result(config.folder, record)


LEVELS = {"supervised": 0.5, "null-depth": 2.0, "average-depth": 1.5, "wu": 1.1, "independent": 1.0}
"""Made-up scores of rows; the others are better than independent."""


def level_of(order: str) -> float:
    """A made-up score of an order: the earlier the view and the albedo, the worse."""
    return 1.0 + 0.05 * math.sin(3 * order.index("V")) - 0.04 * order.index("A")


def write_everything(config: BenchmarkConfig) -> None:
    """A result for every run of the plan."""
    for run in plan(config):
        if run.stage is Stage.SHARING:
            orders = [other.order for other in plan(config) if other.stage is Stage.ORDERS and other.order]
            shared = {str(order): {"score": level_of(str(order)), "standard_error": 0.01} for order in orders}
            write_record(config, run, 1.0, validation=None, shared=shared)
        elif run.stage is Stage.ORDERS and run.order:
            write_record(config, run, level_of(str(run.order)) + 0.002 * run.seed)
        elif run.stage in (Stage.CONTROLS, Stage.REMEDIES):
            write_record(config, run, 0.95)
        else:
            write_record(config, run, LEVELS.get(run.method.name, 0.8) + 0.01 * run.seed + 200 * (run.rate or 0))
