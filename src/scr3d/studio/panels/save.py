"""The panel of downloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import viser

from scr3d.reconstruct import unique_name
from scr3d.studio import downloads
from scr3d.studio.markup import note

if TYPE_CHECKING:
    from scr3d.studio.session import Session


def build(session: Session) -> None:
    """The controls."""
    gui = session.client.gui
    gui.add_html(note("Everything is saved as it is shown: with the edited light, view and relief."))
    buttons = {
        ".glb": gui.add_button("Mesh (GLB)", icon=viser.Icon.CUBE, hint="Opens upright in Blender and elsewhere"),
        ".png": gui.add_button("Picture (PNG)", icon=viser.Icon.PHOTO, hint="1024 pixels wide, nothing behind it"),
        "-turntable.mp4": gui.add_button("Turntable (MP4)", icon=viser.Icon.ROTATE_360),
        "-relighting.mp4": gui.add_button("Relighting (MP4)", icon=viser.Icon.BULB, hint="A light circles around"),
    }
    progress = gui.add_html("")

    def save(suffix: str) -> Callable[[], None]:
        def do() -> None:
            bench = session.bench
            progress.content = note("Working …")
            try:
                content = {
                    ".glb": lambda: downloads.glb(bench),
                    ".png": lambda: downloads.png(bench),
                    "-turntable.mp4": lambda: downloads.mp4(bench, relit=False),
                    "-relighting.mp4": lambda: downloads.mp4(bench, relit=True),
                }[suffix]()
            finally:
                progress.content = ""
            name = bench.photo.name if bench.photo else "scr3d"
            stem = unique_name(name.rpartition(".")[0] or name, set())
            session.client.send_file_download(f"{stem}{suffix}", content, save_immediately=True)

        return do

    for suffix, button in buttons.items():
        session.when_used(button, save(suffix))
