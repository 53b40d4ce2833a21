"""The benchmarks run, small, and write what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ONCE = ["--rounds", "1"]
SEARCH = ["--model", "TINY", "--remove", "2", "--length", "16", "--calibration", "IDS", "--held-out", "IDS"]
FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("name", "arguments", "measured"),
    [
        ("head", ["--tokens", "70", "--vocabulary", "1500", "--hidden", "32", *ONCE], "NLL: lpk"),
        ("scoring", ["--model", "TINY", "--length", "40", "--most", "3", *ONCE], "lpk: block influence"),
        ("roofline", ["--model", "TINY", "--tokens", "40", "--threads", "1", *ONCE], "share_of_roofline"),
        ("greedy", [*SEARCH, "--sequences", "4"], "lpk: lazy-greedy, confidence 0.95, bfloat16"),
        ("racing", [*SEARCH, "--sequences", "6", "--orders", "2", "--searches", "greedy", "beam"], "same_mask"),
        ("frontier", [*SEARCH, "--confidence", "0.9"], "lpk: lazy-greedy, confidence 0.9, 6 x 16 tokens"),
        (
            "evolution",
            [*SEARCH, "--sequences", "4", "--generations", "2", "--offspring", "4", "--initial", "3", "--last", "2"],
            "layer_forwards_to_that_loss",
        ),
        (
            "regret",
            ["--layers", "7", "--remove", "2", "--architectures", "llama", "--scorer", "angular", *ONCE],
            "swap start=scores, angular",
        ),
        ("streaming", ["--shape", "small"], "share_hidden"),
    ],
)
def test_a_small_benchmark_leaves_its_figures(
    name: str, arguments: list[str], measured: str, tiny_checkpoint: Path, tiny_ids: Path, tmp_path: Path
) -> None:
    here = {"TINY": str(tiny_checkpoint), "IDS": str(tiny_ids)}
    figures, _ = benchmark(name, [here.get(argument, argument) for argument in arguments], tmp_path)
    assert figures["machine"]["torch"]
    assert f'"{measured}"' in json.dumps(figures)
    if name == "scoring":
        assert max(figures["largest_difference"].values()) < 1e-12
    if name == "head":
        assert figures["float32"]["NLL: lpk"]["off"] < 1e-5
    if name == "greedy":
        for dtype in ("float32", "bfloat16"):
            ours, naive = figures[f"lpk: greedy, racing off, {dtype}"], figures[f"naive loop, {dtype}"]
            assert ours["order"] == naive["order"] == naive["choices"]
            assert not naive["followed"]
            assert naive["held_out_perplexity"] == ours["held_out_perplexity"] > 1
    if name == "frontier":
        points = figures["points"].values()
        assert {len(point["removed"]) for point in points if "removed" in point} == {2}
        assert all(point["perplexity"] > 1 for point in points)
        assert all("removed" in point for point in points)  # the peers' tokens are others
    if name == "evolution":
        masks, kept = figures["evopress, naive, seed 0"]["tokens"] // 16, 6
        assert masks == 3 + 2 * (4 + 3 * 2)  # all at first, then the offspring on one sequence, and three on two
        assert figures["evopress, naive, seed 0"]["layer_forwards"] == masks * kept
    if name == "regret":
        searches = {title: part for title, part in figures["searches"].items() if "refused" not in part}
        assert searches["exhaustive"]["share_of_optima_found"] == searches["exhaustive"]["mean_regret"] + 1 == 1
        assert searches["exhaustive"]["masks"] == 10
        assert all(part["mean_regret"] >= 0 for part in searches.values())
        assert {"genetic", "cbo", "fast-block-select", "annealing", "swap"} <= set(searches)
    if name == "streaming":
        assert figures["machine"]["threads"] == 1
        assert set(figures["ways"]) == {"streamed", "in memory"}


def test_a_loop_on_a_sample_follows_and_says_so(tiny_checkpoint: Path, tiny_ids: Path, tmp_path: Path) -> None:
    given = [{"TINY": str(tiny_checkpoint), "IDS": str(tiny_ids)}.get(argument, argument) for argument in SEARCH]
    figures, printed = benchmark("greedy", [*given, "--sample", "1"], tmp_path)
    leader = figures[figures["followed"]]
    loops = [
        f"{name}, {dtype}" for name in ("naive loop", "lpk: greedy, racing off") for dtype in ("float32", "bfloat16")
    ]
    for name in loops:
        assert figures[name]["followed"]
        assert figures[name]["order"] == leader["order"]
        assert figures[name]["held_out_perplexity"] is None
    assert printed.count(", followed") == 4
    assert "given to the loop and not found by it" in printed
    assert figures["naive loop, float32"]["choices"] == figures["lpk: greedy, racing off, float32"]["choices"]
    # What lpk does to weights is none of the peers' loop, on whatever processor.
    assert figures["naive loop, bfloat16"]["packed_bytes"] == 0


def benchmark(name: str, given: list[str], folder: Path) -> tuple[dict[str, Any], str]:
    """Its figures, and what it printed; nothing may be left among temporary files."""
    scratch, out = folder / "scratch", folder / "figures.json"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *given, "--out", out],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert done.returncode == 0, done.stderr
    assert not list(scratch.iterdir())
    return json.loads(out.read_text()), done.stdout


def test_questions_cost_less_and_say_the_same(demo: Path, tmp_path: Path) -> None:
    figures, _ = benchmark("questions", ["--items", "3", *ONCE], tmp_path)
    assert figures["lpk"]["positions"] < figures["padded batch, logits"]["positions"] / 2
    assert figures["lpk"]["logits"] < figures["padded batch, logits"]["logits"] / 2
    assert figures["lpk"]["off"] < 1e-3
