"""`sealgate key`: the wrapping keys that SSE-KMS requests name. A gateway that serves makes them itself, when asked."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.exits import CommandError, Exit
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import counting, help_without_command, print_answer
from gateway.cli.session import run_command, run_job
from keys.safe_files import write_private_file

Key = Annotated[str, typer.Argument(metavar="KEY", help="Key id, alias or ARN.")]
Version = Annotated[int | None, typer.Option(metavar="N", help="One older version of it, not the whole key.")]
Rate = Annotated[float | None, typer.Option(metavar="N", min=0.1, help="At most so many records a second.")]

_key = typer.Typer(
    help="Wrapping keys and their life cycle: rotation, rewrap, retirement.",
    callback=help_without_command,
    invoke_without_command=True,
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
    """List the keys of the local keyring, and the default one wherever it is; never their material.

    Another KMS lists its own keys; `key describe` shows any of them.
    """
    print_answer(run_command(settings_of(data, keys, config), "list_keys", {}), as_json=as_json)


@_key.command("describe")
def describe_key(
    key: Key,
    *,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show one wrapping key."""
    print_answer(run_command(settings_of(data, keys, config), "describe_key", {"key": key}), as_json=as_json)


@_key.command("rotate")
def rotate_key(
    key: Key, *, data: Data = None, keys: Keys = None, config: Config = None, as_json: AsJson = False
) -> None:
    """Let a new version of a key wrap from now on. What older versions wrapped still opens: `key rewrap` moves it."""
    print_answer(run_command(settings_of(data, keys, config), "rotate_key", {"key": key}), as_json=as_json)


@_key.command("default")
def default_key(
    key: Key, *, data: Data = None, keys: Keys = None, config: Config = None, as_json: AsJson = False
) -> None:
    """Let another key wrap whatever names none."""
    print_answer(run_command(settings_of(data, keys, config), "default_key", {"key": key}), as_json=as_json)


@_key.command("rewrap")
def rewrap(
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="Only what lies under this key.")] = None,
    *,
    to: Annotated[str | None, typer.Option(metavar="KEY", help="Move it all to this key.")] = None,
    rate: Rate = None,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Move all that old versions wrapped to the current one. No data is touched; it goes on while the gateway serves.

    Killed or stopped, it is started again and goes on. The report ends with what is left.
    """
    arguments = {"key": key, "to": to, "rate_per_s": rate}
    _run("rewrap", arguments, data, keys, config, as_json=as_json)


@_key.command("disable")
def disable_key(
    key: Key,
    *,
    version: Version = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also where records need it: their objects cannot be read until `key enable`."),
    ] = False,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Switch a key of the local keyring, or an old version, off. Refused where a scan finds records under it."""
    _run("disable", {"key": key, "version": version, "force": force}, data, keys, config, as_json=as_json)


@_key.command("enable")
def enable_key(
    key: Key,
    *,
    version: Version = None,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Switch a key of the local keyring, or an old version, on again. What was destroyed stays so."""
    arguments = {"key": key, "version": version}
    print_answer(run_command(settings_of(data, keys, config), "enable_key", arguments), as_json=as_json)


@_key.command("retire")
def retire_key(
    key: Key,
    *,
    version: Version = None,
    destroy: Annotated[
        bool, typer.Option("--destroy", help="Erase its material as well. Backups that still need it are lost.")
    ] = False,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Take a key of the local keyring, or an old version, out of use for good, once a scan proves "0 records left"."""
    _run("retire", {"key": key, "version": version, "destroy": destroy}, data, keys, config, as_json=as_json)


@_key.command("incident")
def incident(
    key: Key,
    *,
    version: Annotated[
        int | None, typer.Option(metavar="N", help="The newest version that leaked; without it, the current one.")
    ] = None,
    abort_uploads: Annotated[
        bool, typer.Option("--abort-uploads", help="Abort multipart uploads that were begun under it.")
    ] = False,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """A wrapping key leaked: a new version, every object under the old ones sealed anew, the old blobs destroyed.

    Old versions are switched off at the end. Run again with --version, it goes on where it was.
    """
    arguments = {"key": key, "version": version, "abort_uploads": abort_uploads}
    _run("incident", arguments, data, keys, config, as_json=as_json)


@_key.command("shred")
def shred(
    *,
    bucket: Annotated[
        str | None, typer.Option(metavar="NAME", help="Everything in this bucket, or what follows.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="NAME", help="Everything in all buckets of this account.")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Only keys that begin so.")] = "",
    object_key: Annotated[str | None, typer.Option("--object", metavar="KEY", help="Only this object.")] = None,
    version_id: Annotated[str | None, typer.Option(metavar="ID", help="Only this version of it.")] = None,
    record: Annotated[Path, typer.Option(metavar="FILE", help="Where the signed record goes; it must not exist.")],
    yes: Annotated[bool, typer.Option("--yes", help="Nothing brings it back: say that you know.")] = False,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Destroy objects at once, for good, and write a signed record of it. Refused under COMPLIANCE or a legal hold."""
    if not yes:
        raise CommandError("nothing brings back what is shredded: give --yes to go on", Exit.USAGE)
    if version_id is not None and object_key is None:
        raise CommandError("a version is of an object: give --object as well", Exit.USAGE)
    if record.exists():
        raise CommandError(f"{record} exists: give --record another name")
    settings = settings_of(data, keys, config)
    arguments = {
        "bucket": bucket,
        "account": account,
        "prefix": prefix,
        "object_key": object_key,
        "version_id": version_id,
    }
    with counting("shredding") as tell:
        report = run_job(settings, "shred", arguments, tell)
    written = report.pop("record")
    write_private_file(record, json.dumps(written, indent=1, sort_keys=True).encode("ascii") + b"\n", replace=False)
    print_answer(report | {"record": str(record)}, as_json=as_json)


@_key.command("verify-record")
def verify_record(
    record: Annotated[Path, typer.Argument(metavar="FILE", help="A record that `key shred` wrote.")],
    *,
    public_key: Annotated[
        str | None, typer.Option(metavar="HEX", help="Check with this key instead of that of the realm at hand.")
    ] = None,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Check that a record of destruction is as this realm signed it."""
    from keys.signing import check_record, parse_record  # noqa: PLC0415  # deferred: no other command here verifies

    try:
        held = parse_record(record.read_bytes())
    except (OSError, ValueError):
        raise CommandError(f"{record} is no record of destruction") from None
    if public_key is None:
        public_key = run_command(settings_of(data, keys, config), "signing_key", {})["public_key"]
    check_record(held, public_key)
    answer = {"record_id": held["record_id"], "ended_at": held["ended_at"], "public_key": public_key}
    print_answer(answer | held["counts"], as_json=as_json)


def _run(
    kind: str, arguments: dict[str, Any], data: str | None, keys: str | None, config: Path | None, *, as_json: bool
) -> None:
    """Run a job with its progress before a person's eyes, and print its report; what is left stands last."""
    settings = settings_of(data, keys, config)
    with counting(kind) as tell:
        report = run_job(settings, kind, arguments, tell)
    print_answer(report if as_json else _worth_telling(report), as_json=as_json)
    if not as_json and "left_count" in report:
        typer.echo(f"{report['left_count']} left")


def _worth_telling(report: dict[str, Any]) -> dict[str, Any]:
    """What a report is about, then its counts but for those of what never happened; what is left is always told."""
    about = {name: value for name, value in report.items() if not name.endswith("_count") and value is not None}
    counts = {name: value for name, value in report.items() if name.endswith("_count")}
    return about | {name: value for name, value in counts.items() if value or name == "left_count"}
