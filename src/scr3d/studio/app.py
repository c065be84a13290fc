"""The studio's server: a session for every browser."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import viser

from scr3d.errors import DataError, Scr3dError
from scr3d.runtime import find_device, use_threads
from scr3d.studio.config import StudioConfig
from scr3d.studio.faces import MOST_FACES, faces_of
from scr3d.studio.library import SHIPPED, ModelLibrary, name_models
from scr3d.studio.photos import Photo, read_file
from scr3d.studio.runs import RunFolder
from scr3d.studio.scene import set_initial_view
from scr3d.studio.session import Session, Shared
from scr3d.studio.viser_parts import disconnect, is_own_page, start_server
from scr3d.studio.workbench import PHOTOS_KEPT


class Studio:
    """The running studio."""

    def __init__(self, config: StudioConfig, images: Sequence[Path] = ()):
        """Load the first model, read the photos, and listen.

        Args:
            config: options.
            images: photos, or folders of photos, that every browser starts with.

        Raises:
            CheckpointError: there is no model.
            ConfigError: the device or the address is not there.
            DataError: a photo cannot be read.
        """
        use_threads(config.threads)
        library = ModelLibrary(name_models(config.model), str(find_device(config.device)))
        library.get(library.names[0])
        runs = None if config.runs is None else RunFolder(config.runs)
        photos = read_photos(images, config)
        if library.names[0] == SHIPPED:
            photos = with_faces(photos)
        self.shared = Shared(config, library, photos, runs)
        self.sessions: dict[int, Session] = {}
        self._places: set[int] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.server = start_server(config.host, config.port, "scr3d studio")
        set_initial_view(self.server)
        self.server.on_client_connect(self._connected)
        self.server.on_client_disconnect(self._disconnected)

    @property
    def address(self) -> str:
        """What to open in a browser on this machine."""
        host = self.shared.config.host
        shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.server.get_port()}"

    def close(self) -> None:
        """Stop listening and end all sessions; each ends after the job at hand, which is not waited for."""
        with self._lock:
            self._closed = True
            sessions, self.sessions = list(self.sessions.values()), {}
        # First what is computed, so that it ends while viser takes leave of the browsers.
        for session in sessions:
            session.close()
        self.server.stop()

    def _connected(self, client: viser.ClientHandle) -> None:
        config = self.shared.config
        if not is_own_page(self.server, client, config.host):
            disconnect(self.server, client)
            return
        with self._lock:
            if self._closed:
                return
            full = len(self._places) >= config.browsers
            if not full:
                self._places.add(client.client_id)
        if full:
            client.gui.add_markdown(
                f"**The studio is full.** {config.browsers} browsers are connected; close one, or start it with a "
                "larger --browsers."
            )
            return
        try:
            session = Session(client, self.shared)
            with self._lock:
                self.sessions[client.client_id] = session
        finally:
            # What has ended meanwhile, the browser or the studio, has done so before this session was there.
            if self._closed or client.client_id not in self.server.get_clients():
                self._disconnected(client)

    def _disconnected(self, client: viser.ClientHandle) -> None:
        with self._lock:
            self._places.discard(client.client_id)
            session = self.sessions.pop(client.client_id, None)
        if session is not None:
            session.close()


def read_photos(images: Sequence[Path], config: StudioConfig) -> tuple[Photo, ...]:
    """The photos named on the command line; of a folder, those that can be read.

    Raises:
        DataError: a file cannot be read, or nothing can.
    """
    from scr3d.data.images import list_images

    found: list[Photo] = []
    for given in images:
        if not given.is_dir():
            found.append(read_file(given, config.upload))
            continue
        for path in list_images(given):
            if len(found) == PHOTOS_KEPT:
                break
            try:
                found.append(read_file(path, config.upload))
            except Scr3dError:
                continue
    if images and not found:
        raise DataError(f"none of the {len(images)} given files and folders holds a usable image")
    return tuple(found[:PHOTOS_KEPT])


def with_faces(photos: Sequence[Photo]) -> tuple[Photo, ...]:
    """Photos, each after the faces that are found in it."""
    found: list[Photo] = []
    for photo in photos:
        found += [*faces_of(photo)[:MOST_FACES], photo]
    return tuple(found[:PHOTOS_KEPT])
