"""A run that is killed, or whose disk is full, loses nothing and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import FILES, Lpk, contents, refused

from lpk.core.errors import UsageError
from lpk.core.pruning.inputs import check_unchanged, input_files, states_of
from lpk.core.pruning.recipe import Recipe
from lpk.core.pruning.run_directory import RunDirectory
from lpk.testing import tiny_model


def rows(out: Path) -> int:
    """Measurements in the memo, seen from outside while the run goes on."""
    try:
        with sqlite3.connect(f"file:{out / 'memo.sqlite'}?mode=ro", uri=True) as database:
            return int(database.execute("SELECT count(*) FROM measurement").fetchone()[0])
    except sqlite3.Error:
        return 0


def kill_when(command: Sequence[Any], ready: Callable[[], bool], cwd: Path | None = None) -> int:
    """Start the command and SIGKILL it as soon as this is so; its exit code."""
    silent = subprocess.DEVNULL
    with subprocess.Popen(list(map(str, command)), stdout=silent, stderr=silent, cwd=cwd) as process:
        while process.poll() is None:
            if ready():
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        return process.wait()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--searcher", "exhaustive"],
        ["--searcher", "optuna", "-O", "trials=90"],
        ["--searcher", "greedy", "--objective", "kl"],
    ],
    ids=["exhaustive", "optuna", "greedy-kl"],
)
def test_killed_anywhere_and_run_again_gives_the_same_and_computes_nothing_twice(
    arguments: list[str], tiny_ids: Path, tiny_held_out: Path, lpk: Lpk, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    tiny_model(layers=12).save_pretrained(model)
    base = ["run", "--model", model, "--calibration", tiny_ids, "--held-out", tiny_held_out, "--remove", 3, *arguments]
    assert lpk(*base, "--out", tmp_path / "whole", "--quiet").returncode == 0
    every = rows(tmp_path / "whole")
    assert every > 150

    out = tmp_path / "killed"
    command = [sys.executable, "-m", "lpk", *base, "--out", out]
    moments: list[Callable[[], bool]] = [
        (out / "run.json").exists,
        *(lambda share=share: rows(out) >= every * share for share in (0.1, 0.5, 0.9)),  # type: ignore[misc]
    ]
    if "exhaustive" in arguments:  # what comes after the search is the same for all
        moments += [lambda: any(out.glob(".model.partial/*")), (out / "model").exists, (out / "cost.json").exists]
    killed = sum(kill_when(command, moment) == -signal.SIGKILL for moment in moments)
    assert killed >= 4
    done = lpk(*base, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert contents(out) == contents(tmp_path / "whole")
    assert not any(out.glob(".model.partial"))
    cost = json.loads(done.stdout)["cost"]
    assert cost["measurements"] == rows(out) == every, "something was computed twice"


def test_a_run_in_use_is_left_alone(lpk: Lpk, base: list[Any], tmp_path: Path) -> None:
    from filelock import FileLock

    out = tmp_path / "run"
    out.mkdir()
    with FileLock(out / ".lock"):
        refused(lpk(*base, "--quiet", "--out", out), 2, str(out), "in use by another process")


def test_a_run_is_resumed_from_another_folder(
    lpk: Lpk, tiny_checkpoint: Path, tiny_ids: Path, tiny_held_out: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    shutil.copytree(tiny_checkpoint, here / "model")
    shutil.copy(tiny_ids, here / "ids.npy"), shutil.copy(tiny_held_out, here / "more.npy")
    base = ["run", "--model", "model", "--calibration", "ids.npy", "--held-out", "more.npy", "--searcher", "exhaustive"]
    command = [sys.executable, "-m", "lpk", *base, "--out", "run"]
    with subprocess.Popen(command, cwd=here, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and rows(here / "run") < 10:
            time.sleep(0.002)
        process.kill()
    for _ in ("unfinished", "finished"):
        done = lpk("run", "--resume", "../here/run", "--json", "--quiet", cwd=there)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["run"]["status"] == "complete"
    assert list(there.iterdir()) == []


@pytest.mark.parametrize("lost", ["cut", "removed"])
def test_a_run_without_its_record_goes_on_from_its_recipe(
    lost: str, lpk: Lpk, base: list[Any], finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out = shutil.copytree(finished[0], tmp_path / "copy")
    os.truncate(out / "run.json", 300)
    if lost == "removed":
        (out / "run.json").unlink()
        scores = json.loads((out / "scores.json").read_text())
        (out / "scores.json").write_text(json.dumps({**scores, "layers": scores["layers"][::-1]}))  # another model's
    refused(lpk(*base, "--seed", 9, "--out", out), 2, "holds another run", "seed 0, not 9")
    again = ["run", "--resume", out] if lost == "cut" else [*base, "--out", out]
    done = lpk(*again, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert (
        done.stderr
        == f"lpk: note: {out}: its run.json is lost or damaged; going on from recipe.yaml and what was measured\n"
    )
    assert contents(out) == contents(finished[0])
    assert json.loads(done.stdout)["cost"]["measurements"] == finished[1]["cost"]["measurements"]


def test_a_model_that_changed_meanwhile_is_noticed(
    lpk: Lpk, tiny_ids: Path, tiny_held_out: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    tiny_model(layers=12).save_pretrained(model)
    base = [
        "run",
        "--model",
        model,
        "--calibration",
        tiny_ids,
        "--held-out",
        tiny_held_out,
        "--searcher",
        "exhaustive",
        "--out",
        tmp_path / "run",
    ]
    kill_when([sys.executable, "-m", "lpk", *base], lambda: rows(tmp_path / "run") > 20)
    tiny_model(layers=12, seed=1).save_pretrained(model)
    refused(lpk(*base, "--quiet"), 2, "the model has changed since this run began")
    done = [*base[:-1], tmp_path / "done", "--quiet", "--searcher", "deepest"]
    assert lpk(*done).returncode == lpk(*done).returncode == 0
    tiny_model(layers=12, seed=2).save_pretrained(model)
    refused(lpk(*done), 2, "has changed since this run; give another --out")


def test_a_file_that_was_changed_while_the_run_went_on_is_not_taken_for_what_it_read(tmp_path: Path) -> None:
    text, other = tmp_path / "text.txt", tmp_path / "other.txt"
    for file in (text, other):
        file.write_text("before")
    recipe = Recipe.model_validate({"model": "demo", "remove": 8, "held_out": {"source": str(text)}})
    read = states_of(recipe, [])
    known = input_files(read)
    check_unchanged(tmp_path, known, recipe, [])
    os.utime(text, (0, 0))
    check_unchanged(tmp_path, known, recipe, [])  # the same words
    with pytest.raises(UsageError, match=r"text\.txt has changed"):
        check_unchanged(tmp_path, input_files(read), recipe, [])  # since when?
    text.unlink()
    assert input_files(read) == read


def test_a_run_that_goes_on_lets_its_folder_go(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"model": "demo", "remove": 8})
    facts = {part: {"fingerprint": part} for part in ("model", "calibration", "held_out")}
    facts |= {"recipe": recipe.model_dump(mode="json")}
    held = list[RunDirectory]()  # as a traceback does
    for _ in range(3):  # the second and third take it when they find it, and when they begin
        with RunDirectory(tmp_path / "run", recipe) as directory:
            directory.begin(facts, print)
        held.append(directory)


def test_a_finished_run_knows_its_files_by_what_is_in_them(
    lpk: Lpk, tiny_checkpoint: Path, tiny_ids: Path, tiny_held_out: Path, tmp_path: Path
) -> None:
    model, ids = shutil.copytree(tiny_checkpoint, tmp_path / "model"), Path(shutil.copy(tiny_ids, tmp_path))
    base = ["run", "--model", model, "--calibration", ids, "--held-out", tiny_held_out, "--searcher", "deepest"]
    told = lpk(*base, "--out", tmp_path / "run", "--json").stdout
    for file in (ids, *model.iterdir()):  # as a copy or git would
        os.utime(file, (0, 0))
    assert json.loads(lpk(*base, "--out", tmp_path / "run", "--json").stdout) == json.loads(told)
    whole = ids.read_bytes()
    ids.write_bytes(whole[:-4] + bytes(4))
    assert len(ids.read_bytes()) == len(whole)
    refused(lpk(*base, "--out", tmp_path / "run", "--quiet"), 2, "ids.npy has changed since this run")


@pytest.mark.parametrize("damage", ["gone", "cut", "changed", "cost", "worked on"])
def test_what_a_finished_run_wrote_is_written_again_if_it_is_not_there_as_it_was(
    damage: str, lpk: Lpk, base: list[Any], finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out = shutil.copytree(finished[0], tmp_path / "copy")
    weights, card = out / "model" / "model.safetensors", out / "model" / "README.md"
    if damage == "gone":
        weights.unlink()
        said, aside = ["model/model.safetensors is missing; writing it again", "now model.corrupt-1"], {"model"}
    elif damage == "cut":
        os.truncate(weights, 5000)
        os.truncate(out / "scores.json", 50)
        said = [
            "model/model.safetensors is cut short",
            "scores.json has changed",
            "model.corrupt-1, scores.json.corrupt-1",
        ]
        aside = {"model", "scores.json"}
    elif damage == "changed":
        with (out / "trials.csv").open("a") as table:
            table.write("9,1,1 2 3,3,6,0.1,0\n")
        record = json.loads((out / "run.json").read_text())
        record["result"]["held_out_perplexity"]["pruned"] = 1.0
        (out / "run.json").write_text(json.dumps(record))
        said, aside = ["trials.csv has changed", "run.json has changed"], {"trials.csv", "run.json"}
    elif damage == "cost":
        os.truncate(out / "cost.json", 50)
        said, aside = ["cost.json is damaged"], {"cost.json"}
    else:  # weights that were trained on where they are are as long as before
        weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
        os.truncate(out / "trials.csv", 50)
        said, aside = ["trials.csv has changed"], {"trials.csv", "model"}
    lost = weights.read_bytes() if weights.exists() else None
    done = lpk("run", "--resume", out, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    line, *more = done.stderr.splitlines()
    theirs = f"lpk: note: {out / 'model'} was not as it is written now; the old is model.corrupt-1"
    assert more == ([theirs] if damage == "worked on" else [])
    assert line.startswith(f"lpk: note: {out}: ")
    assert [words for words in said if words not in line] == []
    assert contents(out) == contents(finished[0])
    assert json.loads(done.stdout)["run"] == finished[1]["run"]
    assert {file.name for file in out.glob("*.corrupt-1")} == {f"{name}.corrupt-1" for name in aside}
    if damage in {"cut", "worked on"}:
        assert (out / "model.corrupt-1" / "model.safetensors").read_bytes() == lost
    card.write_text(card.read_text() + "My own words.\n")  # a model may be worked on where it is
    again = lpk("run", "--resume", out, "--json", "--quiet")
    assert (again.stdout, again.stderr) == (done.stdout, "")


@pytest.mark.parametrize(
    ("searcher", "kilobytes"), [("exhaustive", 30), ("optuna", 30), ("deepest", 60)], ids=["memo", "study", "model"]
)
def test_a_file_that_cannot_grow_is_one_clear_line(
    searcher: str, kilobytes: int, lpk: Lpk, base: list[Any], tmp_path: Path
) -> None:
    # A limit on the size of files stands in for a full disk: the same errors, from SQLite, Optuna and safetensors.
    command = [sys.executable, "-m", "lpk", *base, "--searcher", searcher, "--quiet", "--out", tmp_path / "run"]
    limited = ["sh", "-c", f'ulimit -f {kilobytes * 2}; exec "$@"', "sh", *map(str, command)]  # in blocks of 512 bytes
    refused(subprocess.run(limited, capture_output=True, text=True, check=False, timeout=120), 2, "no space left")
    assert not (tmp_path / "run" / "model").exists()
    assert lpk(*command[3:]).returncode == 0
    assert (tmp_path / "run" / "model").exists()


def test_a_full_disk_leaves_nothing_half_written_and_loses_nothing(base: list[Any], tmp_path: Path) -> None:
    if subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", tmp_path], check=False, capture_output=True
    ).returncode:
        pytest.skip("this machine allows no mounts in a namespace of one's own")
    command = " ".join(
        map(str, [sys.executable, "-m", "lpk", *base, "--searcher", "exhaustive", "--quiet", "--out", "run"])
    )
    script = f"""
set -u
mkdir small; mount -t tmpfs -o size=2m none small; cd small
{command}; echo "small $?"; ls -A; cd ..
mkdir disk; mount -t tmpfs -o size=40m none disk; cd disk
{command} & run=$!
while kill -0 $run && [ ! -s run/memo.sqlite-wal ]; do sleep 0.01; done
head -c 40m /dev/zero > filler 2>/dev/null
wait $run; echo "full $?"; ls -A run/model 2>/dev/null
rm filler
{command} > /dev/null; echo "again $?"; ls run
"""
    namespace = ["unshare", "-rm", "sh", "-c", script]
    done = subprocess.run(namespace, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=300)
    lines, errors = done.stdout.splitlines(), done.stderr.splitlines()
    assert lines[:3] == ["small 2", "full 2", "again 0"]
    assert set(lines[3:]) == FILES - {"scores.json", "optuna.log"}
    assert len(errors) == 2
    assert "no space for this run" in errors[0]
    assert "no space left on the disk" in errors[1]
