"""An S3 server behind a liar: `S3FaultProxy`, a double of ours, passes requests on over TLS but for what a test sets.

What it changes lies between two real ends: the store under test in front, SeaweedFS or MinIO behind. Signatures cover
the host that the client named, and servers verify them by the header that they are given; so nothing is signed anew.
"""

import http.client
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from tests.servers.https_double import Answer, HttpsDouble, Pace, Request
from tests.servers.s3_servers import S3Server

_PASSED_ON: Final = frozenset({"connection", "date", "keep-alive", "transfer-encoding"})
"""Headers of the server's answer that are of its connection."""
_TIMEOUT_S: Final = 30

Forward = Callable[[Request], Answer]
Act = Callable[[Request, Forward], Answer]


def kind_of(request: Request) -> str:
    """What a request of the store is for, in one word."""
    parts = urlsplit(request.path)
    query = parse_qs(parts.query, keep_blank_values=True)
    for name in ("uploads", "versions", "retention", "versioning", "object-lock"):
        if name in query:
            return {"GET": f"ask {name}", "POST": "begin", "PUT": f"put {name}"}[request.method]
    if "uploadId" in query:
        return {"PUT": "part", "POST": "complete", "DELETE": "abort"}[request.method]
    return "list" if "list-type" in query else request.method.lower()


@dataclass
class Fault:
    """What is done to requests of one kind, the first `times` of them."""

    kind: str
    act: Act
    times: int = 1


class S3FaultProxy:
    """Stands inside a `with`; passes everything on until `on` names a fault."""

    def __init__(self, folder: Path, server: S3Server) -> None:
        self._server = server
        self._trust = ssl.create_default_context(cafile=str(server.authority.certificate))
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.double = HttpsDouble(folder, self._answer)

    @property
    def endpoint(self) -> str:
        """Where it speaks S3."""
        return self.double.address

    def on(self, kind: str, act: Act, times: int = 1) -> None:
        """Do that to the next so many requests of that kind."""
        with self._lock:
            self._faults.append(Fault(kind, act, times))

    def reset(self) -> None:
        """Pass everything on again, and forget what came."""
        with self._lock:
            self._faults.clear()
        self.double.requests.clear()
        self.double.before_body = lambda _: None

    def seen(self, kind: str) -> list[Request]:
        """The requests of that kind since the last reset."""
        return [request for request in list(self.double.requests) if kind_of(request) == kind]

    def _answer(self, request: Request) -> Answer:
        act: Act | None = None
        with self._lock:
            for fault in self._faults:
                if fault.times and fault.kind == kind_of(request):
                    fault.times -= 1
                    act = fault.act
                    break
        return self._forward(request) if act is None else act(request, self._forward)

    def _forward(self, request: Request) -> Answer:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._server.port, timeout=_TIMEOUT_S, context=self._trust
        )
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders(request.body)
            given = connection.getresponse()
            headers = {name.lower(): value for name, value in given.getheaders() if name.lower() not in _PASSED_ON}
            return Answer(given.status, given.read(), headers)
        finally:
            connection.close()

    def __enter__(self) -> Self:
        self.double.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.double.__exit__(kind, error, trace)


def refused(status: int, code: str, **headers: str) -> Act:
    """Answer with an error and pass nothing on."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>as the test asked for</Message></Error>'.encode()
    told = {"content-type": "application/xml"} | headers
    return lambda _request, _forward: Answer(status, body, told)


def after(act: Act) -> Act:
    """Pass the request on, and answer as if it had been refused: it took effect all the same."""

    def acted(request: Request, forward: Forward) -> Answer:
        forward(request)
        return act(request, forward)

    return acted


def lost(request: Request, forward: Forward) -> Answer:
    """Pass on, and close the connection instead of answering."""
    return replace(forward(request), pace=cut(0))


def broken(_request: Request, _forward: Forward) -> Answer:
    """Close the connection; nothing was passed on."""
    return Answer(500, pace=cut(0))


def changed_on_the_way_in(change: Callable[[bytes], bytes]) -> Act:
    """Pass on another body than came."""
    return lambda request, forward: forward(replace(request, body=change(request.body)))


def changed_on_the_way_out(change: Callable[[Answer], Answer]) -> Act:
    """Answer something else than the server did."""
    return lambda request, forward: change(forward(request))


def late(delay_s: float) -> Act:
    """Pass on after a while."""

    def acted(request: Request, forward: Forward) -> Answer:
        time.sleep(delay_s)
        return forward(request)

    return acted


def late_answer(delay_s: float) -> Act:
    """Pass on at once, and answer after a while."""

    def acted(request: Request, forward: Forward) -> Answer:
        answer = forward(request)
        time.sleep(delay_s)
        return answer

    return acted


def paced(pace: Pace) -> Act:
    """Answer what the server does, at another pace."""
    return lambda request, forward: replace(forward(request), pace=pace)


def cut(size: int) -> Pace:
    """So many bytes of an answer, then the end."""
    return lambda answer: (answer[:size],)


def cut_in_the_body(share: float = 0.5) -> Pace:
    """The head, a share of the body, then the end."""

    def pace(answer: bytes) -> Iterable[bytes]:
        head = answer.index(b"\r\n\r\n") + 4
        return (answer[: head + int((len(answer) - head) * share)],)

    return pace


def silent_after(size: int, released: threading.Event) -> Pace:
    """So many bytes, then nothing until the test is over."""

    def pace(answer: bytes) -> Iterator[bytes]:
        yield answer[:size]
        released.wait(60)

    return pace


def dripping(pause_s: float, released: threading.Event, head: bool = True) -> Pace:
    """One byte at a time: never silent for long, and never done. `head`: from the first byte on, else in the body."""

    def pace(answer: bytes) -> Iterator[bytes]:
        start = 0 if head else answer.index(b"\r\n\r\n") + 4
        yield answer[:start]
        for at in range(start, len(answer)):
            if released.wait(pause_s):
                return
            yield answer[at : at + 1]

    return pace
