"""Requests as they stand on the wire, put through address, route and parser as the endpoint does."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.s3 import parsing
from gateway.s3.addressing import resolve
from gateway.s3.errors import ErrorRow, S3Error
from gateway.s3.request import Headers, Request
from gateway.s3.routing import route

NOW = datetime(2026, 11, 22, 7, 0, 0, tzinfo=UTC)
DOMAINS = ("s3.localhost", "s3.example.org")

HeaderItems = dict[str, str] | list[tuple[str, str]]


def request(
    method: str, target: str, headers: HeaderItems | None = None, host: str | None = "localhost:9000"
) -> Request:
    """Make a request; `target` is path and query as sent."""
    path, _, query = target.partition("?")
    items = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    if host is not None:
        items.insert(0, ("Host", host))
    pairs = [(name.encode("ascii"), value.encode("latin-1")) for name, value in items]
    return Request(method, path.encode(), query.encode(), Headers(pairs), "REQUEST1", NOW)


def snake(operation: str) -> str:
    """`ListObjectsV2` -> `list_objects_v2`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()


def understand(sent: Request, document: bytes = b"") -> tuple[str, Any]:
    """Name the operation of a request and parse its Input."""
    address = resolve(sent, DOMAINS)
    operation = route(sent, address)
    return operation, getattr(parsing, f"parse_{snake(operation)}")(sent, address, document)


def read(method: str, target: str, headers: HeaderItems | None = None, document: bytes = b"") -> Any:
    """Parse the Input of a request."""
    return understand(request(method, target, headers), document)[1]


def refused(
    row: ErrorRow, method: str, target: str, headers: HeaderItems | None = None, document: bytes = b""
) -> S3Error:
    """See that a request is refused with this row of the error table."""
    with pytest.raises(S3Error) as caught:
        understand(request(method, target, headers), document)
    assert caught.value.row is row, caught.value
    return caught.value
