"""The protocols: everything that is the same for all rows. Without torch, since options name them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from scr3d.models.config import Preset


@dataclass(frozen=True)
class Remedy:
    """A change under which Independent and Dense SCR are compared again: does the order count for more?

    Attributes:
        name: in the results' path.
        about: in the report's table.
        model: fields of the model.
        losses: fields of the recipe.
        rate_factor: learning rate against that of the 24 orders.
        length: images seen against the 24 orders.
    """

    name: str
    about: str
    model: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, Any] = field(default_factory=dict)
    rate_factor: float = 1.0
    length: float = 1.0


@dataclass(frozen=True)
class Protocol:
    """Sizes, lengths and numbers of a benchmark.

    Attributes:
        name: on the command line and in the results' path.
        about: one sentence.
        preset: network family.
        size: of the images, in pixels.
        width: of the compact networks.
        recipe: `robust` or `paper`; the supervised row has its own losses and the same optimiser.
        features: of the perceptual loss.
        images: length of a run of the table, in images seen.
        longer_images: length at which the main rows are compared again; 0: they are not.
        rate_images: length of a run that chooses a learning rate.
        order_images: length of a run of the 24 orders, the controls and the remedies.
        rates: the grid of learning rates.
        order_rate: the rate of the 24 orders, and of controls and remedies.
        order_seeds: seeds of each of the 24 orders.
        seeds: of the main rows of the table; the others have two at most.
        search_trials: candidates that Bayesian optimisation may ask for.
        curve_points: validations in a run.
        scored_images: validation images that choices are made on.
        counts: images per split of the built-in data; None: the data must be given.
        model: further fields of the model.
        losses: further fields of the recipe.
        remedies: changes under which Independent and Dense SCR are compared again.
        graph: how a learned graph is learned: fields of `scr3d.training.config.GraphConfig`.
    """

    name: Literal["smoke", "cpu", "paper"]
    about: str
    preset: Preset
    size: int
    width: int
    recipe: str
    features: Literal["squeezenet", "vgg16"]
    images: int
    longer_images: int
    rate_images: int
    order_images: int
    rates: tuple[float, ...]
    order_rate: float
    order_seeds: int
    seeds: int
    search_trials: int
    curve_points: int
    scored_images: int
    counts: dict[str, int] | None
    model: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, Any] = field(default_factory=dict)
    graph: dict[str, Any] = field(default_factory=dict)
    remedies: tuple[Remedy, ...] = ()


HALF_RATE = Remedy("half-rate", "half the learning rate", rate_factor=0.5)
FREE_SHAPES = Remedy("free-shapes", "no penalty on how much the shapes differ", losses={"shape_penalty": 0.0})
NO_PRIORS = Remedy(
    "no-priors",
    "no prior but smoothness: none on shapes, relief, light and view",
    losses={
        "shape_penalty": 0.0,
        "relief_penalty": 0.0,
        "light_penalty": 0.0,
        "rotation_penalty": 0.0,
        "translation_penalty": 0.0,
    },
)
NARROW = Remedy("narrow", "networks of width 8, embeddings of 32", model={"width": 8})
WIDE = Remedy("wide", "networks of width 32, embeddings of 128", model={"width": 32})
LONG = Remedy("long", "four times as many images", length=4.0)

PROTOCOLS: dict[str, Protocol] = {
    "smoke": Protocol(
        name="smoke",
        about="everything once, in minutes; the scores mean nothing",
        preset=Preset.COMPACT,
        size=32,
        width=4,
        recipe="robust",
        features="squeezenet",
        images=256,
        longer_images=512,
        rate_images=64,
        order_images=64,
        rates=(5e-4, 1e-3),
        order_rate=1e-3,
        order_seeds=1,
        seeds=1,
        search_trials=6,
        curve_points=2,
        scored_images=32,
        counts={"train": 256, "val": 96, "test": 64},
        remedies=(HALF_RATE, FREE_SHAPES, NARROW, LONG),
    ),
    "cpu": Protocol(
        name="cpu",
        about="built-in heads at 32x32, compact networks: hours on two CPU cores",
        preset=Preset.COMPACT,
        size=32,
        width=16,
        recipe="robust",
        features="squeezenet",
        images=80_000,
        longer_images=160_000,
        rate_images=32_000,
        order_images=40_000,
        rates=(1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3),
        order_rate=1e-3,
        order_seeds=2,
        seeds=3,
        search_trials=8,
        curve_points=15,
        scored_images=512,
        counts={"train": 40_000, "val": 2_000, "test": 2_000},
        losses={
            "smoothness_decay": 20_000,
            "rotation_penalty_decay": 10_000,
            "light_penalty_decay": 25_000,
            "relief_start": 24_000,
            "relief_rampup": 16_000,
            "view_warmup": 6_400,
        },
        graph={"plain_steps": 3, "graph_gradient": "autograd"},
        remedies=(LONG, HALF_RATE, FREE_SHAPES, NO_PRIORS, NARROW, WIDE),
    ),
    "paper": Protocol(
        name="paper",
        about="the papers' networks, losses and lengths on the Basel synthetic faces (--data); for a GPU",
        preset=Preset.REFERENCE,
        size=64,
        width=16,
        recipe="paper",
        features="vgg16",
        images=3_200_000,
        longer_images=0,
        rate_images=640_000,
        order_images=320_000,
        rates=(5e-5, 1e-4, 2e-4),
        order_rate=1e-4,
        order_seeds=2,
        seeds=3,
        search_trials=8,
        curve_points=50,
        scored_images=1_000,
        counts=None,
        graph={"graph_gradient": "autograd"},
        remedies=(HALF_RATE,),
    ),
}
"""`cpu`: a run takes a quarter of an hour, for which the schedules of the recipe are halved (docs/training.md).
`paper`: 50,000 steps of batch 64 as in [U], 5,000 for each order of the search as in [SCR]. Both learn a graph as [SCR]
does, by differentiating the steps of the weights a second time (docs/structures.md says what that misses)."""
