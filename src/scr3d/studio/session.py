"""One browser: its workbench, its page, and the thread in which both meet."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import viser

from scr3d.errors import Scr3dError
from scr3d.studio.config import StudioConfig
from scr3d.studio.display_mesh import frame_scale, wire_lines
from scr3d.studio.library import ModelLibrary
from scr3d.studio.photos import Photo
from scr3d.studio.runs import RunFolder
from scr3d.studio.scene import Object, Scene
from scr3d.studio.viser_parts import limit_uploads, page_script, run_script
from scr3d.studio.workbench import Workbench
from scr3d.studio.worker import Worker

WIRE_STEP = 4
ERROR_SECONDS = 12.0


@dataclass(frozen=True)
class Shared:
    """What all browsers have in common; nothing of it comes from a browser.

    Attributes:
        config: options of the studio.
        library: models.
        photos: photos named on the command line.
        runs: watched runs; None where no folder is given.
    """

    config: StudioConfig
    library: ModelLibrary
    photos: tuple[Photo, ...]
    runs: RunFolder | None


class Session:
    """Everything about one browser. Its page's callbacks hand jobs to the worker, which alone touches the workbench."""

    def __init__(self, client: viser.ClientHandle, shared: Shared):
        """Build the page.

        Args:
            client: the browser.
            shared: what all browsers see.
        """
        from scr3d.studio.panels import build_panels

        self.client, self.shared = client, shared
        self.bench = Workbench(shared.library, shared.photos)
        self.worker = Worker(self._failed)
        self.lamp_shown, self.wire_shown = False, False
        self._listeners: dict[str, list[Callable[[], None]]] = {}
        self._beside: list[Object] = []
        self._first = ""
        run_script(client, page_script())
        limit_uploads(client, shared.config.upload, self._refuse_upload)
        self.scene = Scene(client, self._lamp_moved)
        build_panels(self)
        self.submit("start", self.renew)
        self.worker.begin()

    def submit(self, key: str, job: Callable[[], None]) -> None:
        """Do a job in the worker; of those that wait under one key, the latest."""
        self.worker.submit(key, job)

    def on(self, event: str, listener: Callable[[], None]) -> None:
        """Call a listener in the worker at `photos` (the list has changed), `explained` (another photo or model),
        `edited` (values have changed), `drawn` (the picture has to be made again) or `models` (there is a new one);
        and at `closed` (the browser has gone).
        """
        self._listeners.setdefault(event, []).append(listener)

    def tell(self, event: str) -> None:
        """Call the listeners of an event."""
        for listener in self._listeners.get(event, ()):
            listener()

    def when_used(self, handle: Any, job: Callable[[], None]) -> None:
        """Do a job when the person changes a control or presses a button, not when the program does."""

        def used(event: Any) -> None:
            if event.client is not None:
                self.submit(handle_key, job)

        handle_key = f"{type(handle).__name__} {id(handle)}"
        (handle.on_click if hasattr(handle, "on_click") else handle.on_update)(used)

    def renew(self) -> None:
        """Another photo, frame or model: everything is shown anew."""
        self._beside = []
        self.tell("photos")
        self.tell("explained")
        self.redraw(mesh=True)

    def redraw(self, mesh: bool) -> None:
        """Show the edited factors.

        Args:
            mesh: whether the mesh is to be made again; a view alone only turns it.
        """
        bench = self.bench
        if bench.photo is None:
            return
        factors, scale = bench.factors(), frame_scale(bench.network)
        with self.client.atomic():
            if mesh:
                first = Object(bench.glb(), factors.view, scale, self._first if self._beside else "")
                self.scene.show([first, *self._beside])
                lines = wire_lines(bench.surface(), bench.network, WIRE_STEP) if self.wire_shown else None
                self.scene.wire(lines)
            else:
                self.scene.turn(factors.view, scale)
            self.scene.light(factors.light, self.lamp_shown)
        self.tell("drawn")

    def beside(self, objects: list[Object], first: str) -> None:
        """Show other objects beside the edited one, which is called `first` then; an empty list takes them away."""
        if objects or self._beside:
            self._beside, self._first = objects, first
            self.tell("edited")
            self.redraw(mesh=True)

    def say(self, title: str, text: str, color: str = "red") -> None:
        """A message that goes away by itself."""
        self.client.add_notification(title, text, color=color, auto_close_seconds=ERROR_SECONDS)  # type: ignore[call-overload]

    def close(self) -> None:
        """The browser has gone: drop its photos and end its thread."""
        self.tell("closed")
        self.worker.close()
        self.scene.close()
        self.bench.photos.clear()

    def _lamp_moved(self, x: float, y: float) -> None:
        def move() -> None:
            self.bench.edit(light_x=x, light_y=y)
            self.tell("edited")
            self.redraw(mesh=True)

        self.submit("lamp", move)

    def _refuse_upload(self, name: str, size: int) -> None:
        from scr3d.studio.photos import check_size, display_name

        try:
            check_size(display_name(name), size, self.shared.config.upload)
        except Scr3dError as error:
            self.say("Photo refused", str(error))

    def _failed(self, error: Exception) -> None:
        if isinstance(error, Scr3dError):
            self.say("This does not work", str(error))
            return
        # A fault of the program: the person sees one line, the terminal all of it, and the studio goes on.
        traceback.print_exception(error, file=sys.stderr)
        self.say("A fault of the studio", f"{type(error).__name__}; the terminal says more")
