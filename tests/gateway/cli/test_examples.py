"""The examples in the help: each is taken by the real parser, and stands where it is looked for."""

import shlex
from typing import Any

import pytest
from typer.main import get_command

from gateway.cli.examples import EXAMPLES
from gateway.cli.main import app, run

MAIN = ("serve", "key", "access-key", "import", "export", "backup", "recover", "scrub", "verify", "migrate")


def parse(line: str) -> None:
    """Let the parser judge a line as `run` does, and call nothing. Raises: what the parser does."""
    name, *arguments = shlex.split(line)
    command: Any = get_command(app)
    context = command.make_context(name, arguments)
    while hasattr(command, "commands"):
        found, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = command.make_context(found, arguments, parent=context)


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_parser_takes_every_example(line: str) -> None:
    parse(line)


@pytest.mark.parametrize("line", ["sealgate serve --ports 1", "sealgate key rotation", "sealgate backup"])
def test_the_parser_refuses_what_is_no_command(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing") as refused:
        parse(line)
    assert type(refused.value).__module__.startswith("typer")


@pytest.mark.parametrize("name", MAIN)
def test_a_main_command_has_one_to_three_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = [line for line in EXAMPLES if line.split()[1] == name]
    assert 1 <= len(expected) <= 3
    assert run([name, "--help"]) == 0
    shown = capsys.readouterr().out.partition("Examples:\n")[2]
    assert [line.strip() for line in shown.splitlines() if line] == expected


def test_a_command_of_a_group_shows_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["key", "rewrap", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "sealgate key rewrap old-key --to new-key" in shown
    assert "sealgate key rotate" not in shown
    assert {line.split()[1] for line in EXAMPLES} == set(MAIN)
