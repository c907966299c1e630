"""A client's key (SSE-C) from a file, for commands that open what lies under it."""

import base64
from pathlib import Path
from typing import Final

from gateway.errors import SettingsError
from keys.customer import customer_key as customer_key_of
from keys.datakey import KEY_SIZE, DataKey

MAX_CUSTOMER_KEY_FILE_BYTES: Final = 1024


def read_customer_key(path: Path) -> DataKey:
    """The key in a file: 32 bytes, or Base64 of them as clients send it. Raises: SettingsError."""
    try:
        data = path.read_bytes()[:MAX_CUSTOMER_KEY_FILE_BYTES]
        return customer_key_of(data if len(data) == KEY_SIZE else base64.b64decode(data.strip(), validate=True))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror})") from None
    except ValueError:
        raise SettingsError(f"{path} holds neither 32 bytes nor Base64 of 32 bytes") from None
