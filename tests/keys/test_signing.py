"""Records that a realm signs: what it signed is taken, and nothing else, whoever presents it."""

import asyncio
import json
from typing import Any

import pytest

from keys.errors import UnwrapFailed
from keys.kms.memory import MemoryKms
from keys.realm import RealmKeys
from keys.signing import check_record, parse_record, public_key_of, sign_record

RECORD: dict[str, Any] = {"format": "sealgate-destruction", "counts": {"destroyed_count": 2}, "destroyed": ["a"]}


def realm_keys() -> RealmKeys:
    return asyncio.run(RealmKeys.create(MemoryKms(), b"R" * 16))[0]


@pytest.fixture(scope="module")
def keys() -> RealmKeys:
    return realm_keys()


def test_what_was_signed_is_taken(keys: RealmKeys) -> None:
    signed = sign_record(keys, RECORD)
    assert {name: signed[name] for name in RECORD} == RECORD
    check_record(signed, public_key_of(keys))
    check_record(dict(reversed(signed.items())), public_key_of(keys))


@pytest.mark.parametrize(
    "change",
    [
        {"destroyed": []},
        {"counts": {"destroyed_count": 3}},
        {"more": 1},
        {"signature": None},
        {"signature": ""},
        {"signature": "A" * 88},
        {"signature": "ü"},
        {"public_key": "00" * 32},
        {"public_key": None},
    ],
    ids=str,
)
def test_what_was_altered_is_refused(keys: RealmKeys, change: dict[str, Any]) -> None:
    with pytest.raises(UnwrapFailed):
        check_record(sign_record(keys, RECORD) | change, public_key_of(keys))


@pytest.mark.parametrize("name", [*RECORD, "public_key", "signature"])
def test_what_something_is_missing_of_is_refused(keys: RealmKeys, name: str) -> None:
    signed = sign_record(keys, RECORD)
    del signed[name]
    with pytest.raises(UnwrapFailed):
        check_record(signed, public_key_of(keys))


def test_another_realm_s_word_counts_for_nothing(keys: RealmKeys) -> None:
    other = realm_keys()
    assert public_key_of(other) != public_key_of(keys)
    forged = sign_record(other, RECORD)
    with pytest.raises(UnwrapFailed, match="another realm"):
        check_record(forged, public_key_of(keys))
    with pytest.raises(UnwrapFailed, match="as the realm signed it"):
        check_record(forged | {"public_key": public_key_of(keys)}, public_key_of(keys))


@pytest.mark.parametrize("public_key", ["", "zz", "00", "ü" * 64])
def test_a_public_key_that_is_none_checks_nothing(keys: RealmKeys, public_key: str) -> None:
    with pytest.raises(UnwrapFailed):
        check_record(sign_record(keys, RECORD) | {"public_key": public_key}, public_key)


def test_a_record_is_read_as_it_was_written(keys: RealmKeys) -> None:
    signed = sign_record(keys, RECORD)
    assert parse_record(json.dumps(signed, indent=1).encode()) == signed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"format": "another"}',
        b'{"destroyed": ["b"], "format": "sealgate-destruction", "destroyed": ["a"]}',
        b'{"counts": {"destroyed_count": 1, "destroyed_count": 2}, "format": "sealgate-destruction"}',
        b"[" * 200_000,
        b'{"format": "sealgate-destruction", "more": ' + b"[" * 200_000,
    ],
    ids=lambda data: data[:40].decode("latin-1"),
)
def test_what_two_would_read_differently_is_no_record(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_record(data)


def test_a_record_that_is_nested_too_deeply_is_refused(keys: RealmKeys) -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(UnwrapFailed, match="as the realm signed it"):
        check_record(sign_record(keys, RECORD) | {"more": nested}, public_key_of(keys))
