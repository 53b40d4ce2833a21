"""A study: the grid of cells, done once each, by one process or several; then tables, statistics and a report.

A cell that is done is a file in ``cells/``; one that is being done is a lock. So a study that was killed goes on when
the same command is run again, several processes or machines may work on one folder, and a cell that fails stops no
other.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lpk.core.errors import LpkError, PluginError, UsageError
from lpk.core.files import room, write_json
from lpk.core.memory import enough
from lpk.core.progress import Progress
from lpk.core.pruning.mask import LayerMask
from lpk.core.registry import Registry
from lpk.core.study.recipe import CellRecipe, StudyRecipe
from lpk.core.study.tables import DENSE, Cell, Measure, Trial, write_csv, write_parquet


def execute(
    study: StudyRecipe,
    registry: Registry,
    out: Path,
    progress: Progress,
    store: str | None = None,
    *,
    jobs: int = 1,
    again: Sequence[str] = (),
    report: bool = True,
) -> dict[str, Any]:
    """Do every cell that is not done yet, and write tables and report from all.

    Args:
        study: the grid.
        registry: the plugins.
        out: the study's folder.
        progress: told how the work goes on.
        store: the address of the memo, in place of a file in the folder.
        jobs: processes that do cells at the same time; the machine's cores are shared among them.
        again: the command that does the same in another process, for ``jobs`` above 1.
        report: whether tables and report are written; a helping process leaves that to the first.

    Raises:
        LpkError: the study cannot be begun, or after everything else is written: no cell succeeded.
    """
    cells = study.cells(registry)
    with room(out), enough():
        folder = out / "cells"
        folder.mkdir(parents=True, exist_ok=True)
        tasks = _tasks(study, cells, folder)
        if jobs > 1:
            _together(tasks, jobs, again, progress)
        _work(study, registry, tasks, out, progress, store)
        if not report:
            return {}
        return _finish(study, tasks, out, progress)


@dataclass(frozen=True)
class _Task:
    """A cell to be done, or the dense model to be measured, and the file that says it is.

    Attributes:
        files: size and time of change of the files that it reads.
    """

    cell: CellRecipe
    dense: bool
    file: Path
    files: dict[str, list[int]]

    def done(self) -> dict[str, Any] | None:
        """What was found, if it was, of the files that are there now."""
        try:
            found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        known = found.get("input_files", {})
        return found if all(known.get(name, state) == state for name, state in self.files.items()) else None


def _tasks(study: StudyRecipe, cells: list[CellRecipe], folder: Path) -> list[_Task]:
    """For each model: the dense model on each draw, and the cells."""
    from lpk.core.pruning.inputs import input_files

    asked = study.model_dump(mode="json", include={"objectives", "texts", "tasks", "calibration", "measured"})
    tasks = []
    for _, group in itertools.groupby(cells, key=lambda cell: cell.model):
        of_model = list(group)
        seeds = {cell.seed: cell for cell in reversed(of_model)}
        for cell, dense in [*((seeds[seed], True) for seed in sorted(seeds)), *((cell, False) for cell in of_model)]:
            name = cell.key(asked) if not dense else f"{cell.model}-{DENSE}-{cell.seed}-{cell.key(asked)[-10:]}"
            tasks.append(_Task(cell, dense, folder / f"{name}.json".replace("/", "_"), input_files(cell.recipe)))
    return tasks


def _work(
    study: StudyRecipe, registry: Registry, tasks: Iterable[_Task], out: Path, progress: Progress, store: str | None
) -> None:
    """Do what is not done and nobody else is doing."""
    from lpk.core.pruning.memo import Memo
    from lpk.core.study.cell import Workbench

    waiting = [task for task in tasks if task.done() is None]
    if not waiting:
        return
    memo = Memo(store or out / "memo.sqlite", "study", progress.note)
    try:
        for _, group in itertools.groupby(waiting, key=lambda task: task.cell.model):
            bench: Workbench | LpkError | None = None
            for task in group:
                with _claimed(task) as ours:
                    if not ours or task.done() is not None:
                        continue
                    if bench is None:
                        bench = _bench(study, task.cell, registry, memo, progress)
                    _do(task, bench, progress)
    finally:
        memo.close()


def _bench(study: StudyRecipe, cell: CellRecipe, registry: Registry, memo: Any, progress: Progress) -> Any:
    """The model, or what is wrong with it: then every cell of this model fails, and those of others do not."""
    from lpk.core.study.cell import Workbench

    try:
        with enough():
            return Workbench(study, cell, registry, memo, progress)
    except LpkError as error:
        return error


class _claimed:
    """A context in which a cell is ours; gives False if another process has it."""

    def __init__(self, task: _Task) -> None:
        self._lock = FileLock(task.file.with_name(f".{task.file.stem}.lock"))

    def __enter__(self) -> bool:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _do(task: _Task, bench: Any, progress: Progress) -> None:
    """Do one cell, and write what came of it: of a failed one, why."""
    cell, trials, measures = task.cell, list[Trial](), list[Measure]()
    name = f"{cell.model}: {'the dense model' if task.dense else f'{cell.searcher}, {cell.objective}'}"
    progress.stage(f"{name}, {cell.recipe.remove} layers, draw {cell.seed}" if not task.dense else name)
    found: Cell | None = None
    try:
        if isinstance(bench, LpkError):
            raise bench
        with enough():
            if not task.dense:
                found, trials = bench.search(cell, task.file.with_suffix(""))
            mask = LayerMask(bench.stack.layers, found.removed if found else ())
            measures = list(bench.measures(cell, mask))
    except (LpkError, OSError) as error:
        progress.note(f"{name} failed: {error}")
        found = _failed(cell, error)
    failed = task.file.with_suffix(".failed")
    failed.unlink(missing_ok=True)  # of an earlier try
    write_json(
        failed if found is not None and found.status == "failed" else task.file,
        {
            "schema_version": 1,
            "cell": asdict(found) if found else None,
            "measures": [asdict(measure) for measure in measures],
            "trials": [asdict(trial) for trial in trials],
            "recipe": cell.recipe.model_dump(mode="json"),
            "input_files": task.files,
        },
    )


def _failed(cell: CellRecipe, error: Exception) -> Cell:
    return Cell(
        cell.model, cell.layers, cell.objective, cell.searcher, "", cell.problem.budget, cell.seed, "failed",
        " ".join(str(error).split()), (), None, 0, 0, 0, 0, 0.0,
    )  # fmt: skip


def _together(tasks: list[_Task], jobs: int, again: Sequence[str], progress: Progress) -> None:
    """Let other processes do cells until all are done or they end."""
    waiting = [task for task in tasks if task.done() is None]
    jobs = min(jobs, len(waiting))
    if jobs < 2:
        return
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    settings = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    command = [sys.executable, "-m", "lpk", *again]
    progress.stage(f"{len(waiting)} cells, {jobs} at a time", len(waiting))
    workers = [subprocess.Popen(command, env=settings) for _ in range(jobs)]
    try:
        before = 0
        while any(worker.poll() is None for worker in workers):
            time.sleep(1)
            done = sum(task.file.exists() or task.file.with_suffix(".failed").exists() for task in waiting)
            progress.advance(done - before, f"{done} of {len(waiting)} cells")
            before = done
    finally:
        for worker in workers:
            worker.terminate()
    ended = {worker.returncode for worker in workers}
    if ended - {0}:
        raise PluginError(
            f"a process of this study ended with exit code {max(ended)}; what is done is kept, run it again"
        )


def _finish(study: StudyRecipe, tasks: list[_Task], out: Path, progress: Progress) -> dict[str, Any]:
    """Tables, statistics and report."""
    from lpk.core.study import report

    progress.stage("Writing tables and report")
    cells, dense, measures, trials = list[Cell](), list[Cell](), dict[Measure, None](), list[Trial]()
    for task, found in zip(tasks, _found(tasks), strict=True):
        if found["cell"]:  # of a dense model only where it failed; named after a cell, it is none
            (dense if task.dense else cells).append(Cell(**_tupled(found["cell"])))
        measures |= dict.fromkeys(Measure(**measure) for measure in found["measures"])
        trials += [Trial(**_tupled(trial)) for trial in found["trials"]]
    kinds: list[tuple[Any, Any]] = [(Cell, cells), (Measure, list(measures)), (Trial, trials)]
    for kind, rows in kinds:
        write_csv(out / f"{kind.FILE}.csv", rows, kind)
        write_parquet(out / f"{kind.FILE}.parquet", rows, kind)
    described = study.model_dump(mode="json")
    write_json(out / "study.json", described)
    page = report.write(out, described, cells, list(measures), trials)
    failed = [cell for cell in cells if cell.status == "failed"]
    if len(failed) == len(cells):
        raise UsageError(f"no cell succeeded; the first: {failed[0].error}" if failed else "the study has no cell")
    said = [f"{cell.model}, {cell.searcher}, {cell.objective}: {cell.error}" for cell in failed]
    # Where cells of the model failed too, they say why.
    said += [f"{one.model}, dense: {one.error}" for one in dense if one.model not in {cell.model for cell in failed}]
    return {
        "directory": str(out),
        "report": str(page),
        "cells": len(cells),
        "failed": said,
        "measurements": sum(cell.measurements for cell in cells),
        "layer_forwards": sum(cell.layer_forwards for cell in cells),
        "naive_layer_forwards": sum(cell.naive_layer_forwards for cell in cells),
    }


def _found(tasks: list[_Task]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        found = task.done()
        if found is None:
            failed = task.file.with_suffix(".failed")
            if not failed.exists():
                raise UsageError(
                    f"{task.file.name} is being done by another process; run the study again when it is done"
                )
            found = json.loads(failed.read_text(encoding="utf-8"))
        yield found


def _tupled(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "removed": tuple(row["removed"])}
