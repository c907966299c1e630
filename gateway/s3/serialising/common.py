"""What the answers of several families share: header names, checksums, documents, url-encoded names.

Sources: AWS "Common response headers"; the response syntax of each operation in the S3 API reference.
"""

import base64
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final
from urllib.parse import quote_from_bytes

from gateway.s3.headers import format_precise
from gateway.s3.response import Response
from gateway.s3.types import AES256, Checksum, ChecksumAlgorithm, ChecksumType, EncryptionReport, LockState, Owner
from gateway.s3.xml import Node, holds, optional

Header = tuple[str, str]

CONTENT_TYPE: Final = "Content-Type"
ETAG: Final = "ETag"
_ENCRYPTION: Final = "x-amz-server-side-encryption"
VERSION_ID: Final = "x-amz-version-id"
SOURCE_VERSION_ID: Final = "x-amz-copy-source-version-id"
DELETE_MARKER: Final = "x-amz-delete-marker"
CHECKSUM_ALGORITHM: Final = "x-amz-checksum-algorithm"
CHECKSUM_TYPE: Final = "x-amz-checksum-type"
STORAGE_CLASS: Final = "STANDARD"

XML_HEADERS: Final[tuple[Header, ...]] = ((CONTENT_TYPE, "application/xml"), ("X-Content-Type-Options", "nosniff"))


def present(*pairs: tuple[str, str | None]) -> tuple[Header, ...]:
    """Keep the headers that have a value."""
    return tuple((name, value) for name, value in pairs if value is not None)


def document(root: Node, *headers: tuple[str, str | None]) -> Response:
    """Make a 200 with an XML document."""
    return Response(200, (*XML_HEADERS, *present(*headers)), root.document())


def shown_hold(lock: LockState) -> str | None:
    """Write a legal hold, also one that was taken off; none of what never had one."""
    return None if lock.legal_hold is None else "ON" if lock.legal_hold else "OFF"


def lock_headers(lock: LockState) -> tuple[tuple[str, str | None], ...]:
    """Write x-amz-object-lock-*."""
    until = lock.retain_until
    return (
        ("x-amz-object-lock-mode", lock.mode or None),
        ("x-amz-object-lock-retain-until-date", None if until is None else format_precise(until)),
        ("x-amz-object-lock-legal-hold", shown_hold(lock)),
    )


def checksum_headers(checksum: Checksum | None) -> tuple[Header, ...]:
    """Write a checksum as headers."""
    if checksum is None:
        return ()
    return (
        (f"x-amz-checksum-{checksum.algorithm.value.lower()}", checksum.value),
        (CHECKSUM_TYPE, checksum.checksum_type.value),
    )


def encryption_headers(
    report: EncryptionReport, *, with_context: bool = False, with_customer: bool = True
) -> tuple[Header, ...]:
    """Write how an object is encrypted: the context only where it is made, a client's key not for Complete, as AWS."""
    context = base64.b64encode(report.context.encode("utf-8")).decode("ascii") if report.context else None
    is_customers = with_customer and report.customer_key_md5 is not None
    return present(
        (_ENCRYPTION, report.algorithm),
        (f"{_ENCRYPTION}-aws-kms-key-id", report.kms_key_id),
        (f"{_ENCRYPTION}-bucket-key-enabled", "true" if report.bucket_key_enabled else None),
        (f"{_ENCRYPTION}-context", context if with_context else None),
        (f"{_ENCRYPTION}-customer-algorithm", AES256 if is_customers else None),
        (f"{_ENCRYPTION}-customer-key-MD5", report.customer_key_md5 if is_customers else None),
    )


def checksum_node(checksum: Checksum | None) -> Node | None:
    """Write a checksum's value as an element."""
    return None if checksum is None else Node(f"Checksum{checksum.algorithm.value}", checksum.value)


def checksum_type_node(checksum: Checksum | None) -> Node | None:
    """Write a checksum's type as an element."""
    return None if checksum is None else Node("ChecksumType", checksum.checksum_type.value)


@cache
def checksum_kind(algorithm: ChecksumAlgorithm | None, checksum_type: ChecksumType | None) -> tuple[Node | None, ...]:
    """Write which checksum something has, without its value. Kept, as a listing asks for each of its entries."""
    return (
        optional("ChecksumAlgorithm", None if algorithm is None else algorithm.value),
        optional("ChecksumType", None if checksum_type is None else checksum_type.value),
    )


def person(name: str, owner: Owner) -> Node:
    """Write an Owner or Initiator."""
    return Node(name, Node("ID", owner.owner_id), Node("DisplayName", owner.display_name))


def key_text(object_key: bytes) -> str:
    """Decode a key; catalogued keys are UTF-8."""
    return object_key.decode("utf-8")


class Names:
    """Writes the keys, prefixes and markers of one listing, url-encoded or as they are.

    They are url-encoded where the request asks for it, and also where one of them holds a character that XML 1.0 has
    no way to write: the answer then says `EncodingType` url, so a client still learns the exact names.
    """

    __slots__ = ("encoded",)

    def __init__(self, *, url_encoding: bool, names: Iterable[bytes]) -> None:
        self.encoded = url_encoding or not all(holds(key_text(name)) for name in names)

    def node(self, element: str, name: bytes) -> Node:
        """Write one name. `/` stays; a blank is `%20` and a plus `%2B`, which every decoder reads alike."""
        return Node(element, quote_from_bytes(name, safe="/") if self.encoded else key_text(name))

    def given(self, element: str, name: bytes) -> Node | None:
        """Write one name, or nothing where it is empty."""
        return self.node(element, name) if name else None

    def encoding_type(self) -> Node | None:
        """Write EncodingType where names are encoded."""
        return Node("EncodingType", "url") if self.encoded else None

    def common_prefixes(self, prefixes: Iterable[bytes]) -> Iterator[Node]:
        """Write the groups that a delimiter makes."""
        return (Node("CommonPrefixes", self.node("Prefix", prefix)) for prefix in prefixes)
