"""A model's layers, ready to run: in memory, or read from the disk one by one where they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lpk.core.errors import UsageError
from lpk.core.memory import sized
from lpk.core.pruning.checkpoint import checkpoint_bytes
from lpk.core.pruning.items import Items, Together
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.precision import EXACT
from lpk.core.pruning.stack import LayerStack


def load_stack(spec: ModelSpec, products: str, stream: str, memory: int, tell: Callable[[str], None]) -> LayerStack:
    """Load a model into so much memory.

    Args:
        spec: the model, its precision and device.
        products: the precision of the head's products.
        stream: whether layers' weights stay on the disk: ``always``, ``never``, or ``auto``: if they do not fit.
        memory: bytes that may be taken.
        tell: told what the user did not ask for.

    Raises:
        UsageError: it cannot be loaded, or even two layers at a time are too large.
    """
    reason = spec.why_streamed(stream, memory)
    if not reason:
        if stream == "never" and (large := spec.too_large(memory)):
            tell(f"{spec.name} is loaded whole, as asked, though {large}")
        return LayerStack(spec.load(), products=products)
    streamed = spec.stream()
    least = streamed.bytes * 4 // streamed.model.dtype.itemsize  # the answer is confirmed, and saved, in float32
    if least > memory:
        taken = f"its embeddings, head, and two layers take {sized(least)} in {EXACT}"
        message = f"{taken}, and {sized(memory)} may be taken: wanted a larger --memory"
        raise UsageError(f"model {spec.name}: even streamed, {message}")
    tell(f"the layers of {spec.name} are streamed: {reason}")
    return LayerStack(streamed.model, streamed, products)


def check_exact(spec: ModelSpec, stream: str, memory: int) -> None:
    """Find out before hours of searching whether the model could be loaded in float32 after them.

    Raises:
        UsageError: it would be too large then, and cannot be streamed.
    """
    exact = replace(spec, dtype=EXACT)
    if spec != exact and (reason := exact.why_streamed(stream, memory)):
        try:
            exact.check_streams()
        except UsageError as error:
            raise UsageError(f"{error} (what a search finds is measured in {EXACT}: {reason})") from None


def held(stack: LayerStack) -> int:
    """Bytes that its weights take."""
    weights = stack.streamed.bytes if stack.streamed else checkpoint_bytes(stack, LayerMask(stack.layers))
    return weights + stack.packed_bytes


def left_for_states(memory: int, *stacks: LayerStack) -> int:
    """Bytes for hidden states: half of what the weights leave; the rest is for what is made of them."""
    return max(0, memory - sum(map(held, stacks))) // 2


def gathered(items: Items, stack: LayerStack, states: int) -> Items | Together:
    """Items as a scorer gets them: of a streamed model, as many in a batch as so many bytes have room for."""
    if not stack.streamed:
        return items
    every_layer = (stack.layers + 1) * stack.token_bytes  # a scorer may keep the states after each
    return Together(items, states // every_layer)
