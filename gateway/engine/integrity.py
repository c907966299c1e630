"""What a request says of its body, held against what arrived; and the ETag and checksum that follow from it.

Source: AWS "Checking object integrity in Amazon S3". Only the digests that a request needs are computed.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.s3.checksums import (
    ALGORITHMS,
    DEFAULT_ALGORITHM,
    MD5,
    SHA256,
    Algorithm,
    DeclaredChecksum,
    PayloadDigests,
    check_content_md5,
    decode_checksum,
    encode_checksum,
)
from gateway.s3.errors import ENTITY_TOO_LARGE, INCOMPLETE_BODY, X_AMZ_CONTENT_SHA256_MISMATCH, S3Error
from gateway.s3.types import Checksum, ChecksumAlgorithm, PayloadExpectation

MAX_SINGLE_UPLOAD_BYTES = 5 * 1024**3
"""Of one PUT and of one part (AWS: "Amazon S3 multipart upload limits")."""


class EtagMode(StrEnum):
    """How ETags are made where the client may compare them with an MD5."""

    MD5 = "md5"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True)
class VerifiedPayload:
    """What is kept of a body that is all that its request said."""

    size: int
    etag: str
    checksum: Checksum
    md5: bytes | None
    """16 bytes, where the ETag is one."""


class PayloadCheck:
    """Digests of one body, and the judgement at its end."""

    def __init__(
        self,
        expectation: PayloadExpectation,
        etag_mode: EtagMode,
        algorithm: ChecksumAlgorithm | None = None,
    ) -> None:
        """`algorithm` is what a multipart upload asks of its parts; the request's own declaration comes first."""
        if expectation.content_length is not None and expectation.content_length > MAX_SINGLE_UPLOAD_BYTES:
            raise S3Error(
                ENTITY_TOO_LARGE,
                fields={
                    "ProposedSize": str(expectation.content_length),
                    "MaxSizeAllowed": str(MAX_SINGLE_UPLOAD_BYTES),
                },
            )
        self._expectation = expectation
        self._etag_mode = etag_mode
        chosen = expectation.algorithm or algorithm
        self._algorithm: Algorithm = DEFAULT_ALGORITHM if chosen is None else ALGORITHMS[chosen.value]
        wanted = {self._algorithm.name: self._algorithm}
        if etag_mode is EtagMode.MD5 or expectation.content_md5 is not None:
            wanted[MD5.name] = MD5
        if expectation.content_sha256 is not None:
            wanted[SHA256.name] = SHA256
        self.digests = PayloadDigests(wanted.values())

    def finish(self, size: int, trailers: Mapping[str, str]) -> VerifiedPayload:
        """Judge a body of `size` bytes that has ended.

        Raises:
            S3Error: IncompleteBody, EntityTooLarge, XAmzContentSHA256Mismatch, BadDigest, MalformedTrailerError,
                InvalidRequest.
        """
        expectation = self._expectation
        if expectation.content_length is not None and size != expectation.content_length:
            raise S3Error(INCOMPLETE_BODY)
        if size > MAX_SINGLE_UPLOAD_BYTES:
            raise S3Error(ENTITY_TOO_LARGE, fields={"MaxSizeAllowed": str(MAX_SINGLE_UPLOAD_BYTES)})
        if expectation.content_sha256 is not None:
            actual = self.digests.digest(SHA256)
            if not hmac.compare_digest(actual, expectation.content_sha256):
                raise S3Error(
                    X_AMZ_CONTENT_SHA256_MISMATCH,
                    fields={
                        "ClientComputedContentSHA256": expectation.content_sha256.hex(),
                        "S3ComputedContentSHA256": actual.hex(),
                    },
                )
        if expectation.content_md5 is not None:
            check_content_md5(expectation.content_md5, self.digests.digest(MD5))
        digest = self.digests.digest(self._algorithm)
        if expectation.checksum is not None or expectation.trailer is not None:
            declared = DeclaredChecksum(
                self._algorithm,
                None if expectation.checksum is None else decode_checksum(self._algorithm, expectation.checksum),
            )
            declared.with_trailers(trailers).check(digest)
        md5 = self.digests.digest(MD5) if self._etag_mode is EtagMode.MD5 else None
        return VerifiedPayload(
            size=size,
            etag=opaque_etag() if md5 is None else md5.hex(),
            checksum=Checksum(ChecksumAlgorithm(self._algorithm.name), encode_checksum(digest)),
            md5=md5,
        )


def opaque_etag() -> str:
    """An ETag that tells nothing of the content: 32 random hexadecimal digits, as long as an MD5."""
    return secrets.token_hex(16)
