"""A fake S3 over TLS that lists objects and then lies about them, a lie for each key; no real server would."""

import hashlib
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from gateway.cli.pki import TlsFiles, make_certificates

BODY: Final = b"the body of an object " * 1000
LARGE: Final = b"a large object " * 200_000
"""More than is read in one go."""
_TIME: Final = "2026-01-01T00:00:00.000Z"


@dataclass
class Lying:
    """What a server says and does; `listed` are the keys."""

    url: str = ""
    ca_file: Path = Path()
    credentials: Path = Path()
    listed: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    elsewhere: str = ""
    """Where a redirect points to."""
    is_down: bool = False
    """Whether every object is gone for now."""
    listing: bytes | None = None
    """Stands for the list."""
    lists_slowly: bool = False
    """Whether of the list a byte comes now and then."""
    is_over: threading.Event = field(default_factory=threading.Event)
    """Ends what drips."""

    @property
    def place(self) -> dict[str, Any]:
        return {"endpoint": self.url, "ca_file": str(self.ca_file), "credentials": str(self.credentials)}


def _etag(body: bytes = BODY) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


_TOLD: Final = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": f'"{_etag()}"'}
_PARTS: Final = f"{'1' * 32}-2"
_NO_SUCH_KEY: Final = b"<Error><Code>NoSuchKey</Code></Error>"
_IN_PARTS: Final = {"ETag": f'"{_PARTS}"', "x-amz-mp-parts-count": "2"}
PART: Final = BODY * 300


@dataclass(frozen=True)
class _Answer:
    """What is said for a key; without a length that of the body."""

    body: bytes = BODY
    status: int = 200
    length: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drips: bool = False
    """Whether a byte of it comes now and then."""
    lacks: tuple[str, ...] = ()
    """Headers that every S3 sends."""


_ANSWERS: Final = {
    "wrong-bytes": _Answer(BODY[:-1] + b"!"),
    "short": _Answer(BODY[:-7]),
    "long": _Answer(BODY + b"more"),
    "cut": _Answer(BODY[:5000], length=len(BODY)),
    "changed": _Answer(headers={"ETag": f'"{"0" * 32}"'}),
    "error": _Answer(b"<Error><Code>InternalError</Code></Error>"),
    "metadata": _Answer(headers={"x-amz-meta-much": "x" * 5000}),
    "kms": _Answer(BODY[::-1], headers={"x-amz-server-side-encryption": "aws:kms"}),
    "sse-c": _Answer(b"", 400),
    "busy": _Answer(b"", 503),
    "gone": _Answer(_NO_SUCH_KEY, 404),
    "redirect": _Answer(b"", 307),
    "large": _Answer(LARGE, headers={"ETag": f'"{_etag(LARGE)}"'}),
    "drip": _Answer(drips=True),
    "parts": _Answer(PART, 206, headers=_IN_PARTS),
    "lengthless": _Answer(lacks=("Content-Length",)),
    "tagging": _Answer(b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>"),
    "tagged": _Answer(headers={"x-amz-tagging-count": "1"}),
}


def _handler(lying: Lying) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
            del format, args

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            lying.requests.append(self.path)
            url = urlsplit(self.path)
            if lying.is_down:
                self._answer(_Answer(b"", 404))
            elif "list-type" in parse_qs(url.query):
                self._answer(
                    _Answer(
                        lying.listing or _list(lying.listed),
                        headers={"Content-Type": "application/xml"},
                        drips=lying.lists_slowly,
                    )
                )
            else:
                asked = "tagging" if url.query == "tagging" else url.path.removeprefix("/source/")
                self._answer(_ANSWERS.get(asked, _Answer()))

        def _answer(self, answer: _Answer) -> None:
            self.send_response(answer.status)
            length = len(answer.body) if answer.length is None else answer.length
            told = {**_TOLD, **answer.headers, "Content-Length": str(length)}
            if answer.status == 307:
                told["Location"] = f"{lying.elsewhere}/source/redirect"
            for name in told.keys() - answer.lacks:
                self.send_header(name, told[name])
            self.end_headers()
            if self.command != "HEAD":
                _send(self.wfile, answer, lying.is_over)
            self.wfile.flush()
            self.close_connection = answer.drips or answer.length is not None or bool(answer.lacks)

    return Handler


def _send(file: BufferedIOBase, answer: _Answer, is_over: threading.Event) -> None:
    if not answer.drips:
        file.write(answer.body)
        return
    for byte in answer.body:
        try:
            file.write(bytes((byte,)))
        except OSError:  # whoever asked has gone
            return
        if is_over.wait(0.01):
            return


def _list(keys: list[str]) -> bytes:
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>{_TIME}</LastModified><ETag>&quot;{_listed_etag(key)}&quot;</ETag>"
        f"<Size>{2 * len(PART) if key == 'parts' else len(BODY)}</Size></Contents>"
        for key in keys
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()


def _listed_etag(key: str) -> str:
    return _PARTS if key == "parts" else _etag()


@contextmanager
def lying_server(folder: Path) -> Iterator[Lying]:
    files = TlsFiles(folder / "tls")
    make_certificates(files, ("localhost", "127.0.0.1"), datetime.now(UTC))
    credentials = folder / "credentials"
    credentials.write_text("[default]\naws_access_key_id = AKID\naws_secret_access_key = SECRET\n")
    credentials.chmod(0o600)
    lying = Lying(ca_file=files.ca_certificate, credentials=credentials)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(lying))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    lying.url = f"https://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield lying
    finally:
        lying.is_over.set()
        server.shutdown()
        server.server_close()
        thread.join()
