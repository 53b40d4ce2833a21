"""Tiny random models of real architectures, made from their configurations: nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lpk.core.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lpk.core.pruning.items import Sequences

VOCABULARY: Final = 96

_LLAMA_LIKE: Final[dict[str, Any]] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_SLIDING: Final = {"head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8}

#: name -> (configuration class of transformers, its arguments beside the number of layers).
ARCHITECTURES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "llama": ("LlamaConfig", _LLAMA_LIKE),
    "qwen3": ("Qwen3Config", {**_LLAMA_LIKE, "head_dim": 8}),
    "gemma2": ("Gemma2Config", {**_LLAMA_LIKE, **_SLIDING}),
    "gemma3": ("Gemma3TextConfig", {**_LLAMA_LIKE, **_SLIDING}),
    "gpt2": (
        "GPT2Config",
        {"vocab_size": VOCABULARY, "n_embd": 32, "n_head": 4, "n_positions": 128, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "gpt-neox": (
        "GPTNeoXConfig",
        {key: value for key, value in _LLAMA_LIKE.items() if key != "num_key_value_heads"},
    ),
    "mixtral": ("MixtralConfig", {**_LLAMA_LIKE, "num_local_experts": 4, "num_experts_per_tok": 2}),
}


def tiny_model(architecture: str = "llama", layers: int = 6, seed: int = 0) -> PreTrainedModel:
    """A random causal language model with hidden size 32 and 96 tokens, float32, in eval mode.

    Its weights are larger than an initialisation's, so that removing a layer matters.

    Raises:
        UsageError: the architecture is unknown.
    """
    import torch
    import transformers

    if architecture not in ARCHITECTURES:
        raise UsageError(f"no tiny model {architecture!r}{did_you_mean(architecture, ARCHITECTURES)}")
    name, arguments = ARCHITECTURES[architecture]
    config = getattr(transformers, name)(num_hidden_layers=layers, **arguments)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=0.15)
    return model.eval()


def random_sequences(count: int = 4, length: int = 24, seed: int = 0) -> Sequences:
    """Random token ids for a tiny model."""
    import numpy as np

    from lpk.core.pruning.items import Sequences

    ids = np.random.default_rng(seed).integers(3, VOCABULARY, (count, length), dtype=np.int32)
    return Sequences("random", tuple(ids))
