"""Peak memory and seconds of scoring a model whose layers are streamed, against the same model in memory.

    python benchmarks/streaming.py                          a model of 0.9 B parameters both ways, the same scores asserted
    python benchmarks/streaming.py --large --limit 6GB      the shape of an 8 B model, streamed only, under a hard limit

The models are made here, in bfloat16: one layer's random numbers, a little larger in each layer than in the one before,
so that 16 GB are written in a minute. Each way runs in a process of its own; no page of the files is cached before. The limit is a
control group of version 1 where one can be made (cached pages of files count), else RLIMIT_DATA.
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
from pathlib import Path
from typing import Any

from lpk.core.memory import parse_bytes

MIDDLE = {
    "num_hidden_layers": 16, "hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 16,
    "num_key_value_heads": 16, "vocab_size": 32_000,
}  # fmt: skip
LARGE = {
    "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14_336, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128_256,
}  # fmt: skip


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


def measure(model: str, dtype: str, sequences: int, length: int, *, streamed: bool) -> dict[str, Any]:
    """Load, fingerprint, check and score a model in this process."""
    import numpy as np
    import torch

    from lpk.core.pruning.items import Sequences, Together
    from lpk.core.pruning.models import ModelSpec, fingerprint
    from lpk.core.pruning.stack import LayerStack
    from lpk.core.registry import installed

    spec, seconds, begin = ModelSpec(model, dtype), {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal begin
        now = time.perf_counter()
        seconds[name], begin = round(now - begin, 2), now

    if streamed:
        stream = spec.stream()
        lap("load and fingerprint")
        stack, weights = LayerStack(stream.model, stream), stream.fingerprint
    else:
        dense = spec.load()
        weights = fingerprint(dense)
        lap("load and fingerprint")
        stack = LayerStack(dense)
    lap("check")
    ids = np.random.default_rng(0).integers(3, 30_000, (sequences, length), dtype=np.int32)
    calibration = Sequences("random", tuple(ids))
    scorer = installed().find("scorer", "angular").create({})
    window = stack.streamed.window if stack.streamed else None
    before = (window.bytes_read, window.seconds_reading, window.seconds_waiting) if window else (0, 0.0, 0.0)
    with torch.inference_mode():
        scores = scorer.score(stack, Together(calibration, sequences * length) if streamed else calibration)
    lap("score")
    found: dict[str, Any] = {"seconds": seconds, "peak_bytes": _peak(), "fingerprint": weights, "scores": scores.runs}
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


def _peak() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


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


def in_a_process(model: Path, way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one way in a process of its own."""
    for file in model.glob("*.safetensors"):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    command = [sys.executable, __file__, "--way", way, "--model", str(model), "--dtype", arguments.dtype]
    command += ["--sequences", str(arguments.sequences), "--length", str(arguments.length)]
    with limited(arguments.limit) as (kind, first, told):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=first, check=True)
        return {**json.loads(done.stdout.splitlines()[-1]), "limit": {"kind": kind, "bytes": arguments.limit, **told()}}


def table(found: dict[str, dict[str, Any]]) -> str:
    """The figures as a person reads them."""
    lines = [f"{'':14}{'peak MB':>10}{'load s':>9}{'check s':>9}{'score s':>9}{'GB/s':>7}{'hidden':>8}"]
    for way, one in found.items():
        seconds, scoring = one["seconds"], one.get("scoring")
        row = f"{way:14}{one['peak_bytes'] / 1e6:>10,.0f}" + "".join(f"{value:>9.1f}" for value in seconds.values())
        row += f"{scoring['gigabytes_per_second']:>7.2f}{scoring['share_hidden']:>8.0%}" if scoring else ""
        lines.append(row)
    return "\n".join(lines)


def main() -> None:
    """Generate, measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="the shape of an 8 B model, streamed only")
    parser.add_argument("--limit", type=parse_bytes, help="memory that each process may take, e.g. 6GB")
    parser.add_argument("--dtype", help="precision of the run  [default: float32; bfloat16 if --large]")
    parser.add_argument("--sequences", type=int, help="[default: 8; 2 if --large]")
    parser.add_argument("--length", type=int, help="[default: 128; 64 if --large]")
    parser.add_argument("--folder", type=Path, help="where the model is made, and removed  [default: a temporary one]")
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=["streamed", "in memory"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    large = arguments.large
    arguments.dtype = arguments.dtype or ("bfloat16" if large else "float32")
    arguments.sequences = arguments.sequences or (2 if large else 8)
    arguments.length = arguments.length or (64 if large else 128)
    if arguments.way:
        streamed = arguments.way == "streamed"
        print(
            json.dumps(
                measure(arguments.model, arguments.dtype, arguments.sequences, arguments.length, streamed=streamed)
            )
        )
        return
    shape = LARGE if large else MIDDLE
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        model = Path(folder) / "model"
        generate(model, shape)
        size = sum(file.stat().st_size for file in model.glob("*.safetensors"))
        print(
            f"{size / 1e9:.1f} GB in {len(list(model.glob('*.safetensors')))} files, {shape['num_hidden_layers']} layers"
        )
        ways = ["streamed"] if large else ["streamed", "in memory"]
        found = {way: in_a_process(model, way, arguments) for way in ways}
    for key in ("fingerprint", "scores"):
        assert len({json.dumps(one[key]) for one in found.values()}) == 1, f"{key} differ"
    print(table(found))
    record = {"bytes": size, "shape": shape, "dtype": arguments.dtype, "sequences": arguments.sequences}
    record |= {"length": arguments.length, "ways": {way: {**one, "scores": None} for way, one in found.items()}}
    print(json.dumps(record))
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
