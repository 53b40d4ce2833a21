"""Peak memory and seconds of scoring a model whose layers are streamed, against the same model in memory.

    python benchmarks/streaming.py                               0.9 B parameters both ways, the same scores asserted
    python benchmarks/streaming.py --shape large --limit 6GB     the shape of an 8 B model, streamed only, under a hard limit

The models are made here, in bfloat16: one layer's random numbers, a little larger in each layer than in the one before,
so that 16 GB are written in a minute. Each way runs in a process of its own, one after the other; no page of the files is
cached before. The limit is a control group of version 1 where one can be made (cached pages of files count), else RLIMIT_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import arguments, peak_bytes, report

from lpk.core.memory import parse_bytes

SMALL = {
    "num_hidden_layers": 4, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 512,
}  # fmt: skip
MIDDLE = {
    "num_hidden_layers": 16, "hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 16,
    "num_key_value_heads": 16, "vocab_size": 32_000,
}  # fmt: skip
LARGE = {
    "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14_336, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128_256,
}  # fmt: skip

BOTH = ("streamed", "in memory")


@dataclass(frozen=True)
class Case:
    """A model, the ways in which it is measured, and on what, unless said otherwise."""

    shape: dict[str, int]
    ways: tuple[str, ...]
    dtype: str
    sequences: int
    length: int


CASES = {
    "small": Case(SMALL, BOTH, "float32", 2, 16),
    "middle": Case(MIDDLE, BOTH, "float32", 8, 128),
    "large": Case(LARGE, BOTH[:1], "bfloat16", 2, 64),
}


def generate(folder: Path, shape: dict[str, int]) -> None:
    """Write a checkpoint of this shape, a file for each layer."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from lpk.core.pruning.tensor_files import write_tensors

    config = LlamaConfig(**shape, tie_word_embeddings=False, dtype="bfloat16", architectures=["LlamaForCausalLM"])
    with torch.device("meta"):
        weights = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).state_dict()
    torch.manual_seed(0)
    first: dict[str, Any] = {}

    def parts(name: str) -> Iterator[Any]:
        layer, _, inner = name.removeprefix("model.layers.").partition(".") if "layers" in name else ("0", "", name)
        if inner not in first:
            one_dimensional = weights[name].dim() == 1
            first[inner] = (
                torch.ones(weights[name].shape) if one_dimensional else torch.randn(weights[name].shape) * 0.02
            )
            first[inner] = first[inner].bfloat16()
        made = first[inner] if "layers" in name else first.pop(inner)
        yield made * (1 + int(layer) / 64)

    files: dict[str, list[str]] = {}
    for name in weights:
        layer = int(name.split(".")[2]) + 1 if "layers" in name else 0
        files.setdefault(f"model-{layer + 1:05d}-of-{shape['num_hidden_layers'] + 1:05d}.safetensors", []).append(name)
    folder.mkdir(parents=True)
    for file, names in files.items():
        write_tensors(folder / file, {name: (torch.bfloat16, weights[name].shape) for name in names}, parts)
    index = {"metadata": {}, "weight_map": {name: file for file, names in files.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config.save_pretrained(folder)


def measured(model: str, given: argparse.Namespace) -> dict[str, Any]:
    """Load, fingerprint, check and score a model in this process, the one way or the other."""
    import numpy as np
    import torch

    from lpk.core.pruning.items import Sequences, Together
    from lpk.core.pruning.models import ModelSpec, fingerprint
    from lpk.core.pruning.stack import LayerStack
    from lpk.core.registry import installed

    spec, seconds, begin = ModelSpec(model, given.dtype), {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal begin
        now = time.perf_counter()
        seconds[name], begin = round(now - begin, 2), now

    if given.way == "streamed":
        stream = spec.stream()
        lap("load and fingerprint")
        stack, weights = LayerStack(stream.model, stream), stream.fingerprint
    else:
        dense = spec.load()
        weights = fingerprint(dense)
        lap("load and fingerprint")
        stack = LayerStack(dense)
    lap("check")
    vocabulary, size = stack.model.config.vocab_size, (given.sequences, given.length)
    calibration = Sequences("random", tuple(np.random.default_rng(0).integers(3, vocabulary, size, dtype=np.int32)))
    scorer = installed().find("scorer", "angular").create({})
    window = stack.streamed.window if stack.streamed else None
    before = (window.bytes_read, window.seconds_reading, window.seconds_waiting) if window else (0, 0.0, 0.0)
    with torch.inference_mode():
        scores = scorer.score(stack, Together(calibration, given.sequences * given.length) if window else calibration)
    lap("score")
    found: dict[str, Any] = {"seconds": seconds, "peak_bytes": peak_bytes()}
    found |= {"fingerprint": weights, "scores": scores.runs}
    if window:
        read, reading, waiting = window.bytes_read, window.seconds_reading, window.seconds_waiting
        found["whole_run"] = _stream(read, reading, waiting)
        found["scoring"] = _stream(read - before[0], reading - before[1], waiting - before[2])
    return found


def _stream(read: int, reading: float, waiting: float) -> dict[str, float]:
    return {
        "gigabytes_read": round(read / 1e9, 2),
        "gigabytes_per_second": round(read / 1e9 / reading, 2),
        "share_hidden": round(1 - waiting / reading, 2),
    }


@contextmanager
def limited(size: int | None) -> Iterator[tuple[str, Any, Any]]:
    """How a process is kept within so much memory: in words, what it must do first, what the limit saw afterwards."""
    own = [line.split(":")[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line]
    group = Path("/sys/fs/cgroup/memory") / (own[0].lstrip("/") if own else "none") / f"lpk-benchmark-{os.getpid()}"
    if size is None:
        yield "none", None, dict
        return
    try:
        group.mkdir()
    except OSError:
        yield "RLIMIT_DATA", lambda: resource.setrlimit(resource.RLIMIT_DATA, (size, size)), dict
        return
    try:
        (group / "memory.limit_in_bytes").write_text(str(size))
        names = {"peak with cached files": "memory.max_usage_in_bytes", "times at the limit": "memory.failcnt"}
        told = lambda: {key: int((group / file).read_text()) for key, file in names.items()}  # noqa: E731
        yield "control group", lambda: (group / "cgroup.procs").write_text(str(os.getpid())), told
    finally:
        group.rmdir()


def in_a_process(model: Path, way: str, given: argparse.Namespace) -> dict[str, Any]:
    """Measure one way in a process of its own."""
    for file in model.glob("*.safetensors"):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    command = [sys.executable, __file__, "--way", way, "--model", str(model), "--dtype", given.dtype]
    for name in ("threads", "sequences", "length"):
        command += [f"--{name}", str(getattr(given, name))]
    with limited(given.limit) as (kind, first, told):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=first, check=True)
        return {**json.loads(done.stdout.splitlines()[-1]), "limit": {"kind": kind, "bytes": given.limit, **told()}}


def main() -> None:
    """Measure every way of a shape in processes of their own; in such a one, measure it."""
    import torch

    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--shape", choices=list(CASES), default="middle", help="large: streamed only; small: a quick look"
    )
    parser.add_argument("--limit", type=parse_bytes, help="memory that each process may take, e.g. 6GB")
    parser.add_argument("--dtype", help="precision of the run, if not the shape's own: bfloat16 of large, else float32")
    parser.add_argument("--sequences", type=int, help="if not the shape's own: 2, of middle 8")
    parser.add_argument("--length", type=int, help="if not the shape's own: 128, of large 64, of small 16")
    parser.add_argument(
        "--folder", type=Path, help="where the model is made, and removed, if not among temporary files"
    )
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=BOTH, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    case = CASES[given.shape]
    for name in ("dtype", "sequences", "length"):
        setattr(given, name, getattr(given, name) or getattr(case, name))
    if given.way:
        print(json.dumps(measured(given.model, given)))
    else:
        show(case, given, compared(case, given))


def compared(case: Case, given: argparse.Namespace) -> dict[str, Any]:
    """Generate the model and measure it in each way; both must say the same."""
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        model = Path(folder) / "model"
        generate(model, case.shape)
        files = list(model.glob("*.safetensors"))
        size = sum(file.stat().st_size for file in files)
        print(f"{size / 1e9:.1f} GB in {len(files)} files")
        ways = {way: in_a_process(model, way, given) for way in case.ways}
    for key in ("fingerprint", "scores"):
        assert len({json.dumps(one.pop(key)) for one in ways.values()}) == 1, f"{key} differ"
    settings = {"dtype": given.dtype, "sequences": given.sequences, "length": given.length}
    return {"bytes": size, "shape": case.shape, **settings, "ways": ways}


def show(case: Case, given: argparse.Namespace, figures: dict[str, Any]) -> None:
    """One row for each way."""
    rows: list[list[Any]] = []
    for way, one in figures["ways"].items():
        scoring = one.get("scoring")
        stream = [scoring["gigabytes_per_second"], f"{scoring['share_hidden']:.0%}"] if scoring else ["", ""]
        rows.append([way, f"{one['peak_bytes'] / 1e6:,.0f}", *one["seconds"].values(), *stream])
    columns = ["", "peak MB", "load and fingerprint s", "check s", "score s", "GB/s", "of reading hidden"]
    size = f"{figures['bytes'] / 1e9:.1f} GB, {case.shape['num_hidden_layers']} layers"
    title = f"{size}, {given.dtype}, {given.sequences} x {given.length} tokens, {given.threads} thread(s)"
    report(figures, title, columns, rows, given.out)


if __name__ == "__main__":
    main()
