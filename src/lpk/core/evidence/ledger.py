"""A ledger: a folder that lives in git, and what is true in it now.

    ledger.toml     the direction: facets, keywords, criteria, research questions
    policy.toml     thresholds, where they are not the defaults
    events.jsonl    everything that was ever written down (events.py)
    papers/         the full texts, by hash; git ignores PDFs, which are seldom free to pass on

The rest is rendered from these.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lpk.core.errors import UsageError, first_wrong
from lpk.core.evidence.events import Event, EventLog, heads_of
from lpk.core.evidence.policy import Policy
from lpk.core.evidence.records import (
    Beginning,
    Claim,
    Direction,
    Document,
    PaperVersion,
    Record,
    Replication,
    Restoration,
    Row,
    Screening,
    Verification,
    Withdrawal,
    digest,
)
from lpk.core.files import room, write_bytes, write_text

if TYPE_CHECKING:
    from lpk.core.evidence.documents.fulltext import FullText

#: The layout that this lpk writes; a ledger with a higher one is a newer lpk's.
FORMAT = 1

IGNORED = """\
# Full texts are found again by their hash; few may be passed on.
papers/*.pdf
.*.lock
.*.partial
"""
ATTRIBUTES = "# Two branches both append: keep the lines of both.\nevents.jsonl merge=union -text\n"


@dataclass(frozen=True)
class Dated:
    """A record, and who wrote it down when."""

    event: Event

    @property
    def at(self) -> str:
        return self.event.at

    @property
    def by(self) -> str:
        return self.event.by


@dataclass(frozen=True)
class ScreenedAs(Dated):
    """A screening decision."""

    screening: Screening


@dataclass(frozen=True)
class CheckedAs(Dated):
    """A row's verification."""

    verification: Verification


@dataclass
class Paper:
    """All that is known of one paper.

    Attributes:
        id: e.g. ``arxiv:2604.24938``.
        versions: by number, the last description of each.
        screenings: decisions in order; the last one holds.
        documents: version -> its full text, the last that was read.
        withdrawn: why it was taken back by us; a version says for itself whether its authors did.
    """

    id: str
    versions: dict[str, PaperVersion] = field(default_factory=dict)
    screenings: list[ScreenedAs] = field(default_factory=list)
    documents: dict[str, Document] = field(default_factory=dict)
    withdrawn: str = ""

    @property
    def latest(self) -> PaperVersion:
        """The version with the highest number."""
        return max(self.versions.values(), key=lambda version: version.number)

    def version(self, number: str) -> PaperVersion:
        """The version of a number.

        Raises:
            UsageError: the ledger does not know it.
        """
        if number not in self.versions:
            known = ", ".join(name or "(unnumbered)" for name in self.versions)
            raise UsageError(f"{self.id} has no version {number or '(unnumbered)'}; the ledger knows {known}")
        return self.versions[number]

    @property
    def decision(self) -> str:
        """include, exclude, background; empty while nobody has decided."""
        return self.screenings[-1].screening.decision if self.screenings else ""


class Snapshot:
    """What is true in a ledger: all events, folded. Nothing in it changes.

    Attributes:
        direction: what is looked for.
        policy: the thresholds.
        events: in order.
        papers: id -> paper, in the order in which they came; so are all of these.
        claims: id -> claim, as last stated.
        rows: id -> row.
        verifications: row id -> its verifications in order; the last one holds.
        replications: claim id -> its replications in order.
        withdrawals: id of a claim, row or paper that is withdrawn -> why.
        artifacts: file name -> text of what was rendered from the ledger and lies in it, such as ``paper/paper.md``.
    """

    def __init__(
        self,
        direction: Direction,
        policy: Policy,
        events: Iterable[Event],
        texts: Mapping[str, FullText] | None = None,
        artifacts: Mapping[str, str] | None = None,
    ) -> None:
        """Fold events.

        Args:
            direction: of ``ledger.toml``.
            policy: of ``policy.toml``.
            events: each after those that it follows.
            texts: SHA-256 of a document's file -> its text, for those that are at hand.
            artifacts: see the class.
        """
        self.direction, self.policy, self.events = direction, policy, tuple(events)
        self.texts: Mapping[str, FullText] = {} if texts is None else texts
        self.artifacts: Mapping[str, str] = {} if artifacts is None else artifacts
        self.papers: dict[str, Paper] = {}
        self.claims: dict[str, Claim] = {}
        self.rows: dict[str, Row] = {}
        self.verifications: dict[str, list[CheckedAs]] = {}
        self.replications: dict[str, list[Replication]] = {}
        self.withdrawals: dict[str, str] = {}
        #: id of a claim, row, paper or version -> the event that first wrote it down.
        self.born: dict[str, Event] = {}
        #: id of a claim or row -> the place among the events at which it last came to say something else.
        self._restated: dict[str, int] = {}
        self._places = {event.id: place for place, event in enumerate(self.events)}
        for event in self.events:
            self._take(event)

    def _take(self, event: Event) -> None:
        match event.record:
            case PaperVersion() as version:
                self._paper(version.paper).versions[version.version] = version
                self._born(event, version.paper, version.name)
            case Screening() as screening:
                self._paper(screening.paper).screenings.append(ScreenedAs(event, screening))
            case Document() as document:
                self._paper(document.paper).documents[document.version] = document
            case Claim() as claim:
                before = self.claims.get(claim.id, claim)
                if before.text != claim.text:
                    self._restated[claim.id] = self._places[event.id]
                if (before.text, before.check) != (claim.text, claim.check):
                    self.replications.pop(claim.id, None)  # they were of another claim
                self.claims[claim.id] = claim
                self._born(event, claim.id)
            case Row() as row:
                if self.rows.get(row.id, row) != row:
                    self._restated[row.id] = self._places[event.id]
                self.rows[row.id] = row
                self._born(event, row.id)
            case Verification() as verification:
                self.verifications.setdefault(verification.row, []).append(CheckedAs(event, verification))
            case Replication() as replication:
                self.replications.setdefault(replication.claim, []).append(replication)
            case Withdrawal(what=what, reason=reason):
                self.withdrawals[what] = reason
                self._taken_back(what, reason)
            case Restoration(what=what):
                self.withdrawals.pop(what, None)
                self._taken_back(what, "")

    def _taken_back(self, what: str, reason: str) -> None:
        if what in self.papers:
            self.papers[what].withdrawn = reason

    def _paper(self, name: str) -> Paper:
        return self.papers.setdefault(name, Paper(name))

    def _born(self, event: Event, *names: str) -> None:
        for name in names:
            self.born.setdefault(name, event)

    # -- looking around -----------------------------------------------------------------------------------------------

    @cached_property
    def heads(self) -> list[str]:
        """The last events; with their hashes all of the history is fixed."""
        return heads_of(self.events)

    def of_claim(self, claim: str) -> list[Row]:
        """The rows that bear on a claim, withdrawn ones too."""
        return [row for row in self.rows.values() if row.claim == claim]

    def version(self, row: Row) -> PaperVersion | None:
        """The version that a row quotes, if the ledger has its description."""
        paper = self.papers.get(row.paper)
        return paper.versions.get(row.version) if paper else None

    def document(self, row: Row) -> Document | None:
        """The full text that a row quotes, if it was read."""
        paper = self.papers.get(row.paper)
        return paper.documents.get(row.version) if paper else None

    def checked(self, row: str) -> CheckedAs | None:
        """The verification that holds for a row."""
        found = self.verifications.get(row)
        return found[-1] if found else None

    def replaced(self, document: Document) -> bool:
        """Whether another file lies where a document was kept, as far as files are at hand."""
        told = getattr(self.texts, "replaced", None)
        return bool(told and told(document.sha256))

    def about(self, row: Row) -> str:
        """What a verification of a row is made of: its claim's text, and all that the row says."""
        claim = self.claims.get(row.claim)
        return digest([claim.text if claim else "", row.canonical()])

    def restated(self, row: Row) -> bool:
        """Whether a row, or its claim, says something else than when the verification that holds for it was made.

        The digest tells, whatever order two merged branches are in. Of a verification without one the order does.
        """
        checked = self.checked(row.id)
        if checked is None:
            return False
        if checked.verification.about:
            return checked.verification.about != self.about(row)
        last = max(self._restated.get(row.id, -1), self._restated.get(row.claim, -1))
        return self._places[checked.event.id] < last

    def included(self) -> list[Paper]:
        """The papers that were screened in and not taken back."""
        return [paper for paper in self.papers.values() if paper.decision == "include" and not paper.withdrawn]

    def found(self, name: str, among: Mapping[str, Any], what: str) -> str:
        """The id that is meant by a name or by its unambiguous beginning; a paper's may lack its scheme.

        Raises:
            UsageError: none or several are.
        """
        if name in among:
            return name
        bare = {each: each.partition(":")[2] for each in among}
        near = [each for each in among if name and bare[each] == name]
        near = near or [each for each in among if name and name in (each[: len(name)], bare[each][: len(name)])]
        if len(near) == 1:
            return near[0]
        if near:
            raise UsageError(f"{name!r} may be {', '.join(near[:4])}: write more of it")
        known = ", ".join(list(among)[:6]) + (" ..." if len(among) > 6 else "")
        raise UsageError(f"the ledger has no {what} {name!r}" + (f"; it has {known}" if among else "; it has none yet"))


class _File(BaseModel):
    """``ledger.toml``."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    direction: Direction


def _direction(data: bytes, path: Path) -> Direction:
    """What ``ledger.toml`` says.

    Raises:
        UsageError: it is no TOML, a newer lpk's, or a key or value is wrong.
    """
    try:
        values = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    if isinstance(values.get("format"), int) and values["format"] > FORMAT:
        raise UsageError(
            f"{path}: written by a newer lpk (format {values['format']}, this one knows {FORMAT}); update lpk"
        )
    try:
        return _File.model_validate(values).direction
    except ValidationError as error:
        raise UsageError(f"{path}: {first_wrong(error, _File)}") from None


def _extend(path: Path, wanted: str) -> None:
    """Put lines at the end of a file that may be there already; those that it has are not put again."""
    there = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [line for line in wanted.splitlines() if line not in there.splitlines()]
    if missing:
        write_text(path, there + "\n" * bool(there and not there.endswith("\n")) + "\n".join(missing) + "\n")


class Ledger:
    """A ledger's folder.

    Attributes:
        folder: where it is.
        direction: what it is about.
        policy: its thresholds.
    """

    def __init__(self, folder: Path) -> None:
        """Open a ledger.

        Raises:
            UsageError: the folder holds none, a newer lpk's, or a damaged one.
        """
        self.folder = folder
        path = folder / "ledger.toml"
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{folder} holds no ledger; make one with: lpk ledger init {folder}") from None
        self.direction = _direction(data, path)
        self.policy = Policy.read(folder / "policy.toml")
        self.log = EventLog(folder / "events.jsonl")

    @classmethod
    def begin(cls, folder: Path, toml: str) -> Ledger:
        """Make a folder into a new ledger.

        Args:
            folder: it may be there, and hold other things, such as a repository.
            toml: what ``ledger.toml`` shall say.

        Raises:
            UsageError: there is a ledger already, or ``toml`` is wrong.
        """
        path = folder / "ledger.toml"
        if path.exists():
            raise UsageError(f"{folder} holds a ledger already")
        _direction(toml.encode(), path)  # what is wrong is told before there is a folder
        with room(folder):
            (folder / "papers").mkdir(parents=True, exist_ok=True)
        for name, wanted in ((".gitignore", IGNORED), (".gitattributes", ATTRIBUTES)):
            _extend(folder / name, wanted)
        write_text(path, toml)
        ledger = cls(folder)
        ledger.write([Beginning(direction=ledger.direction.id)])
        return ledger

    @property
    def papers(self) -> Path:
        """Where full texts are kept."""
        return self.folder / "papers"

    def snapshot(self, texts: Mapping[str, FullText] | None = None) -> Snapshot:
        """What is true now.

        Raises:
            UsageError: the events are damaged.
        """
        return Snapshot(self.direction, self.policy, self.log.read(), texts, dict(self._artifacts()))

    def _artifacts(self) -> Iterator[tuple[str, str]]:
        """What was rendered from the ledger, as far as it is text and there."""
        from lpk.core.evidence.artifacts.render import RENDERED

        for name in RENDERED:
            try:
                yield name, (self.folder / name).read_text(encoding="utf-8")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError, UnicodeDecodeError):
                continue

    def write(self, records: Iterable[Record], by: str = "", at: str | None = None) -> list[Event]:
        """Write records down.

        Raises:
            UsageError: as for :meth:`EventLog.append`.
        """
        return self.log.append(records, by or author(self.folder), at)

    def keep(self, file: Path, sha256: str) -> Path:
        """Put a full text into ``papers/``, named by its hash."""
        kept = self.papers / f"{sha256[:16]}{file.suffix.lower()}"
        if not kept.exists():
            self.papers.mkdir(exist_ok=True)
            write_bytes(kept, file.read_bytes())
        return kept


def author(folder: Path) -> str:
    """Who is writing: LPK_AUTHOR, or what git knows, or the name of the account."""
    if os.environ.get("LPK_AUTHOR"):
        return os.environ["LPK_AUTHOR"]
    if shutil.which("git"):
        said = subprocess.run(
            ["git", "config", "user.name"], cwd=folder, capture_output=True, text=True, check=False
        ).stdout.strip()
        if said:
            return said
    return os.environ.get("USER") or "unknown"
