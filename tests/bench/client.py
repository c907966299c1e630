"""The bulk client, a process of its own: GET or PUT over TLS connections that stand before the clock starts.

`python -m tests.bench.client METHOD HOST PORT CA_FILE SIZE TARGET...` opens one connection for each target and
prints a JSON line: wall seconds of the slowest connection, its own CPU seconds, and what TLS agreed on. It compares
nothing; the tests do.
"""

import json
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

BLOCK = bytes(range(256)) * 1024
"""256 KiB."""


def _connect(host: str, port: int, ca_file: Path) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=ca_file)
    raw = socket.create_connection(("127.0.0.1", port), timeout=120)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw, server_hostname=host)


def _head(connection: ssl.SSLSocket) -> tuple[int, int, int]:
    """Read an answer's head; return status, Content-Length and the count of body bytes that came with it."""
    held = b""
    while b"\r\n\r\n" not in held:
        piece = connection.recv(16384)
        if not piece:
            raise ConnectionError("closed before the answer")
        held += piece
    head, _, rest = held.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lengths = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
    return int(lines[0].split()[1]), lengths[0] if lengths else 0, len(rest)


def _get(connection: ssl.SSLSocket, host: str, target: str, size: int) -> None:
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    status, length, received = _head(connection)
    if status != 200 or length != size:
        raise ConnectionError(f"GET answered {status} with {length} bytes")
    held = memoryview(bytearray(len(BLOCK)))
    while received < size:
        count = connection.recv_into(held)
        if not count:
            raise ConnectionError("the body ended early")
        received += count


def _put(connection: ssl.SSLSocket, host: str, target: str, size: int) -> None:
    connection.sendall(f"PUT {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n".encode())
    for _ in range(size // len(BLOCK)):
        connection.sendall(BLOCK)
    status, _, _ = _head(connection)
    if status not in {200, 201, 204}:
        raise ConnectionError(f"PUT answered {status}")


def main() -> None:
    method, name, port, ca_file, size, *targets = sys.argv[1:]
    host = f"{name}:{port}"
    move = {"GET": _get, "PUT": _put}[method]
    connections = [_connect(name, int(port), Path(ca_file)) for _ in targets]
    failures: list[Exception] = []

    def run(connection: ssl.SSLSocket, target: str) -> None:
        try:
            move(connection, host, target, int(size))
        except (OSError, ValueError) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(connections, targets, strict=True)]
    began, cpu_began = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    if failures:
        sys.exit(f"{method} failed: {failures[0]}")
    agreed = " ".join(str(connections[0].cipher()[at]) for at in (1, 0))  # type: ignore[index]  # it is connected
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "tls": agreed}))


if __name__ == "__main__":
    main()
