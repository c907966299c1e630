"""Contexts are injective: no two of them share their bytes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.context import NIL_ID, Purpose, WrapContext, canonical

_IDS = st.sampled_from([NIL_ID, b"a" * 16, b"b" * 16, b"a" * 15 + b"|"]) | st.binary(min_size=16, max_size=16)
_CONTEXTS = st.builds(
    WrapContext,
    _IDS,
    _IDS,
    _IDS,
    st.sampled_from(Purpose),
    _IDS,
    st.sampled_from([b"", b"\0", b"{}"]) | st.binary(max_size=20),
)
_FIELDS = st.lists(st.binary(max_size=4) | st.sampled_from([b"", b"\0", b"\0\0", b"|", b"\0\1"]), max_size=4)


@given(_CONTEXTS, _CONTEXTS)
def test_different_contexts_have_different_bytes(one: WrapContext, two: WrapContext) -> None:
    assert (one == two) == (one.encode() == two.encode())


@given(_FIELDS, _FIELDS)
def test_different_fields_have_different_bytes(one: list[bytes], two: list[bytes]) -> None:
    assert (one == two) == (canonical("label", *one) == canonical("label", *two))


@given(_FIELDS, _FIELDS, st.sampled_from(["a", "ab", "a/v1"]), st.sampled_from(["a", "b", "a/v10"]))
def test_labels_keep_uses_apart(one: list[bytes], two: list[bytes], first: str, second: str) -> None:
    assert ((first, one) == (second, two)) == (canonical(first, *one) == canonical(second, *two))


def test_bytes_are_these_forever() -> None:
    context = WrapContext(b"R" * 16, b"B" * 16, b"C" * 16, Purpose.CONTENT)
    assert context.encode() == (
        b"\0\x18sealgate/wrap-context/v1\0\x10" + b"R" * 16
        + b"\0\x10" + b"B" * 16
        + b"\0\x10" + b"C" * 16
        + b"\0\x07content"
        + b"\0\x10" + bytes(16)
    )  # fmt: skip
    assert replace(context, encryption_context=b'{"a":"b"}').encode() == context.encode() + b'\0\x09{"a":"b"}'
    assert [purpose.value for purpose in Purpose] == [
        "content", "bucket", "part", "realm", "credentials", "canary"
    ]  # fmt: skip


@pytest.mark.parametrize("field", ["realm_id", "bucket_id", "content_id", "blob_id"])
@pytest.mark.parametrize("size", [0, 15, 17])
def test_ids_have_16_bytes(field: str, size: int) -> None:
    ids = dict.fromkeys(("realm_id", "bucket_id", "content_id", "blob_id"), NIL_ID)
    with pytest.raises(ValueError, match=field):
        WrapContext(purpose=Purpose.PART, **{**ids, field: bytes(size)})


def test_an_encryption_context_has_a_limit() -> None:
    context = WrapContext(NIL_ID, NIL_ID, NIL_ID, Purpose.CONTENT, encryption_context=bytes(8192))
    assert len(context.encode()) > 8192
    with pytest.raises(ValueError, match="8192"):
        replace(context, encryption_context=bytes(8193))


def test_a_field_fits_its_length_prefix() -> None:
    assert len(canonical("x", bytes(0xFFFF))) == 3 + 2 + 0xFFFF
    with pytest.raises(ValueError, match="65536"):
        canonical("x", bytes(0x10000))


def test_a_realm_context_has_no_other_ids() -> None:
    context = WrapContext.for_realm(b"R" * 16, Purpose.REALM)
    assert (context.bucket_id, context.content_id, context.blob_id) == (NIL_ID, NIL_ID, NIL_ID)
