"""From 32-byte keys to the keys that touch data: chunk key, base nonce and commitment; the keys of the two boxes.

One primitive, HKDF-Expand with HMAC-SHA-512, one label per use. Source: docs/FORMAT.md sections 5 and 6; RFC 5869;
C2SP chunked-encryption.
"""

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from storage.sealed.damage import Damage, damaged
from storage.sealed.header import Buffer, FixedHeader
from storage.sealed.layout import COMMITMENT_SIZE, KEY_SIZE, SALT_SIZE, SEALED_CHUNK_SIZE

NONCE_SIZE = 12

_PAYLOAD_LABEL = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"
_DESCRIPTION_LABEL = b"sealgate/v1/description\0"
_INNER_LABEL = b"sealgate/v1/inner-box\0"


def expand(key: bytes, info: bytes, size: int) -> bytes:
    """Return `size` bytes of HKDF-Expand-SHA-512 under a uniformly random key."""
    return HKDFExpand(SHA512(), size, info).derive(key)


def _check_key(key: bytes) -> None:
    """Refuse a key of another length before it derives anything."""
    if len(key) != KEY_SIZE:
        raise ValueError("the key does not have 32 bytes")


class PayloadKeys:
    """What opens the chunks of one payload. No repr shows it.

    Raises:
        ValueError: data key or salt has a wrong length.
    """

    __slots__ = ("_aead", "_base_nonce", "commitment")

    def __init__(self, data_key: bytes, salt: bytes, context: bytes) -> None:
        _check_key(data_key)
        if len(salt) != SALT_SIZE:
            raise ValueError("the salt does not have 24 bytes")
        derived = expand(data_key, _PAYLOAD_LABEL + salt + context, KEY_SIZE + NONCE_SIZE + COMMITMENT_SIZE)
        self._aead = AESGCM(derived[:KEY_SIZE])
        self._base_nonce = int.from_bytes(derived[KEY_SIZE : KEY_SIZE + NONCE_SIZE], "big")
        self.commitment = derived[KEY_SIZE + NONCE_SIZE :]

    def open_chunk(self, index: int, sealed: Buffer, out: memoryview) -> None:
        """Open chunk `index` into `out`, which is exactly `TAG_SIZE` bytes shorter than `sealed`.

        Raises:
            SealedDamaged: its tag does not match; `out` holds nothing to be used.
        """
        nonce = (self._base_nonce ^ index).to_bytes(NONCE_SIZE, "big")
        try:
            self._aead.decrypt_into(nonce, sealed, None, out)
        except InvalidTag as error:
            raise damaged(Damage.CHUNK, f"chunk {index} does not authenticate") from error


class PayloadStream:
    """Opens full chunks of one payload from the first on, many in one call; `PayloadKeys` opens single ones anywhere.

    Both do the same. pyca's own opener of whole streams takes half the time, and derives its keys a second time. The
    final chunk is not for it. Salt and commitment have been compared with those of the data key.
    """

    __slots__ = ("_decryptor", "_next_index")

    def __init__(self, data_key: bytes, salt: bytes, commitment: bytes, context: bytes) -> None:
        self._decryptor = Cobblestone256Decryptor(data_key, context)
        self._decryptor.update(salt + commitment)
        self._next_index = 0

    def open_chunks(self, sealed: Buffer, out: memoryview) -> None:
        """Open the next full chunks into `out`, which is exactly `TAG_SIZE` bytes for each of them shorter.

        Raises:
            SealedDamaged: one of them does not authenticate; `out` holds nothing to be used.
        """
        first_index = self._next_index
        self._next_index += len(sealed) // SEALED_CHUNK_SIZE
        try:
            opened_size = self._decryptor.update_into(sealed, out)
        except InvalidTag as error:
            span = f"chunk {first_index} or one of the next before {self._next_index}"
            raise damaged(Damage.CHUNK, f"{span} does not authenticate") from error
        assert opened_size == len(out), "full chunks only"


class BoxKey:
    """The key of one small sealed box, good for one text: description or inner box. No repr shows it."""

    __slots__ = ("_aead", "_nonce")

    def __init__(self, key: bytes, info: bytes) -> None:
        _check_key(key)
        derived = expand(key, info, KEY_SIZE + NONCE_SIZE)
        self._aead = AESGCM(derived[:KEY_SIZE])
        self._nonce = derived[KEY_SIZE:]

    def seal(self, text: bytes, binding: bytes) -> bytes:
        """Return ciphertext and tag: `TAG_SIZE` bytes more than `text`."""
        return self._aead.encrypt(self._nonce, text, binding)

    def open(self, sealed: bytes, binding: bytes, kind: Damage) -> bytes:
        """Return the text.

        Raises:
            SealedDamaged: of that kind, when the box does not authenticate under key and binding or is too short.
        """
        try:
            return self._aead.decrypt(self._nonce, sealed, binding)
        except InvalidTag as error:
            raise damaged(kind, "does not authenticate") from error


def description_box(description_key: bytes, header: FixedHeader, salt: bytes) -> BoxKey:
    """Return the box of a blob's description; the salt makes it fresh even if a blob id came twice."""
    return BoxKey(description_key, _DESCRIPTION_LABEL + header.blob_id + salt)


def inner_box(data_key: bytes, header: FixedHeader, salt: bytes) -> BoxKey:
    """Return the box inside the description that only the data key opens."""
    return BoxKey(data_key, _INNER_LABEL + header.hash() + salt)
