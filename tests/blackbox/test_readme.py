"""Runs the code that README.md shows for aws-cli, boto3 and rclone, as pasted.

The convention: below a heading that names the client, every fenced block up to the next heading is run in order by one
bash (blocks marked sh, bash or shell) or one Python (blocks marked python), in a folder that holds the `sealgate-keys`
of a running gateway. The one change is the port: the default 9443 becomes the port of the gateway under test.
"""

import re
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
    """Return (language, code) of the fenced blocks below the headings that name a client."""
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
            inside = client in heading[1].lower()
    return found


def test_blocks_are_found_where_they_stand() -> None:
    text = "# aws-cli\n```sh\none\n```\n~~~python\n# boto3\n~~~\n## other\n```sh\ntwo\n```\n"
    assert blocks(text, "aws-cli") == [("sh", "one\n"), ("python", "# boto3\n")]
    assert blocks(text, "boto3") == []


def _run(command: list[str], code: str, gateway: Gateway, path: str) -> None:
    home = gateway.folder / "home"
    home.mkdir(exist_ok=True)
    code = code.replace(":9443", f":{gateway.port}")
    environment = bare_environment(home, PATH=path, AWS_EC2_METADATA_DISABLED="true")
    done = subprocess.run(
        command,
        input=code,
        cwd=gateway.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(
    ("client", "tool"), [("aws-cli", "aws-cli-1"), ("aws-cli", "aws-cli-2"), ("boto3", ""), ("rclone", "rclone")]
)
def test_readme_works_as_pasted(client: str, tool: str, tmp_path: Path) -> None:
    shown = blocks(_README.read_text(encoding="utf-8"), client)
    assert shown, f"README.md shows nothing below a heading that names {client}"
    assert {language for language, _ in shown} <= _SHELLS | {"python"}
    first = [str(program(tool).parent)] if tool else []
    path = ":".join([*first, str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    gateway = Gateway(tmp_path)
    gateway.start()
    try:
        shell = "".join(code for language, code in shown if language in _SHELLS)
        script = "".join(code for language, code in shown if language == "python")
        if script:
            # A program that is pasted after sourcing client.env, as the README says above it.
            runner = f'. "{gateway.client_env}"\nexec "{sys.executable}" -W error - <<\'PASTED\'\n{script}PASTED\n'
            _run(["bash", "-eu"], runner, gateway, path)
        if shell:
            _run(["bash", "-eu"], shell, gateway, path)
    finally:
        gateway.close()
