"""An S3 request as it stood on the wire, before anything is decoded, and the header map it carries.

SigV4 signs the bytes that were sent (AWS "Create a signed AWS API request"), so nothing here normalises the path or
the query; `gateway.s3.addressing` and `gateway.s3.parsing` decode them once, in one place.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime


class Headers:
    """Request headers in wire order: names lower-cased, values stripped of surrounding blanks, repeats kept.

    Values are text by ISO-8859-1, which loses no byte; `raw()` gives the bytes back for signing.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._items = tuple((name.lower(), value.strip(b" \t")) for name, value in items)

    def get(self, name: str) -> str | None:
        """Value of the first header of that name, or None where there is none."""
        wanted = name.lower().encode("ascii")
        for held, value in self._items:
            if held == wanted:
                return value.decode("latin-1")
        return None

    def get_all(self, name: str) -> list[str]:
        """Every value of that name, in wire order."""
        wanted = name.lower().encode("ascii")
        return [value.decode("latin-1") for held, value in self._items if held == wanted]

    def raw(self) -> tuple[tuple[bytes, bytes], ...]:
        """Every (lower-cased name, stripped value) in wire order."""
        return self._items

    def __contains__(self, name: str) -> bool:
        wanted = name.lower().encode("ascii")
        return any(held == wanted for held, _ in self._items)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._items)

    def __repr__(self) -> str:
        # Values may be credentials or object data: names only.
        return f"Headers({[name.decode('latin-1') for name, _ in self._items]})"


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One request line with its headers. The body travels beside it, never inside."""

    method: str
    raw_path: bytes
    """The path as sent, percent-encoding untouched, without the query."""
    raw_query: bytes
    """What stood behind `?`, without it; empty where there was none."""
    headers: Headers
    request_id: str
    received_at: datetime
    """Aware UTC."""
    client_host: str = ""
    """The peer's address as the socket tells it; never from a header."""
    tls_version: str | None = None
    """`TLSv1.2` or `TLSv1.3`; None where the connection is not TLS."""

    def __repr__(self) -> str:
        # A presigned query is a credential and a path names an object: neither may reach a log by accident.
        return f"Request({self.method}, request_id={self.request_id})"
