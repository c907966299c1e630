"""The query of a request, decoded once and strictly; and the headers, with those that a presigned URL carries in it.

Sources: AWS "Authenticating Requests: Using Query Parameters"; SDKs move `x-amz-*` headers into the query when they
presign, and S3 reads them there as headers.
"""

import re
from functools import lru_cache
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.s3.errors import INVALID_ARGUMENT, INVALID_URI, S3Error
from gateway.s3.headers import check_field_value
from gateway.s3.request import Headers, Request
from gateway.s3.sigv4.canonical import query_pairs

PERCENT_ENCODED: Final = re.compile(rb"(?:[^%]|%[0-9A-Fa-f]{2})*", re.DOTALL)
"""Text in which each `%` begins an escape. Python's own decoder would leave a broken one as it stands."""

# RFC 9110 section 5.6.2: token.
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_REMEMBERED: Final = 256
"""Decoded queries that are kept: each is asked for several times while its request is on its way."""
_CUSTOMER: Final = b"-encryption-customer-"

Query = MappingProxyType[str, str]

SIGNATURE_NAMES: Final = frozenset(
    {
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        "x-amz-security-token",
        "x-amz-content-sha256",
        "AWSAccessKeyId",
        "Signature",
        "Expires",
    }
)
"""Names that belong to the signature and to nobody else; those of SigV4 in lower case."""


def parse_query(request: Request) -> Query:
    """Decode the query: `+` is a blank, each name stands once.

    Raises:
        S3Error: InvalidURI for a broken escape, a NUL or what is not UTF-8; InvalidArgument for a repeated name.
    """
    raw_query = request.raw_query
    if _CUSTOMER in (unquote_to_bytes(raw_query) if b"%" in raw_query else raw_query).lower():
        # The key of a client (SSE-C) lives as long as its request, and no longer.
        return _parse.__wrapped__(raw_query)
    return _parse(raw_query)


@lru_cache(maxsize=_REMEMBERED)
def _parse(raw_query: bytes) -> Query:
    if not PERCENT_ENCODED.fullmatch(raw_query):
        raise S3Error(INVALID_URI)
    pairs: dict[str, str] = {}
    for raw_name, raw_value in query_pairs(raw_query):
        try:
            name, value = raw_name.decode("utf-8"), raw_value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise S3Error(INVALID_URI) from error
        if "\0" in name or "\0" in value:
            raise S3Error(INVALID_URI)
        if name in pairs:
            raise S3Error(INVALID_ARGUMENT, "A query parameter was sent more than once.")
        pairs[name] = value
    return MappingProxyType(pairs)


def is_header_name(name: str) -> bool:
    """Whether a name in the query stands for a header."""
    return name.lower().startswith("x-amz-") and name.lower() not in SIGNATURE_NAMES


def effective_headers(request: Request) -> Headers:
    """The headers of a request, those in its query included.

    Raises:
        S3Error: what `parse_query` raises; InvalidArgument where a header stands in the query and outside it with
            different values, or where its value in the query is none that a header may have.
    """
    moved = [(name, value) for name, value in parse_query(request).items() if is_header_name(name)]
    if not moved:
        return request.headers
    pairs = list(request.headers.raw())
    held_values: dict[bytes, list[bytes]] = {}
    for held_name, held_value in pairs:
        held_values.setdefault(held_name, []).append(held_value)
    for name, value in moved:
        if not HEADER_NAME.fullmatch(name):
            # Metadata names come back as header names: one with a line end in it would write headers of its own.
            raise S3Error(INVALID_ARGUMENT, "A query parameter cannot stand for an HTTP header.")
        pair = (name.lower().encode("ascii"), check_field_value(value, name).strip(" \t").encode("latin-1"))
        held = held_values.get(pair[0])
        if held is None:
            pairs.append(pair)
            held_values[pair[0]] = [pair[1]]
        elif held != [pair[1]]:
            raise S3Error(INVALID_ARGUMENT, "A header was sent more than once, with different values.")
    return Headers(pairs)
