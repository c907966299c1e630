"""Keys of the journal: data keys of its blobs, the names of its segments, and the signature of its head.

All of them follow from the realm's journal key, so that the journal is written, found and read without the KMS.
Source: RFC 5869, RFC 8032 (Ed25519), docs/FORMAT.md section 16.
"""

import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from keys.context import ID_SIZE, canonical
from keys.datakey import KEY_SIZE, DataKey, WrappedKey
from keys.errors import UnwrapFailed
from keys.realm import RealmKeys
from keys.record import seal, unseal

REALM_PROVIDER = "realm"
"""Provider of data keys under the journal key."""
_KEY_ID = "journal"


class JournalKeys:
    """What the journal of one realm needs of keys."""

    def __init__(self, realm_keys: RealmKeys) -> None:
        self._realm_id = realm_keys.realm_id
        self._wrapping_key = self._derived(realm_keys.journal_key, "wrap")
        self._naming_key = self._derived(realm_keys.journal_key, "names")
        self._signing_key = Ed25519PrivateKey.from_private_bytes(self._derived(realm_keys.journal_key, "anchor"))

    def _derived(self, journal_key: DataKey, label: str) -> bytes:
        info = canonical("sealgate/journal-key/v1", self._realm_id, label.encode("ascii"))
        return HKDFExpand(SHA512(), KEY_SIZE, info).derive(journal_key.material())

    def new_data_key(self, kind: int, blob_id: bytes) -> tuple[DataKey, WrappedKey]:
        """A fresh data key for a blob of that kind, and its wrap, which opens for that blob alone."""
        data_key = DataKey.random()
        record = seal(self._wrapping_key, data_key.material(), self._context(kind, blob_id))
        return data_key, WrappedKey(REALM_PROVIDER, _KEY_ID, "", b"", record)

    def open_data_key(self, wrapped: WrappedKey, kind: int, blob_id: bytes) -> DataKey:
        """The data key again. Raises: UnwrapFailed."""
        if wrapped.provider != REALM_PROVIDER:
            raise UnwrapFailed("a data key of the journal is wrapped by another key than the realm's")
        return DataKey(unseal(self._wrapping_key, wrapped.record, self._context(kind, blob_id)))

    def _context(self, kind: int, blob_id: bytes) -> bytes:
        return canonical("sealgate/journal-blob/v1", self._realm_id, kind.to_bytes(1, "big"), blob_id)

    def segment_id(self, position: int) -> bytes:
        """The blob id of the segment at a position of the chain: random to whoever lacks the key."""
        text = canonical("sealgate/journal-segment/v1", self._realm_id, position.to_bytes(8, "big"))
        return hmac.digest(self._naming_key, text, "sha256")[:ID_SIZE]

    def sign(self, data: bytes) -> bytes:
        """The realm's signature of an anchor."""
        return self._signing_key.sign(data)

    def check_signature(self, signature: bytes, data: bytes) -> None:
        """See that the realm signed. Raises: UnwrapFailed."""
        public: Ed25519PublicKey = self._signing_key.public_key()
        try:
            public.verify(signature, data)
        except InvalidSignature:
            raise UnwrapFailed("the anchor was not signed by this realm, or was altered") from None
