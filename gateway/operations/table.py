"""The whole S3 surface on one page: every operation, the action it needs, and the functions that carry it out."""

from types import MappingProxyType

from gateway.operations import (
    acls,
    buckets,
    copying,
    cors,
    encryption,
    lifecycle,
    listing,
    locking,
    logging,
    multipart,
    notifying,
    objects,
    ownership,
    policy,
    posting,
    public_access,
    service,
    tagging,
    versioning,
)
from gateway.operations.context import BodyUse, Operation
from gateway.s3 import parsing, serialising

_NONE, _DOCUMENT, _STREAM = BodyUse.NONE, BodyUse.DOCUMENT, BodyUse.STREAM

_GET_LOCKS, _PUT_LOCKS = "s3:GetBucketObjectLockConfiguration", "s3:PutBucketObjectLockConfiguration"

_ROWS = (
    # name, action, body, needs a bucket, run; parse_<run> and serialise_<run> stand in gateway.s3
    ("ListBuckets", "s3:ListAllMyBuckets", _NONE, False, service.list_buckets),
    ("CreateBucket", "s3:CreateBucket", _DOCUMENT, False, buckets.create_bucket),
    ("HeadBucket", "s3:ListBucket", _NONE, True, buckets.head_bucket),
    ("DeleteBucket", "s3:DeleteBucket", _NONE, True, buckets.delete_bucket),
    ("GetBucketLocation", "s3:GetBucketLocation", _NONE, True, buckets.get_bucket_location),
    ("GetBucketEncryption", "s3:GetEncryptionConfiguration", _NONE, True, encryption.get_bucket_encryption),
    ("PutBucketEncryption", "s3:PutEncryptionConfiguration", _DOCUMENT, True, encryption.put_bucket_encryption),
    ("DeleteBucketEncryption", "s3:PutEncryptionConfiguration", _NONE, True, encryption.delete_bucket_encryption),
    ("GetBucketVersioning", "s3:GetBucketVersioning", _NONE, True, versioning.get_bucket_versioning),
    ("PutBucketVersioning", "s3:PutBucketVersioning", _DOCUMENT, True, versioning.put_bucket_versioning),
    ("GetObjectLockConfiguration", _GET_LOCKS, _NONE, True, locking.get_object_lock_configuration),
    ("PutObjectLockConfiguration", _PUT_LOCKS, _DOCUMENT, True, locking.put_object_lock_configuration),
    ("GetBucketTagging", "s3:GetBucketTagging", _NONE, True, tagging.get_bucket_tagging),
    ("PutBucketTagging", "s3:PutBucketTagging", _DOCUMENT, True, tagging.put_bucket_tagging),
    ("DeleteBucketTagging", "s3:PutBucketTagging", _NONE, True, tagging.delete_bucket_tagging),
    (
        "PutBucketLifecycleConfiguration",
        "s3:PutLifecycleConfiguration",
        _DOCUMENT,
        True,
        lifecycle.put_bucket_lifecycle_configuration,
    ),
    (
        "GetBucketLifecycleConfiguration",
        "s3:GetLifecycleConfiguration",
        _NONE,
        True,
        lifecycle.get_bucket_lifecycle_configuration,
    ),
    (
        "PutBucketNotificationConfiguration",
        "s3:PutBucketNotification",
        _DOCUMENT,
        True,
        notifying.put_bucket_notification_configuration,
    ),
    (
        "GetBucketNotificationConfiguration",
        "s3:GetBucketNotification",
        _NONE,
        True,
        notifying.get_bucket_notification_configuration,
    ),
    ("PutBucketLogging", "s3:PutBucketLogging", _DOCUMENT, True, logging.put_bucket_logging),
    ("GetBucketLogging", "s3:GetBucketLogging", _NONE, True, logging.get_bucket_logging),
    ("DeleteBucketLifecycle", "s3:PutLifecycleConfiguration", _NONE, True, lifecycle.delete_bucket_lifecycle),
    ("GetBucketPolicy", "s3:GetBucketPolicy", _NONE, True, policy.get_bucket_policy),
    ("PutBucketPolicy", "s3:PutBucketPolicy", _DOCUMENT, True, policy.put_bucket_policy),
    ("DeleteBucketPolicy", "s3:DeleteBucketPolicy", _NONE, True, policy.delete_bucket_policy),
    ("GetBucketPolicyStatus", "s3:GetBucketPolicyStatus", _NONE, True, policy.get_bucket_policy_status),
    ("GetPublicAccessBlock", "s3:GetBucketPublicAccessBlock", _NONE, True, public_access.get_public_access_block),
    ("PutPublicAccessBlock", "s3:PutBucketPublicAccessBlock", _DOCUMENT, True, public_access.put_public_access_block),
    ("DeletePublicAccessBlock", "s3:PutBucketPublicAccessBlock", _NONE, True, public_access.delete_public_access_block),
    (
        "GetBucketOwnershipControls",
        "s3:GetBucketOwnershipControls",
        _NONE,
        True,
        ownership.get_bucket_ownership_controls,
    ),
    (
        "PutBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
        _DOCUMENT,
        True,
        ownership.put_bucket_ownership_controls,
    ),
    (
        "DeleteBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
        _NONE,
        True,
        ownership.delete_bucket_ownership_controls,
    ),
    ("GetBucketAcl", "s3:GetBucketAcl", _NONE, True, acls.get_bucket_acl),
    ("PutBucketAcl", "s3:PutBucketAcl", _DOCUMENT, True, acls.put_bucket_acl),
    ("GetBucketCors", "s3:GetBucketCORS", _NONE, True, cors.get_bucket_cors),
    ("PutBucketCors", "s3:PutBucketCORS", _DOCUMENT, True, cors.put_bucket_cors),
    ("DeleteBucketCors", "s3:PutBucketCORS", _NONE, True, cors.delete_bucket_cors),
    ("ListObjects", "s3:ListBucket", _NONE, True, listing.list_objects),
    ("ListObjectsV2", "s3:ListBucket", _NONE, True, listing.list_objects_v2),
    ("ListObjectVersions", "s3:ListBucketVersions", _NONE, True, versioning.list_object_versions),
    ("PutObject", "s3:PutObject", _STREAM, True, objects.put_object),
    ("PostObject", "s3:PutObject", _STREAM, True, posting.post_object),
    ("GetObject", "s3:GetObject", _NONE, True, objects.get_object),
    ("HeadObject", "s3:GetObject", _NONE, True, objects.head_object),
    ("DeleteObject", "s3:DeleteObject", _NONE, True, objects.delete_object),
    ("DeleteObjects", "s3:DeleteObject", _DOCUMENT, True, objects.delete_objects),
    ("CopyObject", "s3:PutObject", _NONE, True, copying.copy_object),
    ("GetObjectTagging", "s3:GetObjectTagging", _NONE, True, tagging.get_object_tagging),
    ("GetObjectAcl", "s3:GetObjectAcl", _NONE, True, acls.get_object_acl),
    ("PutObjectAcl", "s3:PutObjectAcl", _DOCUMENT, True, acls.put_object_acl),
    ("PutObjectTagging", "s3:PutObjectTagging", _DOCUMENT, True, tagging.put_object_tagging),
    ("DeleteObjectTagging", "s3:DeleteObjectTagging", _NONE, True, tagging.delete_object_tagging),
    ("GetObjectRetention", "s3:GetObjectRetention", _NONE, True, locking.get_object_retention),
    ("PutObjectRetention", "s3:PutObjectRetention", _DOCUMENT, True, locking.put_object_retention),
    ("GetObjectLegalHold", "s3:GetObjectLegalHold", _NONE, True, locking.get_object_legal_hold),
    ("PutObjectLegalHold", "s3:PutObjectLegalHold", _DOCUMENT, True, locking.put_object_legal_hold),
    ("GetObjectAttributes", "s3:GetObjectAttributes", _NONE, True, versioning.get_object_attributes),
    ("CreateMultipartUpload", "s3:PutObject", _NONE, True, multipart.create_multipart_upload),
    ("UploadPart", "s3:PutObject", _STREAM, True, multipart.upload_part),
    ("UploadPartCopy", "s3:PutObject", _NONE, True, copying.upload_part_copy),
    ("CompleteMultipartUpload", "s3:PutObject", _DOCUMENT, True, multipart.complete_multipart_upload),
    ("AbortMultipartUpload", "s3:AbortMultipartUpload", _NONE, True, multipart.abort_multipart_upload),
    ("ListParts", "s3:ListMultipartUploadParts", _NONE, True, multipart.list_parts),
    ("ListMultipartUploads", "s3:ListBucketMultipartUploads", _NONE, True, multipart.list_multipart_uploads),
)

OPERATIONS: MappingProxyType[str, Operation] = MappingProxyType(
    {
        name: Operation(
            name=name,
            action=action,
            body=body,
            needs_bucket=needs_bucket,
            parse=getattr(parsing, f"parse_{run.__name__}"),
            run=run,
            serialise=getattr(serialising, f"serialise_{run.__name__}"),
        )
        for name, action, body, needs_bucket, run in _ROWS
    }
)
"""Every supported operation by its name in the API."""
