"""What the benchmarks share: arguments, timing in turns, a table."""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def arguments(description: str, rounds: int | None = None) -> argparse.ArgumentParser:
    """The arguments that every benchmark has: ``--threads``, ``--out``, and ``--rounds`` where something is repeated."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help="how often each is measured, all in turns")
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    return parser


def in_turns(work: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, dict[str, float]]:
    """Seconds of each: ``{"cpu", "best", "median"}``, the least of the processor, the least and the median of the clock.

    All are run in turns: on a shared machine a quiet minute favours none, and with one thread the processor's seconds,
    page faults included, hardly know what else is running. The first rounds, ``warm_up`` of them, do not count.
    """
    clock: dict[str, list[float]] = {name: [] for name in work}
    cpu: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(warm_up + rounds):
        for name, run in work.items():
            began, begin = time.process_time(), time.perf_counter()
            run()
            clock[name].append(time.perf_counter() - begin)
            cpu[name].append(time.process_time() - began)
    return {
        name: {
            "cpu": min(cpu[name][warm_up:]),
            "best": min(taken[warm_up:]),
            "median": statistics.median(taken[warm_up:]),
        }
        for name, taken in clock.items()
    }


def peak_bytes() -> int:
    """The most memory that this process has held since :func:`reset_peak`, resident; since its start elsewhere than Linux."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak() -> int:
    """Give freed memory back and forget the highest resident memory; what is resident now."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what is freed, and would hide what is needed next
    refs = Path("/proc/self/clear_refs")
    if refs.exists():
        refs.write_text("5")
    return peak_bytes()


def extra_bytes(run: Callable[[], object]) -> int:
    """What this adds to the resident memory at its highest."""
    before = reset_peak()
    run()
    return peak_bytes() - before


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    import torch

    cpu = Path("/proc/cpuinfo")
    models = [line for line in cpu.read_text().splitlines() if "model name" in line] if cpu.exists() else []
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def report(figures: dict[str, Any], title: str, columns: list[str], rows: list[list[Any]], out: Path | None) -> None:
    """Print the table; write the figures, and where they come from, as JSON."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*(f"{cell:,.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=140).print(table)
    if out:
        out.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n", encoding="utf-8")
