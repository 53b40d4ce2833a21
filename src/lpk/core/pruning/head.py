"""The head: from the last hidden state to losses, never holding logits for every token and every word at once.

Nearly every head is a chain: a norm, then one product with the output embeddings. Where watching the model shows that,
and the chain gives the model's own logits bit for bit, losses are made block by block of the vocabulary: the logits of
2,048 tokens x 1,024 words (8 MB, the same memory again and again; on a card 64 MB) are turned into their log-sum-exp
before the next block is begun. Whole logits of 2,048 x 49,152 are 400 MB of fresh pages, written and read several times
over. Where the head is more than that (logits are capped or scaled after the product), the model's own forward makes
them, a chunk of positions at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import Batch, Outputs
from lpk.core.errors import UsageError
from lpk.core.pruning.packing import Version, pack, version_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

#: Rows (positions) and columns (words) of the logits that :class:`LinearHead` holds at a time, columns by the kind of
#: device. On a processor they stay in its cache. Measured with 2,048 rows of SmolLM2-135M on one thread: 0.85 s in all,
#: 0.73 s of it the product itself; with 512 columns 0.94 s. A card has no such cache but many threads, and each block
#: costs some eight launches: there logits may take 64 MB (not measured).
ROWS, COLUMNS = 2048, {"cpu": 1024, "cuda": 8192}
#: Positions of whole logits that exist at a time where an objective, or a head that is no chain, needs them.
CHUNK = 128


@dataclass(frozen=True)
class LinearHead:
    """A head of modules called one after the other, the last of which is one product: ``features @ weight.T + bias``.

    Attributes:
        before: what the last hidden state goes through first, a norm as a rule.
        product: the module with the output embeddings. A streamed model may give it other weights, or none for a while.
        products: the precision of the products. In float32 those of 16-bit embeddings are exact; the model's own
            16-bit logits are rounded to three digits.
        blocks: the product by ``COLUMNS["cpu"]`` words, of packed weights, and which weight they were packed from.
    """

    before: tuple[nn.Module, ...]
    product: nn.Module
    products: str = "float32"
    blocks: tuple[nn.Module, ...] = ()
    packed_from: Version | None = None

    def packed(self, room: int) -> tuple[LinearHead, int]:
        """The same head with packed copies of its weight, if they take no more bytes than this; and what they take.

        Gemma 3's 262,144 words and the 20 tokens of a question's answers: 41 ms where the plain product takes 67.
        """
        import torch

        blocks = tuple(map(_linear, torch.split(self.weight, COLUMNS["cpu"])))
        taken = pack(blocks, room)
        return (replace(self, blocks=blocks, packed_from=version_of(self.weight)), taken) if taken else (self, 0)

    @property
    def weight(self) -> Tensor:
        """The output embeddings, (vocabulary, hidden), in the model's precision."""
        return self.product.weight.detach()  # type: ignore[operator]

    @property
    def bias(self) -> Tensor | None:
        """(vocabulary,), if there is one."""
        bias: Any = getattr(self.product, "bias", None)
        return None if bias is None else bias.detach()

    @classmethod
    def found(
        cls, model: nn.Module, last: Tensor, logits_of: Callable[[Tensor], Tensor], products: str = "float32"
    ) -> LinearHead | None:
        """Watch what the model does to a last hidden state; None unless it is such a chain, bit for bit.

        Args:
            last: a last hidden state, (sequences, tokens, hidden).
            logits_of: the model's own head, (sequences, tokens, vocabulary).
            products: the precision that the head is to multiply in.
        """
        import torch
        from torch.nn.functional import linear

        calls: list[tuple[nn.Module, Any, Any]] = []

        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            calls.append((module, next(iter([*args, *kwargs.values()]), None), output))

        hooks = [module.register_forward_hook(note, with_kwargs=True) for module in model.modules()]
        try:
            logits = logits_of(last)
        finally:
            for hook in hooks:
                hook.remove()
        before: list[nn.Module] = []
        here = last
        for module, entering, leaving in calls:
            if _same(entering, here) and isinstance(leaving, torch.Tensor) and not _same(leaving, here):
                weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
                if _same(leaving, logits) and weight is not None and _same(linear(here, weight, bias), logits):
                    return cls(tuple(before), module, products)
                before.append(module)
                here = leaving
        return None

    def features(self, hidden: Tensor) -> Tensor:
        """What enters the product: (..., hidden) in and out."""
        for module in self.before:
            hidden = module(hidden)
        return hidden

    def logits(self, features: Tensor) -> Tensor:
        """Whole logits in float32: (rows, hidden) -> (rows, vocabulary)."""
        import torch

        whole = torch.empty(len(features), len(self.weight), device=features.device)
        for columns, logits in self._blocks(features):
            whole[:, columns] = logits
        return whole

    def fused_nll(self, features: Tensor, targets: Tensor) -> Tensor | None:
        """Negative log-likelihood of the targets in nats by a kernel made for it: (rows, hidden), (rows,) -> (rows,).

        None where there is none, or it would multiply in another precision than this head is to.
        """
        fused = fused_cross_entropy(features.device.type)
        if fused is None or not features.dtype == self.weight.dtype == self._dtype:
            return None
        return fused(features, self.weight, targets, self.bias)

    def log_partition(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The log-sum-exp of each row's logits, and the logit of its target: (rows, hidden), (rows,) -> 2 x (rows,).

        Float64; the sum of a block's exponentials within is float32. Both come from one product: where the target is all
        but certain, its rounding errors cancel in the difference, the negative log-likelihood.
        """
        import torch

        done = [self._log_partition(*part) for part in zip(_even(features), _even(targets), strict=True)]
        partitions, of_targets = zip(*done, strict=True)
        return torch.cat(partitions), torch.cat(of_targets)

    def _log_partition(self, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        parts = []
        of_targets = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        for columns, logits in self._blocks(rows):
            place = targets[:, None] - columns.start
            here = (place >= 0) & (place < logits.shape[1])
            of_targets += logits.gather(1, place.where(here, 0)).where(here, 0)[:, 0]
            highest = logits.amax(-1, keepdim=True)
            parts.append(logits.sub_(highest).exp_().sum(-1).double().log_() + highest[:, 0])
        # Over the last dimension: over the first, torch's log-sum-exp of a row depends on how many others there are.
        return torch.stack(parts, 1).logsumexp(1), of_targets

    def expected_embedding(self, features: Tensor, log_partition: Tensor) -> Tensor:
        """The mean of the output embeddings under each row's distribution: (rows, hidden) -> the same, float32."""
        import torch

        def of(rows: Tensor, log_partition: Tensor) -> Tensor:
            mean = torch.zeros_like(rows, dtype=torch.float32)
            for columns, logits in self._blocks(rows):
                mean.addmm_(logits.sub_(log_partition[:, None]).exp_(), self.weight[columns].float())
            return mean

        return torch.cat([of(*part) for part in zip(_even(features), _even(log_partition.float()), strict=True)])

    def _blocks(self, rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The logits in float32, some columns at a time: (rows, columns). Each overwrites the one before."""
        import torch

        rows = rows.to(self._dtype)
        packed = self.blocks and version_of(self.weight) == self.packed_from
        size = COLUMNS.get(rows.device.type, COLUMNS["cpu"])
        memory = torch.empty(len(rows) * size, device=rows.device)
        for number, begin in enumerate(range(0, len(self.weight), size)):
            columns = slice(begin, begin + size)
            weight = self.weight[columns].to(self._dtype)
            logits = memory[: len(rows) * len(weight)].view(len(rows), len(weight))
            if packed:
                logits.copy_(self.blocks[number](rows))
            else:
                _multiply(rows, weight, logits)
            if self.bias is not None:
                logits += self.bias[columns]
            yield columns, logits

    @property
    def _dtype(self) -> torch.dtype:
        import torch

        return getattr(torch, self.products)  # type: ignore[no-any-return]


def _multiply(rows: Tensor, weight: Tensor, logits: Tensor) -> None:
    """``rows @ weight.T`` in float32: (rows, hidden), (words, hidden) -> (rows, words).

    Of 16-bit factors a card gives the sums as they are, in float32; a processor rounds them to 16 bits.
    """
    import torch

    if rows.dtype == logits.dtype:
        torch.mm(rows, weight.T, out=logits)
    elif rows.is_cuda and hasattr(torch.ops.aten.mm, "dtype_out"):  # older torch has none
        torch.mm(rows, weight.T, out_dtype=logits.dtype, out=logits)
    else:
        logits.copy_(rows @ weight.T)


def _linear(weight: Tensor) -> nn.Linear:
    """A product with this very tensor: (words, hidden)."""
    from torch import nn

    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    module.weight = nn.Parameter(weight, requires_grad=False)
    return module


class LinearOutputs(Outputs):
    """Predictions of a batch from a linear head: nothing as large as the vocabulary is kept.

    Only tokens that a loss is about are predicted: of a question the answers, some 5 of 25 tokens an option.

    KL costs one product, as the likelihood does. The distributions form an exponential family with the features as
    parameters, so KL(dense || this) is the Bregman divergence of the log-partition A:

        A(this) - A(dense) - E_dense[embedding] . (this - dense)

    whose last factor, hidden-sized, is computed once for the dense model. Where logits are rounded to 16 bits the roundings
    of each A stay: they cancel in a likelihood, not here.
    """

    def __init__(self, head: LinearHead, batch: Batch, hidden: Tensor) -> None:
        self.head, self.batch, self.hidden = head, batch, hidden
        self._predicting, self._here = hidden[:, :-1], batch.predicted()
        self._rows = head.features(self._predicting[self._here][None])[0]  # of three dimensions, as the head was found

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """See :meth:`lpk.core.contracts.Outputs.chunks`."""
        for positions in _chunks(self.batch):
            features = self.head.features(self._predicting[:, positions])
            yield positions, self.head.logits(features.flatten(0, 1)).view(*features.shape[:2], -1)

    def token_nll(self) -> Tensor:
        """See :meth:`lpk.core.contracts.Outputs.token_nll`."""
        return self._nll

    @cached_property
    def _nll(self) -> Tensor:
        # Once for all objectives of a pass: plain accuracy and normalised, the parts of a mixture.
        fused = self.head.fused_nll(self._rows, self._targets)
        if fused is not None:
            return self._placed(fused)
        log_partition, of_targets = self._sums
        return self._placed(log_partition - of_targets)

    def token_kl(self, dense: Outputs) -> Tensor:
        """See :meth:`lpk.core.contracts.Outputs.token_kl`."""
        if not isinstance(dense, LinearOutputs) or dense.head is not self.head:
            return super().token_kl(dense)
        apart = (self._rows.double() - dense._rows.double()).mul_(dense._expected_embedding).sum(-1)
        return self._placed(self._sums[0] - dense._sums[0] - apart)

    def _placed(self, values: Tensor) -> Tensor:
        """One value for each token that a loss is about, where that token is: (rows,) -> (sequences, tokens - 1)."""
        return values.new_zeros(self._here.shape).masked_scatter_(self._here, values)

    @property
    def _targets(self) -> Tensor:
        return self.batch.ids[:, 1:][self._here]

    @cached_property
    def _sums(self) -> tuple[Tensor, Tensor]:
        # One product for likelihood and KL.
        return self.head.log_partition(self._rows, self._targets)

    @cached_property
    def _expected_embedding(self) -> Tensor:
        return self.head.expected_embedding(self._rows, self._sums[0])


class ChunkedOutputs(Outputs):
    """Predictions of a batch whose logits somebody else makes, a chunk of positions at a time."""

    def __init__(self, batch: Batch, logits_at: Callable[[slice], Tensor], hidden: Tensor | None = None) -> None:
        self.batch, self.logits_at, self.hidden = batch, logits_at, hidden

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """See :meth:`lpk.core.contracts.Outputs.chunks`."""
        for positions in _chunks(self.batch):
            yield positions, self.logits_at(positions).float()


class WholeOutputs(ChunkedOutputs):
    """Predictions of a batch from the logits of a whole-model forward."""

    def __init__(self, batch: Batch, logits: Tensor) -> None:
        super().__init__(batch, lambda positions: logits[:, positions])


def fused_cross_entropy(device: str) -> Callable[..., Tensor] | None:
    """Liger's kernel (features, weight, targets, bias -> one loss for each row) on CUDA, if liger-kernel is installed.

    It multiplies in the precision of what it is given.
    """
    if device != "cuda" or find_spec("liger_kernel") is None:
        return None
    import torch
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    def losses(features: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> Tensor:
        # Triton launches on the current device, whatever it is given.
        with torch.cuda.device_of(features):  # type: ignore[no-untyped-call]
            found: Tensor = liger_fused_linear_cross_entropy(features, weight, targets, bias, reduction="none")
        if found.shape != targets.shape:  # some sum whatever is asked for: 0.5.2, 0.6.0
            raise UsageError("this liger-kernel gives no loss for each token; upgrade it, or uninstall it")
        return found

    return losses


def _same(one: Any, other: Any) -> bool:
    import torch

    tensors = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    return tensors and one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)


def _parts(length: int, most: int) -> list[slice]:
    """As few parts of at most this length as there can be, all nearly equal.

    A product of fewer than 16 rows takes another kernel and gives other last bits (MKL's sgemm does). So no part may be
    a short remainder of a longer whole: a loss must not depend on how long the parts are.
    """
    count = -(-length // most)
    return [slice(length * part // count, length * (part + 1) // count) for part in range(count)]


def _even(rows: Tensor) -> list[Tensor]:
    return [rows[part] for part in _parts(len(rows), ROWS)]


def _chunks(batch: Batch) -> list[slice]:
    return _parts(batch.ids.shape[1] - 1, CHUNK)
