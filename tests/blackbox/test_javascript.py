"""The AWS SDK for JavaScript v3 with lib-storage, under Node.js: checksums both ways, streams in parts, paginators.

Its own default is CRC32, in a trailer where the body is a stream.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import MIB, ODD_NAMES, multipart_etag, payload, plant, sha256
from tests.blackbox.libraries import Library
from tests.blackbox.process import Gateway


@pytest.fixture
def javascript(gateway: Gateway, tmp_path: Path) -> Library:
    return Library("javascript", "javascript.mjs", gateway, tmp_path)


def test_buckets_come_and_go(javascript: Library) -> None:
    assert javascript("buckets", name="made-by-javascript") == [True, "NotFound"]


@pytest.mark.parametrize("algorithm", ["", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_files_there_and_back(javascript: Library, bucket: str, s3: Any, tmp_path: Path, algorithm: str) -> None:
    sent = plant(tmp_path / "sent")
    told = javascript("files", bucket=bucket, names=list(ODD_NAMES), algorithm=algorithm)
    assert told.keys() == sent.keys()
    for name in ODD_NAMES:
        etag = s3.head_object(Bucket=bucket, Key=name)["ETag"]
        assert told[name] == {
            "put": etag,
            "get": etag,
            "etag": etag,
            "type": "text/x-odd",
            "colour": "blue",
            "sum": [f"Checksum{algorithm or 'CRC32'}"],
            "digest": sent[name],
            "size": (tmp_path / "sent" / name).stat().st_size,
        }


def test_stream_in_parts_and_spans(javascript: Library, bucket: str, s3: Any, tmp_path: Path) -> None:
    content = payload(11 * MIB + 5)
    (tmp_path / "sent").write_bytes(content)
    assert javascript("streams", bucket=bucket) == {
        "etag": multipart_etag(content, 5 * MIB),
        "size": len(content),
        "whole": sha256(content),
    }
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_failed_upload_leaves_nothing(javascript: Library, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(payload(16 * MIB))
    told = javascript("failed", bucket=bucket)
    assert told == {"error": "failed with 1 in flight", "uploads": 0, "keys": []}


def test_copy_list_and_delete_many(javascript: Library, bucket: str, s3: Any) -> None:
    for key in ("a/one +%", "a/two&<three>", "b", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    etag = s3.head_object(Bucket=bucket, Key="a/one +%")["ETag"]
    assert javascript("names", bucket=bucket) == {
        "copied": etag,
        "folders": ["a/"],
        "deleted": ["a/one +%", "a/two&<three>", "not there"],
        "left": ["b", "c", "copied +%"],
        "missing": "NoSuchKey",
    }
    assert s3.get_object(Bucket=bucket, Key="copied +%")["Body"].read() == b"a/one +%"


def test_conditional_puts_and_gets(javascript: Library, bucket: str) -> None:
    assert javascript("conditions", bucket=bucket) == ["PreconditionFailed", 304, "first"]


def test_versions_come_and_go(javascript: Library, bucket: str) -> None:
    assert javascript("versions", bucket=bucket) == ["Enabled", True, "NoSuchKey", "first", "second"]


def test_tags_by_header_and_document(javascript: Library, bucket: str) -> None:
    assert javascript("tags", bucket=bucket) == {
        "byHeader": [{"Key": "colour", "Value": "light blue"}, {"Key": "empty", "Value": ""}],
        "count": 2,
        "byDocument": [{"Key": "a+b=c:d/e@f", "Value": "v"}],
        "none": [],
        "ofBucket": [{"Key": "team", "Value": "a"}],
    }


def test_keys_of_the_kms_and_of_the_client(javascript: Library, bucket: str) -> None:
    assert javascript("encryption", bucket=bucket) == ["aws:kms", "kms", "own", 403, 400]
