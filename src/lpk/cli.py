"""The ``lpk`` command: which commands there are, and how an error is told.

Nothing here, nor in ``lpk plugins``, imports torch, transformers, optuna, pymupdf or numpy: a person who asks for help
should not wait for them.
"""

from __future__ import annotations

import pkgutil
import sys
import traceback
from typing import Any, Final

import click

from lpk import __version__
from lpk.core.errors import ExitCode, LpkError, did_you_mean, first_wrong

#: command -> (what it does, where it is).
COMMANDS: Final = {
    "audit": ("Audit an evidence ledger: seven rounds of rules, then the gate.", "lpk.commands.audit:audit"),
    "draft": ("Render what a ledger bears out: draft, tables, references.", "lpk.commands.draft:draft"),
    "ledger": ("Keep an evidence ledger of what papers claim.", "lpk.commands.ledger:ledger"),
    "models": ("List and download the models known by a short name.", "lpk.commands.models:models"),
    "plugins": ("List installed plugins and describe one.", "lpk.commands.plugins:plugins"),
    "prove": ("Look every supported claim of a ledger up again, without lpk.", "lpk.commands.prove:prove"),
    "quote": ("Look for a quote in a document: is it there, and where?", "lpk.commands.quote:quote"),
    "run": ("Remove layers from a model, measure what it costs, write the smaller model.", "lpk.commands.run:run"),
    "schema": ("Print the JSON schema of a run recipe or a study file.", "lpk.commands.schema:schema"),
    "study": ("Run a grid of searches and compare what they find.", "lpk.commands.study:study"),
}


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = pkgutil.resolve_name(COMMANDS[cmd_name][1])
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}{did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][0]) for name in self.list_commands(ctx)])


EPILOG = (
    "Exit codes: 0 done; 1 a defect in lpk, or the answer no (audit, prove, quote check, ledger verify); 2 bad input; 3 a broken or ambiguous plugin; "
    "4 something is not installed or the network is missing; 130 interrupted."
)


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lpk")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def group(debug: bool) -> None:
    """Decide which layers of a language model can go, and prove what that costs."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error is one line on stderr and an exit code."""
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        return _tell("an argument is not UTF-8", ExitCode.USAGE, None, arguments)
    try:
        result: Any = group.main(arguments, prog_name="lpk", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else ExitCode.OK
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        return _tell(error.format_message().rstrip(".") + hint, ExitCode.USAGE, error, arguments)
    except LpkError as error:
        return _tell(str(error), error.exit_code, error, arguments)
    except (KeyboardInterrupt, click.Abort):
        return _tell("interrupted; run the same command again to go on", ExitCode.INTERRUPTED, None, arguments)
    except Exception as error:
        if isinstance(error, OSError) and error.filename:  # a name too long, a folder that may not be read ...
            message = f"{error.filename}: {(error.strerror or str(error)).lower()}"
            return _tell(message, ExitCode.USAGE, error, arguments)
        wrong: Any = error
        if type(error).__module__.startswith("pydantic") and hasattr(error, "errors"):  # a value that a record refuses
            return _tell(first_wrong(wrong), ExitCode.USAGE, error, arguments)
        message = f"a defect in lpk: {type(error).__name__}: {error} (lpk --debug ... shows where)"
        return _tell(message, ExitCode.INTERNAL, error, arguments)


def _tell(message: str, code: ExitCode, error: BaseException | None, arguments: list[str]) -> int:
    if error is not None and "--debug" in arguments[:1]:
        traceback.print_exception(error, file=sys.stderr)
    print(f"lpk: {' '.join(message.split())}", file=sys.stderr)
    return code
