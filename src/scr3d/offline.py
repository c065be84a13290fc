"""`--offline`: nothing is fetched from or sent to other machines.

Nothing of scr3d goes to the network unless it is told to: by a name of the Hugging Face hub, shards at an address, a
database, or the processes of a run on several machines. This switch makes every such attempt a one-line error. It is an
environment variable, so that processes that are started by this one have it too.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from typing import Any

from scr3d.errors import OfflineError

OPTION = "--offline"
VARIABLE = "SCR3D_OFFLINE"
OF_LIBRARIES = ("HF_HUB_OFFLINE",)
"""Variables of libraries that mean the same; with them they take what is on this machine already."""
LOCAL_NAMES = ("", "localhost")
WATCHED = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")

_state = {"guarded": False}


def is_offline() -> bool:
    """Whether the network is not to be used: `--offline` was given, or SCR3D_OFFLINE is set to anything but 0."""
    return os.environ.get(VARIABLE, "0") not in ("", "0")


def go_offline() -> None:
    """Refuse the network from now on, in this process and those that it starts; cannot be taken back for this one.

    Connections that Python makes to other machines fail, whatever library asks for them. Those that a library makes in
    native code are not seen; the ones that scr3d knows of ask `refuse_offline` first.
    """
    os.environ[VARIABLE] = "1"
    for name in OF_LIBRARIES:
        os.environ[name] = "1"
    if not _state["guarded"]:
        _state["guarded"] = True
        sys.addaudithook(_guard)


def refuse_offline(what: str) -> None:
    """To be called before anything goes to the network.

    Args:
        what: what would be done, as the beginning of a sentence: `fetching https://...`.

    Raises:
        OfflineError: the network is not to be used.
    """
    if is_offline():
        raise OfflineError(f"{what} needs the network, which {OPTION} or {VARIABLE} forbids; leave it out to go online")


def is_local(host: str) -> bool:
    """Whether a host is this machine, by its name or its address."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in (*LOCAL_NAMES, socket.gethostname())


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in WATCHED or not is_offline():
        return
    host = arguments[0] if event.startswith("socket.get") else arguments[-1]
    host = host[0] if isinstance(host, tuple) and len(host) > 1 else host
    # Paths of local sockets are bytes or text that is no host; addresses of other families are not the internet's.
    if event.startswith("socket.get") or isinstance(arguments[-1], tuple):
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if isinstance(name, str) and not is_local(name):
            refuse_offline(f"a connection to {name}")
