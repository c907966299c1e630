"""The root secret of the local keyring: 32 random bytes in a file, or a passphrase through Argon2id.

Source: RFC 9106 (Argon2; the defaults are its second recommended option), OWASP Password Storage (the floor).
"""

import base64
import binascii
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keys.datakey import KEY_SIZE, DataKey
from keys.errors import KeyringError, PassphraseUnfit

ROOT_FILE_MAX_BYTES = 256
MIN_PASSPHRASE_CHARS = 12
MAX_PASSPHRASE_BYTES = 1024

_HEADER = b"sealgate-root-key v1\n"
_SALT_SIZE = 16
_LIMITS = {
    # name: (floor, ceiling). The floor stops a downgrade by editing, the ceiling a start that eats the machine.
    "memory_kib": (19 * 1024, 1024 * 1024),
    "iterations": (2, 32),
    "lanes": (1, 16),
}


def encode_root_file(root: DataKey) -> bytes:
    """The text of `root.key`: a header line and a line of 64 hexadecimal digits."""
    return _HEADER + root.material().hex().encode("ascii") + b"\n"


def decode_root_file(data: bytes) -> DataKey:
    """Read exactly what `encode_root_file` writes; no other spelling of the same bytes.

    Raises:
        KeyringError: the header is missing, or the key is short, long, zero, repeated or not hexadecimal.
    """
    if not data.startswith(_HEADER):
        raise KeyringError("the root key file is not one of Sealgate; restore it from its backup")
    body = data[len(_HEADER) :]
    if len(body) != 2 * KEY_SIZE + 1:
        raise KeyringError(f"the root key is not {2 * KEY_SIZE} digits and a line end; restore it from its backup")
    try:
        material = binascii.unhexlify(body[:-1])
    except binascii.Error:
        raise KeyringError("the root key is not hexadecimal; restore it from its backup") from None
    try:
        root = DataKey(material)
    except ValueError:
        raise KeyringError("the root key is zero or repeated bytes; restore it from its backup") from None
    if encode_root_file(root) != data:
        raise KeyringError("the root key is not written in lower case; restore it from its backup")
    return root


@dataclass(frozen=True, slots=True)
class PassphraseParameters:
    """Argon2id parameters as the keyring stores them, always inside their limits.

    Raises:
        KeyringError: a parameter is outside its limits, or the salt does not have 16 bytes.
    """

    salt: bytes
    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        if len(self.salt) != _SALT_SIZE:
            raise KeyringError("the keyring's passphrase salt is altered; restore keyring.json from its backup")
        for name, (floor, ceiling) in _LIMITS.items():
            value = getattr(self, name)
            if type(value) is not int or not floor <= value <= ceiling:
                raise KeyringError(
                    f"the keyring's {name} must be {floor} to {ceiling}; restore keyring.json from its backup"
                )

    @classmethod
    def fresh(cls) -> "PassphraseParameters":
        """The default strength under a new salt."""
        return cls(secrets.token_bytes(_SALT_SIZE))

    @classmethod
    def from_fields(cls, fields: dict[str, object]) -> "PassphraseParameters":
        """Read what `to_fields` wrote.

        Raises:
            KeyringError: a field is missing, unknown, or outside its limits.
        """
        if fields.keys() != {"kind", "kdf", "salt", *_LIMITS} or fields["kdf"] != "argon2id":
            raise KeyringError("the keyring's root section is altered; restore keyring.json from its backup")
        try:
            salt = base64.b64decode(str(fields["salt"]), validate=True)
        except ValueError:
            salt = b""
        return cls(salt, **{name: fields[name] for name in _LIMITS})  # type: ignore[arg-type]  # checked inside

    def to_fields(self) -> dict[str, object]:
        """The root section of the keyring."""
        salt = base64.b64encode(self.salt).decode("ascii")
        return {
            "kind": "passphrase",
            "kdf": "argon2id",
            "salt": salt,
            **{name: getattr(self, name) for name in _LIMITS},
        }

    def derive(self, passphrase: str) -> DataKey:
        """The root secret of a passphrase; takes about 0.15 s and `memory_kib` of memory.

        Raises:
            KeyringError: as `encoded_passphrase`.
        """
        data = encoded_passphrase(passphrase)
        kdf = Argon2id(
            salt=self.salt,
            length=KEY_SIZE,
            iterations=self.iterations,
            lanes=self.lanes,
            memory_cost=self.memory_kib,
        )
        return DataKey(kdf.derive(data))


def encoded_passphrase(passphrase: str) -> bytes:
    """The bytes of a passphrase that may protect a keyring.

    Raises:
        PassphraseUnfit: too short, too long, or one character repeated.
    """
    data = passphrase.encode("utf-8", "surrogatepass")
    if len(passphrase) < MIN_PASSPHRASE_CHARS or len(data) > MAX_PASSPHRASE_BYTES:
        raise PassphraseUnfit(
            f"the passphrase must have {MIN_PASSPHRASE_CHARS} characters to {MAX_PASSPHRASE_BYTES} bytes; write"
            " another into passphrase_file"
        )
    if len(set(passphrase)) == 1:
        raise PassphraseUnfit("the passphrase is one character repeated; choose another")
    return data
