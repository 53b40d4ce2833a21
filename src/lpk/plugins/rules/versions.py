"""Round 2, sources and versions: evidence is from the version that holds, of a paper that stands, and was read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from lpk import hookimpl
from lpk.core.contracts import Component
from lpk.core.evidence.documents.firstpage import first_page, is_its_file, stranger
from lpk.core.evidence.english.prose import Passage, squeezed
from lpk.core.evidence.ledger import Paper, Snapshot
from lpk.core.evidence.records import Document, FirstPage, PaperVersion, Row
from lpk.core.evidence.rules import OfDraft, OfPapers, OfRows, Wrong, of_references, offered, papers_named, rows


class Newest(OfRows):
    id, round, required = "R-VER-1", 2, True
    title = "No row quotes a version that a newer one took the place of"
    remedy = "Read the newer version, look the quote up there, and withdraw the row of the old one."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        row = ledger.rows[subject]
        old, paper = ledger.version(row), ledger.papers.get(row.paper)
        if old and paper and paper.latest.number > old.number:
            changed = _changes(old, paper.latest)
            yield f"row {subject} quotes {old.name}; {paper.latest.version} is out{changed}"


class NotRetracted(OfPapers):
    id, round = "R-VER-2", 2
    title = "No included paper, and none that a row quotes, was withdrawn or retracted"
    remedy = "Screen the paper out with the reason 'withdrawn', and withdraw its rows."

    def concerns(self, ledger: Snapshot, paper: Paper) -> bool:
        return paper.decision == "include" or any(row.paper == paper.id for row in rows(ledger))

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        paper = ledger.papers[subject]
        for version in paper.versions.values():
            included = paper.decision == "include" and version == paper.latest
            quoted = any((row.paper, row.version) == (subject, version.version) for row in rows(ledger))
            if version.withdrawn and (included or quoted):
                yield f"{version.name} was withdrawn: {version.withdrawn}"


class Unchanged(OfRows):
    id, round = "R-VER-3", 2
    title = "A document is the one in which its quotes were looked up"
    remedy = "Look the quotes up again (lpk ledger verify)."

    def concerns(self, ledger: Snapshot, row: Row) -> bool:
        return ledger.checked(row.id) is not None and ledger.document(row) is not None

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        row = ledger.rows[subject]
        document, checked = ledger.document(row), ledger.checked(subject)
        seen = checked.verification.document if checked else None
        if document and seen and seen != document.sha256:
            now = f"{row.paper}{row.version} is now {document.sha256[:12]}"
            yield f"row {subject} was looked up in {seen[:12]}, {now}"


class ReadAgain(OfPapers):
    id, round, severity = "R-VER-4", 2, "warning"
    title = "A document that is at hand gives the text and the pages that were recorded when it was read"
    remedy = (
        "If its reader was updated since, read it again and look its quotes up (lpk ledger read, lpk ledger verify)."
    )

    def concerns(self, ledger: Snapshot, paper: Paper) -> bool:
        return any(document.sha256 in ledger.texts for document in paper.documents.values())

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        for document in ledger.papers[subject].documents.values():
            text = ledger.texts.get(document.sha256)
            if text and text.text_sha256 != document.text_sha256:
                yield f"{document.file} of {subject} gives another text: by {text.reader}, not by {document.reader}"
            elif text and text.pages != document.pages:
                yield f"{document.file} of {subject} has {text.pages} pages, not {document.pages}"


class IsThePaper(OfPapers):
    id, round = "R-DOC-1", 2
    title = "The first page of a document has its paper's title or id, and no other paper's or version's stamp"
    remedy = (
        "Read the right file (lpk ledger read PAPER FILE), and look the quotes up again; where only the record's title is "
        "wrong, collect the paper again."
    )

    def concerns(self, ledger: Snapshot, paper: Paper) -> bool:
        return any(True for _ in _first_pages(ledger, paper))

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        for version, document, shown in _first_pages(ledger, ledger.papers[subject]):
            why = stranger(shown, version)
            if why:
                yield f"{document.file} was read as {version.name}: {why}"


class WasRead(OfPapers):
    id, round, severity = "R-DEPTH-1", 2, "warning"
    title = "The full text of every included paper was read, and has a text layer"
    remedy = "Read it (lpk ledger read); a paper that cannot be had or read is screened as background."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        documents = ledger.papers[subject].documents.values()
        if not documents:
            yield f"of {subject} only the abstract is known"
        elif not any(document.text_layer for document in documents):
            yield f"{subject} is a scan without text: none of its quotes can be verified"


class FromFullText(OfRows):
    id, round, severity = "R-DEPTH-2", 2, "warning"
    title = "A row is from a full text: one from an abstract is a reading priority and supports nothing"
    remedy = "Read the paper (lpk ledger read), and quote the sentence that bears on the claim from there."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        row = ledger.rows[subject]
        if row.basis == "abstract":
            yield f"row {subject} is from the abstract of {row.paper}{row.version}"


class Referenced(OfDraft):
    id, round = "R-META-1", 2
    title = "A reference of the draft gives its authors, in the paper's order, and its title"
    remedy = "Render the references from the ledger (lpk draft); never type them."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return passage.kind != "heading" and of_references(passage)

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        for paper in papers_named(ledger, passage.text):
            version = _cited(paper, passage.text)
            families = [author.split()[-1] for author in version.authors]
            missing = [family for family in families if family not in passage.text]
            if missing and (len(missing) == len(families) or "et al" not in passage.text):
                yield f"the reference to {version.name} does not name {', '.join(missing)}"
            elif not _in_order([family for family in families if family not in missing], passage.text):
                yield f"the authors of {version.name} are in another order: {', '.join(families)}"
            if squeezed(version.title) not in squeezed(passage.text):
                yield f"the title of {version.name} is {version.title!r}"


class Described(OfPapers):
    id, round, required = "R-META-2", 2, True
    title = "An included paper's record has authors, a date, an abstract and an address"
    remedy = "Collect it again from a source that knows them (arxiv, openalex, crossref)."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        version = ledger.papers[subject].latest
        has = {
            "authors": version.authors,
            "a date": _DATE.fullmatch(version.published or version.updated),
            "an abstract": version.abstract,
            "an address": version.doi or re.match(r"https?://\S+$", version.url),
        }
        missing = [name for name, value in has.items() if not value]
        if missing:
            yield f"{version.name} has no {', no '.join(name.removeprefix('a ').removeprefix('an ') for name in missing)}"


_DATE = re.compile(r"\d{4}(?:-\d\d(?:-\d\d)?)?")


def _first_pages(ledger: Snapshot, paper: Paper) -> Iterator[tuple[PaperVersion, Document, FirstPage]]:
    """What the first pages of a paper's documents show: of those at hand now, of others what was seen when they were read."""
    for name, document in paper.documents.items():
        version, text = paper.versions.get(name), ledger.texts.get(document.sha256)
        if version is None or is_its_file(version):
            continue
        shown = first_page(text, version) if text and text.text_layer else document.first_page
        if shown is not None:
            yield version, document, shown


def _cited(paper: Paper, text: str) -> PaperVersion:
    """The version that a text names; the latest where it names none."""
    named: Sequence[PaperVersion] = [
        version for version in paper.versions.values() if version.version and version.name.partition(":")[2] in text
    ]
    return named[0] if named else paper.latest


def _in_order(names: Sequence[str], text: str) -> bool:
    """Whether a text has the names one after the other; two may be the same."""
    at = 0
    for name in names:
        at = text.find(name, at)
        if at < 0:
            return False
        at += len(name)
    return True


def _changes(old: PaperVersion, new: PaperVersion) -> str:
    """What the newer version has changed, as far as the descriptions show."""
    changed = [f"its title is now {new.title!r}"] if squeezed(old.title) != squeezed(new.title) else []
    if old.authors != new.authors and old.authors and new.authors:
        changed.append(f"it has {len(new.authors)} authors, not {len(old.authors)}" if len(old.authors) != len(new.authors)
                       else "its authors changed")  # fmt: skip
    if squeezed(old.abstract) != squeezed(new.abstract):
        changed.append("its abstract changed")
    return "".join(f"; {each}" for each in changed)


@hookimpl
def lpk_rules() -> Iterable[Component]:
    yield from offered(
        Newest, NotRetracted, Unchanged, ReadAgain, IsThePaper, WasRead, FromFullText, Referenced, Described
    )  # fmt: skip
