"""Whether a claim says no more, and nothing else, than the quote that it rests on.

Every figure and name of the claim must be in the quote, no more exact than there, and it must speak of what the quote
measures; a figure must play the part that it plays in its clause there, and go with what it goes with there
(``clauses.py``); every direction and predicate must have the sign that it has in the quote; a hedge of the quote must be
in the claim, no quantifier may be stronger, and what correlates there causes nothing.
Words are laid side by side by what surrounds them (``statements.py``), which needs no model and gives the same answer
everywhere. What it can't tell it lets pass: agreement here means that nothing was found. English only.

On the 235 held-out pairs of ``tests/data/fidelity_cases.jsonl`` 91 of 97 faithful claims pass; of the false ones every
number, unit and name is found, and 0.97 of the negations, 0.92 hedges, 0.90 directions, 0.88 quantifiers. Of those of
``clause_cases.jsonl``, which are about figures in their clauses, 62 of 66 false ones are found and 60 of 63 faithful pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import dropwhile, takewhile
from typing import Literal

from lpk.core.evidence.english import conflicts
from lpk.core.evidence.english.clauses import exchanged
from lpk.core.evidence.english.quantities import Quantity, agree, quantities, sizes
from lpk.core.evidence.english.sentences import sentences
from lpk.core.evidence.english.statements import Statement, Word, likeness, read
from lpk.core.evidence.english.vocabulary import FREQUENCIES, FUNCTION_WORDS, GENERIC_NAMES, RIVALS, word_set
from lpk.core.evidence.english.wording import Token, bounds, causes, hedges, tokens, units
from lpk.core.evidence.records import Disagreement

__all__ = ["Quantity", "disagreements", "quantities", "sentences", "strength"]

HEDGED, PLAIN, UNIVERSAL = 0, 1, 2

#: How alike surroundings must be for two words to be about one thing: a shared word next to both counts 1, at two 1/4.
#: The same word is itself a sign of that; another word of its axis is less of one.
ALIKE = {"word": 0.06, "direction": 0.25, "quantifier": 0.25}


def disagreements(claim: str, quote: str) -> tuple[Disagreement, ...]:
    """Where a claim says something else or more than its quote; none: nothing was found."""
    says, source = read(claim), read(quote)
    found: dict[tuple[str, str], Disagreement] = {}
    for rule in (_numbers, _wholes, _exchanged, _entities, _rivals, _signs, _excepted, _quantifiers, _hedges, _causes):
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
        fitting = [other for other in source if agree(figure, other) and not _recounted(figure, other, source)]
        playing = [other for other in fitting if _plays(figure, other, claim.quantities)]
        if fitting and not playing:
            yield Disagreement(what="number", claim=_role(figure), quote=_role(fitting[0]))
        elif fitting:
            yield from _bound(figure, fitting, _other_denials(claim, quote), _limits(claim))
        elif not _refers(figure, source):
            yield _other_figure(figure, source)
    versions = {token.lower.strip("v") for token in quote.tokens if token.kind == "version"}
    for token in claim.tokens:
        if token.kind == "version" and token.lower.strip("v") not in versions:
            yield Disagreement(what="number", claim=token.text, quote=", ".join(sorted(versions)))


def _other_denials(claim: Statement, quote: Statement) -> bool:
    """Whether the claim denies what the quote does not, or states what it denies: up to 8 before it falls, 8 and it falls."""
    if _TURNING & {token.lower for token in quote.tokens}:
        return True
    ours, theirs = ({word.key for word in text.words if word.negations % 2} for text in (claim, quote))
    return bool(ours - theirs or theirs & (claim.keys - ours))


def _limits(text: Statement) -> bool:
    """Whether a text says that something is a limit, not of which figure: above a ratio of 0.4."""
    found = [text.tokens[start].lower for start, _, _ in bounds.all(text.tokens)]
    return any(word not in ("over", "under", "within") for word in found)  # over all seeds


def _refers(figure: Quantity, source: list[Quantity]) -> bool:
    """Whether a word for a number counts nothing anew: one of the layers, the two rankings."""
    counted = any(set(figure.label) & set(other.label) for other in source)
    definite = figure.before in ("the", "these", "those", "all", "both") and not counted
    return bool(re.match(r"(one|single)\b", figure.text.lower())) or (figure.text[0].isalpha() and definite)


def _recounted(claim: Quantity, quote: Quantity, source: list[Quantity]) -> bool:
    """Whether what a figure counts is counted in the quote, by another: of 3,000 documents in 14 languages 14 documents."""
    other = claim.noun and quote.noun and claim.noun != quote.noun
    return bool(other) and any(each.noun == claim.noun for each in source)


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
        return
    if not ours and (figure.step <= fitting[0].step or figure.value == fitting[0].value):
        yield Disagreement(what="hedge", claim=figure.text, quote=shown)
    elif not denied and ours in _OTHER_WAY and theirs <= _OTHER_WAY[ours]:
        yield Disagreement(what="direction", claim=f"{ours} {figure.text}", quote=shown)


#: On the other side of a bound the contrary happens.
_TURNING = word_set("before until without unless")
#: Bound -> those that say the contrary.
_OTHER_WAY = {"at least": {"at most", "up to"}, "at most": {"at least"}, "up to": {"at least"}}
#: Before a number that is all there is: a model of 32 blocks, with 32 blocks, the 32 blocks.
_OWNED = word_set("of among with the all these those its their our has have had contain contains comprise comprises")


def _plays(claim: Quantity, quote: Quantity, others: list[Quantity]) -> bool:
    """Whether a figure plays no other part than the quote's: start, end or size of a change, part or whole."""
    if claim.course and quote.course and claim.course != quote.course:
        return False
    if claim.share and quote.share:
        return claim.share == quote.share
    whole = (
        claim.before in _OWNED
        or claim.before.endswith("'s")
        or "-" in claim.text
        or any(other.share for other in others)
    )
    return quote.share != "whole" or whole


def _role(figure: Quantity) -> str:
    """A figure with the part that it plays."""
    return " ".join(filter(None, (figure.course, {"whole": "of"}.get(figure.share, ""), figure.text)))


def _wholes(claim: Statement, quote: Statement) -> Iterator[Disagreement]:
    """25 % of the layers are not 25 % of the heads, of which the quote does not speak."""
    spoken_of = {token.stem for token in quote.tokens} | {tag for _, _, tag in units.all(quote.tokens)}
    for figure in claim.quantities:
        said, key = _whole(figure, claim.tokens)
        theirs = [_whole(other, quote.tokens) for other in quote.quantities if agree(figure, other)]
        if key and key not in spoken_of and theirs and all(whole for whole, _ in theirs):
            yield Disagreement(what="entity", claim=f"{figure.text} {said}", quote=theirs[0][0])


def _whole(figure: Quantity, words: Sequence[Token]) -> tuple[str, str]:
    """What a percentage is a part of, as it stands and by its unit or stem; empty where that is not said."""
    hedging = {place for start, end, _ in hedges.all(words) for place in range(start, end)}
    after = [word for place, word in enumerate(words) if place >= figure.end and place not in hedging]
    if figure.unit != "%" or not after or after[0].lower != "of":
        return "", ""
    rest = dropwhile(lambda word: word.lower in _OWNED or word.kind == "number", after[1:])
    noun = list(takewhile(lambda word: word.kind == "word" and word.lower not in FUNCTION_WORDS, rest))
    if not noun:
        return "", ""
    head = next((place for place, word in enumerate(noun) if re.search(r"[^sui']s$", word.lower)), len(noun) - 1)
    unit = units.at(noun, head)
    return "of " + _shown(noun[: head + 1]), unit[0] if unit else noun[head].stem


def _exchanged(claim: Statement, quote: Statement) -> Iterator[Disagreement]:
    """A reaches 62.1 and B 58.4: B does not reach 62.1."""
    for item, figure, rightful in exchanged(claim.text, quote.text):
        what: Literal["number", "entity"] = "number" if item.figure else "entity"
        pair = f"{item.text}: {figure.text}", f"{rightful.text}: {figure.text}"
        yield Disagreement(what=what, claim=pair[0], quote=pair[1])


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


def _rivals(claim: Statement, quote: Statement) -> Iterator[Disagreement]:
    """What the quote says of accuracy, it does not say of perplexity; nor of the dense model what it says of the pruned."""
    for kind in ("measure", "state"):
        ours, theirs = _spoken_of(kind, claim), _spoken_of(kind, quote)
        if ours and theirs and not ours.keys() & theirs.keys():
            yield Disagreement(what="entity", claim=next(iter(ours.values())), quote=next(iter(theirs.values())))


def _spoken_of(kind: str, text: Statement) -> dict[str, str]:
    """The words of a kind of rivals that a text has: of each its synonyms, and as it stands."""
    known = {word: synonyms for synonyms in RIVALS[kind] for word in synonyms.split("|")}
    return {known[token.lower]: token.text for token in text.tokens if token.lower in known}


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


def _excepted(claim: Statement, quote: Statement) -> Iterator[Disagreement]:
    """What holds on MMLU "but not on GSM8K" is not said to hold there."""
    denied, stated = ({word.key for word in quote.of("name") if word.negations % 2 == odd} for odd in (1, 0))
    for word in claim.of("name"):
        if word.key in denied - stated and not any(other.negations for other in claim.words):
            yield Disagreement(what="negation", claim=word.text, quote=f"not {word.text}")


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


# ---------------------------------------------------------------------------------------------------------------------
# Causes
# ---------------------------------------------------------------------------------------------------------------------


def _causes(claim: Statement, quote: Statement) -> Iterator[Disagreement]:
    """What was seen together does not for that bring the other about."""
    said = [(claim.tokens[start:end], tag) for start, end, tag in causes.all(claim.tokens)]
    theirs = [(quote.tokens[start:end], tag) for start, end, tag in causes.all(quote.tokens)]
    caused = next((words for words, tag in said if tag == "cause"), None)
    only = all(tag == "correlation" for _, tag in theirs) and all(tag == "cause" for _, tag in said)
    if caused and theirs and only:
        yield Disagreement(what="hedge", claim=_shown(caused), quote=_shown(theirs[0][0]))


def _shown(words: Iterable[Token]) -> str:
    return " ".join(word.text for word in words)
