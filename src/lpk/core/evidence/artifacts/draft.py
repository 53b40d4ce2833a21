"""``paper/paper.md``: a draft that says what the ledger bears out, and no more.

The page is ``paper.md.j2``; here is what its sentences are made of. Three things hold for all of it:

- A sentence whose data is absent is not written.
- A count comes with a footnote that names what was counted.
- The words of a paper stand in it only where a row that quotes them is verified; a claim stands in abstract and conclusion
  only if it is supported, in its own words; anywhere else its status stands beside it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable
from typing import Final

from lpk import __version__
from lpk.core.evidence.artifacts.proof import proof_of
from lpk.core.evidence.artifacts.references import cited, year
from lpk.core.evidence.audit import Audit, Examined
from lpk.core.evidence.ledger import Paper, Snapshot
from lpk.core.evidence.metrics import filled_coverage, metrics
from lpk.core.evidence.prisma import flow
from lpk.core.evidence.records import Claim, PaperVersion, Replication, Row
from lpk.core.evidence.states import Standing, Status, of_row, statuses
from lpk.core.templates import environment

#: The statuses in the order in which the draft tells of them.
TOLD: Final = (
    Status.SUPPORTED, Status.CONTESTED, Status.CONTRADICTED, Status.VERIFIED, Status.LOCATED, Status.STALE, Status.LINKED,
    Status.PRELIMINARY, Status.UNVERIFIABLE, Status.REJECTED, Status.CANDIDATE, Status.WITHDRAWN,
)  # fmt: skip


def paper(ledger: Snapshot, audit: Audit) -> bytes:
    """Render the draft.

    Raises:
        EnvironmentMissing: the extra ``evidence`` is not installed.
    """
    pages = environment(
        "lpk.core.evidence.artifacts", "lpk[evidence]", autoescape=False, keep_trailing_newline=True, finalize=escaped
    )
    template = pages.get_template("paper.md.j2")
    facts = Facts(ledger, audit)
    known = {name: getattr(facts, name) for name in dir(facts) if not name.startswith("_")}
    text = template.render(known, reference=reference, measured=measured)
    return (re.sub(r"\n{3,}", "\n\n", text).strip() + "\n").encode()


# ---------------------------------------------------------------------------------------------------------------------
# Words of others in Markdown
# ---------------------------------------------------------------------------------------------------------------------


class Markdown(str):
    """Text that is Markdown already; all else that the page prints is escaped."""

    __slots__ = ()


def escaped(value: object) -> str:
    """What the page prints of a value: plain text on one line that is no Markdown, no HTML, no link and no footnote."""
    return value if isinstance(value, Markdown) else markdown(str(value))


def markdown(text: str) -> str:
    """Plain text as Markdown that shows it as it is.

    A mark of Markdown gets a backslash (any ASCII punctuation may have one), ``& < >`` are written as entities, and what
    would be an address, a list's number or a line of its own is taken apart.
    """
    text = "".join(
        char for char in without_tex(text) if unicodedata.category(char) != "Cf"
    )  # Cf: marks that turn the text round
    text = " ".join("".join(" " if unicodedata.category(char) == "Cc" else char for char in text).split())
    text = re.sub(r"[\\`*_{}\[\]#|~$!^]|(?<=:)/|(?<=www)\.", r"\\\g<0>", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"^(\d+(?=[.)](?:\s|$))|(?=[-+=]))", r"\1\\", text)


def without_tex(text: str) -> str:
    r"""What simple TeX is typeset as: ``\textbf{Grad}`` as Grad, ``$4\times$`` as 4x."""
    if "\\" not in text and "$" not in text:
        return text
    for written, typeset in _TEX.items():
        text = re.sub(rf"\\{written}\b", typeset, text)
    text = re.sub(
        r"\$([^$]*)\$", lambda inner: inner[1] if re.search(r"[\\^_{}]|[^\w\s]|^\w$", inner[1]) else inner[0], text
    )
    text = re.sub(r"\\[a-zA-Z]+\s*\{([^{}]*)\}", r"\1", text)
    return re.sub(r"\\([%&#_${}])|\\[a-zA-Z]+\b\s?", lambda found: found[1] or "", text)


_TEX = {"times": "\u00d7", "pm": "\u00b1", "leq?": "\u2264", "geq?": "\u2265", "approx": "\u2248", "sim": "\u223c"}


def anchor(kind: str, name: str) -> str:
    """The name of a place in the page."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9.-]', '-', name)}"


# ---------------------------------------------------------------------------------------------------------------------
# What the page's sentences are made of
# ---------------------------------------------------------------------------------------------------------------------


class Facts:
    """The names that ``paper.md.j2`` knows."""

    def __init__(self, ledger: Snapshot, audit: Audit) -> None:
        self.ledger, self.audit, self.version = ledger, audit, __version__
        self.direction, self.policy = ledger.direction, ledger.policy
        self.as_of = ledger.events[-1].at[:10] if ledger.events else ""
        self.flow, self.proof = flow(ledger), proof_of(ledger)
        self.measures = [measure for measure in metrics(ledger, audit) if not measure.unit]
        self.notes: list[Markdown] = []
        self.claim_standing: dict[str, Standing] = statuses(ledger)
        self.row_standing = {row.id: of_row(ledger, row) for row in ledger.rows.values()}
        self.claims = {status: self._claims(status) for status in TOLD}
        self.rows = {status: self._rows(status) for status in TOLD}
        self.live = [name for name, standing in self.row_standing.items() if standing.status is not Status.WITHDRAWN]
        self.orphans = [row for row in ledger.rows.values() if row.claim not in ledger.claims]
        self.base = self._base()
        self.replicated = [
            (ledger.claims[name], made[-1]) for name, made in ledger.replications.items() if name in ledger.claims
        ]
        self.references = cited(ledger)
        self.limits = Limits(self)
        self.failing = [rule for rule in audit.rules if rule.verdict == "fail"]
        self.types = ("background", "method", "finding", "limitation")
        self.writers = sorted({event.by for event in ledger.events})
        self.filled = filled_coverage(ledger).counted
        self.licensed = [
            paper.id for paper in self.base if self.rows_of(paper) and any(v.licence for v in paper.versions.values())
        ]
        self.readers, self.checkers = self._readers(), self._checkers()

    # -- counting and linking ------------------------------------------------------------------------------------------

    def n(self, kind: str, names: Iterable[str]) -> Markdown:
        """How many, and a footnote that names them."""
        listed = list(names)
        if not listed:
            return Markdown("0")
        text = Markdown(f"{'these' if kind == 'any' else kind}: {self.links(kind, listed)}")
        if text not in self.notes:
            self.notes.append(text)
        return Markdown(f"{len(listed)}[^{self.notes.index(text) + 1}]")

    def links(self, kind: str, names: Iterable[str]) -> Markdown:
        return Markdown(", ".join(self.link(kind, name) for name in names))

    def link(self, kind: str, name: str) -> Markdown:
        """A link to where the page tells of something; a claim comes with its status."""
        known: dict[str, Container[str]] = {
            "claim": self.ledger.claims,
            "row": self.ledger.rows,
            "paper": [paper.id for paper in self.base],
        }
        shown = markdown(name)
        if kind == "any":
            kind = next((each for each in known if name in known[each]), "other")
        if kind in known and name in known[kind]:
            shown = f"[{shown}](#{anchor(kind, name)})"
        standing = self.claim_standing.get(name) if kind == "claim" else None
        return Markdown(f"{shown} ({standing.status})" if standing else shown)

    def place(self, kind: str, name: str) -> Markdown:
        """Where links to something lead."""
        return Markdown(f'<a id="{anchor(kind, name)}"></a>')

    # -- rows, claims, papers ------------------------------------------------------------------------------------------

    def _claims(self, status: Status) -> list[Claim]:
        return [claim for claim in self.ledger.claims.values() if self.claim_standing[claim.id].status is status]

    def _rows(self, status: Status) -> list[str]:
        return [name for name, standing in self.row_standing.items() if standing.status is status]

    def claims_of(self, question: str) -> list[Claim]:
        """The claims that bear on a question; of no question for an empty name."""
        asked = {each.id for each in self.direction.questions}
        return [
            claim
            for claim in self.ledger.claims.values()
            if (question in claim.questions if question else not asked & set(claim.questions))
        ]

    def answers(self, question: str) -> list[tuple[Status, list[Claim]]]:
        """A question's claims by status."""
        mine = {claim.id for claim in self.claims_of(question)}
        found = [(status, [claim for claim in self.claims[status] if claim.id in mine]) for status in TOLD]
        return [(status, claims) for status, claims in found if claims]

    def _base(self) -> list[Paper]:
        """The papers that are in, or that a row quotes."""
        quoted = {row.paper for row in self.ledger.rows.values()}
        kept = [paper for paper in self.ledger.papers.values() if paper.decision in ("include", "background")]
        return kept + [paper for paper in self.ledger.papers.values() if paper.id in quoted and paper not in kept]

    def rows_of(self, paper: Paper) -> list[Row]:
        return [row for row in self.ledger.rows.values() if row.paper == paper.id]

    def cells(self, paper: Paper, type: str) -> Markdown:
        """What a paper says on claims of a type: ``c-1 (supported): supports``."""
        said = [
            f"{self.link('claim', row.claim)}: {row.relation}, {self.link('row', row.id)} {self.row_standing[row.id].status}"
            for row in self.rows_of(paper)
            if row.claim in self.ledger.claims and self.ledger.claims[row.claim].type == type
        ]
        return Markdown("; ".join(said))

    def said_by(self, claim: Claim) -> list[Row]:
        """The verified rows that say something on a claim, for and against."""
        return [row for row in self.ledger.of_claim(claim.id) if self.row_standing[row.id].status is Status.VERIFIED]

    def told(self, row: Row) -> Markdown:
        """A row: a verified one with its words and their place, any other with why it is none."""
        standing, checked = self.row_standing[row.id], self.ledger.checked(row.id)
        head = f"{self.place('row', row.id)}`{row.id}` ({row.relation}), {standing.status}"
        if standing.status is not Status.VERIFIED or checked is None:
            return Markdown(f"{head}: {markdown(standing.why)}")
        found = checked.verification
        pages = f"page {found.page}" + (f" to {found.page_end}" if (found.page_end or 0) > (found.page or 0) else "")
        where = pages + (f", section {markdown(found.section)}" if found.section else "")
        source = f"[{markdown(row.paper + row.version)}](#{anchor('paper', row.paper)})"
        return Markdown(f"{head}: \u201c{markdown(row.quote)}\u201d ({source}, {where}; checked {checked.at[:10]})")

    def subjects(self, rule: Examined) -> list[str]:
        """What a rule's findings are about."""
        return sorted({name for found in rule.findings for name in found.subjects})

    def decided(self, paper: Paper) -> str:
        """A paper's decision: what, by which criterion, why."""
        if not paper.screenings:
            return "not screened"
        made = paper.screenings[-1].screening
        return ", ".join(filter(None, (made.decision, made.criterion, made.reason)))

    def facets(self, paper: Paper) -> str:
        """The words that show each facet."""
        shown = paper.screenings[-1].screening.facets if paper.screenings else {}
        return "; ".join(f"{name}: {words}" for name, words in sorted(shown.items()))

    def depth(self, paper: Paper) -> Markdown:
        """How far a paper was read, its versions, and its rows."""
        read = [version or "unnumbered" for version in paper.documents]
        said = [f"full text read ({', '.join(read)})" if read else "only the abstract is known"]
        quoted = {row.version for row in self.rows_of(paper)}
        if paper.versions and paper.latest.version and quoted and quoted != {paper.latest.version}:
            said.append(f"latest version {paper.latest.version}, quoted {', '.join(sorted(quoted)) or 'none'}")
        said += [f"{version.name} was withdrawn" for version in paper.versions.values() if version.withdrawn]
        rows = self.links("row", (row.id for row in self.rows_of(paper)))
        return Markdown(markdown("; ".join(said)) + (f"; rows {rows}" if rows else "") + ".")

    def _readers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for paper in self.ledger.papers.values():
            for reader in sorted({document.reader for document in paper.documents.values()}):
                found.setdefault(reader, []).append(paper.id)
        return dict(sorted(found.items()))

    def _checkers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, made in self.ledger.verifications.items():
            found.setdefault(made[-1].verification.checker, []).append(name)
        return dict(sorted(found.items()))


class Limits:
    """What weakens the draft: each the things concerned, none where it does not apply."""

    def __init__(self, facts: Facts) -> None:
        ledger, included = facts.ledger, facts.ledger.included()
        supported, preliminary = facts.claims[Status.SUPPORTED], facts.rows[Status.PRELIMINARY]
        wanted = {facet.name for facet in ledger.direction.facets}
        self.open = [
            question.id
            for question in ledger.direction.questions
            if not any(question.id in claim.questions for claim in supported)
        ]
        self.screeners = sorted({made.by for paper in ledger.papers.values() for made in paper.screenings})
        settled = {claim.id for claim, one in facts.replicated if one.verdict in ("inconclusive", "out of scope")}
        policies = {name: made[-1].verification.policy for name, made in ledger.verifications.items()}
        said = {
            "Rows from abstracts alone, which support nothing": ("row", preliminary),
            "Rows whose quote nobody has looked up": ("row", facts.rows[Status.LINKED]),
            "Rows whose words were found, but whose place is not known or whose claim differs": (
                "row",
                facts.rows[Status.LOCATED],
            ),
            "Rows that are stale: another version or file is there now": ("row", facts.rows[Status.STALE]),
            "Rows whose document has no text to look in": ("row", facts.rows[Status.UNVERIFIABLE]),
            "Rows that were rejected": ("row", facts.rows[Status.REJECTED]),
            "Rows of versions that no source described": (
                "row",
                [name for name in facts.live if ledger.version(ledger.rows[name]) is None],
            ),
            "Rows last looked up under another policy": (
                "row",
                [n for n, p in policies.items() if p != ledger.policy.hash],
            ),
            "Supported claims that rest on one paper": (
                "claim",
                [c.id for c in supported if len(_papers(facts, c)) == 1],
            ),
            "Claims that verified quotes speak against": (
                "claim",
                [claim.id for status in (Status.CONTESTED, Status.CONTRADICTED) for claim in facts.claims[status]],
            ),
            "Papers screened in whose full text was not read": ("paper", facts.flow.unread),
            "Papers found and not screened": ("paper", facts.flow.waiting),
            "Papers named and not described by a source": ("paper", facts.flow.undescribed),
            "Papers screened in and taken back": ("paper", facts.flow.withdrawn),
            "Papers screened in without words shown for a facet": (
                "paper",
                [paper.id for paper in included if wanted - set(paper.screenings[-1].screening.facets)],
            ),
            "Papers screened in that their authors withdrew": (
                "paper",
                [paper.id for paper in included if any(version.withdrawn for version in paper.versions.values())],
            ),
            "Papers that two or more of those screened in cite, and that were not found": ("paper", _missing(ledger)),
            "Questions without a supported claim": ("question", self.open),
            "Replications that decided nothing": ("claim", sorted(settled)),
            "All papers come from one source": ("source", facts.flow.sources if len(facts.flow.sources) == 1 else ()),
            "Screening was done by one person": ("person", self.screeners if len(self.screeners) == 1 else ()),
        }
        self.told = [(text, kind, list(names)) for text, (kind, names) in said.items() if names]


def _papers(facts: Facts, claim: Claim) -> set[str]:
    return {row.paper for row in facts.said_by(claim) if row.relation == "supports"}


def _missing(ledger: Snapshot) -> list[str]:
    """Papers that at least two included ones cite, and that nobody found."""
    cites: dict[str, set[str]] = {}
    for paper in ledger.included():
        for version in paper.versions.values():
            for name in version.references:
                cites.setdefault(name, set()).add(paper.id)
    return sorted(name for name, by in cites.items() if len(by) > 1 and name not in ledger.papers)


def reference(version: PaperVersion) -> Markdown:
    """A reference with its authors, in the paper's order."""
    authors = ", ".join(map(markdown, version.authors)) or "Authors not recorded"
    when = f" ({year(version)})" if year(version) else ""
    parts = [f"{authors}{when}. *{markdown(version.title)}*."]
    if version.venue:
        parts.append(f"{markdown(version.venue)}.")
    parts.append(f"{markdown(version.name)}.")
    if version.updated or version.published:
        parts.append(f"{version.updated or version.published}.")
    if version.doi:
        parts.append(f"doi:{markdown(version.doi)}.")
    if re.fullmatch(r"https?://[A-Za-z0-9./?=&%_~:+-]+", version.url):
        parts.append(f"<{version.url}>")
    if version.withdrawn:
        parts.append(f"**Withdrawn**: {markdown(version.withdrawn)}")
    return Markdown(" ".join(parts))


def measured(replication: Replication) -> Markdown:
    """What was measured: the effect, its interval, over how many, on which models."""
    said = [markdown(replication.expression)]
    if replication.effect is not None:
        said.append(f"effect {replication.effect:.4g}")
    if replication.low is not None and replication.high is not None:
        said.append(f"interval {replication.low:.4g} to {replication.high:.4g}")
    said.append(f"{replication.count} observations")
    if replication.models:
        said.append("on " + ", ".join(map(markdown, replication.models)))
    if replication.needed is not None:
        said.append(f"about {replication.needed} would decide")
    return Markdown("; ".join(said))
