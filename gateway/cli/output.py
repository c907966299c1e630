"""What every command says: its answer on standard output, and on standard error how far it is, where a person looks."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from gateway.cli.exits import Exit


def print_answer(answer: dict[str, Any], *, as_json: bool) -> None:
    """One JSON object, or the same for a reader: a list of records alone as a table, anything else line by line."""
    if as_json:
        typer.echo(json.dumps(answer))
        return
    only = next(iter(answer.values())) if len(answer) == 1 else None
    records = only if isinstance(only, list) else None
    if records is None:
        for name, value in answer.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                typer.echo(f"{name}:")
                _print_records(value, indent="  ")
            else:
                typer.echo(f"{name}: {_in_words(value)}")
        return
    if not records:
        typer.echo("none")
        return
    _print_records(records)


def _print_records(records: list[dict[str, Any]], indent: str = "") -> None:
    print_table([tuple(records[0]), *(tuple(map(str, record.values())) for record in records)], indent)


def _in_words(value: Any) -> str:
    """A value without Python's brackets."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={_in_words(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_in_words, value)) or "none"
    return str(value)


def print_table(rows: list[tuple[str, ...]], indent: str = "") -> None:
    """One line a row, however narrow the window: names that are cut cannot be copied, and lines can be searched."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo(indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def is_debug() -> bool:
    """Whether `--debug` was given."""
    return logging.getLogger("gateway").isEnabledFor(logging.DEBUG)


@contextmanager
def working(on_what: str) -> Iterator[None]:
    """Show that work goes on, where a person looks at standard error."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415  # deferred: only who looks pays for it

    with Console(stderr=True).status(on_what):
        yield


@contextmanager
def counting(what: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show the counts of a job as they come, where a person looks at standard error."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415  # as above

    with Console(stderr=True).status(what) as status:
        yield lambda report: status.update(
            f"{what}: "
            + " ".join(f"{name.removesuffix('_count')} {report[name]}" for name in _SHOWN if report.get(name))
        )


_SHOWN = (
    "copied_count",
    "scanned_count",
    "moved_count",
    "sealed_count",
    "destroyed_count",
    "failed_count",
    "left_count",
)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar, where a person looks at standard error; gives the function that moves it on by one."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415  # as above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415  # as above

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def help_without_command(context: typer.Context) -> None:
    """Show the help of a family that was called without a command, and leave as a wrong call does."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(Exit.USAGE)
