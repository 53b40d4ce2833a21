"""Files and folders on this machine as a source of papers: what sources that read files have in common."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from lpk.core.contracts import Options
from lpk.core.errors import UsageError
from lpk.core.evidence.contracts import Source
from lpk.core.evidence.records import Direction, PaperVersion


class LocalOptions(Options):
    """Which files."""

    path: str = Field("", description="a file, or a folder of files, that are offered as papers")


LocalT = TypeVar("LocalT", bound=LocalOptions)


class LocalSource(Source[LocalT]):
    """Offers each file of its kinds (``reads``) as a paper of one version, ``local:`` and the file's name."""

    def title(self, file: Path) -> str:
        """What a file is called: by its name, unless a source knows better."""
        return file.stem.replace("_", " ").replace("-", " ").strip() or file.name

    def find(self, direction: Direction) -> Iterator[PaperVersion]:
        yield from map(self._paper, self._files())

    def versions(self, paper: str) -> Sequence[PaperVersion]:
        return [version for version in map(self._paper, self._files()) if version.paper == paper]

    def fetch(self, version: PaperVersion, into: Path) -> Path | None:
        for file in self._files():
            if _paper_id(file) == version.paper:
                return Path(shutil.copyfile(file, into / file.name))
        return None

    def _paper(self, file: Path) -> PaperVersion:
        return PaperVersion(paper=_paper_id(file), title=self.title(file), note=str(file), source=self.name)

    def _files(self) -> list[Path]:
        name = self.name.removeprefix("lpk/")
        if not self.options.path:
            raise UsageError(f"source {name}: say which files with -O path=FILE_OR_FOLDER")
        path = Path(self.options.path)
        if path.is_dir():
            return sorted(file for file in path.rglob("*") if file.suffix.lower() in self.reads and file.is_file())
        if not path.is_file():
            raise UsageError(f"source {name}: {path}: no such file or folder")
        if path.suffix.lower() not in self.reads:
            raise UsageError(f"source {name}: {path}: it reads {', '.join(sorted(self.reads))} only")
        return [path]


def _paper_id(file: Path) -> str:
    name = "".join(char if char.isascii() and char.isalnum() else "-" for char in file.stem).strip("-")
    return f"local:{name or hashlib.sha256(file.name.encode()).hexdigest()[:12]}"
