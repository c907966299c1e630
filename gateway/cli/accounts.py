"""`sealgate account` and `sealgate access-key`: who may use the gateway.

While a gateway serves the data folder it runs these commands itself, asked through its control socket; otherwise they
open the catalogue here.
"""

from typing import Annotated, Any

import typer

from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import help_without_command, print_answer
from gateway.cli.session import run_command

_account = typer.Typer(
    help="Accounts: each owns buckets of its own.", callback=help_without_command, invoke_without_command=True
)
_access_key = typer.Typer(
    help="Access keys: what clients of an account sign with.",
    callback=help_without_command,
    invoke_without_command=True,
)

AccessKeyId = Annotated[str, typer.Argument(metavar="ACCESS_KEY_ID", help="As `sealgate access-key list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the family."""
    app.add_typer(_account, name="account")
    app.add_typer(_access_key, name="access-key")


@_account.command("create")
def create_account(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits, dots, hyphens and underscores.")],
    *,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Add an account. It has no access key yet: `sealgate access-key create --account NAME` makes one."""
    answer = run_command(settings_of(data, keys, config), "create_account", {"name": name})
    print_answer(answer, as_json=as_json)


@_account.command("list")
def list_accounts(*, data: Data = None, keys: Keys = None, config: Config = None, as_json: AsJson = False) -> None:
    """List every account."""
    print_answer(run_command(settings_of(data, keys, config), "list_accounts", {}), as_json=as_json)


@_access_key.command("create")
def create_access_key(
    *,
    account: Annotated[str, typer.Option(metavar="NAME", help="The account that it is for.")],
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Add an access key. Its secret is shown now and never again."""
    answer = run_command(settings_of(data, keys, config), "create_access_key", {"account": account})
    print_answer(answer, as_json=as_json)


@_access_key.command("list")
def list_access_keys(
    *,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of one account.")] = None,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List access keys; never their secrets."""
    arguments: dict[str, Any] = {} if account is None else {"account": account}
    print_answer(run_command(settings_of(data, keys, config), "list_access_keys", arguments), as_json=as_json)


def _by_id(command: str, help_text: str) -> None:
    def run(
        access_key_id: AccessKeyId,
        *,
        data: Data = None,
        keys: Keys = None,
        config: Config = None,
        as_json: AsJson = False,
    ) -> None:
        arguments = {"access_key_id": access_key_id}
        answer = run_command(settings_of(data, keys, config), f"{command}_access_key", arguments)
        print_answer(answer, as_json=as_json)

    _access_key.command(command, help=help_text)(run)


_by_id("disable", "Refuse an access key from the next request on.")
_by_id("enable", "Let a disabled access key sign again.")
_by_id("delete", "Forget an access key for good.")
