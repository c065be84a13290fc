"""Database servers that run for one test alone, in folders of their own; skipped where they are not installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("optuna")

START_SECONDS = 120


@pytest.fixture
def postgresql() -> Iterator[str]:
    """URL of a PostgreSQL database."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed: pip install 'psycopg[binary]'")
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *filter(None, [shutil.which("initdb")])]
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    programs, port = Path(found[0]).parent, free_port()
    with server_folder("postgres") as (root, prefix):
        data = root / "data"

        def call(*words: object) -> None:
            subprocess.run([*prefix, *map(str, words)], check=True, capture_output=True, cwd=root)

        call(programs / "initdb", "-D", data, "-U", "scr3d", "--auth=trust", "--no-sync")
        options = f"-p {port} -h 127.0.0.1 -k {root} -F"
        call(programs / "pg_ctl", "-D", data, "-l", root / "server.log", "-o", options, "-w", "start")
        try:
            yield f"postgresql+psycopg://scr3d@127.0.0.1:{port}/postgres"
        finally:
            call(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")


@pytest.fixture
def mysql() -> Iterator[str]:
    """URL of a database of MariaDB, which speaks MySQL's language."""
    pytest.importorskip("pymysql", reason="the MySQL driver is not installed: pip install pymysql")
    install, server = (shutil.which(name, path=search_path()) for name in ("mariadb-install-db", "mariadbd"))
    client = shutil.which("mariadb")
    if not (install and server and client):
        pytest.skip("MariaDB is not installed (Debian: apt install mariadb-server)")
    with server_folder("mysql") as (root, prefix):
        port, options = free_port(), [f"--datadir={root}/data", "--no-defaults"]
        subprocess.run(
            [*prefix, install, *reversed(options), "--auth-root-authentication-method=normal"],
            check=True,
            capture_output=True,
            cwd=root,
        )
        words = [*reversed(options), f"--socket={root}/s", f"--pid-file={root}/pid", f"--port={port}"]
        with (root / "server.log").open("wb") as log:
            process = subprocess.Popen(
                [*prefix, server, *words, "--bind-address=127.0.0.1"], cwd=root, stdout=log, stderr=log
            )
        try:
            orders = (
                "create database scr3d; create user scr3d@127.0.0.1; grant all on scr3d.* to scr3d@127.0.0.1;"
                "create user scr3d@localhost; grant all on scr3d.* to scr3d@localhost"
            )
            deadline = time.monotonic() + START_SECONDS
            while subprocess.run(
                [*prefix, client, "--no-defaults", f"--socket={root}/s", "-u", "root", "-e", orders],
                capture_output=True,
            ).returncode:
                assert time.monotonic() < deadline, (root / "server.log").read_text()
                time.sleep(0.2)
            yield f"mysql+pymysql://scr3d@127.0.0.1:{port}/scr3d"
        finally:
            process.terminate()
            process.wait(START_SECONDS)


@contextmanager
def server_folder(user: str) -> Iterator[tuple[Path, list[str]]]:
    """A folder for a server, and what to put before a command so that it does not run as root."""
    root = Path(tempfile.mkdtemp(prefix="scr3d-server-"))  # pytest's own folders are closed to other users
    prefix: list[str] = []
    if os.geteuid() == 0:
        # The servers refuse to run as root; Debian's packages make users for them.
        if not (shutil.which("runuser") and user_exists(user)):
            pytest.skip(f"the server does not run as root, and there is no user {user} to run it as")
        shutil.chown(root, user)
        prefix = ["runuser", "-u", user, "--"]
    try:
        yield root, prefix
    finally:
        shutil.rmtree(root, ignore_errors=True)


def search_path() -> str:
    """Where programs are, those of servers included."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def user_exists(name: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
