"""What differs from botocore's service model on purpose, each row with its reason; a row that holds nowhere fails."""

from collections.abc import Mapping
from typing import Final

_TRAVELS: Final = "travels beside the Input"
_ONLY_STANDARD: Final = "STANDARD alone is taken, and is what every object has"

IGNORED: Final[Mapping[str, str]] = {
    # Members that may be sent and change nothing: `Member`, or `Operation.Member`.
    "ConfirmRemoveSelfBucketAccess": "no policy can lock the owner of a bucket out",
    "DisplayName": "an account is named by its id",
    "EmailAddress": "refused where the grantee's type says that it counts",
    "AnnotationDirective": "there are no annotations to copy",
    "ObjectLockEnabled": "Enabled is its only value, and required",
    "OptionalObjectAttributes": "nothing is ever archived, so there is no restore status to show",
    "StorageClass": _ONLY_STANDARD,
}

_COSTS: Final = "nobody is charged: request payment is refused"
_AWS_ONLY: Final = "of directory buckets and access points, which are AWS's own"
_ARCHIVE: Final = "nothing is ever archived"
_NEWER: Final = "this checksum algorithm is not there yet, and refused in requests"
_ONE_RULE: Final = "a rule has one of several; the tests of its document show each"
_TRANSITIONS: Final = "transitions are refused: there is one storage class"
_EVENTS: Final = "event holds are refused"
_MARKERS: Final = "a delete marker is answered by an error, whose headers say so"
_PARTS: Final = "checksums of parts are not kept once their upload is complete"

NOT_GIVEN: Final[Mapping[str, str]] = {
    # Members of answers that are never given: the last name of their path, or `Operation.Member`.
    "AccessPointAlias": _AWS_ONLY,
    "ArchiveStatus": _ARCHIVE,
    "BucketArn": _AWS_ONLY,
    "BucketLocationName": _AWS_ONLY,
    "BucketLocationType": _AWS_ONLY,
    "ChecksumMD5": _NEWER,
    "ChecksumSHA512": _NEWER,
    "ChecksumXXHASH128": _NEWER,
    "ChecksumXXHASH3": _NEWER,
    "ChecksumXXHASH64": _NEWER,
    **{
        f"GetBucketLifecycleConfiguration.{name}": _ONE_RULE
        for name in (
            "Date",
            "ExpiredObjectDeleteMarker",
            "Key",
            "ObjectSizeGreaterThan",
            "ObjectSizeLessThan",
            "Prefix",
            "Value",
        )
    },
    **{
        f"GetBucketLifecycleConfiguration.{name}": _TRANSITIONS
        for name in ("Days", "NewerNoncurrentVersions", "NoncurrentDays", "StorageClass")
    },
    "GetBucketNotificationConfiguration.EventBridgeConfiguration": "there is no EventBridge",
    "EmailAddress": "accounts have none",
    "URI": "a grantee is an account or a group; the tests of ACLs show both",
    **{
        f"GetBucketLogging.{name}": "target grants are refused: logs belong to the owner of their bucket"
        for name in ("DisplayName", "EmailAddress", "ID", "Permission", "Type", "URI")
    },
    "GetBucketLogging.SimplePrefix": "an empty element, which botocore reads as an empty mapping",
    "GetBucketLocation.LocationConstraint": "the text of the root element; botocore reads it apart from the model",
    "GetObject.DeleteMarker": _MARKERS,
    "HeadObject.DeleteMarker": _MARKERS,
    "GetObjectAttributes.DeleteMarker": _MARKERS,
    **{f"GetObjectAttributes.Checksum{name}": _PARTS for name in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")},
    "GetObjectLockConfiguration.Days": _EVENTS,
    "GetObjectLockConfiguration.Years": _EVENTS,
    "GetObjectRetention.Days": _EVENTS,
    "GetObjectRetention.Years": _EVENTS,
    "GetObjectRetention.EventHold": _EVENTS,
    "IsRestoreInProgress": _ARCHIVE,
    "MFADelete": "MFA delete is refused",
    "MissingMeta": "metadata come by this API alone, so every name can be a header",
    "ObjectLockEventHold": _EVENTS,
    "ObjectLockEventHoldDurationDays": _EVENTS,
    "ObjectLockEventHoldDurationYears": _EVENTS,
    "ReplicationStatus": "replication is refused",
    "RequestCharged": _COSTS,
    "Restore": _ARCHIVE,
    "RestoreExpiryDate": _ARCHIVE,
    "PutObject.Size": _AWS_ONLY,
    "GetObject.StorageClass": "left out for STANDARD, as on AWS",
    "HeadObject.StorageClass": "left out for STANDARD, as on AWS",
    "WebsiteRedirectLocation": "websites are refused",
    "CreateMultipartUpload.VersionId": "an upload has a version only once it is complete",
    "UploadPart.VersionId": "an upload has a version only once it is complete",
    "UploadPartCopy.VersionId": "an upload has a version only once it is complete",
    "AbortMultipartUpload.VersionId": "an upload has a version only once it is complete",
    "ListParts.VersionId": "an upload has a version only once it is complete",
    "ListMultipartUploads.VersionId": "an upload has a version only once it is complete",
}


def row_of(table: Mapping[str, str], operation: str, name: str) -> str | None:
    """The row that speaks of a member of an operation: the narrower one first."""
    return next((row for row in (f"{operation}.{name}", name) if row in table), None)
