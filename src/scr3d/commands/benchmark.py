"""`scr3d benchmark`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from scr3d.benchmark.config import BenchmarkConfig, Stage
from scr3d.commands.parsing import parse
from scr3d.errors import ConfigError

if TYPE_CHECKING:
    from scr3d.benchmark.plan import Run

ABOUT = """Measure every row of the paper's table side by side, or go on with an interrupted benchmark.

Results are JSON files in OUT; a run that has one is not done again. The same command may run several times at once, on
one machine or on several that share OUT and WORK."""
EXTRA = "jsonschema", "optuna", "botorch", "gpytorch", "scipy"


def run(args: list[str]) -> None:
    """Parse the options, print the plan, run it, and write the report."""
    measure(parse(BenchmarkConfig, args, "benchmark", ABOUT))


def measure(config: BenchmarkConfig) -> None:
    """Print the plan, do what is left of it, and write the report.

    Raises:
        ConfigError: a package of the extra `bench` is missing, or the options contradict each other.
    """
    try:
        _measure(config)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        raise ConfigError(f"scr3d benchmark needs {error.name}: pip install 'scr3d[bench]'") from error


def _measure(config: BenchmarkConfig) -> None:
    from scr3d.benchmark.expressiveness import measure_expressiveness
    from scr3d.benchmark.plan import plan
    from scr3d.benchmark.records import Results
    from scr3d.benchmark.report import EXPRESSIVENESS, write_report
    from scr3d.benchmark.run import prepare_data
    from scr3d.benchmark.runner import Runner, left_to_do

    if not config.report:
        left = left_to_do(config, Results.read(config.folder))
        print(plan_text(config, plan(config), left))
        if config.plan:
            return
        expressiveness = config.out / "benchmark" / EXPRESSIVENESS
        if Stage.EXPRESSIVENESS in config.stages and not expressiveness.is_file():
            print("measuring expressiveness on small generative models")
            measure_expressiveness(expressiveness)
        if left:
            Runner(config, prepare_data(config)).run()
    for path in write_report(config):
        print(f"written: {path}")


def plan_text(config: BenchmarkConfig, planned: list[Run], left: list[Run]) -> str:
    """The plan as a table, and the expected time."""
    from scr3d.benchmark.records import Results
    from scr3d.benchmark.runner import expected_seconds, jobs

    protocol = config.settings
    lines = [
        f"protocol {protocol.name}: {protocol.about}",
        "",
        f"{'stage':10} {'runs':>5} {'left':>5} {'images left':>13}",
    ]
    counts, missing = Counter(run.stage for run in planned), Counter(run.stage for run in left)
    for stage in (stage for stage in config.stages if counts[stage]):
        images = sum(run.images for run in left if run.stage is stage)
        lines.append(f"{stage:10} {counts[stage]:5} {missing[stage]:5} {images:13,}")
    seconds = expected_seconds(left, Results.read(config.folder), config)
    if left:
        time = "unknown until the first run is done" if seconds is None else f"about {duration(seconds)}"
        lines += ["", f"expected time with {jobs(config)} runs at a time: {time}"]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Hours and minutes."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
