"""Inputs and Outputs of the operations that say who may do what: policies, public-access block, ownership, ACLs, CORS.

As `gateway.s3.types`, which they belong to.
"""

from dataclasses import dataclass, field

from gateway.s3.acl import Acl, AclRequest
from gateway.s3.cors import CorsRule
from gateway.s3.public_access import ObjectOwnership, PublicAccessBlock


@dataclass(frozen=True, slots=True)
class PutBucketPolicyInput:
    """PutBucketPolicy."""

    bucket: str
    document: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GetBucketPolicyOutput:
    """GetBucketPolicy: the document as it was put."""

    document: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GetBucketPolicyStatusOutput:
    """GetBucketPolicyStatus."""

    is_public: bool


@dataclass(frozen=True, slots=True)
class PutPublicAccessBlockInput:
    """PutPublicAccessBlock."""

    bucket: str
    block: PublicAccessBlock


@dataclass(frozen=True, slots=True)
class GetPublicAccessBlockOutput:
    """GetPublicAccessBlock."""

    block: PublicAccessBlock


@dataclass(frozen=True, slots=True)
class PutBucketOwnershipControlsInput:
    """PutBucketOwnershipControls."""

    bucket: str
    ownership: ObjectOwnership


@dataclass(frozen=True, slots=True)
class GetBucketOwnershipControlsOutput:
    """GetBucketOwnershipControls."""

    ownership: ObjectOwnership


@dataclass(frozen=True, slots=True)
class PutBucketAclInput:
    """PutBucketAcl."""

    bucket: str
    acl: AclRequest


@dataclass(frozen=True, slots=True)
class GetAclOutput:
    """GetBucketAcl and GetObjectAcl."""

    acl: Acl
    names: tuple[tuple[str, str], ...]
    """Canonical id -> display name, for those that have one."""


@dataclass(frozen=True, slots=True)
class ObjectAclInput:
    """GetObjectAcl."""

    bucket: str
    object_key: bytes
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class PutObjectAclInput:
    """PutObjectAcl."""

    bucket: str
    object_key: bytes
    acl: AclRequest
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class PutBucketCorsInput:
    """PutBucketCors."""

    bucket: str
    rules: tuple[CorsRule, ...]


@dataclass(frozen=True, slots=True)
class GetBucketCorsOutput:
    """GetBucketCors."""

    rules: tuple[CorsRule, ...]
