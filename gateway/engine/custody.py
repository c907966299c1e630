"""Which key seals what, and what stands in a key slot: the engine's side of `keys.keyring`.

A slot holds an envelope (docs/FORMAT.md calls it opaque): the wrapped data key, and with bucket keys also the wrapped
bucket key, so that every blob carries all that a KMS needs to open it. Layout in `Envelope`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Protocol
from weakref import WeakSet

from gateway.engine.attributes import KeptChecksum, SealedChecksum
from gateway.engine.protection import DEFAULT_PROTECTION, Mode, Protection
from gateway.s3.types import Checksum
from keys.context import NIL_ID, canonical
from keys.customer import check_verifier, new_verifier
from keys.datakey import DataKey, WrappedKey
from keys.errors import UnwrapFailed
from keys.keyring import (
    CONTENT_PROVIDER,
    CUSTOMER_PROVIDER,
    BucketKey,
    Customer,
    Direct,
    Keyring,
    Wrapping,
    bucket_key_context,
    bucket_key_id_of,
    content_context,
    part_context,
)
from keys.kms.base import KeyDescription, check_usable
from keys.record import Record, seal, unseal
from keys.recovery import NO_COPIES, Copies, Recipients
from storage.catalogue.records import ID_SIZE, Blob, BlobRole, Content

BUCKET_KEY_MAX_OBJECTS = 1_000_000
"""Content keys under one bucket key before it is renewed. Each has a salt of its own: it bounds damage, not nonces."""

DESCRIBED_S = 1.0
MAX_DESCRIBED = 256
"""How long, and of how many names, it is believed what the KMS said of a key: so many writes in a second ask it once,
and one that is disabled is refused a second later at the most."""

MAX_CURRENT_BUCKET_KEYS = 10_000
"""Bucket keys that are remembered for the next write; for the least recently used one a new key is made later."""

_NOT_OF_A_KMS = frozenset({CUSTOMER_PROVIDER, CONTENT_PROVIDER})
_CHECKSUM_LABEL = "sealgate/checksum/v1"
_Purse = tuple[bytes, str | None]
"""A bucket and the KMS key that its bucket keys lie under; None for the default key of SSE-S3."""


class ContentIds(Protocol):
    """What names a content: a `Content` does."""

    @property
    def bucket_id(self) -> bytes:
        """The bucket that it was sealed for."""

    @property
    def content_id(self) -> bytes:
        """Its own id."""


class WrappingMode(StrEnum):
    """Who wraps content keys."""

    DIRECT = "direct"
    BUCKET_KEY = "bucket-key"


@dataclass(frozen=True, slots=True)
class Envelope:
    """`u16 size | wrapped key`, and once more with the bucket key: `16 bytes id | u16 size | wrapped bucket key`.

    Behind them stand the copies for recovery recipients, where there are any (docs/FORMAT.md section 4.1).
    """

    wrapped: WrappedKey
    bucket_key: BucketKey | None = None
    copies: Copies = NO_COPIES
    """Of the key that the KMS wrapped."""

    def encode(self) -> bytes:
        """The bytes of the slot."""
        encoded = sized(self.wrapped)
        if self.bucket_key is not None:
            encoded += self.bucket_key.bucket_key_id + sized(self.bucket_key.wrapped)
        return encoded + self.copies.encode()

    @property
    def kms_wrapped(self) -> WrappedKey | None:
        """What the KMS wrapped of it: the key itself or its bucket key. None where a client or a content key did."""
        if self.bucket_key is not None:
            return self.bucket_key.wrapped
        return None if self.wrapped.provider in _NOT_OF_A_KMS else self.wrapped

    @classmethod
    def decode(cls, slot: bytes) -> "Envelope":
        """Read what `encode` wrote.

        Raises:
            UnwrapFailed: not an envelope.
        """
        wrapped, rest = take_sized(slot)
        bucket_key_id = bucket_key_id_of(wrapped)
        if bucket_key_id is None:
            if rest and wrapped.provider in _NOT_OF_A_KMS:
                raise UnwrapFailed("bytes follow the envelope of a key slot")
            return cls(wrapped, None, Copies.decode(rest))
        if rest[:ID_SIZE] != bucket_key_id:
            raise UnwrapFailed("a key slot carries another bucket key than the one that wrapped its key")
        return cls(wrapped, *_bucket_part(rest))

    def with_bucket_part(self, other: "Envelope") -> "Envelope":
        """The same content key, beside the bucket key that another envelope has, which is the same one wrapped anew."""
        assert other.bucket_key is not None, "it lies under a bucket key"
        return Envelope(self.wrapped, other.bucket_key, other.copies)


@lru_cache(maxsize=256)
def _bucket_part(rest: bytes) -> tuple[BucketKey, Copies]:
    """What follows the wrapped content key of an envelope; the same bytes for all contents under one bucket key."""
    wrapped, trailing = take_sized(rest[ID_SIZE:])
    return BucketKey(rest[:ID_SIZE], wrapped), Copies.decode(trailing)


def sized(wrapped: WrappedKey) -> bytes:
    """A wrapped key behind its size, two bytes, as slots have it."""
    encoded = wrapped.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def take_sized(data: bytes) -> tuple[WrappedKey, bytes]:
    """The wrapped key that bytes begin with, and the rest. Raises: UnwrapFailed."""
    size = int.from_bytes(data[:2], "big")
    if len(data) < 2 + size or not size:
        raise UnwrapFailed("the envelope of a key slot is cut short")
    return WrappedKey.decode(data[2 : 2 + size]), data[2 + size :]


@dataclass(frozen=True, slots=True)
class Unlock:
    """What opening a content takes besides its row: what the client bound it to, and the key that it brought."""

    context: str = field(default="", repr=False)
    customer_key: DataKey | None = None

    @classmethod
    def of(cls, protection: Protection, customer_key: DataKey | None) -> "Unlock":
        """For a content of that protection."""
        return cls(protection.context, customer_key)


NOTHING_BESIDES = Unlock()
"""For contents that the service opens alone."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class NewContentKey:
    """A content key, and all that is kept of it. Hold it until the row that has its slot is published or given up.

    While one is held, custody knows that a wrap is on its way into the catalogue (`Custody.on_their_way`).
    """

    data_key: DataKey
    slot: bytes
    protection: Protection
    """As asked, completed by a verifier where a client brought the key."""


@dataclass(slots=True)
class _CurrentBucketKey:
    bucket_key: BucketKey
    copies: Copies
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
        recipients: Recipients | None = None,
    ) -> None:
        """`clock` is monotonic, in seconds; `recipients` may change while this lives."""
        self.recipients = Recipients() if recipients is None else recipients
        self._keyring = keyring
        self._realm_id = realm_id
        self._mode = mode
        self._clock = clock
        self._bucket_key_age_s = bucket_key_age_s
        self._current: OrderedDict[_Purse, _CurrentBucketKey] = OrderedDict()
        self._renewing: dict[_Purse, asyncio.Task[None]] = {}
        self._generation = 0
        self._described: OrderedDict[str | None, tuple[KeyDescription, float]] = OrderedDict()
        self._asking: set[asyncio.Future[None]] = set()
        self._made: WeakSet[NewContentKey] = WeakSet()

    async def describe_key(self, kms_key_id: str | None) -> KeyDescription:
        """The wrapping key that a client named; None is the default one. Raises: KmsKeyError where it is not usable."""
        known = self._described.get(kms_key_id)
        if known is not None and self._clock() < known[1]:
            return known[0]
        described = await self._keyring.describe(kms_key_id)
        check_usable(described.state)
        self._described[kms_key_id] = described, self._clock() + DESCRIBED_S
        self._described.move_to_end(kms_key_id)
        if len(self._described) > MAX_DESCRIBED:
            self._described.popitem(last=False)
        return described

    async def new_content_key(
        self,
        bucket_id: bytes,
        content_id: bytes,
        protection: Protection = DEFAULT_PROTECTION,
        customer_key: DataKey | None = None,
    ) -> NewContentKey:
        """A fresh content key and its slot. The data key of an object or link blob is made here as well.

        `customer_key` is given just where the mode says that a client brings the key.
        """
        assert (protection.mode is Mode.CUSTOMER) == (customer_key is not None), "the mode says who brings the key"
        asking = asyncio.get_running_loop().create_future()
        self._asking.add(asking)
        try:
            made = await self._make_content_key(bucket_id, content_id, protection, customer_key)
            self._made.add(made)
            return made
        finally:
            self._asking.remove(asking)
            asking.set_result(None)

    async def _make_content_key(
        self, bucket_id: bytes, content_id: bytes, protection: Protection, customer_key: DataKey | None
    ) -> NewContentKey:
        current: _CurrentBucketKey | None = None
        if customer_key is not None:
            context = content_context(self._realm_id, bucket_id, content_id)
            protection = replace(protection, verifier=new_verifier(customer_key, context))
            wrapping: Wrapping = Customer(customer_key)
        elif protection.mode is Mode.KMS:
            kms_key_id = protection.kms_key_id
            if protection.bucket_key:
                current = await self._bucket_key((bucket_id, kms_key_id))
            wrapping = Direct(kms_key_id)
        else:
            if self._mode is WrappingMode.BUCKET_KEY:
                current = await self._bucket_key((bucket_id, None))
            wrapping = Direct()
        if current is not None:
            wrapping = current.bucket_key
        data_key, wrapped = await self._keyring.new_content_key(
            self._realm_id, bucket_id, content_id, wrapping, encryption_context=protection.context.encode("utf-8")
        )
        if current is not None:
            envelope = Envelope(wrapped, current.bucket_key, current.copies)
        elif customer_key is not None:
            envelope = Envelope(wrapped)
        else:
            context = content_context(self._realm_id, bucket_id, content_id, protection.context.encode("utf-8"))
            envelope = Envelope(wrapped, None, self.recipients.copy(data_key, context))
        return NewContentKey(data_key, envelope.encode(), protection)

    def on_their_way(self) -> list[Envelope]:
        """The envelopes of keys that were made and neither published nor given up yet."""
        return [Envelope.decode(made.slot) for made in list(self._made)]

    def made_so_far(self) -> WeakSet[NewContentKey]:
        """The keys that are on their way now, without those to come; empty once all of them have arrived."""
        return WeakSet(self._made)

    async def renew(self) -> None:
        """Let every key from now on lie under what the KMS wraps with now: present bucket keys are used no more.

        Returns when no key is being made any more that the KMS was asked for before.
        """
        self._generation += 1
        self._current.clear()
        self._described.clear()
        if self._asking:
            await asyncio.wait(self._asking)

    async def rewrap(
        self, bucket_id: bytes, wrap_id: bytes, envelope: Envelope, kms_key_id: str, unlock: Unlock = NOTHING_BESIDES
    ) -> Envelope:
        """The envelope with what the KMS wrapped of it under the current version of a wrapping key; proved to open."""
        if envelope.bucket_key is not None:
            bucket_key = await self._keyring.rewrap_bucket_key(
                self._realm_id, bucket_id, envelope.bucket_key, kms_key_id
            )
            copies = envelope.copies
            if copies.ids != self.recipients.ids:
                copies = await self._copies_of(bucket_id, bucket_key)
            return replace(envelope, bucket_key=bucket_key, copies=copies)
        wrapped = await self._keyring.rewrap_content_key(
            self._realm_id,
            bucket_id,
            wrap_id,
            envelope.wrapped,
            kms_key_id,
            encryption_context=unlock.context.encode("utf-8"),
        )
        moved = Envelope(wrapped, None, envelope.copies)
        if envelope.copies.ids != self.recipients.ids:
            data_key = await self.open_content_key(bucket_id, wrap_id, moved.encode(), unlock)
            context = content_context(self._realm_id, bucket_id, wrap_id, unlock.context.encode("utf-8"))
            moved = replace(moved, copies=self.recipients.copy(data_key, context))
        return moved

    async def _copies_of(self, bucket_id: bytes, bucket_key: BucketKey) -> Copies:
        if not self.recipients.ids:
            return NO_COPIES
        opened = await self._keyring.open_bucket_key(self._realm_id, bucket_id, bucket_key)
        return self.recipients.copy(opened, bucket_key_context(self._realm_id, bucket_id, bucket_key.bucket_key_id))

    async def open_content_key(
        self, bucket_id: bytes, content_id: bytes, slot: bytes, unlock: Unlock = NOTHING_BESIDES
    ) -> DataKey:
        """The content key of a slot."""
        envelope = Envelope.decode(slot)
        return await self._keyring.unwrap_content_key(
            self._realm_id,
            bucket_id,
            content_id,
            envelope.wrapped,
            envelope.bucket_key,
            encryption_context=unlock.context.encode("utf-8"),
            customer_key=unlock.customer_key,
        )

    def check_customer_key(
        self, bucket_id: bytes, content_id: bytes, protection: Protection, customer_key: DataKey
    ) -> None:
        """See that a client brought the key that it wrote with; needs no blob and no KMS.

        Raises:
            CustomerKeyMismatch: it brought another.
        """
        check_verifier(customer_key, protection.verifier, content_context(self._realm_id, bucket_id, content_id))

    def seal_checksum(
        self, content_key: DataKey, content: ContentIds, checksum: Checksum, blob_id: bytes = NIL_ID
    ) -> SealedChecksum:
        """A checksum that the content key alone opens. `blob_id` is of the part that it is of; objects have none."""
        context = self._checksum_context(content, checksum, blob_id)
        sealed = seal(content_key.material(), checksum.value.encode("ascii"), context).encode()
        return SealedChecksum(checksum.algorithm, checksum.checksum_type, sealed)

    def open_checksum(
        self, content_key: DataKey, content: ContentIds, checksum: SealedChecksum, blob_id: bytes = NIL_ID
    ) -> Checksum:
        """What `seal_checksum` sealed."""
        context = self._checksum_context(content, checksum, blob_id)
        value = unseal(content_key.material(), Record.decode(checksum.sealed), context).decode("ascii")
        return Checksum(checksum.algorithm, value, checksum.checksum_type)

    def keep_checksum(
        self,
        protection: Protection,
        content_key: DataKey,
        content: ContentIds,
        checksum: Checksum,
        blob_id: bytes = NIL_ID,
    ) -> KeptChecksum:
        """A checksum as rows and descriptions may hold it."""
        if not protection.hides_hashes:
            return checksum
        return self.seal_checksum(content_key, content, checksum, blob_id)

    def _checksum_context(self, content: ContentIds, checksum: KeptChecksum, blob_id: bytes) -> bytes:
        return canonical(
            _CHECKSUM_LABEL,
            self._realm_id,
            content.bucket_id,
            content.content_id,
            blob_id,
            checksum.algorithm.value.encode("ascii"),
            checksum.checksum_type.value.encode("ascii"),
        )

    def new_blob_key(self, content_key: DataKey, content: Content, blob_id: bytes) -> tuple[DataKey, bytes]:
        """A fresh data key for a part's blob, wrapped under the content key, and its slot."""
        context = part_context(self._realm_id, content.bucket_id, content.content_id, blob_id)
        data_key, wrapped = self._keyring.new_part_key(content_key, context)
        return data_key, Envelope(wrapped).encode()

    async def open_blob_key(self, content: Content, blob: Blob, unlock: Unlock = NOTHING_BESIDES) -> DataKey:
        """The data key of one of a content's blobs."""
        content_key = await self.open_content_key(content.bucket_id, content.content_id, content.wrapped_key, unlock)
        return self.blob_key(content_key, content, blob)

    def blob_key(self, content_key: DataKey, content: Content, blob: Blob) -> DataKey:
        """The same, for who has the content key already; never asks the KMS."""
        if blob.role is BlobRole.OBJECT:
            return content_key
        context = part_context(self._realm_id, content.bucket_id, content.content_id, blob.blob_id)
        return self._keyring.unwrap_part_key(content_key, Envelope.decode(blob.wrapped_key).wrapped, context)

    async def _bucket_key(self, purse: _Purse) -> _CurrentBucketKey:
        """The bucket key in use, renewed by age and count; however many wait for a new one, the KMS is asked once."""
        while (current := self._usable(purse)) is None:
            task = self._renewing.get(purse)
            if task is None:
                task = asyncio.create_task(self._renew(purse))
                self._renewing[purse] = task
            await asyncio.shield(task)
        current.objects_left -= 1
        return current

    def _usable(self, purse: _Purse) -> _CurrentBucketKey | None:
        current = self._current.get(purse)
        if current is None or self._clock() >= current.renew_at or not current.objects_left:
            return None
        self._current.move_to_end(purse)
        return current

    async def _renew(self, purse: _Purse) -> None:
        try:
            generation = self._generation
            bucket_key = await self._keyring.new_bucket_key(self._realm_id, *purse)
            copies = await self._copies_of(purse[0], bucket_key)
            if generation != self._generation:
                return  # whoever waits asks again
            renew_at = self._clock() + self._bucket_key_age_s
            self._current[purse] = _CurrentBucketKey(bucket_key, copies, renew_at, BUCKET_KEY_MAX_OBJECTS)
            if len(self._current) > MAX_CURRENT_BUCKET_KEYS:
                self._current.popitem(last=False)
        finally:
            del self._renewing[purse]
