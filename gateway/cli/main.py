"""The entry of the `sealgate` command: its families, and the one place where a failure becomes a line and a code."""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer
from typer.exceptions import TyperException

from gateway.cli.exits import Exit, exit_of
from gateway.cli.families import Families
from gateway.cli.output import help_without_command, is_debug
from gateway.cli.version import print_version
from gateway.http.process import forbid_core_dumps

app = typer.Typer(
    name="sealgate",
    cls=Families,
    help="An encrypting, S3-compatible object-storage gateway. Start with `sealgate serve`.",
    epilog="Exit codes: " + ", ".join(f"{code.value} {code.name.lower()}" for code in Exit) + ".",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from (not for sharing).")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An encrypting, S3-compatible object-storage gateway. Start with `sealgate serve`."""
    del version  # it has left by now
    if debug:
        # Deferred: only a log needs the counters that stand beside it.
        from gateway.telemetry import configure_logging  # noqa: PLC0415

        configure_logging(level="DEBUG")  # libraries stay quiet: the clients of KMSs would show requests
    else:
        # A command says what went wrong in one line of its own; only `serve` keeps a log.
        logging.getLogger().addHandler(logging.NullHandler())
    help_without_command(context)


def main() -> None:
    """Run the command line and leave with a code of `gateway.cli.exits`."""
    os.umask(0o077)  # whatever a command writes is for this user alone
    forbid_core_dumps()  # most commands hold keys, not `serve` alone
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; every failure is one line on standard error."""
    return guarded(lambda: app(arguments, prog_name="sealgate", standalone_mode=False))


def guarded(command: Callable[[], object]) -> int:
    """Run something, and give the code to leave with; every failure is one line on standard error."""
    try:
        code = command()
    except TyperException as refused:
        context = getattr(refused, "ctx", None)
        path = "sealgate" if context is None else context.command_path
        return _say(f"{_one_line(refused.format_message()).rstrip('.')}. See `{path} --help`.", Exit.USAGE)
    except (typer.Abort, KeyboardInterrupt):
        return _say("stopped", Exit.BUG)
    except BrokenPipeError:
        # Who read our output is gone; nothing more can be said on it, not even by the interpreter's last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BUG
    except Exception as error:  # noqa: BLE001 - as the next line says
        # The last line of defence: expected failures are told in their words, unexpected ones by their kind alone.
        if is_debug():
            traceback.print_exc()
        expected = exit_of(error)
        if expected is not None:
            return _say(_one_line(str(error)), expected)
        return _say(f"unexpected {type(error).__name__}; run again with `sealgate --debug ...` and report it", Exit.BUG)
    return code if isinstance(code, int) else Exit.OK


def _say(line: str, code: Exit) -> Exit:
    typer.echo(f"sealgate: {line}", err=True)
    return code


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
