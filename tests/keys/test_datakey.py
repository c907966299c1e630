"""A data key does not leak, and a wrapped key has exactly one encoding."""

import contextlib
import pickle
import secrets
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.datakey import KEY_SIZE, MAX_ENCODED_SIZE, DataKey, WrappedKey
from keys.errors import UnwrapFailed
from keys.record import Record
from tests.suites.kms import assert_hidden, assert_sealed_object

_RECORD = Record(bytes(range(32)), bytes(range(12)), bytes(range(48)))
_WRAPPED = WrappedKey("local", "some-key", "7", b"ciphertext", _RECORD)
_ASCII = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
_WRAPPED_KEYS = st.builds(
    WrappedKey,
    st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True),
    st.text(_ASCII, min_size=1, max_size=512),
    st.text(_ASCII, max_size=64),
    st.binary(max_size=1024),
    st.builds(
        Record,
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=12, max_size=12),
        st.binary(min_size=48, max_size=48),
    ),
)


class TestDataKey:
    def test_material_is_the_only_door(self) -> None:
        material = secrets.token_bytes(KEY_SIZE)
        key = DataKey(material)
        assert key.material() == material
        assert isinstance(key.material(), bytes)
        assert_hidden(material, repr(key), str(key), f"{key}", f"{key!r:>99}", repr([key]), str({"x": key}))
        assert not hasattr(key, "__dict__")
        with pytest.raises(TypeError):
            vars(key)

    def test_is_neither_copied_nor_pickled(self) -> None:
        key = DataKey.random()
        assert_sealed_object(key)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError) as raised:
                pickle.dumps([key], protocol)
            assert_hidden(key.material(), str(raised.value))
        with pytest.raises(TypeError):
            key.__getstate__()

    def test_equality_is_by_material_and_hash_is_none(self) -> None:
        material = secrets.token_bytes(KEY_SIZE)
        assert DataKey(material) == DataKey(material)
        assert DataKey(material) != DataKey.random()
        assert DataKey(material) != material
        with pytest.raises(TypeError, match="unhashable"):
            hash(DataKey(material))

    def test_has_no_subclasses(self) -> None:
        with pytest.raises(TypeError):
            type("Spy", (DataKey,), {})

    @pytest.mark.parametrize("size", [0, 1, 16, 24, 31, 33, 64])
    def test_has_32_bytes(self, size: int) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            DataKey(secrets.token_bytes(size))

    @pytest.mark.parametrize(
        "material",
        [
            bytes(32),
            b"\xff" * 32,
            b"a" * 32,
            b"0123456789abcdef" * 2,
            b"ab" * 16,
            b"0123456789abcdef" + bytes(16),
            bytes(16) + b"0123456789abcdef",
        ],
    )
    def test_refuses_what_is_not_random(self, material: bytes) -> None:
        with pytest.raises(ValueError, match="not random") as raised:
            DataKey(material)
        assert_hidden(material, str(raised.value))


class TestWrappedKey:
    @given(_WRAPPED_KEYS)
    def test_decodes_what_it_encoded(self, wrapped: WrappedKey) -> None:
        assert len(wrapped.encode()) <= MAX_ENCODED_SIZE
        assert WrappedKey.decode(wrapped.encode()) == wrapped

    def test_bytes_are_these_forever(self) -> None:
        assert _WRAPPED.encode() == (
            b"\x01" + b"\x05local" + b"\x00\x08some-key" + b"\x017" + b"\x00\x0aciphertext"
            + bytes(range(32)) + bytes(range(12)) + bytes(range(48))
        )  # fmt: skip

    def test_every_cut_and_every_longer_encoding_is_refused(self) -> None:
        encoded = _WRAPPED.encode()
        for size in range(len(encoded)):
            with pytest.raises(UnwrapFailed):
                WrappedKey.decode(encoded[:size])
        for more in (b"\0", b"\0" * 16, encoded, bytes(MAX_ENCODED_SIZE)):
            with pytest.raises(UnwrapFailed):
                WrappedKey.decode(encoded + more)

    @given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\x01\x05local" + tail))
    def test_any_bytes_are_a_value_or_our_error(self, data: bytes) -> None:
        try:
            wrapped = WrappedKey.decode(data)
        except UnwrapFailed:
            return
        assert wrapped.encode() == data

    @given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
    def test_an_altered_encoding_is_another_value_or_our_error(self, index: int, flip: int) -> None:
        altered = bytearray(_WRAPPED.encode())
        altered[index % len(altered)] ^= flip
        with contextlib.suppress(UnwrapFailed):
            assert WrappedKey.decode(bytes(altered)) != _WRAPPED

    @pytest.mark.parametrize(
        "change",
        [
            {"provider": ""},
            {"provider": "Local"},
            {"provider": "a" * 33},
            {"provider": "lo\ncal"},
            {"provider": "local\n"},
            {"kms_key_id": ""},
            {"kms_key_id": "a" * 513},
            {"kms_key_id": "with space"},
            {"kms_key_id": "ключ"},
            {"kms_key_version": "1" * 65},
            {"kms_key_version": "1\n"},
            {"provider_ciphertext": bytes(1025)},
            {"record": Record(bytes(32), bytes(12), bytes(47))},
            {"record": Record(bytes(32), bytes(12), bytes(49))},
        ],
    )
    def test_fields_have_limits(self, change: dict[str, str]) -> None:
        with pytest.raises(ValueError, match="outside its limits"):
            replace(_WRAPPED, **change)  # type: ignore[arg-type]  # some of the changes are records or bytes

    def test_shows_ids_alone(self) -> None:
        text = f"{_WRAPPED!r} {_WRAPPED}"
        assert "local" in text
        assert "some-key" in text
        assert "ciphertext" not in text
        assert_hidden(_RECORD.ciphertext, text, repr(_RECORD))
