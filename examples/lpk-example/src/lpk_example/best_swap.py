"""A searcher: from the scorer's mask, swap one removed layer for a kept one while that helps."""

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Searcher


class BestSwapOptions(Options):
    rounds: int = Field(2, ge=0, description="how many swaps to make at most")


class BestSwap(Searcher[BestSwapOptions]):
    scores = "optional"

    def search(self, problem):
        scores = problem.scores.layers if problem.scores else [0.0] * problem.layers
        mask = problem.lowest(scores)
        (loss,) = yield [mask]
        for _ in range(self.options.rounds):
            swaps = [mask.restore(back).drop(out) for back in mask.removed for out in problem.removable(mask)]
            losses = (yield swaps) if swaps else [loss]
            if min(losses) >= loss:
                return
            loss = min(losses)
            mask = swaps[losses.index(loss)]


@hookimpl
def lpk_searchers():
    yield Component(
        "best-swap",
        "Swap removed layers for kept ones while that helps",
        "lpk_example.best_swap:BestSwap",
        options=BestSwapOptions,
    )
