"""Training runs to be timed: real batches, and the trainer's own steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from scr3d.causal import StructureKind
from scr3d.data.heads import HeadsConfig, generate
from scr3d.models import ModelConfig, Preset
from scr3d.training.config import GraphConfig, OptimiserConfig, TrainConfig
from scr3d.training.trainer import Trainer

IMAGES = 20_000_000
"""Length of the pretended run, so that no schedule ends while it is timed."""
IMAGES_SEEN = 200_000
"""Images after which the timed steps take place: the view has its full size and every loss is on."""
HELD_OUT = 64
ORDER = "VDLA"
STRUCTURES = {
    "independent": StructureKind.INDEPENDENT,
    "dense": StructureKind.DENSE,
    "dynamic": StructureKind.DYNAMIC,
    "generic": StructureKind.GENERIC,
}
PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {"float32": "32-true", "bf16": "bf16-mixed"}


def make_data(root: Path, size: int, batch: int) -> Path:
    """Synthetic heads for training, and as many held-out ones as a step of a learned graph needs."""
    folder = root / f"heads-{size}"
    for config in (
        HeadsConfig(split="train", count=8 * batch, size=size),
        HeadsConfig(split="val", count=max(HELD_OUT, 2 * batch), size=size),
    ):
        generate(config, folder, progress=lambda *_: None)
    return folder


def model_config(preset: str, size: int, structure: str) -> ModelConfig:
    """The default network of a family with one of the `STRUCTURES`."""
    order = ORDER if structure == "dense" else None
    return ModelConfig(preset=Preset(preset), size=size, structure=STRUCTURES[structure], order=order)


def trainer(
    data: Path,
    out: Path,
    model: ModelConfig,
    batch: int,
    threads: int,
    device: str,
    precision: str = "float32",
    graph: GraphConfig | None = None,
) -> Trainer:
    """A run under way, with the default recipe."""
    config = TrainConfig(
        data=data,
        out=out,
        model=model,
        graph=graph or GraphConfig(),
        optimiser=replace(OptimiserConfig(), batch_size=batch),
        images=IMAGES,
        threads=threads,
        device=device,
        precision=PRECISIONS[precision],
    )
    run = Trainer(config)
    run.step = IMAGES_SEEN // batch
    return run
