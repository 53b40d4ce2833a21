"""A scorer: how large a layer's update is beside the residual stream that it is added to."""

from lpk import hookimpl
from lpk.core.contracts import Component, LayerScores, Scorer


class UpdateSize(Scorer):
    """Mean over all real tokens of ||x^(l+1) - x^(l)|| / ||x^(l)||."""

    def score(self, stack, calibration):
        sums, tokens = [0.0] * stack.layers, 0
        for batch in calibration.batches():
            real = batch.real()
            tokens += int(real.sum())
            before = None
            for layer, state in enumerate(stack.states(batch), start=-1):
                here = state[real].double()
                if before is not None:
                    sums[layer] += float(((here - before).norm(dim=-1) / before.norm(dim=-1)).sum())
                before = here
        return LayerScores(tuple(total / tokens for total in sums))


@hookimpl
def lpk_scorers():
    yield Component(
        "update-size", "Size of a layer's update relative to its input", "lpk_example.update_size:UpdateSize"
    )
