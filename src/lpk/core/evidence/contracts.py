"""What a source and an audit rule must be."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from lpk.core.contracts import OptionsT, Plugin
from lpk.core.errors import UsageError
from lpk.core.evidence.documents.lines import Rect
from lpk.core.evidence.records import Direction, PaperVersion

if TYPE_CHECKING:
    from lpk.core.evidence.documents.fulltext import FullText
    from lpk.core.evidence.ledger import Snapshot

Severity = Literal["error", "warning", "info"]


class Source(Plugin[OptionsT]):
    """Where papers come from. A source does what it can of these, and the rest as here: it says that it cannot.

    Attributes:
        reads: the endings of the files that it can read the text of, such as ``(".pdf",)``.
    """

    reads: ClassVar[tuple[str, ...]] = ()

    def find(self, direction: Direction) -> Iterator[PaperVersion]:
        """Papers that may belong to a direction, the likeliest first, as many as its options say.

        Raises:
            UsageError: it cannot search, or its options are wrong.
            EnvironmentMissing: the network or its server fails.
        """
        raise UsageError(f"source {self.name} cannot search")

    def versions(self, paper: str) -> Sequence[PaperVersion]:
        """Every version of one paper that the source knows, the oldest first; none if it does not know the paper.

        Raises:
            UsageError: it cannot look papers up.
            EnvironmentMissing: the network or its server fails.
        """
        raise UsageError(f"source {self.name} cannot look up a paper")

    def fetch(self, version: PaperVersion, into: Path) -> Path | None:
        """Put the full text of a version into a folder, under any name; None if there is none.

        Raises:
            UsageError: it has no full texts, or this one may not be used.
            EnvironmentMissing: the network or its server fails.
        """
        raise UsageError(f"source {self.name} has no full texts")

    def read(self, file: Path) -> FullText:
        """The text of a file with one of the endings in ``reads``.

        Raises:
            UsageError: the file is damaged, encrypted, or too large.
        """
        raise UsageError(f"source {self.name} reads no files")

    def picture(self, file: Path, page: int, rects: Sequence[Rect], scale: float = 2.0) -> bytes:
        """A page of a file as a PNG image, with these places on it highlighted.

        Raises:
            UsageError: the file is damaged, has no such page, or its kind has no pages to draw.
        """
        raise UsageError(f"source {self.name} draws no pages")


@dataclass(frozen=True)
class Finding:
    """Something wrong in a ledger.

    Attributes:
        message: what is wrong, with the figures or words that show it.
        subjects: the ids of the rows, claims, papers or files that are concerned.
    """

    message: str
    subjects: tuple[str, ...]


class Rule(Plugin[OptionsT]):
    """Something that an audit looks for: a pure function of the ledger.

    Attributes:
        id: its code, such as ``R-NUM-1``.
        round: the round it belongs to, 1 to 7; plugins may use higher ones.
        severity: what it means for the gate; an error blocks. The policy may say otherwise.
        title: what must hold, in a line.
        remedy: how to mend what it finds.
        required: whether having nothing to look at is itself an error: nothing passes over zero items.
    """

    id: ClassVar[str]
    round: ClassVar[int]
    severity: ClassVar[Severity] = "error"
    title: ClassVar[str]
    remedy: ClassVar[str]
    required: ClassVar[bool] = False

    @abstractmethod
    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        """The ids of what it looks at: claims, rows, papers, files, or the direction. The report counts them."""

    @abstractmethod
    def examine(self, ledger: Snapshot, subject: str) -> Iterator[Finding]:
        """What is wrong with one of them."""
