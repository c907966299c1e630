"""Every S3 action that a bucket policy may name: what it is about, and which `s3:` condition keys it has.

Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3". Actions that are not
served are known all the same, since policies name them: nothing here ever asks for one.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.access.condition_keys import EXISTING_TAG, GLOBAL, REQUEST_TAG
from gateway.access.wildcards import pattern_of
from gateway.s3.acl import Permission


@dataclass(frozen=True, slots=True)
class Action:
    """One action."""

    name: str
    """`s3:GetObject`."""
    on_object: bool
    """Whether its resource is an object; else it is the bucket."""
    keys: frozenset[str]
    """The condition keys that it has, as `condition_keys.kind_of` names them."""


COMMON: Final = frozenset(
    {
        *("s3:authtype", "s3:resourceaccount", "s3:signatureage", "s3:signatureversion", "s3:tlsversion"),
        "s3:x-amz-content-sha256",
    }
)
"""S3's keys that every action has."""

_EXISTING: Final = frozenset({EXISTING_TAG})
_VERSION: Final = frozenset({"s3:versionid"})
_TAGS: Final = frozenset({REQUEST_TAG, "s3:requestobjecttagkeys"})
_ACL: Final = frozenset(
    {
        *("s3:x-amz-acl", "s3:x-amz-grant-full-control", "s3:x-amz-grant-read", "s3:x-amz-grant-read-acp"),
        *("s3:x-amz-grant-write", "s3:x-amz-grant-write-acp"),
    }
)
_LISTING: Final = frozenset({"s3:prefix", "s3:delimiter", "s3:max-keys"})
_RETENTION: Final = frozenset(
    {
        *("s3:object-lock-mode", "s3:object-lock-retain-until-date"),
        "s3:object-lock-remaining-retention-days",
    }
)
_HOLD: Final = frozenset({"s3:object-lock-legal-hold"})
_PUT: Final = (
    _TAGS
    | _ACL
    | _RETENTION
    | _HOLD
    | {
        *("s3:if-match", "s3:if-none-match", "s3:objectcreationoperation"),
        *("s3:x-amz-copy-source", "s3:x-amz-metadata-directive", "s3:x-amz-storage-class"),
        *("s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"),
        *("s3:x-amz-server-side-encryption-customer-algorithm", "s3:x-amz-website-redirect-location"),
    }
)

_ON_OBJECTS: Final[dict[str, frozenset[str]]] = {
    "AbortMultipartUpload": frozenset(),
    "BypassGovernanceRetention": _PUT,
    "DeleteObject": frozenset({"s3:if-match"}),
    "DeleteObjectTagging": _EXISTING,
    "DeleteObjectVersion": _VERSION,
    "DeleteObjectVersionTagging": _EXISTING | _VERSION,
    "GetObject": _EXISTING,
    "GetObjectAcl": _EXISTING,
    "GetObjectAttributes": _EXISTING,
    "GetObjectLegalHold": frozenset(),
    "GetObjectRetention": frozenset(),
    "GetObjectTagging": _EXISTING,
    "GetObjectTorrent": frozenset(),
    "GetObjectVersion": _EXISTING | _VERSION,
    "GetObjectVersionAcl": _EXISTING | _VERSION,
    "GetObjectVersionAttributes": _EXISTING | _VERSION,
    "GetObjectVersionForReplication": frozenset(),
    "GetObjectVersionTagging": _EXISTING | _VERSION,
    "GetObjectVersionTorrent": _VERSION,
    "InitiateReplication": frozenset(),
    "ListMultipartUploadParts": frozenset(),
    "ObjectOwnerOverrideToBucketOwner": frozenset(),
    "PutObject": _PUT,
    "PutObjectAcl": _EXISTING | _ACL | {"s3:x-amz-storage-class"},
    "PutObjectLegalHold": _HOLD,
    "PutObjectRetention": _RETENTION,
    "PutObjectTagging": _EXISTING | _TAGS,
    "PutObjectVersionAcl": _EXISTING | _ACL | _VERSION | {"s3:x-amz-storage-class"},
    "PutObjectVersionTagging": _EXISTING | _TAGS | _VERSION,
    "ReplicateDelete": frozenset(),
    "ReplicateObject": frozenset(),
    "ReplicateTags": frozenset(),
    "RestoreObject": frozenset(),
}
_ON_BUCKETS: Final[dict[str, frozenset[str]]] = {
    "CreateBucket": _ACL | {"s3:locationconstraint", "s3:x-amz-object-ownership"},
    "DeleteBucket": frozenset(),
    "DeleteBucketPolicy": frozenset(),
    "DeleteBucketWebsite": frozenset(),
    "ListBucket": _LISTING,
    "ListBucketMultipartUploads": frozenset(),
    "ListBucketVersions": _LISTING,
    "PutBucketAcl": _ACL,
    "PutBucketObjectLockConfiguration": _RETENTION,
    "PutBucketOwnershipControls": frozenset({"s3:x-amz-object-ownership"}),
    **{
        f"{verb}{name}": frozenset()
        for verb in ("Get", "Put")
        for name in (
            *("AccelerateConfiguration", "AnalyticsConfiguration", "BucketCORS", "BucketLogging"),
            *("BucketNotification", "BucketPolicy", "BucketPublicAccessBlock", "BucketRequestPayment"),
            *("BucketTagging", "BucketVersioning", "BucketWebsite", "EncryptionConfiguration"),
            *("IntelligentTieringConfiguration", "InventoryConfiguration", "LifecycleConfiguration"),
            *("MetricsConfiguration", "ReplicationConfiguration"),
        )
    },
    **{
        f"Get{name}": frozenset()
        for name in (
            *("BucketAcl", "BucketLocation", "BucketObjectLockConfiguration", "BucketOwnershipControls"),
            "BucketPolicyStatus",
        )
    },
}

ACTIONS: Final = MappingProxyType(
    {
        f"s3:{name}": Action(f"s3:{name}", on_object, keys | COMMON | GLOBAL)
        for on_object, table in ((True, _ON_OBJECTS), (False, _ON_BUCKETS))
        for name, keys in table.items()
    }
)
"""Every action by its name."""

S3_KEYS: Final = frozenset().union(*(action.keys for action in ACTIONS.values())) - GLOBAL
"""Every `s3:` key of any action."""

_BY_LOWER: Final = {name.lower(): name for name in ACTIONS}

OWNER_ALWAYS: Final = frozenset({"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"})
"""What no policy can take from the bucket's owner, or he could lock himself out for good (AWS: "Bucket policies")."""

VERSIONED: Final = MappingProxyType(
    {
        "s3:DeleteObject": "s3:DeleteObjectVersion",
        "s3:DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
        "s3:GetObject": "s3:GetObjectVersion",
        "s3:GetObjectAcl": "s3:GetObjectVersionAcl",
        "s3:GetObjectAttributes": "s3:GetObjectVersionAttributes",
        "s3:GetObjectTagging": "s3:GetObjectVersionTagging",
        "s3:PutObjectAcl": "s3:PutObjectVersionAcl",
        "s3:PutObjectTagging": "s3:PutObjectVersionTagging",
    }
)
"""What an action becomes where the request names a version."""


BUCKET_ACL_NEEDS: Final = MappingProxyType(
    {
        "s3:ListBucket": Permission.READ,
        "s3:ListBucketVersions": Permission.READ,
        "s3:ListBucketMultipartUploads": Permission.READ,
        "s3:PutObject": Permission.WRITE,
        "s3:GetBucketAcl": Permission.READ_ACP,
        "s3:PutBucketAcl": Permission.WRITE_ACP,
    }
)
"""Action -> what the bucket's ACL must grant for it."""
OBJECT_ACL_NEEDS: Final = MappingProxyType(
    {
        "s3:GetObject": Permission.READ,
        "s3:GetObjectVersion": Permission.READ,
        "s3:GetObjectAcl": Permission.READ_ACP,
        "s3:GetObjectVersionAcl": Permission.READ_ACP,
        "s3:PutObjectAcl": Permission.WRITE_ACP,
        "s3:PutObjectVersionAcl": Permission.WRITE_ACP,
    }
)
"""Action -> what the object's ACL must grant for it."""


def named_by(pattern: str) -> frozenset[str]:
    """Every action that a policy's pattern names, in any case; none for a pattern that names nothing.

    A name without wildcards is one look-up.
    """
    lowered = pattern.lower()
    if lowered == "*":
        lowered = "s3:*"
    if lowered in _BY_LOWER:
        return frozenset({_BY_LOWER[lowered]})
    if not {"*", "?"} & set(lowered):
        return frozenset()
    compiled = pattern_of(lowered)
    return frozenset(name for lower, name in _BY_LOWER.items() if compiled.matches(lower))
