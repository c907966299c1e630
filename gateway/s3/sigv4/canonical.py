"""Canonical request, string to sign and signing key of Signature Version 4, by the rules that S3 keeps.

Source: AWS "Create a signed AWS API request". S3 differs from other services in one thing: the path is encoded once,
and is never normalised.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from gateway.s3.request import Headers

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()

_UNRESERVED: Final = "-_.~"

QueryPairs = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signing key is good for: one day, one region, one service."""

    date: str
    """`YYYYMMDD`."""
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"


def query_pairs(raw_query: bytes) -> QueryPairs:
    """Decode a query into (name, value) pairs in wire order.

    `+` is a space, as S3 and HTML forms have it; empty fields between two `&` are dropped; a broken percent escape
    stands for itself. Whoever interprets a query decodes it by this function: a second reading of the same bytes
    would let a signed query mean something that was never signed.
    """
    pairs = []
    for field in raw_query.split(b"&"):
        if field:
            name, _, value = field.replace(b"+", b" ").partition(b"=")
            pairs.append((unquote_to_bytes(name), unquote_to_bytes(value)))
    return tuple(pairs)


def canonical_path(raw_path: bytes) -> bytes:
    """Decode a path once and encode it by the one rule of signatures; slashes stay, and an empty path is a slash.

    "URI encode every byte except the unreserved characters ... Encode the forward slash character everywhere except
    in the object key name." Clients may send `!'()*` and other marks as they are or encoded, and sign them encoded.
    The key is decoded from the same bytes by the same function (`gateway.s3.addressing`), so that two paths with one
    canonical form name one object.
    """
    return quote_from_bytes(unquote_to_bytes(raw_path or b"/"), safe=_UNRESERVED + "/").encode("ascii")


def canonical_query(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Encode every name and value once, everything but RFC 3986 unreserved characters, and sort by code point."""
    encoded = sorted(
        (quote_from_bytes(name, safe=_UNRESERVED), quote_from_bytes(value, safe=_UNRESERVED)) for name, value in pairs
    )
    return "&".join(f"{name}={value}" for name, value in encoded).encode("ascii")


def canonical_headers(headers: Headers, signed_headers: Sequence[str]) -> bytes:
    """One `name:value` line per signed header; repeats joined by a comma, runs of blanks folded to one space."""
    held: dict[bytes, list[bytes]] = {}
    for name, value in headers.raw():
        held.setdefault(name, []).append(b" ".join(value.split()))
    return b"".join(
        name + b":" + b",".join(held.get(name, ())) + b"\n"
        for name in (signed.encode("latin-1") for signed in signed_headers)
    )


def canonical_request(
    method: str,
    raw_path: bytes,
    query: Iterable[tuple[bytes, bytes]],
    headers: Headers,
    signed_headers: Sequence[str],
    payload_hash: bytes,
) -> bytes:
    """The six lines that are hashed into the string to sign. `query` comes without the signature itself."""
    return b"\n".join(
        (
            method.encode("latin-1"),
            canonical_path(raw_path),
            canonical_query(query),
            canonical_headers(headers, signed_headers),
            ";".join(signed_headers).encode("latin-1"),
            payload_hash,
        )
    )


def string_to_sign(timestamp: str, scope: Scope, request: bytes) -> bytes:
    """Join algorithm, time (`YYYYMMDDThhmmssZ`), scope and the hash of the canonical request."""
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(request).hexdigest()}".encode()


def signing_key(secret_access_key: str, scope: Scope) -> bytes:
    """Derive the 32-byte key of one scope. It is a secret, valid for that day."""
    derived = b"AWS4" + secret_access_key.encode()
    for step in (scope.date, scope.region, scope.service, TERMINATOR):
        derived = hmac.digest(derived, step.encode(), "sha256")
    return derived


def signature(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA256 in lower-case hex, 64 bytes."""
    return hmac.digest(key, text, "sha256").hex().encode("ascii")
