"""Is this quote in that document, and where? A quote is there when its words are; nothing is accepted for being near.

    look_up(quote, text):
        for each view of the text:                    raw, clean, flow, columns; with and without raised marks
            find the squeezed quote, word for word    (views.py)
        else, if it has an ellipsis:                  its parts, in order, within one sentence of a view
        then its page and section, against what is claimed

Approximate search only explains a rejection: it finds the nearest words, and a word diff says what kind of words differ.
On 132 altered quotes each of the usual approximate rules accepts between 20 and 130 (docs/quotes.md).

The seed's rule, substring or token Jaccard >= 0.6, is the policy ``seed-2026``: kept to be compared with, never used by
default.
"""

# ruff: noqa: RUF001 - typographic characters are what this is about
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Final, Literal, NamedTuple, get_args

from lpk.core.errors import UsageError
from lpk.core.evidence.documents.fulltext import FullText
from lpk.core.evidence.documents.headings import Heading
from lpk.core.evidence.documents.lines import Rect, Word
from lpk.core.evidence.documents.views import BARRIER, View
from lpk.core.evidence.english.wording import difference
from lpk.core.evidence.records import Verdict

Policy = Literal["strict", "seed-2026"]
POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)
#: Shorter quotes prove nothing: they are everywhere.
MINIMUM_WORDS: Final = 4
#: Each part of a quote with an ellipsis.
MINIMUM_PART: Final = 3
#: A part of a quote with an ellipsis is looked for at so many places.
MOST_PLACES: Final = 50
#: Words before and after a match, for W3C's TextQuoteSelector.
CONTEXT: Final = 6

_ELLIPSIS = re.compile(r"[\[(]\s*(?:…|\.{3}|\. \. \.)\s*[\])]|…|\.{3,}|\. \. \.|\\l?dots\b(?:\{\})?")
_TEX = (
    (re.compile(r"~?\\(?:cite[a-z]*|label)\*?(?:\[[^\]]*\])*\{[^}]*\}"), ""),
    (re.compile(r"\\(?:text|math|emph|operator)[a-z]*\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\([%&_#${}])"), r"\1"),
    (re.compile(r"\^\{?([-+−]?\d+)\}?"), r"^\1"),
    (re.compile(r"(?<!\\)\$([^$]*)\$"), r"\1"),
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), ","),
    (re.compile(r"(?<!-)--(?!-)"), "–"),
    (re.compile(r"---"), "—"),
    (re.compile(r"\\[,;:! ]"), " "),
    (re.compile(r"[{}]"), ""),
)
_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi varphi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_SYMBOLS = (
    "times leq le geq ge neq ne approx sim pm to rightarrow leftarrow uparrow downarrow cdot lt gt ell infty",
    "×≤≤≥≥≠≠≈~±→→←↑↓·<>ℓ∞",
)
_COMMANDS = dict(
    zip(f"{_GREEK} {_SYMBOLS[0]}".split(), "αβγδϵεζηθικλμνξπρστϕφχψωΓΔΘΛΞΠΣΦΨΩ" + _SYMBOLS[1], strict=True)
)
_ABBREVIATED = re.compile(
    r"(?:.*[^\w.])?(?:e\.g|i\.e|etc|et al|al|cf|vs|viz|approx|resp|fig|figs|eq|eqs|sec|secs|tab|ref|refs|no|vol|pp?|ch|dr|mr|ms|prof|st|[a-z]|w\.r\.t|a\.k\.a)\.",
    re.I,
)
_NEGATION = re.compile(
    r"not|no|never|without|cannot|\w+n['’]t|neither|nor|none|hardly|barely|rarely|seldom|fails?|unless|except|lacks?|"
    r"little|few|nothing",
    re.I,
)


@dataclass(frozen=True)
class Lookup:
    """What came of looking a quote up; the fields are those of a ``Verification``."""

    verdict: Verdict
    page: int | None = None
    page_end: int | None = None
    section: str = ""
    prefix: str = ""
    suffix: str = ""
    rects: tuple[Rect, ...] = ()
    reason: str = ""
    diff: str = ""
    found_in: str = ""


class Hit(NamedTuple):
    """Words of a view that a quote is."""

    view: View
    pieces: tuple[tuple[int, int], ...]  # from, to before, in the view's folded text

    @property
    def words(self) -> list[Word]:
        return [word for start, end in self.pieces for word in self.view.span(start, end)]


def look_up(
    quote: str,
    text: FullText,
    *,
    page: int | None = None,
    section: str = "",
    elsewhere: Iterable[tuple[str, FullText]] = (),
    policy: Policy = "strict",
) -> Lookup:
    """Look for a quote in a document.

    Args:
        quote: the words, as typed, copied or written in LaTeX.
        text: where they should be.
        page: the page they are claimed to be on, counted from 1.
        section: the number or title of the section they are claimed to be in.
        elsewhere: (id, text) of other papers; a quote that one of these has is misattributed.
        policy: ``strict``, or ``seed-2026`` to compare with.

    Raises:
        UsageError: there is no such policy.
    """
    if policy == "seed-2026":
        return _seed(quote, text)
    if policy != "strict":
        raise UsageError(f"no policy {policy!r} for quotes; known: strict, seed-2026")
    readings = _readings(quote)
    words = sum(map(_count, readings[-1]))
    if words < MINIMUM_WORDS:
        return Lookup(
            Verdict.TOO_SHORT,
            reason=f"it has {words} word{'s' * (words != 1)}; fewer than {MINIMUM_WORDS} prove nothing",
        )
    if not text.text_layer:
        return Lookup(Verdict.UNVERIFIABLE, reason="the document has no text that can be read: a scan, or broken fonts")
    for parts in readings:
        if hits := _hits(parts, text):
            return _located(hits, text, page, section, elided=len(parts) > 1)
    for paper, other in elsewhere:
        found = next((found for parts in readings if other is not text and (found := _hits(parts, other))), None)
        if found:
            there = _place(found[0], other)
            reason = f"it is in {paper}, {_at(there)}, not here"
            return Lookup(Verdict.MISATTRIBUTED, reason=reason, found_in=paper)
    if page in text.unreadable:
        return Lookup(
            Verdict.UNVERIFIABLE, reason=f"page {page} has no text that can be read, and no other page has it"
        )
    return _explained(quote, readings[-1], text)


# ---------------------------------------------------------------------------------------------------------------------
# The quote
# ---------------------------------------------------------------------------------------------------------------------


def plain(quote: str) -> str:
    """A quote without LaTeX's commands, for those that are copied from a source."""
    if not re.search(r"[\\${}]|--", quote):
        return quote
    for pattern, with_ in _TEX:
        quote = pattern.sub(with_, quote)
    return re.sub(r"\\([A-Za-z]+)", lambda found: _COMMANDS.get(found[1], found[0]), quote)


def _readings(quote: str) -> list[list[View]]:
    """What a quote may mean, as parts to be found in order: what it says; without LaTeX; in parts where it has ellipses.

    A paper may itself have an ellipsis or a command. Ellipses at a quote's ends say nothing.
    """
    simple = plain(quote)
    parts = [view for part in _ELLIPSIS.split(simple) if (view := View.of(part)).folded]
    readings = ([View.of(quote)], [View.of(simple)], parts)
    return list({tuple((view.folded, *view.starts) for view in reading): reading for reading in readings}.values())


def _count(part: View) -> int:
    """Its words; of a script without spaces, its characters."""
    return sum(
        len(piece) if (piece := part.folded[start:end]) and ord(piece[0]) > 0x2E80 else bool(piece)
        for start, end in zip(part.starts, [*part.starts[1:], len(part.folded)], strict=True)
    )


# ---------------------------------------------------------------------------------------------------------------------
# Where it is
# ---------------------------------------------------------------------------------------------------------------------


def _hits(parts: Sequence[View], text: FullText) -> list[Hit]:
    """Every place that has the quote, in the document's order; one that several views show, once."""
    found: dict[int, Hit] = {}
    if len(parts) > 1 and min(map(_count, parts)) < MINIMUM_PART:
        return []
    for view in text.views:
        hits = _elided(parts, view) if len(parts) > 1 else (Hit(view, (place,)) for place in view.find(parts[0]))
        for hit in hits:
            found.setdefault(hit.words[0].order, hit)
    return [found[order] for order in sorted(found)]


def _elided(parts: Sequence[View], view: View) -> Iterator[Hit]:
    """Places of the first part from which the others follow, in order and in one sentence."""
    for nth, first in enumerate(view.find(parts[0])):
        if nth == MOST_PLACES:
            return
        pieces = [first]
        for part in parts[1:]:
            following = next(view.find(part, pieces[-1][1]), None)
            if following is None or not _one_sentence(view, pieces[-1][1], following[0]):
                break
            pieces.append(following)
        else:
            yield Hit(view, tuple(pieces))


def _one_sentence(view: View, end: int, start: int) -> bool:
    """Whether what is left out between two parts ends no sentence, and is more than the ``not`` of one."""
    if BARRIER in view.folded[end:start] or start - end > 800:
        return False
    first, last = view.word_at(end - 1), view.word_at(start)
    words = [view.text(nth, nth + 1) for nth in range(first, last + 1)]
    if any(_ends_sentence(word, after) for word, after in pairwise(words)):
        return False
    left_out = words[1:-1]
    return len(left_out) > 3 or not any(_NEGATION.fullmatch(word.strip(".,;:()")) for word in left_out)


def _ends_sentence(word: str, after: str) -> bool:
    if not re.search(r"[.!?][\"'”’)\]]*$", word):
        return False
    abbreviated = _ABBREVIATED.fullmatch(word.rstrip("\"'”’)]"))
    return not abbreviated and not after[:1].islower()


class Place(NamedTuple):
    """Where a hit is."""

    page: int
    page_end: int
    headings: list[Heading]

    @property
    def section(self) -> str:
        return self.headings[-1].name if self.headings else ""


def _place(hit: Hit, text: FullText) -> Place:
    pages = [text.lines[word.line].page for word in hit.words]
    return Place(min(pages), max(pages), text.layout.section(hit.words[0].line))


def _at(place: Place) -> str:
    pages = f"page {place.page}" if place.page == place.page_end else f"pages {place.page} and {place.page_end}"
    return f"{pages}, section {place.section}" if place.section else pages


def _located(hits: Sequence[Hit], text: FullText, page: int | None, section: str, elided: bool) -> Lookup:
    """The verdict on words that are there: are they where they are claimed to be, and is it clear which are meant?"""
    places = [_place(hit, text) for hit in hits]
    fitting = [
        (hit, place)
        for hit, place in zip(hits, places, strict=True)
        if (page is None or place.page <= page <= place.page_end) and _in_section(section, place.headings, text)
    ]
    if not fitting:
        claimed = ", ".join([f"page {page}"] * (page is not None) + [f"section {section}"] * bool(section))
        reason = f"it is on {' and on '.join(dict.fromkeys(map(_at, places)))}, not {claimed}"
        return _found(Verdict.LOCATOR_MISMATCH, hits[0], places[0], text, reason)
    hit, place = fitting[0]
    if len(fitting) > 1:
        where = "; ".join(_at(place) for _, place in fitting)
        return _found(Verdict.AMBIGUOUS, hit, place, text, f"it is there {len(fitting)} times: {where}")
    return _found(Verdict.VERIFIED_ELIDED if elided else Verdict.VERIFIED, hit, place, text, "")


def _in_section(claimed: str, headings: Sequence[Heading], text: FullText) -> bool:
    """Whether a place under these headings is in the section claimed, by number (``4`` has ``4.2``) or by title."""
    wanted = re.sub(
        r"^(section|sect?\.?|§+|appendix|chapter)\s*(?=[\dA-Z](\W|\d|$))", "", claimed.strip(), flags=re.I
    ).strip(" .")
    if not wanted:
        return True
    if not headings:  # before the first heading
        return wanted.lower() in ("abstract", "title", "front matter")
    names = {_key(form) for h in headings for form in (h.number, h.title, f"{h.number} {h.title}")} - {""}
    numbers = [h.number for h in headings if h.number]
    number = wanted.split()[0].rstrip(".").upper()
    return _key(wanted) in names or any(
        n == number or n.startswith(number + ".") for n in numbers if number == wanted.upper()
    )


def _key(title: str) -> str:
    return View.of(title).folded


def _found(verdict: Verdict, hit: Hit, place: Place, text: FullText, reason: str, diff: str = "") -> Lookup:
    first = hit.view.word_at(hit.pieces[0][0])
    last = hit.view.word_at(hit.pieces[-1][1] - 1) + 1
    return Lookup(
        verdict,
        page=place.page,
        page_end=place.page_end,
        section=place.section,
        prefix=hit.view.text(first - CONTEXT, first),
        suffix=hit.view.text(last, last + CONTEXT),
        rects=tuple(_rects(hit.words, text)),
        reason=reason,
        diff=diff,
    )


def _rects(words: Sequence[Word], text: FullText) -> Iterator[Rect]:
    """One box for each line, around its words of the match."""
    lines: dict[int, list[Word]] = {}
    for word in words:
        lines.setdefault(word.line, []).append(word)
    for nth, ours in lines.items():
        if box := text.lines[nth].box:
            left, right = min(word.left for word in ours), max(word.right for word in ours)
            yield text.lines[nth].page, *(round(edge, 2) for edge in (left, box[1], right, box[3]))  # type: ignore[misc]


# ---------------------------------------------------------------------------------------------------------------------
# Why it is not there
# ---------------------------------------------------------------------------------------------------------------------


def _explained(quote: str, parts: Sequence[View], text: FullText) -> Lookup:
    """The nearest words of the document, and in what they differ; never a reason to accept."""
    asked = View.of(" ".join(part.text(0, len(part.words)) for part in parts))
    hit, alike = _nearest(asked, text)
    missing = f"; pages {', '.join(map(str, sorted(text.unreadable)))} have no text" if text.unreadable else ""
    if hit is None or alike < 0.5:
        return Lookup(Verdict.NOT_FOUND, reason="no words of the document are near it" + missing)
    place = _place(hit, text)
    found = hit.view.text(hit.view.word_at(hit.pieces[0][0]), hit.view.word_at(hit.pieces[0][1] - 1) + 1)
    said = difference(plain(quote), found)
    what = ", ".join(said.kinds) or "spaces, capitals or ellipsis"
    reason = f"the nearest words, on {_at(place)}, differ in: {what}{missing}"
    return _found(Verdict.ALTERED, hit, place, text, reason, said.diff)


def _nearest(quote: View, text: FullText) -> tuple[Hit | None, float]:
    """Seeds of the quote vote for where it would begin; around the place with most votes, words are aligned."""
    best: tuple[float, View, int] | None = None
    seeds = [(at, quote.folded[at : at + 10]) for at in range(0, max(len(quote.folded) - 9, 1), 5)]
    for view in text.views[-2:]:
        votes: Counter[int] = Counter()
        for at, seed in seeds:
            place, tries = view.folded.find(seed), 0
            while place >= 0 and tries < 8:
                votes[(place - at) // 40] += 1
                place, tries = view.folded.find(seed, place + 1), tries + 1
        # A place near the edge of a bin votes for both.
        for bin_, count in votes.items():
            score = count + votes.get(bin_ + 1, 0)
            if best is None or score > best[0]:
                best = (score, view, bin_ * 40)
    if best is None:
        return None, 0.0
    _, view, around = best
    first = view.word_at(max(around - 40, 0))
    last = min(view.word_at(min(around + len(quote.folded) + 120, len(view.folded) - 1)) + 1, len(view.words))
    ours = [quote.text(nth, nth + 1).lower().strip(".,;:()") for nth in range(len(quote.words))]
    theirs = [view.text(nth, nth + 1).lower().strip(".,;:()") for nth in range(first, last)]
    blocks = [b for b in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks() if b.size]
    if not blocks:
        return None, 0.0
    begin = max(blocks[0].b - blocks[0].a, 0)
    end = min(blocks[-1].b + blocks[-1].size + len(ours) - blocks[-1].a - blocks[-1].size, len(theirs))
    alike = sum(block.size for block in blocks) / len(ours)
    stop = first + end
    piece = view.starts[first + begin], view.starts[stop] if stop < len(view.starts) else len(view.folded)
    return Hit(view, (piece,)), alike if piece[1] > piece[0] else 0.0


# ---------------------------------------------------------------------------------------------------------------------
# The seed's rule
# ---------------------------------------------------------------------------------------------------------------------


def _seed(quote: str, text: FullText) -> Lookup:
    """A substring of the text, or a window as long as the quote with token Jaccard >= 0.6. An empty quote is a substring."""
    raw = " ".join(" ".join(text.page_text(number) for number in range(1, text.pages + 1)).lower().split())
    asked = " ".join(quote.lower().split())
    if asked in raw:
        return Lookup(Verdict.VERIFIED, reason="a substring")
    tokens, there = re.findall(r"\w+", asked), re.findall(r"\w+", raw)
    wanted, width, best = set(tokens), len(tokens), 0.0
    window: Counter[str] = Counter(there[:width])
    for end in range(width, len(there) + 1):
        shared = len(wanted & window.keys())
        best = max(best, shared / (len(wanted) + len(window) - shared)) if width else 0.0
        if end < len(there):
            window[there[end]] += 1
            window[there[end - width]] -= 1
            if not window[there[end - width]]:
                del window[there[end - width]]
    verdict = Verdict.VERIFIED if best >= 0.6 else Verdict.NOT_FOUND
    return Lookup(verdict, reason=f"token Jaccard {best:.2f}")
