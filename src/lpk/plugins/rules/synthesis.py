"""Round 6, text and synthesis: the draft says what the rows bear out, no more, and contradicts neither them nor itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations

from lpk import hookimpl
from lpk.core.contracts import Component, Options
from lpk.core.evidence.contracts import Finding, Rule
from lpk.core.evidence.english.conflicts import conflicts, denied, is_trend
from lpk.core.evidence.english.prose import Passage, split
from lpk.core.evidence.ledger import Snapshot
from lpk.core.evidence.records import Row
from lpk.core.evidence.rules import (
    EachRule,
    OfClaims,
    OfDraft,
    Wrong,
    claims,
    draft,
    of_references,
    offered,
    papers_named,
    place,
    rows,
    rows_verified,
    supported,
)
from lpk.core.evidence.states import Status, of_claim, of_row


class RowsCarry(OfDraft):
    id, round = "R-BOILER-1", 6
    title = "Where the draft says that all rows have something, they have it"
    remedy = "Let the sentence be rendered from the rows: say how many have it, or leave it out."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return any(_ALL_ROWS.search(each) for each in split(passage.text))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        for sentence in filter(_ALL_ROWS.search, split(passage.text)):
            for what, (named, has) in _CARRIED.items():
                without = [row.id for row in rows(ledger) if not has(ledger, row)]
                if re.search(named, sentence, re.I) and (without or not rows(ledger)):
                    yield Finding(f"all rows are said to have {what}; {len(without)} of {len(rows(ledger))} have none",
                                  tuple(without))  # fmt: skip


class ClaimsVerified(OfDraft):
    id, round = "R-BOILER-2", 6
    title = (
        "Where the draft says that every claim was or can be verified, there are claims, and each has a verified row"
    )
    remedy = "Say which claims have a verified row, by id; and name no table that is not there."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return any(_ALL_CLAIMS.search(each) for each in split(passage.text))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        vouched = {row.claim for row in rows_verified(ledger)}
        for sentence in filter(_ALL_CLAIMS.search, split(passage.text)):
            meant = supported(ledger) if re.search(r"supported claim", sentence, re.I) else claims(ledger)
            without = [claim.id for claim in meant if claim.id not in vouched]
            if not meant:
                yield "this is said of every claim, and there is none"
            elif without:
                message = f"this is said of every claim; {len(without)} of {len(meant)} have no verified row"
                yield Finding(message, tuple(without))
            for name in re.findall(r"\b(?:the|in) (\w+) table\b", sentence):
                if not any(each.kind == "row" and name.lower() in each.section.lower() for each in draft(ledger)):
                    yield f"there is no {name} table"


class Quantifiers(OfDraft):
    id, round = "R-BOILER-3", 6
    title = "Some, several, most and all are said of as many rows and claims as there are; audits are not called what they are not"
    remedy = (
        "Let the number be rendered from the ledger; say 'all' where it is all. An audit by the same code is no review."
    )

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return bool(_SOME.search(passage.text) or _AUDITED.search(passage.text) or _INDEPENDENT.search(passage.text))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        for many, what, stated in _SOME.findall(passage.text):
            among = {name: state for name, state in _states(ledger, what).items() if state is not Status.WITHDRAWN}
            having = [name for name, state in among.items() if state in _STATED[stated.lower()]]
            if not _MANY[many.lower()](len(having), len(among)):
                message = f"{many} {what} are said to be {stated}; {len(having)} of {len(among)} are"
                yield Finding(message, tuple(having))
        if _AUDITED.search(passage.text):
            for other in draft(ledger):
                if _FAILED.search(other.text):
                    yield Finding(f"it is said to be audited; the draft also says {other.text[:70]!r}", (place(other),))
                    break
        people = {event.by for event in ledger.events}
        if _INDEPENDENT.search(passage.text) and len(people) < 2:
            yield f"a review is called independent; all was written by {', '.join(sorted(people)) or 'nobody'}"


class QuestionsAreOnes(EachRule):
    id, round, required = "R-RQ-1", 6, True
    title = "A research question is a question: 5 to 40 words and a question mark, no piece of a bibliography"
    remedy = "Write the question in ledger.toml as you would ask it."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [question.id for question in ledger.direction.questions]

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        text = next(question.text for question in ledger.direction.questions if question.id == subject)
        words = len(text.split())
        bad = [
            "does not end with a question mark" * (not text.rstrip().endswith("?")),
            f"has {words} words" * (not 5 <= words <= 40),
            "has a piece of a bibliography"
            * bool(re.search(r"arxiv|preprint|\bet al\b|\b(?:19|20)\d\d\b|doi", text, re.I)),
        ]
        if any(bad):
            yield f"{subject} {' and '.join(filter(None, bad))}: {text[:80]!r}"


class QuestionsAnswered(EachRule):
    id, round, severity = "R-RQ-3", 6, "warning"
    title = "Every research question has a claim that answers it"
    remedy = "State a claim for it (lpk ledger claim --question), or say in the draft that it stays open."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [question.id for question in ledger.direction.questions]

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        if not any(subject in claim.questions for claim in claims(ledger)):
            yield f"no claim answers {subject}"


class QuestionsExist(OfDraft):
    id, round = "R-RQ-2", 6
    title = "The draft answers no question that was not asked"
    remedy = "Ask it in ledger.toml, or leave the answer out."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return bool(re.search(r"\bRQ\d+\b", passage.text))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        asked = {question.id for question in ledger.direction.questions}
        for name in dict.fromkeys(re.findall(r"\bRQ\d+\b", passage.text)):
            if name not in asked:
                yield f"{name} is not among the questions: {', '.join(sorted(asked)) or 'there are none'}"


class Rendered(OfDraft):
    id, round = "R-RENDER-1", 6
    title = "The draft has no residue: no LaTeX, no words that are cut off, no template's marks"
    remedy = "Render mathematics as text, and cut at a sentence."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return True

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        text = passage.text  # a paper's own words are shown as they are
        for row in ledger.rows.values():
            text = text.replace(row.quote, "") if row.quote else text
        yield from (f"residue: {each!r}" for each in _residue(text))


class ClaimsRendered(OfClaims):
    id, round = "R-RENDER-2", 6
    title = "The text of a claim has no residue"
    remedy = "State the claim in plain words."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        yield from (f"claim {subject} has residue: {each!r}" for each in _residue(ledger.claims[subject].text))


class CountsNamed(OfDraft):
    id, round = "R-NUM-2", 6
    title = "A number of rows or claims that were flagged comes with their ids"
    remedy = "List the ids beside the number, and the rule that flagged them."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return bool(_FLAGGED.search(passage.text))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        text = f"{passage.text} {passage.notes}"
        named = [*_named(text, {**ledger.rows, **ledger.claims}), *papers_named(ledger, text)]
        for number, what in _FLAGGED.findall(passage.text):
            if int(number) > len(named):
                yield f"{number} {what} are flagged, and {len(named)} named; which, and by which rule?"


class CountsRight(OfDraft):
    id, round = "R-NUM-3", 6
    title = "The draft's numbers of rows and claims in each status are the ledger's"
    remedy = "Render the draft again (lpk draft)."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return any(True for _ in _counted(passage))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        for status, what, number, total in _counted(passage):
            among = _states(ledger, what)
            having = sum(state in _STATED[status.lower()] for state in among.values())
            exactly = sum(state == status.lower() for state in among.values())  # supported claims are verified too
            live = sum(state is not Status.WITHDRAWN for state in among.values())
            if number not in (having, exactly) or total not in (None, len(among), live):
                stated = f"{number}" + (f"/{total}" if total is not None else "")
                yield f"the draft counts {stated} {status} {what}; there are {having}/{len(among)}"


class CitedPapersExist(OfDraft):
    id, round = "R-CITE-1", 6
    title = "Every paper that the draft cites is one that the ledger describes, in a version that exists"
    remedy = "Collect it (lpk ledger collect), or take the citation out."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return bool(_ARXIV.search(passage.text))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        for name, version in _ARXIV.findall(passage.text):
            paper = ledger.papers.get(f"arxiv:{name}")
            if f"arxiv:{name}" in _referenced(ledger) and not version and not of_references(passage):
                continue  # named as missing
            if paper is None or not paper.versions:
                yield f"arxiv:{name} is cited, and the ledger does not describe it"
            elif version and version not in paper.versions:
                yield f"arxiv:{name}{version} is cited; the ledger knows {', '.join(sorted(paper.versions))}"


class StatedAsTheyStand(OfDraft):
    id, round = "R-STATE-1", 6
    title = "A claim that is not supported is stated with its status"
    remedy = "Render the draft again (lpk draft), or leave the claim out until it is supported."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return bool(_named(passage.text, ledger.claims))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        for name in _named(passage.text, ledger.claims):
            status = _standing(ledger)[name]
            if status is not Status.SUPPORTED and status not in passage.text.lower():
                yield Finding(f"claim {name} is {status}, and stated without saying so", (name,))


class NoneContested(OfClaims):
    id, round, required = "R-CONTRA-1", 6, True
    title = "No verified quote speaks against a claim that is still made"
    remedy = "Restate the claim so that both quotes bear it out, or withdraw it."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        standing = of_claim(ledger, ledger.claims[subject])
        if standing.status in (Status.CONTESTED, Status.CONTRADICTED):
            against = [row.id for row in rows(ledger) if row.claim == subject and row.relation == "contradicts"]
            yield Finding(f"claim {subject} is {standing.status}: {standing.why}", (subject, *against))


class ClaimsAgree(OfClaims):
    id, round = "R-CONTRA-2", 6
    title = "No two claims contradict each other"
    remedy = "State the condition under which each holds, or withdraw one."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        mine, others = ledger.claims[subject], [each for each in claims(ledger) if each.id != subject]
        for one, other, why in _claims_against(ledger):
            if subject == other:
                yield Finding(f"claims {one} and {other} contradict each other: {why}", (one, other))
        for first, second in combinations(others, 2) if is_trend(mine.text) else ():
            why = denied(mine.text, first.text, second.text)
            if why:
                message = f"claim {subject} is denied by {first.id} and {second.id}: {why}"
                yield Finding(message, (subject, first.id, second.id))


class DraftAgrees(OfDraft):
    id, round = "R-CONTRA-3", 6
    title = "No two sentences of the draft contradict each other"
    remedy = "Find out which is right; state the condition under which each holds."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return passage.kind in ("prose", "item") and not of_references(passage)

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        for first, second, why in _draft_against(ledger):
            if second[0] == passage:
                message = f"{first[1][:60]!r} and {second[1][:60]!r}: {why}"
                yield Finding(message, (place(first[0]),))


class NoStronger(Rule[Options]):
    id, round = "R-ABST-1", 6
    title = "Thesis, abstract and conclusion are no stronger than the strongest supported claim"
    remedy = "Say it as strongly as the strongest supported claim says it, and no more; or find the evidence."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [name for name, _ in _said_at_large(ledger)]

    def examine(self, ledger: Snapshot, subject: str) -> Iterator[Finding]:
        from lpk.core.evidence.english.fidelity import strength

        held = supported(ledger)
        most = max((strength(claim.text) for claim in held), default=None)
        text = dict(_said_at_large(ledger))[subject]
        for sentence in split(text):
            if most is None and _ASSERTS.search(sentence):
                yield Finding(f"{sentence[:80]!r} is asserted, and no claim is supported", (subject,))
            elif most is not None and _ASSERTS.search(sentence) and strength(sentence) > most:
                strongest = [claim.id for claim in held if strength(claim.text) == most]
                message = f"{sentence[:80]!r} is stronger than any supported claim ({', '.join(strongest)})"
                yield Finding(message, (subject, *strongest))


# -- how --------------------------------------------------------------------------------------------------------------

_ALL_ROWS = re.compile(r"\b(?:all|every|each)\b(?: \w+){0,2} rows?\b", re.I)
_ALL_CLAIMS = re.compile(
    r"\b(?:all|every|each)\b(?: \w+){0,2} claims?\b[^.]*\b(?:re-?)?(?:verif\w+|checkable|checked)\b", re.I
)
_CARRIED: dict[str, tuple[str, Callable[[Snapshot, Row], bool]]] = {
    "a quote": (r"quote", lambda ledger, row: bool(row.quote)),
    "a locator": (
        r"locator|page|section",
        lambda ledger, row: bool((found := ledger.checked(row.id)) and found.verification.page),
    ),
    "a date of checking": (
        r"checked_at|timestamp|check(?:ed)? date|date of check",
        lambda ledger, row: ledger.checked(row.id) is not None,
    ),
    "a document": (r"hash|sha-?256|cached pdf", lambda ledger, row: ledger.document(row) is not None),
}

#: What the draft may call a state -> the statuses that it means.
_STATED = {
    **{str(status): {status} for status in Status},
    "preliminary": {Status.PRELIMINARY},
    "abstract-derived": {Status.PRELIMINARY},
    "full-text verified": {Status.VERIFIED},
    "verified": {Status.VERIFIED, Status.SUPPORTED},
    "full-text supported": {Status.SUPPORTED},
    "abstract/preliminary": {Status.PRELIMINARY},
}
_STATE = "|".join(sorted(map(re.escape, _STATED), key=len, reverse=True))
_MANY = {
    "all": lambda k, n: k == n > 0,
    "every": lambda k, n: k == n > 0,
    "most": lambda k, n: n / 2 < k < n,
    "several": lambda k, n: 1 < k < n,
    "some": lambda k, n: 0 < k < n,
    "a few": lambda k, n: 1 < k < n,
    "many": lambda k, n: 2 < k < n,
    "no": lambda k, n: k == 0,
    "none of the": lambda k, n: k == 0,
}
_SOME = re.compile(
    rf"\b({'|'.join(_MANY)}) (?:of the )?(?:evidence )?(rows|claims) (?:is|are|were|was) ({_STATE})\b", re.I
)
_AUDITED = re.compile(r"\baudited\b|\b(?:passed|passes) (?:the|all|every) (?:audit|rounds?)", re.I)
_FAILED = re.compile(r"\b(?:audit|readiness)\b[^|.]*: *(?:needs work|blocked|fail\w*)|\bneeds work\b", re.I)
_INDEPENDENT = re.compile(r"\bindependent(?:ly)? (?:review|audit)\w*", re.I)
_FLAGGED = re.compile(
    r"\b([1-9]\d*) (?:\w+[ -]){0,2}((?:row|claim)(?:s|\(s\))?) (?:\w+ )?(?:flagged|contain|need|require|identified|fail|with)",
    re.I,
)
_ARXIV = re.compile(r"(?<![\d.])(\d\d(?:0[1-9]|1[0-2])\.\d{4,5})(v\d+)?(?![\d.]*\d)")
_RESIDUE = (
    re.compile(r"\\[a-zA-Z]+(?:\{[^}]*\})*"),
    re.compile(r"\$(?=[^$]*[\\^_{])[^$\s][^$]*\$|\$[A-Za-z]\$"),
    re.compile(r"\b[\w-]+(?:…|\.\.\.)(?!\w)"),
    re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\b(?:TODO|FIXME|XXX|lorem ipsum)\b"),
    re.compile("â€.|\N{REPLACEMENT CHARACTER}"),
)
#: Sentences that say how things are; headings, ids and what is said of the draft itself do not.
_ASSERTS = re.compile(
    r"\b(?:prov\w+|demonstrat\w+|establish\w+|show\w*|consolidat\w+|resolv\w+|always|never|improv\w+|outperform\w*|caus\w+|"
    r"determin\w+|matter\w*|harm\w*|preserv\w+|rais\w+|lower\w*|increas\w+|reduc\w+|can be|contribut\w+)\b",
    re.I,
)


@lru_cache(maxsize=2)
def _claims_against(ledger: Snapshot) -> list[tuple[str, str, str]]:
    """Pairs of claims that contradict each other, and why."""
    among = claims(ledger)
    return [(among[one].id, among[other].id, why) for one, other, why in conflicts([each.text for each in among])]


@lru_cache(maxsize=2)
def _draft_against(ledger: Snapshot) -> list[tuple[tuple[Passage, str], tuple[Passage, str], str]]:
    """Pairs of the draft's sentences, each with its passage, that contradict each other, and why."""
    said = [
        (passage, sentence)
        for passage in draft(ledger)
        if passage.kind in ("prose", "item") and not of_references(passage)
        for sentence in dict.fromkeys(split(passage.text))
    ]
    return [(said[one], said[other], why) for one, other, why in conflicts([each for _, each in said])]


@lru_cache(maxsize=2)
def _referenced(ledger: Snapshot) -> set[str]:
    """What described papers cite."""
    return {name for paper in ledger.papers.values() for each in paper.versions.values() for name in each.references}


@lru_cache(maxsize=2)
def _standing(ledger: Snapshot) -> dict[str, Status]:
    """The status of each claim, withdrawn ones too."""
    return {claim.id: of_claim(ledger, claim).status for claim in ledger.claims.values()}


@lru_cache(maxsize=4)
def _states(ledger: Snapshot, what: str) -> dict[str, Status]:
    """The status of each row or claim, withdrawn ones too."""
    if what.lower().startswith("row"):
        return {row.id: of_row(ledger, row).status for row in ledger.rows.values()}
    return _standing(ledger)


def _counted(passage: Passage) -> Iterator[tuple[str, str, int, int | None]]:
    """(status, rows or claims, number, of how many), however a draft may put it."""
    text, section = passage.text, passage.section.lower()
    listed = re.match(r"(claims|rows) by status: (.*)", text, re.I)
    for status, number in re.findall(rf"\b({_STATE}) (\d+)", listed[2], re.I) if listed else ():
        yield status, listed[1] if listed else "", int(number), None
    alone = re.fullmatch(rf"({_STATE}): (\d+)(?: of (\d+))?\.?", text, re.I)
    if alone and re.search(r"\b(claim|row)", section):
        yield alone[1], "claims" if "claim" in section else "rows", int(alone[2]), int(alone[3]) if alone[3] else None
    for head, cell in passage.columns[:1]:
        of = re.search(r"\bstatus of (claims|rows)\b", head, re.I)
        count = re.match(r"(\d+)(?: of (\d+))?", passage.columns[1][1]) if len(passage.columns) > 1 else None
        if of and count and cell.lower() in _STATED:
            yield cell, of[1], int(count[1]), int(count[2]) if count[2] else None
    for status, what, number, total in re.findall(
        rf"\b({_STATE}) (?:evidence )?(rows|claims)(?:[^:|.]{{0,24}}:| *\|) *(\d+)(?: ?(?:/|of) ?(\d+))?", text, re.I
    ):
        yield status, what, int(number), int(total) if total else None
    for number, total, what, status in re.findall(
        rf"\b(\d+)(?: of (?:the )?|/)(\d+) (?:evidence )?(rows|claims) (?:is|are) ({_STATE})\b", text, re.I
    ):
        yield status, what, int(number), int(total)


def _residue(text: str) -> list[str]:
    code_apart = re.sub(r"`[^`]*`", "", text)
    found = Counter(each for pattern in _RESIDUE for each in pattern.findall(code_apart))
    return list(found)


def _named(text: str, among: Mapping[str, object]) -> list[str]:
    """The ids that a text has."""
    return [word for word in dict.fromkeys(re.findall(r"[\w-]+", text)) if word in among]


def _said_at_large(ledger: Snapshot) -> list[tuple[str, str]]:
    """(place, text) of the thesis, and of the draft's abstract and conclusion."""
    said = [("ledger.toml", ledger.direction.thesis)] if ledger.direction.thesis else []
    return said + [
        (place(passage), passage.text)
        for passage in draft(ledger)
        if re.search(r"\b(abstract|conclusions?)$", passage.section, re.I) and passage.kind in ("prose", "item")
    ]


@hookimpl
def lpk_rules() -> Iterable[Component]:
    yield from offered(
        RowsCarry, ClaimsVerified, Quantifiers, QuestionsAreOnes, QuestionsAnswered, QuestionsExist, Rendered, ClaimsRendered, CountsNamed,
        CountsRight, CitedPapersExist, StatedAsTheyStand, NoneContested, ClaimsAgree, DraftAgrees, NoStronger,
    )  # fmt: skip
