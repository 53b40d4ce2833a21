"""The benchmarks run, small, and write what they print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("name", "arguments", "measured"),
    [
        ("head", ["--tokens", "70", "--vocabulary", "1500", "--hidden", "32"], "NLL: lpk"),
        ("scoring", ["--model", "TINY", "--length", "40", "--most", "3"], "lpk: block influence"),
        ("roofline", ["--model", "TINY", "--tokens", "40", "--threads", "1"], "share_of_roofline"),
    ],
)
def test_a_small_benchmark_leaves_its_figures(
    name: str, arguments: list[str], measured: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    given = [str(tiny_checkpoint) if argument == "TINY" else argument for argument in arguments]
    command = [sys.executable, FOLDER / f"{name}.py", *given, "--rounds", "1", "--out", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert figures["machine"]["torch"]
    assert f'"{measured}"' in out.read_text()
    if name == "scoring":
        assert max(figures["largest_difference"].values()) < 1e-12
    if name == "head":
        assert figures["float32"]["NLL: lpk"]["off"] < 1e-5
