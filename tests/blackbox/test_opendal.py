"""opendal, a Rust library with a signer of its own: files below a root, parts written at once, conditional writes.

It sends the marks `! ' ( ) *` of a name as they are and signs them encoded.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import MIB, multipart_etag, payload, plant, sha256
from tests.blackbox.libraries import Library
from tests.blackbox.process import Gateway

# opendal trims blanks off the ends of a path, and has no relative segments.
_NAMES = (
    "plain.txt",
    "with space.txt",
    "plus+plus.txt",
    "100%.txt",
    "%41%2F.txt",
    "question?mark&ampersand=equals.txt",
    "hash#semi;colon:comma,.txt",
    'double"back`tick.txt',
    "brackets[]{}<>.txt",
    "tilde~at@dollar$.txt",
    "bang!apostrophe'(parentheses)asterisk*.txt",
    "accents-äöüßéñ.txt",
    "日本語/ファイル.txt",
    "emoji-🧊.bin",
    "deep/er/and/deeper.txt",
)


@pytest.fixture
def opendal(gateway: Gateway, tmp_path: Path) -> Library:
    return Library("opendal", "opendal_py.py", gateway, tmp_path)


@pytest.mark.parametrize("checksum", ["", "crc32c"])
def test_files_there_and_back(opendal: Library, bucket: str, s3: Any, tmp_path: Path, checksum: str) -> None:
    sent = plant(tmp_path / "sent", _NAMES)
    told = opendal("files", bucket=bucket, names=list(_NAMES), checksum=checksum)
    for name in _NAMES:
        head = s3.head_object(Bucket=bucket, Key=f"below/{name}", ChecksumMode="ENABLED")
        assert told[name] == {
            "etag": head["ETag"],
            "size": (tmp_path / "sent" / name).stat().st_size,
            "type": "text/x-odd",
            "digest": sent[name],
        }
        assert ("ChecksumCRC32C" in head) == bool(checksum)


def test_parts_and_spans(opendal: Library, bucket: str, s3: Any, tmp_path: Path) -> None:
    content = payload(11 * MIB + 5)
    (tmp_path / "sent").write_bytes(content)
    assert opendal("streams", bucket=bucket) == {"whole": sha256(content)}
    got = s3.get_object(Bucket=bucket, Key="below/stream +%")
    assert got["ETag"] == multipart_etag(content, 5 * MIB)
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_folders_copies_and_deletes(opendal: Library, bucket: str, s3: Any) -> None:
    for key in ("a/one", "a/two", "a/b/three", "b"):
        s3.put_object(Bucket=bucket, Key=f"below/{key}", Body=key.encode())
    assert opendal("names", bucket=bucket) == {
        "top": ["a/", "b", "copied +%", "empty/"],
        "gone": False,
        "again": None,
        "left": ["b", "copied +%", "empty/"],
    }
    assert s3.get_object(Bucket=bucket, Key="below/copied +%")["Body"].read() == b"a/one"


def test_conditional_writes_and_reads(opendal: Library, bucket: str) -> None:
    assert opendal("conditions", bucket=bucket) == ["exists", "not that", "first", "missing"]
