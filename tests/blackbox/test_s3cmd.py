"""s3cmd: put and get with MD5 checks of its own, sync both ways, copies and moves within the gateway.

It compares every ETag with the MD5 it has counted, remembers modes and times in metadata, lists by the old ListObjects,
and writes odd names as they are. Left out: `setacl`, `accesslog`, `settagging`, `setpolicy` and their kin, whose
subresources the gateway does not serve.
"""

from pathlib import Path
from typing import Any

import botocore
import pytest

from tests.blackbox.clients import MIB, Program, multipart_etag, payload, plant, sha256, tree
from tests.blackbox.process import Gateway

# s3cmd counts a name that starts or ends with a blank as another one; the others pass.
_NAMES = (
    "plain.txt",
    "with space.txt",
    "plus+plus.txt",
    "100%.txt",
    "%41%2F.txt",
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
def s3cmd(gateway: Gateway, tmp_path: Path) -> Program:
    """s3cmd with a configuration file that names everything, and path-style addresses."""
    who = gateway.credentials
    host = gateway.endpoint.removeprefix("https://")
    settings = {
        "access_key": who.access_key_id,
        "secret_key": who.secret_access_key,
        "host_base": host,
        "host_bucket": host,
        "bucket_location": gateway.region,
        "use_https": "True",
        "ca_certs_file": str(gateway.ca_file),
        "check_ssl_certificate": "True",
        "max_retries": "1",
        "progress_meter": "False",
        "multipart_chunk_size_mb": "5",
    }
    lines = ["[default]", *(f"{name} = {value}" for name, value in settings.items())]
    (tmp_path / ".s3cfg").write_text("\n".join(lines) + "\n")
    return Program("s3cmd", tmp_path, {})


def _keys(s3: Any, bucket: str) -> dict[str, int]:
    return {entry["Key"]: entry["Size"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])}


def test_version_is_the_one_locked(s3cmd: Program) -> None:
    assert s3cmd("--version").decode().strip() == "s3cmd version 2.4.0"


def test_buckets_come_and_go(s3cmd: Program, s3: Any) -> None:
    s3cmd("mb", "s3://made-by-s3cmd")
    assert "s3://made-by-s3cmd" in s3cmd("ls").decode()
    s3cmd("rb", "s3://made-by-s3cmd")
    assert "made-by-s3cmd" not in {entry["Name"] for entry in s3.list_buckets()["Buckets"]}
    assert s3cmd.run("ls", "s3://made-by-s3cmd").returncode != 0


@pytest.mark.parametrize("size", [0, 1, 65_536, 5 * MIB, 12 * MIB + 3])
def test_put_and_get(s3cmd: Program, bucket: str, s3: Any, tmp_path: Path, size: int) -> None:
    content = payload(size)
    (tmp_path / "sent").write_bytes(content)
    s3cmd("put", "sent", f"s3://{bucket}/put it+here%")
    head = s3.head_object(Bucket=bucket, Key="put it+here%")
    assert head["ContentLength"] == size
    if size > 5 * MIB:
        assert head["ETag"] == multipart_etag(content, 5 * MIB)
    s3cmd("get", f"s3://{bucket}/put it+here%", "back")
    assert sha256((tmp_path / "back").read_bytes()) == sha256(content)
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_sync_both_ways_with_odd_names(s3cmd: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    sent = plant(tmp_path / "sent", _NAMES)
    s3cmd("sync", "sent/", f"s3://{bucket}/top/")
    assert _keys(s3, bucket) == {f"top/{name}": (tmp_path / "sent" / name).stat().st_size for name in _NAMES}
    # Sizes and MD5 of the listing say that there is nothing to do.
    assert b"upload:" not in s3cmd("sync", "--dry-run", "sent/", f"s3://{bucket}/top/")
    (tmp_path / "back").mkdir()
    s3cmd("sync", f"s3://{bucket}/top/", "back/")
    assert tree(tmp_path / "back") == sent


def test_sync_sees_a_change_of_the_same_size_and_a_deletion(
    s3cmd: Program, bucket: str, s3: Any, tmp_path: Path
) -> None:
    plant(tmp_path / "sent", ("one", "two", "three/four"))
    s3cmd("sync", "sent/", f"s3://{bucket}/")
    changed = payload((tmp_path / "sent" / "two").stat().st_size, seed=99)
    (tmp_path / "sent" / "two").write_bytes(changed)
    (tmp_path / "sent" / "three" / "four").unlink()
    s3cmd("sync", "--delete-removed", "sent/", f"s3://{bucket}/")
    assert sorted(_keys(s3, bucket)) == ["one", "two"]
    assert s3.get_object(Bucket=bucket, Key="two")["Body"].read() == changed


def test_continued_download_reads_the_rest(s3cmd: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    content = payload(3 * MIB)
    s3.put_object(Bucket=bucket, Key="long", Body=content)
    (tmp_path / "back").write_bytes(content[:1_000_001])
    s3cmd("get", "--continue", f"s3://{bucket}/long", "back")
    assert sha256((tmp_path / "back").read_bytes()) == sha256(content)


def test_copy_and_move_within(s3cmd: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    content = payload(70_000)
    (tmp_path / "sent").write_bytes(content)
    s3cmd("put", "--mime-type", "text/x-odd", "--add-header", "x-amz-meta-colour:blue", "sent", f"s3://{bucket}/a")
    s3cmd("cp", f"s3://{bucket}/a", f"s3://{bucket}/with space/b+%")
    s3cmd("mv", f"s3://{bucket}/a", f"s3://{bucket}/c")
    assert _keys(s3, bucket) == {"c": 70_000, "with space/b+%": 70_000}
    for key in ("c", "with space/b+%"):
        got = s3.get_object(Bucket=bucket, Key=key)
        assert sha256(got["Body"].read()) == sha256(content)
        assert (got["ContentType"], got["Metadata"]["colour"]) == ("text/x-odd", "blue")


def test_modify_changes_metadata_in_place(s3cmd: Program, bucket: str, s3: Any) -> None:
    s3.put_object(Bucket=bucket, Key="it", Body=b"content", Metadata={"colour": "blue"})
    s3cmd("modify", "--add-header", "x-amz-meta-colour:red", f"s3://{bucket}/it")
    got = s3.get_object(Bucket=bucket, Key="it")
    assert (got["Body"].read(), got["Metadata"]["colour"]) == (b"content", "red")


def test_listing_tells_sizes_and_prefixes(s3cmd: Program, bucket: str, s3: Any) -> None:
    for key, size in (("a/one", 10), ("a/two", 20), ("b", 30)):
        s3.put_object(Bucket=bucket, Key=key, Body=payload(size))
    top = [line.split() for line in s3cmd("ls", f"s3://{bucket}").decode().splitlines()]
    assert [line[-1] for line in top] == [f"s3://{bucket}/a/", f"s3://{bucket}/b"]
    assert top[0][0] == "DIR"
    assert top[1][2] == "30"
    assert s3cmd("du", f"s3://{bucket}").decode().split()[:2] == ["60", "3"]
    digests = [line.split()[3] for line in s3cmd("ls", "--list-md5", f"s3://{bucket}/a/").decode().splitlines()]
    assert digests == [s3.head_object(Bucket=bucket, Key=key)["ETag"].strip('"') for key in ("a/one", "a/two")]


def test_info_of_object_and_bucket(s3cmd: Program, bucket: str, s3: Any) -> None:
    s3.put_object(Bucket=bucket, Key="it", Body=payload(77), ContentType="text/x-odd")
    told = s3cmd("info", f"s3://{bucket}/it").decode()
    assert "File size: 77" in told
    assert "MIME type: text/x-odd" in told
    assert f"s3://{bucket}/ (bucket)" in s3cmd("info", f"s3://{bucket}").decode()


def test_delete_one_many_and_all(s3cmd: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    plant(tmp_path / "sent", ("a/one", "a/two&<three>", "b", "c d"))
    s3cmd("sync", "sent/", f"s3://{bucket}/")
    s3cmd("del", f"s3://{bucket}/c d")
    assert sorted(_keys(s3, bucket)) == ["a/one", "a/two&<three>", "b"]
    s3cmd("del", "--recursive", "--force", f"s3://{bucket}/a/")
    assert sorted(_keys(s3, bucket)) == ["b"]
    s3cmd("rb", "--recursive", "--force", f"s3://{bucket}")
    assert bucket not in {entry["Name"] for entry in s3.list_buckets()["Buckets"]}


def test_unknown_ca_ends_it_before_a_byte(s3cmd: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=bucket, Key="it", Body=b"content")
    assert s3cmd("get", f"s3://{bucket}/it", "-") == b"content"
    of_the_world = Path(botocore.__file__).with_name("cacert.pem")
    done = s3cmd.run("--ca-certs", str(of_the_world), "get", f"s3://{bucket}/it", "back")
    assert done.returncode != 0
    assert not (tmp_path / "back").exists()


def test_parts_in_flight_are_seen_and_dropped(s3cmd: Program, bucket: str, s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="half")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="half", UploadId=upload, PartNumber=1, Body=payload(1000))
    assert upload in s3cmd("multipart", f"s3://{bucket}").decode()
    assert "1000" in s3cmd("listmp", f"s3://{bucket}/half", upload).decode()
    s3cmd("abortmp", f"s3://{bucket}/half", upload)
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
