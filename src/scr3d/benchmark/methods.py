"""The rows of the table: what is trained, and what the papers report for it. Without torch, since options name them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from scr3d.causal.kinds import Attention, StructureKind


class OrderSource(StrEnum):
    """Where the causal order of a row comes from."""

    NONE = "none"
    RANDOM = "random"
    SEARCHED = "searched"


@dataclass(frozen=True)
class Reported:
    """Scores that a paper reports on the Basel synthetic faces: mean and standard deviation over images.

    Attributes:
        side_e2: SIDE x 1e-2.
        mad_deg: MAD in degrees.
    """

    side_e2: tuple[float, float]
    mad_deg: tuple[float, float]


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        name: on the command line and in file names.
        title: in the table.
        reported: of the papers, on other data.
        trained: whether there is something to train.
        supervised: learns from true depth.
        model: fields of the model's configuration that make the row.
        order: where its order comes from.
        main: gets all seeds; other rows get two at most.
        scr: one of the structures that the paper proposes, among which the best is chosen on validation.
    """

    name: str
    title: str
    reported: Reported
    trained: bool = True
    supervised: bool = False
    model: dict[str, Any] = field(default_factory=dict)
    order: OrderSource = OrderSource.NONE
    main: bool = False
    scr: bool = False


def _methods() -> tuple[Method, ...]:
    independent = {"structure": StructureKind.INDEPENDENT}
    dense = {"structure": StructureKind.DENSE}
    generic = {"structure": StructureKind.GENERIC}
    dynamic = {"structure": StructureKind.DYNAMIC}
    sigmoid, cosine = {"attention": Attention.SIGMOID}, {"attention": Attention.COSINE}
    random, searched = OrderSource.RANDOM, OrderSource.SEARCHED

    def reported(side: float, side_std: float, mad: float, mad_std: float) -> Reported:
        return Reported((side, side_std), (mad, mad_std))

    return (
        Method("supervised", "Supervised", reported(0.410, 0.103, 10.78, 1.01), supervised=True),
        Method("null-depth", "Constant null depth", reported(2.723, 0.371, 43.34, 2.25), trained=False),
        Method("average-depth", "Average true depth", reported(1.990, 0.556, 23.26, 2.85), trained=False),
        Method(
            "wu", "Wu et al.", reported(0.901, 0.190, 17.53, 1.84), model={**independent, "split": False}, main=True
        ),
        Method("independent", "Independent SCR", reported(0.895, 0.183, 17.36, 1.78), model=independent, main=True),
        Method("dense-random", "Dense SCR (random)", reported(1.000, 0.275, 17.66, 2.09), model=dense, order=random),
        Method(
            "dense-bo",
            "Dense SCR (BO)",
            reported(0.830, 0.205, 14.88, 1.94),
            model=dense,
            order=searched,
            main=True,
            scr=True,
        ),
        Method("generic-eq5", "Generic SCR (Eq. 5)", reported(0.859, 0.215, 15.17, 1.92), model=generic, scr=True),
        Method(
            "generic-eq6",
            "Generic SCR (Eq. 6)",
            reported(0.820, 0.190, 14.79, 1.96),
            model=generic,
            order=searched,
            scr=True,
        ),
        Method(
            "dynamic-sigmoid",
            "Dynamic SCR (sigmoid)",
            reported(0.827, 0.220, 14.86, 2.02),
            model={**dynamic, **sigmoid},
            order=searched,
            main=True,
            scr=True,
        ),
        Method(
            "dynamic-cosine",
            "Dynamic SCR (cosine)",
            reported(0.815, 0.232, 14.80, 1.95),
            model={**dynamic, **cosine},
            order=searched,
            main=True,
            scr=True,
        ),
    )


METHODS: dict[str, Method] = {method.name: method for method in _methods()}
"""All rows, in the order of the table ([SCR], Table 1)."""

ONLY_REPORTED: dict[str, Reported] = {
    "Wu et al. (their report)": Reported((0.793, 0.140), (16.51, 1.56)),
    "Ho et al. (their report)": Reported((0.834, 0.169), (15.49, 1.50)),
}
"""Rows of the paper's table that nobody can measure here."""
