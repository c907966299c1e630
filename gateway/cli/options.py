"""What every command takes: where the folders are, and flags made from the settings table."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.config import Settings, load_settings, setting_rows

Data = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the sealed data. Default: $SEALGATE_DATA, or sealgate-data.",
        show_default=False,
    ),
]
Keys = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the keyring. Default: $SEALGATE_KEYS, or that of the data and -keys.",
        show_default=False,
    ),
]
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
