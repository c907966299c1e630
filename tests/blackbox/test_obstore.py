"""obstore, over the Rust crate object_store: unsigned or SHA-256 bodies, parts, many ranges at once, conditional puts.

Its conditional puts are what table formats commit by, so a lost race must be told as one.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import MIB, multipart_etag, payload, plant, sha256
from tests.blackbox.libraries import Library
from tests.blackbox.process import Gateway

# object_store drops empty and relative segments of a path, and has no others of its own.
_NAMES = (
    "plain.txt",
    "with space.txt",
    "plus+plus.txt",
    "100%.txt",
    "question?mark&ampersand=equals.txt",
    "hash#semi;colon:comma,.txt",
    "quote'double\"back`tick.txt",
    "brackets[]{}()<>.txt",
    "tilde~at@bang!dollar$star*.txt",
    "accents-äöüßéñ.txt",
    "日本語/ファイル.txt",
    "emoji-🧊.bin",
    "deep/er/and/deeper.txt",
)


@pytest.fixture
def obstore(gateway: Gateway, tmp_path: Path) -> Library:
    return Library("obstore", "obstore_py.py", gateway, tmp_path)


@pytest.mark.parametrize("checksum", ["", "SHA256"])
def test_files_there_and_back(obstore: Library, bucket: str, s3: Any, tmp_path: Path, checksum: str) -> None:
    sent = plant(tmp_path / "sent", _NAMES)
    told = obstore("files", bucket=bucket, names=list(_NAMES), checksum=checksum)
    listed = {entry["Key"]: entry for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert told.keys() == listed.keys() == set(_NAMES)
    for name in _NAMES:
        etag, size = listed[name]["ETag"], (tmp_path / "sent" / name).stat().st_size
        assert told[name] == {
            "put": etag,
            "get": etag,
            "type": "text/x-odd",
            "colour": "blue",
            "digest": sent[name],
            "size": size,
            "listed": etag,
            "listed size": size,
        }


def test_parts_ranges_and_readers(obstore: Library, bucket: str, s3: Any, tmp_path: Path) -> None:
    content = payload(12 * MIB + 7)
    (tmp_path / "sent").write_bytes(content)
    digest = sha256(content)
    assert obstore("parts", bucket=bucket) == {
        "etag": multipart_etag(content, 5 * MIB),
        "large": digest,
        "written": digest,
    }
    assert sha256(s3.get_object(Bucket=bucket, Key="written")["Body"].read()) == digest
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_conditional_puts_and_gets(obstore: Library, bucket: str) -> None:
    assert obstore("conditions", bucket=bucket) == ["exists", "changed", "not that", "second"]


def test_copy_rename_list_and_delete(obstore: Library, bucket: str, s3: Any) -> None:
    for key in ("a/one", "a/two", "b", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert obstore("names", bucket=bucket) == {
        "top": ["b", "c", "copied +%", "moved"],
        "folders": ["a"],
        "after": ["c", "copied +%", "moved"],
        "left": ["b", "c", "copied +%"],
        "moved": "gone",
    }
    assert s3.get_object(Bucket=bucket, Key="copied +%")["Body"].read() == b"a/one"
