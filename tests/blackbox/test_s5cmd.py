"""s5cmd: many files at once, uploads in parallel parts, downloads in parallel spans, and deletes by the thousand.

It trusts listed sizes for what to sync, and the answer to one span for the size of the whole. Left out: `select`, whose
operation the gateway does not serve, and `bucket-version`.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import MIB, Program, payload, plant, sha256, tree
from tests.blackbox.process import Gateway

# s5cmd reads [ ] * ? of a source as a pattern, and a backslash as the end of a folder.
_NAMES = (
    "plain.txt",
    "with space.txt",
    " leading and trailing ",
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
def s5cmd(gateway: Gateway, tmp_path: Path) -> Program:
    """s5cmd with an endpoint of its own; it has no option for a CA, and takes the file of the environment."""
    who = gateway.credentials
    variables = {
        "AWS_ACCESS_KEY_ID": who.access_key_id,
        "AWS_SECRET_ACCESS_KEY": who.secret_access_key,
        "AWS_REGION": gateway.region,
        "S3_ENDPOINT_URL": gateway.endpoint,
        "SSL_CERT_FILE": str(gateway.ca_file),
    }
    return Program("s5cmd", tmp_path, variables)


def _keys(s3: Any, bucket: str) -> dict[str, int]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}


def test_version_is_the_one_locked(s5cmd: Program) -> None:
    assert s5cmd("version").decode().startswith("v2.3.0")


def test_buckets_come_and_go(s5cmd: Program, s3: Any) -> None:
    s5cmd("mb", "s3://made-by-s5cmd")
    assert "s3://made-by-s5cmd" in s5cmd("ls").decode()
    s5cmd("rb", "s3://made-by-s5cmd")
    assert "made-by-s5cmd" not in {entry["Name"] for entry in s3.list_buckets()["Buckets"]}


@pytest.mark.parametrize("size", [0, 1, 65_536, 5 * MIB, 23 * MIB + 3])
def test_put_and_get_in_parts(s5cmd: Program, bucket: str, s3: Any, tmp_path: Path, size: int) -> None:
    content = payload(size)
    (tmp_path / "sent").write_bytes(content)
    s5cmd("cp", "--part-size", "5", "--concurrency", "4", "sent", f"s3://{bucket}/put it+here%")
    head = s3.head_object(Bucket=bucket, Key="put it+here%")
    assert head["ContentLength"] == size
    assert ("-" in head["ETag"]) == (size > 5 * MIB)
    s5cmd("cp", "--part-size", "5", "--concurrency", "4", f"s3://{bucket}/put it+here%", "back")
    assert sha256((tmp_path / "back").read_bytes()) == sha256(content)
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_folder_there_and_back_with_odd_names(s5cmd: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    sent = plant(tmp_path / "sent", _NAMES)
    s5cmd("cp", "sent/", f"s3://{bucket}/top/")
    assert _keys(s3, bucket) == {f"top/{name}": (tmp_path / "sent" / name).stat().st_size for name in _NAMES}
    s5cmd("cp", f"s3://{bucket}/top/*", "back/")
    assert tree(tmp_path / "back") == sent


def test_sync_sees_changes_and_deletions(s5cmd: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    plant(tmp_path / "sent", ("one", "two", "three/four"))
    s5cmd("sync", "sent/", f"s3://{bucket}/")
    assert s5cmd("sync", "sent/", f"s3://{bucket}/") == b""
    (tmp_path / "sent" / "two").write_bytes(payload(4321, seed=9))
    (tmp_path / "sent" / "one").unlink()
    s5cmd("sync", "--delete", "sent/", f"s3://{bucket}/")
    assert _keys(s3, bucket) == {"three/four": (tmp_path / "sent" / "three" / "four").stat().st_size, "two": 4321}
    s5cmd("sync", f"s3://{bucket}/*", "back/")
    assert tree(tmp_path / "back") == tree(tmp_path / "sent")


def test_listing_tells_sizes_and_etags(s5cmd: Program, bucket: str, s3: Any) -> None:
    for key, size in (("a/one", 10), ("a/two", 20), ("b", 30)):
        s3.put_object(Bucket=bucket, Key=key, Body=payload(size))
    lines = [json.loads(line) for line in s5cmd("--json", "ls", "--etag", f"s3://{bucket}/*").splitlines()]
    told = {line["key"].removeprefix(f"s3://{bucket}/"): (line["size"], line["etag"]) for line in lines}
    assert told == {
        key: (size, s3.head_object(Bucket=bucket, Key=key)["ETag"].strip('"'))
        for key, size in (("a/one", 10), ("a/two", 20), ("b", 30))
    }
    assert s5cmd("--json", "du", f"s3://{bucket}/a/*").split(b'"size":')[1].startswith(b"30")
    assert [line.split()[-1] for line in s5cmd("ls", f"s3://{bucket}/").splitlines()] == [b"a/", b"b"]


def test_cat_and_pipe(s5cmd: Program, bucket: str, s3: Any) -> None:
    content = payload(6 * MIB + 1)
    s5cmd("pipe", "--part-size", "5", f"s3://{bucket}/piped", stdin=content)
    assert sha256(s3.get_object(Bucket=bucket, Key="piped")["Body"].read()) == sha256(content)
    assert sha256(s5cmd("cat", f"s3://{bucket}/piped")) == sha256(content)


def test_copy_and_move_within(s5cmd: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    content = payload(70_000)
    (tmp_path / "sent").write_bytes(content)
    s5cmd("cp", "--content-type", "text/x-odd", "--metadata", "colour=blue", "sent", f"s3://{bucket}/a")
    # By itself it asks for REPLACE and names nothing, which empties type and metadata.
    keep = ("--metadata-directive", "COPY")
    s5cmd("cp", *keep, f"s3://{bucket}/a", f"s3://{bucket}/with space/b+%")
    s5cmd("mv", *keep, f"s3://{bucket}/a", f"s3://{bucket}/c")
    assert _keys(s3, bucket) == {"c": 70_000, "with space/b+%": 70_000}
    for key in ("c", "with space/b+%"):
        got = s3.get_object(Bucket=bucket, Key=key)
        assert sha256(got["Body"].read()) == sha256(content)
        assert (got["ContentType"], got["Metadata"]) == ("text/x-odd", {"colour": "blue"})


def test_head_and_a_missing_one(s5cmd: Program, bucket: str, s3: Any) -> None:
    s3.put_object(Bucket=bucket, Key="it", Body=payload(77))
    assert s5cmd.json("head", f"s3://{bucket}/it")["size"] == 77
    assert s5cmd.run("head", f"s3://{bucket}/not").returncode == 1
    assert s5cmd.run("cat", f"s3://{bucket}/not").returncode == 1


def test_no_clobber_leaves_what_is_there(s5cmd: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=bucket, Key="it", Body=b"first")
    (tmp_path / "sent").write_bytes(b"second")
    s5cmd("cp", "--no-clobber", "sent", f"s3://{bucket}/it")
    assert s3.get_object(Bucket=bucket, Key="it")["Body"].read() == b"first"


def test_more_than_one_page_made_and_deleted(s5cmd: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    """1,050 objects are two pages of a listing and two DeleteObjects."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1050):
        (folder / f"{number:04}").write_bytes(b"%d" % number)
    s5cmd("--numworkers", "16", "cp", "many/", f"s3://{bucket}/many/")
    assert len(s5cmd("ls", f"s3://{bucket}/many/*").splitlines()) == 1050
    s5cmd("rm", f"s3://{bucket}/many/*")
    assert _keys(s3, bucket) == {}
