"""Server access logging: the configuration of a bucket, and the lines that it gets. Pure; times come in.

Sources: AWS "PutBucketLogging", "Amazon S3 server access log format". Signatures never stand in a line, nor anything
that could end it: what clients send is percent-encoded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from gateway.s3 import xml
from gateway.s3.errors import INVALID_ARGUMENT, MALFORMED_XML, NOT_IMPLEMENTED, S3Error
from gateway.s3.request import Request
from gateway.s3.xml import Element, Node

MAX_PREFIX_BYTES: Final = 800
"""A key has 1024; the rest is for the times and ids behind the prefix."""
MAX_FIELD_BYTES: Final = 2048
"""Of what a client sends, in a line."""
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SECRETS: Final = frozenset(
    {
        b"x-amz-signature",
        b"signature",
        b"x-amz-security-token",
        b"x-amz-server-side-encryption-customer-key",
        b"x-amz-server-side-encryption-customer-key-md5",
        b"x-amz-copy-source-server-side-encryption-customer-key",
        b"x-amz-copy-source-server-side-encryption-customer-key-md5",
    }
)
"""Names, in lower case, whose values in a query are credentials or keys."""
_SEPARATOR: Final = re.compile(rb"([?&])")
_NONE: Final = "-"


class KeyFormat(StrEnum):
    """How log objects are named."""

    SIMPLE = "SimplePrefix"
    """PREFIX YYYY-mm-DD-HH-MM-SS-UNIQUE."""
    BY_EVENT_TIME = "EventTime"
    """PREFIX ACCOUNT/REGION/BUCKET/YYYY/mm/DD/YYYY-mm-DD-HH-MM-SS-UNIQUE."""
    BY_DELIVERY_TIME = "DeliveryTime"


@dataclass(frozen=True, slots=True)
class LoggingTarget:
    """Where a bucket's log goes."""

    bucket: str
    prefix: str = ""
    key_format: KeyFormat = KeyFormat.SIMPLE
    names_format: bool = False
    """Whether the document names the format, so that clients get it back."""


def read_logging(document: bytes) -> LoggingTarget | None:
    """Read BucketLoggingStatus; None turns logging off.

    Raises:
        S3Error: MalformedXML; InvalidArgument for a prefix that no key can have; NotImplemented for grants.
    """
    # Before it is parsed: a grantee has an attribute, which no other document that is read here may have.
    if b"TargetGrants" in document:
        raise S3Error(NOT_IMPLEMENTED, "Logs belong to the owner of their bucket: target grants are not implemented.")
    parts = xml.parse(document, "BucketLoggingStatus", max_elements=64).parts(once=("LoggingEnabled",))
    if "LoggingEnabled" not in parts.once:
        return None
    inner = parts.once["LoggingEnabled"].parts(once=("TargetBucket", "TargetPrefix", "TargetObjectKeyFormat"))
    prefix = inner.required("TargetPrefix")
    if len(prefix.encode()) > MAX_PREFIX_BYTES:
        raise S3Error(INVALID_ARGUMENT, f"The target prefix may have {MAX_PREFIX_BYTES} bytes.")
    if not {".", ".."}.isdisjoint(prefix.split("/")[:-1]):
        # Nobody could name such an object, neither to read nor to delete it (`addressing.check_key`).
        raise S3Error(INVALID_ARGUMENT, "The target prefix may not have . or .. before a slash.")
    key_format = inner.once.get("TargetObjectKeyFormat")
    return LoggingTarget(
        inner.required("TargetBucket"),
        prefix,
        KeyFormat.SIMPLE if key_format is None else _key_format(key_format),
        key_format is not None,
    )


def _key_format(element: Element) -> KeyFormat:
    parts = element.parts(once=("SimplePrefix", "PartitionedPrefix"))
    if len(parts.once) != 1:
        raise S3Error(MALFORMED_XML)
    if "SimplePrefix" in parts.once:
        parts.once["SimplePrefix"].parts()
        return KeyFormat.SIMPLE
    source = parts.once["PartitionedPrefix"].parts(once=("PartitionDateSource",)).required("PartitionDateSource")
    if source not in {KeyFormat.BY_EVENT_TIME.value, KeyFormat.BY_DELIVERY_TIME.value}:
        raise S3Error(MALFORMED_XML)
    return KeyFormat(source)


def logging_node(target: LoggingTarget | None) -> Node:
    """Write BucketLoggingStatus, for clients and for the catalogue."""
    if target is None:
        return Node("BucketLoggingStatus")
    return Node(
        "BucketLoggingStatus",
        Node(
            "LoggingEnabled",
            Node("TargetBucket", target.bucket),
            Node("TargetPrefix", target.prefix),
            Node("TargetObjectKeyFormat", _format_node(target.key_format)) if target.names_format else None,
        ),
    )


def _format_node(key_format: KeyFormat) -> Node:
    if key_format is KeyFormat.SIMPLE:
        return Node("SimplePrefix")
    return Node("PartitionedPrefix", Node("PartitionDateSource", key_format.value))


def log_key(target: LoggingTarget, account_id: str, region: str, source: str, at: datetime, unique: str) -> bytes:
    """The key of a log object that is written at `at`; the lines of one object are of one day."""
    stamp = f"{at:%Y-%m-%d-%H-%M-%S}-{unique}"
    if target.key_format is KeyFormat.SIMPLE:
        return f"{target.prefix}{stamp}".encode()
    return f"{target.prefix}{account_id}/{region}/{source}/{at:%Y/%m/%d}/{stamp}".encode()


@dataclass(frozen=True, slots=True)
class Access:
    """One request that was answered."""

    bucket_owner_id: str
    bucket_name: str
    at: datetime
    requester_id: str
    """Empty for the anonymous caller."""
    operation: str
    """As in the API; empty where the request was not routed."""
    object_key: bytes | None
    status: int
    error_code: str
    bytes_sent: int
    object_size: int | None
    total_ms: int


_RESOURCES: Final[Mapping[str, str]] = {
    "CopyObject": "COPY.OBJECT",
    "UploadPartCopy": "COPY.PART",
    "UploadPart": "PUT.PART",
    "CreateMultipartUpload": "POST.UPLOADS",
    "ListMultipartUploads": "GET.UPLOADS",
    "CompleteMultipartUpload": "POST.UPLOAD",
    "AbortMultipartUpload": "DELETE.UPLOAD",
    "ListParts": "GET.UPLOAD",
    "DeleteObjects": "POST.MULTI_OBJECT_DELETE",
    "ListObjectVersions": "GET.BUCKETVERSIONS",
    "GetBucketLogging": "GET.LOGGING_STATUS",
    "PutBucketLogging": "PUT.LOGGING_STATUS",
}
"""Where method and resource do not follow from the name of the operation."""
_NAME: Final = re.compile(r"(?:Get|Put|Delete)(Bucket|Object)([A-Z][A-Za-z]+?)(?:Configuration)?")


def operation_of(access: Access, method: str) -> str:
    """`REST.METHOD.RESOURCE`."""
    if access.operation in _RESOURCES:
        return f"REST.{_RESOURCES[access.operation]}"
    match = _NAME.fullmatch(access.operation)
    if match is not None:
        prefix = "OBJECT_" if match[1] == "Object" else ""
        return f"REST.{method}.{prefix}{match[2].upper()}"
    return f"REST.{method}.{'BUCKET' if access.object_key is None else 'OBJECT'}"


def log_line(access: Access, request: Request) -> bytes:
    """One line, in AWS's order of fields."""
    key, at = access.object_key, access.at
    uri = request.raw_path + (b"?" + request.raw_query if request.raw_query else b"")
    fields = [
        access.bucket_owner_id,
        access.bucket_name,
        f"[{at.day:02}/{_MONTHS[at.month - 1]}/{at.year:04}:{at:%H:%M:%S} +0000]",
        request.client_host or _NONE,
        access.requester_id or _NONE,
        request.request_id,
        operation_of(access, request.method),
        _NONE if key is None else _cut(quote_from_bytes(key, safe="/-_.~")),
        f'"{_shown(request.method.encode("latin-1"))} {_shown(uri)} HTTP/1.1"',
        str(access.status),
        access.error_code or _NONE,
        str(access.bytes_sent) if access.bytes_sent else _NONE,
        _NONE if access.object_size is None else str(access.object_size),
        str(access.total_ms),
        _NONE,  # the turn-around time, which is not taken by itself
        _quoted(request.headers.get("referer")),
        _quoted(request.headers.get("user-agent")),
        _NONE,  # the version
        "sealgate",
        *_signature(access, request),
        _shown((request.headers.get("host") or _NONE).encode("latin-1")),
        request.tls_version or _NONE,
        _NONE,  # the access point
        _NONE,  # whether an ACL was needed
    ]
    return " ".join(fields).encode() + b"\n"


def _signature(access: Access, request: Request) -> tuple[str, str, str]:
    """Version, cipher and form of authentication."""
    if not access.requester_id:
        return _NONE, _NONE, _NONE
    if "authorization" in request.headers:
        return "SigV4", _NONE, "AuthHeader"
    if b"X-Amz-Signature=" in request.raw_query:
        return "SigV4", _NONE, "QueryString"
    return ("SigV2", _NONE, "QueryString") if b"Signature=" in request.raw_query else (_NONE, _NONE, "PostForm")


def _quoted(text: str | None) -> str:
    return f'"{_NONE if text is None else _shown(text.encode("latin-1"))}"'


def _shown(raw: bytes) -> str:
    """What a client sent, without signatures and without anything that could end its field."""
    safe = "!#$%&'()*+,/:;=?@[]<>{}|^`-_.~ "
    # A name may be escaped as it is sent, and still be read as what it is.
    pieces = [_without_secret(piece) for piece in _SEPARATOR.split(raw)]
    return _cut(quote_from_bytes(b"".join(pieces), safe=safe))


def _without_secret(piece: bytes) -> bytes:
    name, _, _ = piece.partition(b"=")
    return name + b"=REDACTED" if unquote_to_bytes(name).strip().lower() in _SECRETS else piece


def _cut(text: str) -> str:
    return text[:MAX_FIELD_BYTES]
