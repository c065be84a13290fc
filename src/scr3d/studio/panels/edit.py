"""The panel of the values: what is shown, light, viewpoint, relief."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple

import viser

from scr3d.studio.editing import Shown, Values
from scr3d.studio.panels.photo import picture_row
from scr3d.studio.viser_parts import set_value

if TYPE_CHECKING:
    from scr3d.studio.session import Session


class Range(NamedTuple):
    """A slider: its name in the page, its bounds, its step, its help."""

    label: str
    least: float
    most: float
    step: float
    about: str


LIGHT = {
    "ambient": Range("ambient", 0.0, 1.0, 0.005, "Light that comes from everywhere"),
    "diffuse": Range("diffuse", 0.0, 1.0, 0.005, "Light that comes from the lamp"),
    "light_x": Range(
        "from the left", -1.5, 1.5, 0.01, "Slope of the light's direction; below 0 it comes from the right"
    ),
    "light_y": Range("from above", -1.5, 1.5, 0.01, "Slope of the light's direction; below 0 it comes from below"),
}
VIEW = {
    "yaw_deg": Range("yaw (°)", -75.0, 75.0, 0.5, "About the upright axis"),
    "pitch_deg": Range("pitch (°)", -75.0, 75.0, 0.5, "About the level axis"),
    "roll_deg": Range("roll (°)", -90.0, 90.0, 0.5, "About the line of sight"),
}
RELIEF = {"relief": Range("relief", 0.0, 3.0, 0.02, "0 is flat, 1 as found, 2 twice as deep")}
VIEW_ONLY = frozenset(VIEW)
"""These turn the mesh and leave its colours."""


def build(session: Session) -> None:
    """The controls."""
    gui = session.client.gui
    picture = gui.add_html("")
    shown = gui.add_dropdown("show", tuple(Shown), initial_value=Shown.TEXTURE)
    wire = gui.add_checkbox("wire frame", session.wire_shown)
    lamp = gui.add_checkbox("lamp", session.lamp_shown, hint="Drag it in the 3D view to move the light")
    sliders: dict[str, viser.GuiSliderHandle[float]] = {}
    for title, ranges in (("light", LIGHT), ("viewpoint", VIEW), ("depth", RELIEF)):
        with gui.add_folder(title):
            for name, (label, least, most, step, about) in ranges.items():
                start = 1.0 if name == "relief" else 0.0
                sliders[name] = gui.add_slider(label, least, most, step, start, hint=about)
    reset = gui.add_button("As the model found it", icon=viser.Icon.RESTORE)

    def moved(name: str) -> Callable[[], None]:
        def move() -> None:
            session.bench.edit(**{name: float(sliders[name].value)})
            session.redraw(mesh=name not in VIEW_ONLY)

        return move

    def switch() -> None:
        session.bench.shown = Shown(shown.value)
        session.wire_shown, session.lamp_shown = wire.value, lamp.value
        session.redraw(mesh=True)

    def forget() -> None:
        session.bench.reset()
        show_values()
        session.redraw(mesh=True)

    def show_values() -> None:
        if session.bench.photo is None:
            return
        set_value(shown, session.bench.shown)
        values = session.bench.values()
        for field in fields(Values):
            least, most, _ = (getattr(sliders[field.name], bound) for bound in ("min", "max", "step"))
            set_value(sliders[field.name], min(max(round(getattr(values, field.name), 4), least), most))

    def draw() -> None:
        picture.content = picture_row(session)

    for name, slider in sliders.items():
        session.when_used(slider, moved(name))
    for control in (shown, wire, lamp):
        session.when_used(control, switch)
    session.when_used(reset, forget)
    for event in ("explained", "edited"):
        session.on(event, show_values)
    session.on("drawn", draw)
    _add_commands(session, shown, wire, lamp, switch, forget)


def _add_commands(
    session: Session,
    shown: viser.GuiDropdownHandle[Shown],
    wire: viser.GuiCheckboxHandle,
    lamp: viser.GuiCheckboxHandle,
    switch: Callable[[], None],
    forget: Callable[[], None],
) -> None:
    """Keys for what is used most."""
    gui = session.client.gui

    def add(label: str, key: str, do: Callable[[], None]) -> None:
        command = gui.add_command(label, hotkey=key)  # type: ignore[arg-type]
        command.on_trigger(lambda event: session.submit(f"command {key}", do))

    def show(kind: Shown) -> Callable[[], None]:
        def do() -> None:
            set_value(shown, kind)
            switch()

        return do

    def toggle(box: viser.GuiCheckboxHandle) -> Callable[[], None]:
        def do() -> None:
            set_value(box, not box.value)
            switch()

        return do

    for number, kind in enumerate(Shown, start=1):
        add(f"Show {kind}", str(number), show(kind))
    add("Wire frame", "W", toggle(wire))
    add("Lamp", "L", toggle(lamp))
    add("As the model found it", "R", forget)
    add("Look from the front", "F", session.scene.look_from_front)
