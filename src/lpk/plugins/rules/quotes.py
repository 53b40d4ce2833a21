"""Round 3, quotes and locators: what is quoted is in the paper, word for word, where it is said to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lpk import hookimpl
from lpk.core.contracts import Component
from lpk.core.evidence.artifacts.proof import found_again
from lpk.core.evidence.documents.fulltext import FullText
from lpk.core.evidence.english.prose import squeezed
from lpk.core.evidence.ledger import Snapshot
from lpk.core.evidence.quotes import look_up
from lpk.core.evidence.records import Row, Verification
from lpk.core.evidence.rules import EachRule, OfChecked, OfRows, Wrong, offered, rows_verified

#: Fewer words than this are found anywhere (the matcher's own limit).
WORDS = 4


class LongEnough(OfRows):
    id, round, required = "R-SCORE-1", 3, True
    title = f"Every row quotes at least {WORDS} words: an empty quote is in every text, and a single word nearly"
    remedy = "Quote the whole sentence that bears on the claim."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        row, checked = ledger.rows[subject], ledger.checked(subject)
        found = len([word for word in row.quote.split() if squeezed(word)])
        if found < WORDS and row.basis != "table":
            passed = ", and yet it passed as verified" if checked and checked.verification.verdict.good else ""
            yield f"row {subject} quotes {found} words{passed}" if found else f"row {subject} has no quote{passed}"


class LookedUp(OfRows):
    id, round, required = "R-QUOTE-1", 3, True
    title = "Every row from a full text was looked up in it, and there is one"
    remedy = "Read the paper and look its quotes up (lpk ledger read, lpk ledger verify)."

    def concerns(self, ledger: Snapshot, row: Row) -> bool:
        return row.basis == "full-text"

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        row = ledger.rows[subject]
        if ledger.checked(subject) is None:
            yield f"row {subject} was never looked up in {row.paper}{row.version}"


class Found(OfChecked):
    id, round = "R-QUOTE-2", 3
    title = "Every quote that was looked up was found, word for word, in one place"
    remedy = "Copy the words from the paper, or withdraw the row; the finding says how they differ."

    def wrong_with(self, ledger: Snapshot, row: Row, found: Verification, /) -> Wrong:
        if not found.verdict.good:
            said = [found.reason, found.diff, f"found in {found.found_in}" if found.found_in else ""]
            yield f"row {row.id}: {found.verdict}" + "".join(f"; {each}" for each in said if each)


class FoundAgain(OfChecked):
    id, round = "R-QUOTE-3", 3
    title = "Looked up once more, in the text at hand, a quote has the verdict and the place that the ledger says"
    remedy = "Look it up again (lpk ledger verify); if the verdict was typed in, find out by whom."

    def concerns(self, ledger: Snapshot, row: Row) -> bool:
        return bool(super().concerns(ledger, row) and row.quote and _text(ledger, row))

    def wrong_with(self, ledger: Snapshot, row: Row, was: Verification, /) -> Wrong:
        text, placed = _text(ledger, row), row.basis != "abstract"
        assert text is not None
        page, section = (row.page, row.section) if placed else (None, "")
        found = look_up(row.quote, text, page=page, section=section)
        if found.verdict.good != was.verdict.good:
            why = f": {found.reason}" if found.reason else ""
            yield f"the ledger says that row {row.id} is {was.verdict}; looked up again it is {found.verdict}{why}"
        elif found.verdict.good and placed:
            for what in ("page", "page_end", "section"):
                said, now = getattr(was, what), getattr(found, what)
                if said and now != said:
                    yield f"the ledger says that row {row.id} is on {what} {said}; looked up again it is {now}"


def _text(ledger: Snapshot, row: Row) -> FullText | None:
    """What a row quotes, if it is at hand: an abstract always is."""
    if row.basis == "abstract":
        version = ledger.version(row)
        return FullText.plain(version.abstract) if version and version.abstract else None
    document = ledger.document(row)
    return ledger.texts.get(document.sha256) if document else None


class AtHand(OfRows):
    id, round = "R-QUOTE-7", 3
    title = "A quote that supports a claim is looked up again: in this audit, or by a proof of the same words in the same file"
    remedy = (
        "Put the file into papers/ again (lpk ledger read), for git keeps no PDFs; or run lpk prove where the file is, and "
        "bring its paper/proof.json."
    )

    def concerns(self, ledger: Snapshot, row: Row) -> bool:
        return row.relation == "supports" and row in rows_verified(ledger)

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        row = ledger.rows[subject]
        document = ledger.document(row)
        if document and document.sha256 not in ledger.texts and not found_again(ledger, row):
            yield (
                f"row {subject} was not looked up again: papers/{document.file} is not there, or is another file; and no "
                "proof of these words in it holds"
            )


class Located(OfChecked):
    id, round = "R-QUOTE-4", 3
    title = "Every quote that was found has its page and section, and the file that it was found in"
    remedy = "Look it up again in a text with pages and headings (lpk ledger read, lpk ledger verify)."

    def concerns(self, ledger: Snapshot, row: Row) -> bool:
        checked = ledger.checked(row.id)
        return checked is not None and checked.verification.verdict.good and row.basis == "full-text"

    def wrong_with(self, ledger: Snapshot, row: Row, found: Verification, /) -> Wrong:
        has: dict[str, object] = {"page": found.page, "document": found.document}
        if ledger.policy.locator == "page-and-section":
            has["section"] = found.section
        missing = [name for name, value in has.items() if not value]
        if missing:
            yield f"row {row.id} was found without {', '.join(missing)}"


class StrictlyMatched(EachRule):
    id, round = "R-SCORE-4", 3
    title = "Quotes are matched word for word, not by a share of common words"
    remedy = 'Set quotes = "strict" in policy.toml and look every quote up again.'

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return ["policy.toml"]

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        if ledger.policy.quotes != "strict":
            yield f"the policy matches quotes by {ledger.policy.quotes!r}, which takes most altered quotes for true ones"


class OnePolicy(OfChecked):
    id, round = "R-QUOTE-5", 3
    title = "Every quote was looked up under the policy that holds now"
    remedy = "Look the quotes up again (lpk ledger verify)."

    def wrong_with(self, ledger: Snapshot, row: Row, found: Verification, /) -> Wrong:
        under = found.policy
        if under != ledger.policy.hash:
            yield f"row {row.id} was looked up under policy {under[:12]}; {ledger.policy.hash[:12]} holds"


class CheckedByCode(OfChecked):
    id, round = "R-QUOTE-6", 3
    title = "Every verification names the program and version that made it"
    remedy = "Look the quotes up again (lpk ledger verify)."

    def wrong_with(self, ledger: Snapshot, row: Row, found: Verification, /) -> Wrong:
        name, _, version = found.checker.strip().partition(" ")
        if not (name and any(char.isdigit() for char in version)):
            yield f"row {row.id} was verified by {found.checker!r}, without a version"


@hookimpl
def lpk_rules() -> Iterable[Component]:
    yield from offered(
        LongEnough, LookedUp, Found, FoundAgain, AtHand, Located, StrictlyMatched, OnePolicy, CheckedByCode
    )  # fmt: skip
