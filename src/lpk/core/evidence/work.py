"""What people do with a ledger: collect, screen, read, claim, verify. Each looks at what is true, and writes records."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lpk import __version__
from lpk.core.errors import UsageError
from lpk.core.evidence.documents.firstpage import first_page
from lpk.core.evidence.documents.fulltext import FullText, read, reader_of
from lpk.core.evidence.english.fidelity import disagreements
from lpk.core.evidence.ledger import Ledger, Paper, Snapshot
from lpk.core.evidence.quotes import look_up
from lpk.core.evidence.records import (
    Claim,
    Direction,
    Document,
    PaperVersion,
    Record,
    Restoration,
    Row,
    Screening,
    Verdict,
    Verification,
    Withdrawal,
)
from lpk.core.evidence.retrieval.bibliographic import OTHER_TITLE
from lpk.core.registry import Registry

CHECKER = f"lpk {__version__}"


# ---------------------------------------------------------------------------------------------------------------------
# Collecting and screening
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Collected:
    """What a source brought.

    Attributes:
        new: papers that were not known.
        versions: newer versions of known papers; rows that quote an older one are stale from now on.
        changed: descriptions that say something else than before.
        known: how many said nothing new.
        doubts: of ids under which the source has two titles, a line each.
    """

    new: list[PaperVersion] = field(default_factory=list)
    versions: list[PaperVersion] = field(default_factory=list)
    changed: list[PaperVersion] = field(default_factory=list)
    known: int = 0
    doubts: list[str] = field(default_factory=list)

    @property
    def records(self) -> list[PaperVersion]:
        """What is to be written down."""
        return [*self.new, *self.versions, *self.changed]


def collect(ledger: Snapshot, offered: Sequence[PaperVersion]) -> Collected:
    """Sort what a source offers into new, newer, changed and known.

    Of two papers that it offers under one id both are written down, and the last one holds; offered again, both are known.
    """
    found, seen = Collected(), {name: dict(paper.versions) for name, paper in ledger.papers.items()}
    last = {version.name: version for version in offered}
    settled = {
        name for name, version in last.items() if _same(seen.get(version.paper, {}).get(version.version), version)
    }
    told: dict[str, PaperVersion] = {}
    for version in offered:
        found.doubts += _doubts(told.get(version.name), version)
        told[version.name] = version
        known = seen.setdefault(version.paper, {})
        before = known.get(version.version)
        if before is None:
            (found.versions if known else found.new).append(version)
        elif version.name in settled or _same(before, version):
            found.known += 1
            continue
        else:
            found.changed.append(version)
        known[version.version] = version
    return found


def _doubts(before: PaperVersion | None, version: PaperVersion) -> Iterator[str]:
    if before is not None and before.title != version.title:
        yield f"{version.name} is the id of two papers here, {before.title!r} and {version.title!r}: the last one holds"
    if OTHER_TITLE in version.note:
        yield f"{version.name}: {version.note}"


def _same(before: PaperVersion | None, version: PaperVersion) -> bool:
    return before is not None and _says(before) == _says(version)


def _says(version: PaperVersion) -> dict[str, Any]:
    """What a description says, but for counts that change every day."""
    return {key: value for key, value in version.canonical().items() if key not in ("citations", "source")}


def facets_found(direction: Direction, version: PaperVersion) -> dict[str, str]:
    """For each facet that holds, the words of title or abstract that show it."""
    text = f"{version.title}\n{version.abstract}"
    shown = {}
    for facet in direction.facets:
        for words in facet.words:
            pattern = r"\b" + r"[\s-]+".join(map(re.escape, words.split())) + r"(?:s|es|ing|ed|al)?\b"
            found = re.search(pattern, text, re.IGNORECASE)
            if found:
                shown[facet.name] = " ".join(found[0].split())
                break
    return shown


def screen(ledger: Snapshot, paper: str, decision: str, reason: str, criterion: str, note: str) -> Screening:
    """A screening decision, with the facets that title and abstract show.

    Raises:
        UsageError: the ledger has no such paper or criterion, or the criterion is for another decision.
    """
    known = ledger.papers[ledger.found(paper, ledger.papers, "paper")]
    criteria = {each.id: each for each in ledger.direction.criteria}
    if criterion:
        name = ledger.found(criterion, criteria, "criterion")
        if criteria[name].decision != decision:
            raise UsageError(f"criterion {name} is for {criteria[name].decision}, not for {decision}")
    facets = facets_found(ledger.direction, known.latest) if known.versions else {}
    return Screening.model_validate(
        {
            "paper": known.id, "decision": decision, "reason": reason, "criterion": criterion, "note": note,
            "facets": facets,
        }
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Full texts
# ---------------------------------------------------------------------------------------------------------------------


def read_document(ledger: Ledger, registry: Registry, paper: Paper, version: str, file: Path) -> Document:
    """Read a full text and keep it.

    Raises:
        UsageError: the file cannot be read, or the paper has no such version.
    """
    paper.version(version)
    text = read(file, registry)
    kept = ledger.keep(file, text.sha256)
    return Document(
        paper=paper.id,
        version=version,
        sha256=text.sha256,
        file=kept.name,
        media=text.media,
        pages=text.pages,
        text_layer=text.text_layer,
        text_sha256=text.text_sha256,
        reader=text.reader,
        first_page=first_page(text, paper.versions[version]) if text.text_layer else None,
    )


class Texts(Mapping[str, FullText]):
    """The full texts of a ledger by the hash of their files, read when they are first asked for.

    One whose file is missing, or is not the one that was read, is not there.
    """

    def __init__(self, ledger: Ledger, registry: Registry) -> None:
        self._folder, self._registry = ledger.papers, registry
        self._read: dict[str, FullText | None] = {}
        self._files: dict[str, str] = {}
        self._hashes: dict[str, str] = {}

    def of(self, snapshot: Snapshot) -> Texts:
        """Know the documents of a snapshot."""
        self._files = {
            document.sha256: document.file
            for paper in snapshot.papers.values()
            for document in paper.documents.values()
        }
        return self

    def __getitem__(self, sha256: str) -> FullText:
        if sha256 not in self._read:
            self._read[sha256] = self._load(self._folder / self._files[sha256], sha256)
        found = self._read[sha256]
        if found is None:
            raise KeyError(sha256)
        return found

    def replaced(self, sha256: str) -> bool:
        """Whether a document's file is there, and is another one. Nothing needs to be read for that."""
        path = self._folder / self._files.get(sha256, "-")
        if sha256 not in self._hashes:
            self._hashes[sha256] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        return self._hashes[sha256] not in ("", sha256)

    def _load(self, path: Path, sha256: str) -> FullText | None:
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                return None
            return read(path, self._registry)
        except (OSError, UsageError):
            return None

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, sha256: object) -> bool:
        try:
            return bool(self[str(sha256)])
        except KeyError:
            return False


def snapshot(ledger: Ledger, registry: Registry) -> Snapshot:
    """What is true now, with the full texts at hand."""
    texts = Texts(ledger, registry)
    now = ledger.snapshot(texts)
    texts.of(now)
    return now


# ---------------------------------------------------------------------------------------------------------------------
# Claims and rows
# ---------------------------------------------------------------------------------------------------------------------


def row_of(ledger: Snapshot, claim: Claim, values: Mapping[str, Any]) -> Row:
    """A row for a claim; a version that is not named is the latest one.

    Raises:
        UsageError: the paper or version is unknown, or there is no quote.
    """
    if not str(values.get("quote", "")).strip():
        raise UsageError(f"a row needs a quote: the words of {values['paper']} that bear on the claim")
    paper = ledger.papers[ledger.found(values["paper"], ledger.papers, "paper")]
    named = values.get("version")
    version = (paper.latest if named is None else paper.version(named)).version
    basis = "table" if paper.id.startswith("study:") else "full-text"
    row = Row.model_validate(
        {"basis": basis, **values, "id": "pending", "claim": claim.id, "paper": paper.id, "version": version}
    )
    return row.model_copy(update={"id": Row.id_of(row.claim, row.paper, row.version, row.quote)})


def withdrawal(ledger: Snapshot, what: str, reason: str) -> Withdrawal:
    """Take a claim, row or paper back.

    Raises:
        UsageError: there is none of that name, or it is withdrawn already.
    """
    everything = {**ledger.claims, **ledger.rows, **ledger.papers}
    name = ledger.found(what, everything, "claim, row or paper")
    if name in ledger.withdrawals:
        raise UsageError(f"{name} is withdrawn already: {ledger.withdrawals[name]}")
    return Withdrawal(what=name, reason=reason)


def restoration(ledger: Snapshot, what: str, reason: str) -> Restoration:
    """Undo a withdrawal.

    Raises:
        UsageError: there is none of that name, or it is not withdrawn.
    """
    everything = {**ledger.claims, **ledger.rows, **ledger.papers}
    name = ledger.found(what, everything, "claim, row or paper")
    if name not in ledger.withdrawals:
        row = ledger.rows.get(name)
        above = [each for each in (row.claim, row.paper) if each in ledger.withdrawals] if row else []
        raise UsageError(f"{name} was not withdrawn" + (f" by itself: restore {above[0]}" if above else ""))
    return Restoration(what=name, reason=reason)


# ---------------------------------------------------------------------------------------------------------------------
# Verifying
# ---------------------------------------------------------------------------------------------------------------------


def verify(ledger: Snapshot, rows: Sequence[Row]) -> Iterator[tuple[Row, Verification]]:
    """Look rows up, each in the full text that it quotes (of an abstract row, in the abstract)."""
    for row in rows:
        yield row, _verified(ledger, row)


def news(ledger: Snapshot, found: Iterable[tuple[Row, Verification]]) -> list[Record]:
    """The verifications that say something else than the ones that hold, where there was something to look at."""
    fresh: list[Record] = []
    for row, verification in found:
        before = ledger.checked(row.id)
        if out_of_reach(ledger, row, verification):
            continue
        if before is None or before.verification != verification or ledger.restated(row):
            fresh.append(verification)
    return fresh


def out_of_reach(ledger: Snapshot, row: Row, verification: Verification) -> bool:
    """Whether a row could not be looked up for want of the file that it was looked up in before, as in a clone.

    That says nothing against what was found.
    """
    before, document = ledger.checked(row.id), ledger.document(row)
    if before is None or document is None or row.basis == "abstract" or ledger.restated(row):
        return False
    looked = verification.document is not None
    return not looked and before.verification.document == document.sha256 and not ledger.replaced(document)


def _verified(ledger: Snapshot, row: Row) -> Verification:
    document = ledger.document(row)
    if row.basis == "abstract":
        version = ledger.version(row)
        text = FullText.plain(version.abstract) if version and version.abstract else None
        missing = f"the ledger has no abstract of {row.paper}{row.version}"
    else:
        text = ledger.texts.get(document.sha256) if document else None
        missing = (
            f"papers/{document.file} is not at hand, or was changed; read it again"
            if document
            else f"the full text of {row.paper}{row.version} was not read"
        )
    if text is None:
        return _said(ledger, row, None, {"verdict": Verdict.UNVERIFIABLE, "reason": missing})
    found = look_up(
        row.quote,
        text,
        page=None if row.basis == "abstract" else row.page,
        section="" if row.basis == "abstract" else row.section,
        elsewhere=_Elsewhere(ledger, row),
        policy=ledger.policy.quotes,
    )
    said = {name: getattr(found, name) for name in Verification.model_fields if hasattr(found, name)}
    return _said(ledger, row, document if row.basis != "abstract" else None, said)


def _said(ledger: Snapshot, row: Row, document: Document | None, said: dict[str, Any]) -> Verification:
    good = Verdict(said["verdict"]).good
    claim = ledger.claims.get(row.claim)
    differing = disagreements(claim.text, row.quote) if good and claim and row.relation == "supports" else ()
    if row.basis == "table":  # of a table's row only figures can be compared: it has no sentence
        differing = tuple(each for each in differing if each.what == "number")
    return Verification.model_validate(
        {
            **said,
            "row": row.id,
            "document": document.sha256 if document else None,
            "disagreements": differing,
            "checker": CHECKER,
            "about": ledger.about(row),
            "policy": ledger.policy.hash,
        }
    )


class _Elsewhere(Sequence[tuple[str, FullText]]):
    """The ledger's other papers, read only when a quote is looked for there."""

    def __init__(self, ledger: Snapshot, row: Row) -> None:
        self._texts = ledger.texts
        self._documents = [
            (paper.id + version, document.sha256)
            for paper in ledger.papers.values()
            for version, document in paper.documents.items()
            if paper.id != row.paper
        ]

    def __iter__(self) -> Iterator[tuple[str, FullText]]:
        for name, sha256 in self._documents:
            text = self._texts.get(sha256)
            if text is not None:
                yield name, text

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def __len__(self) -> int:
        return len(self._documents)


def pictures(ledger: Ledger, now: Snapshot, registry: Registry) -> dict[str, bytes]:
    """Row id -> PNG of the page that its quote is on, with the quote highlighted, where the document has pages to draw."""
    drawn: dict[str, bytes] = {}
    for row in now.rows.values():
        checked, document = now.checked(row.id), now.document(row)
        if not (checked and document and checked.verification.page and checked.verification.rects):
            continue
        file = ledger.papers / document.file
        if checked.verification.document == document.sha256 and document.sha256 in now.texts:
            source = reader_of(file, registry)
            drawn[row.id] = source.picture(file, checked.verification.page, checked.verification.rects, scale=1.3)
    return drawn
