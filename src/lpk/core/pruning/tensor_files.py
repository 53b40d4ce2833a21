"""safetensors files read and written by position, a part at a time.

Not mapped into memory: what is read lies in memory that the caller chose, so that its peak is known beforehand; reading
releases Python's lock, so that a thread can read while another computes.

The format: eight bytes of length, that many of JSON (name -> dtype, shape, begin and end in what follows), the tensors.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpk.core.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: Bytes of a tensor that are converted, checked or written at once: small enough to stay in the processor's cache.
PART = 4 << 20

_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies, and what it is.

    Attributes:
        begin: of its bytes, counted from the beginning of the file.
    """

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


class TensorFiles:
    """The tensors of a checkpoint, in one safetensors file or in many.

    Attributes:
        tensors: where each lies.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        """Open the files and read their headers.

        Raises:
            UsageError: one cannot be read, is no safetensors file, is cut short, or holds an unknown type.
        """
        self._descriptors: dict[Path, int] = {}
        weakref.finalize(self, _close, self._descriptors)
        self.tensors: dict[str, Stored] = {}
        for path in paths:
            try:
                self._descriptors[path] = os.open(path, os.O_RDONLY)
                self.tensors |= _header(path, self._descriptors[path])
            except OSError as error:
                raise UsageError(f"{path}: cannot be read ({error.strerror})") from None

    def read(self, name: str, into: Tensor) -> None:
        """Fill a contiguous tensor of this shape, of whatever dtype and on whatever device it is."""
        stored = self.tensors[name]
        if into.device.type == "cpu" and into.dtype == stored.dtype:
            self._fill(into, stored, offset=0)
            return
        flat, done = into.view(-1), 0
        for part in self.parts(name, pinned=into.is_cuda):
            # To the device first: where precisions differ, copy_ alone would convert here, into memory that is not pinned.
            there = part if part.dtype == into.dtype else part.to(into.device)
            flat[done : done + len(part)].copy_(there)
            done += len(part)

    def parts(self, name: str, *, pinned: bool = False) -> Iterator[Tensor]:
        """The tensor's elements in order, as they are stored; each part lies where the one before did.

        Args:
            name: of the tensor.
            pinned: whether that is memory which a CUDA device copies from by itself.
        """
        import torch

        stored = self.tensors[name]
        step = PART // stored.dtype.itemsize
        buffer = torch.empty(min(step, stored.elements), dtype=stored.dtype, pin_memory=pinned)
        for begin in range(0, stored.elements, step):
            part = buffer[: min(step, stored.elements - begin)]
            self._fill(part, stored, begin * stored.dtype.itemsize, ahead=2 * PART)
            yield part

    def _fill(self, into: Tensor, stored: Stored, offset: int, ahead: int = 0) -> None:
        view, at = memoryview(as_bytes(into)), stored.begin + offset
        if hasattr(os, "posix_fadvise"):  # Linux
            # Told beforehand what is wanted, it read a cold file of 800 MB up to three times as fast, and 4 GB/s of what
            # it had read while the part before was hashed.
            os.posix_fadvise(self._descriptors[stored.path], at, view.nbytes + ahead, os.POSIX_FADV_WILLNEED)
        while view.nbytes:
            try:
                count = os.preadv(self._descriptors[stored.path], [view], at)
            except OSError as error:
                raise UsageError(f"{stored.path}: cannot be read ({error.strerror})") from None
            if not count:
                raise UsageError(f"{stored.path}: it has become shorter while it was read")
            view, at = view[count:], at + count


def write_tensors(
    path: Path,
    tensors: Mapping[str, tuple[torch.dtype, Sequence[int]]],
    parts: Callable[[str], Iterable[Tensor]],
) -> None:
    """Write a safetensors file, byte for byte the one that ``safetensors.torch.save_file`` writes of the same tensors.

    Args:
        tensors: the dtype and shape of each.
        parts: the elements of each, in order, in its dtype.
    """
    names = {dtype: name for name, dtype in _dtypes().items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name][0].itemsize, name)):
        dtype, shape = tensors[name]
        begin, end = end, end + prod(shape) * dtype.itemsize
        header[name] = {"dtype": names[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in list(header)[1:]:
            for part in parts(name):
                file.write(as_bytes(part))


def as_bytes(tensor: Tensor) -> Any:
    """A tensor's elements as an array of bytes: its own memory, if that is contiguous and not on another device."""
    import torch

    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()


def _dtypes() -> dict[str, torch.dtype]:
    import torch

    return {name: getattr(torch, ours) for name, ours in _NAMES.items()}


def _header(path: Path, descriptor: int) -> dict[str, Stored]:
    """What a file says of its tensors, checked against its size."""
    size, dtypes = os.fstat(descriptor).st_size, _dtypes()
    length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
    try:
        if not 2 <= length <= size - 8:
            raise ValueError("its header is cut short")
        told = json.loads(os.pread(descriptor, length, 8))
        found = {}
        for name, entry in told.items():
            if name != "__metadata__":
                (begin, end), shape = entry["data_offsets"], tuple(entry["shape"])
                if entry["dtype"] not in dtypes:
                    raise ValueError(f"{name} is stored as {entry['dtype']}, which lpk does not read by parts")
                found[name] = Stored(path, dtypes[entry["dtype"]], shape, 8 + length + begin)
                if not 0 <= begin <= end <= size - 8 - length:
                    raise ValueError(f"{name} lies beyond its end")
                if end - begin != found[name].elements * found[name].dtype.itemsize:
                    raise ValueError(f"{name} has {end - begin} bytes, which is not its shape's")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not a whole safetensors file ({error})") from None
    return found


def _close(descriptors: dict[Path, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)
