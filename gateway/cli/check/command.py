"""`sealgate check`: every look in one order, a table or JSON, and the exit code that a start would have."""

import asyncio
import json
from pathlib import Path

import typer

from gateway.cli.check.certificates import check_certificates
from gateway.cli.check.clock import Stopwatch, check_clock
from gateway.cli.check.disk import check_disk
from gateway.cli.check.machine import check_machine
from gateway.cli.check.realm import ask_served, check_realm
from gateway.cli.check.report import Report, lines
from gateway.cli.exits import Exit
from gateway.cli.options import with_setting_flags
from gateway.cli.output import working
from gateway.cli.pki import utc_now
from gateway.config import Settings, load_settings
from gateway.wiring.folders import Folders


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(with_setting_flags(check, json_flag=True))


def check(flags: dict[str, str], config: Path | None, *, as_json: bool = False) -> None:
    """Look whether the gateway can serve here: settings, certificate, clock, disk, keyring, catalogue, ports.

    Takes the flags of `serve`. Changes nothing; works beside a gateway that serves, and before the first start.
    Exits as a start would: 0 where nothing failed, warnings or not.
    """
    report = Report()
    with working("looking"), report.failing("settings"):
        settings = load_settings(flags, config=config)
        _check_settings(report, settings)
        asyncio.run(look(report, settings))
    if as_json:
        shown = {"checks": [found.shown() for found in report.findings], **report.counts()}
        typer.echo(json.dumps(shown))
    else:
        for line in lines(report.findings):
            typer.echo(line)
        typer.echo(", ".join(f"{count} {state}" for state, count in report.counts().items()))
    if report.exit() is not Exit.OK:
        raise typer.Exit(report.exit())


async def look(report: Report, settings: Settings) -> None:
    """Make every look."""
    since, now = Stopwatch(), utc_now()
    folders = Folders.of(settings)
    is_served = ask_served(report, folders)
    check_disk(report, settings, folders)
    await check_realm(report, settings, folders, is_served=is_served)
    check_certificates(report, settings, folders, now)
    check_machine(report, settings, folders, is_served=is_served)
    check_clock(report, folders, now, since)


def _check_settings(report: Report, settings: Settings) -> None:
    """What each value may be, the table has judged; here is what does not go well together."""
    before = len(report.findings)
    if settings.read_budget_bytes < settings.read_ahead_bytes:
        report.warn(
            "settings",
            "read_budget_bytes is less than read_ahead_bytes, so no GET ever reads ahead as far as it may",
            "raise the one or lower the other",
        )
    if settings.header_timeout_s > settings.drain_timeout_s > 0:
        report.warn(
            "settings",
            "drain_timeout_s is less than header_timeout_s, so a stop may cut requests that have just begun",
            "raise the one or lower the other",
        )
    if settings.orphan_grace_s < settings.body_timeout_s:
        report.warn(
            "settings", "orphan_grace_s is less than body_timeout_s", "raise it: an upload must outlive neither"
        )
    if len(report.findings) == before:
        report.ok("settings", "every value can stand, and they go together")
