"""Every defect that was found in a draft of May 2026 is caught in that draft's ledger (tests/data/seed-ledger)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import Lpk

from lpk.core.evidence.audit import Audit, Examined, full_audit, rules
from lpk.core.evidence.audit import audit as run
from lpk.core.evidence.english.conflicts import conflict, denied
from lpk.core.evidence.ledger import Ledger
from lpk.core.evidence.records import Claim, Row
from lpk.core.registry import installed
from lpk.testing.mutants import MUTANTS, A, clean

SEED = Path(__file__).parent / "data" / "seed-ledger"

#: defect -> what the finding must name, and words of its message.
DEFECTS = {
    "R-BOILER-1": ({"r-2604", "r-2411", "r-2510", "r-2406", "r-2602"}, "said to have a locator; 5 of 5 have none"),
    "R-BOILER-2": ({"c-2604", "c-2411", "c-2510", "c-2406", "c-2602"}, "5 of 5 have no verified row"),
    "R-BOILER-3": (
        {"r-2604", "r-2411", "r-2510", "r-2406", "r-2602"},
        "Several rows are said to be abstract-derived; 5 of 5",
    ),
    "R-RQ-1": ({"RQ1"}, "has a piece of a bibliography"),
    "R-RQ-2": (set(), "RQ2 is not among the questions"),
    "R-ID-1": ({"auto-deep-llms-layer"}, "'cs-ai/deep-llm-layer-redundancy'"),
    "R-ID-2": ({"auto-deep-llms-layer"}, "'Deep LLMs Layer' is garbled"),
    "R-RENDER-1": (set(), "layer-specif…"),
    "R-SCOPE-1": ({"arxiv:2406.07929"}, "Signal Modulation Recognition"),
    "R-SCOPE-2": ({"arxiv:2604.24938", "arxiv:2406.07929"}, "taxonomy category match"),
    "R-SCOPE-3": ({"arxiv:2406.07929"}, "must explicitly discuss Deep LLMs"),
    "R-COVER-1": ({"auto-deep-llms-layer"}, "'MoE inactivity'"),
    "R-COVER-2": ({"arxiv:2403.03853"}, "was not screened"),
    "R-CLAIM-1": ({"c-2411"}, "its text is method"),
    "R-CLAIM-2": (
        {"arxiv:2604.24938"},
        "'Depth pruning improves the inference efficiency of large lan' is reported as a finding",
    ),
    "R-CONS-1": ({"arxiv:2602.14649"}, "said to state no result"),
    "R-CONS-2": ({"arxiv:2406.07929"}, "it is background"),
    "R-NUM-1": ({"arxiv:2602.14649", "r-2602"}, "no verified row quotes it"),
    "R-NUM-2": (set(), "4 row(s) are flagged, and 0 named"),
    "R-VER-1": ({"r-2604"}, "v3 is out; its title is now 'Rethinking Layer Redundancy: Calibration Matters More"),
    "R-META-1": (set(), "arxiv:2411.03513v1 does not name Dumitru, Clotan, Yadav, Peteleaza, Surdeanu"),
    "R-SCORE-2": (set(), "proof_score >= 0.5"),
    "R-SCORE-4": ({"policy.toml"}, "'seed-2026'"),
    "R-SCORE-5": (set(), "no row is verified"),
    "R-DET-1": ({"r-2604", "r-2411", "r-2510", "r-2406", "r-2602"}, "not fixed by a hash"),
    "R-ABST-1": ({"ledger.toml"}, "no claim is supported"),
}
#: More of the same, each a part of a defect: (rule, what it must name, words).
PARTS = (
    ("R-BOILER-2", set(), "there is no Findings table"),
    ("R-BOILER-3", set(), "said to be audited"),
    ("R-BOILER-3", set(), "a review is called independent; all was written by paper_research.py"),
    ("R-RENDER-1", set(), r"\\textbf{Grad}"),
    ("R-RENDER-1", set(), r"$4\\times$"),
    ("R-COVER-1", set(), "'early exit'"),
    ("R-COVER-1", set(), "'skipping'"),
    ("R-COVER-1", set(), "'training regimes'"),
    ("R-COVER-2", {"arxiv:2402.09025"}, "was not screened"),
    ("R-CLAIM-1", {"c-2406"}, "background"),
    ("R-CLAIM-1", {"c-2510"}, "background"),
    ("R-CLAIM-1", {"c-2602"}, "background"),
    ("R-CONS-2", {"arxiv:2411.03513"}, "it is method"),
    ("R-NUM-1", {"arxiv:2411.03513", "r-2411"}, "5 %"),
    ("R-VER-1", {"r-2604"}, "6 authors, not 8"),
    ("R-SCORE-2", set(), "Jaccard ≥ 0.6"),
    ("R-SCORE-2", {"production_run.json"}, "floor of its own: 0.5"),
)


@pytest.fixture(scope="module")
def seed() -> Audit:
    return full_audit(Ledger(SEED).snapshot(), installed())


def _found(rule: Examined, names: set[str], words: str) -> bool:
    return any(words in found.message and names <= set(found.subjects) for found in rule.findings)


@pytest.mark.parametrize(
    ("code", "names", "words"), [(code, *wanted) for code, wanted in DEFECTS.items()] + list(PARTS)
)
def test_a_defect_of_the_seed_is_caught(seed: Audit, code: str, names: set[str], words: str) -> None:
    (rule,) = [rule for rule in seed.rules if rule.rule == code]
    assert _found(rule, names, words), [found.message for found in rule.findings]


def test_only_the_paper_on_radio_is_out_of_scope(seed: Audit) -> None:
    (rule,) = [rule for rule in seed.rules if rule.rule == "R-SCOPE-1"]
    assert [found.subjects for found in rule.findings] == [("arxiv:2406.07929",)]


#: Defects of the program that wrote the draft, not of what it wrote: caught in the mutants that have them.
OF_THE_PROGRAM = ("R-SCORE-1", "R-SCORE-3", "R-VER-2")


@pytest.mark.parametrize("code", OF_THE_PROGRAM)
def test_a_defect_of_the_seeds_program_is_caught(code: str) -> None:
    (rule,) = [rule for rule in rules(installed()) if rule.id == code]
    for mutant in MUTANTS:
        if mutant.rule == code:
            assert run(mutant.make(clean()).snapshot(), [rule]).blocking, mutant.what


def test_all_defects_are_here() -> None:
    listed = (
        "BOILER-1 BOILER-2 BOILER-3 RQ-1 RQ-2 ID-1 RENDER-1 SCOPE-1 SCOPE-2 SCOPE-3 COVER-1 COVER-2 CLAIM-1 CLAIM-2 CONS-1 "
        "CONS-2 NUM-1 NUM-2 VER-1 VER-2 META-1 SCORE-1 SCORE-2 SCORE-3 SCORE-4 SCORE-5 DET-1 ABST-1"
    )
    assert {f"R-{code}" for code in listed.split()} <= {*DEFECTS, *OF_THE_PROGRAM}


def test_an_empty_quote_never_passes_as_the_seeds_did() -> None:
    """Its reports called an empty quote a substring with overlap 1.0."""
    made = clean().change(Row, "r-cost", quote="")
    (examined,) = run(made.snapshot(), [rule for rule in rules(installed()) if rule.id == "R-SCORE-1"]).rules
    assert [found.message for found in examined.findings] == ["row r-cost has no quote, and yet it passed as verified"]


def test_the_seeds_ledger_is_blocked_by_the_command(lpk: Lpk, tmp_path: Path) -> None:
    shutil.copytree(SEED, tmp_path / "seed")
    done = lpk("audit", tmp_path / "seed")
    assert done.returncode == 1
    assert "blocked" in done.stdout.splitlines()[0]


# -- what another draft said of 2403.17887, in its words, shortened ---------------------------------------------------

REVIEW = {
    "c-band": "At most 22 of 80 layers of LLaMA-2-70B can be removed.",
    "c-half": "Removing 40 of 80 layers of LLaMA-2-70B keeps 91.8% of its performance.",
    "c-steps-a": "QLoRA recovery needs 100-500 steps.",
    "c-steps-b": "QLoRA recovery needs 300-500 steps.",
    "c-steps-c": "QLoRA recovery needs 400-500 steps.",
    "c-zero": "Zero-shot pruning is still unexplored.",
    "c-none": "Pruning with no fine-tuning keeps 75-80% of the performance.",
    "c-larger": "Larger models contain more redundant layers.",
    "c-small": "LLaMA-2-7B keeps 94.2% of its performance at 50% removal.",
    "c-large": "LLaMA-2-70B keeps 91.8% of its performance at 50% removal.",
}


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ("c-band", "c-half", "limit: 40 of 80 is more than 22 of 80"),
        ("c-steps-a", "c-steps-b", "number: 100-500 against 300-500"),
        ("c-steps-b", "c-steps-c", "number: 300-500 against 400-500"),
        ("c-zero", "c-none", "unexplored: 75-80% is given for it"),
        ("c-small", "c-large", ""),
        ("c-small", "c-half", ""),
        ("c-larger", "c-small", ""),
    ],
)
def test_a_review_that_contradicts_itself(first: str, second: str, why: str) -> None:
    assert conflict(REVIEW[first], REVIEW[second]) == why
    assert bool(conflict(REVIEW[second], REVIEW[first])) == bool(why)


def test_figures_that_deny_a_trend() -> None:
    trend, small, large = (REVIEW[name] for name in ("c-larger", "c-small", "c-large"))
    assert denied(trend, small, large) == denied(trend, large, small) == "trend: at 7B it is 94.2, at 70B 91.8"
    assert not denied("Larger models contain fewer redundant layers.", small, large)
    assert not denied(trend, small, REVIEW["c-half"])


def test_the_audit_names_the_claims_that_contradict_each_other() -> None:
    stated = [Claim(id=name, text=text) for name, text in REVIEW.items()]
    (examined,) = run(
        clean().plus(*stated).snapshot(), [rule for rule in rules(installed()) if rule.id == "R-CONTRA-2"]
    ).rules
    named = {frozenset(found.subjects) for found in examined.findings}
    assert named == {
        frozenset({"c-band", "c-half"}),
        frozenset({"c-steps-a", "c-steps-b"}),
        frozenset({"c-steps-a", "c-steps-c"}),
        frozenset({"c-steps-b", "c-steps-c"}),
        frozenset({"c-zero", "c-none"}),
        frozenset({"c-larger", "c-small", "c-large"}),
    }


def test_authors_in_the_wrong_order_are_told() -> None:
    """Another draft had the five authors of 2403.17887 in an order of its own."""
    right = "Andrey Gromov, Kushal Tirumala, Hassan Shapourian, Paolo Glorioso, Daniel A. Roberts"
    wrong = "Andrey Gromov, Paolo Glorioso, Kushal Tirumala, Hassan Shapourian, Daniel A. Roberts"
    from lpk.core.evidence.records import PaperVersion

    made = clean().change(PaperVersion, A, authors=tuple(right.split(", ")))
    rule = [rule for rule in rules(installed()) if rule.id == "R-META-1"]
    assert not run(made.written("Ada Lovelace, Alan Turing", right).snapshot(), rule).rules[0].findings
    (found,) = run(made.written("Ada Lovelace, Alan Turing", wrong).snapshot(), rule).rules[0].findings
    assert "in another order: Gromov, Tirumala, Shapourian, Glorioso, Roberts" in found.message
