"""Every error that Sealgate answers, as one table, and the exception that carries a row of it to the endpoint.

Codes, statuses and messages: AWS "Error responses" of the S3 API reference; messages that AWS leaves open are ours
and say what to do. Rows that differ from AWS on purpose say so.
"""

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One line of the table: the S3 code, its HTTP status, and what is said when the call site adds nothing."""

    code: str
    status: int
    message: str


class S3Error(Exception):
    """A refusal in S3's words.

    `fields` become extra elements of the error XML (`BucketName`, `Key`, `Region`, ...); `headers` are added to the
    response. Neither may hold secrets, paths of this machine, or anything of another account.
    """

    def __init__(
        self,
        row: ErrorRow,
        message: str | None = None,
        *,
        fields: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{row.code}: {message or row.message}")
        self.row = row
        self.message = message or row.message
        self.fields = MappingProxyType(dict(fields or {}))
        self.headers = MappingProxyType(dict(headers or {}))


ACCESS_CONTROL_LIST_NOT_SUPPORTED = ErrorRow("AccessControlListNotSupported", 400, "The bucket does not allow ACLs")
ACCESS_DENIED = ErrorRow("AccessDenied", 403, "Access Denied")
ACCESS_FORBIDDEN = ErrorRow(
    # One answer for no bucket, no configuration and no rule that fits: who asks is nobody yet.
    "AccessForbidden",
    403,
    "CORSResponse: This CORS request is not allowed. This is usually because the evaluation of Origin, request "
    "method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's "
    "CORS spec.",
)
AUTHORIZATION_HEADER_MALFORMED = ErrorRow(
    "AuthorizationHeaderMalformed", 400, "The authorization header that you provided is not valid."
)
AUTHORIZATION_QUERY_PARAMETERS_ERROR = ErrorRow(
    "AuthorizationQueryParametersError",
    400,
    "The authorization query parameters that you provided are not valid.",
)
BAD_DIGEST = ErrorRow(
    "BadDigest",
    400,
    "The Content-MD5 or checksum value that you specified did not match what the server received.",
)
BAD_REQUEST = ErrorRow("BadRequest", 400, "Bad Request")
BUCKET_ALREADY_EXISTS = ErrorRow(
    "BucketAlreadyExists",
    409,
    "The requested bucket name is not available. Select a different name and try again.",
)
BUCKET_ALREADY_OWNED_BY_YOU = ErrorRow(
    "BucketAlreadyOwnedByYou",
    409,
    "Your previous request to create the named bucket succeeded and you already own it.",
)
BUCKET_NOT_EMPTY = ErrorRow("BucketNotEmpty", 409, "The bucket that you tried to delete is not empty.")
CONDITIONAL_REQUEST_CONFLICT = ErrorRow(
    "ConditionalRequestConflict",
    409,
    "The conditional request cannot succeed due to a conflicting operation against this resource.",
)
ENTITY_TOO_LARGE = ErrorRow("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed object size.")
ENTITY_TOO_SMALL = ErrorRow(
    "EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed object size."
)
ILLEGAL_VERSIONING_CONFIGURATION = ErrorRow(
    "IllegalVersioningConfigurationException",
    400,
    "The versioning configuration specified in the request is not valid.",
)
ILLEGAL_LOCATION_CONSTRAINT = ErrorRow(
    "IllegalLocationConstraintException",
    400,
    "The specified location-constraint does not fit the region of this endpoint.",
)
INCOMPLETE_BODY = ErrorRow(
    "IncompleteBody",
    400,
    "You did not provide the number of bytes specified by the Content-Length HTTP header.",
)
INCORRECT_NUMBER_OF_FILES = ErrorRow(
    "IncorrectNumberOfFilesInPostRequest", 400, "POST requires exactly one file upload per request."
)
INSUFFICIENT_STORAGE = ErrorRow(
    # Not of AWS: as versitygw and RFC 4918 section 11.5 have it.
    "InsufficientStorage",
    507,
    "There is no space left on the storage of this endpoint.",
)
INTERNAL_ERROR = ErrorRow("InternalError", 500, "We encountered an internal error. Please try again.")
INVALID_ACCESS_KEY_ID = ErrorRow(
    "InvalidAccessKeyId", 403, "The AWS access key ID that you provided does not exist in our records."
)
INVALID_ARGUMENT = ErrorRow("InvalidArgument", 400, "Invalid Argument")
INVALID_BUCKET_STATE = ErrorRow(
    "InvalidBucketState", 409, "The request is not valid for the current state of the bucket."
)
INVALID_BUCKET_NAME = ErrorRow("InvalidBucketName", 400, "The specified bucket is not valid.")
INVALID_BUCKET_ACL_WITH_OBJECT_OWNERSHIP = ErrorRow(
    "InvalidBucketAclWithObjectOwnership",
    400,
    "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
)
INVALID_CHUNK_SIZE = ErrorRow(
    "InvalidChunkSizeError", 400, "Only the last chunk is allowed to have a size less than 8192 bytes"
)
INVALID_DIGEST = ErrorRow("InvalidDigest", 400, "The Content-MD5 or checksum value that you specified is not valid.")
INVALID_ENCRYPTION_ALGORITHM = ErrorRow(
    "InvalidEncryptionAlgorithmError",
    400,
    "The encryption request that you specified is not valid. The valid value is AES256.",
)
INVALID_LOCATION_CONSTRAINT = ErrorRow(
    "InvalidLocationConstraint", 400, "The specified location-constraint is not valid."
)
INVALID_PART = ErrorRow(
    "InvalidPart",
    400,
    "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified "
    "entity tag might not have matched the part's entity tag.",
)
INVALID_PART_NUMBER = ErrorRow("InvalidPartNumber", 416, "The requested partnumber is not satisfiable")
INVALID_PART_ORDER = ErrorRow(
    "InvalidPartOrder",
    400,
    "The list of parts was not in ascending order. Parts must be ordered by part number.",
)
INVALID_POLICY_DOCUMENT = ErrorRow(
    "InvalidPolicyDocument",
    400,
    "The content of the form does not meet the conditions specified in the policy document.",
)
INVALID_RANGE = ErrorRow("InvalidRange", 416, "The requested range is not satisfiable")
INVALID_REQUEST = ErrorRow("InvalidRequest", 400, "Invalid Request")
INVALID_STORAGE_CLASS = ErrorRow("InvalidStorageClass", 400, "The storage class that you specified is not valid")
INVALID_TARGET_BUCKET_FOR_LOGGING = ErrorRow(
    "InvalidTargetBucketForLogging",
    400,
    "The target bucket for logging either does not exist, is not owned by you, or does not have the appropriate grants "
    "for the log-delivery group.",
)
INVALID_TAG = ErrorRow("InvalidTag", 400, "The tag provided was not a valid tag.")
INVALID_TOKEN = ErrorRow("InvalidToken", 400, "The provided token is malformed or otherwise not valid.")
INVALID_URI = ErrorRow("InvalidURI", 400, "The specified URI could not be parsed.")
KEY_TOO_LONG = ErrorRow("KeyTooLongError", 400, "Your key is too long")
KMS_DISABLED = ErrorRow("KMS.DisabledException", 400, "The KMS key that protects this object is disabled.")
KMS_INVALID_STATE = ErrorRow(
    "KMS.KMSInvalidStateException",
    400,
    "The KMS key that protects this object is in a state that allows no use.",
)
KMS_NOT_FOUND = ErrorRow("KMS.NotFoundException", 400, "The KMS key that protects this object does not exist.")
MALFORMED_ACL = ErrorRow(
    "MalformedACLError",
    400,
    "The ACL that you provided was not well-formed or did not validate against our published schema.",
)
MALFORMED_POLICY = ErrorRow("MalformedPolicy", 400, "The policy is not valid.")
MALFORMED_POST_REQUEST = ErrorRow(
    "MalformedPOSTRequest", 400, "The body of your POST request is not well-formed multipart/form-data."
)
MALFORMED_TRAILER = ErrorRow(
    "MalformedTrailerError", 400, "The request contained trailing data that was not well-formed."
)
MALFORMED_XML = ErrorRow(
    "MalformedXML",
    400,
    "The XML you provided was not well-formed or did not validate against our published schema",
)
MAX_MESSAGE_LENGTH_EXCEEDED = ErrorRow("MaxMessageLengthExceeded", 400, "Your request was too big.")
MAX_POST_PRE_DATA_LENGTH_EXCEEDED = ErrorRow(
    "MaxPostPreDataLengthExceededError", 400, "Your POST request fields preceding the upload file were too large."
)
METADATA_TOO_LARGE = ErrorRow("MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size")
METHOD_NOT_ALLOWED = ErrorRow("MethodNotAllowed", 405, "The specified method is not allowed against this resource.")
MISSING_CONTENT_LENGTH = ErrorRow("MissingContentLength", 411, "You must provide the Content-Length HTTP header.")
MISSING_SECURITY_HEADER = ErrorRow("MissingSecurityHeader", 400, "Your request was missing a required header")
NO_SUCH_BUCKET = ErrorRow("NoSuchBucket", 404, "The specified bucket does not exist")
NO_SUCH_BUCKET_POLICY = ErrorRow("NoSuchBucketPolicy", 404, "The bucket policy does not exist")
NO_SUCH_CORS_CONFIGURATION = ErrorRow("NoSuchCORSConfiguration", 404, "The CORS configuration does not exist")
NO_SUCH_KEY = ErrorRow("NoSuchKey", 404, "The specified key does not exist.")
NO_SUCH_LIFECYCLE_CONFIGURATION = ErrorRow(
    "NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist"
)
NO_SUCH_PUBLIC_ACCESS_BLOCK = ErrorRow(
    "NoSuchPublicAccessBlockConfiguration", 404, "The public access block configuration was not found"
)
NO_SUCH_OBJECT_LOCK_CONFIGURATION = ErrorRow(
    "NoSuchObjectLockConfiguration", 404, "The specified object does not have a ObjectLock configuration"
)
NO_SUCH_TAG_SET = ErrorRow("NoSuchTagSet", 404, "The TagSet does not exist")
NO_SUCH_UPLOAD = ErrorRow(
    "NoSuchUpload",
    404,
    "The specified multipart upload does not exist. The upload ID might not be valid, or the multipart upload might "
    "have been aborted or completed.",
)
NO_SUCH_VERSION = ErrorRow("NoSuchVersion", 404, "The specified version does not exist.")
NOT_IMPLEMENTED = ErrorRow(
    "NotImplemented", 501, "A header or query that you provided implies functionality that is not implemented"
)
NOT_MODIFIED = ErrorRow("NotModified", 304, "Not Modified")
OBJECT_LOCK_CONFIGURATION_NOT_FOUND = ErrorRow(
    "ObjectLockConfigurationNotFoundError", 404, "Object Lock configuration does not exist for this bucket"
)
OWNERSHIP_CONTROLS_NOT_FOUND = ErrorRow(
    "OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found"
)
POLICY_TOO_LARGE = ErrorRow("PolicyTooLarge", 400, "The policy is larger than the maximum allowed size of 20 KB.")
PRECONDITION_FAILED = ErrorRow(
    "PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold"
)
REQUEST_HEADER_SECTION_TOO_LARGE = ErrorRow(
    "RequestHeaderSectionTooLarge",
    400,
    "The request header and query parameters used to make the request exceed the maximum allowed size.",
)
REQUEST_TIMEOUT = ErrorRow(
    "RequestTimeout",
    400,
    "Your socket connection to the server was not read from or written to within the timeout period.",
)
REQUEST_TIME_TOO_SKEWED = ErrorRow(
    "RequestTimeTooSkewed", 403, "The difference between the request time and the server's time is too large."
)
SERVICE_UNAVAILABLE = ErrorRow("ServiceUnavailable", 503, "Service is unable to handle request.")
SERVER_SIDE_ENCRYPTION_CONFIGURATION_NOT_FOUND = ErrorRow(
    "ServerSideEncryptionConfigurationNotFoundError",
    404,
    "The server side encryption configuration was not found",
)
SIGNATURE_DOES_NOT_MATCH = ErrorRow(
    "SignatureDoesNotMatch",
    403,
    "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
)
SLOW_DOWN = ErrorRow("SlowDown", 503, "Please reduce your request rate.")
TOO_MANY_BUCKETS = ErrorRow("TooManyBuckets", 400, "You have attempted to create more buckets than allowed")
UNEXPECTED_CONTENT = ErrorRow("UnexpectedContent", 400, "This request contains unsupported content.")
X_AMZ_CONTENT_SHA256_MISMATCH = ErrorRow(
    "XAmzContentSHA256Mismatch",
    400,
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
)

ROWS: MappingProxyType[str, ErrorRow] = MappingProxyType(
    {row.code: row for row in list(globals().values()) if isinstance(row, ErrorRow)}
)
"""Every row by its code."""
