"""Quotes: what is found, what is not, and where; on labelled cases, on altered sentences, and on traps."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lpk.core.errors import UsageError
from lpk.core.evidence.documents.fulltext import FullText, read
from lpk.core.evidence.quotes import look_up
from lpk.core.evidence.records import Verdict
from lpk.core.registry import installed

DATA = Path(__file__).parent / "data" / "quotes"


def _jsonl(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


CASES, SENTENCES = _jsonl("cases.jsonl"), _jsonl("sentences.jsonl")


@cache
def paper(name: str) -> FullText:
    return read(DATA / name, installed())


@pytest.fixture
def text(tmp_path: Path) -> Callable[[str], FullText]:
    def write(words: str, name: str = "notes.txt") -> FullText:
        (tmp_path / name).write_text(words, encoding="utf-8")
        return read(tmp_path / name, installed())

    return write


# Labelled cases ------------------------------------------------------------------------------------------------------

#: What a labelled quote may come to. Of words that are there more than once, none is meant until a page is claimed.
EXPECTED = {
    "verified": {Verdict.VERIFIED, Verdict.VERIFIED_ELIDED, Verdict.AMBIGUOUS},
    "locator-mismatch": {Verdict.LOCATOR_MISMATCH},
    "unverifiable": {Verdict.UNVERIFIABLE},
    "rejected": {Verdict.ALTERED, Verdict.MISATTRIBUTED, Verdict.TOO_SHORT, Verdict.NOT_FOUND},
}
PAPERS = sorted({case["pdf"] for case in CASES})


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']} {case['kind']}")
def test_a_labelled_quote_gets_its_verdict(case: dict[str, Any]) -> None:
    text = paper(case["pdf"])
    elsewhere = [(name, paper(name)) for name in PAPERS if name != case["pdf"]]
    found = look_up(case["quote"], text, page=case.get("claimed_page"), elsewhere=elsewhere)
    assert found.verdict in EXPECTED[case["expected"]], found
    if found.verdict.good:
        assert case["page_start"] <= (found.page or 0) <= case["page_end"]
        assert found.section == case["section"]
        assert found.rects
        assert {rect[0] for rect in found.rects} == set(range(found.page or 0, (found.page_end or 0) + 1))
    if found.verdict is Verdict.AMBIGUOUS:  # with its page, or its section, it is verified
        resolved = look_up(case["quote"], text, page=case["page_start"], section=case["section"])
        assert resolved.verdict.good, resolved


def test_few_of_the_true_ones_are_ambiguous() -> None:
    true = [case for case in CASES if case["expected"] == "verified"]
    several = [c for c in true if look_up(c["quote"], paper(c["pdf"])).verdict is Verdict.AMBIGUOUS]
    assert {case["kind"] for case in several} <= {"true:elision_same_sentence", "true:sub_span"}
    assert len(several) == 3
    assert len(true) == 76


def test_every_sentence_is_found_on_its_page_and_in_its_section() -> None:
    for row in SENTENCES:
        found = look_up(row["sentence"], paper(row["pdf"]), section=row["section"])
        assert found.verdict.good or found.verdict is Verdict.AMBIGUOUS, (row, found)
        assert row["pages"][0] <= (found.page or 0) <= row["pages"][1], (row, found)


def test_the_seed_policy_accepts_what_strict_rejects() -> None:
    rejected = [c for c in CASES if c["expected"] == "rejected" and c["quote"].strip()]
    accepted = [c for c in rejected if look_up(c["quote"], paper(c["pdf"]), policy="seed-2026").verdict.good]
    assert len(accepted) > 100
    empty = next(c for c in CASES if c["kind"] == "degenerate:empty")
    assert look_up(empty["quote"], paper(empty["pdf"]), policy="seed-2026").verdict.good  # a substring of everything


# Altered sentences ---------------------------------------------------------------------------------------------------

OPPOSITES = [("more", "less"), ("higher", "lower"), ("faster", "slower"), ("rises", "falls"), ("increased", "reduced")]
OPPOSITES += [("always", "never"), ("all", "some"), ("improves", "degrades"), ("strictly", "hardly")]


def _naive(text: str) -> str:
    """An independent reduction: lower-case words and numbers, nothing between letters."""
    return "|".join(re.findall(r"[a-z]+|-?\d+(?:\.\d+)*|%", text.lower().replace("\u2212", "-")))


TRUTH = {name: "|".join(_naive(row["sentence"]) for row in SENTENCES if row["pdf"] == name) for name in PAPERS}


def _altered(words: list[str], other: list[str], how: str, rng: random.Random) -> list[str]:
    """One change that makes another sentence of it."""
    at = rng.randrange(len(words))
    numbers = [nth for nth, word in enumerate(words) if re.search(r"\d", word)]
    if how == "number" and numbers:
        at = rng.choice(numbers)
        digit = rng.choice([m.start() for m in re.finditer(r"\d", words[at])])
        new = str((int(words[at][digit]) + rng.randint(1, 9)) % 10)
        return [*words[:at], words[at][:digit] + new + words[at][digit + 1 :], *words[at + 1 :]]
    if how == "point" and numbers:  # 3.5 -> 35, 35 -> 3.5
        at = rng.choice(numbers)
        moved = (
            words[at].replace(".", "", 1)
            if "." in words[at].rstrip(".")
            else re.sub(r"(\d)(\d)", r"\1.\2", words[at], count=1)
        )
        return [*words[:at], moved, *words[at + 1 :]]
    if how == "negation":
        return [word for word in words if word != "not"] if "not" in words else [*words[:at], "not", *words[at:]]
    if how == "direction":
        pairs = {a: b for one, two in OPPOSITES for a, b in ((one, two), (two, one))}
        return [pairs.get(word, word) for word in words]
    if how == "swap":
        to = rng.randrange(len(words))
        words = list(words)
        words[at], words[to] = words[to], words[at]
        return words
    if how == "dropped":
        return words[:at] + words[at + 1 :]
    if how == "stitched":
        return words[: max(at, 3)] + other[len(other) // 2 :]
    if how == "stitched with an ellipsis":
        return [*words[: max(at, 3)], "...", *other[len(other) // 2 :]]
    return [*words[:at], rng.choice(other), *words[at + 1 :]]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    row=st.sampled_from(SENTENCES),
    other=st.sampled_from(SENTENCES),
    how=st.sampled_from(
        ["number", "point", "negation", "direction", "swap", "dropped", "word", "stitched", "stitched with an ellipsis"]
    ),
    seed=st.integers(0, 10_000),
)
def test_an_altered_sentence_is_never_accepted(row: dict[str, Any], other: dict[str, Any], how: str, seed: int) -> None:
    words, others = row["sentence"].split(), other["sentence"].split()
    altered = " ".join(_altered(words, others, how, random.Random(seed)))
    if _naive(altered) in TRUTH[row["pdf"]]:
        return  # the paper says that too
    found = look_up(altered, paper(row["pdf"]))
    if how == "stitched with an ellipsis" and row is other:
        return  # one sentence with something left out
    assert not found.verdict.good, (altered, found)
    assert found.verdict is not Verdict.AMBIGUOUS, (altered, found)


@pytest.mark.parametrize(
    "row", [row for row in SENTENCES if "altered" in row][::7], ids=lambda row: row["altered"][:40]
)
def test_the_diff_of_an_altered_sentence_shows_what_differs(row: dict[str, Any]) -> None:
    if _naive(row["altered"]) in TRUTH[row["pdf"]]:
        return
    found = look_up(row["altered"], paper(row["pdf"]))
    assert found.verdict is Verdict.ALTERED
    assert "[-" in found.diff or "{+" in found.diff
    assert found.reason


# Traps ---------------------------------------------------------------------------------------------------------------

TRAPS = [
    # text, quote that is not in it
    ("It removes the often layers of the model.", "ten layers of the model"),
    ("A loss of 12.34 points on PIQA was seen.", "2.34 points on PIQA was seen"),
    ("A loss of 12.3 points on PIQA was seen.", "A loss of 12.34 points"),
    ("A score of 0.5 is reached in all runs.", "A score of 05 is reached in all runs"),
    ("A score of 0.5 is reached in all runs.", "A score of 5 is reached in all runs"),
    ("The cells hold 1 0 and nothing else here.", "The cells hold 10 and nothing else here"),
    ("The cells hold 10 and nothing else here.", "The cells hold 1 0 and nothing else here"),
    ("Accuracy changes by -5 points on this task.", "Accuracy changes by 5 points on this task"),
    ("Accuracy changes by \u22125 points on this task.", "5 points on this task"),
    ("It needs 5 % of all the data.", "It needs 5 of all the data"),
    ("we drop exactly 5 % of it", "we drop exactly 5"),
    ("It is 3.5\u00d7 slower than before on this card.", "It is 3.5 slower than before on this card"),
    ("about 10\u2075 tokens are seen by it", "about 105 tokens are seen by it"),
    ("between 2-3 layers can be removed here", "between 23 layers can be removed here"),
    ("with p < 0.05 in all of the runs", "with p > 0.05 in all of the runs"),
    ("with p \u2260 0.05 in all of the runs", "with p = 0.05 in all of the runs"),
    ("at 5 \u00b1 2 points over all the runs", "at 5 2 points over all the runs"),
    ("Emissions of NO fell in all of the tests.", "Emissions of no fell in all of the tests."),
    ("There is no gain from it in our tests.", "There is NO gain from it in our tests."),
    ("The effect is not able to be shown in this way.", "The effect is notable to be shown in this way."),
    ("There is no table of results for this run.", "There is notable of results for this run."),
    ("These models don't need all of their layers.", "These models don"),
    ("We show that these models do n't-care about it", "that these models do n"),
    ("A study of non-linear models that do well.", "linear models that do well"),
    ("A study of non-\nlinear models that do well.", "linear models that do well"),
    ("It draws 5 mW at most in all of the tests.", "It draws 5 MW at most in all of the tests."),
    ("It sends 5 Gb of data in every single run.", "It sends 5 GB of data in every single run."),
    ("a wall of 5 m that is not so high", "a wall of 5 M that is not so high"),
    ("ratios of 1,000 layers are seen in it", "ratios of 1 layers are seen in it"),
    ("it has 1.000 layers and 7 heads in all", "000 layers and 7 heads in all"),
    ("We find one thing. It is not the other way round.", "We find one ... the other way round"),
    ("the gain should not be compared with theirs at all", "the gain should ... be compared with theirs"),
    ("One two three four five six seven eight.", "five six seven ... two three four"),
    ("One two three four five six seven eight.", "one two ... seven eight"),
]


@pytest.mark.parametrize(("words", "quote"), TRAPS, ids=[quote for _, quote in TRAPS])
def test_a_trap_is_not_accepted(text: Callable[[str], FullText], words: str, quote: str) -> None:
    found = look_up(quote, text(words))
    assert not found.verdict.good, found


TRUE = [
    # text, quote that is in it
    ("The of\ufb02ine pro\ufb01ling is ef\ufb01cient here.", "The offline profiling is efficient here."),
    ("It takes a pre-\nnormalised stream of data.", "a pre-normalised stream of data"),
    ("It takes a prenor-\nmalised stream of data.", "a prenormalised stream of data"),
    ("A long-chain task is hard for it.", "A long chain task is hard"),
    ("It is 3.5\u00d7 slower than before on this card.", "It is 3.5x slower than before"),
    ("It is 3.5\u00d7 slower than before on this card.", r"It is $3.5\times$ slower than before"),
    ("We use 4 \u00d7 512 tokens in every run.", "We use 4 x 512 tokens in every run."),
    ("Accuracy changes by \u22125 points on this task.", "Accuracy changes by $-5$ points on this task"),
    ("It keeps 95.5% of the accuracy at \u03b1 = 0.1 here.", r"It keeps 95.5\% of the accuracy at $\alpha=0.1$"),
    ("about 10\u207b\u2075 is the rate that we use", "about $10^{-5}$ is the rate that we use"),
    ("about 10\u2075 tokens are seen by it", "about $10^5$ tokens are seen by it"),
    (
        "Removing layers helps \u2014 if only a little \u2014 in our tests.",
        "Removing layers helps --- if only a little --- in our tests.",
    ),
    ("\u201cNothing\u201d is what we\u00a0found in it.", '"Nothing" is what we found in it.'),
    ("A nai\u0308ve baseline is good enough for this.", "A naïve baseline is good enough for this."),
    ("RESULTS OF THE STUDY ARE NO SURPRISE", "results of the study are no surprise"),
    ("It is the case, in general, that deep layers are redundant.", "it is the case ... deep layers are redundant"),
    ("As Smith et al. Found in all cases, deep layers are redundant.", "As Smith et al. ... deep layers are redundant"),
    ("We use the 7-bit and 16-\nbit formats of all weights.", "7-bit and 16-bit formats of all weights"),
    ("a range of 2-\n3 layers can be removed", "a range of 2-3 layers can be removed"),
    ("ends with the layers (see below) that matter", "the layers (see below) that matter"),
    ("It uses the 7B model and 5 Models more in all.", "it uses the 7b model and 5 models more in all"),
    (
        "Putauthornamesintothe command in thisorder, as alwaysbefore.",
        "Put author names into the command in this order, as always before.",
    ),
    ("Use \\label{x} and \\cite{y} in all of the text.", "Use \\label{x} and \\cite{y} in all of the text."),
    ("The list goes on ... and on in this text.", "The list goes on ... and on in this text."),
    (
        "\u6df1\u5c64\u306e\u5c64\u306f\u5197\u9577\u3067\u3042\u308b\u3068\u8a00\u3048\u308b\u3002",
        "\u5c64\u306f\u5197\u9577\u3067\u3042\u308b",
    ),
]


@pytest.mark.parametrize(("words", "quote"), TRUE, ids=[quote for _, quote in TRUE])
def test_typesetting_hides_nothing(text: Callable[[str], FullText], words: str, quote: str) -> None:
    found = look_up(quote, text(words))
    assert found.verdict.good, found


@pytest.mark.parametrize(
    "quote",
    ["", "   ", "\n\t", "the", "...", "layers", "of the model", "\u2026 of \u2026 the \u2026", "$$", "- - - - -"],
)
def test_few_words_prove_nothing(text: Callable[[str], FullText], quote: str) -> None:
    assert look_up(quote, text("the layers of the model, of the model, of - the")).verdict is Verdict.TOO_SHORT


# Pages and sections --------------------------------------------------------------------------------------------------

PAGED = """# A Paper

Words before any section of it.

## 1 Introduction

Deep layers are redundant in most models.
<!-- page 2 -->
Shallow layers are needed
\f
in nearly all of them.

### 1.1 Scope

Deep layers are redundant in most models.

## Limitations

We looked at [three models](https://example.org/x) only, and at **two** tasks.
"""


def test_pages_and_sections_of_a_markdown_file(text: Callable[..., FullText]) -> None:
    notes = text(PAGED, "paper.md")
    assert (notes.pages, notes.media) == (3, "text/markdown")
    crossing = look_up("Shallow layers are needed in nearly all of them.", notes)
    assert (crossing.verdict, crossing.page, crossing.page_end, crossing.section) == ("verified", 2, 3, "1")
    linked = look_up("We looked at three models only, and at two tasks.", notes, section="limitations")
    assert (linked.verdict, linked.section) == ("verified", "Limitations")
    assert linked.prefix.endswith("Limitations")
    assert linked.rects == ()


def test_of_several_places_the_claimed_one_is_meant(text: Callable[..., FullText]) -> None:
    notes, quote = text(PAGED, "paper.md"), "Deep layers are redundant in most models."
    assert look_up(quote, notes).verdict is Verdict.AMBIGUOUS
    assert "2 times" in look_up(quote, notes).reason
    assert look_up(quote, notes, page=3).section == "1.1"
    assert look_up(quote, notes, section="Scope").page == 3
    assert look_up(quote, notes, section="Sec. 1.1").page == 3
    assert look_up(quote, notes, page=1).verdict is Verdict.VERIFIED
    assert look_up(quote, notes, section="1").verdict is Verdict.AMBIGUOUS  # 1.1 is in 1
    wrong = look_up(quote, notes, page=2)
    assert wrong.verdict is Verdict.LOCATOR_MISMATCH
    assert "page 1" in wrong.reason
    assert "page 3" in wrong.reason
    assert look_up(quote, notes, section="4").verdict is Verdict.LOCATOR_MISMATCH
    assert look_up(quote, notes, section="Limitations").verdict is Verdict.LOCATOR_MISMATCH


def test_a_misattributed_quote_is_told_where_it_is(text: Callable[..., FullText]) -> None:
    mine, other = text("Nothing of interest is said here.", "a.txt"), text(PAGED, "paper.md")
    quote = "Shallow layers are needed in nearly all of them."
    found = look_up(quote, mine, elsewhere=[("local:mine", mine), ("local:paper", other)])
    assert (found.verdict, found.found_in) == (Verdict.MISATTRIBUTED, "local:paper")
    assert "pages 2 and 3" in found.reason
    assert look_up(quote, mine).verdict is Verdict.NOT_FOUND


def test_an_unknown_policy_is_refused(text: Callable[..., FullText]) -> None:
    with pytest.raises(UsageError, match="strict, seed-2026"):
        look_up("four words are enough", text("four words are enough"), policy="fuzzy")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b"  \n ", "empty"),
        ("a.txt", "na\u00efve".encode("latin-1"), "not UTF-8"),
        ("a.md", b"a\0b", "byte that is zero"),
        ("a.docx", b"x", "no source reads .docx"),
        ("a", b"x", "no source reads files without an ending"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=said):
        read(tmp_path / name, installed())


def test_the_same_file_is_read_the_same() -> None:
    name = "pdfs/b_twocol_times_fn.pdf"
    first, again = paper(name), read(DATA / name, installed())
    assert (first.sha256, first.text_sha256, first.reader) == (again.sha256, again.text_sha256, again.reader)
    assert first.page_text(1) != first.page_text(2)
    assert first.page_text(99) == ""
