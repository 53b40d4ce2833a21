"""Ledgers for property tests: any records that fit the schema, with words that try to break out of their place."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from lpk.core.evidence.policy import Policy
from lpk.core.evidence.records import (
    Claim,
    Direction,
    Document,
    PaperVersion,
    Record,
    Replication,
    Restoration,
    Row,
    Screening,
    Verdict,
    Verification,
    Withdrawal,
)

POLICY = Policy.model_validate({})
PAPERS = tuple(f"arxiv:2401.0000{number}" for number in range(5))
CLAIMS = tuple(f"c-{number}" for number in "abcde")
ROWS = tuple(f"r-{number}" for number in "abcdefgh")

#: Words that are harmless alone, and such that mean something to Markdown, HTML, TeX, CSV, RIS or a terminal.
_HARMLESS = ["layers", "removing", "perplexity", "harms", "accuracy", "40%", "3.5", "12", "models", "and", "et al."]
_MARKDOWN = [
    "# head", "\n\n## head", "| a | b |", "|---|", "`code`", "[link](https://evil.example)", "![x](y)", "*bold*", "_it_",
    "~~x~~", "[^1]", "[^1]: note", "> quote", "- item", "1. one", "https://evil.example/x", "www.evil.example", "---", "===",
    "```", "<b>", "</table>", "<script>alert(1)</script>", "&amp;",
]  # fmt: skip
_OTHERS = [
    "$x^2$", "\\textbf{x}", "{{ 7 * 7 }}", "{% raw %}", "=1+1", "+1", "-1", "@SUM(A1)", "\t=2", "\r=3", '"', "'", ",", ";", "}",
    "{", "\\", "\nER  - ", "\nTY  - JOUR", "\x00", "\x1b[31m", "\u202eevil", "\u2028", "\x85", "\u200b", "de la Cruz",
]  # fmt: skip
_WORDS = st.sampled_from([*_HARMLESS, *_MARKDOWN, *_OTHERS])
TEXTS = st.lists(_WORDS, min_size=1, max_size=6).map(" ".join).filter(str.strip)


def _versions() -> st.SearchStrategy[PaperVersion]:
    return st.builds(
        PaperVersion,
        paper=st.sampled_from(PAPERS),
        version=st.sampled_from(["", "v1", "v2"]),
        title=TEXTS,
        authors=st.lists(TEXTS, max_size=3).map(tuple),
        published=st.sampled_from(["", "2024-01-31"]),
        updated=st.sampled_from(["", "2025-12-01"]),
        abstract=TEXTS | st.just(""),
        categories=st.sampled_from([(), ("cs.CL",)]),
        venue=TEXTS | st.just(""),
        url=st.sampled_from(["", "https://arxiv.org/abs/2401.00001v1", "javascript:alert(1)", "https://a.example/x>y"]),
        licence=st.sampled_from(["", "CC0"]),
        withdrawn=TEXTS | st.just(""),
        references=st.lists(st.sampled_from([*PAPERS, "doi:10.1/x"]), max_size=2).map(tuple),
        source=st.sampled_from(["", "lpk/arxiv"]),
    )


def _verifications(verdict: st.SearchStrategy[Any]) -> st.SearchStrategy[Verification]:
    return st.builds(
        Verification,
        row=st.sampled_from(ROWS),
        verdict=verdict,
        document=st.sampled_from([None, "ab" * 32]),
        page=st.sampled_from([None, 3]),
        page_end=st.sampled_from([None, 3, 4]),
        section=TEXTS | st.just(""),
        reason=TEXTS | st.just(""),
        diff=TEXTS | st.just(""),
        checker=st.just("lpk 0.1.0"),
        policy=st.sampled_from([POLICY.hash, "0" * 64]),
    )


_RECORDS: dict[str, st.SearchStrategy[Any]] = {
    "versions": _versions(),
    "screenings": st.builds(
        Screening,
        paper=st.sampled_from(PAPERS),
        decision=st.sampled_from(["include", "include", "exclude", "background"]),
        reason=st.sampled_from(["in-scope", "off-topic", "duplicate"]) | TEXTS,
        criterion=st.sampled_from(["", "I1"]),
        note=TEXTS | st.just(""),
        facets=st.dictionaries(TEXTS, TEXTS, max_size=1),
    ),
    "documents": st.builds(
        Document,
        paper=st.sampled_from(PAPERS),
        version=st.sampled_from(["", "v1"]),
        sha256=st.just("ab" * 32),
        file=st.just("abab.pdf"),
        media=st.sampled_from(["application/pdf", "text/markdown"]),
        pages=st.just(9),
        text_layer=st.booleans(),
        text_sha256=st.just("ab" * 32),
        reader=st.just("lpk/pdf 1"),
    ),
    "claims": st.builds(
        Claim,
        id=st.sampled_from(CLAIMS),
        text=TEXTS,
        type=st.sampled_from(["background", "method", "finding", "limitation"]),
        questions=st.sampled_from([(), ("RQ1",), ("RQ1", "RQ2")]),
    ),
    "rows": st.builds(
        Row,
        id=st.sampled_from(ROWS),
        claim=st.sampled_from([*CLAIMS, "c-gone"]),
        paper=st.sampled_from(PAPERS),
        version=st.sampled_from(["", "v1"]),
        basis=st.sampled_from(["abstract", "full-text", "full-text", "table"]),
        relation=st.sampled_from(["supports", "supports", "contradicts", "qualifies", "background"]),
        quote=TEXTS | st.just(""),
    ),
    "good": _verifications(st.sampled_from([Verdict.VERIFIED, Verdict.VERIFIED_ELIDED])),
    "verifications": _verifications(st.sampled_from(list(Verdict))),
    "replications": st.builds(
        Replication,
        claim=st.sampled_from(CLAIMS),
        expression=TEXTS,
        study=st.just("cd" * 32),
        models=st.lists(TEXTS, max_size=2).map(tuple),
        verdict=st.sampled_from(["replicated", "not replicated", "inconclusive", "out of scope"]),
        effect=st.none() | st.floats(-9, 9),
        low=st.none() | st.floats(-9, 0),
        high=st.none() | st.floats(0, 9),
        count=st.integers(0, 99),
        reason=TEXTS | st.just(""),
    ),
    "withdrawals": st.builds(Withdrawal, what=st.sampled_from([*PAPERS, *CLAIMS, *ROWS]), reason=TEXTS),
    "restorations": st.builds(Restoration, what=st.sampled_from([*PAPERS, *CLAIMS, *ROWS]), reason=TEXTS),
}


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    """Records in an order that a person could write them in."""
    most = {"withdrawals": 1, "restorations": 1, "replications": 2}
    drawn = [draw(st.lists(strategy, max_size=most.get(name, 6))) for name, strategy in _RECORDS.items()]
    return [record for listed in drawn for record in listed]


def directions() -> st.SearchStrategy[Direction]:
    """Directions, with and without facets, criteria and questions."""
    questions = [{"id": "RQ1", "text": "How much does it cost?"}, {"id": "RQ2", "text": "Why # so | much?"}]
    return st.builds(
        lambda title, thesis, asked, keywords: Direction.model_validate(
            {"id": "made-up", "title": title, "thesis": thesis, "questions": questions[:asked], "keywords": keywords}
        ),
        TEXTS,
        TEXTS | st.just(""),
        st.integers(0, 2),
        st.lists(TEXTS, max_size=2),
    )
