"""The published vectors, through both readers, and the project's sealer read by everyone else."""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor

from storage.sealed.description import Description
from storage.sealed.header import BlobKind, FixedHeader
from storage.sealed.layout import sealed_payload_size
from storage.sealed.stream import Sealer
from tests.storage.sealed import independent_reader, make_vectors
from tests.storage.sealed.reading import (
    REALM_ID,
    blob_of,
    independent_without_row,
    keys_of,
    kind_of,
    load,
    project_with_row,
    project_without_row,
    refuses,
)

POSITIVE, NEGATIVE = load("positive"), load("negative")
ROOT = Path(__file__).parents[3]


def test_the_checked_in_vectors_are_what_the_independent_sealer_writes() -> None:
    for name, text in zip(("positive", "negative", "envelopes"), make_vectors.build(), strict=True):
        assert (make_vectors.FOLDER / f"{name}.json").read_text(encoding="ascii") == text


def test_there_are_at_least_sixty_negative_vectors_and_all_are_refused_somehow() -> None:
    assert len(NEGATIVE) >= 60
    assert all({vector["with_row"], vector["without_row"]} != {"opens"} for vector in NEGATIVE.values())


@pytest.mark.parametrize("name", POSITIVE)
def test_positive(name: str) -> None:
    vector = POSITIVE[name]
    blob = blob_of(vector)
    row, data_key, description_key, realm_id = keys_of(vector)
    assert hashlib.sha256(blob).hexdigest() == vector["sha256"]
    plaintext = project_with_row(blob, row, data_key)
    assert plaintext == independent_reader.read_with_row(blob, row, data_key)
    if name == "worked_example":
        assert plaintext == b"hello, sealed world\n"
    else:
        assert plaintext == make_vectors.pattern(row["plaintext_size"])
    ours = project_without_row(blob, realm_id, description_key, data_key)
    assert ours == independent_without_row(blob, realm_id, description_key, data_key)
    assert ours[0] == plaintext


@pytest.mark.parametrize("name", NEGATIVE)
def test_negative(name: str) -> None:
    vector = NEGATIVE[name]
    blob = blob_of(vector)
    row, data_key, description_key, realm_id = keys_of(vector)
    for kind, readers, arguments in (
        (vector["with_row"], (project_with_row, independent_reader.read_with_row), (row, data_key)),
        (
            vector["without_row"],
            (project_without_row, independent_without_row),
            (realm_id, description_key, data_key),
        ),
    ):
        if kind == "opens":
            assert readers[0](blob, *arguments) == readers[1](blob, *arguments)
        else:
            for reader in readers:
                refuses(kind, reader, blob, *arguments)


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 32768, 300_000])
@pytest.mark.parametrize("inner", [None, b"", b"digests of the plaintext"])
def test_what_the_project_seals_the_others_open(size: int, inner: bytes | None) -> None:
    plaintext = make_vectors.pattern(size)
    header = FixedHeader(BlobKind.PART, REALM_ID, bytes(range(50, 66)), 40)
    data_key, description_key, slot = bytes(range(32)), bytes(range(7, 39)), bytes(range(40))
    sealer = Sealer(header, slot, data_key)
    blob = b"".join(sealer.update(plaintext[i : i + 100_001]) for i in range(0, size, 100_001))
    description = Description(created_at=datetime(2026, 1, 2, tzinfo=UTC), object_key=b"a/\xff", tags={"k": "v"})
    blob += sealer.finalize(description, description_key, inner)
    receipt = sealer.receipt
    found, sealed_inner, row = independent_reader.read_without_row(blob, REALM_ID, description_key)
    assert found == {"created_at": 1767312000000000, "object_key": "YS//", "tags": {"k": "v"}}
    assert row == {
        "kind": 2,
        "realm_id": REALM_ID.hex(),
        "blob_id": header.blob_id.hex(),
        "slot_size": receipt.slot_size,
        "plaintext_size": receipt.plaintext_size,
        "sealed_size": receipt.sealed_size,
        "salt": receipt.salt.hex(),
        "commitment": receipt.commitment.hex(),
        "footer_hash": receipt.footer_hash.hex(),
    }
    assert independent_reader.read_with_row(blob, row, data_key) == plaintext
    if inner is None:
        assert sealed_inner == b""
    else:
        assert independent_reader.read_inner(row, blob[:64], slot, sealed_inner, data_key) == inner
    payload = blob[104 : 104 + sealed_payload_size(size)]
    context = b"sealgate/v1/payload\0" + hashlib.sha256(blob[:64]).digest()
    decryptor = Cobblestone256Decryptor(data_key, context)
    assert decryptor.update(payload) + decryptor.finalize() == plaintext


def test_the_worked_example_in_format_md_is_the_vector() -> None:
    text = (ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8")
    section = text[text.index("## 13.") : text.index("## 14.")]
    dump = "".join(re.findall(r"^  [0-9a-f]{4}  ([0-9a-f ]+)$", section, re.MULTILINE))
    vector = POSITIVE["worked_example"]
    assert bytes.fromhex(dump) == blob_of(vector)
    for name in ("commitment", "footer_hash"):
        assert f"| {name} | `{vector['row'][name]}` |" in section


def test_the_readers_name_damage_by_the_words_of_format_md() -> None:
    kinds = {vector[way] for vector in NEGATIVE.values() for way in ("with_row", "without_row")} - {"opens"}
    assert kinds == {"length", "header", "salt", "commitment", "chunk", "footer", "trailer", "description"}
    assert kind_of(independent_reader.Refused("salt")) == "salt"
