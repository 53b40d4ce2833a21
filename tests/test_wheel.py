"""What a stranger gets: the built wheel in a bare venv, and a plugin of a third party beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build(project: Path, into: Path) -> Path:
    """Build a project's wheel from a copy: building leaves files beside the sources."""
    import shutil

    copy = into / "source" / project.name
    shutil.copytree(
        project,
        copy,
        ignore=shutil.ignore_patterns("build", "*.egg-info", ".git", "runs", ".venv", ".*_cache", "__pycache__"),
    )
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", into, copy]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = into.glob(f"{'lpk_example' if 'example' in project.name else 'lpk-'}*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    into = tmp_path_factory.mktemp("wheels")
    return build(ROOT, into), build(ROOT / "examples" / "lpk-example", into)


@pytest.fixture(scope="module")
def bare(wheels: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with both wheels and nothing of this checkout; other packages are borrowed from this environment."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=True)
    subprocess.run(
        [folder / "bin/python", "-m", "pip", "install", "-q", "--no-deps", *wheels], check=True, capture_output=True
    )
    import click

    site = next(folder.glob("lib/python*/site-packages"))
    # Appended after the venv's own packages, and its .pth files (an editable lpk) are not read from there.
    (site / "borrowed.pth").write_text(str(Path(click.__file__).parent.parent) + "\n")
    return folder / "bin"


def call(bare: Path, *arguments: object, cwd: Path = Path("/")) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        list(map(str, arguments)),
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env={**env, "PATH": f"{bare}:{env['PATH']}"},
    )


def test_the_wheel_is_whole(wheels: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(wheels[0]).namelist())
    sources = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src/lpk").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= names
    assert {name for name in names if not name.startswith("lpk-")} == sources
    metadata = zipfile.ZipFile(wheels[0]).read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "License-Expression: Apache-2.0" in metadata


def test_a_strangers_plugin_is_listed_checked_and_used(
    bare: Path, tiny_checkpoint: Path, tiny_ids: Path, tiny_held_out: Path, tmp_path: Path
) -> None:
    where = call(bare, bare / "python", "-c", "import lpk, lpk_example; print(lpk.__file__, lpk_example.__file__)")
    assert all(str(bare.parent) in path for path in where.stdout.split()), "the checkout was tested, not the wheel"
    listed = json.loads(call(bare, bare / "lpk", "plugins", "list", "--json").stdout)
    assert listed["broken"] == []
    names = {(p["kind"], p["name"]): p["distribution"] for p in listed["plugins"]}
    assert names["scorer", "update-size"] == names["searcher", "best-swap"] == "lpk-example"
    assert names["scorer", "angular"] == "lpk"
    shown = call(bare, bare / "lpk", "plugins", "show", "best-swap").stdout
    assert "lpk-example 0.1.0" in shown
    assert "rounds" in shown
    for name in ("update-size", "best-swap"):
        checked = call(bare, bare / "lpk", "plugins", "check", name)
        assert checked.returncode == 0, checked.stdout
        assert "FAILED" not in checked.stdout
    done = call(
        bare, bare / "lpk", "run", "--model", tiny_checkpoint, "--calibration", tiny_ids, "--held-out", tiny_held_out, "--remove", "2",
        "--scorer", "update-size", "--searcher", "best-swap", "-O", "rounds=1", "--out", tmp_path / "run", "--json", "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    assert run["plugins"]["scorer"]["name"] == "lpk-example/update-size"
    assert run["plugins"]["searcher"] == {"name": "lpk-example/best-swap", "version": "0.1.0", "options": {"rounds": 1}}
    assert run["versions"]["lpk-example"] == "0.1.0"
    assert len(run["result"]["removed"]) == 2


def test_its_own_tests_pass_in_its_own_folder(bare: Path) -> None:
    done = call(
        bare,
        bare / "python",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        ROOT / "examples/lpk-example/tests",
        cwd=ROOT / "examples/lpk-example",
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_plugins_are_short() -> None:
    for path in (ROOT / "examples/lpk-example/src/lpk_example").glob("*.py"):
        assert len(path.read_text().splitlines()) < 40
