"""Webhooks that the operator names: HTTPS, verified, no redirect followed, no proxy asked, little read of the answer.

Source: RFC 2104 for the signature. http.client takes neither proxies nor redirects of its own accord.
"""

import asyncio
import hmac
import http.client
import io
import json
import socket
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 5.0
"""For the connection, and for each wait for the answer."""
DEADLINE_S: Final = 10.0
"""For all of a message, from the connection to the end of the answer: a target that drips has no longer."""
_MAX_ANSWER_BYTES: Final = 64 * 1024
REJECTED: Final = frozenset({400, 413, 415, 422})
"""Statuses by which a target says that it will never take this message; any other is tried again."""


class DeliveryFailed(Exception):
    """The target could not be reached or did not say that it has the message; `why` names no address."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final
        """Whether the target refused the message itself, so that a second try is of no use."""


class TrialUnderWay(Exception):
    """Somebody else is just finding out whether the target answers."""


class _Timely(io.RawIOBase):
    """What a socket receives, until a time."""

    def __init__(self, connected: socket.socket, ends: float) -> None:
        self._connected = connected
        self._ends = ends

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for bytes. Raises: TimeoutError."""
        _limit(self._connected, self._ends)
        return self._connected.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """As `http.client` asks a socket for it."""
        return io.BufferedReader(self)


def _limit(connected: socket.socket, ends: float) -> None:
    """Let the next wait end in time. Raises: TimeoutError where it should have."""
    left_s = ends - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    connected.settimeout(min(left_s, TIMEOUT_S))


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="webhook")


@dataclass(frozen=True, slots=True)
class Webhook:
    """One target. It may be silent while it is waited for, so that it has threads of its own for that."""

    name: str
    url: str = field(repr=False)
    """`https://...`; it may hold a token."""
    context: ssl.SSLContext
    secret: bytes | None = field(default=None, repr=False)
    """Keys the signature of what is sent; None: nothing is signed."""
    deadline_s: float = DEADLINE_S
    """Of a message, answer included."""
    _deliveries: ThreadPoolExecutor = field(default_factory=_one_thread, init=False, repr=False, compare=False)
    _trials: ThreadPoolExecutor = field(default_factory=_one_thread, init=False, repr=False, compare=False)
    _trial: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False, compare=False)

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; return once the target has answered 2xx. Raises: DeliveryFailed."""
        await self._send(message, self._deliveries)

    async def try_out(self, message: Mapping[str, Any]) -> None:
        """As `send`, beside what is being delivered, and for one who asks at a time. Raises: also TrialUnderWay."""
        if self._trial.locked():
            raise TrialUnderWay
        async with self._trial:
            await self._send(message, self._trials)

    async def _send(self, message: Mapping[str, Any], pool: ThreadPoolExecutor) -> None:
        body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        headers = self._headers(body, int(time.time()))
        await asyncio.get_running_loop().run_in_executor(pool, self._post, body, headers)

    def _headers(self, body: bytes, now_s: int) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "Sealgate"}
        if self.secret is not None:
            signed = hmac.digest(self.secret, b"%d." % now_s + body, "sha256").hex()
            headers |= {"X-Sealgate-Timestamp": str(now_s), "X-Sealgate-Signature": f"v1={signed}"}
        return headers

    def _post(self, body: bytes, headers: Mapping[str, str]) -> None:
        parts = urlsplit(self.url)
        assert parts.scheme == "https", "the settings take nothing else"
        assert parts.hostname is not None, "the settings take nothing else"
        ends = time.monotonic() + self.deadline_s
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=TIMEOUT_S, context=self.context)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.connect()
            _limit(connection.sock, ends)
            connection.request("POST", target, body, dict(headers))
            answer = http.client.HTTPResponse(_Timely(connection.sock, ends), method="POST")  # type: ignore[arg-type]  # it takes its file of it
            answer.begin()
            answer.read(_MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryFailed(type(error).__name__) from None
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise DeliveryFailed(f"status {answer.status}", is_final=answer.status in REJECTED)


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """A context that verifies, by the system's authorities or by that file alone. Raises: OSError, ssl.SSLError."""
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
