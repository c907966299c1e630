"""Where everything stands in a sealed blob: plaintext and sealed sizes, chunk offsets, range plans.

Integers only, no bytes and no keys. Source: docs/FORMAT.md sections 2, 5 and 12; C2SP chunked-encryption.
"""

from dataclasses import dataclass

from storage.sealed.damage import Damage, damaged

HEADER_SIZE = 64
SALT_SIZE = 24
COMMITMENT_SIZE = 32
HASH_SIZE = 32
TRAILER_SIZE = 24
KEY_SIZE = 32
TAG_SIZE = 16
CHUNK_SIZE = 16384
SEALED_CHUNK_SIZE = CHUNK_SIZE + TAG_SIZE
PAYLOAD_HEAD_SIZE = SALT_SIZE + COMMITMENT_SIZE
FOOTER_UNIT = 512
"""Footers are padded to a multiple of this many bytes, so that their size tells little about names."""

MAX_PLAINTEXT_SIZE = 2**52 - 1
"""2^38 chunks, the last one short: the C2SP limit."""
MAX_SLOT_SIZE = 8192
"""An AWS KMS answer has at most 6144 bytes; our record around it needs room too."""
MAX_JSON_SIZE = 65536
"""What S3 allows in names, headers, metadata and tags fits several times over."""
MAX_INNER_SIZE = 4096
"""Plaintext bytes of the inner box: a few digests."""
MAX_FOOTER_SIZE = 70144
"""The least multiple of `FOOTER_UNIT` that holds both at their largest."""


def chunk_count(plaintext_size: int) -> int:
    """Return the number of chunks; the final one is always there and always short, so 0 bytes make one chunk."""
    return plaintext_size // CHUNK_SIZE + 1


def sealed_payload_size(plaintext_size: int) -> int:
    """Return the size of salt, commitment and all chunks for that many bytes of plaintext.

    Raises:
        SealedDamaged: the size is negative or above `MAX_PLAINTEXT_SIZE`.
    """
    if not 0 <= plaintext_size <= MAX_PLAINTEXT_SIZE:
        raise damaged(Damage.LENGTH, "plaintext size out of range")
    return PAYLOAD_HEAD_SIZE + plaintext_size + TAG_SIZE * chunk_count(plaintext_size)


def plaintext_size_of(payload_size: int) -> int:
    """Return the plaintext size of a payload of that size. Not every size is that of a payload.

    Raises:
        SealedDamaged: no plaintext seals to that size.
    """
    full_count, final_size = divmod(payload_size - PAYLOAD_HEAD_SIZE, SEALED_CHUNK_SIZE)
    plaintext_size = full_count * CHUNK_SIZE + final_size - TAG_SIZE
    if full_count < 0 or final_size < TAG_SIZE or plaintext_size > MAX_PLAINTEXT_SIZE:
        raise damaged(Damage.LENGTH, "no payload has that size")
    return plaintext_size


def padded_footer_size(json_size: int, inner_size: int) -> int:
    """Return the footer's size for JSON and sealed inner box of those sizes: a multiple of `FOOTER_UNIT`."""
    return -(-(8 + json_size + inner_size + TAG_SIZE) // FOOTER_UNIT) * FOOTER_UNIT


def check_footer_size(footer_size: int) -> None:
    """Check that a footer can have that size.

    Raises:
        SealedDamaged: it cannot.
    """
    if not 0 < footer_size <= MAX_FOOTER_SIZE or footer_size % FOOTER_UNIT:
        raise damaged(Damage.LENGTH, "no footer has that size")


@dataclass(frozen=True, slots=True)
class BlobLayout:
    """Where the parts of one blob stand. All offsets are within the blob, all spans half-open.

    Raises:
        SealedDamaged: the three sizes do not belong to one blob.
    """

    slot_size: int
    plaintext_size: int
    sealed_size: int

    def __post_init__(self) -> None:
        if not 0 < self.slot_size <= MAX_SLOT_SIZE:
            raise damaged(Damage.LENGTH, "slot size out of range")
        check_footer_size(self.footer_size)

    @property
    def payload_offset(self) -> int:
        """Where the salt begins."""
        return HEADER_SIZE + self.slot_size

    @property
    def prefix_size(self) -> int:
        """Bytes before the first chunk: header, slot, salt and commitment."""
        return self.payload_offset + PAYLOAD_HEAD_SIZE

    @property
    def footer_offset(self) -> int:
        """Where the sealed description begins."""
        return self.payload_offset + sealed_payload_size(self.plaintext_size)

    @property
    def footer_size(self) -> int:
        """Bytes of the sealed description."""
        return self.sealed_size - TRAILER_SIZE - self.footer_offset

    @property
    def tail_size(self) -> int:
        """Bytes after the last chunk: footer and trailer."""
        return self.footer_size + TRAILER_SIZE


def sealed_blob_size(slot_size: int, plaintext_size: int, footer_size: int) -> int:
    """Return the size of a whole blob.

    Raises:
        SealedDamaged: the plaintext size is out of range.
    """
    return HEADER_SIZE + slot_size + sealed_payload_size(plaintext_size) + footer_size + TRAILER_SIZE


@dataclass(frozen=True, slots=True)
class RangePlan:
    """The chunks that hold a span of the plaintext, and what to drop from them once they are open.

    A span that reaches the end of the plaintext takes the final chunk in, also an empty one: it proves the end.
    """

    plaintext_size: int
    offset: int
    """Of the span in the plaintext."""
    length: int
    """Of the span in bytes; 0 only for an empty plaintext."""

    def __post_init__(self) -> None:
        fits = self.offset >= 0 and 0 < self.length <= self.plaintext_size - self.offset
        whole = self.offset == 0 and self.length == self.plaintext_size
        if not (fits or whole) or not 0 <= self.plaintext_size <= MAX_PLAINTEXT_SIZE:
            raise ValueError("the span is not within the plaintext")

    @classmethod
    def whole(cls, plaintext_size: int) -> "RangePlan":
        """Plan to read everything, to the final chunk."""
        return cls(plaintext_size, 0, plaintext_size)

    @property
    def end(self) -> int:
        """The first byte after the span."""
        return self.offset + self.length

    @property
    def includes_final(self) -> bool:
        """Whether the final chunk is among the planned ones."""
        final_offset = self.plaintext_size // CHUNK_SIZE * CHUNK_SIZE
        return self.end == self.plaintext_size or self.end > final_offset

    @property
    def first_chunk_index(self) -> int:
        """Index of the first chunk to open."""
        return self.offset // CHUNK_SIZE

    @property
    def chunk_count(self) -> int:
        """Number of chunks to open, at least 1."""
        if self.includes_final:
            return chunk_count(self.plaintext_size) - self.first_chunk_index
        return -(-self.end // CHUNK_SIZE) - self.first_chunk_index

    @property
    def payload_offset(self) -> int:
        """Where the first chunk begins, counted from the salt."""
        return PAYLOAD_HEAD_SIZE + self.first_chunk_index * SEALED_CHUNK_SIZE

    @property
    def sealed_length(self) -> int:
        """Bytes to read from there: whole chunks with their tags."""
        full_length = self.chunk_count * SEALED_CHUNK_SIZE
        return full_length - (CHUNK_SIZE - self.plaintext_size % CHUNK_SIZE) * self.includes_final

    @property
    def drop_head(self) -> int:
        """Opened bytes before the span."""
        return self.offset % CHUNK_SIZE

    @property
    def drop_tail(self) -> int:
        """Opened bytes after the span."""
        opened = self.sealed_length - self.chunk_count * TAG_SIZE
        return opened - self.drop_head - self.length

    @property
    def held_chunk_count(self) -> int:
        """Chunks that wait for `finalize`: the last, and the one before it where that is an empty final one."""
        final_is_empty = self.includes_final and self.plaintext_size % CHUNK_SIZE == 0
        return min(self.chunk_count, 1 + final_is_empty)

    def blob_offset(self, slot_size: int) -> int:
        """Return where to begin reading within a blob whose slot has that size."""
        return HEADER_SIZE + slot_size + self.payload_offset
