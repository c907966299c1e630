"""`sealgate serve`: make everything at the first start, then serve until SIGTERM."""

import asyncio
import ipaddress
import logging
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import typer
import uvloop

from gateway.cli.bootstrap import (
    check_apart,
    check_certificate,
    check_year,
    is_first_start,
    judged_alone,
    make_folders,
    owned,
    prepare,
    refresh_certificate,
)
from gateway.cli.client_env import ClientEnv, endpoint_url
from gateway.cli.commands import commands_of
from gateway.cli.control import serve_control
from gateway.cli.exits import Exit
from gateway.cli.options import with_setting_flags
from gateway.cli.output import is_debug
from gateway.cli.pki import TlsFiles
from gateway.cli.rehearsal import check_ports, rehearse
from gateway.cli.supervisor import Supervisor
from gateway.config import Settings, load_settings
from gateway.http.admin import Told
from gateway.http.ports import Inherited
from gateway.http.process import calm_collector, prepare_process
from gateway.http.server import Bound, Server, ServerSettings, run_until_stopped
from gateway.telemetry import configure_logging
from gateway.wiring.folders import Folders
from gateway.wiring.gateway import Gateway, open_gateway
from gateway.wiring.listeners import server_settings
from gateway.wiring.stores import check_shareable
from storage.blobs.base import BlobStore
from storage.errors import StorageFull

_log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(with_setting_flags(serve))


def serve(flags: dict[str, str], config: Path | None) -> None:
    """Serve S3 over HTTPS. The first start makes keyring, certificates, catalogue, account and access key.

    Every setting is a flag here; `sealgate settings` tells of files and environment variables.
    """
    settings = load_settings(flags, config=config)
    configure_logging(
        level="DEBUG" if is_debug() else settings.log_level.upper(), as_json=settings.log_format == "json"
    )
    prepare_process()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if settings.workers > 1:
            code = runner.run(_supervise(settings))
        else:
            code = Exit.OK
            runner.run(serve_here(settings, partial(_greet, settings)))
    raise typer.Exit(code)


async def _supervise(settings: Settings) -> int:
    folders = Folders.of(settings)
    greet = partial(_say_hello, settings)
    return await Supervisor(settings, server_settings(settings, folders), greet).run()


class OnStarted(Protocol):
    """What is to be done once the listeners stand."""

    def __call__(self, server: Server, gateway: Gateway, bound: Bound, *, is_first: bool) -> None:
        """`is_first`: whether this was the first start."""


async def serve_here(
    settings: Settings, on_started: OnStarted, *, inherited: Inherited | None = None, told: Told | None = None
) -> None:
    """Serve from this process until it is told to stop.

    A worker is given what to listen on (`inherited`), and what its monitor listener shows (`told`).

    Raises:
        CommandError, KeysError, StorageError, ServeError, TlsError: one line that says what to do.
    """
    folders = Folders.of(settings)
    told_server = replace(server_settings(settings, folders), inherited=inherited)
    check_year()
    check_apart(settings, folders)
    await rehearse(settings, folders, told_server)
    make_folders(folders)
    # Once more: only folders that exist tell what a bind mount makes one.
    check_apart(settings, folders)
    is_first = False
    # What is made at the first start is made by one alone; two that share no more than the keys folder would replace
    # each other's keyring in it.
    async with judged_alone(folders):
        if is_first_start(folders):
            async with owned(folders, holds_keys=True):
                is_first = await _prepare(settings, folders, told_server)
    async with owned(folders, may_share=True):
        is_first = await _prepare(settings, folders, told_server) or is_first
        async with open_gateway(settings, folders) as gateway:
            check_certificate(settings, folders)
            outdated = ClientEnv.outdated(settings, folders)
            await _prove(gateway.stores.blobs)
            await check_shareable(folders, gateway.stores.blobs)
            await gateway.journal.check()
            refresh_certificate(settings, folders)
            server = Server(gateway.app, gateway.telemetry.registry, gateway.is_ready, told_server, gateway.hosts, told)
            async with serve_control(folders.data, commands_of(gateway), may_share=folders.are_shared):

                def on_bound(bound: Bound) -> None:
                    if outdated is not None:
                        outdated.write(folders)
                    calm_collector()
                    on_started(server, gateway, bound, is_first=is_first)

                await run_until_stopped(server, on_bound)
            if gateway.ended_by is not None:
                raise gateway.ended_by


async def _prepare(settings: Settings, folders: Folders, told: ServerSettings) -> bool:
    """Make what a first start makes. One that fails on its ports makes nothing, and leaves all as it served before."""
    check_ports(told)
    return await prepare(settings, folders)


async def _prove(blobs: BlobStore) -> None:
    """See that the store keeps what it is given. A full one may start: reads and deletes go on, and make space."""
    try:
        await blobs.check()
    except StorageFull:
        _log.warning("the blob store is full: writes are refused until there is space")


def _greet(settings: Settings, _: Server, __: Gateway, bound: Bound, *, is_first: bool) -> None:
    _say_hello(settings, bound, is_first=is_first)


def _say_hello(settings: Settings, bound: Bound, *, is_first: bool) -> None:
    folders = Folders.of(settings)
    if is_first:
        typer.echo(f"Made keys in {folders.keys} and data in {folders.data}. Back up the keys, and keep them apart.")
    typer.echo("\n".join(greeting(settings, folders)))
    if bound.plain is not None:
        typer.echo(f"plain HTTP is refused on port {bound.plain.port}")
    if is_local(settings):
        typer.echo("Only this machine reaches it: --host 0.0.0.0 lets others in. Ctrl-C or SIGTERM stops it.")
    else:
        typer.echo("Ctrl-C or SIGTERM stops it.")
    typer.echo(f"health and metrics: http://{settings.admin_host}:{bound.admin.port}")
    sys.stdout.flush()


def is_local(settings: Settings) -> bool:
    """Whether no other machine can reach the endpoint."""
    try:
        return ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        return settings.host == "localhost"


def greeting(settings: Settings, folders: Folders) -> list[str]:
    """The endpoint, the CA file, and lines to paste; they take the secret from client.env and never show it."""
    url = endpoint_url(settings)
    own_ca = settings.tls_certificate is None
    lines = [f"Sealgate serves {url}"]
    if own_ca:
        lines.append(f"CA file: {TlsFiles(folders.tls).ca_certificate}")
    if not folders.client_env.exists():
        command = f"sealgate access-key create --account main --data {shlex.quote(str(folders.data))}"
        return [*lines, f"Clients: client.env is gone; make an access key with `{command}`."]
    remote = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENV_AUTH": "true",
        "ENDPOINT": '"$AWS_ENDPOINT_URL"',
        "REGION": '"$AWS_REGION"',
    }
    rclone = " ".join(f"RCLONE_CONFIG_SEALGATE_{name}={value}" for name, value in remote.items())
    authority = ' RCLONE_CA_CERT="$AWS_CA_BUNDLE"' if own_ca else ""
    return [
        *lines,
        "",
        "Paste into a shell; the first line makes every AWS tool in it use this endpoint:",
        f"  . {shlex.quote(str(folders.client_env))}",
        "  aws s3 mb s3://first; echo hello | aws s3 cp - s3://first/hello.txt && aws s3 ls s3://first",
        '  python3 -c \'import boto3; print(boto3.client("s3").list_buckets()["Buckets"])\'',
        f"  export {rclone}{authority} && rclone lsd sealgate:",
        "",
    ]
