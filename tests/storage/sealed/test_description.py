"""Descriptions: one encoding each, padded, bound to the blob, unknown fields kept, and no exception but ours."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import SealedDamaged
from storage.sealed import description as descriptions
from storage.sealed import kdf
from storage.sealed.damage import Damage
from storage.sealed.description import (
    Binding,
    Description,
    open_description,
    open_inner,
    seal_description,
    seal_inner,
)
from storage.sealed.header import BlobKind, FixedHeader
from tests.storage.sealed import independent_reader
from tests.storage.sealed.make_vectors import FULL

HEADER = FixedHeader(BlobKind.OBJECT, bytes(range(16)), bytes(range(16, 32)), 9)
BINDING = Binding(HEADER, bytes(range(32)), bytes(range(24)), bytes(range(1, 33)), 12345)
KEY = bytes(range(7, 39))
NEWER = {"sealed_checksums": {"CRC32:FULL_OBJECT": "AAAA"}}
"""Fields that came after `FULL`, whose vector is published and never changes."""
NOW = datetime(2026, 7, 14, 12, 30, 1, 999999, tzinfo=UTC)
SMALL = Description(created_at=NOW)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
STRINGS = st.dictionaries(TEXTS, TEXTS, max_size=4)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  # aware by timezones=
OCTETS = st.binary(max_size=40)
COUNTS = st.integers(0, 2**63 - 1)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | COUNTS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
NAMES = {field.name for field in fields(Description)}
BY_KIND: dict[object, Any] = {b"": OCTETS, "": TEXTS, 0: COUNTS}
DESCRIPTIONS = st.builds(
    Description,
    **dict.fromkeys(("account_id", "bucket_id", "content_id", "object_key", "upload_id"), OCTETS),
    **dict.fromkeys(("bucket_name", "etag", "lock_mode", "version_id"), TEXTS),
    **dict.fromkeys(("checksums", "encryption", "headers", "sealed_checksums", "tags", "user_metadata"), STRINGS),
    **dict.fromkeys(("commit_order", "part_number", "plaintext_size"), COUNTS),
    **{name: st.none() | TIMES for name in ("modified_at", "retain_until")},
    created_at=TIMES,
    legal_hold=st.booleans(),
    unknown=st.dictionaries(TEXTS.filter(lambda name: name not in NAMES), JSON_VALUES, max_size=3),
)


def seal_text(text: bytes) -> bytes:
    """A footer around any text, sealed with the right key."""
    return kdf.description_box(KEY, HEADER, BINDING.salt).seal(text, BINDING.encode())


@settings(deadline=None, print_blob=True)
@given(DESCRIPTIONS, st.binary(max_size=64) | st.none())
def test_what_is_sealed_opens_again(description: Description, inner: bytes | None) -> None:
    inner_box = b"" if inner is None else seal_inner(BINDING, inner, KEY)
    footer = seal_description(BINDING, description, KEY, inner_box)
    assert len(footer) % 512 == 0
    opened = open_description(BINDING, memoryview(footer), KEY)
    assert opened.description == description
    assert opened.inner_box == inner_box
    if inner is not None:
        assert open_inner(BINDING, opened.inner_box, KEY) == inner
    # The independent reader's idea of canonical JSON agrees.
    text = kdf.description_box(KEY, HEADER, BINDING.salt).open(footer, BINDING.encode(), Damage.FOOTER)
    size = int.from_bytes(text[:4], "big")
    assert independent_reader.canonical_object(text[8 : 8 + size]).keys() >= {"created_at"}


def test_all_fields_are_named_as_in_format_md() -> None:
    footer = seal_description(BINDING, full(), KEY)
    text = kdf.description_box(KEY, HEADER, BINDING.salt).open(footer, BINDING.encode(), Damage.FOOTER)
    found = json.loads(text[8 : 8 + int.from_bytes(text[:4], "big")])
    assert found == FULL | NEWER
    assert found.keys() == NAMES - {"unknown"} == independent_reader.TYPES.keys()


def full() -> Description:
    return descriptions._SHAPE.from_json(FULL | NEWER)


def test_fields_at_their_limits() -> None:
    found = full()
    assert found.retain_until == datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert found.created_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert found.object_key == b"\xc3\xbc/\xff"
    assert open_description(BINDING, seal_description(BINDING, found, KEY), KEY).description == found


def test_times_of_other_zones_are_the_same_moment() -> None:
    elsewhere = replace(SMALL, created_at=NOW.astimezone(timezone(timedelta(hours=5))))
    opened = open_description(BINDING, seal_description(BINDING, elsewhere, KEY), KEY)
    assert opened.description.created_at == NOW


def test_unknown_fields_are_kept_and_written_back() -> None:
    unknown = {"from_the_future": [1, {"a": None}], "z": True}
    first = seal_description(BINDING, replace(SMALL, unknown=unknown), KEY)
    found = open_description(BINDING, first, KEY).description
    assert found.unknown == unknown
    assert seal_description(BINDING, found, KEY) == first


@pytest.mark.parametrize(
    "change",
    [
        {"bucket_name": "x" * 65536},
        {"etag": "\ud800"},
        {"created_at": datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)},
        {"unknown": {"etag": "x"}},
        {"unknown": {"x": float("nan")}},
    ],
)
def test_what_the_format_cannot_say_is_not_sealed(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        seal_description(BINDING, replace(SMALL, **change), KEY)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_depth_has_a_limit() -> None:
    at_limit = replace(SMALL, unknown={"x": nested(32)})
    assert open_description(BINDING, seal_description(BINDING, at_limit, KEY), KEY).description == at_limit
    with pytest.raises(ValueError, match="deep"):
        seal_description(BINDING, replace(SMALL, unknown={"x": nested(33)}), KEY)


def test_the_largest_description_and_inner_box_fit_the_largest_footer() -> None:
    base = len(json.dumps({"created_at": 1234567890123456, "bucket_name": ""}, separators=(",", ":")))
    largest = replace(SMALL, bucket_name="x" * (65536 - base))
    footer = seal_description(BINDING, largest, KEY, seal_inner(BINDING, bytes(4096), KEY))
    assert len(footer) == 70144
    assert open_description(BINDING, footer, KEY).description == largest
    with pytest.raises(ValueError, match="longer"):
        seal_description(BINDING, replace(largest, etag="x"), KEY)
    with pytest.raises(ValueError, match="inner box"):
        seal_inner(BINDING, bytes(4097), KEY)


def test_padding_hides_lengths_within_a_step() -> None:
    sizes = {len(seal_description(BINDING, replace(SMALL, object_key=bytes(n)), KEY)) for n in range(200)}
    assert sizes == {512}


def test_every_part_of_the_binding_matters() -> None:
    footer = seal_description(BINDING, SMALL, KEY)
    inner_box = seal_inner(BINDING, b"inner", KEY)
    for change in (
        {"header": replace(HEADER, kind=BlobKind.PART)},
        {"header": replace(HEADER, slot_size=10)},
        {"header": replace(HEADER, blob_id=bytes(16))},
        {"slot_hash": bytes(32)},
        {"salt": bytes(24)},
        {"commitment": bytes(32)},
        {"plaintext_size": 12346},
    ):
        other = replace(BINDING, **change)
        assert other.encode() != BINDING.encode()
        assert len(other.encode()) == 128
        with pytest.raises(SealedDamaged, match=r"^description: "):
            open_description(other, footer, KEY)
        with pytest.raises(SealedDamaged, match=r"^inner: "):
            open_inner(other, inner_box, KEY)
    with pytest.raises(SealedDamaged, match=r"^description: "):
        open_description(BINDING, footer, bytes(32))
    with pytest.raises(SealedDamaged, match=r"^inner: "):
        open_inner(BINDING, inner_box, bytes(32))
    with pytest.raises(SealedDamaged, match=r"^inner: "):
        open_inner(BINDING, b"", KEY)


def test_footer_hash_covers_slot_and_footer() -> None:
    assert BINDING.footer_hash(b"a") == BINDING.footer_hash(memoryview(b"a"))
    assert BINDING.footer_hash(b"a") != BINDING.footer_hash(b"b")
    assert BINDING.footer_hash(b"a") != replace(BINDING, slot_hash=bytes(32)).footer_hash(b"a")


@pytest.mark.parametrize("size", [0, 1, 15, 511, 513, 70144 + 512])
def test_footers_of_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(SealedDamaged, match=r"^length: "):
        open_description(BINDING, bytes(size), KEY)


@settings(deadline=None, print_blob=True, max_examples=200)
@given(st.binary(min_size=496, max_size=496) | st.binary(max_size=488))
def test_any_text_under_the_right_key_is_a_value_or_our_error(data: bytes) -> None:
    text = data if len(data) == 496 else (len(data).to_bytes(4, "big") + bytes(4) + data).ljust(496, b"\0")
    with pytest.raises(SealedDamaged, match=r"^description: "):
        open_description(BINDING, seal_text(text), KEY)


@settings(deadline=None, print_blob=True)
@given(st.dictionaries(st.sampled_from(sorted(NAMES)) | TEXTS, JSON_VALUES, max_size=5))
def test_any_json_object_is_a_value_or_our_error(value: dict[str, Any]) -> None:
    data = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    try:
        found = descriptions._SHAPE.decode(data, 65536, Damage.DESCRIPTION)
    except SealedDamaged:
        with pytest.raises(independent_reader.Refused):
            independent_reader.canonical_object(data)
    else:
        assert descriptions._SHAPE.encode(found, 65536) == data
        assert independent_reader.canonical_object(data) == value


def test_errors_do_not_quote_what_was_sealed() -> None:
    text = b'{"created_at":1,"object_key":"secret name"}'
    with pytest.raises(SealedDamaged) as caught:
        descriptions._SHAPE.decode(text, 65536, Damage.DESCRIPTION)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert "key" not in repr(replace(SMALL, object_key=b"key"))
    with pytest.raises(SealedDamaged, match=r"^description: longer"):
        descriptions._SHAPE.decode(text, 10, Damage.DESCRIPTION)
