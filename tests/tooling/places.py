"""Where the test machinery keeps what it fetches and writes: all of it under `.tools`, none of it in a home.

Source: the two commands of README.md, which must work in a fresh clone with an empty home.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
TOOLS: Final = ROOT / ".tools"
REPORTS: Final = TOOLS / "reports"
LOCKS: Final = ROOT / "tests" / "tooling" / "locks"
RUNTIME_LOCK: Final = ROOT / "docker" / "requirements.lock"
TEST_LOCK: Final = ROOT / "tests" / "requirements.lock"

_CERTIFICATE_PRESETS: Final = (
    "AWS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
)


def bare_environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of a client under test: a path, a home of its own, and what `more` names.

    It is built up from nothing instead of cleaned down, so no preset of the machine (a CA bundle, a proxy, an AWS
    profile) can decide a test.
    """
    assert not set(more) & {"HOME", "PATH"} or "PATH" in more
    environment = {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PATH": os.environ.get("PATH", os.defpath),
        "TMPDIR": str(home),
        "TZ": "UTC",
    }
    return environment | more


def is_preset(name: str) -> bool:
    """Tell whether an environment variable could steer a client in this process away from the gateway."""
    return name in _CERTIFICATE_PRESETS or name.startswith("AWS_") or name.lower().endswith("_proxy")


@contextmanager
def without_presets(folder: Path) -> Iterator[None]:
    """Clear this process's own environment of them, for clients that run in it; `folder` takes an empty file."""
    empty = folder / "empty"
    empty.touch()
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(is_preset, list(os.environ)):
            patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", str(empty))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(empty))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield
