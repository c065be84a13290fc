"""`scr3d describe`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from scr3d.commands.parsing import parse
from scr3d.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from torch import Tensor

ABOUT = """Say what a model is: its causal graph with weights, networks, training and scores; and draw the graph."""
NO_IMAGES = "every image has a graph of its own: give images with --images or --data to see its weights"
BATCH = 64
SCORE_HEADINGS = {"side_e2": "SIDE x1e-2", "mad_deg": "MAD deg", "coverage": "coverage"}


@dataclass(frozen=True)
class DescribeArgs:
    """Options of `scr3d describe`."""

    model: tyro.conf.Positional[Path | None] = None
    """Run or model folder, or hf://owner/name; without it, the model that comes with scr3d."""
    images: tuple[Path, ...] = ()
    """Photos, or folders of photos, over which the graphs of a dynamic structure are summed up."""
    data: Path | None = None
    """Data set for the same purpose."""
    split: Literal["train", "val", "test"] = "val"
    """Its split."""
    count: int = 256
    """How many of its images, from the first on."""
    out: Path | None = None
    """Folder of the picture of the graph; without it, nothing is drawn."""
    format: Literal["png", "svg", "both"] = "both"
    """Kind of picture: graph.png, graph.svg, or both."""
    json: bool = False
    """Print JSON."""


def run(args: list[str]) -> None:
    """Parse the options and describe."""
    given = parse(DescribeArgs, args, "describe", ABOUT)
    if given.images and given.data is not None:
        raise ConfigError("--images and --data both say which images to sum up over; give one of them")
    if given.count < 1:
        raise ConfigError(f"--count is a number of images, at least 1; got {given.count}")
    from rich.console import Console

    from scr3d.describe import describe
    from scr3d.models.io import find_model, read_model

    config, _ = read_model(find_model(given.model))
    found = describe(given.model, _images(given, config.size))
    pictures = [] if given.out is None else [given.out / f"graph.{kind}" for kind in _suffixes(given.format)]
    try:
        for picture in pictures:
            picture.parent.mkdir(parents=True, exist_ok=True)
            found.draw(picture)
    except OSError as error:
        raise ConfigError(f"cannot write to {given.out}: {error.strerror or error}; choose another --out") from error
    if given.json:
        print(json.dumps(found.record | {"pictures": [path.as_posix() for path in pictures]}, indent=1))
        return
    console = Console(highlight=False, markup=False, emoji=False)
    for part in render(found.record):
        console.print(part, soft_wrap=isinstance(part, str))
    for picture in pictures:
        console.print(f"drawn: {picture}", soft_wrap=True)


def _suffixes(kind: str) -> tuple[str, ...]:
    return ("png", "svg") if kind == "both" else (kind,)


def _images(given: DescribeArgs, size: int) -> list[Tensor]:
    """Batches of the images that were asked for."""
    import tempfile

    import numpy as np

    from scr3d.data.dataset import open_dataset
    from scr3d.data.images import list_images
    from scr3d.data.photos import read_photos

    if given.data is not None:
        # A folder of photos is imported for this command alone.
        with tempfile.TemporaryDirectory() as cache:
            data = open_dataset(given.data, given.split, size, cache)
            numbers = np.arange(min(given.count, len(data)))
            parts = [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]
            return [data.batch(part, with_truth=False).image for part in parts]
    paths = [path for place in given.images for path in (list_images(place) if place.is_dir() else [place])]
    if given.images and not paths:
        raise DataError(f"expected photos, or folders of photos; there are none in {given.images[0]}")
    return [read_photos(paths[start : start + BATCH], size) for start in range(0, len(paths), BATCH)]


def render(record: dict[str, Any]) -> Iterator[RenderableType]:
    """A description, part by part, as rich prints it."""
    yield _facts(record)
    yield ""
    weights = record["weights"]
    if weights is None:
        yield NO_IMAGES
    else:
        over = "" if weights["spread"] is None else f", mean ± standard deviation over {weights['images']:,} images"
        cycles = "" if weights["acyclic"] else "; the graph has cycles"
        yield f"weights (row: effect, column: cause{over}){cycles}"
        yield _matrix(record["factors"], weights["mean"], weights["spread"])
    graph = record["learned_graph"]
    if graph is not None:
        yield ""
        yield f"graph as learned (penalty on cycles {graph['penalty']:.3g})"
        yield _matrix(record["factors"], graph["learned"])
        yield "final graph" if graph["settled"] else "what would be left without cycles and weak edges"
        yield _matrix(record["factors"], graph["projected"])
    if record["validation"]:
        yield ""
        yield "scores on validation images"
        yield _pairs({name.replace("_", " "): _number(value) for name, value in record["validation"].items()})
    for name, evaluation in record["evaluation"].items():
        yield ""
        yield from _evaluation(name, evaluation)


def _facts(record: dict[str, Any]) -> Table:
    from rich.table import Table

    structure, networks, parameters = record["structure"], record["networks"], record["parameters"]
    model, training = record["model"], record["training"]
    made = "" if not model["version"] else f" (made with scr3d {model['version']})"
    parts = ", ".join(f"{name} {count:,}" for name, count in parameters.items() if count and name != "all")
    facts = {
        "model": ("the model that comes with scr3d" if model["shipped"] else str(model["folder"])) + made,
        "structure": _structure_in_words(structure, record["factors"]),
        "mixing": structure["mixing"] if structure["possible_edges"] else "none, without edges",
        "networks": f"{networks['preset']}, width {networks['width']}"
        if networks["preset"] == "compact"
        else networks["preset"],
        "image size": f"{networks['size']} x {networks['size']} pixels",
        "parameters": f"{parameters['all']:,}: {parts}",
        "training data": _data_in_words(training["data"]),
        "images seen": _images_in_words(training),
        "recipe": _recipe_in_words(training),
    }
    table = Table.grid(padding=(0, 2))
    for name, fact in facts.items():
        table.add_row(name, fact)
    return table


def _structure_in_words(structure: dict[str, Any], names: Sequence[str]) -> str:
    by_letter = {name[0].upper(): name for name in names}
    words = structure["kind"]
    if structure["attention"]:
        words += f" ({structure['attention']}): a graph for every image"
    elif structure["kind"] == "generic":
        words += f" ({structure['weight_form']}): one learned graph"
    elif structure["kind"] == "independent":
        words += ": no factor causes another"
        words += "" if structure["split"] else ", one encoder-decoder for each (Wu et al.)"
    if structure["order"]:
        words += f", order {structure['order']} ({' → '.join(by_letter[letter] for letter in structure['order'])})"
    return words + (f", edges {structure['edges']}" if structure["edges"] else "")


def _data_in_words(data: dict[str, Any]) -> str:
    words = [data["folder"]] if data["folder"] else []
    if data["source"]:
        words.append(", ".join(f"{name} {value}" for name, value in data["source"].items()))
    if data["fingerprint"]:
        words.append(f"fingerprint {data['fingerprint']}")
    return "\n".join(words) or "not recorded"


def _images_in_words(training: dict[str, Any]) -> str:
    seen, planned = training["images_seen"], training["images_planned"]
    words = "not recorded" if seen is None else f"{seen:,}"
    words += "" if planned is None else f" (a run of {planned:,})"
    return words + (
        f", after those of {training['start_from']}, whose weights it started from" if training["start_from"] else ""
    )


def _recipe_in_words(training: dict[str, Any]) -> str:
    if training["recipe"] is None:
        return "not recorded"
    changed = [
        f"{name.replace('_', '-')} {_short(pair['value'])} (not {_short(pair['default'])})"
        for name, pair in training["differences"].items()
    ]
    return "\n".join([training["recipe"] + (", except for" if changed else ""), *(f"  {line}" for line in changed)])


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(item)}" for name, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _matrix(names: Sequence[str], mean: list[list[float]], spread: list[list[float]] | None = None) -> Table:
    from rich.table import Table

    from scr3d.export.graph_picture import number_text

    table = Table.grid(padding=(0, 2))
    table.add_column()
    for _ in names:
        table.add_column(justify="right")
    table.add_row("", *names)
    for i, child in enumerate(names):
        cells = []
        for j in range(len(names)):
            deviation = 0.0 if spread is None else spread[i][j]
            text = number_text(mean[i][j]) if mean[i][j] or deviation else "·"
            cells.append(text if spread is None or text == "·" else f"{text} ± {deviation:.2f}")
        table.add_row(f"  {child}", *cells)
    return table


def _evaluation(name: str, evaluation: dict[str, Any]) -> Iterator[RenderableType]:
    from rich.table import Table

    images = "" if evaluation["images"] is None else f" on {evaluation['images']:,} images"
    data = "" if evaluation["fingerprint"] is None else f", fingerprint {evaluation['fingerprint']}"
    yield f"evaluation {name}{images}{data}"
    if evaluation["image_error"] is not None:
        yield f"  mean absolute error of the image {evaluation['image_error']:.4f}"
    if not evaluation["rows"]:
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("", *SCORE_HEADINGS.values())
    for row, scores in evaluation["rows"].items():
        cells = [f"{_number(scores[key]['mean'])} ± {_number(scores[key].get('std'))}" for key in SCORE_HEADINGS]
        table.add_row(f"  {row}", *cells)
    yield table


def _pairs(values: dict[str, str]) -> Table:
    """Names and values in two columns."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "left", "right"):
        table.add_column(justify=justify)  # type: ignore[arg-type]
    cells = [(f"  {name}", value) for name, value in values.items()]
    half = -(-len(cells) // 2)
    for number in range(half):
        right = cells[half + number] if half + number < len(cells) else ("", "")
        table.add_row(*cells[number], *right)
    return table


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
