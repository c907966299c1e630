"""Runs the code that README.md shows for aws-cli, boto3, rclone and restic, as pasted.

The convention: the fenced blocks right below the heading "Use" (they source `client.env`) and then those below the
heading that names the client are run in order, in a copy of the project's folder that holds the `sealgate-keys` of a
running gateway: blocks marked sh, bash or shell by one bash, blocks marked python by one Python started from it. The
one change is the port: the default 9443 becomes the port of the gateway under test.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.blackbox.process import Gateway
from tests.tooling.places import ROOT, bare_environment
from tests.tooling.tools import program

_README: Final = ROOT / "README.md"
_HEADING: Final = re.compile(r"^#+ +(.*)$")
_FENCE: Final = re.compile(r"^(```+|~~~+) *([\w+-]*) *$")
_SHELLS: Final = {"sh", "bash", "shell"}
_TIMEOUT_S: Final = 90


def blocks(text: str, client: str) -> list[tuple[str, str]]:
    """Return (language, code) of the fenced blocks right below the heading "Use" and below those that name a client."""
    found: list[tuple[str, str]] = []
    inside = False
    fence, language, lines = "", "", [""]
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1] == fence and not mark[2]:
                found += [(language, "\n".join(lines) + "\n")] if inside else []
                fence = ""
            else:
                lines.append(line)
        elif mark:
            fence, language, lines = mark[1], mark[2], []
        elif heading := _HEADING.match(line):
            inside = heading[1] == "Use" or client in heading[1].lower()
    return found


def test_blocks_are_found_where_they_stand() -> None:
    text = "# aws-cli\n```sh\none\n```\n~~~python\n# boto3\n~~~\n## other\n```sh\ntwo\n```\n"
    assert blocks(text, "aws-cli") == [("sh", "one\n"), ("python", "# boto3\n")]
    assert blocks(text, "boto3") == []
    assert blocks("# Use\n```sh\nfirst\n```\n" + text, "boto3") == [("sh", "first\n")]


def _pasted(shown: list[tuple[str, str]]) -> str:
    """Return one script for bash; a Python block becomes a program that is read from its standard input."""
    parts = []
    for number, (language, code) in enumerate(shown):
        end = f"PASTED{number}"
        parts.append(code if language in _SHELLS else f"'{sys.executable}' -W error - <<'{end}'\n{code}{end}\n")
    return "".join(parts)


@pytest.mark.parametrize(
    ("client", "tool"),
    [("aws-cli", "aws-cli-1"), ("aws-cli", "aws-cli-2"), ("boto3", ""), ("rclone", "rclone"), ("restic", "restic")],
)
def test_readme_works_as_pasted(client: str, tool: str, tmp_path: Path) -> None:
    readme = _README.read_text(encoding="utf-8")
    shown = blocks(readme, client)
    assert len(shown) > len(blocks(readme, "no client")), f"README.md shows nothing for {client}"
    assert {language for language, _ in shown} <= _SHELLS | {"python"}
    shutil.copy(_README, tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    home = tmp_path / "home"
    home.mkdir()
    first = [str(program(tool).parent)] if tool else []
    path = ":".join([*first, "/usr/bin", "/bin"])
    gateway = Gateway(tmp_path)
    gateway.start()
    try:
        done = subprocess.run(
            ["bash", "-eu"],
            input=_pasted(shown).replace(":9443", f":{gateway.port}"),
            cwd=tmp_path,
            env=bare_environment(home, PATH=path, AWS_EC2_METADATA_DISABLED="true"),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{gateway.log_tail()}"
    finally:
        gateway.close()
