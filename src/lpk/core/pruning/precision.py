"""Which precision to search in, and why: products of matrices, timed on this machine once."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from lpk.core.errors import LpkError
from lpk.core.files import room, write_json
from lpk.core.pruning.catalog import home

if TYPE_CHECKING:
    import torch

EXACT = "float32"
NARROW = ("bfloat16", "float16")
#: bfloat16 is chosen if its products are at least this many times as fast: layers are not products alone, and the
#: finalists have to be measured once more.
CLEARLY = 1.5
#: Rows, inner size and columns of the products that are timed. 0.5 GFLOP is 4 ms of one core at 150 GFLOP/s, and half
#: a second of one that has to emulate 16 bits; a GPU needs more to be busy.
SHAPES = {"cpu": (256, 1024, 1024), "cuda": (4096, 4096, 4096)}
ROUNDS = 10


@dataclass(frozen=True)
class Precision:
    """What a search runs in.

    Attributes:
        asked: what the recipe says: auto, float32, bfloat16 or float16.
        dtype: of the weights and hidden states.
        head: of the head's products; float32 where narrower ones are slower, for there they gain nothing.
        reason: why, for people.
    """

    asked: str
    dtype: str
    head: str
    reason: str

    @property
    def exact(self) -> bool:
        """Whether what is measured needs no confirmation."""
        return self.dtype == EXACT

    @classmethod
    def decide(cls, asked: str, device: str) -> Precision:
        """What to search in on a device: as asked, or what is clearly faster."""
        if asked == EXACT:
            return cls(asked, EXACT, EXACT, "asked for")
        narrow = NARROW[0] if asked == "auto" else asked
        rates = measured(device)
        faster = rates[narrow] / rates[EXACT]
        figures = f"{rates[narrow]:,.0f} against {rates[EXACT]:,.0f} GFLOP/s"
        reason = f"{narrow} products run at {faster:.2f} times the speed of {EXACT} here ({figures})"
        if asked != "auto":
            return cls(asked, asked, asked if faster > 1 else EXACT, f"asked for; {reason}")
        chosen = narrow if faster >= CLEARLY else EXACT
        return cls(asked, chosen, chosen, reason)


def measured(device: str) -> dict[str, float]:
    """GFLOP/s of products in each precision on a device, from the user's cache if they were measured before.

    So the same command decides the same again. Where the cache cannot be written it is measured every time.
    """
    machine = machine_of(device)
    path = cache_path(machine)
    with suppress(OSError, LpkError), room(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # whoever comes second finds what the first has measured
            if (found := _read(path)) is None:
                found = _measure(device)
                write_json(path, {"machine": machine, "gflops": found})
            return found
    return _measure(device)


def cache_path(machine: dict[str, str]) -> Path:
    """Where the rates of this machine are kept."""
    digest = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:16]
    return home() / "precision" / f"{digest}.json"


def _read(path: Path) -> dict[str, float] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["gflops"]
        rates = {name: float(found[name]) for name in (EXACT, *NARROW)}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return rates if min(rates.values()) > 0 else None


@cache
def machine_of(device: str) -> dict[str, str]:
    """What the rates depend on, and the last bits of products in less than float32."""
    import torch

    if device.startswith("cuda"):
        return {"device": torch.cuda.get_device_name(device), "torch": torch.__version__}
    return {"device": _processor(), "torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}


def _processor() -> str:
    """The processor's name and what it can do: with or without AMX it has the same name."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    flags = " ".join(sorted(facts.get("flags", facts.get("Features", "")).split()))
    return f"{facts.get('model name', platform.machine())} {hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def _measure(device: str) -> dict[str, float]:
    import torch

    return {name: _gflops(getattr(torch, name), device) for name in (EXACT, *NARROW)}


def _gflops(dtype: torch.dtype, device: str) -> float:
    """The best of some rounds: what else runs on the machine only ever slows one down."""
    import torch

    kind = device.partition(":")[0]
    rows, inner, columns = SHAPES.get(kind, SHAPES["cpu"])
    one, other = (torch.ones(shape, dtype=dtype, device=device) for shape in ((rows, inner), (inner, columns)))

    def seconds() -> float:
        begin = time.perf_counter()
        torch.mm(one, other)
        if kind == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin

    best = min(seconds() for _ in range(ROUNDS))
    return round(2 * rows * inner * columns / best / 1e9, 1)
