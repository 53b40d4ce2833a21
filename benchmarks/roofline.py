"""How near the evaluator's inner loop is to the matrix-product rate of this machine, and where the time goes.

    python benchmarks/roofline.py

The inner loop is what a mask costs on one sequence: embedding, every layer, losses. The roofline is the same products
alone (same shapes, same precision, into memory that is there already). Floating-point operations are those of all
products, attention's included (half of them: it is causal). ``plain forward`` is the baseline: the model's own forward,
logits and ``cross_entropy``. Where a run would pack its weights (bfloat16, where that is the faster), it is measured with them plain too, and so
are the products: the roofline is the faster of the two.
"""

from __future__ import annotations

import argparse
from functools import cached_property
from typing import Any

import torch
from common import arguments, in_turns, report
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from lpk.core.contracts import Batch
from lpk.core.progress import Progress
from lpk.core.pruning.head import COLUMNS
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.precision import Precision
from lpk.core.pruning.stack import LayerStack

PRODUCTS = ("aten::mm", "aten::addmm", "aten::linear", "aten::bmm", "mkldnn")
ATTENTION = ("scaled_dot_product", "flash_attention")


class Loop:
    """A model and a sequence, and what is done with them."""

    def __init__(self, model: str, dtype: str, tokens: int) -> None:
        spec = ModelSpec(model, dtype=dtype)
        spec.pull(Progress())
        with torch.inference_mode(False):  # as a run loads its model: weights of inference mode are not packed
            self.stack = LayerStack(spec.load(), products=Precision.decide(dtype, "cpu").head)
        vocabulary = self.stack.model.config.get_text_config().vocab_size
        ids = torch.randint(0, vocabulary, (1, tokens), generator=torch.Generator().manual_seed(0))
        self.batch = Batch(ids, torch.tensor([tokens]))
        if self.stack.head is None:
            raise SystemExit(f"{model}: its head is no linear one; the roofline is not defined for it")

    def layers(self) -> torch.Tensor:
        """Embedding and every layer."""
        start = self.stack.start(self.batch)
        hidden = start.hidden
        for layer in range(self.stack.layers):
            hidden = self.stack.layer(layer, hidden, start)
        return hidden

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """The losses."""
        return self.stack.outputs(self.batch, hidden).token_nll()

    def evaluate(self) -> torch.Tensor:
        """The inner loop."""
        return self.head(self.layers())

    def plain(self) -> torch.Tensor:
        """The same by the plainest means."""
        logits = self.stack.model(self.batch.ids, use_cache=False).logits[0, :-1]
        return cross_entropy(logits.float(), self.batch.ids[0, 1:], reduction="none")

    @cached_property
    def shapes(self) -> list[tuple[int, torch.Tensor, torch.nn.Module | None]]:
        """Rows, weight, and the module that has a packed copy of it, if one has: of every product, as they are met."""
        met: list[tuple[int, torch.Tensor, torch.nn.Module | None]] = []

        def note(module: torch.nn.Linear, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            met.append((output[..., 0].numel(), module.weight, module if self.stack.packed_bytes else None))

        hooks = [
            m.register_forward_hook(note)
            for layer in self.stack.modules
            for m in layer.modules()
            if isinstance(m, torch.nn.Linear)
        ]
        self.layers()
        for hook in hooks:
            hook.remove()
        head = self.stack.head
        assert head is not None
        rows, words = self.batch.ids.shape[1] - 1, head.weight.split(COLUMNS["cpu"])
        blocks = head.blocks or [None] * len(words)
        multiplied = [block.to(getattr(torch, head.products)) for block in words]
        return met + [(rows, *block) for block in zip(multiplied, blocks, strict=True)]

    def products(self) -> None:
        """The products alone."""
        for left, weight, result in self.operands:
            torch.mm(left, weight.T, out=result)

    def packed_products(self) -> None:
        """The same by packed copies of the weights."""
        for (_, _, packed), (left, weight, result) in zip(self.shapes, self.operands, strict=True):
            if packed is None:
                torch.mm(left, weight.T, out=result)
            else:
                packed(left)

    @cached_property
    def operands(self) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """What is multiplied; operands of one shape share memory, as they do in a model."""
        shapes = [(rows, w.shape[1], w.shape[0], w.dtype) for rows, w, _ in self.shapes]
        lefts = {(rows, width, kind): torch.randn(rows, width).to(kind) for rows, width, _, kind in shapes}
        results = {(rows, words, kind): torch.empty(rows, words, dtype=kind) for rows, _, words, kind in shapes}
        return [
            (lefts[rows, width, kind], weight, results[rows, words, kind])
            for (rows, width, words, kind), (_, weight, _) in zip(shapes, self.shapes, strict=True)
        ]

    def gflop(self) -> dict[str, float]:
        """Operations of the products with weights, and of attention, in 1e9."""
        config = self.stack.model.config.get_text_config()
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        attention = self.stack.layers * 2 * self.batch.ids.shape[1] ** 2 * width * config.num_attention_heads
        return {"products": sum(2 * rows * w.numel() for rows, w, _ in self.shapes) / 1e9, "attention": attention / 1e9}

    def where(self) -> dict[str, float]:
        """Seconds by what they were spent on: of each kind the least of three passes."""
        passes = [self._where() for _ in range(3)]
        return {kind: min(spent[kind] for spent in passes) for kind in passes[0]}

    def _where(self) -> dict[str, float]:
        with profile(activities=[ProfilerActivity.CPU]) as layers:
            hidden = self.layers()
        with profile(activities=[ProfilerActivity.CPU]) as head:
            self.head(hidden)
        others = "norms, rotary, activations, residuals"
        spent = dict.fromkeys(("projections", "attention", others, "head: product", "head: the rest"), 0.0)
        for event in layers.key_averages():
            kind = "projections" if event.key.startswith(PRODUCTS) else others
            kind = "attention" if any(word in event.key for word in ATTENTION) else kind
            spent[kind] += event.self_cpu_time_total / 1e6
        for event in head.key_averages():
            kind = "head: product" if event.key.startswith(PRODUCTS) else "head: the rest"
            spent[kind] += event.self_cpu_time_total / 1e6
        return spent


def main() -> None:
    parser = arguments(__doc__ or "", rounds=3)
    parser.set_defaults(threads=0)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    given = parser.parse_args()
    each = [given.threads] if given.threads else sorted({1, torch.get_num_threads()})
    figures: dict[str, dict[str, Any]] = {}
    with torch.inference_mode():
        for dtype in given.dtypes.split(","):
            plain = loop = Loop(given.model, dtype, given.tokens)
            if (packed := Loop(given.model, dtype, given.tokens)).stack.pack(2**40):
                loop = packed
            del packed
            for threads in each:
                torch.set_num_threads(threads)
                figures[f"{dtype}, {threads} thread{'s'[: threads > 1]}"] = measured(plain, loop, given.rounds)
    show(given, figures)


def measured(plain: Loop, loop: Loop, rounds: int) -> dict[str, Any]:
    """Rates and the roofline, with so many threads as torch has now; ``loop`` is packed where a run would pack."""
    work = {"plain forward": plain.plain, "lpk": loop.evaluate, "products alone": plain.products}
    if loop is not plain:
        work |= {"lpk, nothing packed": plain.evaluate, "packed products alone": loop.packed_products}
    gflop, seconds = loop.gflop(), in_turns(work, rounds)
    key = "cpu" if torch.get_num_threads() == 1 else "best"
    taken = {name: part[key] for name, part in seconds.items()}
    alone = {name: spent for name, spent in taken.items() if name.endswith("products alone")}
    roof = gflop["products"] / min(alone.values())
    rates = {name: sum(gflop.values()) / taken[name] for name in work if name not in alone}
    where = loop.where()
    where["Python and what is between"] = max(0.0, seconds["lpk"]["best"] - sum(where.values()))
    return {
        "gflop": gflop, "seconds": seconds, "taken": taken, "roofline_gflops": roof, "gflops": rates,
        "share_of_roofline": {name: rate / roof for name, rate in rates.items()}, "where": where,
    }  # fmt: skip


def show(given: argparse.Namespace, figures: dict[str, dict[str, Any]]) -> None:
    """The products, each way, and where the time of lpk goes."""
    rows: list[list[Any]] = []
    for name, part in figures.items():
        rows += [
            [f"{name}: {what}", taken, part["gflop"]["products"] / taken, ""]
            for what, taken in part["taken"].items()
            if what.endswith("products alone")
        ]
        rows += [
            [f"{name}: {who}", part["taken"][who], rate, f"{part['share_of_roofline'][who]:.0%}"]
            for who, rate in part["gflops"].items()
        ]
        whole = sum(part["where"].values())
        rows += [[f"    {what}", taken, "", f"{taken / whole:.0%} of lpk"] for what, taken in part["where"].items()]
    columns = ["", "s a sequence", "GFLOP/s", "of the roofline"]
    title = f"{given.model}, {given.tokens} tokens; processor seconds with one thread, else the clock's"
    report({"model": given.model, "tokens": given.tokens, **figures}, title, columns, rows, given.out)


if __name__ == "__main__":
    main()
