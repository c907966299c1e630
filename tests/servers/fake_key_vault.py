"""A fake of Azure Key Vault over TLS, with the token endpoint of Entra ID: real RSA-OAEP-256 and AES key wrap, real
versions, states and roles.

lowkey-vault could not be had, so this follows the REST reference (API version 7.4), and Microsoft's own client is run
against it.
"""

import base64
import functools
import json
import secrets
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.servers.faults import Faults
from tests.servers.https_double import Answer, HttpsDouble, Request

TENANT: Final = "8f6d7a2e-5b52-4f0c-9d3b-0c8f6f3c7a11"
AUDIENCE: Final = "https://vault.test"
GET, WRAP, UNWRAP = "keys/get", "keys/wrapKey", "keys/unwrapKey"
ALL: Final = frozenset({GET, WRAP, UNWRAP})
STATUSES: Final = {
    "BadParameter": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "KeyNotFound": 404,
    "Conflict": 409,
    "Throttled": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
}
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@functools.cache
def rsa_key(bits: int, number: int) -> rsa.RSAPrivateKey:
    """One of a few, since making them takes a while; versions that stand side by side have different ones."""
    assert number < 4
    return rsa.generate_private_key(65537, bits)


@dataclass
class Version:
    """One version: an RSA key, or the bytes of an AES key in an HSM."""

    kind: str
    material: rsa.RSAPrivateKey | bytes = field(repr=False)
    enabled: bool = True
    key_ops: Collection[str] = ("wrapKey", "unwrapKey")
    exportable: bool = False
    name: str = field(default_factory=lambda: secrets.token_hex(16))
    made_at: int = field(default_factory=lambda: int(time.time()))


@dataclass
class Client:
    """An application: one of the three ways to sign in, and what it may do."""

    permissions: Collection[str]
    secret: str = field(default="", repr=False)
    certificate: x509.Certificate | None = None
    assertion: str = field(default="", repr=False)


class _Refused(Exception):
    def __init__(self, code: str, message: str, inner: str = "") -> None:
        super().__init__(message)
        self.code, self.inner = code, inner


class FakeKeyVault(Faults):
    """Vault and Entra ID behind one address."""

    def __init__(self, folder: Path) -> None:
        self.double = HttpsDouble(folder, self._answer)
        self.keys: dict[str, list[Version]] = {}
        self.deleted: dict[str, list[Version]] = {}
        self.clients: dict[str, Client] = {}
        self.tokens: dict[str, tuple[str, float]] = {}
        self.token_ttl_s = 3599
        self._made = 0
        self._lock = threading.Lock()

    @property
    def logins(self) -> int:
        """How many tokens were asked for."""
        return sum(request.path.endswith("/token") for request in self.double.requests)

    def new_client(self, client_id: str, permissions: Collection[str] = ALL) -> str:
        """Make an application, or renew its secret, which is returned."""
        secret = f"{secrets.token_urlsafe(24)}~Q"
        self.clients[client_id] = Client(permissions, secret)
        return secret

    def new_version(self, name: str, kind: str = "RSA", bits: int = 3072, **options: Any) -> Version:
        """Make a key, or a new version of one."""
        self._made += 1
        material = secrets.token_bytes(32) if kind == "oct-HSM" else rsa_key(bits, self._made % 4)
        version = Version(kind, material, **options)
        self.keys.setdefault(name, []).append(version)
        return version

    def rotate(self, name: str) -> None:
        """Make a new version of the kind that the latest has."""
        self.new_version(name, self.keys[name][-1].kind)

    def set_state(self, name: str, state: str) -> None:
        """Switch the latest version on or off."""
        self.keys[name][-1].enabled = state == "ENABLED"

    def delete(self, name: str) -> None:
        """Delete a key softly."""
        self.deleted[name] = self.keys.pop(name)

    def recover(self, name: str) -> None:
        """Bring one back that was deleted softly."""
        self.keys[name] = self.deleted.pop(name)

    def _answer(self, request: Request) -> Answer:
        path = request.path.partition("?")[0]
        if path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
            place = f"{self.double.address}/{TENANT}"
            told = {"token_endpoint": f"{place}/oauth2/v2.0/token", "issuer": f"{place}/v2.0"}
            return _json(200, told | {"authorization_endpoint": f"{place}/oauth2/v2.0/authorize"})
        if path == f"/{TENANT}/oauth2/v2.0/token":
            return self._token(request)
        time.sleep(self.delay_s)
        try:
            self._check_faults()
            with self._lock:
                return _json(200, self._told(request, path))
        except _Refused as refused:
            error: dict[str, Any] = {"code": refused.code, "message": str(refused)}
            if refused.inner:
                error["innererror"] = {"code": refused.inner}
            challenge = f'Bearer authorization="{self.double.address}/{TENANT}", resource="{AUDIENCE}"'
            headers = {"WWW-Authenticate": challenge} if refused.code == "Unauthorized" else {}
            return _json(STATUSES[refused.code], {"error": error}, headers)

    def _check_faults(self) -> None:
        if self.error is not None:
            raise _Refused(self.error, "as the test asked for")

    def _token(self, request: Request) -> Answer:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        client = self.clients.get(form.get("client_id", ""))
        is_right = form["grant_type"] == "client_credentials" and form["scope"] == f"{AUDIENCE}/.default"
        if client is None or not is_right or not self._is_proved(client, form):
            told = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
            return _json(401, told)
        token = f"eyJ0eXAiOiJKV1QifQ.{secrets.token_urlsafe(64)}.{secrets.token_urlsafe(32)}"
        self.tokens[token] = form["client_id"], time.monotonic() + self.token_ttl_s
        return _json(200, {"token_type": "Bearer", "expires_in": self.token_ttl_s, "access_token": token})

    def _is_proved(self, client: Client, form: Mapping[str, str]) -> bool:
        if client.secret:
            return secrets.compare_digest(form.get("client_secret", ""), client.secret)
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            return False
        if client.certificate is None:
            return secrets.compare_digest(form["client_assertion"], client.assertion)
        try:
            jwt.decode(
                form["client_assertion"],
                client.certificate.public_key(),  # type: ignore[arg-type] # an RSA key
                algorithms=["PS256"],
                audience=f"{self.double.address}/{TENANT}/oauth2/v2.0/token",
                issuer=form["client_id"],
                options={"require": ["exp", "iss", "sub", "aud", "jti"]},
            )
            header = jwt.get_unverified_header(form["client_assertion"])
        except jwt.InvalidTokenError:
            return False
        print256 = _encoded(client.certificate.fingerprint(hashes.SHA256()))
        return str(header.get("x5t#S256")).rstrip("=") == print256

    def _told(self, request: Request, path: str) -> dict[str, Any]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        client_id, ends_at = self.tokens.get(token, ("", 0.0))
        if scheme != "Bearer" or time.monotonic() >= ends_at:
            raise _Refused("Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
        assert "api-version=" in request.path, "the vault takes no request without"
        parts = path.lower().split("/")
        names = path.split("/")
        permission = {"wrapkey": WRAP, "unwrapkey": UNWRAP}.get(parts[-1], GET)
        if permission not in self.clients[client_id].permissions:
            raise _Refused("Forbidden", "Caller is not authorized to perform action on resource.", "ForbiddenByRbac")
        versions = self.keys.get(names[2], [])
        wanted = names[3] if len(names) > 3 else ""
        version = next(
            (one for one in versions if one.name == wanted), versions[-1] if versions and not wanted else None
        )
        if version is None:
            raise _Refused(
                "KeyNotFound", f"A key with (name/id) {'/'.join(names[2:4])} was not found in this key vault."
            )
        key_id = f"{self.double.address}/keys/{names[2]}/{version.name}"
        if permission == GET:
            return _key(key_id, version)
        if not version.enabled:
            raise _Refused("Forbidden", f"Operation {parts[-1]} is not allowed on a disabled key.", "KeyDisabled")
        if permission.removeprefix("keys/") not in version.key_ops:
            raise _Refused("Forbidden", f"Operation {parts[-1]} is not permitted on this key.", "KeyOperationForbidden")
        body = json.loads(request.body)
        value = self._turned(version, body["alg"], base64.urlsafe_b64decode(body["value"] + "=="), permission)
        return {"kid": key_id, "value": _encoded(value)}

    def _turned(self, version: Version, algorithm: str, value: bytes, permission: str) -> bytes:
        material = version.material
        try:
            if isinstance(material, bytes):
                if algorithm != "A256KW":
                    raise _Refused("BadParameter", f"Key type does not support the algorithm {algorithm}.")
                wraps = keywrap.aes_key_wrap if permission == WRAP else keywrap.aes_key_unwrap
                turned = wraps(material, value)
            elif algorithm != "RSA-OAEP-256":
                raise _Refused("BadParameter", f"Key type does not support the algorithm {algorithm}.")
            elif permission == WRAP:
                turned = material.public_key().encrypt(value, _OAEP)
            else:
                turned = material.decrypt(value, _OAEP)
        except (ValueError, keywrap.InvalidUnwrap):
            raise _Refused("BadParameter", "The parameter is incorrect.") from None
        return turned if self.lie is None or permission == WRAP else self.lie(turned)


def _key(key_id: str, version: Version) -> dict[str, Any]:
    key: dict[str, Any] = {"kid": key_id, "kty": version.kind, "key_ops": list(version.key_ops)}
    if isinstance(version.material, rsa.RSAPrivateKey):
        numbers = version.material.public_key().public_numbers()
        key["n"] = _encoded(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big"))
        key["e"] = _encoded(numbers.e.to_bytes(3, "big"))
    attributes = {
        "enabled": version.enabled,
        "created": version.made_at,
        "updated": version.made_at,
        "recoveryLevel": "Recoverable",
        "exportable": version.exportable,
    }
    return {"key": key, "attributes": attributes}


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _json(status: int, told: Any, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(
        status, json.dumps(told).encode(), {"Content-Type": "application/json; charset=utf-8"} | dict(headers or {})
    )
