"""Models larger than memory: each layer's weights are read from the checkpoint's files just before it runs.

A streamed model is a normal one of transformers, built from its configuration alone. What lies outside its layers is
loaded for good; of the layers two have their weights at any time, the one that runs and the one that a thread reads
meanwhile. Peak memory is that, and the states that the caller keeps, whatever the depth.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpk.core.errors import UsageError
from lpk.core.pruning.models import all_finite, not_finite
from lpk.core.pruning.tensor_files import PART, TensorFiles

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedConfig, PreTrainedModel

#: Bytes. Weights begin where CUDA's own allocator would let them begin, so that the same kernels take them as in memory.
ALIGNMENT = 512


class Window:
    """Weights for two layers of a model: the one that runs, and the one that is read meanwhile.

    Attributes:
        order: in which order the layers are run, over and over; what is read ahead follows it.
        bytes_read: from the files, so far.
        seconds_reading: that reading took.
        seconds_waiting: of these, that nothing was computed meanwhile.
    """

    def __init__(self, files: TensorFiles, path: str, layers: Sequence[nn.Module], device: str) -> None:
        self.order: Sequence[int] = range(len(layers))
        self.bytes_read, self.seconds_reading, self.seconds_waiting = 0, 0.0, 0.0
        self._files, self._path, self._layers, self._device = files, path, layers, device
        self._empty = [dict(layer.named_parameters()) for layer in layers]
        self._largest = max(_ends(parameters)[-1] for parameters in self._empty)
        self._memory: list[Tensor | None] = [None, None]  # of the layer that is held, of the one that is read
        self._held: int | None = None
        self._reading: tuple[int, Future[dict[str, Tensor]]] | None = None
        self._thread = ThreadPoolExecutor(1, "lpk-stream")
        self._stream: torch.cuda.Stream | None = None

    def hold(self, index: int) -> None:
        """Give a layer its weights, take them from the one before, and begin to read the next.

        Raises:
            UsageError: the files cannot be read any more.
        """
        if index == self._held:
            return
        begin = time.perf_counter()
        if self._reading is None or self._reading[0] != index:
            self._stop()
            self._start(index)
        weights = self._finish()
        self.seconds_waiting += time.perf_counter() - begin
        self._empty_held()
        self._layers[index].load_state_dict(weights, assign=True, strict=False)
        self._held = index
        self._memory.reverse()
        self._start(self._after(index))

    @property
    def bytes(self) -> int:
        """Of memory, for both layers."""
        return 2 * self._largest

    def release(self) -> None:
        """Take no memory until the next layer is to be held."""
        self._stop()
        self._empty_held()
        self._memory = [None, None]

    def _after(self, index: int) -> int:
        order = self.order
        return order[(order.index(index) + 1) % len(order)] if index in order else order[0]

    def _empty_held(self) -> None:
        if self._held is not None:
            self._layers[self._held].load_state_dict(self._empty[self._held], assign=True, strict=False)
            self._held = None

    def _start(self, index: int) -> None:
        if index != self._held:
            self._reading = index, self._thread.submit(self._read, index, _so_far(self._device))

    def _finish(self) -> dict[str, Tensor]:
        assert self._reading is not None
        (_, future), self._reading = self._reading, None
        return future.result()

    def _stop(self) -> None:
        if self._reading is not None:
            with suppress(UsageError):  # if what is read in vain cannot be read, that is no matter
                self._finish()

    def _read(self, index: int, after: torch.cuda.Event | None) -> dict[str, Tensor]:
        """Read a layer into the memory of the one that ran before the one that runs now."""
        begin = time.perf_counter()
        weights = {}
        with self._beside(after):
            for name, place in self._places(index).items():
                full = f"{self._path}.{index}.{name}"
                self._files.read(full, place)
                weights[name] = place
                stored = self._files.tensors[full]
                self.bytes_read += stored.elements * stored.dtype.itemsize
        self.seconds_reading += time.perf_counter() - begin
        return weights

    @contextmanager
    def _beside(self, after: torch.cuda.Event | None) -> Iterator[None]:
        """Within this context a CUDA device copies beside what it computes, but not before it has done what came before."""
        if after is None:
            yield
            return
        import torch

        self._stream = self._stream or torch.cuda.Stream(after.device)  # type: ignore[no-untyped-call]
        self._stream.wait_event(after)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            self._stream.synchronize()

    def _places(self, index: int) -> dict[str, Tensor]:
        """Memory for each weight of a layer, one after the other in a block that fits the largest layer."""
        import torch

        block, parameters = self._memory[1], self._empty[index]
        if block is None:
            block = self._memory[1] = torch.empty(self._largest, dtype=torch.uint8, device=self._device)
        begins = [0, *_ends(parameters)]
        return {
            name: block[begin : begin + p.numel() * p.dtype.itemsize].view(p.dtype).view(p.shape)
            for begin, (name, p) in zip(begins, parameters.items(), strict=False)
        }


def _so_far(device: str) -> torch.cuda.Event | None:
    """When a CUDA device will have done what it has been given until now; elsewhere it is done already."""
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.current_stream(device).record_event()  # type: ignore[no-any-return]


def _ends(parameters: dict[str, nn.Parameter]) -> list[int]:
    """Where each parameter ends in a block, rounded up."""
    ends, end = [], 0
    for p in parameters.values():
        end += -(-p.numel() * p.dtype.itemsize // ALIGNMENT) * ALIGNMENT
        ends.append(end)
    return ends


class Streamed:
    """A model whose layers get their weights when they are called.

    Attributes:
        model: the model itself. A layer that is not running has no weights: its parameters are on the ``meta`` device.
        device: where it computes.
        window: what is read, and when.
        fingerprint: of the model, as :func:`lpk.core.pruning.models.fingerprint` tells it.
    """

    fingerprint: str

    def __init__(self, model: PreTrainedModel, files: TensorFiles, device: str) -> None:
        """Load everything outside the layers, and make the layers fetch their weights.

        Args:
            model: built without weights, its buffers apart.

        Raises:
            UsageError: the files do not hold the model's weights one for one.
        """
        self.model, self._files, self.device = model.requires_grad_(False), files, device
        path, layers, self._outside = _taken_apart(model, files)
        model._apply(lambda tensor: tensor if tensor.is_meta else tensor.to(device))
        self._load_outside()
        self._survives: dict[torch.dtype, bool] = {}
        self.window = Window(files, path, layers, device)
        for index, layer in enumerate(layers):
            layer.forward = _fetching(self.window, index, layer.forward)

    @property
    def bytes(self) -> int:
        """How much memory its weights take at most: what is outside the layers, and two of them."""
        weights = [t for name, t in self.model.state_dict().items() if name in self._outside]
        outside = {t.data_ptr(): t.numel() * t.dtype.itemsize for t in weights}  # tied ones once
        return int(sum(outside.values())) + self.window.bytes

    def parts(self, name: str, tensor: Tensor) -> Iterator[Tensor]:
        """A weight's elements in order, a part at a time, in the model's precision.

        Args:
            tensor: what the model has under that name: the weight itself, or nothing but its shape.

        Raises:
            UsageError: one is NaN or infinite, or too large for that precision.
        """
        import torch

        step = PART // tensor.dtype.itemsize
        for stored in self._files.parts(name) if tensor.is_meta else torch.split(tensor.reshape(-1), step):
            part = stored.to(tensor.dtype)
            if not all_finite(part):
                before = self._files.parts(name) if name in self._files.tensors else [stored]
                raise UsageError(not_finite(name, part.dtype, before))
            yield part

    def survives(self, dtype: torch.dtype) -> bool:
        """Whether every weight can be stored in this precision without loss, as it mostly is already."""
        if dtype not in self._survives:
            self._survives[dtype] = self._check_survives(dtype)
        return self._survives[dtype]

    def _check_survives(self, dtype: torch.dtype) -> bool:
        import torch

        precision, stored = self.model.dtype, self._files.tensors
        names = [name for name, p in self.model.named_parameters(remove_duplicate=False) if p.dtype == precision]
        wider = [name for name in names if name in stored and stored[name].dtype != dtype]
        parts = (part.to(precision) for name in wider for part in self._files.parts(name))
        return all(torch.equal(part.to(dtype).to(part.dtype), part) for part in parts)

    def release(self) -> None:
        """Take no memory any more, now and not when the last reference is gone: a thread that reads ahead has one."""
        self.window.release()
        self.model.load_state_dict(self._outside, assign=True, strict=False)

    def _load_outside(self) -> None:
        import torch

        here = [name for name in self._outside if name in self._files.tensors]
        weights = {}
        for name in here:
            empty = self._outside[name]
            weights[name] = torch.empty(empty.shape, dtype=empty.dtype, device=self.device)
            self._files.read(name, weights[name])
        self.model.load_state_dict(weights, assign=True, strict=False)
        missing = set(self._outside) - set(here)
        self.model.tie_weights(missing_keys=missing, recompute_mapping=False)
        if missing:
            raise _missing(sorted(missing))


def open_streamed(
    location: str, paths: Sequence[Path], config: PreTrainedConfig, dtype: str, device: str, *, trusted: bool
) -> Streamed:
    """A model of these files, its layers streamed.

    Args:
        location: where its generation configuration is, as ``from_pretrained`` takes it.
        trusted: whether the model's own code may be run.

    Raises:
        UsageError: it cannot be streamed: what its files hold are not its weights, one for one.
    """
    from transformers import GenerationConfig

    model, files = _without_weights(paths, config, dtype, trusted=trusted)
    if model.can_generate():
        try:
            model.generation_config = GenerationConfig.from_pretrained(location)
        except OSError:  # without one, what its configuration says holds; so does from_pretrained
            described = {"config_file_name": "config.json", "_from_model_config": True}
            model.generation_config = GenerationConfig.from_pretrained(location, **described)
    return Streamed(model.eval(), files, device)


def check_streams(paths: Sequence[Path], config: PreTrainedConfig, dtype: str, *, trusted: bool) -> None:
    """Read no weight, but find out whether :func:`open_streamed` would take these files.

    Raises:
        UsageError: it would not.
    """
    _taken_apart(*_without_weights(paths, config, dtype, trusted=trusted))


def _without_weights(
    paths: Sequence[Path], config: PreTrainedConfig, dtype: str, *, trusted: bool
) -> tuple[PreTrainedModel, TensorFiles]:
    """The model, its buffers alone in memory, and its files."""
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    if getattr(config, "quantization_config", None) is not None:
        raise refused("its weights are quantised")
    files = TensorFiles(paths)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype), trust_remote_code=trusted)
    model.tie_weights()
    return model, files


def _taken_apart(model: PreTrainedModel, files: TensorFiles) -> tuple[str, list[nn.Module], dict[str, Tensor]]:
    """Where its layers are, the layers, and what lies outside them.

    Raises:
        UsageError: the files do not hold the model's weights one for one.
    """
    path, layers = _largest_list(model)
    within = {f"{path}.{i}.{name}" for i, layer in enumerate(layers) for name, _ in layer.named_parameters()}
    expected = model.state_dict()
    _check_names(model, files, expected)
    if missing := sorted(within - set(files.tensors)):
        raise _missing(missing)
    return path, layers, {name: tensor for name, tensor in expected.items() if name not in within}


def _fetching(window: Window, index: int, forward: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's forward that sees to its weights first."""

    @functools.wraps(forward)
    def fetch(*args: Any, **kwargs: Any) -> Any:
        window.hold(index)
        return forward(*args, **kwargs)

    return fetch


def _largest_list(model: nn.Module) -> tuple[str, list[nn.Module]]:
    """The list of modules with the most parameters, and where it is; of lists within lists, the outer one.

    Raises:
        UsageError: there is none.
    """
    from torch import nn

    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    if not lists:
        raise refused("it has no list of layers")
    path = max(lists, key=lambda name: sum(p.numel() for p in lists[name].parameters()))
    return path, list(lists[path])


def _check_names(model: PreTrainedModel, files: TensorFiles, expected: dict[str, Tensor]) -> None:
    """Make sure that transformers would load each tensor of the files as it is, under the name it has.

    Raises:
        UsageError: it would convert one (merge experts, say), keep it in another precision, or find another shape.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter

    if model._get_dtype_plan(model.dtype):
        raise refused(f"some of its weights stay in float32 beside {str(model.dtype).removeprefix('torch.')}")
    transforms = get_model_conversion_mapping(model)
    for name, stored in files.tensors.items():
        for transform in transforms:
            renamed, pattern = transform.rename_source_key(name)
            if (isinstance(transform, WeightConverter) and pattern) or (renamed != name and renamed in expected):
                raise refused(f"transformers makes {renamed} of its tensor {name}, which is not read one for one")
        if name in expected and tuple(expected[name].shape) != stored.shape:
            wanted = tuple(expected[name].shape)
            raise refused(f"its tensor {name} is of shape {stored.shape}, where the configuration says {wanted}")
        if name in expected and expected[name].is_floating_point() and not stored.dtype.is_floating_point:
            raise refused(f"its tensor {name} is stored as {stored.dtype}, which is quantised")


def _missing(names: list[str]) -> UsageError:
    return refused(f"{len(names)} weights are missing from its files, the first is {names[0]}")


def refused(reason: str) -> UsageError:
    """The error that says why a model cannot be streamed."""
    return UsageError(f"it cannot be streamed: {reason}; --stream never loads all of it into memory")
