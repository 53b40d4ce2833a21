"""What scorers that look at a layer's weights or gradients are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from lpk.core.contracts import Calibration, LayerScores, Options, Stack
from lpk.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

#: What the architectures of transformers call the matrices that write to the residual stream.
ATTENTION: Final = (".o_proj", ".out_proj", ".dense", "attn.c_proj", ".wo")
MLP: Final = (".down_proj", ".dense_4h_to_h", "mlp.c_proj", ".fc2", ".fc_out", ".w2", ".output_linear")


def projections(weights: Mapping[str, Tensor], names: tuple[str, ...]) -> list[str]:
    """The names of those matrices of a layer that are called so, :data:`ATTENTION` or :data:`MLP`.

    Raises:
        UsageError: there is none.
    """
    found = [name for name in weights if ("." + name.removesuffix(".weight")).endswith(names)]
    if not found:
        known, have = ", ".join(name.lstrip(".") for name in names), ", ".join(weights)
        raise UsageError(f"a layer has no matrix named {known}; it has {have}")
    return found


class Weighed(Options):
    """Options of Shortened LLaMA's two criteria (arXiv 2402.02834), and what these have in common."""

    count: Literal["matrices", "all"] = Field(
        "matrices", description="which parameters of a layer count: its weight matrices, or norms and biases too"
    )
    order: int = Field(1, ge=1, le=2, description="1 adds up absolute values, 2 squares")
    protect: bool = Field(
        False,
        description="the paper's '+': the first four layers and the last two score above all others "
        "(--protect names other layers)",
    )

    def counted(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of a layer's parameters that count."""
        return {name: p for name, p in parameters.items() if self.count == "all" or p.dim() > 1}

    def total(self, saliences: Iterable[Tensor]) -> float:
        """The sum of all elements' magnitudes."""
        import torch

        return sum(float(s.float().abs().pow(self.order).sum(dtype=torch.float64)) for s in saliences)

    def scores(self, totals: Sequence[float]) -> LayerScores:
        """Totals as scores, with the layers that are protected above the others."""
        ends = (*range(min(4, len(totals))), *range(len(totals))[-2:])
        return LayerScores(tuple(raised(totals, ends) if self.protect else totals))


def raised(scores: Sequence[float], layers: Iterable[int]) -> list[float]:
    """Scores with those of some layers lifted above all others, by the same amount: their order among them stays."""
    lift, layers = 3 * max(map(abs, scores)) or 1.0, set(layers)
    return [score + lift if layer in layers else score for layer, score in enumerate(scores)]


def mean_gradients(stack: Stack, calibration: Calibration, weighed: Weighed | None = None) -> list[dict[str, Tensor]]:
    """The gradient of the calibration's negative log-likelihood per token: of each layer its parameters, by name.

    Of a question that is the right answer's tokens.
    Held in float32: a number for each parameter of all layers. The absolute value of a sum over sequences is no sum of
    theirs, so nothing smaller will do.

    Args:
        weighed: which parameters are wanted; all if not given.
    """
    import torch

    sums: list[dict[str, Tensor]] = [{} for _ in range(stack.layers)]
    tokens = 0
    for batch in calibration.batches():
        for each in stack.gradients(batch):
            wanted, here = weighed.counted(each.weights) if weighed else each.weights, sums[each.layer]
            for name, slope in wanted.items():
                if name not in here:
                    here[name] = slope.new_zeros(slope.shape, dtype=torch.float32)
                here[name].add_(slope, alpha=each.tokens)
            tokens += each.tokens if each.layer == 0 else 0
    return [{name: total.div_(tokens) for name, total in of.items()} for of in sums]
