"""What the masks of one model are measured on: each calibration draw, text and task of a study, read and cut once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lpk.core.errors import UsageError
from lpk.core.pruning.calibration import Corpus
from lpk.core.pruning.inputs import same_file
from lpk.core.pruning.items import Items
from lpk.core.pruning.parts import Term
from lpk.core.pruning.recipe import CalibrationRecipe
from lpk.core.study.recipe import TaskRecipe, TextRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


class Data:
    """The items of a study as one model's tokens."""

    def __init__(
        self,
        calibrations: Sequence[CalibrationRecipe],
        tokenizer: PreTrainedTokenizerBase | None,
        config: PreTrainedConfig,
        device: str,
    ) -> None:
        """Nothing is read yet.

        Args:
            calibrations: all that the study calibrates on.
            tokenizer: the model's, if it has one.
            config: the model's, to refuse ids that it has no words for.
            device: where the model is.
        """
        self._calibrations, self._tokenizer, self._config, self._device = calibrations, tokenizer, config, device
        self._known: dict[Any, Items] = {}

    def drawn(self, term: Term, seed: int) -> Items:
        """A calibration draw.

        Raises:
            UsageError: as :meth:`Corpus.read` and :meth:`Corpus.draw`.
        """

        def draw() -> Items:
            corpus = Corpus.read(term.calibration.source, term.calibration.field, term.role)
            return term.draw(corpus, self._tokenizer, seed)

        return self._once((term.calibration, term.objective.items, seed), draw)

    def text(self, asked: TextRecipe) -> Items:
        """A text to report perplexity on.

        Raises:
            UsageError: as :meth:`Corpus.read` and :meth:`Corpus.held_out`, or all of it is calibrated on.
        """

        def cut() -> Items:
            corpus, whole = Corpus.read(asked.source, asked.field, "text"), not self._calibrated_on(asked.source)
            if corpus.ids and not whole:
                raise UsageError(f"text {asked.source}: these ids are calibrated on, all of them; give others")
            return corpus.held_out(self._tokenizer, asked.sequences, asked.length, whole=whole)

        return self._once(asked, cut)

    def questions(self, asked: TaskRecipe) -> Items:
        """A task's questions to report accuracy on.

        Raises:
            UsageError: as :meth:`Corpus.read` and :meth:`Corpus.held_out`.
        """

        def cut() -> Items:
            corpus, whole = Corpus.read(asked.source, role="task"), not self._calibrated_on(asked.source)
            return corpus.held_out(self._tokenizer, asked.items, asked.length, whole=whole, kind="questions")

        return self._once(asked, cut)

    def _calibrated_on(self, source: str) -> bool:
        return any(same_file(source, asked.source) for asked in self._calibrations)

    def _once(self, key: Any, make: Callable[[], Items]) -> Items:
        if key not in self._known:
            items = make()
            items.check(self._config.get_text_config())
            self._known[key] = items.on(self._device)
        return self._known[key]
