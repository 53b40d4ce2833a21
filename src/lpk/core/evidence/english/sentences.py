"""A text in sentences: what ends one in scientific English, and what only looks so."""

from __future__ import annotations

import re

from lpk.core.evidence.english.vocabulary import word_set

#: Before a full stop that ends no sentence. Matched in lower case.
_ABBREVIATIONS = word_set(
    "e.g i.e cf vs al fig figs eq eqs eqn sec secs tab tabs ref refs app appx thm lem prop def no nos vol pp ch st dr "
    "prof mr ms mrs resp approx ca viz w.r.t s.t a.k.a i.i.d et ed eds inc corp dept univ jan feb aug sept oct nov dec"
)
#: Only before a number are these abbreviations.
_BEFORE_NUMBERS = word_set("no nos ch app def prop ed st")
_END = re.compile(
    r"""[.!?…]+["'\u201d\u2019)\]]*(?:\s*\[\d[\d,\s\u2013-]*\])?(?=\s+["'\u201c\u2018(\[]*[^\W_a-z])|\n\s*\n"""
)


def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text, as they stand; an empty line ends one too."""
    found, start = [], 0
    for match in _END.finditer(text):
        if match[0].strip() and not _ends(text[start : match.start()], match[0], text[match.end() :].lstrip()):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    return tuple(sentence for sentence in [*found, text[start:].strip()] if sentence)


def _ends(before: str, mark: str, after: str) -> bool:
    """Whether a full stop with a capital or a figure after it ends a sentence."""
    if mark[0] != ".":
        return True
    word = re.search(r"[^\s(\[\"'\u201c\u2018]*$", before)
    last = word[0].lower() if word else ""
    number = after[:1].isdigit()
    if last in _ABBREVIATIONS:
        return last in _BEFORE_NUMBERS and not number
    # an initial: J. Smith, but not "Table A." or "in C."
    initial = bool(word and re.fullmatch(r"(?:[A-Z]\.)*[A-Z]", word[0]))
    return not (initial and re.match(r"[A-Z](?:\.|[a-z]+\b)", after) and _in_a_name(before))


def _in_a_name(before: str) -> bool:
    """Whether an initial stands where names do: at the start, after a comma, "and", "by" or another capital."""
    words = before.split()
    if len(words) < 2 or words[-2].endswith((",", ".")) or words[-2] in ("and", "by", "&"):
        return True
    return words[-2][:1].isupper() and words[-2] not in ("Table", "Figure", "Appendix", "Section", "Algorithm", "Part")
