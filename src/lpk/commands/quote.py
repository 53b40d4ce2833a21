"""``lpk quote``: is this quote in that document?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click

from lpk.core.errors import LpkError, UsageError
from lpk.core.evidence.documents.fulltext import FullText, picture, read
from lpk.core.evidence.quotes import POLICIES, Lookup, Policy, look_up
from lpk.core.evidence.records import Verdict
from lpk.core.files import write_bytes
from lpk.core.registry import Registry, installed


@click.group()
def quote() -> None:
    """Look quotes up in documents."""


@quote.command("check")
@click.argument("document", type=click.Path(path_type=Path), required=False)
@click.argument("words", required=False)
@click.option("--page", type=click.IntRange(min=1), help="The page that it is claimed to be on, counted from 1.")
@click.option("--section", default="", help="The number or title of the section that it is claimed to be in.")
@click.option(
    "--policy", type=click.Choice(POLICIES), default="strict", show_default=True, help="What counts as found."
)
@click.option("--batch", type=click.Path(path_type=Path), help="Look up every row {pdf, quote, ...} of a JSONL file.")
@click.option("--out", type=click.Path(path_type=Path), help="Of --batch: write the rows here, not to stdout.")
@click.option(
    "--picture", "drawn", type=click.Path(path_type=Path), help="Write the page, the quote highlighted, as PNG."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    document: Path | None,
    words: str | None,
    page: int | None,
    section: str,
    policy: Policy,
    batch: Path | None,
    out: Path | None,
    drawn: Path | None,
    as_json: bool,
) -> int:
    """Look for WORDS in DOCUMENT: a PDF, a Markdown or a text file.

    Exit code 0 if they are there, where they are claimed to be; 1 if not.
    """
    if batch is not None:
        if document or words or page or section or drawn:
            raise UsageError("--batch takes documents, quotes and claims from its rows; leave the others out")
        return _check_batch(batch, out, policy)
    if document is None or words is None:
        raise UsageError('say which document and which words: lpk quote check paper.pdf "words", or --batch FILE')
    if out is not None:
        raise UsageError("--out is for --batch; a picture goes to --picture")
    registry = installed()
    found = look_up(words, read(document, registry), page=page, section=section, policy=policy)
    if drawn is not None and found.rects:
        write_bytes(drawn, picture(document, registry, found.rects[0][0], found.rects))
    if as_json:
        click.echo(json.dumps({"document": str(document), "quote": words, **_row(found)}, ensure_ascii=False))
    else:
        _tell(found)
        if drawn is not None:
            click.echo(f"  picture   {drawn}" if found.rects else "  picture   none: there is no place to show")
    return 0 if found.verdict.good else 1


def _tell(found: Lookup) -> None:
    pages = "" if found.page is None else f"page {found.page}"
    if found.page_end != found.page:
        pages += f" to {found.page_end}"
    where = ", ".join(filter(None, [pages, found.section and f"section {found.section}"]))
    click.echo(f"{found.verdict}" + (f": {where}" if where else ""))
    context = f"{found.prefix} [...] {found.suffix}" if found.prefix or found.suffix else ""
    for label, value in (("because", found.reason), ("diff", found.diff), ("between", context)):
        if value:
            click.echo(f"  {label:<9} {value}")


def _row(found: Lookup) -> dict[str, Any]:
    row = {"verdict": str(found.verdict), "page": found.page, "section": found.section, "rects": found.rects}
    row |= {"reason": found.reason, "diff": found.diff}
    return row | ({"found_in": found.found_in} if found.verdict is Verdict.MISATTRIBUTED else {})


# ---------------------------------------------------------------------------------------------------------------------
# Many
# ---------------------------------------------------------------------------------------------------------------------


def _check_batch(batch: Path, out: Path | None, policy: Policy) -> int:
    """Every row with its verdict; a row that cannot be looked up says why, and the others go on."""
    rows = list(_rows(batch))
    if not rows:
        raise UsageError(f"{batch}: it has no rows")
    corpus = _Corpus(batch.parent, installed(), dict.fromkeys(str(row["pdf"]) for row in rows if "error" not in row))
    answers = [row if "error" in row else _answer(row, corpus, policy) for row in rows]
    text = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_bytes(out, text.encode())
    return 0 if all("verdict" in answer and Verdict(answer["verdict"]).good for answer in answers) else 1


def _answer(row: dict[str, Any], corpus: _Corpus, policy: Policy) -> dict[str, Any]:
    try:
        text = corpus.text(row["pdf"])
    except LpkError as error:
        return row | {"error": str(error)}
    page, section = row.get("claimed_page"), row.get("claimed_section") or ""
    others = corpus.others(row["pdf"])
    return row | _row(look_up(row["quote"], text, page=page, section=section, elsewhere=others, policy=policy))


class _Corpus:
    """The documents of a batch, each read once; a quote that one lacks is looked for in the others."""

    def __init__(self, folder: Path, registry: Registry, names: dict[str, None]) -> None:
        self._names = names
        self._read = cache(lambda name: self._attempt(folder / name, registry))

    @staticmethod
    def _attempt(file: Path, registry: Registry) -> FullText | LpkError:
        try:
            return read(file, registry)
        except LpkError as error:
            return error

    def text(self, name: str) -> FullText:
        found = self._read(name)
        if isinstance(found, LpkError):
            raise found
        return found

    def others(self, name: str) -> Iterator[tuple[str, FullText]]:
        for other in self._names:
            if other != name and isinstance(found := self._read(other), FullText):
                yield other, found


def _rows(batch: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = batch.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{batch}: not UTF-8 at byte {error.start}") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _checked(line, number)


def _checked(line: str, number: int) -> dict[str, Any]:
    """A row, or with what is wrong with it under ``error``."""
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair is in no text
    except (ValueError, RecursionError) as error:
        return {"line": number, "error": f"line {number} is no JSON: {error}"}
    if not isinstance(row, dict):
        return {"line": number, "error": f"line {number} is no JSON object"}
    page, section = row.get("claimed_page"), row.get("claimed_section")
    for wrong, what in (
        (not isinstance(row.get("pdf"), str), "pdf must be a path"),
        (not isinstance(row.get("quote"), str), "quote must be a text"),
        (
            page is not None and (not isinstance(page, int) or isinstance(page, bool) or page < 1),
            "claimed_page must be 1 or more",
        ),
        (section is not None and not isinstance(section, str), "claimed_section must be a text"),
    ):
        if wrong:
            return row | {"error": f"line {number}: {what}"}
    row.pop("error", None)
    return row
