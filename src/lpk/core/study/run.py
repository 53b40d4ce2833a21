"""A study: the grid of cells, done once each, by one process or several; then tables, statistics and a report.

A cell that is done is a file in ``cells/``; one that is being done is a lock. So a study that was killed goes on when
the same command is run again, several processes or machines may work on one folder, and a cell that fails stops no
other: why it failed is a file too, so that nobody tries it again before the next command.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from lpk.core.errors import UsageError, in_words
from lpk.core.files import room, write_json
from lpk.core.memory import available_memory, enough
from lpk.core.progress import Progress
from lpk.core.pruning.mask import LayerMask
from lpk.core.registry import Registry
from lpk.core.study.provenance import Provenance
from lpk.core.study.recipe import CellRecipe, StudyRecipe
from lpk.core.study.tables import DENSE, Cell, Front, Measure, Trial, write_csv, write_parquet

if TYPE_CHECKING:
    from lpk.core.study.cell import Workbench


def execute(
    study: StudyRecipe,
    registry: Registry,
    out: Path,
    progress: Progress,
    store: str | None = None,
    *,
    jobs: int = 1,
    again: Sequence[str] = (),
    helping: bool = False,
    stream: str = "auto",
    memory: int | None = None,
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
        helping: whether another process began this and writes tables and report; then cells that failed are left to it.
        stream: whether layers' weights stay on the disk: ``always``, ``never``, or ``auto``. The results are the same.
        memory: bytes that each process may take; by default they share what the device has left.

    Raises:
        LpkError: the study cannot be begun, or after everything else is written: no cell succeeded.
    """
    from lpk.core.study.cell import Workbench

    cells = study.cells(registry)
    with room(out), enough():
        folder = out / "cells"
        folder.mkdir(parents=True, exist_ok=True)
        tasks = _tasks(study, cells, registry, folder)
        load = partial(Workbench, study, registry=registry, progress=progress, stream=stream, memory=memory)
        if helping:
            _work(load, tasks, out, progress, store)
            return {}
        for task in tasks:  # what failed for an earlier command is tried once more
            task.failed.unlink(missing_ok=True)
        if jobs > 1:
            _together(tasks, jobs, [*again, "--stream", stream], progress, store, memory)
        _work(load, tasks, out, progress, store)
        return _finish(study, tasks, out, progress)


@dataclass(frozen=True)
class _Task:
    """A cell to be done, or the dense model to be measured, and the file that says it is."""

    cell: CellRecipe
    dense: bool
    file: Path
    provenance: Provenance
    #: Whether its objective has several parts, so that its file holds a front.
    fronted: bool

    @property
    def failed(self) -> Path:
        """The file that says why it could not be done."""
        return self.file.with_suffix(".failed")

    @property
    def title(self) -> str:
        """What it is, for people."""
        return (
            f"{self.cell.model}: {'the dense model' if self.dense else f'{self.cell.searcher}, {self.cell.objective}'}"
        )

    def settled(self) -> bool:
        """Whether nothing is left to do: it is done, or was found impossible since the command began."""
        return self.failed.exists() or self.done() is not None

    def done(self) -> dict[str, Any] | None:
        """What was found, if it was; an earlier lpk kept no front, so that the search is to be replayed from the memo."""
        try:
            found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return None if self.fronted and "front" not in found else found


def _tasks(study: StudyRecipe, cells: list[CellRecipe], registry: Registry, folder: Path) -> list[_Task]:
    """For each model: the dense model on each draw, and the cells."""
    asked = study.model_dump(mode="json", include={"objectives", "texts", "tasks", "calibration", "measured"})
    tasks = []
    for _, group in itertools.groupby(cells, key=lambda cell: cell.model):
        of_model = list(group)
        provenance = Provenance.of(study, of_model, registry)
        seeds = {cell.seed: cell for cell in reversed(of_model)}
        for cell, dense in [*((seeds[seed], True) for seed in sorted(seeds)), *((cell, False) for cell in of_model)]:
            key = cell.key({"asked": asked, **provenance.depends(cell, registry)})
            name = f"{cell.model}-{DENSE}-{cell.seed}-{key[-10:]}" if dense else key
            fronted = not dense and len(cell.parts(registry).part_names) > 1
            tasks.append(_Task(cell, dense, folder / f"{name}.json".replace("/", "_"), provenance, fronted))
    return tasks


def _work(
    load: Callable[..., Workbench], tasks: Iterable[_Task], out: Path, progress: Progress, store: str | None
) -> None:
    """Do what is not settled yet and nobody else is doing."""
    from lpk.core.pruning.memo import Memo

    waiting = [task for task in tasks if not task.settled()]
    if not waiting:
        return
    memo = Memo(store or out / "memo.sqlite", "study", progress.note)
    try:
        for _, group in itertools.groupby(waiting, key=lambda task: task.cell.model):
            of_model = list(group)
            first = of_model[0]
            model = _Model(partial(load, first.cell, first.provenance, memo=memo))
            for task in of_model:
                with _claimed(task) as ours:
                    if ours and not task.settled():
                        _do(task, model, progress)
            model.release()  # before the next is loaded
    finally:
        memo.close()


class _Model:
    """A model of the study, loaded when its first cell is ours. One that cannot be loaded fails its cells at once."""

    def __init__(self, load: Callable[[], Workbench]) -> None:
        self._load, self._wrong = load, ""
        self._bench: Workbench | None = None

    def bench(self) -> Workbench:
        """The model with its data.

        Raises:
            UsageError: it cannot be loaded.
        """
        if self._wrong:
            raise UsageError(self._wrong)
        if self._bench is None:
            try:
                with enough():
                    self._bench = self._load()
            except Exception as error:
                self._wrong = in_words(error)
                raise
        return self._bench

    def release(self) -> None:
        """Take no memory any more."""
        if self._bench is not None:
            self._bench.release()
            self._bench = None
            gc.collect()  # what hooks and wrapped forwards hold refers to itself

    @property
    def fingerprint(self) -> str:
        """That of its weights and configuration; empty where it could not be loaded."""
        return self._bench.stack.fingerprint if self._bench else ""


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


def _do(task: _Task, model: _Model, progress: Progress) -> None:
    """Do one cell, and write what came of it: of a failed one, why."""
    cell, file = task.cell, task.file
    found, trials, front, measures = None, list[Trial](), list[Front](), list[Measure]()
    progress.stage(task.title if task.dense else f"{task.title}, {cell.recipe.remove} layers, draw {cell.seed}")
    try:
        with enough():
            bench = model.bench()
            if not task.dense:
                found, trials, front = bench.search(cell, file.with_suffix(""))
            measures = list(bench.measures(cell, LayerMask(cell.layers, found.removed if found else ())))
    except Exception as error:  # whoever's fault it is, the other cells are done
        said, file, trials, front = in_words(error), task.failed, [], []
        progress.note(f"{task.title} failed: {said}")
        found = Cell.failed(
            model=cell.model,
            layers=cell.layers,
            objective=cell.objective,
            searcher=cell.searcher,
            budget=cell.problem.budget,
            seed=cell.seed,
            error=said,
        )
    write_json(
        file,
        {
            "schema_version": 1,
            "cell": asdict(found) if found else None,
            "measures": [asdict(measure) for measure in measures],
            "trials": [asdict(trial) for trial in trials],
            "front": [asdict(row) for row in front],
            "recipe": cell.recipe.model_dump(mode="json"),
            "provenance": {**task.provenance.record, "fingerprint": model.fingerprint},
            "input_files": task.provenance.files,
        },
    )


def _together(
    tasks: list[_Task], jobs: int, again: Sequence[str], progress: Progress, store: str | None, memory: int | None
) -> None:
    """Let other processes do cells until all are settled or they end; what one of them leaves undone is done here.

    They find the store where no other user sees it: a command line would show its password.
    """
    waiting = [task for task in tasks if not task.settled()]
    jobs = min(jobs, len(waiting))
    if jobs < 2:
        return
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    settings = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    settings |= {"LPK_STORE": store} if store else {}
    share = memory or available_memory(waiting[0].provenance.spec.device) // jobs
    command = [sys.executable, "-m", "lpk", *again, "--memory", str(share)]
    progress.stage(f"{len(waiting)} cells, {jobs} at a time", len(waiting))
    workers = [subprocess.Popen(command, env=settings) for _ in range(jobs)]
    try:
        before = 0
        while any(worker.poll() is None for worker in workers):
            time.sleep(1)
            done = sum(task.file.exists() or task.failed.exists() for task in waiting)
            progress.advance(done - before, f"{done} of {len(waiting)} cells")
            before = done
    finally:
        for worker in workers:
            worker.terminate()
    for code in sorted(worker.returncode for worker in workers if worker.returncode):
        how = f"was stopped by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        progress.note(f"one of {jobs} processes {how}; what it left undone is done here")


def _finish(study: StudyRecipe, tasks: list[_Task], out: Path, progress: Progress) -> dict[str, Any]:
    """Tables, statistics and report."""
    from lpk.core.study import report

    progress.stage("Writing tables and report")
    cells, dense, measures, trials = list[Cell](), list[Cell](), dict[Measure, None](), list[Trial]()
    fronts: list[Front] = []
    provenance: dict[str, Any] = {}
    for task, found in zip(tasks, _found(tasks), strict=True):
        if found["cell"]:  # of a dense model only where it failed; named after a cell, it is none
            (dense if task.dense else cells).append(Cell(**_tupled(found["cell"])))
        measures |= dict.fromkeys(Measure(**measure) for measure in found["measures"])
        trials += [Trial(**_tupled(trial)) for trial in found["trials"]]
        fronts += [Front(**_tupled(row)) for row in found.get("front", ())]
        if not provenance.get(task.cell.model, {}).get("fingerprint"):
            provenance[task.cell.model] = found["provenance"]
    kinds: list[tuple[Any, Any]] = [(Cell, cells), (Measure, list(measures)), (Trial, trials)]
    kinds += [(Front, fronts)] if fronts else []
    for kind, rows in kinds:
        write_csv(out / f"{kind.FILE}.csv", rows, kind)
        write_parquet(out / f"{kind.FILE}.parquet", rows, kind)
    if not fronts:  # of a study that has none: nor of what it was before its file was changed
        for ending in ("csv", "parquet"):
            (out / f"{Front.FILE}.{ending}").unlink(missing_ok=True)
    described = study.model_dump(mode="json")
    write_json(out / "study.json", {**described, "provenance": provenance})
    page = report.write(out, described, cells, list(measures), trials, fronts)
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
            if not task.failed.exists():
                raise UsageError(
                    f"{task.file.name} is being done by another process; run the study again when it is done"
                )
            found = json.loads(task.failed.read_text(encoding="utf-8"))
        yield found


def _tupled(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "removed": tuple(row["removed"])}
