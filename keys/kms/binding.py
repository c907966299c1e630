"""The one binding of data keys to contexts, shared by all providers: the KMS wraps a random K, a record binds the rest.

Source: docs/decisions/0002-wrapping-record.md. A provider supplies two small methods, and a third if its KMS can
re-encrypt inside.
"""

import functools
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import ClassVar, NoReturn, TypeVar

from keys.context import NIL_ID, Purpose, WrapContext
from keys.datakey import DataKey, WrappedKey
from keys.errors import KmsMisconfigured, UnwrapFailed
from keys.kms.base import KeyDescription, check_usable
from keys.kms.known_keys import is_opened_by_a_known_key
from keys.kms.watch import Watch
from keys.record import seal, unseal

PROOF = WrapContext.for_realm(NIL_ID, Purpose.CANARY)
"""What a key is bound to that is wrapped for trial, and kept nowhere."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ProviderWrap:
    """What a KMS made of K: its ciphertext, and the id and version of the wrapping key to unwrap it with."""

    kms_key_id: str
    kms_key_version: str
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class AeadWrap:
    """A provider's ciphertext as AES-256-GCM made it: `ciphertext` ends with the tag."""

    nonce: bytes
    ciphertext: bytes
    associated_data: bytes


class RecordKms(ABC):
    """`Kms` for providers that can wrap 32 bytes, with or without an encryption context of their own."""

    provider: str
    is_experimental: ClassVar[bool] = False
    """Whether it was tried against a fake of our own alone, never against the service itself."""

    @functools.cached_property
    def watch(self) -> Watch:
        """What is told of its calls."""
        return Watch(self.provider)

    async def _watched(self, call: str, answer: Awaitable[_T]) -> _T:
        began = time.monotonic()
        try:
            result = await answer
        except BaseException as error:
            self.watch.ended(call, began, error)
            raise
        self.watch.ended(call, began, None)
        return result

    @abstractmethod
    async def _wrap_secret(self, secret: bytes, kms_key_id: str | None, context: WrapContext) -> ProviderWrap:
        """Have the KMS wrap 32 bytes under the current version of a key. Raises as `Kms` methods do."""

    @abstractmethod
    async def _unwrap_secret(self, wrapped: WrappedKey, context: WrapContext) -> bytes:
        """Have the KMS unwrap `provider_ciphertext`. Raises as `Kms.unwrap` does; the answer is checked here."""

    async def _rewrap_secret(self, wrapped: WrappedKey, context: WrapContext, kms_key_id: str | None) -> ProviderWrap:
        """Move K to another wrapping key. Override where the KMS re-encrypts inside and shows no K."""
        secret = await self.open_secret(wrapped, context)
        return await self._wrap_secret(secret.material(), kms_key_id, context)

    async def inspect(self) -> None:  # noqa: B027 - a provider with nothing more to look at leaves it as it is
        """See that KMS and default key are fit to hold keys. Raises: KmsMisconfigured, and as `Kms` methods do."""

    def as_aead(self, done: ProviderWrap) -> AeadWrap | None:
        """A wrap taken apart, where keys that anybody knows can be tried on it."""
        del done
        return None

    async def close(self) -> None:  # noqa: B027 - nor need it hold anything
        """See `Kms.close`."""

    @abstractmethod
    async def _describe(self, kms_key_id: str | None) -> KeyDescription:
        """See `Kms.describe`."""

    async def describe(self, kms_key_id: str | None) -> KeyDescription:
        """See `Kms.describe`."""
        return await self._watched("describe", self._describe(kms_key_id))

    async def health(self) -> None:
        """See `Kms.health`."""
        check_usable((await self.describe(None)).state)

    async def generate(self, kms_key_id: str | None, context: WrapContext) -> tuple[DataKey, WrappedKey]:
        """See `Kms.generate`. The data key is random here, so no KMS can choose a weak one."""
        data_key = DataKey.random()
        return data_key, await self.wrap(data_key, kms_key_id, context)

    async def wrap(self, data_key: DataKey, kms_key_id: str | None, context: WrapContext) -> WrappedKey:
        """See `Kms.wrap`."""
        secret = DataKey.random().material()
        done = await self._watched("wrap", self._wrap_secret(secret, kms_key_id, context))
        if secret in done.ciphertext:
            raise KmsMisconfigured(
                f"the KMS {self.provider} does not encrypt at all: what it wraps stands in its answer"
            )
        record = seal(secret, data_key.material(), context.encode())
        return WrappedKey(self.provider, done.kms_key_id, done.kms_key_version, done.ciphertext, record)

    async def unwrap(self, wrapped: WrappedKey, context: WrapContext) -> DataKey:
        """See `Kms.unwrap`."""
        return self._opened(wrapped, await self.open_secret(wrapped, context), context)

    def _opened(self, wrapped: WrappedKey, secret: DataKey, context: WrapContext) -> DataKey:
        """The data key under K. Raises: UnwrapFailed."""
        try:
            material = unseal(secret.material(), wrapped.record, context.encode())
        except UnwrapFailed:
            _fail(wrapped, "does not authenticate under its context")
        return checked(material, wrapped)

    async def rewrap(self, wrapped: WrappedKey, context: WrapContext, kms_key_id: str | None) -> WrappedKey:
        """See `Kms.rewrap`. The record stays as it is: only K moves."""
        self._check_provider(wrapped)
        done = await self._watched("rewrap", self._rewrap_secret(wrapped, context, kms_key_id))
        return self._moved(wrapped, done)

    async def take_over(
        self, wrapped: WrappedKey, source: "RecordKms", context: WrapContext, kms_key_id: str | None
    ) -> WrappedKey:
        """What another KMS wrapped, under a key of this one: K is opened there, wrapped here. Raises: as `rewrap`."""
        secret = await source.open_secret(wrapped, context)
        done = await self._watched("wrap", self._wrap_secret(secret.material(), kms_key_id, context))
        return self._moved(wrapped, done)

    async def open_secret(self, wrapped: WrappedKey, context: WrapContext) -> DataKey:
        """K, which is a key like any other, for `unwrap` and for moves between providers. Raises: as `unwrap`."""
        self._check_provider(wrapped)
        return checked(await self._watched("unwrap", self._unwrap_secret(wrapped, context)), wrapped)

    def _moved(self, wrapped: WrappedKey, done: ProviderWrap) -> WrappedKey:
        return WrappedKey(self.provider, done.kms_key_id, done.kms_key_version, done.ciphertext, wrapped.record)

    async def prove(self) -> None:
        """See `Kms.prove`."""
        await self.inspect()
        await self.health()
        data_key, secret = DataKey.random(), DataKey.random().material()
        wrapped = await self.wrap(data_key, None, PROOF)
        if await self.unwrap(wrapped, PROOF) != data_key:
            raise UnwrapFailed(f"the KMS {self.provider} gave another key back than it wrapped")
        aead = self.as_aead(await self._wrap_secret(secret, None, PROOF))
        if aead is not None and is_opened_by_a_known_key(aead.nonce, aead.ciphertext, aead.associated_data):
            raise KmsMisconfigured(
                f"the default key of the KMS {self.provider} is one that anybody knows (zero, repeated or from an"
                " example): make a random one"
            )

    def _check_provider(self, wrapped: WrappedKey) -> None:
        if wrapped.provider != self.provider:
            _fail(wrapped, f"is not of provider {self.provider!r}")


def checked(secret: bytes, wrapped: WrappedKey) -> DataKey:
    """A key as it came from a KMS: 32 bytes that could be random, or nothing. No padding, no default, no cutting."""
    try:
        return DataKey(secret)
    except ValueError:
        _fail(wrapped, "came back from the KMS with a wrong length or with bytes that are not random")


def _fail(wrapped: WrappedKey, reason: str) -> NoReturn:
    _log.warning("%r %s", wrapped, reason)
    raise UnwrapFailed(f"{wrapped!r} {reason}") from None
