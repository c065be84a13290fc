"""The configuration of a training run: every option once, with its default and its help."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from scr3d.causal.kinds import PenaltyKind, StructureKind
from scr3d.errors import ConfigError
from scr3d.models.config import DepthStart, ModelConfig
from scr3d.serialization import to_json
from scr3d.training.recipe import RECIPES, Recipe


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam and what surrounds it."""

    rate: float = 1e-3
    """Learning rate."""
    beta1: float = 0.9
    """Decay of the first moment."""
    beta2: float = 0.999
    """Decay of the second moment."""
    weight_decay: float = 0.0
    """L2 penalty, added to the gradient; the papers take 5e-4."""
    batch_size: int = 32
    """Images in one step."""
    final_decay: float = 0.3
    """Share of the run over which the learning rate falls linearly to a twentieth; 0 keeps it constant."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; 0 for no limit."""
    average: float = 0.999
    """Decay of the running average of the weights that is validated and kept; 0 for none."""


@dataclass(frozen=True)
class GraphConfig:
    """How the graph of --structure generic is learned."""

    graph_learning: Literal["bilevel", "joint"] = "bilevel"
    """bilevel: on held-out images, through the steps of the weights; joint: on the training loss."""
    inner_steps: int = 1
    """Steps of the weights between two steps of the graph, differentiated; 1 to 5."""
    plain_steps: int = 0
    """Plain steps of the weights after every step of the graph, not differentiated: the graph learns from less, and
    costs less."""
    graph_gradient: Literal["differences", "autograd", "first-order"] = "differences"
    """How the graph's gradient goes through the inner steps: by differences of their gradients; by differentiating
    them a second time, which misses what lies in the kinks of the losses; or not at all, as if the weights were
    constants."""
    graph_reach: float = 3.0
    """How far an entry of the graph can move during the run; its learning rate is this over its number of steps."""
    dag_penalty: PenaltyKind = PenaltyKind.POLYNOMIAL
    """Penalty on cycles where no order is given: polynomial (the paper), exponential (NOTEARS) or logdet (DAGMA)."""
    dag_weight: float = 10.0
    """Its weight at the start."""
    dag_doublings: float = 24.0
    """How often that weight doubles while the graph is learned."""
    dag_threshold: float = 0.3
    """Share of the largest weight below which an edge is dropped in the end."""
    fine_tune: float = 0.2
    """Share of the run for which the weights train on under the final graph; 0 where an order is given."""

    def __post_init__(self) -> None:
        if not 1 <= self.inner_steps <= 5:
            raise ConfigError(f"--inner-steps must lie between 1 and 5; got {self.inner_steps}")
        if self.plain_steps < 0:
            raise ConfigError(f"--plain-steps must not be negative; got {self.plain_steps}")
        if not 0 <= self.dag_threshold <= 1:
            raise ConfigError(f"--dag-threshold must lie in [0, 1]; got {self.dag_threshold}")
        if not 0 <= self.fine_tune < 1:
            raise ConfigError(f"--fine-tune must lie in [0, 1); got {self.fine_tune}")
        if not self.graph_reach > 0:
            raise ConfigError(f"--graph-reach must be positive; got {self.graph_reach}")


@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    data: Path
    """Data set: a folder with train/ and val/ stores, or a folder of photos."""
    out: Path
    """Folder of the run; started again with the same options, an interrupted run goes on."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The networks and the causal structure."""
    recipe: Recipe = field(default_factory=Recipe)
    """The losses and their schedules."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """The optimiser."""
    graph: GraphConfig = field(default_factory=GraphConfig)
    """How a learned graph is learned."""
    images: int = 1_000_000
    """Length of the run in images seen."""
    seed: int = 0
    """Seed of weights, data order and augmentation."""
    mirror: bool = True
    """Mirror every image with probability one half."""
    features: Literal["squeezenet", "vgg16"] = "squeezenet"
    """Perceptual features: squeezenet (shipped) or vgg16 (the papers)."""
    vgg16_file: Path | None = None
    """torchvision's vgg16-397923af.pth; without it, vgg16 is downloaded."""
    start_from: Path | None = None
    """Run or model folder, or hf://owner/name, to take weights from; one of half the size is grown."""
    validate_every: int = 50_000
    """Images between validations (and checkpoints)."""
    validation_images: int = 512
    """How many validation images are scored."""
    device: str = "auto"
    """auto, cpu, cuda, or cuda:N."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic of the networks; bf16-mixed where the processor or the GPU computes in it."""
    threads: int = 0
    """CPU threads of the run; 0 takes all."""
    deterministic: bool = False
    """Only operations that give the same bits every time on a GPU too; on the CPU runs do so anyway."""
    keep_going: bool = False
    """Only warn when the run has collapsed, instead of stopping."""

    def __post_init__(self) -> None:
        positive = {
            "images": self.images,
            "batch-size": self.optimiser.batch_size,
            "validate-every": self.validate_every,
            "validation-images": self.validation_images,
            "rate": self.optimiser.rate,
        }
        for name, value in positive.items():
            if not value > 0:
                raise ConfigError(f"--{name} must be positive; got {value}")
        if not 0 <= self.optimiser.average < 1:
            raise ConfigError(f"--average must lie in [0, 1); got {self.optimiser.average}")

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return max(1, self.images // self.optimiser.batch_size)


@dataclass(frozen=True)
class MachineOptions:
    """What a run uses of its machines: changes how fast it goes, not what it computes; no part of its description."""

    devices: int = 0
    """Processes on this machine, each with a GPU, or with its share of the cores; 0 takes what torchrun or Slurm has
    started, or one."""
    nodes: int = 1
    """Machines; each is given the same command, with MASTER_ADDR, MASTER_PORT and NODE_RANK in its environment."""
    shard_cache_gb: float = 20.0
    """Space for shards that are fetched from a URL, in gigabytes; four shards and those of validation should fit."""
    cuda_graph: bool = True
    """Let a GPU repeat a recorded step, several times as fast for small networks; for one process."""

    def __post_init__(self) -> None:
        if self.devices < 0 or self.nodes < 1:
            raise ConfigError(f"--devices and --nodes must be positive; got {self.devices} and {self.nodes}")
        if not self.shard_cache_gb > 0:
            raise ConfigError(f"--shard-cache-gb must be positive; got {self.shard_cache_gb}")


PAPER_MODEL: dict[str, Any] = {
    "depth_start": DepthStart.FLAT,
    "max_translation": 0.1,
    "start_scale": 1.0,
}
PAPER_OPTIMISER: dict[str, Any] = {
    "rate": 1e-4,
    "weight_decay": 5e-4,
    "batch_size": 64,
    "final_decay": 0.0,
    "gradient_clip": 0.0,
    "average": 0.0,
}


SUPERVISED_MODEL: dict[str, Any] = {
    "structure": StructureKind.INDEPENDENT,
    "max_rotation_deg": 0.0,
    "max_translation": 0.0,
}
"""Without views the canonical frame is that of the image: the depth network predicts the depth seen there."""


def recipe_defaults(name: str) -> tuple[ModelConfig, Recipe, OptimiserConfig]:
    """Defaults of model, losses and optimiser under a named recipe: `robust`, `paper` or `supervised`.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name not in RECIPES:
        raise ConfigError(f"--recipe must be one of {', '.join(RECIPES)}; got {name!r}")
    model, optimiser = ModelConfig(), OptimiserConfig()
    if name == "paper":
        model, optimiser = replace(model, **PAPER_MODEL), replace(optimiser, **PAPER_OPTIMISER)
    if name == "supervised":
        model = replace(model, **SUPERVISED_MODEL)
    return model, RECIPES[name], optimiser


def comparable(config: TrainConfig) -> dict[str, Any]:
    """The options that a resumed run must share with the interrupted one."""
    return to_json(replace(config, out=Path(), data=Path(), device="", threads=0, keep_going=False))


def in_todays_words(record: dict[str, Any]) -> dict[str, Any]:
    """A configuration as JSON with options that have another name today under that name."""
    graph = record.get("graph")
    if isinstance(graph, dict) and "first_order" in graph:
        others = {name: value for name, value in graph.items() if name != "first_order"}
        way = "first-order" if graph["first_order"] else "autograd"
        return record | {"graph": others | {"graph_gradient": way}}
    return record


def different_options(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The options in which two configurations differ, in words."""
    names = []
    for name, value in wanted.items():
        if isinstance(value, dict):
            if value != found[name]:
                names.append(different_options(found[name], value))
        elif value != found[name]:
            names.append(f"{name.replace('_', '-')} {found[name]} there, {value} here")
    return "; ".join(names)
