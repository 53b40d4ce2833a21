"""What other tools read of a ledger, read by other tools: csv, bibtexparser, rispy, and the models of W3C and SciFact."""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from typing import Any

import bibtexparser
import pytest
import rispy
import standards
from bibtexparser.middlewares import NameParts, SeparateCoAuthors, SplitNameParts
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_strategies import TEXTS, records
from ledgers import QUOTE, SHA, in_folder, snapshot, supported_records

from lpk.core.evidence.artifacts import exports, references
from lpk.core.evidence.artifacts.manifest import production_run
from lpk.core.evidence.audit import audit
from lpk.core.evidence.ledger import Snapshot
from lpk.core.evidence.metrics import Measure, correctness, metrics, novelty
from lpk.core.evidence.prisma import flow
from lpk.core.evidence.records import (
    Claim,
    Document,
    PaperVersion,
    Record,
    Replication,
    Row,
    Screening,
    Verdict,
    Verification,
    Withdrawal,
)
from lpk.core.evidence.states import Status, of_row, statuses

SOME = settings(max_examples=30)


def lines(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


# -- CSV --------------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.text() | TEXTS)
def test_a_cell_is_no_formula_and_says_what_was_said(text: str) -> None:
    (line,) = lines(exports.table(["a", "b"], [{"a": text, "b": "end"}]))
    assert exports.plain(line["a"]) == text
    assert line["b"] == "end"
    assert not re.match("[=+@\t\r\n-]", line["a"])
    assert line["a"].lstrip()[:1] not in ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", " =1", "'quoted'", "\uff1d1"]
)
def test_what_spreadsheets_run_is_neutralised(text: str) -> None:
    assert exports.cell(text) == f"'{text}"


@SOME
@given(records())
def test_the_matrix_has_every_row_with_its_status(made: list[Record]) -> None:
    ledger = snapshot(made)
    listed = lines(exports.evidence_matrix(ledger))
    assert [line["row_id"] for line in listed] == sorted(ledger.rows)
    for line in listed:
        row = ledger.rows[line["row_id"]]
        assert exports.plain(line["source_quote"]) == row.quote
        assert line["row_status"] == str(of_row(ledger, row).status)
        assert line["policy"] == ledger.policy.hash
    stated = {line["claim_id"]: line["status"] for line in lines(exports.claims(ledger))}
    assert stated == {claim: str(standing.status) for claim, standing in statuses(ledger).items()}


def test_the_matrix_says_where_and_when_and_in_which_file() -> None:
    (line,) = lines(exports.evidence_matrix(snapshot(supported_records())))
    assert (line["page"], line["section"], line["full_text_checked_at"]) == ("3", "4 Results", "2026-05-20T00:05:00Z")
    assert (line["document_sha256"], line["document_file"]) == (SHA, f"{SHA[:16]}.md")
    assert (line["paper_id"], line["version"], line["source_quote"]) == ("arxiv:2401.00001", "v1", QUOTE)


def test_an_abstracts_row_has_no_date_of_a_check_in_the_full_text() -> None:
    made = [r.model_copy(update={"basis": "abstract"}) if isinstance(r, Row) else r for r in supported_records()]
    (line,) = lines(exports.evidence_matrix(snapshot(made)))
    assert line["full_text_checked_at"] == ""
    assert line["row_status"] == "preliminary-linked"


def test_the_screening_keeps_every_decision_with_reason_criterion_note_who_and_when() -> None:
    again = Screening(paper="arxiv:2401.00001", decision="exclude", reason="duplicate", note="=see\narxiv:2401.00009")
    first, second = lines(exports.screening_csv(snapshot([*supported_records(), again])))
    assert (first["decision"], first["reason"], first["criterion"], first["holds"]) == (
        "include",
        "in-scope",
        "I1",
        "no",
    )
    assert first["criterion_text"] == "Removes or skips layers of a language model."
    assert first["facets"] == "intervention: depth pruning; object: LLMs"
    assert (first["who"], first["when"]) == ("tester", "2026-05-20T00:01:00Z")
    assert (second["decision"], second["holds"], second["note"]) == ("exclude", "yes", "'=see\narxiv:2401.00009")


# -- references -------------------------------------------------------------------------------------------------------


def unescaped(text: str) -> str:
    """What TeX shows of what lpk writes."""
    for name, char in {"textbackslash": "\\", "textbraceleft": "{", "textbraceright": "}", "textasciitilde": "~",
                       "textasciicircum": "^", "textless": "<", "textgreater": ">", "textquotedbl": '"'}.items():  # fmt: skip
        text = text.replace(f"\\{name}{{}}", f"\0{ord(char)}\0")
    text = re.sub(r"\\([#$%&_])", r"\1", text)
    return re.sub("\0(\\d+)\0", lambda code: chr(int(code[1])), text)


@SOME
@given(records())
def test_bibtex_is_read_back(made: list[Record]) -> None:
    ledger = snapshot(made)
    wanted = references.cited(ledger)
    library = bibtexparser.parse_string(references.bibtex(ledger).decode(), append_middleware=[SeparateCoAuthors()])
    assert not library.failed_blocks
    assert [entry.key for entry in library.entries] == [references.key(version) for version in wanted]
    for entry, version in zip(library.entries, wanted, strict=True):
        fields = entry.fields_dict
        assert unescaped(fields["title"].value.removeprefix("{").removesuffix("}")) == references._line(version.title)
        authors = fields["author"].value if "author" in fields else []
        assert len(authors) == len(version.authors)


def test_names_are_taken_apart_as_bibtex_does() -> None:
    names = ["Ada Lovelace", "Guido van Rossum", "Ludwig van Beethoven", "Turing, Alan", "Plato", "The Qwen Team"]
    version = PaperVersion(
        paper="doi:10.1/a_b", title="On {braces} & 100% of $x$", authors=tuple(names), updated="2024-02-03"
    )
    made = [version, Screening(paper="doi:10.1/a_b", decision="include", reason="in-scope")]
    text = references.bibtex(snapshot(made)).decode()
    library = bibtexparser.parse_string(text, append_middleware=[SeparateCoAuthors(), SplitNameParts()])
    (entry,) = library.entries
    assert entry.key == "doi:10.1/a_5fb"
    parts: list[NameParts] = entry.fields_dict["author"].value
    assert [(" ".join(p.first), " ".join(p.von), " ".join(p.last)) for p in parts] == [
        ("Ada", "", "Lovelace"),
        ("Guido", "van", "Rossum"),
        ("Ludwig", "van", "Beethoven"),
        ("Alan", "", "Turing"),
        ("", "", "{Plato}"),
        ("", "", "{The Qwen Team}"),
    ]
    assert (entry.fields_dict["year"].value, entry.fields_dict["month"].value) == ("2024", "2")


def test_keys_of_different_papers_differ() -> None:
    ids = ["doi:10.1/a_b", "doi:10.1/a(b)", "doi:10.1/a_28b_29", "doi:10.1/a;b"]
    keys = {references.key(PaperVersion.model_validate({"paper": each, "title": "T"})) for each in ids}
    assert len(keys) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9:./_-]+", each) for each in keys)


@SOME
@given(records())
def test_csl_json_is_of_the_schema(made: list[Record]) -> None:
    ledger = snapshot(made)
    items: list[dict[str, Any]] = json.loads(references.csl(ledger))
    assert [item["id"] for item in items] == [references.key(version) for version in references.cited(ledger)]
    for item in items:
        # CSL 1.0.2 added "custom", an object of anybody's keys; the schema is that of 1.0.1.
        assert isinstance(item.pop("custom"), dict)
        # The schema has types of numbers and strings alike; ours are whole numbers.
        assert all(isinstance(part, int) for date in item.get("issued", {}).get("date-parts", ()) for part in date)
    standards.check("csl-data-1.0.1", items)


@SOME
@given(records())
def test_ris_is_read_back(made: list[Record]) -> None:
    ledger = snapshot(made)
    wanted = references.cited(ledger)
    entries = rispy.loads(references.ris(wanted, ledger.policy.hash).decode())
    assert [entry["id"] for entry in entries] == [version.name for version in wanted]
    for entry, version in zip(entries, wanted, strict=True):
        assert len(entry.get("authors", [])) == len(version.authors)
    screened = rispy.loads(exports.screening_ris(ledger).decode())
    described = sorted(name for name, paper in ledger.papers.items() if paper.versions)
    assert [entry["id"].removesuffix("v1").removesuffix("v2") for entry in screened] == described
    for entry, name in zip(screened, described, strict=True):
        assert f"lpk screening: {ledger.papers[name].decision or 'undecided'}" in " ".join(entry["notes"])


def test_only_what_is_quoted_or_included_is_cited() -> None:
    made = [
        *supported_records(),
        PaperVersion(paper="arxiv:2401.00001", version="v2", title="Depth pruning, again"),
        PaperVersion(paper="arxiv:2401.00002", version="v3", title="Included, and not quoted"),
        Screening(paper="arxiv:2401.00002", decision="include", reason="in-scope"),
        PaperVersion(paper="arxiv:2401.00003", version="v1", title="Excluded"),
        Screening(paper="arxiv:2401.00003", decision="exclude", reason="off-topic"),
    ]
    assert [each.name for each in references.cited(snapshot(made))] == ["arxiv:2401.00001v1", "arxiv:2401.00002v3"]


# -- annotations and SciFact ------------------------------------------------------------------------------------------


def in_pdf() -> list[Record]:
    made = []
    for record in supported_records():
        if isinstance(record, Document):
            record = record.model_copy(update={"media": "application/pdf", "file": "ab.pdf"})  # noqa: PLW2901
        if isinstance(record, Verification):
            record = record.model_copy(update={"prefix": "We find: ", "suffix": " This is"})  # noqa: PLW2901
        made.append(record)
    return made


def check_annotation(annotation: dict[str, Any]) -> None:
    """What https://www.w3.org/TR/annotation-model/ asks of an annotation, and RFC 8118 of a PDF's fragment."""
    assert uuid.UUID(annotation["id"].removeprefix("urn:uuid:"))
    assert annotation["type"] == "Annotation"
    assert annotation["motivation"] == "linking"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", annotation["created"])
    for body in annotation["body"]:
        assert body["type"] == "TextualBody"
        assert body["purpose"] in ("describing", "classifying", "tagging")
        assert isinstance(body["value"], str)
    targets = annotation["target"] if isinstance(annotation["target"], list) else [annotation["target"]]
    assert targets
    for target in targets:
        assert target["type"] == "SpecificResource"
        assert target["source"]["id"]
        kinds = [selector["type"] for selector in target["selector"]]
        assert kinds in (["TextQuoteSelector"], ["TextQuoteSelector", "FragmentSelector"])
        assert target["selector"][0]["exact"]
        for fragment in target["selector"][1:]:
            assert target["source"]["format"] == "application/pdf"
            assert fragment["conformsTo"] == "http://tools.ietf.org/rfc/rfc8118"
            assert re.fullmatch(r"page=[1-9]\d*", fragment["value"])


def annotations(ledger: Snapshot) -> list[dict[str, Any]]:
    collection = json.loads(exports.web_annotations(ledger))
    assert collection["@context"][0] == "http://www.w3.org/ns/anno.jsonld"
    assert collection["type"] == "AnnotationCollection"
    if not collection["total"]:
        assert not collection.keys() & {"first", "last"}
        return []
    page = collection["first"]
    assert (page["type"], page["partOf"], page["id"]) == ("AnnotationPage", collection["id"], collection["last"])
    items: list[dict[str, Any]] = page["items"]
    assert collection["total"] == len(items)
    return items


def test_an_annotation_selects_the_quote_in_its_page() -> None:
    (annotation,) = annotations(snapshot(in_pdf()))
    check_annotation(annotation)
    quote, page = annotation["target"]["selector"]
    assert (quote["exact"], quote["prefix"], quote["suffix"]) == (QUOTE, "We find: ", " This is")
    assert page["value"] == "page=3"
    assert annotation["target"]["source"]["sha256"] == SHA
    assert [body["value"] for body in annotation["body"]][1:] == ["supports", "verified"]


def test_a_quote_with_words_left_out_has_a_target_for_each_part() -> None:
    quote = "Removing 4 of 30 layers … on held-out text."
    made = [
        r.model_copy(update={"quote": quote}) if isinstance(r, Row)
        else r.model_copy(update={"verdict": Verdict.VERIFIED_ELIDED}) if isinstance(r, Verification) else r
        for r in in_pdf()
    ]  # fmt: skip
    (annotation,) = annotations(snapshot(made))
    check_annotation(annotation)
    first, second = (target["selector"][0] for target in annotation["target"])
    assert first == {"type": "TextQuoteSelector", "exact": "Removing 4 of 30 layers", "prefix": "We find: "}
    assert second == {"type": "TextQuoteSelector", "exact": "on held-out text.", "suffix": " This is"}


@SOME
@given(records())
def test_annotations_are_the_quotes_that_were_found(made: list[Record]) -> None:
    ledger = snapshot(made)
    good = [name for name in ledger.rows if (checked := ledger.checked(name)) and checked.verification.verdict.good]
    found = annotations(ledger)
    assert (
        len(found) == sum(bool(ledger.rows[name].quote.strip()) for name in good) == len({each["id"] for each in found})
    )
    for annotation in found:
        check_annotation(annotation)


@SOME
@given(records())
def test_scifact_has_verified_rows_as_evidence_and_no_other(made: list[Record]) -> None:
    ledger = snapshot(made)
    told = [json.loads(line) for line in exports.scifact(ledger).decode().split("\n") if line]
    assert [line["id"] for line in told] == sorted(ledger.claims)
    for line in told:
        listed = {(paper, one["label"], *one["sentences"]) for paper, ones in line["evidence"].items() for one in ones}
        labels = {"supports": "SUPPORT", "contradicts": "CONTRADICT"}
        assert listed == {
            (row.paper + row.version, labels[row.relation], row.quote)
            for row in ledger.of_claim(line["id"])
            if row.relation in labels and of_row(ledger, row).status is Status.VERIFIED
        }
        assert line["evidence"].keys() <= set(line["cited_doc_ids"])


# -- the flow of papers -----------------------------------------------------------------------------------------------


@SOME
@given(records())
def test_every_paper_is_in_one_place_and_the_flow_counts_them(made: list[Record]) -> None:
    ledger = snapshot(made)
    papers = flow(ledger)
    out = [name for ids in papers.excluded.values() for name in ids]
    for whole, parts in (
        (papers.identified, [*papers.undescribed, *papers.waiting, *papers.screened]),
        (papers.screened, [*out, *papers.included]),
        (papers.included, [*papers.withdrawn, *papers.unread, *papers.read]),
        (papers.identified, [*papers.undescribed, *(name for ids in papers.sources.values() for name in ids)]),
    ):
        assert len(parts) == len(set(parts))
        assert set(whole) == set(parts)
    assert set(papers.identified) == set(ledger.papers)
    for name, count in papers.counts.items():
        there = getattr(papers, name)
        assert count == ({key: len(ids) for key, ids in there.items()} if isinstance(there, dict) else len(there))


def test_the_flow_by_hand() -> None:
    made: list[Record] = [
        PaperVersion(paper=f"arxiv:2401.0000{number}", version="v1", title="T", source="lpk/arxiv")
        for number in range(7)
    ]
    decided = [("include", "in-scope"), ("include", "in-scope"), ("exclude", "off-topic"), ("exclude", "off-topic"),
               ("exclude", "duplicate"), ("background", "survey")]  # fmt: skip
    made += [
        Screening(paper=f"arxiv:2401.0000{number}", decision=decision, reason=reason)  # type: ignore[arg-type]
        for number, (decision, reason) in enumerate(decided)
    ]
    made.append(Withdrawal(what="arxiv:2401.00001", reason="not ours"))
    papers = flow(snapshot(made))
    counts = [
        len(ids) for ids in (papers.identified, papers.waiting, papers.screened, papers.included, papers.withdrawn)
    ]
    assert counts == [7, 1, 6, 2, 1]
    excluded = {reason: len(ids) for reason, ids in papers.excluded.items()}
    assert excluded == {"background: survey": 1, "duplicate": 1, "off-topic": 2}
    assert papers.unread == ("arxiv:2401.00000",)


# -- measures ---------------------------------------------------------------------------------------------------------


def test_over_nothing_a_measure_is_not_one() -> None:
    ledger = snapshot([])
    for measure in (*metrics(ledger), correctness(ledger), novelty(ledger)):
        assert measure.value is None
        assert measure.denominator == 0
        told = measure.described()
        assert (told["value"], told["why"]) == ("n/a", "there is nothing to count over")
        assert told["definition"]


@SOME
@given(records())
def test_a_share_is_what_it_counts(made: list[Record]) -> None:
    ledger = snapshot(made)
    for measure in (*metrics(ledger, audit(ledger, [])), correctness(ledger), novelty(ledger)):
        if measure.amount is None:
            assert set(measure.counted) <= set(measure.among)
            assert measure.why or measure.value == pytest.approx(len(measure.counted) / len(measure.among), abs=1e-4)


def by_name(ledger: Snapshot) -> dict[str, Measure]:
    return {measure.name: measure for measure in metrics(ledger)}


def test_measures_by_hand() -> None:
    made = [
        *supported_records(),
        Claim(id="c-2", text="Another claim."),
        Row(id="r-2", claim="c-2", paper="arxiv:2401.00009", version="v1", quote="a quote of an unknown paper"),
        PaperVersion(paper="arxiv:2401.00002", version="v1", title="Other"),
        Screening(paper="arxiv:2401.00002", decision="exclude", reason="off-topic"),
    ]
    ledger = snapshot(made)
    found = by_name(ledger)
    assert [(m.numerator, m.denominator) for m in found.values()][:2] == [(1, 2), (1, 2)]
    assert found["citation existence"].counted == ("arxiv:2401.00001v1",)
    assert found["citation existence"].value == 0.5
    assert found["supported-claim precision"].why == "paper/demo.py was not run on this evidence matrix"
    assert found["unsupported-claim detection"].why == "no audit was run"
    assert (found["time to brief"].numerator, found["time to brief"].unit) == (round(5 / 60, 2), "hours")
    assert (correctness(ledger).counted, correctness(ledger).among) == (("r-1",), ("r-1", "r-2"))
    assert novelty(ledger).value == 0.0
    measured = Replication(claim="c-1", expression="x > 0", study="cd" * 32, verdict="replicated", effect=1.0, count=3)
    assert novelty(snapshot([*made, measured])).value == 1.0
    undecided = measured.model_copy(update={"verdict": "inconclusive"})
    assert novelty(snapshot([*made, measured, undecided])).value == 0.0


def test_the_manifest_names_inputs_policy_and_heads(tmp_path: Any) -> None:
    ledger = in_folder(tmp_path / "ledger", supported_records())
    now = ledger.snapshot()
    run = json.loads(production_run(ledger, now, audit(now, [])))
    assert run["policy"] == now.policy.hash
    assert run["inputs"]["events"] == {"count": 7, "heads": now.heads}
    assert run["inputs"]["documents"][0]["sha256"] == SHA
    assert run["versions"]["checkers"] == ["lpk 0.1.0"]
    assert run["correctness"] | {"counted": ..., "among": ...} == {
        "name": "correctness", "definition": correctness(now).definition, "numerator": 1, "denominator": 1, "value": 1.0,
        "counted": ..., "among": ...,
    }  # fmt: skip
    assert run["audit"]["gate"] == "blocked"
    assert str(tmp_path) not in json.dumps(run)


def test_every_artifact_names_the_policy(tmp_path: Any) -> None:
    from lpk.core.evidence.artifacts.render import settled

    ledger = in_folder(tmp_path / "ledger", supported_records())
    for name, data in settled(ledger, [])[1].items():
        assert ledger.policy.hash in data.decode() or name == "paper/demo.py", name  # it reads the hash from the matrix
