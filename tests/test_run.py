"""``lpk run`` as a person uses it: in a process of its own, on a tiny model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import FILES, Lpk, contents, refused
from jsonschema import Draft202012Validator

from lpk.core.errors import UsageError
from lpk.core.progress import Progress
from lpk.core.pruning import run
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.recipe import Recipe
from lpk.core.pruning.schedule import Trie
from lpk.core.registry import installed
from lpk.testing import tiny_model


def test_a_run_leaves_a_complete_directory(finished: tuple[Path, dict[str, Any]]) -> None:
    out, told = finished
    assert {file.name for file in out.iterdir() if not file.name.startswith(".")} == FILES
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


def test_the_perplexity_is_that_of_the_saved_model(finished: tuple[Path, dict[str, Any]], tiny_held_out: Path) -> None:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    out, told = finished
    model = AutoModelForCausalLM.from_pretrained(out / "model")
    ids = torch.from_numpy(np.load(tiny_held_out)).long()
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
        "model", "objective", "scorer", "searcher", "executor", "remove", "protect", "calibration", "held_out", "dtype", "confirm", "device", "seed", "allow"
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
    written = yaml.safe_load((finished[0] / "recipe.yaml").read_text())
    assert set(written) == set(schema["properties"])
    known = Draft202012Validator(schema)
    short = {
        "remove": 3,
        "protect": "none",
        "executor": "auto",
        "scorer": "none",
        "calibration": "piqa",
        "allow": "pickle",
    }
    for right in (written, short, {"calibration": {"source": "piqa"}, "objective": {"name": "kl"}}):
        known.validate(right)
    for wrong in (
        {"searcher": "greddy"},
        {"searcher": {"name": "greedy", "width": 2}},
        {"model": 3},
        {"modle": "demo"},
    ):
        assert not known.is_valid(wrong), wrong


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
    assert "evaluated          1 mask on 6 sequences (192 tokens)" in done.stdout
    for words in ("Loading", "Scoring layers", "Searching: lpk/one-shot", "Saving the model"):
        assert words in done.stderr
    quiet = lpk(*base, "--searcher", "one-shot", "--out", tmp_path / "quiet", "--quiet")
    assert quiet.stderr == ""


def test_what_was_found_and_what_was_made_are_not_added_up(
    lpk: Lpk, base: list[Any], finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out = shutil.copytree(finished[0], tmp_path / "copy")
    (out / "cost.json").unlink()
    count = finished[1]["cost"]["measurements"]
    said = f"memo               {count} measurements are this run's own; its last process found {count} there, "
    assert said in lpk(*base, "--out", out, "--quiet").stdout
    bare = ["--searcher", "deepest", "--scorer", "none", "--quiet"]
    shared = [*base, *bare, "--store", f"sqlite:///{tmp_path / 'memo'}"]
    lpk(*shared, "--out", tmp_path / "first")
    said = lpk(*shared, "--out", tmp_path / "second").stdout
    assert "cost               no layer-forward: every loss was in the memo; " in said
    assert "memo               0 measurements are this run's own; " in said


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
        run = json.loads((tmp_path / "run" / "run.json").read_text())
        result = run["result"]
        held_out = 4 * Trie.of([LayerMask(8), LayerMask(8, tuple(result["removed"]))]).edges()
        finalists = [LayerMask(8, tuple(each["removed"])) for each in result["finalists"]]  # where bfloat16 is fast
        confirmed = 6 * Trie.of([LayerMask(8), *finalists]).edges() if finalists else 0
        assert confirmed <= forwards["finalists again in float32, at most"]
        assert (confirmed > 0) == (run["precision"]["dtype"] != "float32")
        assert held_out <= forwards["held-out perplexity, at most"]
        dense = forwards["dense model on the calibration sequences"]
        planned_now = forwards["search"] + forwards.get("scorer", 0) + dense + held_out + confirmed
        assert planned["exact"] == (searcher != "greedy")
        assert spent == pytest.approx(planned_now, rel=0 if planned["exact"] else 0.1)


@pytest.mark.parametrize(
    ("scorer", "passes"), [("magnitude", 0), ("block-influence", 1), ("gates", 2), ("loss-drop", None)]
)
def test_a_plan_counts_what_its_scorer_runs(scorer: str, passes: int | None, lpk: Lpk, base: list[Any]) -> None:
    done = lpk(*base, "--searcher", "one-shot", "--scorer", scorer, "--dry-run", "--json")
    forwards = json.loads(done.stdout)["layer_forwards"]
    dense = forwards["dense model on the calibration sequences"]
    if passes is None:
        masks = [LayerMask(8), *(LayerMask(8, (layer,)) for layer in range(8))]
        assert forwards["scorer"] == 6 * Trie.of(masks).edges()
        assert forwards["scorer, a full forward for each mask"] == 6 * (8 + 8 * 7)
        assert dense == 0  # the scorer has measured it
    else:
        assert forwards["scorer"] == forwards["scorer, a full forward for each mask"] == 6 * 8 * passes
        assert dense == 6 * 8


def test_a_run_takes_what_was_planned_for_a_scorer_of_losses(lpk: Lpk, base: list[Any], tmp_path: Path) -> None:
    given = [*base, "--searcher", "one-shot", "--scorer", "shapley", "--dtype", "float32", "--objective", "kl"]
    given += ["-O", "masks=40", "-O", "scorer.sequences=4"]
    forwards = json.loads(lpk(*given, "--dry-run", "--json").stdout)["layer_forwards"]
    done = json.loads(lpk(*given, "--out", tmp_path / "run", "--json", "--quiet").stdout)
    held_out = Trie.of([LayerMask(8), LayerMask(8, tuple(done["run"]["result"]["removed"]))]).edges() * 4
    planned = forwards["scorer"] + forwards["search"] + forwards["dense model on the calibration sequences"]
    assert done["cost"]["layer_forwards"] == planned + held_out
    assert (
        forwards["dense model on the calibration sequences"] == 2 * 8 + 6 * 8
    )  # measured on two, compared with on six


def test_the_bound_of_finalists_has_the_dense_model_to_compare_with(lpk: Lpk, base: list[Any]) -> None:
    given = [*base, "--searcher", "exhaustive", "--dtype", "bfloat16", "--dry-run", "--json"]
    of = "finalists again in float32, at most"
    plain, compared = (
        json.loads(lpk(*given, "--objective", name).stdout)["layer_forwards"][of] for name in ("perplexity", "kl")
    )
    assert plain == 6 * (8 + 3 * 5)
    assert compared == plain + 6 * 8


def test_a_plan_says_how_far_its_cost_is_known(lpk: Lpk, base: list[Any]) -> None:
    said = lpk(*base, "--searcher", "random", "--dry-run").stdout
    assert "about" not in said
    assert "  masks      20\n" in said
    race = [*base, "--searcher", "greedy", "-O", "confidence=0.9", "--dry-run"]
    planned = json.loads(lpk(*race, "--json").stdout)
    assert planned["exact"] is False
    unstopped = planned["layer_forwards"]["search, if its races stop nothing"]
    assert planned["layer_forwards"]["search"] < unstopped
    said = lpk(*race).stdout
    assert "  masks      about 15\n" in said
    assert f"search (about; {unstopped} if its races stop nothing)\n" in said
    assert "in all (about); a full forward for each mask would take about " in said


def test_a_plan_says_where_weights_are_in_what_precision_and_when_nothing_can_be_shared(
    lpk: Lpk, base: list[Any]
) -> None:
    given = [*base, "--searcher", "random", "--dtype", "float32", "--dry-run"]
    said = lpk(*given).stdout
    assert "  precision  float32: asked for\n  weights    in memory\n" in said
    assert "too small" not in said
    tight = [*given, "--stream", "always", "--memory", "1KB"]
    said = lpk(*tight).stdout
    assert "  weights    streamed: as asked\n" in said
    assert "  memory     too small to keep hidden states that masks share" in said
    assert json.loads(lpk(*tight, "--json").stdout)["exact"] is False
    assert "  weights    streamed: its weights take " in lpk(*given, "--memory", "1KB").stdout


def test_where_no_race_can_be_run_plan_and_run_say_so(lpk: Lpk, base: list[Any], tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "one.npy", np.arange(3, 35, dtype=np.int32)[None])
    given = [*base, "--calibration", tmp_path / "one.npy", "--searcher", "greedy"]
    why = "none: one looks at 2 sequences first, and there is 1"
    said = lpk(*given, "-O", "confidence=0.9", "--dry-run").stdout
    assert f"  racing     {why}\n" in said
    assert "  data       1 sequence, 32 tokens" in said
    assert "racing" not in lpk(*given, "--dry-run").stdout
    done = lpk(*given, "-O", "confidence=0.9", "--out", tmp_path / "run")
    assert f"racing: {why}" in done.stderr
    assert " on 1 sequence (32 tokens) of " in done.stdout


def test_a_run_whose_cost_cannot_be_told_in_time_says_so(
    tiny_checkpoint: Path, tiny_ids: Path, tiny_held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heard(Progress):
        def stage(self, title: str, total: int | None = None) -> None:
            stages[title] = total

    stages: dict[str, int | None] = {}
    monkeypatch.setattr(run, "PATIENCE", -1.0)
    values = {"model": str(tiny_checkpoint), "calibration": str(tiny_ids), "held_out": str(tiny_held_out), "remove": 3}
    recipe = Recipe.parse({**values, "searcher": "random", "dtype": "float32"}, "test")
    run.execute(recipe, installed(), tmp_path / "run", Heard())
    (search,) = [title for title in stages if title.startswith("Searching")]
    assert search.endswith(", of a cost that cannot be told within a second")
    assert stages[search] is None


def test_a_plan_of_what_a_run_would_refuse_is_refused(
    lpk: Lpk, base: list[Any], finished: tuple[Path, dict[str, Any]], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    import numpy as np

    plan = [*base, "--dry-run"]
    np.save(tmp_path / "foreign.npy", np.full((6, 32), 5000))
    refused(lpk(*plan, "--calibration", tmp_path / "foreign.npy"), 2, "foreign.npy", "token id 5000", "vocabulary")
    np.save(tmp_path / "long.npy", np.ones((2, 20_000), dtype=np.int32))
    refused(lpk(*plan, "--held-out", tmp_path / "long.npy"), 2, "long.npy", "20000 tokens", "positions")
    refused(lpk(*plan, "--calibration", "wikitext2", "--length", 20_000), 2, "wikitext2", "20000 tokens", "positions")
    refused(lpk(*plan, "--seed", 9, "--out", finished[0]), 2, "it holds another run", "seed")
    (tmp_path / "broken.sqlite").write_text("no memo at all, but long enough to be told from an empty file " * 20)
    refused(lpk(*plan, "--store", f"sqlite:///{tmp_path}/broken.sqlite"), 2, "broken.sqlite", "no memo of lpk's")
    shards = tmp_path / "sharded"
    tiny_model("llama", layers=8).save_pretrained(shards, max_shard_size="50KB")
    gone = sorted(shards.glob("*.safetensors"))[1]
    gone.unlink()
    refused(lpk(*plan, "--model", shards), 2, str(shards), f"{gone.name} is missing")
    refused(lpk(*plan, "--model", "demo", "--stream", "always"), 2, "GGUF")


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
        ("protect: ''", "protect: wanted layer indices like 0,-1 or 'none'"),
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


@pytest.mark.parametrize(("searched", "times"), [("bfloat16", 1), ("float32", 1), ("float16", 2)])
def test_a_run_asks_for_as_much_of_the_disk_as_it_may_write(
    searched: str,
    times: int,
    tiny_ids: Path,
    tiny_held_out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny_model().bfloat16().save_pretrained(tmp_path / "model")
    dense, asked = (tmp_path / "model" / "model.safetensors").stat().st_size, list[int]()
    monkeypatch.setattr(run, "require_space", lambda where, needed, purpose: asked.append(needed - 20_000_000))
    recipe = Recipe.model_validate(
        {
            "model": str(tmp_path / "model"), "remove": 1, "searcher": "deepest", "dtype": searched,
            "calibration": {"source": str(tiny_ids)}, "held_out": {"source": str(tiny_held_out)},
        }
    )  # fmt: skip
    run.execute(recipe, installed(), tmp_path / "run", Progress())
    (file,) = (tmp_path / "run" / "model").glob("*.safetensors")
    assert file.stat().st_size < asked[0] <= times * dense < 1.2 * asked[0]


def test_a_model_that_is_tied_to_its_layers_places_is_refused_though_its_cache_fails_before(
    lpk: Lpk, tiny_ids: Path, tiny_held_out: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, JambaConfig

    config = JambaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=8, num_attention_heads=4,
        num_key_value_heads=2, attn_layer_period=4, attn_layer_offset=1, num_experts=2, num_experts_per_tok=1,
        use_mamba_kernels=False, mamba_d_state=4, mamba_dt_rank=4,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "jamba")
    given = ["run", "--model", tmp_path / "jamba", "--calibration", tiny_ids, "--held-out", tiny_held_out]
    done = lpk(
        *given, "--remove", 1, "--protect", "0,1,3,4,5,6,7", "--searcher", "one-shot", "--out", tmp_path / "run", "-q"
    )
    note, refusal = done.stderr.splitlines()
    assert note.startswith("lpk: note: speed is not measured: AttributeError: ")
    assert "saved without layers 2 does not compute what it did" in refusal
    assert done.returncode == 2
    assert not (tmp_path / "run" / "model").exists()


def test_a_model_that_runs_other_layers_than_its_configuration_says_is_refused(tiny_checkpoint: Path) -> None:
    spec = ModelSpec(str(tiny_checkpoint))
    spec.check_depth(spec.layer_count(), 8)
    with pytest.raises(UsageError, match=r"says 8 layers, its forward pass runs 7; lpk cannot prune it$"):
        spec.check_depth(spec.layer_count(), 7)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_that_sees_later_tokens_is_refused(
    dtype: str, lpk: Lpk, tiny_ids: Path, tiny_held_out: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, BertConfig

    config = BertConfig(vocab_size=96, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=48)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "bert")
    done = lpk(
        "run",
        "--model",
        tmp_path / "bert",
        "--calibration",
        tiny_ids,
        "--held-out",
        tiny_held_out,
        "--dtype",
        dtype,
        "--quiet",
        cwd=tmp_path,
    )
    refused(done, 2, "no causal language model")
