"""A finished pruning study as a source of evidence: what was measured here, beside what papers say."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Options
from lpk.core.errors import UsageError
from lpk.core.evidence.checks.tables import Study, read_study
from lpk.core.evidence.contracts import Source
from lpk.core.evidence.records import Direction, PaperVersion
from lpk.core.files import write_text

#: What a spreadsheet would calculate, and what is no number that begins like it.
_FORMULA = re.compile(r"[=+\-@\t\r](?![0-9.]+(e[+-]?[0-9]+)?$)", re.IGNORECASE)


class StudyOptions(Options):
    path: str = Field("", description="the folder of a finished study: what `lpk study` was given as --out")


class StudySource(Source[StudyOptions]):
    """One "paper": the study, named by the hash of its tables, so a study that goes on is another one."""

    def find(self, direction: Direction) -> Iterator[PaperVersion]:
        """The study, whatever the direction: who names its folder wants it."""
        yield self._paper(self._study())

    def versions(self, paper: str) -> Sequence[PaperVersion]:
        found = self._paper(self._study())
        return [found] if found.paper == paper else []

    def fetch(self, version: PaperVersion, into: Path) -> Path:
        """Its cells and measures as one file: the two tables, each below its name."""
        study = self._study()
        if self._paper(study).paper != version.paper:
            raise UsageError(
                f"{self.options.path} is {self._paper(study).paper}, not {version.paper}: it went on since"
            )
        file = into / f"{version.paper.replace(':', '-')}.csv"
        write_text(file, "\n".join(f"{name}\n{_harmless(study.texts[name])}" for name in ("cells.csv", "measures.csv")))
        return file

    def _study(self) -> Study:
        if not self.options.path:
            raise UsageError("source 'study' needs the folder of a finished study: -O path=FOLDER")
        return read_study(Path(self.options.path))

    def _paper(self, study: Study) -> PaperVersion:
        return PaperVersion(
            paper=f"study:{study.sha256[:16]}",
            title=study.title,
            published=study.ended,
            updated=study.ended,
            abstract=abstract(study),
            note=f"SHA-256 of its tables: {study.sha256}",
            source=self.name,
        )


def abstract(study: Study) -> str:
    """What the study is and what it measured on the whole, every word and figure from its tables."""
    cells = study.cells
    if not cells:
        return f"No search succeeded, {_count(study.failed, 'search', 'searches')} failed."
    models = [f"{model} ({next(c.layers for c in cells if c.model == model)} layers)" for model in study.models]
    objectives, searchers = ([*dict.fromkeys(getattr(cell, of) for cell in cells)] for of in ("objective", "searcher"))
    budgets = sorted({cell.budget for cell in cells})
    said = [
        f"{_count(len(cells), 'search', 'searches')} for layers to remove from {_listed(models)} ended, {study.failed}"
        f" failed. {_count(len(objectives), 'objective')} ({_listed(objectives)}), {_count(len(searchers), 'searcher')}"
        f" ({_listed(searchers)}), {_count(len({cell.draw for cell in cells}), 'calibration draw')};"
        f" {_listed([str(budget) for budget in budgets])} layers removed."
    ]
    for column, unit in (("acc", " %"), ("ppl", "")):
        both = [(c.dense[column], c.values[column]) for c in cells if column in c.dense and column in c.values]
        if both:
            dense, pruned = (sorted(side) for side in zip(*both, strict=True))
            what = "Mean accuracy over tasks" if column == "acc" else "Median perplexity"
            of = fmean if column == "acc" else _median
            said.append(
                f"{what}: {of(dense):.4g}{unit} of the dense models, {of(pruned):.4g}{unit} of the pruned ones."
            )
    return " ".join(said)


def _median(values: Sequence[float]) -> float:
    return values[len(values) // 2]


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _harmless(table: str) -> str:
    """The same table; what a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in csv.reader(io.StringIO(table, newline="")):
        writer.writerow([f"'{field}" if _FORMULA.match(field) else field for field in row])
    return text.getvalue()


@hookimpl
def lpk_sources() -> Iterable[Component]:
    yield Component(
        "study",
        "A finished pruning study: its tables, with the hash of the run",
        f"{__name__}:StudySource",
        options=StudyOptions,
    )
