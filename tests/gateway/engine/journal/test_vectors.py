"""The published vectors of journal, snapshots, packs and anchors, through both readers; and ours through the other."""

import asyncio
import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from gateway.engine.journal.anchor import Anchor
from gateway.engine.journal.chain import Chain, Head
from gateway.engine.journal.packs import write_packs
from gateway.engine.journal.records import RecordBlobs
from gateway.engine.journal.snapshots import read_part
from keys.datakey import DataKey
from keys.errors import UnwrapFailed
from keys.journal import JournalKeys
from keys.kms.memory import MemoryKms
from keys.realm import RealmKeys
from storage.blobs.memory import MemoryBlobStore
from storage.catalogue.rows import to_micros
from storage.errors import SealedDamaged
from storage.sealed.header import BlobKind
from storage.sealed.journal import NO_SEGMENT, SegmentHead, decode_lines, decode_pack, decode_segment, pack_entry
from tests.gateway.engine.journal import independent_journal as independent
from tests.storage.sealed.independent_reader import Refused

VECTORS: Final[Any] = json.loads(independent.FILE.read_text(encoding="ascii"))
REALM: Final = bytes.fromhex(VECTORS["realm_id"])
NOW: Final = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
PAYLOADS: Final = [(kind, each["name"]) for kind, cases in VECTORS["payloads"].items() for each in cases]


def records() -> RecordBlobs:
    """Over a store that holds the published blobs."""
    made, _ = asyncio.run(RealmKeys.create(MemoryKms(), REALM))
    keys = dataclasses.replace(made, journal_key=DataKey(bytes.fromhex(VECTORS["journal_key"])))
    blobs = MemoryBlobStore(lambda: NOW)
    for each in VECTORS["blobs"]:
        blobs._blobs[bytes.fromhex(each["blob_id"])] = base64.b64decode(each["blob"]), NOW
    description_key = bytes.fromhex(VECTORS["description_key"])
    return RecordBlobs(
        blobs=blobs, realm_id=REALM, description_key=description_key, keys=JournalKeys(keys), clock=lambda: NOW
    )


def test_the_checked_in_vectors_are_what_the_independent_writer_writes() -> None:
    assert independent.FILE.read_text(encoding="ascii") == independent.build()


@pytest.mark.parametrize("number", range(len(VECTORS["blobs"])))
def test_every_blob_opens_in_both(number: int) -> None:
    vector = VECTORS["blobs"][number]
    kind, blob_id, blob = vector["kind"], bytes.fromhex(vector["blob_id"]), base64.b64decode(vector["blob"])
    payload = base64.b64decode(vector["payload"])
    assert asyncio.run(records().read(BlobKind(kind), blob_id)) == payload
    assert independent.open_blob(kind, blob_id, blob) == payload


def test_the_chain_is_walked_and_its_snapshot_and_pack_are_read() -> None:
    async def body(chain: Chain) -> None:
        assert await chain.count() == 3
        segments = [segment async for segment in chain.walk(0, 3, Head())]
        assert segments[2].head.is_snapshot
        (part,) = segments[2].head.parts
        assert await read_part(chain.records, part) == (independent.ACCOUNT,)
        (pack,) = segments[1].head.packs
        entries = dict(decode_pack(await chain.records.read(BlobKind.PACK, pack)))
        assert entries == {b"S" * 16: independent.SMALL, b"E" * 16: independent.EMPTY}
        assert segments[1].changes[0]["rows"] == [independent.GONE]

    asyncio.run(body(Chain(records())))


def test_segments_stand_where_format_md_says() -> None:
    keys = records().keys
    for position, blob_id in VECTORS["segment_ids"].items():
        assert keys.segment_id(int(position)).hex() == blob_id == independent.segment_id(int(position)).hex()


@pytest.mark.parametrize("name", [each["name"] for each in VECTORS["wrong_blobs"]])
def test_what_belongs_elsewhere_is_refused_by_both(name: str) -> None:
    vector = next(each for each in VECTORS["wrong_blobs"] if each["name"] == name)
    kind, blob_id, blob = vector["kind"], bytes.fromhex(vector["blob_id"]), base64.b64decode(vector["blob"])
    ours = records()
    ours.blobs._blobs[blob_id] = blob, NOW  # type: ignore[attr-defined]  # the one in memory
    with pytest.raises((SealedDamaged, UnwrapFailed)) as found:
        asyncio.run(ours.read(BlobKind(kind), blob_id))
    if isinstance(found.value, UnwrapFailed):
        assert vector["outcome"] == "unwrap"
    else:
        assert str(found.value).startswith(f"{vector['outcome']}: ")
    with pytest.raises(Refused) as theirs:
        independent.open_blob(kind, blob_id, blob)
    assert theirs.value.kind == vector["outcome"]


def independent_changes(data: bytes) -> Any:
    return independent.read_segment(data)[1]


READERS: Final[dict[str, tuple[Callable[[bytes], Any], Callable[[bytes], Any]]]] = {
    "segment": (lambda data: [dict(each) for each in decode_segment(data).changes], independent_changes),
    "snapshot": (lambda data: [dict(each) for each in decode_lines(data)], independent.read_lines),
    "pack": (lambda data: [(name, bytes(sealed)) for name, sealed in decode_pack(data)], independent.read_pack),
}


@pytest.mark.parametrize(("kind", "name"), PAYLOADS)
def test_payloads(kind: str, name: str) -> None:
    vector = next(each for each in VECTORS["payloads"][kind] if each["name"] == name)
    payload = base64.b64decode(vector["payload"])
    ours, theirs = READERS[kind]
    if vector["outcome"] == "opens":
        assert ours(payload) == theirs(payload)
        return
    with pytest.raises(SealedDamaged, match=f"^{vector['outcome']}: "):
        ours(payload)
    with pytest.raises(Refused, match=vector["outcome"]):
        theirs(payload)


def test_the_anchor_is_read_and_made_alike() -> None:
    keys, text, at = records().keys, VECTORS["anchor"]["text"], VECTORS["anchor"]["at"]
    anchor = Anchor.decode(text.encode(), keys)
    assert (anchor.count, anchor.through, to_micros(anchor.at)) == (3, 7, at)
    assert anchor.digest == hashlib.sha256(base64.b64decode(VECTORS["blobs"][2]["payload"])).digest()
    assert anchor.encode(keys).decode() == text, "Ed25519 signs alike each time"


def test_what_the_project_writes_the_other_reads() -> None:
    """Under fresh keys, salts and ids."""

    async def body() -> None:
        realm_id, description_key = bytes(range(7, 23)), bytes(range(9, 41))
        keys, _ = await RealmKeys.create(MemoryKms(), realm_id)
        store = MemoryBlobStore(lambda: NOW)
        own = RecordBlobs(
            blobs=store, realm_id=realm_id, description_key=description_key, keys=JournalKeys(keys), clock=lambda: NOW
        )
        material = keys.journal_key.material()

        def read(kind: int, blob_id: bytes) -> bytes:
            held, _ = store._blobs[blob_id]
            return independent.open_blob(
                kind, blob_id, held, realm=realm_id, journal_key=material, description_key=description_key
            )

        small = [(bytes([number]) * 16, bytes(number * 9000)) for number in range(4)]
        (pack,) = await write_packs(own, small)
        assert independent.read_pack(read(independent.PACK, pack)) == small
        assert read(independent.PACK, pack) == b"".join(pack_entry(*entry) for entry in small)
        changes = [{"at": 1, "kind": "create_account", "rows": [independent.ACCOUNT], "sequence": 4}]
        written = SegmentHead(previous=NO_SEGMENT, through=4, change_count=1, packs=(pack,))
        head = await Chain(own).append(written, changes)
        name = independent.segment_id(0, material, realm_id)
        told, theirs = independent.read_segment(read(independent.JOURNAL, name))
        assert (told["through"], told["packs"], theirs) == (4, [base64.b64encode(pack).decode()], changes)
        rows = independent.lines([independent.ACCOUNT, independent.BUCKET])
        await own.write(BlobKind.SNAPSHOT, b"R" * 16, (rows,))
        assert independent.read_lines(read(independent.SNAPSHOT, b"R" * 16)) == list(decode_lines(rows))
        text = Anchor.of(realm_id, head, NOW).encode(own.keys).decode()
        fields = independent.check_anchor(text, to_micros(NOW), realm=realm_id, journal_key=material)
        assert (fields["count"], fields["digest"]) == (1, hashlib.sha256(read(independent.JOURNAL, name)).hexdigest())
        with pytest.raises(Refused):
            independent.check_anchor(text, to_micros(NOW) + 1, realm=realm_id, journal_key=material)

    asyncio.run(body())
