"""Writes the smaller model as a plain Hugging Face checkpoint, and proves it by loading it again.

What must change together when layers go (each alone gives a checkpoint that loads and is wrong, or does not load): the
list of modules, ``num_hidden_layers``, every list in the configuration with one entry for each layer (``layer_types``),
every list of layer indices, and each module's own ``layer_idx``, by which it finds its place in the key-value cache.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpk.core.errors import UsageError, in_words
from lpk.core.files import require_space, whole_directory
from lpk.core.memory import ran_out
from lpk.core.pruning.mask import LayerMask, ranges
from lpk.core.pruning.probing import probe
from lpk.core.pruning.stack import LayerStack

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from lpk.core.contracts import Batch
    from lpk.core.pruning.streaming import Streamed

#: Entries of configurations that list layers by index, not one value for each layer.
_INDEX_LISTS = ("mlp_only_layers", "full_attention_layers_idx", "cross_attention_layers")

#: Where transformers begins a new file of weights.
SHARD = "50GB"


def pruned_config(config: PreTrainedConfig, mask: LayerMask) -> PreTrainedConfig:
    """The configuration of the model without the removed layers."""
    smaller = copy.deepcopy(config)  # not from_dict(): that forgets how attention is computed
    text = smaller.get_text_config()  # the same, but for models that see or hear too
    text.num_hidden_layers = len(mask.kept)  # attribute_map takes it to n_layer and the like
    for key, value in vars(config.get_text_config()).items():
        if isinstance(value, (list, tuple)) and not key.endswith("_token_id"):
            if key in _INDEX_LISTS:
                setattr(text, key, [mask.kept.index(layer) for layer in value if layer in mask.kept])
            elif len(value) == mask.layers:
                setattr(text, key, [value[layer] for layer in mask.kept])
    return smaller


@contextmanager
def without_layers(stack: LayerStack, mask: LayerMask) -> Iterator[PreTrainedModel]:
    """Within this context the stack's model really lacks the removed layers; afterwards it is as it was."""
    from torch import nn

    model = stack.model
    parent_path, _, name = stack.path.rpartition(".")
    parent = model.get_submodule(parent_path)
    layers, config = getattr(parent, name), model.config
    smaller = pruned_config(config, mask)
    instead = {id(config): smaller, id(config.get_text_config()): smaller.get_text_config()}
    places = [(part, part.layer_idx) for layer in layers for part in layer.modules() if hasattr(part, "layer_idx")]
    owners = [(part, part.config) for part in model.modules() if id(getattr(part, "config", None)) in instead]
    try:
        setattr(parent, name, nn.ModuleList(layers[layer] for layer in mask.kept))
        for place, layer in enumerate(mask.kept):
            for part in layers[layer].modules():
                if hasattr(part, "layer_idx"):
                    part.layer_idx = place
        for owner, its in owners:
            owner.config = instead[id(its)]
        yield model
    finally:
        setattr(parent, name, layers)
        for owner, its in owners:
            owner.config = its
        for part, place in places:
            part.layer_idx = place


def save(
    stack: LayerStack,
    mask: LayerMask,
    tokenizer: PreTrainedTokenizerBase | None,
    into: Path,
    card: str,
    dtype: str = "",
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Write ``into`` as a checkpoint that ``AutoModelForCausalLM.from_pretrained`` loads; all of it or nothing.

    The dense model is let go for that: memory that holds one model may not hold a copy, nor the smaller one beside it.
    The stack can compute nothing afterwards.

    Args:
        dtype: what the weights were stored in before they were loaded, e.g. ``"bfloat16"``. They are stored in it again
            if that loses nothing; else, as in memory.
        tell: called with what a person should know.

    Raises:
        UsageError: the disk is too full, or the saved model does not compute what the masked one did.
    """
    import torch

    require_space(into.parent, checkpoint_bytes(stack, mask, dtype) + 10_000_000, "the pruned model")
    batch, precision, stored = probe(stack.model), stack.model.dtype, storage_dtype(stack, dtype)
    with torch.inference_mode():
        masked = stack.masked_logits(batch, mask)
    with whole_directory(into, tell) as folder:
        _write_model(stack, mask, folder, stored)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
        stack.release()
        try:
            with torch.inference_mode():
                saved = _saved_logits(stack, folder, batch, precision)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            if ran_out(error):
                raise
            raise _tied(stack, mask, in_words(error)) from error
        if not torch.equal(masked, saved):
            raise _tied(stack, mask, f"logits differ by {(masked - saved).abs().max().item():.2g}")


def _tied(stack: LayerStack, mask: LayerMask, how: str) -> UsageError:
    return UsageError(
        f"the {type(stack.model).__name__} saved without layers {mask} does not compute what it did in memory ({how}): "
        "its configuration ties layers to their places in a way that lpk does not know; nothing was written"
    )


def _write_model(stack: LayerStack, mask: LayerMask, folder: Path, stored: torch.dtype) -> None:
    """Write configuration and weights; the weights in memory are of the stored precision afterwards."""
    sources = {id(p): name for name, p in stack.model.named_parameters()}
    with without_layers(stack, mask) as model:
        if stack.streamed:
            model.save_pretrained(folder, state_dict={})  # all but the weights
            _copy_weights(stack.streamed, sources, folder, stored)
        else:
            precision = model.dtype
            for p in model.parameters():
                if p.dtype == precision:
                    p.data = p.data.to(stored)  # one at a time: there may be no room for a copy of all
            model.save_pretrained(folder, max_shard_size=SHARD)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for part in (config, *config.values()):  # and those of its parts, where it has some
        if part is config or (isinstance(part, dict) and "dtype" in part):
            part["dtype"] = str(stored).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def storage_dtype(stack: LayerStack, dtype: str) -> torch.dtype:
    """The precision to store a model's weights in: this one if every weight survives it, else that in memory."""
    import torch

    model = stack.model
    wanted = getattr(torch, dtype.removeprefix("torch."), None) if dtype else None
    if isinstance(wanted, torch.dtype) and wanted.itemsize < model.dtype.itemsize:
        if stack.streamed:
            return wanted if stack.streamed.survives(wanted) else model.dtype
        weights = (p for p in model.parameters() if p.dtype == model.dtype)
        if all(torch.equal(p.to(wanted).to(p.dtype), p) for p in weights):
            return wanted
    return model.dtype  # type: ignore[no-any-return]


def _brings_code(model: PreTrainedModel) -> bool:
    return type(model).__module__.startswith("transformers_modules.")


def _copy_weights(streamed: Streamed, sources: Mapping[int, str], folder: Path, dtype: torch.dtype) -> None:
    """Write what is left of a streamed model, a part of a weight at a time, into the file that ``save_pretrained`` writes.

    Args:
        sources: the name that each parameter, by its ``id``, has in the dense model.
    """
    import torch
    from huggingface_hub import split_torch_state_dict_into_shards

    from lpk.core.pruning.tensor_files import write_tensors

    model = streamed.model
    weights = {name: t for name, t in model.state_dict().items() if name not in model.all_tied_weights_keys}
    parameters = dict(model.named_parameters())
    cast = {name for name, p in parameters.items() if p.dtype == model.dtype}
    shapes = {
        name: torch.empty(t.shape, dtype=dtype if name in cast else t.dtype, device="meta")
        for name, t in weights.items()
    }

    def parts(name: str) -> Iterator[Tensor]:
        source = sources[id(parameters[name])] if name in parameters else name
        return (part.to(shapes[name].dtype) for part in streamed.parts(source, weights[name]))

    shards = split_torch_state_dict_into_shards(
        shapes, filename_pattern="model{suffix}.safetensors", max_shard_size=SHARD
    )
    for file, names in shards.filename_to_tensors.items():
        write_tensors(folder / file, {name: (shapes[name].dtype, shapes[name].shape) for name in names}, parts)
    if shards.is_sharded:
        total = {"total_parameters": model.num_parameters(), **shards.metadata}
        index = {"metadata": total, "weight_map": shards.tensor_to_filename}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def _saved_logits(stack: LayerStack, folder: Path, probe: Batch, precision: torch.dtype) -> Tensor:
    """What the saved model computes, loaded as the dense one was: into memory, or streamed."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from lpk.core.pruning.streaming import open_streamed

    trusted = _brings_code(stack.model)
    if not stack.streamed:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=precision,
            device_map={"": probe.ids.device},
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=trusted,
        )
        return model.eval()(probe.ids, use_cache=False).logits  # type: ignore[no-any-return]
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trusted)
    files = sorted(folder.glob("*.safetensors"))
    dtype = str(precision).removeprefix("torch.")
    saved = open_streamed(str(folder), files, config, dtype, stack.streamed.device, trusted=trusted)
    logits = saved.model(probe.ids, use_cache=False).logits
    saved.release()
    return logits  # type: ignore[no-any-return]


def parameters(stack: LayerStack, mask: LayerMask) -> int:
    """Parameters of the model without the removed layers; tied ones count once."""
    return sum(p.numel() for p in _kept(stack, mask))


def checkpoint_bytes(stack: LayerStack, mask: LayerMask, dtype: str = "") -> int:
    """Bytes of the weights of that model as they are stored; ``dtype`` as for :func:`save`."""
    stored = storage_dtype(stack, dtype)
    return sum(p.numel() * (stored if p.dtype == stack.model.dtype else p.dtype).itemsize for p in _kept(stack, mask))


def _kept(stack: LayerStack, mask: LayerMask) -> list[Tensor]:
    removed = {id(p) for layer in mask.removed for p in stack.modules[layer].parameters()}
    return [p for p in stack.model.parameters() if id(p) not in removed]


def model_card(base: str, mask: LayerMask, body: str, licence: str = "") -> str:
    """The README.md of the checkpoint: front matter that hubs understand, then what was done."""
    front = ["---", "library_name: transformers", "pipeline_tag: text-generation"]
    front += [f"license: {licence.lower()}"] if licence else []
    front += [f"base_model: {base}"] if base else []
    front += ["tags:", "- lpk", "- pruned", "- depth-pruning", "---", ""]
    title = f"# {base.rsplit('/', maxsplit=1)[-1] or 'A model'} without {len(mask)} of its {mask.layers} layers"
    return "\n".join(
        [
            *front,
            title,
            "",
            f"Removed layers (0-based): {ranges(mask.removed)}. Kept: {ranges(mask.kept)}.",
            "",
            body,
            "",
        ]
    )


def mergekit_recipe(base: str, mask: LayerMask, dtype: str) -> str:
    """The same cut as a mergekit passthrough recipe; its ``layer_range`` excludes the upper bound."""
    import yaml

    slices: list[dict[str, Any]] = []
    for run in ranges(mask.kept).split():
        first, _, last = run.partition("-")
        slices.append({"sources": [{"model": base, "layer_range": [int(first), int(last or first) + 1]}]})
    return yaml.safe_dump({"slices": slices, "merge_method": "passthrough", "dtype": dtype}, sort_keys=False)
