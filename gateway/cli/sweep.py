"""`sealgate sweep`: reclaim what deletes and crashes left behind."""

from typing import Annotated

import typer

from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import print_answer, working
from gateway.cli.session import run_command


def register(app: typer.Typer) -> None:
    """Add the family."""
    app.command("sweep")(sweep)


def sweep(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be reclaimed.")] = False,
    accept_many_orphans: Annotated[
        bool,
        typer.Option("--accept-many-orphans", help="Go on although more than 5% of the blobs look like orphans."),
    ] = False,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Remove blobs that nothing refers to: orphans of crashes, and deleted ones whose time of grace is over."""
    settings = settings_of(data, keys, config)
    with working("looking through the blobs"):
        answer = run_command(settings, "sweep", {"dry_run": dry_run, "accept_many_orphans": accept_many_orphans})
    print_answer(answer, as_json=as_json)
