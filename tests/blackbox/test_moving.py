"""Imports and exports between two real gateways over TLS, one of which stands for any plain S3; and docs/MOVING.md."""

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import MIB, ODD_NAMES, payload, s3_client, sha256
from tests.blackbox.process import PROGRAM, Gateway
from tests.faults.crashing import CrashingGateway
from tests.servers.ground import Ground
from tests.tooling.places import ROOT
from tests.tooling.tools import program

SMALL = 120


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, ground: Ground, _no_presets: None) -> Iterator[Gateway]:
    """Runs its commands in forked processes; those of the runbook are started as an operator does."""
    folder = tmp_path_factory.mktemp("gateway")
    deployment = CrashingGateway(folder, ground.settings(folder))
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.close()


@pytest.fixture(scope="session")
def s3(gateway: Gateway) -> Iterator[Any]:
    """A client of this gateway: where other files ran before in one session, theirs is of another."""
    client = s3_client(gateway)
    yield client
    client.close()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, _no_presets: None) -> Iterator[Gateway]:
    """The plain S3."""
    deployment = CrashingGateway(tmp_path_factory.mktemp("other"))
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.close()


@pytest.fixture(scope="module")
def theirs(other: Gateway) -> Iterator[Any]:
    client = s3_client(other, max_pool_connections=8)
    yield client
    client.close()


def _of(other: Gateway) -> list[str]:
    return ["--endpoint", other.endpoint, "--ca-file", str(other.ca_file), "--credentials", str(other.client_env)]


def _moved(gateway: Gateway, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = gateway.run(*arguments, "--json")
    answer: dict[str, Any] = json.loads(done.stdout or '{"differences": []}')
    assert done.returncode == code, (answer["differences"][:3], done.stderr)
    return answer


def _listed(client: Any, bucket: str) -> dict[str, tuple[int, str]]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"]: (entry["Size"], entry["ETag"]) for page in pages for entry in page.get("Contents", ())}


def _bodies(client: Any, bucket: str, keys: list[str]) -> dict[str, str]:
    with ThreadPoolExecutor(8) as pool:
        bodies = pool.map(lambda key: client.get_object(Bucket=bucket, Key=key)["Body"].read(), keys)
        return dict(zip(keys, map(sha256, bodies), strict=True))


def test_a_bucket_moves_in_and_out_byte_for_byte(
    gateway: Gateway, other: Gateway, s3: Any, theirs: Any, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for number in range(SMALL):
        (files / f"{number:04}.txt").write_bytes(payload(number, number))
    theirs.create_bucket(Bucket="source")
    assert _moved(other, "import", str(files), "--bucket", "source", "--parallel", "16")["moved"] == SMALL
    for name in ODD_NAMES:
        theirs.put_object(Bucket="source", Key=f"odd/{name}", Body=name.encode())
    theirs.put_object(
        Bucket="source",
        Key="told",
        Body=b"told",
        Metadata={"who": "me", "odd": "a  b"},
        ContentType="text/odd; charset=x",
        CacheControl="no-cache",
        ContentDisposition='attachment; filename="x"',
        ContentLanguage="de",
        Expires="Wed, 21 Oct 2026 07:28:00 GMT",
        Tagging="a=b&c=d%20e",
    )
    upload = theirs.create_multipart_upload(Bucket="source", Key="parts", ContentType="x/y")["UploadId"]
    parts = []
    for number, size in ((1, 5 * MIB), (2, 6 * MIB + 1), (7, 17)):
        named = {"Bucket": "source", "Key": "parts", "UploadId": upload, "PartNumber": number}
        parts.append({"PartNumber": number, "ETag": theirs.upload_part(Body=payload(size, number), **named)["ETag"]})
    theirs.complete_multipart_upload(Bucket="source", Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    count = SMALL + len(ODD_NAMES) + 2

    s3.create_bucket(Bucket="moved-in")
    inward = ["import", "s3://source", "--bucket", "moved-in", *_of(other), "--parallel", "8"]
    answer = _moved(gateway, *inward, "--read-back")
    assert (answer["state"], answer["moved"], answer["unproven"]) == ("done", count, 0)
    wanted = _listed(theirs, "source")
    assert len(wanted) == count
    assert _listed(s3, "moved-in") == wanted, "names, sizes and ETags"
    some = [key for key in wanted if key.endswith("7.txt") or "." not in key or key.startswith("odd/")]
    assert _bodies(s3, "moved-in", some) == _bodies(theirs, "source", some)
    assert _moved(gateway, *inward, "--read-back")["already_there"] == count

    theirs.create_bucket(Bucket="moved-out")
    s3.delete_objects(
        Bucket="moved-in", Delete={"Objects": [{"Key": f"{number:04}.txt"} for number in range(50, SMALL)]}
    )
    outward = ["export", "s3://moved-out", "--bucket", "moved-in", *_of(other), "--parallel", "8"]
    gateway.stop()  # the command opens everything by itself
    try:
        assert _moved(gateway, *outward)["moved"] == count - SMALL + 50
    finally:
        gateway.start()
    assert _listed(theirs, "moved-out") == _listed(s3, "moved-in")
    for key in ("told", "parts"):
        there, back = (theirs.head_object(Bucket=bucket, Key=key) for bucket in ("source", "moved-out"))
        for one in (there, back):
            for name in ("ResponseMetadata", "LastModified"):
                del one[name]
        assert back == there
    assert theirs.get_object_tagging(Bucket="moved-out", Key="told")["TagSet"] == [
        {"Key": "a", "Value": "b"},
        {"Key": "c", "Value": "d e"},
    ]
    assert theirs.get_object(Bucket="moved-out", Key="parts")["Body"].read() == b"".join(
        payload(size, number) for number, size in ((1, 5 * MIB), (2, 6 * MIB + 1), (7, 17))
    )


def _history(client: Any, bucket: str) -> list[tuple[str, str, bool]]:
    """Versions as listed, then delete markers: within a millisecond no time tells which of them came first."""
    page = client.list_object_versions(Bucket=bucket)
    versions = [(one["Key"], one["ETag"], one["IsLatest"]) for one in page.get("Versions", ())]
    return versions + [(one["Key"], "", one["IsLatest"]) for one in page.get("DeleteMarkers", ())]


def test_every_version_moves_in_its_order(gateway: Gateway, other: Gateway, s3: Any, theirs: Any) -> None:
    for client, name in ((theirs, "history"), (s3, "history-in"), (theirs, "history-out")):
        client.create_bucket(Bucket=name)
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for number in range(3):
        theirs.put_object(Bucket="history", Key="a", Body=b"%d" % number)
    theirs.delete_object(Bucket="history", Key="a")
    theirs.put_object(Bucket="history", Key="a", Body=b"back")
    theirs.put_object(Bucket="history", Key="b", Body=b"gone")
    theirs.delete_object(Bucket="history", Key="b")
    theirs.delete_object(Bucket="history", Key="never")
    inward = ["import", "s3://history", "--bucket", "history-in", "--versions", *_of(other)]
    assert _moved(gateway, *inward)["moved"] == 8
    assert _history(s3, "history-in") == _history(theirs, "history")
    assert _moved(gateway, *inward)["already_there"] == 8
    outward = ["export", "s3://history-out", "--bucket", "history-in", "--versions", *_of(other)]
    assert _moved(gateway, *outward)["moved"] == 8
    assert _history(theirs, "history-out") == _history(theirs, "history")
    assert _moved(gateway, *outward)["already_there"] == 8
    # A newer version at the source follows; a client's version here ends that.
    theirs.put_object(Bucket="history", Key="b", Body=b"again")
    assert _moved(gateway, *inward)["moved"] == 1
    s3.put_object(Bucket="history-in", Key="b", Body=b"a client's")
    theirs.put_object(Bucket="history", Key="b", Body=b"and again")
    assert _moved(gateway, *inward, code=3)["difference_count"] == 1
    assert s3.get_object(Bucket="history-in", Key="b")["Body"].read() == b"a client's"


def test_nothing_at_the_target_is_written_over(
    gateway: Gateway, other: Gateway, s3: Any, theirs: Any, bucket: str
) -> None:
    theirs.create_bucket(Bucket="held")
    theirs.put_object(Bucket="held", Key="x", Body=b"theirs")
    s3.put_object(Bucket=bucket, Key="x", Body=b"ours!!")
    s3.put_object(Bucket=bucket, Key="y", Body=b"ours!!")
    answer = _moved(gateway, "export", "s3://held", "--bucket", bucket, *_of(other), code=3)
    assert (answer["moved"], answer["difference_count"]) == (1, 1)
    assert answer["differences"][0]["object_key"] == "x"
    assert theirs.get_object(Bucket="held", Key="x")["Body"].read() == b"theirs"


def test_sse_kms_and_sse_c_move(gateway: Gateway, other: Gateway, s3: Any, theirs: Any, tmp_path: Path) -> None:
    """ETags tell nothing there, so that whoever goes on compares the bytes."""
    s3.create_bucket(Bucket="hidden")
    gateway.run("key", "create", "--alias", "moving")
    kms = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/moving"}
    s3.put_bucket_encryption(
        Bucket="hidden",
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": kms}]},
    )
    theirs.create_bucket(Bucket="shown")
    theirs.put_object(Bucket="shown", Key="plain", Body=b"plain")
    key = bytes(range(32))
    (tmp_path / "key").write_bytes(key)
    inward = ["import", "s3://shown", "--bucket", "hidden", *_of(other), "--read-back"]
    assert _moved(gateway, *inward)["moved"] == 1
    assert s3.head_object(Bucket="hidden", Key="plain")["ServerSideEncryption"] == "aws:kms"
    assert _moved(gateway, *inward)["already_there"] == 1
    s3.put_object(Bucket="hidden", Key="locked", Body=b"locked", SSECustomerAlgorithm="AES256", SSECustomerKey=key)
    theirs.create_bucket(Bucket="opened")
    outward = ["export", "s3://opened", "--bucket", "hidden", *_of(other), "--read-back"]
    assert _moved(gateway, *outward, code=3)["failed"] == 1
    outward += ["--customer-key-file", str(tmp_path / "key")]
    assert _moved(gateway, *outward)["difference_count"] == 0
    assert theirs.get_object(Bucket="opened", Key="locked")["Body"].read() == b"locked"
    assert _moved(gateway, *outward)["already_there"] == 2


def test_a_move_is_stopped_seen_and_taken_up_again(gateway: Gateway, s3: Any, bucket: str, tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}").write_bytes(payload(MIB, number))
    with ThreadPoolExecutor(1) as pool:
        slow = ["import", str(tmp_path), "--bucket", bucket, "--max-mib-per-s", "1", "--parallel", "1"]
        running = pool.submit(gateway.run, *slow)
        status, seen = [*slow[:1], "--bucket", bucket, "--status", "--json"], {"moved": 0}
        while not seen["moved"]:  # before that another one may take its place
            assert not running.done()
            seen = json.loads(gateway.run(*status).stdout or '{"moved": 0}')
        assert seen["running"]
        elsewhere = gateway.run("import", str(tmp_path / "0"), "--bucket", bucket)
        assert elsewhere.returncode == 3
        assert "runs already" in elsewhere.stderr
        assert gateway.run("import", "--bucket", bucket, "--stop").returncode == 0
        assert running.result().returncode == 8
        assert "give the same command again" in running.result().stderr
    assert len(_listed(s3, bucket)) < 40
    other_place = gateway.run("import", str(tmp_path / "0"), "--bucket", bucket)
    assert other_place.returncode == 3
    assert "--restart" in other_place.stderr
    assert _moved(gateway, *slow[:-4])["state"] == "done"
    assert len(_listed(s3, bucket)) == 40


def test_a_bucket_that_an_object_keeps_closed_has_ways_out(
    gateway: Gateway, other: Gateway, s3: Any, theirs: Any
) -> None:
    """One under a client's own key (SSE-C), which the source gives nobody else."""
    theirs.create_bucket(Bucket="kept-shut")
    wanted = {key: payload(5000, number) for number, key in enumerate("abz")}
    for key, body in wanted.items():
        theirs.put_object(Bucket="kept-shut", Key=key, Body=body)
    theirs.put_object(Bucket="kept-shut", Key="m", Body=b"m", SSECustomerAlgorithm="AES256", SSECustomerKey=bytes(32))
    s3.create_bucket(Bucket="shut")
    inward = ["import", "s3://kept-shut", "--bucket", "shut", "--read-through", *_of(other), "--parallel", "1"]
    abandon = ["import", "--bucket", "shut", "--abandon"]
    for serves in (True, False):
        stopped = gateway.run(*inward)
        assert (stopped.returncode, "'m' cannot be registered" in stopped.stderr) == (8, True), stopped.stderr
        assert all(way in stopped.stderr for way in ("--leave-out-failed", "--abandon"))
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            _listed(s3, "shut")
        unsure = gateway.run(*abandon)
        assert (unsure.returncode, "--yes" in unsure.stderr) == (2, True)
        if not serves:
            gateway.stop()  # the command opens everything by itself
        try:
            answer = _moved(gateway, *abandon, "--yes")
        finally:
            if not serves:
                gateway.start()
        assert (answer["phase"], answer["removed"], answer["stayed"]) == ("given up", 2, 0)
        assert _listed(s3, "shut") == {}
    assert _moved(gateway, *abandon[:-1], "--status")["phase"] == "given up"
    answer = _moved(gateway, *inward, "--leave-out-failed", code=3)
    assert (answer["phase"], [one["object_key"] for one in answer["differences"]]) == ("cut over", ["m"])
    assert _bodies(s3, "shut", list(_listed(s3, "shut"))) == {key: sha256(body) for key, body in wanted.items()}
    assert set(_listed(theirs, "kept-shut")) == {*wanted, "m"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["import", "/", "--bucket", "none-such"], 3, "there is no bucket"),
        (["import", "--bucket", "x"], 2, "name a folder"),
        (["import", "s3://x", "--bucket", "{}"], 3, "--credentials"),
        (["import", "/", "--bucket", "{}", "--versions"], 3, "not versioned"),
        (["import", "--bucket", "{}", "--abandon", "--yes"], 3, "nothing to give up"),
        (["import", "/", "--bucket", "{}", "--abandon", "--yes"], 2, "takes --bucket"),
        (["import", "/", "--bucket", "{}", "--leave-out-failed"], 3, "for --read-through"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    gateway: Gateway, bucket: str, arguments: list[str], code: int, says: str
) -> None:
    done = gateway.run(*(word.format(bucket) if word == "{}" else word for word in arguments))
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_runbook_works_as_it_stands(gateway: Gateway, other: Gateway, s3: Any, theirs: Any, tmp_path: Path) -> None:
    for name in ("photos", "films", "from-sealgate"):
        theirs.create_bucket(Bucket=name)
    theirs.put_object(Bucket="photos", Key="2026/cat", Body=b"a cat", Metadata={"colour": "black"})
    theirs.put_object(Bucket="films", Key="long", Body=payload(3 * MIB), Metadata={"colour": "none"})
    (tmp_path / "documents" / "deep").mkdir(parents=True)
    (tmp_path / "documents" / "deep" / "letter.txt").write_bytes(b"a letter")
    (tmp_path / "old-ca.pem").write_bytes(other.ca_file.read_bytes())
    (tmp_path / "old-credentials").write_bytes(other.client_env.read_bytes())
    (tmp_path / "old-credentials").chmod(0o600)
    text = (ROOT / "docs" / "MOVING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 7
    script = "set -e\n" + "".join(blocks).replace("https://old.example:9443", other.endpoint)
    folders = f"{program('aws-cli-1').parent}:{PROGRAM.parent}:/usr/bin:/bin"
    variables = gateway.environment() | gateway.client_variables() | {"SEALGATE_KEYS": str(gateway.keys)}
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=tmp_path,
        env=variables | {"PATH": folders},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert (tmp_path / "taken-out" / "deep" / "letter.txt").read_bytes() == b"a letter"
    assert s3.get_object(Bucket="documents-again", Key="deep/letter.txt")["Body"].read() == b"a letter"
    film = s3.get_object(Bucket="films", Key="long")
    assert (film["Body"].read(), film["Metadata"]) == (payload(3 * MIB), {"colour": "none"})
    back = theirs.get_object(Bucket="from-sealgate", Key="2026/cat")
    assert (back["Body"].read(), back["Metadata"]) == (b"a cat", {"colour": "black"})
