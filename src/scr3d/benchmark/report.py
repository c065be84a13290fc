"""The results page and its figures, from the result files alone."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scr3d.benchmark import figures, tables
from scr3d.benchmark.choices import WaitingError, searched_order
from scr3d.benchmark.config import BenchmarkConfig, Stage
from scr3d.benchmark.plan import plan
from scr3d.benchmark.protocol import Protocol
from scr3d.benchmark.records import HELDOUT, Results
from scr3d.benchmark.replay import Replay, replay
from scr3d.errors import DataError
from scr3d.export.graph_picture import draw_graphs
from scr3d.files import write_bytes

BY_HAND = "<!-- written by hand from here on -->"
"""What follows this line of the page is kept."""
EXPRESSIVENESS = "expressiveness.json"
FIGURES = "images"


@dataclass
class Page:
    """The page as it grows, and where its figures go.

    Attributes:
        docs: folder of the page.
        prefix: of the figures' names.
        parts: paragraphs of the page.
        written: files.
    """

    docs: Path
    prefix: str
    parts: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    def add(self, *parts: str) -> None:
        """Paragraphs, tables, headings."""
        self.parts += parts

    def figure(self, name: str, about: str, draw: Callable[[Path], None]) -> None:
        """A figure that `draw` writes to a path."""
        path = self.docs / FIGURES / f"{self.prefix}-{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(path)
        self.written.append(path)
        self.add(f"![{about}]({FIGURES}/{path.name})")

    def picture(self, name: str, about: str, content: bytes | None) -> None:
        """A figure that has been drawn; None: there is nothing to show."""
        if content is not None:
            self.figure(name, about, lambda path: write_bytes(path, content))


def write_report(config: BenchmarkConfig) -> list[Path]:
    """Write the page and its figures; returns their paths.

    Raises:
        DataError: there are no results, or one is damaged.
    """
    results = Results.read(config.folder)
    if not len(results):
        raise DataError(f"{config.folder} holds no results yet; run scr3d benchmark --protocol {config.protocol} first")
    protocol = config.settings
    name = "results" if config.protocol == "cpu" else f"results-{config.protocol}"
    page = Page(config.docs, name)
    page.add(f"# Results: protocol `{protocol.name}`", introduction(config, results))
    table_section(page, config, results)
    orders_section(page, protocol, results)
    controls_section(page, protocol, results)
    remedies_section(page, protocol, results)
    expressiveness_section(page, config.out / "benchmark" / EXPRESSIVENESS)
    path = config.docs / f"{name}.md"
    text = "\n\n".join([*page.parts, BY_HAND]) + "\n" + kept_text(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())
    return [path, *page.written]


def kept_text(path: Path) -> str:
    """What people have written below the mark."""
    if not path.is_file():
        return ""
    _, found, rest = path.read_text(encoding="utf-8").partition(BY_HAND + "\n")
    return rest if found else ""


def introduction(config: BenchmarkConfig, results: Results) -> str:
    """What the page is, what is done, and under which conditions."""
    protocol = config.settings
    machines = sorted({describe_machine(record) for record in records(results)})
    done = " ".join(
        f"{stage}: {sum(results.of(run) is not None for run in runs)} of {len(runs)}."
        for stage, runs in planned(config).items()
    )
    width = f" of width {protocol.width}" if protocol.preset == "compact" else ""
    rates = ", ".join(f"{rate:g}" for rate in protocol.rates)
    return f"""Written by `scr3d benchmark --protocol {protocol.name} --report` from the files in
`results/benchmark/{protocol.name}` alone; above the last section nothing is written by hand.

Protocol: {protocol.about}. Images of {protocol.size} x {protocol.size}, {protocol.preset} networks{width}, recipe
`{protocol.recipe}`, {protocol.images:,} images for every row of the table, {protocol.order_images:,} for each of the
24 orders and the controls. Learning rates from {rates}, chosen for every row by the held-out loss after
{protocol.rate_images:,} images. The averaged weights at the end of a run are scored; choices are made on
{protocol.scored_images} validation images, the table is the test split, scored once.

Runs done: {done}

Computed on: {"; ".join(machines)}."""


def describe_machine(record: dict[str, Any]) -> str:
    """Processor or GPU, and versions."""
    machine = record["machine"]
    device = machine["processor"] if machine["device"] == "cpu" else machine["device"]
    return f"{device}, PyTorch {machine['torch']}, scr3d {machine['scr3d']}"


def planned(config: BenchmarkConfig) -> dict[Stage, list[Any]]:
    """The whole plan of the protocol by stage."""
    everything = BenchmarkConfig(protocol=config.protocol, data=config.data, report=True)
    stages: dict[Stage, list[Any]] = {}
    for run in plan(everything):
        stages.setdefault(run.stage, []).append(run)
    return stages


def records(results: Results) -> Iterator[dict[str, Any]]:
    """All records."""
    for stage in Stage:
        for result in results.stage(stage):
            yield result.record


def table_section(page: Page, config: BenchmarkConfig, results: Results) -> None:
    """The table, its comparisons, and the figures of its rows."""
    found = tables.rows(results)
    page.add("## The table")
    if not found:
        page.add("No row has been measured yet.")
        return
    page.add(
        "Test split, mean ± standard deviation over images. *Reported* are the papers' numbers on **other data** "
        "(Basel synthetic faces): only differences between rows compare. Strict scores count uncovered pixels as "
        "errors.",
        tables.score_table(found),
        "\n".join(tables.verdicts(found)),
    )
    if {"independent", "wu"} & found.keys():
        page.add(
            "### Against the baselines",
            "Ratio of the mean scores on the same test images with a 95 % interval (bootstrap over images and seeds); "
            "bold where it excludes 1. With one seed on a side the interval knows nothing of the spread over seeds.",
            tables.comparison_table(found),
        )
    longer = tables.rows(results, Stage.LONGER)
    if longer:
        page.add(
            "### Trained for longer",
            f"The main rows with {config.settings.longer_images:,} images instead of {config.settings.images:,}, all "
            "else as above; test split, mean ± standard deviation over images, ratios at the greater length.",
            tables.longer_table(found, longer),
            "\n".join(tables.verdicts(longer)),
        )
    page.add(
        "### Factors and cost",
        "Mean absolute errors after one global sign and offset. Further images: held-out images that a learned graph "
        "is trained on. Rows with a searched order also cost the search: " + search_cost(config.settings, results),
        tables.factor_table(found),
    )
    page.picture("curves", "Validation during training", figures.draw_curves(found))
    page.picture("pictures", "The same test images under every method", figures.draw_pictures(config.folder, found))
    panels = figures.graph_panels(found)
    if panels:
        page.figure("graphs", "Learned and dynamic graphs", lambda path: draw_graphs(panels, path))


def search_cost(protocol: Protocol, results: Results) -> str:
    """What the order of the searched rows has cost."""
    images = protocol.search_trials * protocol.order_seeds * protocol.order_images
    try:
        order = searched_order(results, protocol)
    except WaitingError as error:
        return f"{error}."
    return (
        f"{protocol.search_trials} orders of {protocol.order_seeds} x {protocol.order_images:,} images, {images:,} in "
        f"all, scored by the held-out loss; it chose {order}."
    )


def orders_section(page: Page, protocol: Protocol, results: Results) -> None:
    """The 24 orders, and the searches replayed on them."""
    page.add("## The 24 orders")
    try:
        table, lines = tables.order_table(results, protocol)
    except WaitingError as error:
        page.add(f"Not all have been trained yet: {error}.")
        return
    page.add(
        f"Each trained for {protocol.order_images:,} images with {protocol.order_seeds} seeds, scored on validation.",
        table,
        "\n".join(lines),
    )
    page.picture("orders", "All orders, ranked", figures.draw_orders(results, protocol))
    replays = [replay(results, protocol, score) for score in (HELDOUT, tables.MAD)]
    page.add("### Searching them", *(replay_text(one) for one in replays))
    page.picture("search", "Best score against images trained on", figures.draw_search(replays))


def replay_text(one: Replay) -> str:
    """What the searches find, in a list."""
    score = figures.NAMES[one.score]
    met = "; ".join(f"{name} {share:.0%}" for name, share in one.top_three.items())
    accuracy = "; ".join(
        f"{kernel} error {values['rmse']:.4g}, correlation {values['correlation']:.2f}, log density "
        f"{values['log_density']:.2f}"
        for kernel, values in one.leave_one_out.items()
    )
    return (
        f"By {score}: one of the three best orders is met within {one.trials} trials by: {met}.\n"
        f"Each score predicted from the 23 others: {accuracy}."
    )


def controls_section(page: Page, protocol: Protocol, results: Results) -> None:
    """Is it structure or capacity?"""
    table = tables.control_table(results, protocol)
    page.add("## Structure or capacity?")
    if table is None:
        page.add("The controls have not been run yet.")
        return
    page.add(
        "The compact networks have four equal encoders, so a factor that comes late gains no larger encoder by it; "
        "`unequal` gives view and light smaller ones without normalisation, as published (in reference networks "
        "`equal` is the control). `detached` hands parents' embeddings on without a gradient back to the parents, "
        "`shuffled` hands on those of another image. Best and worst order by MAD on validation.",
        table,
    )


def remedies_section(page: Page, protocol: Protocol, results: Results) -> None:
    """What was tried so that the order counts for more."""
    page.add("## What might make the order count for more")
    table = tables.remedy_table(results, protocol)
    if table is None:
        page.add("Nothing has been tried yet.")
        return
    page.add(
        "Independent SCR and Dense SCR with the searched order under a change that both get, otherwise trained and "
        "scored on validation as the 24 orders are: SIDE x 1e-2, then MAD in degrees, with a 95 % interval of the "
        "ratio (bootstrap over images and seeds); bold where it excludes 1. Other forms of mixing are among the "
        "controls.",
        table,
    )


def expressiveness_section(page: Page, path: Path) -> None:
    """The experiment on known generative models."""
    page.add("## Expressiveness")
    if not path.is_file():
        page.add("Not measured yet.")
        return
    record = json.loads(path.read_text(encoding="utf-8"))
    heading = ["world", "truth", *next(iter(record["worlds"].values()))["held_out"]]
    lines = [
        [name, f"{world['truth']:.3f}", *(f"{statistics.fmean(values):.3f}" for values in world["held_out"].values())]
        for name, world in record["worlds"].items()
    ]
    page.add(
        "Four factors drawn along VDLA, observed through the first alone; every structure models their joint "
        "distribution given the observation with equally large networks (`scr3d.benchmark.expressiveness`). Mean "
        f"held-out log-likelihood in nats over {record['seeds']} seeds; higher is better, the truth is the best.",
        tables.markdown(heading, lines),
    )
    page.picture("expressiveness", "Distance from the truth", figures.draw_expressiveness(record))
