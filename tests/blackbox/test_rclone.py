"""rclone 1.75 as a provider of kind Other and of kind AWS: list v1 and v2, MD5 ETags, UNSIGNED-PAYLOAD uploads."""

from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import MIB, Program, payload, plant, rclone, sha256, tree
from tests.blackbox.process import Gateway

# Names that rclone itself rewrites on an S3 remote are not the gateway's matter.
_NAMES = (
    "plain.txt",
    "with space.txt",
    "plus+plus.txt",
    "100%.txt",
    "%41%2F.txt",
    "question?mark&ampersand=equals.txt",
    "hash#semi;colon:comma,.txt",
    "accents-äöüßéñ.txt",
    "日本語/ファイル.txt",
    "deep/er/and/deeper.txt",
)


@pytest.fixture(params=["Other", "AWS"])
def remote(request: pytest.FixtureRequest, gateway: Gateway, tmp_path: Path) -> Program:
    # Kind AWS always puts the bucket into the host name, unless that is an address.
    options = {"endpoint": f"https://127.0.0.1:{gateway.port}"} if request.param == "AWS" else {}
    return rclone(gateway, tmp_path, request.param, **options)


def test_version_is_the_one_locked(remote: Program) -> None:
    assert remote("version").decode().startswith("rclone v1.75.")


def test_copy_check_and_back(remote: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    sent = plant(tmp_path / "sent", _NAMES)
    remote("copy", "sent", f"sg:{bucket}/top")
    stored = {entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert stored == {f"top/{name}" for name in _NAMES}
    remote("check", "sent", f"sg:{bucket}/top")
    remote("check", "--download", "sent", f"sg:{bucket}/top")
    remote("copy", f"sg:{bucket}/top", "back")
    assert tree(tmp_path / "back") == sent
    listed = remote("lsf", "--recursive", "--files-only", f"sg:{bucket}/top").decode().splitlines()
    assert sorted(listed) == sorted(_NAMES)


def test_check_finds_a_difference(remote: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    plant(tmp_path / "sent", ("same", "other"))
    remote("copy", "sent", f"sg:{bucket}")
    s3.put_object(Bucket=bucket, Key="other", Body=payload((tmp_path / "sent" / "other").stat().st_size, seed=99))
    assert remote.run("check", "sent", f"sg:{bucket}").returncode == 1


def test_large_file_in_parts(remote: Program, bucket: str, tmp_path: Path) -> None:
    content = payload(64 * MIB)
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "large").write_bytes(content)
    remote("copy", "--s3-upload-cutoff", "5Mi", "--s3-chunk-size", "8Mi", "sent", f"sg:{bucket}")
    remote("copy", "--multi-thread-cutoff", "8Mi", "--multi-thread-streams", "4", f"sg:{bucket}", "back")
    assert sha256((tmp_path / "back" / "large").read_bytes()) == sha256(content)
    remote("check", "sent", f"sg:{bucket}")


def test_sync_makes_both_sides_equal(remote: Program, bucket: str, tmp_path: Path) -> None:
    plant(tmp_path / "sent", ("one", "two", "three/four"))
    remote("sync", "sent", f"sg:{bucket}")
    (tmp_path / "sent" / "two").unlink()
    (tmp_path / "sent" / "five").write_bytes(payload(5000))
    remote("sync", "sent", f"sg:{bucket}")
    remote("sync", f"sg:{bucket}", "back")
    assert tree(tmp_path / "back") == tree(tmp_path / "sent")


def test_cat_reads_a_span(remote: Program, bucket: str, s3: Any) -> None:
    content = payload(200_000)
    s3.put_object(Bucket=bucket, Key="spans", Body=content)
    for offset, count in ((0, 1), (16_383, 2), (100_000, 65_536)):
        got = remote("cat", "--offset", str(offset), "--count", str(count), f"sg:{bucket}/spans")
        assert sha256(got) == sha256(content[offset : offset + count])
    assert remote("cat", "--tail", "9", f"sg:{bucket}/spans") == content[-9:]


def test_pipe_of_unknown_length(remote: Program, bucket: str, s3: Any) -> None:
    content = payload(6 * MIB + 1)
    remote("rcat", f"sg:{bucket}/piped", stdin=content)
    assert sha256(s3.get_object(Bucket=bucket, Key="piped")["Body"].read()) == sha256(content)


def test_moveto_keeps_bytes_and_time(remote: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    sent = plant(tmp_path / "sent", ("x",))
    remote("copyto", "sent/x", f"sg:{bucket}/a b/x+%")
    before = s3.head_object(Bucket=bucket, Key="a b/x+%")["Metadata"]["mtime"]
    remote("moveto", f"sg:{bucket}/a b/x+%", f"sg:{bucket}/moved")
    moved = s3.get_object(Bucket=bucket, Key="moved")
    assert (sha256(moved["Body"].read()), moved["Metadata"]["mtime"]) == (sent["x"], before)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_delete_and_purge(remote: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    plant(tmp_path / "sent", ("a/one", "a/two", "b/three", "four"))
    remote("copy", "sent", f"sg:{bucket}")
    remote("deletefile", f"sg:{bucket}/four")
    remote("delete", f"sg:{bucket}/a")
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["b/three"]
    remote("purge", f"sg:{bucket}")
    assert bucket not in {entry["Name"] for entry in s3.list_buckets()["Buckets"]}


def test_mkdir_lsd_rmdir(remote: Program, s3: Any) -> None:
    remote("mkdir", "sg:made-by-rclone")
    assert "made-by-rclone" in remote("lsd", "sg:").decode()
    remote("rmdir", "sg:made-by-rclone")
    assert "made-by-rclone" not in {entry["Name"] for entry in s3.list_buckets()["Buckets"]}


def test_check_sees_what_one_side_lacks(remote: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    plant(tmp_path / "sent", ("both", "only here"))
    remote("copy", "sent", f"sg:{bucket}")
    s3.delete_object(Bucket=bucket, Key="only here")
    s3.put_object(Bucket=bucket, Key="only there", Body=b"x")
    report = remote.run("check", "--combined", "-", "sent", f"sg:{bucket}")
    assert report.returncode == 1
    assert sorted(report.stdout.decode().splitlines()) == ["+ only here", "- only there", "= both"]
    remote("check", "--one-way", "--include", "both", "sent", f"sg:{bucket}")


def test_bisync_carries_changes_both_ways(remote: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    here = tmp_path / "here"
    plant(here, ("kept", "gone here", "gone there", "deep/er"))
    pair = ("bisync", "--workdir", str(tmp_path / "state"), "here", f"sg:{bucket}")
    remote(*pair, "--resync")
    (here / "gone here").unlink()
    (here / "new here").write_bytes(payload(70_000))
    s3.delete_object(Bucket=bucket, Key="gone there")
    s3.put_object(Bucket=bucket, Key="new there", Body=payload(20_000))
    remote(*pair)
    names = {"kept", "deep/er", "new here", "new there"}
    assert set(tree(here)) == names
    stored = {entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert stored == names
    assert tree(here)["new there"] == sha256(payload(20_000))
    remote("check", "here", f"sg:{bucket}")
