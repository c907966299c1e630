"""What every answer has in common, wherever in the edge it is made: its ids, its headers, and the XML of a refusal.

Source: AWS "Common response headers" and "REST error responses". The protocol, the plain-HTTP refuser and the
endpoint all answer through here, so that no two of them can drift apart.
"""

import secrets
from email.utils import formatdate
from http import HTTPStatus
from xml.sax.saxutils import escape

from gateway.s3.errors import S3Error

RawHeaders = list[tuple[bytes, bytes]]

_HSTS = (b"strict-transport-security", b"max-age=63072000")


def new_request_id() -> str:
    """Return 16 hex digits in upper case, in AWS's own form."""
    return secrets.token_hex(8).upper()


def common_headers(request_id: str, *, is_secure: bool = True) -> RawHeaders:
    """Return the headers of every answer. `x-amz-id-2` carries no more than the request id: there is one process.

    RFC 6797 section 7.2 forbids Strict-Transport-Security where the answer itself travels in the clear.
    """
    identity = request_id.encode("ascii")
    headers = [
        (b"x-amz-request-id", identity),
        (b"x-amz-id-2", identity),
        (b"date", formatdate(usegmt=True).encode("ascii")),
        (b"server", b"Sealgate"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return [*headers, _HSTS] if is_secure else headers


def error_document(error: S3Error, request_id: str) -> bytes:
    """Return the XML of a refusal, UTF-8. Values are escaped; characters that XML 1.0 cannot hold become U+FFFD."""
    elements = {
        "Code": error.row.code,
        "Message": error.message,
        **error.fields,
        "RequestId": request_id,
        "HostId": request_id,
    }
    inner = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in elements.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


def _text(value: str) -> str:
    return escape("".join(c if _is_xml_char(ord(c)) else "\ufffd" for c in value))


def _is_xml_char(point: int) -> bool:
    """XML 1.0 production 2, `Char`; carriage return is left out because parsers turn it into a line feed."""
    return point in {0x9, 0xA} or 0x20 <= point <= 0xD7FF or 0xE000 <= point <= 0xFFFD or point >= 0x10000


def raw_refusal(error: S3Error, request_id: str, *, is_secure: bool) -> bytes:
    """Return a whole HTTP/1.1 response with `Connection: close`, for places below ASGI."""
    body = error_document(error, request_id)
    headers = [
        *common_headers(request_id, is_secure=is_secure),
        (b"content-type", b"application/xml"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"connection", b"close"),
    ]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    status = HTTPStatus(error.row.status)
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status.value, status.phrase.encode("ascii"), lines, body)
