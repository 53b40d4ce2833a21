"""A PostgreSQL server for tests: its own, in a temporary folder, on a socket there."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "s3cret"


class Server:
    """Durable as shipped: a commit is on the disk before it is confirmed."""

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        self.programs, self.folder, self.user = programs, folder, user
        self.databases = 0

    def run(self, program: str, *arguments: object) -> None:
        command = [self.programs / program, *map(str, arguments)]
        log = self.folder / "output"
        with log.open("ab") as output:  # not a pipe: the server would keep it open
            done = subprocess.run(command, stdout=output, stderr=output, cwd=self.folder, user=self.user, check=False)
        assert done.returncode == 0, log.read_text()

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder}"
        self.run("pg_ctl", "-D", self.folder / "data", "-w", "-o", options, "-l", self.folder / "log", "start")

    def crash(self) -> None:
        """Kill every process of it, and start again."""
        self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")
        self.start()

    def database(self) -> str:
        """The address of a new, empty database."""
        import psycopg

        self.databases += 1
        name = f"memo{self.databases}"
        with psycopg.connect(f"postgresql://lpk@/postgres?host={self.folder}", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        return f"postgresql://lpk:{PASSWORD}@/{name}?host={self.folder}"


@contextmanager
def server() -> Iterator[Server]:
    """A running server. Skips the test, and says why, where PostgreSQL is not installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'lpk[postgres]'")
    found = [*filter(None, [shutil.which("initdb")]), *Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        pytest.skip("PostgreSQL is not installed (on Debian: apt-get install postgresql)")
    # The server refuses to be root; a socket's path has at most 107 characters, pytest's folders are too deep.
    user = None if os.getuid() else next(name for name in ("postgres", "nobody") if _exists(name))
    with tempfile.TemporaryDirectory(prefix="lpk-", ignore_cleanup_errors=True) as folder:
        if user:
            shutil.chown(folder, user)
        started = Server(Path(found[-1]).resolve().parent, Path(folder), user)
        started.run("initdb", "-D", f"{folder}/data", "-U", "lpk", "-A", "trust", "-E", "UTF8")
        started.start()
        try:
            yield started
        finally:
            started.run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")


def _exists(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False
