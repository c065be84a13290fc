"""Running a plan: several runs at a time, each in a process of its own; what is done stays done."""

from __future__ import annotations

import json
import multiprocessing
import os
import traceback
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from scr3d.benchmark.choices import WaitingError
from scr3d.benchmark.config import BenchmarkConfig, Stage
from scr3d.benchmark.plan import Run, plan
from scr3d.benchmark.records import Results
from scr3d.benchmark.run import Job, device_name, execute, recorded, resolve, same_options
from scr3d.errors import ConfigError, Scr3dError, StoppedError
from scr3d.runtime import use_threads
from scr3d.signals import Warnings, end_with_parent

OUTPUT = "output.log"
"""What a run prints, in its folder."""
LOCK = ".benchmark-lock"
"""Held while a run is done and scored; the training in it has a lock of its own."""
POLL_SECONDS = 0.5


def left_to_do(config: BenchmarkConfig, results: Results) -> list[Run]:
    """The runs of the plan that have no result.

    Raises:
        ConfigError: a result was made with other options than those of the plan.
    """
    left = []
    for run in plan(config):
        found = results.of(run)
        if found is None:
            left.append(run)
            continue
        job = resolve(run, results, config)
        if job.training is not None and not same_options(found.record["training"], recorded(job.training)):
            raise ConfigError(
                f"{results.folder / run.stage.value / run.name}.json was made with other options than those of the "
                "plan; remove it to run again, or give another --out"
            )
    return left


@dataclass
class Child:
    """A run under way.

    Attributes:
        run: which.
        future: of its outcome.
        folder: of its checkpoints and its output.
        bar: its line of the progress display.
    """

    run: Run
    future: Future[Outcome]
    folder: Path
    bar: TaskID


@dataclass
class Runner:
    """Works through a plan.

    Attributes:
        config: of the benchmark.
        data: fingerprints of the splits.
        failed: runs that have ended without a result, and why.
        taken: runs that other processes are doing.
    """

    config: BenchmarkConfig
    data: dict[str, str]
    failed: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Do all runs that are left and can be done.

        Raises:
            Scr3dError: some have failed, the others have been done; or the next ones need some that were not asked for.
            StoppedError: a signal announced the end of the process; the runs under way have been saved.
        """
        left = deque(left_to_do(self.config, Results.read(self.config.folder)))
        total = sum(run.work for run in left)
        columns = (
            TextColumn("{task.description:34}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} images"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        children: list[Child] = []
        context = multiprocessing.get_context("spawn")
        warnings = Warnings()
        # The rate over all runs changes slowly; a short window would make the time left jump with every new run.
        with (
            warnings.listening(),
            ProcessPoolExecutor(jobs(self.config), mp_context=context, initializer=end_with_parent) as pool,
            Progress(*columns, refresh_per_second=2, speed_estimate_period=3600) as progress,
        ):
            whole = progress.add_task("benchmark", total=total)
            try:
                while left or children:
                    self._start(left, children, pool, progress)
                    wait([child.future for child in children], POLL_SECONDS, FIRST_COMPLETED)
                    if warnings.received:
                        raise StoppedError(f"stopped by {warnings.received}; the same command goes on")
                    for child in [c for c in children if c.future.done()]:
                        children.remove(child)
                        self._finished(child, progress)
                    under_way = sum(self._advance(child, progress) for child in children)
                    waiting = sum(run.work for run in left) + sum(child.run.work for child in children)
                    progress.update(whole, completed=total - waiting + under_way)
            except BaseException:
                stop_workers()
                raise
        if self.failed:
            lines = [f"{name} ({reason})" for name, reason in self.failed.items()]
            raise Scr3dError(f"{len(lines)} runs have failed: {'; '.join(lines)}; the same command tries them again")

    def _start(self, left: deque[Run], children: list[Child], pool: ProcessPoolExecutor, progress: Progress) -> None:
        """Start runs while there is room; one that waits for others holds up those behind it."""
        while left and len(children) < jobs(self.config):
            try:
                job = resolve(left[0], Results.read(self.config.folder), self.config)
            except WaitingError as error:
                if not children:
                    self._explain(left, error)
                return
            run = left.popleft()
            folder = self.config.work / self.config.protocol / run.stage.value / run.name
            folder.mkdir(parents=True, exist_ok=True)
            bar = progress.add_task(f"  {run.stage} {run.name}", total=run.images)
            children.append(Child(run, pool.submit(work, job, self.config, self.data, folder), folder, bar))

    def _explain(self, left: deque[Run], error: WaitingError) -> None:
        """Nothing is under way that the next runs could wait for."""
        first = left[0]
        left.clear()
        if not self.failed:  # otherwise the failed runs are what is told
            advice = "other processes do some of them: wait" if self.taken else "give --stages that do them"
            raise Scr3dError(f"{first.stage} {first.name} cannot start: {error}; {advice}")

    def _advance(self, child: Child, progress: Progress) -> float:
        images = images_seen(child.folder)
        progress.update(child.bar, completed=images)
        return child.run.work * images / max(1, child.run.images)

    def _finished(self, child: Child, progress: Progress) -> None:
        progress.remove_task(child.bar)
        name = f"{child.run.stage} {child.run.name}"
        outcome = child.future.result()
        if outcome.taken:
            self.taken.append(name)
        elif outcome.error:
            self.failed[name] = outcome.error
            progress.console.print(f"failed: {name}: {outcome.error}; see {child.folder / OUTPUT}")
        else:
            result = Results.read(self.config.folder).of(child.run)
            progress.console.print(f"done: {name}" + (summary(result.record) if result else ""))


@dataclass(frozen=True)
class Outcome:
    """How a run has ended.

    Attributes:
        error: why there is no result; empty if there is one.
        taken: another process is doing it.
    """

    error: str = ""
    taken: bool = False


def work(job: Job, config: BenchmarkConfig, data: dict[str, str], folder: Path) -> Outcome:
    """Do one run in a process of its own, with its output in a file."""
    with (
        (folder / OUTPUT).open("a", encoding="utf-8", buffering=1) as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        try:
            with FileLock(folder / LOCK, timeout=0):
                use_threads(1)
                execute(job, config, data)
        except Timeout:
            return Outcome(taken=True)
        except Scr3dError as error:
            return Outcome(str(error))
        except Exception as error:
            traceback.print_exc()
            return Outcome(f"{type(error).__name__}: {error}".splitlines()[0])
    return Outcome()


def stop_workers() -> None:
    """Let the processes write their checkpoints and end."""
    for process in multiprocessing.active_children():
        process.terminate()


def jobs(config: BenchmarkConfig) -> int:
    """Runs at a time."""
    if config.jobs:
        return config.jobs
    return 1 if device_name(config).startswith("cuda") else os.cpu_count() or 1


def images_seen(folder: Path) -> int:
    """How far a run is, by the last whole line of its log."""
    for path in (folder / "log.jsonl", folder / "one-shot" / "log.jsonl"):
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 4096))
                lines = file.read().split(b"\n")
            return int(json.loads(lines[-2])["images"])
        except (OSError, ValueError, IndexError, KeyError):
            continue
    return 0


def summary(record: dict[str, Any]) -> str:
    """A few numbers of a result."""
    point = record["curve"][-1] if record["curve"] else {}
    values = [f"{name} {point[name]:.3f}" for name in ("side_e2", "mad_deg") if name in point]
    return f" ({', '.join(values)})" if values else ""


def expected_seconds(runs: list[Run], results: Results, config: BenchmarkConfig) -> float | None:
    """How long the runs will take, by the speed of those that have been done with this processor; None if none has."""
    from scr3d.provenance import processor_model

    here = "cpu" if device_name(config) == "cpu" else torch.cuda.get_device_name(device_name(config))
    rates = []
    for stage in Stage:
        for result in results.stage(stage):
            machine, seconds = result.record["machine"], result.record["seconds"]
            same = machine["processor"] == processor_model() and machine["device"] == here
            if same and result.record["timed_images"] and result.record["graph"] is None:
                rates.append(result.record["timed_images"] / seconds)
    if not rates:
        return None
    rate = sorted(rates)[len(rates) // 2]
    return sum(run.work for run in runs) / rate / jobs(config)
