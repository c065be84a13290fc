"""The panel that shows several models on one photo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import viser

from scr3d.errors import ConfigError
from scr3d.studio.compare import as_table, compare
from scr3d.studio.display_mesh import frame_scale
from scr3d.studio.markup import note
from scr3d.studio.scene import Object
from scr3d.studio.workbench import mesh_of

if TYPE_CHECKING:
    from scr3d.studio.session import Session

SHOWN_AT_MOST = 4
NOTHING = "none"


def build(session: Session) -> None:
    """The controls."""
    gui = session.client.gui
    names = session.shared.library.names
    firsts = [*names[:2], *[NOTHING] * SHOWN_AT_MOST][:SHOWN_AT_MOST]
    choices = [
        gui.add_dropdown(f"model {number}", (NOTHING, *names), initial_value=first)
        for number, first in enumerate(firsts, start=1)
    ]
    button = gui.add_button("Compare", icon=viser.Icon.COLUMNS)
    beside = gui.add_checkbox("side by side in 3D", True)
    result = gui.add_html(note("Take a synthetic head on the Photo tab to see SIDE and MAD: its truth is known."))

    def run() -> None:
        bench = session.bench
        if bench.photo is None:
            raise ConfigError("there is no photo yet: drop or choose one, or take a synthetic head")
        chosen = list(dict.fromkeys(choice.value for choice in choices if choice.value != NOTHING))
        if not chosen:
            raise ConfigError("choose at least one model to compare")
        found = compare(bench.photo, bench.frame, [session.shared.library.get(name) for name in chosen])
        result.content = as_table(bench.photo, found)
        objects = []
        if beside.value:
            bench.show_factors()
            for one in found:
                if one.model.name != bench.model.name:
                    factors = one.result.factors
                    mesh = mesh_of(one.model, factors, bench.shown)
                    objects.append(Object(mesh, factors.view, frame_scale(one.model.network), one.model.name))
        session.beside(objects, first=bench.model.name)

    def forget() -> None:
        result.content = note("Take a synthetic head on the Photo tab to see SIDE and MAD: its truth is known.")

    def list_models() -> None:
        for choice in choices:
            choice.options = (NOTHING, *session.shared.library.names)

    session.when_used(button, run)
    session.on("models", list_models)
    session.on("explained", forget)
