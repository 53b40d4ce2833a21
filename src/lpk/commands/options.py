"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from lpk.core.memory import parse_bytes


class Size(click.ParamType[int]):
    """Bytes, as people write them."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return parse_bytes(value) if isinstance(value, str) else value


def memory_options(takes: str) -> Callable[[Any], Any]:
    """``--stream`` and ``--memory``: how much a model may take, and what is done if it does not fit.

    Args:
        takes: who may take what, and the default.
    """
    stream = click.option(
        "--stream",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="Read layers from the disk as they run; auto: when a model does not fit into memory.  [default: auto]",
    )
    memory = click.option("--memory", type=Size(), metavar="SIZE", help=takes)
    return lambda command: stream(memory(command))
