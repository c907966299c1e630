from pathlib import Path
from typing import Any

import pytest

from gateway.config import Settings
from gateway.wiring.webhooks import open_webhooks
from keys.errors import KeyringError

URL = "https://hooks.example/sealgate"


def settings(**more: Any) -> Settings:
    return Settings(**({"webhooks": f"a={URL},b={URL}/b"} | more))


def test_every_webhook_by_its_name() -> None:
    held = open_webhooks(settings())
    assert {name: (hook.name, hook.url, hook.secret) for name, hook in held.items()} == {
        "a": ("a", URL, None),
        "b": ("b", f"{URL}/b", None),
    }
    assert open_webhooks(Settings()) == {}


def test_the_secret_is_read_from_a_private_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("between us\n")
    secret.chmod(0o600)
    assert open_webhooks(settings(webhook_secret_file=secret))["a"].secret == b"between us"
    secret.chmod(0o644)
    with pytest.raises(KeyringError):
        open_webhooks(settings(webhook_secret_file=secret))
    secret.write_text("\n")
    secret.chmod(0o600)
    with pytest.raises(KeyringError, match="empty"):
        open_webhooks(settings(webhook_secret_file=secret))


def test_authorities_that_are_none_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("not a certificate")
    for path in (wrong, tmp_path / "absent"):
        with pytest.raises(KeyringError, match="webhook_ca_file"):
            open_webhooks(settings(webhook_ca_file=path))


@pytest.mark.parametrize(
    "value",
    [
        "hook",
        f"={URL}",
        f"UPPER={URL}",
        f"{'a' * 64}={URL}",
        "a=http://hooks.example/",
        "a=ftp://hooks.example/",
        "a=https://",
        "a=https:///path",
        "a=https://user:secret@hooks.example/",
        "a=https://hooks.example/#fragment",
        "a=https://hooks.example:99999/",
        "a=https://[",
        "a=https://hooks.example/ b",
        "a=https://hooks.example/ä",
        f"a={URL},a={URL}",
    ],
)
def test_what_is_no_webhook_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"webhook|NAME|https"):
        Settings(webhooks=value)  # type: ignore[arg-type]  # as it is typed
