"""Which kernel predicts orders better, on the recorded trainings of all 24: results/search/kernel-accuracy.json.

    python tools/kernel_accuracy.py [--protocol cpu]

Takes the seeds with which every order has been trained (`scr3d benchmark --stages orders`), their mean for each order,
and predicts each order's score from the others'. Beside it: how often Bayesian optimisation on these scores meets one
of the three best orders.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from scr3d.benchmark.choices import ORDERS, order_scores, search_recorded
from scr3d.benchmark.config import Stage
from scr3d.benchmark.protocol import PROTOCOLS
from scr3d.benchmark.records import HELDOUT, Result, Results
from scr3d.benchmark.replay import chance_of_top_three
from scr3d.files import write_json
from scr3d.search.kernels import KERNELS
from scr3d.search.surrogate import leave_one_out

ROOT = Path(__file__).parent.parent
OUT = ROOT / "results" / "search" / "kernel-accuracy.json"
SCORES = (HELDOUT, "side_e2", "mad_deg")
REPEATS = 200
"""Searches for each kernel, each with other random draws."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--protocol", default="cpu", choices=PROTOCOLS)
    protocol = PROTOCOLS[parser.parse_args().protocol]
    results = Results.read(ROOT / "results" / "benchmark" / protocol.name)
    seeds = [seed for seed in range(protocol.order_seeds) if all(run_of(results, order, seed) for order in ORDERS)]
    if not seeds:
        raise SystemExit("no seed has all 24 orders yet; scr3d benchmark --stages orders trains them")
    runs = {order: [run for seed in seeds if (run := run_of(results, order, seed))] for order in ORDERS}
    scores = {score: order_scores(runs, score) for score in SCORES}
    record = {
        "protocol": protocol.name,
        "images": protocol.order_images,
        "seeds": seeds,
        "scores": {score: judged(table, protocol.search_trials) for score, table in scores.items()},
    }
    write_json(OUT, record)
    print(json.dumps(record, indent=1))


def run_of(results: Results, order: str, seed: int) -> Result | None:
    return results.get(Stage.ORDERS, f"{order}-s{seed}")


def judged(scores: dict[str, float], trials: int) -> dict:
    """Leave-one-out accuracy of each kernel, that of the mean of the others, and searches on these scores."""
    values = list(scores.values())
    best = set(sorted(scores, key=lambda order: scores[order])[:3])
    searches = {
        kernel: [search_recorded(scores, trials, seed, kernel) for seed in range(REPEATS)] for kernel in KERNELS
    }
    return {
        "table": scores,
        "rmse_of_the_mean_of_the_others": statistics.pstdev(values) * len(values) / (len(values) - 1),
        "leave_one_out": {kernel: leave_one_out(list(scores), values, kernel) for kernel in KERNELS},
        "met_one_of_the_three_best": {
            "random": chance_of_top_three(len(scores), trials),
            **{kernel: statistics.fmean(bool(best & set(run)) for run in runs) for kernel, runs in searches.items()},
        },
        "trials": trials,
        "searches": REPEATS,
    }


if __name__ == "__main__":
    main()
