"""Every block of commands in docs/KEYS.md, run as it stands, section by section, beside a gateway that serves.

A section of life cycle has its fenced `sh` blocks run in order by one bash; `CASES` holds what must be there before and
what must be true after.
"""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest

from tests.blackbox.clients import payload, s3_client
from tests.blackbox.process import PROGRAM, Gateway
from tests.keylife.conftest import BUCKET, read_all, told
from tests.tooling.places import ROOT

TEXT: Final = (ROOT / "docs" / "KEYS.md").read_text()
FENCE: Final = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION: Final = re.compile(r"^## (.*)$", re.MULTILINE)
CONTENTS: Final = {"small": b"small", "big": payload(100_000, 1), "photos/a": b"a", "photos/b": b"b"}


def sections(text: str) -> dict[str, list[str]]:
    """The `sh` blocks of each section."""
    parts = SECTION.split(text)
    return {name: FENCE.findall(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)}


SECTIONS: Final = sections(TEXT)


def run_section(gateway: Gateway, name: str) -> str:
    """Run the commands of a section; what they said."""
    script = "set -euo pipefail\n" + "\n".join(SECTIONS[name])
    environment = gateway.environment() | {"SEALGATE_KEYS": str(gateway.keys)}
    environment["PATH"] = f"{PROGRAM.parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=gateway.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fill(gateway: Gateway) -> None:
    client = s3_client(gateway)
    client.create_bucket(Bucket=BUCKET)
    for name, content in CONTENTS.items():
        client.put_object(Bucket=BUCKET, Key=name, Body=content)
    client.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "big"})
    client.close()


@dataclass(frozen=True)
class Case:
    """A section that is run."""

    check: Callable[[Gateway, str], None]


def after_rotation(gateway: Gateway, said: str) -> None:
    assert said.splitlines().count("0 left") == 5
    gateway.restart()
    read_all(gateway, CONTENTS | {"copy": CONTENTS["big"]})
    keys = {key["aliases"]: key["state"] for key in told(gateway, "key", "list")["keys"]}
    assert keys == {"alias/default": "retired", "alias/next": "enabled"}


CASES: Final[dict[str, Case]] = {
    "Rotation": Case(after_rotation),
}


def test_every_section_with_commands_is_run() -> None:
    assert {name for name, blocks in SECTIONS.items() if blocks} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_runbook(gateway: Gateway, name: str) -> None:
    fill(gateway)
    CASES[name].check(gateway, run_section(gateway, name))
