"""What moves look like from outside: a place lists items, opens them for reading, and takes new ones.

A place is not trusted: whatever it says of an item is held against what arrives, and each of its failures is one of
three kinds: of this item, of an item that changed under the move, or of the whole place.
"""

import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from gateway.errors import MoveError
from gateway.s3.request import Headers
from gateway.s3.types import Checksum, Tags

PIECE_BYTES: Final = 1024 * 1024
"""What is read from a place, or written to it, in one go."""
PART_BYTES: Final = 64 * 1024 * 1024
"""An object without parts of its own is moved in one go up to here, and beyond it in parts of at least this size."""
MAX_PARTS: Final = 10_000
"""As S3 has it."""


class ItemFailed(MoveError):
    """This item cannot be moved, and a second try would not change that."""


class ItemGone(ItemFailed):
    """The place does not have this item any more."""


class ItemChanged(MoveError):
    """This item is not what was listed any more; a later run meets it as it is by then."""


class Interrupted(MoveError):
    """The transfer of this item broke off; trying again may help."""


class PlaceFailed(MoveError):
    """The place cannot be reached, or refuses: the move stops, and goes on from here when it is called again."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object, or one version of it, as a place lists it."""

    object_key: bytes
    size: int
    etag: str
    """What tells this state of the object from another: the place's ETag without quotes, or a file's own marks."""
    modified_at: datetime
    version_id: str | None = None
    is_delete_marker: bool = False
    trouble: str | None = None
    """Why it cannot be moved, where the listing shows that already."""

    def mark(self) -> str:
        """32 hexadecimal digits that are the same for the same state of the same version, and for no other."""
        told = (self.etag, str(self.size), self.modified_at.isoformat(), self.version_id or "")
        return hashlib.sha256("\n".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:32]


class Piece(Protocol):
    """Bytes of an item on their way: the whole, or one part."""

    @property
    def size(self) -> int:
        """How many there will be; fewer or more raise."""

    def chunks(self, md5: "hashlib._Hash | None" = None) -> AsyncGenerator[bytes]:
        """The bytes, hashed on their way where `md5` is given. Raises: Interrupted, ItemChanged, ItemFailed."""

    async def close(self) -> None:
        """Let go of it, read to the end or not."""


class Reading(Protocol):
    """One item, opened."""

    @property
    def headers(self) -> Headers:
        """Content headers and `x-amz-meta-*` as the place sent them; whoever keeps them judges them."""

    @property
    def tags(self) -> Tags:
        """Its tags, where the place has tags."""

    @property
    def md5(self) -> bytes | None:
        """Of the whole content, where the place says it."""

    @property
    def parts_etag(self) -> str | None:
        """The ETag of its parts: MD5 of their MD5s, and their number. None where there are no parts to prove."""

    @property
    def checksum(self) -> Checksum | None:
        """Of the whole content, where the place says one of S3's."""

    @property
    def part_count(self) -> int:
        """1: it is read as a whole."""

    async def piece(self, number: int) -> Piece:
        """Open part `number`, from 1. Raises: MoveError."""

    async def settle(self) -> None:
        """Say that all was read: is it still what was listed? Raises: ItemChanged."""

    async def close(self) -> None:
        """Let go of everything."""


class Source(Protocol):
    """Where objects come from."""

    @property
    def name(self) -> str:
        """As reports call it; no secrets."""

    def walk(self, after: bytes, *, versions: bool) -> AsyncGenerator[Item]:
        """Every item whose key lies behind `after`, in byte order of the keys.

        With `versions` all of a key's, the newest first. Raises: PlaceFailed.
        """

    async def open(self, item: Item) -> Reading:
        """Raises: MoveError."""

    async def close(self) -> None:
        """Let go of everything."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One version that leaves, or a delete marker."""

    object_key: bytes
    size: int
    version_id: str
    etag: str
    md5_etag: bool
    """Whether the ETag is an MD5, or one of parts' MD5s."""
    created_at: datetime
    is_delete_marker: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    """By the names of `ObjectHeaders`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Tags = ()
    parts: tuple[int, ...] = ()
    """Sizes of the parts that it is sent in; empty: as a whole."""


Opened = Callable[[int, int], AsyncGenerator[bytes]]
"""Gives a span (offset, length) of the plaintext; called for each part, and again where it is read twice."""


class Target(Protocol):
    """Where objects go."""

    @property
    def name(self) -> str:
        """As reports call it; no secrets."""

    @property
    def keeps_versions(self) -> bool:
        """Whether it can take several versions of a key."""

    async def holds(self, outgoing: Outgoing, index: int, count: int, opened: Opened) -> int:
        """How many versions of its key it holds, if the one at `index` of them, from the oldest on, is this one.

        `count` is how many the key has on this side; those before `index` were compared by then.

        Raises:
            ItemChanged: it holds something else under that key. MoveError: as everywhere.
        """

    async def put(self, outgoing: Outgoing, opened: Opened, *, read_back: bool) -> None:
        """Write one version, never over something else, and see that it arrived. Raises: MoveError."""

    async def note(self, outgoing: Outgoing) -> None:
        """Write down that a version is there, where the place has an index."""

    async def close(self) -> None:
        """Let go of everything."""


def part_sizes(size: int) -> tuple[int, ...]:
    """How an object without parts of its own is cut; empty where it is moved as a whole."""
    if size <= PART_BYTES:
        return ()
    step = max(PART_BYTES, -(-size // MAX_PARTS))
    return tuple(min(step, size - offset) for offset in range(0, size, step))
