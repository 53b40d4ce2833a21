"""Statements that cannot both hold, told from their words alone. Five patterns, none of which needs to understand a text:

    number      the same words and conditions, another outcome: "needs 100-500 steps", "needs 300-500 steps"
    direction   the same words, the opposite direction or a negation: "raises", "lowers"; "helps", "does not help"
    limit       more than a limit that was stated: "at most 22 of 80 layers", "removing 40 of 80 layers"
    trend       sizes in the order that a trend denies: "larger models keep more", 7B keeps 94.2%, 70B keeps 91.8%
    unexplored  a figure for what is said to be unexplored: "zero-shot pruning is unexplored", "without fine-tuning: 75%"

Words are compared as stems, in any order, so a paraphrase is not noticed: what is found is wrong, what is not found is
not thereby right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from lpk.core.evidence.english.vocabulary import word_set

_STOP = word_set(
    "a an and are as at be been by can could did do does for from has have in into is it its no not of on or that the "
    "their there these they this to under up was were when which while will with without only about after if than then "
    "never cannot most least"
)
_UP = word_set("rais increas improv help higher more gain better exceed outperform strengthen grow accelerat")
_DOWN = word_set("lower decreas reduc degrad hurt harm less fewer worse drop fall impair damag shrink slow")
_NOT = word_set("not no never without cannot neither nor")
_CONDITION = r"\b(?:when|if|at|after|with|without|for|under|on|removing|pruning|dropping|deleting|skipping)\b"
_OUTCOME = (
    r"[,:]|\b(?:is|are|has|have|rais|increas|lower|decreas|reduc|improv|keep|retain|need|cost|take|los|lead|give|reach|"
    r"leav|degrad|drop|remain|make|mean|restor|recover|yield)\w*"
)
_NUMBER = re.compile(r"(?<![\w.-])\d+(?:[.,]\d+)*(?:\s*[-\u2013]\s*\d+(?:[.,]\d+)*)?\s*(?:%|\u00d7|x\b)?(?![\w-]|\.\d)")
_ID = re.compile(r"(?<![\w.])\d{4}\.\d{4,5}(?:v\d+)?(?![\w])")
#: What has a number for a name.
_LABEL = re.compile(
    r"\b(?:round|table|fig(?:ure)?|section|sec|step|appendix|page|layer|block|stage|phase|version|seed|equation|chapter|"
    r"question|criterion|claim|row|rule) \d+\b",
    re.I,
)
#: Words that two statements must share to be about one thing.
_SHARED = 3


@dataclass(frozen=True)
class Reading:
    """What the patterns see of a statement.

    Attributes:
        content: stems of its words, without numbers, small words, directions and negations; names as they are.
        conditions: numbers in clauses that say under what, and before the first verb.
        outcomes: the other numbers.
        sign: -1 where directions and negations make it say the opposite.
        directed: whether it has a direction or a negation at all.
    """

    content: frozenset[str]
    conditions: tuple[str, ...]
    outcomes: tuple[str, ...]
    sign: int
    directed: bool


@lru_cache(maxsize=4096)
def read(text: str) -> Reading:
    """Read a statement."""
    text = _ID.sub(lambda found: "id-" + found[0].replace(".", "-"), text)
    text = _LABEL.sub(lambda found: found[0].replace(" ", "-"), text)
    text = re.sub(r"\b(?:zero-shot|no fine-?tuning|no (?:re)?training)\b", "without fine-tuning", text, flags=re.I)
    conditions: list[str] = []
    outcomes: list[str] = []
    for number in _NUMBER.finditer(text):
        before = text[: number.start()]
        opened = max((found.end() for found in re.finditer(_CONDITION, before, re.I)), default=-1)
        closed = max((found.end() for found in re.finditer(_OUTCOME, before, re.I)), default=-1)
        (conditions if opened > closed or closed < 0 else outcomes).append(
            re.sub(r"\s", "", number[0]).replace("\u2013", "-")
        )
    words = [word.strip(".-'") for word in re.findall(r"\w[\w.'-]*", _NUMBER.sub(" ", text))]
    stems = [_stem(word) for word in words if re.search(r"[^\W\d]", word)]
    sign, directed = 1, False
    for stem in stems:
        if stem in _DOWN or stem in _NOT:
            sign, directed = -sign, True
        directed = directed or stem in _UP
    content = frozenset(stem for stem in stems if stem not in _STOP | _UP | _DOWN | _NOT)
    return Reading(content, tuple(sorted(conditions)), tuple(outcomes), sign, directed)


def _stem(word: str) -> str:
    if any(char.isdigit() for char in word) or (word.isupper() and len(word) > 1):
        return word.lower()
    low = word.lower().removesuffix("'s")
    return re.sub(r"(?:ations?|ing|ed|es|e|s|ly)$", "", low) if len(low) > 4 else low


def conflict(one: str, other: str) -> str:
    """Why two statements cannot both hold; empty where nothing shows it."""
    a, b = read(one), read(other)
    if len(a.content) >= _SHARED and a.content == b.content and a.conditions == b.conditions:
        if a.sign != b.sign and (a.directed or b.directed) and a.outcomes == b.outcomes:
            return "direction: they say the opposite"
        if a.sign == b.sign and a.outcomes and b.outcomes and Counter(a.outcomes) != Counter(b.outcomes):
            return f"number: {', '.join(a.outcomes)} against {', '.join(b.outcomes)}"
    return _beyond(one, other) or _beyond(other, one) or _explored(one, other) or _explored(other, one)


def conflicts(statements: Sequence[str]) -> list[tuple[int, int, str]]:
    """Every pair that cannot both hold, by their places, the earlier one first; and why.

    Only statements of the same words, and those that speak of a limit or of the unexplored, are laid beside others.
    """
    alike: dict[frozenset[str], list[int]] = {}
    special: list[int] = []
    for at, text in enumerate(statements):
        alike.setdefault(read(text).content, []).append(at)
        if _LIMIT.search(text) or _UNEXPLORED.match(text):
            special.append(at)
    pairs = {pair for same in alike.values() for pair in combinations(same, 2)}
    pairs |= {(min(at, other), max(at, other)) for at in special for other in range(len(statements)) if other != at}
    found = ((at, other, conflict(statements[at], statements[other])) for at, other in sorted(pairs))
    return [each for each in found if each[2]]


_LIMIT = re.compile(r"\b(?:at most|no more than|not more than|up to|a maximum of) (\d+) (?:of|out of) (\d+)", re.I)
_SHARE = re.compile(r"(?<!most )(?<!than )(?<!up to )\b(\d+) (?:of|out of) (?:the )?(\d+)", re.I)


def _beyond(limit: str, other: str) -> str:
    for most, of in _LIMIT.findall(limit):
        for number, total in _SHARE.findall(other):
            common = read(limit).content & read(other).content
            named = {word for word in common if any(char.isdigit() for char in word)} or len(common) >= 2
            if total == of and int(number) > int(most) and "remov" in common and named:
                return f"limit: {number} of {total} is more than {most} of {of}"
    return ""


_UNEXPLORED = re.compile(
    r"^(.*?)\b(?:is|are|remains?|has|have)\b(?: \w+)*? (?:unexplored|unstudied|unknown|untested|not been \w+|never been \w+)",
    re.I,
)


def _explored(one: str, other: str) -> str:
    said = _UNEXPLORED.match(one)
    if not said or not _NUMBER.search(other) or _UNEXPLORED.match(other):
        return ""
    about = read(said[1]).content
    return (
        f"unexplored: {', '.join(read(other).outcomes)} is given for it"
        if about and about <= read(other).content
        else ""
    )


_TREND = re.compile(r"\b(?:larger|bigger|deeper) models\b.*?\b(more|less|fewer|better|worse|higher|lower)\b", re.I)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*[Bb]\b")
_KEPT = re.compile(r"\b(?:keep|retain|accura|recover)\w*", re.I)


def is_trend(text: str) -> bool:
    """Whether a statement says how something goes with size."""
    return bool(_TREND.search(text))


def denied(trend: str, first: str, second: str) -> str:
    """Why two figures, for two sizes, deny a trend over sizes; empty where they do not."""
    said = _TREND.search(trend)
    sizes = [_SIZE.search(each) for each in (first, second)]
    if not (said and sizes[0] and sizes[1] and _KEPT.search(first) and _KEPT.search(second)):
        return ""
    one, other = read(_SIZE.sub("", first)), read(_SIZE.sub("", second))
    if one.content != other.content or one.conditions != other.conditions or not (one.outcomes and other.outcomes):
        return ""
    small, large = sorted(
        (float(size[1]), float(re.split(r"[-%x\u00d7]", reading.outcomes[0].replace(",", ""))[0]))
        for size, reading in zip(sizes, (one, other), strict=True) if size
    )  # fmt: skip
    rising = said[1].lower() in ("more", "better", "higher")
    if small[0] != large[0] and (large[1] < small[1] if rising else large[1] > small[1]):
        return f"trend: at {small[0]:g}B it is {small[1]:g}, at {large[0]:g}B {large[1]:g}"
    return ""
