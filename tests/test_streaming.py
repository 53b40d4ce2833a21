"""A streamed model is the model: the same states, scores, masks, losses and files, in the memory of two layers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Lpk, contents, refused
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from lpk.core import memory
from lpk.core.contracts import LayerScores
from lpk.core.errors import UsageError, blaming
from lpk.core.memory import available_memory, enough, parse_bytes, sized
from lpk.core.progress import Progress
from lpk.core.pruning import checkpoint
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.items import Sequences, Together
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Memo
from lpk.core.pruning.models import ModelSpec, fingerprint
from lpk.core.pruning.recipe import Recipe
from lpk.core.pruning.run import execute
from lpk.core.pruning.stack import LayerStack
from lpk.core.pruning.tensor_files import TensorFiles
from lpk.core.registry import installed
from lpk.testing import random_sequences, tiny_model

#: Architecture, precision of the files, precision of the run, bytes of each file.
KINDS = [
    ("llama", "bfloat16", "float32", "60KB"),
    ("llama", "float32", "bfloat16", "1GB"),
    ("qwen3", "float32", "float32", "60KB"),
    ("gemma3", "bfloat16", "float32", "1GB"),  # tied embeddings, layers of two types
    ("gpt2", "float16", "float32", "60KB"),
]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    architecture, stored, dtype, shard = request.param
    folder = tmp_path_factory.mktemp(architecture)
    tiny_model(architecture).to(getattr(torch, stored)).save_pretrained(folder, max_shard_size=shard)
    if architecture == "gpt2":
        (folder / "generation_config.json").unlink()
    assert len(list(folder.glob("*.safetensors"))) > 1 or shard == "1GB"
    return ModelSpec(str(folder), dtype)


@pytest.fixture(scope="module")
def dense(spec: ModelSpec) -> LayerStack:
    return LayerStack(spec.load())


@pytest.fixture(scope="module")
def streamed(spec: ModelSpec) -> LayerStack:
    return open_stack(spec)


def open_stack(spec: ModelSpec) -> LayerStack:
    streamed = spec.stream()
    return LayerStack(streamed.model, streamed)


def ragged() -> Sequences:
    lengths = (24, 9, 17, 24, 2, 11)
    whole = random_sequences(len(lengths), max(lengths)).ids
    return Sequences("ragged", tuple(ids[:length] for ids, length in zip(whole, lengths, strict=True)))


def score(name: str, stack: LayerStack, calibration: Any, **options: Any) -> LayerScores:
    with torch.inference_mode():
        return installed().find("scorer", name).create(options).score(stack, calibration)  # type: ignore[attr-defined, no-any-return]


def test_it_is_the_model_in_memory_bit_for_bit(spec: ModelSpec, dense: LayerStack, streamed: LayerStack) -> None:
    assert streamed.streamed is not None
    assert streamed.streamed.fingerprint == fingerprint(dense.model)
    assert streamed.shares_prefixes
    assert streamed.path == dense.path
    batch, mask = next(random_sequences(1, 31).batches()), LayerMask(6, (1, 2, 4))
    with torch.inference_mode():
        for ours, theirs in zip(streamed.states(batch), dense.states(batch), strict=True):
            assert torch.equal(ours, theirs)
        assert torch.equal(streamed.masked_logits(batch, mask), dense.masked_logits(batch, mask))


@pytest.mark.parametrize(
    ("scorer", "options"), [("angular", {}), ("angular", {"tokens": "all"}), ("block-influence", {})]
)
def test_scores_are_the_same_however_many_sequences_go_together(
    scorer: str, options: dict[str, Any], dense: LayerStack, streamed: LayerStack
) -> None:
    alone = score(scorer, dense, ragged(), **options)
    for tokens in (0, 50, 10_000):
        assert score(scorer, streamed, Together(ragged(), tokens), **options) == alone


def test_batches_hold_what_fits_and_every_sequence_once() -> None:
    for tokens, sizes in ((0, [1] * 6), (48, [2, 2, 2]), (10_000, [6])):
        batches = list(Together(ragged(), tokens).batches())
        assert [len(batch.lengths) for batch in batches] == sizes
        rows = [ids[:length] for b in batches for ids, length in zip(b.ids, b.lengths.tolist(), strict=True)]
        for row, ids in zip(rows, ragged().ids, strict=True):
            assert row.tolist() == ids.tolist()


@pytest.mark.parametrize("removed", [(1, 2, 4), (0,)], ids=str)
def test_the_saved_model_is_the_same_byte_for_byte(removed: tuple[int, ...], spec: ModelSpec, tmp_path: Path) -> None:
    dense, streamed = LayerStack(spec.load()), open_stack(spec)  # saving takes a stack's model away
    mask, dtype = LayerMask(6, removed), spec.stored_dtype()
    assert checkpoint.checkpoint_bytes(streamed, mask, dtype) == checkpoint.checkpoint_bytes(dense, mask, dtype)
    for name, stack in {"dense": dense, "streamed": streamed}.items():
        checkpoint.save(stack, mask, None, tmp_path / name, "card", dtype)
    files = sorted(file.name for file in (tmp_path / "dense").iterdir())
    assert files == sorted(file.name for file in (tmp_path / "streamed").iterdir())
    for file in files:
        assert (tmp_path / "dense" / file).read_bytes() == (tmp_path / "streamed" / file).read_bytes(), file
    for stack in (dense, streamed):
        assert all(weight.is_meta for weight in stack.model.parameters())


def test_large_models_are_saved_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model("gemma3").save_pretrained(tmp_path / "model")
    stack = open_stack(ModelSpec(str(tmp_path / "model")))
    monkeypatch.setattr(checkpoint, "SHARD", "60KB")
    checkpoint.save(stack, LayerMask(6, (2,)), None, tmp_path / "pruned", "card", "float32")
    assert len(list((tmp_path / "pruned").glob("*.safetensors"))) > 1
    assert LayerStack(ModelSpec(str(tmp_path / "pruned")).load()).layers == 5


def test_each_layer_is_read_once_a_pass_and_only_two_are_in_memory(spec: ModelSpec, streamed: LayerStack) -> None:
    assert streamed.streamed is not None
    window = streamed.streamed.window
    each = layer_bytes(spec, streamed)
    batches = next(Together(ragged(), 10_000).batches())
    with torch.inference_mode():
        list(streamed.states(batches))  # whatever was read ahead, now it is layer 0
        before = window.bytes_read
        for _ in range(2):
            for _ in streamed.states(batches):
                assert sum(all(not p.is_meta for p in layer.parameters()) for layer in streamed.modules) == 1
        window._stop()
        assert window.bytes_read - before == pytest.approx(2 * 6 * each, abs=each)
        with streamed.running([1, 3]):
            start = streamed.start(batches)
            for layer in (1, 1, 3, 3, 3, 1, 3):
                streamed.layer(layer, start.hidden, start)
            before = window.bytes_read
            for layer in (1, 3, 1, 3):
                streamed.layer(layer, start.hidden, start)
            window._stop()
    assert window.bytes_read - before <= 5 * each


@pytest.mark.parametrize("objective", ["perplexity", "kl"])
def test_losses_are_the_same_and_all_masks_share_a_pass(
    objective: str, spec: ModelSpec, dense: LayerStack, streamed: LayerStack, tmp_path: Path
) -> None:
    masks = [LayerMask(6, (layer, 4)) for layer in range(4)] + [LayerMask(6, (2,)), LayerMask(6)]
    assert streamed.streamed is not None
    window, losses = streamed.streamed.window, {}
    before = window.bytes_read
    for name, stack in {"dense": dense, "streamed": streamed}.items():
        memo = Memo(tmp_path / f"{name}.sqlite")
        measured = installed().find("objective", objective).create({})
        losses[name] = Evaluator(stack, measured, ragged(), memo, objective).losses(masks)  # type: ignore[arg-type]
        memo.close()
    window._stop()
    assert losses["streamed"] == losses["dense"]
    passes = 2 if objective == "kl" else 1  # the dense model's own; and one layer may have been read ahead
    assert window.bytes_read - before <= (6 * passes + 1) * layer_bytes(spec, streamed)


def layer_bytes(spec: ModelSpec, stack: LayerStack) -> int:
    tensors = TensorFiles(spec.weight_files()).tensors
    return sum(t.elements * t.dtype.itemsize for name, t in tensors.items() if name.startswith(f"{stack.path}.0."))


def test_loading_reads_the_layers_twice_beside_the_fingerprint(spec: ModelSpec) -> None:
    stack = open_stack(spec)
    assert stack.streamed is not None
    stack.streamed.window._stop()
    # Watching the model reads them in order, with the first again ahead; replaying reads them back to the first.
    assert stack.streamed.window.bytes_read <= (6 + 1 + 5 + 1) * layer_bytes(spec, stack)


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be streamed
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "words"), [("mixtral", "of its tensor .*experts.0"), ("gpt-neox", "lm_head.weight of its tensor")]
)
def test_weights_that_loading_would_change_are_refused(architecture: str, words: str, tmp_path: Path) -> None:
    tiny_model(architecture).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=f"cannot be streamed: .*{words}"):
        ModelSpec(str(tmp_path)).stream()


def test_other_files_than_safetensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UsageError, match=r"cannot be streamed: .*GGUF"):
        ModelSpec(str(tmp_path / "model.gguf")).stream()
    tiny_model().save_pretrained(tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    spec = ModelSpec(str(tmp_path / "pickled"), allow=frozenset({"pickle"}))
    with pytest.raises(UsageError, match=r"cannot be streamed: .*neither model.safetensors"):
        spec.stream()
    assert spec.why_streamed("auto", 1) == ""


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="cannot be streamed: its weights are quantised"):
        ModelSpec(str(tmp_path)).stream()


def test_a_model_that_could_not_be_confirmed_is_refused_before_the_search(lpk: Lpk, tmp_path: Path) -> None:
    """In bfloat16 it fits, in float32 it would not, and experts cannot be streamed."""
    tiny_model("mixtral", layers=8).save_pretrained(tmp_path / "model")
    ids = tmp_path / "ids.npy"
    np.save(ids, np.stack(random_sequences(8, 16).ids))
    np.save(tmp_path / "other.npy", np.stack(random_sequences(4, 16, seed=1).ids))
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    command = [
        "run", "--model", tmp_path / "model", "--remove", 2, "--calibration", ids, "--held-out", tmp_path / "other.npy",
        "--dtype", "bfloat16", "--out", tmp_path / "run", "--searcher", "greedy",
    ]  # fmt: skip
    for more in (["--dry-run"], []):
        done = lpk(*command, "--memory", size, *more)
        refused(
            done, 2, "cannot be streamed", "experts", "what a search finds is measured in float32: its weights take"
        )
    assert not (tmp_path / "run" / "memo.sqlite").exists()
    assert lpk(*command, "--memory", 2 * size, "--dry-run").returncode == 0


@pytest.mark.parametrize("way", ["load", "stream"])
def test_float32_is_float32_whatever_the_environment_says(way: str, tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    torch.set_float32_matmul_precision("high")  # as TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 does
    torch.backends.cudnn.allow_tf32 = True
    getattr(ModelSpec(str(tmp_path)), way)()
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.get_parameter("model.layers.4.mlp.up_proj.weight").data[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "nan")
    with pytest.raises(UsageError, match=r"model.layers.4.mlp.up_proj.weight holds NaN"):
        ModelSpec(str(tmp_path / "nan")).stream()
    for name in ("model.layers.4.mlp.up_proj.weight", "model.embed_tokens.weight"):
        model = tiny_model()
        model.get_parameter(name).data[0, 0] = 1e5
        model.save_pretrained(tmp_path / "far")
        with pytest.raises(UsageError, match=f"{name} holds numbers too large for float16; use --dtype float32"):
            ModelSpec(str(tmp_path / "far"), "float16").stream()
        assert ModelSpec(str(tmp_path / "far"), "bfloat16").stream().fingerprint
    tiny_model().save_pretrained(tmp_path / "more")
    config = json.loads((tmp_path / "more" / "config.json").read_text())
    (tmp_path / "more" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 7, "layer_types": None}))
    with pytest.raises(UsageError, match=r"weights are missing .*model.layers.6"):
        ModelSpec(str(tmp_path / "more")).stream()
    (tmp_path / "more" / "config.json").write_text(json.dumps({**config, "intermediate_size": 40}))
    with pytest.raises(UsageError, match=r"is of shape \(32, 48\), where the configuration says \(32, 40\)"):
        ModelSpec(str(tmp_path / "more")).stream()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], "lies beyond its end"),
        (lambda data: data[:100], "header is cut short"),
        (lambda data: b"", "header is cut short"),
        (lambda data: data[:9] + b"?" + data[10:], "not a whole safetensors file"),
        (lambda data: data.replace(b'"F32"', b'"F99"'), "stored as F99"),
        (lambda data: data.replace(b"[96,32]", b"[96,33]"), "bytes, which is not its shape's"),
    ],
)
def test_files_that_are_not_whole_are_refused(damage: Any, words: str, tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UsageError, match=words):
        TensorFiles([file])


class Copies(TorchDispatchMode):
    """Notes between which devices and precisions tensors are copied."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, torch.dtype, torch.dtype]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket in (torch.ops.aten.copy_, torch.ops.aten._to_copy):
            source = args[1] if function.overloadpacket is torch.ops.aten.copy_ else args[0]
            self.seen.append((source.device.type, result.device.type, source.dtype, result.dtype))
        return result


def test_what_is_read_goes_to_its_device_before_it_is_converted(tmp_path: Path) -> None:
    """Only as it is stored does it lie in memory that a card copies from by itself; here ``meta`` stands for the card."""
    stored = torch.randn(3000).to(torch.bfloat16)
    save_file({"weight": stored}, tmp_path / "model.safetensors")
    files = TensorFiles([tmp_path / "model.safetensors"])
    with Copies() as copies:
        files.read("weight", torch.empty(3000, device="meta"))
        files.read("weight", torch.empty(3000, dtype=torch.bfloat16, device="meta"))
    narrow, wide = torch.bfloat16, torch.float32
    assert copies.seen == [
        ("cpu", "meta", narrow, narrow),
        ("meta", "meta", narrow, wide),
        ("cpu", "meta", narrow, narrow),
    ]
    here = torch.empty(3000)
    files.read("weight", here)
    assert torch.equal(here, stored.float())


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    stack = open_stack(ModelSpec(str(tmp_path)))
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(20_000)
    with torch.inference_mode(), pytest.raises(UsageError, match="shorter"):
        list(stack.states(next(random_sequences().batches())))


# ---------------------------------------------------------------------------------------------------------------------
# Whole runs
# ---------------------------------------------------------------------------------------------------------------------


def test_a_streamed_run_leaves_the_same_bytes(
    lpk: Lpk, base: list[Any], finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    done = lpk(*base, "--stream", "always", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert " are streamed: " in done.stderr
    assert "not measured: the layers were read from the disk" in done.stdout
    assert contents(tmp_path / "run") == contents(finished[0])
    cost = json.loads((tmp_path / "run" / "cost.json").read_text())
    assert cost["streamed"] is True
    assert cost["tokens_per_second"] is None
    assert finished[1]["cost"]["streamed"] is False
    assert cost["layer_forwards"] == finished[1]["cost"]["layer_forwards"]
    again = lpk(*base, "--out", tmp_path / "run")  # a complete run is told again, streamed or not
    assert again.stdout == done.stdout


def test_the_first_model_takes_no_memory_when_that_of_float32_is_loaded_and_its_states_count(
    tiny_checkpoint: Path, tiny_ids: Path, tiny_held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even while something still refers to it: a layer and its forward are a cycle."""
    opened: list[Any] = []
    stream = ModelSpec.stream

    def watched(spec: ModelSpec) -> Any:
        for before in opened:
            assert before.window._memory == [None, None]
            assert all(weight.is_meta for weight in before.model.parameters())
        opened.append(stream(spec))
        return opened[-1]

    monkeypatch.setattr(ModelSpec, "stream", watched)
    recipe = Recipe.model_validate(
        {
            "model": str(tiny_checkpoint), "calibration": str(tiny_ids), "held_out": str(tiny_held_out),
            "searcher": "deepest", "scorer": "none", "dtype": "bfloat16",
        }
    )  # fmt: skip
    cost = execute(recipe, installed(), tmp_path / "run", Progress(), stream="always")["cost"]
    assert [str(each.model.dtype) for each in opened] == ["torch.bfloat16", "torch.float32"]
    state = 32 * opened[-1].model.config.hidden_size * 4
    # Six sequences at once, of each what enters a layer and what leaves it; the search's, in bfloat16, are half of that.
    assert cost["peak_state_bytes"] >= 6 * 2 * state


def test_what_cannot_be_streamed_is_refused_before_anything_is_written(
    lpk: Lpk, base: list[Any], tiny_ids: Path, tmp_path: Path
) -> None:
    tiny_model("mixtral", layers=8).save_pretrained(tmp_path / "mixtral")
    rest = base[3:]
    done = lpk(
        "run", "--model", tmp_path / "mixtral", *rest, "--stream", "always", "--out", tmp_path / "run", "--quiet"
    )
    refused(done, 2, "cannot be streamed", "experts", "--stream never")
    assert not (tmp_path / "run").exists()


def test_a_model_that_fits_is_not_streamed_and_one_that_does_not_is(tiny_checkpoint: Path) -> None:
    spec = ModelSpec(str(tiny_checkpoint))
    size = sum(t.elements for t in TensorFiles(spec.weight_files()).tensors.values()) * 4
    assert spec.why_streamed("auto", 10 * size) == ""
    assert "more than four fifths of the" in spec.why_streamed("auto", size)
    assert spec.why_streamed("never", 1) == ""
    assert spec.why_streamed("always", 10 * size) == "as asked"


def test_a_gguf_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("token_embd.weight", np.zeros((96, 32), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    spec = ModelSpec(str(tmp_path / "model.gguf"), "bfloat16")
    assert spec.why_streamed("auto", 20_000) == spec.why_streamed("never", 1) == ""
    words = (
        r"take 12.3 KB in float32, more than four fifths of the 15.0 KB .*a GGUF file cannot be streamed: .*--memory"
    )
    with pytest.raises(UsageError, match=words):  # 96 x 32 x 4 bytes: that is how they are unpacked
        spec.why_streamed("auto", 15_000)


def test_the_demo_says_how_large_it_is_without_being_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPK_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"model demo: its weights take 538.1 MB .*the 100.0 MB "):
        ModelSpec("demo").why_streamed("auto", 100_000_000)


@pytest.mark.parametrize(("size", "words"), [("6", "6 bytes"), ("40KB", "40.0 KB")])
def test_memory_that_holds_no_two_layers_is_refused(
    size: str, words: str, lpk: Lpk, base: list[Any], tmp_path: Path
) -> None:
    done = lpk(*base, "--memory", size, "--out", tmp_path / "run", "--quiet")
    refused(done, 2, "even streamed", "KB in float32", f"{words} may be taken", "--memory")
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------------------------------

PEAK = """
def peak():
    (most,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss is the parent's too
    return int(most.split()[1]) * 1024
"""

STREAMED = """
import sys, torch
from lpk.core.pruning.items import Together
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed
from lpk.testing import random_sequences
streamed = ModelSpec(sys.argv[1]).stream()
stack = LayerStack(streamed.model, streamed)
with torch.inference_mode():
    scores = installed().find("scorer", "angular").create({}).score(stack, Together(random_sequences(4, 24), 10_000))
assert len(scores.layers) == stack.layers
print(peak())
"""

SAVED = """
import sys
from pathlib import Path
from lpk.core.pruning import checkpoint
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.speed import tokens_per_second
from lpk.core.pruning.stack import LayerStack
stack = LayerStack(ModelSpec(sys.argv[1]).load())
print(peak())
mask = LayerMask(stack.layers, (1,))
tokens_per_second(stack, {"dense": LayerMask(stack.layers), "pruned": mask})
checkpoint.save(stack, mask, None, Path(sys.argv[2]), "card", "bfloat16")
print(peak())
"""


def large(layers: int) -> Any:
    """A model of 17 MB a layer in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=96, hidden_size=512, intermediate_size=2048, num_attention_heads=8, num_hidden_layers=layers
    )
    return LlamaForCausalLM(config)


def test_four_times_the_layers_take_the_same_memory(tmp_path: Path) -> None:
    peaks, sizes = [], []
    for layers in (4, 16):
        large(layers).save_pretrained(tmp_path / str(layers))
        sizes.append((tmp_path / str(layers) / "model.safetensors").stat().st_size)
        done = subprocess.run(
            [sys.executable, "-c", PEAK + STREAMED, tmp_path / str(layers)], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
    assert sizes[1] - sizes[0] > 200e6
    assert abs(peaks[1] - peaks[0]) < 20e6, peaks


def test_speed_and_saving_take_no_memory_beside_the_model(tmp_path: Path) -> None:
    large(8).bfloat16().save_pretrained(tmp_path / "model")
    command = [sys.executable, "-c", PEAK + SAVED, tmp_path / "model", tmp_path / "pruned"]
    # Weights of a real model's size have pages of their own, which go back when they are let go; so have these then.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded, saved = map(int, done.stdout.split())
    assert saved - loaded < 40e6  # the weights take 134 MB


@pytest.mark.slow
def test_sixteen_gigabytes_are_scored_in_six(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "streaming.py"
    command = [sys.executable, script, "--shape", "large", "--limit", "6GB"]
    subprocess.run([*command, "--folder", tmp_path, "--out", tmp_path / "found"], check=True)
    found = json.loads((tmp_path / "found").read_text())
    assert found["bytes"] > 16e9
    assert found["ways"]["streamed"]["limit"]["bytes"] == 6_000_000_000
    assert found["ways"]["streamed"]["peak_bytes"] < 4.5e9


@pytest.mark.parametrize(
    ("text", "size"), [("6GB", 6_000_000_000), ("512MiB", 512 << 20), ("1.5 g", 1_500_000_000), ("4096", 4096)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 byte"), (6, "6 bytes"), (999, "999 bytes"), (272_400, "272.4 KB"), (16_100_000_000, "16.1 GB")],
)
def test_sizes_are_told_in_units_that_fit(size: int, text: str) -> None:
    assert sized(size) == text


@pytest.mark.parametrize("text", ["", "much", "0", "-1GB", "6GG", "1e9", "0.1", "GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no size of memory"):
        parse_bytes(text)


def test_control_groups_limit_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def group(folder: str, **files: object) -> None:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (tmp_path / folder / name.replace("__", ".")).write_text(f"{value}\n")

    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "self")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    assert available_memory() > 1e8  # without any: the machine's
    group("self", cgroup="4:cpu,memory:/a/b\n0::/c/d")
    v1 = {"memory__usage_in_bytes": 50_000, "memory__stat": "cache 9\ntotal_inactive_file 20000"}
    group("cgroup/memory", memory__limit_in_bytes=2**62, **v1)
    group("cgroup/memory/a", memory__limit_in_bytes=90_000, **v1)
    assert available_memory() == 60_000
    group("cgroup/c", memory__max="max", memory__current=3, memory__stat="inactive_file 0")
    assert available_memory() == 60_000
    group("cgroup/c/d", memory__max=70_000, memory__current=30_000, memory__stat="inactive_file 1000")
    assert available_memory() == 41_000
    group("cgroup/c/d", memory__current=90_000)
    assert available_memory() == 0


def test_resource_limits_limit_the_memory() -> None:
    code = "from lpk.core.memory import available_memory; print(available_memory())"
    for flag in ("-v", "-d"):
        command = f'ulimit {flag} 2000000 && "{sys.executable}" -c "{code}"'
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        assert 1e9 < int(done.stdout) < 2_048_000_000


def test_memory_that_ran_out_is_told_in_one_line_even_if_a_plugin_met_it() -> None:
    told = pytest.raises(UsageError, match=r"memory ran out \(.*can't allocate memory.*--stream always")
    with told, enough(), blaming("scorer x"):
        torch.empty(10**15)
    with pytest.raises(RuntimeError, match="another"), enough():
        raise RuntimeError("another")


def test_the_evaluators_states_come_out_of_the_budget(lpk: Lpk, base: list[Any], tmp_path: Path) -> None:
    plenty = lpk(*base, "--searcher", "exhaustive", "--scorer", "none", "--json", "--out", tmp_path / "plenty")
    scarce = lpk(
        *base, "--searcher", "exhaustive", "--scorer", "none", "--json", "--out", tmp_path / "scarce",
        "--memory", "1KB", "--stream", "never",
    )  # fmt: skip
    assert (plenty.returncode, scarce.returncode) == (0, 0), scarce.stderr
    assert "is loaded whole, as asked, though its weights take" in scarce.stderr
    assert "loaded whole" not in plenty.stderr
    costs = [json.loads(done.stdout)["cost"] for done in (plenty, scarce)]
    assert costs[1]["peak_state_bytes"] < costs[0]["peak_state_bytes"]
    assert costs[1]["layer_forwards"] > costs[0]["layer_forwards"]
    assert contents(tmp_path / "plenty") == contents(tmp_path / "scarce")


def test_a_size_that_is_none_is_refused(lpk: Lpk, base: list[Any], tmp_path: Path) -> None:
    refused(lpk(*base, "--memory", "lots", "--out", tmp_path / "run"), 2, "'lots' is no size of memory", "6GB")
