"""A ledger in which nothing is wrong, and mutants of it, each with one thing wrong that one rule must find.

An audit that finds nothing may be blind. So every audit report says how many of these mutants its rules find, with a
hash of them all: a rule that is loosened shows there. The mutants of a rule are made for it; other rules may find them
too. (Mutation testing: DeMillo, Lipton and Sayward 1978, https://doi.org/10.1109/C-M.1978.218136.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from lpk.core.evidence.artifacts.proof import script
from lpk.core.evidence.audit import MutationScore, audit
from lpk.core.evidence.contracts import Rule
from lpk.core.evidence.documents.fulltext import FullText
from lpk.core.evidence.documents.lines import Line, Outline, Run
from lpk.core.evidence.events import Event
from lpk.core.evidence.ledger import Snapshot
from lpk.core.evidence.policy import Policy
from lpk.core.evidence.records import (
    Beginning,
    Check,
    Claim,
    Direction,
    Disagreement,
    Document,
    PaperVersion,
    Record,
    Replication,
    ResearchQuestion,
    Restoration,
    Row,
    Screening,
    Verification,
    Withdrawal,
    digest,
)


@dataclass(frozen=True)
class Material:
    """What a ledger is made of.

    Attributes:
        direction: of ``ledger.toml``.
        policy: of ``policy.toml``.
        records: what the events carry, a minute apart.
        artifacts: what was rendered from it.
        texts: SHA-256 of a document -> its pages.
        tamper: what is done to the events afterwards.
    """

    direction: Direction
    policy: Policy
    records: tuple[Record, ...]
    artifacts: Mapping[str, str]
    texts: Mapping[str, Sequence[str]]
    tamper: Callable[[list[Event]], list[Event]] = list

    def snapshot(self) -> Snapshot:
        """The ledger."""
        texts = {sha: full_text(sha, pages) for sha, pages in self.texts.items()}
        return Snapshot(self.direction, self.policy, self.events, texts, self.artifacts)

    @property
    def events(self) -> list[Event]:
        """The events, each after the one before it."""
        made: list[Event] = []
        for number, record in enumerate(self.records):
            at = f"2026-05-20T{12 + number // 60:02}:{number % 60:02}:00Z"
            by = ("ada", "grace")[number % 2]
            made.append(Event.of(record, [made[-1].id] if made else [], at, by))
        return self.tamper(made)

    def digest(self) -> str:
        """Of all of it."""
        events = [[event.id, event.hash(), event.at] for event in self.events]
        texts = {sha: list(pages) for sha, pages in self.texts.items()}
        return digest([self.direction.canonical(), self.policy.canonical(), events, dict(self.artifacts), texts])

    # -- changes ------------------------------------------------------------------------------------------------------

    def change(self, kind: type[Record], found: str, **values: Any) -> Material:
        """With other values in the records of this kind that have an id, row or paper ``found``."""
        return replace(self, records=tuple(_changed(each, kind, found, values) for each in self._having(kind, found)))

    def without(self, kind: type[Record], found: str) -> Material:
        """Without them."""
        kept = [each for each in self._having(kind, found) if not (isinstance(each, kind) and _is(each, found))]
        return replace(self, records=tuple(kept))

    def plus(self, *records: Record) -> Material:
        """With more records at the end."""
        return replace(self, records=(*self.records, *records))

    def aim(self, **values: Any) -> Material:
        """With another direction."""
        return replace(self, direction=self.direction.model_copy(update=values))

    def rule(self, **values: Any) -> Material:
        """With another policy."""
        return replace(self, policy=Policy.model_validate(self.policy.model_dump() | values))

    def written(self, old: str, new: str, name: str = "paper/paper.md") -> Material:
        """With other words in an artifact."""
        if old not in self.artifacts[name]:
            raise AssertionError(f"{name} does not have {old!r}")
        return replace(self, artifacts={**self.artifacts, name: self.artifacts[name].replace(old, new)})

    def said(self, text: str, heading: str = "## Conclusion") -> Material:
        """With a paragraph more in the draft, before this heading."""
        return self.written(heading, f"{text}\n\n{heading}")

    def tampered(self, how: Callable[[list[Event]], list[Event]]) -> Material:
        """With other events."""
        return replace(self, tamper=how)

    def _having(self, kind: type[Record], found: str) -> tuple[Record, ...]:
        if not any(isinstance(each, kind) and _is(each, found) for each in self.records):
            raise AssertionError(f"no {kind.__name__} {found!r}")
        return self.records


def _is(record: Record, found: str) -> bool:
    return found in (
        *(getattr(record, name, None) for name in ("id", "row", "paper", "claim", "direction")),
        getattr(record, "name", None),
    )


def _changed(record: Record, kind: type[Record], found: str, values: dict[str, Any]) -> Record:
    if not (isinstance(record, kind) and _is(record, found)):
        return record
    return type(record).model_validate(record.model_dump() | values)


def full_text(sha: str, pages: Sequence[str]) -> FullText:
    """Pages of Markdown as a text that quotes can be looked up in."""
    lines: list[Line] = []
    outline: list[Outline] = []
    for number, page in enumerate(pages, start=1):
        for block, text in enumerate(filter(None, page.splitlines())):
            if text.startswith("#"):
                outline.append(Outline(len(text) - len(text.lstrip("#")), text.lstrip("# "), number, len(lines)))
            lines.append(Line(number, 100 * number + block, (Run(text.lstrip("# ")),)))
    return FullText(sha, "text/markdown", "lpk/text 1", len(pages), tuple(lines), tuple(outline))


# ---------------------------------------------------------------------------------------------------------------------
# The ledger in which nothing is wrong
# ---------------------------------------------------------------------------------------------------------------------

A, B, OUT, SURVEY = "arxiv:2401.00001", "arxiv:2402.00002", "arxiv:2403.00003", "arxiv:2301.00009"
COST = "Removing 4 of 30 layers raises the perplexity of SmolLM2 from 30.4 to 52.1 on held-out text."
REASON = "We find that removing 2 layers lowers the accuracy of SmolLM2 on long reasoning from 31.0% to 4.5%."
SAME = "Under a fixed objective, seven search algorithms find similar sets of layers."
PAGES = {
    A: ("# Depth pruning of language models\n\nWe study depth pruning of language models.",
        f"# 4 Results\n\n{COST}\n\n{SAME}"),
    B: ("# Depth pruning and reasoning\n\nWe prune layers of language models.", f"# 3 Reasoning\n\n{REASON}"),
}  # fmt: skip
SHA = {name: hashlib.sha256("\f".join(pages).encode()).hexdigest() for name, pages in PAGES.items()}
STUDY = "cd" * 32

DIRECTION = Direction.model_validate(
    {
        "id": "depth-pruning",
        "title": "Depth pruning of language models",
        "category": "cs-ai/depth-pruning",
        "thesis": "Removing layers of SmolLM2 raises its perplexity, and lowers its accuracy (perplexity, reasoning).",
        "keywords": ["depth pruning", "layer pruning"],
        "facets": [
            {"name": "object", "words": ["language model", "LLM"]},
            {"name": "intervention", "words": ["depth pruning", "layer pruning", "removing layers"]},
        ],
        "criteria": [
            {"id": "I1", "decision": "include", "text": "Removes layers of a language model and measures the cost."},
            {"id": "E1", "decision": "exclude", "text": "Is about models of another kind."},
            {"id": "B1", "decision": "background", "text": "Is a survey."},
        ],
        "questions": [{"id": "RQ1", "text": "How much does removing layers cost a language model?"}],
    }
)


def _paper(paper: str, title: str, authors: Sequence[str], abstract: str, **more: Any) -> PaperVersion:
    version = more.pop("version", "v1")
    return PaperVersion(
        paper=paper,
        version=version,
        title=title,
        authors=tuple(authors),
        published="2024-01-01",
        abstract=abstract,
        url=f"https://arxiv.org/abs/{paper.partition(':')[2]}{version}",
        source="lpk/arxiv",
        **more,
    )


def _records(policy: str) -> tuple[Record, ...]:
    cost = f"We study depth pruning of language models. {COST}"
    reason = f"Reasoning needs depth. We study layer pruning of language models. {REASON}"
    shown = {"object": "language models", "intervention": "depth pruning"}
    read: dict[str, Any] = {"media": "text/markdown", "reader": "lpk/text 1", "pages": 2}
    found: dict[str, Any] = {"verdict": "verified", "checker": "lpk 0.1.0", "policy": policy, "page": 2, "page_end": 2}
    return (
        Beginning(direction="depth-pruning"),
        _paper(A, "Depth pruning of language models", ["Ada Lovelace", "Alan Turing"], cost, references=(SURVEY,)),
        _paper(A, "Depth pruning of language models", ["Ada Lovelace", "Alan Turing"], cost, version="v2", references=(SURVEY,)),
        _paper(B, "Depth pruning and reasoning", ["Grace Hopper", "Emmy Noether"], reason, references=(SURVEY,)),
        _paper(OUT, "Pruning radio classifiers", ["Lise Meitner"], "We prune layers of a signal classifier."),
        _paper(SURVEY, "A survey of depth pruning", ["Mary Somerville"], "Language models are large. This survey collects methods."),
        Screening(paper=A, decision="include", reason="in-scope", criterion="I1", facets=shown),
        Screening(paper=B, decision="include", reason="in-scope", criterion="I1",
                  facets=shown | {"intervention": "layer pruning"}),
        Screening(paper=OUT, decision="exclude", reason="not-llm", criterion="E1"),
        Screening(paper=SURVEY, decision="background", reason="survey", criterion="B1"),
        Document(paper=A, version="v2", sha256=SHA[A], file="a.md", text_sha256=full_text(SHA[A], PAGES[A]).text_sha256, **read),
        Document(paper=B, version="v1", sha256=SHA[B], file="b.md", text_sha256=full_text(SHA[B], PAGES[B]).text_sha256, **read),
        Claim(id="c-cost", text="Removing 4 of 30 layers raises the perplexity of SmolLM2 to 52.1.", questions=("RQ1",)),
        Row(id="r-cost", claim="c-cost", paper=A, version="v2", quote=COST, page=2),
        Verification(row="r-cost", document=SHA[A], section="4", **found),
        Claim(id="c-reason", text="Removing 2 layers lowers the accuracy of SmolLM2 on long reasoning to 4.5%.", questions=("RQ1",)),
        Row(id="r-reason", claim="c-reason", paper=B, version="v1", quote=REASON),
        Verification(row="r-reason", document=SHA[B], section="3", **found),
        Claim(id="c-same", text="Under a fixed objective, seven search algorithms find similar sets of layers.",
              questions=("RQ1",), check=Check(expression='jaccard(masks, within="objective") > 0.5')),
        Row(id="r-same", claim="c-same", paper=A, version="v2", quote=SAME),
        Verification(row="r-same", document=SHA[A], section="4", **found),
        Replication(claim="c-same", expression='jaccard(masks, within="objective") > 0.5', study=STUDY, verdict="inconclusive",
                    effect=0.4, low=0.1, high=0.7, count=3, needed=20, models=("demo",)),
        Claim(id="c-typo", text="Removing layers is free."),
        Withdrawal(what="c-typo", reason="nothing says so"),
    )  # fmt: skip


DRAFT = """\
# Depth pruning of language models: an evidence ledger

Draft generated 2026-05-20, from the ledger's last event.

## Abstract

4 papers were collected, 4 papers were screened, 2 papers were included, 1 paper was excluded. Removing 4 of 30 layers
raises the perplexity of SmolLM2 to 52.1.

## Method

All evidence rows have a quote, a page and a date of check. Every supported claim was verified in the full text.
All rows are verified. This draft is deterministic: the same ledger gives the same bytes.

## Findings

RQ1. The paper reports that removing 2 layers lowers the accuracy of SmolLM2 on long reasoning from 31.0% to 4.5%.

- c-cost: removing 4 of 30 layers raises the perplexity of SmolLM2 to 52.1 (2401.00001v2, r-cost).
- c-reason: removing 2 layers lowers the accuracy of SmolLM2 on long reasoning to 4.5% (2402.00002v1, r-reason).
- c-same: seven search algorithms find similar sets of layers (2401.00001v2, r-same). Measured here: inconclusive.

3 rows with figures or comparisons: r-cost, r-reason, r-same.

| Paper | Reported evaluation |
|---|---|
| 2401.00001v2 | Removing 4 of 30 layers raises the perplexity of SmolLM2 from 30.4 to 52.1 on held-out text. |
| 2301.00009v1 | not stated |

### Flow of papers

- Papers screened in: 2[^1] of 4 found
- Screened: 4

## Claim audit status

Claims by status: supported 3, withdrawn 1.

| Status of rows | Count |
|---|---|
| verified | 3[^2] of 3 |

- supported: 3[^2] of 4
- Verified rows: 3/3
- Supported claims: 3/3
- Ledger integrity, 3 rows: pass
- The rows are in evidence_matrix.csv.

## Conclusion

Removing layers of SmolLM2 raises its perplexity.

## References

- 2401.00001v2. Ada Lovelace, Alan Turing. Depth pruning of language models.
- 2402.00002v1. Grace Hopper, Emmy Noether. Depth pruning and reasoning.
- 2301.00009v1. Mary Somerville. A survey of depth pruning.

[^1]: paper: arxiv:2401.00001, arxiv:2402.00002
[^2]: row: r-cost, r-reason, r-same
"""
MATRIX = """\
claim_id,claim_status,row_id,row_status
c-cost,supported,r-cost,verified
c-reason,supported,r-reason,verified
c-same,supported,r-same,verified
"""


@cache
def clean() -> Material:
    """The ledger in which nothing is wrong; every rule has something to look at."""
    policy = Policy.model_validate({})
    proof = {
        "passed": True,
        "supported": 3,
        "score": "3/3",
        "policies": [policy.hash],
        "evidence_matrix_sha256": hashlib.sha256(MATRIX.encode()).hexdigest(),
        "claims": [{"claim": name, "re-verified": True} for name in ("c-cost", "c-reason", "c-same")],
    }
    artifacts = {
        "paper/paper.md": DRAFT,
        "evidence_matrix.csv": MATRIX,
        "paper/proof.json": json.dumps(proof),
    }
    texts = {SHA[name]: pages for name, pages in PAGES.items()}
    made = Material(DIRECTION, policy, _records(policy.hash), artifacts, texts)
    run = {
        "policy": policy.hash,
        "inputs": {"events": {"count": len(made.events), "heads": [made.events[-1].id]}},
        "correctness": {"value": 1.0, "count": 3},
    }
    return replace(made, artifacts={**artifacts, "production_run.json": json.dumps(run)})


# ---------------------------------------------------------------------------------------------------------------------
# The mutants
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """One thing that is wrong.

    Attributes:
        rule: the code of the rule that must find it.
        what: what is wrong.
        make: the ledger that has it, from the clean one.
    """

    rule: str
    what: str
    make: Callable[[Material], Material]


def _retitled(events: list[Event]) -> list[Event]:
    """A line that was edited by hand."""
    at = next(i for i, event in enumerate(events) if event.kind == "screening")
    changed = replace(events[at], data=events[at].data | {"reason": "edited"})
    return [*events[:at], changed, *events[at + 1 :]]


def _dated_back(events: list[Event]) -> list[Event]:
    last = events[-1]
    return [*events[:-1], Event.of(last.record, last.previous, "2026-05-19T00:00:00Z", last.by)]


def _behind(events: list[Event]) -> list[Event]:
    """Another machine's clock, in the middle; those that follow are on time."""
    made: list[Event] = []
    for number, event in enumerate(events):
        at = event.at.replace("T12", "T11") if number == 9 else event.at
        made.append(Event.of(event.record, [made[-1].id] if made else [], at, event.by))
    return made


def _one_person(events: list[Event]) -> list[Event]:
    made: list[Event] = []
    for event in events:
        made.append(Event.of(event.record, [made[-1].id] if made else [], event.at, "lpk"))
    return made


_CITED = "arxiv:2312.00005"
_LATER = {"published": "2024-06-01"}
_CRITERIA = [each.model_dump() for each in DIRECTION.criteria]


def _question(text: str) -> Callable[[Material], Material]:
    return lambda m: m.aim(questions=(ResearchQuestion(id="RQ1", text=text),))


def _claim(name: str, text: str, **more: Any) -> Claim:
    return Claim.model_validate({"id": name, "text": text, **more})


def _matrix(old: str, new: str) -> Callable[[Material], Material]:
    return lambda m: m.written(old, new, "evidence_matrix.csv")


def _proof(old: str, new: str) -> Callable[[Material], Material]:
    return lambda m: m.written(old, new, "paper/proof.json")


def _run(old: str, new: str) -> Callable[[Material], Material]:
    return lambda m: m.written(old, new, "production_run.json")


def _saying(text: str) -> Callable[[Material], Material]:
    return lambda m: m.said(text)


def _written(old: str, new: str) -> Callable[[Material], Material]:
    return lambda m: m.written(old, new)


def _changing(kind: type[Record], found: str, **values: Any) -> Callable[[Material], Material]:
    return lambda m: m.change(kind, found, **values)


def _adding(*records: Record) -> Callable[[Material], Material]:
    return lambda m: m.plus(*records)


def _printing(paper: str, first: str) -> Callable[[Material], Material]:
    """Another first page."""
    return lambda m: replace(m, texts={**m.texts, SHA[paper]: (first, *m.texts[SHA[paper]][1:])})


def _aiming(**values: Any) -> Callable[[Material], Material]:
    return lambda m: m.aim(**values)


MUTANTS: tuple[Mutant, ...] = tuple(
    Mutant(rule, what, make)
    for rule, what, make in (
        # 1 Integrity
        ("R-CHAIN-1", "a line edited by hand", lambda m: m.tampered(_retitled)),
        ("R-CHAIN-1", "a line taken out", lambda m: m.tampered(lambda events: [*events[:5], *events[6:]])),
        ("R-CHAIN-2", "the last event dated back", lambda m: m.tampered(_dated_back)),
        ("R-CHAIN-2", "a clock an hour behind", lambda m: m.tampered(_behind)),
        ("R-LINK-1", "a claim without a row", lambda m: m.without(Row, "r-cost")),
        ("R-LINK-1", "a claim whose only row was withdrawn", _adding(Withdrawal(what="r-reason", reason="wrong"))),
        ("R-LINK-2", "a row about no claim", lambda m: m.without(Claim, "c-cost")),
        ("R-LINK-2", "a row of a version that is not there", _changing(Row, "r-reason", version="v7")),
        ("R-LINK-2", "a row of a paper that is not there", _changing(Row, "r-reason", paper="doi:10.1000/182")),
        ("R-LINK-3", "an orphan document", _changing(Document, B, version="v9")),
        ("R-LINK-3", "a screening of an unknown paper", _changing(Screening, OUT, paper="arxiv:2403.99999")),
        ("R-LINK-3", "a verification of no row", _changing(Verification, "r-same", row="r-gone")),
        ("R-LINK-3", "a withdrawal of nothing", _adding(Withdrawal(what="c-gone", reason="wrong"))),
        ("R-LINK-3", "a restoration of nothing", _adding(Restoration(what="c-gone", reason="wrong"))),
        ("R-LINK-3", "a replication of no claim", _changing(Replication, "c-same", claim="c-gone")),
        ("R-LINK-4", "an answer to no question", _changing(Claim, "c-cost", questions=("RQ2",))),
        ("R-LINK-4", "a direction without questions", _aiming(questions=())),
        ("R-TWIN-1", "two papers with one id", _adding(_paper(B, "Another thing altogether", ["Ann Other"], "Other."))),
        ("R-TWIN-1", "one id, other authors", _adding(
            _paper(B, "Depth pruning and reasoning", ["Ann Other", "Nobody Else"], "We prune."))),
        ("R-TWIN-2", "one paper with two ids", _adding(
            _paper("s2:77", "Depth Pruning and Reasoning", ["Grace Hopper"], "We prune."))),
        ("R-TWIN-2", "one DOI, two ids", lambda m: m.change(PaperVersion, A, doi="10.1000/182").plus(
            _paper("doi:10.1000/182", "On depth", ["Ada Lovelace"], "We prune.", doi="10.1000/182"))),
        ("R-TWIN-3", "a claim stated twice", _adding(
            _claim("c-again", "Removing 4 of 30 layers raises the perplexity of SmolLM2 to 52.1."))),
        ("R-TWIN-3", "a quote counted twice", _adding(
            Row(id="r-again", claim="c-cost", paper=A, version="v2", quote=COST + " "))),
        ("R-ID-1", "events of another direction", _changing(Beginning, "depth-pruning", direction="auto-pruning")),
        ("R-ID-1", "no beginning", lambda m: m.without(Beginning, "depth-pruning")),
        ("R-ID-1", "an id of other words", _aiming(id="auto-depth-llms")),
        ("R-ID-2", "a garbled title", _aiming(title="Deep LLMs Layer")),
        ("R-ID-2", "a title cut off", _aiming(title="Depth pruning of language…")),
        # 2 Sources and versions
        ("R-VER-1", "a newer version", _adding(_paper(B, "Depth pruning and reasoning", ["Grace Hopper"], "New.", version="v2"))),
        ("R-VER-1", "a quote from the older version", lambda m: m.change(Row, "r-cost", version="v1")),
        ("R-VER-2", "a withdrawn paper", _changing(PaperVersion, B, withdrawn="an error in the proof")),
        ("R-VER-2", "a retracted paper that a row quotes", lambda m: m.change(
            PaperVersion, SURVEY, withdrawn="retracted").plus(
            Row(id="r-back", claim="c-cost", paper=SURVEY, version="v1", relation="background", quote=COST))),
        ("R-VER-3", "a document changed since", _changing(Document, A, sha256="ef" * 32)),
        ("R-VER-3", "a quote looked up in another file", _changing(Verification, "r-reason", document="ef" * 32)),
        ("R-VER-4", "another text than was recorded", _changing(Document, A, text_sha256="ef" * 32)),
        ("R-VER-4", "more pages than were recorded", _changing(Document, A, pages=9)),
        ("R-DOC-1", "another paper's file", _printing(B, PAGES[A][0])),
        ("R-DOC-1", "a comment on the paper", _printing(B, "# A comment on Depth pruning and reasoning")),
        ("R-DOC-1", "its title, and another paper's stamp", _printing(
            B, f"arXiv:2401.00001v2 [cs.CL] 3 Mar 2024\n\n{PAGES[B][0]}")),
        ("R-DOC-1", "the stamp of another version", _printing(A, f"arXiv:2401.00001v1 [cs.CL] 1 Jan 2024\n\n{PAGES[A][0]}")),
        ("R-DOC-1", "nothing but a title that the record does not have", _changing(PaperVersion, B, title="Pruning and reasoning")),
        ("R-DOC-1", "a file that is not at hand, and was another paper's", lambda m: replace(m, texts={}).change(
            Document, B, first_page={"begins": "Another thing altogether"})),
        ("R-DEPTH-1", "a paper nobody read", lambda m: m.without(Document, B)),
        ("R-DEPTH-1", "a scan", _changing(Document, B, text_layer=False)),
        ("R-DEPTH-2", "a row from an abstract", _changing(Row, "r-cost", basis="abstract")),
        ("R-DEPTH-2", "another one", _changing(Row, "r-reason", basis="abstract")),
        ("R-META-1", "a reference without authors", _written("Ada Lovelace, Alan Turing. ", "")),
        ("R-META-1", "authors in another order", _written("Grace Hopper, Emmy Noether", "Emmy Noether, Grace Hopper")),
        ("R-META-1", "another title", _written("Turing. Depth pruning of language models.", "Turing. Depth pruning.")),
        ("R-META-2", "no authors", _changing(PaperVersion, B, authors=())),
        ("R-META-2", "no address", _changing(PaperVersion, B, url="")),
        ("R-META-2", "a date that is none", _changing(PaperVersion, B, published="last year")),
        ("R-META-2", "an address that is none", _changing(PaperVersion, B, url="on the web")),
        ("R-META-2", "no date, no abstract", _changing(PaperVersion, B, published="", abstract="")),
        # 3 Quotes and locators
        ("R-SCORE-1", "an empty quote that passed", _changing(Row, "r-cost", quote="")),
        ("R-SCORE-1", "a blank quote", _changing(Row, "r-cost", quote=" \n ")),
        ("R-SCORE-1", "a quote of one word", _changing(Row, "r-cost", quote="layers")),
        ("R-SCORE-1", "a quote of three words", _changing(Row, "r-cost", quote="from 30.4 to")),
        ("R-QUOTE-1", "nothing but abstracts", lambda m: m.change(Row, "r-cost", basis="abstract").change(
            Row, "r-reason", basis="abstract").change(Row, "r-same", basis="abstract")),
        ("R-QUOTE-1", "a row never looked up", lambda m: m.without(Verification, "r-cost")),
        ("R-QUOTE-2", "an altered quote", _changing(
            Verification, "r-cost", verdict="altered", diff="[-61.0-]{+52.1+}")),
        ("R-QUOTE-2", "a quote found elsewhere", _changing(
            Verification, "r-cost", verdict="misattributed", found_in=B)),
        ("R-QUOTE-2", "a quote not found", _changing(Verification, "r-cost", verdict="not-found")),
        ("R-QUOTE-2", "a quote in a scan", _changing(Verification, "r-cost", verdict="unverifiable")),
        ("R-QUOTE-3", "a number altered, and the verdict typed in", _changing(Row, "r-cost", quote=COST.replace("52.1", "42.1"))),
        ("R-QUOTE-3", "a word altered", _changing(Row, "r-cost", quote=COST.replace("raises", "lowers"))),
        ("R-QUOTE-3", "a negation slipped in", _changing(Row, "r-reason", quote=REASON.replace("find that", "do not find that"))),
        ("R-QUOTE-3", "another page", _changing(Verification, "r-reason", page=1, page_end=1)),
        ("R-QUOTE-3", "another section", _changing(Verification, "r-reason", section="5 Discussion")),
        ("R-QUOTE-3", "a quote said to run on", _changing(Verification, "r-reason", page_end=3)),
        ("R-QUOTE-3", "a true quote called not found", _changing(Verification, "r-reason", verdict="not-found")),
        ("R-QUOTE-3", "words of an abstract altered", _changing(
            Row, "r-cost", basis="abstract", quote=COST.replace("raises", "lowers"))),
        ("R-QUOTE-7", "no document at hand", lambda m: replace(m, texts={})),
        ("R-QUOTE-7", "a document that is another file now", lambda m: _gone(m, SHA[B])),
        ("R-QUOTE-7", "a proof of another file", lambda m: _gone(_proved(m, document_sha256="ef" * 32), SHA[B])),
        ("R-QUOTE-7", "a proof of other words", lambda m: _gone(_proved(m, quote=COST), SHA[B])),
        ("R-QUOTE-7", "a proof of another page", lambda m: _gone(_proved(m, page="1"), SHA[B])),
        ("R-QUOTE-7", "a proof that did not find it", lambda m: _gone(_proved(m, **{"re-verified": False}), SHA[B])),
        ("R-QUOTE-4", "no page", _changing(Verification, "r-cost", page=None, page_end=None)),
        ("R-QUOTE-4", "no section", _changing(Verification, "r-cost", section="")),
        ("R-QUOTE-4", "no document", _changing(Verification, "r-cost", document=None)),
        ("R-QUOTE-5", "another policy since", lambda m: m.rule(supporting_papers=2)),
        ("R-QUOTE-5", "one quote under another policy", _changing(Verification, "r-cost", policy="ab" * 32)),
        ("R-QUOTE-6", "verified by hand", _changing(Verification, "r-cost", checker="me")),
        ("R-QUOTE-6", "verified by nobody", _changing(Verification, "r-cost", checker="")),
        ("R-SCORE-4", "the seed's rule", lambda m: m.rule(quotes="seed-2026")),
        ("R-SCORE-4", "the seed's rule, and everything looked up under it", lambda m: m.rule(quotes="seed-2026").change(
            Verification, "r-cost", policy=m.rule(quotes="seed-2026").policy.hash)),
        # 4 Claims against quotes
        ("R-FID-1", "another number", _changing(Claim, "c-cost", text="Removing 4 of 30 layers raises the perplexity of SmolLM2 to 62.1.")),
        ("R-FID-1", "the opposite direction", _changing(
            Claim, "c-reason", text="Removing 2 layers raises the accuracy of SmolLM2 on long reasoning to 4.5%.")),
        ("R-FID-1", "another model", _changing(Claim, "c-cost", text="Removing 4 of 30 layers raises the perplexity of Llama to 52.1.")),
        ("R-FID-3", "a claim about something else", _changing(Claim, "c-cost", text="Attention heads specialise early in training.")),
        ("R-FID-3", "the quote of another claim", _changing(Row, "r-same", quote=COST)),
        ("R-FID-2", "a disagreement that was struck out", _changing(
            Claim, "c-cost", text="Removing 4 of 30 layers raises the perplexity of SmolLM2 to 62.1.")),
        ("R-FID-2", "a disagreement that is none", _changing(Verification, "r-reason", disagreements=(
            Disagreement(what="number", claim="4.5%", quote="31.0%"),))),
        ("R-CLAIM-1", "background as a finding", _changing(
            Claim, "c-cost", text="Prior work has treated layer redundancy as a property of the network.")),
        ("R-CLAIM-1", "a contribution as a finding", _changing(
            Claim, "c-cost", text="The paper introduces a new way of removing layers.")),
        ("R-CLAIM-1", "a finding that quotes background alone", lambda m: m.change(
            Claim, "c-reason", text="Reasoning depends on depth.").change(Row, "r-reason", quote="Reasoning needs depth.")),
        ("R-CLAIM-2", "background reported", _saying(
            "The abstract reports: Reasoning needs depth, and so on; see below. The paper reports: We study layer pruning of language models.")),
        ("R-CLAIM-2", "a method reported", _written(
            "reports that removing 2 layers lowers the accuracy of SmolLM2 on long reasoning from 31.0% to 4.5%",
            "reports that we study layer pruning of language models")),
        ("R-CONS-1", "a result called unstated", _written("| 2301.00009v1 | not stated |", "| 2402.00002v1 | not stated in abstract |")),
        ("R-CONS-1", "results called unreported", _saying("For 2402.00002v1 no evaluation was found: results are not reported.")),
        ("R-CONS-2", "background under results", _written("| not stated |", "| Language models are large. |")),
        ("R-CONS-2", "a method under results", _written(
            "| Removing 4 of 30 layers raises the perplexity of SmolLM2 from 30.4 to 52.1 on held-out text. |",
            "| We study depth pruning of language models. |")),
        ("R-NUM-1", "a number of a row that is not verified", lambda m: m.without(Verification, "r-reason")),
        ("R-NUM-1", "a number that no row quotes", lambda m: m.change(
            PaperVersion, B, abstract=f"We study layer pruning of language models. {REASON} It is 3.5x faster.").said(
            "2402.00002v1 is 3.5x faster.")),
        # 5 Scope, screening and coverage
        ("R-SCOPE-1", "another object, in by its category", lambda m: m.change(
            Screening, OUT, decision="include", reason="category-match", criterion="I1")),
        ("R-SCOPE-1", "another intervention", lambda m: m.change(
            PaperVersion, B, title="Quantizing language models", abstract="We quantize language models.").change(
            Screening, B, facets={"object": "language models"})),
        ("R-SCOPE-1", "a direction without facets", _aiming(facets=())),
        ("R-SCOPE-2", "one verdict for all", lambda m: _all_alike(m, "in-scope: taxonomy category match")),
        ("R-SCOPE-2", "everything excluded for one reason", lambda m: _all_alike(m, "off-topic", "exclude")),
        ("R-SCOPE-3", "no criterion", _changing(Screening, B, criterion="")),
        ("R-SCOPE-3", "included by a criterion for exclusion", _changing(Screening, B, criterion="E1")),
        ("R-SCOPE-3", "its criterion contradicted", _changing(
            Screening, OUT, decision="include", reason="close", criterion="I1")),
        ("R-SCOPE-4", "no words recorded", _changing(Screening, B, facets={"object": "language models"})),
        ("R-SCOPE-4", "words that are not in the paper", _changing(
            Screening, B, facets={"object": "language models", "intervention": "depth pruning of LLMs"})),
        ("R-SCOPE-4", "words that are not of the facet", _changing(
            Screening, B, facets={"object": "language models", "intervention": "accuracy"})),
        ("R-SCREEN-1", "a paper nobody screened", lambda m: m.without(Screening, OUT)),
        ("R-SCREEN-1", "excluded for no reason", _changing(Screening, OUT, criterion="", note="")),
        ("R-SCREEN-1", "excluded by a criterion that does not exist", _changing(Screening, OUT, criterion="E9")),
        ("R-SCREEN-2", "evidence from an excluded paper", _changing(
            Screening, B, decision="exclude", reason="off-topic", criterion="E1")),
        ("R-SCREEN-2", "evidence from a paper kept as background", _changing(
            Screening, B, decision="background", reason="survey", criterion="B1")),
        ("R-PRISMA-1", "one paper more collected", _written("4 papers were collected", "5 papers were collected")),
        ("R-PRISMA-1", "a wrong step of the flow", _written("- Screened: 4", "- Screened: 3")),
        ("R-PRISMA-1", "a wrong total", _written("of 4 found", "of 7 found")),
        ("R-PRISMA-1", "an inclusion taken back", _changing(Screening, B, decision="exclude", reason="off-topic", criterion="E1")),
        ("R-COVER-1", "a promise without a row", _aiming(
            thesis="Removing layers of SmolLM2 raises its perplexity (perplexity, early exit, reasoning).")),
        ("R-COVER-1", "a condition without a row", _aiming(
            thesis="Removing layers raises perplexity (perplexity, reasoning), under which training regimes it matters.")),
        ("R-COVER-2", "an anchor that nobody screened", lambda m: m.change(PaperVersion, A, references=(SURVEY, _CITED)).change(
            PaperVersion, B, references=(SURVEY, _CITED))),
        ("R-COVER-2", "an anchor collected, not screened", lambda m: m.without(Screening, SURVEY)),
        # 6 Text and synthesis
        ("R-BOILER-1", "rows without a check", lambda m: m.without(Verification, "r-same")),
        ("R-BOILER-1", "rows without a page", _changing(Verification, "r-same", page=None, page_end=None)),
        ("R-BOILER-2", "every claim, one unverified", lambda m: m.said(
            "Every claim is verified.").change(Verification, "r-same", verdict="not-found")),
        ("R-BOILER-2", "a table that is not there", _saying("Every claim made in the Results table was verified.")),
        ("R-BOILER-2", "every supported claim, and none is", lambda m: m.rule(supporting_papers=5)),
        ("R-BOILER-3", "several, where it is all", _saying("Several rows are verified.")),
        ("R-BOILER-3", "all, where it is not", _changing(Verification, "r-same", verdict="not-found")),
        ("R-BOILER-3", "audited, and needs work", _saying("It was audited in seven rounds.\n\n- Audit status: needs work")),
        ("R-BOILER-3", "an independent review by one program", lambda m: m.said(
            "An independent review was made.").tampered(_one_person)),
        ("R-RQ-1", "a piece of a bibliography", _question(
            "Hybridnorm: Towards stable training. arXiv preprint arXiv:2503.04598, 2025. Layer redundancy is a challenge.")),
        ("R-RQ-1", "no question mark", _question("How much does removing layers cost a language model")),
        ("R-RQ-1", "three words", _question("How much layers?")),
        ("R-RQ-3", "a question without a claim", lambda m: m.aim(questions=(
            *m.direction.questions, ResearchQuestion(id="RQ2", text="Which layers can be removed from a language model?")))),
        ("R-RQ-3", "claims that answer nothing", lambda m: m.change(Claim, "c-cost", questions=()).change(
            Claim, "c-reason", questions=()).change(Claim, "c-same", questions=())),
        ("R-RQ-2", "an answer to RQ2", _saying("RQ1/RQ2 cannot be answered yet.")),
        ("R-RQ-2", "no questions at all", _aiming(questions=())),
        ("R-RENDER-1", "LaTeX", _saying(r"It is \textbf{Grad}ient based.")),
        ("R-RENDER-1", "mathematics", _saying(r"It gives an average $4\times$ speedup.")),
        ("R-RENDER-1", "cut in a word", _saying("This is about dynamic layer-specif…")),
        ("R-RENDER-1", "a template's mark", _saying("There are {{ count }} rows.")),
        ("R-RENDER-2", "LaTeX in a claim", _changing(Claim, "c-cost", text=r"Removing 4 layers costs $4\times$.")),
        ("R-RENDER-2", "a claim that is cut off", _changing(Claim, "c-cost", text="Removing 4 of 30 layers raises the perpl…")),
        ("R-NUM-2", "rows flagged, none named", _saying("4 preliminary row(s) contain numerical language.")),
        ("R-NUM-2", "fewer in the footnote than counted", _saying("4 rows need a second look.[^1]")),
        ("R-NUM-2", "fewer named than counted", _written("r-cost, r-reason, r-same.", "r-cost and others.")),
        ("R-NUM-3", "a wrong count", _written("Verified rows: 3/3", "Verified rows: 4/4")),
        ("R-NUM-3", "a wrong count in a list", _written("supported 3, withdrawn 1", "supported 4, withdrawn 1")),
        ("R-NUM-3", "a wrong count in a table", _written("| verified | 3[^2] of 3 |", "| verified | 2[^2] of 3 |")),
        ("R-NUM-3", "a wrong total", _written("- supported: 3[^2] of 4", "- supported: 3[^2] of 5")),
        ("R-NUM-3", "a count that was right", _changing(Verification, "r-same", verdict="not-found")),
        ("R-CITE-1", "a paper that does not exist", _saying("See also 2412.99999v1.")),
        ("R-CITE-1", "a version that does not exist", _written("2402.00002v1, r-reason", "2402.00002v8, r-reason")),
        ("R-STATE-1", "a claim that fell back", _changing(Verification, "r-reason", verdict="not-found")),
        ("R-STATE-1", "a withdrawn claim that is still made", _adding(Withdrawal(what="c-reason", reason="wrong"))),
        ("R-CONTRA-1", "a verified row against it", lambda m: _against(m, "c-cost")),
        ("R-CONTRA-1", "nothing but a row against it", _changing(Row, "r-reason", relation="contradicts")),
        ("R-CONTRA-2", "another outcome", _adding(_claim("c-other", "Removing 4 of 30 layers raises the perplexity of SmolLM2 to 61.0."))),
        ("R-CONTRA-2", "the opposite", _adding(
            _claim("c-other", "Removing 4 of 30 layers lowers the perplexity of SmolLM2 to 52.1."))),
        ("R-CONTRA-2", "more than the limit", _adding(
            _claim("c-most", "At most 2 of 30 layers of SmolLM2 can be removed."))),
        ("R-CONTRA-2", "steps that differ", _adding(
            _claim("c-one", "QLoRA recovery needs 100-500 steps."), _claim("c-two", "QLoRA recovery needs 300-500 steps."))),
        ("R-CONTRA-2", "unexplored, with a figure", _adding(
            _claim("c-one", "Zero-shot pruning remains unexplored."),
            _claim("c-two", "Pruning with no fine-tuning keeps 75-80% of the performance."))),
        ("R-CONTRA-2", "a trend that its figures deny", _adding(
            _claim("c-one", "Larger models have more redundant layers."),
            _claim("c-two", "LLaMA-2-7B keeps 94.2% of its performance at 50% removal."),
            _claim("c-three", "LLaMA-2-70B keeps 91.8% of its performance at 50% removal."))),
        ("R-CONTRA-3", "two numbers for one thing", _saying(
            "Fine-tuning needs 100-500 steps. Elsewhere fine-tuning needs 300-500 steps. Fine-tuning needs 300-500 steps.")),
        ("R-CONTRA-3", "yes and no", _saying("Fine-tuning restores reasoning.\n\nFine-tuning does not restore reasoning.")),
        ("R-ABST-1", "a conclusion beyond doubt", _written(
            "Removing layers of SmolLM2 raises its perplexity.", "Removing layers always raises perplexity in every model.")),
        ("R-ABST-1", "a thesis and nothing supported", lambda m: m.rule(supporting_papers=5)),
        # 7 Reproducibility and gate
        ("R-SCORE-2", "a threshold in the text", _saying("It exits 0 when proof_score >= 0.5.")),
        ("R-SCORE-2", "a similarity in the text", _saying("A quote counts at a token-level Jaccard ≥ 0.6.")),
        ("R-SCORE-2", "a proof under another policy", lambda m: m.written(m.policy.hash, "ab" * 32, "paper/proof.json")),
        ("R-SCORE-2", "a floor of the run's own", _run('{"policy"', '{"floor": 0.55, "policy"')),
        ("R-SCORE-2", "a run's file that is damaged", _run('{"policy"', '{policy')),
        ("R-SCORE-3", "a proof of nothing that passed", _proof('"supported": 3, "score": "3/3"', '"supported": 0, "score": "1.0"')),
        ("R-SCORE-3", "correctness over nothing", _run('"count": 3', '"count": 0')),
        ("R-SCORE-3", "0/0 in the text", _saying("Supported-claim precision: 0/0.")),
        ("R-SCORE-5", "a pass and nothing verified", lambda m: m.change(
            Verification, "r-cost", verdict="not-found").change(Verification, "r-reason", verdict="not-found").change(
            Verification, "r-same", verdict="not-found")),
        ("R-SCORE-5", "a pass over unsaid many", _written("Ledger integrity, 3 rows: pass", "Ledger integrity: pass")),
        ("R-DET-1", "the clock's date", _written("Draft generated 2026-05-20", "Draft generated 2026-06-05")),
        ("R-DET-1", "deterministic without hashes", lambda m: m.without(Document, A)),
        ("R-GATE-1", "no supported claim", lambda m: m.rule(supported_claims=4)),
        ("R-GATE-1", "too few papers", lambda m: m.rule(papers=3)),
        ("R-FILE-1", "a file that is not there", _saying("The references are in references.bib.")),
        ("R-FILE-1", "the matrix was deleted", lambda m: replace(
            m, artifacts={name: text for name, text in m.artifacts.items() if name != "evidence_matrix.csv"})),
        ("R-FILE-2", "a row that is missing", _matrix("c-same,supported,r-same,verified\n", "")),
        ("R-FILE-2", "a status typed over", _changing(Verification, "r-same", verdict="not-found")),
        ("R-FILE-2", "a row too many", _matrix("c-same,supported,r-same,verified", "c-same,supported,r-same,verified\nc-x,supported,r-x,verified")),
        ("R-FILE-3", "the last line taken out", lambda m: m.tampered(lambda events: events[:-1])),
        ("R-FILE-3", "rendered from another ledger", lambda m: m.written(m.events[-1].id, "ef" * 32, "production_run.json")),
        ("R-FILE-3", "a history that was written anew", lambda m: m.tampered(_one_person)),
        ("R-FILE-3", "rendered from nobody knows what", _run('"heads"', '"head"')),
        ("R-PROOF-1", "a claim that was not found again", _proof('"c-same", "re-verified": true', '"c-same", "re-verified": false')),
        ("R-PROOF-1", "another matrix than it was made from", _matrix("row_status\n", "row_status\n\n")),
        ("R-PROOF-1", "a claim that is not in the proof", _proof(', {"claim": "c-same", "re-verified": true}', "")),
        ("R-PROOF-1", "a claim that is not supported any more", _changing(Verification, "r-same", verdict="not-found")),
        ("R-REPL-1", "told without its verdict", _written(" Measured here: inconclusive.", "")),
        ("R-REPL-1", "another verdict since", _changing(Replication, "c-same", verdict="not replicated")),
        ("R-REPL-2", "another check since", _changing(
            Claim, "c-same", check={"expression": 'jaccard(masks, within="objective") > 0.3'})),
        ("R-REPL-2", "replicated on too few", _changing(Replication, "c-same", verdict="replicated", count=1)),
        ("R-REPL-2", "an effect outside its interval", _changing(Replication, "c-same", effect=0.9)),
        ("R-REPL-2", "replicated without an effect", _changing(Replication, "c-same", verdict="replicated", effect=None)),
        ("R-REPL-3", "not replicated", _changing(Replication, "c-same", verdict="not replicated")),
        ("R-REPL-3", "replicated once, and then not", lambda m: m.plus(
            Replication(claim="c-same", expression="x", study=STUDY, verdict="not replicated", effect=0.1, count=9))),
        ("R-REPL-4", "a check never run", lambda m: m.without(Replication, "c-same")),
        ("R-REPL-4", "another claim's check never run", _changing(Claim, "c-cost", check={"expression": "delta(ppl) > 0"})),
    )
)  # fmt: skip


def _all_alike(material: Material, reason: str, decision: str = "include") -> Material:
    for paper in (A, B, OUT, SURVEY):
        material = material.change(
            Screening, paper, decision=decision, reason=reason, criterion="", note="", facets={}
        )  # fmt: skip
    return material


def _gone(material: Material, sha256: str) -> Material:
    """With a document that is not at hand."""
    return replace(material, texts={sha: pages for sha, pages in material.texts.items() if sha != sha256})


def _proved(material: Material, **values: Any) -> Material:
    """With a proof that looked r-reason up again, and says otherwise of it."""
    row = {"row": "r-reason", "quote": REASON, "document_sha256": SHA[B], "page": "2", "re-verified": True, **values}
    proof = json.loads(material.artifacts["paper/proof.json"]) | {"demo_sha256": hashlib.sha256(script()).hexdigest()}
    proof["claims"][1]["rows"] = [row]
    return replace(material, artifacts={**material.artifacts, "paper/proof.json": json.dumps(proof)})


def _against(material: Material, claim: str) -> Material:
    return material.plus(
        Row(id="r-against", claim=claim, paper=B, version="v1", quote=REASON, relation="contradicts"),
        Verification(
            row="r-against", verdict="verified", document=SHA[B], page=2, page_end=2, section="3",
            checker="lpk 0.1.0", policy=material.policy.hash,
        ),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# How many are found
# ---------------------------------------------------------------------------------------------------------------------


@cache
def mutants_hash() -> str:
    """Of the clean ledger and of all mutants, as they are made."""
    return digest([clean().digest(), [[each.rule, each.what, each.make(clean()).digest()] for each in MUTANTS]])


def try_rules(rules: Iterable[Rule[Any]]) -> MutationScore:
    """Which mutants the rules find, and whether they find anything in the clean ledger."""
    by_id = {rule.id: rule for rule in rules}
    made: dict[str, int] = {}
    survived, alarms, blind = [], [], []
    for mutant in MUTANTS:
        rule = by_id.get(mutant.rule)
        if rule is not None:
            made[rule.id] = made.get(rule.id, 0) + 1
            (examined,) = audit(mutant.make(clean()).snapshot(), [rule]).rules
            if not examined.findings:
                survived.append(f"{rule.id}: {mutant.what}")
    whole = audit(clean().snapshot(), list(by_id.values()))
    for examined in whole.rules:
        alarms += [f"{examined.rule}: {found.message}" for found in examined.findings]
        blind += [examined.rule] if not examined.count else []
    return MutationScore(made, tuple(survived), tuple(alarms), tuple(blind), mutants_hash())
