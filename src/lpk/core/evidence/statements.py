"""What a text says, in a form in which two texts can be laid side by side.

A text becomes its content words in order. Each has a key (its stem; for a word of a direction, the axis) and a sign
(+1, or -1 for the other side of the axis; turned by each negation that reaches it). Hedges are no content words: they
mark the words that they take back. So "does not improve" and "degrades" both are (quality, -1). English only, by rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from lpk.core.evidence.quantities import Quantity, quantities
from lpk.core.evidence.sentences import sentences
from lpk.core.evidence.vocabulary import FUNCTION_WORDS, NEGATIVE_PREFIXES, NOT_ONLY
from lpk.core.evidence.wording import (
    Lexicon,
    Token,
    bounds,
    directions,
    hedges,
    is_name,
    is_number,
    light,
    negations,
    prefixed,
    quantifiers,
    tokens,
    universal,
)

_BREAKS = frozenset(["but", "whereas", "while", "although", "though", "because", "however", "yet", "when", "until", "if"])
_BEYOND = 3
#: Verbs that compare what is before them with what is after.
_TRANSITIVE = Lexicon([("verb", "outperform|underperform|surpass|beat|exceed")])
_COMPARED = Lexicon([("than", "than|over|versus|vs|against|compared to|compared with|relative to|in comparison to")])
_PREPOSITIONS = frozenset("in on at by for with after before when until across under during from as if to".split())


@dataclass
class Word:
    """A content word of a text.

    Attributes:
        text: as it stands.
        key: what it is compared by.
        side: +1 or -1 for a word of a direction, else 0.
        negations: how many reach it.
        hedged: whether a hedge is on it alone, or on all of its clause.
        place: among the content words.
        clause: which clause of the text it is in, counted.
        kind: word, direction, number, name, quantifier or light.
        level: of a quantifier, see ``vocabulary.QUANTIFIERS``.
        left, right: of a comparison, the keys of what is compared with what.
    """

    text: str
    key: str
    kind: str
    place: int
    clause: int
    token: int
    side: int = 0
    negations: int = 0
    hedged: bool = False
    doubted: bool = False
    level: int = -1
    universal: bool = False
    left: frozenset[str] = frozenset()
    right: frozenset[str] = frozenset()

    @property
    def sign(self) -> int:
        """+1 or -1: the side of its axis, and whether it is denied."""
        return (self.side or 1) * (-1) ** self.negations

    @property
    def shown(self) -> str:
        """The word, with the denial that reaches it."""
        return f"not {self.text}" if self.negations % 2 else self.text


@dataclass
class Statement:
    """A text, read."""

    text: str
    tokens: tuple[Token, ...]
    quantities: tuple[Quantity, ...]
    words: list[Word] = field(default_factory=list)
    hedges: list[str] = field(default_factory=list)
    mild: list[str] = field(default_factory=list)
    boosters: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[Word]:
        """Its words of a kind."""
        return [word for word in self.words if word.kind == kind]

    @property
    def keys(self) -> set[str]:
        """The keys of its words that say something."""
        return {word.key for word in self.words if word.kind not in ("quantifier", "light")}

    def near(self, word: Word) -> dict[str, int]:
        """How far each other key is from a word, in content words; a clause's end counts as three."""
        distances: dict[str, int] = {}
        for other in self.words:
            if other is not word and other.kind not in ("quantifier", "light"):
                far = abs(other.place - word.place) + _BEYOND * abs(other.clause - word.clause)
                distances[other.key] = min(far, distances.get(other.key, far))
        return distances


def likeness(here: dict[str, int], there: dict[str, int]) -> float:
    """How alike the surroundings of two words are: shared keys count the more, the nearer they are in both.

    No word is more like another than like itself.
    """
    return sum(1 / max(here[key], there[key]) for key in here.keys() & there.keys())


@lru_cache(maxsize=4096)
def read(text: str) -> Statement:
    """A text of one or more sentences, read. The answer is shared: it is not to be changed."""
    whole = Statement(text, tokens(text), quantities(text))
    place = clause = 0
    for sentence in sentences(text) or ("",):
        part = _Reader(tokens(sentence), quantities(sentence), place, clause).read()
        whole.words += part.words
        whole.hedges += part.hedges
        whole.mild += part.mild
        whole.boosters += part.boosters
        place += len(part.words) + _BEYOND
        clause = part.clause + _BEYOND
    return whole


class _Reader:
    """Reads a sentence: first its words, then what reaches them."""

    def __init__(self, text: tuple[Token, ...], figures: Sequence[Quantity], place: int, clause: int) -> None:
        self.text, self.figures, self.place, self.clause = text, figures, place, clause
        self.words: list[Word] = []
        self.hedges: list[str] = []
        self.mild: list[str] = []
        self.boosters: list[str] = []
        self.spans: list[tuple[int, int, str]] = []
        self.at: dict[int, Word] = {}
        self.breaks: set[int] = set()
        self.adverbs: list[int] = []

    def read(self) -> _Reader:
        gone = self._hedges() | self._bounds()
        self._words(gone)
        for start, end, _ in negations.all(self.text):
            self._negate(start, end)
        for place in self.adverbs:
            after = next(self._after(place + 1), None)
            before = [word for word in self.words if word.token < place]
            for word in [after] if after else before[-1:]:
                word.negations += 1
        for start, end, tag in self.spans:
            self._hedge(start, end, tag)
        for word in self.words:
            if word.side:
                self._compare(word)
        return self

    def _phrase(self, start: int, end: int) -> str:
        return " ".join(token.text for token in self.text[start:end])

    def _hedges(self) -> set[int]:
        gone: set[int] = set()
        for start, end, tag in hedges.all(self.text):
            into = {"hedge": self.hedges, "mild": self.mild, "booster": self.boosters}[tag]
            into.append(self._phrase(start, end))
            if tag != "booster":
                self.spans.append((start, end, tag))
                gone.update(range(start, end))
        return gone

    def _bounds(self) -> set[int]:
        """The tokens of "up to", "more than" before a figure: they are the figure's, and no direction."""
        gone: set[int] = set()
        for figure in self.figures:
            if figure.bound:
                gone.update(range(max(0, figure.place - 4), figure.place))
        spans = [(start, end) for start, end, _ in bounds.all(self.text)]
        return {place for start, end in spans if end - 1 in gone for place in range(start, end)} & gone

    def _words(self, gone: set[int]) -> None:
        """Every content word, and where clauses end."""
        figures = {figure.place: figure for figure in self.figures}
        lexicon_spans = {start: (end, tag) for start, end, tag in quantifiers.all(self.text)}
        universals = {start for start, _, _ in universal.all(self.text)}
        axes = {start: (end, tag) for start, end, tag in directions.all(self.text)}
        first = True
        place = 0
        while place < len(self.text):
            token, end = self.text[place], place + 1
            if place in gone:
                pass
            elif token.kind == "mark":
                if token.text in ",;:()[]":
                    self.clause += 1
                    self.breaks.add(place)
            elif token.lower in _BREAKS:
                self.clause += 1
                self.breaks.add(place)
            elif place in figures:
                end = max(figures[place].end, end)
                self._add(place, self._phrase(place, end), f"{figures[place].value:g}", "number")
            elif place in lexicon_spans and token.lower not in ("no", "nearly", "almost"):
                end, level = lexicon_spans[place]
                self._add(place, self._phrase(place, end), "", "quantifier", level=int(level), universal=place in universals)
            elif place in axes:
                end, axis = axes[place]
                self._add(place, self._phrase(place, end), axis[:-1], "direction", side=1 if axis[-1] == "+" else -1)
            elif not is_number(token) and token.lower not in FUNCTION_WORDS and negations.at(self.text, place) is None:
                self._content(place, token, first)
            first = first and (token.kind == "mark" or place in gone)
            place = end

    def _content(self, place: int, token: Token, first: bool) -> None:
        denied = _without_prefix(token)
        if denied is not None and token.lower.endswith("ly"):
            self.adverbs.append(place)
        elif is_name(token, first):
            self._add(place, token.text, re.sub(r"\W|_", "", token.lower.removesuffix("'s")), "name")
        elif denied is not None:
            axis = directions.at((denied,), 0)
            word = self._add(place, token.text, axis[0][:-1] if axis else denied.stem, "direction" if axis else "word")
            word.side = (1 if axis[0][-1] == "+" else -1) if axis else 0
            word.negations = 1
        else:
            kind = "light" if light.at((token,), 0) else "word"
            self._add(place, token.text, token.stem, kind)

    def _add(self, token: int, text: str, key: str, kind: str, **more: int) -> Word:
        word = Word(text, key, kind, self.place + len(self.words), self.clause, token, **more)
        self.words.append(word)
        self.at[token] = word
        return word

    def _after(self, place: int) -> Iterator[Word]:
        """The content words from a token on, to the end of the clause."""
        for token in range(place, len(self.text)):
            if token in self.breaks:
                return
            if token in self.at:
                yield self.at[token]

    def _negate(self, start: int, end: int) -> None:
        """Turn the sign of the word that a negation reaches: through adverbs and light words to the first other."""
        if end < len(self.text) and self.text[end].lower in NOT_ONLY:
            return
        for word in self._after(end):
            word.negations += 1
            if word.kind == "light" and self._that(word.token):
                for other in self._after(self._that(word.token)):
                    other.negations += 1
                return
            adverb = word.text.endswith("ly") or word.text.lower() == "always"
            if word.kind != "light" and not adverb:
                return

    def _that(self, place: int) -> int:
        """The token after "that", where it follows a word: no evidence that, not the case that."""
        return place + 2 if place + 1 < len(self.text) and self.text[place + 1].lower in ("that", "whether") else 0

    def _hedge(self, start: int, end: int, tag: str) -> None:
        """Mark the word that a hedge is on, and for a strong one all that follows in the clause."""
        on = next((word for word in self._after(end) if not word.text.endswith("ly") and word.kind != "quantifier"), None)
        if on is not None:
            on.hedged = on.hedged or tag == "hedge"
            on.doubted = True
        if tag == "hedge":
            for word in self._after(end):
                word.doubted = True

    def _compare(self, word: Word) -> None:
        """What a direction compares with what: left more than right."""
        sentence = [other for other in self.words if other is not word and other.kind not in ("quantifier", "light")]
        place = word.token
        if _TRANSITIVE.at(self.text, place):
            start = place + 1
            passive = start < len(self.text) and self.text[start].lower == "by"
            right = self._argument(start + passive)
            left = frozenset(other.key for other in sentence if other.token < place)
            word.left, word.right = (right, left) if passive else (left, right)
            return
        for start, end, _ in _COMPARED.all(self.text):
            right = self._argument(end)
            before = start < place
            if before and not (self.text[start].stem in ("compar", "relativ", "against") and self.breaks & set(range(end, place))):
                continue
            others = frozenset(other.key for other in sentence if before or other.token < place)
            word.left, word.right = others, right
            return

    def _argument(self, place: int) -> frozenset[str]:
        """The keys of a noun phrase that begins at a token: to a preposition or the clause's end, four words at most."""
        keys: list[str] = []
        for token in range(place, len(self.text)):
            if token in self.breaks or self.text[token].lower in _PREPOSITIONS or len(keys) == 4:
                break
            if token in self.at and self.at[token].kind not in ("quantifier", "light"):
                keys.append(self.at[token].key)
        return frozenset(keys)


def _without_prefix(token: Token) -> Token | None:
    """The word that a prefix denies: explored, for unexplored."""
    word = token.lower.removesuffix("ly")
    for prefix in NEGATIVE_PREFIXES:
        rest = word.removeprefix(prefix)
        if rest != word:
            bare = Token(rest, "word", token.start, token.end)
            if prefixed.at((bare,), 0):
                return bare
    return None
