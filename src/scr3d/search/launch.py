"""Workers of a search as jobs, through submitit: of Slurm, or as processes on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scr3d.errors import ConfigError, Scr3dError
from scr3d.search.launch_config import LaunchOptions


@dataclass(frozen=True)
class Worker:
    """What a job does: the same command as one gives by hand.

    Attributes:
        command: `scr3d search`, a function that is found by its name on the machine of the job.
        arguments: its options, without those about jobs.
    """

    command: Callable[[list[str]], None]
    arguments: list[str]

    def __call__(self) -> str:
        """Search; returns what went wrong, or nothing."""
        try:
            self.command(self.arguments)
        except Scr3dError as error:
            return str(error)
        return ""

    def checkpoint(self) -> Any:
        """What is submitted when the time of a job is up: the same again, since the study knows what has been done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def launch(worker: Worker, folder: Path, options: LaunchOptions) -> None:
    """Submit the workers of a search and wait for them.

    Args:
        worker: what each of them does.
        folder: gets the jobs' own outputs.
        options: how many, and with what.

    Raises:
        ConfigError: submitit or Slurm is missing, or no worker came to the end.
    """
    executor = make_executor(folder, options)
    with executor.batch():
        jobs = [executor.submit(worker) for _ in range(options.workers)]
    names = ", ".join(job.job_id for job in jobs)
    print(f"{options.workers} jobs are submitted to {options.launcher}: {names}; their outputs are in {folder}")
    try:
        faults = [fault for job in jobs if (fault := fault_of(job))]
    except KeyboardInterrupt:
        for job in jobs:
            job.cancel()
        raise
    for fault in faults:
        print(f"warning: {fault}")
    if len(faults) == len(jobs):
        raise ConfigError(f"no worker came to the end of the search; the first: {faults[0]}")


def make_executor(folder: Path, options: LaunchOptions) -> Any:
    """Whoever runs the jobs.

    Raises:
        ConfigError: submitit or Slurm is missing.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise ConfigError("--workers needs submitit: pip install 'scr3d[launch]'") from error
    if options.launcher == "slurm" and not submitit.SlurmExecutor.affinity() > 0:
        raise ConfigError(
            "--launcher slurm: this machine has no srun; submit from a machine of the cluster, or use local"
        )
    folder.mkdir(parents=True, exist_ok=True)
    executor = submitit.AutoExecutor(folder=folder, cluster=options.launcher)
    executor.update_parameters(name="scr3d-search", timeout_min=options.job_minutes, cpus_per_task=options.job_cpus)
    if options.launcher == "slurm":
        partition = {"slurm_partition": options.partition} if options.partition else {}
        executor.update_parameters(gpus_per_node=options.job_gpus, **partition)
    return executor


def fault_of(job: Any) -> str:
    """What went wrong with a job, once it has ended; empty if nothing did."""
    try:
        said = str(job.result())
    except Exception as error:  # submitit hands on whatever a job, or the system that runs it, has failed with
        lines = [line for line in str(error).splitlines() if line.strip()]
        said = lines[-1].strip() if lines else type(error).__name__
    return f"job {job.job_id}: {said}; see {job.paths.stderr}" if said else ""
