"""The head against logits + cross-entropy: seconds, memory, and distance from float64.

    python benchmarks/head.py

The baseline is what evaluators do: all logits at once, in float32, then ``torch.nn.functional.cross_entropy`` (or a
log-softmax and ``kl_div`` with the dense model's log-probabilities, which it keeps: tokens x vocabulary in float32, where
lpk keeps tokens x hidden). Both have the same features and embeddings, in the same precision. ``product alone`` is the
floor: the matrix product into memory that is there already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from common import arguments, extra_bytes, in_turns, report
from torch.nn.functional import cross_entropy, kl_div, linear, log_softmax

from lpk.core.contracts import Batch
from lpk.core.pruning.head import COLUMNS, LinearHead, LinearOutputs
from lpk.core.pruning.precision import Precision

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def contestants(
    features: torch.Tensor, dense: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> dict[str, Callable[[], Any]]:
    """What is timed, on (tokens, hidden) features of a masked and of the dense model."""
    embeddings = torch.nn.Module()
    embeddings.weight = torch.nn.Parameter(weight, requires_grad=False)
    # What a run in this precision multiplies in on this machine: bfloat16 only where that is faster.
    head = LinearHead((), embeddings, Precision.decide(str(weight.dtype).removeprefix("torch."), "cpu").head)
    batch = Batch(torch.cat([targets[:1], targets])[None], torch.tensor([len(targets) + 1]))

    def outputs(of: torch.Tensor) -> LinearOutputs:
        return LinearOutputs(head, batch, torch.cat([of, of[:1]])[None])

    # What is kept of the dense model is made once for all masks, on either side.
    there, other = outputs(dense), log_softmax(linear(dense, weight).float(), -1)
    outputs(features).token_kl(there)
    memory = torch.empty(len(features) * COLUMNS["cpu"], dtype=features.dtype)

    def product() -> None:
        for part in weight.split(COLUMNS["cpu"]):
            torch.mm(features, part.T, out=memory[: len(features) * len(part)].view(len(features), len(part)))

    def whole_kl() -> torch.Tensor:
        here = log_softmax(linear(features, weight).float(), -1)
        return kl_div(here, other, reduction="none", log_target=True).sum(-1)

    return {
        "product alone": product,
        "NLL: logits + cross_entropy": lambda: cross_entropy(
            linear(features, weight).float(), targets, reduction="none"
        ),
        "NLL: lpk": lambda: outputs(features).token_nll()[0],
        "KL: logits + kl_div": whole_kl,
        "KL: lpk": lambda: outputs(features).token_kl(there)[0],
    }


def exact(
    features: torch.Tensor, dense: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The same of the first tokens, in float64."""
    here, there = (log_softmax(x.double() @ weight.double().T, -1) for x in (features, dense))
    return {"NLL": -here.gather(1, targets[:, None])[:, 0], "KL": (there.exp() * (there - here)).sum(-1)}


def main() -> None:
    parser = arguments(__doc__ or "", rounds=5)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--hidden", type=int, default=576)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    weight = torch.randn(given.vocabulary, given.hidden) * 0.12  # logits of standard deviation 3, as SmolLM2's
    dense = torch.randn(given.tokens, given.hidden)
    features = dense + 0.3 * torch.randn(given.tokens, given.hidden)
    targets = torch.randint(0, given.vocabulary, (given.tokens,))
    figures: dict[str, Any] = {"tokens": given.tokens, "vocabulary": given.vocabulary, "hidden": given.hidden}
    rows = []
    for name, dtype in PRECISIONS.items():
        given_ = features.to(dtype), dense.to(dtype), weight.to(dtype), targets
        with torch.inference_mode():
            work = contestants(*given_)
            seconds = in_turns(work, given.rounds)
            memory = {what: extra_bytes(run) for what, run in work.items()}
            wanted = exact(given_[0][:64], given_[1][:64], given_[2], targets[:64])
            off = {
                what: (run()[:64] - wanted[what[:3].strip(":")]).abs().max().item()
                for what, run in work.items()
                if ":" in what
            }
        baselines = {"NLL": "NLL: logits + cross_entropy", "KL": "KL: logits + kl_div"}
        figures[name] = {}
        for what, took in seconds.items():
            baseline = baselines.get(what.partition(":")[0])
            faster = {key: seconds[baseline][key] / took[key] for key in took} if baseline else None
            figures[name][what] = {"seconds": took, "faster": faster, "extra_bytes": memory[what], "off": off.get(what)}
            times = [f"{faster[key]:.2f}x" for key in ("cpu", "best")] if faster else ["", ""]
            error = f"{off[what]:.1e}" if what in off else ""
            rows.append([f"{name}  {what}", took["cpu"], took["best"], *times, f"{memory[what] / 1e6:.0f}", error])
    columns = ["", "CPU s", "s", "faster, CPU", "faster", "extra MB", "off, nats"]
    title = f"{given.tokens} tokens x {given.vocabulary} words x {given.hidden}, {given.threads} thread(s)"
    report(figures, title, columns, rows, given.out)


if __name__ == "__main__":
    main()
