"""From a direction to papers: init, collect, screen, read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lpk.commands.console import key_values
from lpk.commands.ledger.common import JSON, ledger, of_ledger, opened_at, tell
from lpk.core.errors import UsageError
from lpk.core.registry import installed

if TYPE_CHECKING:
    from lpk.core.evidence.ledger import Snapshot
    from lpk.core.evidence.records import PaperVersion


@ledger.command()
@of_ledger(otherwise=None, said="none: it must be named")
@click.option("--id", "name", help="A short id for the direction.  [default: the folder's name]")
@click.option("--title", help="What the ledger is about.  [default: the id]")
@click.option("--category", default="", help="Its place in a taxonomy, e.g. cs-ai/deep-llm-layer-redundancy.")
@click.option("--keyword", "keywords", multiple=True, help="What sources search for. May be repeated.")
@click.option("--facet", "facets", multiple=True, metavar="NAME=WORD,WORD", help="What a paper must be about.")
@click.option("--question", "questions", multiple=True, help="A research question. May be repeated.")
def init(
    folder: Path | None,
    name: str | None,
    title: str | None,
    category: str,
    keywords: Sequence[str],
    facets: Sequence[str],
    questions: Sequence[str],
) -> None:
    """Begin a ledger in FOLDER. What is not said here is written into its ledger.toml later."""
    from lpk.core.evidence.ledger import Ledger

    if folder is None:
        raise UsageError("say where the ledger shall be: lpk ledger init FOLDER")
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
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@ledger.command()
@of_ledger()
@click.option("--source", default="arxiv", show_default=True, help="A source: lpk plugins list --kind source.")
@click.option("-O", "options", multiple=True, metavar="KEY=VALUE", help="An option of the source.")
@click.option("--paper", "papers", multiple=True, metavar="ID", help="Look this paper up, in place of a search.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Papers of a search.")
@click.option("--dry-run", is_flag=True, help="Print what is found; write nothing.")
@JSON
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

    opened, now = opened_at(folder)
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
    for doubt in found.doubts:
        click.echo(f"lpk: note: {doubt}", err=True)

    def say() -> None:
        for title, versions in (("new", found.new), ("newer", found.versions), ("changed", found.changed)):
            for version in versions:
                click.echo(f"{title:8} {version.name}  {version.title}")
        click.echo(
            f"{len(offered)} found by {source}: {len(found.new)} new, {len(found.versions)} newer versions, "
            f"{len(found.changed)} changed, {found.known} known"
        )

    tell(
        as_json,
        {
            "found": len(offered),
            "known": found.known,
            **{kind: [version.name for version in getattr(found, kind)] for kind in ("new", "versions", "changed")},
        },
        say,
    )


def _source(name: str, options: Sequence[str]) -> Any:
    return installed().find("source", name).create(key_values(options))


@ledger.command()
@of_ledger()
@click.argument("paper", required=False)
@click.argument("decision", required=False, type=click.Choice(["include", "exclude", "background"]))
@click.option("--reason", help="A code: in-scope, off-topic, not-llm, no-evaluation, duplicate ...")
@click.option("--criterion", default="", help="The id of the criterion that decided.")
@click.option("--note", default="", help="A note for whoever asks later.")
@JSON
def screen(
    folder: Path, paper: str | None, decision: str | None, reason: str | None, criterion: str, note: str, as_json: bool
) -> None:
    """Decide about PAPER; without one, list the papers that wait for a decision, with the criteria."""
    from lpk.core.evidence import work

    opened, now = opened_at(folder)
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
    tell(as_json, made.canonical(), lambda: click.echo(f"{made.paper}: {decision}, {made.reason}{warned}"))


def _waiting(now: Snapshot, as_json: bool) -> None:
    from lpk.core.evidence.work import facets_found

    papers = [paper for paper in now.papers.values() if paper.versions and not paper.decision and not paper.withdrawn]
    shown = [(paper, facets_found(now.direction, paper.latest)) for paper in papers]

    def say() -> None:
        for criterion in now.direction.criteria:
            click.echo(f"{criterion.id}  {criterion.decision}: {criterion.text}")
        for paper, facets in shown:
            marks = ", ".join(f"{f.name}: {facets.get(f.name, '-')}" for f in now.direction.facets)
            click.echo(f"{paper.id}  {paper.latest.title}" + (f"  [{marks}]" if marks else ""))
        click.echo(f"{len(papers)} of {len(now.papers)} papers wait for a decision")

    tell(as_json, [{"paper": p.id, "title": p.latest.title, "facets": facets} for p, facets in shown], say)


@ledger.command()
@of_ledger()
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

    from lpk.core.evidence.documents.firstpage import is_its_file, stranger
    from lpk.core.evidence.work import read_document

    opened, now = opened_at(folder)
    known = now.papers[now.found(paper, now.papers, "paper")]
    if not known.versions:
        raise UsageError(f"{known.id} was never described; collect it first")
    wanted = known.latest if version is None else known.version(version)
    if file is not None and (source or options):
        raise UsageError("a FILE is read as it is: leave --source and -O out")
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
    why = "" if document.first_page is None or is_its_file(wanted) else stranger(document.first_page, wanted)
    if why:
        click.echo(f"lpk: note: {file.name} may not be {wanted.name}: {why}", err=True)
