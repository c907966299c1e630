"""`sealgate verify`: every row of the catalogue carries its MAC, every reference leads somewhere."""

import typer

from gateway.cli.options import AsJson, Config, Data, Keys, print_answer, settings_of, working
from gateway.cli.session import run_command


def register(app: typer.Typer) -> None:
    """Add the family."""
    app.command("verify")(verify)


def verify(*, data: Data = None, keys: Keys = None, config: Config = None, as_json: AsJson = False) -> None:
    """Check every row of the catalogue and every reference between rows. Nothing is changed.

    Finds altered, moved and missing rows. It does not read blobs, and cannot tell an old catalogue from today's.
    """
    settings = settings_of(data, keys, config)
    with working("verifying the catalogue"):
        answer = run_command(settings, "verify", {})
    print_answer(answer, as_json=as_json)
