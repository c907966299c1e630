"""s3fs, over fsspec and aiobotocore: folders, file objects with read-ahead, appends by copies of parts, metadata.

It caches listings, and takes their sizes and ETags for the files'. Left out: versions, tags and `chmod`, which the
gateway does not serve.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import MIB, payload, plant, sha256, tree
from tests.blackbox.libraries import Library
from tests.blackbox.process import Gateway

# fsspec reads * ? [ of a source as a pattern, and strips blanks off no name.
_NAMES = (
    "plain.txt",
    "with space.txt",
    "plus+plus.txt",
    "100%.txt",
    "%41%2F.txt",
    "hash#semi;colon:comma,.txt",
    "quote'double\"back`tick.txt",
    "tilde~at@bang!dollar$.txt",
    "accents-äöüßéñ.txt",
    "日本語/ファイル.txt",
    "emoji-🧊.bin",
    "deep/er/and/deeper.txt",
)


@pytest.fixture
def s3fs(gateway: Gateway, tmp_path: Path) -> Library:
    return Library("s3fs", "s3fs_py.py", gateway, tmp_path)


def test_buckets_come_and_go(s3fs: Library) -> None:
    assert s3fs("buckets", name="made-by-s3fs") == [False, True, True, False]


def test_folder_there_and_back(s3fs: Library, bucket: str, s3: Any, tmp_path: Path) -> None:
    plant(tmp_path / "sent", _NAMES)
    (tmp_path / "sent" / "large").write_bytes(payload(23 * MIB))
    told = s3fs("folders", bucket=bucket)
    assert tree(tmp_path / "back") == tree(tmp_path / "sent")
    stored = s3.list_objects_v2(Bucket=bucket, Prefix="top/")["Contents"]
    assert told == {entry["Key"][4:]: {"size": entry["Size"], "etag": entry["ETag"]} for entry in stored}
    assert told.keys() == {*_NAMES, "large"}


def test_file_objects_spans_and_appends(s3fs: Library, bucket: str, tmp_path: Path) -> None:
    content = payload(11 * MIB + 5)
    (tmp_path / "sent").write_bytes(content)
    appended = content + b"the end"
    assert s3fs("streams", bucket=bucket) == {
        "whole": sha256(content),
        "appended": sha256(appended),
        "size": len(appended),
    }


def test_copy_move_glob_and_delete(s3fs: Library, bucket: str, s3: Any) -> None:
    for key, size in (("a/one", 10), ("a/two", 20), ("a/b/three", 30), ("b", 40)):
        s3.put_object(Bucket=bucket, Key=key, Body=payload(size), ContentType="text/x-odd")
    etag = s3.head_object(Bucket=bucket, Key="b")["ETag"]
    told = s3fs("names", bucket=bucket)
    assert told == {
        "glob": [f"{bucket}/a/one", f"{bucket}/copied +%", f"{bucket}/moved"],
        "du": 110,
        "info": {"size": 40, "ETag": etag, "type": "file", "ContentType": "text/x-odd"},
        "folder": [True, False, True],
        "left": [f"{bucket}/b", f"{bucket}/copied +%", f"{bucket}/empty"],
        "gone": False,
    }
    assert s3.get_object(Bucket=bucket, Key="copied +%")["Body"].read() == payload(10)


def test_metadata_changes_in_place_and_creation_is_exclusive(s3fs: Library, bucket: str, s3: Any) -> None:
    assert s3fs("metadata", bucket=bucket) == {
        "before": {"colour": "blue"},
        "after": {"colour": "red"},
        "refused": "PreconditionFailed",
        "content": "content",
    }
    assert s3.get_object(Bucket=bucket, Key="it")["Body"].read() == b"content"
