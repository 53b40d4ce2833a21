"""The draft as rules read it: passages with their lines, tables as columns; and what a sentence of a paper is for.

What a sentence is for is told by its place and its words, as in argumentative zoning (Teufel 1999,
https://aclanthology.org/E99-1015/), with four zones only: what was known before, what was done, what was found, and
what is not claimed. In an abstract all that comes before the authors first speak of themselves is background.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from lpk.core.evidence.english.sentences import sentences

Kind = Literal["heading", "prose", "item", "row", "code"]
Zone = Literal["background", "method", "finding", "limitation"]


@dataclass(frozen=True)
class Passage:
    """A heading, a paragraph, an item of a list, or a row of a table.

    Attributes:
        line: where it begins, counted from 1.
        section: the heading above it.
        kind: which of these it is.
        text: what it says, on one line, without Markdown's marks at its beginning.
        columns: of a table's row: heading of the column -> cell.
        notes: what the footnotes that it refers to say; the marks themselves are not in the text.
    """

    line: int
    section: str
    kind: Kind
    text: str
    columns: tuple[tuple[str, str], ...] = ()
    notes: str = ""


_NOTE = re.compile(r"^\[\^([\w-]+)\]: *(.*)$", re.M)
_MARK = re.compile(r"\[\^([\w-]+)\]")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_RULE = re.compile(r"\s*\|?[\s:|-]+\|?\s*")


@lru_cache(maxsize=8)
def passages(text: str) -> tuple[Passage, ...]:
    """A Markdown text in passages; footnotes are with the passages that refer to them, and none of their own."""
    notes = dict(_NOTE.findall(text))
    return tuple(_noted(passage, notes) for passage in _passages(_NOTE.sub("", text)))


def _noted(passage: Passage, notes: dict[str, str]) -> Passage:
    marks = [mark for mark in _MARK.findall(passage.text) if mark in notes]
    if not marks:
        return passage
    columns = tuple((head, _MARK.sub("", cell)) for head, cell in passage.columns)
    said = " ".join(notes[mark] for mark in dict.fromkeys(marks))
    return replace(passage, text=_MARK.sub("", passage.text), columns=columns, notes=said)


def _passages(text: str) -> list[Passage]:
    found: list[Passage] = []
    head: tuple[str, ...] = ()
    section, open_, fence = "", False, False
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if bare.startswith("```"):
            fence, open_ = not fence, False
        elif fence:
            found.append(Passage(number, section, "code", bare))
        elif not bare or bare.startswith("<!--"):
            open_, head = False, ()
        elif bare.startswith("#"):
            section, open_ = bare.lstrip("#").strip(), False
            found.append(Passage(number, section, "heading", section))
        elif bare.startswith("|"):
            cells = tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", bare.strip("|")))
            if not head:
                head = cells
            elif not _RULE.fullmatch(bare):
                found.append(Passage(number, section, "row", " | ".join(cells), tuple(zip(head, cells, strict=False))))
            open_ = False
        elif open_ and not _ITEM.match(line):
            last = found.pop()
            found.append(Passage(last.line, section, last.kind, f"{last.text} {bare}"))
        else:
            item = _ITEM.match(line)
            found.append(Passage(number, section, "item" if item else "prose", _ITEM.sub("", line, count=1).strip()))
            open_ = True
    return found


# What a sentence is for ----------------------------------------------------------------------------------------------

_SELF = re.compile(r"\b(we|our|ours|this (?:paper|work|study|article|survey|review)|here)\b", re.I)
_FOUND = re.compile(
    r"\b(?:we|results?|experiments?|evaluations?|analys[ie]s|findings|study)\b[^.]*?"
    r"\b(?:find|found|show|shows|showed|shown|demonstrate|demonstrates|observe|observed|see|saw|reveal|reveals|suggest|suggests|"
    r"confirm|confirms)\b"
    r"|\b(?:outperform|outperforms|outperformed|surpass|surpasses|exceeds|achieves?|achieving|retains?|collapses?|"
    r"(?:was|were) observed|our findings)\b"
    # a change, and by how much
    r"|\b(?:rais|increas|decreas|reduc|lower|improv|drop|fall|keep|cost|los)(?:e[sd]?|s|ing|ed)?\b[^.]*?\d",
    re.I,
)
_DID = re.compile(
    r"\b(?:we|this (?:paper|work|study)|our (?:method|approach|framework)|the (?:authors|paper))\b[^.]*?"
    r"\b(?:propos|introduc|present|study|studies|investigat|decompos|analy[sz]|adopt|use\b|uses\b|develop|design|conduct|"
    r"leverag|evaluat|incorporat|reassembl|fine-tun)",
    re.I,
)
_LIMITED = re.compile(
    r"\b(?:limitations?|we do not|not (?:tested|studied|evaluated|claimed)|remains? (?:open|unclear))\b", re.I
)


def zone(sentence: str) -> Zone | None:
    """What a sentence is for, by its words alone; None where they do not tell."""
    if _LIMITED.search(sentence):
        return "limitation"
    if _FOUND.search(sentence):
        return "finding"
    if _DID.search(sentence):
        return "method"
    return "background" if _BEFORE.search(sentence) else None


_BEFORE = re.compile(
    r"\b(?:prior|previous|existing|recent) (?:work|works|methods|studies|research|approaches)\b|\bhas (?:emerged|become)\b"
    r"|\b(?:is|are) becoming\b|\bstrong .*abilities\b|\bwidely (?:adopted|used)\b|\bunfortunately\b|\bwith the success",
    re.I,
)


def split(text: str) -> tuple[str, ...]:
    """Sentences of an abstract or a passage; lines are wrapped anywhere."""
    return sentences(" ".join(text.split()))


def squeezed(text: str) -> str:
    """Letters and digits alone, lower case, without accents: what stays the same in every rendering."""
    return "".join(char for char in unicodedata.normalize("NFKD", text).casefold() if char.isalnum())


def zone_in(abstract: str, sentence: str) -> Zone | None:
    """What a sentence of an abstract is for; None where it is not in it, or neither place nor words tell."""
    wanted = squeezed(sentence)
    known = split(abstract)
    at = next(
        (i for i, each in enumerate(known) if wanted and (wanted in squeezed(each) or squeezed(each) in wanted)), None
    )
    if at is None:
        return None
    told = zone(known[at])
    if told in ("finding", "limitation"):
        return told
    if not any(_SELF.search(each) for each in known[: at + 1]) and any(_SELF.search(each) for each in known):
        return "background"
    return told
