"""What earlier results decide: the learning rate of a row, and the orders that later runs take."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from scr3d.benchmark.config import Stage
from scr3d.benchmark.methods import Method
from scr3d.benchmark.plan import OrderChoice, Run
from scr3d.benchmark.protocol import Protocol
from scr3d.benchmark.records import HELDOUT, Result, Results
from scr3d.causal.order import all_orders
from scr3d.errors import Scr3dError

ORDERS = tuple(str(order) for order in all_orders())
STARTUP_TRIALS = 4


class WaitingError(Scr3dError):
    """A run needs results that are not there yet."""


def chosen_rate(results: Results, protocol: Protocol, method: Method) -> float:
    """The learning rate of the grid with the lowest held-out loss of a row.

    Raises:
        WaitingError: a rate of the grid has not been tried.
    """
    losses = {}
    for rate in protocol.rates:
        result = results.get(Stage.RATES, f"{method.name}-{rate:g}")
        if result is None:
            raise WaitingError(f"the learning rate of {method.name} is chosen when all rates have been tried")
        losses[rate] = result.heldout if math.isfinite(result.heldout) else math.inf
    return min(losses, key=lambda rate: (losses[rate], rate))


def order_results(results: Results, protocol: Protocol) -> dict[str, list[Result]]:
    """The runs of each of the 24 orders, one for each seed.

    Raises:
        WaitingError: some are missing.
    """
    found: dict[str, list[Result]] = {}
    for order in ORDERS:
        seeds = [results.get(Stage.ORDERS, f"{order}-s{seed}") for seed in range(protocol.order_seeds)]
        found[order] = [result for result in seeds if result is not None]
    missing = len(ORDERS) * protocol.order_seeds - sum(len(runs) for runs in found.values())
    if missing:
        raise WaitingError(f"the order is chosen when all 24 have been trained; {missing} trainings are missing")
    return found


def order_scores(runs: Mapping[str, list[Result]], score: str) -> dict[str, float]:
    """Mean validation score of each order over its seeds."""
    return {order: statistics.fmean(run.mean("validation", score) for run in found) for order, found in runs.items()}


def search_recorded(scores: Mapping[str, float], trials: int, seed: int, kernel: str = "l1") -> list[str]:
    """The orders that Bayesian optimisation asks for when the scores are looked up instead of trained, in turn."""
    from scr3d.search.sampler import OrderSampler

    sampler = OrderSampler(STARTUP_TRIALS, kernel, seed)
    asked: list[tuple[str, float]] = []
    for number in range(trials):
        order = sampler.propose(list(scores), asked, [], number)
        asked.append((order, scores[order]))
    return [order for order, _ in asked]


def searched_order(results: Results, protocol: Protocol) -> str:
    """The order that Bayesian optimisation finds by the held-out loss, without truth.

    Raises:
        WaitingError: orders are missing.
    """
    scores = order_scores(order_results(results, protocol), HELDOUT)
    return min(search_recorded(scores, protocol.search_trials, seed=0), key=lambda order: scores[order])


def order_of(run: Run, results: Results, protocol: Protocol) -> str | None:
    """The order of a run; the best and the worst are those by true normals.

    Raises:
        WaitingError: orders are missing.
    """
    if not isinstance(run.order, OrderChoice):
        return run.order
    if run.order is OrderChoice.SEARCHED:
        return searched_order(results, protocol)
    scores = order_scores(order_results(results, protocol), "mad_deg")
    pick = min if run.order is OrderChoice.BEST else max
    return pick(ORDERS, key=lambda order: scores[order])
