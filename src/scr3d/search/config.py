"""The configuration of a search: every option once, with its default and its help."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

from scr3d.causal.kinds import StructureKind
from scr3d.errors import ConfigError
from scr3d.search.candidates import Space, folder_name, search_space
from scr3d.training.config import TrainConfig

DEFAULT_IMAGES = 200_000
"""Length of a candidate's run unless --images says otherwise."""


class Strategy(StrEnum):
    """How candidates are chosen."""

    BO = "bo"
    ONE_SHOT = "one-shot"
    HALVING = "halving"
    EXHAUSTIVE = "exhaustive"
    RANDOM = "random"


class ScoreKind(StrEnum):
    """What is minimised, as a mean over validation images."""

    HELDOUT = "heldout"
    NORMALS = "normals"


SCORE_NAMES = {
    ScoreKind.HELDOUT: "held-out reconstruction loss",
    ScoreKind.NORMALS: "mean angle between normals (MAD, degrees)",
}


@dataclass(frozen=True)
class Task:
    """One training: a candidate, a seed, and how far to train.

    Attributes:
        name: the candidate, an order or edges.
        seed: of its run.
        images: length in images seen; less than the whole run in the lower rungs of halving.
    """

    name: str
    seed: int
    images: int


@dataclass(frozen=True)
class SearchConfig:
    """A search."""

    training: TrainConfig
    """How every candidate is trained; --out is the folder of the search, --images the length of a full run."""
    strategy: Strategy = Strategy.BO
    """bo (Bayesian optimisation), one-shot (one network under all orders, then the best few alone), halving (all a
    little, the better ones on), exhaustive or random."""
    score: ScoreKind = ScoreKind.HELDOUT
    """heldout (reconstruction loss of validation images, no truth needed) or normals (their error, truth needed)."""
    trials: int = 0
    """Candidates to train; 0 for the usual number: all (exhaustive, halving), 8 (bo, random), 3 (one-shot)."""
    storage: str | None = None
    """URL of the study: sqlite:///FILE, postgresql+psycopg://USER@HOST/NAME, mysql+pymysql://..., or journal:FILE;
    without it, search.db in the output folder. All workers with the same URL share the study."""
    study_name: str = "scr3d-search"
    """Name of the study in the storage."""
    seeds: int = 1
    """Trainings of each candidate, with seeds from --seed upwards."""
    jobs: int = 1
    """Workers to run on this machine; more can be started anywhere with the same command."""
    sub_dags_of: str | None = None
    """Search the 64 sub-DAGs of this order instead of the 24 orders."""
    startup_trials: int = 4
    """Random candidates before Bayesian optimisation proposes."""
    kernel: Literal["l1", "mallows"] = "l1"
    """Similarity of orders in Bayesian optimisation: l1 distance of ranks, or mallows (swaps of neighbours)."""
    rungs: int = 3
    """Lengths of training in halving; the longest is --images."""
    eta: int = 3
    """Factor between the rungs of halving: so many times the images for one in so many candidates."""
    heartbeat_s: float = 30.0
    """Seconds between the signs of life of a worker; after four without one its candidate is taken up by another."""

    def __post_init__(self) -> None:
        for name, value in (("seeds", self.seeds), ("jobs", self.jobs), ("rungs", self.rungs)):
            if value < 1:
                raise ConfigError(f"--{name} must be at least 1; got {value}")
        if self.startup_trials < 1:
            raise ConfigError(f"--startup-trials must be at least 1; got {self.startup_trials}")
        if self.eta < 2:
            raise ConfigError(f"--eta must be at least 2; got {self.eta}")
        if not (self.heartbeat_s > 0 and math.isfinite(self.heartbeat_s)):
            raise ConfigError(f"--heartbeat-s must be positive; got {self.heartbeat_s}")
        space = self.space
        if not 0 <= self.trials <= len(space):
            raise ConfigError(
                f"--trials must lie between 1 and {len(space)}, the number of {space.plural}; got {self.trials}"
            )
        if self.kernel == "mallows" and space.parameter == "edges":
            raise ConfigError("--kernel mallows compares orders; with --sub-dags-of take --kernel l1")
        if self.strategy is Strategy.ONE_SHOT and self.training.model.structure is StructureKind.GENERIC:
            raise ConfigError(
                "--strategy one-shot draws the graph of every step; it cannot learn one (--structure generic)"
            )
        if self.strategy is Strategy.HALVING and self.lengths[0] < self.training.optimiser.batch_size:
            raise ConfigError(
                f"--images {self.training.images} leaves no whole batch to the first of {self.rungs} rungs; "
                "give more images or fewer --rungs"
            )

    @property
    def space(self) -> Space:
        """The candidates."""
        return search_space(self.training.model, self.sub_dags_of)

    @property
    def count(self) -> int:
        """How many candidates are trained."""
        usual = {Strategy.BO: 8, Strategy.RANDOM: 8, Strategy.ONE_SHOT: 3}
        return self.trials or usual.get(self.strategy, len(self.space))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Lengths of training in images, shortest first; one unless the strategy is halving."""
        if self.strategy is not Strategy.HALVING:
            return (self.training.images,)
        batch = self.training.optimiser.batch_size
        steps = self.training.steps
        shorter = (steps // self.eta**rung * batch for rung in range(self.rungs - 1, 0, -1))
        return (*shorter, self.training.images)

    def run_config(self, task: Task) -> TrainConfig:
        """The run of a task. Its length is always the whole one, so that a longer task goes on from a shorter."""
        folder = self.training.out / "trials" / f"{folder_name(task.name)}-s{task.seed}"
        model = self.space.model(self.training.model, task.name)
        return replace(self.training, out=folder, model=model, seed=task.seed)

    @property
    def folder(self) -> Path:
        """Folder of the search."""
        return self.training.out
