"""Recovery recipients: offline X25519 keys that open what the KMS wraps when the KMS is gone.

A *copy* is a data key sealed to a recipient by HPKE in base mode (RFC 9180: DHKEM(X25519, HKDF-SHA256), HKDF-SHA512,
AES-256-GCM), bound to the same context as the wrap beside which it stands. Layout: docs/FORMAT.md section 4.1.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from keys.context import WrapContext, canonical
from keys.datakey import KEY_SIZE, DataKey
from keys.errors import KeyringError, UnwrapFailed

MAX_RECIPIENTS: Final = 8
"""Each costs 96 bytes in every slot."""
RECIPIENT_ID_SIZE: Final = 16
PUBLIC_PREFIX: Final = "sealgate-recovery-"
"""What a public key begins with where people see it."""
SECRET_FILE_MAX_BYTES: Final = 256

_COPY_SIZE: Final = 80
"""Encapsulated key (32), key (32) and tag (16)."""
_MARK: Final = 1
_HEADER: Final = b"sealgate-recovery-secret v1\n"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA512, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody who keeps a recovery secret; this is the public half of it.

    Raises:
        KeyringError: the name or the key is not one.
    """

    name: str
    public: bytes
    added_at: datetime

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise KeyringError("a recipient's name has 1 to 64 letters, digits, dots, hyphens and underscores")
        if len(self.public) != KEY_SIZE or not any(self.public):
            raise KeyringError("that is no public recovery key: see `sealgate recovery keygen`")

    @property
    def recipient_id(self) -> bytes:
        """What copies name it by."""
        return recipient_id_of(self.public)

    @property
    def text(self) -> str:
        """The public key as people pass it on."""
        return PUBLIC_PREFIX + base64.urlsafe_b64encode(self.public).decode("ascii").rstrip("=")


def recipient_id_of(public: bytes) -> bytes:
    """What copies name the holder of a public key by."""
    return hashlib.sha256(canonical("sealgate/recovery-recipient/v1", public)).digest()[:RECIPIENT_ID_SIZE]


def public_of(text: str) -> bytes:
    """The public key of its text. Raises: KeyringError."""
    digits = text.strip().removeprefix(PUBLIC_PREFIX)
    try:
        public = base64.b64decode(digits + "=", altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        public = b""
    if len(public) != KEY_SIZE or not text.strip().startswith(PUBLIC_PREFIX):
        raise KeyringError("that is no public recovery key: see `sealgate recovery keygen`")
    return public


class RecoverySecret:
    """The secret half, from its file to the copies that it opens. It shows nothing of itself."""

    def __init__(self, private: X25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def generate(cls) -> "RecoverySecret":
        """A fresh one."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def decode(cls, data: bytes) -> "RecoverySecret":
        """Read what `encode` wrote. Raises: KeyringError."""
        try:
            material = binascii.unhexlify(data.removeprefix(_HEADER).removesuffix(b"\n"))
            secret = cls(X25519PrivateKey.from_private_bytes(material))
        except (ValueError, binascii.Error):
            raise KeyringError("that is no recovery secret: give the file that `recovery keygen` wrote") from None
        if secret.encode() != data:
            raise KeyringError("that is no recovery secret: give the file that `recovery keygen` wrote")
        return secret

    def encode(self) -> bytes:
        """The text of its file."""
        return _HEADER + self._private.private_bytes_raw().hex().encode("ascii") + b"\n"

    @property
    def public(self) -> bytes:
        """The public half."""
        return self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return "RecoverySecret(...)"

    def open(self, copies: "Copies", context: WrapContext) -> DataKey:
        """The key that was copied to this recipient under that context.

        Raises:
            UnwrapFailed: there is no copy for it, or it is altered or of another context.
        """
        sealed = copies.entries.get(recipient_id_of(self.public))
        if sealed is None:
            raise UnwrapFailed("there is no copy for this recovery secret")
        try:
            return DataKey(_SUITE.decrypt(sealed, self._private, info=_info(context)))
        except (InvalidTag, ValueError):
            raise UnwrapFailed("a recovery copy does not authenticate under its context") from None


@dataclass(frozen=True, slots=True)
class Copies:
    """Sealed copies of one key, by recipient id."""

    entries: Mapping[bytes, bytes] = field(repr=False)

    @property
    def ids(self) -> frozenset[bytes]:
        """Who can open them."""
        return frozenset(self.entries)

    def encode(self) -> bytes:
        """`u8 1 | u8 count | count times: 16 bytes id | 80 bytes copy`, ids rising; nothing at all for none."""
        if not self.entries:
            return b""
        entries = b"".join(name + self.entries[name] for name in sorted(self.entries))
        return bytes((_MARK, len(self.entries))) + entries

    @classmethod
    def decode(cls, data: bytes) -> "Copies":
        """Read exactly what `encode` writes. Raises: UnwrapFailed."""
        if not data:
            return NO_COPIES
        step = RECIPIENT_ID_SIZE + _COPY_SIZE
        count = (len(data) - 2) // step
        if len(data) != 2 + count * step or not 0 < count <= MAX_RECIPIENTS:
            raise UnwrapFailed("the recovery copies of a key slot are cut short or too many")
        entries = {
            data[start : start + RECIPIENT_ID_SIZE]: data[start + RECIPIENT_ID_SIZE : start + step]
            for start in range(2, len(data), step)
        }
        copies = cls(entries)
        if copies.encode() != data:
            raise UnwrapFailed("the recovery copies of a key slot are not such")
        return copies


NO_COPIES: Final = Copies({})


class Recipients:
    """Who gets a copy of every key that the KMS wraps, from now on."""

    def __init__(self, recipients: Iterable[Recipient] = ()) -> None:
        self._public: dict[bytes, X25519PublicKey] = {}
        self.ids: frozenset[bytes] = frozenset()
        """Their ids."""
        self.set(recipients)

    def set(self, recipients: Iterable[Recipient]) -> None:
        """Let these be the recipients."""
        self._public = {each.recipient_id: X25519PublicKey.from_public_bytes(each.public) for each in recipients}
        assert len(self._public) <= MAX_RECIPIENTS, "whoever adds one keeps to the limit"
        self.ids = frozenset(self._public)

    def copy(self, data_key: DataKey, context: WrapContext) -> Copies:
        """Copies of a key for all of them; about 0.15 ms each."""
        if not self._public:
            return NO_COPIES
        info = _info(context)
        return Copies({name: _SUITE.encrypt(data_key.material(), key, info=info) for name, key in self._public.items()})


def _info(context: WrapContext) -> bytes:
    return canonical("sealgate/recovery-copy/v1", context.encode())
