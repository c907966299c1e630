"""Takes one sample of one side: wall time, CPU of the server's processes from /proc, CPU of the client.

CPU is the figure that survives a busy machine; rates are only ever compared within one run, side by side.
"""

import contextlib
import http.client
import json
import os
import resource
import ssl
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.sides import HOST, Side
from tests.tooling.places import ROOT

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_RUN_TIMEOUT_S: Final = 180
_SMALL_KEYS: Final = 12_000
SMALL_BYTES: Final = 4096

_LUA: Final = """
local targets = {}
for line in io.lines("%(targets)s") do targets[#targets + 1] = line end
local at, bytes, span = 0, %(object_bytes)d, %(range_bytes)d
math.randomseed(7)
function request()
  at = at %% #targets + 1
  local headers = nil
  if span > 0 then
    local first = math.random(0, bytes - span)
    headers = {Range = string.format("bytes=%%d-%%d", first, first + span - 1)}
  end
  return wrk.format("%(method)s", targets[at], headers, %(body)s)
end
function done(summary, latency, requests)
  local bad = summary.errors
  io.write(string.format('{"requests": %%d, "microseconds": %%d, "bad": %%d, "p50": %%f, "p99": %%f}\\n',
    summary.requests, summary.duration,
    bad.status + bad.connect + bad.read + bad.write + bad.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Sample:
    """One measurement. `units` are bytes for bulk, requests for small ones."""

    units: int
    seconds: float
    server_cpu_s: float
    client_cpu_s: float
    p99_ms: float = 0.0
    tls: str = ""
    """Version and cipher suite that a bulk client and the server agreed on."""

    @property
    def rate(self) -> float:
        """Units each second."""
        return self.units / self.seconds

    @property
    def cpu_per_unit(self) -> float:
        """CPU seconds of the server for one byte or request."""
        return self.server_cpu_s / self.units


def cpu_of(pids: Sequence[int]) -> float:
    """CPU seconds, user and system, of these processes and the children that they have waited for."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(fields[at]) for at in (11, 12, 13, 14))
    return total / _TICKS


def peak_rss_bytes(side: Side) -> int:
    """The sum of the processes' high-water marks."""
    total = 0
    for pid in side.pids():
        (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
        total += int(line.split()[1]) * 1024
    return total


def bulk(side: Side, method: str, size: int, keys: Sequence[str]) -> Sample:
    """Move one object of `size` bytes for every key, all at once, each over its connection.

    Raises: RuntimeError with what the client said.
    """
    targets = [side.target(method, key) for key in keys]
    command = [sys.executable, "-m", "tests.bench.client", method, HOST, str(side.port), str(side.ca_file), str(size)]
    before = cpu_of(side.pids())
    done = subprocess.run(
        [*command, *targets], cwd=ROOT, capture_output=True, text=True, timeout=_RUN_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{side.name}: {done.stderr.strip()}")
    told = json.loads(done.stdout)
    return Sample(size * len(keys), told["seconds"], cpu_of(side.pids()) - before, told["cpu_s"], tls=told["tls"])


class Load:
    """Many small requests from wrk; `start`, then `wait`."""

    def __init__(
        self,
        side: Side,
        folder: Path,
        method: str,
        keys: Sequence[str],
        *,
        seconds: int,
        connections: int,
        object_bytes: int = SMALL_BYTES,
        range_bytes: int = 0,
    ) -> None:
        self._side = side
        targets = folder / "targets.txt"
        targets.write_text("".join(side.target(method, key) + "\n" for key in keys))
        script = folder / "load.lua"
        body = f'string.rep("b", {object_bytes})' if method == "PUT" else "nil"
        script.write_text(
            _LUA
            % {
                "targets": targets,
                "method": method,
                "object_bytes": object_bytes,
                "range_bytes": range_bytes,
                "body": body,
            }
        )
        shape = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency"]
        self._command = ["wrk", *shape, "-s", str(script), f"https://{HOST}:{side.port}"]

    def start(self) -> None:
        self._server_before = cpu_of(self._side.pids())
        self._client_before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wait(self) -> Sample:
        """Raises: RuntimeError where an answer was not 2xx, or wrk failed."""
        output, _ = self._process.communicate(timeout=_RUN_TIMEOUT_S)
        server = cpu_of(self._side.pids()) - self._server_before
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        client = after.ru_utime + after.ru_stime - self._client_before.ru_utime - self._client_before.ru_stime
        told = json.loads(output.splitlines()[-1]) if "{" in output else None
        if told is None or told["bad"] or not told["requests"]:
            raise RuntimeError(f"{self._side.name}: wrk said\n{output}")
        return Sample(told["requests"], told["microseconds"] / 1e6, server, client, told["p99"] / 1000)


def small(side: Side, folder: Path, method: str, keys: Sequence[str], **shape: int) -> Sample:
    """One run of `Load`."""
    load = Load(side, folder, method, keys, **shape)
    load.start()
    return load.wait()


def bulk_beside_small(
    side: Side, folder: Path, method: str, size: int, key: str, small_keys: Sequence[str], *, seconds: int
) -> tuple[Sample, Sample]:
    """One bulk transfer in the middle of small GETs over 64 connections; returns both samples.

    The server's CPU cannot be told apart and stands in both.
    """
    load = Load(side, folder, "GET", small_keys, seconds=seconds, connections=64)
    load.start()
    threading.Event().wait(0.3)
    moved = bulk(side, method, size, [key])
    return moved, load.wait()


def put_once(side: Side, key: str, body: bytes) -> None:
    """Put one small object. Raises: RuntimeError."""
    context = ssl.create_default_context(cafile=side.ca_file)
    connection = http.client.HTTPSConnection(HOST, side.port, timeout=30, context=context)
    with contextlib.closing(connection):
        connection.request("PUT", side.target("PUT", key), body)
        status = connection.getresponse().status
    if status >= 300:
        raise RuntimeError(f"{side.name}: PUT answered {status}")
