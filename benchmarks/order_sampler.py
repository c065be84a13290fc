"""How fast Bayesian optimisation finds a good order, on synthetic tables of all 24 scores.

    python benchmarks/order_sampler.py [--runs 200] [--out results/search/sampler.json]

Every run draws a table and searches it. The tables, all with noise-free part standardised to deviation 1:

- `ranks`: a normal weight for each factor's rank, half as large ones for which of two factors comes first, and noise of
  deviation `--noise` (0.3);
- `pairs`: only the weights for which of two factors comes first, and the same noise;
- `none`: independent normal scores; there is nothing to learn;
- `misleading`: `ranks`, with the scores of the three best and the three worst orders exchanged.

`top_3` is the share of runs that have met one of the three best orders after 1, 2, ... trials. `best` is the mean of
the best score after the last trial and `difference` that minus what random search without repetition expects in the
same table (computed, not drawn), with its standard error. `leave_one_out` is how well each score is predicted from the
other 23.
"""

from __future__ import annotations

import argparse
import time
from itertools import accumulate
from math import comb
from pathlib import Path

import numpy as np

from harness import Report, prepare, run, settings, write_report
from scr3d.causal import all_orders
from scr3d.search.kernels import KERNELS
from scr3d.search.sampler import OrderSampler
from scr3d.search.surrogate import leave_one_out

ORDERS = [str(order) for order in all_orders()]
RANKS = np.array([order.rank for order in all_orders()])
TABLES = ("ranks", "pairs", "none", "misleading")
TOP = 3


def table(kind: str, seed: int, noise: float) -> np.ndarray:
    """Scores of the 24 orders."""
    random = np.random.default_rng(seed)
    if kind == "none":
        return random.normal(size=len(ORDERS))
    scores = RANKS @ random.normal(size=4)
    pairs = random.normal(size=(4, 4))
    firsts = np.array([(pairs * (rank[:, None] < rank[None, :])).sum() for rank in RANKS])
    scores = firsts if kind == "pairs" else scores + 0.5 * firsts
    scores = (scores - scores.mean()) / scores.std() + noise * random.normal(size=len(ORDERS))
    if kind == "misleading":
        by_score = np.argsort(scores)
        best, worst = by_score[:TOP], by_score[-TOP:]
        scores[best], scores[worst] = scores[worst], scores[best]
    return scores


def search(scores: np.ndarray, kernel: str, seed: int, arguments: argparse.Namespace) -> tuple[list[int], float]:
    """The orders tried, and the longest processor time of a proposal in seconds."""
    sampler = OrderSampler(arguments.startup, kernel, seed)
    found: list[tuple[str, float]] = []
    longest_s = 0.0
    for number in range(arguments.trials):
        start = time.process_time()
        name = sampler.propose(ORDERS, found, [], number)
        longest_s = max(longest_s, time.process_time() - start)
        found.append((name, float(scores[ORDERS.index(name)])))
    return [ORDERS.index(name) for name, _ in found], longest_s


def by_chance(scores: np.ndarray, trials: int) -> float:
    """The expected best score of random search without repetition."""
    n = len(scores)
    weights = [comb(n - 1 - i, trials - 1) / comb(n, trials) for i in range(n - trials + 1)]
    return float(np.sort(scores)[: len(weights)] @ weights)


def measure(kind: str, kernel: str, arguments: argparse.Namespace) -> dict[str, object]:
    """All runs on tables of one kind."""
    met: list[list[bool]] = []
    best, chance, longest = [], [], []
    for seed in range(arguments.runs):
        scores = table(kind, seed, arguments.noise)
        tried, longest_s = search(scores, kernel, seed, arguments)
        top = set(np.argsort(scores)[:TOP].tolist())
        met.append(list(accumulate((order in top for order in tried), lambda a, b: a or b)))
        best.append(scores[tried].min())
        chance.append(by_chance(scores, arguments.trials))
        longest.append(longest_s)
    difference = np.array(best) - np.array(chance)
    return {
        "top_3": np.mean(met, axis=0).round(3).tolist(),
        "best": round(float(np.mean(best)), 3),
        "difference": round(float(difference.mean()), 3),
        "difference_error": round(float(difference.std(ddof=1) / np.sqrt(len(difference))), 3),
        "slowest_proposal_processor_s": {"median": round(float(np.median(longest)), 3), "max": round(max(longest), 3)},
    }


def predictions(kind: str, kernel: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Mean leave-one-out accuracy over some tables."""
    found = [
        leave_one_out(ORDERS, table(kind, seed, arguments.noise).tolist(), kernel) for seed in range(arguments.tables)
    ]
    return {key: round(float(np.mean([one[key] for one in found])), 3) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--startup", type=int, default=3)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--tables", type=int, default=40, help="tables for leave-one-out")
    parser.add_argument("--out", type=Path, help="JSON file of the report; without it the report is printed")
    arguments = parser.parse_args()
    description = prepare(argparse.Namespace(threads=1, device="cpu"))
    random_share = [1 - comb(len(ORDERS) - TOP, n) / comb(len(ORDERS), n) for n in range(1, arguments.trials + 1)]
    results: dict[str, object] = {"random_top_3": random_share}
    for kernel in KERNELS:
        results[kernel] = {
            kind: measure(kind, kernel, arguments) | {"leave_one_out": predictions(kind, kernel, arguments)}
            for kind in TABLES
        }
    write_report(arguments.out, Report("order_sampler", settings(arguments), description, results))


if __name__ == "__main__":
    run(main)
