"""The ledger that comes with lpk: layer redundancy in language models, from metadata and texts that are free (CC0)."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from importlib.resources import as_file, files
from pathlib import Path

from lpk.core.evidence.ledger import ATTRIBUTES, IGNORED
from lpk.core.files import whole_directory, write_text

#: Where a copy of it goes, under the working directory.
COPY = Path("runs") / "example-ledger"


def shipped() -> AbstractContextManager[Path]:
    """The example as it was installed, for reading."""
    return as_file(files("lpk.data") / "example-ledger")


def open_example(where: Path = COPY) -> Path:
    """The folder of a copy of the example, made if it is not there yet."""
    if not (where / "ledger.toml").exists():
        with shipped() as original, whole_directory(where) as copy:
            shutil.copytree(original, copy, dirs_exist_ok=True)
            write_text(copy / ".gitignore", IGNORED)
            write_text(copy / ".gitattributes", ATTRIBUTES)
    return where
