"""A client that costs little and never tries again: what it does not know it tells as unknown."""

import datetime as dt
import hashlib
import hmac
import http.client
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from tests.blackbox.process import Credentials, Gateway
from tests.gateway.s3.sigv4.signer import amz_date, signing_key

_UNSIGNED = "UNSIGNED-PAYLOAD"
_NAMES = "host;x-amz-content-sha256;x-amz-date"
_ENTRY = re.compile(rb"<Key>([^<]*)</Key>.*?<ETag>&quot;([0-9a-f]*)&quot;</ETag>", re.DOTALL)
TIMEOUT_S = 5.0

_day_key = lru_cache(maxsize=16)(signing_key)


class NobodyThere(Exception):
    """No connection came about, so nothing was asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that came whole."""

    status: int
    etag: str | None
    body: bytes


class Client:
    """One connection to one gateway."""

    def __init__(self, gateway: Gateway, timeout_s: float = TIMEOUT_S, who: Credentials | None = None) -> None:
        self._host = f"localhost:{gateway.port}"
        self._who = who or gateway.credentials
        self._region = gateway.region
        self._context = gateway.tls_context()
        self.port = gateway.port
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPSConnection | None = None

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, query: str = ""
    ) -> Answer | None:
        """Send one request; None where no whole answer came.

        Raises: NobodyThere.
        """
        connection = self._connected()
        try:
            return self._ask(connection, method, path, body, headers or {}, query)
        except (OSError, http.client.HTTPException):
            self.close()
            return None

    def _connected(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            connection = http.client.HTTPSConnection(
                "localhost", self.port, timeout=self._timeout_s, context=self._context
            )
            try:
                connection.connect()
            except OSError as error:
                connection.close()
                raise NobodyThere from error
            self._connection = connection
        return self._connection

    def _ask(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
        query: str,
    ) -> Answer:
        target = f"{path}?{query}" if query else path
        connection.request(method, target, body or None, headers | self._signed(method, path, query))
        response = connection.getresponse()
        content = response.read()
        etag = response.headers.get("ETag")
        return Answer(response.status, None if etag is None else etag.strip('"'), content)

    def _signed(self, method: str, path: str, query: str) -> dict[str, str]:
        stamp = amz_date(dt.datetime.now(dt.UTC))
        scope = f"{stamp[:8]}/{self._region}/s3/aws4_request"
        values = f"host:{self._host}\nx-amz-content-sha256:{_UNSIGNED}\nx-amz-date:{stamp}\n"
        request = f"{method}\n{quote(path)}\n{query}\n{values}\n{_NAMES}\n{_UNSIGNED}"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = _day_key(self._who.secret_access_key, scope)
        signature = hmac.digest(key, text.encode(), hashlib.sha256).hex()
        credential = f"{self._who.access_key_id}/{scope}"
        return {
            "Host": self._host,
            "x-amz-content-sha256": _UNSIGNED,
            "x-amz-date": stamp,
            "Authorization": (
                f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={_NAMES}, Signature={signature}"
            ),
        }


def listed(body: bytes) -> dict[str, str]:
    """ETags by key, of a whole listing."""
    assert b"<IsTruncated>false</IsTruncated>" in body
    return {key.decode(): etag.decode() for key, etag in _ENTRY.findall(body)}
