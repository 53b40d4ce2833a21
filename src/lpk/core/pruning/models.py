"""From what a person calls a model to one in memory: the demo, a local directory, a hub id, a GGUF file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpk.core.errors import EnvironmentMissing, LpkError, UsageError, did_you_mean
from lpk.core.memory import sized
from lpk.core.pruning.catalog import CATALOG

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from lpk.core.progress import Progress
    from lpk.core.pruning.streaming import Streamed


@dataclass(frozen=True)
class ModelSpec:
    """A model as the user names it.

    Attributes:
        name: ``demo``, a directory, a hub id, or a ``.gguf`` file.
        dtype: of the weights in memory: float32, bfloat16, float16.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...
        allow: ``pickle`` and ``remote-code``, if the user said so by name.
    """

    name: str
    dtype: str = "float32"
    device: str = "cpu"
    allow: frozenset[str] = frozenset()

    def locate(self) -> tuple[str, dict[str, Any]]:
        """What ``from_pretrained`` must be called with. Nothing is downloaded.

        Raises:
            UsageError: there is no such model, or it holds what was not allowed.
        """
        if self.name in CATALOG:
            path = CATALOG[self.name].path
            return str(path.parent), {"gguf_file": path.name}
        path = Path(self.name).expanduser()
        if path.is_file() and path.suffix == ".gguf":
            return str(path.parent), {"gguf_file": path.name}
        if path.is_dir():
            self._check_directory(path)
            return str(path), {}
        if path.exists():
            raise UsageError(f"model {self.name}: not a model directory, nor a .gguf file")
        if self.name.count("/") == 1 and not self.name.startswith((".", "/", "~")) and not self.name.endswith("/"):
            return self.name, {}
        raise UsageError(
            f"model {self.name}: no such directory or .gguf file, no hub id (owner/name){did_you_mean(self.name, CATALOG)}"
        )

    def _check_directory(self, path: Path) -> None:
        config = path / "config.json"
        if not config.is_file():
            raise UsageError(f"model {path}: not a model directory, it has no config.json")
        try:
            described = json.loads(config.read_text(encoding="utf-8"))
            if not isinstance(described, dict):
                raise ValueError("not an object")
        except ValueError as error:
            raise UsageError(f"model {path}: config.json is not valid JSON ({error})") from None
        if described.get("auto_map") and "remote-code" not in self.allow:
            raise UsageError(
                f"model {path}: it brings its own Python code, which lpk runs only with --allow remote-code"
            )
        weights = list(path.glob("*.safetensors"))
        if not weights:
            if not (any(path.glob("*.bin")) or any(path.glob("*.pt")) or any(path.glob("*.pth"))):
                raise UsageError(f"model {path}: it has no weights (*.safetensors)")
            if "pickle" not in self.allow:
                raise UsageError(
                    f"model {path}: its weights are pickled, not safetensors; lpk loads them only with --allow pickle"
                )
        named = (_WEIGHTS, _INDEX, str(described.get("transformers_weights")))
        if "pickle" not in self.allow and not any((path / name).is_file() for name in named):
            raise UsageError(
                f"model {path}: it has {len(weights)} *.safetensors, but no {_INDEX}, which says what is in which, "
                f"nor {_WEIGHTS}, which holds all"
            )

    def _arguments(self) -> tuple[str, dict[str, Any]]:
        location, arguments = self.locate()
        return location, {"trust_remote_code": "remote-code" in self.allow, **arguments}

    def config(self) -> PreTrainedConfig:
        """The model's configuration, without its weights.

        Raises:
            UsageError: there is none that transformers understands.
        """
        from transformers import AutoConfig

        location, arguments = self._arguments()
        with _explained(self.name):
            return AutoConfig.from_pretrained(location, **arguments)

    def pull(self, progress: Progress) -> None:
        """Download it, if it is one of the catalog's and not here yet."""
        if self.name in CATALOG:
            CATALOG[self.name].pull(progress)

    def layer_count(self) -> int:
        """How many layers it has, without its weights; a model of the catalog need not be here for that."""
        if self.name in CATALOG:
            return CATALOG[self.name].layers
        count = getattr(self.config().get_text_config(), "num_hidden_layers", None)
        if not isinstance(count, int):
            raise UsageError(f"model {self.name}: its configuration does not say how many layers it has")
        return count

    def check_depth(self, said: int, runs: int) -> None:
        """Compare how many layers its configuration says with how many its forward pass runs.

        Raises:
            UsageError: they differ.
        """
        if said != runs:
            message = f"its configuration says {said} layers, its forward pass runs {runs}"
            raise UsageError(f"model {self.name}: {message}; lpk cannot prune it")

    def stored_dtype(self) -> str:
        """What its weights are stored in, e.g. ``"bfloat16"``; empty for GGUF, which stores blocks, and if unknown."""
        _, arguments = self.locate()
        return (
            "" if "gguf_file" in arguments else str(self.config().get_text_config().dtype or "").removeprefix("torch.")
        )

    def load(self) -> PreTrainedModel:
        """The model in memory, every weight a finite number.

        Raises:
            UsageError: it cannot be loaded, weights are missing or of another shape, or a tensor holds NaN or infinity.
        """
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, GgufConfig

        from lpk.core.pruning.tensor_files import TensorFiles

        _no_tf32()
        location, arguments = self._arguments()
        if "gguf_file" in arguments:
            # Packed GGUF weights refuse save_pretrained; dequantised ones are a plain model.
            arguments["quantization_config"] = GgufConfig(dequantize=True)
        else:
            # Each weight to its device as it is read: a card may hold more than the machine's own memory does.
            arguments["device_map"] = {"": self.device}
            if "pickle" not in self.allow:
                arguments["use_safetensors"] = True
        arguments |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # they are told below, by name
        with _explained(self.name), _named(self.name):
            try:
                model, report = AutoModelForCausalLM.from_pretrained(
                    location, dtype=getattr(torch, self.dtype), **arguments
                )
            except SafetensorError:
                TensorFiles(self.weight_files())  # says which file it is
                raise
            model = model.to(self.device)
        for name, stored, wanted in sorted(report["mismatched_keys"]) if report else []:
            shapes = f"of shape {tuple(stored)}, where the configuration says {tuple(wanted)}"
            raise UsageError(f"model {self.name}: its tensor {name} is {shapes}")
        missing = sorted(report["missing_keys"]) if report else []
        if missing:
            raise UsageError(
                f"model {self.name}: {len(missing)} weights are missing, the first is {missing[0]}; the checkpoint is incomplete"
            )
        for name, tensor in model.state_dict().items():
            if not all_finite(tensor):
                raise UsageError(f"model {self.name}: {not_finite(name, tensor.dtype, self._stored(name, tensor))}")
        return model.eval()

    def _stored(self, name: str, tensor: Tensor) -> Iterable[Tensor]:
        """A tensor as the files have it, a part at a time; as it is in memory, if they have none of that name."""
        from lpk.core.pruning.tensor_files import TensorFiles

        try:
            files = TensorFiles(self.weight_files())
        except UsageError:  # of another format
            return [tensor]
        return files.parts(name) if name in files.tensors else [tensor]

    def stream(self) -> Streamed:
        """The model with its layers' weights on the disk, every weight a finite number.

        Raises:
            UsageError: it cannot be loaded so, weights are missing, or a tensor holds NaN or infinity.
        """
        from lpk.core.pruning.streaming import open_streamed

        _no_tf32()
        location, _ = self._arguments()
        trusted = "remote-code" in self.allow
        with _explained(self.name), _named(self.name):
            streamed = open_streamed(
                location, self.weight_files(), self.config(), self.dtype, self.device, trusted=trusted
            )
            streamed.fingerprint = fingerprint(streamed.model, streamed.parts)
        return streamed

    def check_streams(self) -> None:
        """Find out, without a weight, whether :meth:`stream` would take its files.

        Raises:
            UsageError: it would not.
        """
        from lpk.core.pruning.streaming import check_streams

        with _explained(self.name), _named(self.name):
            check_streams(self.weight_files(), self.config(), self.dtype, trusted="remote-code" in self.allow)

    def weight_files(self) -> list[Path]:
        """Its safetensors files, downloaded if it is on the hub.

        Raises:
            UsageError: it has none, or one is missing.
        """
        from transformers.utils import cached_file

        from lpk.core.pruning.streaming import refused

        location, arguments = self._arguments()
        if "gguf_file" in arguments:
            raise refused("its weights are in a GGUF file, not in safetensors")

        def find(name: str) -> str | None:
            return cached_file(location, name, _raise_exceptions_for_missing_entries=False)  # type: ignore[no-any-return]

        if whole := find(_WEIGHTS):
            return [Path(whole)]
        if not (index := find(_INDEX)):
            raise refused(f"it has neither {_WEIGHTS} nor {_INDEX}")
        try:
            names = sorted(set(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"its {_INDEX} is no index of tensors") from None
        found = {name: find(name) for name in names}
        if lacking := [name for name, path in found.items() if path is None]:
            raise UsageError(f"{lacking[0]} is missing, which its index of tensors names")
        return [Path(path) for path in found.values() if path]

    def why_streamed(self, stream: str, memory: int) -> str:
        """Why its layers' weights should stay on the disk, in words; empty if they should be in memory.

        Args:
            stream: ``always``, ``never``, or ``auto``: if they are too large.
            memory: bytes that may be taken.

        Raises:
            UsageError: they are too large, and cannot stay on the disk.
        """
        if stream != "auto":
            return "as asked" if stream == "always" else ""
        reason = self.too_large(memory)
        if reason and "gguf_file" in self.locate()[1]:
            remedy = "give it as safetensors, a larger --memory, or --stream never"
            raise UsageError(f"model {self.name}: {reason}; a GGUF file cannot be streamed: {remedy}")
        return reason

    def too_large(self, memory: int) -> str:
        """How its weights would not leave a fifth of this memory free, in words; empty if they would, or nobody knows."""
        import torch

        from lpk.core.pruning.tensor_files import TensorFiles

        location, arguments = self.locate()
        gguf = arguments.get("gguf_file")
        dtype = "float32" if gguf else self.dtype  # a GGUF file is unpacked in float32 before it is anything else
        try:
            with _explained(self.name):
                if self.name in CATALOG:
                    elements = CATALOG[self.name].parameters
                elif gguf:
                    from gguf import GGUFReader

                    elements = sum(int(tensor.n_elements) for tensor in GGUFReader(Path(location, gguf)).tensors)
                else:
                    elements = sum(stored.elements for stored in TensorFiles(self.weight_files()).tensors.values())
        except UsageError:  # what is wrong with them, if anything is, loading says
            return ""
        size = elements * getattr(torch, dtype).itemsize
        if size <= 0.8 * memory:
            return ""
        return (
            f"its weights take {sized(size)} in {dtype}, more than four fifths of the {sized(memory)} that may be taken"
        )

    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The model's tokenizer, if it has one.

        Raises:
            UsageError: it has one, and it cannot be loaded.
            EnvironmentMissing: a package that it needs is not installed.
        """
        from transformers import AutoTokenizer
        from transformers.utils import cached_file

        def is_there(name: str) -> bool:
            tell = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
            return cached_file(location, name, **tell) is not None

        location, arguments = self._arguments()
        try:
            return AutoTokenizer.from_pretrained(location, **arguments)
        except ImportError as error:
            raise EnvironmentMissing(f"model {self.name}: its tokenizer: {_first_line(error)}") from error
        except Exception as error:
            if any(map(is_there, _TOKENIZER_FILES)):
                raise UsageError(f"model {self.name}: its tokenizer cannot be loaded: {_first_line(error)}") from error
            return None


_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_LOADERS = ("huggingface_hub", "safetensors", "safetensors_rust")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "spiece.model")


def _no_tf32() -> None:
    """What is said to be float32 has no products of 10 bits, whatever the environment asks for (NVIDIA's containers do)."""
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say of which model an error tells."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"model {name}: {error}") from error


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Loading errors of transformers, safetensors and the hub as one line."""
    try:
        yield
    except LpkError:
        raise
    except Exception as error:
        message = f"model {name}: {_first_line(error)}"
        if isinstance(error, ImportError) or "connect to" in message:
            raise EnvironmentMissing(message) from error
        package = type(error).__module__.split(".")[0]
        if isinstance(error, (OSError, ValueError, KeyError, RuntimeError)) or package in _LOADERS:
            raise UsageError(message) from error
        raise


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def all_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite.

    The least and the largest say so: NaN is both. That is one pass; ``isfinite().all()`` took eighteen times as long.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(math.isfinite(end) for end in tensor.aminmax())


def not_finite(name: str, dtype: torch.dtype, stored: Iterable[Tensor]) -> str:
    """Why a tensor holds NaN or infinity in a precision, in words.

    Args:
        stored: it as it was before, a part at a time.
    """
    if not all(map(all_finite, stored)):
        return f"the tensor {name} holds NaN or infinity; the weights are broken"
    narrow = str(dtype).removeprefix("torch.")
    return f"the tensor {name} holds numbers too large for {narrow}; use --dtype float32 or bfloat16"


def fingerprint(model: PreTrainedModel, parts: Callable[[str, Tensor], Iterable[Tensor]] | None = None) -> str:
    """A fingerprint of configuration and every weight, whatever file they came from.

    Args:
        parts: a weight's elements in order, of its name and what the model has in its place; by default that itself.
    """
    from lpk.core.pruning.tensor_files import as_bytes

    digest = hashlib.sha256()
    config = {
        key: value
        for key, value in model.config.to_dict().items()
        if key not in ("_name_or_path", "transformers_version")
    }
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        for part in parts(name, tensor) if parts else [tensor]:
            digest.update(as_bytes(part))
    return digest.hexdigest()
