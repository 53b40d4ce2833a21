"""``lpk run`` as a person uses it: in a process of its own, on a tiny model, killed, resumed, refused."""

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
import yaml
from conftest import Lpk, refused

from lpk.testing import tiny_model

FILES = {
    "run.json",
    "cost.json",
    "scores.json",
    "trials.csv",
    "memo.sqlite",
    "recipe.yaml",
    "mergekit.yml",
    "model",
    "optuna.log",
}


@pytest.fixture(scope="module")
def base(tiny_checkpoint: Path, tiny_ids: Path) -> list[Any]:
    return ["run", "--model", tiny_checkpoint, "--calibration", tiny_ids, "--held-out", tiny_ids, "--remove", 3]


@pytest.fixture(scope="module")
def finished(lpk: Lpk, base: list[Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs") / "run"
    done = lpk(*base, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def contents(out: Path) -> dict[str, bytes]:
    """The files that the same recipe must write byte for byte."""
    whole = ["run.json", "scores.json", "trials.csv", "mergekit.yml", "recipe.yaml"]
    files = [out / name for name in whole if (out / name).exists()] + sorted((out / "model").iterdir())
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def test_a_run_leaves_a_complete_directory(finished: tuple[Path, dict[str, Any]]) -> None:
    out, told = finished
    assert {file.name for file in out.iterdir()} - {".lock"} == FILES
    run = json.loads((out / "run.json").read_text())
    assert told["run"] == run
    assert told["cost"] == json.loads((out / "cost.json").read_text())
    assert run["status"] == "complete"
    result = run["result"]
    assert sorted(result["removed"] + result["kept"]) == list(range(8))
    assert len(result["removed"]) == 3
    assert {0, 7}.isdisjoint(result["removed"])
    assert result["calibration_loss"]["pruned"] > 0
    assert run["plugins"]["searcher"]["name"] == "lpk/optuna"
    assert run["plugins"]["searcher"]["options"]["trials"] == 32
    assert set(run["versions"]) >= {"lpk", "python", "torch", "transformers"}
    slices = yaml.safe_load((out / "mergekit.yml").read_text())["slices"]
    ranges = [tuple(s["sources"][0]["layer_range"]) for s in slices]
    assert [layer for begin, end in ranges for layer in range(begin, end)] == result["kept"]


def test_the_model_loads_with_plain_transformers(finished: tuple[Path, dict[str, Any]]) -> None:
    out, told = finished
    code = """
import sys, torch; from transformers import AutoModelForCausalLM
model, report = AutoModelForCausalLM.from_pretrained(sys.argv[1], output_loading_info=True)
assert not report["missing_keys"] and not report["unexpected_keys"], report
ids = torch.arange(3, 9)[None]
print(model.config.num_hidden_layers, model.num_parameters(), model.generate(ids, max_new_tokens=5, do_sample=False).shape[1])
"""
    done = subprocess.run([sys.executable, "-c", code, out / "model"], capture_output=True, text=True, check=True)
    layers, parameters, _ = map(int, done.stdout.split())
    assert layers == 5
    assert parameters == told["run"]["result"]["parameters"]["pruned"]
    card = (out / "model" / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["tags"] == ["lpk", "pruned", "depth-pruning"]
    assert "Removed layers (0-based)" in card


def test_the_perplexity_is_that_of_the_saved_model(finished: tuple[Path, dict[str, Any]], tiny_ids: Path) -> None:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    out, told = finished
    model = AutoModelForCausalLM.from_pretrained(out / "model")
    ids = torch.from_numpy(np.load(tiny_ids)).long()
    with torch.inference_mode():
        loss = model(ids, labels=ids).loss.item()
    assert told["run"]["result"]["held_out_perplexity"]["pruned"] == pytest.approx(np.exp(loss), rel=1e-5)


def test_the_same_recipe_gives_the_same_bytes(
    lpk: Lpk, base: list[Any], finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    assert lpk(*base, "--out", tmp_path / "again", "--quiet").returncode == 0
    assert contents(tmp_path / "again") == contents(finished[0])
    assert lpk(*base, "--out", tmp_path / "seed", "--seed", 5, "--quiet").returncode == 0
    assert contents(tmp_path / "seed")["trials.csv"] != contents(finished[0])["trials.csv"]


def test_the_same_command_again_tells_the_same_and_computes_nothing(
    lpk: Lpk, base: list[Any], finished: tuple[Path, dict[str, Any]]
) -> None:
    out, told = finished
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.name != ".lock"}
    done = lpk(*base, "--out", out, "--json")
    assert json.loads(done.stdout) == told
    assert json.loads(lpk("run", "--resume", out, "--json").stdout) == told
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.name != ".lock"} == before


def test_a_recipe_file_and_its_flags_are_one(
    lpk: Lpk, base: list[Any], finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    recipe = finished[0] / "recipe.yaml"
    assert json.loads(lpk("run", recipe, "--out", finished[0], "--json").stdout) == finished[1]
    written = yaml.safe_load(recipe.read_text())
    assert set(written) == {
        "model", "objective", "scorer", "searcher", "remove", "protect", "calibration", "held_out", "dtype", "device", "seed", "allow"
    }  # fmt: skip
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        yaml.safe_dump({**written, "searcher": {"name": "random", "trials": 3}, "scorer": "block-influence"})
    )
    planned = json.loads(lpk("run", mine, "--dry-run", "--json").stdout)
    assert planned["plugins"]["searcher"]["options"] == {"trials": 3}
    assert planned["masks"] == 3
    planned = json.loads(lpk("run", mine, "-O", "trials=4", "--remove", "2", "--dry-run", "--json").stdout)
    assert planned["masks"] == 4
    assert planned["budget"] == 2
    planned = json.loads(
        lpk("run", mine, "--searcher", "optuna", "-O", "searcher.sampler=random", "--dry-run", "--json").stdout
    )
    assert planned["plugins"]["searcher"]["options"]["sampler"] == "random"


def test_the_schema_describes_every_plugin(lpk: Lpk, finished: tuple[Path, dict[str, Any]]) -> None:
    schema = json.loads(lpk("schema").stdout)
    ways = schema["properties"]["searcher"]["anyOf"]
    (optuna,) = [way for way in ways if way.get("title") == "lpk/optuna"]
    assert optuna["properties"]["trials"]["default"] == 32
    assert "optuna" in ways[0]["enum"]
    assert set(yaml.safe_load((finished[0] / "recipe.yaml").read_text())) == set(schema["properties"])


def test_stdout_is_data_and_stderr_is_progress(lpk: Lpk, base: list[Any], tmp_path: Path) -> None:
    done = lpk(*base, "--searcher", "one-shot", "--out", tmp_path / "run")
    assert done.returncode == 0
    for words in (
        "removed layers",
        "kept layers",
        "perplexity, held-out",
        "tokens/s",
        "layer-forwards",
        str(tmp_path / "run" / "model"),
    ):
        assert words in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    for words in ("Loading", "Scoring layers", "Searching: lpk/one-shot", "Saving the model"):
        assert words in done.stderr
    quiet = lpk(*base, "--searcher", "one-shot", "--out", tmp_path / "quiet", "--quiet")
    assert quiet.stderr == ""


@pytest.mark.parametrize("searcher", ["greedy", "random", "exhaustive", "optuna", "contiguous"])
def test_a_dry_run_writes_nothing_and_says_what_it_costs(
    searcher: str, lpk: Lpk, base: list[Any], tmp_path: Path
) -> None:
    planned = json.loads(lpk(*base, "--searcher", searcher, "--dry-run", "--json", cwd=tmp_path).stdout)
    assert list(tmp_path.iterdir()) == []
    forwards = planned["layer_forwards"]
    assert 0 < forwards["search"] <= forwards["search, a full forward for each mask"]
    if searcher != "optuna":
        assert lpk(*base, "--searcher", searcher, "--out", tmp_path / "run", "--quiet").returncode == 0
        spent = json.loads((tmp_path / "run" / "cost.json").read_text())["layer_forwards"]
        scoring = 6 * 8 if searcher == "contiguous" else 0
        # Held-out and calibration data are one file here, so what is reported was measured while searching.
        planned_now = forwards["search"] + forwards["dense model on the calibration sequences"] - scoring
        assert spent == pytest.approx(planned_now, rel=0.1 if searcher == "greedy" else 0)


# Killed and resumed --------------------------------------------------------------------------------------------------


def rows(out: Path) -> int:
    """Measurements in the memo, seen from outside while the run goes on."""
    try:
        with sqlite3.connect(f"file:{out / 'memo.sqlite'}?mode=ro", uri=True) as database:
            return int(database.execute("SELECT count(*) FROM measurement").fetchone()[0])
    except sqlite3.Error:
        return 0


def kill_when(command: Sequence[Any], ready: Callable[[], bool]) -> int:
    """Start the command and SIGKILL it as soon as this is so; its exit code."""
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
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
    arguments: list[str], tiny_ids: Path, lpk: Lpk, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    tiny_model(layers=12).save_pretrained(model)
    base = ["run", "--model", model, "--calibration", tiny_ids, "--held-out", tiny_ids, "--remove", 3, *arguments]
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


# Refused -------------------------------------------------------------------------------------------------------------


def checkpoint(folder: Path, **changes: Any) -> Path:
    model = tiny_model(layers=8)
    for name, value in changes.items():
        model.get_parameter(name.replace("__", ".")).data[0, 0] = value
    model.save_pretrained(folder)
    return folder


def damaged(base: Path, folder: Path, damage: Callable[[Path], Any]) -> Path:
    shutil.copytree(base, folder)
    damage(folder)
    return folder


def test_models_that_are_none_are_refused(lpk: Lpk, tiny_checkpoint: Path, tiny_ids: Path, tmp_path: Path) -> None:
    def run(model: object) -> subprocess.CompletedProcess[str]:
        return lpk(
            "run",
            "--model",
            model,
            "--calibration",
            tiny_ids,
            "--held-out",
            tiny_ids,
            "--quiet",
            cwd=tmp_path,
            env={"HF_HUB_OFFLINE": "1"},
        )

    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    (tmp_path / "notes.txt").write_text("hello")
    refused(run(tmp_path / "empty"), 2, "no config.json")
    refused(run(tmp_path / "nowhere"), 2, "no such directory")
    refused(run(tmp_path / "notes.txt"), 2, "not a model directory")
    refused(run("dmeo"), 2, "did you mean 'demo'?")
    refused(run(tmp_path / "broken.gguf"), 2, "broken.gguf")
    refused(run("someone/some-model"), 4, "someone/some-model", "connect")

    bad = damaged(tiny_checkpoint, tmp_path / "bad-json", lambda f: (f / "config.json").write_text("{"))
    refused(run(bad), 2, "config.json is not valid JSON")
    cut = damaged(tiny_checkpoint, tmp_path / "cut", lambda f: os.truncate(f / "model.safetensors", 5000))
    refused(run(cut), 2, str(cut))
    gone = damaged(tiny_checkpoint, tmp_path / "gone", lambda f: (f / "model.safetensors").unlink())
    refused(run(gone), 2, "no weights")
    pickled = damaged(
        tiny_checkpoint, tmp_path / "pickled", lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin")
    )
    refused(run(pickled), 2, "--allow pickle")

    def with_code(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModelForCausalLM": "model.Model"}}))
        (folder / "model.py").write_text("raise SystemExit('remote code ran')")

    refused(run(damaged(tiny_checkpoint, tmp_path / "code", with_code)), 2, "--allow remote-code")

    def more_layers(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10}))

    refused(
        run(damaged(tiny_checkpoint, tmp_path / "missing", more_layers)), 2, "weights are missing", "model.layers.8"
    )
    nan = checkpoint(tmp_path / "nan", model__layers__4__mlp__up_proj__weight=float("nan"))
    refused(run(nan), 2, "model.layers.4.mlp.up_proj.weight", "NaN")
    assert not (tmp_path / "runs").exists()


def test_pickled_weights_load_only_when_named(lpk: Lpk, tiny_checkpoint: Path, tiny_ids: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = shutil.copytree(tiny_checkpoint, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    base = [
        "run",
        "--model",
        folder,
        "--calibration",
        tiny_ids,
        "--held-out",
        tiny_ids,
        "--searcher",
        "deepest",
        "--quiet",
    ]
    refused(lpk(*base, "--out", tmp_path / "run"), 2, "--allow pickle")
    assert lpk(*base, "--out", tmp_path / "run", "--allow", "pickle").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--remove", "0"], ("--remove 0", "1 to 6 layers")),
        (["--remove", "7"], ("--remove 7", "2 of 8 are protected")),
        (["--remove", "8"], ("1 to 6 layers",)),
        (["--remove", "9", "--protect", "none"], ("1 to 7 layers",)),
        (["--remove", "200%"], ("below 100%",)),
        (["--remove", "some"], ("wanted a number of layers",)),
        (["--protect", "0,1,2,3,4,5,6,7"], ("all 8 layers are protected",)),
        (["--protect", "8"], ("layers 0 to 7",)),
        (["--protect", "first"], ("wanted layer indices",)),
        (["--scorer", "anguler"], ("did you mean 'angular'?",)),
        (["--searcher", "optuna", "-O", "trails=3"], ("no", "'trails'", "did you mean 'trials'?")),
        (["-O", "trials=many"], ("'trials'", "integer", "'many'")),
        (["-O", "trials"], ("NAME=VALUE",)),
        (["-O", "sercher.trials=3"], ("did you mean 'searcher'?",)),
        (["--dtype", "int8"], ("float32", "int8")),
        (["--device", "tpu"], ("--device tpu",)),
        (["--seed", "-1"], ("seed",)),
        (["--searcher", "contiguous", "--scorer", "none"], ("needs a scorer",)),
        (["--sercher", "greedy"], ("No such option", "--searcher")),
        (["--out", "/dev/null/run"], ("/dev/null",)),
        (["--resume", "nowhere"], ("leave the other flags away",)),
    ],
    ids=" ".join,
)
def test_bad_flags_are_refused(
    arguments: list[str], words: tuple[str, ...], lpk: Lpk, base: list[Any], tmp_path: Path
) -> None:
    flags = dict(zip(base[1::2], base[2::2], strict=True)) | dict(zip(arguments[::2], arguments[1::2], strict=True))
    refused(lpk("run", *(part for flag in flags.items() for part in flag), "--quiet", cwd=tmp_path), 2, *words)
    assert list(tmp_path.iterdir()) == []


def test_bad_calibration_files_are_refused(
    lpk: Lpk, tiny_checkpoint: Path, tiny_ids: Path, demo: Path, tmp_path: Path
) -> None:
    import numpy as np

    def run(
        name: str, content: bytes | None = None, model: object = tiny_checkpoint, *more: object
    ) -> subprocess.CompletedProcess[str]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        return lpk("run", "--model", model, "--calibration", tmp_path / name, "--quiet", *more, cwd=tmp_path)

    def array(value: Any) -> bytes:
        np.save(tmp_path / "array.npy", value)
        return (tmp_path / "array.npy").read_bytes()

    refused(run("missing.txt"), 2, "no such file")
    refused(run("empty.txt", b""), 2, "the file is empty")
    refused(run("white.txt", b" \n\n"), 2, "nothing but white space")
    refused(run("binary.txt", bytes(range(256))), 2, "not UTF-8 text")
    refused(run("zeros.txt", b"abc\0def"), 2, "a binary file")
    refused(run("bad.jsonl", b'{"text": "a"}\n{"text"'), 2, "line 2", "not JSON")
    refused(run("field.jsonl", b'{"content": "a"}\n'), 2, "line 1", "'text'")
    refused(run("float.npy", array(np.zeros((2, 3)))), 2, "wanted integers")
    refused(run("flat.npy", array(np.zeros(3, dtype=int))), 2, "(sequences, length)")
    refused(run("pickle.npy", array(np.array([[{}]], dtype=object))), 2, "pickle.npy")
    refused(run("one.npy", array(np.zeros((3, 1), dtype=int))), 2, "needs 2")
    refused(
        run("big.npy", array(np.full((2, 8), 5000)), tiny_checkpoint, "--held-out", tiny_ids),
        2,
        "token id 5000",
        "vocabulary has 96",
    )
    refused(run("text.txt", b"Some words. " * 500), 2, "needs a tokenizer", ".npy")
    refused(run("short.txt", b"Some words.", demo), 2, "less than one sequence of 256 tokens")
    refused(run("short.txt", b"Some words. " * 100, demo, "--length", "200"), 2, "one sequence of 200 tokens")
    assert not (tmp_path / "runs").exists()


def test_an_output_directory_of_something_else_is_left_alone(
    lpk: Lpk, base: list[Any], finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    before = contents(finished[0])
    refused(lpk(*base, "--seed", 9, "--out", finished[0]), 2, "holds another run", "seed 0, not 9")
    assert contents(finished[0]) == before
    (tmp_path / "thesis.tex").write_text("years of work")
    refused(lpk(*base, "--out", tmp_path), 2, "not empty and holds no lpk run")
    refused(lpk(*base, "--out", tmp_path / "thesis.tex"), 2, "is a file")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("[]")
    refused(lpk(*base, "--out", tmp_path / "run"), 2, "run.json is not one of lpk's")
    refused(lpk("run", "--resume", tmp_path / "nothing"), 2, "no run is there")


def test_a_model_that_changed_meanwhile_is_noticed(lpk: Lpk, tiny_ids: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    tiny_model(layers=12).save_pretrained(model)
    base = [
        "run",
        "--model",
        model,
        "--calibration",
        tiny_ids,
        "--held-out",
        tiny_ids,
        "--searcher",
        "exhaustive",
        "--out",
        tmp_path / "run",
    ]
    kill_when([sys.executable, "-m", "lpk", *base], lambda: rows(tmp_path / "run") > 20)
    tiny_model(layers=12, seed=1).save_pretrained(model)
    refused(lpk(*base, "--quiet"), 2, "the model has changed since this run began")


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


# What a person does next --------------------------------------------------------------------------------------------


def test_a_run_is_resumed_from_another_folder(lpk: Lpk, tiny_checkpoint: Path, tiny_ids: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    shutil.copytree(tiny_checkpoint, here / "model")
    shutil.copy(tiny_ids, here / "ids.npy")
    base = ["run", "--model", "model", "--calibration", "ids.npy", "--held-out", "ids.npy", "--searcher", "exhaustive"]
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


def test_however_it_is_said_it_is_one_run(
    lpk: Lpk, base: list[Any], finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"remove": 3, "protect": [0, -1], "searcher": {"name": "optuna", "trials": 32}}))
    rest = [part for flag in zip(base[1::2], base[2::2], strict=True) if flag[0] != "--remove" for part in flag]
    for more in (["-O", "trials=32"], ["--remove", "3", "--scorer", "lpk/angular", "--protect", "0,-1"]):
        done = lpk("run", recipe, *rest, *more, "--out", finished[0], "--json", "--quiet")
        assert json.loads(done.stdout) == finished[1]


def test_an_incomplete_folder_is_completed(
    lpk: Lpk, base: list[Any], finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out = shutil.copytree(finished[0], tmp_path / "copy")
    shutil.rmtree(out / "model")
    (out / "cost.json").unlink()
    assert lpk(*base, "--out", out, "--quiet").returncode == 0
    assert contents(out) == contents(finished[0])


def test_rows_with_line_separators_are_rows(tmp_path: Path) -> None:
    from lpk.core.pruning.calibration import Corpus

    path = tmp_path / "rows.jsonl"
    documents = ["one\u2028two", "three\x85four", "five"]
    path.write_text(
        "\r\n".join(json.dumps({"text": d}, ensure_ascii=False) for d in documents) + "\n\n", encoding="utf-8"
    )
    assert Corpus.read(str(path)).documents == tuple(documents)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("remove: true", "remove: wanted a number of layers"),
        ("remove: 0.25", "remove: wanted a number of layers"),
        ("remove:", "remove: wanted a number of layers"),
        ("seed: true", "seed"),
        ("protect: all", "protect: wanted layer indices"),
        ("searcher:", "searcher: wanted a plugin's name"),
        ("searcher: {trials: 3}", "searcher.name"),
        ("calibration:", "calibration: wanted a file"),
        ("calibration: {sauce: x}", "no key 'calibration.sauce'"),
        ("allow: everything", "allow"),
        ("serchear: greedy", "did you mean 'searcher'?"),
        ("- model", "wanted keys and values"),
        ("model: [", "not YAML"),
    ],
)
def test_bad_recipes_are_refused(recipe: str, words: str, tmp_path: Path) -> None:
    from lpk.core.errors import UsageError
    from lpk.core.pruning.recipe import Recipe

    (tmp_path / "recipe.yaml").write_text(recipe)
    with pytest.raises(UsageError) as caught:
        Recipe.parse(Recipe.read(tmp_path / "recipe.yaml"), "recipe.yaml")
    assert words in str(caught.value)


@pytest.mark.parametrize("protect", [-1, "-1", [-1], (7,)])
def test_protection_may_be_said_in_many_ways(protect: Any) -> None:
    from lpk.core.pruning.recipe import Recipe

    assert Recipe.parse({"protect": protect}, "here").problem(8).protected == {7}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_precisions_run_to_the_end(dtype: str, lpk: Lpk, base: list[Any], tmp_path: Path) -> None:
    done = lpk(
        *base,
        "--dtype",
        dtype,
        "--objective",
        "kl",
        "--searcher",
        "one-shot",
        "--out",
        tmp_path / "run",
        "--json",
        "--quiet",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["dtype"] == dtype


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("scorer", "def score(self, stack, calibration): raise KeyError('oops')"),
        ("searcher", "def search(self, problem): return None"),
        ("objective", "def loss(self, outputs, dense): return 1 / 0"),
    ],
)
def test_a_plugin_that_fails_is_named(kind: str, code: str, lpk: Lpk, base: list[Any], tmp_path: Path) -> None:
    from fake_plugins import distribution

    module = f"""
import lpk
from lpk.core.contracts import *
class Bad({kind.capitalize()}):
    {code}
@lpk.hookimpl
def lpk_{kind}s():
    yield Component("bad", "Fails.", "lpk_bad:Bad")
"""
    env = {"PYTHONPATH": str(distribution(tmp_path / "site", "lpk-bad", "1.0", {"lpk_bad": module}))}
    more = ["--searcher", "one-shot"] if kind == "scorer" else []
    done = lpk(*base, *more, f"--{kind}", "bad", "--out", tmp_path / "run", "--quiet", env=env)
    refused(done, 3, f"{kind} lpk-bad/bad failed", "Error")


def test_a_model_that_sees_later_tokens_is_refused(lpk: Lpk, tiny_ids: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, BertConfig

    config = BertConfig(vocab_size=96, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=48)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "bert")
    done = lpk(
        "run", "--model", tmp_path / "bert", "--calibration", tiny_ids, "--held-out", tiny_ids, "--quiet", cwd=tmp_path
    )
    refused(done, 2, "no causal language model")
