"""``lpk ledger``: from a research direction to claims that are supported, or are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lpk.commands.console import table
from lpk.core.errors import UsageError
from lpk.core.registry import installed

if TYPE_CHECKING:
    from lpk.core.evidence.audit import Audit
    from lpk.core.evidence.ledger import Ledger, Snapshot
    from lpk.core.evidence.records import Claim, PaperVersion, Row

_FOLDER = click.option(
    "--ledger",
    "folder",
    envvar="LPK_LEDGER",
    default=Path(),
    show_default="the working directory",
    type=click.Path(path_type=Path),
    help="The ledger's folder.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def ledger() -> None:
    """Keep an evidence ledger: papers, quotes, claims, and how far each claim has come."""


def _open(folder: Path) -> tuple[Ledger, Snapshot]:
    from lpk.core.evidence.ledger import Ledger
    from lpk.core.evidence.work import snapshot

    opened = Ledger(folder)
    return opened, snapshot(opened, installed())


def _print(as_json: bool, value: Any, say: Callable[[], None]) -> None:
    if as_json:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        say()


# ---------------------------------------------------------------------------------------------------------------------
# From a direction to papers
# ---------------------------------------------------------------------------------------------------------------------


@ledger.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--id", "name", help="A short id for the direction.  [default: the folder's name]")
@click.option("--title", help="What the ledger is about.  [default: the id]")
@click.option("--category", default="", help="Its place in a taxonomy, e.g. cs-ai/deep-llm-layer-redundancy.")
@click.option("--keyword", "keywords", multiple=True, help="What sources search for. May be repeated.")
@click.option("--facet", "facets", multiple=True, metavar="NAME=WORD,WORD", help="What a paper must be about.")
@click.option("--question", "questions", multiple=True, help="A research question. May be repeated.")
def init(
    folder: Path,
    name: str | None,
    title: str | None,
    category: str,
    keywords: Sequence[str],
    facets: Sequence[str],
    questions: Sequence[str],
) -> None:
    """Begin a ledger in FOLDER. What is not said here is written into its ledger.toml later."""
    from lpk.core.evidence.ledger import Ledger

    name = name or folder.absolute().name
    lines = ["# What this ledger is about. lpk reads it anew each time; edit it as you like.", "format = 1", ""]
    lines += ["[direction]", f"id = {_toml(name)}", f"title = {_toml(title or name)}", f"category = {_toml(category)}"]
    lines += [
        "# what the draft sets out to show; the audit holds it against the evidence",
        'thesis = ""',
        "# what sources search for",
    ]
    lines.append(f"keywords = [{', '.join(map(_toml, keywords))}]")
    lines.append("\n# All facets must hold for a paper to be in scope; one holds where one of its words is found.")
    for facet in facets:
        label, _, words = facet.partition("=")
        if not words:
            raise UsageError(f"--facet {facet!r}: write NAME=WORD,WORD, e.g. object='language model,LLM'")
        listed = ", ".join(_toml(word.strip()) for word in words.split(","))
        lines += ["[[direction.facets]]", f"name = {_toml(label.strip())}", f"words = [{listed}]"]
    if not facets:
        lines += ["# [[direction.facets]]", '# name = "object"', '# words = ["language model", "LLM"]']
    lines += ["\n# [[direction.criteria]]", '# id = "I1"', '# decision = "include"', '# text = "..."', ""]
    for number, question in enumerate(questions, start=1):
        lines += ["[[direction.questions]]", f'id = "RQ{number}"', f"text = {_toml(question)}"]
    if not questions:
        lines += ["# [[direction.questions]]", '# id = "RQ1"', '# text = "...?"']
    begun = Ledger.begin(folder, "\n".join(lines) + "\n")
    click.echo(f"{begun.folder}: a ledger about {begun.direction.title!r}; its direction is in ledger.toml")


def _toml(text: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's."""
    return json.dumps(text, ensure_ascii=False)


@ledger.command()
@_FOLDER
@click.option("--source", default="arxiv", show_default=True, help="A source: lpk plugins list --kind source.")
@click.option("-O", "options", multiple=True, metavar="KEY=VALUE", help="An option of the source.")
@click.option("--paper", "papers", multiple=True, metavar="ID", help="Look this paper up, in place of a search.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Papers of a search.")
@click.option("--dry-run", is_flag=True, help="Print what is found; write nothing.")
@_JSON
def collect(
    folder: Path,
    source: str,
    options: Sequence[str],
    papers: Sequence[str],
    limit: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Ask a source for papers of the direction, and write down what is new.

    A newer version of a known paper makes the rows that quote the older one stale.
    """
    from lpk.core.evidence.work import collect

    opened, now = _open(folder)
    made = _source(source, options)
    offered: list[PaperVersion] = []
    for name in papers:
        versions = made.versions(name)
        if not versions:
            raise UsageError(f"{source} knows no paper {name}")
        offered += versions
    if not papers:
        offered = list(islice(made.find(now.direction), limit))
    found = collect(now, offered)
    if not dry_run:
        opened.write(found.records)

    def say() -> None:
        for title, versions in (("new", found.new), ("newer", found.versions), ("changed", found.changed)):
            for version in versions:
                click.echo(f"{title:8} {version.name}  {version.title}")
        click.echo(
            f"{len(offered)} found by {source}: {len(found.new)} new, {len(found.versions)} newer versions, "
            f"{len(found.changed)} changed, {found.known} known"
        )

    _print(
        as_json,
        {
            "found": len(offered),
            "known": found.known,
            **{kind: [version.name for version in getattr(found, kind)] for kind in ("new", "versions", "changed")},
        },
        say,
    )


def _source(name: str, options: Sequence[str]) -> Any:
    values = {}
    for option in options:
        key, sign, value = option.partition("=")
        if not sign:
            raise UsageError(f"-O {option!r}: write KEY=VALUE")
        values[key.strip().replace("-", "_")] = value
    return installed().find("source", name).create(values)


@ledger.command()
@_FOLDER
@click.argument("paper", required=False)
@click.argument("decision", required=False, type=click.Choice(["include", "exclude", "background"]))
@click.option("--reason", help="A code: in-scope, off-topic, not-llm, no-evaluation, duplicate ...")
@click.option("--criterion", default="", help="The id of the criterion that decided.")
@click.option("--note", default="", help="A note for whoever asks later.")
@_JSON
def screen(
    folder: Path, paper: str | None, decision: str | None, reason: str | None, criterion: str, note: str, as_json: bool
) -> None:
    """Decide about PAPER; without one, list the papers that wait for a decision, with the criteria."""
    from lpk.core.evidence import work

    opened, now = _open(folder)
    if paper is None:
        _waiting(now, as_json)
        return
    if decision is None or not (reason or criterion):
        raise UsageError(
            "say what and why: lpk ledger screen PAPER include|exclude|background --reason CODE (or --criterion ID)"
        )
    made = work.screen(now, paper, decision, reason or criterion, criterion, note)
    opened.write([made])
    missing = [facet.name for facet in now.direction.facets if facet.name not in made.facets]
    warned = f"; its title and abstract do not show: {', '.join(missing)}" if missing and decision == "include" else ""
    _print(as_json, made.canonical(), lambda: click.echo(f"{made.paper}: {decision}, {made.reason}{warned}"))


def _waiting(now: Snapshot, as_json: bool) -> None:
    from lpk.core.evidence.work import facets_found

    papers = [paper for paper in now.papers.values() if paper.versions and not paper.decision and not paper.withdrawn]
    shown = [(paper, facets_found(now.direction, paper.latest)) for paper in papers]

    def say() -> None:
        for criterion in now.direction.criteria:
            click.echo(f"{criterion.id}  {criterion.decision}: {criterion.text}")
        for paper, facets in shown:
            marks = ", ".join(f"{f.name}: {facets.get(f.name, '-')}" for f in now.direction.facets)
            click.echo(f"{paper.latest.name}  {paper.latest.title}" + (f"  [{marks}]" if marks else ""))
        click.echo(f"{len(papers)} of {len(now.papers)} papers wait for a decision")

    _print(as_json, [{"paper": p.id, "title": p.latest.title, "facets": facets} for p, facets in shown], say)


@ledger.command()
@_FOLDER
@click.argument("paper")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--version", help="Which version the file is.  [default: the latest that the ledger knows]")
@click.option("--source", help="Fetch the text from this source.  [default: the one that found the paper]")
@click.option("-O", "options", multiple=True, metavar="KEY=VALUE", help="An option of the source.")
def read(
    folder: Path, paper: str, file: Path | None, version: str | None, source: str | None, options: Sequence[str]
) -> None:
    """Read PAPER's full text: FILE, or what a source has. It is kept in papers/, named by its hash."""
    from tempfile import TemporaryDirectory

    from lpk.core.evidence.work import read_document

    opened, now = _open(folder)
    known = now.papers[now.found(paper, now.papers, "paper")]
    if not known.versions:
        raise UsageError(f"{known.id} was never described; collect it first")
    wanted = known.versions.get(version) if version is not None else known.latest
    if wanted is None:
        raise UsageError(f"{known.id} has no version {version}; the ledger knows {', '.join(known.versions)}")
    with TemporaryDirectory() as scratch:
        if file is None:
            made = _source(source or wanted.source or "arxiv", options)
            file = made.fetch(wanted, Path(scratch))
            if file is None:
                raise UsageError(f"{made.name} has no full text of {wanted.name}; give a FILE")
        document = read_document(opened, installed(), known, wanted.version, file)
    if known.documents.get(wanted.version) != document:
        opened.write([document])
    what = f"{document.pages} pages" if document.text_layer else f"{document.pages} pages without text (a scan)"
    click.echo(f"{wanted.name}: {what}, papers/{document.file}, SHA-256 {document.sha256[:12]}")


# ---------------------------------------------------------------------------------------------------------------------
# From papers to claims
# ---------------------------------------------------------------------------------------------------------------------


@ledger.command()
@_FOLDER
@click.argument("text", required=False)
@click.option("--id", "name", help="The claim's id, or that of a known claim to add a quote to.")
@click.option("--type", "kind", type=click.Choice(["background", "method", "finding", "limitation"]))
@click.option("--question", "questions", multiple=True, metavar="ID", help="A research question that it answers.")
@click.option("--paper", metavar="ID", help="The paper that the quote is from.")
@click.option("--version", help="Its version.  [default: the latest that the ledger knows]")
@click.option("--quote", help="The paper's own words.")
@click.option("--page", type=click.IntRange(min=1), help="The page that they are on.")
@click.option("--section", default="", help="The section that they are in.")
@click.option("--abstract", is_flag=True, help="They are from the abstract: the row stays preliminary.")
@click.option(
    "--relation", type=click.Choice(["supports", "contradicts", "qualifies", "background"]), default="supports"
)
@click.option("--check", "expression", help="An expression over a study's tables (docs/claims.md).")
@click.option("--candidate", is_flag=True, help="Note the claim now; its quote comes later.")
def claim(text: str | None, folder: Path, name: str | None, candidate: bool, **values: Any) -> None:
    """State a claim, TEXT, and the quote that bears on it; or add a quote to a claim with --id."""
    from lpk.core.evidence.work import row_of

    opened, now = _open(folder)
    if not values["paper"] and any(values[key] for key in ("quote", "page", "section", "version")):
        raise UsageError("--quote, --page, --section and --version say what a paper has: name it with --paper")
    changes = name in now.claims and (text or values["expression"] or values["kind"] or values["questions"])
    if not values["paper"] and not changes and not (candidate or values["expression"]):
        raise UsageError("a claim needs a quote: --paper ID --quote '...' (or --candidate: the quote comes later)")
    made = _claim(now, text, name, values)
    records: list[Any] = [] if now.claims.get(made.id) == made else [made]
    row: Row | None = None
    if values["paper"]:
        asked = {key: values[key] for key in ("paper", "version", "quote", "page", "section", "relation")}
        row = row_of(now, made, {**asked, "quote": asked["quote"] or "", **_basis(values["abstract"])})
        records += [] if now.rows.get(row.id) == row else [row]
    opened.write(records)
    click.echo(f"claim {made.id}" + (f", row {row.id}: look it up with lpk ledger verify" if row else ""))


def _basis(abstract: bool) -> dict[str, str]:
    return {"basis": "abstract"} if abstract else {}


def _claim(now: Snapshot, text: str | None, name: str | None, values: dict[str, Any]) -> Claim:
    from pydantic import ValidationError

    from lpk.core.evidence.checks import validate
    from lpk.core.evidence.records import Check, Claim

    if text is None:
        if not name:
            raise UsageError("say what the claim is: TEXT, or --id of a claim that the ledger has")
        name = now.found(name, now.claims, "claim")
        text = now.claims[name].text
    for question in values["questions"]:
        now.found(question, {each.id: each for each in now.direction.questions}, "research question")
    if values["expression"]:
        validate(values["expression"])
    before = now.claims.get(name or Claim.id_of(text))
    try:
        return Claim(
            id=name or Claim.id_of(text),
            text=" ".join(text.split()),
            type=values["kind"] or (before.type if before else "finding"),
            questions=tuple(values["questions"]) or (before.questions if before else ()),
            check=Check(expression=values["expression"]) if values["expression"] else before.check if before else None,
        )
    except ValidationError as error:
        if any(each["loc"] == ("id",) for each in error.errors()):
            raise UsageError(f"claim {name!r}: an id is 2 to 64 of a-z, 0-9 and -, and begins with no -") from None
        raise


@ledger.command()
@_FOLDER
@click.argument("names", nargs=-1, metavar="[ID]...")
@_JSON
def verify(folder: Path, names: Sequence[str], as_json: bool) -> None:
    """Look quotes up: of the rows or claims named, or of all.

    Exit 1 if a quote is not where it is said to be, or its claim says something else, or its paper has a newer version.
    Nothing is written for a row about which nothing new is found.
    """
    from lpk.core.evidence import work
    from lpk.core.evidence.states import Status, of_row

    opened, now = _open(folder)
    rows = _rows(now, names)
    found = list(work.verify(now, rows))
    opened.write(work.news(now, found))
    after = work.snapshot(opened, installed())
    standing = {row.id: of_row(after, row) for row, _ in found}

    def say() -> None:
        for row, verification in found:
            click.echo(f"{row.id}  {standing[row.id].status}: {standing[row.id].why} (words: {verification.verdict})")
            if verification.diff:
                click.echo(f"    {verification.diff}")
        good = sum(verification.verdict.good for _, verification in found)
        click.echo(f"{good} of {len(found)} quotes found where they are said to be")

    said = [
        {**verification.model_dump(mode="json"), "status": standing[row.id].status, "why": standing[row.id].why}
        for row, verification in found
    ]
    _print(as_json, said, say)
    wanted = {"abstract": Status.PRELIMINARY}
    if any(standing[row.id].status is not wanted.get(row.basis, Status.VERIFIED) for row, _ in found):
        raise click.exceptions.Exit(1)


def _rows(now: Snapshot, names: Sequence[str]) -> list[Row]:
    """The rows meant, all but those withdrawn where none is named; never none."""
    known = {**now.rows, **now.claims}
    meant = [now.found(name, known, "row or claim") for name in names]
    rows = [
        row
        for row in now.rows.values()
        if (row.id in meant or row.claim in meant if meant else not {row.id, row.claim} & now.withdrawals.keys())
    ]
    if not rows:
        raise UsageError("there is no row to look up; add one with lpk ledger claim")
    return rows


@ledger.command()
@_FOLDER
@click.argument("name", metavar="ID")
@click.option("--reason", required=True, help="Why.")
def withdraw(folder: Path, name: str, reason: str) -> None:
    """Take a claim, a row or a paper back. It stays in the history."""
    from lpk.core.evidence.work import withdrawal

    opened, now = _open(folder)
    made = withdrawal(now, name, reason)
    opened.write([made])
    click.echo(f"{made.what}: withdrawn, {reason}")


@ledger.command()
@_FOLDER
@click.argument("name", metavar="CLAIM")
@click.option("--study", required=True, type=click.Path(path_type=Path), help="A finished study's folder.")
@_JSON
def check(folder: Path, name: str, study: Path, as_json: bool) -> None:
    """Evaluate CLAIM's check on a study: replicated, not replicated, inconclusive or out of scope.

    CLAIM may be "all": every claim that carries a check.
    """
    from lpk.core.evidence.checks import check

    opened, now = _open(folder)
    checked = [claim for claim in now.claims.values() if claim.check]
    if name != "all":
        claim = now.claims[now.found(name, now.claims, "claim")]
        if claim.check is None:
            raise UsageError(f"claim {claim.id} carries no check; give it one with lpk ledger claim --check")
        checked = [claim]
    if not checked:
        raise UsageError("no claim carries a check")
    found = [check(claim, study) for claim in checked]
    opened.write(made for made in found if made not in now.replications.get(made.claim, []))

    def say() -> None:
        for made in found:
            interval = "" if made.effect is None else f": {made.effect:.3g}"
            interval += "" if made.low is None or made.high is None else f" [{made.low:.3g}, {made.high:.3g}]"
            click.echo(f"{made.claim}  {made.verdict}{interval}, n = {made.count}")
            click.echo(f"    {made.expression}" + (f"; {made.reason}" if made.reason else ""))

    _print(as_json, [made.canonical() for made in found], say)


# ---------------------------------------------------------------------------------------------------------------------
# Looking at it
# ---------------------------------------------------------------------------------------------------------------------


@ledger.command()
@_FOLDER
@click.option("--metrics", is_flag=True, help="The measures, each with definition, numerator and denominator.")
@_JSON
def status(folder: Path, metrics: bool, as_json: bool) -> None:
    """Say how far papers, rows and claims have come."""
    from lpk.core.evidence.states import statuses

    if metrics:
        _metrics(folder, as_json)
        return
    _, now = _open(folder)
    standing = statuses(now)
    decisions = [paper.decision or "waiting" for paper in now.papers.values()]
    read = sum(bool(paper.documents) for paper in now.papers.values())
    counts = {name: decisions.count(name) for name in ("include", "exclude", "background", "waiting")}
    statuses_met = [found.status for found in standing.values()]

    def say() -> None:
        click.echo(f"{now.direction.title} ({now.direction.id})")
        click.echo(
            f"papers: {len(now.papers)}: {counts['include']} included, {counts['exclude']} excluded, "
            f"{counts['background']} background, {counts['waiting']} waiting; {read} read"
        )
        met = ", ".join(f"{statuses_met.count(name)} {name}" for name in dict.fromkeys(sorted(statuses_met)))
        click.echo(f"claims: {len(now.claims)}" + (f": {met}" if met else ""))
        if now.claims:
            table(
                ["claim", "status", "what", "why"],
                [[name, found.status, now.claims[name].text, found.why] for name, found in standing.items()],
            )

    said = {
        "direction": now.direction.id,
        "papers": {"all": len(now.papers), "read": read, **counts},
        "claims": {name: {"status": found.status, "why": found.why} for name, found in standing.items()},
        "events": len(now.events),
        "heads": now.heads,
    }
    _print(as_json, said, say)


def _metrics(folder: Path, as_json: bool) -> None:
    from lpk.core.evidence.metrics import metrics
    from lpk.core.evidence.publish import audited

    opened, now = _open(folder)
    found = metrics(now, audited(opened, installed())[0])

    def say() -> None:
        for measure in found:
            value = f"n/a: {measure.why}" if measure.value is None else f"{measure.value:.3g} {measure.unit}".rstrip()
            click.echo(f"{measure.name}: {value} ({measure.numerator} / {measure.denominator})")
            click.echo(f"    {measure.definition}")

    _print(as_json, [measure.described() for measure in found], say)


@ledger.command()
@_FOLDER
@click.argument("name", metavar="ID")
def explain(folder: Path, name: str) -> None:
    """Tell all about a claim, a row or a paper: its status, what it rests on, and what happened to it."""
    from lpk.core.evidence.states import of_claim, of_row

    _, now = _open(folder)
    name = now.found(name, {**now.claims, **now.rows, **now.papers}, "claim, row or paper")
    if name in now.papers:
        _explain_paper(now, name)
        return
    claim = now.claims.get(name)
    if claim:
        standing = of_claim(now, claim)
        click.echo(f"{claim.id}  {claim.type}, {standing.status}: {standing.why}\n  {claim.text}")
        for made in now.replications.get(claim.id, []):
            click.echo(f"  measured: {made.verdict}, {made.expression}, study {made.study[:12]}")
    rows = now.of_claim(name) if claim else [now.rows[name]]
    for row in rows:
        standing = of_row(now, row)
        click.echo(f"\n{row.id}  {row.relation}, {row.paper}{row.version}, {standing.status}: {standing.why}")
        click.echo(f"  “{row.quote}”")
        for checked in now.verifications.get(row.id, []):
            found = checked.verification
            where = f", page {found.page}, section {found.section or '?'}" if found.page else ""
            click.echo(f"  {checked.at} {found.verdict}{where} ({found.checker}, by {checked.by})")
            if found.reason:
                click.echo(f"    {found.reason}")
            if found.diff:
                click.echo(f"    {found.diff}")
            for each in found.disagreements:
                click.echo(f"    {each.what}: claim {each.claim!r}, quote {each.quote!r}")


def _explain_paper(now: Snapshot, name: str) -> None:
    from lpk.core.evidence.versions import changes

    paper = now.papers[name]
    versions = sorted(paper.versions.values(), key=lambda version: version.number)
    for version in versions:
        click.echo(f"{version.name}  {version.title}\n  {', '.join(version.authors)}; {version.published}")
        if version.withdrawn:
            click.echo(f"  withdrawn: {version.withdrawn}")
    for old, new in pairwise(versions):
        for what, diff in changes(old, new).items():
            click.echo(f"{old.version} -> {new.version}, {what}: {diff}")
    for screened in paper.screenings:
        made = screened.screening
        criterion = f", {made.criterion}" if made.criterion else ""
        click.echo(f"{screened.at} {made.decision}: {made.reason}{criterion} ({screened.by}) {made.note}".rstrip())
    for row in now.rows.values():
        if row.paper == name:
            click.echo(f"row {row.id} for claim {row.claim}: “{row.quote}”")


@ledger.command()
@_FOLDER
def export(folder: Path) -> None:
    """Write every artifact: tables, audit report, draft, proof script, references, annotations, dashboard.

    The same ledger gives the same bytes. lpk prove runs the proof.
    """
    from lpk.core.evidence import artifacts, report
    from lpk.core.evidence.audit import rules
    from lpk.core.evidence.publish import audited
    from lpk.testing.mutants import try_rules

    opened, now = _open(folder)
    found, files = audited(opened, installed())
    lines = report.event_lines(opened.log.path.read_text(encoding="utf-8"))
    tested = try_rules(rules(installed()))
    files |= {name: text.encode() for name, text in report.files(found, tested, lines).items()}
    files["index.html"] = _page(opened, now, found).encode()
    changed = artifacts.write(folder, files)
    for name in sorted(files):
        click.echo(f"{name}{'' if name in changed else '  (as it was)'}")


@ledger.command()
@_FOLDER
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port.  [default: any that is free]")
def serve(folder: Path, port: int) -> None:
    """Show the dashboard to a browser on this machine, until Ctrl-C."""
    from lpk.core.evidence.publish import audited
    from lpk.core.evidence.serve import serve

    _open(folder)  # a wrong folder is told before anything is served

    def page() -> str:
        opened, now = _open(folder)
        return _page(opened, now, audited(opened, installed())[0])

    serve(page, port, lambda address: click.echo(f"{address} (Ctrl-C ends it)"))


def _page(opened: Ledger, now: Snapshot, found: Audit) -> str:
    """The dashboard of a ledger, as it is now."""
    from lpk.core.evidence.dashboard import page
    from lpk.core.evidence.work import pictures

    return page(now, found, pictures(opened, now, installed()))
