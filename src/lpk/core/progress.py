"""How long work tells that it goes on. What is shown, and where, is the command's business."""

from __future__ import annotations

from types import TracebackType


class Progress:
    """Says nothing; commands subclass it. A context manager, so that a terminal is left as it was found."""

    def stage(self, title: str, total: int | None = None) -> None:
        """A new stage of work begins; ``total`` is a forecast of its size, if there is one."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Some of it is done."""

    def note(self, text: str) -> None:
        """Something that stops nothing, but that a person should know."""

    def done(self) -> None:
        """All work is over."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done()
