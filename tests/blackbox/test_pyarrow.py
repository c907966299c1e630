"""pyarrow's S3FileSystem, over the C++ SDK: Parquet by row groups and columns, uploads in parts, CRC64NVME.

It takes a folder to be there where a marker or anything below it is listed, and believes its first HEAD for the size.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import MIB, payload, sha256
from tests.blackbox.libraries import Library
from tests.blackbox.process import Gateway


@pytest.fixture
def arrow(gateway: Gateway, tmp_path: Path) -> Library:
    return Library("pyarrow", "arrow.py", gateway, tmp_path)


def test_buckets_come_and_go(arrow: Library) -> None:
    assert arrow("buckets", name="made-by-pyarrow") == ["NotFound", "Directory", "NotFound"]


def test_streams_of_many_sizes_and_spans(arrow: Library, bucket: str, s3: Any, tmp_path: Path) -> None:
    content = payload(23 * MIB)
    (tmp_path / "sent").write_bytes(content)
    sizes = {
        "empty": 0,
        "one byte": 1,
        "%41+odd&name=x;y.bin": 65_537,
        "日本語/ファイル": 10 * MIB,
        "deep/er/large": 23 * MIB,
    }
    told = arrow("streams", bucket=bucket, keys=list(sizes), sizes=list(sizes.values()))
    for key, size in sizes.items():
        assert told[key] == {"digest": sha256(content[:size]), "size": size}, key
        got = s3.get_object(Bucket=bucket, Key=key)
        assert (got["ContentLength"], got["ContentType"]) == (size, "text/x-odd")
        assert sha256(got["Body"].read()) == sha256(content[:size])
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_checksum_of_parts_is_the_one_of_the_whole(
    arrow: Library, bucket: str, gateway: Gateway, s3: Any, tmp_path: Path
) -> None:
    content = payload(11 * MIB)
    (tmp_path / "sent").write_bytes(content)
    arrow("streams", bucket=bucket, keys=["in parts"], sizes=[len(content)])
    s3.put_object(Bucket=bucket, Key="in one", Body=content, ChecksumAlgorithm="CRC64NVME")
    parts, one = (s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED") for key in ("in parts", "in one"))
    assert parts["ETag"].endswith('-2"')
    assert one["ChecksumCRC64NVME"]
    assert (parts["ChecksumCRC64NVME"], parts["ChecksumType"]) == (one["ChecksumCRC64NVME"], "FULL_OBJECT")


def test_parquet_there_and_back(arrow: Library, bucket: str) -> None:
    assert arrow("parquet", bucket=bucket) == {
        "same": True,
        "sum": sum(range(200_000)),
        "files": 2,
        "rows": 200_000,
        "odd": True,
    }


def test_listing_copy_move_and_delete(arrow: Library, bucket: str, s3: Any) -> None:
    for key, size in (("a/one", 10), ("a/two", 20), ("a/b/three", 30)):
        s3.put_object(Bucket=bucket, Key=key, Body=payload(size))
    told = arrow("names", bucket=bucket)
    before = {"a": None, "a/b": None, "a/one": 10, "a/two": 20, "a/b/three": 30}
    assert told["before"] == before
    moved = {name: size for name, size in before.items() if name != "a/two"} | {"copied +%": 10, "moved": 20}
    assert told["moved"] == moved
    assert told["deleted"] == {"a": None, "copied +%": 10}
    assert (told["empty"], told["missing"]) == ("Directory", "NotFound")
    assert s3.get_object(Bucket=bucket, Key="copied +%")["Body"].read() == payload(10)


def test_bucket_that_keeps_versions_under_a_key_of_the_kms(
    arrow: Library, bucket: str, s3: Any, tmp_path: Path
) -> None:
    # The client has no calls for versions, tags or encryption: it lives with what the bucket's owner has set.
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    contents = [payload(100_000), payload(6 * MIB)]
    for content in contents:
        (tmp_path / "sent").write_bytes(content)
        told = arrow("streams", bucket=bucket, keys=["it"], sizes=[len(content)])
        assert told["it"] == {"digest": sha256(content), "size": len(content)}
    versions = s3.list_object_versions(Bucket=bucket, Prefix="it")["Versions"]
    kept = [s3.get_object(Bucket=bucket, Key="it", VersionId=entry["VersionId"]) for entry in versions]
    assert [answer["ServerSideEncryption"] for answer in kept] == ["aws:kms", "aws:kms"]
    assert [sha256(answer["Body"].read()) for answer in kept] == [sha256(content) for content in reversed(contents)]
