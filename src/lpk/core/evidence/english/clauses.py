"""Whose a figure is: what a claim exchanges of the names, conditions and figures that stand side by side in its quote.

A sentence falls into cells, one for each figure that is set beside another: "A reaches 62.1 | and B 58.4". A claim that
brings two together exchanges them if the quote has them in different cells, each of which has a counterpart of the other:
62.1 goes with A there, and B with 58.4; of data sets, any figure is a counterpart. What is in one cell, or has none, is
let pass. English only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from lpk.core.evidence.english.quantities import Quantity, agree, figures
from lpk.core.evidence.english.sentences import sentences
from lpk.core.evidence.english.vocabulary import DATA_SETS, NAMES, RIVALS, word_set
from lpk.core.evidence.english.wording import Token, is_name, tokens

#: A figure behind one of these may be set beside the one before it.
_SEPARATORS = word_set("and , ; : ) but while whereas versus vs against than compared relative although though however")
_JOINTS = word_set("and , & the")
#: Before what says where something was seen, or under what condition.
_WHERE = word_set("on in at across under over within")
_REMOVING = word_set("removing dropping deleting pruning skipping")
_PASSED = word_set("a an the its their about only just all both")
_ARTICLES = word_set("the a an")
_ONES = ("one", "single", "once")
_RIVALS = {
    word: (kind, synonyms)
    for kind, sides in RIVALS.items() for synonyms in sides for word in synonyms.split("|")
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """A figure, a name, a word that has rivals, or what is called "the" or "a" something, in its clause.

    Attributes:
        text: as it stands.
        key: what it is, but for a figure: of a name its letters, of a word its synonyms or its stem.
        kind: name, noun, a key of ``vocabulary.RIVALS``; of a figure, what it measures or counts, if that is told.
        slot: "where", if that is what it says: on PIQA, at 20%.
        cell: which cell of the text it is in, counted.
        place: of its first token in its sentence.
        end: of the token behind it.
        figure: if it is one.
    """

    text: str
    key: str
    kind: str
    slot: str
    cell: int
    place: int
    end: int
    figure: Quantity | None = None


def exchanged(claim: str, quote: str) -> Iterator[tuple[Item, Item, Item]]:
    """(what the claim gives a figure to, the figure, what has it in the quote), where the two were exchanged."""
    ours, theirs = items(claim), items(quote)
    for figure in ours:
        beside = [item for item in ours if item.cell == figure.cell and item is not figure] if figure.figure else []
        for item in beside:
            rightful = None if _parallel(item, figure) else _rightful(item, figure, theirs)
            if rightful and not _told(item, figure, rightful, beside, theirs):
                yield item, figure, rightful


def _rightful(item: Item, figure: Item, theirs: Sequence[Item]) -> Item | None:
    """What goes with a figure in the quote, in place of an item that goes with another figure there."""
    here, there = _found(item, theirs), _found(figure, theirs)
    if not here or not there or _together(item, figure, theirs):
        return None
    rivals = {other.cell: other for other in theirs if _parallel(here[0], other) and not _same(item, other)}
    others = {other.cell for other in theirs if _beside(here[0], there[0], other) and not _same(figure, other)}
    apart = all(one.cell in rivals for one in there) and all(one.cell in others for one in here)
    return rivals[there[0].cell] if apart else None


def _beside(item: Item, figure: Item, other: Item) -> bool:
    """Whether another figure is a counterpart of one; of data sets each has figures of its own, of whatever kind."""
    return bool(other.figure) if item.kind == "data" else _parallel(figure, other)


def _told(item: Item, figure: Item, rightful: Item, beside: Sequence[Item], theirs: Sequence[Item]) -> bool:
    """Whether the claim has both sides: what the figure goes with too, or the figure that the item goes with."""
    return any(
        _same(other, rightful)
        or (_parallel(item, other) and other is not item and _together(other, figure, theirs))
        or (_parallel(figure, other) and _together(item, other, theirs))
        for other in beside
    )


def _together(one: Item, other: Item, theirs: Sequence[Item]) -> bool:
    """Whether the quote has two items of the claim in one cell."""
    cells = {item.cell for item in _found(one, theirs)}
    return any(item.cell in cells for item in _found(other, theirs))


def _found(item: Item, theirs: Sequence[Item]) -> list[Item]:
    return [other for other in theirs if _same(item, other)]


def _same(claim: Item, quote: Item) -> bool:
    if claim.figure and quote.figure:
        return agree(claim.figure, quote.figure)
    return claim.key == quote.key and claim.figure is None and quote.figure is None


def _parallel(one: Item, other: Item) -> bool:
    """Whether one could stand in the other's place; of "6.1 points and 3.4" both are points, but 61.4 counts nothing."""
    if one.slot != other.slot or one.kind == other.kind or not one.figure or not other.figure:
        return one.slot == other.slot and one.kind == other.kind
    bare, unit = (one.figure, other.figure) if one.kind == "" else (other.figure, one.figure)
    return not bare.unit and not bare.noun and (bare.step >= 1 or not unit.counts)


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def items(text: str) -> tuple[Item, ...]:
    """The items of a text in order, each in its cell."""
    found: list[Item] = []
    for sentence in sentences(text):
        words = tokens(sentence)
        first = found[-1].cell + 1 if found else 0
        found += _in_order(words, _items(words, figures(words), first))
    return tuple(found)


def _items(words: Sequence[Token], numbers: list[Quantity], cell: int) -> list[Item]:
    """The items of a sentence; its first cell has a number."""
    starts = _starts(words, numbers)
    found: list[Item] = []
    place = 0
    while place < len(words):
        cell += place in starts
        figure = next((figure for figure in numbers if figure.place == place), None)
        word, end = words[place], figure.end if figure else place + 1
        if figure and not (figure.text.lower() in _ONES and not figure.unit):
            kind, slot = figure.family or figure.noun, _slot(words, place)
            found.append(Item(figure.text, "", kind, slot, cell, place, end, figure))
        elif word.lower in _RIVALS:
            kind, key = _RIVALS[word.lower]
            found.append(Item(word.text, key, kind, "", cell, place, end))
        elif is_name(word, first=place == 0) or word.lower in NAMES:
            name = word.lower.removesuffix("'s")
            kind, slot = ("data", "where") if name in DATA_SETS else ("name", _slot(words, place))
            found.append(Item(word.text, re.sub(r"\W|_", "", name), kind, slot, cell, place, end))
        elif _noun(words, place) and not _of_a_figure(words, place, numbers):
            found.append(Item(word.text, word.stem, "noun", _slot(words, place), cell, place, end))
        place = end
    return found


def _noun(words: Sequence[Token], place: int) -> bool:
    """Whether a word follows an article, and so says what is spoken of."""
    return place > 0 and words[place - 1].lower in _ARTICLES and words[place].kind == "word"


def _of_a_figure(words: Sequence[Token], place: int, numbers: list[Quantity]) -> bool:
    """Whether a noun only says what a figure is a part of: half of the annotators."""
    return any(figure.end == place - 2 for figure in numbers) and words[place - 2].lower == "of"


def _starts(words: Sequence[Token], numbers: list[Quantity]) -> set[int]:
    """Where cells begin: at what separates a figure from the one before it."""
    at = [place for place, word in enumerate(words) if word.lower in _SEPARATORS]
    at = sorted({*at, *(figure.place - 1 for figure in numbers if _ends_apart(figure, numbers))})
    begun = [figure.place for figure in numbers]
    between = [(place, end) for place, end in pairwise([*at, len(words)]) if begun and begun[0] < place]
    return {place for place, end in between if any(place < start < end for start in begun)}


def _ends_apart(figure: Quantity, numbers: list[Quantity]) -> bool:
    """Whether a figure is the end of a change with something between it and the start: from 81 with A to 77 with B."""
    starts = [other for other in numbers if other.course == "from" and other.end < figure.place - 1]
    return figure.course == figure.before == "to" and bool(starts)


def _slot(words: Sequence[Token], place: int) -> str:
    """Whether a name or a figure says where, or under what, something was seen: by the preposition before it."""
    before = place - 1
    while before >= 0 and (words[before].lower in _RIVALS or words[before].lower in _PASSED):
        before -= 1
    if before > 0 and words[before].lower in _REMOVING and words[before - 1].lower in NAMES:
        return ""  # magnitude pruning 8.8
    return "where" if before >= 0 and words[before].lower in _WHERE | _REMOVING else ""


def _in_order(words: Sequence[Token], found: list[Item]) -> list[Item]:
    """Items of which as many names as figures are listed, "A and B reach 62.1 and 58.4", each name with its figure."""
    names = [run for run in _runs(words, found) if run[0].figure is None]
    numbers = [run for run in _runs(words, found) if run[0].figure]
    if len(names) != 1 or len(numbers) != 1 or len(names[0]) != len(numbers[0]):
        return found
    cells = {name.place: number.cell for name, number in zip(names[0], numbers[0], strict=True)}
    return [replace(item, cell=cells.get(item.place, item.cell)) for item in found]


def _runs(words: Sequence[Token], found: list[Item]) -> list[list[Item]]:
    """Lists of two or more items of a kind."""
    runs: list[list[Item]] = []
    for item in found:
        last = runs[-1][-1] if runs else None
        between = words[last.end : item.place] if last else ()
        joined = between and all(word.lower in _JOINTS for word in between)
        if last and joined and _listed(last, item):
            runs[-1].append(item)
        else:
            runs.append([item])
    return [run for run in runs if len(run) > 1]


def _listed(last: Item, item: Item) -> bool:
    """Whether two can be of one list: figures, names, or words of one kind."""
    figures = last.figure is not None, item.figure is not None
    return all(figures) or (not any(figures) and last.kind == item.kind)
