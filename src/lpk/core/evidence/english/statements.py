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

from lpk.core.evidence.english.quantities import Quantity, figures
from lpk.core.evidence.english.sentences import sentences
from lpk.core.evidence.english.vocabulary import FREQUENCIES, FUNCTION_WORDS, NEGATIVE_PREFIXES, NOT_ONLY
from lpk.core.evidence.english.wording import (
    Lexicon,
    Token,
    agents,
    bounds,
    directions,
    hedges,
    is_name,
    is_number,
    light,
    modifiers,
    negations,
    prefixed,
    quantifiers,
    tokens,
    universal,
)

_BREAKS = frozenset(
    ["but", "whereas", "while", "although", "though", "because", "however", "yet", "when", "until", "if"]
)
#: Quantifiers that are read as negations, or as no more than "about".
_NO_QUANTIFIERS = frozenset(["no", "none", "nearly", "almost", "hardly", "barely", "scarcely"])
_BE = frozenset(["is", "are", "was", "were", "be", "been", "being"])
#: Negations of a noun; the others are of a verb.
_OF_NOUNS = frozenset(["no", "none", "without", "lack", "lack of", "absence of", "neither", "nor"])
_DEGREES = {"more": 1, "most": 1, "less": -1, "least": -1}
#: Where a statement that is hedged as a whole ends.
_TURNS = frozenset([";", "but", "whereas", "although", "though", "however", "yet"])
_MARKS = frozenset(",;:()[]")
#: How many words the end of a clause or a sentence counts for.
_BEYOND = 3
#: Words further away say nothing of what a word is about: they would count for less than 1/144.
_FAR = 12
#: Verbs that compare what is before them with what is after.
_TRANSITIVE = Lexicon([("verb", "outperform|underperform|surpass|beat|exceed")])
_COMPARED = Lexicon([("than", "than|over|versus|vs|against|compared to|compared with|relative to|in comparison to")])
_PREPOSITIONS = frozenset(
    ("in", "on", "at", "by", "for", "with", "after", "before", "across", "under", "during", "from", "as", "to")
)


@dataclass(eq=False)
class Word:
    """A content word of a text.

    Attributes:
        text: as it stands.
        key: what it is compared by.
        kind: word, direction, number, name, quantifier, or light: one that says little.
        place: among the content words of the text.
        clause: which clause of the text it is in, counted.
        token: its first token in its sentence.
        side: +1 or -1 for a word of a direction, else 0.
        negations: how many reach it.
        wide: whether one of them is on its clause as a whole.
        unsure: whether one may reach it that rules can't place.
        hedged: whether it is the word that a hedge is on.
        doubted: whether a hedge stands before it in its clause.
        level: of a quantifier, see ``vocabulary.QUANTIFIERS``.
        universal: of a quantifier, see ``vocabulary.UNIVERSAL``.
        before: of a direction, the keys before it in its sentence.
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
    wide: bool = False
    unsure: bool = False
    hedged: bool = False
    doubted: bool = False
    level: int = -1
    universal: bool = False
    before: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    right: frozenset[str] = frozenset()

    @property
    def sign(self) -> int:
        """+1 or -1: the side of its axis, and whether it is denied."""
        return (self.side or 1) * (-1 if self.negations % 2 else 1)

    @property
    def hedging(self) -> bool:
        """Whether it says that something holds only sometimes or often; "mostly" is near enough to always."""
        return 0 < self.level < 4 and self.text.lower() in FREQUENCIES

    @property
    def shown(self) -> str:
        """The word, with the denial that reaches it."""
        return f"not {self.text}" if self.negations % 2 else self.text


@dataclass
class Statement:
    """A text, read."""

    text: str
    tokens: tuple[Token, ...]
    quantities: list[Quantity] = field(default_factory=list)
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
        """How far each other key is from a word, in content words, up to a dozen; a clause's end counts as three."""
        distances: dict[str, int] = {}
        index = self.words.index(word)
        for other in self.words[max(0, index - _FAR) : index + _FAR + 1]:
            far = abs(other.place - word.place) + _BEYOND * abs(other.clause - word.clause)
            if other is not word and other.kind not in ("quantifier", "light") and far <= _FAR:
                distances[other.key] = min(far, distances.get(other.key, far))
        return distances


def likeness(here: dict[str, int], there: dict[str, int]) -> float:
    """How alike the surroundings of two words are: shared keys count the more, the nearer they are in both.

    No word is more like another than like itself.
    """
    return sum(1 / max(here[key], there[key]) ** 2 for key in here.keys() & there.keys())


@lru_cache(maxsize=4096)
def read(text: str) -> Statement:
    """A text of one or more sentences, read. The answer is shared: it is not to be changed."""
    whole = Statement(text, tokens(text))
    place = clause = 0
    for sentence in sentences(text):
        part = _Reader(tokens(sentence), place, clause)
        whole.quantities += part.figures
        whole.words += part.words
        whole.hedges += part.hedges
        whole.mild += part.mild
        whole.boosters += part.boosters
        place += len(part.words) + _BEYOND
        clause = part.clause + _BEYOND
    return whole


class _Reader:
    """Reads a sentence: takes the hedges out, finds its words, then what negations and hedges reach."""

    def __init__(self, text: tuple[Token, ...], place: int, clause: int) -> None:
        self.hedges: list[str] = []
        self.mild: list[str] = []
        self.boosters: list[str] = []
        self.text: list[Token] = []
        marked = self._without_hedges(text)
        self.figures = figures(self.text)
        self.place, self.clause = place, clause
        self.words: list[Word] = []
        self.at: dict[int, Word] = {}
        self.breaks: set[int] = set()
        self.bounding = self._bounding()
        self.adverbs: list[int] = []
        self._words()
        self._negations()
        for index, token in enumerate(self.text):
            if token.lower == "little":  # "changes it only little" denies more or less
                for word in self._before(index):
                    word.unsure = True
        for hedge in marked:
            self._hedge(hedge)
        for word in self.words:
            if word.hedging:
                following = [other for other in self._after(word.token + 1) if not other.text.endswith("ly")]
                for other in following[:1]:
                    other.hedged = True
        for word in self.words:
            if word.side:
                self._compare(word)

    def _without_hedges(self, text: tuple[Token, ...]) -> list[int]:
        """Take the hedges out, so that one more changes nothing else; before which tokens those stood that count."""
        marked: list[int] = []
        done = 0
        for start, end, tag in hedges.all(text):
            phrase = " ".join(token.text for token in text[start:end])
            {"hedge": self.hedges, "mild": self.mild, "booster": self.boosters}[tag].append(phrase)
            stays = tag == "booster" or negations.at(text, start) is not None  # unlikely
            self.text += text[done : end if stays else start]
            done = end
            if tag == "hedge":
                marked.append(len(self.text))
        self.text += text[done:]
        return marked

    # -- words ---------------------------------------------------------------------------------------------------------

    def _words(self) -> None:
        """Every content word, and where clauses end."""
        place, first = 0, True
        while place < len(self.text):
            token, end = self.text[place], place + 1
            if token.text in _MARKS or token.lower in _BREAKS:
                self.clause += 1
                self.breaks.add(place)
            elif token.kind != "mark" and place not in self.bounding:
                if token.lower == "and" and directions.at(self.text[place + 1 : place + 5], 0):
                    self.clause += 1  # "helps small models and hurts large ones" says two things
                end = self._word(place, first)
                first = False
            place = end

    def _bounding(self) -> set[int]:
        """The tokens of "up to", "more than" around a figure: they are the figure's, and no direction."""
        ends = {place for figure in self.figures if figure.bound for place in (figure.place, figure.place - 1)}
        starts = {figure.end for figure in self.figures if figure.bound}
        spans = [(start, end) for start, end, _ in bounds.all(self.text) if end in ends or start in starts]
        return {place for start, end in spans for place in range(start, end)}

    def _word(self, place: int, first: bool) -> int:
        """Take up what begins at a token, if it is a content word; the token after it."""
        token, rest = self.text[place], self.text[place : place + 4]
        figure = next((figure for figure in self.figures if figure.place == place), None)
        quantifier, axis = quantifiers.at(rest, 0), directions.at(rest, 0)
        if figure:
            self._add(place, figure.end, f"{figure.value:g}", "number")
            for unit in range(place + 1, figure.end):  # 4 A100s
                if is_name(self.text[unit]):
                    self._add(unit, unit + 1, _name(self.text[unit]), "name")
            return figure.end
        after = directions.at(self.text[place + 1 : place + 5], 0)
        if token.lower in _DEGREES and after:  # less stable
            word = self._add(place, place + 1 + after[1], after[0][:-1], "direction")
            self._direction(word, after[0])
            word.side *= _DEGREES[token.lower]
            return place + 1 + after[1]
        rate = token.lower in ("every", "each") and any(figure.place == place + 1 for figure in self.figures)
        if quantifier and not rate and (quantifier[1] > 1 or token.lower not in _NO_QUANTIFIERS):
            word = self._add(place, place + quantifier[1], "", "quantifier")
            word.level, word.universal = int(quantifier[0]), universal.at(rest, 0) is not None
            return place + quantifier[1]
        if axis:
            self._direction(self._add(place, place + axis[1], axis[0][:-1], "direction"), axis[0])
            return place + axis[1]
        if is_number(token) or token.lower in FUNCTION_WORDS or negations.at(rest, 0):
            return place + 1
        denied = _without_prefix(token)
        if denied and token.lower.endswith("ly"):
            self.adverbs.append(place)
        elif is_name(token, first):
            self._add(place, place + 1, _name(token), "name")
        elif denied:
            word = self._add(place, place + 1, denied.stem, "word")
            word.negations = 1
            axis = directions.at((denied,), 0)
            if axis:
                word.key, word.kind = axis[0][:-1], "direction"
                self._direction(word, axis[0])
        else:
            self._add(place, place + 1, token.stem, "light" if light.at(rest, 0) else "word")
        return place + 1

    def _direction(self, word: Word, tag: str) -> None:
        word.side = 1 if tag[-1] == "+" else -1

    def _add(self, start: int, end: int, key: str, kind: str) -> Word:
        text = " ".join(token.text for token in self.text[start:end])
        word = Word(text, key, kind, self.place + len(self.words), self.clause, start)
        self.words.append(word)
        self.at[start] = word
        return word

    def _after(self, place: int) -> Iterator[Word]:
        """The content words from a token on, to the end of the clause."""
        for token in range(place, len(self.text)):
            if token in self.breaks:
                return
            if token in self.at:
                yield self.at[token]

    def _before(self, place: int) -> list[Word]:
        """The content words before a token in its clause."""
        start = max((token for token in self.breaks if token < place), default=-1)
        return [word for word in self.words if start < word.token < place]

    # -- negations -----------------------------------------------------------------------------------------------------

    def _negations(self) -> None:
        neither = False
        for start, end, _ in negations.all(self.text):
            if start in self.bounding:  # no less than 5
                continue
            negation = self.text[start].lower
            if negation == "neither" and not self._before(start):
                # "neither more data nor a longer context helps" denies a verb that rules don't find
                neither = True
                for word in self._after(end):
                    word.unsure = True
            if not (neither and negation in ("neither", "nor")):
                self._negate(start, end)
        for place in self.adverbs:  # "align inconsistently", "inconsistently align"
            for word in list(self._after(place + 1))[:1] or self._before(place)[-1:]:
                word.negations += 1

    def _negate(self, start: int, end: int) -> None:
        """Turn the sign of the word that a negation reaches: through adverbs and light words to the first other."""
        negation = " ".join(token.lower for token in self.text[start:end])
        before = self._before(start)
        last = self.text[start - 1].lower if start else ""
        if last in ("almost", "nearly") or (end < len(self.text) and self.text[end].lower in NOT_ONLY):
            return
        if self._that(end):
            self._negate_all(end + 1)
            return
        if negation in ("no", "none") and last == "by":  # recovered by none of the methods
            self._turn(before[-1:])
            return
        if negation == "no" and end < len(self.text) and self.text[end].lower in ("less", "more", "worse", "better"):
            for word in list(self._after(end))[:2]:  # "no less accurate" is at least as accurate
                word.unsure = True
            return
        reached, found = self._reached(negation, end, opens=not before)
        opens = all(word.token > start for word in self.words)
        if negation == "without" and opens:  # "without X, it fails" says nothing of X
            for word in reached:
                word.unsure = True
            return
        if reached and self._that(reached[-1].token + 1):
            self._negate_all(reached[-1].token + 2)
        elif not found and reached and reached[-1].kind == "light":  # retraining is not needed
            reached += before[-1:]
        if reached:  # "does not work well" denies that it works, or how well
            reached += [word for word in list(self._after(reached[-1].token + 1))[:3] if word.text.lower() == "well"]
        self._turn(reached)
        for word in reached:  # of "no significant gain" and "the gain is not significant" either may be meant
            word.wide = word.wide or sum(other.kind != "light" for other in reached) > 1

    def _reached(self, negation: str, place: int, opens: bool) -> tuple[list[Word], bool]:
        """The words that a negation before a token reaches, the one it denies last; whether it found that one."""
        reached: list[Word] = []
        of_noun = negation in _OF_NOUNS
        for word in self._after(place):
            if word.kind == "number":
                continue
            if opens and negation in ("no", "none") and agents.at(self.text, word.token):
                of_noun = False
                continue
            reached.append(word)
            if word.kind == "light":
                if self._that(word.token + 1):
                    return reached, False
                of_noun = True
            elif word.kind == "quantifier" and not _adverb(word):  # not all models
                return reached, False
            elif not _adverb(word) and not modifiers.at(self.text, word.token):
                if of_noun and not word.text.endswith("ing"):  # no gradient information
                    reached[-1] = self._head(word)
                return reached, True
        return reached, False

    def _head(self, word: Word) -> Word:
        """The last of the content words that stand side by side with a word."""
        following = self.at.get(word.token + word.text.count(" ") + 1)
        return self._head(following) if following is not None and following.kind in ("word", "direction") else word

    def _that(self, place: int) -> bool:
        """Whether a clause begins here: the case that, no evidence that."""
        return place < len(self.text) and self.text[place].lower in ("that", "whether")

    def _turn(self, words: Sequence[Word]) -> None:
        for word in words:
            word.negations += 1

    def _negate_all(self, place: int) -> None:
        """Turn the signs of a whole clause: one of its words is denied, which one is not known."""
        for word in self._after(place):
            word.negations += 1
            word.wide = True

    # -- hedges and comparisons ----------------------------------------------------------------------------------------

    def _hedge(self, place: int) -> None:
        """Mark what a hedge before a token takes back: the word that it is on, and what follows in the clause."""
        following = self.text[place].lower if place < len(self.text) else ""
        if following == "that":  # we believe that: of a whole statement, whose verb is further on
            ends = (token for token in self.breaks if token > place and self.text[token].lower in _TURNS)
            end = min(ends, default=len(self.text))
            words = [word for word in self.words if place < word.token < end]
        else:
            words = list(self._after(place + (following in _BREAKS)))  # "possibly because"
            that = next((token for token in range(place, len(self.text)) if self.text[token].lower == "that"), None)
            said = [word for word in words if that is not None and word.token < that]
            # "perhaps the best result is that" leaves what follows as it is, "it could be argued that" does not
            words = said if len(said) > 1 else words
            on = (word for word in words if not word.text.endswith("ly") and word.kind != "quantifier")
            for word in list(on)[:1]:
                word.hedged = True
        for word in words:
            word.doubted = True

    def _compare(self, word: Word) -> None:
        """What a direction compares with what: left more than right."""
        others = [other for other in self.words if other is not word and other.kind not in ("quantifier", "light")]
        word.before = frozenset(other.key for other in others if other.token < word.token)
        if _TRANSITIVE.at(self.text, word.token):
            by = word.token + 1 < len(self.text) and self.text[word.token + 1].lower == "by"
            before = [token.lower for token in self.text[max(0, word.token - 2) : word.token] if token.lower != "not"]
            passive = by or (before[-1:] and before[-1] in _BE)
            after, _ = self._argument(word.token + 1 + by)
            word.left, word.right = (after, word.before) if passive else (word.before, after)
            return
        for start, end, _ in _COMPARED.all(self.text):
            right, behind = self._argument(end)
            if start > word.token:
                # of "lower loss and better accuracy than X", only better is compared with X
                if not any(other.side and word.token < other.token < start for other in self.words):
                    word.left, word.right = word.before, right
                    return
            elif self.text[start].stem in ("compar", "relativ") and self.breaks & set(range(behind, word.token)):
                outside = [other for other in others if not start <= other.token < behind]
                word.left, word.right = frozenset(other.key for other in outside), right
                return

    def _argument(self, place: int) -> tuple[frozenset[str], int]:
        """The keys of a noun phrase that begins at a token, and where it ends: a preposition, a clause, four words."""
        keys: list[str] = []
        token = place
        while token < len(self.text) and token not in self.breaks and len(keys) < 4:
            if self.text[token].lower in _PREPOSITIONS:
                break
            if token in self.at and self.at[token].kind not in ("quantifier", "light"):
                keys.append(self.at[token].key)
            token += 1
        return frozenset(keys), token


def _name(token: Token) -> str:
    """What a name is compared by: its letters and digits."""
    return re.sub(r"\W|_", "", token.lower.removesuffix("'s"))


def _adverb(word: Word) -> bool:
    return word.text.endswith("ly") or word.text.lower() == "always"


def _without_prefix(token: Token) -> Token | None:
    """The word that a prefix denies: explored, for unexplored."""
    word = token.lower.removesuffix("ly")
    for prefix in NEGATIVE_PREFIXES:
        rest = word.removeprefix(prefix)
        bare = Token(rest, "word", token.start, token.end)
        if rest != word and prefixed.at((bare,), 0):
            return bare
    return None
