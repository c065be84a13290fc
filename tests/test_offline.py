"""`--offline`, and the page about environment variables."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scr3d.doctor.environment import OF_LIBRARIES, OWN
from scr3d.errors import OfflineError
from scr3d.offline import is_local, is_offline, refuse_offline

ROOT = Path(__file__).parents[1]
ADDRESS = "https://example.org/set/{train,val}-000000.tar"
REACHES_OUT = """
import socket, urllib.request
from scr3d.errors import OfflineError
from scr3d.offline import go_offline

go_offline()
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
socket.getaddrinfo("localhost", 80)
socket.gethostbyname(socket.gethostname())
refused = 0
for attempt in (
    lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
    lambda: socket.getaddrinfo("example.org", 80),
    lambda: urllib.request.urlopen("http://example.org", timeout=1),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
):
    try:
        attempt()
    except OfflineError as error:
        assert "needs the network" in str(error), error
        refused += 1
print(refused)
"""


def scr3d(*args: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scr3d.cli", *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )


def test_python_reaches_no_other_machine() -> None:
    done = subprocess.run([sys.executable, "-c", REACHES_OUT], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("4", "")


@pytest.mark.slow
def test_shards_at_an_address_are_refused_with_one_line(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    pytest.importorskip("braceexpand")
    done = scr3d("train", "--offline", "--data", ADDRESS, "--out", tmp_path / "run")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("scr3d: fetching https://example.org/set/train-000000.tar needs the network")


def test_shards_at_an_address_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("braceexpand")
    from scr3d.data.dataset import open_dataset

    monkeypatch.setenv("SCR3D_OFFLINE", "1")
    with pytest.raises(OfflineError, match=r"fetching https://example\.org/set/train-000000\.tar needs the network"):
        open_dataset(ADDRESS, "train", 64, tmp_path)


def test_what_needs_no_network_works_offline() -> None:
    done = scr3d("describe", "--offline")
    assert done.returncode == 0, done.stderr


def test_other_machines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from scr3d.training.config import MachineOptions
    from scr3d.training.fabric import connect

    monkeypatch.setenv("SCR3D_OFFLINE", "1")
    with pytest.raises(OfflineError, match="training on 2 machines needs the network"):
        connect("cpu", 1, MachineOptions(nodes=2))
    storage = pytest.importorskip("scr3d.search.storage")
    with pytest.raises(OfflineError, match=r"192\.0\.2\.1"):
        storage.open_storage("postgresql+psycopg://me:secret@192.0.2.1/studies")


def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCR3D_OFFLINE", "0")
    assert not is_offline()
    refuse_offline("nothing")
    monkeypatch.setenv("SCR3D_OFFLINE", "yes")
    with pytest.raises(OfflineError, match=r"^fetching it needs the network, which --offline or SCR3D_OFFLINE forbids"):
        refuse_offline("fetching it")


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), (socket.gethostname(), True), ("10.0.0.1", False)],
)
def test_what_is_this_machine(host: str, local: bool) -> None:
    assert is_local(host) is local


def test_every_variable_that_the_program_reads_is_on_the_page() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    names = set(re.findall(r"""(?:environ(?:\.get|\.setdefault|\.pop)?[(\[]|getenv\()\s*["'](\w+)["']""", source))
    names |= set(re.findall(r"""["'](\w+)["'] (?:not )?in os\.environ""", source))
    names |= set(re.findall(r"""^[A-Z_]*VARIABLE\w* = ["'](\w+)["']""", source, re.MULTILINE))
    assert len(names) > 6
    assert names <= {*OWN, *OF_LIBRARIES}, "add it to scr3d.doctor.environment"
    # Reading by another name would pass by this test: every such place is known.
    computed = re.findall(r"environ(?:\.get|\.setdefault)?[(\[]\s*([a-zA-Z_]\w*)", source)
    assert set(computed) <= {"name", "VARIABLE"}


def test_the_page_has_every_variable_as_the_doctor_knows_it() -> None:
    page = (ROOT / "docs" / "environment.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    assert rows == {**OWN, **OF_LIBRARIES}
