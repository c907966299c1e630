"""A secret of 32 bytes that is hard to spill, and the public bytes that it is stored as.

Source: docs/decisions/0002-wrapping-record.md (layout and limits of a wrapped key).
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn, SupportsIndex, final

from keys.errors import UnwrapFailed
from keys.record import OVERHEAD, Record

KEY_SIZE: Final = 32
"""Bytes of every key: AES-256."""

MAX_ENCODED_SIZE: Final = 2048
"""No encoded wrapped key is longer, whatever the provider."""

MAX_PROVIDER_CIPHERTEXT_SIZE: Final = 1024
"""RSA-4096 wraps have 512 bytes, AWS KMS about 190, the local keyring 92."""

_VERSION_BYTE: Final = b"\x01"
_RECORD_SIZE: Final = OVERHEAD + KEY_SIZE
_HALF: Final = KEY_SIZE // 2
_PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_KMS_KEY_ID = re.compile(r"[\x21-\x7e]{1,512}", re.ASCII)
_KMS_KEY_VERSION = re.compile(r"[\x21-\x7e]{0,64}", re.ASCII)


@final
class DataKey:
    """32 secret bytes. `material()` is the only door; printing, pickling and copying do not open it.

    Equality is constant-time, and there is no hash, so that a key never becomes a dictionary key by mistake.

    Raises:
        ValueError: not 32 bytes, or bytes that no random source makes: one byte repeated, two equal halves (a short
            key padded by repetition), or a half of one repeated byte (a short key padded with zeros).
    """

    __slots__ = ("__material",)
    __hash__ = None  # type: ignore[assignment]  # the documented way to make a class unhashable

    def __init__(self, material: bytes) -> None:
        if len(material) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(material)}")
        first, second = bytes(material[:_HALF]), bytes(material[_HALF:])
        if first == second or first.count(first[:1]) == _HALF or second.count(second[:1]) == _HALF:
            raise ValueError("a key is not random: zero, repeated or padded bytes")
        self.__material = bytes(material)

    @classmethod
    def random(cls) -> "DataKey":
        """A fresh key from the system's random source."""
        return cls(secrets.token_bytes(KEY_SIZE))

    def material(self) -> bytes:
        """The 32 bytes. Pass them straight to a primitive; keep no copy, log nothing."""
        return self.__material

    def __repr__(self) -> str:
        return "DataKey(...)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DataKey):
            return NotImplemented
        return hmac.compare_digest(self.__material, other.__material)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a key is neither copied nor pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a key is neither copied nor pickled")

    def __init_subclass__(cls, **kwargs: Any) -> NoReturn:
        raise TypeError("DataKey has no subclasses")


@dataclass(frozen=True, slots=True, repr=False)
class WrappedKey:
    """A data key as it is stored: public, useless without the KMS, and bound to its context by the record.

    - `provider`: who unwraps it: the name of a KMS provider, or `bucket` / `content` for keys under our own keys.
    - `kms_key_id`, `kms_key_version`: which wrapping key; the version may be empty where a provider shows none.
    - `provider_ciphertext`: the KMS's own wrap of the random K; empty under our own keys.
    - `record`: the data key under K.

    Raises:
        ValueError: a field is outside its limits.
    """

    provider: str
    kms_key_id: str
    kms_key_version: str
    provider_ciphertext: bytes
    record: Record

    def __post_init__(self) -> None:
        if (
            not _are_names(self.provider, self.kms_key_id, self.kms_key_version)
            or len(self.provider_ciphertext) > MAX_PROVIDER_CIPHERTEXT_SIZE
            or self.record.size != _RECORD_SIZE
        ):
            raise ValueError("a field of a wrapped key is outside its limits")

    def __repr__(self) -> str:
        return (
            f"WrappedKey(provider={self.provider!r}, kms_key_id={self.kms_key_id!r},"
            f" kms_key_version={self.kms_key_version!r})"
        )

    def encode(self) -> bytes:
        """The canonical bytes: version | provider | key id | key version | provider ciphertext | record.

        Provider and key version are preceded by one length byte, key id and ciphertext by two (big-endian); the
        record has 92 bytes and ends the encoding. At most `MAX_ENCODED_SIZE` bytes; 233 for the local keyring.
        """
        return b"".join(
            (
                _encode_names(self.provider, self.kms_key_id, self.kms_key_version),
                _prefixed(self.provider_ciphertext, 2),
                self.record.encode(),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> "WrappedKey":
        """Read what `encode` wrote; exactly one byte string stands for each wrapped key.

        Raises:
            UnwrapFailed: unknown version, a length that does not fit, a field outside its limits, bytes left over.
        """
        data = bytes(data)
        if len(data) > MAX_ENCODED_SIZE or data[:1] != _VERSION_BYTE:
            raise UnwrapFailed("a wrapped key is too long or of an unknown version")
        try:  # read by place, since a walk over all keys reads millions
            offset = 2 + data[1]
            offset += 2 + (data[offset] << 8 | data[offset + 1])
            offset += 1 + data[offset]
            start = offset + 2
            end = start + (data[offset] << 8 | data[offset + 1])
        except IndexError:
            raise UnwrapFailed("a wrapped key is cut short") from None
        if end > len(data):
            raise UnwrapFailed("a wrapped key is cut short")
        try:
            return cls(*_decode_names(data[1:offset]), data[start:end], Record.decode(data[end:]))
        except ValueError:  # UnicodeDecodeError is one, too
            raise UnwrapFailed("a field of a wrapped key is outside its limits") from None


@lru_cache(maxsize=256)
def _encode_names(provider: str, kms_key_id: str, kms_key_version: str) -> bytes:
    """How an encoding begins: the same for most wrapped keys."""
    lengths = ((provider, 1), (kms_key_id, 2), (kms_key_version, 1))
    return _VERSION_BYTE + b"".join(_prefixed(name.encode("ascii"), size) for name, size in lengths)


@lru_cache(maxsize=256)
def _decode_names(encoded: bytes) -> tuple[str, str, str]:
    """Provider, key id and key version, which are the same in most wrapped keys. Raises: UnicodeDecodeError."""
    names = []
    offset = 0
    for length_size in (1, 2, 1):
        start = offset + length_size
        offset = start + int.from_bytes(encoded[offset:start], "big")
        names.append(encoded[start:offset].decode("ascii"))
    provider, kms_key_id, kms_key_version = names
    return provider, kms_key_id, kms_key_version


@lru_cache(maxsize=256)
def _are_names(provider: str, kms_key_id: str, kms_key_version: str) -> bool:
    return bool(
        _PROVIDER.fullmatch(provider)
        and _KMS_KEY_ID.fullmatch(kms_key_id)
        and _KMS_KEY_VERSION.fullmatch(kms_key_version)
    )


def _prefixed(field: bytes, length_size: int) -> bytes:
    return len(field).to_bytes(length_size, "big") + field
