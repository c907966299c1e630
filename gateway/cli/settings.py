"""`sealgate settings`: what can be set, and what is set."""

import json
from typing import Annotated

import typer
from pydantic import SecretStr

from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import print_table
from gateway.config import setting_rows, settings_markdown, spelled


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("settings")(show_settings)


def show_settings(
    *,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/SETTINGS.md.")] = False,
) -> None:
    """Show every setting with the value that file and environment give it; secrets are left out.

    Set one by SEALGATE_ and its name in capitals, by a line of the file, or by a flag of `sealgate serve`.
    """
    if markdown:
        typer.echo(settings_markdown(), nl=False)
        return
    settings = settings_of(data, keys, config)
    values = {row.name: getattr(settings, row.name) for row in setting_rows()}
    shown = {name: "(secret)" if isinstance(value, SecretStr) else value for name, value in values.items()}
    if as_json:
        typer.echo(json.dumps(shown, default=str))
        return
    rows = [(row.name, spelled(shown[row.name]), row.unit, row.text) for row in setting_rows()]
    print_table([("setting", "value", "unit", "what for"), *rows])
