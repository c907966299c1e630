"""What every answer has in common, wherever in the edge it is made: its ids, its headers, and a refusal as raw bytes.

Source: AWS "Common response headers" and "REST error responses". The protocol, the plain-HTTP refuser and the
endpoint all answer through here, so that no two of them can drift apart.
"""

import re
import secrets
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

from gateway.s3.errors import S3Error
from gateway.s3.serialising.errors import error_response

RawHeaders = list[tuple[bytes, bytes]]

_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HSTS = (b"strict-transport-security", b"max-age=63072000")


def new_request_id() -> str:
    """Return 16 hex digits in upper case, in AWS's own form."""
    return secrets.token_hex(8).upper()


def common_headers(request_id: str, *, is_secure: bool = True) -> RawHeaders:
    """Return the headers of every answer. `x-amz-id-2` is the `HostId` of the error document and names no machine.

    RFC 6797 section 7.2 forbids Strict-Transport-Security where the answer itself travels in the clear.
    """
    identity = request_id.encode("ascii")
    headers = [
        (b"x-amz-request-id", identity),
        (b"x-amz-id-2", b"sealgate"),
        (b"date", formatdate(usegmt=True).encode("ascii")),
        (b"server", b"Sealgate"),
    ]
    return [*headers, _HSTS] if is_secure else headers


def encode_headers(headers: Iterable[tuple[str, str]]) -> RawHeaders:
    """Return headers as they go on the wire. Raises: ValueError for what could end its line, or is not ISO-8859-1."""
    encoded = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers]
    for _, value in encoded:
        if _CONTROLS.search(value):
            raise ValueError("a response header holds a control character")
    return encoded


def raw_refusal(error: S3Error, request_id: str, *, is_secure: bool) -> bytes:
    """Return a whole HTTP/1.1 response with `Connection: close`, for places below ASGI."""
    response = error_response(error, request_id, b"/", is_head=False)
    body = cast("bytes", response.body)
    headers = [
        *common_headers(request_id, is_secure=is_secure),
        *encode_headers(response.headers),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"connection", b"close"),
    ]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    status = HTTPStatus(error.row.status)
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status.value, status.phrase.encode("ascii"), lines, body)
