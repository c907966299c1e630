"""From method, address, query and headers to the name of the operation; one table, and no way to fall through it.

Source: the S3 API reference (the test compares with botocore's service model). A query name that AWS would skip is
refused here: a subresource of S3 that is not served answers 501, any other unknown name 400.
"""

from enum import Enum
from types import MappingProxyType
from typing import Final, NoReturn

from gateway.s3.addressing import Address
from gateway.s3.errors import INVALID_ARGUMENT, METHOD_NOT_ALLOWED, NOT_IMPLEMENTED, S3Error
from gateway.s3.query import SIGNATURE_NAMES, Query, effective_headers, is_header_name, parse_query
from gateway.s3.request import Request

COPY_SOURCE: Final = "x-amz-copy-source"


class Level(Enum):
    """What a request is addressed to."""

    SERVICE = "service"
    BUCKET = "bucket"
    OBJECT = "object"


_SUBRESOURCES: Final = frozenset(
    {
        *("abac", "accelerate", "acl", "analytics", "annotation", "attributes", "cors", "delete", "encryption"),
        *("intelligent-tiering", "inventory", "legal-hold", "lifecycle", "location", "logging", "metrics"),
        *("max-directory-buckets", "metadataAnnotationTable", "metadataConfiguration", "metadataInventoryTable"),
        *("metadataJournalTable", "metadataTable", "notification", "object-lock", "ownershipControls", "policy"),
        *("policyStatus", "publicAccessBlock", "renameObject", "replication", "requestPayment", "restore"),
        *("retention", "select", "session", "tagging", "torrent", "uploads", "versioning", "versions", "website"),
    }
)
"""Every name of the S3 API that makes another operation out of a path."""
_SELECTORS: Final = _SUBRESOURCES | {"list-type", "uploadId"}
"""Names that decide which operation is meant; the others are its arguments."""

_RESPONSE: Final = frozenset(
    f"response-{name}"
    for name in (
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    )
)
_LISTING: Final = frozenset(
    {
        *("continuation-token", "delimiter", "encoding-type", "fetch-owner", "marker", "max-keys", "prefix"),
        "start-after",
    }
)
_REPEATED_BY_V2: Final = frozenset({"content-md5", "content-type"})
"""boto3 writes these headers into a URL that it presigns by SigV2; they count only where they are sent as headers."""
_READ: Final = frozenset({"partNumber", "versionId"})
_VERSION: Final = frozenset({"versionId"})
_NONE: Final[frozenset[str]] = frozenset()


class _Route:
    __slots__ = ("arguments", "name")

    def __init__(self, name: str, arguments: frozenset[str] = _NONE) -> None:
        self.name = name
        self.arguments = arguments


_Where = tuple[str, Level, frozenset[str], bool]


def _at(method: str, level: Level, *selectors: str, copy: bool = False) -> _Where:
    return method, level, frozenset(selectors), copy


_BUCKETS: Final = frozenset({"max-buckets", "continuation-token", "prefix", "bucket-region"})
_UPLOADS: Final = frozenset({"delimiter", "encoding-type", "key-marker", "max-uploads", "prefix", "upload-id-marker"})
_VERSIONS: Final = frozenset({"delimiter", "encoding-type", "key-marker", "max-keys", "prefix", "version-id-marker"})
_PARTS: Final = frozenset({"max-parts", "part-number-marker", "encoding-type"})
_PART: Final = frozenset({"partNumber"})

ROUTES: Final = MappingProxyType(
    {
        _at("GET", Level.SERVICE): _Route("ListBuckets", _BUCKETS),
        _at("PUT", Level.BUCKET): _Route("CreateBucket"),
        _at("HEAD", Level.BUCKET): _Route("HeadBucket"),
        _at("DELETE", Level.BUCKET): _Route("DeleteBucket"),
        _at("GET", Level.BUCKET, "location"): _Route("GetBucketLocation"),
        _at("GET", Level.BUCKET, "encryption"): _Route("GetBucketEncryption"),
        _at("PUT", Level.BUCKET, "encryption"): _Route("PutBucketEncryption"),
        _at("DELETE", Level.BUCKET, "encryption"): _Route("DeleteBucketEncryption"),
        _at("GET", Level.BUCKET, "versioning"): _Route("GetBucketVersioning"),
        _at("PUT", Level.BUCKET, "notification"): _Route("PutBucketNotificationConfiguration"),
        _at("GET", Level.BUCKET, "notification"): _Route("GetBucketNotificationConfiguration"),
        _at("PUT", Level.BUCKET, "logging"): _Route("PutBucketLogging"),
        _at("GET", Level.BUCKET, "logging"): _Route("GetBucketLogging"),
        _at("PUT", Level.BUCKET, "lifecycle"): _Route("PutBucketLifecycleConfiguration"),
        _at("GET", Level.BUCKET, "lifecycle"): _Route("GetBucketLifecycleConfiguration"),
        _at("DELETE", Level.BUCKET, "lifecycle"): _Route("DeleteBucketLifecycle"),
        _at("GET", Level.BUCKET, "policy"): _Route("GetBucketPolicy"),
        _at("PUT", Level.BUCKET, "policy"): _Route("PutBucketPolicy"),
        _at("DELETE", Level.BUCKET, "policy"): _Route("DeleteBucketPolicy"),
        _at("GET", Level.BUCKET, "policyStatus"): _Route("GetBucketPolicyStatus"),
        _at("GET", Level.BUCKET, "publicAccessBlock"): _Route("GetPublicAccessBlock"),
        _at("PUT", Level.BUCKET, "publicAccessBlock"): _Route("PutPublicAccessBlock"),
        _at("DELETE", Level.BUCKET, "publicAccessBlock"): _Route("DeletePublicAccessBlock"),
        _at("GET", Level.BUCKET, "ownershipControls"): _Route("GetBucketOwnershipControls"),
        _at("PUT", Level.BUCKET, "ownershipControls"): _Route("PutBucketOwnershipControls"),
        _at("DELETE", Level.BUCKET, "ownershipControls"): _Route("DeleteBucketOwnershipControls"),
        _at("GET", Level.BUCKET, "acl"): _Route("GetBucketAcl"),
        _at("PUT", Level.BUCKET, "acl"): _Route("PutBucketAcl"),
        _at("GET", Level.BUCKET, "cors"): _Route("GetBucketCors"),
        _at("PUT", Level.BUCKET, "cors"): _Route("PutBucketCors"),
        _at("DELETE", Level.BUCKET, "cors"): _Route("DeleteBucketCors"),
        _at("PUT", Level.BUCKET, "versioning"): _Route("PutBucketVersioning"),
        _at("GET", Level.BUCKET, "versions"): _Route("ListObjectVersions", _VERSIONS),
        _at("GET", Level.BUCKET, "object-lock"): _Route("GetObjectLockConfiguration"),
        _at("PUT", Level.BUCKET, "object-lock"): _Route("PutObjectLockConfiguration"),
        _at("GET", Level.BUCKET, "tagging"): _Route("GetBucketTagging"),
        _at("PUT", Level.BUCKET, "tagging"): _Route("PutBucketTagging"),
        _at("DELETE", Level.BUCKET, "tagging"): _Route("DeleteBucketTagging"),
        _at("GET", Level.BUCKET): _Route("ListObjects", _LISTING),
        _at("GET", Level.BUCKET, "list-type"): _Route("ListObjectsV2", _LISTING),
        _at("GET", Level.BUCKET, "uploads"): _Route("ListMultipartUploads", _UPLOADS),
        _at("POST", Level.BUCKET): _Route("PostObject"),
        _at("POST", Level.BUCKET, "delete"): _Route("DeleteObjects"),
        _at("PUT", Level.OBJECT): _Route("PutObject"),
        _at("GET", Level.OBJECT): _Route("GetObject", _READ),
        _at("HEAD", Level.OBJECT): _Route("HeadObject", _READ),
        _at("DELETE", Level.OBJECT): _Route("DeleteObject", _VERSION),
        _at("PUT", Level.OBJECT, copy=True): _Route("CopyObject"),
        _at("GET", Level.OBJECT, "acl"): _Route("GetObjectAcl", _VERSION),
        _at("PUT", Level.OBJECT, "acl"): _Route("PutObjectAcl", _VERSION),
        _at("GET", Level.OBJECT, "tagging"): _Route("GetObjectTagging", _VERSION),
        _at("PUT", Level.OBJECT, "tagging"): _Route("PutObjectTagging", _VERSION),
        _at("DELETE", Level.OBJECT, "tagging"): _Route("DeleteObjectTagging", _VERSION),
        _at("GET", Level.OBJECT, "retention"): _Route("GetObjectRetention", _VERSION),
        _at("PUT", Level.OBJECT, "retention"): _Route("PutObjectRetention", _VERSION),
        _at("GET", Level.OBJECT, "legal-hold"): _Route("GetObjectLegalHold", _VERSION),
        _at("PUT", Level.OBJECT, "legal-hold"): _Route("PutObjectLegalHold", _VERSION),
        _at("GET", Level.OBJECT, "attributes"): _Route("GetObjectAttributes", _VERSION),
        _at("POST", Level.OBJECT, "uploads"): _Route("CreateMultipartUpload"),
        _at("PUT", Level.OBJECT, "uploadId"): _Route("UploadPart", _PART),
        _at("PUT", Level.OBJECT, "uploadId", copy=True): _Route("UploadPartCopy", _PART),
        _at("POST", Level.OBJECT, "uploadId"): _Route("CompleteMultipartUpload"),
        _at("DELETE", Level.OBJECT, "uploadId"): _Route("AbortMultipartUpload"),
        _at("GET", Level.OBJECT, "uploadId"): _Route("ListParts", _PARTS),
    }
)
"""(method, level, selectors present, copy source present) -> operation and the query names that it may have besides."""

_METHODS: Final = ("DELETE", "GET", "HEAD", "POST", "PUT")


def level_of(address: Address) -> Level:
    """Tell what an address names."""
    if address.bucket is None:
        return Level.SERVICE
    return Level.BUCKET if address.object_key is None else Level.OBJECT


def route(request: Request, address: Address) -> str:
    """Name the operation that a request asks for, as in the API: `PutObject`.

    Raises:
        S3Error: MethodNotAllowed; NotImplemented for what S3 has and this endpoint has not; InvalidArgument for an
            unknown query name, or a copy source where nothing is copied; what `parse_query` raises.
    """
    if request.method not in _METHODS:
        raise S3Error(METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(_METHODS)})
    query = parse_query(request)
    level = level_of(address)
    selectors = _SELECTORS.intersection(query)
    copies = COPY_SOURCE in effective_headers(request)
    found = ROUTES.get((request.method, level, selectors, copies))
    if found is None:
        _refuse(level, selectors, copies=copies)
    unknown = [name for name in query if name not in selectors and not _is_known(name, query, found)]
    if unknown:
        raise S3Error(
            INVALID_ARGUMENT,
            f"{found.name} has no such query parameter.",
            fields={"ArgumentName": unknown[0]},
        )
    return found.name


def _refuse(level: Level, selectors: frozenset[str], *, copies: bool) -> NoReturn:
    if copies:
        raise S3Error(
            INVALID_ARGUMENT,
            "You can only specify a copy source header for copy requests.",
            fields={"ArgumentName": COPY_SOURCE},
        )
    if selectors & _SUBRESOURCES:
        raise S3Error(NOT_IMPLEMENTED)
    raise S3Error(METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(_allowed(level))})


def _allowed(level: Level) -> list[str]:
    return sorted({method for method, at, _, _ in ROUTES if at is level})


def _is_known(name: str, query: Query, found: _Route) -> bool:
    return (
        name in found.arguments
        or name == "x-id"
        or name in _RESPONSE
        or name in SIGNATURE_NAMES
        or name.lower() in SIGNATURE_NAMES
        or is_header_name(name)
        or (name in _REPEATED_BY_V2 and "AWSAccessKeyId" in query)
    )
