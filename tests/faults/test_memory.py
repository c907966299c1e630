"""Memory of the real process: one huge object there and back, and many streams at once, stalled where it costs most.

DESIGN part 7, FAULTS G10: 5 GiB grow the resident set by at most 64 MiB, 32 streams stay under 256 MiB in all. The
short form carries 1 GiB. The client sends and compares one block over and over, so that it costs little itself.
"""

import contextlib
import http.client
import random
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

import pytest

from tests.blackbox.clients import MIB, s3_client
from tests.blackbox.process import Gateway

BUCKET: Final = "memory"
GIB: Final = 1024 * MIB
BLOCK: Final = random.Random(5).randbytes(MIB)
MAX_GROWTH: Final = 64 * MIB
MAX_TOTAL: Final = 256 * MIB
STREAMS: Final = 32
STREAM_BLOCKS: Final = 48
STALL_AFTER_BLOCKS: Final = 12
_SAMPLE_S: Final = 0.01
_SETTLED_S: Final = 1.0


class Resident:
    """Samples the resident set of a process; the peak is of the samples."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.peak = 0

    def now(self) -> int:
        """Bytes resident now."""
        (line,) = [line for line in self._status.read_text().splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) * 1024

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            self.peak = max(self.peak, self.now())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


class Client:
    """Presigned requests over connections of their own."""

    def __init__(self, gateway: Gateway, s3: Any) -> None:
        self._gateway = gateway
        self._s3 = s3
        self._context = gateway.tls_context()

    def connect(self, operation: str, key: str) -> tuple[http.client.HTTPSConnection, str]:
        """Return a connection and the target of a presigned request."""
        parameters = {"Bucket": BUCKET, "Key": key}
        url = urllib.parse.urlsplit(self._s3.generate_presigned_url(operation, Params=parameters))
        connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=60, context=self._context)
        return connection, f"{url.path}?{url.query}"

    def put(self, key: str, blocks: int, stall: "Stall | None" = None) -> None:
        """Send an object of that many blocks."""
        connection, target = self.connect("put_object", key)
        with contextlib.closing(connection):
            connection.putrequest("PUT", target)
            connection.putheader("Content-Length", str(blocks * len(BLOCK)))
            connection.endheaders()
            for sent in range(blocks):
                if stall is not None and sent == STALL_AFTER_BLOCKS:
                    stall.wait()
                connection.send(BLOCK)
            assert connection.getresponse().status == 200

    def get(self, key: str, blocks: int, stall: "Stall | None" = None) -> None:
        """Read an object of that many blocks and compare each."""
        connection, target = self.connect("get_object", key)
        with contextlib.closing(connection):
            connection.request("GET", target)
            answer = connection.getresponse()
            assert answer.status == 200
            if stall is not None:
                stall.wait()
            held = memoryview(bytearray(len(BLOCK)))
            for _ in range(blocks):
                filled = 0
                while filled < len(held):
                    count = answer.readinto(held[filled:])
                    assert count > 0, "the body ended early"
                    filled += count
                assert held == BLOCK
            assert answer.read() == b""


class Stall:
    """A point at which every stream waits until all have come and the process has had time to buffer."""

    def __init__(self, count: int) -> None:
        self._barrier = threading.Barrier(count, action=lambda: time.sleep(_SETTLED_S))

    def wait(self) -> None:
        self._barrier.wait(60)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    # The log level of production: at debug every request would log as it goes.
    deployment = Gateway(tmp_path, {"SEALGATE_LOG_LEVEL": "info"})
    deployment.start()
    yield deployment
    deployment.close()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    s3 = s3_client(gateway)
    s3.create_bucket(Bucket=BUCKET)
    client = Client(gateway, s3)
    # What is imported, made and cached once is no growth.
    client.put("warm", 16)
    client.get("warm", 16)
    yield client
    s3.close()


def test_a_huge_object_grows_nothing(gateway: Gateway, client: Client, full: bool) -> None:
    blocks = (5 if full else 1) * GIB // len(BLOCK)
    peaks = {}
    for name, move in (("PUT", client.put), ("GET", client.get)):
        with Resident(gateway.pid) as resident:
            before = resident.now()
            began = time.monotonic()
            move("huge", blocks)
            seconds = time.monotonic() - began
        peaks[name] = resident.peak - before
        print(
            f"{name} of {blocks * len(BLOCK) // MIB} MiB in {seconds:.1f} s: from {before // MIB} MiB, "
            f"grew by {peaks[name] // MIB} MiB"
        )
    assert max(peaks.values()) <= MAX_GROWTH


@pytest.mark.parametrize("operation", ["PUT", "GET"])
def test_32_streams_stay_small(gateway: Gateway, client: Client, operation: str) -> None:
    client.put("shared", STREAM_BLOCKS)
    stall = Stall(STREAMS)

    def stream(number: int) -> None:
        if operation == "PUT":
            client.put(f"stream/{number}", STREAM_BLOCKS, stall)
        else:
            client.get("shared", STREAM_BLOCKS, stall)

    with Resident(gateway.pid) as resident, ThreadPoolExecutor(STREAMS) as pool:
        began = time.monotonic()
        list(pool.map(stream, range(STREAMS)))
        seconds = time.monotonic() - began
    print(f"{STREAMS} streams of {operation} in {seconds:.1f} s: peak {resident.peak // MIB} MiB")
    assert resident.peak < MAX_TOTAL
