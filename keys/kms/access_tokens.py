"""Access tokens of OAuth 2.0 for a KMS: one that is kept alive for all threads, and never a storm of logins.

A token is replaced at two thirds of its life, while it still serves, and at once where it is refused. However many
threads find that out, one signs in. Source: RFC 6749 section 5.1 (`expires_in`), RFC 6750 section 3.1 (401).
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from keys.errors import KeysError, KmsDenied, KmsUnavailable

LOGIN_PAUSE_S: Final = 5.0
"""Between two logins that help nobody; until then a refusal is said again from memory."""
UNREACHED_PAUSE_S: Final = 1.0
"""The same where the login was not answered, so that those who queue behind it do not wait for it one by one."""
_RENEW_AT: Final = 2 / 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token and how long it lives, in seconds from the login."""

    value: str = field(repr=False)
    ttl_s: float


SignIn = Callable[[], AccessToken]
"""A fresh token; blocks. Raises: KeysError (`KmsDenied` where the identity is refused)."""


class AccessTokens:
    """The token of one identity at one KMS, for the threads of a pool. `clock` is monotonic, in seconds."""

    def __init__(self, name: str, sign_in: SignIn, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._sign_in = sign_in
        self._clock = clock
        self._lock = threading.Lock()
        self._token: AccessToken | None = None
        self._taken_at = 0.0
        self._refusal: KeysError | None = None
        self._refused_until = 0.0

    def current(self) -> str:
        """The token to use now; blocks for a login where there is none, or none that lives. Raises: KeysError."""
        token, age_s = self._token, self._clock() - self._taken_at
        if token is None or age_s >= token.ttl_s:
            with self._lock:
                if self._token is not token and self._token is not None:
                    return self._token.value  # somebody else was faster
                return self._fresh()
        if age_s >= token.ttl_s * _RENEW_AT and self._lock.acquire(blocking=False):
            # Whoever comes first renews; the others go on with the token, which still lives.
            try:
                if self._token is token:
                    return self._fresh()
            except KeysError as error:
                _log.warning("the token at the KMS %s is not renewed yet: %s", self._name, error)
            finally:
                self._lock.release()
        return token.value

    def replaced(self, refused: str) -> str:
        """Another token for one that was answered with 401.

        Raises:
            KmsUnavailable: the last login is only moments ago, and a storm of them helps nobody.
            KeysError: as `SignIn`.
        """
        with self._lock:
            if self._token is not None and self._token.value != refused:
                return self._token.value
            if self._clock() < self._taken_at + LOGIN_PAUSE_S:
                raise KmsUnavailable(f"the KMS {self._name} ended a token that was taken moments ago")
            return self._fresh()

    def _fresh(self) -> str:
        """Sign in, holding the lock."""
        if self._refusal is not None and self._clock() < self._refused_until:
            raise self._refusal
        try:
            token = self._sign_in()
        except KeysError as error:
            pause_s = LOGIN_PAUSE_S if isinstance(error, KmsDenied) else UNREACHED_PAUSE_S
            self._refusal, self._refused_until = error, self._clock() + pause_s
            raise
        self._token, self._taken_at, self._refusal = token, self._clock(), None
        _log.info("signed in to the KMS %s", self._name)
        return token.value
