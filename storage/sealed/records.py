"""What manifest and link blobs hold: the blobs of a content, with all that reading them takes. For recovery alone.

Decoding is strict: a value or `SealedDamaged`. Source: docs/FORMAT.md section 11.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeVar

from storage.errors import SealedDamaged
from storage.sealed.canonical import COUNT, STRINGS, Shape, encode_object, octets
from storage.sealed.damage import Damage
from storage.sealed.header import ID_SIZE
from storage.sealed.layout import COMMITMENT_SIZE, HASH_SIZE, MAX_SLOT_SIZE, SALT_SIZE, BlobLayout
from storage.sealed.stream import Expectation

MAX_PARTS = 10_000
"""S3's limit of parts, and of part numbers."""
MAX_RECORD_SIZE = 32 * 2**20
"""10,000 references of up to 3 KiB."""
PIECE_BLOBS = 64
"""References that are encoded in one go: half a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobReference:
    """One blob as its catalogue row has it. Sizes in bytes."""

    blob_id: bytes
    sealed_size: int
    slot_size: int
    salt: bytes = field(repr=False)
    commitment: bytes = field(repr=False)
    footer_hash: bytes = field(repr=False)
    plaintext_size: int = 0
    part_number: int = 0
    """From 1 for parts; 0 for the one blob of an object."""
    wrapped_key: bytes = field(repr=False, default=b"")
    """The data key under the content key; empty where the data key is the content key."""
    checksums: Mapping[str, str] = field(repr=False, default_factory=dict)

    def expectation(self) -> Expectation:
        """Return what an opener of the blob needs."""
        return Expectation(self.plaintext_size, self.sealed_size, self.salt, self.commitment, self.footer_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentRecord:
    """The blobs of one content, in order, and its wrapped key."""

    content_id: bytes
    bucket_id: bytes
    """The bucket that the content was sealed for: part of the wrap's context, also when a copy elsewhere shares
    it."""
    wrapped_key: bytes = field(repr=False)
    """The wrapped content key."""
    plaintext_size: int = 0
    """Of the whole content."""
    blobs: tuple[BlobReference, ...]


class Manifest(ContentRecord):
    """The parts of a completed multipart upload: part numbers rise strictly from 1 or more."""

    __slots__ = ()


class Link(ContentRecord):
    """A copy that shares a content: its one blob without a part number, or its parts as in a manifest."""

    __slots__ = ()


R = TypeVar("R", bound=ContentRecord)

_IDENTIFIER = octets(ID_SIZE, ID_SIZE)
_REFERENCE = Shape(
    BlobReference,
    {
        "blob_id": _IDENTIFIER,
        "checksums": STRINGS,
        "commitment": octets(COMMITMENT_SIZE, COMMITMENT_SIZE),
        "footer_hash": octets(HASH_SIZE, HASH_SIZE),
        "part_number": COUNT,
        "plaintext_size": COUNT,
        "salt": octets(SALT_SIZE, SALT_SIZE),
        "sealed_size": COUNT,
        "slot_size": COUNT,
        "wrapped_key": octets(0, MAX_SLOT_SIZE),
    },
)
_FIELDS = {
    "blobs": _REFERENCE.codec(),
    "bucket_id": _IDENTIFIER,
    "content_id": _IDENTIFIER,
    "plaintext_size": COUNT,
    "wrapped_key": octets(1, MAX_SLOT_SIZE),
}
_MANIFEST = Shape(Manifest, _FIELDS, check=lambda record: _check_record(record, may_be_one_object=False))
_LINK = Shape(Link, _FIELDS, check=lambda record: _check_record(record, may_be_one_object=True))


def _check_record(record: ContentRecord, *, may_be_one_object: bool) -> None:
    """Raise ValueError unless numbers rise, ids differ, sizes add up and belong to blobs."""
    blobs = record.blobs
    numbers = [blob.part_number for blob in blobs]
    one_object = may_be_one_object and numbers == [0]
    parts = 0 < len(numbers) <= MAX_PARTS and numbers[0] > 0 and numbers[-1] <= MAX_PARTS
    rising = all(lower < higher for lower, higher in pairwise(numbers))
    if not (one_object or (parts and rising)):
        raise ValueError("part numbers are not those of one content")
    if len({blob.blob_id for blob in blobs}) != len(blobs):
        raise ValueError("a blob stands twice")
    if sum(blob.plaintext_size for blob in blobs) != record.plaintext_size:
        raise ValueError("the sizes do not add up")
    for blob in blobs:
        try:
            BlobLayout(blob.slot_size, blob.plaintext_size, blob.sealed_size)
        except SealedDamaged as error:
            raise ValueError("no blob has such sizes") from error


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the payload of a manifest blob.

    Raises:
        ValueError: the record breaks a rule of FORMAT section 11.
    """
    return b"".join(manifest_pieces(manifest))


def manifest_pieces(manifest: Manifest) -> Iterator[bytes]:
    """Give the same payload in pieces that take a millisecond each: 10,000 parts would hold up an event loop.

    Raises:
        ValueError: as `encode_manifest`; but for the size, before the first piece.
    """
    return _pieces(_MANIFEST, manifest, may_be_one_object=False)


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest of a payload.

    Raises:
        SealedDamaged: it is not one, not in canonical form, or breaks a rule of FORMAT section 11.
    """
    return _MANIFEST.decode(data, MAX_RECORD_SIZE, Damage.RECORD)


def encode_link(link: Link) -> bytes:
    """Return the payload of a link blob.

    Raises:
        ValueError: the record breaks a rule of FORMAT section 11.
    """
    return b"".join(link_pieces(link))


def link_pieces(link: Link) -> Iterator[bytes]:
    """Give the same payload in pieces. Raises: as `manifest_pieces`."""
    return _pieces(_LINK, link, may_be_one_object=True)


def _pieces(shape: Shape[R], record: R, *, may_be_one_object: bool) -> Iterator[bytes]:
    """Encode a record whose blobs, the first of its members by name, are encoded some at a time."""
    _check_record(record, may_be_one_object=may_be_one_object)
    head, _, tail = encode_object(shape.to_json(replace(record, blobs=()))).partition(b"[]")
    return _limited(_joined(head, record.blobs, tail))


def _joined(head: bytes, blobs: tuple[BlobReference, ...], tail: bytes) -> Iterator[bytes]:
    before, behind = b'{"blobs":[', b"]}"
    yield head + b"["
    for start in range(0, len(blobs), PIECE_BLOBS):
        listed = encode_object({"blobs": [_REFERENCE.to_json(blob) for blob in blobs[start : start + PIECE_BLOBS]]})
        yield (b"," if start else b"") + listed[len(before) : -len(behind)]
    yield b"]" + tail


def _limited(pieces: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_RECORD_SIZE:
            raise ValueError("longer than the format allows")
        yield piece


def decode_link(data: bytes) -> Link:
    """Return the link of a payload.

    Raises:
        SealedDamaged: it is not one, not in canonical form, or breaks a rule of FORMAT section 11.
    """
    return _LINK.decode(data, MAX_RECORD_SIZE, Damage.RECORD)
