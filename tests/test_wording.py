"""Word diffs: nothing of either text is lost, and what differs has the right name."""

# ruff: noqa: RUF001 (typographic characters are what is tested)
from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lpk.core.evidence.english.wording import KINDS, difference, plain, stem, tokens

DATA = Path(__file__).parent / "data"

VOCABULARY = (
    "the of model layers pruning 5% 0.05 12 (n=3) Llama-2-7B GSM8K not improves degrades may all some . , faster × "
    "−0.3 “quoted” ofﬂine e.g. 40GB don't $4\\times$"
)
WORDS = st.sampled_from(VOCABULARY.split())
TEXTS = st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=40)


@given(TEXTS, TEXTS)
def test_the_parts_give_back_both_texts(quote: str, found: str) -> None:
    parts = difference(quote, found).parts
    assert " ".join(part for part, _ in parts if part) == " ".join(quote.split())
    assert " ".join(part for _, part in parts if part) == " ".join(found.split())


@given(TEXTS)
def test_a_text_does_not_differ_from_itself(text: str) -> None:
    assert difference(text, text).kinds == ()
    assert difference(text, text).diff == " ".join(text.split())


@given(TEXTS, TEXTS)
def test_what_differs_has_a_class(quote: str, found: str) -> None:
    there = difference(quote, found)
    assert set(there.kinds) <= set(KINDS)
    assert bool(there.kinds) == any("" in part for part in there.parts)


@given(st.lists(WORDS, max_size=12).map(" ".join), st.lists(WORDS, max_size=12).map(" ".join))
@example("0.05", "0.05 . layers")  # a mark that only one has, between a figure and what it could count
@example(". of −0.3 layers don't degrades", "layers −0.3 ,")  # aligned in another way from the other side
def test_it_is_the_same_both_ways(quote: str, found: str) -> None:
    assert difference(quote, found).kinds == difference(found, quote).kinds


@given(st.lists(WORDS, min_size=2, max_size=8, unique=True))
def test_the_same_words_in_another_order(words: list[str]) -> None:
    if "." in words or "," in words:
        return
    assert difference(" ".join(words), " ".join(reversed(words))).kinds == ("order",)


@pytest.mark.parametrize(
    ("quote", "found", "diff", "kinds"),
    [
        (
            "falls by 40.0%.",
            "falls by 40.0 percentage points.",
            "falls by [-40.0%.-]{+40.0 percentage points.+}",
            "unit",
        ),
        ("it is 5 times faster", "it is 6 times faster", "it is [-5-]{+6+} times faster", "number"),
        ("3 layers", "three layers", "[-3-]{+three+} layers", "number"),
        ("it does not improve", "it improves", "it [-does not improve-]{+improves+}", "negation"),
        ("it doesn't improve", "it does improve", "it [-doesn't-]{+does+} improve", "negation"),
        ("X outperforms Y", "X underperforms Y", "X [-outperforms-]{+underperforms+} Y", "direction"),
        ("on C4 with SLEB", "on PIQA with SLEB", "on [-C4-]{+PIQA+} with SLEB", "entity"),
        ("some models fail", "all models fail", "[-some-]{+all+} models fail", "quantifier"),
        ("it may help", "it helps", "it [-may help-]{+helps+}", "hedge"),
        ("a big model", "a small corpus", "a [-big model-]{+small corpus+}", "words"),
        ("a model", "the model", "[-a-]{+the+} model", "words"),
        ("from 5 to 17", "from 17 to 5", "from {+17 to+} 5 [-to 17-]", "order"),
        ("p = 0.5, version 0.4.7", "p = 0.5, version 0.9.7", "p = 0.5, version [-0.4.7-]{+0.9.7+}", "number"),
        ("score of −0.5", "score of 0.5", "score of [-−0.5-]{+0.5+}", "number"),
        ("Ofﬂine pro-\nfiling, fast", "offline profiling fast", "offline profiling fast", ""),
        ("a $4\\times$ speedup", "a 4× speedup", "a 4× speedup", ""),
        ("“The” model’s loss", "the model's loss.", "the model's loss.", ""),
        ("", "words", "{+words+}", "words"),
    ],
)
def test_differences(quote: str, found: str, diff: str, kinds: str) -> None:
    difference_ = difference(quote, found)
    assert difference_.diff == diff
    assert " ".join(difference_.kinds) == kinds


CASES = [json.loads(line) for line in (DATA / "altered_quotes.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['kind']}")
def test_labelled_alterations_are_named(case: dict[str, str]) -> None:
    assert case["kind"] in difference(case["quote"], case["source"]).kinds


@pytest.mark.parametrize(
    "forms",
    [
        "improve improves improved improving improvement improvements",
        "exceed exceeds exceeded exceeding",
        "reduce reduces reduced reducing",
        "drop drops dropped dropping",
        "degrade degrades degraded degrading degradation",
        "fail fails failed failing",
        "fall falls falling",
        "loss losses",
        "study studies studied",
        "block blocks",
    ],
)
def test_the_forms_of_a_word_share_their_stem(forms: str) -> None:
    assert len({stem(form) for form in forms.split()}) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Llama-2-7B drops 1,024 of 4.5e-3", "Llama-2-7B drops 1,024 of 4.5e-3"),
        ("3.2×10⁻³ and 10^5", "3.2×10^-3 and 10^5"),
        ("a 40GB A100 (n=3)", "a 40 GB A100 ( n = 3 )"),
        ("p=0.53, −0.19, 3-5 layers", "p = 0.53 , -0.19 , 3 - 5 layers"),
        ("cannot, don't, e.g. 0.4.7", "can not , do n't , e.g . 0.4.7"),
        ("4x or 4.2% of 7B", "4 x or 4.2 % of 7 B"),
    ],
)
def test_tokens(text: str, expected: str) -> None:
    assert [token.text for token in tokens(text)] == expected.split()
    assert all(token.text in plain(text) or token.text == "n't" for token in tokens(text))
