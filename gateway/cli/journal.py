"""`sealgate anchor export` and `sealgate snapshot`: the head of the journal, and a snapshot before its time."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.exits import CommandError, Exit
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import help_without_command, print_answer, working
from gateway.cli.session import run_command
from keys.safe_files import write_private_file


def register(app: typer.Typer) -> None:
    """Add the family."""
    anchors = typer.Typer(help="The signed head of the journal, to be kept where nobody can reach it from here.")
    anchors.callback(invoke_without_command=True)(help_without_command)
    anchors.command("export")(export)
    app.add_typer(anchors, name="anchor")
    app.command("snapshot")(snapshot)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the anchor goes; what is there is replaced.")],
    *,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write the signed head of the journal to a file. `sealgate verify --anchor FILE` compares with it later."""
    answer = run_command(settings_of(data, keys, config), "export_anchor", {})
    write_private_file(file.absolute(), answer["anchor"].encode("ascii"), replace=True)
    print_answer({"written": str(file)}, as_json=as_json)


def snapshot(*, data: Data = None, keys: Keys = None, config: Config = None, as_json: AsJson = False) -> None:
    """Take a snapshot of the catalogue into the blob store now, and cut the journal behind two of them."""
    settings = settings_of(data, keys, config)
    with working("taking a snapshot"):
        answer = run_command(settings, "snapshot", {})
    print_answer(answer, as_json=as_json)


def read_anchor(path: Path) -> str:
    """The text of an anchor's file. Raises: CommandError."""
    from gateway.engine.journal.anchor import MAX_ANCHOR_BYTES  # noqa: PLC0415  # deferred: few have one to read

    try:
        return path.read_bytes()[:MAX_ANCHOR_BYTES].decode("ascii")
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror})", Exit.USAGE) from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} is no anchor", Exit.USAGE) from None
