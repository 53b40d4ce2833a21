"""How rules read a draft, and what a sentence of an abstract is for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpk.core.evidence.english.prose import passages, split, squeezed, zone, zone_in
from lpk.core.evidence.ledger import Ledger

SEED = Ledger(Path(__file__).parent / "data" / "seed-ledger").snapshot()

#: paper -> what each sentence of its abstract is for, by hand: background, method, finding, or none of these.
BY_HAND = {
    "arxiv:2604.24938v2": "bbmfff",
    "arxiv:2411.03513v1": "mmmmfff-",
    "arxiv:2510.22228v1": "bbmfff--",
    "arxiv:2406.07929v1": "bbmmmmf",
    "arxiv:2602.14649v1": "bbbbmmmmff",
}


def _told() -> list[tuple[str, str, str]]:
    """(by hand, told, sentence)."""
    found = []
    for name, letters in BY_HAND.items():
        paper, _, version = name.rpartition("v")
        abstract = SEED.papers[paper].versions[f"v{version}"].abstract
        sentences = split(abstract)
        assert len(sentences) == len(letters), name
        for letter, sentence in zip(letters, sentences, strict=True):
            told = zone_in(abstract, sentence)
            found.append((letter, told[0] if told else "-", sentence))
    return found


def test_what_a_sentence_is_for_is_told_right_or_not_at_all() -> None:
    """Of 39 sentences, none is told wrong and 31 are told; what is not told raises no finding."""
    wrong = [each for each in _told() if each[1] not in ("-", each[0])]
    assert wrong == []
    assert sum(told != "-" for _, told, _ in _told()) == 31


def test_a_sentence_that_is_not_in_the_abstract_is_not_told() -> None:
    assert zone_in("We find much. It is so.", "Something else entirely.") is None
    assert zone_in("We find much. It is so.", "") is None
    assert zone_in("", "We find much.") is None


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("Removing 4 of 30 layers raises perplexity to 52.1.", "finding"),
        ("The method does not change the output.", None),
        ("Perplexity is not tested here.", "limitation"),
        ("The paper introduces a new way of removing layers.", "method"),
        ("Prior work has treated redundancy as structural.", "background"),
    ],
)
def test_words_alone(sentence: str, told: str | None) -> None:
    assert zone(sentence) == told


def test_a_draft_is_read_in_passages() -> None:
    text = (
        "# Title\n\nOne paragraph,\nwrapped twice,\nhere.[^1]\n\n- an item\n  that goes on\n1. another\n\n"
        "| Paper | Result |\n|---|---:|\n| a \\| b | 5%[^2] |\n\nRQ1. Not an item.\n\n```\n- code | here\n```\n<!-- mark -->\n"
        "## End\n\n[^1]: row: r-1\n[^2]: row: r-2\n"
    )
    found = passages(text)
    assert [(each.kind, each.line, each.text) for each in found] == [
        ("heading", 1, "Title"),
        ("prose", 3, "One paragraph, wrapped twice, here."),
        ("item", 7, "an item that goes on"),
        ("item", 9, "another"),
        ("row", 13, "a \\| b | 5%"),
        ("prose", 15, "RQ1. Not an item."),
        ("code", 18, "- code | here"),
        ("heading", 21, "End"),
    ]
    row = next(each for each in found if each.kind == "row")
    assert row.columns == (("Paper", "a \\| b"), ("Result", "5%"))
    assert row.notes == "row: r-2"
    assert row.section == "Title"


@given(st.text(max_size=300))
def test_lines_of_passages_are_lines_of_the_text(text: str) -> None:
    lines = text.splitlines()
    found = passages(text)
    assert all(1 <= each.line <= len(lines) for each in found)
    assert [each.line for each in found] == sorted({each.line for each in found}), "one passage a line, in order"


def test_squeezing_keeps_letters_and_digits() -> None:
    assert squeezed("Müller-Lüdenscheidt, 4.5 %") == "mullerludenscheidt45"
    assert squeezed(" … ") == ""
