"""A document as a row of words, squeezed so that typesetting cannot hide what it says.

*Squeezed* text has letters, digits and what belongs to a number: its decimal point, sign, per cent, relation. Spaces,
hyphens, ligatures, quotation marks and accents are gone, so hyphenation at line ends, kerning and fonts do not matter:

    "The of|fline profi-|ling takes 3.8x as long" -> "theofflineprofilingtakes3.8×aslong"

What squeezing could make equal and is not equal, is told apart: digits that a space divides (``1 0`` -> ``1_0``), ranges
(``2-3``), exponents (``10^5``), signs; and where two texts agree when squeezed, :meth:`View.find` still wants the match
to begin and end between words, spaces between letters in the same places, and no ``NO`` for a ``no``.
"""

# ruff: noqa: RUF001, RUF002 - typographic characters are what this is about
from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

from lpk.core.evidence.documents.lines import Word

#: Stands where two words follow each other in a view but not in the document; no quote has it.
BARRIER = "\0"

#: So many spaces that only one side has are a reader's fault; fewer make other words.
MANY_SPACES = 3

_UNIFORM = str.maketrans(
    {
        **dict.fromkeys("‐‑‒–−﹣－", "-"),
        "✕": "×",
        **dict.fromkeys("·⋅∙", "."),
        **dict.fromkeys("∼～", "~"),
        **dict.fromkeys("⩽≦⩽", "≤"),
        **dict.fromkeys("⩾≧⩾", "≥"),
        "ı": "i",
        "ȷ": "j",
        "\u00ad": "",
        "\u200b": "",
    }
)
_TIMES = re.compile(r"(?<=\d)x(?![^\W\d_])")
_RAISED = re.compile(r"(?<=\d)(?=[⁰¹²³⁴⁵⁶⁷⁸⁹])")
_ACCENTS = re.compile("[\u0300-\u036f]")
#: What stays of a word. Marks that are vowels in the scripts of South Asia, or sounds in Hebrew, Arabic and Japanese, are
#: letters here.
_KEPT = re.compile(
    r"""(?:[^\W_]|[\u0591-\u0eff\u3099\u309a])+
    | (?<=\d)[.,:/](?=\d)            # within a number, a list, a ratio
    | (?<=\d)\^(?=\d)                # 10^5; 10^-5 is 10-5, for every other program writes it so
    | (?<=\d)-(?=\d) | (?<=\d)-$     # a range, perhaps broken at the end of a line
    | (?<![\w)])[-+~](?=[.\d])       # a sign
    | ^[-\u2212]$                    # a sign that stands alone: only U+2212 is left by then
    | (?<!\w)\.(?=\d)                # .5
    | [%‰<>=≤≥≠≈±×→←↑↓€£¥]
    """,
    re.VERBOSE,
)
#: Words whose capitals make another word of them.
_OTHER_WORDS = frozenset(
    ["no", "it", "us", "who", "or", "and", "in", "is", "as", "at", "am", "be", "so", "all", "aids", "may", "can"]
)
_UNIT = re.compile(r"[^a-zA-Z]*([a-zA-Z]{1,3})")
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
#: Letters of scripts that put spaces between words, less Greek, which formulas are full of.
_SPELLED = re.compile("[a-z\u00df-\u024f\u0400-\u052f\u1e00-\u1eff]")
_HYPHENS = "-‐‑\u00ad"
_IN_WORDS = frozenset(_HYPHENS + "'’ʼ.^_")


@lru_cache(1 << 16)
def squeeze(word: str) -> str:
    """What is left of a word; case stays."""
    if not word.isascii():
        lone = word == "−"
        word = str(unicodedata.normalize("NFKC", _RAISED.sub("^", word)).translate(_UNIFORM))
        if any(map(unicodedata.combining, unicodedata.normalize("NFKD", word))):
            word = _without_accents(word)
        if lone:
            return "-"
    elif word == "-":
        return ""
    if "x" in word:
        word = _TIMES.sub("×", word)
    kept: list[str] = _KEPT.findall(word)
    if len(kept) < 2:
        return kept[0] if kept else ""
    out = kept[0]
    for piece in kept[1:]:
        out += "_" + piece if out[-1].isdigit() and piece[0].isdigit() else piece
    return out


def _without_accents(word: str) -> str:
    """Latin, Greek and Cyrillic letters without accents; ``≠`` is no ``=`` with an accent."""
    return "".join(
        _ACCENTS.sub("", unicodedata.normalize("NFKD", char)) if char.isalpha() else _ACCENTS.sub("", char)
        for char in word
    )


def _divide_numbers(pieces: list[str]) -> None:
    """Keep digits apart that stand in two words: ``1 0`` is no ``10``, and ``2- 3`` no ``23``."""
    digit, dash = False, ""  # what the last word ended with
    for nth, piece in enumerate(pieces):
        if not piece:
            continue
        if digit and piece == "x":
            piece = pieces[nth] = "×"  # noqa: PLW2901
        elif (digit or dash) and piece[0].isdigit():
            pieces[nth - 1] += dash or "_"
        end = piece[-1]
        if end.isalpha():
            digit, dash = False, ""
        elif end == "-":
            # A sign that stands alone, or a hyphen after a digit at the end of a line, is one if a digit follows:
            # "16-|bit" has none.
            pieces[nth] = piece[:-1]
            digit, dash = piece[-2:-1].isdigit(), "-"
        else:
            digit, dash = end.isdigit(), ""


class View:
    """Words in one order, squeezed and searchable.

    Attributes:
        name: what was left out or moved.
        words: its words, and None where what follows does not follow in the document.
        cased: squeezed.
        folded: the same in lower case.
        starts: where each word begins in these.
    """

    def __init__(self, name: str, words: Iterable[Word | None], bare: bool = False) -> None:
        self.name, self.words, self.bare = name, list(words), bare
        pieces = [BARRIER if word is None else squeeze(word.bare if bare else word.text) for word in self.words]
        _divide_numbers(pieces)
        self.cased = "".join(pieces)
        self.starts = [0, *accumulate(map(len, pieces))][:-1]
        folded = self.cased.lower()
        # A letter whose lower case is two characters would shift all that follows.
        self.folded = folded if len(folded) == len(self.cased) else "".join(c.lower()[:1] for c in self.cased)

    @classmethod
    def of(cls, text: str) -> View:
        """Of a quote."""
        return cls("quote", (Word(word, word, nth, nth) for nth, word in enumerate(text.split())))

    def find(self, quote: View, begin: int = 0) -> Iterator[tuple[int, int]]:
        """Where in :attr:`folded` the words of a quote stand: (start, end), from first to last."""
        at = self.folded.find(quote.folded, begin) if quote.folded else -1
        while at >= 0:
            end = at + len(quote.folded)
            if self._between_words(at, end) and self._spaced_alike(quote, at) and self._cased_alike(quote, at):
                yield at, end
            at = self.folded.find(quote.folded, at + 1)

    def word_at(self, place: int) -> int:
        """The index of the word that has this character."""
        return bisect_right(self.starts, place) - 1

    def span(self, start: int, end: int) -> Sequence[Word]:
        """The words of a match."""
        return [word for word in self.words[self.word_at(start) : self.word_at(end - 1) + 1] if word]

    def text(self, first: int, last: int) -> str:
        """The words from one index to before another, as they are written."""
        return " ".join(self._written(word) for word in self.words[max(first, 0) : last] if word).strip()

    def _written(self, word: Word | None) -> str:
        return "" if word is None else word.bare if self.bare else word.text

    def gap(self, place: int) -> str | None:
        """What is written between the characters before and at a place: within a word, or None between two words."""
        nth = self.word_at(place)
        inside, written = place - self.starts[nth], self._written(self.words[nth])
        return _gap(written, inside) if 0 < inside < len(squeeze(written)) else None

    def _between_words(self, start: int, end: int) -> bool:
        return self._begins(start) and self._ends(end)

    def _begins(self, place: int) -> bool:
        """Whether a match may begin here: not within a word, nor within a number or after its sign."""
        if self.folded[place].isdigit() and self.folded[place - 1 : place] in tuple("-+~<>≤≥±×€£¥^.,:/"):
            return False
        return self._border(place)

    def _ends(self, place: int) -> bool:
        """Whether a match may end before this place: not within a word, nor within a number or before its unit."""
        here = self.folded[place : place + 1]
        if not here:
            return True
        goes_on = here in "%‰^×" or (here in ".,:/-" and self.gap(place) is not None)
        return not (goes_on and self.folded[place - 1].isdigit()) and self._border(place)

    def _border(self, place: int) -> bool:
        around = self.folded[max(place - 1, 0) : place + 1]
        gap = self.gap(place)
        if gap is not None:
            return bool(set(gap) - _IN_WORDS or set(around) & set("=<>≤≥≠→_") or _UNSPACED.search(around))
        # A word that is broken at the end of a line goes on in the next.
        nth = self.word_at(place)
        previous = next((word for word in reversed(self.words[max(nth - 2, 0) : nth]) if word), None)
        word = self.words[nth]
        return not (previous and word and previous.line != word.line and self._hyphenated(previous))

    def _hyphenated(self, word: Word) -> bool:
        return self._written(word)[-1:] in tuple(_HYPHENS)

    def _spaced_alike(self, quote: View, at: int) -> bool:
        """Whether both have spaces in the same places between letters; hyphens and ends of lines are forgiven.

        So are lines that a reader left without any spaces, as it does where they are set very narrow: they differ in many
        places and in one direction, ``notable`` for ``not able`` in one.
        """
        first, last = self.word_at(at), self.word_at(at + len(quote.folded) - 1)
        ours = set(quote.starts)
        theirs = {start - at for start in self.starts[first + 1 : last + 1]}
        more_in_quote = sum(_divides(quote, place, self, at + place) for place in ours - theirs)
        more_in_text = sum(_divides(self, at + place, quote, place) for place in theirs - ours)
        many = more_in_quote + more_in_text >= MANY_SPACES and not (more_in_quote and more_in_text)
        return many or not (more_in_quote or more_in_text)

    def _follows_hyphen(self, place: int) -> bool:
        """Whether the word that begins here follows one that ends with a hyphen."""
        nth = self.word_at(place)
        before = self.words[nth - 1] if nth else None
        return before is not None and self._hyphenated(before)

    def _cased_alike(self, quote: View, at: int) -> bool:
        """Whether no word of the quote is another one in the text's capitals."""
        theirs = self.cased[at : at + len(quote.cased)]
        if theirs == quote.cased:
            return True
        headline = theirs.isupper() or quote.cased.isupper()
        for start, end in pairwise([*quote.starts, len(quote.cased)]):
            here, there = quote.cased[start:end], theirs[start:end]
            if here == there:
                continue
            if not headline and here.lower() in _OTHER_WORDS and here.isupper() != there.isupper():
                return False
            counted = any(char.isdigit() for char in quote.cased[max(start - 1, 0) : end - 1])
            if counted and (unit := _UNIT.fullmatch(here)) and _other_unit(unit[1], there[-len(unit[1]) :]):
                return False
        return True


def _divides(spaced: View, place: int, joined: View, there: int) -> bool:
    """Whether the one view has a space between two letters for which the other has nothing: no hyphen, slash, apostrophe."""
    # Beside symbols and Greek letters a formula's spaces are of many widths, and readers differ.
    letters = spaced.folded[max(place - 1, 0) : place + 1]
    spelled = 0 < there < len(joined.folded) and len(letters) == 2 and all(map(_SPELLED.match, letters))
    return spelled and not joined.gap(there) and not spaced._follows_hyphen(place)


def _other_unit(ours: str, theirs: str) -> bool:
    """Whether units differ in more than the taste of their writers: milli and mega, bits and bytes."""
    differing = [nth for nth, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]]
    return any(ours[nth] in ("bB" if nth else "mM") for nth in differing)


def _gap(word: str, inside: int) -> str:
    """What a word has between the ``inside``-th character that squeezing keeps, and the next."""
    lengths = [len(squeeze(word[:end])) for end in range(len(word) + 1)]
    first = next(end for end, length in enumerate(lengths) if length >= inside)
    last = max((end for end, length in enumerate(lengths) if length <= inside), default=first)
    return word[first : max(first, last)]
