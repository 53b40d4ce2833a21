"""How fast a model reads and writes, measured side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Tokens read at once; tokens written one by one after a short prompt.
READ, WRITE, PROMPT = 256, 16, 16


def tokens_per_second(models: Mapping[str, PreTrainedModel], rounds: int = 3) -> dict[str, dict[str, float]]:
    """Tokens per second of each model: ``read`` (one forward) and ``write`` (greedy decoding with the cache).

    The models take turns and the median counts: on a shared machine neither gets the quiet minute alone.
    """
    import torch

    seconds: dict[tuple[str, str], list[float]] = {}
    with torch.inference_mode():
        for _ in range(rounds + 1):
            for name, model in models.items():
                ids = torch.arange(READ, device=model.device)[None] % model.config.get_text_config().vocab_size
                begin = _now(model)
                model(ids, use_cache=False, logits_to_keep=1)
                between = _now(model)
                model.generate(
                    ids[:, :PROMPT], attention_mask=torch.ones_like(ids[:, :PROMPT]), do_sample=False, eos_token_id=None,
                    pad_token_id=0, max_new_tokens=WRITE, min_new_tokens=WRITE,
                )  # fmt: skip
                seconds.setdefault((name, "read"), []).append(between - begin)
                seconds.setdefault((name, "write"), []).append(_now(model) - between)
    tokens = {"read": READ, "write": WRITE}
    # The first round warms up.
    return {
        name: {way: count / statistics.median(seconds[name, way][1:]) for way, count in tokens.items()}
        for name in models
    }


def _now(model: PreTrainedModel) -> float:
    if model.device.type == "cuda":
        import torch

        torch.cuda.synchronize(model.device)
    return time.perf_counter()
