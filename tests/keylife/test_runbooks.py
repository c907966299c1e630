"""Every block of commands in docs/KEYS.md, run as it stands, section by section, beside a gateway that serves.

A section of life cycle has its fenced `sh` blocks run in order by one bash; `CASES` holds what must be there before and
what must be true after.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest

from tests.blackbox.clients import payload, s3_client
from tests.blackbox.process import PROGRAM, Credentials, Gateway
from tests.keylife.conftest import BUCKET, client_of, read_all, told
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
ANOTHER_KMS: Final = "Another KMS"
"""The section that `tests/kms` runs, beside a real one."""


def run_section(gateway: Gateway, name: str) -> str:
    """Run the commands of a section; what they said."""
    return run_commands(gateway, *SECTIONS[name])


def run_commands(gateway: Gateway, *blocks: str) -> str:
    """Run blocks of commands; what they said."""
    script = "set -euo pipefail\n" + "\n".join(blocks)
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
    prepare: Callable[[Gateway], None] = lambda _: None


def after_rotation(gateway: Gateway, said: str) -> None:
    assert said.splitlines().count("0 left") == 5
    gateway.restart()
    read_all(gateway, CONTENTS | {"copy": CONTENTS["big"]})
    keys = {key["aliases"]: key["state"] for key in told(gateway, "key", "list")["keys"]}
    assert keys == {"alias/default": "pending-deletion", "alias/next": "enabled"}


def after_recipients(gateway: Gateway, said: str) -> None:
    assert "0 left" in said.splitlines()
    assert told(gateway, "recovery", "list")["recipients"][0]["name"] == "offline"
    gateway.restart()
    read_all(gateway, CONTENTS | {"copy": CONTENTS["big"]})


def lose_the_keys(gateway: Gateway) -> None:
    """What the section on recipients does, which is run by itself, and then the loss."""
    made = told(gateway, "recovery", "keygen", "recovery-secret")
    told(gateway, "recovery", "add", "offline", made["public"])
    assert told(gateway, "key", "rewrap")["left_count"] == 0
    gateway.stop()
    shutil.rmtree(gateway.keys)


def after_opening(gateway: Gateway, said: str) -> None:
    assert "0 left" in said.splitlines()
    shown = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    gateway.start()
    client = client_of(gateway, Credentials(shown["access_key_id"], shown["secret_access_key"]))
    for name, content in (CONTENTS | {"copy": CONTENTS["big"]}).items():
        assert client.get_object(Bucket=BUCKET, Key=name)["Body"].read() == content
    client.close()


def after_incident(gateway: Gateway, said: str) -> None:
    assert "left_count: 0" in said.splitlines()
    assert "disabled_versions: 1" in said.splitlines()
    gateway.restart()
    read_all(gateway, CONTENTS | {"copy": CONTENTS["big"]})


def after_shredding(gateway: Gateway, said: str) -> None:
    assert "destroyed_count: 2" in said.splitlines()
    assert said.splitlines()[-1] == "0 left"
    gateway.restart()
    kept = {name: content for name, content in CONTENTS.items() if not name.startswith("photos/")}
    read_all(gateway, kept | {"copy": CONTENTS["big"]})
    client = s3_client(gateway)
    assert "Contents" not in client.list_objects_v2(Bucket=BUCKET, Prefix="photos/")
    client.close()


CASES: Final[dict[str, Case]] = {
    "Rotation": Case(after_rotation),
    "Recovery recipients": Case(after_recipients),
    "Opening without the KMS": Case(after_opening, lose_the_keys),
    "Incident": Case(after_incident),
    "Shredding": Case(after_shredding),
}


def test_every_section_with_commands_is_run() -> None:
    assert {name for name, blocks in SECTIONS.items() if blocks} == {*CASES, ANOTHER_KMS}


@pytest.mark.parametrize("name", CASES)
def test_runbook(gateway: Gateway, name: str) -> None:
    fill(gateway)
    CASES[name].prepare(gateway)
    CASES[name].check(gateway, run_section(gateway, name))
