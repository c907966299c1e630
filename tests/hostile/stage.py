"""The stage of the hostile suite: one real gateway, two accounts, what must not change, and how answers are judged.

Every row of the tables is a request built by hand and sent over TLS; `Stage.refuses` judges its answer and then looks
at all that both accounts can see, and at every file of the blob store. Source: the project's list of hostile inputs.
"""

import contextlib
import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from typing import Final
from xml.etree import ElementTree as ET

from tests.blackbox.blobs import Shelf
from tests.blackbox.process import Gateway
from tests.hostile.signing import Pairs, Shot, Signer

TIMEOUT_S: Final = 20
SETTLE_S: Final = 10
NAMED_5XX: Final = frozenset({501, 503})
"""The only answers of this class that a request alone may bring about."""
BIG: Final = bytes(range(256)) * 200
"""51,200 bytes: more than rests in the catalogue, so that it is a blob file."""
_NAMESPACE: Final = re.compile(r"\{[^}]*\}")

Picture = tuple[tuple[str, bytes], ...]
Pulse = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Answer:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    closes: bool
    """Whether the server said that it closes the connection."""

    def xml(self) -> ET.Element:
        return ET.fromstring(self.body)  # noqa: S314  # of our own gateway; that it is well-formed is what is tested

    def text(self, name: str) -> str:
        """Text of the first element of that name."""
        for element in self.xml().iter():
            if _NAMESPACE.sub("", element.tag) == name:
                return element.text or ""
        raise AssertionError(f"no {name} in {self.body!r}")


@dataclass(frozen=True)
class Row:
    """One scenario: a request, and the refusal that it must meet."""

    make: Callable[["Stage"], Shot]
    status: int
    code: str
    says: str = ""
    """A word that the message or a field must hold."""
    closes: bool = False


@dataclass
class Stage:
    """The gateway with what lies in it. `mallory` attacks with an account of her own."""

    gateway: Gateway
    shelf: Shelf
    alice: Signer
    mallory: Signer
    ids: dict[str, str] = field(default_factory=dict)
    """Upload ids and tokens, by a name."""
    is_all_files: bool = True
    """Whether catalogue and blobs are files in the gateway's folder."""
    before: Picture = ()
    beat: Pulse = field(default_factory=dict)

    # Talking

    @contextlib.contextmanager
    def connected(self, server_hostname: str = "localhost") -> Iterator[ssl.SSLSocket]:
        raw = socket.create_connection(("127.0.0.1", self.gateway.port), timeout=TIMEOUT_S)
        with raw, self.gateway.tls_context().wrap_socket(raw, server_hostname=server_hostname) as secure:
            yield secure

    def send(self, shot: Shot) -> Answer:
        """Send a request on a connection of its own and read the answer."""
        return self.send_raw(shot.wire(), shot.method)

    def send_raw(self, wire: bytes, method: str = "GET", *, then_close: bool = False) -> Answer:
        """Send bytes; a server that answers before it has read them all may close meanwhile."""
        with self.connected() as secure:
            try:
                secure.sendall(wire)
                if then_close:
                    secure.unwrap().close()
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                pass
            return read_answer(secure, method)

    def admin(self, target: str, headers: Pairs = (), method: str = "GET") -> Answer:
        """Ask the admin listener, in the clear."""
        shot = Shot(method, target, headers or [("Host", "localhost")])
        with socket.create_connection(("127.0.0.1", self.gateway.admin_port), timeout=TIMEOUT_S) as plain:
            plain.sendall(shot.wire())
            return read_answer(plain, method)

    # Looking

    def picture(self) -> Picture:
        """All that both accounts can see, and the blob files: what must be the same before and after."""
        seen: list[tuple[str, bytes]] = []
        with self.connected() as secure:
            for who in (self.alice, self.mallory):
                buckets = _ask(secure, who.header("GET", "/"))
                seen.append((f"{who.access_key_id} /", _lasting(buckets)))
                names = [element.text or "" for element in buckets.xml().iter() if element.tag.endswith("}Name")]
                for name in names:
                    for query in ("list-type=2&fetch-owner=true", "uploads="):
                        target = f"/{name}?{query}"
                        seen.append((target, _lasting(_ask(secure, who.header("GET", target)))))
            for who, name in ((self.alice, "alice"), (self.mallory, "mallory")):
                parts = f"/{name}-1/{name}-upload?uploadId={self.ids[name]}"
                seen.append((parts, _lasting(_ask(secure, who.header("GET", parts)))))
        return (*seen, ("blobs", self.blobs().encode()))

    def pulse(self) -> Pulse:
        """A look that costs little: size and time of every file that holds data. The index of the WAL holds none.

        Where catalogue or blobs are no files of the gateway's it does not show all.
        """
        found = {}
        for folder, _, names in os.walk(self.gateway.data):
            for name in names:
                if not name.endswith("-shm"):
                    with contextlib.suppress(FileNotFoundError):  # a temporary file may go meanwhile
                        told = Path(folder, name).stat()
                        found[f"{folder}/{name}"] = (told.st_size, told.st_mtime_ns)
        return found

    def blobs(self) -> str:
        """All that rests in the store, unfinished things too, but for what the journal writes in its own time."""
        return "\n".join(self.shelf.names())

    def settle(self) -> None:
        """Take what is there now as what must stay."""
        self.before, self.beat = self.picture(), self.pulse()

    def unchanged(self) -> None:
        """Nothing was stored or changed. Where no file of all was touched, nothing more need be looked at."""
        if not self.is_all_files or self.pulse() != self.beat:
            self.same_picture()
            self.beat = self.pulse()

    def same_picture(self) -> None:
        """Look at all that there is; temporary files may take a moment to go."""
        deadline = time.monotonic() + SETTLE_S
        after = self.picture()
        while after != self.before and time.monotonic() < deadline:
            time.sleep(0.1)
            after = self.picture()
        changes = [(new, old) for new, old in zip(after, self.before, strict=False) if new != old]
        before, self.before = self.before, after
        assert after == before, f"the request changed what is there: {changes}"

    def gone(self, who: Signer, *targets: str) -> None:
        """Delete what a test stored on purpose, and see that all is as it was; the blobs rest for an hour."""
        for target in targets:
            answer = self.send(who.header("DELETE", target))
            assert answer.status == http.HTTPStatus.NO_CONTENT, answer
        after = self.picture()
        assert after[:-1] == self.before[:-1]
        self.before, self.beat = after, self.pulse()

    # Judging

    def refuses(self, row: Row) -> Answer:
        """Send, judge the refusal, and see that nothing has changed."""
        shot = row.make(self)
        answer = self.send(shot)
        is_refusal(answer, row.status, row.code, head=shot.method == "HEAD")
        if row.says:
            assert row.says in answer.body.decode(), answer.body
        if row.closes:
            assert answer.closes
        self.unchanged()
        return answer


def is_refusal(answer: Answer, status: int, code: str, *, head: bool = False) -> None:
    """Judge status, code and the form of an error."""
    assert answer.status == status, (answer.status, answer.body)
    request_id = answer.headers["x-amz-request-id"]
    assert re.fullmatch(r"[0-9A-F]{16}", request_id)
    if head or status == http.HTTPStatus.NOT_MODIFIED:
        assert answer.body == b""
        return
    assert answer.headers["content-type"].startswith("application/xml")
    root = answer.xml()
    assert root.tag == "Error"
    assert [element.text for element in root.iter("Code")] == [code], answer.body
    assert [element.text for element in root.iter("RequestId")] == [request_id]
    assert root.findtext("Message")


def read_answer(secure: socket.socket, method: str = "GET") -> Answer:
    """Read one answer to its end."""
    response = http.client.HTTPResponse(secure, method=method)
    try:
        response.begin()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body, headers.get("connection", "").lower() == "close")
    finally:
        response.close()


def _ask(secure: ssl.SSLSocket, shot: Shot) -> Answer:
    secure.sendall(shot.wire())
    answer = read_answer(secure, shot.method)
    assert answer.status == http.HTTPStatus.OK, (shot.target, answer)
    return answer


def _lasting(answer: Answer) -> bytes:
    return re.sub(rb"<RequestId>[^<]*</RequestId>", b"", answer.body)


def cpu(stage: Stage) -> float:
    """Seconds of CPU that the gateway has used; ticks are 10 ms."""
    fields = Path(f"/proc/{stage.gateway.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@contextlib.contextmanager
def listening() -> Iterator[tuple[int, list[str]]]:
    """A port that notes whoever connects."""
    callers: list[str] = []

    class Note(BaseRequestHandler):
        def handle(self) -> None:
            callers.append(str(self.client_address))

    with TCPServer(("127.0.0.1", 0), Note) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1], callers
        finally:
            server.shutdown()
            thread.join()
