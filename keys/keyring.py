"""What the engine asks for keys: content keys, bucket keys and the keys of parts, with a bounded cache before the KMS.

Source: docs/decisions/0002-wrapping-record.md (KMS key -> [bucket key] -> content key -> keys of parts).
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from keys.cache import MAX_ENTRIES, MAX_TTL_S, KeyCache
from keys.context import ID_SIZE, NIL_ID, Purpose, WrapContext, canonical
from keys.datakey import DataKey, WrappedKey
from keys.deadline import KMS_DEADLINE_S, within
from keys.errors import UnwrapFailed
from keys.kms.base import KeyDescription, Kms, PromptKms
from keys.record import seal, unseal

BUCKET_PROVIDER = "bucket"
"""Provider of content keys under a bucket key; `kms_key_id` is then the bucket key's id in hexadecimal."""

CONTENT_PROVIDER = "content"
"""Provider of part keys under a content key; `kms_key_id` is then the content id in hexadecimal."""


CUSTOMER_PROVIDER = "customer"
"""Provider of content keys under a key of the client; `kms_key_id` is then the content id in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Direct:
    """Wrap the content key by the KMS itself, under this wrapping key (`None`: the default one)."""

    kms_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class BucketKey:
    """A stored bucket key: its random id (16 bytes) and itself, wrapped by the KMS. Public.

    Content keys wrapped by it open only while this record can be had: keep it wherever they are kept.
    """

    bucket_key_id: bytes
    wrapped: WrappedKey


@dataclass(frozen=True, slots=True)
class Customer:
    """Wrap the content key under a key that the client brought (`keys.customer.customer_key`). It is never kept."""

    customer_key: DataKey


Wrapping = Direct | BucketKey | Customer
"""Who wraps a content key."""


class Keyring:
    """Makes, unwraps and re-wraps keys for the engine. Belongs to one event loop.

    Methods that may ask the KMS raise `KmsUnavailable`, `KmsDenied` or `KmsKeyError` as `Kms` tells, the first within
    `deadline_s`; while a key is in the cache (at most `cache_ttl_s`, never above 300 s of `clock`, monotonic seconds)
    they do not ask. All ids have 16 bytes.
    """

    def __init__(
        self,
        kms: Kms,
        clock: Callable[[], float],
        *,
        deadline_s: float = KMS_DEADLINE_S,
        cache_ttl_s: float = MAX_TTL_S,
        cache_entries: int = MAX_ENTRIES,
    ) -> None:
        self._kms = kms
        self._prompt = kms if isinstance(kms, PromptKms) else None
        self._clock = clock
        self._deadline_s = deadline_s
        self._cache = KeyCache(clock, ttl_s=cache_ttl_s, max_entries=cache_entries)

    async def describe(self, kms_key_id: str | None) -> KeyDescription:
        """The wrapping key that an id, alias or ARN names; `None` is the default one. Whatever its state."""
        return await within(self._deadline_s, self._kms.describe(kms_key_id))

    async def new_content_key(
        self,
        realm_id: bytes,
        bucket_id: bytes,
        content_id: bytes,
        wrapping: Wrapping = Direct(),
        *,
        encryption_context: bytes = b"",
    ) -> tuple[DataKey, WrappedKey]:
        """A fresh data key for one content. With a `BucketKey` the KMS is asked for that key at most.

        Raises:
            UnwrapFailed: the bucket key does not open for this bucket.
        """
        context = content_context(realm_id, bucket_id, content_id, encryption_context)
        if isinstance(wrapping, Customer):
            return _new_key_under(wrapping.customer_key, CUSTOMER_PROVIDER, content_id, context)
        if isinstance(wrapping, BucketKey):
            bucket_key = await self.open_bucket_key(realm_id, bucket_id, wrapping)
            return _new_key_under(bucket_key, BUCKET_PROVIDER, wrapping.bucket_key_id, context)
        return await self._generate(wrapping.kms_key_id, context)

    async def unwrap_content_key(
        self,
        realm_id: bytes,
        bucket_id: bytes,
        content_id: bytes,
        wrapped: WrappedKey,
        bucket_key: BucketKey | None = None,
        *,
        encryption_context: bytes = b"",
        customer_key: DataKey | None = None,
    ) -> DataKey:
        """The data key of a content. `bucket_key` must be given if one wrapped it: see `bucket_key_id_of`.

        What a client's key opened is never cached: the next request must bring that key again.

        Raises:
            UnwrapFailed: altered, of another content, bucket, realm or encryption context, the bucket key or the
                client's key is missing or another, or a client's key was brought where none is needed.
        """
        context = content_context(realm_id, bucket_id, content_id, encryption_context)
        if (wrapped.provider == CUSTOMER_PROVIDER) != (customer_key is not None):
            raise UnwrapFailed(f"{wrapped!r} is not of the kind that it was opened as")
        if customer_key is not None:
            return _unwrap_under(customer_key, CUSTOMER_PROVIDER, content_id, wrapped, context)
        bucket_key_id = bucket_key_id_of(wrapped)
        if bucket_key_id is None:
            return await self._unwrap_cached(wrapped, context)
        if bucket_key is None or bucket_key.bucket_key_id != bucket_key_id:
            raise UnwrapFailed(f"{wrapped!r} needs its bucket key")
        wrapping_key = await self.open_bucket_key(realm_id, bucket_id, bucket_key)
        return _unwrap_under(wrapping_key, BUCKET_PROVIDER, bucket_key_id, wrapped, context)

    async def new_bucket_key(self, realm_id: bytes, bucket_id: bytes, kms_key_id: str | None = None) -> BucketKey:
        """A fresh bucket key, wrapped by the KMS. Store it before any content key under it."""
        bucket_key_id = secrets.token_bytes(ID_SIZE)
        context = bucket_key_context(realm_id, bucket_id, bucket_key_id)
        _, wrapped = await self._generate(kms_key_id, context)
        return BucketKey(bucket_key_id, wrapped)

    def new_part_key(self, content_key: DataKey, context: WrapContext) -> tuple[DataKey, WrappedKey]:
        """A fresh data key for one attempt to upload a part; never asks the KMS.

        `context` is `part_context(...)` of that attempt's blob.
        """
        _check_part(context)
        return _new_key_under(content_key, CONTENT_PROVIDER, context.content_id, context)

    def unwrap_part_key(self, content_key: DataKey, wrapped: WrappedKey, context: WrapContext) -> DataKey:
        """The data key of a part's blob.

        Raises:
            UnwrapFailed: altered, or of another blob, content, bucket or realm.
        """
        _check_part(context)
        return _unwrap_under(content_key, CONTENT_PROVIDER, context.content_id, wrapped, context)

    async def rewrap_content_key(
        self,
        realm_id: bytes,
        bucket_id: bytes,
        content_id: bytes,
        wrapped: WrappedKey,
        kms_key_id: str | None = None,
        *,
        encryption_context: bytes = b"",
    ) -> WrappedKey:
        """Move a directly wrapped content key to another wrapping key (or version), and prove that it opens there.

        Raises:
            UnwrapFailed: it is not the KMS's (one under a bucket key moves with `rewrap_bucket_key`, one under a
                client's key never), or is altered.
        """
        context = content_context(realm_id, bucket_id, content_id, encryption_context)
        return await self._rewrap(wrapped, context, kms_key_id)

    async def rewrap_bucket_key(
        self, realm_id: bytes, bucket_id: bytes, bucket_key: BucketKey, kms_key_id: str | None = None
    ) -> BucketKey:
        """Move a bucket key to another wrapping key; its id, and all content keys under it, stay as they are.

        Raises:
            UnwrapFailed: the KMS's part of it does not authenticate.
        """
        context = bucket_key_context(realm_id, bucket_id, bucket_key.bucket_key_id)
        wrapped = await self._rewrap(bucket_key.wrapped, context, kms_key_id)
        return BucketKey(bucket_key.bucket_key_id, wrapped)

    def forget_expired(self) -> None:
        """Drop cached keys that are too old; call now and then, so that an idle process holds none."""
        self._cache.forget_expired()

    def forget_all(self) -> None:
        """Drop every cached key: the next use of each asks the KMS."""
        self._cache.forget_all()

    async def open_bucket_key(self, realm_id: bytes, bucket_id: bytes, bucket_key: BucketKey) -> DataKey:
        """The key itself. Raises: UnwrapFailed where it is altered, or of another bucket or realm."""
        context = bucket_key_context(realm_id, bucket_id, bucket_key.bucket_key_id)
        return await self._unwrap_cached(bucket_key.wrapped, context)

    async def _unwrap_cached(self, wrapped: WrappedKey, context: WrapContext) -> DataKey:
        return await self._cache.get(
            _cache_name(context, wrapped),
            lambda: within(self._deadline_s, self._kms.unwrap(wrapped, context)),
        )

    async def _generate(self, kms_key_id: str | None, context: WrapContext) -> tuple[DataKey, WrappedKey]:
        asked_at = self._clock()
        data_key, wrapped = await within(self._deadline_s, self._kms.generate(kms_key_id, context))
        self._cache.put(_cache_name(context, wrapped), data_key, asked_at)
        return data_key, wrapped

    async def _rewrap(self, wrapped: WrappedKey, context: WrapContext, kms_key_id: str | None) -> WrappedKey:
        if self._prompt is not None:
            at_once = self._prompt.move(wrapped, context, kms_key_id)
            if at_once is not None:
                return at_once
        moved = await within(self._deadline_s, self._kms.rewrap(wrapped, context, kms_key_id))
        # The old wrap is about to be given up: what takes its place is opened once, past the cache. Its record binds
        # the data key, and did not change, so it opens under the right K alone.
        await within(self._deadline_s, self._kms.unwrap(moved, context))
        return moved


def content_context(
    realm_id: bytes, bucket_id: bytes, content_id: bytes, encryption_context: bytes = b""
) -> WrapContext:
    """What the key of a content is bound to.

    Raises:
        ValueError: an id does not have 16 bytes, or the encryption context is too long.
    """
    return WrapContext(realm_id, bucket_id, content_id, Purpose.CONTENT, encryption_context=encryption_context)


def bucket_key_context(realm_id: bytes, bucket_id: bytes, bucket_key_id: bytes) -> WrapContext:
    """What a bucket key is bound to.

    Raises:
        ValueError: an id does not have 16 bytes.
    """
    return WrapContext(realm_id, bucket_id, bucket_key_id, Purpose.BUCKET)


def part_context(realm_id: bytes, bucket_id: bytes, content_id: bytes, blob_id: bytes) -> WrapContext:
    """What the key of a part's blob is bound to.

    Raises:
        ValueError: an id does not have 16 bytes.
    """
    return WrapContext(realm_id, bucket_id, content_id, Purpose.PART, blob_id)


def bucket_key_id_of(wrapped: WrappedKey) -> bytes | None:
    """The id of the bucket key that wrapped a content key, or `None` if the KMS did.

    Raises:
        UnwrapFailed: it names a bucket key by what cannot be an id.
    """
    if wrapped.provider != BUCKET_PROVIDER:
        return None
    try:
        bucket_key_id = bytes.fromhex(wrapped.kms_key_id)
    except ValueError:
        bucket_key_id = b""
    if bucket_key_id.hex() != wrapped.kms_key_id or len(bucket_key_id) != ID_SIZE:
        raise UnwrapFailed(f"{wrapped!r} names no bucket key")
    return bucket_key_id


def _check_part(context: WrapContext) -> None:
    assert context.purpose is Purpose.PART, "the context of a part key comes from part_context()"
    assert context.blob_id != NIL_ID, "the context of a part key names its blob"


def _new_key_under(
    wrapping_key: DataKey, provider: str, wrapping_id: bytes, context: WrapContext
) -> tuple[DataKey, WrappedKey]:
    data_key = DataKey.random()
    record = seal(wrapping_key.material(), data_key.material(), _own_context(provider, context))
    return data_key, WrappedKey(provider, wrapping_id.hex(), "", b"", record)


def _unwrap_under(
    wrapping_key: DataKey, provider: str, wrapping_id: bytes, wrapped: WrappedKey, context: WrapContext
) -> DataKey:
    # Fields that the record does not need must hold what we would write: else one key had many encodings.
    if wrapped != WrappedKey(provider, wrapping_id.hex(), "", b"", wrapped.record):
        raise UnwrapFailed(f"{wrapped!r} is not wrapped by the key that it was opened with")
    return DataKey(unseal(wrapping_key.material(), wrapped.record, _own_context(provider, context)))


def _own_context(provider: str, context: WrapContext) -> bytes:
    return canonical("sealgate/own-wrap/v1", provider.encode("ascii"), context.encode())


def _cache_name(context: WrapContext, wrapped: WrappedKey) -> bytes:
    return hashlib.sha256(canonical("sealgate/key-cache/v1", context.encode(), wrapped.encode())).digest()
