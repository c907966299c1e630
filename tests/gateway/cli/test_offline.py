"""inspect and unseal: the keyring alone opens what a gateway sealed, and nothing that was altered."""

import asyncio
import errno
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.exits import CommandError, Exit
from gateway.cli.main import run
from gateway.cli.offline import INDEX_NAME, _Unsealed
from gateway.moving.names import file_name, path_of
from storage.sealed.header import BlobKind, parse_untrusted
from tests.gateway.cli.process import Running

PART = bytes(range(256)) * (5 * 4096)
OBJECTS: dict[str, bytes] = {
    "small": b"rests in the catalogue",
    "empty": b"",
    "large": b"0123456789abcdef" * 8192,
    "a": b"file and folder at once " * 4096,
    "a/b": b"below it " * 4096,
    "..x/..escape": b"must stay inside " * 4096,
    "/absolute//double/": b"slashes " * 8192,
    ".hidden": b"dots " * 8192,
    "n" * 900: b"a long name " * 4096,
    "schlo\u00df 100%": b"other letters " * 4096,
    "parts": PART + b"the end",
    "copy of large": b"0123456789abcdef" * 8192,
}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and keys of a gateway that has stopped."""
    running = Running.fresh(tmp_path_factory.mktemp("offline"))
    running.start()
    try:
        s3 = running.s3()
        s3.create_bucket(Bucket="photos")
        for object_key, body in OBJECTS.items():
            if object_key not in ("parts", "copy of large"):
                s3.put_object(Bucket="photos", Key=object_key, Body=body, Metadata={"note": "sealed too"})
        s3.copy_object(Bucket="photos", Key="copy of large", CopySource={"Bucket": "photos", "Key": "large"})
        upload: dict[str, Any] = {"Bucket": "photos", "Key": "parts"}
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        parts = [
            {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
            for number, body in ((1, PART), (2, b"the end"))
        ]
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    finally:
        running.stop(signal.SIGTERM)
    return running.place


@pytest.fixture
def place(sealed: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    for name in ("data", "data-keys"):
        shutil.copytree(sealed / name, tmp_path / name)
    return tmp_path


def blobs_of(place: Path, kind: BlobKind) -> list[Path]:
    files = [path for path in sorted((place / "data/blobs/b").rglob("*")) if path.is_file()]
    return [path for path in files if parse_untrusted(path.read_bytes()[:64]).kind is kind]


def unsealed(folder: Path) -> dict[str, bytes]:
    lines = [json.loads(line) for line in (folder / INDEX_NAME).read_text().splitlines()]
    return {line["object_key"]: (folder / line["path"]).read_bytes() for line in lines if "error" not in line}


def inspected(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["inspect", "--json", *arguments]) == Exit.OK, capsys.readouterr().err
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def test_a_whole_store_by_its_catalogue(place: Path) -> None:
    assert run(["unseal", "-o", str(place / "out"), "--data", str(place / "data")]) == Exit.OK
    assert unsealed(place / "out") == OBJECTS
    outside = {path for path in place.rglob("*escape*") if place / "out" not in path.parents}
    assert not outside
    assert {path.stat().st_mode & 0o777 for path in (place / "out/photos").rglob("*") if path.is_file()} == {0o600}


def test_what_is_told_to_be_written_outlives_a_power_loss(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert run(["unseal", "-o", str(place / "out"), "--data", str(place / "data")]) == Exit.OK
    files = sum(path.is_file() for path in (place / "out").rglob("*"))
    folders = {path for path in (place / "out").rglob("*") if path.is_dir()} | {place / "out", place}
    assert folders <= set(synced)
    assert sum(place / "out" in path.parents and path not in folders for path in synced) == files


def test_a_whole_store_without_its_catalogue(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(place / "data/catalogue")
    assert run(["unseal", "-o", str(place / "out"), "--data", str(place / "data")]) == Exit.OK
    assert "small objects are missing" in capsys.readouterr().err
    in_the_catalogue = {"small", "empty"}
    assert unsealed(place / "out") == {name: body for name, body in OBJECTS.items() if name not in in_the_catalogue}


def test_names_are_shown_with_the_keyring_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(place / "data", place / "gone")
    names = set()
    for path in blobs_of_moved(place):
        shown = inspected(capsys, str(path), "--keys", str(place / "data-keys"), "--data", str(place / "elsewhere"))
        assert shown["authenticated"] is True
        if shown["kind"] in ("journal", "pack", "envelopes"):  # the last for an upload that was open at a segment's end
            key = "envelopes" if shown["kind"] == "envelopes" else "journal"
            assert (shown["bucket"], shown["wrapped_by"]) == ("", f"realm {key}")
            continue
        assert shown["bucket"] == "photos"
        assert shown["wrapped_by"]
        names.add(shown["object_key"])
    assert names == set(OBJECTS) - {"small", "empty"}


def blobs_of_moved(place: Path) -> list[Path]:
    return [path for path in (place / "gone/blobs/b").rglob("*") if path.is_file()]


def test_without_the_keyring_only_claims_are_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = blobs_of(place, BlobKind.OBJECT)[0]
    shown = inspected(capsys, str(path), "--data", str(place / "data"), "--keys", str(place / "none"))
    assert shown["authenticated"] is False
    assert "object_key" not in shown
    assert shown["blob_id"] == path.name


def test_one_blob_by_file_and_by_id(place: Path) -> None:
    for path in blobs_of(place, BlobKind.OBJECT):
        for number, source in enumerate((str(path), path.name)):
            output = place / f"{path.name}-{number}"
            assert run(["unseal", source, "-o", str(output), "--data", str(place / "data")]) == Exit.OK
            assert output.read_bytes() in OBJECTS.values()


@pytest.mark.parametrize(("kind", "object_key"), [(BlobKind.LINK, "copy of large"), (BlobKind.MANIFEST, "parts")])
def test_a_blob_that_names_others_opens_them(place: Path, kind: BlobKind, object_key: str) -> None:
    (path,) = blobs_of(place, kind)
    assert run(["unseal", str(path), "-o", str(place / "out"), "--data", str(place / "data")]) == Exit.OK
    assert (place / "out").read_bytes() == OBJECTS[object_key]


@pytest.fixture
def moved(place: Path) -> Path:
    """The same, once every key was wrapped anew and the version that stands in the slots was destroyed."""
    data = ["--data", str(place / "data")]
    for _ in range(2):
        assert run(["key", "rotate", "alias/default", *data]) == Exit.OK
        assert run(["key", "rewrap", *data]) == Exit.OK
    for version in ("1", "2"):
        assert run(["key", "retire", "alias/default", "--version", version, "--destroy", *data]) == Exit.OK
    return place


def test_what_was_wrapped_anew_opens_without_a_catalogue(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(moved / "data")]
    report = moved / "report"
    assert run(["scrub", "--report", str(report), *data]) == Exit.OK
    counts = json.loads(report.read_text())["counts"]
    assert counts.keys() == {"damaged", "whole"}, "nothing is left at its description"
    shutil.rmtree(moved / "data/catalogue")
    for kind, names in ((BlobKind.OBJECT, None), (BlobKind.LINK, "copy of large"), (BlobKind.MANIFEST, "parts")):
        for path in blobs_of(moved, kind):
            shown = inspected(capsys, path.name, *data)
            assert (shown["wrapped_in"], shown["kms_key"].split()[-1]) == ("envelopes", "3")
            output = moved / f"{path.name}-opened"
            assert run(["unseal", path.name, "-o", str(output), *data]) == Exit.OK
            assert output.read_bytes() == OBJECTS[names or shown["object_key"]]
    for path in blobs_of(moved, BlobKind.ENVELOPES):
        shown = inspected(capsys, path.name, *data)
        assert (shown["wrapped_by"], shown["wrapped_in"]) == ("realm envelopes", "slot")
    assert run(["unseal", "-o", str(moved / "out"), *data]) == Exit.OK
    assert unsealed(moved / "out") == {name: body for name, body in OBJECTS.items() if name not in {"small", "empty"}}


def test_a_blob_alone_is_told_to_lie_under_a_key_that_is_gone(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the keys but without the store nothing says where its key went."""
    path = blobs_of(moved, BlobKind.OBJECT)[0]
    alone = moved / "alone"
    path.rename(alone)
    for other in blobs_of(moved, BlobKind.ENVELOPES):
        other.unlink()
    shown = inspected(capsys, str(alone), "--data", str(moved / "data"))
    assert (shown["wrapped_in"], shown["kms_key"].split()[-1]) == ("nothing that opens", "1")
    assert run(["unseal", str(alone), "-o", str(moved / "out"), "--data", str(moved / "data")]) == Exit.KEYS
    assert not (moved / "out").exists()


def test_a_part_alone_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = blobs_of(place, BlobKind.PART)[0]
    assert run(["unseal", str(path), "-o", str(place / "out"), "--data", str(place / "data")]) == Exit.REFUSED
    assert "manifest" in capsys.readouterr().err
    assert not (place / "out").exists()


@pytest.mark.parametrize("where", [0, 20, 40, 70, 200, 5000, -900, -30, -1])
def test_an_altered_blob_leaves_nothing(place: Path, where: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = blobs_of(place, BlobKind.OBJECT)[0]
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    before = {found.name for found in place.iterdir()}
    code = run(["unseal", str(path), "-o", str(place / "out"), "--data", str(place / "data")])
    assert code in (Exit.DAMAGED, Exit.KEYS)
    assert capsys.readouterr().err.count("\n") == 1
    assert {found.name for found in place.iterdir()} == before


@pytest.mark.parametrize("cut", [0, 10, 63, 64, 100, 2000, -1])
def test_a_cut_blob_is_refused(place: Path, cut: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = blobs_of(place, BlobKind.OBJECT)[0]
    path.write_bytes(path.read_bytes()[:cut])
    assert run(["inspect", str(path), "--data", str(place / "data")]) == Exit.DAMAGED
    assert capsys.readouterr().err.count("\n") == 1


def test_one_damaged_object_does_not_stop_the_others(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = blobs_of(place, BlobKind.OBJECT)[0]
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    assert run(["unseal", "-o", str(place / "out"), "--data", str(place / "data")]) == Exit.DAMAGED
    assert INDEX_NAME in capsys.readouterr().err
    opened = unsealed(place / "out")
    assert len(OBJECTS) - 2 <= len(opened) < len(OBJECTS)  # a copy may share the damaged content
    assert all(OBJECTS[name] == body for name, body in opened.items())
    assert not list((place / "out").rglob("*.part"))


def test_damage_is_told_without_a_catalogue_too(place: Path) -> None:
    shutil.rmtree(place / "data/catalogue")
    path = blobs_of(place, BlobKind.OBJECT)[0]
    data = bytearray(path.read_bytes())
    data[-100] ^= 1  # in the description, so that not even the name is known
    path.write_bytes(data)
    assert run(["unseal", "-o", str(place / "out"), "--data", str(place / "data")]) == Exit.DAMAGED
    lines = [json.loads(line) for line in (place / "out" / INDEX_NAME).read_text().splitlines()]
    assert [line["error"] for line in lines if line.get("blob_id") == path.name]


def test_nothing_is_overwritten(place: Path) -> None:
    (place / "out").write_text("mine")
    assert run(["unseal", "-o", str(place / "out"), "--data", str(place / "data")]) == Exit.USAGE
    (place / "link").symlink_to(place / "nowhere")
    assert run(["unseal", "-o", str(place / "link"), "--data", str(place / "data")]) == Exit.USAGE
    assert (place / "out").read_text() == "mine"


def test_a_refusal_leaves_no_folder_in_the_way(place: Path) -> None:
    arguments = ["unseal", "-o", str(place / "out"), "--data", str(place / "data")]
    (place / "data-keys").rename(place / "lost")
    assert run(arguments) == Exit.SETUP
    assert not (place / "out").exists()
    (place / "lost").rename(place / "data-keys")
    assert run(arguments) == Exit.OK


def test_a_blob_that_is_not_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "0" * 32, "--data", str(place / "data")]) == Exit.REFUSED
    assert "catalogue" in capsys.readouterr().err
    assert run(["unseal", str(place / "none"), "-o", "x", "--data", str(place / "data")]) == Exit.USAGE


def test_file_names_stay_inside_and_apart() -> None:
    keys = [b"", b".", b"..", b"...", b"%", b"%2e", b"%2e2e", b".a", b"%2Ea", b"a\0b", b"\xff", b"x" * 300, b"x" * 301]
    keys += [name.encode() for name in ("ö" * 100, "ö" * 150, "aö" * 100, "\x80", "\u2028", "a\u202eb", "日本")] + [
        b"%FF",
        b"a%00b",
    ]
    names = [name for key in keys for name in path_of(key)]
    assert len(set(names)) == len(names)
    for name in names:
        assert name
        assert not name.startswith(".")
        assert "/" not in name
        assert "\0" not in name
        assert len(name.encode()) <= 200
        assert name.isprintable()
    for plain in ("plain name.txt", "größer.txt", "日本語", "e\u0301", 'a\\b:c*?"<>|'):
        assert file_name(plain.encode()) == plain


def test_a_full_output_folder_is_told_and_not_counted_as_damage(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"some"
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out"
    unsealed = _Unsealed.into(out)
    with pytest.raises(CommandError, match=r"out cannot be written \(No space left on device\)") as told:
        asyncio.run(unsealed.take("bucket", b"key", {}, pieces()))
    assert told.value.code is Exit.STORAGE
    assert unsealed.failed == 0
    assert [path for path in out.rglob("*") if path.is_file()] == []
