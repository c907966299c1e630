"""One page of metrics for several processes, and how a worker's monitor listener comes by it."""

import asyncio
import json

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.http.admin_listener import AdminListener
from gateway.http.gathering import SupervisorTold, counts_of, gathered_page
from gateway.http.ports import Endpoint
from tests.gateway.http.edge import LOOPBACK, on_loop


def counted(by: float) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=True)
    Counter("seen", "Counted.", ["kind"], registry=registry).labels('a "b"\n').inc(by)
    Gauge("high", "Measured.", registry=registry).set(float("inf"))
    Histogram("long", "Spread.", buckets=(0.1, 1), registry=registry).observe(by)
    return registry


def test_a_page_holds_what_each_has_counted_under_its_number() -> None:
    registries = {1: counted(1), 2: counted(2)}
    sent = {number: json.loads(json.dumps(counts_of(registry))) for number, registry in registries.items()}
    page = gathered_page(sent, counted(3)).decode()
    found: dict[int, set[tuple[str, tuple[tuple[str, str], ...], float]]] = {1: set(), 2: set()}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = dict(sample.labels)
            worker = labels.pop("worker", None)
            if worker is not None and not sample.name.endswith("_created"):
                found[int(worker)].add((sample.name, tuple(labels.items()), sample.value))
    for number, registry in registries.items():
        alone = text_string_to_metric_families(generate_latest(registry).decode())
        assert found[number] == {
            (sample.name, tuple(sample.labels.items()), sample.value)
            for family in alone
            for sample in family.samples
            if not sample.name.endswith("_created")
        }


def test_a_family_that_one_alone_has_is_there() -> None:
    page = gathered_page({1: [], 2: counts_of(counted(1))}, CollectorRegistry()).decode()
    assert 'worker="2"' in page
    assert 'worker="1"' not in page


class _Fixed:
    def __init__(self, *, is_ready: bool, page: bytes) -> None:
        self._is_ready, self._page = is_ready, page

    async def is_ready(self) -> bool:
        return self._is_ready

    async def metrics(self) -> bytes:
        return self._page


@pytest.mark.parametrize("is_ready", [True, False])
def test_a_worker_tells_what_its_supervisor_does(*, is_ready: bool) -> None:
    page = b"line\r\n\r\n" * 100_000

    async def main() -> None:
        admin = AdminListener(_Fixed(is_ready=is_ready, page=page), LOOPBACK)
        told = SupervisorTold(await admin.start())
        assert await told.is_ready() is is_ready
        assert await told.metrics() == page
        admin.close()

    on_loop(main())


def test_without_a_supervisor_nobody_is_ready() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        told = SupervisorTold(Endpoint("127.0.0.1", port))
        assert not await told.is_ready()
        assert await told.metrics() == b""

    on_loop(main())
