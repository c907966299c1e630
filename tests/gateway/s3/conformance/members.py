"""What our parsers make of each member of a request: botocore's own serialiser writes it, with and without.

A member takes effect where the Input (or what is expected of the document) differs, is refused where an S3Error says
so, and is ignored where neither.
"""

import functools
import hashlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from botocore.model import ListShape, Shape, StructureShape
from botocore.serialize import create_serializer

from gateway.s3.errors import S3Error
from gateway.s3.parsing import document_expectation
from gateway.s3.parsing.fields import expected_owner
from gateway.s3.request import Request
from tests.gateway.s3.conformance.samples import BY_NAME, GRANTS, operation_model, sample
from tests.gateway.s3.wire import request, understand

_SERIALISER: Any = create_serializer("rest-xml", include_validation=False)
Path = tuple[str, ...]


def _rules(**parts: Any) -> dict[str, Any]:
    rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "a"}, "Expiration": {"Days": 1}} | parts
    given = {name: part for name, part in rule.items() if part is not None}
    return {"LifecycleConfiguration": {"Rules": [given]}}


def _line(kind: str) -> dict[str, Any]:
    """One notification whose filter has a rule, of a kind of destination."""
    rules = {"FilterRules": [{"Name": "prefix", "Value": "v"}]}
    arn = {f"{kind}Arn": "arn:sealgate:webhook:::a"}
    line = {"Id": "i", "Events": ["s3:ObjectCreated:*"], **arn, "Filter": {"Key": rules}}
    return {"NotificationConfiguration": {f"{kind}Configurations": [line]}}


_KINDS = ("Topic", "Queue", "LambdaFunction")


def _locked(**period: int) -> dict[str, Any]:
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE"} | period}
    return {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled", "Rule": rule}}


_DIGEST = {"ContentMD5": BY_NAME["ContentMD5"][0]}
_RULE = "LifecycleConfiguration.Rules"
_BOTH = _rules(Filter={"And": {"Prefix": "p", "Tags": [{"Key": "k", "Value": "v"}]}})
_REPLACED = {"MetadataDirective": "REPLACE"}
_PERSON = "a1" * 16


def _acl(**parts: Any) -> dict[str, Any]:
    grant = {"Grantee": {"Type": "CanonicalUser", "ID": _PERSON}, "Permission": "READ"} | parts
    return {"AccessControlPolicy": {"Owner": {"ID": _PERSON}, "Grants": [grant]}}


def _cors(**parts: Any) -> dict[str, Any]:
    return {"CORSConfiguration": {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]} | parts]}}


_GROUP = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"}
_GRANT = "AccessControlPolicy.Grants.Grantee"
ALONG: dict[tuple[str, str], dict[str, Any]] = {
    # What a request or a member of it needs beside what the model says is required; "*": every member. Members inside
    # documents stand by their whole paths.
    ("CompleteMultipartUpload", "*"): {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": "0" * 32}]}},
    **{
        ("CopyObject", name): _REPLACED
        for name in (
            "CacheControl",
            "ContentDisposition",
            "ContentEncoding",
            "ContentLanguage",
            "ContentType",
            "Expires",
        )
    },
    ("CopyObject", "Metadata"): _REPLACED,
    **{
        (operation, name): {"ServerSideEncryption": "aws:kms"}
        for operation in ("PutObject", "CopyObject", "CreateMultipartUpload")
        for name in ("SSEKMSKeyId", "SSEKMSEncryptionContext")
    },
    **{
        ("PutBucketLifecycleConfiguration", name): rules
        for name, rules in {
            "*": _rules(),
            f"{_RULE}.Prefix": _rules(Filter=None, Prefix="p"),
            **{f"{_RULE}.Filter.{name}": _rules(Filter={}) for name in ("ObjectSizeGreaterThan", "ObjectSizeLessThan")},
            **{f"{_RULE}.Filter.Tag.{n}": _rules(Filter={"Tag": {"Key": "k", "Value": "v"}}) for n in ("Key", "Value")},
            **{f"{_RULE}.Filter.And.{name}": _BOTH for name in ("Prefix", "Tags.Key", "Tags.Value")},
            **{f"{_RULE}.Filter.And.ObjectSize{name}Than": _BOTH for name in ("Greater", "Less")},
            f"{_RULE}.Expiration.Date": _rules(Expiration={"Date": datetime(2030, 1, 1, tzinfo=UTC)}),
            f"{_RULE}.Expiration.ExpiredObjectDeleteMarker": _rules(Expiration={"ExpiredObjectDeleteMarker": True}),
            f"{_RULE}.NoncurrentVersionExpiration.NewerNoncurrentVersions": _rules(
                NoncurrentVersionExpiration={"NoncurrentDays": 1}
            ),
        }.items()
    },
    **{
        ("PutBucketNotificationConfiguration", f"NotificationConfiguration.{kind}Configurations.{name}"): _line(kind)
        for kind in _KINDS
        for name in ("Id", f"{kind}Arn", "Events", "Filter.Key.FilterRules.Name", "Filter.Key.FilterRules.Value")
    },
    **{
        (operation, name): acl
        for operation in ("PutBucketAcl", "PutObjectAcl")
        for name, acl in {
            **{f"Grant{name}": {f"Grant{name}": BY_NAME[f"Grant{name}"][0]} for name in GRANTS},
            "ACL": {"ACL": "private"},
            "Bucket": {"ACL": "private"},
            "Key": {"ACL": "private"},
            "VersionId": {"ACL": "private"},
            "ChecksumAlgorithm": {"ACL": "private"},
            "ContentMD5": {"ACL": "private"},
            "ExpectedBucketOwner": {"ACL": "private"},
            "RequestPayer": {"ACL": "private"},
            "AccessControlPolicy": _acl(),
            f"{_GRANT}.URI": _acl(Grantee=_GROUP),
            f"{_GRANT}.Type": _acl(Grantee=_GROUP | {"ID": _PERSON}),
        }.items()
    },
    ("PutBucketCors", "*"): _cors(),
    ("CopyObject", "Tagging"): {"TaggingDirective": "REPLACE"},
    **{("PutObject", f"ObjectLock{name}"): _DIGEST for name in ("Mode", "RetainUntilDate", "LegalHoldStatus")},
    ("PutBucketVersioning", "*"): {"VersioningConfiguration": {"Status": "Enabled"}},
    ("PutObjectLockConfiguration", "*"): _locked(Days=1),
    ("PutObjectLockConfiguration", "ObjectLockConfiguration.Rule.DefaultRetention.Years"): _locked(Years=1),
    ("PutObjectRetention", "*"): {
        "Retention": {"Mode": "GOVERNANCE", "RetainUntilDate": datetime(2030, 1, 1, tzinfo=UTC)}
    },
    ("PutObjectLegalHold", "*"): {"LegalHold": {"Status": "OFF"}},
    ("ListObjectVersions", "VersionIdMarker"): {"KeyMarker": "k"},
    ("CreateMultipartUpload", "ChecksumType"): {"ChecksumAlgorithm": "CRC32"},
    ("ListMultipartUploads", "UploadIdMarker"): {"KeyMarker": "k"},
}


TOGETHER: tuple[tuple[str, ...], ...] = (
    *(tuple(f"{prefix}SSECustomer{part}" for part in ("Algorithm", "Key", "KeyMD5")) for prefix in ("", "CopySource")),
    ("ObjectLockMode", "ObjectLockRetainUntilDate"),
)
"""Members that are sent all or none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a member."""

    effect: str
    """`taken`, `ignored`, or `refused`."""
    code: str = ""
    """Of a refusal."""


def members(operation: str) -> Iterator[Path]:
    """Every member of an operation's request, those inside documents as paths."""
    shape = operation_model(operation).input_shape
    if shape is not None:
        yield from _below(shape, (), ())


def _below(shape: Shape, path: Path, seen: tuple[str, ...]) -> Iterator[Path]:
    if isinstance(shape, ListShape) and isinstance(shape.member, StructureShape):
        yield from _below(shape.member, path, seen)
    elif isinstance(shape, StructureShape) and shape.name not in seen and shape.members:
        for name, below in shape.members.items():
            yield from _below(below, (*path, name), (*seen, shape.name))
    else:
        yield path


def written(operation: str, arguments: dict[str, Any]) -> tuple[Request, bytes]:
    """The request that botocore writes, and its body."""
    model = operation_model(operation)
    made = _SERIALISER.serialize_to_request(arguments, model)
    query = made["query_string"]
    pairs = list(query.items()) if isinstance(query, dict) else list(query)
    path, _, static = made["url_path"].partition("?")
    target = path + "?" + "&".join(filter(None, [static, urlencode(pairs, quote_via=quote)]))
    body = made["body"] or b""
    body = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else body.read()
    headers = {name: str(value) for name, value in made["headers"].items()}
    if made["method"] in {"PUT", "POST"}:
        headers.setdefault("Content-Length", str(len(body)))
    # What the client's handlers add behind the serialiser: the checksum, of the algorithm that was asked for.
    algorithm = arguments.get(model.http_checksum.get("requestAlgorithmMember", ""))
    if algorithm is not None:
        headers[f"x-amz-checksum-{algorithm.lower()}"] = BY_NAME[f"Checksum{algorithm}"][0]
    elif model.http_checksum_required or model.http_checksum.get("requestChecksumRequired"):
        headers.setdefault("Content-MD5", b64encode(hashlib.md5(body).digest()).decode())
    return request(made["method"], target.rstrip("?"), headers), body


def judge(operation: str, path: Path) -> Outcome:
    """Tell what becomes of a member. Raises AssertionError where the request without it is refused already."""
    shape = operation_model(operation).input_shape
    assert shape is not None
    along = (ALONG.get((operation, name), {}) for name in ("*", path[0], ".".join(path)))
    base = functools.reduce(dict.__or__, along, sample(shape))
    without = _parsed(operation, base)
    results = []
    for other in (0, 1):
        beside = {name: BY_NAME[name][0] for group in TOGETHER if path[0] in group for name in group}
        arguments = _with(base | beside, shape, path, other)
        try:
            results.append(_parsed(operation, arguments))
        except S3Error as refusal:
            if other and results:
                break
            return Outcome("refused", refusal.row.code)
    return Outcome("ignored" if all(result == without for result in results) else "taken")


def _with(base: Any, shape: Shape, path: Path, other: int) -> Any:
    """The arguments with one member set, along with what the structures on its way need."""
    if not path:
        raise AssertionError("no member")
    if isinstance(shape, ListShape):
        first = base[0] if base else sample(shape.member)
        return [_with(first, shape.member, path, other)]
    assert isinstance(shape, StructureShape)
    name, below = path[0], shape.members[path[0]]
    if len(path) == 1:
        return {**base, name: sample(below, name, other)}
    inner = base.get(name, [] if isinstance(below, ListShape) else sample(below))
    return {**base, name: _with(inner, below, path[1:], other)}


def _parsed(operation: str, arguments: dict[str, Any]) -> Any:
    sent, body = written(operation, arguments)
    found, parsed = understand(sent, body)
    expectation = document_expectation(sent, found)
    content_md5 = expectation.content_md5 if "ContentMD5" in arguments else None
    return found, parsed, expectation.algorithm, content_md5, expected_owner(sent)
