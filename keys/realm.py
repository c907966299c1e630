"""The keys of one realm, derived from a root that the KMS wraps, and the canary that finds out a wrong KMS.

Source: RFC 5869 (HKDF-Expand under purpose labels), docs/decisions/0002-wrapping-record.md.
"""

import hashlib
import logging
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keys.context import Purpose, WrapContext, canonical
from keys.datakey import KEY_SIZE, DataKey, WrappedKey
from keys.deadline import KMS_DEADLINE_S, within
from keys.errors import CanaryFailed, UnwrapFailed
from keys.kms.base import Kms
from keys.record import Record, seal, unseal
from keys.recovery import Copies, Recipients, RecoverySecret

MAX_CREDENTIAL_BYTES = 1024

REALM_PROVIDER = "realm"
"""Provider of data keys under a key of the realm; `kms_key_id` says which one."""
ENVELOPES_KEY_ID = "envelopes"

_CREDENTIAL_VERSION = b"\x01"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RealmKeys:
    """Keys that live as long as the process. Each is for one use; none can be computed from another.

    - `description_key`: descriptions of blobs. `row_mac_key`: MACs of catalogue rows. `journal_key`: the journal.
    - `catalogue_key`: the raw key of the SQLite file. `cursor_key`: continuation tokens of listings.
    - `credentials_key`: S3 secret access keys, through `seal_credential` and `open_credential`.
    - `envelopes_key`: the data keys of envelopes blobs, through `new_blob_key` and `open_blob_key`.
    - `signing_seed`: the Ed25519 key that signs records of destruction.
    - `recipients_key`: the MAC over who the recovery recipients are.
    """

    realm_id: bytes
    description_key: DataKey
    row_mac_key: DataKey
    journal_key: DataKey
    credentials_key: DataKey
    catalogue_key: DataKey
    cursor_key: DataKey
    envelopes_key: DataKey
    signing_seed: DataKey
    recipients_key: DataKey

    @classmethod
    async def create(
        cls,
        kms: Kms,
        realm_id: bytes,
        kms_key_id: str | None = None,
        *,
        deadline_s: float = KMS_DEADLINE_S,
    ) -> tuple["RealmKeys", WrappedKey]:
        """Keys for a new realm, and the wrapped root to keep.

        Raises:
            KmsUnavailable, KmsDenied, KmsKeyError: as `Kms.generate`.
        """
        context = WrapContext.for_realm(realm_id, Purpose.REALM)
        root, wrapped = await within(deadline_s, kms.generate(kms_key_id, context))
        return cls._derive(root, realm_id), wrapped

    @classmethod
    async def open(
        cls, kms: Kms, realm_id: bytes, wrapped: WrappedKey, *, deadline_s: float = KMS_DEADLINE_S
    ) -> "RealmKeys":
        """The same keys again.

        Raises:
            UnwrapFailed: the root is altered, of another realm, or of another wrapping key.
            KmsUnavailable, KmsDenied, KmsKeyError: as `Kms.unwrap`.
        """
        context = WrapContext.for_realm(realm_id, Purpose.REALM)
        return cls._derive(await within(deadline_s, kms.unwrap(wrapped, context)), realm_id)

    @classmethod
    def recover(cls, secret: RecoverySecret, copies: Copies, realm_id: bytes) -> tuple["RealmKeys", DataKey]:
        """The same keys without a KMS, and the root itself, to be wrapped anew. Raises: UnwrapFailed."""
        root = secret.open(copies, WrapContext.for_realm(realm_id, Purpose.REALM))
        return cls._derive(root, realm_id), root

    @classmethod
    def _derive(cls, root: DataKey, realm_id: bytes) -> "RealmKeys":
        def key(label: str) -> DataKey:
            info = canonical("sealgate/realm-key/v1", realm_id, label.encode("ascii"))
            return DataKey(HKDF(SHA512(), KEY_SIZE, None, info).derive(root.material()))

        return cls(
            realm_id,
            description_key=key("description"),
            row_mac_key=key("row-mac"),
            journal_key=key("journal"),
            credentials_key=key("credentials"),
            catalogue_key=key("catalogue"),
            cursor_key=key("cursor"),
            envelopes_key=key("envelopes"),
            signing_seed=key("signing"),
            recipients_key=key("recipients"),
        )

    def seal_credential(self, secret: str, access_key_id: str) -> bytes:
        """Seal a secret access key for storage: 61 bytes more than the secret, bound to realm and access key id.

        Raises:
            ValueError: the secret is empty or longer than 1,024 bytes.
        """
        data = secret.encode("utf-8")
        if not 0 < len(data) <= MAX_CREDENTIAL_BYTES:
            raise ValueError("a secret access key has 1 to 1,024 bytes")
        record = seal(self.credentials_key.material(), data, self._credential_context(access_key_id))
        return _CREDENTIAL_VERSION + record.encode()

    def open_credential(self, sealed: bytes, access_key_id: str) -> str:
        """The secret access key that was sealed for this access key id.

        Raises:
            UnwrapFailed: altered, or of another realm or access key id.
        """
        if sealed[:1] != _CREDENTIAL_VERSION:
            raise UnwrapFailed("a sealed credential is of an unknown version")
        record = Record.decode(sealed[1:])
        data = unseal(self.credentials_key.material(), record, self._credential_context(access_key_id))
        return data.decode("utf-8")

    def new_blob_key(self, blob_id: bytes) -> tuple[DataKey, WrappedKey]:
        """A fresh data key for an envelopes blob, wrapped without the KMS: it asks for the realm root alone."""
        data_key = DataKey.random()
        record = seal(self.envelopes_key.material(), data_key.material(), self._blob_context(blob_id))
        return data_key, WrappedKey(REALM_PROVIDER, ENVELOPES_KEY_ID, "", b"", record)

    def open_blob_key(self, wrapped: WrappedKey, blob_id: bytes) -> DataKey:
        """The data key of an envelopes blob.

        Raises:
            UnwrapFailed: altered, or of another realm, blob or kind.
        """
        if wrapped != WrappedKey(REALM_PROVIDER, ENVELOPES_KEY_ID, "", b"", wrapped.record):
            raise UnwrapFailed(f"{wrapped!r} is not wrapped by the realm")
        return DataKey(unseal(self.envelopes_key.material(), wrapped.record, self._blob_context(blob_id)))

    def _blob_context(self, blob_id: bytes) -> bytes:
        return canonical("sealgate/realm-wrap/v1", self.realm_id, blob_id)

    def _credential_context(self, access_key_id: str) -> bytes:
        return canonical("sealgate/credential/v1", self.realm_id, access_key_id.encode("utf-8"))


async def rewrap_root(
    kms: Kms, realm_id: bytes, wrapped: WrappedKey, kms_key_id: str | None, *, deadline_s: float = KMS_DEADLINE_S
) -> WrappedKey:
    """The root under the current version of a wrapping key, proved to open by the KMS itself. Raises: as `Kms`."""
    context = WrapContext.for_realm(realm_id, Purpose.REALM)
    moved = await within(deadline_s, kms.rewrap(wrapped, context, kms_key_id))
    await within(deadline_s, kms.unwrap(moved, context))
    return moved


async def copy_root(
    kms: Kms, realm_id: bytes, wrapped: WrappedKey, recipients: Recipients, *, deadline_s: float = KMS_DEADLINE_S
) -> Copies:
    """Copies of the root for all recipients. Raises: UnwrapFailed, and as `Kms.unwrap`."""
    context = WrapContext.for_realm(realm_id, Purpose.REALM)
    return recipients.copy(await within(deadline_s, kms.unwrap(wrapped, context)), context)


async def create_canary(
    kms: Kms, realm_id: bytes, kms_key_id: str | None = None, *, deadline_s: float = KMS_DEADLINE_S
) -> WrappedKey:
    """A known value wrapped by the KMS when the realm is made; keep it beside the realm root.

    Raises:
        KmsUnavailable, KmsDenied, KmsKeyError: as `Kms.wrap`.
    """
    context = WrapContext.for_realm(realm_id, Purpose.CANARY)
    return await within(deadline_s, kms.wrap(_canary_value(realm_id), kms_key_id, context))


async def check_canary(kms: Kms, realm_id: bytes, canary: WrappedKey, *, deadline_s: float = KMS_DEADLINE_S) -> None:
    """Ask the KMS to unwrap the canary, past every cache; at start and every hour.

    Raises:
        CanaryFailed: a wrong answer. Stop: whatever is sealed now might never open again.
        KmsUnavailable: no answer. Degrade, alarm, ask again.
        KmsDenied, KmsKeyError: a refusal. At start, stop; later it is for the operator, and keys run out of the cache.
    """
    context = WrapContext.for_realm(realm_id, Purpose.CANARY)
    try:
        value = await within(deadline_s, kms.unwrap(canary, context))
    except UnwrapFailed:
        value = None
    if value != _canary_value(realm_id):
        _log.critical("the canary failed: the KMS does not hold the wrapping key of this realm")
        raise CanaryFailed("the KMS answers, but not with the key that sealed this realm")


def _canary_value(realm_id: bytes) -> DataKey:
    """Public and fixed: what matters is that only the right wrapping key brings it back."""
    return DataKey(hashlib.sha256(canonical("sealgate/canary/v1", realm_id)).digest())
