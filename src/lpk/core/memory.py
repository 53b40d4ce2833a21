"""How much memory this process may still take, and sizes as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lpk.core.errors import UsageError

_UNITS = {"": 1, **{letter: 1000**power for power, letter in enumerate("KMGT", 1)}}
_UNITS |= {f"{letter}I": 1024**power for power, letter in enumerate("KMGT", 1)}

#: Where limits are told: processes of Linux, and its control groups.
_PROCESS, _GROUPS = Path("/proc/self"), Path("/sys/fs/cgroup")


def parse_bytes(text: str) -> int:
    """``"6GB"`` (10^9), ``"512 MiB"`` (2^20), ``"1.5g"``, ``"6000000000"`` -> bytes.

    Raises:
        UsageError: it is none of these, or less than one byte.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]?I?)B?", text.strip().upper())
    if not found or found[2] not in _UNITS or not (size := int(float(found[1]) * _UNITS[found[2]])):
        raise UsageError(f"{text!r} is no size of memory; wanted bytes, or a number and a unit: 6GB, 512MiB")
    return size


def sized(size: int) -> str:
    """Bytes -> ``"1.5 GB"``, ``"272.4 KB"``, ``"6 bytes"``: in the largest unit of which there is one."""
    power = max((power for power in range(5) if size >= 1000**power), default=0)
    return f"{size / 1000**power:.1f} {' KMGT'[power]}B" if power else f"{size} byte{'s' * (size != 1)}"


#: What torch says on a CPU and on CUDA.
_NO_MEMORY = ("can't allocate memory", "out of memory")


def ran_out(error: BaseException) -> str:
    """What an error, or the one behind it, says of memory that ran out; empty if it is of something else."""
    cause: BaseException | None = error
    while cause is not None:
        said = str(cause).splitlines()[0] if str(cause) else ""
        if isinstance(cause, MemoryError) or any(words in said for words in _NO_MEMORY):
            return said or "MemoryError"
        cause = cause.__cause__ or cause.__context__
    return ""


@contextmanager
def enough() -> Iterator[None]:
    """Tell in one line that memory ran out, whoever met it.

    Raises:
        UsageError: it did.
    """
    try:
        yield
    except Exception as error:
        if said := ran_out(error):
            remedy = "--stream always, a smaller --memory, or shorter sequences take less"
            raise UsageError(f"memory ran out ({said}); {remedy}") from error
        raise


def available_memory(device: str = "cpu") -> int:
    """Bytes that this process can still take on a device.

    Of the machine's own memory: the least of what it has, and control groups and resource limits leave.
    """
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        # What torch keeps of freed tensors is free to this process.
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    import psutil

    return int(max(0, min([psutil.virtual_memory().available, *_left_by_groups(), *_left_by_limits()])))


def _left_by_limits() -> Iterator[int]:
    """What RLIMIT_AS and RLIMIT_DATA (``ulimit -v`` and ``-d``) leave of virtual memory and of data."""
    try:
        import resource

        pages = [int(word) for word in (_PROCESS / "statm").read_text().split()]
    except (ImportError, OSError):
        return
    for kind, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            yield limit - used * resource.getpagesize()


def _left_by_groups() -> Iterator[int]:
    """What each control group that this process is in leaves, of version 1 and 2, and the groups that hold them."""
    try:
        lines = (_PROCESS / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, names = _GROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root, names = _GROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the path may be the host's, and the container's own group is mounted as the root.
        place = root / path.lstrip("/")
        for group in (place, *place.parents):
            if group.is_relative_to(root):
                yield from _left_by_group(group, *names)


def _left_by_group(group: Path, limit: str, usage: str, cached: str) -> Iterator[int]:
    try:
        most, used = (group / limit).read_text().strip(), int((group / usage).read_text())
        counted = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return
    if most != "max":
        yield int(most) - used + int(counted.get(cached, 0))  # cached pages of files give way
