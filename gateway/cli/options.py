"""What every command shares: where the folders are, how answers are printed, and flags made from the settings table."""

import inspect
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from gateway.cli.exits import Exit
from gateway.config import Settings, load_settings, setting_rows

Data = Annotated[str | None, typer.Option(metavar="FOLDER", help="Folder of the sealed data.", show_default=False)]
Keys = Annotated[str | None, typer.Option(metavar="FOLDER", help="Folder of the keyring.", show_default=False)]
Config = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings file (TOML).", show_default=False, envvar=None)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def settings_of(data: str | None, keys: str | None, config: Path | None) -> Settings:
    """The settings of a command that takes folders alone as flags. Raises: SettingsError."""
    given = {"data": data, "keys": keys}
    return load_settings({name: value for name, value in given.items() if value is not None}, config=config)


def with_setting_flags(run: Callable[..., None], *, json_flag: bool = False) -> Callable[..., None]:
    """A command with a flag for every setting that is no secret; values stay text for the table to judge.

    `run` is called with these values and the settings file, and with `as_json` where there is that flag.
    """
    rows = [row for row in setting_rows() if not row.secret]
    parameters = [inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Config)]
    for row in rows:
        unit = f" In {row.unit}." if row.unit else ""
        default = f" Default: {row.default.replace('`', '')}." if row.default != "``" else ""
        option = typer.Option(row.flag, metavar=_metavar(row.kind), help=f"{row.text}{unit}{default}")
        annotation = Annotated[str | None, option]
        parameters.append(
            inspect.Parameter(row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )

    if json_flag:
        parameters.append(
            inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=AsJson)
        )

    def command(**flags: Any) -> None:
        config = flags.pop("config")
        options = {"as_json": flags.pop("as_json")} if json_flag else {}
        run({name: value for name, value in flags.items() if value is not None}, config, **options)

    # Typer reads a function's signature; this one is made from the table, so that no flag can be forgotten there.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # documented by inspect
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = run.__doc__
    return command


def _metavar(kind: str) -> str:
    """Words to choose from as they are typed; any other kind of value as what it is."""
    words = kind.split(" or ")
    return f"[{'|'.join(words)}]" if len(words) > 1 else kind.split(",", maxsplit=1)[0].upper()


def print_answer(answer: dict[str, Any], *, as_json: bool) -> None:
    """One JSON object, or the same for a reader: a list of records alone as a table, anything else line by line."""
    if as_json:
        typer.echo(json.dumps(answer))
        return
    only = next(iter(answer.values())) if len(answer) == 1 else None
    records = only if isinstance(only, list) else None
    if records is None:
        for name, value in answer.items():
            typer.echo(f"{name}: {value}")
        return
    if not records:
        typer.echo("none")
        return
    print_table([tuple(records[0]), *(tuple(map(str, record.values())) for record in records)])


def print_table(rows: list[tuple[str, ...]]) -> None:
    """One line a row, however narrow the window: names that are cut cannot be copied, and lines can be searched."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def is_debug() -> bool:
    """Whether `--debug` was given."""
    return logging.getLogger("gateway").isEnabledFor(logging.DEBUG)


@contextmanager
def working(on_what: str) -> Iterator[None]:
    """Show that work goes on, where a person looks at standard error."""
    console = Console(stderr=True)
    with console.status(on_what) if console.is_terminal else nullcontext():
        yield


@contextmanager
def counting(what: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show the counts of a job as they come, where a person looks at standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(what) as status:
        yield lambda report: status.update(
            f"{what}: "
            + " ".join(f"{name.removesuffix('_count')} {report[name]}" for name in _SHOWN if report.get(name))
        )


_SHOWN = ("scanned_count", "moved_count", "sealed_count", "destroyed_count", "failed_count", "left_count")


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar, where a person looks at standard error; gives the function that moves it on by one."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def help_without_command(context: typer.Context) -> None:
    """Show the help of a family that was called without a command, and leave as a wrong call does."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(Exit.USAGE)
