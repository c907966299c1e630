"""Manifest and link records: round trips, every rule broken once, and a value or our error for anything."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import SealedDamaged
from storage.sealed.layout import sealed_blob_size
from storage.sealed.records import (
    MAX_PARTS,
    MAX_RECORD_SIZE,
    PIECE_BLOBS,
    BlobReference,
    Link,
    Manifest,
    decode_link,
    decode_manifest,
    encode_link,
    encode_manifest,
    link_pieces,
    manifest_pieces,
)
from storage.sealed.stream import Expectation

Json = dict[str, Any]


def reference(number: int, plaintext_size: int = 5, **changes: Any) -> BlobReference:
    made = BlobReference(
        blob_id=number.to_bytes(16, "big"),
        sealed_size=sealed_blob_size(80, plaintext_size, 512),
        slot_size=80,
        salt=bytes(range(24)),
        commitment=bytes(range(32)),
        footer_hash=bytes(range(32, 64)),
        plaintext_size=plaintext_size,
        part_number=number,
        wrapped_key=bytes(60),
        checksums={"CRC32": "AAAAAA=="},
    )
    return replace(made, **changes)


def manifest(*blobs: BlobReference) -> Manifest:
    total = sum(blob.plaintext_size for blob in blobs)
    return Manifest(
        content_id=bytes(16), bucket_id=bytes(range(16)), wrapped_key=b"w", plaintext_size=total, blobs=blobs
    )


def link(*blobs: BlobReference) -> Link:
    total = sum(blob.plaintext_size for blob in blobs)
    return Link(content_id=bytes(16), bucket_id=bytes(range(16)), wrapped_key=b"w", plaintext_size=total, blobs=blobs)


OBJECT = reference(0, wrapped_key=b"", checksums={})


def test_round_trips() -> None:
    for parts in ([1], [1, 2], [3, 7, 10000]):
        made = manifest(*(reference(number, number) for number in parts))
        assert decode_manifest(encode_manifest(made)) == made
        copied = link(*made.blobs)
        assert decode_link(encode_link(copied)) == copied
    assert decode_link(encode_link(link(OBJECT))) == link(OBJECT)
    empty = link(reference(0, 0))
    assert decode_link(encode_link(empty)) == empty


@pytest.mark.parametrize("count", [1, PIECE_BLOBS - 1, PIECE_BLOBS, PIECE_BLOBS + 1, 3 * PIECE_BLOBS])
def test_pieces_are_the_canonical_encoding(count: int) -> None:
    """And none of them takes long: the work of a piece is that of `PIECE_BLOBS` references."""
    blobs = [reference(number, checksums={"CRC32": "[]"}) for number in range(1, count + 1)]
    for parts in (list(manifest_pieces(manifest(*blobs))), list(link_pieces(link(*blobs)))):
        whole = b"".join(parts)
        assert whole == json.dumps(json.loads(whole), sort_keys=True, separators=(",", ":")).encode()
        assert len(json.loads(whole)["blobs"]) == count
        assert max(part.count(b"blob_id") for part in parts) <= PIECE_BLOBS


def test_a_broken_record_has_no_first_piece() -> None:
    with pytest.raises(ValueError, match="part numbers"):
        manifest_pieces(manifest())
    with pytest.raises(ValueError, match="part numbers"):
        link_pieces(link())


def test_the_encoding_is_that_of_format_md() -> None:
    found = json.loads(encode_link(link(OBJECT)))
    assert found.keys() == {"blobs", "bucket_id", "content_id", "plaintext_size", "wrapped_key"}
    names = {"blob_id", "commitment", "footer_hash", "plaintext_size", "salt", "sealed_size", "slot_size"}
    assert found["blobs"][0].keys() == names
    found = json.loads(encode_manifest(manifest(reference(1))))
    assert found["blobs"][0].keys() == names | {"part_number", "wrapped_key", "checksums"}


def test_a_reference_says_what_an_opener_needs() -> None:
    expected = Expectation(5, OBJECT.sealed_size, OBJECT.salt, OBJECT.commitment, OBJECT.footer_hash)
    assert OBJECT.expectation() == expected


def test_ten_thousand_parts_fit_and_one_more_does_not() -> None:
    most = manifest(*(reference(number) for number in range(1, MAX_PARTS + 1)))
    data = encode_manifest(most)
    assert len(data) < MAX_RECORD_SIZE
    assert decode_manifest(data) == most
    with pytest.raises(ValueError, match="part numbers"):
        encode_manifest(manifest(*(reference(number) for number in range(1, MAX_PARTS + 2))))


BROKEN: dict[str, Callable[[], Manifest]] = {
    "no parts": manifest,
    "number 0": lambda: manifest(OBJECT),
    "number 10001": lambda: manifest(reference(10001)),
    "falling numbers": lambda: manifest(reference(2), reference(1)),
    "number twice": lambda: manifest(reference(1), reference(1, blob_id=bytes(16))),
    "blob twice": lambda: manifest(reference(1), reference(2, blob_id=reference(1).blob_id)),
    "sum": lambda: replace(manifest(reference(1)), plaintext_size=6),
    "sizes": lambda: manifest(reference(1, sealed_size=1000)),
    "slot size": lambda: manifest(reference(1, slot_size=0)),
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN)
def test_every_rule_broken_is_not_encoded(make: Callable[[], Manifest]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        encode_manifest(make())
    blobs = make().blobs if make().blobs != (OBJECT,) else (OBJECT, reference(1))  # a link may have one blob numbered 0
    broken = replace(link(*blobs), plaintext_size=make().plaintext_size)
    with pytest.raises(ValueError, match=r".+"):
        encode_link(broken)


def change_blob(**changes: Any) -> Callable[[Json], None]:
    def change(record: Json) -> None:
        for name, value in changes.items():
            if value is None:
                del record["blobs"][0][name]
            else:
                record["blobs"][0][name] = value

    return change


def change_record(**changes: Any) -> Callable[[Json], None]:
    def change(record: Json) -> None:
        for name, value in changes.items():
            if value is None:
                del record[name]
            else:
                record[name] = value

    return change


ALTERED: dict[str, Callable[[Json], None]] = {
    "unknown member": change_record(more=1),
    "unknown member of a reference": change_blob(more=1),
    "no blobs": change_record(blobs=None),
    "blobs empty": change_record(blobs=[]),
    "blobs not a list": change_record(blobs={}),
    "blob not an object": change_record(blobs=[1]),
    "no content id": change_record(content_id=None),
    "short content id": change_record(content_id="AAAA"),
    "no bucket id": change_record(bucket_id=None),
    "no wrapped key": change_record(wrapped_key=None),
    "empty wrapped key": change_record(wrapped_key=""),
    "size as text": change_record(plaintext_size="5"),
    "size as boolean": change_record(plaintext_size=True),
    "size of another content": change_record(plaintext_size=6),
    "no salt": change_blob(salt=None),
    "short salt": change_blob(salt="AAAA"),
    "long commitment": change_blob(commitment="A" * 44 + "AAAA"),
    "footer hash as number": change_blob(footer_hash=1),
    "sealed size one more": change_blob(sealed_size=OBJECT.sealed_size + 1),
    "part number as text": change_blob(part_number="1"),
    "checksum not text": change_blob(checksums={"CRC32": 1}),
    "default written": change_blob(checksums={}),
    "not base64": change_blob(blob_id="!"),
    "not ascii": change_blob(blob_id="é"),
}


@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
def test_every_alteration_is_refused(change: Callable[[Json], None]) -> None:
    for encoded, decode in (
        (encode_manifest(manifest(reference(1))), decode_manifest),
        (encode_link(link(OBJECT)), decode_link),
    ):
        record = json.loads(encoded)
        change(record)
        data = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        with pytest.raises(SealedDamaged, match=r"^record: "):
            decode(data)


def test_one_is_not_read_as_the_other() -> None:
    with pytest.raises(SealedDamaged, match=r"^record: "):
        decode_manifest(encode_link(link(OBJECT)))


def test_every_truncation_split_and_flip_is_refused_or_another_value() -> None:
    data = encode_link(link(OBJECT))
    for length in range(len(data)):
        with pytest.raises(SealedDamaged, match=r"^record: "):
            decode_link(data[:length])
    for i in range(len(data) * 8):
        altered = bytearray(data)
        altered[i // 8] ^= 1 << i % 8
        with contextlib.suppress(SealedDamaged):
            assert decode_link(bytes(altered)) != link(OBJECT)
    for extra in (b" ", b"\n", b"\0", b"{}", data):
        with pytest.raises(SealedDamaged, match=r"^record: "):
            decode_link(data + extra)


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"1", b'"x"', b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000, b"\xff\xfe", b"{}" * 2],
)
def test_hostile_documents(data: bytes) -> None:
    for decode in (decode_manifest, decode_link):
        with pytest.raises(SealedDamaged, match=r"^record: "):
            decode(data)


def test_documents_over_the_limit_are_not_parsed() -> None:
    with pytest.raises(SealedDamaged, match=r"^record: longer"):
        decode_manifest(b"[" * (MAX_RECORD_SIZE + 1))


@settings(deadline=None, print_blob=True)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,\\u0123e.-tfn ', max_size=60).map(str.encode))
def test_anything_is_a_value_or_our_error(data: bytes) -> None:
    for decode in (decode_manifest, decode_link):
        with pytest.raises(SealedDamaged, match=r"^record: "):
            decode(data)
