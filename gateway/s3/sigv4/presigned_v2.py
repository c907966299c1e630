"""Signature Version 2 in the query, which boto3 and aws-cli v1 still write unless told otherwise; never in a header.

Source: AWS "Signing and authenticating REST requests (AWS signature version 2)". SigV2 signs neither the host, nor
most headers, nor parameters outside a fixed list; so parameters outside our lists are refused, and only HTTPS will do.
"""

import base64
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.s3.errors import ACCESS_DENIED, INVALID_REQUEST, S3Error
from gateway.s3.request import Request
from gateway.s3.sigv4 import canonical
from gateway.s3.sigv4.canonical import QueryPairs
from gateway.s3.sigv4.presentation import Kind, Presentation, SignatureSettings
from gateway.s3.sigv4.presigned import hoisted_headers, presigned_payload

PARAMETERS: Final = (b"AWSAccessKeyId", b"Expires", b"Signature")
DETECTED_BY: Final = (b"AWSAccessKeyId", b"Signature")
"""`Expires` alone says nothing."""

_STANDARD_HEADERS: Final = ("content-md5", "content-type")
_REPEATED_PARAMETERS: Final = frozenset(name.encode() for name in _STANDARD_HEADERS)
"""boto3 writes these headers into the query as well. They count where they are sent as headers, as on AWS."""
_SECONDS: Final = re.compile(r"[0-9]{1,11}")

_SIGNED_PARAMETERS: Final = frozenset(
    b"accelerate acl analytics cors defaultObjectAcl delete inventory lifecycle location logging metrics "
    b"notification object-lock partNumber policy replication requestPayment response-cache-control "
    b"response-content-disposition response-content-encoding response-content-language response-content-type "
    b"response-expires restore select select-type storageClass tagging torrent uploadId uploads versionId "
    b"versioning versions website".split()
)
"""What the canonical resource holds. The list of botocore, by which such URLs are made."""

_SECOND_PARAMETER: Final = re.compile(rb"&(?:%b)(?:[=&]|\Z)" % b"|".join(sorted(_SIGNED_PARAMETERS)))
"""In a decoded value: what would be another signed parameter if it stood in the query by itself."""

_HARMLESS_PARAMETERS: Final = frozenset(
    b"continuation-token delimiter encoding-type fetch-owner key-marker list-type marker max-keys max-parts "
    b"max-uploads part-number-marker prefix start-after upload-id-marker version-id-marker x-id".split()
)
"""What SigV2 leaves unsigned and what only chooses a page of a listing that the URL grants as a whole."""


def present(
    request: Request,
    query: QueryPairs,
    now: datetime,
    settings: SignatureSettings,
    bucket_from_host: str | None = None,
) -> Presentation:
    """Read the claim of a request that has `AWSAccessKeyId` or `Signature` in its query.

    Raises:
        S3Error: InvalidRequest where the setting turns SigV2 off; AccessDenied for plain HTTP, a missing, repeated
            or malformed parameter, an unsigned one, one that could be two, expiry in the past or too far ahead;
            InvalidArgument or InvalidRequest for the payload form.
    """
    if not settings.presigned_v2:
        raise S3Error(INVALID_REQUEST, "Signature Version 2 is turned off. Please use AWS4-HMAC-SHA256.")
    if request.tls_version is None:
        raise S3Error(ACCESS_DENIED, "Signature Version 2 is accepted over HTTPS only.")
    values = _values(query)
    hoisted = hoisted_headers(query, request.headers)
    if any(_SECOND_PARAMETER.search(value) for name, value in query if name in _SIGNED_PARAMETERS):
        # Signed as it is decoded: `response-expires=a%26versionId=b` has the signature of two parameters.
        raise S3Error(ACCESS_DENIED, "Signature Version 2 cannot tell this query from another one.")
    known = _SIGNED_PARAMETERS | _HARMLESS_PARAMETERS | frozenset(PARAMETERS)
    for name, _ in query:
        lower = name.lower()
        if name not in known and not lower.startswith(b"x-amz-") and lower not in _REPEATED_PARAMETERS:
            raise S3Error(ACCESS_DENIED, "Signature Version 2 does not sign a parameter of this query.")
    return Presentation(
        access_key_id=values["AWSAccessKeyId"],
        kind=Kind.PRESIGNED_V2,
        payload=presigned_payload(request, query),
        signature=values["Signature"].encode("latin-1"),
        timestamp=values["Expires"],
        expires_at=_expiry(values["Expires"], now, settings),
        bucket_from_host=bucket_from_host,
        hoisted_headers=hoisted,
    )


def expected_signature(presentation: Presentation, request: Request, secret_access_key: str) -> bytes:
    """Compute the signature that the query should carry, as base64 of 20 bytes."""
    digest = hmac.digest(secret_access_key.encode(), string_to_sign(presentation, request), "sha1")
    return base64.b64encode(digest)


def string_to_sign(presentation: Presentation, request: Request) -> bytes:
    """Method, Content-MD5, Content-Type, expiry, `x-amz-*` headers and canonical resource, a line each."""
    hoisted = {name: value.encode("latin-1") for name, value in presentation.hoisted_headers}
    sent: dict[str, bytes] = {}
    for raw_name, value in request.headers.raw():
        name = raw_name.decode("latin-1")
        sent[name] = sent[name] + b"," + value if name in sent else value
    signed = hoisted | sent
    amz_names = sorted(name for name in signed if name.startswith("x-amz-"))
    return b"".join(
        (
            request.method.encode("latin-1") + b"\n",
            *(signed.get(name, b"") + b"\n" for name in _STANDARD_HEADERS),
            presentation.timestamp.encode("ascii") + b"\n",
            *(name.encode("latin-1") + b":" + signed[name] + b"\n" for name in amz_names),
            _canonical_resource(request, presentation.bucket_from_host),
        )
    )


def _canonical_resource(request: Request, bucket_from_host: str | None) -> bytes:
    """Raw path, behind the bucket where only the host names it, and the signed parameters, decoded and sorted."""
    bucket = b"/" + bucket_from_host.encode() if bucket_from_host is not None else b""
    parameters = []
    for field in request.raw_query.split(b"&"):
        for name, value in canonical.query_pairs(field):
            if name in _SIGNED_PARAMETERS:
                parameters.append((name, name + b"=" + value if b"=" in field else name))
    parameters.sort(key=lambda parameter: parameter[0])
    query = b"&".join(text for _, text in parameters)
    return bucket + (request.raw_path or b"/") + (b"?" + query if query else b"")


def _values(query: QueryPairs) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in query:
        if name in PARAMETERS:
            text = name.decode("ascii")
            if text in values:
                raise S3Error(ACCESS_DENIED, f"{text} was sent more than once.")
            values[text] = value.decode("latin-1")
    if len(values) < len(PARAMETERS) or not all(values.values()):
        raise S3Error(
            ACCESS_DENIED,
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
        )
    return values


def _expiry(text: str, now: datetime, settings: SignatureSettings) -> datetime:
    if not _SECONDS.fullmatch(text):
        raise S3Error(ACCESS_DENIED, "Expires should be seconds since 1970.")
    expires_at = datetime.fromtimestamp(int(text), UTC)
    if now > expires_at:
        raise S3Error(ACCESS_DENIED, "Request has expired")
    if expires_at - now > timedelta(seconds=settings.max_presigned_s):
        raise S3Error(ACCESS_DENIED, f"Expires must be at most {settings.max_presigned_s} seconds ahead.")
    return expires_at
