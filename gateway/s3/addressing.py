"""Which bucket and which object a request names, in path style or virtual-hosted style, and what may be a name.

Sources: AWS "Virtual hosting of general purpose buckets", "Bucket naming rules", "Naming Amazon S3 objects".
"""

import re
from collections.abc import Collection, Container
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.s3.errors import BAD_REQUEST, INVALID_BUCKET_NAME, INVALID_URI, KEY_TOO_LONG, S3Error
from gateway.s3.query import PERCENT_ENCODED
from gateway.s3.request import Request

MAX_KEY_BYTES: Final = 1024

_HOST: Final = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# "3 to 63 characters; lowercase letters, numbers, periods and hyphens; begin and end with a letter or number."
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
_RESERVED_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


@dataclass(frozen=True, slots=True)
class Address:
    """What a request is about: the service (no bucket), a bucket (no key), or an object."""

    bucket: str | None = None
    object_key: bytes | None = None
    """UTF-8, decoded from the path exactly once, 1 to 1024 bytes."""
    bucket_in_host: bool = False


def resolve(request: Request, domains: Collection[str], hosts: Container[str] | None = None) -> Address:
    """Find bucket and key.

    `domains` are the names under which `BUCKET.domain` is a bucket. `hosts` are all further names of this endpoint;
    None lets every name in, as path style has no use for it.

    Raises:
        S3Error: BadRequest for a Host that is missing, doubled, malformed or not ours, and for `.` and `..` in a key;
            InvalidURI, InvalidBucketName, KeyTooLongError.
    """
    host = _host(request)
    path = request.raw_path
    if not path.startswith(b"/"):
        raise S3Error(INVALID_URI)
    bucket = _bucket_of_host(host, domains)
    if bucket is None:
        if hosts is not None and host not in domains and host not in hosts:
            raise S3Error(BAD_REQUEST, "The Host header names no host of this endpoint.")
        raw_bucket, _, raw_key = path[1:].partition(b"/")
        if not raw_bucket and not raw_key and path == b"/":
            return Address()
        bucket = decode_path(raw_bucket).decode("utf-8")
        in_host = False
    else:
        raw_key = path[1:]
        in_host = True
    check_bucket_name(bucket)
    return Address(bucket, decode_key(raw_key) if raw_key else None, in_host)


def _host(request: Request) -> str:
    values = request.headers.get_all("host")
    match = _HOST.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        raise S3Error(BAD_REQUEST, "The request needs exactly one valid Host header.")
    name = match["name"].lower().removesuffix(".")
    if name.endswith("."):
        raise S3Error(BAD_REQUEST, "The request needs exactly one valid Host header.")
    return name


def _bucket_of_host(host: str, domains: Collection[str]) -> str | None:
    # The longest domain wins, so that `s3.example` beside `example` never reads as the bucket `s3`.
    if host in domains:
        return None
    for domain in sorted(domains, key=len, reverse=True):
        if host.endswith(f".{domain}"):
            return host.removesuffix(f".{domain}")
    return None


def check_bucket_name(name: str) -> None:
    """Judge a name by AWS's rules for general purpose buckets.

    Raises:
        S3Error: InvalidBucketName.
    """
    wrong = (
        _BUCKET.fullmatch(name) is None
        or ".." in name
        or _IPV4.fullmatch(name) is not None
        or name.startswith(_RESERVED_PREFIXES)
        or name.endswith(_RESERVED_SUFFIXES)
    )
    if wrong:
        raise S3Error(INVALID_BUCKET_NAME, fields={"BucketName": name[:255]})


def decode_key(raw: bytes) -> bytes:
    """Percent-decode a key exactly once and judge it.

    Raises:
        S3Error: InvalidURI, KeyTooLongError, BadRequest, as `check_key`.
    """
    object_key = decode_path(raw)
    check_key(object_key)
    return object_key


def decode_path(raw: bytes) -> bytes:
    """Percent-decode exactly once.

    Raises:
        S3Error: InvalidURI for a broken escape, a NUL or what is not UTF-8.
    """
    if not PERCENT_ENCODED.fullmatch(raw):
        raise S3Error(INVALID_URI)
    decoded = unquote_to_bytes(raw)
    _check_text(decoded)
    return decoded


def _check_text(decoded: bytes) -> None:
    if b"\0" in decoded:
        raise S3Error(INVALID_URI)
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise S3Error(INVALID_URI) from error


def check_key(object_key: bytes) -> None:
    """Judge a decoded key. Backslashes, blanks, empty segments and any other characters are literal.

    Raises:
        S3Error: InvalidURI where it is not UTF-8 or holds a NUL; KeyTooLongError beyond 1024 bytes; BadRequest where a
            segment is `.` or `..` (a choice of ours: no reader of such a key can then take it for a path).
    """
    _check_text(object_key)
    if len(object_key) > MAX_KEY_BYTES:
        raise S3Error(KEY_TOO_LONG, fields={"Size": str(len(object_key)), "MaxSizeAllowed": str(MAX_KEY_BYTES)})
    if not {b".", b".."}.isdisjoint(object_key.split(b"/")):
        raise S3Error(BAD_REQUEST, "A key may not have . or .. between its slashes.")
