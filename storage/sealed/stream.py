"""Sealing and opening blobs as streams of bytes, without any input or output of their own.

The sealer is pyca's Cobblestone-256 between our header and footer; the opener is our own, since it reads ranges
and takes salt and commitment from the catalogue row. Source: docs/FORMAT.md sections 2 and 8.2.
"""

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hmac import compare_digest

from cryptography.cobblestone import Cobblestone256Encryptor

from storage.sealed import description as descriptions
from storage.sealed.damage import Damage, damaged
from storage.sealed.description import Binding, Description, OpenedDescription
from storage.sealed.header import Buffer, FixedHeader
from storage.sealed.kdf import PayloadKeys, PayloadStream
from storage.sealed.layout import (
    CHUNK_SIZE,
    COMMITMENT_SIZE,
    HASH_SIZE,
    HEADER_SIZE,
    MAX_PLAINTEXT_SIZE,
    SALT_SIZE,
    SEALED_CHUNK_SIZE,
    TAG_SIZE,
    BlobLayout,
    RangePlan,
    sealed_blob_size,
)

END_MAGIC = b"\x89SGEND\r\n"
STREAM_MIN_SIZE = 256 * 1024
"""Whole payloads of at least this many plaintext bytes are opened many chunks at a time."""

_SPARE_COUNT = 2
"""Buffers that an opener keeps: what was given out last is often still held while the next is opened."""

_TRAILER = struct.Struct(">QI4x8s")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the catalogue row says of a blob beside its header. Sizes in bytes."""

    plaintext_size: int
    sealed_size: int
    salt: bytes = field(repr=False)
    commitment: bytes = field(repr=False)
    footer_hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SealReceipt:
    """What the sealer made: to be kept in the catalogue row. Sizes in bytes."""

    plaintext_size: int
    sealed_size: int
    slot_size: int
    salt: bytes = field(repr=False)
    commitment: bytes = field(repr=False)
    footer_hash: bytes = field(repr=False)

    def expectation(self) -> Expectation:
        """Return what an opener needs of it."""
        return Expectation(self.plaintext_size, self.sealed_size, self.salt, self.commitment, self.footer_hash)


def encode_trailer(plaintext_size: int, footer_size: int) -> bytes:
    """Return the last 24 bytes of a blob."""
    return _TRAILER.pack(plaintext_size, footer_size, END_MAGIC)


def parse_untrusted_trailer(read: Buffer) -> tuple[int, int]:
    """Return plaintext size and footer size as the trailer claims them. For offline tools alone.

    Raises:
        SealedDamaged: not a trailer.
    """
    if len(read) != _TRAILER.size:
        raise damaged(Damage.TRAILER, "not 24 bytes")
    plaintext_size, footer_size, _ = _TRAILER.unpack(read)
    if bytes(read) != encode_trailer(plaintext_size, footer_size) or plaintext_size > MAX_PLAINTEXT_SIZE:
        raise damaged(Damage.TRAILER, "not the end of a sealed blob")
    return plaintext_size, footer_size


class Sealer:
    """Seals one blob. The concatenation of what `update` and `finalize` return is the blob; one object, one blob.

    `data_key` is 32 random bytes that seal nothing else, `wrapped_key` is what package `keys` made of it. The salt
    is drawn inside and cannot be given.

    Raises:
        ValueError: slot size or key size is not as header and format say.
    """

    def __init__(self, header: FixedHeader, wrapped_key: bytes, data_key: bytes) -> None:
        if len(wrapped_key) != header.slot_size:
            raise ValueError("the wrapped key does not have the slot's size")
        self._header = header
        self._slot_hash = hashlib.sha256(wrapped_key).digest()
        self._data_key = data_key
        self._encryptor = Cobblestone256Encryptor(data_key, header.context())
        payload_head = self._encryptor.update(b"")
        self._salt, self._commitment = payload_head[:SALT_SIZE], payload_head[SALT_SIZE:]
        assert len(self._commitment) == COMMITMENT_SIZE
        self._pending = header.encode() + wrapped_key + payload_head
        self._plaintext_size = 0
        self._receipt: SealReceipt | None = None

    def update(self, data: Buffer) -> bytes:
        """Take plaintext, return sealed bytes; the first call also returns header, slot, salt and commitment.

        Slices of 256 KiB are a good size: the interpreter is held for about 0.05 ms.

        Raises:
            ValueError: the plaintext grows past `MAX_PLAINTEXT_SIZE`.
        """
        self._plaintext_size += memoryview(data).nbytes
        if self._plaintext_size > MAX_PLAINTEXT_SIZE:
            raise ValueError("more plaintext than one payload takes")
        sealed = self._encryptor.update(data)
        if self._pending:
            sealed, self._pending = self._pending + sealed, b""
        return sealed

    def finalize(self, description: Description, description_key: bytes, inner: bytes | None = None) -> bytes:
        """Return the final chunk, the sealed description and the trailer. To be called once.

        `inner`, at most 4096 bytes, is sealed so that only the data key opens it.

        Raises:
            ValueError: description or inner text are longer than the format allows; the blob must be thrown away.
        """
        final_chunk = self._pending + self._encryptor.finalize()
        binding = Binding(self._header, self._slot_hash, self._salt, self._commitment, self._plaintext_size)
        inner_box = b"" if inner is None else descriptions.seal_inner(binding, inner, self._data_key)
        footer = descriptions.seal_description(binding, description, description_key, inner_box)
        self._receipt = SealReceipt(
            self._plaintext_size,
            sealed_blob_size(self._header.slot_size, self._plaintext_size, len(footer)),
            self._header.slot_size,
            self._salt,
            self._commitment,
            binding.footer_hash(footer),
        )
        return final_chunk + footer + encode_trailer(self._plaintext_size, len(footer))

    @property
    def receipt(self) -> SealReceipt:
        """What to keep of the blob; there only after `finalize`."""
        assert self._receipt is not None, "finalize comes first"
        return self._receipt


class _SpareBuffers:
    """Memory for opened bytes, used again once nobody holds a view of it.

    Clearing new memory for each slice would cost a quarter of what opening it does.
    """

    def __init__(self) -> None:
        self._spare: list[bytearray] = []

    def take(self, size: int) -> bytearray:
        """Return `size` bytes of any content; only views of them may be given out."""
        for buffer in self._spare:
            if len(buffer) == size and _is_free(buffer):
                return buffer
        buffer = bytearray(size)
        self._spare = [buffer, *self._spare[: _SPARE_COUNT - 1]]
        return buffer


def _is_free(buffer: bytearray) -> bool:
    """Ask the interpreter whether any view of a buffer is alive: it resizes none that has one."""
    try:
        buffer.append(0)
    except BufferError:
        return False
    buffer.pop()
    return True


class Opener:
    """Opens one blob that a catalogue row describes. Nothing is taken from bytes read; the first failure is for good.

    For one thread at a time. Several ranges may be open together.

    Raises:
        SealedDamaged: the row's sizes do not agree, or the data key is not the one that the row's commitment names.
        ValueError: the data key does not have 32 bytes.
    """

    def __init__(self, header: FixedHeader, expectation: Expectation, data_key: bytes) -> None:
        self.layout = BlobLayout(header.slot_size, expectation.plaintext_size, expectation.sealed_size)
        if len(expectation.salt) != SALT_SIZE:
            raise damaged(Damage.SALT, "the row's salt does not have 24 bytes")
        self._keys = PayloadKeys(data_key, expectation.salt, header.context())
        if not compare_digest(self._keys.commitment, expectation.commitment):
            raise damaged(Damage.COMMITMENT, "the data key is not the one that sealed this blob")
        self._data_key = data_key
        self._header = header
        self._expected = expectation
        self._binding: Binding | None = None
        self._failed = False

    @contextmanager
    def _once_failed_stays_failed(self) -> Iterator[None]:
        """Count a step as failed unless it comes to its end."""
        if self._failed:
            raise damaged(Damage.FAILED, "an earlier check of this blob failed")
        self._failed = True
        yield
        self._failed = False

    def check_stored_size(self, stored_size: int) -> None:
        """Compare the length that the store tells with the row's.

        Raises:
            SealedDamaged: they differ.
        """
        with self._once_failed_stays_failed():
            if stored_size != self._expected.sealed_size:
                raise damaged(Damage.LENGTH, "the store holds a blob of another length")

    def check_prefix(self, prefix: Buffer) -> None:
        """Check header, salt and commitment in the first `layout.prefix_size` bytes, and remember the slot.

        Raises:
            SealedDamaged: they are not the row's.
        """
        with self._once_failed_stays_failed():
            prefix = bytes(prefix)
            salt_offset = self.layout.payload_offset
            commitment_offset = salt_offset + SALT_SIZE
            if len(prefix) != self.layout.prefix_size:
                raise damaged(Damage.LENGTH, "the prefix is cut")
            self._header.check(prefix[:HEADER_SIZE])
            if not compare_digest(prefix[salt_offset:commitment_offset], self._expected.salt):
                raise damaged(Damage.SALT, "not the row's salt")
            if not compare_digest(prefix[commitment_offset:], self._expected.commitment):
                raise damaged(Damage.COMMITMENT, "not the row's commitment")
            slot_hash = hashlib.sha256(prefix[HEADER_SIZE:salt_offset]).digest()
            assert len(slot_hash) == HASH_SIZE
            self._binding = Binding(
                self._header,
                slot_hash,
                self._expected.salt,
                self._expected.commitment,
                self._expected.plaintext_size,
            )

    @property
    def binding(self) -> Binding:
        """What description and inner box are tied to; there only after `check_prefix`."""
        assert self._binding is not None, "check_prefix comes first"
        return self._binding

    def check_tail(self, tail: Buffer) -> None:
        """Check slot, footer and trailer against the row; `tail` is the last `layout.tail_size` bytes.

        Raises:
            SealedDamaged: key slot or footer are not those that were sealed, or the trailer does not fit the row.
        """
        binding = self.binding
        with self._once_failed_stays_failed():
            footer_size = self.layout.footer_size
            if len(tail) != self.layout.tail_size:
                raise damaged(Damage.LENGTH, "the tail is cut")
            if not compare_digest(binding.footer_hash(tail[:footer_size]), self._expected.footer_hash):
                raise damaged(Damage.FOOTER, "key slot or footer are not those that the row names")
            if bytes(tail[footer_size:]) != encode_trailer(self._expected.plaintext_size, footer_size):
                raise damaged(Damage.TRAILER, "the trailer does not fit the row")

    def open_description(self, tail: Buffer, description_key: bytes) -> OpenedDescription:
        """Check the tail and open the description in it.

        Raises:
            SealedDamaged: as `check_tail`, or the description does not open.
        """
        self.check_tail(tail)
        with self._once_failed_stays_failed():
            return descriptions.open_description(self.binding, tail[: self.layout.footer_size], description_key)

    def open_range(self, plan: RangePlan) -> "RangeOpener":
        """Return what opens the chunks of a plan that was made for this blob's plaintext size."""
        assert plan.plaintext_size == self._expected.plaintext_size, "a plan for another size"
        return RangeOpener(self, plan, self._payload_stream(plan))

    def _payload_stream(self, plan: RangePlan) -> PayloadStream | None:
        """What opens many chunks in one call; it can only begin with the first, and does not pay for a few."""
        if plan.first_chunk_index or plan.length < STREAM_MIN_SIZE:
            return None
        return PayloadStream(self._data_key, self._expected.salt, self._expected.commitment, self._header.context())

    def open_whole(self) -> "WholeOpener":
        """Return what opens the blob from its first byte to its last and checks all of it."""
        return WholeOpener(self)


class RangeOpener:
    """Opens the planned chunks of one blob, in order, and returns verified plaintext of the span only.

    Feed it the `plan.sealed_length` bytes from `plan.blob_offset(slot_size)`, cut anywhere.
    """

    def __init__(self, opener: Opener, plan: RangePlan, stream: PayloadStream | None = None) -> None:
        self._opener = opener
        self._plan = plan
        self._stream = stream
        self._spare = _SpareBuffers()
        self._carry = bytearray()
        self._seen_size = 0
        self._opened_count = 0
        self._next_index = plan.first_chunk_index
        self._eager_count = plan.chunk_count - plan.held_chunk_count
        self._drop_head = plan.drop_head

    def update(self, sealed: Buffer) -> memoryview:
        """Take sealed bytes, return the plaintext of the chunks that they complete, never that of the last ones.

        The memory is used again once nobody holds the view, nor a part of it.

        Raises:
            SealedDamaged: a chunk does not authenticate, or there are more bytes than planned.
        """
        with self._opener._once_failed_stays_failed():  # noqa: SLF001  # the two classes are one machine
            view = memoryview(sealed)
            self._seen_size += view.nbytes
            if self._seen_size > self._plan.sealed_length:
                raise damaged(Damage.LENGTH, "more bytes than planned")
            complete_count = min(self._seen_size // SEALED_CHUNK_SIZE, self._eager_count)
            count = complete_count - self._opened_count
            if not count:
                self._carry += view
                return memoryview(b"")
            self._opened_count = complete_count
            opened = out = memoryview(self._spare.take(count * CHUNK_SIZE))
            # At most one chunk is pieced together; the others are opened where they lie.
            start = -len(self._carry) % SEALED_CHUNK_SIZE
            if start:
                self._carry += view[:start]
                self._open_full(memoryview(self._carry), out[:CHUNK_SIZE])
                out = out[CHUNK_SIZE:]
            end = start + len(out) // CHUNK_SIZE * SEALED_CHUNK_SIZE
            self._open_full(view[start:end], out)
            self._carry = bytearray(view[end:])
            return self._without_head(opened)

    def finalize(self) -> memoryview:
        """Return the plaintext that was held back. To be called once, after all planned bytes were fed.

        Raises:
            SealedDamaged: bytes are missing, or a chunk does not authenticate.
        """
        with self._opener._once_failed_stays_failed():  # noqa: SLF001  # as in `update`
            if self._seen_size != self._plan.sealed_length:
                raise damaged(Damage.LENGTH, "the payload ends early")
            opened = memoryview(bytearray(len(self._carry) - self._plan.held_chunk_count * TAG_SIZE))
            self._open_run(memoryview(self._carry), opened)
            opened = self._without_head(opened)
            return opened[: len(opened) - self._plan.drop_tail]

    def _open_full(self, run: memoryview, out: memoryview) -> None:
        """Open the full chunks of `run`."""
        if self._stream is None:
            self._open_run(run, out)
        elif run:
            self._stream.open_chunks(run, out)
            self._next_index += len(run) // SEALED_CHUNK_SIZE

    def _open_run(self, run: memoryview, out: memoryview) -> None:
        """Open the chunks that lie one after the other in `run`; the last may be a short final one."""
        keys = self._opener._keys  # noqa: SLF001  # as in `update`
        for offset in range(0, len(run), SEALED_CHUNK_SIZE):
            sealed = run[offset : offset + SEALED_CHUNK_SIZE]
            at = offset // SEALED_CHUNK_SIZE * CHUNK_SIZE
            keys.open_chunk(self._next_index, sealed, out[at : at + len(sealed) - TAG_SIZE])
            self._next_index += 1

    def _without_head(self, opened: memoryview) -> memoryview:
        """Drop what lies before the span, once."""
        drop, self._drop_head = self._drop_head, 0
        return opened[drop:]


class WholeOpener:
    """Opens a whole blob, fed from its first byte to its last, cut anywhere: every check of FORMAT section 8.2.

    What `update` returns is verified plaintext; the last of it comes from `finalize`, after the whole blob has
    passed.
    """

    def __init__(self, opener: Opener) -> None:
        layout = opener.layout
        plan = RangePlan.whole(layout.plaintext_size)
        self._opener = opener
        self._chunks = opener.open_range(plan)
        self._prefix_end = layout.prefix_size
        self._chunks_end = layout.footer_offset
        self._seen_size = 0
        self._prefix = bytearray()
        self._tail = bytearray()

    def update(self, sealed: Buffer) -> memoryview:
        """Take the next bytes of the blob, return the plaintext of the chunks that they complete.

        Raises:
            SealedDamaged: header, salt, commitment or a chunk are not what they should be, or the blob is too long.
        """
        view = memoryview(sealed)
        before, self._seen_size = self._seen_size, self._seen_size + view.nbytes
        if self._seen_size > self._opener.layout.sealed_size:
            self._opener.check_stored_size(self._seen_size)
        prefix = view[: max(0, self._prefix_end - before)]
        chunks = view[len(prefix) : max(len(prefix), self._chunks_end - before)]
        self._tail += view[len(prefix) + len(chunks) :]
        if prefix:
            self._prefix += prefix
            if len(self._prefix) == self._prefix_end:
                self._opener.check_prefix(self._prefix)
        return self._chunks.update(chunks)

    def finalize(self) -> memoryview:
        """Return the plaintext that was held back, after slot, footer and trailer have passed too. To be called once.

        Raises:
            SealedDamaged: the blob ends early, or one of the last checks fails.
        """
        held = self._chunks.finalize()
        self._opener.check_tail(self._tail)
        return held
