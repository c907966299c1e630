"""Which key seals what, and what stands in a key slot: the engine's side of `keys.keyring`.

A slot holds an envelope (docs/FORMAT.md calls it opaque): the wrapped data key, and with bucket keys also the wrapped
bucket key, so that every blob carries all that a KMS needs to open it. Layout in `Envelope`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from keys.datakey import DataKey, WrappedKey
from keys.errors import UnwrapFailed
from keys.keyring import BucketKey, Direct, Keyring, bucket_key_id_of, part_context
from storage.catalogue.records import ID_SIZE, Blob, BlobRole, Content

BUCKET_KEY_MAX_OBJECTS = 1_000_000
"""Content keys under one bucket key before it is renewed. Each has a salt of its own: it bounds damage, not nonces."""

MAX_CURRENT_BUCKET_KEYS = 10_000
"""Buckets whose key is remembered for the next write; the least recently used one gets a new key when it is back."""


class WrappingMode(StrEnum):
    """Who wraps content keys."""

    DIRECT = "direct"
    BUCKET_KEY = "bucket-key"


@dataclass(frozen=True, slots=True)
class Envelope:
    """`u16 size | wrapped key`, and once more with the bucket key: `16 bytes id | u16 size | wrapped bucket key`."""

    wrapped: WrappedKey
    bucket_key: BucketKey | None = None

    def encode(self) -> bytes:
        """The bytes of the slot."""
        encoded = _sized(self.wrapped)
        if self.bucket_key is not None:
            encoded += self.bucket_key.bucket_key_id + _sized(self.bucket_key.wrapped)
        return encoded

    @classmethod
    def decode(cls, slot: bytes) -> "Envelope":
        """Read what `encode` wrote.

        Raises:
            UnwrapFailed: not an envelope.
        """
        wrapped, rest = _take(slot)
        bucket_key_id = bucket_key_id_of(wrapped)
        if bucket_key_id is None:
            if rest:
                raise UnwrapFailed("bytes follow the envelope of a key slot")
            return cls(wrapped)
        bucket_wrapped, trailing = _take(rest[ID_SIZE:])
        if trailing or rest[:ID_SIZE] != bucket_key_id:
            raise UnwrapFailed("a key slot carries another bucket key than the one that wrapped its key")
        return cls(wrapped, BucketKey(bucket_key_id, bucket_wrapped))


def _sized(wrapped: WrappedKey) -> bytes:
    encoded = wrapped.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def _take(data: bytes) -> tuple[WrappedKey, bytes]:
    size = int.from_bytes(data[:2], "big")
    if len(data) < 2 + size or not size:
        raise UnwrapFailed("the envelope of a key slot is cut short")
    return WrappedKey.decode(data[2 : 2 + size]), data[2 + size :]


@dataclass(slots=True)
class _CurrentBucketKey:
    bucket_key: BucketKey
    renew_at: float
    objects_left: int


class Custody:
    """Makes and opens the keys of contents and blobs of one realm. Belongs to one event loop.

    Methods that may ask the KMS raise `KmsUnavailable`, `KmsDenied`, `KmsKeyError`; those that open raise
    `UnwrapFailed` for what does not authenticate.
    """

    def __init__(
        self,
        keyring: Keyring,
        realm_id: bytes,
        mode: WrappingMode,
        clock: Callable[[], float],
        bucket_key_age_s: float,
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._keyring = keyring
        self._realm_id = realm_id
        self._mode = mode
        self._clock = clock
        self._bucket_key_age_s = bucket_key_age_s
        self._current: OrderedDict[bytes, _CurrentBucketKey] = OrderedDict()
        self._renewing: dict[bytes, asyncio.Task[None]] = {}

    async def new_content_key(self, bucket_id: bytes, content_id: bytes) -> tuple[DataKey, bytes]:
        """A fresh content key and its slot. The data key of an object or link blob is made here as well."""
        bucket_key = None
        if self._mode is WrappingMode.BUCKET_KEY:
            bucket_key = await self._bucket_key(bucket_id)
        data_key, wrapped = await self._keyring.new_content_key(
            self._realm_id, bucket_id, content_id, bucket_key or Direct()
        )
        return data_key, Envelope(wrapped, bucket_key).encode()

    async def open_content_key(self, bucket_id: bytes, content_id: bytes, slot: bytes) -> DataKey:
        """The content key of a slot."""
        envelope = Envelope.decode(slot)
        return await self._keyring.unwrap_content_key(
            self._realm_id, bucket_id, content_id, envelope.wrapped, envelope.bucket_key
        )

    def new_blob_key(self, content_key: DataKey, content: Content, blob_id: bytes) -> tuple[DataKey, bytes]:
        """A fresh data key for a part's blob, wrapped under the content key, and its slot."""
        context = part_context(self._realm_id, content.bucket_id, content.content_id, blob_id)
        data_key, wrapped = self._keyring.new_part_key(content_key, context)
        return data_key, Envelope(wrapped).encode()

    async def open_blob_key(self, content: Content, blob: Blob) -> DataKey:
        """The data key of one of a content's blobs."""
        content_key = await self.open_content_key(content.bucket_id, content.content_id, content.wrapped_key)
        if blob.role is BlobRole.OBJECT:
            return content_key
        context = part_context(self._realm_id, content.bucket_id, content.content_id, blob.blob_id)
        return self._keyring.unwrap_part_key(content_key, Envelope.decode(blob.wrapped_key).wrapped, context)

    async def _bucket_key(self, bucket_id: bytes) -> BucketKey:
        """The bucket key in use, renewed by age and count; however many wait for a new one, the KMS is asked once."""
        while (current := self._usable(bucket_id)) is None:
            task = self._renewing.get(bucket_id)
            if task is None:
                task = asyncio.create_task(self._renew(bucket_id))
                self._renewing[bucket_id] = task
            await asyncio.shield(task)
        current.objects_left -= 1
        return current.bucket_key

    def _usable(self, bucket_id: bytes) -> _CurrentBucketKey | None:
        current = self._current.get(bucket_id)
        if current is None or self._clock() >= current.renew_at or not current.objects_left:
            return None
        self._current.move_to_end(bucket_id)
        return current

    async def _renew(self, bucket_id: bytes) -> None:
        try:
            bucket_key = await self._keyring.new_bucket_key(self._realm_id, bucket_id)
            renew_at = self._clock() + self._bucket_key_age_s
            self._current[bucket_id] = _CurrentBucketKey(bucket_key, renew_at, BUCKET_KEY_MAX_OBJECTS)
            if len(self._current) > MAX_CURRENT_BUCKET_KEYS:
                self._current.popitem(last=False)
        finally:
            del self._renewing[bucket_id]
