"""An HTTPS server of our own, in threads of the test: the ground under doubles of a KMS and under fault proxies."""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.pki import Authority


@dataclass(frozen=True)
class Request:
    """What came: `path` with its query, header names in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Pace = Callable[[bytes], Iterable[bytes]]
"""What of an answer's bytes, head and body, is sent, and when: pieces, which may come late or end early."""


def at_once(answer: bytes) -> Iterable[bytes]:
    """The whole answer."""
    return (answer,)


@dataclass(frozen=True)
class Answer:
    """What goes back. Headers may state another Content-Length than the body's."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pace: Pace = at_once
    """Where it ends early, the connection is closed."""


def _encoded(answer: Answer) -> bytes:
    reason = http.client.responses.get(answer.status, "Unknown")
    told = {"content-length": str(len(answer.body))}
    told |= {name.lower(): value for name, value in answer.headers.items()}
    lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body


def _sent(out: BufferedIOBase, answer: Answer) -> bool:
    """Send an answer at its pace; tell whether that was all of it."""
    raw, sent = _encoded(answer), 0
    for piece in answer.pace(raw):
        out.write(piece)
        sent += len(piece)
    return sent == len(raw)


def _take_all(_request: Request) -> None:
    """Read every body at once."""


class HttpsDouble:
    """Answers every request by `answer`, which may block; stands inside a `with`."""

    def __init__(self, folder: Path, answer: Callable[[Request], Answer], authority: Authority | None = None) -> None:
        self.authority = authority or Authority(folder, "double-ca")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.show_certificate(*self.authority.server("double"))
        self.requests: list[Request] = []
        self.before_body: Callable[[Request], None] = _take_all
        """Called with the head of a request, before its body is read; may block."""
        self.answer = answer
        self._connections: set[ssl.SSLSocket] = set()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (OSError, ValueError):  # a client that went away
                    self.close_connection = True

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                headers = {name.lower(): value for name, value in self.headers.items()}
                double.before_body(Request(self.command, self.path, headers, b""))
                request = Request(self.command, self.path, headers, self.rfile.read(length))
                double.requests.append(request)
                answer = double.answer(request)
                if not _sent(self.wfile, answer):
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the names belong to http.server

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

            def finish_request(self, request: Any, client_address: Any) -> None:
                try:
                    wrapped = double._context.wrap_socket(request, server_side=True)
                except (OSError, ssl.SSLError):  # a client that does not trust us, or that we do not
                    return
                with wrapped:
                    double._connections.add(wrapped)
                    Handler(wrapped, client_address, self)
                    double._connections.discard(wrapped)

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.address = f"https://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def show_certificate(self, certificate: Path, key: Path) -> None:
        """What new connections are shown from now on."""
        self._context.load_cert_chain(certificate, key)

    def demand_certificate(self, authority: Authority) -> None:
        """From now on new connections are refused without a client certificate of that authority."""
        self._context.load_verify_locations(authority.certificate)
        self._context.verify_mode = ssl.CERT_REQUIRED

    def drop_connections(self) -> None:
        """End those that stand, so that the next call makes its own."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
