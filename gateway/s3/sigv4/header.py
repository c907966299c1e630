"""Signature Version 4 in the `Authorization` header: parse what a request presents, and compute what it should be.

Source: AWS "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)".
"""

from datetime import datetime, timedelta
from typing import Final

from gateway.s3.errors import (
    ACCESS_DENIED,
    AUTHORIZATION_HEADER_MALFORMED,
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    REQUEST_TIME_TOO_SKEWED,
    S3Error,
)
from gateway.s3.request import Request
from gateway.s3.sigv4 import canonical, fields, payload
from gateway.s3.sigv4.presentation import Kind, Presentation, SignatureSettings

_FIELDS: Final = ("Credential", "SignedHeaders", "Signature")


def present(request: Request, now: datetime, region: str, settings: SignatureSettings) -> Presentation:
    """Read the claim of a request that has an `Authorization` header.

    Raises:
        S3Error: AccessDenied (empty header, no usable date, unsigned headers), InvalidArgument (unknown scheme or
            payload form), InvalidRequest (SigV2, SigV4A, no `x-amz-content-sha256`), AuthorizationHeaderMalformed,
            RequestTimeTooSkewed, SignatureDoesNotMatch (signed-header list not in canonical form).
    """
    parts = _split(request.headers.get("authorization") or "")
    access_key_id, scope = fields.parse_credential(parts["Credential"], _malformed)
    signed_at = _date(request)
    fields.check_scope(scope, region, signed_at, _malformed)
    if abs(now - signed_at) > timedelta(seconds=settings.max_skew_s):
        raise S3Error(
            REQUEST_TIME_TOO_SKEWED,
            fields={
                "RequestTime": fields.format_amz_date(signed_at),
                "ServerTime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
                "MaxAllowedSkewMilliseconds": str(settings.max_skew_s * 1000),
            },
        )
    declared = request.headers.get(payload.HEADER)
    if declared is None:
        raise S3Error(INVALID_REQUEST, f"Missing required header for this request: {payload.HEADER}")
    return Presentation(
        access_key_id=access_key_id,
        kind=Kind.HEADER,
        payload=payload.parse_payload(declared),
        signature=parts["Signature"].encode("latin-1"),
        timestamp=fields.format_amz_date(signed_at),
        signed_headers=fields.parse_signed_headers(parts["SignedHeaders"], request),
        scope=scope,
        signed_at=signed_at,
    )


def expected_signature(presentation: Presentation, request: Request, signing_key: bytes) -> bytes:
    """Compute the signature that the request should carry, as hex."""
    assert presentation.scope is not None
    canonical_request = canonical.canonical_request(
        request.method,
        request.raw_path,
        canonical.query_pairs(request.raw_query),
        request.headers,
        presentation.signed_headers,
        presentation.payload.declared.encode("ascii"),
    )
    text = canonical.string_to_sign(presentation.timestamp, presentation.scope, canonical_request)
    return canonical.signature(signing_key, text)


def _malformed(message: str, *, fields: dict[str, str] | None = None) -> S3Error:
    return S3Error(AUTHORIZATION_HEADER_MALFORMED, message, fields=fields)


def _split(authorization: str) -> dict[str, str]:
    """Check the scheme and split its comma-separated fields; each of the three must stand there exactly once."""
    scheme, _, rest = authorization.partition(" ")
    if not scheme:
        raise S3Error(ACCESS_DENIED, "The Authorization header is empty.")
    if scheme == "AWS" or (scheme.startswith("AWS4-") and scheme != canonical.ALGORITHM):
        raise S3Error(
            INVALID_REQUEST,
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        )
    if scheme != canonical.ALGORITHM:
        raise S3Error(INVALID_ARGUMENT, "Unsupported Authorization Type", fields={"ArgumentName": "Authorization"})
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip(" \t").partition("=")
        if not equals or name not in _FIELDS or name in parts:
            raise _malformed(f"The authorization header must have exactly {', '.join(_FIELDS)}.")
        parts[name] = value
    for name in _FIELDS:
        if not parts.get(name):
            raise _malformed(f"The authorization header requires a {name}.")
    return parts


def _date(request: Request) -> datetime:
    """Time of signing from `x-amz-date`, else from `Date`, which may have either form."""
    text = request.headers.get("x-amz-date")
    moment: datetime | None
    if text is not None:
        moment = fields.parse_amz_date(text)
    else:
        text = request.headers.get("date") or ""
        moment = fields.parse_amz_date(text) or fields.parse_http_date(text)
    if moment is None:
        raise S3Error(ACCESS_DENIED, "AWS authentication requires a valid Date or x-amz-date header")
    return moment
