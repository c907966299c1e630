"""What a command asks of a move: what makes it the same move when it is asked again, and how it is to go."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from gateway.moving.endpoint import Endpoint
from gateway.moving.places import PlaceFailed
from gateway.moving.report import Progress

_BUCKET_SCHEME: Final = "s3://"
_HOW: Final = (
    "parallel",
    "max_mib_per_s",
    "credentials",
    "profile",
    "ca_file",
    "customer_key_file",
    "leave_out_failed",
)
"""What may be another each time that a move goes on. Secrets are in none of it: they are named by their files."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command asks for; the same for both ways."""

    bucket: str
    place: str
    """A folder's absolute path, or `s3://BUCKET/PREFIX`."""
    endpoint: str = ""
    region: str = "us-east-1"
    ca_file: str = ""
    credentials: str = ""
    profile: str = "default"
    prefix: str = ""
    """Of the keys in the bucket that are exported."""
    versions: bool = False
    update: bool = False
    index: bool = False
    read_back: bool = False
    customer_key_file: str = ""
    parallel: int = 4
    max_mib_per_s: int = 0
    restart: bool = False
    read_through: bool = False
    leave_out_failed: bool = False
    """Whether a bucket that reads through opens without what cannot be registered."""

    @classmethod
    def again(cls, progress: Progress) -> Self:
        """As it was asked for when the move began or last went on."""
        return cls(**(progress.options | progress.how))

    def endpoint_of_place(self) -> Endpoint:
        """Raises: PlaceFailed."""
        bucket, _, prefix = self.place.removeprefix(_BUCKET_SCHEME).partition("/")
        if not (bucket and self.endpoint and self.credentials):
            raise PlaceFailed("a bucket needs its name, --endpoint and --credentials")
        ca_file = Path(self.ca_file) if self.ca_file else None
        return Endpoint(self.endpoint, bucket, prefix, self.region, ca_file, Path(self.credentials), self.profile)

    @property
    def is_bucket(self) -> bool:
        """Whether the place is a bucket."""
        return self.place.startswith(_BUCKET_SCHEME)

    def kept(self) -> dict[str, Any]:
        """What makes a move that goes on the same move."""
        return {name: value for name, value in asdict(self).items() if name not in (*_HOW, "restart")}

    def unlike(self, progress: Progress) -> str:
        """What makes it another move than one that began, for messages."""
        other = [name for name, value in self.kept().items() if progress.options.get(name) != value]
        return ", ".join(
            sorted("source or target" if name == "place" else f"--{name.replace('_', '-')}" for name in other)
        )

    def how(self) -> dict[str, Any]:
        """The rest of it."""
        return {name: value for name, value in asdict(self).items() if name in _HOW}
