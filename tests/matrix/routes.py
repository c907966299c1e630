"""One row for each operation: how a client asks for it, and what its owner gets. A route without a row fails the suite.

Places stand in braces: `{bucket}` is a bucket with an object `k`, `{upload}` an upload of `mpu` in it, `{etag}` its
first part, `{source}` another bucket with an object `k`, `{empty}` a bucket without objects, `{fresh}` a free name.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.operations.context import BodyUse
from gateway.operations.table import OPERATIONS


@dataclass(frozen=True)
class Route:
    """A request as its owner sends it, and what it comes to."""

    method: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    """What the owner gets."""
    code: str = ""
    """Of the error that the owner gets, where what is asked for is not there."""
    stranger: int = 403
    """What another account gets, which owns neither bucket nor object: 403 unless it is no question of buckets."""

    def takes_chunks(self, operation: str) -> bool:
        """Whether a streaming body may be sent."""
        return OPERATIONS[operation].body is not BodyUse.NONE


def _digest(document: bytes) -> Mapping[str, str]:
    return {"Content-MD5": base64.b64encode(hashlib.md5(document).digest()).decode()}


_DELETE: Final = b"<Delete><Object><Key>k</Key></Object></Delete>"
_COMPLETE: Final = (
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
)
_ENCRYPTION: Final = (
    b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
    b"</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
)
_TAGGING: Final = b"<Tagging><TagSet></TagSet></Tagging>"
_LOCKS: Final = b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"
_NO_LOCKS: Final = "ObjectLockConfigurationNotFoundError"
_PART: Final = "/{bucket}/mpu?partNumber=2&uploadId={upload}"
_NO_LOG: Final = b"<BucketLoggingStatus/>"
_LIFECYCLE: Final = (
    b"<LifecycleConfiguration><Rule><Filter><Prefix>tmp/</Prefix></Filter><Status>Disabled</Status>"
    b"<Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"
)

_BLOCK: Final = b"<PublicAccessBlockConfiguration/>"
_ENFORCED: Final = (
    b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>"
)
_CORS: Final = (
    b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>"
    b"</CORSConfiguration>"
)
_PRIVATE: Final = {"x-amz-acl": "private"}
POLICY: Final = (
    '{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:GetObjectTorrent","Resource":"arn:aws:s3:::BUCKET/*"}}'
)
"""Says nothing about any route."""

ROUTES: Final[Mapping[str, Route]] = {
    "ListBuckets": Route("GET", "/", stranger=200),
    "CreateBucket": Route("PUT", "/{fresh}", stranger=200),
    "HeadBucket": Route("HEAD", "/{bucket}"),
    "DeleteBucket": Route("DELETE", "/{empty}", status=204),
    "GetBucketLocation": Route("GET", "/{bucket}?location="),
    "GetBucketEncryption": Route("GET", "/{bucket}?encryption="),
    "PutBucketEncryption": Route("PUT", "/{bucket}?encryption=", _ENCRYPTION),
    "DeleteBucketEncryption": Route("DELETE", "/{bucket}?encryption=", status=204),
    "GetBucketVersioning": Route("GET", "/{bucket}?versioning="),
    "GetBucketLifecycleConfiguration": Route("GET", "/{bucket}?lifecycle="),
    "PutBucketLifecycleConfiguration": Route("PUT", "/{bucket}?lifecycle=", _LIFECYCLE, _digest(_LIFECYCLE)),
    "DeleteBucketLifecycle": Route("DELETE", "/{bucket}?lifecycle=", status=204),
    "GetBucketNotificationConfiguration": Route("GET", "/{bucket}?notification="),
    "PutBucketNotificationConfiguration": Route("PUT", "/{bucket}?notification=", b"<NotificationConfiguration/>"),
    "GetBucketLogging": Route("GET", "/{bucket}?logging="),
    "PutBucketLogging": Route("PUT", "/{bucket}?logging=", _NO_LOG, _digest(_NO_LOG)),
    "GetBucketPolicy": Route("GET", "/{bucket}?policy="),
    "PutBucketPolicy": Route("PUT", "/{bucket}?policy=", POLICY.replace("BUCKET", "{bucket}").encode(), status=204),
    "DeleteBucketPolicy": Route("DELETE", "/{bucket}?policy=", status=204),
    "GetBucketPolicyStatus": Route("GET", "/{bucket}?policyStatus="),
    "GetPublicAccessBlock": Route("GET", "/{bucket}?publicAccessBlock="),
    "PutPublicAccessBlock": Route("PUT", "/{bucket}?publicAccessBlock=", _BLOCK),
    "DeletePublicAccessBlock": Route("DELETE", "/{empty}?publicAccessBlock=", status=204),
    "GetBucketOwnershipControls": Route("GET", "/{bucket}?ownershipControls="),
    "PutBucketOwnershipControls": Route("PUT", "/{bucket}?ownershipControls=", _ENFORCED),
    "DeleteBucketOwnershipControls": Route("DELETE", "/{empty}?ownershipControls=", status=204),
    "GetBucketAcl": Route("GET", "/{bucket}?acl="),
    "PutBucketAcl": Route("PUT", "/{bucket}?acl=", headers=_PRIVATE),
    "GetObjectAcl": Route("GET", "/{bucket}/k?acl="),
    "PutObjectAcl": Route("PUT", "/{bucket}/k?acl=", headers=_PRIVATE),
    "GetBucketCors": Route("GET", "/{bucket}?cors="),
    "PutBucketCors": Route("PUT", "/{bucket}?cors=", _CORS),
    "DeleteBucketCors": Route("DELETE", "/{bucket}?cors=", status=204),
    "PutBucketVersioning": Route(
        "PUT", "/{empty}?versioning=", b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    ),
    "ListObjectVersions": Route("GET", "/{bucket}?versions="),
    "GetObjectLockConfiguration": Route("GET", "/{bucket}?object-lock=", status=404, code=_NO_LOCKS),
    "PutObjectLockConfiguration": Route("PUT", "/{bucket}?object-lock=", _LOCKS, status=409, code="InvalidBucketState"),
    "GetBucketTagging": Route("GET", "/{empty}?tagging=", status=404, code="NoSuchTagSet"),
    "PutBucketTagging": Route("PUT", "/{bucket}?tagging=", _TAGGING, status=204),
    "DeleteBucketTagging": Route("DELETE", "/{bucket}?tagging=", status=204),
    "PutObjectTagging": Route("PUT", "/{bucket}/k?tagging=", _TAGGING),
    "DeleteObjectTagging": Route("DELETE", "/{bucket}/k?tagging=", status=204),
    "GetObjectRetention": Route("GET", "/{bucket}/k?retention=", status=400, code="InvalidRequest"),
    "PutObjectRetention": Route(
        "PUT", "/{bucket}/k?retention=", b"<Retention></Retention>", status=400, code="InvalidRequest"
    ),
    "GetObjectLegalHold": Route("GET", "/{bucket}/k?legal-hold=", status=400, code="InvalidRequest"),
    "PutObjectLegalHold": Route(
        "PUT",
        "/{bucket}/k?legal-hold=",
        b"<LegalHold><Status>ON</Status></LegalHold>",
        status=400,
        code="InvalidRequest",
    ),
    "GetObjectAttributes": Route("GET", "/{bucket}/k?attributes=", headers={"x-amz-object-attributes": "ETag"}),
    "ListObjects": Route("GET", "/{bucket}"),
    "ListObjectsV2": Route("GET", "/{bucket}?list-type=2"),
    "PutObject": Route("PUT", "/{bucket}/new", b"data"),
    "PostObject": Route("POST", "/{bucket}", b"data", status=204),
    "GetObject": Route("GET", "/{bucket}/k"),
    "HeadObject": Route("HEAD", "/{bucket}/k"),
    "DeleteObject": Route("DELETE", "/{bucket}/k", status=204),
    "DeleteObjects": Route("POST", "/{bucket}?delete=", _DELETE, _digest(_DELETE)),
    "CopyObject": Route("PUT", "/{bucket}/copy", headers={"x-amz-copy-source": "{source}/k"}),
    "GetObjectTagging": Route("GET", "/{bucket}/k?tagging="),
    "CreateMultipartUpload": Route("POST", "/{bucket}/other?uploads="),
    "UploadPart": Route("PUT", _PART, b"data"),
    "UploadPartCopy": Route("PUT", _PART, headers={"x-amz-copy-source": "{source}/k"}),
    "CompleteMultipartUpload": Route("POST", "/{bucket}/mpu?uploadId={upload}", _COMPLETE),
    "AbortMultipartUpload": Route("DELETE", "/{bucket}/mpu?uploadId={upload}", status=204),
    "ListParts": Route("GET", "/{bucket}/mpu?uploadId={upload}"),
    "ListMultipartUploads": Route("GET", "/{bucket}?uploads="),
}
