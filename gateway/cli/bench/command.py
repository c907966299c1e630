"""`sealgate bench`: large and small transfers and a listing, over TLS, beside what the machine could do at best."""

import contextlib
import secrets
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.bench.baselines import Baselines, measure_baselines
from gateway.cli.bench.load import Load, Sample
from gateway.cli.bench.target import Target, folder_beside, own_gateway, running_endpoint
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import print_answer, print_table, progress
from gateway.config import Settings
from gateway.wiring.folders import Folders

SMALL_BYTES: Final = 4096
PAGE_KEYS: Final = 1000
_GB: Final = 1e9
_BUSY: Final = 0.8
"""A process that uses this much of a core is what the others wait for."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is done."""

    large_bytes: int
    connections: int
    large_connections: int
    seconds: float
    pages: int


FULL: Final = Shape(512 * 1024**2, 16, 4, 8.0, 50)
QUICK: Final = Shape(64 * 1024**2, 16, 4, 1.5, 10)


@dataclass(frozen=True, slots=True)
class Result:
    """One row. `unit` is `MB/s` or `requests/s`; processor seconds are for each GB, or for 1,000 requests."""

    name: str
    rate: float
    unit: str
    p50_ms: float
    p99_ms: float
    gateway_cpu_s: float | None
    limit: str


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    *,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Measure a gateway that serves, instead of one of the bench's own."),
    ] = None,
    client_env: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Credentials for --endpoint. Default: client.env of the keys folder."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Some seconds instead of a minute, and rougher.")] = False,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Measure what this machine gives: large and small PUT and GET, a listing, and what limits them.

    Without --endpoint it starts a gateway of its own on loopback, in a temporary folder on the disk of the data folder,
    and removes it. With one it makes a bucket there and removes it. Objects of others are never touched.
    """
    settings = settings_of(data, keys, config)
    shape = QUICK if quick else FULL
    place = folder_beside(settings.data)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left behind
    with progress("measuring", _STEPS + 1) as advance:
        baselines = measure_baselines(place, shape.seconds / 8)
        advance()
        with _target(settings, place, endpoint, client_env) as target:
            results = measure(target, shape, advance)
    if as_json:
        answer = {"results": [asdict(result) for result in results], "baselines": asdict(baselines)}
        print_answer(answer, as_json=True)
        return
    _print(results, baselines)


@contextlib.contextmanager
def _target(settings: Settings, place: Path, endpoint: str | None, client_env: Path | None) -> Iterator[Target]:
    if endpoint is not None:
        yield running_endpoint(endpoint, client_env or Folders.of(settings).client_env)
    else:
        with own_gateway(settings, place) as target:
            yield target


_STEPS: Final = 7


def measure(target: Target, shape: Shape, advance: Callable[[], None]) -> list[Result]:
    """Run every measurement in a new bucket, which is removed whatever happens.

    Raises:
        CommandError: a request failed.
    """
    load = Load(target, f"sealgate-bench-{secrets.token_hex(6)}")
    large = [f"large-{number}" for number in range(shape.large_connections)]
    small = [f"small-{number:04}" for number in range(PAGE_KEYS)]
    load.once("PUT", load.url("create_bucket"))
    try:
        return list(_measurements(load, shape, large, small, advance))
    finally:
        if target.pid is None:  # what is in a gateway of our own goes with its folder
            load.run("DELETE", [load.url("delete_object", Key=key) for key in (*large, *small)], shape.connections)
            load.once("DELETE", load.url("delete_bucket"))


def _measurements(
    load: Load, shape: Shape, large: list[str], small: list[str], advance: Callable[[], None]
) -> Iterator[Result]:
    size, many = shape.large_bytes, shape.large_connections
    put = [load.url("put_object", Key=key) for key in large]
    get = [load.url("get_object", Key=key) for key in large]
    megabytes = f"of {size // 1024**2} MiB"
    for method, urls in (("PUT", put), ("GET", get)):
        for count in (1, many):
            sample = load.run(method, urls[:count], count, size=size if method == "PUT" else 0, units=size)
            yield _row(f"{method} {megabytes}, {_connections(count)}", sample, _GB, "MB/s")
            advance()
    count = shape.connections
    put = [load.url("put_object", Key=key) for key in small]
    load.run("PUT", put, count, size=SMALL_BYTES)
    for method, urls in (("PUT", put), ("GET", [load.url("get_object", Key=key) for key in small])):
        sent = SMALL_BYTES if method == "PUT" else 0
        sample = load.run(method, urls, count, size=sent, seconds=shape.seconds)
        yield _row(f"{method} of {SMALL_BYTES // 1024} KiB, {_connections(count)}", sample, 1000, "requests/s")
        advance()
    page = load.url("list_objects_v2", Prefix="small-", MaxKeys=PAGE_KEYS)
    sample = load.run("GET", [page] * shape.pages, 1)
    yield _row(f"list {PAGE_KEYS} keys, {_connections(1)}", sample, 1000, "requests/s")
    advance()


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"


def _row(name: str, sample: Sample, per: float, unit: str) -> Result:
    cpu_s = None if sample.gateway_cpu_s is None else sample.gateway_cpu_s / sample.units * per
    rate = sample.rate / 1e6 if unit == "MB/s" else sample.rate
    return Result(name, rate, unit, sample.percentile_ms(50), sample.percentile_ms(99), cpu_s, _limit(name, sample))


def _limit(name: str, sample: Sample) -> str:
    """What the rest waited for, as far as processor time tells."""
    if sample.client_cpu_s / sample.wall_s > _BUSY:
        return "this client"
    if sample.gateway_cpu_s is None:
        return ""
    if sample.gateway_cpu_s / sample.wall_s > _BUSY:
        return "the gateway's processor time"
    return "the disk, or other programs" if name.startswith("PUT") else "round trips, or other programs"


def _print(results: list[Result], baselines: Baselines) -> None:
    rows: list[tuple[str, ...]] = [("what", "rate", "p50 ms", "p99 ms", "gateway CPU", "limited by")]
    for result in results:
        per = "s/GB" if result.unit == "MB/s" else "s/1,000"
        cpu = "" if result.gateway_cpu_s is None else f"{result.gateway_cpu_s:.2f} {per}"
        shown = f"{result.rate:,.0f} {result.unit}", f"{result.p50_ms:,.1f}", f"{result.p99_ms:,.1f}"
        rows.append((result.name, *shown, cpu, result.limit))
    print_table(rows)
    typer.echo("")
    syncs = "could not be tried" if baselines.syncs is None else f"{baselines.syncs:,.0f}/s"
    best = {
        "disk sync (fdatasync of 4 KiB)": syncs,
        "AES-256-GCM, one core": f"{baselines.aes_gcm / _GB:.2f} GB/s",
        "MD5, one core (ETags; --etag opaque spares it)": f"{baselines.md5 / _GB:.2f} GB/s",
        "SHA-256, one core (signed payloads)": f"{baselines.sha256 / _GB:.2f} GB/s",
        "cores": str(baselines.cores),
    }
    print_table([("this machine at best", ""), *best.items()])
