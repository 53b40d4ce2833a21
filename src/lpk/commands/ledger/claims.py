"""From papers to claims: claim, verify, withdraw, restore, check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lpk.commands.ledger.common import JSON, ledger, of_ledger, opened_at, tell
from lpk.core.errors import UsageError
from lpk.core.registry import installed

if TYPE_CHECKING:
    from lpk.core.evidence.ledger import Snapshot
    from lpk.core.evidence.records import Check, Claim, Row

#: What a check may say beside its expression.
PRECONDITIONS = ("tolerance", "models", "measure", "minimum")


@ledger.command()
@of_ledger()
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
@click.option("--tolerance", type=click.FloatRange(min=0), help="Of the check: how far its bound may be missed.")
@click.option("--model", "models", multiple=True, metavar="PATTERN", help="Of the check: models that it is about.")
@click.option("--measure", help="Of the check: a measure that these models must have.")
@click.option("--minimum", type=click.IntRange(min=1), help="Of the check: observations that must be there.")
@click.option("--candidate", is_flag=True, help="Note the claim now; its quote comes later.")
def claim(text: str | None, folder: Path, name: str | None, candidate: bool, **values: Any) -> None:
    """State a claim, TEXT, and the quote that bears on it; or add a quote or a check to a claim with --id."""
    from lpk.core.evidence.work import row_of

    opened, now = opened_at(folder)
    if text is None and name:
        name = now.found(name, now.claims, "claim")
    if not values["paper"] and any(values[key] for key in ("quote", "page", "section", "version")):
        raise UsageError("--quote, --page, --section and --version say what a paper has: name it with --paper")
    checked = any(values[key] not in (None, ()) for key in ("expression", *PRECONDITIONS))
    changes = name in now.claims and (text or checked or values["kind"] or values["questions"])
    if not values["paper"] and not changes and not (candidate or checked):
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

    from lpk.core.evidence.records import Claim

    if text is None:
        if not name:
            raise UsageError("say what the claim is: TEXT, or --id of a claim that the ledger has")
        text = now.claims[name].text
    asked = {each.id: each for each in now.direction.questions}
    questions = tuple(now.found(question, asked, "research question") for question in values["questions"])
    before = now.claims.get(name or Claim.id_of(text))
    try:
        return Claim(
            id=name or Claim.id_of(text),
            text=" ".join(text.split()),
            type=values["kind"] or (before.type if before else "finding"),
            questions=questions or (before.questions if before else ()),
            check=_check(before.check if before else None, values),
        )
    except ValidationError as error:
        if any(each["loc"] == ("id",) for each in error.errors()):
            raise UsageError(f"claim {name!r}: an id is 2 to 64 of a-z, 0-9 and -, and begins with no -") from None
        raise


def _check(before: Check | None, values: dict[str, Any]) -> Check | None:
    """What the claim's check shall be: another one, or the one that it has with some of what must hold for it changed."""
    from lpk.core.evidence.checks.check import validate
    from lpk.core.evidence.records import Check

    given = {key: values[key] for key in PRECONDITIONS if values[key] not in (None, ())}
    if values["expression"] is not None:
        validate(values["expression"])
        return Check(expression=values["expression"], **given)
    if given and before is None:
        raise UsageError("--tolerance, --model, --measure and --minimum belong to a check: give it with --check")
    return Check.model_validate({**before.canonical(), **given}) if before else None


@ledger.command()
@of_ledger()
@click.argument("names", nargs=-1, metavar="[ID]...")
@JSON
def verify(folder: Path, names: Sequence[str], as_json: bool) -> None:
    """Look quotes up: of the rows or claims named, or of all.

    Exit 1 if a quote is not where it is said to be, or its claim says something else, or its paper has a newer version, or
    its file is not at hand. Nothing is written for a row about which nothing new is found, and a file that is not at hand
    takes nothing from what was found in it.
    """
    from lpk.core.evidence import work
    from lpk.core.evidence.states import Status, of_row

    opened, now = opened_at(folder)
    rows = _rows(now, names)
    found = list(work.verify(now, rows))
    opened.write(work.news(now, found))
    after = work.snapshot(opened, installed())
    standing = {row.id: of_row(after, row) for row, _ in found}
    kept = {row.id for row, verification in found if work.out_of_reach(now, row, verification)}

    def say() -> None:
        for row, verification in found:
            words = f"not looked up now: {verification.reason}" if row.id in kept else f"words: {verification.verdict}"
            click.echo(f"{row.id}  {standing[row.id].status}: {standing[row.id].why} ({words})")
            if verification.diff:
                click.echo(f"    {verification.diff}")
        good = sum(verification.verdict.good for _, verification in found)
        click.echo(f"{good} of {len(found)} quotes found where they are said to be")

    said = [
        {**verification.model_dump(mode="json"), "status": standing[row.id].status, "why": standing[row.id].why}
        for row, verification in found
    ]
    tell(as_json, said, say)
    wanted = {"abstract": Status.PRELIMINARY}
    if kept or any(standing[row.id].status is not wanted.get(row.basis, Status.VERIFIED) for row, _ in found):
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
@of_ledger()
@click.argument("name", metavar="ID")
@click.option("--reason", required=True, help="Why.")
def withdraw(folder: Path, name: str, reason: str) -> None:
    """Take a claim, a row or a paper back. It stays in the history; lpk ledger restore undoes it."""
    from lpk.core.evidence.work import withdrawal

    opened, now = opened_at(folder)
    made = withdrawal(now, name, reason)
    opened.write([made])
    click.echo(f"{made.what}: withdrawn, {reason}")


@ledger.command()
@of_ledger()
@click.argument("name", metavar="ID")
@click.option("--reason", required=True, help="Why.")
def restore(folder: Path, name: str, reason: str) -> None:
    """Undo a withdrawal: the status follows from the evidence again. Both stay in the history."""
    from lpk.core.evidence.work import restoration

    opened, now = opened_at(folder)
    made = restoration(now, name, reason)
    opened.write([made])
    click.echo(f"{made.what}: restored, {reason}")


@ledger.command()
@of_ledger()
@click.argument("name", metavar="CLAIM")
@click.option("--study", required=True, type=click.Path(path_type=Path), help="A finished study's folder.")
@JSON
def check(folder: Path, name: str, study: Path, as_json: bool) -> None:
    """Evaluate CLAIM's check on a study: replicated, not replicated, inconclusive or out of scope.

    CLAIM may be "all": every claim that carries a check.
    """
    from lpk.core.evidence.checks.check import check

    opened, now = opened_at(folder)
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

    tell(as_json, [made.canonical() for made in found], say)
