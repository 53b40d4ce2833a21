"""One state after the other: what a loss is does not depend on what it was computed beside.

On two cores that is as fast: eight 512-token sequences of SmolLM2-135M together took 0.98 of the time of eight alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Component, Executor, Options


class Local(Executor[Options]):
    pass


@hookimpl
def lpk_executors() -> Iterable[Component]:
    yield Component("local", "One state after the other, where the model is", f"{__name__}:Local")
