"""The figures of a text: value, unit, how exact, what bounds them, and what part they play in their clause.

Values are comparable: thousands, percent and parts of seconds are brought to one scale (``Quantity.scaled``), and a
figure's ``step`` is what its last digit stands for, so that a rounded figure can be told from one that is more precise
than its source. English only; numbers in names (Llama-2-7B) are no figures, but the size in them is (``sizes``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lpk.core.evidence.english.vocabulary import FRACTIONS, FUNCTION_WORDS, MODELS, MULTIPLES, NUMBER_WORDS, word_set
from lpk.core.evidence.english.wording import Token, bounds, courses, directions, is_name, light, stem, tokens, units

#: unit -> (family, how many of the family's own unit it is). Units of one family are mistaken for each other.
FAMILIES = {
    "%": ("share", 0.01),
    "points": ("points", 1.0),
    "x": ("factor", 1.0),
    "ms": ("time", 1e-3),
    "s": ("time", 1.0),
    "min": ("time", 60.0),
    "h": ("time", 3600.0),
    "days": ("time", 86400.0),
    "KB": ("memory", 1e3),
    "MB": ("memory", 1e6),
    "GB": ("memory", 1e9),
    "TB": ("memory", 1e12),
}
_SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
#: What stands between a figure and the word that says what part it plays: "to about 5", "from an initial 46.2".
_PASSED = word_set(
    "a an the its only just about nearly almost roughly around approximately initial original final some"
)
#: "Equal to 5" is where nothing ends.
_NO_END = word_set("equal correspond corresponds close equivalent according due amount amounts compared relative up")
#: These are no plurals.
_VERBS = word_set(
    "changes costs takes keeps leaves works suffices seems scores runs reaches gets goes becomes starts ends"
)
_CHANGING = ("amount", "quality", "speed")
_OF = (["of"], ["out", "of"], ["from", "among"])
_ARTICLES = word_set("the our all its these those every each")
#: Of 32 blocks, two are removed: they open a clause.
_AMONG = word_set("of among amongst")


@dataclass(frozen=True)
class Quantity:
    """A figure in a text.

    Attributes:
        value: as it is written, with its unit: 5 for "5 %" and for "five percent".
        unit: a key of ``vocabulary.UNITS``; empty: none that is known.
        text: how it is written, with its unit.
        step: what its last digit stands for, in its unit: 0.1 for 62.4.
        bound: a key of ``vocabulary.BOUNDS``; empty: none.
        label: stems of the words after it, which say what is counted.
        noun: of a count, the stem of what is counted.
        course: of a change, "from" for its start, "to" for its end, "by" for its size; empty: of none that is told.
        share: "part" and "whole", of "2 of 32 blocks".
        before: the word before it, in lower case.
        place: of its first token, among the text's.
        end: of the token behind it.
    """

    value: float
    unit: str
    text: str
    step: float = 1.0
    bound: str = ""
    label: tuple[str, ...] = ()
    noun: str = ""
    course: str = ""
    share: str = ""
    before: str = ""
    place: int = 0
    end: int = 0

    @property
    def counts(self) -> bool:
        """Whether it is a number of things, and measures nothing."""
        return bool(self.noun) or (self.unit != "" and self.unit not in FAMILIES)

    @property
    def family(self) -> str:
        """What its unit is a unit of."""
        return FAMILIES.get(self.unit, (self.unit, 1.0))[0]

    @property
    def scale(self) -> float:
        """How many of its family's own unit one of its unit is."""
        return FAMILIES.get(self.unit, (self.unit, 1.0))[1]

    @property
    def scaled(self) -> float:
        """Its value in its family's own unit: seconds, bytes, 1."""
        return self.value * self.scale


def quantities(text: str) -> tuple[Quantity, ...]:
    """The figures of a text in order; of "9 of 32 blocks" both are blocks, of "1-3 points" both are points."""
    return tuple(figures(tokens(text)))


def figures(words: Sequence[Token]) -> list[Quantity]:
    """The figures among tokens."""
    found: list[Quantity] = []
    place = 0
    while place < len(words):
        read = _read(words, place)
        if read is not None and not _named(words, place, read):
            found.append(read)
        place = read.end if read else place + 1
    for index in range(len(found) - 2, -1, -1):
        found[index : index + 2] = _pair(words, found[index], found[index + 1])
    return found


def _pair(words: Sequence[Token], here: Quantity, after: Quantity) -> tuple[Quantity, Quantity]:
    """Two figures that follow each other, with what each tells of the other: their unit, and which is of which."""
    between = [word.lower for word in words[here.end : after.place]]
    linked = len(between) == 1 and between[0] in ("of", "to", "or", "and", "-", "\u2013", ",")
    joint = [word for word in between if word not in _ARTICLES]
    counted = bool(here.noun) and len(joint) > 1 and stem(joint[0]) == here.noun
    part = joint[counted:] in _OF and (here.unit in ("", "%") or after.unit in ("", here.unit))
    part = part or (joint == ["in"] and not here.unit and not here.noun and after.counts)
    if not here.unit and (linked or part) and not counted and (here.step >= 1 or not after.counts):
        here = replace(here, unit=after.unit, label=here.label or after.label, noun=after.noun)
    if part:
        return replace(here, share="part"), replace(after, share="whole")
    if _among(words, here.place) and not after.share:
        return replace(here, share="whole"), replace(after, share="part")
    if between == ["to"] and here.course != "from" and here.unit == after.unit:  # a range
        after = replace(after, course=here.course)
    return here, after


def _among(words: Sequence[Token], place: int) -> bool:
    """Whether a clause opens with "of", "among" or "out of" before a token."""
    place -= 1
    while place >= 0 and words[place].lower in _ARTICLES:
        place -= 1
    if place < 0 or words[place].lower not in _AMONG:
        return False
    place -= place > 0 and words[place - 1].lower == "out"
    return place == 0 or words[place - 1].kind == "mark" or words[place - 1].lower in ("and", "that", "but")


def sizes(names: Sequence[str]) -> Iterator[Quantity]:
    """The numbers of parameters that names of models state: 7e9 for Llama-2-7B."""
    for name in names:
        for value, scale in re.findall(r"(?<![\d.])(\d+(?:\.\d+)?)([BM])\b", name):
            yield Quantity(float(value) * _SCALES[scale], "parameters", value + scale, step=_SCALES[scale])


def _read(words: Sequence[Token], place: int) -> Quantity | None:
    """The figure that begins at a token, with its unit, if one does."""
    read = _number(words, place)
    if read is None:
        return None
    value, step, unit, end = read
    if end < len(words) and words[end].start == words[end - 1].end and words[end].text in _SCALES:
        value, step, end = value * _SCALES[words[end].text], step * _SCALES[words[end].text], end + 1
        unit = "parameters" if words[end - 1].text in "BM" else unit
    hyphen = end < len(words) and words[end].text == "-"
    after = units.at(words, end + hyphen) if unit in ("", "parameters") else None
    if after:
        unit, end = after[0], end + hyphen + after[1]
    elif not unit and place and words[place - 1].lower in ("layer", "block"):
        unit = "layers"
    elif not unit and [word.lower for word in words[max(0, place - 2) : place]] == ["factor", "of"]:
        unit = "x"
    noun, counts = _counted(words, end) if unit in ("", "parameters") and step >= 1 else ("", "")
    return Quantity(
        value,
        counts or unit,
        " ".join(word.text for word in words[place:end]),
        step=step,
        bound=_bound(words, place, end),
        label=_label(words, end),
        noun=noun,
        course=_course(words, place, end),
        before=words[place - 1].lower if place else "",
        place=place,
        end=end,
    )


def _number(words: Sequence[Token], place: int) -> tuple[float, float, str, int] | None:
    """(value, step, unit that the word itself has, place after it) of the number that begins at a token."""
    word = words[place].lower
    before = words[place - 1].lower if place else ""
    after = words[place + 1].lower if place + 1 < len(words) else ""
    if words[place].kind == "number":
        value, step = _figure(word)
        if after in ("thousand", "million", "billion"):
            return value * NUMBER_WORDS[after], step * NUMBER_WORDS[after], "", place + 2
        return value, step, "", place + 1
    if word in ("hundred", "thousand", "million", "billion"):
        return None
    if word in NUMBER_WORDS and after in FRACTIONS:
        return 100 * NUMBER_WORDS[word] * FRACTIONS[after], 1.0, "%", place + 2
    if word in NUMBER_WORDS:
        scale = NUMBER_WORDS[after] if after in ("hundred", "thousand", "million", "billion") else 1.0
        return NUMBER_WORDS[word] * scale, scale, "", place + 1 + (scale > 1)
    if word == "single":
        return 1.0, 1.0, "", place + 1
    if word in MULTIPLES:
        return MULTIPLES[word], 1.0, "x", place + 1
    # "a third" is one; "third" and "half precision" are none
    if word in FRACTIONS and (before == "a" or (word == "half" and after in ("of", "the", ")"))):
        return 100 * FRACTIONS[word], 1.0, "%", place + 1
    return None


def _figure(text: str) -> tuple[float, float]:
    """Value and step of digits: 1,024 and 4.5e-3, 3.2x10^-3 and 10^5."""
    text = re.sub(r"\s", "", text.replace(",", "").replace("\u00d7", "x"))
    mantissa, exponent = text, 0
    power = re.fullmatch(r"([+-]?)(?:(.*)x)?10\^([+-]?\d+)", text)
    if power:
        mantissa, exponent = power[1] + (power[2] or "1"), int(power[3])
    elif "e" in text:
        mantissa, exponent = text.split("e")[0], int(text.split("e")[1])
    if abs(exponent) > 300:
        return (float("inf") if exponent > 0 else 0.0), 1.0
    places = len(mantissa.partition(".")[2])
    return float(mantissa) * 10.0**exponent, 10.0 ** (exponent - places)


def _bound(words: Sequence[Token], place: int, behind: int) -> str:
    """What bounds the figure that begins at a token: the words just before it, a sign, or "at most" just behind it."""
    if [word.lower for word in words[behind : behind + 2]] in (["at", "most"], ["at", "least"]):
        return f"at {words[behind + 1].lower}"
    if place and words[place - 1].text in ("<", "≤"):
        return "at most"
    if place and words[place - 1].text in (">", "≥"):
        return "at least"
    end = place - (place > 0 and words[place - 1].lower in ("a", "an"))
    for length in range(min(4, end), 0, -1):
        found = bounds.at(words, end - length)
        if found and found[1] == length:
            return found[0]
    return ""


def _label(words: Sequence[Token], end: int) -> tuple[str, ...]:
    """Stems of the first words after a figure, up to a mark, a number or a word that ends its noun."""
    label = []
    for word in words[end : end + 4]:
        if word.kind != "word" or word.lower in FUNCTION_WORDS or word.lower in NUMBER_WORDS:
            break
        label.append(stem(word.text))
    return tuple(label)


def _counted(words: Sequence[Token], end: int) -> tuple[str, str]:
    """(stem, unit) of what a number counts: the first plural after it; a unit where the word is known as one."""
    for place in range(end, min(end + 4, len(words))):
        word = words[place]
        verb = word.lower in _VERBS or light.at(words, place) or directions.at(words, place)
        if word.kind != "word" or word.lower in FUNCTION_WORDS or verb:
            break
        if re.search(r"[^sui]s$", word.lower):
            known = units.at(words, place)
            return word.stem, known[0] if known and known[0] not in FAMILIES else ""
    return "", ""


def _course(words: Sequence[Token], place: int, end: int) -> str:
    """Whether a figure is the start, the end or the size of a change."""
    following = [found[0][:-1] for at in range(end, min(end + 2, len(words))) if (found := directions.at(words, at))]
    before = place - 1
    while before >= 0 and words[before].lower in _PASSED:
        before -= 1
    last = words[before].lower if before >= 0 else ""
    if last == "by" or any(axis in _CHANGING for axis in following):
        return "by"
    if last == "to" and before and words[before - 1].lower in _NO_END:
        return ""
    for length in (3, 2, 1):
        found = courses.at(words, before - length + 1) if before - length + 1 >= 0 else None
        if found and found[1] == length:
            return found[0]
    return "by" if last == "of" and before and _change(words[before - 1]) else ""


def _change(word: Token) -> bool:
    """Whether a noun is a change: a reduction of 5; the loss of 5 may be a value of the loss."""
    found = directions.at((word,), 0)
    return found is not None and found[0][:-1] in _CHANGING and word.lower != "loss"


def _named(words: Sequence[Token], place: int, read: Quantity) -> bool:
    """Whether the number belongs to the name before it: Llama 3.1, Mistral 7B, but not "Wanda 1.9"."""
    if not place or not is_name(words[place - 1], first=True):
        return False
    small = read.unit == "" and read.value < 10 and words[place].kind == "number"
    return read.unit == "parameters" or (small and (read.step >= 1 or words[place - 1].lower in MODELS))


def agree(claim: Quantity, quote: Quantity) -> bool:
    """Whether a figure is the quote's, or the quote's rounded: never more exact, and never of another unit."""
    bare = "" in (claim.unit, quote.unit)
    if claim.family == quote.family and claim.unit != quote.unit:
        ours, theirs = claim.scaled, quote.scaled
        return math.isclose(ours, theirs) or _rounds(ours, claim.step * claim.scale, theirs, quote.step * quote.scale)
    if not bare and claim.family != quote.family:
        return False
    if {claim.unit, quote.unit} == {"", "%"} and (claim if claim.unit == "" else quote).label:  # 3 cases, 3 % of cases
        return False
    # 4096 GPUs are no 4096 seconds
    if bare and claim.unit != quote.unit and (claim if claim.unit == "" else quote).noun:
        return False
    if "layers" in (claim.unit, quote.unit) and bare and min(claim.step, quote.step) < 1:  # 22 layers are no 22.16
        return False
    about = 0.05 * abs(quote.value) if claim.bound == "about" else 0.0
    if _rounds(claim.value, max(claim.step, 2 * about), quote.value, quote.step):
        return True
    share = {claim.unit, quote.unit} == {"", "%"} and (claim if claim.unit == "" else quote).value <= 1
    return share and _rounds(claim.scaled, claim.step * claim.scale, quote.scaled, quote.step * quote.scale)


def _rounds(ours: float, step: float, theirs: float, exact: float) -> bool:
    """Whether a value of some step is another, at that step or a finer one, rounded."""
    return abs(ours - theirs) <= step / 2 * (1 + 1e-9) and step >= exact * (1 - 1e-9)
