"""Rows and claims for other tools: CSV, W3C Web Annotations, SciFact's JSONL; the screening for reference managers.

**No cell is a formula.** A spreadsheet takes a cell that begins with ``= + - @``, a tab or a line's end for something to
run (https://owasp.org/www-community/attacks/CSV_Injection). Such a cell, and one that begins with ``'``, is written with a
``'`` before it; so whoever takes off one leading ``'`` has exactly what the ledger says (:func:`plain`).
"""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lpk.core.evidence.artifacts.references import ris
from lpk.core.evidence.ledger import CheckedAs, ScreenedAs, Snapshot
from lpk.core.evidence.records import Claim, Document, Row, Verdict, Verification
from lpk.core.evidence.states import Status, of_claim, of_row, statuses

_FORMULA = re.compile(r"\s*[=+\-@'\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")


def cell(value: object) -> str:
    """A value as a cell that no spreadsheet runs."""
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) else text


def plain(cell: str) -> str:
    """What a cell says: :func:`cell` undone."""
    return cell.removeprefix("'")


def table(columns: Sequence[str], lines: Iterable[Mapping[str, object]]) -> bytes:
    """A CSV file (RFC 4180, but lines end as Unix's do), UTF-8; all is quoted, for csv leaves a lone CR without quotes."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    for line in lines:
        writer.writerow([cell("" if line[name] is None else line[name]) for name in columns])
    return file.getvalue().encode()


# -- CSV --------------------------------------------------------------------------------------------------------------

MATRIX = (
    "row_id", "claim_id", "claim", "claim_type", "claim_status", "relation", "row_status", "why", "paper_id", "version",
    "paper_title", "basis", "source_quote", "verdict", "page", "page_end", "section", "claimed_page", "claimed_section",
    "full_text_checked_at", "checked_by", "diff", "found_in", "disagreements", "document_sha256", "document_file",
    "document_media", "document_url", "checked_policy", "policy",
)  # fmt: skip


def evidence_matrix(ledger: Snapshot) -> bytes:
    """``evidence_matrix.csv``: every row, by id. ``paper/demo.py`` needs nothing else, and the documents."""
    known = {claim: standing.status for claim, standing in statuses(ledger).items()}
    return table(MATRIX, (_matrix_line(ledger, ledger.rows[name], known) for name in sorted(ledger.rows)))


def _matrix_line(ledger: Snapshot, row: Row, known: Mapping[str, Status]) -> dict[str, object]:
    claim, standing, version = ledger.claims.get(row.claim), of_row(ledger, row), ledger.version(row)
    checked = ledger.checked(row.id)
    found = checked.verification if checked else None
    document = _document(ledger, found)
    return {
        "row_id": row.id,
        "claim_id": row.claim,
        "claim": claim.text if claim else "",
        "claim_type": claim.type if claim else "",
        "claim_status": known.get(row.claim, ""),
        "relation": row.relation,
        "row_status": standing.status,
        "why": standing.why,
        "paper_id": row.paper,
        "version": row.version,
        "paper_title": version.title if version else "",
        "basis": row.basis,
        "source_quote": row.quote,
        "verdict": found.verdict if found else "",
        "page": found.page if found else "",
        "page_end": found.page_end if found else "",
        "section": found.section if found else "",
        "claimed_page": row.page,
        "claimed_section": row.section,
        "full_text_checked_at": checked.at if checked and row.basis != "abstract" else "",
        "checked_by": found.checker if found else "",
        "diff": found.diff if found else "",
        "found_in": found.found_in if found else "",
        "disagreements": "; ".join(f"{d.what}: {d.claim} / {d.quote}" for d in found.disagreements) if found else "",
        "document_sha256": found.document if found else "",
        "document_file": document.file if document else "",
        "document_media": document.media if document else "",
        "document_url": (version.pdf_url or version.url) if version else "",
        "checked_policy": found.policy if found else "",
        "policy": ledger.policy.hash,
    }


def _document(ledger: Snapshot, found: Verification | None) -> Document | None:
    """The document that a quote was looked up in."""
    read = (document for paper in ledger.papers.values() for document in paper.documents.values())
    return next((each for each in read if found and each.sha256 == found.document), None)


CLAIMS = (
    "claim_id", "status", "why", "type", "claim", "questions", "supporting_rows", "contradicting_rows", "other_rows", "papers",
    "check", "replication", "stated_at", "stated_by", "policy",
)  # fmt: skip


def claims(ledger: Snapshot) -> bytes:
    """``claims.csv``: every claim, by id, with the rows that were verified."""
    return table(CLAIMS, (_claim_line(ledger, ledger.claims[name]) for name in sorted(ledger.claims)))


def _claim_line(ledger: Snapshot, claim: Claim) -> dict[str, object]:
    standing, rows, born = of_claim(ledger, claim), ledger.of_claim(claim.id), ledger.born[claim.id]
    verified = {row.id for row in rows if of_row(ledger, row).status is Status.VERIFIED}

    def those(relation: str) -> str:
        return " ".join(sorted(row.id for row in rows if row.id in verified and row.relation == relation))

    weighed = set(f"{those('supports')} {those('contradicts')}".split())
    replications = ledger.replications.get(claim.id)
    return {
        "claim_id": claim.id,
        "status": standing.status,
        "why": standing.why,
        "type": claim.type,
        "claim": claim.text,
        "questions": " ".join(claim.questions),
        "supporting_rows": those("supports"),
        "contradicting_rows": those("contradicts"),
        "other_rows": " ".join(sorted(row.id for row in rows if row.id not in weighed)),
        "papers": " ".join(sorted({row.paper + row.version for row in rows})),
        "check": claim.check.expression if claim.check else "",
        "replication": replications[-1].verdict if replications else "",
        "stated_at": born.at,
        "stated_by": born.by,
        "policy": ledger.policy.hash,
    }


SCREENING = (
    "paper_id", "title", "decision", "reason", "criterion", "criterion_text", "note", "facets", "who", "when", "holds", "policy",
)  # fmt: skip


def screening_csv(ledger: Snapshot) -> bytes:
    """``screening.csv``: every decision that was ever made, by paper and time; the last of a paper holds."""
    return table(SCREENING, _screening_lines(ledger))


def _screening_lines(ledger: Snapshot) -> Iterator[dict[str, object]]:
    criteria = {criterion.id: criterion.text for criterion in ledger.direction.criteria}
    for name in sorted(ledger.papers):
        paper = ledger.papers[name]
        for number, made in enumerate(paper.screenings, start=1):
            decided = made.screening
            yield {
                "paper_id": name,
                "title": paper.latest.title if paper.versions else "",
                "decision": decided.decision,
                "reason": decided.reason,
                "criterion": decided.criterion,
                "criterion_text": criteria.get(decided.criterion, ""),
                "note": decided.note,
                "facets": "; ".join(f"{facet}: {words}" for facet, words in sorted(decided.facets.items())),
                "who": made.by,
                "when": made.at,
                "holds": "yes" if number == len(paper.screenings) else "no",
                "policy": ledger.policy.hash,
            }


def screening_ris(ledger: Snapshot) -> bytes:
    """``screening.ris``: every paper that a source described, with the decision that holds in its notes."""
    papers = [ledger.papers[name] for name in sorted(ledger.papers) if ledger.papers[name].versions]
    notes = [[_screened(made) for made in paper.screenings[-1:]] or ["lpk screening: undecided"] for paper in papers]
    return ris([paper.latest for paper in papers], ledger.policy.hash, notes)


def _screened(made: ScreenedAs) -> str:
    decided = made.screening
    said = {
        "reason": decided.reason,
        "criterion": decided.criterion,
        "note": decided.note,
        "by": made.by,
        "at": made.at,
    }
    return f"lpk screening: {decided.decision}; " + "; ".join(
        f"{name}: {value}" for name, value in said.items() if value
    )


# -- W3C Web Annotations ----------------------------------------------------------------------------------------------

#: What a quote may leave out.
_ELISION = re.compile(r"\s*(?:\[\s*(?:\.\s*\.\s*\.|\u2026)\s*\]|\.\s*\.\s*\.|\u2026)\s*")


def web_annotations(ledger: Snapshot) -> bytes:
    """``annotations.jsonld``: one annotation for each quote that was found (https://www.w3.org/TR/annotation-model/).

    A quote is a TextQuoteSelector, and beside it, in a PDF, its page: a FragmentSelector as RFC 8118 has them. A quote with
    words left out has a target for each of its parts.
    """
    located = [
        (ledger.rows[name], checked)
        for name in sorted(ledger.rows)
        if (checked := ledger.checked(name)) and checked.verification.verdict.good and ledger.rows[name].quote.strip()
    ]
    items = [_annotation(ledger, row, checked) for row, checked in located]
    whole, page = _urn(ledger, "annotations"), _urn(ledger, "page")
    collection = {
        "@context": ["http://www.w3.org/ns/anno.jsonld", {"sha256": "https://schema.org/sha256"}],
        "id": whole,
        "type": "AnnotationCollection",
        "label": f"Quotes located in the papers of {ledger.direction.id}, under policy {ledger.policy.hash}",
        "total": len(items),
    }
    if items:  # a page is never empty
        first = {"id": page, "type": "AnnotationPage", "partOf": whole, "startIndex": 0, "items": items}
        collection |= {"first": first, "last": page}
    return _json(collection)


def _annotation(ledger: Snapshot, row: Row, checked: CheckedAs) -> dict[str, Any]:
    claim = ledger.claims.get(row.claim)
    said = [("describing", claim.text)] if claim else []
    said += [("classifying", row.relation), ("tagging", str(of_row(ledger, row).status))]
    targets = _targets(ledger, row, checked)
    return {
        "id": _urn(ledger, f"row {row.id}"),
        "type": "Annotation",
        "motivation": "linking",
        "created": checked.at,
        "creator": {"type": "Person", "name": checked.by},
        "generator": {"type": "Software", "name": checked.verification.checker},
        "body": [{"type": "TextualBody", "format": "text/plain", "purpose": why, "value": text} for why, text in said],
        "target": targets[0] if len(targets) == 1 else targets,
    }


def _targets(ledger: Snapshot, row: Row, checked: CheckedAs) -> list[dict[str, Any]]:
    found, version = checked.verification, ledger.version(row)
    document = _document(ledger, found)
    address = (version.pdf_url or version.url) if version else ""
    source = {
        "id": address or (f"papers/{document.file}" if document else _urn(ledger, row.paper + row.version)),
        "type": "Text",
        "format": document.media if document else "",
        "sha256": found.document,
    }
    elided = _ELISION.split(row.quote.strip()) if found.verdict is Verdict.VERIFIED_ELIDED else []
    parts = [part for part in elided if part] or [row.quote]
    page = {
        "type": "FragmentSelector",
        "conformsTo": "http://tools.ietf.org/rfc/rfc8118",
        "value": f"page={found.page}",
    }
    paged = [page] if found.page and document and document.media == "application/pdf" else []
    targets: list[dict[str, Any]] = []
    for number, part in enumerate(parts):
        quote = {
            "type": "TextQuoteSelector",
            "exact": part,
            "prefix": found.prefix if number == 0 else "",
            "suffix": found.suffix if number == len(parts) - 1 else "",
        }
        selectors = [_filled(quote), *paged]
        targets.append({"type": "SpecificResource", "source": _filled(source), "selector": selectors})
    return targets


def _urn(ledger: Snapshot, name: str) -> str:
    """An IRI that is the same wherever the ledger lies."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"lpk ledger {ledger.direction.id} {name}").urn


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


# -- SciFact ----------------------------------------------------------------------------------------------------------

_LABELS = {"supports": "SUPPORT", "contradicts": "CONTRADICT"}


def scifact(ledger: Snapshot) -> bytes:
    """``scifact.jsonl``: a claim a line, in the schema of SciFact (https://github.com/allenai/scifact).

    Two things differ: ids are the ledger's, and ``sentences`` holds the quotes themselves, for they are from full texts.
    Only verified rows are evidence; a claim without has none (SciFact's "not enough information").
    """
    lines = [_scifact_line(ledger, ledger.claims[name]) for name in sorted(ledger.claims)]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _scifact_line(ledger: Snapshot, claim: Claim) -> dict[str, Any]:
    evidence: dict[str, list[dict[str, Any]]] = {}
    rows = sorted(ledger.of_claim(claim.id), key=lambda row: row.id)
    for row in rows:
        if row.relation in _LABELS and of_row(ledger, row).status is Status.VERIFIED:
            label = _LABELS[row.relation]
            evidence.setdefault(row.paper + row.version, []).append({"label": label, "sentences": [row.quote]})
    return {
        "id": claim.id,
        "claim": claim.text,
        "evidence": {paper: evidence[paper] for paper in sorted(evidence)},
        "cited_doc_ids": sorted({row.paper + row.version for row in rows}),
        "status": of_claim(ledger, claim).status,
        "policy": ledger.policy.hash,
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
