"""`sealgate settings` and `sealgate version`: what can be set, what is set, and what is installed."""

import json
from importlib.metadata import version as installed_version
from typing import Annotated

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.config import setting_rows, settings_markdown


def register(app: typer.Typer) -> None:
    """Add the family."""
    app.command("settings")(show_settings)
    app.command("version")(show_version)


def show_settings(
    *,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/SETTINGS.md.")] = False,
) -> None:
    """Show every setting with the value that file and environment give it; secrets are left out."""
    if markdown:
        typer.echo(settings_markdown(), nl=False)
        return
    settings = settings_of(data, keys, config)
    values = {row.name: getattr(settings, row.name) for row in setting_rows()}
    shown = {name: "(secret)" if isinstance(value, SecretStr) else value for name, value in values.items()}
    if as_json:
        typer.echo(json.dumps(shown, default=str))
        return
    table = Table("setting", "value", "variable", "what for", box=None)
    for row in setting_rows():
        value = shown[row.name]
        table.add_row(row.name, "" if value is None else str(value), row.variable, row.text)
    Console().print(table)


def show_version() -> None:
    """Print the version."""
    typer.echo(f"sealgate {installed_version('sealgate')}")
