"""Weights laid out once as the processor's matrix unit reads them, where it would do so again for every product.

AMX multiplies bfloat16 in tiles, and oneDNN brings a plain weight into that order at each call. A layer of SmolLM2-135M on
one thread takes 0.91 of the time if that is done before, on 512 tokens, and 0.83 on 128; the copies take what the layers'
weights do. The products are the same, bit for bit: :func:`pack` tries each shape, and leaves alone what differs.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Rows that a packed product is compared on. oneDNN takes other code by the number of rows, which sums in another order.
ROWS = (16, 128, 512)

#: Which tensor it is, and how often it was changed.
Version = tuple[int, int]


class PackedProduct:
    """What a linear module computes, by a packed copy of its weight.

    The module's own weight stays, for whoever reads it. Where a gradient is asked for, or the weight is another than the
    one that was packed, it is what is multiplied.
    """

    def __init__(self, module: nn.Linear) -> None:
        import torch

        self._module = weakref.ref(module)  # no cycle: the copies go when the model goes
        self._of = version_of(module.weight)
        self._packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), None)

    def __call__(self, input: Tensor) -> Tensor:
        import torch
        from torch.nn.functional import linear

        module = self._module()
        assert module is not None  # it is who calls
        if torch.is_grad_enabled() or version_of(module.weight) != self._of or not input.numel():
            return linear(input, module.weight, module.bias)
        return torch.ops.mkldnn._linear_pointwise(input, self._packed, module.bias, "none", [], "")  # type: ignore[no-any-return]


def pack(modules: Iterable[nn.Module], room: int) -> int:
    """Give the linear modules within these packed copies of their bfloat16 weights, if all of them fit.

    Returns:
        The bytes that the copies take; 0 where nothing was packed.
    """
    import torch
    from torch import nn

    # Not subclasses: what else those do is not known.
    found = [m for module in modules for m in module.modules() if type(m) is nn.Linear and _plain(m.weight)]
    if sum(m.weight.nbytes for m in found) > room or not _multiplies():
        return 0
    same: dict[tuple[int, int, bool], bool] = {}
    taken = 0
    with torch.inference_mode(False), torch.no_grad():
        for module in found:
            product, shape = PackedProduct(module), (module.out_features, module.in_features, module.bias is not None)
            if shape not in same:
                same[shape] = _agrees(module, product)
            if same[shape]:
                module.__dict__["forward"] = product
                taken += module.weight.nbytes
    return taken


def _multiplies() -> bool:
    """Whether oneDNN is there, and multiplies bfloat16 on this processor."""
    import torch

    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(there and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _plain(weight: Tensor) -> bool:
    import torch

    here = weight.device.type == "cpu" and weight.is_contiguous() and not weight.is_inference()
    return here and weight.dtype == torch.bfloat16


def _agrees(module: nn.Linear, product: PackedProduct) -> bool:
    """Whether the products are the same bits."""
    import torch

    generator = torch.Generator().manual_seed(0)
    tried = (torch.randn(rows, module.in_features, generator=generator).to(module.weight.dtype) for rows in ROWS)
    return all(torch.equal(product(rows), module(rows)) for rows in tried)


def version_of(weight: Tensor) -> Version:
    """Which weight it is: another one is elsewhere in memory, and one that was changed counts it."""
    return weight.data_ptr(), -1 if weight.is_inference() else weight._version  # those of inference mode do not count
