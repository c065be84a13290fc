"""The parts of viser that are not public, all in one place; hence the upper bound on its version in pyproject.toml."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ipaddress
import logging
from collections.abc import Callable
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import viser
from viser import _messages

from scr3d.errors import ConfigError
from scr3d.studio.config import UploadLimits

EVERYWHERE = ("0.0.0.0", "::", "")
LOCAL_NAMES = ("localhost",)


class Server(viser.ViserServer):
    """A server that cannot be shared through a relay on the internet, as any page could otherwise ask of viser's."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Nothing is shared."""
        return None


def start_server(host: str, port: int, label: str) -> Server:
    """Listen, without viser's own words on the terminal.

    Raises:
        ConfigError: the address is not one of this machine's.
    """
    # What is not HTTP is refused; the terminal need not show how.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    _check_address(host, port)
    with contextlib.redirect_stdout(io.StringIO()):
        return Server(host=host, port=port, label=label, verbose=False)


def _check_address(host: str, port: int) -> None:
    """viser would try a thousand ports of an address that is not there, and wait for ever."""
    import socket

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host} ({error.strerror or error}); --host takes an address of this machine, "
            "127.0.0.1 for itself alone"
        ) from error


def set_value(handle: Any, value: object) -> None:
    """Set a control from the program."""
    handle.value = value


def run_script(client: viser.ClientHandle, source: str) -> None:
    """Run JavaScript in a browser."""
    client.gui._websock_interface.queue_message(_messages.RunJavascriptMessage(source=source))


def page_script() -> str:
    """What the studio adds to viser's page: dropping of photos, names for assistive programs, width on phones."""
    return files("scr3d.studio").joinpath("page.js").read_text(encoding="utf-8")


def limit_uploads(client: viser.ClientHandle, limits: UploadLimits, refuse: Callable[[str, int], None]) -> None:
    """End uploads that are too large as soon as they say so, or send more than they said.

    Args:
        client: the browser.
        limits: of size.
        refuse: told name and size of what was refused.
    """
    gui = client.gui
    uploads: dict[str, Any] = gui._current_file_upload_states

    def acknowledge(message: Any, size: int) -> None:
        # The browser waits for this before it offers the button again.
        gui._websock_interface.queue_message(
            _messages.FileTransferPartAck(message.source_component_uuid, message.transfer_uuid, size, size)
        )

    def starts(client_id: int, message: _messages.FileTransferStartUpload) -> None:
        ours = message.source_component_uuid in gui._gui_input_handle_from_uuid
        if ours and message.size_bytes > limits.bytes:
            uploads.pop(message.transfer_uuid, None)
            acknowledge(message, message.size_bytes)
            refuse(message.filename, message.size_bytes)

    def part(client_id: int, message: _messages.FileTransferPart) -> None:
        state = uploads.get(message.transfer_uuid)
        if state is not None and state["transferred_bytes"] > limits.bytes:
            del uploads[message.transfer_uuid]
            refuse(state["filename"], state["transferred_bytes"])

    gui._websock_interface.register_handler(_messages.FileTransferStartUpload, starts)
    gui._websock_interface.register_handler(_messages.FileTransferPart, part)


def take_upload(button: viser.GuiUploadButtonHandle) -> viser.UploadedFile:
    """What was sent; the button forgets it."""
    sent = button.value
    button._impl.value = viser.UploadedFile("", b"")
    return sent


def is_own_page(server: viser.ViserServer, client: viser.ClientHandle, host: str) -> bool:
    """Whether a connection comes from the studio's own page, not from another one open in the same browser."""
    connection = server._websock_server._live_connections.get(client.client_id)
    if connection is None or connection.request is None:
        return False
    origins, hosts = (connection.request.headers.get_all(name) for name in ("Origin", "Host"))
    if len(origins) > 1 or len(hosts) != 1:
        return False
    return same_origin(next(iter(origins), None), hosts[0], host)


def same_origin(origin: str | None, asked_for: str, listening: str) -> bool:
    """Whether a page may talk to this server.

    Pages of other sites may open connections to a server on this machine; browsers say from where in `Origin`. And a
    name that leads here for the sake of an attack (DNS rebinding) is none of ours, unless everyone is let in.

    Args:
        origin: the Origin header; programs that are no browsers send none.
        asked_for: the Host header.
        listening: address that the server listens on.
    """
    if origin is not None and urlsplit(origin).netloc.lower() != asked_for.lower():
        return False
    if listening in EVERYWHERE:
        return True
    name = (urlsplit(f"//{asked_for}").hostname or "").lower()
    return name == listening.lower() or name in LOCAL_NAMES or _is_address(name)


def disconnect(server: viser.ViserServer, client: viser.ClientHandle) -> None:
    """Close a browser's connection."""
    connection = server._websock_server._live_connections.get(client.client_id)
    if connection is not None:
        asyncio.run_coroutine_threadsafe(connection.close(1008, "not from here"), server.get_event_loop())


def _is_address(name: str) -> bool:
    """Numeric addresses cannot be made to lead elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
