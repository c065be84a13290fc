"""The plan: every run of a benchmark, stage by stage; what a run needs from others is filled in when it starts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from scr3d.benchmark.config import BenchmarkConfig, Stage
from scr3d.benchmark.methods import METHODS, Method, OrderSource
from scr3d.benchmark.protocol import Protocol
from scr3d.causal.kinds import MixingKind, ParentFlow, StructureKind
from scr3d.causal.order import all_orders
from scr3d.models.config import EncoderKind, Preset
from scr3d.training.config import GraphConfig

BILEVEL_COST = {"differences": 3.5, "autograd": 5.4, "first-order": 1.7}
"""Plain steps that take as long as one that a learned graph's gradient goes through, by `--graph-gradient`; for the
expected time alone."""
FEW_SEEDS = 2


class OrderChoice(StrEnum):
    """Orders that the results of the 24 orders decide."""

    SEARCHED = "searched"
    BEST = "best"
    WORST = "worst"


@dataclass(frozen=True)
class Run:
    """One training, or one prediction without any.

    Attributes:
        stage: of the benchmark.
        name: unique in its stage; of the result's file.
        method: the row.
        seed: of weights, data order and augmentation.
        images: length in images seen.
        order: causal order, or how the results of the 24 orders decide it; None where there is none.
        rate: learning rate; None: the best of the grid.
        model: fields of the model that differ from the row's.
        losses: fields of the recipe that differ from the protocol's.
        tested: scored on the test split.
        cost: time of an image against one of a plain run; for the expected time alone.
    """

    stage: Stage
    name: str
    method: Method
    seed: int
    images: int
    order: str | OrderChoice | None = None
    rate: float | None = None
    model: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, Any] = field(default_factory=dict)
    tested: bool = False
    cost: float = 1.0

    @property
    def work(self) -> float:
        """Images that a plain run would see in the time of this one."""
        return self.images * self.cost


def plan(config: BenchmarkConfig) -> list[Run]:
    """All runs of a benchmark, in the order in which they can be done."""
    protocol = config.settings
    stages = {
        Stage.ORDERS: lambda: order_runs(protocol),
        Stage.SHARING: lambda: [sharing_run(protocol)],
        Stage.RATES: lambda: rate_runs(protocol, config.methods),
        Stage.TABLE: lambda: table_runs(protocol, config.methods, config.seeds or protocol.seeds),
        Stage.LONGER: lambda: longer_runs(protocol, config.methods, config.seeds or protocol.seeds),
        Stage.CONTROLS: lambda: control_runs(protocol),
        Stage.REMEDIES: lambda: remedy_runs(protocol),
    }
    return [
        replace(run, cost=cost(run.method, protocol))
        for stage, make in stages.items()
        if stage in config.stages
        for run in make()
    ]


def cost(method: Method, protocol: Protocol) -> float:
    """Time of an image against one of a plain run."""
    if method.model.get("structure") is not StructureKind.GENERIC:
        return 1.0
    inner, plain = protocol.graph.get("inner_steps", 1), protocol.graph.get("plain_steps", 0)
    way = protocol.graph.get("graph_gradient", GraphConfig.graph_gradient)
    return (BILEVEL_COST[way] * inner + plain) / (inner + plain)


def order_runs(protocol: Protocol) -> list[Run]:
    """Every order with every seed, and the independent structure beside them; whole rounds of seeds first."""
    dense, independent = METHODS["dense-bo"], METHODS["independent"]
    runs = []
    for seed in range(protocol.order_seeds):
        common: dict[str, Any] = {"seed": seed, "images": protocol.order_images, "rate": protocol.order_rate}
        runs.append(Run(Stage.ORDERS, f"independent-s{seed}", independent, **common))
        names = [str(order) for order in all_orders()]
        runs += [Run(Stage.ORDERS, f"{name}-s{seed}", dense, order=name, **common) for name in names]
    return runs


def sharing_run(protocol: Protocol) -> Run:
    """One network under all orders, trained for as long as two of the 24."""
    dense = METHODS["dense-bo"]
    return Run(Stage.SHARING, "all-orders", dense, 0, 2 * protocol.order_images, rate=protocol.order_rate)


def rate_runs(protocol: Protocol, methods: tuple[str, ...]) -> list[Run]:
    """Every trained row with every learning rate of the grid."""
    return [
        Run(Stage.RATES, f"{name}-{rate:g}", METHODS[name], 0, protocol.rate_images, row_order(METHODS[name], 0), rate)
        for name in methods
        if METHODS[name].trained
        for rate in protocol.rates
    ]


def table_runs(protocol: Protocol, methods: tuple[str, ...], seeds: int) -> list[Run]:
    """The rows; the first seed of all of them first."""
    runs = []
    for seed in range(seeds):
        for name in methods:
            method = METHODS[name]
            if seed < row_seeds(method, seeds):
                order = row_order(method, seed)
                images = protocol.images if method.trained else 0
                runs.append(Run(Stage.TABLE, f"{name}-s{seed}", method, seed, images, order, tested=True))
    return runs


def longer_runs(protocol: Protocol, methods: tuple[str, ...], seeds: int) -> list[Run]:
    """The main rows of the table with more images: does what is found there hold, or is it a matter of speed?"""
    main = tuple(name for name in methods if METHODS[name].main) if protocol.longer_images else ()
    return [
        replace(run, stage=Stage.LONGER, images=protocol.longer_images)
        for run in table_runs(protocol, main, min(seeds, FEW_SEEDS))
    ]


def control_runs(protocol: Protocol) -> list[Run]:
    """Is it structure or capacity? Trained as the 24 orders are, and compared with them.

    Parents without a gradient back to them, or of another image; encoders of the other kind (unequal in compact
    networks, equal in reference ones); and the other forms of mixing.
    """
    dense, independent = METHODS["dense-bo"], METHODS["independent"]
    best, worst = OrderChoice.BEST, OrderChoice.WORST
    other = EncoderKind.UNEQUAL if protocol.preset is Preset.COMPACT else EncoderKind.EQUAL
    encoders = {"encoders": other}
    controls: list[tuple[str, Method, OrderChoice | None, dict[str, Any]]] = [
        ("detached-best", dense, best, {"parents": ParentFlow.DETACHED}),
        ("shuffled-best", dense, best, {"parents": ParentFlow.SHUFFLED}),
        (f"{other}-independent", independent, None, encoders),
        (f"{other}-best", dense, best, encoders),
        (f"{other}-worst", dense, worst, encoders),
        ("concat-best", dense, best, {"mixing": MixingKind.CONCAT}),
        ("recursive-best", dense, best, {"mixing": MixingKind.RECURSIVE}),
    ]
    return [
        Run(Stage.CONTROLS, f"{name}-s{seed}", method, seed, protocol.order_images, order, protocol.order_rate, changes)
        for seed in range(protocol.order_seeds)
        for name, method, order, changes in controls
    ]


def remedy_runs(protocol: Protocol) -> list[Run]:
    """Independent and Dense SCR under each remedy, otherwise trained as the 24 orders are; rounds of seeds in turn."""
    rows = (METHODS["independent"], None), (METHODS["dense-bo"], OrderChoice.SEARCHED)
    return [
        Run(
            Stage.REMEDIES,
            f"{remedy.name}-{method.name}-s{seed}",
            method,
            seed,
            round(remedy.length * protocol.order_images),
            order,
            remedy.rate_factor * protocol.order_rate,
            remedy.model,
            remedy.losses,
        )
        for seed in range(protocol.order_seeds)
        for remedy in protocol.remedies
        for method, order in rows
    ]


def row_seeds(method: Method, seeds: int) -> int:
    """How many seeds a row gets; one where nothing is random."""
    if not method.trained:
        return 1
    return seeds if method.main else min(seeds, FEW_SEEDS)


def row_order(method: Method, seed: int) -> str | OrderChoice | None:
    """The order of a row: none, searched, or drawn anew for every seed."""
    if method.order is OrderSource.RANDOM:
        return str(random.Random(seed).choice(list(all_orders())))
    return OrderChoice.SEARCHED if method.order is OrderSource.SEARCHED else None
