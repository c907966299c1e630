"""The webhooks of the settings, ready to be sent to."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.config import Settings
from gateway.engine.webhooks import Webhook, client_context
from keys.errors import KeyringError
from keys.safe_files import read_private_file

_MAX_SECRET_BYTES: Final = 4096


def open_webhooks(settings: Settings) -> Mapping[str, Webhook]:
    """Every webhook by its name.

    Raises:
        KeyringError: the file of the secret is missing, open to others or empty, or the authorities cannot be read.
    """
    if not settings.webhooks:
        return MappingProxyType({})
    secret = None
    if settings.webhook_secret_file is not None:
        secret = read_private_file(settings.webhook_secret_file, _MAX_SECRET_BYTES).rstrip(b"\r\n")
        if not secret:
            raise KeyringError(f"{settings.webhook_secret_file} is empty; write the webhooks' secret into it")
    try:
        context = client_context(settings.webhook_ca_file)
    except OSError:
        raise KeyringError(f"{settings.webhook_ca_file} holds no authorities; correct webhook_ca_file") from None
    pairs = (webhook.partition("=") for webhook in settings.webhooks)
    return MappingProxyType(
        {name: Webhook(name, url, context, secret, settings.webhook_deadline_s) for name, _, url in pairs}
    )
