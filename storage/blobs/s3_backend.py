"""One bucket of an S3 server: signed requests over verified TLS, bounded in tries, silence and time, never redirected.

Signatures are those of `minio.signer`, the bytes go through urllib3 in threads of this backend's own (s3_wire.py), so
that the event loop never waits for a socket. A body is a list of buffers that stay with the caller: a retry sends the
same bytes.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and .../RetryStrategies; decision 0011.
"""

import asyncio
import base64
import concurrent.futures
import hashlib
import math
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeVar, cast
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

import urllib3
from awscrt.checksums import crc32c
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3

from storage.blobs.base import Buffer
from storage.blobs.s3_wire import Stream, Turn, pool_of
from storage.entities import may_have_entities
from storage.errors import StorageError, StorageFull, StorageUnavailable

SEND_BYTES: Final = 256 * 1024
"""Bytes handed to TLS in one call; the time limit of silence counts for each call."""

MAX_DOCUMENT_BYTES: Final = 8 * 1024 * 1024
"""No answer that is read whole is longer: a page of 1,000 names takes under 1 MiB."""

LEAST_RATE_BYTES_S: Final = 64 * 1024
"""A backend that takes or sends more slowly than this is as good as silent."""

SILENCES: Final = 3
"""How often `timeout_s` a request may take, all its tries together and beside what its body takes at the least rate."""

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 3.0
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_NOTHING_SHA256: Final = hashlib.sha256(b"").hexdigest()
_TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})
_TRANSIENT_CODES: Final = frozenset(
    # BadDigest: the bytes changed on their way, and those that are held are right. The last is of two writers at once.
    {"RequestTimeout", "SlowDown", "BadDigest", "XAmzContentChecksumMismatch", "ConditionalRequestConflict"}
)
_FULL_CODES: Final = frozenset({"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "EntityTooLarge"})
_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_LENGTH: Final = re.compile(r"\d{1,19}", re.ASCII)

_T = TypeVar("_T")


class Checksum(StrEnum):
    """How the backend verifies what arrives. The sum goes in a header, for backends that know no trailers."""

    CRC32C = "crc32c"
    SHA256 = "sha256"
    MD5 = "md5"


@dataclass(frozen=True, slots=True)
class S3Target:
    """Where the bucket is and how it is spoken to."""

    endpoint: str
    """`https://HOST[:PORT]`."""
    bucket: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    tls: ssl.SSLContext = field(repr=False)
    """Verifies the server, and shows a client certificate if there is one."""
    session_token: str = field(default="", repr=False)
    prefix: str = ""
    """Before every name: empty, or words that end in a slash."""
    region: str = "us-east-1"
    virtual_hosted: bool = False
    checksum: Checksum = Checksum.CRC32C
    timeout_s: float = 20.0
    """Longest silence in the middle of a request."""
    tries: int = 4
    connections: int = 16
    """Requests under way at once, and connections kept open."""
    held_bytes: int = 256 * 1024 * 1024
    """Sealed bytes that all uploads together hold until they are acknowledged."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `name` is within the bucket, without the prefix; None is the bucket itself."""

    method: str
    name: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Sequence[Buffer] = ()

    @property
    def body_size(self) -> int:
        """Bytes of the body."""
        return sum(len(buffer) for buffer in self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, read whole unless `stream` holds the rest."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    stream: Stream | None = None

    @property
    def code(self) -> str:
        """The error code in the body; also where a status of 200 belies it."""
        found = _CODE.search(self.body[:4096]) if b"<Error" in self.body[:1024] else None
        return found[1].decode("ascii") if found else ""

    @property
    def length(self) -> int:
        """The length that the head tells; -1 where it tells none."""
        told = self.headers.get("content-length", "")
        return int(told) if _LENGTH.fullmatch(told) else -1

    def expect(self, doing: str, *statuses: int) -> "Answer":
        """Return itself if it has one of these statuses and no error inside. Raises: StorageError."""
        if self.status in statuses and not self.code:
            return self
        raise refusal(self, doing)

    def document(self, doing: str, root: str) -> ET.Element:
        """The XML of the body, names without their namespace. Raises: StorageUnavailable."""
        if may_have_entities(self.body):
            raise StorageUnavailable(f"the backend gave a document type while {doing}")
        try:
            parsed = ET.fromstring(self.body)  # noqa: S314 - no document type, so no entities; bounded in size
        except ET.ParseError as error:
            raise StorageUnavailable(f"the backend gave no XML while {doing}") from error
        for element in parsed.iter():
            element.tag = element.tag.rpartition("}")[2]
        if parsed.tag != root:
            raise StorageUnavailable(f"the backend answered with another document while {doing}")
        return parsed


def refusal(answer: Answer, doing: str) -> StorageError:
    """The error that an unexpected answer stands for; it names status and code, and nothing of the request."""
    code = answer.code or "no code"
    if 300 <= answer.status < 400:
        # Followed, it would carry bytes and signatures to a place that nobody chose.
        return StorageUnavailable(
            f"the backend redirects ({answer.status}) while {doing}: correct s3_endpoint, s3_region"
        )
    if answer.status == 507 or answer.code in _FULL_CODES:
        return StorageFull(f"the backend has no space left while {doing}: {answer.status} {code}")
    remedy = "; see that the key in s3_credentials_file is right and may do it" if answer.status in {401, 403} else ""
    return StorageUnavailable(f"the backend refused {doing}: {answer.status} {code}{remedy}")


class Backend:
    """Sends calls. Safe to use concurrently from one event loop."""

    def __init__(self, target: S3Target, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        assert target.endpoint.startswith("https://"), "the backend is spoken to over TLS alone"
        self.target = target
        self._clock = clock
        host = urlsplit(target.endpoint).netloc
        self._host = f"{target.bucket}.{host}" if target.virtual_hosted else host
        self._root = "/" if target.virtual_hosted else f"/{target.bucket}/"
        self._credentials = Credentials(target.access_key_id, target.secret_access_key, target.session_token or None)
        self._http = pool_of(target.tls, target.connections, target.timeout_s)
        self._threads = concurrent.futures.ThreadPoolExecutor(target.connections, thread_name_prefix="s3")

    async def run(
        self,
        function: Callable[..., _T],
        *arguments: object,
        limit_s: float = math.inf,
        abort: Callable[[], None] = lambda: None,
    ) -> _T:
        """Run something that waits for a socket in a thread, and come back no sooner than the thread.

        `abort` is called from the loop and makes the function end soon: after `limit_s` of its work, or where the
        caller is cancelled. Whatever it gives after that is thrown away.

        Raises:
            StorageUnavailable: it was not its turn within `timeout_s`.
            TimeoutError: the limit. And what the function raises.
        """
        asked, began = time.monotonic(), math.inf

        def job() -> _T:
            nonlocal began
            began = time.monotonic()
            return function(*arguments)

        submitted = self._threads.submit(job)
        future = asyncio.wrap_future(submitted)
        try:
            while True:
                ends = asked + self.target.timeout_s if began == math.inf else began + limit_s
                left_s = ends - time.monotonic()
                if left_s > 0:
                    done, _ = await asyncio.wait({future}, timeout=None if left_s == math.inf else left_s)
                    if done:
                        return future.result()
                elif submitted.cancel():
                    raise StorageUnavailable("more requests are under way than s3_connections has room for")
                elif began != math.inf:
                    break
        except asyncio.CancelledError:
            await _ended(submitted, future, abort)
            raise
        await _ended(submitted, future, abort)
        raise TimeoutError("it did not end in time")

    async def ask(
        self, call: Call, doing: str, *, stream: bool = False, tries: int = 0, silences: int = SILENCES
    ) -> Answer:
        """Send a call until there is an answer that trying again cannot change; it may still be a refusal.

        `stream` leaves the body of a 206 unread. Any try but the last may have taken effect. All of it takes about
        `silences` times `timeout_s` at most, and what the body takes at the least rate.

        Raises: StorageUnavailable, where every try met silence, a broken connection or a server in trouble.
        """
        why = ""
        ends = time.monotonic() + silences * self.target.timeout_s + call.body_size / LEAST_RATE_BYTES_S
        for number in range(tries or self.target.tries):
            if number:
                pause = min(_FIRST_PAUSE_S * 2 ** (number - 1), _LONGEST_PAUSE_S)
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            left_s = ends - time.monotonic()
            if left_s <= 0:
                break
            turn = Turn()
            try:
                answer = await self.run(self._send, call, stream, turn, limit_s=left_s, abort=turn.abort)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                why = _reason(error)
                continue
            if answer.status not in _TRANSIENT and answer.code not in _TRANSIENT_CODES:
                return answer
            why = f"{answer.status} {answer.code}".rstrip()
        raise StorageUnavailable(f"the backend cannot be used while {doing}: {why}")

    def _send(self, call: Call, stream: bool, turn: Turn) -> Answer:
        url, headers = self._signed(call)
        turn.begin()
        response = self._http.request(
            call.method,
            url,
            headers=headers,
            body=cast("Iterator[bytes]", _slices(call.body)) if call.body else None,  # sendall takes any buffer
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            given = {name.lower(): value for name, value in response.headers.items()}
            if stream and response.status == 206:
                return Answer(response.status, given, b"", Stream(response, turn))
            body = response.read(MAX_DOCUMENT_BYTES + 1, decode_content=False)
        except BaseException:
            response.close()
            raise
        if len(body) > MAX_DOCUMENT_BYTES:
            response.close()
            raise urllib3.exceptions.HTTPError("an endless answer")
        if response.length_remaining:
            response.close()
            raise urllib3.exceptions.HTTPError("an answer shorter than it said")
        turn.end()
        response.release_conn()
        return Answer(response.status, given, body)

    def _signed(self, call: Call) -> tuple[str, dict[str, str]]:
        name = "" if call.name is None else quote(self.target.prefix + call.name, safe="/-_.~")
        query = "&".join(f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}" for key, value in call.query.items())
        path = self._root + name if name or self.target.virtual_hosted else self._root.rstrip("/")
        url = urlsplit(f"https://{self._host}{path}" + (f"?{query}" if query else ""))
        now = self._clock()
        content_sha256 = call.headers.get("x-amz-content-sha256", _UNSIGNED if call.body else _NOTHING_SHA256)
        headers: dict[str, str | list[str] | tuple[str]] = {
            **call.headers,
            "Host": self._host,
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
            "x-amz-content-sha256": content_sha256,
        }
        if self.target.session_token:
            headers["x-amz-security-token"] = self.target.session_token
        sign_v4_s3(
            method=call.method,
            url=url,
            region=self.target.region,
            headers=headers,
            credentials=self._credentials,
            content_sha256=content_sha256,
            date=now,
        )
        # Unsigned, since proxies may change them. What is sealed does not shrink, and must arrive as it rests.
        unsigned = {"Accept-Encoding": "identity"}
        if call.body:
            unsigned["Content-Length"] = str(call.body_size)
        return url.geturl(), {name: str(value) for name, value in headers.items()} | unsigned

    async def close(self) -> None:
        """End the threads and close the connections."""
        self._threads.shutdown(wait=True)
        self._http.clear()


async def _ended(
    submitted: "concurrent.futures.Future[_T]", future: "asyncio.Future[_T]", abort: Callable[[], None]
) -> None:
    """Make a thread end that nobody waits for any more, and wait: it still reads the caller's buffers."""
    if submitted.cancel():
        return
    if not submitted.done():
        abort()
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError as error:
            cancelled = error
    future.exception()  # seen, and of no more interest
    if cancelled is not None:
        raise cancelled


def checksum_headers(checksum: Checksum, body: Sequence[Buffer]) -> dict[str, str]:
    """The headers by which the backend verifies a body."""
    match checksum:
        case Checksum.CRC32C:
            value = 0
            for buffer in body:
                value = crc32c(buffer, value)
            return {"x-amz-checksum-crc32c": base64.b64encode(value.to_bytes(4, "big")).decode("ascii")}
        case Checksum.SHA256:
            return {"x-amz-content-sha256": _digest(hashlib.sha256(), body).hexdigest()}
        case Checksum.MD5:
            digest = _digest(hashlib.md5(usedforsecurity=False), body).digest()
            return {"Content-MD5": base64.b64encode(digest).decode("ascii")}


def _digest(digest: "hashlib._Hash", body: Sequence[Buffer]) -> "hashlib._Hash":
    for buffer in body:
        digest.update(buffer)
    return digest


def _slices(body: Sequence[Buffer]) -> Iterator[memoryview]:
    for buffer in body:
        view = memoryview(buffer)
        for start in range(0, len(view), SEND_BYTES):
            yield view[start : start + SEND_BYTES]


def _reason(error: Exception) -> str:
    """What broke, without addresses: the message of a transport error quotes the URL."""
    cause: BaseException = error
    while isinstance(cause, urllib3.exceptions.HTTPError) and (inner := cause.__cause__ or cause.__context__):
        cause = inner
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message})"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({cause.reason})"
    return f"{type(error).__name__} ({type(cause).__name__})"
