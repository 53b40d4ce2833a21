# ruff: noqa: RUF001 (typographic characters are what is tested)
"""Claims against quotes: what says more is found, what says the same in other words is let pass."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpk.core.evidence.english.clauses import items
from lpk.core.evidence.english.fidelity import HEDGED, PLAIN, UNIVERSAL, disagreements, quantities, sentences, strength
from lpk.core.evidence.english.statements import read
from lpk.core.evidence.english.vocabulary import BOUNDS, DIRECTIONS, HEDGES, LIGHT, NEGATIONS, QUANTIFIERS

DATA = Path(__file__).parent / "data"


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


CASES = rows("fidelity_cases.jsonl")
CLAUSES = rows("clause_cases.jsonl")
ALTERED = rows("altered_quotes.jsonl")
KINDS = ("number", "unit", "direction", "negation", "entity", "hedge", "quantifier")


def kinds(claim: str, quote: str) -> set[str]:
    return {disagreement.what for disagreement in disagreements(claim, quote)}


# ---------------------------------------------------------------------------------------------------------------------
# The labelled pairs
# ---------------------------------------------------------------------------------------------------------------------


def measured(half: str) -> tuple[float, dict[str, tuple[float, float]]]:
    """The share of faithful claims that are let pass, and (precision, recall) of each kind."""
    right, named, there, faithful = Counter[str](), Counter[str](), Counter[str](), [0, 0]
    for case in CASES:
        if case["half"] == half:
            found = kinds(case["claim"], case["quote"])
            named.update(found)
            there[case["kind"]] += 1
            right[case["kind"]] += case["kind"] in found
            if case["kind"] == "faithful":
                faithful[bool(found)] += 1
    return faithful[0] / sum(faithful), {kind: (right[kind] / named[kind], right[kind] / there[kind]) for kind in KINDS}


def test_the_cases_are_enough_and_of_every_kind() -> None:
    for half in ("dev", "held-out"):
        of = Counter(case["kind"] for case in CASES if case["half"] == half)
        assert sum(of.values()) >= 120
        assert min(of[kind] for kind in KINDS) >= 7
        assert of["faithful"] >= 50
    quotes = {half: {case["quote"] for case in CASES if case["half"] == half} for half in ("dev", "held-out")}
    assert not quotes["dev"] & quotes["held-out"]


# The held-out pairs were never looked at: the rules were made on the others.
@pytest.mark.parametrize(
    ("half", "passed", "precision", "recall"), [("dev", 0.97, 0.85, 0.9), ("held-out", 0.9, 0.85, 0.85)]
)
def test_precision_and_recall_hold(half: str, passed: float, precision: float, recall: float) -> None:
    faithful, of = measured(half)
    print(half, f"{faithful:.3f}", {kind: f"{p:.2f}/{r:.2f}" for kind, (p, r) in of.items()})
    assert faithful >= passed
    for kind, (p, r) in of.items():
        assert p >= precision, (kind, p)
        assert r >= recall, (kind, r)


# What a figure is of, in its clause: names exchanged, start for end, whole for part, a limit for a value, another thing
# counted, denied in other words than "not", a cause for a correlation. Nobody looked at the held-out ones that fail.
IN_CLAUSES = ("exchanged", "role", "share", "bound", "counted", "denied", "cause")


def test_the_cases_of_clauses_are_of_every_kind() -> None:
    for half in ("dev", "held-out"):
        of = Counter(case["kind"] for case in CLAUSES if case["half"] == half)
        assert of.keys() == {"faithful", *IN_CLAUSES}
        assert of["faithful"] >= 40
        assert min(of.values()) >= 9
    quotes = {half: {case["quote"] for case in CLAUSES if case["half"] == half} for half in ("dev", "held-out")}
    assert not quotes["dev"] & quotes["held-out"]


@pytest.mark.parametrize(("half", "accepted", "rejected"), [("dev", 0.03, 0.02), ("held-out", 0.07, 0.07)])
def test_few_false_claims_are_let_pass_and_few_true_ones_stopped(half: str, accepted: float, rejected: float) -> None:
    missed: dict[str, list[bool]] = {}
    for case in CLAUSES:
        if case["half"] == half:
            faithful = case["kind"] == "faithful"
            missed.setdefault(case["kind"], []).append(bool(disagreements(case["claim"], case["quote"])) == faithful)
    print(half, {kind: f"{sum(each)}/{len(each)}" for kind, each in missed.items()})
    false = [each for kind in IN_CLAUSES for each in missed[kind]]
    assert sum(false) / len(false) <= accepted
    assert sum(missed["faithful"]) / len(missed["faithful"]) <= rejected


@pytest.mark.parametrize("case", ALTERED, ids=lambda case: f"{case['id']}-{case['kind']}")
def test_no_altered_quote_agrees_with_its_source(case: dict[str, str]) -> None:
    found = kinds(case["quote"], case["source"])
    assert found
    # "no benefit" for "a clear benefit" is labelled a quantifier and "can" for "should not" a hedge: both deny, too
    expected = {
        "quantifier": {"quantifier", "negation", "direction"},
        "hedge": {"hedge", "negation"},
        "order": {"number"},
    }
    assert found & expected.get(case["kind"], {case["kind"]})


# ---------------------------------------------------------------------------------------------------------------------
# Laws
# ---------------------------------------------------------------------------------------------------------------------

OTHERS = (
    "than|over|compared with|by|,|.|;|(|)|and|the|model|Llama-2-7B|GSM8K|accuracy|perplexity|5%|62.4|from|to|that"
    "|neither|nor|only|almost never|inconsistently|9 of 32 blocks|unstable|is outperformed by|1–3 points|10^7"
    "|LaCo|SLEB reaches|58.4|from 66.5%|to 62.1%|by 2 points|of 40 tasks|3,000 documents|while|versus|on PIQA|and 12.7"
    "|far from|leads to|correlates with"
)
PHRASES = [
    *(word for sides in DIRECTIONS.values() for side in sides for word in side.split("|")),
    *(word for words in QUANTIFIERS.values() for word in words.split("|")),
    *(word for words in BOUNDS.values() for word in words.split("|")),
    *NEGATIONS.split("|"),
    *HEDGES.split("|"),
    *LIGHT.split("|"),
    *OTHERS.split("|"),
]
MADE_UP = st.lists(st.sampled_from(PHRASES), max_size=14).map(" ".join)
WRITTEN = st.sampled_from([text for case in CASES for text in (case["claim"], case["quote"])])


@given(MADE_UP | WRITTEN | st.text(max_size=60))
@settings(max_examples=500)
def test_a_text_agrees_with_itself(text: str) -> None:
    assert disagreements(text, text) == ()


# A hedge within another ("cannot may be excluded") or before its "to" ("up appear to 5%") is no English.
UNHEDGED = [case for case in CASES if not read(case["claim"]).hedges + read(case["claim"]).mild]


@given(
    st.sampled_from(UNHEDGED), st.sampled_from(sorted(set(HEDGES.split("|")) - set(NEGATIONS.split("|")))), st.data()
)
@settings(max_examples=1000)
def test_a_hedge_more_in_the_claim_adds_no_disagreement(case: dict[str, str], hedge: str, data: st.DataObject) -> None:
    words = case["claim"].split()
    place = data.draw(st.sampled_from([n for n in range(len(words) + 1) if words[n : n + 1] not in (["to"], ["at"])]))
    hedged = " ".join([*words[:place], hedge, *words[place:]])
    assert kinds(hedged, case["quote"]) <= kinds(case["claim"], case["quote"])


@given(st.text(max_size=200) | st.lists(WRITTEN, max_size=3).map(" ".join))
def test_sentences_lose_nothing(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


@given(st.text(max_size=100))
def test_any_text_can_be_read(text: str) -> None:
    disagreements(text, "Llama-2-7B does not improve by 5%.")
    disagreements("Llama-2-7B does not improve by 5%.", text)
    assert strength(text) in (HEDGED, PLAIN, UNIVERSAL)
    quantities(text)


# ---------------------------------------------------------------------------------------------------------------------
# The parts
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "quote", "expected"),
    [
        ("a share of 0.05", "a share of 5%", ""),
        ("a gain of 5%", "a gain of 5 points", "unit"),
        ("it is 62%", "it is 62.4%", ""),
        ("it is 62.4%", "it is 62%", "number"),
        ("it is 5.0%", "it is 5%", "number"),
        ("it is 63%", "it is 62.4%", "number"),
        ("1,024 tokens", "1024 tokens", ""),
        ("it takes 2 days", "it takes 48 hours", ""),
        ("it takes 31 s", "it takes 31 ms", "unit"),
        ("four times faster", "4× faster", ""),
        ("from 17.2 to 5.8", "from 5.8 to 17.2", "number"),
        ("to 5.8 from 17.2", "from 17.2 to 5.8", ""),
        ("more than 5 layers", "less than 5 layers", "direction"),
        ("X does not improve accuracy", "X improves accuracy", "negation"),
        ("X isn't useful", "X is useful", "negation"),
        ("X is not unstable", "X is stable", ""),
        ("X does not degrade accuracy", "X never degrades accuracy", ""),
        ("accuracy is not improved by X", "X fails to improve accuracy", ""),
        ("X not only improves accuracy", "X improves accuracy", ""),
        ("X has no effect", "X has an effect", "negation"),
        ("Bert-Large is used", "BERT-large is used", ""),
        ("Llama 2 7B is used", "Llama-2-7B is used", ""),
        ("Llama-2-13B is used", "Llama-2-7B is used", "entity"),
        ("we use PEFT", "we use parameter-efficient fine-tuning", ""),
        ("X outperforms Y on accuracy", "Y underperforms X on accuracy", ""),
        ("SLEB outperforms LaCo", "LaCo outperforms SLEB", "direction"),
        ("X reduces cost", "X may reduce cost", "hedge"),
        ("X lowers cost", "X may reduce cost", "hedge"),
        ("X may lower cost", "X may reduce cost", ""),
        ("all models fail", "some models fail", "quantifier"),
        ("some models fail", "all models fail", ""),
        ("not all models fail", "some models fail", ""),
        ("X always helps", "X often helps", "quantifier"),
        ("X proves helpful", "X is helpful", "hedge"),
        ("SLEB reaches 62.1", "LaCo reaches 62.1 and SLEB 58.4", "entity"),
        ("SLEB reaches 58.4", "LaCo reaches 62.1 and SLEB 58.4", ""),
        ("SLEB, unlike LaCo, reaches 62.1", "SLEB reaches 62.1, and LaCo 58.4", ""),
        ("at 30% it is 62.1", "at 10% it is 62.1 and at 30% it is 58.4", "number"),
        ("accuracy reaches 66.5%", "accuracy falls from 66.5% to 62.1%", "number"),
        ("accuracy falls to 5%", "accuracy falls by 5%", "number"),
        ("we remove 32 blocks", "we remove 2 of 32 blocks", "number"),
        ("we remove blocks of a model of 32 blocks", "we remove 2 of 32 blocks", ""),
        ("it drops by 2 points", "it stays within 2.0 points", "hedge"),
        ("it has 14 documents", "it has 3,000 documents in 14 languages", "number"),
        ("it takes 4096 GPUs", "it takes 4096 seconds", "unit"),
        ("X is robust", "X is far from robust", "negation"),
        ("X works poorly", "X does not work well", ""),
        ("X leads to Y", "X correlates with Y", "hedge"),
        ("X leads to Y", "X causes Y and correlates with Z", ""),
        ("at least 5% of the layers go", "up to 5% of the layers go", "direction"),
        ("up to 500 steps suffice", "at least 500 steps suffice", "direction"),
        ("more than 8 layers make it fall", "up to 8 layers go before it falls", ""),
        ("5% of the heads can go", "5% of the layers can go", "entity"),
        ("5% of the model's blocks can go", "5% of the layers can go", ""),
        ("5% of the layers can go", "of the layers 5% can go", ""),
        ("X lowers the perplexity", "X lowers the accuracy", "entity"),
        ("X lowers the ppl", "X lowers the perplexity", ""),
        ("X lowers accuracy", "X lowers accuracy and perplexity", ""),
        ("the original model is slow", "the pruned model is slow", "entity"),
        ("it halves latency", "it doubles latency", "direction"),
        (
            "GSM8K accuracy falls by 2.0 points",
            "GSM8K collapses to 4.2%, but MMLU accuracy falls by 2.0 points",
            "entity",
        ),
        ("C4 perplexity is 12.4", "Perplexity is 12.4 on C4, BoolQ accuracy falls by 2 points", ""),
        ("X recovers GSM8K", "X recovers MMLU but not GSM8K", "negation"),
        ("X recovers MMLU", "X recovers MMLU but not GSM8K", ""),
    ],
)
def test_single_disagreements(claim: str, quote: str, expected: str) -> None:
    assert kinds(claim, quote) == set(expected.split())


def test_a_disagreement_shows_both_sides() -> None:
    found = disagreements("Latency falls by 30% on GSM8K.", "Latency rises by 20% on PIQA.")
    assert {(one.what, one.claim, one.quote) for one in found} == {
        ("number", "30 %", "20 %"),
        ("direction", "falls", "rises"),
        ("entity", "GSM8K", ""),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,900, of which 1,024, and so on", [(1900.0, "", ""), (1024.0, "", "")]),
        ("Wanda 1.9, Llama 3.1", [(1.9, "", "")]),
        ("4 A100s, 16 attention heads", [(4.0, "GPUs", ""), (16.0, "heads", "")]),
        ("within 2 points, not more than 3%", [(2.0, "points", "at most"), (3.0, "%", "at most")]),
        ("up to 5% over the baseline", [(5.0, "%", "up to")]),
        ("1–3 percentage points", [(1.0, "points", ""), (3.0, "points", "")]),
        ("9 of 32 blocks", [(9.0, "layers", ""), (32.0, "layers", "")]),
        ("one or two layers", [(1.0, "layers", ""), (2.0, "layers", "")]),
        ("about two thirds", [(pytest.approx(200 / 3), "%", "about")]),
        ("up to half of it, in half precision", [(50.0, "%", "up to")]),
        ("ρ = −0.78 and p<0.05", [(-0.78, "", ""), (0.05, "", "at most")]),
        ("3.2×10⁻³ s, 10^7 candidates, 1e-4", [(0.0032, "s", ""), (1e7, "", ""), (1e-4, "", "")]),
        ("a 40GB A100 and a 7B model", [(40.0, "GB", ""), (7e9, "parameters", "")]),
        ("20 million tokens or 128k tokens", [(2e7, "tokens", ""), (128e3, "tokens", "")]),
        ("a $4\\times$ speedup, twice as fast, a factor of 2.7", [(4.0, "x", ""), (2.0, "x", ""), (2.7, "x", "")]),
        ("Llama-2-7B, Mistral 7B, GSM8K, version 0.4.7", []),
        ("0.4 points at most", [(0.4, "points", "at most")]),
        ("the score of layer 5", [(5.0, "layers", "")]),
    ],
)
def test_quantities(text: str, expected: list[Any]) -> None:
    assert [(found.value, found.unit, found.bound) for found in quantities(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from 66.5% to 62.1%", ["from", "to"]),
        ("to 62.1 from an initial 66.5", ["to", "from"]),
        ("a 2-point drop, a drop of 3%, 4 ms shorter, by about 5", ["by", "by", "by", "by"]),
        ("by 2 to 3 points", ["by", "by"]),
        ("10 to 50%, equal to 5, a loss of 2.9, on 7 tasks", ["", "", "", "", ""]),
        ("2 of 32 blocks, 5 out of the 12 runs", ["part", "whole", "part", "whole"]),
        ("Of 40 tasks, 3 degrade.", ["whole", "part"]),
        ("9 in every 10 prompts", ["part", "whole"]),
        ("256 sequences of 2048 tokens, an accuracy of 62.1", ["", "", ""]),
    ],
)
def test_what_part_a_figure_plays(text: str, expected: list[str]) -> None:
    assert [found.share or found.course for found in quantities(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LaCo reaches 62.1 on PIQA and SLEB 58.4.", "LaCo 62.1 PIQA|SLEB 58.4"),
        ("LaCo (62.1) beats SLEB (58.4).", "LaCo 62.1|SLEB 58.4"),
        ("It is 62.1 on PIQA and BoolQ, but 58.4 for SLEB.", "62.1 PIQA BoolQ|58.4 SLEB"),
        ("LaCo, which is cheap, falls from 66.5 to 62.1.", "LaCo 66.5 62.1"),
        ("LaCo and SLEB reach 62.1 and 58.4.", "LaCo 62.1|SLEB 58.4"),
        ("The dense model takes 31 ms, the pruned one 22 ms.", "dense 31 ms|pruned 22 ms"),
        ("It went from 81.5 with LaCo to 77.9 with SLEB.", "81.5 LaCo|77.9 SLEB"),
        ("The student reaches 62.1 and the teacher 66.5.", "student 62.1|teacher 66.5"),
    ],
)
def test_cells(text: str, expected: str) -> None:
    cells: dict[int, list[str]] = {}
    for item in items(text):
        cells.setdefault(item.cell, []).append(item.text)
    assert "|".join(" ".join(cell) for _, cell in sorted(cells.items())) == expected


@pytest.mark.parametrize(
    "text",
    [
        "We use e.g. Llama 2, cf. Fig. 3.|Kim et al. 2024 agree.",
        "It takes 3.5 s.|Version 0.4.7 is used.|See Eq. (2).",
        "J. Smith and K. L. Jones wrote it.|They agree (see Sec. 4).",
        "Does it help?|Yes!|No. 5 is best.",
        "It is shown in Table A.|The rest is not.",
        "It holds [3, 4].|“So it does.”|Then it ends",
        "Accuracy vs. latency, i.e. Both count.|It is 5%.|7 of 9 do.",
    ],
)
def test_sentences(text: str) -> None:
    assert sentences(text.replace("|", " ")) == tuple(text.split("|"))


def test_an_empty_line_ends_a_sentence() -> None:
    assert sentences("A title without a stop\n\nThe text\ngoes on.") == ("A title without a stop", "The text\ngoes on.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pruning may hurt reasoning.", HEDGED),
        ("Gains are up to 5%.", HEDGED),
        ("Most models degrade.", HEDGED),
        ("Pruning hurts reasoning.", PLAIN),
        ("Pruning always hurts reasoning.", UNIVERSAL),
        ("This proves that layers are redundant.", UNIVERSAL),
        ("All layers may be redundant.", HEDGED),
    ],
)
def test_strength(text: str, expected: int) -> None:
    assert strength(text) == expected
