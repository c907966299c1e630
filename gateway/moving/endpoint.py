"""A bucket at another S3, and what signs requests to it. Apart from the client, which takes half a second to import."""

from dataclasses import dataclass, field
from pathlib import Path


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
