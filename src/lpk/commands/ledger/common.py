"""What the commands of ``lpk ledger`` share: the group, where the ledger is, and how a result is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lpk.core.errors import UsageError
from lpk.core.registry import installed

if TYPE_CHECKING:
    from lpk.core.evidence.ledger import Ledger, Snapshot

Command = Callable[..., Any]


class _Folder(click.Path):
    """A folder; of an empty text, such as an unset variable gives, the working directory is not what was meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty: name a folder, or leave it out", param, ctx)
        return super().convert(value, param, ctx)


_FOLDER = _Folder(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def ledger() -> None:
    """Keep an evidence ledger: papers, quotes, claims, and how far each claim has come."""


def of_ledger(otherwise: Path | None = Path(), said: str = "the working directory") -> Callable[[Command], Command]:
    """Give a command ``folder``, where its ledger is: FOLDER, --ledger or LPK_LEDGER says so.

    FOLDER is there only where a command takes no other arguments: beside ids and texts it could be taken for one.

    Args:
        otherwise: the folder where none is named.
        said: how the help calls that.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def told(named: Path | None, folder: Path | None = None, **values: Any) -> Any:
            source = click.get_current_context().get_parameter_source("named")
            if folder is not None and source is ParameterSource.COMMANDLINE:
                raise UsageError(f"two ledgers are named, {folder} and {named}: leave one out")
            return command(folder=folder or named or otherwise, **values)

        option = click.option(
            "--ledger",
            "named",
            envvar="LPK_LEDGER",
            show_envvar=True,
            show_default=said,
            type=_FOLDER,
            help="The ledger's folder.",
        )
        taken = any(isinstance(each, click.Argument) for each in getattr(command, "__click_params__", ()))
        if not taken:
            told = click.argument("folder", required=False, type=_FOLDER)(told)
        return option(told)

    return decorate


def opened_at(folder: Path) -> tuple[Ledger, Snapshot]:
    """A ledger, and what is true in it now, with its full texts at hand."""
    from lpk.core.evidence.ledger import Ledger
    from lpk.core.evidence.work import snapshot

    opened = Ledger(folder)
    return opened, snapshot(opened, installed())


def tell(as_json: bool, value: Any, say: Callable[[], None]) -> None:
    """A result, as JSON or in words."""
    if as_json:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        say()
