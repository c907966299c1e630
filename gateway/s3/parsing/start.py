"""What every parser begins with: the headers, judged, and the query.

A `Parsed` holds both, so that no parser can look at headers that were never judged.
"""

from collections.abc import Collection
from dataclasses import dataclass

from gateway.s3.parsing.support import refuse_unsupported
from gateway.s3.query import Query, effective_headers, parse_query
from gateway.s3.request import Headers, Request


@dataclass(frozen=True, slots=True)
class Parsed:
    """Headers, those in the query included, and the query."""

    headers: Headers
    query: Query


def begin(request: Request, takes: Collection[str] = ()) -> Parsed:
    """Read what all operations share. `takes` names headers that this one reads and others do not.

    Raises:
        S3Error: what `effective_headers`, `parse_query` and `refuse_unsupported` raise.
    """
    headers = effective_headers(request)
    refuse_unsupported(headers, takes)
    return Parsed(headers, parse_query(request))
