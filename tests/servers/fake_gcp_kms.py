"""A fake of Google Cloud KMS over TLS, with Google's token endpoint: real AES-256-GCM, versions, states and roles.

No emulator of Google's own exists and none of others could be had, so this one follows the REST reference (v1), and
Google's own client is run against it. Answers leave out what is empty and spell numbers of 64 bits as text, as
Google's do.
"""

import base64
import functools
import json
import secrets
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import jwt
from awscrt.checksums import crc32c
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.servers.faults import Faults
from tests.servers.https_double import Answer, HttpsDouble, Request
from tests.servers.openbao import private_file

RING: Final = "projects/sealgate-test/locations/europe-west3/keyRings/gateway"
OTHER_RING: Final = f"{RING}-2"
ENCRYPT, DECRYPT, GET, GET_VERSION = (
    "cloudkms.cryptoKeyVersions.useToEncrypt",
    "cloudkms.cryptoKeyVersions.useToDecrypt",
    "cloudkms.cryptoKeys.get",
    "cloudkms.cryptoKeyVersions.get",
)
ALL: Final = frozenset({ENCRYPT, DECRYPT, GET, GET_VERSION})
STATUSES: Final = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_SCOPE: Final = "https://www.googleapis.com/auth/cloudkms"
_AUDIENCE: Final = "https://oauth2.googleapis.com/token"
"""Google's client names this one whatever `token_uri` says."""
_ID_SIZE: Final = 8
_NONCE_SIZE: Final = 12


@dataclass
class Version:
    """One version of a key; its ciphertexts begin with `id`."""

    number: int
    state: str = "ENABLED"
    material: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    id: bytes = field(default_factory=lambda: secrets.token_bytes(_ID_SIZE))
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Key:
    """A key; versions count from 1."""

    purpose: str = "ENCRYPT_DECRYPT"
    versions: list[Version] = field(default_factory=lambda: [Version(1)])
    primary: int = 1


class _Refused(Exception):
    def __init__(self, code: str, message: str, violation: str = "") -> None:
        super().__init__(message)
        self.code, self.violation = code, violation


class FakeGcpKms(Faults):
    """Key management and tokens behind one address. `garbles`: spoil an answer on its way, after its CRC32C."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.double = HttpsDouble(folder, self._answer)
        self.keys: dict[str, Key] = {}
        self.token_ttl_s = 3600
        self.garbles = False
        self.token_delay_s = 0.0
        self._accounts: dict[str, tuple[str, rsa.RSAPublicKey]] = {}
        self.roles: dict[str, Collection[str]] = {}
        self.tokens: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def reset(self) -> None:
        """See `Faults.reset`."""
        super().reset()
        self.garbles, self.token_delay_s, self.token_ttl_s = False, 0.0, 3600

    @property
    def logins(self) -> int:
        """How many tokens were asked for."""
        return sum(request.path == "/token" for request in self.double.requests)

    def new_key(self, name: str, ring: str = RING, **options: Any) -> Key:
        """Make a key in a ring."""
        key = self.keys[f"{ring}/cryptoKeys/{name}"] = Key(**options)
        return key

    def rotate(self, name: str) -> None:
        """Make a new primary version."""
        key = self.keys[f"{RING}/cryptoKeys/{name}"]
        key.versions.append(Version(len(key.versions) + 1))
        key.primary = len(key.versions)

    def set_state(self, name: str, state: str) -> None:
        """Bring the primary version into a state; what is destroyed has no material any more."""
        key = self.keys[f"{RING}/cryptoKeys/{name}"]
        version = key.versions[key.primary - 1]
        version.state = state
        if state == "DESTROYED":
            version.material = b""

    def new_account(self, name: str, permissions: Collection[str] = ALL) -> Path:
        """A service account with these permissions on the ring; the file of its key."""
        key = _account_key()
        email, key_id = f"{name}@sealgate-test.iam.gserviceaccount.com", secrets.token_hex(20)
        self._accounts[email] = key_id, key.public_key()
        self.roles[email] = permissions
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        told = {
            "type": "service_account",
            "project_id": "sealgate-test",
            "private_key_id": key_id,
            "private_key": pem.decode(),
            "client_email": email,
            "token_uri": f"{self.double.address}/token",
        }
        return private_file(self._folder / f"{name}-{key_id[:8]}.json", json.dumps(told))

    def end_account(self, name: str) -> None:
        """Delete a service account's key; tokens that were given for it go on."""
        del self._accounts[f"{name}@sealgate-test.iam.gserviceaccount.com"]

    def _answer(self, request: Request) -> Answer:
        if request.path == "/token":
            time.sleep(self.token_delay_s)
            return self._token(request)
        time.sleep(self.delay_s)
        try:
            self._check_faults()
            with self._lock:
                return _json(200, self._told(request))
        except _Refused as refused:
            return _json(STATUSES[refused.code], _error(refused))

    def _check_faults(self) -> None:
        if self.error is not None:
            raise _Refused(self.error, "as the test asked for")

    def _token(self, request: Request) -> Answer:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        try:
            email = jwt.decode(form["assertion"], options={"verify_signature": False})["iss"]
            key_id, public_key = self._accounts[email]
            claims = jwt.decode(
                form["assertion"],
                public_key,
                algorithms=["RS256"],
                audience=_AUDIENCE,
                options={"require": ["exp", "iat", "iss", "aud"]},
            )
            is_right = jwt.get_unverified_header(form["assertion"])["kid"] == key_id and claims["scope"] == _SCOPE
        except (jwt.InvalidTokenError, KeyError):
            is_right, email = False, ""
        if not is_right or form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return _json(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
        token = f"ya29.{secrets.token_urlsafe(64)}"
        self.tokens[token] = email, time.monotonic() + self.token_ttl_s
        return _json(200, {"access_token": token, "expires_in": self.token_ttl_s, "token_type": "Bearer"})

    def _told(self, request: Request) -> dict[str, Any]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        email, ends_at = self.tokens.get(token, ("", 0.0))
        if scheme != "Bearer" or time.monotonic() >= ends_at:
            raise _Refused("UNAUTHENTICATED", "Request had invalid authentication credentials.")
        path, _, verb = request.path.partition("?")[0].removeprefix("/v1/").partition(":")
        permission = {"encrypt": ENCRYPT, "decrypt": DECRYPT}.get(verb) or (
            GET_VERSION if "/cryptoKeyVersions/" in path else GET
        )
        if permission not in self.roles[email] or not path.startswith((RING, OTHER_RING)):
            raise _Refused(
                "PERMISSION_DENIED", f"Permission '{permission}' denied on resource '{path}' (or it may not exist)."
            )
        name, _, number = path.partition("/cryptoKeyVersions/")
        key = self.keys.get(name)
        if key is None or (number and not 1 <= int(number) <= len(key.versions)):
            raise _Refused("NOT_FOUND", f"{path} not found.")
        if not verb:
            return _version(name, key.versions[int(number) - 1]) if number else _key(name, key)
        if key.purpose != "ENCRYPT_DECRYPT":
            raise _Refused(
                "FAILED_PRECONDITION", f"{path} purpose is {key.purpose}, which is not valid for this operation."
            )
        body = json.loads(request.body)
        associated_data = _field(body, "additionalAuthenticatedData")
        if verb == "encrypt":
            return self._encrypted(name, key.versions[int(number or key.primary) - 1], body, associated_data)
        return self._decrypted(key, name, body, associated_data)

    def _encrypted(self, name: str, version: Version, body: Any, associated_data: bytes) -> dict[str, Any]:
        _check_enabled(name, version)
        nonce = secrets.token_bytes(_NONCE_SIZE)
        sealed = AESGCM(version.material).encrypt(nonce, _field(body, "plaintext"), associated_data)
        return {
            "name": _version_name(name, version.number),
            **self._checked("ciphertext", version.id + nonce + sealed),
            "verifiedPlaintextCrc32c": "plaintextCrc32c" in body,
            "verifiedAdditionalAuthenticatedDataCrc32c": "additionalAuthenticatedDataCrc32c" in body,
            "protectionLevel": "SOFTWARE",
        }

    def _decrypted(self, key: Key, name: str, body: Any, associated_data: bytes) -> dict[str, Any]:
        ciphertext = _field(body, "ciphertext")
        version = next((one for one in key.versions if one.id == ciphertext[:_ID_SIZE]), None)
        if version is None:
            raise _Refused("INVALID_ARGUMENT", "Decryption failed: verify that 'name' refers to the correct CryptoKey.")
        _check_enabled(name, version)
        nonce, sealed = ciphertext[_ID_SIZE : _ID_SIZE + _NONCE_SIZE], ciphertext[_ID_SIZE + _NONCE_SIZE :]
        try:
            plaintext = AESGCM(version.material).decrypt(nonce, sealed, associated_data)
        except (InvalidTag, ValueError):
            raise _Refused("INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.") from None
        plaintext = plaintext if self.lie is None else self.lie(plaintext)
        answer = self._checked("plaintext", plaintext) | {"protectionLevel": "SOFTWARE"}
        return answer | ({"usedPrimary": True} if version.number == key.primary else {})

    def _checked(self, name: str, value: bytes) -> dict[str, Any]:
        spoilt = value[:-1] + bytes([value[-1] ^ 1]) if self.garbles else value
        told = {name: base64.b64encode(spoilt).decode(), f"{name}Crc32c": str(crc32c(value))}
        return told if value else {f"{name}Crc32c": "0"}


@functools.cache
def _account_key() -> rsa.RSAPrivateKey:
    """Of all accounts, since making one takes a while; each has an id of its own for it."""
    return rsa.generate_private_key(65537, 2048)


def _check_enabled(name: str, version: Version) -> None:
    if version.state != "ENABLED":
        full = _version_name(name, version.number)
        kind = "KEY_DISABLED" if version.state == "DISABLED" else "KEY_DESTROYED"
        raise _Refused("FAILED_PRECONDITION", f"{full} is not enabled, current state is: {version.state}.", kind)


def _field(body: Any, name: str) -> bytes:
    value = base64.b64decode(body.get(name, ""), validate=True)
    if int(body.get(f"{name}Crc32c", crc32c(value))) != crc32c(value):
        raise _Refused(
            "INVALID_ARGUMENT", f"The checksum in field {name}_crc32c did not match the data in field {name}."
        )
    return value


def _version_name(name: str, number: int) -> str:
    return f"{name}/cryptoKeyVersions/{number}"


def _version(name: str, version: Version) -> dict[str, Any]:
    return {
        "name": _version_name(name, version.number),
        "state": version.state,
        "protectionLevel": "SOFTWARE",
        "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
        "createTime": f"{version.made_at:%Y-%m-%dT%H:%M:%S}.123456789Z",
    }


def _key(name: str, key: Key) -> dict[str, Any]:
    told = {
        "name": name,
        "purpose": key.purpose,
        "createTime": f"{key.versions[0].made_at:%Y-%m-%dT%H:%M:%S}.123456789Z",
    }
    is_symmetric = key.purpose == "ENCRYPT_DECRYPT" and key.primary
    return told | ({"primary": _version(name, key.versions[key.primary - 1])} if is_symmetric else {})


def _error(refused: _Refused) -> dict[str, Any]:
    told: dict[str, Any] = {"code": STATUSES[refused.code], "message": str(refused), "status": refused.code}
    if refused.violation:
        violation = {"type": refused.violation, "subject": "projects/...", "description": str(refused)}
        told["details"] = [{"@type": "type.googleapis.com/google.rpc.PreconditionFailure", "violations": [violation]}]
    return {"error": told}


def _json(status: int, told: Any) -> Answer:
    return Answer(status, json.dumps(told).encode(), {"Content-Type": "application/json; charset=UTF-8"})
