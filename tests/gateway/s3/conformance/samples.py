"""Values for shapes of botocore's service model and for our own types, and the model itself."""

import dataclasses
import hashlib
import types
import typing
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape

MODEL: Final[Any] = botocore.session.get_session().get_service_model("s3")
CUSTOMER_KEY: Final = b64encode(bytes(range(32))).decode()
CUSTOMER_KEY_MD5: Final = b64encode(hashlib.md5(bytes(range(32))).digest()).decode()
PAST: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

_GROUPS: Final = "http://acs.amazonaws.com/groups/global/"
GRANTS: Final = ("FullControl", "Read", "ReadACP", "Write", "WriteACP")

BY_NAME: Final[Mapping[str, tuple[Any, Any]]] = {
    # Members whose values have a form of their own: two that differ.
    "AllowedMethods": (["PUT"], ["HEAD"]),
    "Bucket": ("bucket", "other-bucket"),
    "ID": ("a1" * 16, "b2" * 16),
    "Type": ("CanonicalUser", "CanonicalUser"),
    "URI": (f"{_GROUPS}AllUsers", f"{_GROUPS}AuthenticatedUsers"),
    **dict.fromkeys((f"Grant{name}" for name in GRANTS), (f'id="{"a1" * 16}"', f'id="{"b2" * 16}"')),
    "ChecksumAlgorithm": ("CRC32", "SHA256"),
    "ChecksumCRC32": ("AAAAAA==", "AAAAAQ=="),
    "ChecksumCRC32C": ("AAAAAA==", "AAAAAQ=="),
    "ChecksumCRC64NVME": ("AAAAAAAAAAA=", "AAAAAAAAAAE="),
    "ChecksumMode": ("ENABLED", "ENABLED"),
    "ChecksumSHA1": ("AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAAAAAAE="),
    "ChecksumSHA256": ("A" * 43 + "=", "A" * 42 + "E="),
    "ChecksumType": ("FULL_OBJECT", "COMPOSITE"),
    "ContentLength": (5, 6),
    "ContentMD5": ("A" * 22 + "==", "A" * 21 + "Q=="),
    "ContentType": ("text/x", "text/y"),
    "CopySource": ("source/k", "source/l"),
    "CopySourceRange": ("bytes=0-9", "bytes=0-8"),
    "Date": (PAST.replace(hour=0, minute=0, second=0), PAST.replace(day=3, hour=0, minute=0, second=0)),
    "EncodingType": ("url", "url"),
    **dict.fromkeys(
        ("TopicArn", "QueueArn", "LambdaFunctionArn"), ("arn:sealgate:webhook:::a", "arn:sealgate:webhook:::b")
    ),
    "Events": (["s3:ObjectCreated:*"], ["s3:ObjectRemoved:*"]),
    "ETag": ('"' + "0" * 32 + '"', '"' + "1" * 32 + '"'),
    "IfMatch": ('"' + "0" * 32 + '"', '"' + "1" * 32 + '"'),
    "IfNoneMatch": ("*", "*"),
    "LocationConstraint": ("eu-west-1", "eu-west-2"),
    "MetadataDirective": ("REPLACE", "REPLACE"),
    "ObjectAttributes": (["ETag"], ["ObjectSize"]),
    "OptionalObjectAttributes": (["RestoreStatus"], ["RestoreStatus"]),
    "PartNumber": (1, 2),
    "Range": ("bytes=0-4", "bytes=1-4"),
    "ServerSideEncryption": ("AES256", "AES256"),
    "SSEAlgorithm": ("aws:kms", "AES256"),
    "SSEKMSKeyId": ("a-key", "another-key"),
    "SSEKMSEncryptionContext": ("eyJhIjoiYiJ9", "eyJhIjoiYyJ9"),
    **dict.fromkeys(("SSECustomerAlgorithm", "CopySourceSSECustomerAlgorithm"), ("AES256", "AES256")),
    **dict.fromkeys(("SSECustomerKey", "CopySourceSSECustomerKey"), (CUSTOMER_KEY, CUSTOMER_KEY)),
    **dict.fromkeys(("SSECustomerKeyMD5", "CopySourceSSECustomerKeyMD5"), (CUSTOMER_KEY_MD5, CUSTOMER_KEY_MD5)),
    "StorageClass": ("STANDARD", "STANDARD"),
    "ObjectLockMode": ("GOVERNANCE", "COMPLIANCE"),
    "ObjectLockRetainUntilDate": (PAST.replace(year=2030), PAST.replace(year=2031)),
    "Tagging": ("a=b", "c=d"),
    "TaggingDirective": ("REPLACE", "REPLACE"),
    **dict.fromkeys(("VersionId", "VersionIdMarker"), ("0" * 32, "null")),
    "UploadId": ("u" * 32, "v" * 32),
}


def sample(shape: Shape, name: str = "", other: int = 0) -> Any:
    """A value for a shape; `other` = 1 gives a second one that differs where the form allows."""
    if name in BY_NAME and not (name == "Tagging" and shape.type_name == "structure"):
        return BY_NAME[name][other]
    if isinstance(shape, StructureShape):
        return {part: sample(shape.members[part], part, other) for part in shape.required_members}
    if isinstance(shape, ListShape):
        return [sample(shape.member, shape.member.name, other)]
    if isinstance(shape, MapShape):
        return {"colour": ("blue", "red")[other]}
    if isinstance(shape, StringShape):
        return shape.enum[min(other, len(shape.enum) - 1)] if shape.enum else f"a{name[:8]}" + "b" * other
    by_type = {"boolean": not other, "timestamp": PAST.replace(day=2 + other), "blob": b"data!"[: 5 - other]}
    return by_type.get(shape.type_name, 3 + other)


def operation_model(name: str) -> OperationModel:
    """What botocore knows of an operation."""
    model: OperationModel = MODEL.operation_model(name)
    return model


async def _stream() -> AsyncIterator[bytes]:
    yield b"data!"


def filled(kind: Any, name: str = "", variant: int = 0) -> Any:
    """An instance of one of our types with every field set; variants go through enumerations and flags."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is not None:
        return _filled_generic(origin, arguments, name, variant)
    if dataclasses.is_dataclass(kind):
        make: Any = kind
        hints = typing.get_type_hints(kind)
        return make(**{part.name: filled(hints[part.name], part.name, variant) for part in dataclasses.fields(kind)})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return list(kind)[variant % len(kind)]
    return {
        str: FILLED.get(name, f"a-{name}"),
        bytes: f"a {name}".encode(),
        int: 5,
        bool: not variant % 2,
        datetime: PAST,
    }[kind]


def _filled_generic(origin: Any, arguments: tuple[Any, ...], name: str, variant: int) -> Any:
    if origin in {typing.Union, types.UnionType}:
        return filled(next(part for part in arguments if part is not type(None)), name, variant)
    if origin is tuple:
        parts = arguments[:1] if arguments[-1] is Ellipsis else arguments
        return tuple(filled(part, f"{name}{at}", variant) for at, part in enumerate(parts))
    return FILLED.get(name, {"colour": "blue"}) if issubclass(origin, Mapping) else _stream()


FILLED: Final[Mapping[str, Any]] = {
    # Fields whose values have a form of their own.
    "algorithm": "AES256",
    **dict.fromkeys(("owner_id", "grantee", "names00"), "a" * 32),
    "region": "eu-west-1",
    "response_overrides": {"content-type": "text/x"},
    "expires": "Sun, 06 Nov 1994 08:49:37 GMT",
}
