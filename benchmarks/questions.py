"""Multiple-choice questions: one mask on each, against a padded batch of options and its logits.

    python benchmarks/questions.py --task arc-easy

The baseline is what evaluators do: a question's options, each with the prompt, padded to one length; the model's forward,
logits of every position, a log-softmax. ``answers only`` is that batch through the layers, and only what an answer consists
of through the head; ``lpk`` computes the prompt once, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from common import arguments, in_turns, report

from lpk.core.contracts import Batch
from lpk.core.progress import Progress
from lpk.core.pruning.calibration import Corpus
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.precision import Precision
from lpk.core.pruning.prompts import SharedPrompt, laid_out
from lpk.core.pruning.stack import LayerStack


def plain(stack: LayerStack, batch: Batch) -> torch.Tensor:
    """The log-likelihood of each option's answer, by whole logits."""
    logits = stack.model(batch.ids, use_cache=False).logits[:, :-1].float().log_softmax(-1)
    return (logits.gather(-1, batch.ids[:, 1:, None])[..., 0] * batch.predicted()).sum(1)


def measured(stack: LayerStack, batch: Batch, prompt: SharedPrompt | None) -> torch.Tensor:
    """The same by layers run one by one and the head of answers alone."""
    start = stack.start(batch, prompt)
    hidden = start.hidden
    for layer in range(stack.layers):
        hidden = stack.layer(layer, hidden, start)
    nll = stack.outputs(batch, start.apart(hidden)).token_nll()
    return -nll.masked_fill(~batch.predicted(), 0).sum(1).float()


def main() -> None:
    parser = arguments(__doc__ or "", rounds=5)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--task", default="arc-easy")
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--length", type=int, default=96, help="tokens of an option and its prompt, at most")
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    spec = ModelSpec(given.model, dtype=given.dtype)
    spec.pull(Progress())
    stack = LayerStack(spec.load(), products=Precision.decide(given.dtype, "cpu").head)
    stack.pack(2**32)
    items = Corpus.read(given.task, role="task").held_out(
        spec.tokenizer(), given.items, given.length, whole=True, kind="questions"
    )
    batches = list(items.batches())
    with torch.inference_mode():
        prompts = laid_out(stack, batches)
        ways: dict[str, Callable[[int], torch.Tensor]] = {
            "padded batch, logits": lambda item: plain(stack, batches[item]),
            "answers only": lambda item: measured(stack, batches[item], None),
            "lpk": lambda item: measured(stack, batches[item], prompts[item]),
        }

        def every(way: Callable[[int], torch.Tensor]) -> torch.Tensor:
            return torch.cat([way(item) for item in range(len(batches))])

        seconds = in_turns({name: lambda way=way: every(way) for name, way in ways.items()}, given.rounds)
        baseline = every(ways["padded batch, logits"])
        off = {name: (every(way) - baseline).abs().max().item() for name, way in ways.items()}
    padded = sum(batch.ids.numel() for batch in batches)
    shared = sum(
        batch.ids.numel() if prompt is None else prompt.ids.numel()
        for batch, prompt in zip(batches, prompts, strict=True)
    )
    positions = dict(zip(ways, (padded, padded, shared), strict=True))
    predicted = sum(int(batch.predicted().sum()) for batch in batches)
    logits = dict(zip(ways, (padded, predicted, predicted), strict=True))
    figures: dict[str, Any] = {
        name: {
            "seconds": took,
            "faster": seconds["padded batch, logits"]["cpu"] / took["cpu"],
            "positions": positions[name],
            "logits": logits[name],
            "off": off[name],
        }
        for name, took in seconds.items()
    }
    rows = [
        [
            name,
            f"{one['positions']:,}",
            f"{one['logits']:,}",
            one["seconds"]["cpu"],
            f"{one['faster']:.2f}x",
            one["off"],
        ]
        for name, one in figures.items()
    ]
    columns = ["", "positions", "rows of logits", "CPU s", "faster", "off, nats"]
    report(figures, f"{given.items} questions of {given.task}, {given.model}, {given.dtype}", columns, rows, given.out)


if __name__ == "__main__":
    main()
