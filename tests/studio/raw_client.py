"""A program that speaks to a running studio as viser's page does, and can lie where a page would not."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import viser
import zstandard
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

PART_BYTES = 512 * 1024
START_SECONDS = 90.0


class RunningStudio:
    """`scr3d studio` in a process of its own."""

    def __init__(self, *args: object, folder: Path | None = None):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scr3d.cli", "studio", "--port", "0", "--threads", "1", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=environment,
            # A job in the background of a shell ignores Ctrl-C, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self._await_line(r"studio: http://[^:]+:(\d+) ")[1])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def _await_line(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            assert self.process.poll() is None, self.lines
            time.sleep(0.05)
        raise AssertionError(f"no line {pattern!r} in {self.lines}")

    def megabytes(self) -> float:
        """Memory in use."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()


class RawClient:
    """A connection, and all messages that came over it."""

    def __init__(self, port: int, origin: str | None = "", host: str | None = None):
        """Connect: from the studio's own page unless `origin` is given, None sends none; `host` is a name for it."""
        if origin == "":
            origin = f"http://127.0.0.1:{port}"
        self.socket = connect(
            f"ws://{host or f'127.0.0.1:{port}'}",
            sock=socket.create_connection(("127.0.0.1", port)),
            subprotocols=[f"viser-v{viser.__version__}"],  # type: ignore[list-item]
            origin=origin,  # type: ignore[arg-type]
            max_size=None,
            compression=None,
        )
        self.messages: list[dict[str, Any]] = []
        self.received = bytearray()
        self.closed = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        self.send(
            "ViewerCameraMessage",
            wxyz=(1.0, 0.0, 0.0, 0.0),
            position=(0.0, 0.0, 5.0),
            fov=0.2,
            near=0.1,
            far=100.0,
            image_height=800,
            image_width=1000,
            look_at=(0.0, 0.0, 0.0),
            up_direction=(0.0, 1.0, 0.0),
        )

    def _read(self) -> None:
        try:
            while True:
                data = self.socket.recv()
                assert isinstance(data, bytes)
                length, packed = (int.from_bytes(data[at : at + 8], "little") for at in (0, 8))
                inner = zstandard.ZstdDecompressor().decompress(data[16 : 16 + packed], max_output_size=length)
                self.received += inner
                self.messages += msgspec.msgpack.decode(inner)["messages"]
        except ConnectionClosed:
            self.closed.set()

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        self.socket.send(msgspec.msgpack.encode({"type": kind, **fields}))

    def await_message(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = 30.0) -> dict[str, Any]:
        """The first message that fits, from now or before."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for message in list(self.messages):
                if wanted(message):
                    return message
            time.sleep(0.02)
        raise AssertionError(f"no such message among {[message['type'] for message in self.messages]}")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All messages of a type."""
        return [message for message in list(self.messages) if message["type"] == kind]

    def control(self, label: str) -> str:
        """Identity of a control."""
        found = self.await_message(lambda message: message.get("props", {}).get("label") == label)
        return str(found["uuid"])

    def notifications(self) -> list[str]:
        """What the page would have said."""
        return [message["props"]["body"] for message in self.of("NotificationShowMessage")]

    def await_notification(self, part: str) -> str:
        """A message to the person that contains a text."""
        found = self.await_message(lambda m: m["type"] == "NotificationShowMessage" and part in m["props"]["body"])
        return str(found["props"]["body"])

    def meshes(self) -> int:
        """Meshes that were sent."""
        return len(self.of("GlbMessage"))

    def upload(self, name: str, content: bytes, declared: int | None = None) -> None:
        """Send a file to the button for photos; `declared` lies about its size."""
        button = self.control("Choose a photo, or drop one anywhere")
        transfer = str(uuid.uuid4())
        parts = [content[at : at + PART_BYTES] for at in range(0, len(content), PART_BYTES)]
        self.send(
            "FileTransferStartUpload",
            source_component_uuid=button,
            transfer_uuid=transfer,
            filename=name,
            mime_type="image/jpeg",
            part_count=len(parts),
            size_bytes=len(content) if declared is None else declared,
        )
        for index, part in enumerate(parts):
            self.send(
                "FileTransferPart",
                source_component_uuid=button,
                transfer_uuid=transfer,
                part_index=index,
                content=part,
            )

    def await_photo(self, name: str, timeout_s: float = 30.0) -> None:
        """Wait until a photo is shown."""

        def shows(message: dict[str, Any]) -> bool:
            content = message.get("updates", {}).get("content", "")
            return isinstance(content, str) and f'alt="photo {name}"' in content

        self.await_message(shows, timeout_s)

    def close(self) -> None:
        """Disconnect."""
        self.socket.close()
