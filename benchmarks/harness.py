"""What every benchmark shares: timing in turns, a description of the machine, and reports of one form.

A script measures with `measure`, describes the machine with `machine` and hands a `Report` to `write_report`, which
checks it against benchmarks/schema.json. docs/performance.md says why times are taken as they are.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import torch

from scr3d import provenance
from scr3d.errors import ConfigError, Scr3dError
from scr3d.files import write_bytes
from scr3d.runtime import keep_freed_memory

FOLDER = Path(__file__).resolve().parent
SCHEMA = FOLDER / "schema.json"
FORMAT = "scr3d-benchmark"
VERSION = 1
DIGITS = 5
"""Significant digits of the numbers in a report; repeated runs differ in the third."""


class ReportError(Scr3dError):
    """A report does not have the form that benchmarks/schema.json describes."""


@dataclass(frozen=True)
class Timing:
    """How long a call took, in milliseconds.

    Attributes:
        median_ms: median of the elapsed times.
        first_quartile_ms: a quarter of the repeats were at most as long.
        third_quartile_ms: three quarters were at most as long.
        minimum_ms: the shortest.
        cpu_ms: median processor time of the process, summed over its threads: where the machine does other work
            as well, it says what an idle one would do.
        repeats: how many there were, without those of the warm-up.
    """

    median_ms: float
    first_quartile_ms: float
    third_quartile_ms: float
    minimum_ms: float
    cpu_ms: float
    repeats: int


@dataclass(frozen=True)
class Report:
    """What a benchmark has found.

    Attributes:
        benchmark: name of the script, without suffix.
        settings: its options.
        machine: see `machine`.
        results: names to numbers, texts, `Timing`s, or lists and dictionaries of them.
    """

    benchmark: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    results: Mapping[str, Any]


def measure(
    calls: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 2, device: str = "cpu"
) -> dict[str, Timing]:
    """Time calls in turns: every round runs each of them once, so what slows the machine slows all alike.

    Args:
        calls: what to time, by name; a round runs them in this order.
        repeats: rounds that count.
        warmup: rounds before them, in which kernels are compiled and caches filled.
        device: `cpu`, or the CUDA device that is waited for before and after every call.

    Raises:
        ConfigError: there is nothing to repeat.
    """
    if repeats < 1 or warmup < 0:
        raise ConfigError(
            f"expected at least one repeat and no negative warm-up, got {repeats} and {warmup}; give --repeats 5, say"
        )
    wall: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(warmup + repeats):
        for name, call in calls.items():
            synchronise(device)
            start, start_processor = time.perf_counter(), time.process_time()
            call()
            synchronise(device)
            elapsed, spent = time.perf_counter() - start, time.process_time() - start_processor
            if repeat >= warmup:
                wall[name].append(1e3 * elapsed)
                processor[name].append(1e3 * spent)
    return {name: summarise(wall[name], processor[name]) for name in calls}


def summarise(wall_ms: list[float], processor_ms: list[float]) -> Timing:
    """Median, quartiles and minimum of repeated times."""
    low, median, high = (float(value) for value in np.percentile(wall_ms, [25, 50, 75]))
    return Timing(median, low, high, min(wall_ms), float(np.median(processor_ms)), len(wall_ms))


def synchronise(device: str) -> None:
    """Wait until a CUDA device has done what it was told to."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def machine(threads: int, device: str) -> dict[str, Any]:
    """What the numbers were measured on; call it before measuring, since the load average is that of now."""
    load_average = list(os.getloadavg()) if hasattr(os, "getloadavg") else None
    return {**provenance.machine(threads, device), "load_average": load_average}


def common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that all benchmarks have."""
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch and of the visibility kernel")
    parser.add_argument("--repeats", type=int, default=20, help="rounds; each runs everything that is compared once")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--out", type=Path, help="JSON file of the report; without it the report is printed")


def prepare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Set the process up as training does, and describe the machine.

    Raises:
        ConfigError: the device does not exist, or there is no thread to compute with.
    """
    if arguments.threads < 1:
        raise ConfigError(f"--threads must be at least 1; got {arguments.threads}")
    if arguments.device != "cpu":
        if not arguments.device.startswith("cuda"):
            raise ConfigError(f"--device must be cpu, cuda or cuda:N; got {arguments.device!r}")
        if not torch.cuda.is_available():
            raise ConfigError(f"--device {arguments.device}: this machine has no CUDA device; use cpu")
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    return machine(arguments.threads, arguments.device)


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of a script as plain values, without the output file."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in sorted(vars(arguments).items())
        if name != "out"
    }


def report_json(report: Report) -> dict[str, Any]:
    """A report as plain JSON values that follow benchmarks/schema.json.

    Raises:
        ReportError: it has another form, or a number that is not finite.
    """
    record = plain({"format": FORMAT, "version": VERSION, **vars(report)})
    check(record)
    return record


def check(record: Any, source: str = "report") -> None:
    """Compare a report, as read from JSON, with benchmarks/schema.json.

    Raises:
        ReportError: it has another form.
    """
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    error = jsonschema.exceptions.best_match(validator.iter_errors(record))
    if error is not None:
        raise ReportError(
            f"{source}, {error.json_path}: {error.message}; benchmarks/schema.json says what belongs there"
        )


def plain(value: Any, path: str = "$") -> Any:
    """Dataclasses as dictionaries, numbers rounded.

    Raises:
        ReportError: a number is not finite.
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(name): plain(entry, f"{path}.{name}") for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry, f"{path}[{number}]") for number, entry in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ReportError(
                f"report, {path}: expected a finite number, got {value}; leave it out or mend the benchmark"
            )
        return float(f"{value:.{DIGITS}g}")
    return value


def write_report(path: Path | None, report: Report) -> None:
    """Write a report as JSON, the whole file or none; print it where there is no path.

    Raises:
        ReportError: it does not follow benchmarks/schema.json.
    """
    text = json.dumps(report_json(report), indent=1, allow_nan=False) + "\n"
    if path is None:
        sys.stdout.write(text)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())


def run(main: Callable[[], None]) -> None:
    """Run a script; what its user did wrong is one line on the error output."""
    try:
        main()
    except Scr3dError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
