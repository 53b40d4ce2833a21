"""The database that a memo lives in: an SQLite file, or PostgreSQL for many machines. Opened, checked, its errors told.

An SQLite file is known as lpk's by four bytes in its header: any other database is refused and not touched. One of lpk's
that is damaged is set aside, whole, and a new one begun; so is, in a folder of lpk's own, what is no database any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.files import network_file_system, room, set_aside

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

_VERSION = 2
#: Both databases read the same SQL. Without rowids a table is its index: half the bytes, and one tree to check.
_SCHEMA = (
    "CREATE TABLE memo (schema_version INTEGER NOT NULL)",
    f"INSERT INTO memo VALUES ({_VERSION})",
    "CREATE TABLE measurement (context TEXT NOT NULL, mask TEXT NOT NULL, item TEXT NOT NULL,"
    " loss DOUBLE PRECISION NOT NULL, checksum BIGINT, PRIMARY KEY (context, mask, item)) {without_rowid}",
    "CREATE TABLE cost (run TEXT NOT NULL, name TEXT NOT NULL, value BIGINT NOT NULL, PRIMARY KEY (run, name))"
    " {without_rowid}",
)
#: From a schema to the next. Losses from before there were checksums have none.
_UPGRADES = {1: "ALTER TABLE measurement ADD COLUMN checksum BIGINT"}
_WITHOUT_ROWID = {"sqlite": "WITHOUT ROWID", "postgresql": ""}

#: The header's application id, https://www.sqlite.org/fileformat.html#application_id, and where it is.
_MARK, _MARK_AT = int.from_bytes(b"lpkm"), 68
_FACTS = ("page_count", "application_id")
#: Whoever creates the tables does so alone.
_ALONE = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": f"SELECT pg_advisory_xact_lock({_MARK})",
}

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
#: Seconds to wait for another process that checks the same file: without a word, and then.
_SOON, _LONG = 2, 600

_WANTED = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE (an @ in the password is written %40)"


T = TypeVar("T")


class _Lost(UsageError):
    """The connection to the server was lost."""


class Store:
    """A database for a memo's tables.

    Attributes:
        file: its file, if that is what it is.
        name: what to call it in a message: the file's path, or the address without password.
    """

    def __init__(self, where: Path | str) -> None:
        """Say where it is: a file, or an address such as ``postgresql://user:password@host/database``.

        Raises:
            EnvironmentMissing: SQLAlchemy or psycopg is not installed.
            UsageError: the address is none.
        """
        url = _url(where)
        self.file = Path(url.database or "") if url.drivername == _DRIVERS["sqlite"] else None
        # A query may hold a password too.
        self.name = str(self.file or url.set(query={}, drivername="postgresql").render_as_string(hide_password=True))
        self._own = isinstance(where, Path)  # no person gave it: it is in a folder of lpk's
        self._given = self.name if self._own else f"--store sqlite:///{self.name}"
        self._engine = _engine(url)

    def check(self) -> None:
        """Find out whether a server can be reached, or whether a file is a memo, changing nothing there.

        Raises:
            UsageError: it cannot, or is not.
        """
        if not self.file:
            with self.transaction():
                pass
        elif self.file.exists():
            self._damage(self.file)

    def open(self, tell: Callable[[str], None]) -> None:
        """Create what is not there, check what is.

        Args:
            tell: called with what a person should know: a damaged file, a file system that is not for SQLite.

        Raises:
            UsageError: it is no memo or of another version, cannot be reached or written, or the disk is full.
        """
        try:
            if self.file:
                self._prepare(self.file, tell)
            self._create()
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """What is executed in this context is committed together at its end, or not at all.

        Raises:
            UsageError: the database failed; the message is one line and holds no password.
        """
        from sqlalchemy.exc import DBAPIError

        try:
            with room(self.name), self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            kind = _Lost if error.connection_invalidated else UsageError
            raise kind(f"{self.name}: {' '.join(str(error.orig).split())}") from error

    def commit(self, work: Callable[[Connection, bool], T]) -> T:
        """Commit what ``work`` executes, together; once more if the connection is lost meanwhile.

        Whether the server had committed it before nobody can tell: ``work`` is told that it is called again.

        Raises:
            UsageError: as :meth:`transaction`.
        """
        try:
            with self.transaction() as database:
                return work(database, False)
        except _Lost:
            with self.transaction() as database:
                return work(database, True)

    def close(self) -> None:
        """Close it; SQLite folds the write-ahead log into the file."""
        with room(self.name):
            self._engine.dispose()

    def _prepare(self, file: Path, tell: Callable[[str], None]) -> None:
        """Make sure that the file is a sound one of ours, or new; one process at a time."""
        if kind := network_file_system(file):
            tell(f"{file} is on {kind}, where SQLite cannot be shared between machines; --store postgresql://... can")
        with self._locked(file, tell):
            if damage := self._damage(file):
                aside = set_aside(file, "-wal", "-shm")  # its log, so that they still belong together
                tell(f"{file} is damaged ({damage}); it is now {aside.name}, and measuring begins anew")
            with self.transaction() as database:
                database.exec_driver_sql(f"PRAGMA application_id = {_MARK}")
                # Write-ahead logging: readers and a writer do not wait for each other, and SIGKILL takes nothing.
                database.exec_driver_sql("PRAGMA journal_mode = WAL")

    def _locked(self, file: Path, tell: Callable[[str], None]) -> AbstractContextManager[object]:
        """A context in which no other process checks or creates the file."""
        if file.is_dir():
            raise UsageError(f"{self._given}: this is a folder; wanted a file, such as {file / 'memo.sqlite'}")
        place = file.with_name(f".{file.name}.lock")
        try:
            with room(file):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()  # where it cannot be created, FileLock would wait for it
        except FileNotFoundError:
            raise UsageError(f"{self._given}: no file can be created in {file.parent}") from None
        lock = FileLock(place)
        with room(file):
            try:
                return lock.acquire(timeout=_SOON)
            except Timeout:
                tell(f"{file}: waiting for another process that is checking it")
            try:
                return lock.acquire(timeout=_LONG)
            except Timeout:
                raise UsageError(f"{file}: another process has been checking it for ten minutes") from None

    def _damage(self, file: Path) -> str:
        """What is wrong with the file, if anything is; one that is somebody's is refused.

        All of it is read, every time: 0.7 s for the 125 MB of a million measurements, or what the disk needs, against
        minutes of a run. The part of a full integrity check that is left out, indexes beside their tables, would find
        none here.
        """
        from sqlalchemy.exc import DatabaseError

        foreign = UsageError(f"{file}: this is no memo of lpk's; move the file away to measure anew")
        try:
            with self._engine.connect() as connection:
                pages, mark = (connection.exec_driver_sql(f"PRAGMA {fact}").scalar_one() for fact in _FACTS)
                if pages and mark != _MARK:
                    raise foreign
                found = " ".join(str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()).split())
        except DatabaseError as error:
            if getattr(error.orig, "sqlite_errorname", "") not in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}:
                raise UsageError(f"{file}: {error.orig}") from error
            # Only what SQLite cannot read is opened without it: closing a file drops the locks that SQLite has on it in
            # this process, and another one, thinking itself alone, would delete a log that is in use.
            if not self._own and _head(file)[_MARK_AT:] != _MARK.to_bytes(4):
                raise foreign from error
            found = str(error.orig)
        self._engine.dispose()
        return "" if found == "ok" else found

    def _create(self) -> None:
        from sqlalchemy import inspect

        kind = self._engine.dialect.name
        with self.transaction() as database:
            database.exec_driver_sql(_ALONE[kind])
            tables = inspect(database).get_table_names()
            if not tables:
                for statement in _SCHEMA:
                    database.exec_driver_sql(statement.format(without_rowid=_WITHOUT_ROWID[kind]))
            elif "memo" not in tables:
                raise UsageError(f"{self.name}: this database holds other tables and no memo; give lpk one of its own")
            version = database.exec_driver_sql("SELECT schema_version FROM memo").scalar_one()
            while version in _UPGRADES:
                database.exec_driver_sql(_UPGRADES[version])
                version += 1
                database.exec_driver_sql(f"UPDATE memo SET schema_version = {version}")
            if version != _VERSION:
                versions = f"schema {version}, this lpk knows {_VERSION}"
                raise UsageError(
                    f"{self.name}: a memo of another version of lpk ({versions}); use that one, or a new memo"
                )


def _url(where: Path | str) -> URL:
    """Where the database is, with the driver to use. Nothing of a malformed address is repeated: passwords are in it."""
    try:
        from sqlalchemy import URL, make_url
        from sqlalchemy.exc import ArgumentError
    except ModuleNotFoundError as error:
        raise EnvironmentMissing(f'this needs {error.name}: pip install "lpk[prune]"') from error
    if isinstance(where, Path):
        return URL.create(_DRIVERS["sqlite"], database=str(where))
    try:
        url = make_url(where)
        url = url.set(drivername=_DRIVERS[url.drivername])
    except (ArgumentError, KeyError, ValueError):
        raise UsageError(f"--store: this is no address of a memo; wanted {_WANTED}") from None
    plain_file = url.database and not (url.host or url.username or url.query)
    if (url.drivername == _DRIVERS["sqlite"] and not plain_file) or "@" in (url.host or ""):
        raise UsageError(f"--store: this is no address of a memo; wanted {_WANTED}")
    if url.drivername == _DRIVERS["sqlite"]:  # no shell expands a ~ in the middle of a word
        url = url.set(database=str(Path(url.database or "").expanduser()))
    return url


def _engine(url: URL) -> Engine:
    from sqlalchemy import create_engine, event

    if url.drivername != _DRIVERS["sqlite"]:
        try:
            import psycopg  # noqa: F401
        except ImportError as error:
            raise EnvironmentMissing('a memo on PostgreSQL needs psycopg: pip install "lpk[postgres]"') from error
        # A connection that idled too long, or that a restart has cut, is found out before it is used, and replaced.
        return create_engine(url, connect_args={"connect_timeout": 10}, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": 60})
    # With write-ahead logging only a power cut could take the last rows, never tear one; FULL syncs at every commit.
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = NORMAL"))
    return engine


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_MARK_AT + 4)
