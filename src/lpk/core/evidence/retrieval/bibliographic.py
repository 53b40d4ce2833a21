"""What sources write about papers, made clean: ids, titles, TeX, search strings, and two records of one paper."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.evidence.english.prose import squeezed
from lpk.core.evidence.records import Direction, PaperId, PaperVersion


@contextmanager
def needed() -> Iterator[None]:
    """Within this context something of the extra ``evidence`` is imported.

    Raises:
        EnvironmentMissing: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise EnvironmentMissing(f'{error.name} is not installed: pip install "lpk[evidence]"') from error


# ---------------------------------------------------------------------------------------------------------------------
# Ids
# ---------------------------------------------------------------------------------------------------------------------

_PAPER_ID: Final = TypeAdapter(PaperId)
#: Since April 2007, and before (with or without a subject class): https://info.arxiv.org/help/arxiv_identifier.html
_ARXIV: Final = re.compile(
    r"(?:arxiv:|(?:https?://)?(?:www\.|export\.)?arxiv\.org/(?:abs|pdf)/|(?:https?://(?:dx\.)?doi\.org/)?10\.48550/arxiv\.)?"
    r"(?P<id>\d{4}\.\d{4,5}|[a-z-]{2,12}(?:\.[A-Z]{2})?/\d{7})(?P<version>v[1-9]\d{0,2})?(?:\.pdf)?",
    re.IGNORECASE,
)
_DOI: Final = re.compile(r"(?:(?:https?://)?(?:dx\.|www\.)?doi\.org/|doi:\s*)?(?P<doi>10\.\d{4,9}/\S+)", re.IGNORECASE)


def arxiv_id(text: object) -> tuple[str, str] | None:
    """``("2403.17887", "v2")`` of any way to write an arXiv id, its addresses and its DOI among them; None: it is none."""
    found = _ARXIV.fullmatch(text.strip()) if isinstance(text, str) else None
    return (found["id"], (found["version"] or "").lower()) if found else None


def doi_of(text: object) -> str:
    """A DOI without its resolver, in lower case (DOIs do not tell cases apart); empty if the text is none."""
    found = _DOI.fullmatch(text.strip()) if isinstance(text, str) else None
    return found["doi"].lower() if found else ""


def paper_id(*candidates: object) -> str:
    """The id that a paper goes by, whichever source found it: its arXiv id if any is one, else its DOI, else the first
    that is a paper id already, such as ``openalex:W2741809807``; empty if there is none.
    """
    for candidate in candidates:
        if found := arxiv_id(candidate):
            return f"arxiv:{found[0]}"
    named = [f"doi:{doi}" for doi in map(doi_of, candidates) if doi]
    others = [name for name in candidates if isinstance(name, str) and not name.startswith(("arxiv:", "doi:"))]
    for name in (*named, *others):
        try:
            return _PAPER_ID.validate_python(name)
        except ValidationError:
            continue
    return ""


def paper_ids(candidates: Iterable[Iterable[object]]) -> tuple[str, ...]:
    """The ids of papers, each once; one that has none that a record can hold is left out."""
    return tuple(dict.fromkeys(name for name in (paper_id(*each) for each in candidates) if name))


def split_id(paper: str) -> tuple[str, str]:
    """The scheme and the name of a paper id that somebody typed.

    Raises:
        UsageError: it is none.
    """
    try:
        _PAPER_ID.validate_python(paper)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(said) from None
    scheme, _, name = paper.partition(":")
    return scheme, name


# ---------------------------------------------------------------------------------------------------------------------
# Words
# ---------------------------------------------------------------------------------------------------------------------

#: What Crossref and OpenAlex leave in titles and abstracts (HTML, JATS, MathML); anything else in angle brackets is text.
#: Those that stand within a word, and those that end one.
_INLINE: Final = re.compile(
    r"</?(?:jats:)?(?:i|b|u|em|strong|su[bp]|scp|sc|tt|span|italic|bold)(?:\s[^<>]*)?/?>", re.IGNORECASE
)
_TAG: Final = re.compile(
    r"</?(?:(?:jats|mml):[a-z-]+|p|br|title|sec|inline-formula|alternatives|tex-math|xref|ext-link|list|list-item|math"
    r"|m[inor]|ms?u[bp]|mrow|mtext)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)


def one_line(text: object) -> str:
    """Text on one line: hard wraps, runs of spaces and control characters are one space; what is invisible goes.

    Invisible characters (zero-width, soft hyphens, bidirectional overrides) would make two texts that look alike differ.
    """
    if not isinstance(text, str):
        return ""
    kept = "".join(
        " "
        if (kind := unicodedata.category(letter)) in ("Cc", "Zl", "Zp")
        else ""
        if kind in ("Cf", "Cs", "Co")
        else letter
        for letter in unicodedata.normalize("NFC", text)
    )
    return " ".join(kept.split())


def untagged(text: object) -> str:
    """Text on one line without the mark-up of Crossref and OpenAlex."""
    return one_line(html.unescape(_TAG.sub(" ", _INLINE.sub("", text)))) if isinstance(text, str) else ""


#: Math, or a dollar that is money. As pandoc tells them apart: math begins and ends without a space, and no digit follows.
_DOLLAR: Final = re.compile(r"(?P<math>\\\$|\$(?=\S)[^$]+(?<=\S)\$(?!\d))|\$")


def untexed(text: str) -> str:
    r"""Text on one line without TeX: ``\textbf{Grad}`` is Grad, ``$O(n^2)$`` is O(n^2), ``{\"o}`` is ö.

    A text without a backslash, dollar or brace is left as it is. A percent sign or ampersand is itself, not TeX's: people
    write "50%", and a converter that took it for a comment would lose the rest.
    """
    if not re.search(r"[\\${}]", text):
        return one_line(text)
    with needed():
        from pylatexenc.latexwalker import LatexWalkerError
    try:
        escaped = re.sub(r"(?<!\\)([%&#])", r"\\\1", _DOLLAR.sub(lambda found: found["math"] or r"\$", text))
        plain = _converter().latex_to_text(escaped, tolerant_parsing=True)
    except (LatexWalkerError, RecursionError, ValueError, IndexError):
        return one_line(text)
    plain = re.sub(r"<(https?://[^<>\s]+)>", r"\1", plain.replace("<cit.>", ""))  # what it makes of \url and \cite
    # A command that is gone leaves the space before it.
    return re.sub(r" (?=[,.;:!?)])", "", one_line(plain)) or one_line(text)


_FOUNTS: Final = (
    "em it bf rm tt sc sl sf cal itshape bfseries scshape ttfamily normalfont tiny small large Large displaystyle textstyle"
    " relax noindent centering protect"
)


@cache
def _converter() -> Any:
    r"""pylatexenc's, but a command that it does not know, such as an author's ``\method{}``, is its name, not nothing.

    One with an argument is the argument alone, and one that only changes the fount is nothing.
    """
    with needed():
        from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db

    def unknown(node: Any) -> str:
        after = node.parsing_state.s[node.pos + node.len :][:2]
        return f"{node.macroname}{node.macro_post_space}" if after == "{}" or after[:1] != "{" else ""

    context = get_default_latex_context_db()
    founts = [MacroTextSpec(name, simplify_repl="") for name in _FOUNTS.split()]
    context.add_context_category("founts", prepend=True, macros=founts)
    context.set_unknown_macro_spec(MacroTextSpec("", simplify_repl=unknown))
    return LatexNodes2Text(math_mode="text", keep_comments=True, latex_context=context)


_SAID: Final = (
    r"(?:this|the|our) (?:paper|article|submission|manuscript|preprint|version|work|draft|note|report)(?: \S+)?"
    r" (?:is|was|has been|is being)(?: \w+)? (?:withdrawn|retracted)\b(?! from\b)"
)
#: The words that say that a paper is withdrawn, by where they stand. An abstract is about many things that are withdrawn:
#: there the paper must be, in the first words, or its authors or arXiv have done it.
_WITHDRAWN: Final = {
    "title": re.compile(r"^\W*(?:retracted|withdrawn|removed)(?: article| paper)?\s*[:\]).-]", re.IGNORECASE),
    "comment": re.compile(
        rf"\b{_SAID}|\b(?:withdrawn|retracted) (?:by|due to|because|in favou?r)\b"
        r"|^\W*(?:paper |article |submission )?(?:withdrawn|retracted)\b(?! from\b)",
        re.IGNORECASE,
    ),
    "abstract": re.compile(
        rf"^\W*{_SAID}|\b(?:withdrawn|retracted) by (?:the |its )?(?:authors?|arxiv|submitter)\b"
        r"|^\W*(?:withdrawn|retracted)\W*$",
        re.IGNORECASE,
    ),
}


def withdrawn_by(text: str, where: Literal["title", "comment", "abstract"]) -> str:
    """The sentence that says that a paper is withdrawn; empty if none does.

    ``RETRACTED: ...`` of a title, "This paper has been withdrawn by the authors" of a comment or abstract. "Withdrawn from
    ICLR 2025" says something about a conference.
    """
    found = _WITHDRAWN[where].search(text)
    if found is None or where == "title":
        return text if found else ""
    start = text.rfind(". ", 0, found.start() + 1)
    end = re.compile(r"[.;](?:\s|$)").search(text, found.end())
    return text[start + 2 if start >= 0 else 0 : end.start() if end else len(text)].strip()


# ---------------------------------------------------------------------------------------------------------------------
# Search strings
# ---------------------------------------------------------------------------------------------------------------------


def search_terms(direction: Direction) -> tuple[list[list[str]], list[str]]:
    """The words of each facet and the keywords, without what a query language could take for its own.

    Raises:
        UsageError: the direction has neither.
    """

    def words(some: Sequence[str]) -> list[str]:
        plain = (one_line(re.sub(r"[^\w\s+.'/-]", " ", word)) for word in some)
        return list(dict.fromkeys(word for word in plain if word))

    facets = [words(facet.words) for facet in direction.facets]
    facets, keywords = [facet for facet in facets if facet], words(direction.keywords)
    if not facets and not keywords:
        raise UsageError(
            f"direction {direction.id!r} has neither facets nor keywords to search for; or say -O query=..."
        )
    return facets, keywords


def boolean_query(direction: Direction, term: Callable[[str], str]) -> str:
    """All facets, or any keyword: ``((a OR b) AND (c)) OR d``.

    Facets must hold for a paper to be in scope, but a title need not use their words: keywords find those. Search engines
    rank what matches more of a disjunction first, so papers that match both come first.
    """
    facets, keywords = search_terms(direction)
    every = " AND ".join(f"({' OR '.join(map(term, facet))})" for facet in facets)
    if not facets or not keywords:
        return every or " OR ".join(map(term, keywords))
    return f"({every}) OR {' OR '.join(map(term, keywords))}"


def plain_query(direction: Direction) -> str:
    """For engines without operators: the keywords, or else the first word of each facet."""
    facets, keywords = search_terms(direction)
    return " ".join(keywords or [facet[0] for facet in facets])


# ---------------------------------------------------------------------------------------------------------------------
# Records
# ---------------------------------------------------------------------------------------------------------------------


def merged(versions: Iterable[PaperVersion]) -> list[PaperVersion]:
    """Each version of each paper once, in the order of their first records; where two disagree, a note says so.

    What one record lacks is taken from the other, but for two papers that go by one id: both stay, each as it is. Counts of
    citations differ from day to day: the larger is kept.
    """
    kept: list[PaperVersion] = []
    places: dict[str, list[int]] = {}
    for version in versions:
        of_it = places.setdefault(version.name, [])
        same = next((place for place in of_it if not _retitled(kept[place], version)), None)
        if same is None:
            of_it.append(len(kept))
            kept.append(version)
        else:
            kept[same] = _merge(kept[same], version)
    return kept


def two_papers(one: PaperVersion, other: PaperVersion) -> bool:
    """Whether two descriptions with one id are of two papers: by other authors; or with another title, and not by the same.

    Where neither has authors, the title alone tells.
    """
    ours, theirs = _families(one), _families(other)
    retitled = _apart(_title_words(one), _title_words(other))
    if not ours and not theirs:
        return retitled
    return (retitled and _apart(ours, theirs)) or bool(ours and theirs and not ours & theirs)


def _retitled(one: PaperVersion, other: PaperVersion) -> bool:
    """Whether they are two papers, title and all: the authors of one paper are written in many ways."""
    return squeezed(one.title) != squeezed(other.title) and two_papers(one, other)


def _families(version: PaperVersion) -> set[str]:
    """Family names; sources differ in how they write the others."""
    return {squeezed(author.split()[-1]) for author in version.authors}


def _title_words(version: PaperVersion) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"[a-z0-9]+", version.title.lower())}


def _apart(one: set[str], other: set[str]) -> bool:
    """Whether they have less than half in common."""
    return 2 * len(one & other) < max(len(one), len(other))


#: How a note begins that tells of another title.
OTHER_TITLE: Final = "two records disagree on title"


def _merge(one: PaperVersion, other: PaperVersion) -> PaperVersion:
    if one == other:
        return one
    values: dict[str, Any] = {}
    notes = [one.note] if one.note else []
    if other.note and other.note not in one.note:
        notes.append(other.note)
    for name in PaperVersion.model_fields:
        here, there = getattr(one, name), getattr(other, name)
        if name in ("paper", "version", "source", "note"):
            continue
        if name == "citations":
            values[name] = max((count for count in (here, there) if count is not None), default=None)
        elif name in ("references", "categories"):
            values[name] = tuple(dict.fromkeys((*here, *there)))
        else:
            values[name] = here or there
            if here and there and _folded(here) != _folded(there):
                longest = 2 * _LONGEST if name == "title" else _LONGEST
                notes.append(f"two records disagree on {name}: {_shown(here, longest)} and {_shown(there, longest)}")
    return one.model_copy(update={**values, "note": "; ".join(notes)})


def _folded(value: object) -> object:
    return " ".join(value.split()).casefold() if isinstance(value, str) else value


#: Characters of a value that a note shows; of a title, which tells papers apart, twice as many.
_LONGEST: Final = 100


def _shown(value: object, longest: int) -> str:
    text = repr(value) if isinstance(value, str) else repr(list(value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."
