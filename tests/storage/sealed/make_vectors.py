"""Writes the published vectors of the sealed format with the independent sealer; the project's code takes no part.

    python -m tests.storage.sealed.make_vectors

Output is a function of this file and `independent_sealer.py` alone: salts are fixed. A test runs it and compares.
"""

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from tests.storage.sealed.independent_sealer import Recipe, canonical, seal

FOLDER = Path(__file__).parents[2] / "vectors" / "sealed"
SLOT_END = 64 + 21  # every base of a negative vector has the 21-byte slot of `Recipe`
CHUNKS = SLOT_END + 56
KINDS = ("object", "part", "manifest", "link", "pack", "keyring", "envelopes", "journal", "snapshot")

TIME = 1_700_000_000_000_000
FULL = {
    "account_id": "AAECAwQFBgcICQoLDA0ODw==",
    "bucket_id": "EBESExQVFhcYGRobHB0eHw==",
    "bucket_name": "photos",
    "checksums": {"CRC64NVME": "AAAAAAAAAAA="},
    "commit_order": 42,
    "content_id": "ICEiIyQlJicoKSorLC0uLw==",
    "created_at": TIME,
    "encryption": {"algorithm": "AES256"},
    "etag": "d41d8cd98f00b204e9800998ecf8427e",
    "headers": {"cache-control": "no-store", "content-type": "text/plain; charset=utf-8"},
    "legal_hold": True,
    "lock_mode": "COMPLIANCE",
    "modified_at": TIME + 1,
    "object_key": "w7wv/w==",
    "part_number": 10000,
    "plaintext_size": 2**63 - 1,
    "retain_until": 253402300799999999,
    "tags": {"": "empty name", 'é\n\x1f"\\/': "\U0001f512"},
    "upload_id": "MDEyMzQ1Njc4OTo7PD0+Pw==",
    "user_metadata": {"a": "1", "b": ""},
    "version_id": "null",
}


SEALED_CHECKSUM = base64.b64encode(bytes(range(72))).decode()
ARN = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"
KMS = {
    "created_at": TIME,
    "encryption": {
        "algorithm": "aws:kms",
        "bucket_key": "true",
        "context": '{"team":"\u00fc"}',
        "kms_key_arn": ARN,
        "kms_key_id": ARN[-36:],
    },
    "etag": "0123456789abcdef0123456789abcdef",
    "sealed_checksums": {"CRC64NVME:FULL_OBJECT": SEALED_CHECKSUM},
}
CUSTOMER = {
    "created_at": TIME,
    "encryption": {"algorithm": "SSE-C", "verifier": base64.b64encode(bytes(range(64))).decode()},
    "etag": "0123456789abcdef0123456789abcdef-2",
    "sealed_checksums": {"SHA256:COMPOSITE": SEALED_CHECKSUM},
}


def pattern(size: int) -> bytes:
    """Plaintext of the vectors: 0, 1, ... 250, 0, 1, ..."""
    return bytes(i % 251 for i in range(size))


def positives() -> dict[str, tuple[str, Recipe]]:
    example = {"bucket_name": "photos", "created_at": TIME, "object_key": "aGVsbG8udHh0", "plaintext_size": 20}
    full = canonical(FULL)
    unknown = canonical({"created_at": TIME, "from_the_future": {"list": [None, True, {"deep": 1}]}})
    found = {
        "worked_example": (
            "section 13 of FORMAT.md",
            Recipe(b"hello, sealed world\n", description=canonical(example)),
        ),
        "one_chunk": ("twenty bytes with an inner box", Recipe(pattern(20), inner=b"digests", description=full)),
        "one_chunk_other": ("as one_chunk, with other ids, key and salt", other(Recipe(pattern(20), inner=b"digests"))),
        "two_chunks_other": ("as two_chunks, with other ids, key and salt", other(Recipe(pattern(16389)))),
        "unknown_field": ("a description with a field that no reader knows", Recipe(description=unknown)),
        "slot_of_one_byte": ("the shortest key slot", Recipe(pattern(3), slot=b"k")),
        "slot_of_8192_bytes": ("the longest key slot", Recipe(pattern(3), slot=pattern(8192))),
        "inner_box_of_0_bytes": ("an inner box around nothing", Recipe(pattern(3), inner=b"")),
        "inner_box_of_4096_bytes": ("the longest inner box", Recipe(pattern(3), inner=pattern(4096))),
        "two_chunks": ("a full chunk and five bytes", Recipe(pattern(16389))),
    }
    for size in (0, 1, 16383, 16384, 16385, 32768):
        found[f"size_{size}"] = (f"{size} bytes of plaintext", Recipe(pattern(size)))
    for kind, name in enumerate(KINDS, 1):
        found[f"kind_{name}"] = (f"an empty blob of kind {name}", Recipe(kind=kind))
    found["sse_kms"] = ("a description under SSE-KMS", Recipe(pattern(20), description=canonical(KMS)))
    found["sse_c"] = ("a description under SSE-C", Recipe(pattern(20), description=canonical(CUSTOMER)))
    return found


def other(recipe: Recipe) -> Recipe:
    return recipe.but(
        blob_id=bytes(range(200, 216)),
        data_key=bytes(range(160, 192)),
        salt=bytes(range(24)),
        slot=b"another wrapped key !",
    )


def write(recipe: Recipe) -> dict[str, Any]:
    blob, row = seal(recipe)
    return {
        "data_key": recipe.data_key.hex(),
        "description_key": recipe.description_key.hex(),
        "row": row,
        "sha256": hashlib.sha256(blob).hexdigest(),
        "blob": base64.b64encode(blob).decode(),
    }


Edit = list[Any]


def flip(offset: int, mask: int = 1) -> Edit:
    return ["xor", offset, f"{mask:02x}"]


def put(offset: int, data: bytes) -> Edit:
    return ["replace", offset, len(data), data.hex()]


def remove(offset: int, size: int) -> Edit:
    return ["replace", offset, size, ""]


def copy(offset: int, size: int, source: str, source_offset: int) -> Edit:
    """Put `size` bytes of another positive vector over as many of this one; 0 inserts all of it."""
    return ["copy", offset, size, source, source_offset]


# name: (base, edits, changes of row and keys, kind with row, kind without row); "opens" where that way cannot see it
Case = tuple[str, list[Edit], dict[str, Any], str, str]


class Cases(dict[str, Case]):
    def add(self, name: str, base: str, edits: list[Edit], with_row: str, without: str, **changes: object) -> None:
        self[name] = (base, edits, changes, with_row, without)


ONE, TWO = CHUNKS + 20 + 16, CHUNKS + 16400  # where the first chunk of one_chunk and of two_chunks ends
END = ONE + 1024  # where the footer of one_chunk ends


def head_cases(cases: Cases) -> None:
    add = cases.add
    header = {
        "magic_first_byte": flip(0, 0x80), "magic_last_byte": flip(7), "version_0": put(8, b"\0"),
        "version_2": put(8, b"\2"), "suite_0": put(9, b"\0"), "suite_2": put(9, b"\2"), "kind_0": put(10, b"\0"),
        "kind_10": put(10, b"\n"), "reserved_byte_11": flip(11), "slot_size_0": put(12, bytes(4)),
        "slot_size_8193": put(12, b"\0\0\x20\x01"), "slot_size_huge": put(12, b"\xff\xff\xff\xff"),
        "realm_first_bit": flip(16, 0x80), "realm_last_bit": flip(31), "reserved_byte_48": flip(48),
        "reserved_byte_63": flip(63, 0x80),
    }  # fmt: skip
    for name, edit in header.items():
        add(f"header_{name}", "one_chunk", [edit], "header", "header")
    add("header_kind_of_a_part", "one_chunk", [put(10, b"\2")], "header", "description")
    add("header_blob_id_first_bit", "one_chunk", [flip(32, 0x80)], "header", "description")
    add("header_blob_id_last_bit", "one_chunk", [flip(47)], "header", "description")
    add("header_slot_size_one_more", "one_chunk", [put(12, b"\0\0\0\x16")], "header", "length")
    add("header_slot_size_one_less", "one_chunk", [put(12, b"\0\0\0\x14")], "header", "length")
    add("header_of_another_blob", "one_chunk", [copy(0, 64, "one_chunk_other", 0)], "header", "description")
    add("slot_first_bit", "one_chunk", [flip(64, 0x80)], "footer", "description")
    add("slot_last_bit", "one_chunk", [flip(SLOT_END - 1)], "footer", "description")
    add("slot_of_another_blob", "one_chunk", [copy(64, 21, "one_chunk_other", 64)], "footer", "description")
    add("salt_first_bit", "one_chunk", [flip(SLOT_END, 0x80)], "salt", "description")
    add("salt_last_bit", "one_chunk", [flip(SLOT_END + 23)], "salt", "description")
    add("salt_of_another_blob", "one_chunk", [copy(SLOT_END, 24, "one_chunk_other", SLOT_END)], "salt", "description")
    add("commitment_first_bit", "one_chunk", [flip(SLOT_END + 24, 0x80)], "commitment", "description")
    add("commitment_last_bit", "one_chunk", [flip(SLOT_END + 55)], "commitment", "description")
    add("commitment_of_another_blob", "one_chunk", [copy(SLOT_END + 24, 32, "one_chunk_other", SLOT_END + 24)],
        "commitment", "description")  # fmt: skip
    add("salt_and_commitment_zero", "one_chunk", [put(SLOT_END, bytes(56))], "salt", "description")


def chunk_cases(cases: Cases) -> None:
    add = cases.add
    add("chunk_first_bit", "one_chunk", [flip(CHUNKS, 0x80)], "chunk", "chunk")
    add("chunk_tag_last_bit", "one_chunk", [flip(ONE - 1)], "chunk", "chunk")
    add("chunk_of_another_blob", "one_chunk", [copy(CHUNKS, 36, "one_chunk_other", CHUNKS)], "chunk", "chunk")
    add("full_chunk_last_bit", "two_chunks", [flip(TWO - 17)], "chunk", "chunk")
    add("full_chunk_tag", "two_chunks", [flip(TWO - 1)], "chunk", "chunk")
    add("short_final_chunk_bit", "two_chunks", [flip(TWO)], "chunk", "chunk")
    add("short_final_chunk_tag", "two_chunks", [flip(TWO + 20)], "chunk", "chunk")
    add("empty_final_chunk_tag", "size_16384", [flip(TWO)], "chunk", "chunk")
    add("empty_object_tag", "size_0", [flip(CHUNKS)], "chunk", "chunk")
    add("chunks_0_and_1_swapped", "size_32768",
        [copy(CHUNKS, 16400, "size_32768", TWO), copy(TWO, 16400, "size_32768", CHUNKS)], "chunk", "chunk")  # fmt: skip
    add("chunk_0_twice", "size_32768", [copy(TWO, 16400, "size_32768", CHUNKS)], "chunk", "chunk")
    add("chunk_0_of_another_blob", "two_chunks", [copy(CHUNKS, 16400, "two_chunks_other", CHUNKS)], "chunk", "chunk")
    add("final_chunk_of_another_blob", "two_chunks", [copy(TWO, 21, "two_chunks_other", TWO)], "chunk", "chunk")
    add("all_chunks_of_another_blob", "two_chunks", [copy(CHUNKS, 16421, "two_chunks_other", CHUNKS)], "chunk", "chunk")
    add("chunk_0_dropped", "size_32768", [remove(CHUNKS, 16400)], "length", "length")
    add("final_chunk_dropped", "two_chunks", [remove(TWO, 21)], "length", "length")
    add("empty_final_chunk_dropped", "size_16384", [remove(TWO, 16)], "length", "length")
    add("chunk_cut_by_one", "one_chunk", [remove(ONE - 1, 1)], "length", "length")
    add("chunk_longer_by_one", "one_chunk", [["replace", ONE, 0, "00"]], "length", "length")
    add("chunk_inserted", "two_chunks", [["replace", TWO, 0, "00" * 16400]], "length", "length")


def end_cases(cases: Cases) -> None:
    add = cases.add
    add("footer_first_bit", "one_chunk", [flip(ONE, 0x80)], "footer", "description")
    add("footer_tag_last_bit", "one_chunk", [flip(END - 1)], "footer", "description")
    add("footer_of_another_blob", "size_0", [copy(CHUNKS + 16, 512, "kind_part", CHUNKS + 16)], "footer", "description")
    add("footer_cut_by_512", "one_chunk", [remove(ONE, 512)], "length", "length")
    add("footer_zero", "one_chunk", [put(ONE, bytes(1024))], "footer", "description")
    add("footer_cut_and_trailer_adjusted", "one_chunk", [remove(ONE, 512), put(END - 512 + 8, b"\0\0\2\0")],
        "length", "description")  # fmt: skip
    add("trailer_plaintext_size", "one_chunk", [flip(END + 7)], "trailer", "length")
    add("trailer_plaintext_size_beyond_limit", "one_chunk", [put(END, b"\0\x10" + bytes(6))], "trailer", "trailer")
    add("trailer_footer_size", "one_chunk", [put(END + 8, b"\0\0\2\0")], "trailer", "length")
    add("trailer_footer_size_huge", "one_chunk", [put(END + 8, b"\xff\xff\xfe\0")], "trailer", "length")
    add("trailer_reserved", "one_chunk", [flip(END + 12)], "trailer", "trailer")
    add("trailer_end_magic", "one_chunk", [flip(END + 23)], "trailer", "trailer")
    add("trailer_missing", "one_chunk", [remove(END, 24)], "length", "trailer")
    add("one_byte_after_the_trailer", "one_chunk", [["replace", END + 24, 0, "00"]], "length", "trailer")
    add("blob_twice", "one_chunk", [["copy", END + 24, 0, "one_chunk", 0]], "length", "length")
    for size in (0, 1, 63, 64, 85, 140, 141, 177, END, END + 23):
        kind = "header" if size < 64 else "trailer"
        add(f"cut_to_{size}", "one_chunk", [remove(size, END + 24 - size)], "length", kind)


def row_cases(cases: Cases) -> None:
    add = cases.add
    another = [remove(0, END + 24), copy(0, 0, "one_chunk_other", 0)]
    add("blob_of_another_row", "one_chunk", another, "length", "commitment")
    add("two_chunk_blob_of_another_row", "two_chunks", [copy(0, CHUNKS + 16421 + 536, "two_chunks_other", 0)],
        "header", "commitment")  # fmt: skip
    wrong = bytes(range(1, 33)).hex()
    rows: dict[str, tuple[dict[str, Any], str]] = {
        "realm_id": ({"realm_id": wrong[:32]}, "commitment"), "blob_id": ({"blob_id": wrong[:32]}, "commitment"),
        "kind": ({"kind": 2}, "commitment"), "slot_size": ({"slot_size": 22}, "length"),
        "plaintext_size_one_more": ({"plaintext_size": 21}, "length"),
        "plaintext_size_512_more": ({"plaintext_size": 532}, "chunk"),
        "sealed_size_512_more": ({"sealed_size": END + 24 + 512}, "length"),
        "sealed_size_one_less": ({"sealed_size": END + 23}, "length"), "salt": ({"salt": wrong[:48]}, "commitment"),
        "commitment": ({"commitment": wrong}, "commitment"), "footer_hash": ({"footer_hash": wrong}, "footer"),
    }  # fmt: skip
    for name, (change, kind) in rows.items():
        add(f"row_with_wrong_{name}", "one_chunk", [], kind, "opens", row=change)
    add("wrong_data_key", "one_chunk", [], "commitment", "commitment", data_key=wrong)
    add("data_key_of_zeros", "one_chunk", [], "commitment", "commitment", data_key="00" * 32)
    add("wrong_description_key", "one_chunk", [], "opens", "description", description_key=wrong)
    add("wrong_realm_without_row", "one_chunk", [], "opens", "header", realm_id=wrong[:32])


def edited() -> Cases:
    cases = Cases()
    for fill in (head_cases, chunk_cases, end_cases, row_cases):
        fill(cases)
    return cases


def badly_sealed() -> dict[str, tuple[Recipe, str, str]]:
    """Blobs whose tags are all right and which still break a rule: the writer had the keys and did it wrong."""
    base, head = Recipe(pattern(20)), seal(Recipe(pattern(20)))[0][:64]
    small = base.description

    def text(json_text: bytes, inner: bytes = b"", sizes: tuple[int, int] | None = None) -> bytes:
        found = struct.pack(">II", *(sizes or (len(json_text), len(inner)))) + json_text + inner
        return found + bytes(-(len(found) + 16) % 512)

    cases = {
        "header_version_2": (base.but(header=head[:8] + b"\2" + head[9:]), "commitment", "header"),
        "header_reserved_set": (base.but(header=head[:63] + b"\1"), "commitment", "header"),
        "chunks_of_8_bytes": (base.but(chunks=(pattern(8), pattern(12))), "length", "length"),
        "full_final_chunk": (Recipe(pattern(16384), chunks=(pattern(16384),)), "length", "length"),
        "size_claimed_one_more": (base.but(claimed_size=21), "length", "length"),
        "size_claimed_one_less": (base.but(claimed_size=19), "length", "length"),
        "footer_without_padding": (base.but(footer_text=text(small)[: 8 + len(small)]), "length", "length"),
        "padding_not_zero": (base.but(footer_text=text(small)[:-1] + b"\1"), "opens", "description"),
        "padding_too_long": (base.but(footer_text=text(small) + bytes(512)), "opens", "description"),
        "inner_size_1": (base.but(footer_text=text(small, b"x")), "opens", "description"),
        "inner_size_4113": (base.but(footer_text=text(small, bytes(4113))), "opens", "description"),
        "json_size_beyond_text": (base.but(footer_text=text(small, sizes=(5000, 0))), "opens", "description"),
        "json_size_largest": (base.but(footer_text=text(small, sizes=(2**32 - 1, 0))), "opens", "description"),
        "json_size_0": (base.but(footer_text=text(b"")), "opens", "description"),
    }
    bad_json = {
        "white_space": b'{"created_at": 1}', "not_sorted": b'{"etag":"x","created_at":1}',
        "member_twice": b'{"created_at":1,"created_at":1}', "fraction": b'{"created_at":1,"x":1.5}',
        "exponent": b'{"created_at":1,"x":1e3}', "negative": b'{"created_at":1,"x":-1}',
        "minus_zero": b'{"created_at":1,"x":-0}', "integer_2_63": b'{"created_at":1,"x":9223372036854775808}',
        "nan": b'{"created_at":1,"x":NaN}', "lone_surrogate": b'{"created_at":1,"x":"\\ud800"}',
        "invalid_utf8": b'{"created_at":1,"x":"\xff"}', "needless_escape": b'{"created_at":1,"x":"\\/"}',
        "escape_for_letter": b'{"created_at":1,"x":"\\u0041"}', "bom": b'\xef\xbb\xbf{"created_at":1}',
        "encryption_as_text": b'{"created_at":1,"encryption":"AES256"}',
        "sealed_checksums_empty": b'{"created_at":1,"sealed_checksums":{}}',
        "sealed_checksums_as_list": b'{"created_at":1,"sealed_checksums":["AAAA"]}',
        "array": b"[1]", "no_created_at": b"{}", "null_time": b'{"created_at":null}',
        "time_as_text": b'{"created_at":"1"}', "time_as_boolean": b'{"created_at":true}',
        "time_after_9999": b'{"created_at":253402300800000000}', "default_written": b'{"created_at":1,"etag":""}',
        "empty_bytes_written": b'{"created_at":1,"object_key":""}', "tag_not_text": b'{"created_at":1,"tags":{"a":1}}',
        "base64_without_padding": b'{"created_at":1,"object_key":"YQ"}',
        "base64_url": b'{"created_at":1,"object_key":"__8="}',
        "base64_loose_bits": b'{"created_at":1,"object_key":"YR=="}',
        "unfinished": b'{"created_at":1', "trailing_text": b'{"created_at":1}x',
        "too_deep": b'{"created_at":1,"x":' + b"[" * 33 + b"]" * 33 + b"}",
        "very_deep": b'{"created_at":1,"x":' + b"[" * 30000 + b"]" * 30000 + b"}",
    }  # fmt: skip
    for name, data in bad_json.items():
        cases[f"json_{name}"] = (base.but(description=data), "opens", "description")
    return cases


def envelopes() -> list[dict[str, Any]]:
    """Payloads of envelopes blobs (FORMAT section 11.1), from the text of that section alone."""

    def payload(epoch: int, *entries: tuple[int, bytes], count: int | None = None) -> bytes:
        listed = b"".join(struct.pack(">16sH", i.to_bytes(16, "big"), len(data)) + data for i, data in entries)
        return struct.pack(">QI", epoch, len(entries) if count is None else count) + listed

    two = payload(7, (1, b"one"), (2, b"another"))
    most = payload(TIME, *((i, i.to_bytes(2, "big")) for i in range(4096)))
    good = {"one": payload(0, (5, b"x")), "two": two, "longest": payload(2**63 - 1, (9, bytes(8192))), "most": most}
    bad = {
        "empty": b"", "no_entry": payload(7), "cut_head": two[:11], "cut_entry": two[:20], "cut_envelope": two[:-1],
        "trailing": two + b"\0", "count_short": payload(7, (1, b"a"), (2, b"b"), count=1),
        "count_long": payload(7, (1, b"a"), (2, b"b"), count=3), "same_id": payload(7, (1, b"a"), (1, b"b")),
        "falling_ids": payload(7, (2, b"a"), (1, b"b")), "empty_envelope": payload(7, (1, b"")),
        "envelope_too_long": payload(7, (1, bytes(8193))), "epoch_too_great": payload(2**63, (1, b"a")),
        "too_many": payload(7, *((i, b"a") for i in range(4097))),
        "count_of_2_32": payload(7, (1, b"a"), count=2**32 - 1),
    }  # fmt: skip
    return [
        {"name": name, "outcome": outcome, "payload": base64.b64encode(data).decode()}
        for outcome, cases in (("opens", good), ("record", bad))
        for name, data in cases.items()
    ]


def build() -> tuple[str, str, str]:
    """The text of positive.json, of negative.json and of envelopes.json."""
    good = [{"name": n, "comment": c} | write(r) for n, (c, r) in positives().items()]
    bad: list[dict[str, Any]] = [
        {"name": name, "base": base, "edits": edits, "with_row": with_row, "without_row": without} | changes
        for name, (base, edits, changes, with_row, without) in edited().items()
    ]
    for name, (recipe, with_row, without) in badly_sealed().items():
        bad.append({"name": f"sealed_{name}", "with_row": with_row, "without_row": without} | write(recipe))
    return tuple(json.dumps(x, indent=1, ensure_ascii=True) + "\n" for x in (good, bad, envelopes()))  # type: ignore[return-value]  # three


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, content in zip(("positive.json", "negative.json", "envelopes.json"), build(), strict=True):
        (FOLDER / path).write_text(content, encoding="ascii")
