"""Studies: a grid done once, resumed after SIGKILL, shared by processes, with what failed reported and the rest done."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import WORDS, Lpk, refused, worded
from fake_plugins import distribution
from jsonschema import Draft202012Validator
from test_resume import kill_when, rows

from lpk.core.errors import UsageError
from lpk.core.progress import Progress
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.precision import Precision
from lpk.core.pruning.schedule import Trie
from lpk.core.registry import installed
from lpk.core.study import provenance
from lpk.core.study.cell import Workbench
from lpk.core.study.provenance import Provenance
from lpk.core.study.recipe import CellRecipe, StudyRecipe
from lpk.core.study.run import execute
from lpk.core.study.tables import Cell, Front, Measure, Trial, read_csv


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As each of two jobs on two cores has: on some processors a product of more threads has other last bits."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "1")
        patched.setenv("MKL_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model that has a tokenizer of 90 words, a text and questions."""
    return worded(tmp_path_factory.mktemp("study"))


def study(folder: Path, name: str = "study", **changes: Any) -> Path:
    values: dict[str, Any] = {
        "models": "tiny",
        "objectives": [
            "perplexity",
            {"name": "task-margin", "calibration": {"source": "questions.jsonl", "sequences": 6}},
        ],
        "searchers": ["one-shot", {"name": "one-shot", "as": "single-loss", "scorer": "none"}, "greedy"],
        "remove": [2, 3],
        "seeds": [0, 1],
        "calibration": {"source": "text.txt", "sequences": 4, "length": 16},
        "texts": {"source": "text.txt", "sequences": 5, "length": 16},
        "tasks": {"name": "quiz", "source": "questions.jsonl", "items": 6},
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def done(folder: Path, lpk: Lpk) -> tuple[Path, dict[str, Any]]:
    result = lpk("study", study(folder).name, "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "runs" / "study", json.loads(result.stdout)


def test_every_cell_is_searched_and_its_mask_measured_under_everything(done: tuple[Path, dict[str, Any]]) -> None:
    out, said = done
    cells, measures, trials = (read_csv(out / f"{kind.FILE}.csv", kind) for kind in (Cell, Measure, Trial))
    assert said["cells"] == len(cells) == 2 * 3 * 2 * 2
    assert said["failed"] == []
    assert {(c.objective, c.searcher, c.budget, c.seed) for c in cells} == {
        (objective, searcher, budget, seed)
        for objective in ("perplexity", "task-margin")
        for searcher in ("one-shot", "single-loss", "greedy")
        for budget in (2, 3)
        for seed in (0, 1)
    }
    assert all(cell.layer_forwards <= cell.naive_layer_forwards for cell in cells)
    every = {("perplexity", "calibration"), ("task-margin", "calibration"), ("perplexity", "perplexity")}
    every |= {("quiz", "accuracy"), ("quiz", "accuracy-normalised")}
    for cell in cells:
        assert not {0, 7} & set(cell.removed)
        own = [m for m in measures if (m.objective, m.searcher, m.budget, m.seed) == _key(cell)]
        assert {(m.measure, m.kind) for m in own} == every
        (loss,) = [m.value for m in own if m.measure == cell.objective and m.kind == "calibration"]
        assert loss == cell.calibration_loss
        tried = [t for t in trials if (t.objective, t.searcher, t.budget, t.seed) == _key(cell)]
        assert len({t.removed for t in tried}) == cell.masks
        assert min(t.loss for t in tried if len(t.removed) == cell.budget) == pytest.approx(loss, abs=2e-2)
    dense = [m for m in measures if m.searcher == "dense"]
    assert {(m.measure, m.kind) for m in dense} == every
    assert (out / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def _key(cell: Cell) -> tuple[str, str, int, int]:
    return cell.objective, cell.searcher, cell.budget, cell.seed


def test_each_cell_and_the_study_say_what_computed_them(done: tuple[Path, dict[str, Any]]) -> None:
    import torch

    out, _ = done
    (made,) = json.loads((out / "study.json").read_text())["provenance"].values()
    assert made["versions"]["torch"] == torch.__version__
    assert made["dtype"] in ("float32", "bfloat16")
    assert len(made["fingerprint"]) == 64
    files = list((out / "cells").glob("*.json"))
    assert len(files) == 2 * 3 * 2 * 2 + 2
    assert all(json.loads(file.read_text())["provenance"] == made for file in files)


def test_what_a_cell_depends_on_makes_it_another(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files of texts, tasks and of the other objectives too; but not what the study does not read."""
    for name in ("tiny", "text.txt", "questions.jsonl"):  # of its own: changed, they would make the other studies anew
        copy = shutil.copytree if (folder / name).is_dir() else shutil.copy
        copy(folder / name, tmp_path / name)
    folder = tmp_path
    monkeypatch.chdir(folder)
    for name in ("own", "other", "unread"):
        (folder / f"{name}.txt").write_text((folder / "text.txt").read_text())
    shutil.copy(folder / "questions.jsonl", folder / "quiz.jsonl")
    path = study(
        folder, "keys", calibration="own.txt", texts={"source": "other.txt"}, tasks={"name": "q", "source": "quiz.jsonl"},
    )  # fmt: skip

    def keys() -> set[str]:
        wanted = StudyRecipe.read(path)
        cells = wanted.cells(installed())
        made = Provenance.of(wanted, cells, installed())
        return {cell.key(made.depends(cell, installed())) for cell in cells}

    first = keys()
    assert len(first) == 24
    (folder / "unread.txt").write_text("other words")
    assert keys() == first
    for name in ("own.txt", "other.txt", "quiz.jsonl", "questions.jsonl", "tiny/config.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole + b"\n")
        assert not keys() & first, name
        (folder / name).write_bytes(whole)
        first = keys()  # written again is changed, as far as a cheap look can tell
    with monkeypatch.context() as patched:
        patched.setattr(provenance, "version", lambda name: "99")
        assert not keys() & first
    narrow = Precision("auto", "float16", "float16", "for once")
    monkeypatch.setattr(Precision, "decide", lambda asked, device: narrow)
    assert not keys() & first


def offline(home: Path) -> dict[str, str]:
    """The environment of a machine without a network, whose cache of the hub is there."""
    cache = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
    rest = {name: value for name, value in os.environ.items() if name not in cache}
    return {**rest, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}


def test_the_revision_of_a_model_on_the_hub_is_the_commit_in_its_cache(tmp_path: Path) -> None:
    commit, there = "0123456789abcdef" * 2 + "01234567", tmp_path / "hub" / "models--owner--name"
    (there / "snapshots" / commit).mkdir(parents=True)
    (there / "snapshots" / commit / "config.json").write_text("{}")
    (there / "refs").mkdir()
    (there / "refs" / "main").write_text(commit)
    code = """
from lpk.core.pruning.inputs import revision
from lpk.core.pruning.models import ModelSpec
print([revision(ModelSpec(name)) for name in ("owner/name", "demo", ".")])
"""
    said = subprocess.run(
        [sys.executable, "-c", code], env=offline(tmp_path), capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == str([commit, "", ""])


@pytest.mark.parametrize("there", [False, True])
def test_a_tokenizer_on_the_hub_that_cannot_be_loaded_is_not_none(there: bool, tmp_path: Path) -> None:
    commit, folder = "0123456789abcdef" * 2 + "01234567", tmp_path / "hub" / "models--owner--name"
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / "config.json").write_text('{"model_type": "llama"}')
    if there:
        (folder / "snapshots" / commit / "tokenizer.json").write_text("{")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    code = """
from lpk.core.errors import UsageError
from lpk.core.pruning.models import ModelSpec
try:
    print(ModelSpec("owner/name").tokenizer())
except UsageError as error:
    print(error)
"""
    said = subprocess.run(
        [sys.executable, "-c", code], env=offline(tmp_path), capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("model owner/name: its tokenizer cannot be loaded: " if there else "None")


def test_parquet_says_what_csv_says(done: tuple[Path, dict[str, Any]]) -> None:
    import pyarrow.parquet

    out, _ = done
    for kind in (Cell, Measure, Trial):
        there = pyarrow.parquet.read_table(out / f"{kind.FILE}.parquet").to_pylist()
        with (out / f"{kind.FILE}.csv").open() as file:
            assert len(there) == len(list(csv.DictReader(file)))


def test_a_loss_in_the_tables_is_what_lpk_run_finds(done: tuple[Path, dict[str, Any]], folder: Path, lpk: Lpk) -> None:
    out, _ = done
    run = lpk(
        "run", "--model", "tiny", "--calibration", "text.txt", "--sequences", 4, "--length", 16, "--searcher", "greedy",
        "--scorer", "none", "--remove", 3, "--seed", 1, "--json", cwd=folder,
    )  # fmt: skip
    result = json.loads(run.stdout)["run"]["result"]
    (cell,) = [c for c in read_csv(out / "cells.csv", Cell) if _key(c) == ("perplexity", "greedy", 3, 1)]
    assert list(cell.removed) == result["removed"]
    assert cell.calibration_loss == result["calibration_loss"]["pruned"]


def test_run_again_it_does_nothing_twice_and_writes_the_same(
    done: tuple[Path, dict[str, Any]], folder: Path, lpk: Lpk
) -> None:
    out, _ = done
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".csv", ".json", ".html")}
    again = lpk("study", "study.yaml", "--json", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "Loading" not in again.stderr
    assert {name: (out / name).read_bytes() for name in before} == before


def test_killed_or_done_by_several_processes_it_finds_the_same(
    done: tuple[Path, dict[str, Any]], folder: Path, lpk: Lpk
) -> None:
    out, _ = done
    killed, shared = study(folder, "killed"), study(folder, "shared")
    command = [sys.executable, "-m", "lpk", "study", killed.name, "-q"]
    there = folder / "runs" / "killed"
    assert kill_when(command, lambda: rows(there) > 60, cwd=folder) == -9
    for arguments in ([killed.name], [shared.name, "--jobs", 2]):
        result = lpk("study", *arguments, "--json", cwd=folder)
        assert result.returncode == 0, result.stderr
        for kind in (Measure, Trial):
            found = Path(json.loads(result.stdout)["directory"]) / f"{kind.FILE}.csv"
            assert (folder / found).read_bytes() == (out / found.name).read_bytes()


def test_a_model_that_does_not_fit_is_read_layer_by_layer_and_the_same_is_found(
    done: tuple[Path, dict[str, Any]], folder: Path, lpk: Lpk
) -> None:
    out, _ = done
    path, size = study(folder, "streamed"), (folder / "tiny" / "model.safetensors").stat().st_size
    result = lpk("study", path.name, "--json", "--memory", size * 6 // 10, cwd=folder)
    assert result.returncode == 0, result.stderr
    found = folder / json.loads(result.stdout)["directory"]
    for kind in (Measure, Trial):
        name = f"{kind.FILE}.csv"
        assert (found / name).read_bytes() == (out / name).read_bytes()
    again = study(folder, "streamed-alone", seeds=0, objectives="perplexity", tasks=[])
    said = lpk("study", again.name, "--memory", size * 6 // 10, cwd=folder).stderr
    assert said.count("the layers of tiny are streamed: its weights take ") >= 1
    assert (
        "are streamed: as asked" in lpk("study", again.name, "--out", "asked", "--stream", "always", cwd=folder).stderr
    )
    small = lpk("study", again.name, "--out", "small", "--memory", "10KB", "--jobs", 2, cwd=folder)
    assert small.returncode == 2
    assert re.search("no cell succeeded.* even streamed, .* wanted a larger --memory$", small.stderr.strip())


@pytest.mark.parametrize("stream", ["never", "always"])
def test_a_model_is_gone_before_the_next_is_loaded(stream: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two precisions, and scored by what it measures: what is kept of that must not keep the model."""
    monkeypatch.chdir(folder)
    shutil.copytree(folder / "tiny", folder / "second", dirs_exist_ok=True)
    path = study(
        folder, f"two-{stream}", models=["tiny", "second"], seeds=0, tasks=[], objectives="kl", remove=2,
        searchers={"name": "one-shot", "scorer": "loss-drop"}, dtype="bfloat16",
    )  # fmt: skip
    loaded: list[weakref.ref[Any]] = []
    before: list[list[bool]] = []
    way = "load" if stream == "never" else "stream"
    load = getattr(ModelSpec, way)

    def watched(spec: ModelSpec) -> Any:
        before.append([model() is None for model in loaded])
        found = load(spec)
        loaded.append(weakref.ref(found if stream == "never" else found.model))
        return found

    monkeypatch.setattr(ModelSpec, way, watched)
    execute(StudyRecipe.read(path), installed(), folder / "runs" / path.stem, Progress(), stream=stream)
    assert before == [[], [False], [True, True], [True, True, False]]


def test_no_list_of_processes_shows_where_the_workers_of_a_study_keep_losses(folder: Path) -> None:
    """An address may hold a password. The command's own arguments are the person's, who may give it by the environment."""
    path, memo = study(folder, "hidden", seeds=0, tasks=[], objectives="perplexity"), folder / "hidden.sqlite"
    command, seen = [sys.executable, "-m", "lpk", "study", path.name, "-q", "--jobs", "2"], set[bytes]()
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "LPK_STORE": f"sqlite:///{memo}"}) as running:
        while running.poll() is None:
            for arguments in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(arguments.read_bytes())
            time.sleep(0.1)
    assert running.returncode == 0
    assert any(path.name.encode() in words and b"--helping" in words for words in seen)
    assert not any(memo.name.encode() in words for words in seen)
    assert memo.exists()
    assert not (folder / "runs" / "hidden" / "memo.sqlite").exists()


def test_what_a_scorer_measures_counts_for_each_cell_that_uses_it(folder: Path, lpk: Lpk) -> None:
    """The dense model and 8 layers left out, though made once: the answers' one layer on 4 sequences is all that differs."""
    path = study(
        folder, "scored", seeds=0, tasks=[], objectives="perplexity",
        searchers={"name": "one-shot", "scorer": "loss-drop"},
    )  # fmt: skip
    result = lpk("study", path.name, "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    two, three = read_csv(folder / "runs" / "scored" / "cells.csv", Cell)
    assert (two.budget, two.masks, three.budget, three.masks) == (2, 10, 3, 10)
    assert two.layer_forwards - three.layer_forwards == 4
    assert two.measurements == three.measurements == 4 * 10


def test_texts_are_what_they_say_however_a_file_is_called(folder: Path, lpk: Lpk) -> None:
    """Of two fields two texts; of the calibration text by another name the last quarter, too."""
    draw = random.Random(1)
    rows = [{key: " ".join(draw.choices(WORDS, k=20)) for key in ("one", "other")} for _ in range(8)]
    (folder / "fields.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [
        {"name": name, "source": source, "field": field, "sequences": 5, "length": 16}
        for name, source, field in [
            ("plain", "text.txt", "text"), ("dotted", "./text.txt", "text"), ("whole", str(folder / "copy.txt"), "text"),
            ("one", "fields.jsonl", "one"), ("other", "fields.jsonl", "other"),
        ]
    ]  # fmt: skip
    shutil.copy(folder / "text.txt", folder / "copy.txt")
    path = study(
        folder, "texts", texts=texts, remove=2, seeds=0, tasks=[], objectives="perplexity", searchers="one-shot"
    )
    result = lpk("study", path.name, "-q", cwd=folder)
    assert result.returncode == 0, result.stderr
    measures = read_csv(folder / "runs" / "texts" / "measures.csv", Measure)
    found = {measure.measure: measure.value for measure in measures if measure.searcher == "one-shot"}
    assert found["dotted"] == found["plain"] != found["whole"]
    assert found["one"] != found["other"]


def test_a_cell_that_fails_is_reported_and_the_rest_is_done(folder: Path, lpk: Lpk) -> None:
    path = study(
        folder, "failing", remove=2, seeds=0, tasks=[], objectives="perplexity",
        searchers=["one-shot", {"name": "exhaustive", "limit": 3}],
    )  # fmt: skip
    result = lpk("study", path.name, "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert len(said["failed"]) == 1
    assert "its limit is 3" in said["failed"][0]
    cells = {cell.searcher: cell for cell in read_csv(folder / "runs" / "failing" / "cells.csv", Cell)}
    assert (cells["one-shot"].status, cells["exhaustive"].status) == ("done", "failed")


def test_a_model_that_cannot_be_loaded_fails_its_cells_alone(folder: Path, lpk: Lpk) -> None:
    """Both its budgets, shares of layers that nobody knows, and its dense model, which is no cell."""
    shutil.copytree(folder / "tiny", folder / "broken")
    whole = (folder / "tiny" / "model.safetensors").read_bytes()
    (folder / "broken" / "model.safetensors").write_bytes(whole[:5000])
    small: dict[str, Any] = {"seeds": 0, "tasks": [], "objectives": "perplexity", "searchers": "one-shot"}
    path = study(folder, "broken-too", models=["tiny", "broken"], remove=["25%", "40%"], **small)
    result = lpk("study", path.name, "--json", "-q", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert [line[:30] for line in json.loads(result.stdout)["failed"]] == ["broken, one-shot, perplexity: "] * 2
    cells = read_csv(folder / "runs" / "broken-too" / "cells.csv", Cell)
    assert [(cell.model, cell.status) for cell in cells] == [("tiny", "done")] * 2 + [("broken", "failed")] * 2
    alone = lpk("study", study(folder, "all-broken", models="broken", **small).name, "-q", cwd=folder)
    assert alone.returncode == 2
    assert alone.stderr.splitlines()[-1].startswith("lpk: no cell succeeded; the first: model broken: ")
    assert "No cell is finished" in (folder / "runs" / "all-broken" / "report.html").read_text()


def test_a_dense_model_that_cannot_be_measured_is_reported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures = Workbench.measures

    def full(bench: Workbench, cell: CellRecipe, mask: LayerMask) -> Iterator[Measure]:
        if not mask.removed:
            raise OSError("no space left")
        return measures(bench, cell, mask)

    monkeypatch.setattr(Workbench, "measures", full)
    monkeypatch.chdir(folder)
    path = study(folder, "dense", remove=2, seeds=0, tasks=[], objectives="perplexity", searchers="one-shot")
    said = execute(StudyRecipe.read(path), installed(), tmp_path, Progress())
    assert (said["cells"], said["failed"]) == (1, ["tiny, dense: no space left"])
    assert {measure.searcher for measure in read_csv(tmp_path / "measures.csv", Measure)} == {"one-shot"}


def test_what_a_search_leaves_behind_is_kept_beside_its_cell(fronts: Path) -> None:
    there = [path for path in (fronts / "cells").iterdir() if path.is_dir()]
    assert len(there) == 3
    for path in there:
        assert "-pareto-0-" in path.name
        assert [left.name for left in path.iterdir()] == ["optuna.log"]


PARTS = ("kl", "perplexity")
FRONTS: dict[str, Any] = {
    "remove": 3,
    "seeds": 0,
    "tasks": [],
    "objectives": [{"name": "mixture", "of": dict.fromkeys(PARTS, 1), "as": "both"}, *PARTS],
    "searchers": ["exhaustive", {"name": "pareto", "trials": 12, "startup": 6, "batch": 4}, "one-shot"],
}


@pytest.fixture(scope="module")
def fronts(folder: Path, lpk: Lpk) -> Path:
    """A study of two objectives, and of both at once."""
    result = lpk("study", study(folder, "front", **FRONTS).name, "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["failed"] == []
    return folder / "runs" / "front"


def test_the_front_of_a_search_is_what_no_mask_that_it_tried_beats(fronts: Path) -> None:
    """The losses under the two parts are those that exhaustive search saw under the two objectives alone."""
    trials = read_csv(fronts / "trials.csv", Trial)
    alone = {
        part: {t.removed: t.loss for t in trials if (t.objective, t.searcher) == (part, "exhaustive")} for part in PARTS
    }
    rows = read_csv(fronts / "fronts.csv", Front)
    assert {row.objective for row in rows} == {"both"}
    assert all(row.loss == alone[row.part][row.removed] for row in rows)
    for searcher in ("exhaustive", "pareto", "one-shot"):
        own = [t for t in trials if (t.objective, t.searcher) == ("both", searcher)]
        points = {t.removed: [alone[part][t.removed] for part in PARTS] for t in own if len(t.removed) == 3}
        expected = {
            mask
            for mask, (one, other) in points.items()
            if not any(a <= one and b <= other and (a, b) != (one, other) for a, b in points.values())
        }
        found = [(row.removed, row.part) for row in rows if row.searcher == searcher]
        assert found == [(mask, part) for mask in sorted(expected, key=points.__getitem__) for part in PARTS]
    assert len({row.removed for row in rows if row.searcher == "exhaustive"}) > 1


def test_the_fronts_are_in_parquet_figures_statistics_and_report(fronts: Path) -> None:
    import pyarrow.parquet

    rows = read_csv(fronts / "fronts.csv", Front)
    there = pyarrow.parquet.read_table(fronts / "fronts.parquet").to_pylist()
    assert there == [{**vars(row), "removed": list(row.removed)} for row in rows]
    (found,) = json.loads((fronts / "statistics.json").read_text())["fronts"]
    masks = {tuple(mask["removed"]) for mask in found["masks"]}
    assert masks == {row.removed for row in rows}
    left = {tuple(mask["removed"]) for mask in found["masks"] if mask["left"]}
    assert left == {row.removed for row in rows if row.searcher == "exhaustive"}
    assert {path.suffix for path in (fronts / "figures").glob("fronts.*")} == {".csv", ".json", ".png", ".svg"}
    page = (fronts / "report.html").read_text()
    assert f"tiny, 3 removed for both: {len(left)} of the masks tried are beaten by none." in page


def test_a_study_of_objectives_without_parts_says_nothing_of_fronts(done: tuple[Path, dict[str, Any]]) -> None:
    out, _ = done
    assert not [path.name for path in out.rglob("*front*")]
    assert "fronts" not in json.loads((out / "statistics.json").read_text())
    page = (out / "report.html").read_text()
    assert "Pareto" not in page
    assert "<dt>Fronts" not in page


def test_a_front_stays_with_its_cell(fronts: Path, folder: Path, lpk: Lpk, tmp_path: Path) -> None:
    """Cells that are done are not run again, whatever became of the tables; those of an lpk that kept no front are."""
    fronts = shutil.copytree(fronts, tmp_path / "front")  # what is taken from it here, others look for
    tables = {path.name: path.read_bytes() for path in fronts.glob("fronts.*")}
    assert set(tables) == {"fronts.csv", "fronts.parquet"}
    for path in (*fronts.glob("fronts.*"), *(fronts / "cells").glob("*/*")):
        path.unlink()
    again = lpk("study", "front.yaml", "--out", fronts, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "Loading" not in again.stderr
    assert {path.name: path.read_bytes() for path in fronts.glob("fronts.*")} == tables

    for path in (fronts / "cells").glob("*.json"):
        cell = json.loads(path.read_text())
        del cell["front"]
        path.write_text(json.dumps(cell))
    older = lpk("study", "front.yaml", "--out", fronts, cwd=folder)
    assert older.returncode == 0, older.stderr
    assert "tiny: pareto, both" in older.stderr
    assert "tiny: pareto, kl" not in older.stderr
    assert {path.name: path.read_bytes() for path in fronts.glob("fronts.*")} == tables


def test_fronts_go_when_the_study_has_none_any_more(fronts: Path, folder: Path, lpk: Lpk, tmp_path: Path) -> None:
    shutil.copytree(fronts, tmp_path / "out")
    path = study(folder, "no-front", **FRONTS | {"objectives": list(PARTS)})
    result = lpk("study", path.name, "--out", tmp_path / "out", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert not list((tmp_path / "out").rglob("*front*"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "memory ran out (CUDA out of memory."),
        (RuntimeError("no kernel\nis there"), "RuntimeError: no kernel is there"),
        (ZeroDivisionError("a plugin's own"), "ZeroDivisionError: a plugin's own"),
    ],
)
def test_a_cell_that_anything_goes_wrong_in_fails_alone(
    error: Exception, said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Workbench.search

    def broken(bench: Workbench, cell: CellRecipe, workspace: Path) -> tuple[Cell, list[Trial], list[Front]]:
        if cell.searcher == "greedy":
            raise error
        return search(bench, cell, workspace)

    monkeypatch.setattr(Workbench, "search", broken)
    monkeypatch.chdir(folder)
    path = study(
        folder, "wrong-inside", remove=2, seeds=0, tasks=[], objectives="perplexity", searchers=["greedy", "one-shot"]
    )
    done = execute(StudyRecipe.read(path), installed(), tmp_path, Progress())
    assert (done["cells"], len(done["failed"])) == (2, 1)
    assert done["failed"][0].startswith(f"tiny, greedy, perplexity: {said}")
    cells = {cell.searcher: cell for cell in read_csv(tmp_path / "cells.csv", Cell)}
    assert {name: cell.status for name, cell in cells.items()} == {"greedy": "failed", "one-shot": "done"}
    assert (cells["greedy"].layers, cells["greedy"].budget) == (8, 2)


def test_a_model_that_anything_goes_wrong_in_is_loaded_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def broken(bench: Workbench, *_: Any, **__: Any) -> None:
        loads.append(bench)
        raise RuntimeError("not this one")

    monkeypatch.setattr(Workbench, "__init__", broken)
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match="no cell succeeded; the first: RuntimeError: not this one"):
        execute(StudyRecipe.read(study(folder, "unloaded")), installed(), tmp_path, Progress())
    assert len(loads) == 1
    assert {cell.error for cell in read_csv(tmp_path / "cells.csv", Cell)} == {"RuntimeError: not this one"}


MORTAL = """
    import os, signal, sys
    from pathlib import Path
    import lpk
    from lpk.core.contracts import Component, Options, Searcher

    class Failing(Searcher[Options]):
        def search(self, problem):
            if problem.workspace.parent.name == "cells":  # the plan tries it too
                with Path("attempts").open("a") as file:
                    file.write("one\\n")
            raise ValueError("never works")
            yield

    class Mortal(Searcher[Options]):
        def search(self, problem):
            if "--helping" in sys.argv:
                os.kill(os.getpid(), signal.SIGKILL)
            yield [problem.dense.drop(*problem.candidates[: problem.budget])]

    @lpk.hookimpl
    def lpk_searchers():
        for kind in (Failing, Mortal):
            yield Component(kind.__name__.lower(), "It does not live long.", f"{__name__}:{kind.__name__}")
"""


def test_a_cell_that_fails_is_tried_once_and_one_whose_process_is_killed_is_done_by_the_first(
    folder: Path, tmp_path: Path, lpk: Lpk
) -> None:
    env = {"PYTHONPATH": str(distribution(tmp_path, "lpk-mortal", "1.0", {"lpk_mortal": MORTAL}))}
    path = study(
        folder, "mortal", remove=2, seeds=0, tasks=[], objectives="perplexity",
        searchers=["failing", "mortal", "one-shot"],
    )  # fmt: skip
    result = lpk("study", path.name, "--jobs", 2, "--json", cwd=folder, env=env)
    assert result.returncode == 0, result.stderr
    assert "processes was stopped by SIGKILL; what it left undone is done here" in result.stderr
    assert ["never works" in line for line in json.loads(result.stdout)["failed"]] == [True]
    cells = {cell.searcher: cell.status for cell in read_csv(folder / "runs" / "mortal" / "cells.csv", Cell)}
    assert cells == {"failing": "failed", "mortal": "done", "one-shot": "done"}
    assert (folder / "attempts").read_text().split() == ["one"]
    assert lpk("study", path.name, "-q", cwd=folder, env=env).returncode == 0
    assert (folder / "attempts").read_text().split() == ["one"] * 2


@pytest.fixture(scope="module")
def schema(lpk: Lpk) -> Draft202012Validator:
    said = json.loads(lpk("schema", "study").stdout)
    Draft202012Validator.check_schema(said)
    return Draft202012Validator(said)


def test_the_schema_of_a_study_knows_what_a_study_does(
    schema: Draft202012Validator, folder: Path, done: tuple[Path, dict[str, Any]]
) -> None:
    examples = Path(__file__).parents[1] / "examples" / "study"
    written = set(json.loads((done[0] / "study.json").read_text()))
    assert written == {*schema.schema["properties"], "provenance"}
    for path in [*examples.glob("*.yaml"), study(folder, "described")]:
        schema.validate(yaml.safe_load(path.read_text()))
        StudyRecipe.read(path)


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({"models": {"model": "tiny", "remove": ["25%"]}}, True),
        ({"searchers": {"name": "lpk/greedy", "as": "mine", "scorer": {"name": "cka"}}}, True),
        ({"scorer": None, "objectives": {"name": "kl", "calibration": "text.txt"}, "remove": "25%"}, True),
        ({"scorer": "none"}, True),
        (
            {
                "objectives": {
                    "name": "mixture",
                    "of": {"kl": 1, "task-margin": {"weight": 1, "calibration": "questions.jsonl"}},
                }
            },
            True,
        ),
        ({"objectives": {"name": "mixture", "of": {"kl": {"weight": 1, "calibration": {"sauce": "text.txt"}}}}}, False),
        ({"searchers": ["greddy"]}, False),
        ({"searchers": {"name": "greedy", "width": 3}}, False),
        ({"searchers": {"name": "greedy", "calibration": "text.txt"}}, False),
        ({"models": []}, False),
        ({"models": {"name": "tiny"}}, False),
        ({"tasks": "questions.jsonl"}, False),
        ({"searcher": "greedy"}, False),
    ],
)
def test_the_schema_and_lpk_agree(
    changes: dict[str, Any],
    right: bool,
    schema: Draft202012Validator,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    path = study(folder, "agreed", **changes)
    assert schema.is_valid(yaml.safe_load(path.read_text())) == right
    if right:
        StudyRecipe.read(path).cells(installed())
    else:
        with pytest.raises(UsageError):
            StudyRecipe.read(path).cells(installed())


def test_the_plan_says_what_searches_cost_and_runs_nothing(folder: Path, lpk: Lpk) -> None:
    planned = lpk("study", study(folder, "planned").name, "--dry-run", "--json", cwd=folder)
    assert planned.returncode == 0, planned.stderr
    said = json.loads(planned.stdout)
    assert said["cells"] == 24
    assert said["models"] == {"tiny": 8}
    assert 0 < said["searchers"]["greedy"]["layer_forwards"] < said["searchers"]["greedy"]["naive"]
    assert not (folder / "runs" / "planned").exists()
    assert "in all about " in lpk("study", "planned.yaml", "--dry-run", cwd=folder).stdout


def test_a_model_may_have_draws_of_its_own(folder: Path, lpk: Lpk) -> None:
    models = [{"model": "tiny", "seeds": 0}, {"model": "tiny", "name": "other"}]
    planned = json.loads(lpk("study", study(folder, "draws", models=models), "--dry-run", "--json", cwd=folder).stdout)
    assert planned["cells"] == 12 + 24
    assert planned["measuring"]["dense models, at most"] == (1 + 2) * 33 * 8


def test_the_plan_of_searches_that_no_loss_steers_is_what_they_take(
    done: tuple[Path, dict[str, Any]], folder: Path, lpk: Lpk
) -> None:
    """The scorer's pass included; and each mask is measured on 4 + 6 x 2 calibration, 5 text and 6 x 2 task sequences."""
    planned = json.loads(lpk("study", "study.yaml", "--dry-run", "--json", cwd=folder).stdout)
    cells = read_csv(done[0] / "cells.csv", Cell)
    for name in ("one-shot", "single-loss"):
        taken = sum(cell.layer_forwards for cell in cells if cell.searcher == name)
        assert planned["searchers"][name]["layer_forwards"] == taken
    kept = sum(8 - cell.budget for cell in cells)
    assert planned["measuring"] == {"returned masks, at most": 33 * kept, "dense models, at most": 2 * 33 * 8}


def test_the_plan_counts_what_scorers_run(folder: Path, lpk: Lpk) -> None:
    """On 4 sequences, and on 6 questions of two options, of which gradients are the right one's."""
    searchers = [{"name": "one-shot", "as": scorer, "scorer": scorer} for scorer in ("gates", "loss-drop", "magnitude")]
    path = study(folder, "scorers", searchers=[*searchers, "greedy"], seeds=0)
    planned = json.loads(lpk("study", path, "--dry-run", "--json", cwd=folder).stdout)["searchers"]
    sequences, search = 4 + 12, (4 + 12) * (6 + 5)
    assert planned["magnitude"]["layer_forwards"] == search
    assert planned["gates"]["layer_forwards"] == search + 2 * 2 * 8 * (4 + 6)
    masks = [LayerMask(8), *(LayerMask(8, (layer,)) for layer in range(8))]
    assert planned["loss-drop"]["layer_forwards"] == search + 2 * sequences * Trie.of(masks).edges()
    assert planned["loss-drop"]["naive"] == search + 2 * sequences * sum(len(mask.kept) for mask in masks)
    assert {name: row["exact"] for name, row in planned.items()} == {
        "gates": True,
        "loss-drop": True,
        "magnitude": True,
        "greedy": False,
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"searcher": "greedy"}, "no key 'searcher'; did you mean 'searchers'?"),
        ({"searchers": ["greddy"]}, "no searcher 'greddy'; did you mean 'greedy'?"),
        ({"searchers": ["greedy", "greedy"]}, "two are called 'greedy'"),
        ({"searchers": {"name": "greedy", "width": 3}}, "has no option 'width'"),
        ({"remove": 40}, "--remove 40: wanted 1 to 6 layers"),
        ({"objectives": "task-margin"}, "this objective is measured on questions, and here is text"),
        ({"models": "nowhere"}, "model nowhere: no such directory"),
        (
            {"calibration": "ids.npy"},
            "of the ready ids ids.npy all are calibrated on, so 2 draws would be one; give one",
        ),
        ({"seeds": [0, 1, 0]}, "wrong.yaml: seeds: 0 is there twice"),
        ({"models": {"model": "tiny", "seeds": [2, 2]}}, "wrong.yaml: seeds: 2 is there twice"),
        ({"remove": [2, "25%"]}, "model tiny: remove: 2 and 25% are both 2 of its 8 layers; give one of them"),
        ({"models": {"model": "tiny", "remove": [3, 2, 3]}}, "model tiny: remove: 3 and 3 are both 3 of its 8 layers"),
    ],
)
def test_a_wrong_study_is_one_line(changes: dict[str, Any], said: str, folder: Path, lpk: Lpk) -> None:
    refused(lpk("study", study(folder, "wrong", **changes).name, "-q", cwd=folder), 2, said)
