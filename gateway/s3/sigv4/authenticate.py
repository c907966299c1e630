"""Which form of authentication a request uses, and whether its signature is right: the one place that decides both.

Used in two pure steps with the look-up of the secret between them, which is not done here. Source: AWS
"Authenticating Requests (AWS Signature Version 4)".
"""

import hmac
from datetime import datetime

from gateway.s3.errors import (
    INVALID_ACCESS_KEY_ID,
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    SIGNATURE_DOES_NOT_MATCH,
    S3Error,
)
from gateway.s3.request import Request
from gateway.s3.sigv4 import canonical, fields, header, payload, presigned, presigned_v2
from gateway.s3.sigv4.chunked import ChunkSigner
from gateway.s3.sigv4.presentation import (
    NOBODYS_SECRET,
    Anonymous,
    Kind,
    Presentation,
    SignatureSettings,
    Verified,
)


def present(
    request: Request,
    now: datetime,
    region: str,
    settings: SignatureSettings | None = None,
    *,
    bucket_from_host: str | None = None,
) -> Presentation | Anonymous:
    """Read what a request claims, and refuse it where the claim is malformed, ambiguous or out of time.

    `now` is aware UTC; `bucket_from_host` is the bucket of a virtual-hosted request.

    Raises:
        S3Error: as `header.present`, `presigned.present` and `presigned_v2.present`; InvalidArgument where two forms
            stand together or a header that decides is repeated; InvalidToken for session credentials; for an
            anonymous request InvalidArgument or InvalidRequest for its payload form.
    """
    settings = settings or SignatureSettings()
    fields.refuse_repeats(request)
    query = canonical.query_pairs(request.raw_query)
    names = {name for name, _ in query}
    kinds = [
        kind
        for kind, presented in (
            (Kind.HEADER, "authorization" in request.headers),
            (Kind.PRESIGNED_V4, not names.isdisjoint(presigned.PARAMETERS)),
            (Kind.PRESIGNED_V2, not names.isdisjoint(presigned_v2.DETECTED_BY)),
        )
        if presented
    ]
    if len(kinds) > 1:
        raise S3Error(
            INVALID_ARGUMENT,
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
            "parameter or the Authorization header should be specified",
        )
    fields.refuse_session_tokens(request, query)
    match kinds:
        case [Kind.HEADER]:
            return header.present(request, now, region, settings)
        case [Kind.PRESIGNED_V4]:
            return presigned.present(request, query, now, region, settings)
        case [Kind.PRESIGNED_V2]:
            return presigned_v2.present(request, query, now, settings, bucket_from_host)
        case _:
            return _anonymous(request)


def verify(presentation: Presentation, request: Request, secret_access_key: str | None) -> Verified:
    """Compare the presented signature with the right one, in constant time.

    `secret_access_key` is None where the key id is not known (or was revoked): then the same work is done for
    nobody's secret, so that the time tells nothing.

    Raises:
        S3Error: InvalidAccessKeyId, SignatureDoesNotMatch.
    """
    secret = secret_access_key or NOBODYS_SECRET
    signer: ChunkSigner | None = None
    if presentation.kind is Kind.PRESIGNED_V2:
        expected = presigned_v2.expected_signature(presentation, request, secret)
    else:
        assert presentation.scope is not None
        signing_key = canonical.signing_key(secret, presentation.scope)
        form = header if presentation.kind is Kind.HEADER else presigned
        expected = form.expected_signature(presentation, request, signing_key)
        if presentation.payload.mode.is_signed_streaming:
            signer = ChunkSigner(signing_key, presentation.scope, presentation.timestamp, expected)
    matches = hmac.compare_digest(expected, presentation.signature)
    if not secret_access_key:
        raise S3Error(INVALID_ACCESS_KEY_ID)
    if not matches:
        raise S3Error(SIGNATURE_DOES_NOT_MATCH)
    return Verified(
        access_key_id=presentation.access_key_id,
        kind=presentation.kind,
        payload=presentation.payload,
        signed_headers=presentation.signed_headers,
        expires_at=presentation.expires_at,
        hoisted_headers=presentation.hoisted_headers,
        chunk_signer=signer,
    )


def _anonymous(request: Request) -> Anonymous:
    declared = request.headers.get(payload.HEADER)
    found = payload.UNSIGNED if declared is None else payload.parse_payload(declared)
    if found.mode.is_signed_streaming:
        raise S3Error(INVALID_REQUEST, "An anonymous request has no signature that its chunks could continue.")
    return Anonymous(found)
