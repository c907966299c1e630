"""Loads the published vectors and reads blobs through both readers, so that tests can compare what they say."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from storage.errors import SealedDamaged
from storage.sealed.description import open_inner
from storage.sealed.header import BlobKind, FixedHeader
from storage.sealed.recovery import MAX_PREFIX_SIZE, MAX_TAIL_SIZE, RecoveredBlob, recover
from storage.sealed.stream import Expectation, Opener
from tests.storage.sealed import independent_reader

FOLDER = Path(__file__).parents[2] / "vectors" / "sealed"
REALM_ID = bytes(range(16))
Vector = dict[str, Any]


@cache
def load(name: str) -> dict[str, Vector]:
    vectors: list[Vector] = json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))
    assert len({vector["name"] for vector in vectors}) == len(vectors)
    return {vector["name"]: vector for vector in vectors}


def blob_of(vector: Vector) -> bytes:
    """The bytes of a vector: its own, or those of its base with the edits done."""
    if "blob" in vector:
        return base64.b64decode(vector["blob"], validate=True)
    blob = bytearray(blob_of(load("positive")[vector["base"]]))
    for action, offset, *rest in vector["edits"]:
        if action == "xor":
            blob[offset] ^= int(rest[0], 16)
        elif action == "replace":
            blob[offset : offset + rest[0]] = bytes.fromhex(rest[1])
        else:
            assert action == "copy"
            size, source, source_offset = rest
            taken = blob_of(load("positive")[source])[source_offset:]
            blob[offset : offset + size] = taken[:size] if size else taken
    return bytes(blob)


def keys_of(vector: Vector) -> tuple[dict[str, Any], bytes, bytes, bytes]:
    """Row, data key, description key and realm id to read a vector with."""
    base = load("positive")[vector["base"]] if "base" in vector else vector
    row = base["row"] | vector.get("row", {})
    found = {"realm_id": REALM_ID.hex()} | base | vector
    data_key, description_key, realm_id = (
        bytes.fromhex(found[name]) for name in ("data_key", "description_key", "realm_id")
    )
    return row, data_key, description_key, realm_id


def opener_of(row: dict[str, Any], data_key: bytes) -> Opener:
    row = {name: bytes.fromhex(value) if isinstance(value, str) else value for name, value in row.items()}
    header = FixedHeader(BlobKind(row["kind"]), row["realm_id"], row["blob_id"], row["slot_size"])
    names = ("plaintext_size", "sealed_size", "salt", "commitment", "footer_hash")
    return Opener(header, Expectation(*(row[name] for name in names)), data_key)


def read_whole(opener: Opener, blob: bytes) -> bytes:
    opener.check_stored_size(len(blob))
    whole = opener.open_whole()
    return bytes(whole.update(blob)) + bytes(whole.finalize())


def recover_blob(blob: bytes, realm_id: bytes, description_key: bytes) -> RecoveredBlob:
    return recover(blob[:MAX_PREFIX_SIZE], blob[-MAX_TAIL_SIZE:], len(blob), realm_id, description_key)


def project_with_row(blob: bytes, row: dict[str, Any], data_key: bytes) -> bytes:
    return read_whole(opener_of(row, data_key), blob)


def project_without_row(blob: bytes, realm_id: bytes, description_key: bytes, data_key: bytes) -> tuple[bytes, bytes]:
    """Plaintext and inner text of a blob that no row describes."""
    found = recover_blob(blob, realm_id, description_key)
    plaintext = read_whole(Opener(found.header, found.expectation, data_key), blob)
    return plaintext, open_inner(found.binding, found.inner_box, data_key) if found.inner_box else b""


def independent_without_row(
    blob: bytes, realm_id: bytes, description_key: bytes, data_key: bytes
) -> tuple[bytes, bytes]:
    _, sealed, row = independent_reader.read_without_row(blob, realm_id, description_key)
    plaintext = independent_reader.read_with_row(blob, row, data_key)
    slot = blob[64 : 64 + row["slot_size"]]
    inner = independent_reader.read_inner(row, blob[:64], slot, sealed, data_key) if sealed else b""
    return plaintext, inner


def kind_of(error: BaseException) -> str:
    """The kind of damage that an error names."""
    if isinstance(error, independent_reader.Refused):
        return error.kind
    assert type(error) is SealedDamaged
    return str(error).partition(":")[0]


def refuses(kind: str, read: Any, *arguments: Any) -> None:
    """Assert that a reader refuses, with damage of that kind."""
    with pytest.raises((SealedDamaged, independent_reader.Refused)) as caught:
        read(*arguments)
    assert kind_of(caught.value) == kind
