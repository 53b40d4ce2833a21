"""Whether a claim says no more, and nothing else, than the quote that it rests on.

Every figure and name of the claim must be in the quote, no more exact than there; every direction and predicate must
have the sign that it has in the quote; a hedge of the quote must be in the claim, and no quantifier may be stronger.
Words are laid side by side by what surrounds them (``statements.py``), which needs no model and gives the same answer
everywhere. What it can't tell it lets pass: agreement here means that nothing was found. English only.

On the 235 held-out pairs of ``tests/data/fidelity_cases.jsonl`` 91 of 97 faithful claims pass; of the false ones every
number, unit and name is found, and 0.97 of the negations, 0.92 hedges, 0.90 directions, 0.88 quantifiers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from lpk.core.evidence import conflicts
from lpk.core.evidence.quantities import Quantity, quantities, sizes
from lpk.core.evidence.records import Disagreement
from lpk.core.evidence.sentences import sentences
from lpk.core.evidence.statements import Statement, Word, likeness, read
from lpk.core.evidence.vocabulary import FREQUENCIES, GENERIC_NAMES
from lpk.core.evidence.wording import bounds, tokens

__all__ = ["Quantity", "disagreements", "quantities", "sentences", "strength"]

HEDGED, PLAIN, UNIVERSAL = 0, 1, 2

#: How alike surroundings must be for two words to be about one thing: a shared word next to both counts 1, at two 1/4.
#: The same word is itself a sign of that; another word of its axis is less of one.
ALIKE = {"word": 0.06, "direction": 0.25, "quantifier": 0.25}


def disagreements(claim: str, quote: str) -> tuple[Disagreement, ...]:
    """Where a claim says something else or more than its quote; none: nothing was found."""
    says, source = read(claim), read(quote)
    found: dict[tuple[str, str], Disagreement] = {}
    for rule in (_numbers, _entities, _signs, _quantifiers, _hedges):
        for what in rule(says, source):
            found.setdefault((what.what, what.claim.lower()), what)
    return tuple(found.values())


def strength(text: str) -> int:
    """How strongly a text asserts: 0 hedged, 1 plain, 2 universal or beyond doubt."""
    said = read(text)
    if said.hedges or any(0 < word.level < 6 for word in said.words) or any(q.bound for q in said.quantities):
        return HEDGED
    if said.boosters or any(word.universal for word in said.words):
        return UNIVERSAL
    return PLAIN


# ---------------------------------------------------------------------------------------------------------------------
# Figures
# ---------------------------------------------------------------------------------------------------------------------


#: Of 321 claims that are true to their quote (tests/data/fidelity_cases.jsonl) one shares less; of claims beside the quote
#: of another one, 94 % do.
SHARE = 0.25


def same_subject(claim: str, quote: str) -> bool:
    """Whether the two can be about one thing: whether the quote has a quarter of the claim's words."""
    says = conflicts.read(claim).content
    return bool(says) and len(says & conflicts.read(quote).content) >= SHARE * len(says)


def _numbers(claim: Statement, quote: Statement) -> Iterator[Disagreement]:
    source = [*quote.quantities, *sizes([word.text for word in quote.words])]
    for figure in claim.quantities:
        fitting = [other for other in source if _agrees(figure, other)]
        if fitting:
            yield from _bound(figure, fitting, _other_denials(claim, quote), any(bounds.all(claim.tokens)))
        elif not _refers(figure, source):
            yield _other_figure(figure, source)
    versions = {token.lower.strip("v") for token in quote.tokens if token.kind == "version"}
    for token in claim.tokens:
        if token.kind == "version" and token.lower.strip("v") not in versions:
            yield Disagreement(what="number", claim=token.text, quote=", ".join(sorted(versions)))
    yield from _swapped(claim, quote)


def _other_denials(claim: Statement, quote: Statement) -> bool:
    """Whether the claim denies what the quote does not, or states what it denies."""
    ours, theirs = ({word.key for word in text.words if word.negations % 2} for text in (claim, quote))
    return bool(ours - theirs or theirs & (claim.keys - ours))


def _refers(figure: Quantity, source: list[Quantity]) -> bool:
    """Whether a word for a number counts nothing anew: one of the layers, the two rankings."""
    counted = any(set(figure.label) & set(other.label) for other in source)
    definite = figure.before in ("the", "these", "those", "all", "both") and not counted
    return bool(re.match(r"(one|single)\b", figure.text.lower())) or (figure.text[0].isalpha() and definite)


def _agrees(claim: Quantity, quote: Quantity) -> bool:
    """Whether a figure is the quote's, or the quote's rounded: never more exact, and never of another unit."""
    bare = "" in (claim.unit, quote.unit)
    if claim.family == quote.family and claim.unit != quote.unit:
        ours, theirs = claim.scaled, quote.scaled
        return math.isclose(ours, theirs) or _rounds(ours, claim.step * claim.scale, theirs, quote.step * quote.scale)
    if not bare and claim.family != quote.family:
        return False
    if {claim.unit, quote.unit} == {"", "%"} and (claim if claim.unit == "" else quote).label:  # 3 cases, 3 % of cases
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


def _other_figure(figure: Quantity, source: list[Quantity]) -> Disagreement:
    """What is wrong with a figure that the quote has not: its unit, where it is there with another; else its value."""
    mistakable = [other for other in source if other.value == figure.value and other.unit != figure.unit]
    same_unit = [other for other in source if other.unit == figure.unit != ""]
    nearest = min(mistakable or same_unit or source, key=lambda other: abs(other.value - figure.value), default=None)
    return Disagreement(
        what="unit" if mistakable else "number", claim=figure.text, quote=nearest.text if nearest else ""
    )


def _bound(figure: Quantity, fitting: list[Quantity], denied: bool, limits: bool) -> Iterator[Disagreement]:
    """What is up to 5% is not 5%, and less than 5 is not more than 5 (but what does not exceed 5 may be)."""
    ours, theirs = figure.bound, {other.bound for other in fitting}
    shown = f"{fitting[0].bound} {fitting[0].text}"
    if "" in theirs or "beyond" in {ours, *theirs}:
        return
    if not ours and limits and theirs <= {"at least", "at most"}:
        return  # above a ratio of 0.4
    if not ours and figure.step <= fitting[0].step:
        yield Disagreement(what="hedge", claim=figure.text, quote=shown)
    elif not denied and (ours, theirs) in (("at most", {"at least"}), ("at least", {"at most"})):
        yield Disagreement(what="direction", claim=f"{ours} {figure.text}", quote=shown)


def _swapped(claim: Statement, quote: Statement) -> Iterator[Disagreement]:
    """From 5 to 17 is not from 17 to 5."""
    theirs = list(_changes(quote))
    for start, end in _changes(claim):
        pairs = [(_agrees(start, a) and _agrees(end, b)) for a, b in theirs]
        crossed = [(a, b) for a, b in theirs if _agrees(start, b) and _agrees(end, a)]
        if crossed and not any(pairs):
            a, b = crossed[0]
            yield Disagreement(
                what="number", claim=f"from {start.text} to {end.text}", quote=f"from {a.text} to {b.text}"
            )


def _changes(text: Statement) -> Iterator[tuple[Quantity, Quantity]]:
    """(start, end) of every change that a text tells: from 5 to 17, or to 17 from 5."""
    for one, two in zip(text.quantities, text.quantities[1:], strict=False):
        if one.end + 1 == two.place and (one.before, two.before) == ("from", "to"):
            yield one, two
        elif one.end + 1 == two.place and (one.before, two.before) == ("to", "from"):
            yield two, one


# ---------------------------------------------------------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------------------------------------------------------


def _entities(claim: Statement, quote: Statement) -> Iterator[Disagreement]:
    written = _joined(quote.text)
    plain_words = {token.lower for token in tokens(quote.text)}
    initials = "".join(piece[0].lower() for piece in re.findall(r"[^\W\d_]+", quote.text))
    for word in claim.of("name"):
        name = re.sub(r"(?:-[a-z]+)+$", "", word.text.removesuffix("'s"))
        key = re.sub(r"[\W_]", "", name).lower()
        known = key in written or key.removesuffix("s") in written or word.text.lower() in plain_words
        spelt_out = name.isupper() and len(key) > 2 and key.removesuffix("s") in initials
        if not known and not spelt_out and name not in GENERIC_NAMES:
            yield Disagreement(what="entity", claim=word.text, quote="")


def _joined(text: str) -> set[str]:
    """Every run of up to six neighbouring pieces of a text, joined: llama27b, of Llama-2-7B or Llama 2 7B."""
    pieces = re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+", " ".join(token.text for token in tokens(text)).lower())
    return {
        re.sub(r"\W", "", "".join(pieces[start:end]))
        for start in range(len(pieces))
        for end in range(start + 1, min(start + 7, len(pieces) + 1))
    }


# ---------------------------------------------------------------------------------------------------------------------
# Directions and negations
# ---------------------------------------------------------------------------------------------------------------------


def _signs(claim: Statement, quote: Statement) -> Iterator[Disagreement]:
    apart = list(_apart(claim, quote))
    # "no option was tuned" and "the options were not tuned": a denial that only moved is none
    denied = [word.negations % 2 for word, other in apart if word.negations % 2 != other.negations % 2]
    moved = 0 in denied and 1 in denied
    for word, other in apart:
        turned = word.negations % 2 != other.negations % 2
        if not (turned and moved):
            yield Disagreement(what="negation" if turned else "direction", claim=word.shown, quote=other.shown)


def _apart(claim: Statement, quote: Statement) -> Iterator[tuple[Word, Word]]:
    """Words of the claim, and of the quote in like surroundings, that have one key and other signs."""
    found: list[tuple[Word, Word]] = []
    excused = False
    for word in claim.words:
        nearest = _nearest(word, claim, quote) if word.kind in ("word", "direction") and not word.unsure else []
        if not nearest or any(other.unsure for other in nearest):
            continue
        if any(_same(word, other) for other in nearest):
            excused = excused or word.wide or nearest[0].wide
            continue
        # "similar solutions of different searches": the quote's word is what another word of the claim is about
        twins = [twin for twin in claim.words if twin.key == word.key and _same(twin, nearest[0])]
        if not any(nearest[0] in _nearest(twin, claim, quote) for twin in twins):
            found.append((word, nearest[0]))
    # of words one of which is denied, one that agrees is enough
    yield from (pair for pair in found if not (excused and (pair[0].wide or pair[1].wide)))


def _same(word: Word, other: Word) -> bool:
    if not word.right and word.negations % 2 == other.negations % 2 and word.before & (other.right - other.left):
        return True  # Y is slower, where X is faster than Y: which is meant is not to be told
    return word.sign == other.sign * _turned(word, other)


def _nearest(word: Word, claim: Statement, quote: Statement) -> list[Word]:
    """Of the quote's words with a key, those in surroundings the most like a claim's word's, if alike enough."""
    here = claim.near(word)
    others = [other for other in quote.words if other.key == word.key]
    likenesses = [likeness(here, quote.near(other)) for other in others]
    best = max(likenesses, default=0.0)
    return [
        other
        for other, like in zip(others, likenesses, strict=True)
        if like >= best - 1e-9 and best >= ALIKE.get(word.kind, 0.25)
    ]


def _turned(word: Word, other: Word) -> int:
    """-1 where two comparisons have their sides exchanged: A outperforms B, B underperforms A."""
    both = (word.left & word.right) | (other.left & other.right)
    crossed = (word.left & other.right) | (word.right & other.left)
    return -1 if len(crossed - both) > len(word.right & other.right - both) else 1


# ---------------------------------------------------------------------------------------------------------------------
# Quantifiers and hedges
# ---------------------------------------------------------------------------------------------------------------------


def _quantifiers(claim: Statement, quote: Statement) -> Iterator[Disagreement]:
    theirs = quote.of("quantifier")
    for word in claim.of("quantifier"):
        nearest = _nearest(word, claim, quote)
        level = _level(word)
        if nearest:
            if all(_stronger(level, _level(other)) for other in nearest):
                yield Disagreement(what="quantifier", claim=word.text, quote=nearest[0].text)
        elif word.universal and level in (0, 6) and not any(_level(other) == level for other in theirs):
            yield Disagreement(what="quantifier", claim=word.text, quote="")


def _level(word: Word) -> int:
    """How much a quantifier says: "not all" is some."""
    return 2 if word.negations % 2 and word.level == 6 else word.level


def _stronger(claim: int, quote: int) -> bool:
    """Whether a quantifier says more than another: nearer to all, or nearer to none, or on the other side."""
    few, less = claim <= 1, quote <= 1
    return claim < quote if few and less else (claim > quote if not few and not less else True)


def _hedges(claim: Statement, quote: Statement) -> Iterator[Disagreement]:
    for booster in claim.boosters:
        if not quote.boosters:
            yield Disagreement(what="hedge", claim=booster, quote="")
    often = [word.text for word in quote.of("quantifier") if word.hedging]
    if claim.hedges or claim.mild or any(word.text.lower() in FREQUENCIES for word in claim.of("quantifier")):
        return
    hedged = [*quote.hedges, *(often if not claim.of("quantifier") else ())]
    if not hedged:
        return
    for word in claim.words:
        nearest = _nearest(word, claim, quote) if word.kind in ("word", "direction") else []
        # "dropping layers" asserts nothing of "layers could be dropped"
        if nearest and all(other.hedged and _same(word, other) for other in nearest) and not word.text.endswith("ing"):
            yield Disagreement(what="hedge", claim=word.text, quote=", ".join(hedged))
            return
    doubted = {word.key for word in quote.words if word.doubted}
    if len(claim.keys) > 2 and len(claim.keys & doubted) >= 0.75 * len(claim.keys):
        yield Disagreement(what="hedge", claim=claim.text, quote=", ".join(hedged))
