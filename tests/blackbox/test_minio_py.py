"""minio-py: its own signer and transfer manager over urllib3, MD5 ETags, copies composed of parts, both listings.

Left out: object lock, legal hold, tags, versions and `listen_bucket_notification`, which the gateway does not serve.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import MIB, ODD_NAMES, multipart_etag, payload, plant, sha256, tree
from tests.blackbox.libraries import Library
from tests.blackbox.process import Gateway

_PART_BYTES = 5 * MIB


@pytest.fixture
def minio(gateway: Gateway, tmp_path: Path) -> Library:
    return Library("minio-py", "minio_py.py", gateway, tmp_path)


def test_buckets_come_and_go(minio: Library) -> None:
    assert minio("buckets", name="made-by-minio-py") == [True, True, False]


def test_files_there_and_back(minio: Library, bucket: str, s3: Any, tmp_path: Path) -> None:
    sent = plant(tmp_path / "sent")
    large = payload(12 * MIB + 3)
    (tmp_path / "sent" / "large").write_bytes(large)
    names = [*ODD_NAMES, "large"]
    told = minio("files", bucket=bucket, names=names, part_bytes=_PART_BYTES)
    assert tree(tmp_path / "back") == sent | {"large": sha256(large)}
    for name in names:
        head = s3.head_object(Bucket=bucket, Key=name)
        etag, size = head["ETag"].strip('"'), (tmp_path / "sent" / name).stat().st_size
        assert told[name] == {
            "put": etag,
            "stat": etag,
            "size": size,
            "colour": "blue",
            "listed": etag,
            "listed size": size,
        }
    assert told["large"]["put"] == multipart_etag(large, _PART_BYTES).strip('"')


def test_stream_of_unknown_length_and_spans(minio: Library, bucket: str, tmp_path: Path) -> None:
    content = payload(11 * MIB + 5)
    (tmp_path / "sent").write_bytes(content)
    told = minio("streams", bucket=bucket, key="a stream")
    assert told == {"whole": sha256(content), "span": sha256(content[1_000_000:7_000_001])}


def test_copies_and_compositions(minio: Library, bucket: str, s3: Any) -> None:
    content = payload(6 * MIB)
    s3.put_object(Bucket=bucket, Key="odd name+%", Body=content, Metadata={"colour": "blue"})
    told = minio("copies", bucket=bucket, key="odd name+%")
    assert told["copied"] == told["source"]
    assert told["colour"] == "red"
    assert told["composed"] == told["stat"]
    read = {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in ("copied", "renamed", "composed")}
    assert sha256(read["copied"]) == sha256(read["renamed"]) == sha256(content)
    assert sha256(read["composed"]) == sha256(content + content + content[5:105])


def test_listings(minio: Library, bucket: str, s3: Any) -> None:
    keys = ["a/one", "a/two", "b", "c/with space+%", "日本語"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    assert (
        minio("listings", bucket=bucket)
        == {
            "top": ["b", "日本語", "a/", "c/"],  # of a page, the objects come first
            "old": keys,
            "after": keys[2:],
            "below": keys[:2],
        }
    )


def test_deletes_are_visible_at_once(minio: Library, bucket: str, s3: Any) -> None:
    keys = ["a", "b&<c>", "d e+%", "ü"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    assert minio("deletes", bucket=bucket, keys=keys) == {"first": keys[1:], "errors": [], "left": []}


def test_missing_is_told_by_its_code(minio: Library, bucket: str) -> None:
    assert minio("missing", bucket=bucket) == ["NoSuchKey", "NoSuchKey"]


def test_presigned_urls(minio: Library, bucket: str, tmp_path: Path) -> None:
    content = payload(100_000)
    (tmp_path / "sent").write_bytes(content)
    assert minio("presigned", bucket=bucket, key="odd name+%") == ["200", "200", sha256(content)]
