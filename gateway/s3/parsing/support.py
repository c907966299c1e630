"""Which `x-amz-*` headers a request may carry: nothing that asks for more than is done passes in silence.

Source: the S3 API reference (the test compares with botocore's service model). Denied by default: a header of S3 that
is not served answers 501, any other `x-amz-*` name 400.
"""

from collections.abc import Collection
from types import MappingProxyType
from typing import Final

from gateway.s3.errors import (
    INVALID_ARGUMENT,
    INVALID_STORAGE_CLASS,
    NOT_IMPLEMENTED,
    S3Error,
)
from gateway.s3.parsing.encryption import ENCRYPTION, refuse_untaken
from gateway.s3.request import Headers

SERVED: Final = frozenset(
    {
        "x-amz-bucket-object-lock-enabled",
        "x-amz-bucket-region",
        "x-amz-bypass-governance-retention",
        "x-amz-checksum-algorithm",
        "x-amz-checksum-crc32",
        "x-amz-checksum-crc32c",
        "x-amz-checksum-crc64nvme",
        "x-amz-checksum-mode",
        "x-amz-checksum-sha1",
        "x-amz-checksum-sha256",
        "x-amz-checksum-type",
        "x-amz-content-sha256",
        "x-amz-copy-source",
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-if-none-match",
        "x-amz-copy-source-if-unmodified-since",
        "x-amz-copy-source-range",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-expected-bucket-owner",
        "x-amz-max-parts",
        "x-amz-metadata-directive",
        "x-amz-mp-object-size",
        "x-amz-object-attributes",
        "x-amz-object-lock-legal-hold",
        "x-amz-object-lock-mode",
        "x-amz-object-lock-retain-until-date",
        "x-amz-part-number-marker",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-security-token",
        "x-amz-skip-destination-validation",
        "x-amz-storage-class",
        "x-amz-tagging",
        "x-amz-tagging-directive",
        "x-amz-trailer",
        "x-amz-transition-default-minimum-object-size",
        *ENCRYPTION,
    }
)
"""Read by a parser, by the signature, or judged below."""

TOLERATED: Final = frozenset({"x-amz-api-version", "x-amz-user-agent", "x-amz-cf-id", "x-amz-te"})
"""They ask for nothing: who calls, by which API (the C++ SDK; S3 has one only), what a proxy on the way has added."""

ONLY_INERT: Final = MappingProxyType(
    {
        # The owner has full control and nobody else any: what these two say is so already.
        "x-amz-acl": frozenset({"private", "bucket-owner-full-control"}),
        "x-amz-bucket-namespace": frozenset({"global"}),
        "x-amz-bucket-object-lock-token": frozenset(),
        "x-amz-checksum-md5": frozenset(),
        "x-amz-checksum-sha512": frozenset(),
        "x-amz-checksum-xxhash128": frozenset(),
        "x-amz-checksum-xxhash3": frozenset(),
        "x-amz-checksum-xxhash64": frozenset(),
        # No policy can lock the owner of a bucket out, so there is nothing to confirm.
        "x-amz-confirm-remove-self-bucket-access": frozenset({"true", "false"}),
        "x-amz-grant-full-control": frozenset(),
        "x-amz-grant-read": frozenset(),
        "x-amz-grant-read-acp": frozenset(),
        "x-amz-grant-write": frozenset(),
        "x-amz-grant-write-acp": frozenset(),
        "x-amz-if-match-initiated-time": frozenset(),
        "x-amz-if-match-last-modified-time": frozenset(),
        "x-amz-if-match-size": frozenset(),
        "x-amz-mfa": frozenset(),
        "x-amz-object-annotation-directive": frozenset({"copy", "exclude"}),  # there are no annotations to copy
        "x-amz-object-lock-event-hold": frozenset(),
        "x-amz-object-lock-event-hold-duration-days": frozenset(),
        "x-amz-object-lock-event-hold-duration-years": frozenset(),
        # There are no ACLs, which is what this value asks for.
        "x-amz-object-ownership": frozenset({"bucketownerenforced"}),
        # Nothing is ever archived, so nothing has a restore status to show.
        "x-amz-optional-object-attributes": frozenset({"restorestatus"}),
        "x-amz-request-payer": frozenset(),
        "x-amz-source-expected-bucket-owner": frozenset(),
        "x-amz-website-redirect-location": frozenset(),
        "x-amz-write-offset-bytes": frozenset(),
    }
)
"""Headers of S3 that are not served -> values, in lower case, that ask for nothing and pass; any other answers 501."""

_FOREIGN: Final = ("x-sealgate-", "x-minio-")
"""Names that some server might take for orders of its own."""


def refuse_unsupported(headers: Headers, takes: Collection[str] = ()) -> None:
    """Go through every header of a request and refuse what would have to be ignored.

    `takes` names the headers of encryption and ACLs that the operation reads.

    Raises:
        S3Error: NotImplemented for what S3 has and this endpoint has not; InvalidArgument for names that S3 has not,
            and for encryption headers that the operation does not take; InvalidStorageClass.
    """
    for name, value in headers:
        if name in takes:
            continue
        if name.startswith("x-amz-"):
            _judge(name, value, takes)
        elif name.startswith(_FOREIGN):
            raise _unknown(name)


def _judge(name: str, value: str, takes: Collection[str]) -> None:
    if name in ONLY_INERT:
        if value.lower() not in ONLY_INERT[name]:
            raise S3Error(NOT_IMPLEMENTED, fields={"Header": name})
    elif name in ENCRYPTION:
        refuse_untaken(name, takes)
    elif name == "x-amz-storage-class":
        if value != "STANDARD":
            raise S3Error(INVALID_STORAGE_CLASS)
    elif name not in SERVED and name not in TOLERATED and not name.startswith("x-amz-meta-"):
        raise _unknown(name)


def _unknown(name: str) -> S3Error:
    return S3Error(INVALID_ARGUMENT, "This header is not known here.", fields={"ArgumentName": name})
