"""The catalogue is deleted and rebuilt by the commands of docs/RECOVERY.md: from the journal, and from blobs alone.

The real process over TLS, the real commands. Everything that clients can see is compared as one text.
"""

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import payload, s3_client
from tests.blackbox.process import PROGRAM, Credentials, Gateway
from tests.blackbox.recovery_world import LOGS, OPEN_PARTS, SETTINGS, SSE_C, build, everything, versions
from tests.tooling.places import ROOT

RUNBOOK: Final = ROOT / "docs" / "RECOVERY.md"
_BLOCK: Final = re.compile(r"^## (.*?)$|^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RECORD_KINDS: Final = {5: "pack", 8: "journal", 9: "snapshot"}


def runbook(heading: str) -> str:
    """The shell blocks below a heading of the runbook, as one script."""
    found, inside = "", False
    for match in _BLOCK.finditer(RUNBOOK.read_text(encoding="utf-8")):
        if match[1] is not None:
            inside = match[1] == heading
        elif inside:
            found += match[2]
    assert found, f"the runbook has no commands below {heading!r}"
    return found


def follow(gateway: Gateway, heading: str) -> str:
    """Run the commands of the runbook as its reader does; what they print. Backups lie beside the deployment."""
    done = subprocess.run(
        ["bash", "-eu", "-c", runbook(heading).replace("/backup/", f"{gateway.folder}/backup-")],
        cwd=gateway.folder,
        env=gateway.environment() | {"PATH": f"{PROGRAM.parent}:/usr/bin:/bin", "SEALGATE_KEYS": str(gateway.keys)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def kind_of(path: Path) -> str:
    with path.open("rb") as file:
        return _RECORD_KINDS.get(file.read(11)[10], "other")


def blobs(gateway: Gateway, kind: str) -> list[Path]:
    return [path for path in (gateway.data / "blobs/b").rglob("*") if path.is_file() and kind_of(path) == kind]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Credentials, str]]:
    """A stopped gateway, its second account's key, and everything that was seen before."""
    gateway = Gateway(tmp_path_factory.mktemp("recovery"), SETTINGS)
    gateway.start()
    try:
        s3 = s3_client(gateway)
        other = build(gateway, s3)
        s3.close()
        before = everything(gateway, other)
        assert len(json.loads(before)["first"]["plain"][0]["each"]) == 11
        gateway.stop()
        yield gateway, other, before
    finally:
        gateway.close()


def copied(source: Gateway, folder: Path) -> Gateway:
    """The same deployment in another folder, so that a test may break it."""
    gateway = Gateway(folder, SETTINGS)
    shutil.copytree(source.data, gateway.data, ignore=shutil.ignore_patterns("control.sock"), symlinks=True)
    shutil.copytree(source.keys, gateway.keys)
    # Clients are told where the copy is.
    text = gateway.client_env.read_text()
    text = text.replace(f":{source.port}", f":{gateway.port}").replace(str(source.folder), str(gateway.folder))
    gateway.client_env.write_text(text)
    return gateway


def test_the_catalogue_is_rebuilt_byte_for_byte(deployment: tuple[Gateway, Credentials, str], tmp_path: Path) -> None:
    source, other, before = deployment
    gateway = copied(source, tmp_path)
    shutil.rmtree(gateway.data / "catalogue")
    (gateway.data / "realm.json").unlink()
    assert "missing" in gateway.run("account", "list").stderr
    follow(gateway, "The catalogue is lost or damaged")
    gateway.start()
    try:
        assert everything(gateway, other) == before
        # It goes on: new writes are journalled behind the old ones, and survive the next loss.
        s3 = s3_client(gateway)
        s3.put_object(Bucket="plain", Key="after", Body=b"after the first recovery")
        complete_all(s3)
        s3.close()
        gateway.stop()
        follow(gateway, "The catalogue is lost or damaged")
        gateway.start()
        follow(gateway, "Is it all there, and is it the newest?")
        s3 = s3_client(gateway)
        assert s3.get_object(Bucket="plain", Key="after")["Body"].read() == b"after the first recovery"
        for key in ("begun", "begun since"):
            assert s3.get_object(Bucket="plain", Key=key)["Body"].read() == b"".join(OPEN_PARTS.values())
        s3.close()
    finally:
        gateway.close()
    kept = [path.name for path in gateway.data.iterdir() if ".before-" in path.name]
    assert len(kept) == 1


def test_a_backup_gives_back_catalogue_journal_and_small_objects(
    deployment: tuple[Gateway, Credentials, str], tmp_path: Path
) -> None:
    source, other, before = deployment
    gateway = copied(source, tmp_path)
    gateway.start()
    s3 = s3_client(gateway)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            s3.put_object(Bucket="plain", Key="meanwhile", Body=b"written while it is backed up")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            follow(gateway, "A backup beside the store")
        finally:
            stop.set()
        writing.result()
    s3.delete_object(Bucket="plain", Key="meanwhile")
    s3.close()
    gateway.stop()
    follow(gateway, "A backup beside the store")  # of a stopped one, and only what is new
    place = gateway.folder / "backup-sealgate"
    refused = gateway.run("restore", str(place))
    assert (refused.returncode, "is there" in refused.stderr) == (3, True), "a catalogue is never replaced"
    assert gateway.run("backup", str(gateway.data / "inside")).returncode == 4
    shutil.rmtree(gateway.data / "catalogue")
    for kind in ("journal", "snapshot", "pack"):
        for path in blobs(gateway, kind):
            path.unlink()
    head = place / "head.json"
    text = head.read_text()
    head.write_text(text.replace('"count": ', '"count": 1'))
    assert gateway.run("restore", str(place)).returncode == 7
    assert blobs(gateway, "journal") == [], "nothing was put back"
    head.write_text(text)
    follow(gateway, "The catalogue is lost, and the store's journal too")
    gateway.start()
    try:
        assert everything(gateway, other) == before
        assert gateway.run("verify", "--journal").returncode == 0
    finally:
        gateway.close()


def test_a_backup_is_restored_whose_keys_were_moved_since(tmp_path: Path) -> None:
    """Envelopes blobs that its journal names are gone, and versions of the key that its slots name are retired."""
    gateway = Gateway(tmp_path)
    gateway.start()
    s3 = s3_client(gateway)
    s3.create_bucket(Bucket="kept")
    bodies = {"small": b"s" * 100, "middle": b"m" * 100_000, "gone": b"g"}
    for key, body in bodies.items():
        s3.put_object(Bucket="kept", Key=key, Body=body)
    upload_id = s3.create_multipart_upload(Bucket="kept", Key="big")["UploadId"]
    named = {"Bucket": "kept", "Key": "big", "UploadId": upload_id}
    bodies["big"] = b"b" * 100_000
    etag = s3.upload_part(**named, PartNumber=1, Body=bodies["big"])["ETag"]
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    place = str(tmp_path / "backup")

    def run(*arguments: str, code: int = 0) -> str:
        done = gateway.run(*arguments)
        assert done.returncode == code, (arguments, done.stderr)
        return done.stderr

    def damaged_in(folder: str) -> int:
        done = gateway.run("backup", "--verify", folder, "--json")
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["damaged_count"])

    def move_keys(retired: str) -> None:
        for arguments in (("rotate", "alias/default"), ("rewrap",), ("retire", "alias/default", "--version", retired)):
            run("key", *arguments)

    move_keys("1")
    run("backup", place)
    damage_largest(Path(place, "blobs", "b"))
    assert [damaged_in(place), damaged_in(place)] == [1, 0]
    run("key", "shred", "--bucket", "kept", "--object", "gone", "--record", f"{place}-record.json", "--yes")
    move_keys("2")
    del bodies["gone"]
    s3.close()
    gateway.stop()
    shutil.rmtree(gateway.data / "catalogue")
    for kind in ("journal", "snapshot"):
        for path in blobs(gateway, kind):
            path.unlink()
    assert "1 blobs are missing" in run("restore", place, code=7), "the envelopes of what was shredded, and no other"
    gateway.start()
    try:
        s3 = s3_client(gateway)
        with pytest.raises(ClientError, match="KMSInvalidState"):
            s3.get_object(Bucket="kept", Key="gone")
        s3.delete_object(Bucket="kept", Key="gone")
        for key, body in bodies.items():
            assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == body, key
        s3.close()
        run("verify", "--journal")
        run("key", "rewrap")
        run("scrub")
    finally:
        gateway.close()


def damage_largest(folder: Path) -> None:
    """Turn a bit amid the largest file."""
    path = max(folder.rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def complete_all(s3: Any) -> None:
    """Complete the uploads that were open when the catalogue was lost, of which a client knows the ids alone."""
    for one in s3.list_multipart_uploads(Bucket="plain")["Uploads"]:
        place = {"Bucket": "plain", "Key": one["Key"], "UploadId": one["UploadId"]}
        parts = [
            {name: part[name] for name in ("PartNumber", "ETag", "ChecksumSHA256")}
            for part in s3.list_parts(**place)["Parts"]
        ]
        s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})


def test_blobs_alone_give_back_every_version(deployment: tuple[Gateway, Credentials, str], tmp_path: Path) -> None:
    source, _, before = deployment
    gateway = copied(source, tmp_path)
    shutil.rmtree(gateway.data / "catalogue")
    for kind in ("journal", "snapshot"):
        for path in blobs(gateway, kind):
            path.unlink()
    refused = gateway.run("recover")
    assert (refused.returncode, "--from-blobs" in refused.stderr) == (6, True)
    follow(gateway, "Nothing is left but blobs")
    made = gateway.client_variables()
    report = [json.loads(line) for line in (gateway.data / "catalogue/recovery-report.jsonl").read_text().splitlines()]
    gateway.start()
    try:
        accounts = json.loads((gateway.folder / "accounts.json").read_text())["accounts"]
        assert len(accounts) == 2
        keys = {
            accounts[0]["name"]: {name: made[f"AWS_{name.upper()}"] for name in ("access_key_id", "secret_access_key")}
        }
        keys[accounts[1]["name"]] = json.loads(
            gateway.run("access-key", "create", "--account", accounts[1]["name"], "--json").stdout
        )
        found: dict[str, Any] = {}
        for credentials in keys.values():
            s3 = s3_client(gateway, Credentials(credentials["access_key_id"], credentials["secret_access_key"]))
            found |= {
                bucket["Name"]: json.loads(json.dumps(versions(s3, bucket["Name"]), default=str))
                for bucket in s3.list_buckets()["Buckets"]
            }
            s3.close()
    finally:
        gateway.close()
    first = json.loads(before)
    marks = {(line.get("bucket"), line.get("object_key"), line["mark"]) for line in report}
    assert ("plain", "overwritten", "replaced") in marks
    assert ("plain", "deleted", "current") in marks
    assert all(line["mark"] in {"current", "older", "replaced"} for line in report)
    for bucket, seen in {**first["first"], **first["second"]}.items():
        if bucket in {"buckets", "owner", "empty", LOGS}:
            continue
        # Every version that was there is there, its bytes, headers, metadata and tags as they were written.
        ours = {(one["Key"], one["VersionId"]): rest for one, *rest in found[bucket]["each"]}
        for one, got, head, tags, retention, *_ in seen[0]["each"]:
            place = (one["Key"], one["VersionId"])
            if one["Key"] in {"cut", "later"}:  # tags and a hold came later, which their blobs cannot know
                assert (ours[place][0]["Body"], ours[place][0]["ETag"]) == (got["Body"], got["ETag"])
            else:
                assert ours[place][:4] == [got, head, tags, retention], place
    back = {one["Key"]: rest[0] for one, *rest in found["plain"]["each"] if one["Key"].startswith("deleted")}
    assert back["deleted since"]["ContentLength"] == 20_010
    # It was gone when keys were moved, so that it opens under the disabled version alone.
    assert back["deleted"] == "KMS.DisabledException"
    assert SSE_C["SSECustomerKeyMD5"] in json.dumps(found["plain"])


def test_a_catalogue_that_is_there_is_not_replaced_unasked(
    deployment: tuple[Gateway, Credentials, str], tmp_path: Path
) -> None:
    gateway = copied(deployment[0], tmp_path)
    refused = gateway.run("recover")
    assert (refused.returncode, "--replace" in refused.stderr) == (3, True)
    shutil.rmtree(gateway.data / "blobs")
    assert gateway.run("recover", "--replace").returncode == 4


def test_an_old_catalogue_is_not_served_until_recovered(
    deployment: tuple[Gateway, Credentials, str], tmp_path: Path
) -> None:
    gateway = copied(deployment[0], tmp_path)
    shutil.copytree(gateway.data / "catalogue", tmp_path / "old")
    gateway.start()
    s3 = s3_client(gateway)
    s3.put_object(Bucket="plain", Key="newer", Body=b"newer")
    s3.close()
    gateway.stop()
    shutil.rmtree(gateway.data / "catalogue")
    shutil.copytree(tmp_path / "old", gateway.data / "catalogue")
    refused = gateway.run("serve", "--port", str(gateway.port))
    assert refused.returncode == 6
    assert "behind" in refused.stderr
    assert "recover --replace" in refused.stderr
    assert gateway.run("sweep").returncode == 6
    follow(gateway, "The catalogue is lost or damaged")
    gateway.start()
    try:
        s3 = s3_client(gateway)
        assert s3.get_object(Bucket="plain", Key="newer")["Body"].read() == b"newer"
        s3.close()
    finally:
        gateway.close()


@pytest.mark.parametrize("harm", ["flipped", "torn", "gone"])
def test_a_damaged_segment_is_named_and_nothing_is_changed(
    deployment: tuple[Gateway, Credentials, str], tmp_path: Path, harm: str
) -> None:
    gateway = copied(deployment[0], tmp_path)
    segment = max(blobs(gateway, "journal"), key=lambda path: path.stat().st_size)
    data = segment.read_bytes()
    segment.unlink()
    if harm != "gone":
        middle = len(data) // 2
        segment.write_bytes(
            data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if harm == "flipped" else data[:middle]
        )
    before = sorted(path.name for path in gateway.data.iterdir())
    refused = gateway.run("recover", "--replace")
    assert refused.returncode == 6
    assert "segment" in refused.stderr
    assert segment.name in refused.stderr
    assert sorted(path.name for path in gateway.data.iterdir()) == before


def test_a_missing_blob_is_listed_named_and_answers_500(
    deployment: tuple[Gateway, Credentials, str], tmp_path: Path
) -> None:
    source, _, before = deployment
    gateway = copied(source, tmp_path)
    lost = max((path for path in blobs(gateway, "other")), key=lambda path: path.stat().st_size)
    lost.unlink()
    shutil.rmtree(gateway.data / "catalogue")
    done = gateway.run("recover", "--json")
    assert done.returncode == 7
    assert json.loads(done.stdout)["missing_blob_count"] == 1
    assert lost.name in (gateway.data / "catalogue/recovery-report.jsonl").read_text()
    gateway.start()
    try:
        listed = json.loads(before)["first"]["plain"][0]["listed"]
        s3 = s3_client(gateway)
        assert json.loads(json.dumps(versions(s3, "plain"), default=str))["listed"] == listed
        s3.close()
    finally:
        gateway.close()


def test_ten_thousand_small_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str], full: bool) -> None:
    """G20: at most 60 s for 10,000 small objects; fewer of them in the short form, at the same pace."""
    count = 10_000 if full else 400
    gateway = Gateway(tmp_path)
    gateway.start()
    s3 = s3_client(gateway)
    s3.create_bucket(Bucket="many")

    def put(number: int) -> None:
        s3.put_object(Bucket="many", Key=f"{number:05}", Body=payload(500 + number % 1000, number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(count)))
    s3.close()
    gateway.stop()
    shutil.rmtree(gateway.data / "catalogue")
    began = time.monotonic()
    done = gateway.run("recover", "--json")
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version_count"] == count
    with capsys.disabled():
        print(f"\n{count} small objects recovered in {took:.1f} s, {took / count * 10_000:.1f} s for 10,000")
    assert took <= 60 * count / 10_000 + 15, "what a start takes on a loaded machine is not of this"
