"""What a search runs in: decided with a reason, remembered, and its finalists confirmed in float32."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Lpk, contents, refused

from lpk.core.pruning import parts, precision
from lpk.core.pruning.precision import Precision, cache_path, measured


@pytest.fixture
def rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this machine one that is known to multiply at such rates; its ``LPK_HOME``."""
    monkeypatch.setenv("LPK_HOME", str(tmp_path / "home"))

    def known(**gflops: float) -> dict[str, str]:
        path = cache_path(precision.machine_of("cpu"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"gflops": {"float32": 100.0, "bfloat16": 100.0, "float16": 100.0, **gflops}}))
        return {"LPK_HOME": str(tmp_path / "home")}

    return known


def test_products_are_measured_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPK_HOME", str(tmp_path))
    first = measured("cpu")
    assert set(first) == {"float32", "bfloat16", "float16"}
    assert all(0.1 < rate < 1e6 for rate in first.values())
    (path,) = tmp_path.rglob("*.json")
    assert json.loads(path.read_text())["machine"]["torch"]
    monkeypatch.setattr(precision, "_measure", lambda device: pytest.fail("measured again"))
    assert measured("cpu") == first
    assert Precision.decide("auto", "cpu") == Precision.decide("auto", "cpu")


@pytest.mark.parametrize(
    "damage", ["", "{}", '{"gflops": {"float32": 1}}', '{"gflops": {"float32": 0, "bfloat16": 1, "float16": 1}}']
)
def test_a_damaged_cache_is_measured_anew(damage: str, rates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rates()
    cache_path(precision.machine_of("cpu")).write_text(damage)
    fresh = {"float32": 3.0, "bfloat16": 2.0, "float16": 1.0}
    monkeypatch.setattr(precision, "_measure", lambda device: fresh)
    assert measured("cpu") == fresh
    assert json.loads(cache_path(precision.machine_of("cpu")).read_text())["gflops"] == fresh


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LPK_HOME", str(tmp_path / "file" / "home"))
    assert set(measured("cpu")) == {"float32", "bfloat16", "float16"}


@pytest.mark.parametrize(
    ("asked", "bfloat16", "dtype", "head", "reason"),
    [
        ("auto", 54, "float32", "float32", "bfloat16 products run at 0.54 times the speed of float32 here (54 against 100 GFLOP/s)"),
        ("auto", 140, "float32", "float32", "1.40 times"),
        ("auto", 800, "bfloat16", "bfloat16", "bfloat16 products run at 8.00 times the speed of float32 here (800 against 100 GFLOP/s)"),
        ("bfloat16", 54, "bfloat16", "float32", "asked for; bfloat16 products run at 0.54 times"),
        ("bfloat16", 800, "bfloat16", "bfloat16", "asked for"),
        ("float32", 800, "float32", "float32", "asked for"),
    ],
)  # fmt: skip
def test_the_decision_has_a_reason(asked: str, bfloat16: float, dtype: str, head: str, reason: str, rates: Any) -> None:
    rates(bfloat16=bfloat16)
    decided = Precision.decide(asked, "cpu")
    assert (decided.asked, decided.dtype, decided.head) == (asked, dtype, head)
    assert reason in decided.reason
    assert decided.exact == (dtype == "float32")


def test_the_finalists_of_a_narrow_search_are_confirmed_in_float32(
    lpk: Lpk, base: list[Any], rates: Any, tmp_path: Path
) -> None:
    env = rates(bfloat16=900)
    search = [*base, "--searcher", "exhaustive"]
    exact = lpk(*search, "--dtype", "float32", "--out", tmp_path / "exact", "--json", "--quiet", env=env)
    assert exact.returncode == 0, exact.stderr
    assert json.loads(exact.stdout)["run"]["result"]["finalists"] == []
    with (tmp_path / "exact" / "trials.csv").open(newline="") as table:
        by_mask = {row["removed"]: float(row["loss"]) for row in csv.DictReader(table)}

    shown = lpk(*search, "--dtype", "bfloat16", "--confirm", 4, "--out", tmp_path / "narrow", "--quiet", env=env)
    assert shown.returncode == 0, shown.stderr
    assert "precision          bfloat16: asked for; bfloat16 products run at 9.00 times" in shown.stdout
    run = json.loads((tmp_path / "narrow" / "run.json").read_text())
    assert run["model"]["dtype"] == run["precision"]["dtype"] == "bfloat16"
    finalists = run["result"]["finalists"]
    assert len(finalists) == 4
    searched = [finalist["search_loss"] for finalist in finalists]
    assert searched == sorted(searched)
    for finalist in finalists:  # what float32 says of them is what the float32 search says, to the last bit
        assert finalist["confirmed_loss"] == by_mask[" ".join(map(str, finalist["removed"]))]
        assert finalist["confirmed_loss"] != finalist["search_loss"]
        assert (
            f"{finalist['confirmed_loss']:.4f} in float32 ({finalist['search_loss']:.4f} in bfloat16)" in shown.stdout
        )
    best = min(finalists, key=lambda finalist: finalist["confirmed_loss"])
    assert run["result"]["removed"] == best["removed"]
    assert run["result"]["calibration_loss"]["pruned"] == best["confirmed_loss"]
    exact_run = json.loads(exact.stdout)["run"]["result"]
    assert run["result"]["calibration_loss"]["dense"] == exact_run["calibration_loss"]["dense"]
    assert run["result"]["held_out_perplexity"]["dense"] == exact_run["held_out_perplexity"]["dense"]
    assert json.loads((tmp_path / "narrow" / "model" / "config.json").read_text())["dtype"] == "float32"  # as it came


def test_a_run_goes_on_in_the_precision_it_began_with(lpk: Lpk, base: list[Any], rates: Any, tmp_path: Path) -> None:
    search = [*base, "--searcher", "one-shot", "--quiet"]
    outs = {}
    for name, rate in (("slow", 50), ("fast", 900)):
        outs[name] = tmp_path / name
        done = lpk(*search, "--out", outs[name], env=rates(bfloat16=rate))
        assert done.returncode == 0, done.stderr
    runs = {name: json.loads((out / "run.json").read_text()) for name, out in outs.items()}
    assert [runs[name]["precision"]["dtype"] for name in outs] == ["float32", "bfloat16"]
    assert [len(runs[name]["result"]["finalists"]) for name in outs] == [0, 1]
    assert {run["precision"]["asked"] for run in runs.values()} == {"auto"}
    assert yaml.safe_load((outs["slow"] / "recipe.yaml").read_text())["dtype"] == "auto"
    # Unfinished, and gone on with on a machine that would decide otherwise.
    before = contents(outs["fast"])
    (outs["fast"] / "cost.json").unlink()
    shutil.rmtree(outs["fast"] / "model")
    done = lpk("run", "--resume", outs["fast"], "--json", "--quiet", env=rates(bfloat16=50))
    assert done.returncode == 0, done.stderr
    assert (
        json.loads(done.stdout)["cost"]["measurements_found_in_memo"] == json.loads(done.stdout)["cost"]["measurements"]
    )
    assert contents(outs["fast"]) == before


def test_float16_runs_to_the_end(lpk: Lpk, base: list[Any], tmp_path: Path) -> None:
    arguments = ["--dtype", "float16", "--objective", "kl", "--searcher", "one-shot", "--out", tmp_path / "run"]
    done = lpk(*base, *arguments, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["run"]["result"]["finalists"]) == 1
    refused(lpk(*base, "--confirm", 0, "--quiet", cwd=tmp_path), 2, "confirm", "greater than or equal to 1")


def test_losses_in_less_than_float32_are_told_apart_by_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def contexts() -> list[str]:
        given = [("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "bfloat16")]
        return [parts.context(parts.inputs("model", *of, "cpu", {"torch": "2"}), {}, {}) for of in given]

    here = contexts()
    assert contexts() == here
    monkeypatch.setattr(parts, "machine_of", lambda device: {"device": "another processor"})
    assert [one == other for one, other in zip(contexts(), here, strict=True)] == [True, False, False]
