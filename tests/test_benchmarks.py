"""The benchmarks run, small, and write what they print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SEARCH = ["--model", "TINY", "--remove", "2", "--length", "16", "--calibration", "IDS", "--held-out", "IDS"]
FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("name", "arguments", "measured"),
    [
        ("head", ["--tokens", "70", "--vocabulary", "1500", "--hidden", "32"], "NLL: lpk"),
        ("scoring", ["--model", "TINY", "--length", "40", "--most", "3"], "lpk: block influence"),
        ("roofline", ["--model", "TINY", "--tokens", "40", "--threads", "1"], "share_of_roofline"),
        ("greedy", [*SEARCH, "--sequences", "4"], "lpk: lazy-greedy, defaults"),
        ("racing", [*SEARCH, "--sequences", "6", "--orders", "2"], "same_mask"),
        (
            "evolution",
            [*SEARCH, "--sequences", "4", "--generations", "2", "--offspring", "4"],
            "layer_forwards_to_that_loss",
        ),
        (
            "regret",
            ["--layers", "7", "--remove", "2", "--architectures", "llama", "--scorer", "angular"],
            "swap start=scores, angular",
        ),
    ],
)
def test_a_small_benchmark_leaves_its_figures(
    name: str, arguments: list[str], measured: str, tiny_checkpoint: Path, tiny_ids: Path, tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    here = {"TINY": str(tiny_checkpoint), "IDS": str(tiny_ids)}
    given = [here.get(argument, argument) for argument in arguments]
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
    if name == "greedy":
        assert figures["lpk: greedy, racing off"]["order"] == figures["naive loop, float32"]["order"]
    if name == "regret":
        searches = {title: part for title, part in figures["searches"].items() if "refused" not in part}
        assert searches["exhaustive"]["share_of_optima_found"] == searches["exhaustive"]["mean_regret"] + 1 == 1
        assert searches["exhaustive"]["masks"] == 10
        assert all(part["mean_regret"] >= 0 for part in searches.values())
        assert {"genetic", "cbo", "fast-block-select", "annealing", "swap"} <= set(searches)


def test_questions_cost_less_and_say_the_same(demo: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, FOLDER / "questions.py", "--items", "3", "--rounds", "1", "--out", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert figures["lpk"]["positions"] < figures["padded batch, logits"]["positions"] / 2
    assert figures["lpk"]["logits"] < figures["padded batch, logits"]["logits"] / 2
    assert figures["lpk"]["off"] < 1e-3
