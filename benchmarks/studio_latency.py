"""How soon the studio's picture follows a slider: what a slider, a photo and an intervention cost, made and sent.

    python benchmarks/studio_latency.py [--repeats 20] [--threads 2] [--out results/studio/latency.json]

`follow` is all that the studio does between the message that a slider has moved and the messages that go back: the
picture (encoded for the page) and, unless only the view has moved, the mesh. The browser's own drawing is not part of
it. `limit_ms` is what the picture is allowed to take.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from harness import FOLDER, Report, common_arguments, measure, prepare, run, settings, write_report
from scr3d.factors import Factor
from scr3d.studio.appearance import pose
from scr3d.studio.config import UploadLimits
from scr3d.studio.editing import Shown
from scr3d.studio.library import ModelLibrary, name_models
from scr3d.studio.markup import image
from scr3d.studio.photos import Frame, read_file
from scr3d.studio.what_if import Question, Way, answer, ask
from scr3d.studio.workbench import Workbench

EXAMPLES = FOLDER.parent / "examples"
LIMIT_MS = 100.0
VIEW_ONLY = ("yaw_deg", "pitch_deg", "roll_deg")


def open_bench(model: Path | None = None) -> Workbench:
    """A workbench with two example photos."""
    photos = tuple(read_file(EXAMPLES / f"head-{number}.png", UploadLimits()) for number in ("01", "04"))
    return Workbench(ModelLibrary(name_models((model,) if model else ())), photos)


def follow(bench: Workbench, name: str, values: Iterator[float]) -> Callable[[], int]:
    """A call that moves a slider to its next value and makes what is sent; returns its bytes."""

    def call() -> int:
        bench.edit(**{name: next(values)})
        sent = len(image(bench.picture(), "picture"))
        if name in VIEW_ONLY:
            pose(bench.view())
            return sent
        return sent + len(bench.glb())

    return call


def calls(bench: Workbench) -> dict[str, Callable[[], object]]:
    """Everything that is timed."""

    def swing(*values: float) -> Iterator[float]:
        return itertools.cycle(values)

    def kind(shown: Shown, call: Callable[[], int]) -> Callable[[], object]:
        def timed() -> int:
            bench.shown = shown
            return call()

        return timed

    def new_photo() -> object:
        assert bench.photo is not None
        other = next(label for label in bench.photos if label != bench.photo.label)
        bench.choose(other)
        return bench.picture(), bench.glb()

    def intervention() -> object:
        first, second = (photo.image(bench.network.config.size, Frame()) for photo in bench.photos.values())
        return answer(bench.network, ask(bench.network, first, second, Question(Factor.LIGHT, Way.CAUSE)))

    found: dict[str, Callable[[], object]] = {}
    for shown in (Shown.TEXTURE, Shown.PHOTO):
        for label, name, values in (
            ("light", "light_x", (-0.5, 0.5)),
            ("view", "yaw_deg", (-20.0, 20.0)),
            ("relief", "relief", (0.8, 1.6)),
        ):
            found[f"{label}, {shown}"] = kind(shown, follow(bench, name, swing(*values)))
    return {**found, "another photo": new_photo, "intervention": intervention}


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    common_arguments(parser)
    arguments = parser.parse_args()
    machine = prepare(arguments)
    with torch.no_grad():
        timings = measure(calls(open_bench()), arguments.repeats, device=arguments.device)
    bench = open_bench()
    sizes = {name: follow(bench, name, iter([value]))() for name, value in (("light_x", 0.3), ("yaw_deg", 9.0))}
    results = {"limit_ms": LIMIT_MS, "follow": timings, "bytes_sent": sizes}
    write_report(arguments.out, Report("studio_latency", settings(arguments), machine, results))


if __name__ == "__main__":
    run(main)
