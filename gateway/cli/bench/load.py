"""The load: threads that each hold one TLS connection and send requests presigned by boto3 before the clock starts."""

import http.client
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from gateway.cli.bench.target import Target
from gateway.cli.client_env import ClientEnv
from gateway.cli.exits import CommandError, Exit

BLOCK_BYTES: Final = 256 * 1024
_TIMEOUT_S: Final = 120
_EXPIRES_S: Final = 12 * 3600


@dataclass(frozen=True, slots=True)
class Sample:
    """What a stretch of requests came to. `units` are bytes of large objects, requests else."""

    units: int
    wall_s: float
    times_s: tuple[float, ...]
    """Of each request, sorted."""
    gateway_cpu_s: float | None
    client_cpu_s: float

    @property
    def rate(self) -> float:
        """Units each second."""
        return self.units / self.wall_s

    def percentile_ms(self, percent: int) -> float:
        """The time within which so many of a hundred requests were answered."""
        at = min(len(self.times_s) - 1, len(self.times_s) * percent // 100)
        return self.times_s[at] * 1000


class _Clock:
    """What is read before and after a stretch."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.began_s = 0.0

    def start(self) -> None:
        self._gateway_s, self._client_s = self._target.cpu_s(), time.process_time()
        self.began_s = time.perf_counter()

    def stop(self, units: int, times: list[float]) -> Sample:
        wall_s, used_s = time.perf_counter() - self.began_s, self._target.cpu_s()
        cpu_s = None if used_s is None or self._gateway_s is None else used_s - self._gateway_s
        return Sample(units, wall_s, tuple(sorted(times)), cpu_s, time.process_time() - self._client_s)


class Load:
    """Requests to one bucket of one target."""

    def __init__(self, target: Target, bucket: str) -> None:
        self._target = target
        self._env: ClientEnv = target.env
        self.bucket = bucket
        self._presigner: Any = boto3.client(
            "s3",
            endpoint_url=self._env.endpoint_url,
            region_name=self._env.region,
            aws_access_key_id=self._env.access_key_id,
            aws_secret_access_key=self._env.secret_access_key,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )
        self._context = ssl.create_default_context(
            cafile=str(self._env.ca_certificate) if self._env.is_private_ca else None
        )
        self._block = secrets.token_bytes(BLOCK_BYTES)

    def url(self, operation: str, **arguments: Any) -> str:
        """The presigned path and query of a request."""
        parameters = {"Bucket": self.bucket, **arguments}
        signed = urlsplit(self._presigner.generate_presigned_url(operation, parameters, ExpiresIn=_EXPIRES_S))
        return f"{signed.path}?{signed.query}"

    def connect(self) -> http.client.HTTPSConnection:
        """A connection that has not been opened yet."""
        place = urlsplit(self._env.endpoint_url)
        return http.client.HTTPSConnection(
            place.hostname or "", place.port or 443, timeout=_TIMEOUT_S, context=self._context
        )

    def send(self, connection: http.client.HTTPSConnection, method: str, url: str, size: int = 0) -> bytes:
        """Send one request with `size` bytes, read its answer to the end, and give its start.

        Raises:
            CommandError: it was refused. OSError: the connection broke.
        """
        headers = {"Content-Length": str(size)} if method == "PUT" else {}
        connection.request(method, url, body=self._blocks(size) if size else None, headers=headers)
        answer = connection.getresponse()
        start = answer.read(BLOCK_BYTES)
        held = memoryview(bytearray(BLOCK_BYTES))
        while answer.readinto(held):
            pass
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            code = start.partition(b"<Code>")[2].partition(b"</Code>")[0].decode("ascii", "replace")
            raise CommandError(f"{method} was answered by {answer.status} {code}: see the gateway's log", Exit.REFUSED)
        return start

    def _blocks(self, size: int) -> Iterator[bytes]:
        whole, rest = divmod(size, BLOCK_BYTES)
        for _ in range(whole):
            yield self._block
        if rest:
            yield self._block[:rest]

    def once(self, method: str, url: str, size: int = 0) -> bytes:
        """One request over a connection of its own. Raises: CommandError."""
        connection = self.connect()
        try:
            return self.send(connection, method, url, size)
        except OSError as error:
            raise _unreachable(error) from None
        finally:
            connection.close()

    def run(
        self, method: str, urls: Sequence[str], connections: int, *, size: int = 0, seconds: float = 0, units: int = 1
    ) -> Sample:
        """Send to all `urls` over so many connections, once each, or round and round for some seconds.

        Raises:
            CommandError: a request failed.
        """
        times: list[float] = []
        failures: list[Exception] = []
        clock = _Clock(self._target)
        ready = threading.Barrier(connections + 1, action=clock.start)  # the clock starts once every connection stands

        def work(own: Sequence[str]) -> None:
            connection = self.connect()
            try:
                connection.connect()
                ready.wait()
                self._loop(connection, method, own, size, times.append, clock.began_s + seconds if seconds else None)
            except (CommandError, OSError, http.client.HTTPException) as failure:
                failures.append(failure)
                ready.abort()
            except threading.BrokenBarrierError:
                pass  # another could not connect, and says so
            finally:
                connection.close()

        # Daemons, so that who is told to stop need not wait for them.
        threads = [
            threading.Thread(target=work, args=(urls[at::connections],), daemon=True) for at in range(connections)
        ]
        for thread in threads:
            thread.start()
        with suppress(threading.BrokenBarrierError):
            ready.wait(_TIMEOUT_S)
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0] if isinstance(failures[0], CommandError) else _unreachable(failures[0])
        return clock.stop(units * len(times), times)

    def _loop(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        urls: Sequence[str],
        size: int,
        note: Callable[[float], None],
        until: float | None,
    ) -> None:
        while True:
            for url in urls:
                begun = time.perf_counter()
                if until is not None and begun >= until:
                    return
                self.send(connection, method, url, size)
                note(time.perf_counter() - begun)
            if until is None:
                return


def _unreachable(error: Exception) -> CommandError:
    return CommandError(
        f"the endpoint broke off ({type(error).__name__}: {error}): is it up, and its CA right?", Exit.BUSY
    )
