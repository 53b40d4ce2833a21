"""Writing that is whole or not there, on a disk that may be full or a machine that may stop."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lpk.core.errors import LpkError, UsageError

#: The ending of what is not yet whole; its name begins with a dot.
PARTIAL = ".partial"


@contextmanager
def room(where: Path | str) -> Iterator[None]:
    """Tell a full or forbidden disk in one line, whichever library met it.

    Raises:
        UsageError: the disk that holds ``where`` is full or may not be written.
    """
    try:
        yield
    except LpkError:
        raise
    except Exception as error:
        if _is_full(error):
            message = f"no space left on the disk of {where}; free some and run the same command again"
            raise UsageError(message) from error
        forbidden = isinstance(error, OSError) and error.errno in (
            errno.EACCES,
            errno.EROFS,
            errno.EPERM,
            errno.ENOTDIR,
            errno.EISDIR,
            errno.EEXIST,
        )
        named = Path(str(getattr(error, "filename", None) or where)).absolute()
        if forbidden and named.is_relative_to(Path(where).absolute().parent):
            raise UsageError(f"cannot write {where}: {getattr(error, 'strerror', error)}") from error
        raise


#: What SQLite, safetensors and PostgreSQL say of a full disk. SQLite met by a limit on its file says "disk I/O error".
_FULL = ("No space left on device", "File too large", "database or disk is full", "disk I/O error")


def _is_full(error: BaseException | None) -> bool:
    """Whether this error, or what it comes from, is a full disk. SQLite and safetensors say so in words alone."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        said = str(error)
        if any(words in said for words in _FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def require_space(where: Path, needed: int, purpose: str) -> None:
    """Refuse to begin what could not be finished.

    Raises:
        UsageError: fewer than ``needed`` bytes are free at ``where``, or it is nowhere for files, such as ``/proc``.
    """
    place = existing(where)
    total, _, free = shutil.disk_usage(place)
    if not total:
        raise UsageError(f"cannot write {where}: {place} is no file system that files can be kept on")
    if free < needed:
        raise UsageError(
            f"no space for {purpose} on the disk of {where}: {needed / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free"
        )


#: File systems that other machines may write to. SQLite's write-ahead log is shared through memory, so on one machine only.
NETWORK = {
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse.glusterfs",
    "fuse.sshfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "smb3",
}


def network_file_system(path: Path) -> str:
    """The type of the network file system that holds a path, such as ``"nfs4"``; empty where there is none, or no /proc."""
    try:
        kind = file_system(existing(path).resolve(), Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    except OSError:
        return ""
    return kind if kind in NETWORK else ""


def file_system(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds an absolute path, in the words of ``/proc/self/mountinfo`` (proc(5))."""
    found, kind = "", ""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), mount.split()[4])  # a space is \040
        if path.is_relative_to(point) and len(point) >= len(found):  # of two at one point, the later hides the other
            found, kind = point, source.split()[0]
    return kind


def sweep(folder: Path) -> None:
    """Remove what a killed process left unfinished in a folder that is now ours alone."""
    for leftover in folder.glob(f".*{PARTIAL}"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or none: a temporary file, fsync, rename, fsync of the folder."""
    with room(path):
        if not path.parent.is_dir():  # told by its own name, not by the temporary one
            raise UsageError(f"cannot write {path}: there is no folder {path.parent}")
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide a shared run from colleagues
            os.replace(temporary, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _sync_directory(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file or none."""
    write_bytes(path, text.encode())


def json_text(value: Any) -> str:
    """A value as :func:`write_json` writes it; the same value gives the same text."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file or none; the same value gives the same bytes."""
    write_text(path, json_text(value))


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(path: Path, *beside: str) -> Path:
    """Rename a file or folder that is damaged, so that nothing of it is lost.

    Args:
        path: what to rename; ``memo.sqlite`` becomes ``memo.sqlite.corrupt-1``.
        beside: endings of files that belong to it, such as ``-wal``; they go first and stay with it.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    for ending in (*beside, ""):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return aside


@contextmanager
def whole_directory(path: Path, tell: Callable[[str], None] = lambda line: None) -> Iterator[Path]:
    """Fill a temporary folder that becomes ``path`` only when everything is in it and on the disk.

    Args:
        path: the folder; one that is there already is set aside, unless it is the same byte for byte.
        tell: called with what a person should know.
    """
    temporary = path.with_name(f".{path.name}{PARTIAL}")
    with room(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for file in sorted(temporary.rglob("*")):
                if file.is_file():
                    with file.open("rb") as opened:
                        os.fsync(opened.fileno())
            _sync_directory(temporary)
            if path.exists():
                if _same(path, temporary):
                    shutil.rmtree(path)
                else:
                    tell(f"{path} was not as it is written now; the old is {set_aside(path).name}")
            os.replace(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_directory(path.parent)


def _same(one: Path, other: Path) -> bool:
    here, there = ({file.relative_to(folder) for file in folder.rglob("*")} for folder in (one, other))
    files = [name for name in here if (one / name).is_file()]
    return here == there and all(filecmp.cmp(one / name, other / name, shallow=False) for name in files)
