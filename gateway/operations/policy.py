"""Bucket policies: put, get, delete, and whether one is public."""

from gateway.access.policy_document import parse_policy
from gateway.operations.context import Context
from gateway.operations.rules import POLICY
from gateway.s3.access_types import GetBucketPolicyOutput, GetBucketPolicyStatusOutput, PutBucketPolicyInput
from gateway.s3.errors import (
    ACCESS_DENIED,
    INVALID_REQUEST,
    MALFORMED_POLICY,
    METHOD_NOT_ALLOWED,
    NO_SUCH_BUCKET_POLICY,
    S3Error,
)
from gateway.s3.sigv4 import Kind
from gateway.s3.types import Body, BucketInput, EmptyOutput
from storage.catalogue.conflicts import NoSuchAccount


async def put_bucket_policy(context: Context, request: PutBucketPolicyInput, _: Body) -> EmptyOutput:
    """PutBucketPolicy: kept as it was sent, once every word of it is understood.

    Raises:
        S3Error: InvalidRequest where the signature does not cover it; MalformedPolicy, PolicyTooLarge; AccessDenied for
            a public one where those are blocked; MethodNotAllowed for a guest.
    """
    unsigned = "UNSIGNED" in (context.request.headers.get("x-amz-content-sha256") or "")
    if unsigned or context.access.caller.kind is not Kind.HEADER:
        raise S3Error(INVALID_REQUEST, "A bucket policy must be sent with a signed payload.")
    _refuse_guests(context)
    policy = parse_policy(request.document, context.bucket.name)
    for account_id in sorted(policy.accounts):
        try:
            await context.services.catalogue.get_account(bytes.fromhex(account_id))
        except NoSuchAccount:
            raise S3Error(MALFORMED_POLICY, "Invalid principal in policy") from None
    if policy.is_public and context.access.rules.block.block_public_policy:
        raise S3Error(
            ACCESS_DENIED, "Public policies are prevented by the BlockPublicPolicy setting of the public access block."
        )
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, POLICY, request.document)
    return EmptyOutput()


async def get_bucket_policy(context: Context, request: BucketInput, _: Body) -> GetBucketPolicyOutput:
    """GetBucketPolicy. Raises S3Error: NoSuchBucketPolicy, MethodNotAllowed."""
    _refuse_guests(context)
    document = await context.services.catalogue.get_configuration(context.bucket.bucket_id, POLICY)
    if document is None:
        raise _no_policy(request.bucket)
    return GetBucketPolicyOutput(document)


async def delete_bucket_policy(context: Context, request: BucketInput, _: Body) -> EmptyOutput:
    """DeleteBucketPolicy; where there is none, nothing is to be done. Raises S3Error: MethodNotAllowed."""
    del request
    _refuse_guests(context)
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, POLICY, None)
    return EmptyOutput()


async def get_bucket_policy_status(context: Context, request: BucketInput, _: Body) -> GetBucketPolicyStatusOutput:
    """GetBucketPolicyStatus. Raises S3Error: NoSuchBucketPolicy."""
    policy = context.access.rules.policy
    if policy is None:
        raise _no_policy(request.bucket)
    return GetBucketPolicyStatusOutput(policy.is_public)


def _refuse_guests(context: Context) -> None:
    """AWS: with the permission but not of the owner's account, "Amazon S3 returns a 405 Method Not Allowed error"."""
    if not context.access.is_owner:
        raise S3Error(METHOD_NOT_ALLOWED)


def _no_policy(bucket: str) -> S3Error:
    return S3Error(NO_SUCH_BUCKET_POLICY, fields={"BucketName": bucket})
