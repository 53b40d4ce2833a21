"""Round 5, scope, screening and coverage: what is in belongs there, what is out was looked at, nothing near is missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from lpk import hookimpl
from lpk.core.contracts import Component
from lpk.core.evidence.contracts import Finding
from lpk.core.evidence.english.prose import Passage, squeezed
from lpk.core.evidence.ledger import Paper, Snapshot
from lpk.core.evidence.records import Facet
from lpk.core.evidence.rules import EachRule, OfDraft, OfPapers, OfRows, Wrong, described, offered, rows


class FacetsHold(OfPapers):
    id, round, required = "R-SCOPE-1", 5, True
    title = "An included paper has every facet of the direction; being of the same category is no scope"
    remedy = "Screen the paper out, or as background (lpk ledger screen); or add the words it has to the facet."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        paper = ledger.papers[subject]
        if not ledger.direction.facets:
            yield f"{subject} was included, but the direction has no facets that could tell"
        for facet in ledger.direction.facets:
            if not _has(facet, _about(paper)):
                words = ", ".join(facet.words)
                yield f"{subject} ({paper.latest.title!r}) does not show {facet.name!r}: none of {words}"


class Discriminates(EachRule):
    id, round = "R-SCOPE-2", 5
    title = "Screening tells papers apart: not every one has the same decision for the same reason"
    remedy = "Screen against the facets and criteria, with the paper's own words; a check that all pass checks nothing."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        screened = [paper for paper in ledger.papers.values() if paper.screenings and described(paper)]
        return [ledger.direction.id] if len(screened) >= _ENOUGH else []

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        held = {paper.id: paper.screenings[-1].screening for paper in ledger.papers.values() if paper.screenings}
        said = Counter((each.decision, each.reason, each.note, tuple(each.facets.items())) for each in held.values())
        if len(said) == 1:
            ((decision, reason, note, _),) = said
            verdict = ", ".join(filter(None, (decision, reason, note)))
            yield Finding(f"all {len(held)} papers have one verdict: {verdict!r}", tuple(held))


class CriterionKept(OfPapers):
    id, round = "R-SCOPE-3", 5
    title = "An included paper meets the direction's own criteria for inclusion, and its screening names one"
    remedy = "Screen it again with the criterion that it meets (lpk ledger screen --criterion)."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        paper, direction = ledger.papers[subject], ledger.direction
        criteria = {each.id: each for each in direction.criteria if each.decision == "include"}
        chosen = criteria.get(paper.screenings[-1].screening.criterion)
        if chosen is None:
            named = paper.screenings[-1].screening.criterion
            yield (
                f"{subject} was included by criterion {named!r}; there are {', '.join(criteria) or 'none'}"
                if named
                else (f"{subject} was included by no criterion; there are {', '.join(criteria) or 'none'}")
            )
        about = [chosen] if chosen else list(criteria.values())
        for criterion in about:
            for facet in direction.facets:
                if _has(facet, criterion.text) and not _has(facet, _about(paper)):
                    yield f"criterion {criterion.id} says {criterion.text!r}; {subject} has nothing of {facet.name!r}"


class FacetsShown(OfPapers):
    id, round = "R-SCOPE-4", 5
    title = "The words that were recorded as showing a facet are in the paper's title or abstract, and are of the facet"
    remedy = "Screen it again (lpk ledger screen), which records the words; or mend the facet's words in ledger.toml."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        paper = ledger.papers[subject]
        facets, shown = {each.name: each for each in ledger.direction.facets}, paper.screenings[-1].screening.facets
        for name, words in shown.items():
            if name not in facets:
                yield f"{subject} was screened for facet {name!r}, which the direction does not have"
            elif squeezed(words) not in squeezed(_text(paper)):
                yield f"{subject}: {words!r} is to show {name!r}, and is in neither title nor abstract"
            elif not _has(facets[name], words):
                yield f"{subject}: {words!r} is to show {name!r}, and has none of {', '.join(facets[name].words)}"
        for name in facets:
            if name not in shown:
                yield f"{subject}: nothing was recorded that shows {name!r}"


class Screened(OfPapers):
    id, round, required = "R-SCREEN-1", 5, True
    title = "Every paper that was collected was screened; an exclusion says by which criterion or why"
    remedy = "Screen it (lpk ledger screen); nothing is deleted."

    def concerns(self, ledger: Snapshot, paper: Paper) -> bool:
        return True

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        paper = ledger.papers[subject]
        if not paper.screenings:
            yield f"{subject} was collected, and nobody has screened it"
            return
        held = paper.screenings[-1].screening
        known = {each.id: each.decision for each in ledger.direction.criteria}
        if held.criterion and known.get(held.criterion) != held.decision:
            is_for = f"is for {known[held.criterion]}" if held.criterion in known else "does not exist"
            yield f"{subject}: {held.decision} by criterion {held.criterion!r}, which {is_for}"
        if held.decision == "exclude" and not (held.criterion or held.note):
            yield f"{subject} was excluded as {held.reason!r}, with neither criterion nor note"


class RowsIncluded(OfRows):
    id, round = "R-SCREEN-2", 5
    title = "Rows that support a claim are of included papers"
    remedy = "Screen the paper in if it belongs; otherwise withdraw the row, or make its relation background."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        row = ledger.rows[subject]
        decision = ledger.papers[row.paper].decision if row.paper in ledger.papers else ""
        if row.relation == "supports" and decision != "include":
            yield Finding(
                f"row {subject} supports {row.claim}; {row.paper} is {decision or 'unscreened'}", (subject, row.paper)
            )


class FlowAddsUp(OfDraft):
    id, round = "R-PRISMA-1", 5
    title = "The draft's counts of papers collected, screened, included and excluded are the ledger's, and add up"
    remedy = "Render the counts from the ledger (lpk draft)."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return passage.kind != "heading" and any(True for _ in _flow(passage))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        papers = [paper for paper in ledger.papers.values() if paper.versions]
        counted = Counter(paper.decision for paper in papers)
        right = {
            "collected": {len(papers), len(ledger.papers)},
            "screened": {len(papers) - counted[""]},
            "included": {counted["include"], len(ledger.included())},
            "excluded": {counted["exclude"]},
            "background": {counted["background"]},
        }
        for stated, what in _flow(passage):
            if stated not in right[what]:
                yield f"the draft says {stated} papers {what}; the ledger has {max(right[what])}"


class Promised(EachRule):
    id, round = "R-COVER-1", 5
    title = "What the thesis enumerates, evidence is there for"
    remedy = "Collect papers on it, or take it out of the thesis (ledger.toml)."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return list(dict.fromkeys(_promises(ledger.direction.thesis)))

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        said = " ".join([row.quote for row in rows(ledger) if row.relation != "background"])
        if not _spoken_of(subject, said):
            yield Finding(f"the thesis promises {subject!r}; no row is about it", (ledger.direction.id,))


class Anchors(EachRule):
    id, round = "R-COVER-2", 5
    title = "What several included papers cite was screened too"
    remedy = "Collect and screen it (lpk ledger collect); if it is off topic, say so in the screening."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        cited = Counter(
            name for paper in ledger.included() if paper.versions
            for name in {each for version in paper.versions.values() for each in version.references}
        )  # fmt: skip
        return sorted(name for name, times in cited.items() if times >= ledger.policy.cited_by)

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        known = ledger.papers.get(subject)
        if known is None or not known.screenings:
            citing = [p.id for p in ledger.included() if any(subject in v.references for v in p.versions.values())]
            yield Finding(f"{subject} is cited by {', '.join(citing)}, and was not screened", (subject, *citing))


# -- how --------------------------------------------------------------------------------------------------------------

#: Papers from which a screening that says the same of all is suspicious.
_ENOUGH = 3

_FLOW = re.compile(
    r"(\d[\d,]*) (?:papers?|records?|studies)(?: (?:were|was|are|is))? (identified|collected|screened|included|excluded|kept as background)",
    re.I,
)
_STEP = re.compile(
    r"(?:papers )?(found|identified|collected|screened in|screened|included|excluded|background): (\d+)(?: of (\d+) found)?",
    re.I,
)
_SAME = {
    "identified": "collected",
    "found": "collected",
    "kept as background": "background",
    "screened in": "included",
}


def _flow(passage: Passage) -> Iterator[tuple[int, str]]:
    """How many papers a draft says came how far: in a sentence, or as a step of a list."""
    for number, what in _FLOW.findall(passage.text):
        yield int(number.replace(",", "")), _SAME.get(what.lower(), what.lower())
    step = _STEP.match(passage.text)
    if step and ("papers" in step[0].lower() or re.search(r"flow|prisma|screening", passage.section, re.I)):
        yield int(step[2]), _SAME.get(step[1].lower(), step[1].lower())
        if step[3]:
            yield int(step[3]), "collected"


def _text(paper: Paper) -> str:
    return "\n".join(f"{version.title}\n{version.abstract}" for version in paper.versions.values())


def _about(paper: Paper) -> str:
    """Title and abstract, and what a person wrote down as showing a facet."""
    return _text(paper) + "\n" + "\n".join(paper.screenings[-1].screening.facets.values() if paper.screenings else ())


def _has(facet: Facet, text: str) -> bool:
    """Whether one of the facet's words is there, in whatever form."""
    return any(
        re.search(r"\b" + r"[\s-]+".join(map(re.escape, word.split())) + r"(?:s|es|ing|ed|al)?\b", text, re.I)
        for word in facet.words
    )


def _promises(thesis: str) -> Iterator[str]:
    """What a thesis enumerates in parentheses, and the conditions it names with 'under which'."""
    for inside in re.findall(r"\(([^()]*,[^()]*)\)", thesis):
        yield from (part.strip().removeprefix("and ") for part in inside.split(",") if part.strip())
    yield from re.findall(r"under which ([\w-]+(?: [\w-]+)?)", thesis)


def _stem(word: str) -> str:
    return re.sub(r"(?:ping|ning|ing|ed|es|s|ity|e)$", "", word)


def _spoken_of(what: str, text: str) -> bool:
    """Whether every word of it is there, in whatever form."""
    words = {_stem(word) for word in re.findall(r"[a-z0-9]+", text.lower())}
    return all(_stem(word) in words for word in re.findall(r"[a-z0-9]+", what.lower()))


@hookimpl
def lpk_rules() -> Iterable[Component]:
    yield from offered(
        FacetsHold, Discriminates, CriterionKept, FacetsShown, Screened, RowsIncluded, FlowAddsUp, Promised, Anchors
    )
