"""`sealgate account` and `sealgate access-key`: who may use the gateway.

While a gateway serves the data folder it runs these commands itself, asked through its control socket; otherwise they
open the catalogue here.
"""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.exits import CommandError
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import help_without_command, print_answer
from gateway.cli.session import run_command
from gateway.wiring.folders import Folders

if TYPE_CHECKING:
    from gateway.cli.client_env import ClientEnv

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
    env_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write what a client needs into this new file (mode 0600), and show no secret."
        ),
    ] = None,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Add an access key, and show what to paste into a client's shell. Its secret is shown now and never again."""
    from gateway.cli.client_env import ClientEnv  # noqa: PLC0415  # deferred: it brings the certificates' library
    from keys.safe_files import write_private_file  # noqa: PLC0415  # as above

    settings = settings_of(data, keys, config)
    folders = Folders.of(settings)
    # All that may fail comes before the secret, which nobody shows a second time.
    env = ClientEnv.beside(settings, folders)
    if env_file is not None and (env_file.exists() or not env_file.parent.is_dir()):
        raise CommandError(f"{env_file} exists, or its folder does not: give --env-file another name")
    answer = run_command(settings, "create_access_key", {"account": account})
    env = replace(env, access_key_id=answer["access_key_id"], secret_access_key=answer["secret_access_key"])
    if env_file is not None:
        write_private_file(env_file, env.encode(), replace=False)
        answer = {name: value for name, value in answer.items() if name != "secret_access_key"}
        answer["env_file"] = str(env_file)
    print_answer(answer, as_json=as_json)
    if not as_json:
        typer.echo(_for_clients(env, env_file))


def _for_clients(env: "ClientEnv", env_file: Path | None) -> str:
    """What to do with a new access key: lines for the shell of an AWS tool, and what another machine needs."""
    lines = [
        "",
        "The secret is shown this once. Paste into the shell of a client (aws-cli, boto3, rclone with env_auth):",
        *(f"  {line}" for line in env.encode().decode("utf-8", "surrogateescape").splitlines()),
    ]
    if env_file is not None:
        lines = ["", "Source it in the shell of a client:", f"  . {shlex.quote(str(env_file.absolute()))}"]
    if env.is_private_ca:
        lines.append("On another machine: a copy of that CA file, and a name of this one in the URL (--domains).")
    return "\n".join(lines)


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
