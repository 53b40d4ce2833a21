"""How fast models read and write, measured side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lpk.core.pruning.checkpoint import without_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lpk.core.pruning.mask import LayerMask
    from lpk.core.pruning.stack import LayerStack

#: Tokens read at once (fewer if the model has fewer positions); tokens written one by one after a short prompt.
READ, WRITE, PROMPT = 256, 16, 16
ROUNDS = 3


def tokens_per_second(stack: LayerStack, masks: Mapping[str, LayerMask]) -> dict[str, dict[str, float]]:
    """Tokens per second of the model without each mask's layers: ``read`` (one forward) and ``write`` (greedy decoding
    with the cache).

    They take turns and the median counts: on a shared machine none gets the quiet minute alone. All are of the same
    weights, so that measuring takes no memory for a second model.
    """
    import torch

    rates: dict[str, dict[str, list[float]]] = {name: {"read": [], "write": []} for name in masks}
    with torch.inference_mode():
        for _ in range(1 + ROUNDS):
            for name, mask in masks.items():
                with without_layers(stack, mask) as model:
                    rates[name]["read"].append(_read(model))
                    rates[name]["write"].append(_write(model))
    # The first round warms up.
    return {name: {way: round(statistics.median(r[1:]), 1) for way, r in ways.items()} for name, ways in rates.items()}


def _read(model: PreTrainedModel) -> float:
    import torch

    config = model.config.get_text_config()
    length = min(READ, getattr(config, "max_position_embeddings", None) or READ)
    ids = torch.arange(length, device=model.device)[None] % config.vocab_size
    return length / _seconds(model, lambda: model(ids, use_cache=False))


def _write(model: PreTrainedModel) -> float:
    import torch

    ids = torch.arange(PROMPT, device=model.device)[None] % model.config.get_text_config().vocab_size
    exactly = {"max_new_tokens": WRITE, "min_new_tokens": WRITE, "do_sample": False, "pad_token_id": 0}
    everywhere = torch.ones_like(ids)
    return WRITE / _seconds(model, lambda: model.generate(ids, attention_mask=everywhere, eos_token_id=None, **exactly))


def _seconds(model: PreTrainedModel, work: Callable[[], object]) -> float:
    import torch

    def wait() -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)

    wait()
    begin = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - begin
