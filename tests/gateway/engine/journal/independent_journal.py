"""Journal, snapshots, packs and anchors, written and read a second time from FORMAT.md section 16 alone.

    python -m tests.gateway.engine.journal.independent_journal

writes the published vectors: keys, ids, salts and nonces are fixed, so that the output is a function of this file and
of the independent sealer. It shares no code with the project.
"""

import base64
import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.storage.sealed.independent_reader import Refused, read_with_row, read_without_row
from tests.storage.sealed.independent_sealer import Recipe, canonical, expand, seal

FILE = Path(__file__).parents[3] / "vectors" / "journal" / "journal.json"
REALM, JOURNAL_KEY, DESCRIPTION_KEY = bytes(range(16)), bytes(range(100, 132)), bytes(range(64, 96))
PACK, JOURNAL, SNAPSHOT = 5, 8, 9
TIME = 1_700_000_000_000_000
Json = dict[str, Any]


def joined(label: str, *fields: bytes) -> bytes:
    """What FORMAT calls `canonical` of a label and fields."""
    return b"".join(struct.pack(">H", len(part)) + part for part in (label.encode(), *fields))


def derived(journal_key: bytes, realm: bytes, use: str) -> bytes:
    return expand(journal_key, joined("sealgate/journal-key/v1", realm, use.encode()), 32)


def segment_id(position: int, journal_key: bytes = JOURNAL_KEY, realm: bytes = REALM) -> bytes:
    text = joined("sealgate/journal-segment/v1", realm, struct.pack(">Q", position))
    return hmac.digest(derived(journal_key, realm, "names"), text, "sha256")[:16]


def record_key(key: bytes, salt: bytes, context: bytes) -> bytes:
    extracted = hmac.digest(salt, key, "sha512")
    return hmac.digest(extracted, joined("sealgate/record/v1", context) + b"\x01", "sha512")[:32]


def blob_context(kind: int, blob_id: bytes, realm: bytes = REALM) -> bytes:
    return joined("sealgate/journal-blob/v1", realm, bytes([kind]), blob_id)


def slot_of(kind: int, blob_id: bytes, data_key: bytes, at: int, provider: bytes = b"realm") -> bytes:
    """The envelope with the wrapped data key; `at` makes salt and nonce, which nobody may do but here."""
    salt, nonce = bytes([at]) * 32, bytes([at + 1]) * 12
    key = record_key(derived(JOURNAL_KEY, REALM, "wrap"), salt, blob_context(kind, blob_id))
    record = salt + nonce + AESGCM(key).encrypt(nonce, data_key, None)
    wrapped = b"\x01" + bytes([len(provider)]) + provider + b"\x00\x07journal" + b"\x00" + b"\x00\x00" + record
    return struct.pack(">H", len(wrapped)) + wrapped


def sealed_blob(kind: int, blob_id: bytes, payload: bytes, at: int, slot: bytes | None = None) -> bytes:
    data_key = hashlib.sha256(bytes([at]) + blob_id).digest()
    description = {"created_at": TIME, "plaintext_size": len(payload)}
    if not payload:
        del description["plaintext_size"]
    recipe = Recipe(
        payload,
        kind=kind,
        realm_id=REALM,
        blob_id=blob_id,
        data_key=data_key,
        description_key=DESCRIPTION_KEY,
        salt=bytes([at + 2]) * 24,
        slot=slot or slot_of(kind, blob_id, data_key, at),
        description=canonical(description),
    )
    return seal(recipe)[0]


def open_blob(
    kind: int,
    blob_id: bytes,
    blob: bytes,
    *,
    realm: bytes = REALM,
    journal_key: bytes = JOURNAL_KEY,
    description_key: bytes = DESCRIPTION_KEY,
) -> bytes:
    """The payload of a blob that is asked for by its kind and id. Raises: Refused."""
    _, _, row = read_without_row(blob, realm, description_key)
    if (row["kind"], row["blob_id"]) != (kind, blob_id.hex()):
        raise Refused("header")
    slot = blob[64 : 64 + row["slot_size"]]
    size = struct.unpack(">H", slot[:2])[0]
    head = b"\x01\x05realm\x00\x07journal\x00\x00\x00"
    if size != len(slot) - 2 or slot[2 : 2 + len(head)] != head or size != len(head) + 92:
        raise Refused("unwrap")
    record = slot[2 + len(head) :]
    key = record_key(derived(journal_key, realm, "wrap"), record[:32], blob_context(kind, blob_id, realm))
    try:
        data_key = AESGCM(key).decrypt(record[32:44], record[44:], None)
    except InvalidTag:
        raise Refused("unwrap") from None
    return read_with_row(blob, row, data_key)


# Payloads


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def lines(values: list[Json]) -> bytes:
    return b"".join(canonical(value) + b"\n" for value in values)


def strict(data: bytes) -> Json:
    """One canonical object. Raises: Refused."""

    def integer(text: str) -> int:
        if text.startswith("-") or int(text) >= 2**63:
            raise Refused("record")
        return int(text)

    def no_number(_: str) -> None:
        raise Refused("record")

    try:
        value = json.loads(data.decode(), parse_int=integer, parse_float=no_number, parse_constant=no_number)
        if not isinstance(value, dict) or canonical(value) != data:
            raise Refused("record")
    except (ValueError, RecursionError):
        raise Refused("record") from None
    return value


def read_lines(payload: bytes) -> list[Json]:
    if payload and not payload.endswith(b"\n"):
        raise Refused("record")
    return [strict(line) for line in payload.split(b"\n")[:-1]]


def is_octets(value: Any, size: int) -> bool:
    try:
        return isinstance(value, str) and len(base64.b64decode(value, validate=True)) == size
    except ValueError:
        return False


COUNTS = ("after", "begun_count", "change_count", "position", "snapshot_count", "through")
PART = {"blob_id", "digest", "row_count", "table"}


def read_segment(payload: bytes) -> tuple[Json, list[Json]]:
    """Head, without what is left out, and changes. Raises: Refused."""
    first, newline, rest = payload.partition(b"\n")
    head, changes = strict(first), read_lines(rest)
    numbers = {name: head.get(name, 0) for name in COUNTS}
    well_formed = (
        newline
        and head.keys() <= {*COUNTS, "packs", "parts", "previous"}
        and all(type(number) is int for number in numbers.values())
        and all(head[name] not in (0, []) for name in head)
        and is_octets(head.get("previous"), 32)
        and isinstance(head.get("packs", []), list)
        and all(is_octets(pack, 16) for pack in head.get("packs", []))
        and isinstance(head.get("parts", []), list)
        and all(map(is_part, head.get("parts", [])))
    )
    if not well_formed:
        raise Refused("record")
    ends_snapshot = numbers["snapshot_count"] == numbers["position"] + 1
    holds = (
        numbers["after"] <= numbers["through"]
        and numbers["snapshot_count"] <= numbers["position"] + 1
        and (ends_snapshot or not (head.get("parts") or numbers["begun_count"]))
        and numbers["begun_count"] <= numbers["position"]
        and (head["previous"] != text_of(bytes(32)) or not numbers["position"] or ends_snapshot)
        and numbers["change_count"] == len(changes)
    )
    if not holds:
        raise Refused("record")
    return head, changes


def is_part(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and part.keys() == PART
        and is_octets(part["blob_id"], 16)
        and is_octets(part["digest"], 32)
        and type(part["row_count"]) is int
        and isinstance(part["table"], str)
    )


def pack_of(*entries: tuple[bytes, bytes]) -> bytes:
    return b"".join(blob_id + struct.pack(">I", len(sealed)) + sealed for blob_id, sealed in entries)


def read_pack(payload: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    while payload:
        size = int.from_bytes(payload[16:20], "big")
        if len(payload) < 20 + size:
            raise Refused("record")
        found.append((payload[:16], payload[20 : 20 + size]))
        payload = payload[20 + size :]
    return found


# Anchors


def anchor_of(count: int, digest: bytes, through: int, at: int, written: str) -> str:
    signed = joined("sealgate/anchor/v1", REALM, digest, *(struct.pack(">Q", n) for n in (count, through, at)))
    signature = Ed25519PrivateKey.from_private_bytes(derived(JOURNAL_KEY, REALM, "anchor")).sign(signed)
    fields = {"format": "sealgate-anchor", "version": 1, "realm_id": REALM.hex(), "count": count}
    fields |= {"digest": digest.hex(), "through": through, "at": written, "signature": text_of(signature)}
    return json.dumps(fields, indent=1) + "\n"


def check_anchor(text: str, at: int, *, realm: bytes, journal_key: bytes) -> Json:
    """What an anchor of that moment says. Raises: Refused."""
    fields: Json = json.loads(text)
    numbers = (struct.pack(">Q", number) for number in (fields["count"], fields["through"], at))
    signed = joined("sealgate/anchor/v1", realm, bytes.fromhex(fields["digest"]), *numbers)
    public = Ed25519PrivateKey.from_private_bytes(derived(journal_key, realm, "anchor")).public_key()
    try:
        public.verify(base64.b64decode(fields["signature"]), signed)
    except InvalidSignature:
        raise Refused("signature") from None
    if text != json.dumps(fields, indent=1) + "\n" or fields["realm_id"] != realm.hex():
        raise Refused("signature")
    return fields


# The vectors


def change(sequence: int, kind: str, *rows: Json) -> Json:
    return {"at": TIME + sequence, "kind": kind, "rows": list(rows), "sequence": sequence}


ACCOUNT = {"row": {"account_id": text_of(b"A" * 16), "created_at": TIME, "name": "main"}, "table": "accounts"}
BUCKET = {
    "row": {
        "account_id": text_of(b"A" * 16),
        "bucket_id": text_of(b"B" * 16),
        "configurations": "{}",
        "created_at": TIME,
        "name": "bücher",
        "versioning": "Never",
    },
    "table": "buckets",
}
GONE = {"gone": {"bucket_id": text_of(b"B" * 16), "object_key": text_of(b"k/\xff")}, "table": "versions"}
PACK_ID, PART_ID = bytes(range(150, 166)), bytes(range(170, 186))
SMALL = seal(Recipe(b"a small object\n", blob_id=b"S" * 16, realm_id=REALM, description_key=DESCRIPTION_KEY))[0]
EMPTY = seal(Recipe(blob_id=b"E" * 16, realm_id=REALM, description_key=DESCRIPTION_KEY))[0]


def chain() -> list[tuple[str, int, bytes, bytes]]:
    """(name, kind, blob id, payload): two segments, one that ends a snapshot, its part, and a pack."""
    first = lines([{"change_count": 2, "previous": text_of(bytes(32)), "through": 2}])
    first += lines([change(1, "create_account", ACCOUNT), change(2, "create_bucket", BUCKET)])
    second: Json = {"after": 2, "change_count": 1, "packs": [text_of(PACK_ID)], "position": 1, "through": 7}
    second |= {"previous": text_of(hashlib.sha256(first).digest())}
    second_payload = lines([second, change(7, "delete_versions", GONE)])
    rows = lines([ACCOUNT])
    part = {"blob_id": text_of(PART_ID), "digest": text_of(hashlib.sha256(rows).digest())}
    third: Json = {"after": 7, "begun_count": 2, "position": 2, "snapshot_count": 3, "through": 7}
    third |= {"parts": [part | {"row_count": 1, "table": "accounts"}]}
    third |= {"previous": text_of(hashlib.sha256(second_payload).digest())}
    return [
        ("segment 0", JOURNAL, segment_id(0), first),
        ("segment 1, with a pack", JOURNAL, segment_id(1), second_payload),
        ("segment 2, which ends a snapshot", JOURNAL, segment_id(2), lines([third])),
        ("part of a snapshot", SNAPSHOT, PART_ID, rows),
        ("pack of two small objects", PACK, PACK_ID, pack_of((b"S" * 16, SMALL), (b"E" * 16, EMPTY))),
    ]


def payloads() -> dict[str, list[tuple[str, str, bytes]]]:
    """By kind: (name, outcome, payload)."""
    head: Json = {"after": 3, "change_count": 1, "position": 7, "previous": text_of(b"p" * 32), "through": 5}
    one = change(5, "upkeep", ACCOUNT)
    segment = lines([head, one])
    part = {"blob_id": text_of(b"b" * 16), "digest": text_of(b"d" * 32), "row_count": 3, "table": "versions"}
    anew: Json = {"begun_count": 7, "parts": [part], "position": 7, "previous": text_of(bytes(32)), "snapshot_count": 8}

    def but(**fields: Any) -> bytes:
        return lines([{name: value for name, value in (head | fields).items() if value is not None}, one])

    segments = [
        ("a change", "opens", segment),
        ("the first of all, empty", "opens", lines([{"previous": text_of(bytes(32))}])),
        ("a chain that begins anew with a snapshot", "opens", lines([anew])),
        ("empty", "record", b""),
        ("without a line feed", "record", segment[:-1]),
        ("cut in a change", "record", segment[:-20]),
        ("a line too many", "record", segment + b"{}\n"),
        ("an empty line", "record", segment + b"\n"),
        ("a blank", "record", segment.replace(b'"at":', b'"at": ')),
        ("members in another order", "record", b'{"previous":"%s","after":3}\n' % text_of(b"p" * 32).encode()),
        ("a fraction", "record", segment.replace(b'"sequence":5', b'"sequence":5.0')),
        ("a negative number", "record", segment.replace(b'"sequence":5', b'"sequence":-5')),
        ("a number of 64 bits", "record", segment.replace(b'"sequence":5', b'"sequence":9223372036854775808')),
        ("no UTF-8", "record", segment.replace(b'"upkeep"', b'"up\xff"')),
        ("a change that is no object", "record", lines([head]) + b"[]\n"),
        ("a default that is written", "record", but(snapshot_count=0)),
        ("an unknown field", "record", but(more=1)),
        ("a number as text", "record", but(position="7")),
        ("no digest of the one before", "record", but(previous=None)),
        ("a digest of 31 bytes", "record", but(previous=text_of(b"p" * 31))),
        ("a pack of 15 bytes", "record", but(packs=[text_of(b"p" * 15)])),
        ("packs that are no list", "record", but(packs=text_of(b"p" * 16))),
        ("another number of changes", "record", but(change_count=2)),
        ("it goes back", "record", but(after=6)),
        ("a snapshot that is still to come", "record", but(snapshot_count=9)),
        ("parts without a snapshot", "record", but(parts=[part])),
        ("a beginning without a snapshot", "record", but(begun_count=1)),
        ("a snapshot that began after its end", "record", but(snapshot_count=8, begun_count=8)),
        ("a part with a field too many", "record", but(snapshot_count=8, parts=[part | {"x": 1}])),
        ("it begins anew without a snapshot", "record", but(previous=text_of(bytes(32)))),
    ]
    rows = lines([ACCOUNT, BUCKET])
    parts = [
        ("two rows", "opens", rows),
        ("no row", "opens", b""),
        ("cut in the last row", "record", rows[:-1]),
        ("a list", "record", b"[]\n"),
        ("a blank", "record", rows.replace(b'"row":', b'"row": ')),
        ("not a line", "record", rows + b"\n"),
    ]
    pack = pack_of((b"S" * 16, SMALL), (b"E" * 16, b""))
    packs = [
        ("two entries, one of no bytes", "opens", pack),
        ("no entry", "opens", b""),
        ("cut in the last id", "record", pack[:-10]),
        ("cut in its size", "record", pack[:-1]),
        ("cut in the sealed bytes", "record", pack_of((b"S" * 16, SMALL))[:-1]),
        ("one byte more", "record", pack + b"\0"),
        ("a size beyond the end", "record", b"S" * 16 + b"\xff\xff\xff\xff" + SMALL),
    ]
    return {"segment": segments, "snapshot": parts, "pack": packs}


def wrong_blobs() -> list[tuple[str, str, int, bytes, bytes]]:
    """(name, outcome, kind and blob id that are asked for, blob): each authentic somewhere else, or not at all."""
    _, kind, blob_id, payload = chain()[0]
    right = sealed_blob(kind, blob_id, payload, 10)
    other_id, data_key = segment_id(1), hashlib.sha256(bytes([10]) + blob_id).digest()

    def wrapped_for(kind_of: int, name: bytes, provider: bytes = b"realm") -> bytes:
        slot = slot_of(kind_of, name, data_key, 10, provider)
        return sealed_blob(kind, blob_id, payload, 10, slot)

    flipped = bytearray(right)
    flipped[300] ^= 1
    return [
        ("asked for at another position", "header", kind, other_id, right),
        ("asked for as another kind", "header", SNAPSHOT, blob_id, right),
        ("a data key wrapped for another kind", "unwrap", kind, blob_id, wrapped_for(SNAPSHOT, blob_id)),
        ("a data key wrapped for another blob", "unwrap", kind, blob_id, wrapped_for(kind, other_id)),
        ("a data key of another provider", "unwrap", kind, blob_id, wrapped_for(kind, blob_id, b"local")),
        ("one bit of a chunk", "chunk", kind, blob_id, bytes(flipped)),
        ("cut by one byte", "trailer", kind, blob_id, right[:-1]),
    ]


def build() -> str:
    """The text of journal.json."""
    blobs = [
        {
            "name": name,
            "kind": kind,
            "blob_id": blob_id.hex(),
            "payload": text_of(payload),
            "blob": text_of(sealed_blob(kind, blob_id, payload, 10 * number)),
        }
        for number, (name, kind, blob_id, payload) in enumerate(chain(), 1)
    ]
    last = hashlib.sha256(chain()[2][3]).digest()
    return (
        json.dumps(
            {
                "realm_id": REALM.hex(),
                "journal_key": JOURNAL_KEY.hex(),
                "description_key": DESCRIPTION_KEY.hex(),
                "segment_ids": {str(at): segment_id(at).hex() for at in (0, 1, 2, 1024, 2**40)},
                "blobs": blobs,
                "wrong_blobs": [
                    {"name": name, "outcome": how, "kind": kind, "blob_id": blob_id.hex(), "blob": text_of(blob)}
                    for name, how, kind, blob_id, blob in wrong_blobs()
                ],
                "payloads": {
                    kind: [{"name": n, "outcome": how, "payload": text_of(data)} for n, how, data in cases]
                    for kind, cases in payloads().items()
                },
                "anchor": {
                    "at": TIME + 5,
                    "text": anchor_of(3, last, 7, TIME + 5, "2023-11-14T22:13:20.000005+00:00"),
                },
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(build(), encoding="ascii")
