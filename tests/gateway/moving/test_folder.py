import json
import os
import stat
from base64 import b64encode
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.moving import folder, jobs, places
from gateway.moving.folder import INDEX_NAME, FolderSource
from gateway.moving.places import Item, PlaceFailed
from gateway.moving.tree import Tree
from storage.catalogue.commands import DeleteVersion
from tests.gateway.moving.moving import bring, send, why
from tests.gateway.operations.stage import MIB, Stage

HOSTILE = [b"../x", b"..", b"/abs", b"a//b", b"a/../../x", b".hidden", b"%2e", b"a", b"a/b", b"x" * 255, b"x/" * 500]


def test_files_become_objects_by_their_paths(stage: Stage, tmp_path: Path) -> None:
    files = {"a": b"", "a-b": b"1", "a/b.txt": b"2" * 70_000, "z/ä ö": b"3", "page.html.gz": b"4"}
    del files["a"]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    answer = bring(stage, tmp_path)
    assert (answer["state"], answer["moved"], answer["difference_count"]) == ("done", len(files), 0)
    assert answer["moved_bytes"] == sum(map(len, files.values()))
    assert answer["unproven"] == len(files), "a folder tells no digest"
    assert {key: stage.body_of(key) for key in list(stage.keys())} == files
    head = stage.alice.head_object(Bucket="bucket", Key="page.html.gz")
    assert (head["ContentType"], head["ContentEncoding"]) == ("text/html", "gzip")
    again = bring(stage, tmp_path, read_back=True)
    assert (again["moved"], again["already_there"]) == (0, len(files))


def test_what_is_no_plain_file_is_named_and_left(stage: Stage, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    source = tmp_path / "source"
    source.mkdir()
    (source / "good").write_bytes(b"good")
    (source / "link").symlink_to(outside / "secret")
    (source / "folder-link").symlink_to(outside)
    os.mkfifo(source / "pipe")
    os.mknod(source / "socket", stat.S_IFSOCK | 0o600)
    Path(os.fsdecode(os.fsencode(source) + b"/no-utf8-\xff")).write_bytes(b"x")
    answer = bring(stage, source)
    assert stage.keys() == ["good"]
    assert answer["failed"] == 5
    assert {key: text.split(":")[-1].strip() for key, text in why(answer).items()} == {
        "folder-link": "symbolic links are not followed",
        "link": "symbolic links are not followed",
        "pipe": "not a regular file",
        "socket": "not a regular file",
        "no-utf8-\\xff": "its name cannot be an object key (InvalidURI)",
    }


def test_files_that_cannot_be_read_are_named(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is the test's own."""
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "x").write_bytes(b"x")
    (tmp_path / "dark").write_bytes(b"x")
    (tmp_path / "open").write_bytes(b"x")
    real = os.open

    def refusing(path: Any, *arguments: Any, **more: Any) -> int:
        if path in (b"closed", b"dark"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", refusing)
    answer = bring(stage, tmp_path)
    assert set(why(answer)) == {"closed/", "dark"}
    assert all("Permission denied" in text for text in why(answer).values())
    assert stage.keys() == ["open"]


@pytest.mark.parametrize("now", [b"beginning and more", b"short", b"BEGINNING"])
def test_a_file_that_is_written_meanwhile_is_not_taken(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"beginning")
    real = os.pread

    def reading(fd: int, length: int, offset: int) -> bytes:
        path.write_bytes(now)
        os.utime(path, ns=(1, 1))
        return real(fd, length, offset)

    monkeypatch.setattr(os, "pread", reading)
    answer = bring(stage, tmp_path)
    assert answer["changed_at_the_source"] == 1, answer
    assert stage.keys() == []


def test_nothing_in_the_bucket_is_written_over(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"of the source")
    (tmp_path / "follows").write_bytes(b"first")
    (tmp_path / "tagged").write_bytes(b"first")
    stage.put("mine", b"of a client")
    answer = bring(stage, tmp_path)
    assert (answer["moved"], answer["kept"]) == (2, 1)
    assert stage.body_of("mine") == b"of a client"
    stage.alice.put_object_tagging(
        Bucket="bucket", Key="tagged", Tagging={"TagSet": [{"Key": "by", "Value": "a client"}]}
    )
    for name in ("follows", "tagged"):
        (tmp_path / name).write_bytes(b"second one")
    held = bring(stage, tmp_path)
    assert (held["moved"], held["kept"]) == (0, 3)
    assert "--update" in why(held)["follows"]
    followed = bring(stage, tmp_path, update=True)
    assert (followed["moved"], followed["kept"]) == (1, 2)
    assert stage.body_of("follows") == b"second one"
    assert stage.body_of("tagged") == b"first"
    stage.put("follows", b"a client's")
    (tmp_path / "follows").write_bytes(b"third")
    assert bring(stage, tmp_path, update=True)["kept"] == 3
    assert stage.body_of("follows") == b"a client's"


def test_a_write_that_comes_in_between_wins(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_bytes(b"of the source")
    real = folder.FolderSource.open

    async def open_late(self: Any, item: Any) -> Any:
        reading = await real(self, item)
        await stage.rig.put(item.object_key, b"client's")
        return reading

    monkeypatch.setattr(folder.FolderSource, "open", open_late)
    answer = bring(stage, tmp_path)
    assert answer["kept"] == 1
    assert stage.body_of("key") == b"client's"


def test_large_files_go_in_parts_and_go_on_where_they_stopped(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PART_BYTES", 5 * MIB)
    content = os.urandom(12 * MIB)
    (tmp_path / "large").write_bytes(content)
    reads = []
    real = os.pread

    def reading(fd: int, length: int, offset: int) -> bytes:
        reads.append(offset)
        if len(reads) == 8:
            raise OSError(5, "Input/output error")
        return real(fd, length, offset)

    monkeypatch.setattr(jobs, "PAUSE_S", 0)
    monkeypatch.setattr(os, "pread", reading)
    answer = bring(stage, tmp_path, read_back=True)
    assert (answer["moved"], answer["difference_count"]) == (1, 0)
    assert stage.body_of("large") == content
    assert reads.count(0) == 1, "the first part was taken over"
    assert reads.count(5 * MIB) == 2
    assert stage.alice.list_multipart_uploads(Bucket="bucket").get("Uploads", []) == []


def test_objects_become_files_that_stay_inside(stage: Stage, tmp_path: Path) -> None:
    keys = ["a", "a/b", "%2e", ".hidden", "a//b", "/abs", "x" * 300, "ä/ö", "x/" * 500, INDEX_NAME, "con\\x"]
    for number, key in enumerate(keys):
        stage.put(key, b"%d" % number, Metadata={"n": str(number)}, ContentType="text/x", Tagging=f"t={number}")
    target = tmp_path / "target"
    answer = send(stage, target)
    assert (answer["moved"], answer["difference_count"]) == (len(keys), 0)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(target) for path in files)
    assert len(files) == len(keys) + 1
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    lines = [json.loads(line) for line in (target / INDEX_NAME).read_text().splitlines()]
    assert {line["object_key"]: (target / line["path"]).read_bytes() for line in lines} == {
        key: b"%d" % number for number, key in enumerate(keys)
    }
    assert send(stage, target)["already_there"] == len(keys)
    stage.alice.create_bucket(Bucket="again")
    back = bring(stage, target, bucket="again", index=True)
    assert (back["moved"], back["unproven"]) == (len(keys), 0)
    for number, key in enumerate(keys):
        got = stage.alice.get_object(Bucket="again", Key=key)
        assert got["Body"].read() == b"%d" % number
        assert (got["Metadata"], got["ContentType"], got["TagCount"]) == ({"n": str(number)}, "text/x", 1)


def test_an_export_that_is_verified_adds_what_changed_to_the_index_alone(stage: Stage, tmp_path: Path) -> None:
    for key in ("a", "b", "c"):
        stage.put(key, key.encode(), Tagging="t=1")
    index = tmp_path / INDEX_NAME
    assert send(stage, tmp_path)["moved"] == 3
    first = index.read_bytes()
    assert send(stage, tmp_path)["already_there"] == 3
    assert index.read_bytes() == first
    for value in ("2", "1"):
        stage.alice.put_object_tagging(Bucket="bucket", Key="b", Tagging={"TagSet": [{"Key": "t", "Value": value}]})
        assert send(stage, tmp_path)["already_there"] == 3
    added = [json.loads(line) for line in index.read_bytes().removeprefix(first).splitlines()]
    assert [(line["object_key"], line["tags"]) for line in added] == [("b", {"t": "2"}), ("b", {"t": "1"})]
    with index.open("ab") as file:
        file.write(b"no line of an export\n")
    before = index.read_bytes()
    assert send(stage, tmp_path)["already_there"] == 3
    assert index.read_bytes() == before


PLAIN = ["größer/日本語\u3000名.txt", "caf\u00e9", "cafe\u0301", 'a"b*c:d?<e>|\\', "~ #&;'`$(x)"]
ENCODED = {
    "line\nend": "line%0Aend",
    "\x1b[31m": "%1B[31m",
    "100%": "100%25",
    ".profile": "%2Eprofile",
    "c1\x85": "c1%C2%85",
    "invoice\u202efdp.exe": "invoice%E2%80%AEfdp.exe",
    "isolate\u2066\u2069": "isolate%E2%81%A6%E2%81%A9",
    "zero\u200bwidth\ufeff": "zero%E2%80%8Bwidth%EF%BB%BF",
    "👩\u200d🔬 lab": "👩%E2%80%8D🔬 lab",
    "tag\U000e0061": "tag%F3%A0%81%A1",
}
CUT = ["ö" * 512, "x" * 1024]


def test_names_stay_as_they_are_where_files_can_have_them(stage: Stage, tmp_path: Path) -> None:
    """UTF-8 on the disk is that of the key; all come back byte for byte by the index, and plain ones without it."""
    keys = [*PLAIN, *ENCODED, *CUT]
    for key in keys:
        stage.put(key, key.encode())
    assert send(stage, tmp_path)["moved"] == len(keys)
    for key, name in {key: key for key in PLAIN}.items() | ENCODED.items():
        assert Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name.encode())).read_bytes() == key.encode()
    for bucket, index in (("by-index", True), ("by-name", False)):
        stage.alice.create_bucket(Bucket=bucket)
        assert bring(stage, tmp_path, bucket=bucket, index=index)["failed"] == 0
    assert sorted(stage.keys("by-index")) == sorted(keys)
    for key in keys:
        assert stage.alice.get_object(Bucket="by-index", Key=key)["Body"].read() == key.encode()
    assert set(PLAIN) <= set(stage.keys("by-name"))


def test_what_is_deleted_while_it_is_read_stays_deleted(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delete marker came after the import had looked, and before it could write."""
    stage.alice.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    (tmp_path / "key").write_bytes(b"x")
    catalogue, opened = stage.services.catalogue, FolderSource.open

    async def deleted_meanwhile(source: FolderSource, item: Item) -> Any:
        reading = await opened(source, item)
        bucket_id = (await catalogue.get_bucket("bucket")).bucket_id
        await catalogue.delete_versions(bucket_id, [DeleteVersion(item.object_key, marker_id="f" * 32)])
        return reading

    monkeypatch.setattr(FolderSource, "open", deleted_meanwhile)
    assert bring(stage, tmp_path)["kept"] == 1
    assert stage.keys() == []


def test_no_later_version_comes_over_a_delete_marker_of_a_client(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.alice.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    (tmp_path / "key").write_bytes(b"x")
    walk, listed = FolderSource.walk, ["1"]

    async def with_versions(source: FolderSource, after: bytes, *, versions: bool) -> AsyncGenerator[Item]:
        assert versions
        async for item in walk(source, after, versions=False):
            for version_id in listed:
                yield replace(item, version_id=version_id, is_delete_marker=version_id == "marker")

    monkeypatch.setattr(FolderSource, "walk", with_versions)
    assert bring(stage, tmp_path, versions=True)["moved"] == 1
    listed[:] = ["2", "marker", "1"]
    assert bring(stage, tmp_path, versions=True)["moved"] == 2, "a marker of the source's is none of a client's"
    assert stage.keys() == ["key"]
    stage.alice.delete_object(Bucket="bucket", Key="key")
    listed[:] = ["3", "2", "marker", "1"]
    answer = bring(stage, tmp_path, versions=True)
    assert (answer["already_there"], why(answer)["key"]) == (
        3,
        "kept: it was deleted in the bucket; it was not brought back",
    )
    assert stage.keys() == []


def test_an_export_leaves_other_files_alone_and_follows_no_link(stage: Stage, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / "folder").symlink_to(outside)
    (target / "file").symlink_to(outside / "made")
    (target / "theirs").write_bytes(b"theirs")
    for key in ("folder/x", "file", "theirs", "fine"):
        stage.put(key, b"ours!!")
    answer = send(stage, target)
    assert list(outside.iterdir()) == []
    assert (target / "theirs").read_bytes() == b"theirs"
    assert "another file is there" in why(answer)["theirs"]
    indexed = [json.loads(line) for line in (target / INDEX_NAME).read_text().splitlines()]
    found = {line["object_key"]: line["path"] for line in indexed}
    assert found.pop("fine") == "fine"
    assert set(found) == {"folder/x", "file"}
    assert all(path.startswith(".by-hash/") for path in found.values())


def test_sse_c_objects_need_the_clients_key(stage: Stage, tmp_path: Path) -> None:
    key = bytes(range(32))
    stage.put("locked", b"secret", SSECustomerAlgorithm="AES256", SSECustomerKey=key)
    stage.put("plain", b"plain")
    without = send(stage, tmp_path / "without")
    assert (without["moved"], without["failed"]) == (1, 1)
    assert "--customer-key-file" in why(without)["locked"]
    (tmp_path / "key").write_bytes(b64encode(key))
    (tmp_path / "wrong").write_bytes(bytes(32))
    assert send(stage, tmp_path / "x", customer_key_file=str(tmp_path / "wrong"))["failed"] == 1
    assert send(stage, tmp_path / "with", customer_key_file=str(tmp_path / "key"))["moved"] == 2
    assert (tmp_path / "with" / "locked").read_bytes() == b"secret"


@pytest.mark.parametrize(
    "line",
    [
        {"object_key": "x", "path": "../secret"},
        {"object_key": "x", "path": "/secret"},
        {"object_key": "x", "path": "a/../../secret"},
        {"object_key": "x", "path": "link"},
        {"object_key": "x", "path": ""},
        {"object_key": "x", "path": 5},
        {"object_key": "x"},
    ],
)
def test_an_index_reaches_nothing_outside(stage: Stage, tmp_path: Path, line: dict[str, Any]) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    source = tmp_path / "source"
    source.mkdir()
    (source / "link").symlink_to(tmp_path / "secret")
    (source / INDEX_NAME).write_text(json.dumps(line) + "\n")
    answer = bring(stage, source, index=True)
    assert answer["failed"] == 1
    assert stage.keys() == []


@pytest.mark.parametrize(
    "told",
    [
        {"headers": []},
        {"headers": {"content_type": "\u20ac"}},
        {"metadata": 5},
        {"metadata": {"a": "\u20ac"}},
        {"metadata": {"a": "x\r\nset-cookie: y"}},
        {"metadata": {"a\r\nset-cookie": "y"}},
        {"metadata": {"\u00e9": "y"}},
        {"tags": []},
        {"tags": {"a": {"b": 1}}},
        {"md5": 5},
        {"md5": "zz"},
    ],
)
def test_an_odd_line_of_an_index_fails_alone(stage: Stage, tmp_path: Path, told: dict[str, Any]) -> None:
    for name in ("x", "y"):
        (tmp_path / name).write_bytes(b"1")
    lines = [{"object_key": "x", "path": "x", **told}, {"object_key": "y", "path": "y"}]
    (tmp_path / INDEX_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    answer = bring(stage, tmp_path, index=True)
    assert (answer["moved"], answer["failed"], set(why(answer))) == (1, 1, {"x"})
    assert stage.keys() == ["y"]


def test_a_file_of_no_time_that_a_calendar_has_is_taken(tmp_path: Path) -> None:
    """As file systems with 64 bits for it can have; the tests run on any."""
    (tmp_path / "x").write_bytes(b"1")
    fields = list((tmp_path / "x").stat())
    status = os.stat_result(fields, {"st_mtime": 2.0**38, "st_mtime_ns": 10**9 * 2**38})
    assert folder._item(b"x", status, None).etag == f"{10**9 * 2**38:x}"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"object_key": 5}', '{"path": "x"}', "x" * 70_000])
def test_an_index_that_is_none_stops_the_import(stage: Stage, tmp_path: Path, text: str) -> None:
    if text:
        (tmp_path / INDEX_NAME).write_text(text + "\n")
    with pytest.raises(PlaceFailed):
        bring(stage, tmp_path, index=True)


def test_a_file_other_than_its_index_says_is_refused(stage: Stage, tmp_path: Path) -> None:
    stage.put("x", b"good")
    send(stage, tmp_path)
    (tmp_path / "x").write_bytes(b"evil")
    stage.alice.create_bucket(Bucket="again")
    answer = bring(stage, tmp_path, bucket="again", index=True)
    assert "BadDigest" in why(answer)["x"]
    assert stage.keys("again") == []


def test_a_tree_takes_single_names(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for name in HOSTILE[:5]:
        with pytest.raises((AssertionError, places.ItemFailed)), tree.folder([name]):
            pass
    tree.close()
    with pytest.raises(PlaceFailed):
        Tree(tmp_path / "none")
