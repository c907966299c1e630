"""Root secrets are read in one spelling only, and Argon2id never runs below its floor."""

import base64
from dataclasses import replace

import pytest

from keys.datakey import DataKey
from keys.errors import KeyringError
from keys.root_secret import PassphraseParameters, decode_root_file, encode_root_file
from tests.suites.kms import assert_hidden

HEADER = b"sealgate-root-key v1\n"
GOOD = DataKey(bytes(range(32)))
FAST = PassphraseParameters(b"s" * 16, memory_kib=19 * 1024, iterations=2, lanes=1)
PASSPHRASE = "correct horse battery"


class TestRootFile:
    def test_reads_what_it_wrote(self) -> None:
        assert encode_root_file(GOOD) == HEADER + bytes(range(32)).hex().encode() + b"\n"
        assert decode_root_file(encode_root_file(GOOD)) == GOOD

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "not one of Sealgate"),
            (b"sealgate-root-key v2\n" + b"ab" * 32 + b"\n", "not one of Sealgate"),
            (bytes(range(32)), "not one of Sealgate"),
            (HEADER, "not 64 digits"),
            (HEADER + b"0123456789abcdef" * 2 + b"\n", "not 64 digits"),
            (HEADER + b"0123456789abcdef" * 5 + b"\n", "not 64 digits"),
            (HEADER + b"zz" * 32 + b"\n", "not hexadecimal"),
            (HEADER + b"00" * 32 + b"\n", "zero or repeated"),
            (HEADER + b"7f" * 32 + b"\n", "zero or repeated"),
            (HEADER + b"0123456789abcdef" * 4 + b"\n", "zero or repeated"),
            (HEADER + bytes(range(32)).hex().upper().encode() + b"\n", "lower case"),
            (HEADER + bytes(range(32)).hex().encode() + b" ", "lower case"),
            (HEADER + bytes(range(32)).hex().encode() + b"\r\n", "not 64 digits"),
        ],
    )
    def test_refuses_anything_else(self, data: bytes, message: str) -> None:
        with pytest.raises(KeyringError, match=message) as raised:
            decode_root_file(data)
        assert "\n" not in str(raised.value)
        assert_hidden(GOOD.material(), str(raised.value))


class TestPassphrase:
    def test_derives_the_same_root_again(self) -> None:
        again = PassphraseParameters.from_fields(FAST.to_fields())
        assert again == FAST
        assert again.derive(PASSPHRASE) == FAST.derive(PASSPHRASE)
        assert FAST.derive(PASSPHRASE + ".") != FAST.derive(PASSPHRASE)
        assert replace(FAST, salt=b"t" * 16).derive(PASSPHRASE) != FAST.derive(PASSPHRASE)

    def test_defaults_are_the_second_recommendation_of_rfc_9106(self) -> None:
        fresh = PassphraseParameters.fresh()
        assert (fresh.memory_kib, fresh.iterations, fresh.lanes) == (65536, 3, 4)
        assert fresh.salt != PassphraseParameters.fresh().salt

    @pytest.mark.parametrize("passphrase", ["", "short", "elevenchars", "a" * 12, "é" * 40, "ab" * 513])
    def test_refuses_a_weak_or_endless_passphrase(self, passphrase: str) -> None:
        with pytest.raises(KeyringError) as raised:
            FAST.derive(passphrase)
        assert not passphrase or passphrase not in str(raised.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("memory_kib", 19 * 1024 - 1),
            ("memory_kib", 1024 * 1024 + 1),
            ("memory_kib", True),
            ("memory_kib", "65536"),
            ("memory_kib", None),
            ("iterations", 1),
            ("iterations", 33),
            ("iterations", 2.0),
            ("lanes", 0),
            ("lanes", 17),
            ("salt", ""),
            ("salt", "!"),
            ("salt", 5),
            ("salt", base64.b64encode(bytes(15)).decode()),
            ("kdf", "argon2i"),
            ("kdf", "none"),
            ("more", 1),
        ],
    )
    def test_refuses_parameters_outside_their_limits(self, name: str, value: object) -> None:
        with pytest.raises(KeyringError, match=r"restore keyring\.json"):
            PassphraseParameters.from_fields({**FAST.to_fields(), name: value})

    @pytest.mark.parametrize("name", ["kind", "kdf", "salt", "memory_kib", "iterations", "lanes"])
    def test_refuses_a_missing_parameter(self, name: str) -> None:
        fields = FAST.to_fields()
        del fields[name]
        with pytest.raises(KeyringError, match="root section"):
            PassphraseParameters.from_fields(fields)
