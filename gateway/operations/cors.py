"""Cross-origin rules of a bucket, and the answers to preflight requests."""

from gateway.operations.admission import Admission
from gateway.operations.context import Context
from gateway.operations.rules import CORS, RulesOfBuckets, encode_cors
from gateway.s3.access_types import GetBucketCorsOutput, PutBucketCorsInput
from gateway.s3.cors import METHODS, VARY, Header, find_rule, preflight_headers, response_headers
from gateway.s3.errors import ACCESS_FORBIDDEN, BAD_REQUEST, NO_SUCH_CORS_CONFIGURATION, S3Error
from gateway.s3.request import Request
from gateway.s3.response import Response
from gateway.s3.types import Body, BucketInput, EmptyOutput
from storage.catalogue.conflicts import NoSuchBucket
from storage.catalogue.records import Bucket

MAX_REQUEST_HEADERS = 100
"""Names in one Access-Control-Request-Headers."""


async def put_bucket_cors(context: Context, request: PutBucketCorsInput, _: Body) -> EmptyOutput:
    """PutBucketCors."""
    document = encode_cors(request.rules)
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, CORS, document)
    return EmptyOutput()


async def get_bucket_cors(context: Context, request: BucketInput, _: Body) -> GetBucketCorsOutput:
    """GetBucketCors. Raises S3Error: NoSuchCORSConfiguration."""
    rules = await context.access.cors()
    if not rules:
        raise S3Error(NO_SUCH_CORS_CONFIGURATION, fields={"BucketName": request.bucket})
    return GetBucketCorsOutput(rules)


async def delete_bucket_cors(context: Context, request: BucketInput, _: Body) -> EmptyOutput:
    """DeleteBucketCors; where there are no rules, nothing is to be done."""
    del request
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, CORS, None)
    return EmptyOutput()


async def preflight(admission: Admission, request: Request, bucket_name: str | None) -> Response:
    """Answer OPTIONS, which browsers send unsigned to ask whether a page of this origin may send such a request.

    Source: S3 "OPTIONS object". A bucket that is not there, or has no rules, answers as one whose rules do not fit.

    Raises:
        S3Error: BadRequest, AccessForbidden.
    """
    origin = request.headers.get("origin")
    method = request.headers.get("access-control-request-method")
    if not origin:
        raise S3Error(BAD_REQUEST, "Insufficient information. Origin request header needed.")
    if method not in METHODS:
        raise S3Error(BAD_REQUEST, f"Invalid Access-Control-Request-Method: {(method or 'null')[:32]}")
    sent = request.headers.get("access-control-request-headers") or ""
    names = [name.strip() for name in sent.split(",") if name.strip()]
    if bucket_name is None or len(names) > MAX_REQUEST_HEADERS:
        raise S3Error(ACCESS_FORBIDDEN)
    try:
        rules = await admission.rules.cors_of(await admission.catalogue.get_bucket(bucket_name))
    except NoSuchBucket:
        rules = ()
    rule = find_rule(rules, origin, method, names)
    if rule is None:
        raise S3Error(ACCESS_FORBIDDEN, headers={"Vary": VARY})
    return Response(200, preflight_headers(rule, origin, names))


async def headers_for(rules_of: RulesOfBuckets, request: Request, bucket: Bucket) -> tuple[Header, ...]:
    """The headers that an answer to a page of another origin carries; none where no rule fits."""
    origin = request.headers.get("origin")
    if not origin or CORS not in bucket.configurations:
        return ()
    rule = find_rule(await rules_of.cors_of(bucket), origin, request.method)
    return (("Vary", VARY),) if rule is None else response_headers(rule, origin)
