"""`sealgate version` and `sealgate --version`."""

from importlib.metadata import version as installed_version

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("version")(show_version)


def show_version() -> None:
    """Print the version."""
    typer.echo(f"sealgate {installed_version('sealgate')}")


def print_version(asked: bool) -> None:
    """Print the version and leave, where `--version` was given."""
    if asked:
        show_version()
        raise typer.Exit
