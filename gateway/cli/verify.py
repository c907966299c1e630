"""`sealgate verify`: every row of the catalogue carries its MAC, every reference leads somewhere."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.exits import CommandError, Exit
from gateway.cli.journal import read_anchor
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import print_answer, working
from gateway.cli.session import run_command


def register(app: typer.Typer) -> None:
    """Add the family."""
    app.command("verify")(verify)


def verify(
    *,
    journal: Annotated[
        bool, typer.Option("--journal", help="Hold every row against the journal as well: finds old and deleted rows.")
    ] = False,
    anchor: Annotated[
        Path | None,
        typer.Option(
            "--anchor",
            metavar="FILE",
            help="With --journal, and the journal against this exported head: finds an old state of both.",
        ),
    ] = None,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Check every row of the catalogue and every reference between rows. Nothing is changed.

    Finds altered, moved and missing rows. Blobs are read by `sealgate scrub`.
    """
    settings = settings_of(data, keys, config)
    if anchor is not None:
        from gateway.engine.journal.anchor import newest_anchor  # noqa: PLC0415  # deferred: few have one to read

        newest = newest_anchor(anchor)
        if newest is None:
            raise CommandError(f"there is no anchor at {anchor}", Exit.USAGE)
        anchor = newest
    with working("verifying the catalogue"):
        arguments = {"journal": journal, "anchor": None if anchor is None else read_anchor(anchor)}
        answer = run_command(settings, "verify", arguments)
    print_answer(answer, as_json=as_json)
