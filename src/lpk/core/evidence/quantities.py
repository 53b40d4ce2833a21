"""The figures of a text: value, unit, how exact, and what bounds them.

Values are comparable: thousands, percent and parts of seconds are brought to one scale (``Quantity.scaled``), and a
figure's ``step`` is what its last digit stands for, so that a rounded figure can be told from one that is more precise
than its source. English only; numbers in names (Llama-2-7B) are no figures, but the size in them is (``sizes``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lpk.core.evidence.vocabulary import FRACTIONS, FUNCTION_WORDS, MULTIPLES, NUMBER_WORDS
from lpk.core.evidence.wording import Token, bounds, is_name, stem, tokens, units

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
_ONES = ("one", "single", "once")


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
    before: str = ""
    place: int = 0
    end: int = 0

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
        here, after = found[index], found[index + 1]
        between = [word.lower for word in words[here.end : after.place]]
        if not here.unit and len(between) == 1 and between[0] in ("of", "to", "or", "and", "-", "\u2013", ","):
            found[index] = replace(here, unit=after.unit, label=here.label or after.label)
    return found


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
    after = units.at(words, end + hyphen) if not unit else None
    if after:
        unit, end = after[0], end + hyphen + after[1]
    elif not unit and place and words[place - 1].lower in ("layer", "block"):
        unit = "layers"
    elif not unit and [word.lower for word in words[max(0, place - 2) : place]] == ["factor", "of"]:
        unit = "x"
    text = " ".join(word.text for word in words[place:end])
    before = words[place - 1].lower if place else ""
    return Quantity(value, unit, text, step, _bound(words, place, end), _label(words, end), before, place, end)


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


def _named(words: Sequence[Token], place: int, read: Quantity) -> bool:
    """Whether the number belongs to the name before it: Llama 3, Mistral 7B."""
    small = read.unit == "" and read.value < 10 and words[place].kind == "number"
    return place > 0 and (small or read.unit == "parameters") and is_name(words[place - 1], first=True)
