"""The panel of training runs and searches, read while they go on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import viser
from viser import uplot

from scr3d.studio.markup import box, escape, figure, image, note, table
from scr3d.studio.runs import RunFolder, RunState, candidates, latest_picture
from scr3d.studio.search_view import as_html, posterior
from scr3d.studio.viser_parts import set_value
from scr3d.training.pictures import ROWS

if TYPE_CHECKING:
    from scr3d.studio.session import Session

REFRESH_SECONDS = 3.0
LISTED = 12
FIRST_SCALARS = ("reconstruction", "side_e2", "mad_deg", "total")
COLOR = "#3b82c4"


def build(session: Session) -> None:
    """The controls, or how to have some."""
    gui, folder = session.client.gui, session.shared.runs
    if folder is None:
        gui.add_html(note("Start the studio with --runs FOLDER to watch training runs and searches there."))
        return
    RunsPanel(session, folder)


class RunsPanel:
    """The list, one run with its curves and latest pictures, and one search; new every few seconds."""

    def __init__(self, session: Session, folder: RunFolder):
        """Build the controls and begin to watch.

        Args:
            session: the browser.
            folder: what is watched.
        """
        gui = session.client.gui
        self.session, self.folder = session, folder
        self.overview = gui.add_html(note("Looking for runs …"))
        self.run = gui.add_dropdown("run", ("",), initial_value="")
        self.scalar = gui.add_dropdown("curve", ("",), initial_value="")
        empty = np.zeros(2)
        # Without this, uPlot takes what is along the axis for seconds since 1970.
        scales = {"x": uplot.Scale(time=False)}
        series = (uplot.Series(), uplot.Series(stroke=COLOR))
        self.plot = gui.add_uplot((empty, empty), series, scales=scales, aspect=1.7, visible=False)
        self.picture = gui.add_html("")
        self.load = gui.add_button("Show this run's best model", icon=viser.Icon.CUBE)
        self.search = gui.add_dropdown("search", ("",), initial_value="", visible=False)
        self.candidates = gui.add_html("")
        self._over = threading.Event()
        self._drawn: dict[str, Any] = {}
        for control in (self.run, self.scalar, self.search):
            session.when_used(control, self.refresh)
        session.when_used(self.load, self.show_model)
        session.on("closed", self._over.set)
        threading.Thread(target=self._watch, daemon=True, name="studio runs").start()

    def refresh(self) -> None:
        """Read what has changed and show it."""
        runs, searches = self.folder.runs(), self.folder.searches()
        self._offer_models(runs)
        states = [self.folder.state(name, path) for name, path in list(runs.items())[:LISTED]]
        self._set(self.overview, "overview", overview(states, len(runs), str(self.folder.root)))
        _choose(self.run, tuple(runs))
        if self.run.value in runs:
            self._show_run(runs[self.run.value])
        self.search.visible = bool(searches)
        _choose(self.search, tuple(searches))
        if self.search.value in searches:
            found = candidates(searches[self.search.value])
            self._set(self.candidates, "candidates", as_html(found, posterior(found)))

    def show_model(self) -> None:
        """Explain the photo by the run's best model so far."""
        self.session.bench.set_model(model_name(self.run.value))
        self.session.tell("models")
        self.session.renew()

    def _offer_models(self, runs: dict[str, Path]) -> None:
        """Runs that have a model can be chosen and compared."""
        library = self.session.shared.library
        for name, path in runs.items():
            if (path / "best" / "model.json").is_file():
                library.add(model_name(name), path)
        if self._drawn.get("models") != library.names:
            self._drawn["models"] = library.names
            self.session.tell("models")

    def _watch(self) -> None:
        while not self._over.wait(REFRESH_SECONDS if self._drawn else 0.1):
            self.session.submit("runs", self.refresh)
            self._drawn.setdefault("begun", True)

    def _show_run(self, path: Path) -> None:
        log = self.folder.log(path)
        names = [f"{group}: {name}" for group in ("validation", "train") for name in log.names(group)]
        first = next((n for s in FIRST_SCALARS for n in names if n.endswith(f": {s}")), "")
        _choose(self.scalar, tuple(names), first)
        group, _, name = self.scalar.value.partition(": ")
        curve = log.curve(group, name)
        key = (path, group, name, len(curve.images), tuple(curve.values[-1:]))
        if len(curve.images) > 1 and self._drawn.get("curve") != key:
            self.plot.series = (uplot.Series(label="images"), uplot.Series(label=name, stroke=COLOR, width=2.0))
            self.plot.data = (curve.images, curve.values)
            self._drawn["curve"] = key
        self.plot.visible = len(curve.images) > 1
        found = latest_picture(path)
        if found is None:
            self._set(self.picture, "picture", note("No pictures yet: they come with the first validation."))
        else:
            caption = f"after {int(found[0]):,} images; rows: {', '.join(ROWS)}" if found[0].isdigit() else found[0]
            if self._drawn.get("picture of") != (path, found[0]):
                self._drawn["picture of"] = (path, found[0])
                self._set(self.picture, "picture", box(figure(image(found[1], caption), caption)))

    def _set(self, handle: viser.GuiHtmlHandle, key: str, content: str) -> None:
        if self._drawn.get(key) != content:
            self._drawn[key] = content
            handle.content = content


def model_name(run: str) -> str:
    """What the best model of a run is called."""
    return f"run {run}"


def overview(states: list[RunState], count: int, folder: str) -> str:
    """The runs as a table."""
    if not states:
        return note(f"There is no run in {folder} yet; a run appears with its first line in log.jsonl.")
    rows = []
    for state in states:
        done = f"{state.images:,}" + (f" of {state.planned:,}" if state.planned else "")
        scores = [
            f"{name} {state.scores[key]:.3g}"
            for key, name in (("reconstruction", "loss"), ("side_e2", "SIDE"), ("mad_deg", "MAD"))
            if key in state.scores
        ]
        first = f"{escape(state.name)}<br><span style='font-weight:400'>{escape(state.structure)}</span>"
        rows.append([first, f"{escape(done)}<br>{state.state}", "<br>".join(map(escape, scores))])
    more = note(f"and {count - len(states)} more") if count > len(states) else ""
    return box(table(("run", "images", "validation"), rows)) + more


def _choose(dropdown: viser.GuiDropdownHandle[str], options: tuple[str, ...], first: str = "") -> None:
    """Offer options, and keep the chosen one if it is among them."""
    options = options or ("",)
    kept = dropdown.value
    if tuple(dropdown.options) != options:
        dropdown.options = options
    wanted = kept if kept in options and kept else first or options[0]
    if dropdown.value != wanted:
        set_value(dropdown, wanted)
