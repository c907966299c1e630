"""A bucket at another S3, what signs requests to it, and how slow it may be.

Apart from the client, which takes half a second to import.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

WINDOW_S: Final = 60.0
"""Of waiting for a server: so long it may be silent, and after each the rate is judged anew."""
LEAST_BYTES_S: Final = 16 * 1024
"""What it must give in that time, on each connection."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A bucket at an S3 endpoint, as a command names it. No secret is in it."""

    url: str
    bucket: str
    prefix: str
    region: str
    ca_file: Path | None
    credentials_file: Path | None
    """None where the access key is kept elsewhere."""
    profile: str

    @property
    def name(self) -> str:
        """As reports call it."""
        return f"s3://{self.bucket}/{self.prefix} at {self.url}"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """What signs requests."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Patience:
    """How slow a server may be."""

    least_bytes_s: int = LEAST_BYTES_S
    window_s: float = WINDOW_S
