"""`sealgate recovery`: offline keys that open what the KMS wraps when the KMS is gone."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.control import Answer
from gateway.cli.exits import CommandError, SetupError
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import counting, help_without_command, print_answer
from gateway.cli.session import run_command
from gateway.config import Settings
from gateway.wiring.folders import Folders
from keys.safe_files import read_private_file, write_private_file

if TYPE_CHECKING:
    from keys.recovery import RecoverySecret

_recovery = typer.Typer(
    help="Recovery recipients: offline keys for the day when the KMS is gone.",
    callback=help_without_command,
    invoke_without_command=True,
)
_MAX_PUBLIC_BYTES = 1024


def register(app: typer.Typer) -> None:
    """Add the family."""
    app.add_typer(_recovery, name="recovery")


@_recovery.command("keygen")
def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the secret goes; it must not exist.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Make a recovery secret and say its public key. Do it on a machine apart, and keep the file offline."""
    from keys.recovery import Recipient, RecoverySecret  # noqa: PLC0415  # deferred: most commands here only ask

    secret = RecoverySecret.generate()
    write_private_file(file, secret.encode(), replace=False)
    text = Recipient("mine", secret.public, datetime.now(UTC)).text
    print_answer({"public": text, "secret_file": str(file)}, as_json=as_json)


@_recovery.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it here.")],
    public: Annotated[str, typer.Argument(metavar="KEY|FILE", help="The public key, or a file that holds it.")],
    *,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Copy every key from now on to a recipient. `sealgate key rewrap` copies those that are there already."""
    arguments = {"name": name, "public": _public(public)}
    print_answer(run_command(settings_of(data, keys, config), "add_recipient", arguments), as_json=as_json)


@_recovery.command("list")
def list_recipients(*, data: Data = None, keys: Keys = None, config: Config = None, as_json: AsJson = False) -> None:
    """List the recipients."""
    print_answer(run_command(settings_of(data, keys, config), "list_recipients", {}), as_json=as_json)


@_recovery.command("remove")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As it was added.")],
    *,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Copy nothing more to a recipient. Copies that it has in blobs stay there: it goes on opening what they open."""
    print_answer(run_command(settings_of(data, keys, config), "remove_recipient", {"name": name}), as_json=as_json)


@_recovery.command("open")
def open_realm(
    secret: Annotated[Path, typer.Argument(metavar="FILE", help="The recovery secret.")],
    *,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Open a realm whose KMS is gone: wrap all that the secret opens under a local keyring, which is made if need be.

    The gateway must not serve. Cut off, it is started again and goes on; the report ends with what is left.
    """
    from keys.recovery import SECRET_FILE_MAX_BYTES, RecoverySecret  # noqa: PLC0415  # as above

    settings = settings_of(data, keys, config)
    opened = RecoverySecret.decode(read_private_file(secret, SECRET_FILE_MAX_BYTES))
    with counting("recovering") as tell:
        report = asyncio.run(_open(settings, opened, tell))
    print_answer(report, as_json=as_json)
    if not as_json:
        typer.echo(f"{report['left_count']} left")


async def _open(settings: Settings, secret: "RecoverySecret", tell: Any) -> Answer:
    # Deferred: no other command of the family opens anything.
    from gateway.cli.bootstrap import check_apart, owned  # noqa: PLC0415
    from gateway.cli.pki import TlsFiles, make_certificates, server_names, utc_now  # noqa: PLC0415
    from gateway.wiring.recovered import recover_realm  # noqa: PLC0415

    folders = Folders.of(settings)
    if not folders.realm_file.exists():
        raise SetupError(f"{folders.realm_file} is missing: give --data the folder of the realm that is to be opened")
    check_apart(settings, folders)
    async with owned(folders):
        report = await recover_realm(settings, folders, secret, tell)
        if settings.tls_certificate is None and not folders.tls.exists():
            make_certificates(TlsFiles(folders.tls), server_names(settings), utc_now())
        return asdict(report)


def _public(given: str) -> str:
    from keys.recovery import PUBLIC_PREFIX  # noqa: PLC0415  # as above

    if given.startswith(PUBLIC_PREFIX):
        return given
    try:
        with Path(given).open(encoding="ascii") as file:
            return file.read(_MAX_PUBLIC_BYTES)
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"{given} is no public recovery key and no file that holds one") from None
