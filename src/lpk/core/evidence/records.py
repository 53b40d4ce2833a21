"""The records of a ledger: what people and plugins write down about papers, claims and quotes.

Each is a value that never changes; a ledger is a list of events that carry them (``events.py``), and what is true now is
folded from these (``ledger.py``). What can be derived is derived, never typed: a record has no field for a status.
"""

from __future__ import annotations

import hashlib
import json
import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

_PAPER = re.compile(r"[a-z][a-z0-9-]*:[A-Za-z0-9](?:[A-Za-z0-9._()/;:<>-]*[A-Za-z0-9)>])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


#: A DOI may be as long as it likes; a file's name may not.
_LONGEST = 200


def _paper_id(value: str) -> str:
    if len(value) > _LONGEST or not _PAPER.fullmatch(value) or ".." in value or "//" in value:
        shown = value if len(value) <= 60 else f"{value[:60]}..."
        raise ValueError(f"{shown!r} is no paper id; it is like arxiv:2604.24938, doi:10.1000/182 or local:my-notes")
    return value


def _sha256(value: str) -> str:
    if not _SHA256.fullmatch(value):
        raise ValueError("a SHA-256 is 64 hexadecimal digits")
    return value


def _stated(value: str) -> str:
    if not value.strip():
        raise ValueError("it is empty")
    return value


#: ``scheme:name``: arxiv, doi, openalex, s2, local, study. Never a path.
PaperId = Annotated[str, AfterValidator(_paper_id)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
Stated = Annotated[str, AfterValidator(_stated)]


class Record(BaseModel):
    """A value that is written to the ledger."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    #: The word for it in ``events.jsonl``.
    KIND: ClassVar[str] = ""

    def canonical(self) -> dict[str, Any]:
        """What is written: JSON values, without what is at its default."""
        return self.model_dump(mode="json", exclude_defaults=True)


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value: keys sorted, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# What is looked for
# ---------------------------------------------------------------------------------------------------------------------


class Facet(Record):
    """Something that a paper must be about to be in scope; it holds where one of its words is found."""

    name: Stated = Field(description="what it is, e.g. object, intervention")
    words: tuple[Stated, ...] = Field(min_length=1, description="any of these, case-insensitive, as whole words")


class Criterion(Record):
    """A rule for including or excluding a paper."""

    id: Stated = Field(description="a short code, e.g. I1 or E2")
    decision: Literal["include", "exclude", "background"]
    text: Stated


class ResearchQuestion(Record):
    """A question that the ledger is to answer."""

    id: Stated = Field(description="e.g. RQ1")
    text: Stated


class Direction(Record):
    """A research direction: ``[direction]`` in ``ledger.toml``."""

    id: Stated
    title: Stated
    category: str = Field("", description="its place in a taxonomy, e.g. cs-ai/deep-llm-layer-redundancy")
    thesis: str = Field("", description="what the draft sets out to show; its strength is audited")
    facets: tuple[Facet, ...] = Field((), description="all must hold for a paper to be in scope")
    keywords: tuple[Stated, ...] = ()
    criteria: tuple[Criterion, ...] = ()
    questions: tuple[ResearchQuestion, ...] = ()


class Beginning(Record):
    """The first event of a ledger; every other one follows it."""

    KIND: ClassVar[str] = "beginning"

    direction: Stated = Field(description="the id of its direction")


# ---------------------------------------------------------------------------------------------------------------------
# Papers
# ---------------------------------------------------------------------------------------------------------------------


class PaperVersion(Record):
    """One version of a paper, as a source describes it."""

    KIND: ClassVar[str] = "paper"

    paper: PaperId
    version: str = Field("", pattern=r"^(v[1-9][0-9]*)?$", description="v1, v2 ...; empty where a source has none")
    title: Stated
    authors: tuple[Stated, ...] = Field((), description="in the paper's order")
    published: str = Field("", description="date of the first version, YYYY-MM-DD")
    updated: str = Field("", description="date of this version, YYYY-MM-DD")
    abstract: str = ""
    categories: tuple[str, ...] = ()
    venue: str = ""
    doi: str = ""
    url: str = ""
    pdf_url: str = ""
    licence: str = ""
    note: str = ""
    withdrawn: str = Field("", description="why, where it is withdrawn or retracted")
    citations: int | None = Field(None, ge=0, description="how often it was cited, by the source's count")
    references: tuple[PaperId, ...] = Field((), description="the papers it cites, as far as the source knows")
    source: str = Field("", description="the qualified name of the source, e.g. lpk/arxiv")

    @property
    def number(self) -> int:
        """Versions in order; 0 where there is no number."""
        return int(self.version[1:] or 0) if self.version else 0

    @property
    def name(self) -> str:
        """``arxiv:2604.24938v2``."""
        return self.paper + self.version


class Screening(Record):
    """A decision about a paper. A later one takes its place; nothing is deleted."""

    KIND: ClassVar[str] = "screening"

    paper: PaperId
    decision: Literal["include", "exclude", "background"]
    reason: Stated = Field(description="a code, e.g. off-topic, not-llm, no-evaluation, duplicate, in-scope")
    criterion: str = Field("", description="the id of the direction's criterion that decided")
    note: str = ""
    facets: dict[str, str] = Field({}, description="facet -> the words of title or abstract that show it")


class FirstPage(Record):
    """What the first page of a full text shows of the paper that it is said to be (``firstpage.py``)."""

    title: bool = Field(False, description="whether it has the paper's title")
    arxiv: str = Field("", description="the id that arXiv stamped on it, of whatever paper")
    doi: str = Field("", description="the paper's DOI, if it is printed")
    begins: str = Field("", description="its first words")


class Document(Record):
    """A full text that was read: which bytes, and what reading them gave."""

    KIND: ClassVar[str] = "document"

    paper: PaperId
    version: str = ""
    sha256: Sha256 = Field(description="of the file")
    file: Stated = Field(description="its name in the ledger's papers/ folder")
    media: str = Field(description="application/pdf, text/markdown, text/plain or text/csv")
    pages: int = Field(ge=0)
    text_layer: bool = Field(True, description="False for a scan: its quotes are unverifiable")
    text_sha256: Sha256 = Field(description="of the text that was read")
    reader: str = Field(description="what read it, with versions")
    first_page: FirstPage | None = Field(None, description="of a text with words; None where nobody looked")

    @field_validator("file")
    @classmethod
    def _no_path(cls, value: str) -> str:
        if "/" in value or "\\" in value or value.startswith("."):
            raise ValueError(f"{value!r} is no plain file name")
        return value


# ---------------------------------------------------------------------------------------------------------------------
# Claims and their evidence
# ---------------------------------------------------------------------------------------------------------------------


class Check(Record):
    """What makes a claim run: an expression over the tables of a pruning study (``checks/``)."""

    expression: Stated
    tolerance: float = Field(0.0, ge=0)
    models: tuple[str, ...] = Field((), description="patterns of model names that the claim is about; empty: any")
    measure: str = Field("", description="a measure the study must have, e.g. piqa")
    minimum: int = Field(2, ge=1, description="observations that the expression needs at least")


class Claim(Record):
    """A sentence that the draft may state, once it is supported."""

    KIND: ClassVar[str] = "claim"

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,63}$")
    text: Stated
    type: Literal["background", "method", "finding", "limitation"] = "finding"
    questions: tuple[str, ...] = Field((), description="the research questions that it answers")
    check: Check | None = None

    @staticmethod
    def id_of(text: str) -> str:
        """The id of a claim that was not given one: two people who state it meet."""
        return f"c-{hashlib.sha256(' '.join(text.split()).encode()).hexdigest()[:8]}"


class Row(Record):
    """A quote from a paper that bears on a claim."""

    KIND: ClassVar[str] = "row"

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,63}$")
    claim: str
    paper: PaperId
    version: str = ""
    basis: Literal["abstract", "full-text", "table"] = "full-text"
    relation: Literal["supports", "contradicts", "qualifies", "background"] = "supports"
    quote: str = Field("", description="the paper's words; for a study's table, the row")
    page: int | None = Field(None, ge=1, description="the page that it is claimed to be on, counted from 1")
    section: str = Field("", description="the number or title of the section that it is claimed to be in")

    @staticmethod
    def id_of(claim: str, paper: str, version: str, quote: str) -> str:
        """The id of a row that was not given one."""
        return f"r-{digest([claim, paper, version, ' '.join(quote.split())])[:8]}"


class Verdict(StrEnum):
    """What came of looking for a quote."""

    VERIFIED = "verified"
    VERIFIED_ELIDED = "verified-elided"
    ALTERED = "altered"
    MISATTRIBUTED = "misattributed"
    LOCATOR_MISMATCH = "locator-mismatch"
    AMBIGUOUS = "ambiguous"
    TOO_SHORT = "too-short"
    NOT_FOUND = "not-found"
    UNVERIFIABLE = "unverifiable"

    @property
    def good(self) -> bool:
        """Whether the words are there, where they are said to be."""
        return self in (Verdict.VERIFIED, Verdict.VERIFIED_ELIDED)


class Disagreement(Record):
    """A way in which a claim says something else than its quote."""

    what: Literal["number", "unit", "direction", "negation", "entity", "hedge", "quantifier"]
    claim: str = Field(description="what the claim says")
    quote: str = Field(description="what the quote says; empty: nothing")


class Verification(Record):
    """A row looked up in the full text: written by code alone."""

    KIND: ClassVar[str] = "verification"

    row: str
    verdict: Verdict
    document: Sha256 | None = Field(None, description="of the file it was looked up in")
    page: int | None = Field(None, ge=1)
    page_end: int | None = Field(None, ge=1)
    section: str = ""
    prefix: str = Field("", description="the words before it, for W3C's TextQuoteSelector")
    suffix: str = ""
    rects: tuple[tuple[int, float, float, float, float], ...] = Field((), description="(page, x0, y0, x1, y1), points")
    reason: str = ""
    diff: str = Field("", description="of an altered quote: [-what the quote has-]{+what the paper has+}")
    found_in: str = Field("", description="of a misattributed quote: the paper that has it")
    disagreements: tuple[Disagreement, ...] = Field((), description="claim against quote")
    checker: str = Field(description="what checked, with version")
    about: str = Field("", description="the digest of the claim's text and the row that were checked")
    policy: str = Field(description="the hash of the policy that it was checked under")


class Withdrawal(Record):
    """A claim, row or paper taken back; what was written stays in the history."""

    KIND: ClassVar[str] = "withdrawal"

    what: Stated = Field(description="the id of a claim, a row or a paper")
    reason: Stated


class Restoration(Record):
    """A withdrawal undone: the claim, row or paper is again as far as its evidence brings it."""

    KIND: ClassVar[str] = "restoration"

    what: Stated = Field(description="the id of what was withdrawn")
    reason: Stated


class Replication(Record):
    """A claim's check, evaluated on a study."""

    KIND: ClassVar[str] = "replication"

    claim: str
    expression: Stated
    study: Sha256 = Field(description="of the study's tables")
    title: str = ""
    models: tuple[str, ...] = ()
    verdict: Literal["replicated", "not replicated", "inconclusive", "out of scope"]
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = Field(0, ge=0, description="observations that it rests on")
    needed: int | None = Field(None, description="of an inconclusive one: about how many would decide")
    reason: str = ""


#: kind -> record.
RECORDS: dict[str, type[Record]] = {
    kind.KIND: kind
    for kind in (
        Beginning,
        PaperVersion,
        Screening,
        Document,
        Claim,
        Row,
        Verification,
        Withdrawal,
        Restoration,
        Replication,
    )
}
