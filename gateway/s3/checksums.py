"""Checksums of objects: the five algorithms of S3 and MD5, what a request declares, full-object and composite values.

Source: AWS "Checking object integrity in Amazon S3". CRC32 comes from isal, CRC32C and CRC64NVME from awscrt, the
hashes from hashlib; all of them let go of the interpreter lock for pieces beyond a few KiB.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

from awscrt import checksums as crt
from isal import isal_zlib

from gateway.s3.errors import (
    BAD_DIGEST,
    INVALID_DIGEST,
    INVALID_REQUEST,
    MALFORMED_TRAILER,
    NOT_IMPLEMENTED,
    S3Error,
)
from gateway.s3.request import Headers
from gateway.s3.types import ChecksumType

_PREFIX: Final = "x-amz-checksum-"
_NOT_VALUES: Final = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"})
_NEWER: Final = re.compile(r"(?i:sha512|md5|xxhash[0-9]+)")
_COMPOSITE: Final = re.compile(r"(.*)-([1-9][0-9]{0,4})")
_SDK_ALGORITHM: Final = "x-amz-sdk-checksum-algorithm"
_TRAILER: Final = "x-amz-trailer"
_CONTENT_SHA256: Final = "x-amz-content-sha256"


class Hasher(Protocol):
    """An incremental checksum."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """Give the checksum of everything so far, big-endian; more may follow."""


class _Crc:
    __slots__ = ("_digest_size", "_function", "_value")

    def __init__(self, function: Callable[[bytes | memoryview, int], int], digest_size: int) -> None:
        self._function = function
        self._digest_size = digest_size
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._digest_size, "big")


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One checksum algorithm."""

    name: str
    """As in `x-amz-checksum-algorithm`."""
    digest_size: int
    new: Callable[[], Hasher]
    types: tuple[ChecksumType, ...]
    """What a multipart object may use, the default first. An object of one PUT is always FULL_OBJECT."""
    combine: Callable[[int, int, int], int] | None = None
    """(crc of A, crc of B, length of B in bytes) -> crc of A then B; None where the algorithm has no such thing."""

    @property
    def header(self) -> str:
        """Name of the header and of the trailer that carry it."""
        return _PREFIX + self.name.lower()


_FULL: Final = (ChecksumType.FULL_OBJECT,)
_PARTS: Final = (ChecksumType.COMPOSITE,)
_EITHER: Final = (ChecksumType.COMPOSITE, ChecksumType.FULL_OBJECT)

CRC32: Final = Algorithm("CRC32", 4, partial(_Crc, isal_zlib.crc32, 4), _EITHER, isal_zlib.crc32_combine)
CRC32C: Final = Algorithm("CRC32C", 4, partial(_Crc, crt.crc32c, 4), _EITHER, crt.combine_crc32c)
CRC64NVME: Final = Algorithm("CRC64NVME", 8, partial(_Crc, crt.crc64nvme, 8), _FULL, crt.combine_crc64nvme)
SHA1: Final = Algorithm("SHA1", 20, partial(hashlib.sha1, usedforsecurity=False), _PARTS)
SHA256: Final = Algorithm("SHA256", 32, hashlib.sha256, _PARTS)
MD5: Final = Algorithm("MD5", 16, partial(hashlib.md5, usedforsecurity=False), ())
"""For ETags and Content-MD5; as `x-amz-checksum-md5` it is refused like the other newer ones."""

ALGORITHMS: Final[Mapping[str, Algorithm]] = MappingProxyType(
    {algorithm.name: algorithm for algorithm in (CRC32, CRC32C, CRC64NVME, SHA1, SHA256)}
)
"""What S3 clients may choose from, by name."""
_BY_HEADER: Final = {algorithm.header: algorithm for algorithm in ALGORITHMS.values()}

DEFAULT_ALGORITHM: Final = CRC64NVME
"""What AWS computes where a client sends no checksum."""


class PayloadDigests:
    """Several digests over one stream; each algorithm once, however many wanted it. Not for two threads at once."""

    __slots__ = ("_hashers",)

    def __init__(self, algorithms: Iterable[Algorithm]) -> None:
        self._hashers = {algorithm.name: algorithm.new() for algorithm in algorithms}

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes into every digest."""
        for hasher in self._hashers.values():
            hasher.update(data)

    def digest(self, algorithm: Algorithm) -> bytes:
        """Give one of the digests that were asked for."""
        return self._hashers[algorithm.name].digest()


@dataclass(frozen=True, slots=True)
class DeclaredChecksum:
    """What a request says the checksum is, or, with `value` None, says that a trailer will say."""

    algorithm: Algorithm
    value: bytes | None
    part_count: int | None = None
    """For a composite value `base64-N`, N."""

    @property
    def in_trailer(self) -> bool:
        """Whether the value is still to come."""
        return self.value is None

    def with_trailers(self, trailers: Mapping[str, str]) -> "DeclaredChecksum":
        """Give the declaration with its value taken from the trailers where it was to come from there.

        Raises:
            S3Error: InvalidRequest where the value is malformed; MalformedTrailerError where it is missing.
        """
        if self.value is not None:
            return self
        text = trailers.get(self.algorithm.header)
        if text is None:
            raise S3Error(MALFORMED_TRAILER)
        return replace(self, value=decode_checksum(self.algorithm, text))

    def check(self, actual: bytes) -> None:
        """Compare with the checksum of what was received.

        Raises:
            S3Error: BadDigest.
        """
        assert self.value is not None, "the trailers come first"
        if not hmac.compare_digest(self.value, actual):
            raise S3Error(
                BAD_DIGEST,
                f"The {self.algorithm.name} you specified did not match the calculated checksum.",
            )


def algorithm_named(name: str) -> Algorithm:
    """Find an algorithm by the name that a client sends; names are upper-case on the wire, any case is taken.

    Raises:
        S3Error: NotImplemented for the algorithms that AWS added since; InvalidRequest for any other name.
    """
    found = ALGORITHMS.get(name.upper())
    if found is not None:
        return found
    valid = ", ".join(ALGORITHMS)
    if _NEWER.fullmatch(name):
        raise S3Error(NOT_IMPLEMENTED, f"This checksum algorithm is not supported. Please use one of {valid}.")
    raise S3Error(INVALID_REQUEST, f"Checksum algorithm provided is unsupported. Please try with any of {valid}.")


def multipart_type(algorithm: Algorithm, requested: str | None) -> ChecksumType:
    """Decide the type of a multipart upload's checksum from `x-amz-checksum-type`, or by default.

    Raises:
        S3Error: InvalidRequest where the type is unknown or not for this algorithm.
    """
    if requested is None:
        return algorithm.types[0]
    for allowed in algorithm.types:
        if allowed.value == requested:
            return allowed
    if requested in ChecksumType.__members__:
        raise S3Error(
            INVALID_REQUEST,
            f"The {requested} checksum type cannot be used with the {algorithm.name.lower()} checksum algorithm.",
        )
    raise S3Error(INVALID_REQUEST, "Value for x-amz-checksum-type header is invalid.")


def encode_checksum(digest: bytes) -> str:
    """Write a digest as it stands in headers and XML."""
    return base64.b64encode(digest).decode("ascii")


def decode_checksum(algorithm: Algorithm, text: str) -> bytes:
    """Read a digest: canonical base64 of exactly the algorithm's size.

    Raises:
        S3Error: InvalidRequest.
    """
    digest = _strict_base64(text, algorithm.digest_size)
    if digest is None:
        raise S3Error(INVALID_REQUEST, f"Value for {algorithm.header} header is invalid.")
    return digest


def decode_content_md5(text: str) -> bytes:
    """Read a Content-MD5: canonical base64 of 16 bytes.

    Raises:
        S3Error: InvalidDigest.
    """
    digest = _strict_base64(text, MD5.digest_size)
    if digest is None:
        raise S3Error(INVALID_DIGEST, "The Content-MD5 you specified was invalid.")
    return digest


def check_content_md5(declared: bytes, actual: bytes) -> None:
    """Compare a declared MD5 with that of what was received.

    Raises:
        S3Error: BadDigest.
    """
    if not hmac.compare_digest(declared, actual):
        raise S3Error(BAD_DIGEST, "The Content-MD5 you specified did not match what we received.")


def composite(algorithm: Algorithm, part_digests: Sequence[bytes]) -> str:
    """Write the composite checksum of a multipart object: base64 of the checksum over the parts' digests, and `-N`."""
    hasher = algorithm.new()
    for digest in part_digests:
        assert len(digest) == algorithm.digest_size
        hasher.update(digest)
    return f"{encode_checksum(hasher.digest())}-{len(part_digests)}"


def combine(algorithm: Algorithm, parts: Iterable[tuple[bytes, int]]) -> bytes:
    """Make the full-object digest from (digest, length in bytes) of the parts, in order; the object is not read."""
    assert algorithm.combine is not None, "only the CRCs combine"
    value = 0
    for digest, length in parts:
        assert len(digest) == algorithm.digest_size
        value = algorithm.combine(value, int.from_bytes(digest, "big"), length)
    return value.to_bytes(algorithm.digest_size, "big")


def trailer_names(headers: Headers) -> tuple[str, ...]:
    """Read the names in `x-amz-trailer`, lower-cased.

    Raises:
        S3Error: InvalidRequest where one is no checksum that is supported; NotImplemented for a newer algorithm.
    """
    names = tuple(name.strip(" \t").lower() for text in headers.get_all(_TRAILER) for name in text.split(",") if text)
    for name in names:
        if name not in _BY_HEADER:
            if _NEWER.fullmatch(name.removeprefix(_PREFIX)):
                algorithm_named(name.removeprefix(_PREFIX))
            raise S3Error(INVALID_REQUEST, f"The value specified in the {_TRAILER} header is not supported")
    return names


def declared_checksum(headers: Headers, *, composite_allowed: bool = False) -> DeclaredChecksum | None:
    """Read what a request declares about its body, or with `composite_allowed` about the object it completes.

    Raises:
        S3Error: InvalidRequest where more than one checksum is declared, a value is malformed, a trailer is
            announced to a body that has none, or `x-amz-sdk-checksum-algorithm` speaks of another;
            NotImplemented for the algorithms that AWS added since.
    """
    trailers = trailer_names(headers)
    if trailers and not (headers.get(_CONTENT_SHA256) or "").endswith("-TRAILER"):
        raise S3Error(INVALID_REQUEST, f"{_TRAILER} needs an {_CONTENT_SHA256} that announces a trailer.")
    values = [
        (_algorithm_of(name), value) for name, value in headers if name.startswith(_PREFIX) and name not in _NOT_VALUES
    ]
    if len(values) + len(trailers) > 1:
        raise S3Error(
            INVALID_REQUEST, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    found: DeclaredChecksum | None = None
    if values:
        found = _declared_value(*values[0], composite_allowed=composite_allowed)
    elif trailers:
        found = DeclaredChecksum(_BY_HEADER[trailers[0]], None)
    _check_sdk_algorithm(headers, found)
    return found


def _algorithm_of(header: str) -> Algorithm:
    found = _BY_HEADER.get(header)
    return found if found is not None else algorithm_named(header.removeprefix(_PREFIX))


def _declared_value(algorithm: Algorithm, text: str, *, composite_allowed: bool) -> DeclaredChecksum:
    match = _COMPOSITE.fullmatch(text) if composite_allowed else None
    if match is None:
        return DeclaredChecksum(algorithm, decode_checksum(algorithm, text))
    return DeclaredChecksum(algorithm, decode_checksum(algorithm, match[1]), int(match[2]))


def _check_sdk_algorithm(headers: Headers, found: DeclaredChecksum | None) -> None:
    names = headers.get_all(_SDK_ALGORITHM)
    for name in names:
        algorithm = algorithm_named(name)
        if found is None:
            raise S3Error(
                INVALID_REQUEST,
                f"{_SDK_ALGORITHM} specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers found.",
            )
        if algorithm is not found.algorithm:
            raise S3Error(INVALID_REQUEST, f"Value for {_SDK_ALGORITHM} header is invalid.")


def _strict_base64(text: str, size: int) -> bytes | None:
    try:
        digest = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    # One value has one spelling: bits that padding cuts off must be zero.
    return digest if len(digest) == size and encode_checksum(digest) == text else None
