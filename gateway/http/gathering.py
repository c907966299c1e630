"""One page of metrics for several processes: each series with the number of the worker that counted it.

A sum would hide a worker that stands still, and jump whenever one is replaced; Prometheus adds up what is to be added
up. Source: prometheus.io, "Instrumentation" and "Metric and label naming".
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.http.ports import Endpoint

LABEL = "worker"
_PAGE_TIMEOUT_S = 10.0
_MAX_PAGE_BYTES = 64 * 1024 * 1024

Counts = list[Any]
"""JSON: of each family its name, text, type and samples, and of each sample its name, labels and value."""


def counts_of(registry: CollectorRegistry) -> Counts:
    """What one process has counted, to be sent to who gathers."""
    return [
        [family.name, family.documentation, family.type, [[one.name, one.labels, one.value] for one in family.samples]]
        for family in registry.collect()
    ]


class _Gathered(Collector):
    def __init__(self, counts: Mapping[int, Counts]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        """Give each family once, with the series of all workers."""
        families: dict[str, Metric] = {}
        for number, counts in sorted(self._counts.items()):
            for name, text, kind, samples in counts:
                family = families.setdefault(name, Metric(name, text, kind))
                for sample, labels, value in samples:
                    family.add_sample(sample, {LABEL: str(number)} | labels, value)
        return families.values()


def gathered_page(counts: Mapping[int, Counts], own: CollectorRegistry) -> bytes:
    """The page of all workers, by their numbers, and of what the supervisor counts itself."""
    gathered = CollectorRegistry()
    gathered.register(_Gathered(counts))
    return generate_latest(own) + generate_latest(gathered)


class SupervisorTold:
    """What the supervisor's admin listener tells: a worker's monitor listener shows the same."""

    def __init__(self, admin: Endpoint) -> None:
        self._admin = admin

    async def is_ready(self) -> bool:
        """Whether all workers that stand can serve; a supervisor that does not answer is not ready."""
        return (await self._page("/readyz"))[0]

    async def metrics(self) -> bytes:
        """The page of all workers. Empty where the supervisor does not answer."""
        return (await self._page("/metrics"))[1]

    async def _page(self, path: str) -> tuple[bool, bytes]:
        """Whether the status was 200, and the body: the listener closes after each answer."""
        try:
            async with asyncio.timeout(_PAGE_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(self._admin.host, self._admin.port)
                try:
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("ascii"))
                    answer = bytearray()
                    while len(answer) < _MAX_PAGE_BYTES and (part := await reader.read(64 * 1024)):
                        answer += part
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False, b""
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        return head.startswith(b"HTTP/1.1 200 "), body
