"""What the whole table at the papers' scale would cost on GPUs: a plan on paper, from counts and from measurements.

    python tools/cost_plan.py [--device "H100 SXM"] [--gpus 1 8] [--write]

No GPU is measured here. Counted: what a step does (results/benchmarks/paper_work.json). Measured, on a CPU: how near to
its own limits the program comes (step.json), and how much longer a step takes that a graph is learned through
(bilevel.json). Assumed: what `DEVICES` says of a GPU, `CALL_S`, and that the program comes as near to a GPU's limits as
to a CPU's. With --write, results/scaling/cost-plan.json and the tables of docs/scaling.md are made anew.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scr3d.benchmark.config import BenchmarkConfig, Stage
from scr3d.benchmark.plan import Run, plan
from scr3d.causal.kinds import StructureKind
from scr3d.files import write_bytes, write_json

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "benchmarks"
PLAN = ROOT / "results" / "scaling" / "cost-plan.json"
PAGE = ROOT / "docs" / "scaling.md"
MARK = "<!-- cost-plan -->", "<!-- /cost-plan -->"
CALL_S = 5e-6
"""Assumed: time that PyTorch takes for one tensor operation before the GPU can begin, where it is not hidden."""
FORWARD = 1 / 3
"""Assumed: cost of an image that is only looked at, against one that is trained on."""


@dataclass(frozen=True)
class Device:
    """Rates of a GPU by its data sheet, without sparsity.

    Attributes:
        tflops: multiply-adds of convolutions in TF32, PyTorch's own choice on such a device; a multiply-add counts two.
        memory_tb_per_s: bandwidth of its memory.
        link_gb_per_s: bandwidth to other GPUs of the same machine.
    """

    tflops: float
    memory_tb_per_s: float
    link_gb_per_s: float


DEVICES = {
    "H100 SXM": Device(494.7, 3.35, 900.0),
    "A100 SXM": Device(156.0, 2.039, 600.0),
}


@dataclass(frozen=True)
class StepCost:
    """One training step on a device, in milliseconds.

    Attributes:
        operations_ms: all convolutions and products at the device's rate.
        traffic_ms: all that is read and written at its bandwidth, if no two operations are fused.
        calls_ms: all calls, one after the other.
        near_limits_ms: the larger of the first two, over the share of its limits that the program reaches.
        expected_ms: the larger of that and the calls.
        best_ms: operations alone, or what has to be moved at least: nothing is faster.
        bound: what decides.
    """

    operations_ms: float
    traffic_ms: float
    calls_ms: float
    near_limits_ms: float
    expected_ms: float
    best_ms: float
    bound: str


def read(name: str) -> dict[str, Any]:
    """The results of a benchmark."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["results"]
    return found


def reached_share(step: dict[str, Any]) -> float:
    """How near a step comes to the larger of its two limits, where that was measured."""
    one = step["steps"]["compact 64 dense float32"]
    return max(one["operations_ms"], one["traffic_ms"]) / one["step"]["median_ms"]


def step_cost(work: dict[str, Any], device: Device, share: float) -> StepCost:
    """Time of a step."""
    operations = 1e3 * work["operations"] / (device.tflops * 1e12)
    traffic = 1e3 * work["traffic_bytes"] / (device.memory_tb_per_s * 1e12)
    least = 1e3 * work["least_bytes"] / (device.memory_tb_per_s * 1e12)
    calls = 1e3 * work["calls"] * CALL_S
    near = max(operations, traffic) / share
    bounds = {"calls": calls, "memory traffic": near if traffic >= operations else 0.0, "operations": near}
    return StepCost(
        operations, traffic, calls, near, max(near, calls), max(operations, least), max(bounds, key=bounds.__getitem__)
    )


def work_of(run: Run, bilevel: float, validations: float) -> float:
    """Images that a plain run would train on in the time of this one."""
    factor = bilevel if run.method.model.get("structure") is StructureKind.GENERIC else 1.0
    return run.images * factor + (validations * FORWARD if run.images else 0.0)


def makespan(works: list[float], gpus: int) -> float:
    """Work of the busiest GPU when each takes the largest run that is left."""
    busy = [0.0] * gpus
    for one in sorted(works, reverse=True):
        heapq.heapreplace(busy, busy[0] + one)
    return max(busy)


def make_plan(name: str, gpus: list[int]) -> dict[str, Any]:
    """The plan as plain JSON values."""
    counted, step, bilevel = read("paper_work"), read("step"), read("bilevel")
    device, share = DEVICES[name], reached_share(step)
    cost = step_cost(counted["step"], device, share)
    config = BenchmarkConfig(protocol="paper", data=Path("basel"))
    ratio = bilevel[f"{config.settings.graph['graph_gradient']}, 1 inner step"]["ratio"]
    looked_at = config.settings.curve_points * config.settings.scored_images
    stages: dict[str, list[float]] = defaultdict(list)
    for run in plan(config):
        stages[run.stage.value].append(work_of(run, ratio, looked_at))
    seconds = cost.expected_ms / 1e3 / counted["batch"]
    hours = {
        stage: {"runs": sum(w > 0 for w in works), "images": sum(works), "gpu_hours": sum(works) * seconds / 3600}
        for stage, works in stages.items()
    }
    # A stage begins when the one before it has ended: it needs what that has found.
    elapsed = {str(n): sum(makespan(works, n) for works in stages.values()) * seconds / 3600 for n in gpus}
    exchange = 2 * counted["parameters"] * 4 / (device.link_gb_per_s / 2 * 1e9) * 1e3
    return {
        "device": name,
        "assumed": {**asdict(device), "call_s": CALL_S, "forward_share": FORWARD, "reached_share_on_cpu": share},
        "counted": {key: counted[key] for key in ("batch", "gflop_per_image", "parameters")} | counted["step"],
        "bilevel_ratio_on_cpu": ratio,
        "step": asdict(cost),
        "images_per_s": 1 / seconds,
        "images_per_s_at_best": counted["batch"] / cost.best_ms * 1e3,
        "stages": hours,
        "gpu_hours": sum(one["gpu_hours"] for one in hours.values()),
        "gpu_hours_at_best": sum(one["gpu_hours"] for one in hours.values()) * cost.best_ms / cost.expected_ms,
        "elapsed_hours": elapsed,
        "exchange_of_gradients_ms": exchange,
    }


def tables(found: dict[str, Any]) -> str:
    """The plan as text for the page."""
    step = found["step"]
    lines = [
        f"One step of 64 images on one {found['device']}, in milliseconds:",
        "",
        "| | ms |",
        "|---|---|",
        f"| convolutions and products at the data sheet's rate | {step['operations_ms']:.1f} |",
        f"| memory traffic at the data sheet's bandwidth, nothing fused | {step['traffic_ms']:.1f} |",
        f"| the larger of both, over the share reached on a CPU ({found['assumed']['reached_share_on_cpu']:.2f}) "
        f"| {step['near_limits_ms']:.1f} |",
        f"| {found['counted']['calls']:,} calls at {found['assumed']['call_s'] * 1e6:.0f} microseconds "
        f"| {step['calls_ms']:.1f} |",
        f"| **expected** (bound by {step['bound']}) | **{step['expected_ms']:.1f}** |",
        f"| nothing is faster than | {step['best_ms']:.1f} |",
        "",
        f"That is {found['images_per_s']:,.0f} images/s ({found['counted']['gflop_per_image']:.1f} GFLOP each).",
        "",
        "| stage | runs | million images' work | GPU hours |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {stage.value} | {one['runs']} | {one['images'] / 1e6:.1f} | {one['gpu_hours']:.1f} |"
        for stage in Stage
        if (one := found["stages"].get(stage.value))
    ]
    total = sum(one["images"] for one in found["stages"].values())
    runs = sum(one["runs"] for one in found["stages"].values())
    lines.append(f"| **all** | {runs} | {total / 1e6:.1f} | **{found['gpu_hours']:.0f}** |")
    elapsed = ", ".join(f"{hours:.0f} h on {count}" for count, hours in found["elapsed_hours"].items())
    best = f"at the limit of the hardware {found['gpu_hours_at_best']:.0f} GPU hours"
    lines += ["", f"From the first to the last run: {elapsed}; {best}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=list(DEVICES), default="H100 SXM")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--write", action="store_true", help="write the result file and the page's tables")
    arguments = parser.parse_args()
    found = make_plan(arguments.device, arguments.gpus)
    text = tables(found)
    print(text)
    if arguments.write:
        PLAN.parent.mkdir(parents=True, exist_ok=True)
        write_json(PLAN, found)
        before, rest = PAGE.read_text(encoding="utf-8").split(MARK[0])
        after = rest.split(MARK[1])[1]
        write_bytes(PAGE, f"{before}{MARK[0]}\n{text}\n{MARK[1]}{after}".encode())


if __name__ == "__main__":
    main()
