"""Bad input gets one line, exit code 2, and nothing is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Lpk, contents, refused

from lpk.testing import tiny_model


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


def test_models_that_are_none_are_refused(
    lpk: Lpk, tiny_checkpoint: Path, tiny_ids: Path, tiny_held_out: Path, tmp_path: Path
) -> None:
    def run(model: object, *more: object) -> subprocess.CompletedProcess[str]:
        return lpk(
            "run",
            "--model",
            model,
            "--calibration",
            tiny_ids,
            "--held-out",
            tiny_held_out,
            "--quiet",
            *more,
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
    for dtype in ("float32", "float16"):
        refused(run(nan, "--dtype", dtype), 2, "model.layers.4.mlp.up_proj.weight", "NaN", "broken")
    far = checkpoint(tmp_path / "far", model__layers__4__mlp__up_proj__weight=1e5)
    refused(run(far, "--dtype", "float16"), 2, "up_proj.weight holds numbers too large for float16", "bfloat16")

    def wider(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 56}))

    wide = damaged(tiny_checkpoint, tmp_path / "wide", wider)
    refused(run(wide), 2, "model.layers.0.mlp.down_proj.weight", "(32, 48)", "the configuration says (32, 56)")

    tiny_model(layers=8).save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    shards = sorted((tmp_path / "shards").glob("*.safetensors"))
    os.truncate(shards[1], shards[1].stat().st_size - 8)
    refused(run(tmp_path / "shards"), 2, f"{shards[1]}: not a whole safetensors file", "beyond its end")
    (tmp_path / "shards" / "model.safetensors.index.json").unlink()
    refused(run(tmp_path / "shards"), 2, f"{len(shards)} *.safetensors, but no model.safetensors.index.json")
    assert not (tmp_path / "runs").exists()


def test_pickled_weights_load_only_when_named(
    lpk: Lpk, tiny_checkpoint: Path, tiny_ids: Path, tiny_held_out: Path, tmp_path: Path
) -> None:
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
        tiny_held_out,
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
        (["--protect", "first"], ("lpk: protect: wanted layer indices",)),
        (["--protect", ""], ("wanted layer indices like 0,-1 or 'none'",)),
        (["--scorer", "anguler"], ("did you mean 'angular'?",)),
        (["--searcher", "optuna", "-O", "trails=3"], ("no", "'trails'", "did you mean 'trials'?")),
        (["-O", "trials=many"], ("'trials'", "integer", "'many'")),
        (["-O", "trials"], ("NAME=VALUE",)),
        (["-O", "sercher.trials=3"], ("did you mean 'searcher'?",)),
        (["--dtype", "int8"], ("float32", "int8")),
        (["--device", "tpu"], ("--device tpu",)),
        (["--seed", "-1"], ("seed",)),
        (["--searcher", "contiguous", "--scorer", "none"], ("needs a scorer",)),
        (["--out", "x" * 300], ("too long",)),
        (["--model", "x" * 300], ("too long",)),
        (["--remove", "1" * 5000], ("wanted a number of layers",)),
        (["--sercher", "greedy"], ("No such option", "--searcher")),
        (["--out", "/dev/null/run"], ("/dev/null",)),
        (["--out", "/proc/run"], ("cannot write /proc/run: /proc is no file system that files can be kept on",)),
        (["--calibration", "."], ("calibration .: this is a folder; wanted a file",)),
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
    lpk: Lpk, tiny_checkpoint: Path, tiny_ids: Path, tiny_held_out: Path, demo: Path, tmp_path: Path
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
        run("big.npy", array(np.full((2, 8), 5000)), tiny_checkpoint, "--held-out", tiny_held_out),
        2,
        "token id 5000",
        "vocabulary has 96",
    )
    long = array(np.zeros((2, 200), dtype=int))
    refused(
        run("long.npy", long, tiny_checkpoint, "--held-out", tiny_held_out), 2, "(--length 128 cuts a text to that)"
    )
    np.save(tmp_path / "more.npy", np.zeros((2, 200), dtype=int))
    refused(
        run("few.npy", array(np.zeros((2, 8), dtype=int)), tiny_checkpoint, "--held-out", tmp_path / "more.npy"),
        2,
        "held-out",
        "(--length 128 cuts a text to that, --held-out FILE is read instead)",
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
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "recipe.yaml").write_text("remove: 3  # my notes\n")
    refused(lpk("run", tmp_path / "project" / "recipe.yaml", *base[1:], "--out", tmp_path / "project"), 2, "not empty")
    assert "my notes" in (tmp_path / "project" / "recipe.yaml").read_text()


def test_ids_that_are_calibrated_on_are_not_held_out(lpk: Lpk, base: list[Any], tiny_ids: Path, tmp_path: Path) -> None:
    (tmp_path / "link.npy").symlink_to(tiny_ids)
    for same in (tiny_ids, tmp_path / "link.npy"):
        refused(lpk(*base, "--held-out", same, "--quiet", cwd=tmp_path), 2, "calibrated on, all of them")


def test_a_group_without_a_command_shows_its_help(lpk: Lpk) -> None:
    done = lpk("plugins")
    assert done.returncode == 2
    assert "Usage: lpk plugins" in done.stderr
    assert len(done.stderr.splitlines()) > 5
