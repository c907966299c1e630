"""`sealgate import` and `sealgate export`: data moves in and out, beside a gateway that serves or without one."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.control import Answer, ask_gateway
from gateway.cli.exits import CommandError, Exit, SetupError
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.config import Settings
from gateway.moving.report import ABANDONING, EXPORT, IMPORT
from gateway.wiring.folders import Folders

_LOOK_EVERY_S: Final = 0.5
_FOLDER_OR_BUCKET: Final = "FOLDER|s3://BUCKET[/PREFIX]"

Bucket = Annotated[str, typer.Option("--bucket", metavar="NAME", help="The bucket of this gateway.")]
Endpoint = Annotated[str, typer.Option("--endpoint", metavar="URL", help="Of the other bucket: https://...")]
Region = Annotated[str, typer.Option("--region", metavar="NAME", help="That the other endpoint signs for.")]
CaFile = Annotated[Path | None, typer.Option("--ca-file", metavar="FILE", help="The other endpoint's authorities.")]
Credentials = Annotated[
    Path | None,
    typer.Option(
        "--credentials",
        metavar="FILE",
        help="Of the other endpoint: AWS's credentials file or a client.env, mode 0600.",
    ),
]
Profile = Annotated[str, typer.Option("--profile", metavar="NAME", help="Whose lines of the credentials file count.")]
Versions = Annotated[bool, typer.Option("--versions", help="Every version and delete marker, the oldest first.")]
ReadBack = Annotated[bool, typer.Option("--read-back", help="Read again what was written, and compare it.")]
Parallel = Annotated[int, typer.Option("--parallel", min=1, max=32, help="Objects on their way at a time.")]
MaxMib = Annotated[int, typer.Option("--max-mib-per-s", min=0, help="A throttle; 0 is none.")]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew instead of going on where the last run ended.")]
Status = Annotated[bool, typer.Option("--status", help="Only show how far it is.")]
Stop = Annotated[bool, typer.Option("--stop", help="Stop it; the same command without this goes on.")]


def register(app: typer.Typer) -> None:
    """Add the family."""
    app.command("import")(import_into)
    app.command("export")(export_from)


def import_into(
    source: Annotated[str, typer.Argument(metavar=f"[{_FOLDER_OR_BUCKET}]", show_default=False)] = "",
    *,
    bucket: Bucket,
    endpoint: Endpoint = "",
    region: Region = "us-east-1",
    ca_file: CaFile = None,
    credentials: Credentials = None,
    profile: Profile = "default",
    versions: Versions = False,
    update: Annotated[
        bool, typer.Option("--update", help="Follow a source that changed, where nobody changed the object here.")
    ] = False,
    index: Annotated[bool, typer.Option("--index", help="Follow the index of an export in the folder.")] = False,
    read_through: Annotated[
        bool,
        typer.Option("--read-through", help="Let the bucket answer from its source until all of it is sealed here."),
    ] = False,
    leave_out_failed: Annotated[
        bool,
        typer.Option(
            "--leave-out-failed",
            help="With --read-through: name objects that cannot be registered, and open the bucket without them.",
        ),
    ] = False,
    read_back: ReadBack = False,
    parallel: Parallel = 4,
    max_mib_per_s: MaxMib = 0,
    restart: Restart = False,
    status: Status = False,
    stop: Stop = False,
    abandon: Annotated[
        bool,
        typer.Option(
            "--abandon",
            help="Give an import with --read-through up: what is not sealed yet goes, the bucket opens, and the source"
            " is forgotten.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --abandon: say that you know.")] = False,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Bring the objects of a folder or of another S3 bucket into a bucket, sealed, and compare each with its source.

    Nothing that the bucket holds already is written over. Ended by whatever, the same command goes on.
    """
    settings = settings_of(data, keys, config)
    if abandon:
        if source or status or stop:
            raise CommandError("--abandon takes --bucket and no source, --status or --stop", Exit.USAGE)
        if not yes:
            raise CommandError(
                "what only the source holds goes from this bucket (the source stays as it is): give --yes to go on",
                Exit.USAGE,
            )
        _abandon(settings, bucket, as_json=as_json)
        return
    asked = _asked(source, bucket, endpoint, region, ca_file, credentials, profile) | {
        "versions": versions,
        "update": update,
        "index": index,
        "read_through": read_through,
        "leave_out_failed": leave_out_failed,
        "read_back": read_back,
        "parallel": parallel,
        "max_mib_per_s": max_mib_per_s,
        "restart": restart,
    }
    _move(settings, IMPORT, asked, status=status, stop=stop, as_json=as_json)


def export_from(
    target: Annotated[str, typer.Argument(metavar=f"[{_FOLDER_OR_BUCKET}]", show_default=False)] = "",
    *,
    bucket: Bucket,
    prefix: Annotated[str, typer.Option("--prefix", metavar="TEXT", help="Only keys that begin so.")] = "",
    endpoint: Endpoint = "",
    region: Region = "us-east-1",
    ca_file: CaFile = None,
    credentials: Credentials = None,
    profile: Profile = "default",
    versions: Versions = False,
    customer_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Key of a client (SSE-C): 32 bytes, or their Base64.", show_default=False),
    ] = None,
    read_back: ReadBack = False,
    parallel: Parallel = 4,
    max_mib_per_s: MaxMib = 0,
    restart: Restart = False,
    status: Status = False,
    stop: Stop = False,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write the objects of a bucket, opened, to a folder or another S3 bucket. They are in the clear there.

    Files are named as the keys are; control characters, % and a dot at the beginning are encoded (%0A), and the
    index in the folder gives every key back: import it with --index.

    Nothing that is there already is written over. Ended by whatever, the same command goes on.
    """
    settings = settings_of(data, keys, config)
    asked = _asked(target, bucket, endpoint, region, ca_file, credentials, profile) | {
        "prefix": prefix,
        "versions": versions,
        "customer_key_file": _absolute(customer_key_file),
        "read_back": read_back,
        "parallel": parallel,
        "max_mib_per_s": max_mib_per_s,
        "restart": restart,
    }
    _move(settings, EXPORT, asked, status=status, stop=stop, as_json=as_json)


def _asked(
    place: str,
    bucket: str,
    endpoint: str,
    region: str,
    ca_file: Path | None,
    credentials: Path | None,
    profile: str,
) -> dict[str, Any]:
    """What both ways have in common. Paths are absolute, since a gateway works in another folder."""
    return {
        "bucket": bucket,
        "place": place if place.startswith("s3://") or not place else str(Path(place).absolute()),
        "endpoint": endpoint,
        "region": region,
        "ca_file": _absolute(ca_file),
        "credentials": _absolute(credentials),
        "profile": profile,
    }


def _absolute(path: Path | None) -> str:
    return "" if path is None else str(path.absolute())


Ask = Callable[[str, Mapping[str, Any]], Awaitable[Answer]]


def _move(settings: Settings, kind: str, asked: dict[str, Any], *, status: bool, stop: bool, as_json: bool) -> None:
    if not (asked["place"] or status or stop):
        raise CommandError(f"name a folder, or s3://BUCKET with --endpoint, to {kind}", Exit.USAGE)
    which = {"kind": kind, "bucket": asked["bucket"]}
    first = (
        ("move_stop", which) if stop else ("move_status", which) if status else ("move_start", {"kind": kind} | asked)
    )
    answer = asyncio.run(_anywhere(settings, first, which, follows=not (status or stop)))
    _print(answer, as_json=as_json)
    if not (status or stop):
        if answer["state"] != "done":
            raise CommandError(f"the {kind} stopped: {answer.get('problem', '')}; {answer['next']}", Exit.BUSY)
        if answer["difference_count"]:
            raise CommandError(f"{answer['difference_count']} objects are not the same on both sides", Exit.REFUSED)


def _abandon(settings: Settings, bucket: str, *, as_json: bool) -> None:
    which = {"bucket": bucket}
    kind = {"kind": ABANDONING}
    answer = asyncio.run(_anywhere(settings, ("move_abandon", which), which | kind, follows=True))
    _print(answer, as_json=as_json)
    if answer["state"] != "done":
        raise CommandError(f"it stopped: {answer.get('problem', '')}; {answer['next']}", Exit.BUSY)
    if answer["difference_count"]:
        raise CommandError(f"{answer['difference_count']} versions stay; {answer['next']}", Exit.REFUSED)


async def _anywhere(
    settings: Settings, first: tuple[str, Mapping[str, Any]], which: Mapping[str, Any], *, follows: bool
) -> Answer:
    """Ask the gateway that serves; where none does, open everything here. Then look until it ends (`follows`)."""
    folders = Folders.of(settings)
    if not folders.data.is_dir():
        raise SetupError(f"there is no data folder {folders.data}: give --data, or make it with `sealgate serve`")
    served = await asyncio.to_thread(ask_gateway, folders.data, *first)
    if served is not None:

        async def ask(command: str, arguments: Mapping[str, Any]) -> Answer:
            answer = await asyncio.to_thread(ask_gateway, folders.data, command, arguments)
            if answer is None:
                raise CommandError("the gateway ended; the same command goes on", Exit.BUSY)
            return answer

        return await _follow(ask, which, stops=not served.get("attached")) if follows else served
    # Deferred: a gateway that serves spares the command all that it would open.
    from gateway.cli.commands import opened_here  # noqa: PLC0415

    async with opened_here(settings, folders) as commands:

        async def run(command: str, arguments: Mapping[str, Any]) -> Answer:
            return await commands[command](**arguments)

        answer = await run(*first)
        return await _follow(run, which, stops=True) if follows else answer


async def _follow(ask: Ask, which: Mapping[str, Any], *, stops: bool) -> Answer:
    """Look at a move until it ends; Ctrl-C stops it where this command began it."""
    from rich.console import Console  # noqa: PLC0415  # deferred: not for --status and --stop

    console = Console(stderr=True)
    began = time.monotonic()
    try:
        with console.status("moving") as line:
            while True:
                answer = await ask("move_status", which)
                if not answer.pop("running"):
                    return answer
                if console.is_terminal:
                    line.update(_line(answer, time.monotonic() - began))
                await asyncio.sleep(_LOOK_EVERY_S)
    except asyncio.CancelledError:
        if stops:
            await ask("move_stop", which)
        raise


def _line(answer: Answer, elapsed_s: float) -> str:
    if "removed" in answer:
        return f"{answer['removed']} versions removed, {answer['stayed']} stay"
    mib = answer["moved_bytes"] / 2**20
    counted = answer["moved"] + answer["already_there"] + answer["difference_count"]
    return f"{counted} objects, {mib:.0f} MiB moved in {elapsed_s:.0f} s, {answer['difference_count']} differences"


def _print(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer))
        return
    for name, value in answer.items():
        if name != "differences":
            typer.echo(f"{name}: {value}")
    for difference in answer["differences"]:
        version = f" (version {difference['version_id']})" if "version_id" in difference else ""
        typer.echo(f"{difference['outcome']}: {difference['object_key']!r}{version}: {difference['why']}")
