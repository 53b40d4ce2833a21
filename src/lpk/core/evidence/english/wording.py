"""The words of scientific English: taken apart, told apart by class, and compared.

``difference`` says how a quote differs from the paper, for people: a word diff and the classes of what differs. It
explains a rejection and never accepts anything. ``fidelity.py`` compares what two texts say. English
only: texts in other languages are compared word by word, and all that differs in them is a number, an entity or words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from lpk.core.evidence.english.vocabulary import (
    AGENTS,
    BOOSTERS,
    BOUNDS,
    CAUSES,
    CORRELATES,
    COURSES,
    DIRECTIONS,
    FRACTIONS,
    FUNCTION_WORDS,
    GENERIC_NAMES,
    HEDGES,
    LIGHT,
    MILD_HEDGES,
    MODIFIERS,
    MULTIPLES,
    NAMES,
    NEGATIONS,
    NUMBER_WORDS,
    PREFIXED,
    QUANTIFIERS,
    UNITS,
    UNIVERSAL,
)

# ---------------------------------------------------------------------------------------------------------------------
# Taking text apart
# ---------------------------------------------------------------------------------------------------------------------

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_PLAIN = str.maketrans(
    {0x2212: "-", 0x2010: "-", 0x2011: "-", 0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0xAD: None}
)
_TEX = ((r"\\(?:textbf|textit|emph|text|mathrm)\{([^{}]*)\}", r"\1"), (r"\\times\b", "\u00d7"), (r"\\([%&_$#])", r"\1"))

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d|,\d)|\d+)(?:\.\d+)?|\.\d+"
_TOKEN = re.compile(
    rf"""
    (?P<version>v?\d+(?:\.\d+){{2,}})
    | (?P<number>(?:(?<![\w.)\]%-])[+-])?
        (?:(?:{_NUMBER})\s?[\u00d7x]\s?10\^[+-]?\d+ | 10\^[+-]?\d+
         | (?:{_NUMBER})(?:[eE][+-]?\d+)?(?!\w|\.\d|,\d{{3}}(?!\d))
         | (?:{_NUMBER})(?=[A-Za-z]{{1,6}}\b)))
    | (?P<word>[^\W_]+(?:[-_./'][^\W_]+)*)
    | (?P<mark>[^\s])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    """A word, a number or a mark of a text that ``plain`` went over; ``stem`` is what words are compared by."""

    text: str
    kind: str
    start: int
    end: int

    @property
    def lower(self) -> str:
        return self.text.lower()

    @property
    def stem(self) -> str:
        return stem(self.text)


def plain(text: str) -> str:
    """A text in plain characters: no ligatures, typographic quotes and TeX markup; superscripts as ^n."""
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+", lambda found: "^" + found[0].translate(_SUPERSCRIPTS), text)
    text = unicodedata.normalize("NFKC", text).translate(_PLAIN)
    for pattern, by in _TEX:
        text = re.sub(pattern, by, text)
    return " ".join(re.sub(r"\$([^$]*)\$", r"\1", text).split())


@lru_cache(maxsize=4096)
def tokens(text: str) -> tuple[Token, ...]:
    """The tokens of a text. Contracted negations are two: "don't" is "do" and "n't"."""
    text = re.sub(r"\b(can)not\b", r"\1 not", plain(text), flags=re.IGNORECASE)
    text = re.sub(r"(?<=[a-z])n't\b", " n't", text)
    found = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "mark"
        found.append(Token(match[0], kind, match.start(), match.end()))
    return tuple(found)


_SUFFIXES = (
    "ements",
    "ement",
    "ments",
    "ment",
    "ations",
    "ation",
    "ings",
    "ing",
    "ies",
    "ied",
    "ed",
    "es",
    "s",
    "e",
    "y",
)


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """What the forms of a word share, roughly: improves, improved, improving -> improv."""
    word = word.lower()
    for suffix in _SUFFIXES:
        rest = word.removesuffix(suffix)
        if rest != word and len(rest) >= 3 and not (suffix == "s" and rest[-1] in "sui"):
            doubled = len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "ls"
            return stem(rest[:-1] if doubled else rest)
    return word


class Lexicon:
    """Words and phrases, each with a tag; looked up at a place in a text, the longest first."""

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        self._tags: dict[tuple[str, ...], str] = {}
        for tag, phrases in entries:
            for phrase in phrases.split("|"):
                self._tags[tuple(stem(word) for word in phrase.split())] = tag
        self._longest = max(map(len, self._tags))

    def at(self, text: Sequence[Token], place: int) -> tuple[str, int] | None:
        """The tag of what stands here, and of how many tokens it is."""
        for length in range(min(self._longest, len(text) - place), 0, -1):
            tag = self._tags.get(tuple(token.stem for token in text[place : place + length]))
            if tag is not None:
                return tag, length
        return None

    def all(self, text: Sequence[Token]) -> Iterator[tuple[int, int, str]]:
        """(from, to, tag) of everything in a text that the lexicon has; no two overlap."""
        place = 0
        while place < len(text):
            found = self.at(text, place)
            if found:
                yield place, place + found[1], found[0]
            place += found[1] if found else 1


units = Lexicon(UNITS.items())
directions = Lexicon(
    (f"{axis}{sign}", side) for axis, sides in DIRECTIONS.items() for sign, side in zip("+-", sides, strict=True)
)
negations = Lexicon([("not", NEGATIONS)])
quantifiers = Lexicon((str(level), words) for level, words in QUANTIFIERS.items())
bounds = Lexicon(BOUNDS.items())
courses = Lexicon(COURSES.items())
hedges = Lexicon([("mild", MILD_HEDGES), ("hedge", HEDGES), ("booster", BOOSTERS)])
universal = Lexicon([("all", UNIVERSAL)])
modifiers = Lexicon([("modifier", MODIFIERS)])
light = Lexicon([("light", LIGHT)])
agents = Lexicon([("agent", AGENTS)])
prefixed = Lexicon([("prefixed", PREFIXED)])
causes = Lexicon([("cause", CAUSES), ("correlation", CORRELATES)])


def is_number(token: Token) -> bool:
    """Whether it is a figure, or a word for one."""
    return (
        token.kind in ("number", "version")
        or token.lower in NUMBER_WORDS
        or token.lower in FRACTIONS
        or token.lower in MULTIPLES
    )


def is_name(token: Token, first: bool = False) -> bool:
    """Whether it names a model, a data set or a method; ``first``: it opens a sentence, so its capital says nothing."""
    text = token.text
    if token.kind != "word" or text in GENERIC_NAMES or len(text) < 2:
        return False
    if token.lower.removesuffix("'s") in NAMES and text != text.lower():
        return True
    letters = re.sub(r"[^A-Za-z]", "", text.removesuffix("s"))
    if not letters:
        return False
    shaped = any(c.isupper() for c in letters[1:]) or (any(c.isdigit() for c in text) and letters[0].isupper())
    return shaped or (text[0].isupper() and not first)


# ---------------------------------------------------------------------------------------------------------------------
# Comparing
# ---------------------------------------------------------------------------------------------------------------------

#: The classes of what differs, in the order in which they are named.
KINDS = ("number", "unit", "negation", "direction", "entity", "quantifier", "hedge", "order", "words")


@dataclass(frozen=True)
class Difference:
    """How a quote differs from what the paper has.

    Attributes:
        parts: (words of the quote, words of the paper) in order; where both are there, they are the same to a reader.
        kinds: the classes of what differs, of ``KINDS``; none if nothing does.
    """

    parts: tuple[tuple[str, str], ...]
    kinds: tuple[str, ...]

    @property
    def diff(self) -> str:
        """``[-words of the quote-]{+words of the paper+}`` among the words that they share, as the paper has them."""
        shown = []
        for quote, found in self.parts:
            if quote and found:
                shown.append(found)
            elif quote:
                shown.append(f"[-{quote}-]")
            elif shown and shown[-1].startswith("[-"):
                shown[-1] += f"{{+{found}+}}"
            else:
                shown.append(f"{{+{found}+}}")
        return " ".join(shown)


def difference(quote: str, found: str) -> Difference:
    """Where the words of a quote and of a paper differ, and in what; case, punctuation and typography do not count."""
    ours, theirs = _words(quote), _words(found)
    parts = _aligned(ours, theirs)
    if all(map(all, parts)):
        return Difference(parts, ())
    if Counter(_keys(ours)) == Counter(_keys(theirs)):
        return Difference(parts, ("order",))
    classes = _classes(*_alike(_aligned(*sorted((ours, theirs)))))
    return Difference(parts, tuple(kind for kind in KINDS if kind in classes))


def _aligned(ours: Sequence[str], theirs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(words of one text, words of the other) in order: both where they are the same to a reader, else one of them."""
    ours_keys, theirs_keys = _keys(ours), _keys(theirs)
    parts: list[tuple[str, str]] = []
    for _, a, b, c, d in SequenceMatcher(None, ours_keys, theirs_keys, autojunk=False).get_opcodes():
        pair = " ".join(ours[a:b]), " ".join(theirs[c:d])
        if "".join(ours_keys[a:b]) == "".join(theirs_keys[c:d]):
            parts.append(pair)
        else:
            parts += [(pair[0], "")] * bool(pair[0]) + [("", pair[1])] * bool(pair[1])
    return tuple(parts)


def _alike(parts: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Both texts, with what is the same to a reader written in one way: as the one with more marks has it.

    So a word has the same neighbours in both, and which of the two texts is the quote makes no difference.
    """
    one, other = [], []
    for ours, theirs in parts:
        same = max(ours, theirs, key=lambda words: (len(words), words)) if ours and theirs else ""
        one.append(same or ours)
        other.append(same or theirs)
    return " ".join(one), " ".join(other)


def _words(text: str) -> list[str]:
    """The words of a text as they stand between spaces; what is only punctuation stays with its neighbour."""
    words: list[str] = []
    for word in text.split():
        if words and not (_key(word) and _key(words[-1])):
            words[-1] += f" {word}"
        else:
            words.append(word)
    return words


def _keys(words: Iterable[str]) -> list[str]:
    """What words are compared by; a lone punctuation mark is itself."""
    return [_key(word) or word for word in words]


@lru_cache(maxsize=65536)
def _key(word: str) -> str:
    """What makes a word: letters, digits, and the marks that change a figure."""
    word = plain(word).casefold()
    return "".join(re.findall(r"[^\W_]|[%\u00d7<>=±~≈^+]|(?<=\d)[.](?=\d)|(?<!\w)[.-](?=[\d.])", word))


def _classes(ours: str, theirs: str) -> set[str]:
    """The classes of what only one of two texts has; "words" where none has a class."""
    here, there = _tagged(ours), _tagged(theirs)
    apart = (here - there) + (there - here)
    classes = {kind for kind, _ in apart}
    return classes - {"function"} or {"words"}


def _tagged(passage: str) -> Counter[tuple[str, str]]:
    """(class, word) of a text; words of one meaning are one: improves and improve, 5% and 5 percent."""
    text = tokens(passage)
    tagged: Counter[tuple[str, str]] = Counter()
    classed: set[int] = set()
    lexicons = (("direction", directions), ("negation", negations), ("quantifier", quantifiers), ("hedge", hedges))
    for place, token in enumerate(text):
        if is_number(token):
            tagged["number", token.lower.replace(",", "")] += 1
            classed.add(place)
            unit = units.at(text, place + 1)
            if unit:
                tagged["unit", unit[0]] += 1
                classed.update(range(place + 1, place + 1 + unit[1]))
    for kind, lexicon in lexicons:
        for start, end, tag in lexicon.all(text):
            if not classed.intersection(range(start, end)) or kind != "direction":
                word = tag if kind in ("direction", "negation") else " ".join(token.stem for token in text[start:end])
                tagged[kind, word] += 1
                classed.update(range(start, end))
    for place, token in enumerate(text):
        if place in classed or token.kind == "mark":
            continue
        if is_name(token, first=place == 0):
            tagged["entity", token.lower] += 1
        elif token.lower in FUNCTION_WORDS:
            tagged["function", token.lower] += 1
        else:
            tagged["words", token.stem] += 1
    return tagged
