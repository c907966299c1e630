"""A KMS in memory: the reference of the contract, and a fake that can be told to fail in every way a real one does.

Nothing outlives the process. Source: docs/decisions/0002-wrapping-record.md; the faults (unavailable, denied, disabled,
wrong key, wrong length, slow).
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from keys.context import WrapContext, canonical
from keys.datakey import DataKey, WrappedKey
from keys.errors import KmsDenied, KmsKeyNotFound, KmsUnavailable
from keys.kms.base import KeyDescription, KeyState, check_usable
from keys.kms.binding import ProviderWrap, RecordKms
from keys.kms.names import ALIAS_PREFIX, DEFAULT_NAMES
from keys.record import Record, seal, unseal

DEFAULT_KEY_ID = "memory-key"


class Fault(StrEnum):
    """How the fake fails, until told otherwise. The last four lie in what `unwrap` gets back."""

    UNAVAILABLE = "unavailable"
    DENIED = "denied"
    SLOW = "slow"
    WRONG_KEY = "wrong-key"
    SHORT_KEY = "short-key"
    LONG_KEY = "long-key"
    ZERO_KEY = "zero-key"


_LIES: dict[Fault | None, Callable[[bytes], bytes]] = {
    Fault.WRONG_KEY: lambda _secret: DataKey.random().material(),
    Fault.SHORT_KEY: lambda secret: secret[:16],
    Fault.LONG_KEY: lambda secret: secret + secret[:1],
    Fault.ZERO_KEY: lambda secret: bytes(len(secret)),
}


@dataclass(slots=True)
class _MemoryKey:
    created_at: datetime
    state: KeyState = KeyState.ENABLED
    denied: bool = False
    versions: list[DataKey] = field(default_factory=lambda: [DataKey.random()])


class MemoryKms(RecordKms):
    """`Kms` with one enabled key, `DEFAULT_KEY_ID`, from the start.

    `fault` holds until it is set to another; `delay_s` is what `Fault.SLOW` waits before it answers rightly;
    `calls` counts the calls that reached the KMS, by `wrap`, `unwrap`, `describe`, `health`.
    """

    provider = "memory"

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._keys = {DEFAULT_KEY_ID: _MemoryKey(now())}
        self._aliases: dict[str, str] = {}
        self.fault: Fault | None = None
        self.delay_s = 30.0
        self.calls: Counter[str] = Counter()

    def create_key(self, kms_key_id: str, alias: str | None = None) -> None:
        """Add an enabled key."""
        assert kms_key_id not in self._keys
        self._keys[kms_key_id] = _MemoryKey(self._now())
        if alias is not None:
            self._aliases[alias] = kms_key_id

    async def rotate(self, kms_key_id: str | None) -> KeyDescription:
        """See `RotatingKms.rotate`."""
        name = await self._reach("rotate", kms_key_id)
        self._key(name).versions.append(DataKey.random())
        return await self.describe(name)

    def rotate_key(self, kms_key_id: str = DEFAULT_KEY_ID) -> None:
        """Give a key a new version; the old ones still unwrap."""
        self._keys[kms_key_id].versions.append(DataKey.random())

    def set_key_state(self, state: KeyState, kms_key_id: str = DEFAULT_KEY_ID) -> None:
        """Disable, enable, or let a key wait for its deletion."""
        self._keys[kms_key_id].state = state

    def revoke(self, kms_key_id: str = DEFAULT_KEY_ID) -> None:
        """Refuse this key to Sealgate's identity from now on."""
        self._keys[kms_key_id].denied = True

    def destroy_key(self, kms_key_id: str = DEFAULT_KEY_ID) -> None:
        """Forget a key for good."""
        del self._keys[kms_key_id]

    def swap_key(self, kms_key_id: str = DEFAULT_KEY_ID) -> None:
        """Put other key material behind the same id and versions: the wrong KMS answers."""
        key = self._keys[kms_key_id]
        key.versions = [DataKey.random() for _ in key.versions]

    async def _describe(self, kms_key_id: str | None) -> KeyDescription:
        """See `Kms.describe`."""
        name = await self._reach("describe", kms_key_id)
        key = self._key(name)
        return KeyDescription(name, DEFAULT_NAMES.arn(name), key.state, key.created_at, str(len(key.versions)))

    async def health(self) -> None:
        """See `Kms.health`."""
        check_usable(self._key(await self._watched("health", self._reach("health", None))).state)

    async def _wrap_secret(self, secret: bytes, kms_key_id: str | None, context: WrapContext) -> ProviderWrap:
        del context  # the record around the data key binds it
        name = await self._reach("wrap", kms_key_id)
        key = self._key(name)
        check_usable(key.state)
        version = str(len(key.versions))
        record = seal(key.versions[-1].material(), secret, _binding(name, version))
        return ProviderWrap(name, version, record.encode())

    async def _unwrap_secret(self, wrapped: WrappedKey, context: WrapContext) -> bytes:
        del context
        name = await self._reach("unwrap", wrapped.kms_key_id)
        key = self._key(name)
        check_usable(key.state)
        versions = {str(number): material for number, material in enumerate(key.versions, 1)}
        if wrapped.kms_key_version not in versions:
            raise KmsKeyNotFound("the memory KMS has no such version of the key")
        secret = unseal(
            versions[wrapped.kms_key_version].material(),
            Record.decode(wrapped.provider_ciphertext),
            _binding(name, wrapped.kms_key_version),
        )
        return _LIES.get(self.fault, bytes)(secret)

    async def _reach(self, call: str, kms_key_id: str | None) -> str:
        """Count the call, fail as told, and give the id that an id, ARN or `None` means."""
        self.calls[call] += 1
        if self.fault is Fault.UNAVAILABLE:
            raise KmsUnavailable("the memory KMS was told to be unreachable")
        if self.fault is Fault.DENIED:
            raise KmsDenied("the memory KMS was told to refuse")
        if self.fault is Fault.SLOW:
            await asyncio.sleep(self.delay_s)
        name = DEFAULT_KEY_ID if kms_key_id is None else DEFAULT_NAMES.plain(kms_key_id)
        return self._aliases.get(name.removeprefix(ALIAS_PREFIX), "") if name.startswith(ALIAS_PREFIX) else name

    def _key(self, name: str) -> _MemoryKey:
        if name not in self._keys:
            raise KmsKeyNotFound("the memory KMS has no such key")
        if self._keys[name].denied:
            raise KmsDenied("the memory KMS refuses this key to this identity")
        return self._keys[name]


def _binding(name: str, version: str) -> bytes:
    return canonical("sealgate/memory-kms/v1", name.encode(), version.encode())
