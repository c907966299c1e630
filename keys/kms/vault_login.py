"""How Sealgate signs in to HashiCorp Vault or OpenBao and keeps its token alive: token file, AppRole or certificate.

A token is renewed before it ends, and taken anew once it is dead. However many threads find that out at once, one signs
in; and two logins have a pause between them, so that a KMS which refuses us is not stormed. Source: the HTTP API of
Vault ("Token auth method", "AppRole", "TLS certificates").
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from keys.errors import KeysError, KmsDenied, KmsMisconfigured, KmsUnavailable
from keys.safe_files import read_private_file

MAX_SECRET_FILE_BYTES: Final = 4096
LOGIN_PAUSE_S: Final = 5.0
"""Between two logins that help nobody; a token that dies later than that after its login is replaced at once."""
_RENEW_AT: Final = 2 / 3
"""Of a token's life, after which it is renewed."""

_log = logging.getLogger(__name__)

Send = Callable[[str, str, str, Mapping[str, Any] | None], Any]
"""Method, path, token, body: the JSON that comes back. Raises as `VaultKms` says; `TokenRefused` for 401 and 403."""


class TokenRefused(Exception):
    """The KMS answered 401 or 403: the token is dead, or its policy does not allow what was asked."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token and how long it lives, in seconds from the login (0: for ever)."""

    value: str = field(repr=False)
    ttl_s: float
    is_renewable: bool


class Identity(Protocol):
    """One way to sign in."""

    def sign_in(self, send: Send) -> Token:
        """A fresh token. Raises: TokenRefused, KeysError."""


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token that somebody else puts into a file of mode 0600, and may replace there at any time."""

    path: Path

    def sign_in(self, send: Send) -> Token:
        """See `Identity.sign_in`."""
        value = read_secret(self.path)
        told = send("GET", "auth/token/lookup-self", value, None)["data"]
        if "root" in told["policies"]:
            raise KmsMisconfigured(f"{self.path} holds a root token: make one that the policy in docs/KMS.md binds")
        return Token(value, float(told["ttl"]), bool(told["renewable"]))


@dataclass(frozen=True, slots=True)
class AppRole:
    """A role id, and a secret id from a file of mode 0600."""

    role_id: str
    secret_id_file: Path
    mount: str = "approle"

    def sign_in(self, send: Send) -> Token:
        """See `Identity.sign_in`."""
        body = {"role_id": self.role_id, "secret_id": read_secret(self.secret_id_file)}
        return _granted(send("POST", f"auth/{self.mount}/login", "", body))


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The client certificate of the connection itself; `role` is the name that the KMS knows it by."""

    role: str
    mount: str = "cert"

    def sign_in(self, send: Send) -> Token:
        """See `Identity.sign_in`."""
        return _granted(send("POST", f"auth/{self.mount}/login", "", {"name": self.role}))


def read_secret(path: Path) -> str:
    """The one line of a secret file of mode 0600, without its end.

    Raises:
        KeyringError: missing, or open to others.
        KmsMisconfigured: not one line of printable ASCII.
    """
    text = read_private_file(path, MAX_SECRET_FILE_BYTES).rstrip(b"\r\n")
    if not text.isascii() or not text.decode("ascii", "replace").isprintable() or not text or b" " in text:
        raise KmsMisconfigured(f"{path} must hold one line, the secret alone: write it anew")
    return text.decode("ascii")


def _granted(answer: Any) -> Token:
    auth = answer["auth"]
    return Token(str(auth["client_token"]), float(auth["lease_duration"]), bool(auth["renewable"]))


class Login:
    """The token of one identity at one KMS, for the threads of a pool. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        name: str,
        identity: Identity,
        send: Send,
        clock: Callable[[], float] = time.monotonic,
        pause_s: float = LOGIN_PAUSE_S,
    ) -> None:
        self._name = name
        self._identity = identity
        self._send = send
        self._clock = clock
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._taken_at = 0.0
        self._tried_at = -float("inf")
        self._refusal: KeysError | None = None
        self._refused_until = 0.0

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What the KMS answers, signed in; blocks.

        Raises:
            KmsDenied: it refuses the login, or what was asked, to a token that is alive.
            KeysError: as `send` does.
        """
        token = self._current()
        try:
            return self._send(method, path, token.value, body)
        except TokenRefused:
            fresh = self._replaced(token)
        try:
            return self._send(method, path, fresh.value, body)
        except TokenRefused:
            raise KmsDenied(f"the KMS {self._name} does not allow {method} {path} to this identity") from None

    def _current(self) -> Token:
        """The token to use now, renewed where its end is near."""
        token = self._token
        if token is None:
            with self._lock:
                self._check_pause()
                return self._token or self._sign_in()
        if token.ttl_s and self._clock() >= self._taken_at + token.ttl_s * _RENEW_AT and self._lock.acquire(False):
            # Whoever comes first renews; the others go on with the token, which still lives.
            try:
                if self._token is token:
                    return self._renew(token)
            finally:
                self._lock.release()
        return token

    def _renew(self, token: Token) -> Token:
        if self._clock() < self._tried_at + self._pause_s:
            return token
        ends_at = self._taken_at + token.ttl_s
        try:
            return self._prolonged(token) or self._sign_in()
        except KeysError as error:
            if self._clock() >= ends_at:
                raise
            _log.warning("the token at the KMS %s is not renewed yet: %s", self._name, error)
            return token

    def _prolonged(self, token: Token) -> Token | None:
        """The same token with a longer life; None where it can have none."""
        if not token.is_renewable:
            return None
        self._tried_at = self._clock()
        try:
            renewed = _granted(self._send("POST", "auth/token/renew-self", token.value, {}))
        except (TokenRefused, KeyError, TypeError, ValueError):
            return None
        if renewed.ttl_s <= token.ttl_s * (1 - _RENEW_AT):
            return None  # near the end of its longest life a token is given less and less
        self._token, self._taken_at = renewed, self._clock()
        return renewed

    def _replaced(self, refused: Token) -> Token:
        """Another token for one that was refused.

        Raises:
            KmsDenied: the token is alive, so it is its policy that refuses; or no other is to be had.
            KmsUnavailable: the last login is only moments ago, and a storm of them helps nobody.
        """
        with self._lock:
            if self._token is not refused and self._token is not None:
                return self._token  # somebody else was faster
            self._check_pause()
            now, next_login_at = self._clock(), self._tried_at + self._pause_s
            if self._is_alive(refused):
                self._refuse(
                    KmsDenied(f"the KMS {self._name} refuses what we ask of it: see the policy of its identity"),
                    now + self._pause_s,
                )
            if now < next_login_at:
                self._refuse(
                    KmsUnavailable(f"the KMS {self._name} ended a token that was taken moments ago"), next_login_at
                )
            return self._sign_in()

    def _check_pause(self) -> None:
        """Say again what was said, until it may be asked anew."""
        if self._refusal is not None and self._clock() < self._refused_until:
            raise self._refusal

    def _refuse(self, refusal: KeysError, until: float) -> NoReturn:
        self._refusal, self._refused_until = refusal, until
        raise refusal from None

    def _is_alive(self, token: Token) -> bool:
        try:
            self._send("GET", "auth/token/lookup-self", token.value, None)
        except TokenRefused:
            return False
        return True

    def _sign_in(self) -> Token:
        """Sign in, holding the lock."""
        self._tried_at = self._clock()
        try:
            token = self._identity.sign_in(self._send)
        except TokenRefused:
            refusal = KmsDenied(f"the KMS {self._name} refuses the login: renew the identity that signs in")
            self._refuse(refusal, self._tried_at + self._pause_s)
        except (KeyError, TypeError, ValueError):
            raise KmsUnavailable(f"the KMS {self._name} answers a login with what is no token") from None
        self._token, self._taken_at, self._refusal = token, self._clock(), None
        _log.info("signed in to the KMS %s", self._name)
        return token
