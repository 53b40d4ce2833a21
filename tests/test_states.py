"""Statuses follow from records: each way down, and that nothing but verification leads up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import QUOTE, SHA, snapshot, supported_records

from lpk.core.evidence.ledger import Snapshot
from lpk.core.evidence.policy import Policy
from lpk.core.evidence.records import (
    Claim,
    Disagreement,
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
from lpk.core.evidence.states import Standing, Status, of_claim

POLICY = Policy.model_validate({})
PAPER = "arxiv:2401.00001"


def standing(ledger: Snapshot) -> Standing:
    return of_claim(ledger, ledger.claims["c-1"])


def checked(**values: Any) -> Verification:
    said = {"row": "r-1", "verdict": "verified", "document": SHA, "page": 3, "section": "4", "checker": "x"}
    return Verification.model_validate({**said, "policy": POLICY.hash, **values})


def without(kind: type[Record]) -> list[Record]:
    return [record for record in supported_records() if not isinstance(record, kind)]


def test_supported() -> None:
    assert standing(snapshot(supported_records())) == Standing(Status.SUPPORTED, "by r-1")


@pytest.mark.parametrize(
    ("records", "status", "why"),
    [
        (without(Row), "candidate", "no row"),
        (without(Verification), "linked", "not looked up"),
        (without(Screening), "verified", f"not screened in: {PAPER}"),
        ([*supported_records(), Screening(paper=PAPER, decision="exclude", reason="off")], "verified", "not screened"),
        ([*supported_records(), Claim(id="c-1", text="It raises nothing.")], "linked", "stated anew"),
        (
            [*supported_records(), Row(id="r-1", claim="c-1", paper=PAPER, version="v1", quote="Another quote of it.")],
            "linked",
            "stated anew",
        ),
        ([*supported_records(), Claim(id="c-1", text="Removing layers raises perplexity."), checked()], "supported", "by r-1"),
        ([*supported_records(), checked(about="ef" * 32)], "linked", "stated anew"),
        (
            [*supported_records(), Claim(id="c-1", text="The moon is made of cheese."), checked()],
            "located",
            "no word in common",
        ),
        ([*supported_records(), checked(section="")], "located", "section could not be told"),
        ([*supported_records(), checked(page=None)], "located", "page could not be told"),
        (
            [*supported_records(), checked(disagreements=[Disagreement(what="number", claim="53", quote="52.1")])],
            "located",
            "number: '53', '52.1' in the quote",
        ),
        ([*supported_records(), checked(verdict="altered", reason="a number")], "rejected", "altered: a number"),
        ([*supported_records(), checked(verdict="unverifiable", reason="a scan")], "unverifiable", "a scan"),
        ([*supported_records(), Withdrawal(what="c-1", reason="wrong")], "withdrawn", "wrong"),
        ([*supported_records(), Withdrawal(what="r-1", reason="wrong")], "withdrawn", "r-1: wrong"),
        ([*supported_records(), Withdrawal(what=PAPER, reason="gone")], "withdrawn", "gone"),
        *(
            ([*supported_records(), Withdrawal(what=what, reason="x"), Restoration(what=what, reason="y")], "supported", "r-1")
            for what in ("c-1", "r-1", PAPER)
        ),
        (
            [*supported_records(), *(make(what="c-1", reason="x") for make in (Withdrawal, Restoration, Withdrawal))],
            "withdrawn",
            "x",
        ),
        (
            [*supported_records(), PaperVersion(paper=PAPER, version="v2", title="Depth pruning, again")],
            "stale",
            "v2 is out",
        ),
        (
            [*supported_records(), PaperVersion(paper=PAPER, version="v1", title="Depth", withdrawn="an error")],
            "withdrawn",
            "was withdrawn: an error",
        ),
        (
            [
                *supported_records(),
                Document(
                    paper=PAPER, version="v1", sha256="cd" * 32, file="x.md", media="text/markdown", pages=5,
                    text_sha256=SHA, reader="lpk/text 1",
                ),
            ],
            "stale",
            "document has changed",
        ),
        (
            [*supported_records(), Row(id="r-1", claim="c-1", paper=PAPER, version="v1", basis="abstract", quote=QUOTE)],
            "preliminary-linked",
            "abstract",
        ),
        (
            [
                *supported_records(),
                Row(id="r-2", claim="c-1", paper=PAPER, version="v1", quote="It stays.", relation="contradicts"),
                checked(row="r-2"),
            ],
            "contested",
            "r-2",
        ),
        (
            [
                *supported_records(),
                Row(id="r-1", claim="c-1", paper=PAPER, version="v1", quote=QUOTE, relation="contradicts"),
                checked(),
            ],
            "contradicted",
            "r-1",
        ),
        (
            [
                *supported_records(),
                Row(id="r-1", claim="c-1", paper=PAPER, version="v1", quote=QUOTE, relation="qualifies"),
                checked(),
            ],
            "verified",
            "neither support nor contradict",
        ),
    ],
)  # fmt: skip
def test_every_way_down(records: list[Record], status: str, why: str) -> None:
    found = standing(snapshot(records))
    assert found.status == status
    assert why in found.why


def test_the_policy_decides_how_much_is_enough() -> None:
    two = Policy.model_validate({"supporting_papers": 2})
    assert standing(snapshot(supported_records(), policy=two)).why == "1 of 2 papers that the policy asks for"
    page = Policy.model_validate({"locator": "page"})
    records = [*supported_records(), checked(section="")]
    assert standing(snapshot(records, policy=page)).status is Status.SUPPORTED


@given(st.lists(st.integers(0, len(supported_records()) - 1), unique=True), st.sampled_from(list(Verdict)))
def test_no_support_without_every_step(kept: list[int], verdict: Verdict) -> None:
    """Supported only with a screened paper, a read document, a claim, a row, and a good verdict: none may be missing."""
    records = [supported_records()[number] for number in sorted(kept)]
    records = [
        record.model_copy(update={"verdict": verdict}) if isinstance(record, Verification) else record
        for record in records
    ]
    ledger = snapshot(records)
    supported = [claim for claim in ledger.claims.values() if of_claim(ledger, claim).status is Status.SUPPORTED]
    everything = {type(record) for record in supported_records()}
    needed = everything - {PaperVersion}
    assert bool(supported) <= (verdict.good and needed <= {type(record) for record in records})


def test_a_row_of_an_unread_document_is_not_verified() -> None:
    assert standing(snapshot(without(Document))).status is not Status.SUPPORTED
    assert isinstance(snapshot(without(Document)).claims["c-1"], Claim)
