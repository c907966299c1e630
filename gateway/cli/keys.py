"""`sealgate key`: the wrapping keys that SSE-KMS requests name. A gateway that serves makes them itself, when asked."""

from typing import Annotated

import typer

from gateway.cli.options import AsJson, Config, Data, Keys, help_without_command, print_answer, settings_of
from gateway.cli.session import run_command

_key = typer.Typer(
    help="Wrapping keys: what `aws:kms` requests name.", callback=help_without_command, invoke_without_command=True
)


def register(app: typer.Typer) -> None:
    """Add the family."""
    app.add_typer(_key, name="key")


@_key.command("create")
def create_key(
    *,
    alias: Annotated[str, typer.Option(metavar="NAME", help="Its name: `alias/NAME` in requests.")],
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Add a wrapping key to the local keyring. Back the keys folder up afterwards: what it wraps opens only by it."""
    print_answer(run_command(settings_of(data, keys, config), "create_key", {"alias": alias}), as_json=as_json)


@_key.command("list")
def list_keys(*, data: Data = None, keys: Keys = None, config: Config = None, as_json: AsJson = False) -> None:
    """List every wrapping key; never their material."""
    print_answer(run_command(settings_of(data, keys, config), "list_keys", {}), as_json=as_json)


@_key.command("describe")
def describe_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key id, alias or ARN.")],
    *,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show one wrapping key."""
    print_answer(run_command(settings_of(data, keys, config), "describe_key", {"key": key}), as_json=as_json)
