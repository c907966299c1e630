"""The KMS of the embedded default: wrapping keys from a local keyring folder.

It protects only where the folder is kept apart from the data. Source: docs/decisions/0002-wrapping-record.md.
"""

import time
from functools import lru_cache

from keys.context import WrapContext, canonical
from keys.datakey import WrappedKey
from keys.errors import KeysError
from keys.keyring_file import KeyVersion, LocalKey, LocalKeyring
from keys.kms.base import KeyDescription, check_usable
from keys.kms.binding import ProviderWrap, RecordKms, checked
from keys.kms.names import DEFAULT_NAMES, KeyNames
from keys.record import Record, seal, unseal


class LocalKms(RecordKms):
    """`Kms` over an opened `LocalKeyring`. K is sealed in a record of its own under the wrapping key."""

    provider = "local"

    def __init__(self, keyring: LocalKeyring, names: KeyNames = DEFAULT_NAMES) -> None:
        self._keyring = keyring
        self._names = names

    @property
    def keyring(self) -> LocalKeyring:
        """The keyring folder behind it, for the commands that change it."""
        return self._keyring

    async def _describe(self, kms_key_id: str | None) -> KeyDescription:
        """See `Kms.describe`."""
        key = self._find(kms_key_id)
        version = str(key.newest.version)
        arn = self._names.arn(key.kms_key_id)
        return KeyDescription(key.kms_key_id, arn, key.state, key.created_at, version, key.aliases)

    async def _wrap_secret(self, secret: bytes, kms_key_id: str | None, context: WrapContext) -> ProviderWrap:
        del context  # the record around the data key binds it
        return self._seal(secret, kms_key_id)

    def _seal(self, secret: bytes, kms_key_id: str | None) -> ProviderWrap:
        key = self._find(kms_key_id)
        version = key.newest
        record = seal(_material(key, version), secret, _binding(key.kms_key_id, version.version))
        return ProviderWrap(key.kms_key_id, str(version.version), record.encode())

    async def _unwrap_secret(self, wrapped: WrappedKey, context: WrapContext) -> bytes:
        del context
        return self._unseal(wrapped)

    def _unseal(self, wrapped: WrappedKey) -> bytes:
        key = self._keyring.find(wrapped.kms_key_id)
        version = key.version(wrapped.kms_key_version)
        record = Record.decode(wrapped.provider_ciphertext)
        return unseal(_material(key, version), record, _binding(key.kms_key_id, version.version))

    def move(self, wrapped: WrappedKey, context: WrapContext, kms_key_id: str | None) -> WrappedKey:
        """See `PromptKms.move`."""
        began = time.monotonic()
        try:
            self._check_provider(wrapped)
            secret = checked(self._unseal(wrapped), wrapped)
            moved = self._moved(wrapped, self._seal(secret.material(), kms_key_id))
            self._opened(moved, checked(self._unseal(moved), moved), context)
        except KeysError as error:
            self.watch.ended("rewrap", began, error)
            raise
        self.watch.ended("rewrap", began, None)
        return moved

    async def rotate(self, kms_key_id: str | None) -> KeyDescription:
        """See `RotatingKms.rotate`."""
        return await self.describe(self._keyring.rotate_key(self._find(kms_key_id).kms_key_id).kms_key_id)

    def _find(self, kms_key_id: str | None) -> LocalKey:
        return self._keyring.find(None if kms_key_id is None else self._names.plain(kms_key_id))


def _material(key: LocalKey, version: KeyVersion) -> bytes:
    """What a version wraps and unwraps with. Raises: KmsKeyDisabled, KmsKeyInvalidState."""
    check_usable(key.state)
    check_usable(version.state)
    return version.secret().material()


@lru_cache(maxsize=64)
def _binding(kms_key_id: str, version: int) -> bytes:
    return canonical("sealgate/local-kms/v1", kms_key_id.encode(), str(version).encode())
