"""kill -9 in the middle of imports, exports and migrations, where they name a point: nothing is lost or doubled."""

import json
import os
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.moving.folder import INDEX_NAME
from tests.blackbox.clients import MIB, payload, s3_client
from tests.blackbox.process import PROGRAM, GatewayFailed
from tests.faults.crashing import CrashingGateway
from tests.servers.s3_servers import ACCESS_KEY_ID, SECRET_ACCESS_KEY, S3Server, SeaweedFs
from tests.storage.blobs.s3.support import make_bucket, running

FILES = 20
RESUMES = "SEALGATE_IMPORT_RESUME_INTERVAL_S"
"""A day: so that what is killed goes on by the command that a test gives."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashingGateway]:
    deployment = CrashingGateway(tmp_path_factory.mktemp("gateway"), {RESUMES: "86400"})
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for number in range(FILES):
        (folder / f"{number:03}").write_bytes(payload(number * 613, number))
    return folder


@pytest.fixture(scope="module")
def large_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    with (folder / "large").open("wb") as large:  # two parts
        large.write(os.urandom(MIB))
        large.truncate(65 * MIB)
    return folder


def _killed(gateway: CrashingGateway, seam: str, number: int, arguments: list[str]) -> dict[str, Any]:
    gateway.arm(seam, number)
    first = gateway.run(*arguments)
    assert gateway.disarm(), f"nothing reached {seam}: {first.stdout}{first.stderr}"
    assert first.returncode == 8, first.stderr
    gateway.start()
    again = gateway.run(*arguments)
    assert again.returncode == 0, (again.stdout, again.stderr)
    answer: dict[str, Any] = json.loads(again.stdout)
    return answer


@pytest.mark.parametrize(
    ("seam", "number"),
    [("move.saved", 1), ("move.published", 15), ("move.dealt_with", 7), ("move.part", 1)],
)
def test_a_killed_import_goes_on(
    gateway: CrashingGateway, source: Path, large_source: Path, seam: str, number: int
) -> None:
    if seam == "move.part":
        source = large_source
    s3 = s3_client(gateway)
    bucket = f"import-{seam.replace('.', '-').replace('_', '-')}-{number}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    answer = _killed(gateway, seam, number, ["import", str(source), "--bucket", bucket, "--json"])
    assert answer["moved"] + answer["already_there"] == len(list(source.iterdir()))
    versions = s3.list_object_versions(Bucket=bucket)["Versions"]
    files = {path.name: path for path in source.iterdir()}
    assert sorted(entry["Key"] for entry in versions) == sorted(files), "each once"
    for name, path in files.items():
        assert s3.get_object(Bucket=bucket, Key=name)["Body"].read() == path.read_bytes()
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    s3.close()


def test_a_killed_export_goes_on(gateway: CrashingGateway, source: Path, tmp_path: Path) -> None:
    s3 = s3_client(gateway)
    s3.create_bucket(Bucket="outward")
    assert gateway.run("import", str(source), "--bucket", "outward").returncode == 0
    target = tmp_path / "target"
    answer = _killed(gateway, "move.exported", 9, ["export", str(target), "--bucket", "outward", "--json"])
    assert answer["moved"] + answer["already_there"] == FILES
    files = {path.name: path for path in source.iterdir()}
    assert {path.name for path in target.iterdir()} == {*files, INDEX_NAME}
    assert all((target / name).read_bytes() == path.read_bytes() for name, path in files.items())
    lines = [json.loads(line) for line in (target / INDEX_NAME).read_text().splitlines()]
    assert {line["object_key"] for line in lines} == set(files)
    s3.close()


def _credentials(folder: Path) -> Path:
    """The access key of the S3 server, as a file."""
    file = folder / "backend.env"
    file.touch(mode=0o600)
    file.write_text(f"AWS_ACCESS_KEY_ID={ACCESS_KEY_ID}\nAWS_SECRET_ACCESS_KEY={SECRET_ACCESS_KEY}\n")
    return file


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(SeaweedFs(tmp_path_factory.mktemp("seaweedfs"))) as started:
        for name in ("moved", "through", "given-up"):
            make_bucket(started, name)
        yield started


def test_a_killed_giving_up_goes_on(gateway: CrashingGateway, server: S3Server, tmp_path: Path) -> None:
    """Every object is whole or gone, whenever it was killed; the source has all of them."""
    theirs, s3 = server.client(), s3_client(gateway)
    wanted = {f"{number:02}": payload(number * 999 + 1, number) for number in range(8)}
    for key, content in wanted.items():
        theirs.put_object(Bucket="given-up", Key=key, Body=content)
    s3.create_bucket(Bucket="given-up")
    command = ["import", "s3://given-up", "--bucket", "given-up", "--read-through", "--parallel", "1"]
    command += ["--endpoint", server.endpoint, "--ca-file", str(server.authority.certificate)]
    command += ["--credentials", str(_credentials(tmp_path))]
    abandon = ["import", "--bucket", "given-up", "--abandon", "--yes", "--json"]
    steps = [("fill.sealed", 3, command)]
    steps += [(f"abandon.{step}", 1, abandon) for step in ("fenced", "removed", "forgotten", "opened")]
    for seam, number, given in steps:
        gateway.arm(seam, number)
        assert gateway.run(*given).returncode == 8
        assert gateway.disarm(), f"nothing reached {seam}"
        gateway.start()
        listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket="given-up")["Contents"]]
        bodies = {key: s3.get_object(Bucket="given-up", Key=key)["Body"].read() for key in listed}
        assert bodies == {key: wanted[key] for key in listed}
    answer = json.loads(gateway.run(*abandon).stdout)
    assert (answer["state"], answer["phase"]) == ("done", "given up")
    sealed = [entry["Key"] for entry in s3.list_objects_v2(Bucket="given-up")["Contents"]]
    assert sealed == ["00", "01"]
    assert len(theirs.list_objects_v2(Bucket="given-up")["Contents"]) == len(wanted)
    assert gateway.run("verify").returncode == 0
    theirs.close()
    s3.close()


def test_a_killed_read_through_goes_on(gateway: CrashingGateway, server: S3Server, tmp_path: Path) -> None:
    """Closed until all is registered, then open for good: after every kill it gives the right bytes or 503."""
    theirs, s3 = server.client(), s3_client(gateway)
    wanted = {f"{number:02}": payload(number * 999 + 1, number) for number in range(8)}
    for key, content in wanted.items():
        theirs.put_object(Bucket="through", Key=key, Body=content)
    s3.create_bucket(Bucket="through")
    command = ["import", "s3://through", "--bucket", "through", "--read-through", "--json", "--parallel", "2"]
    command += ["--endpoint", server.endpoint, "--ca-file", str(server.authority.certificate)]
    command += ["--credentials", str(_credentials(tmp_path))]
    for seam, number in (("move.registered", 3), ("move.opened", 1), ("fill.sealed", 2), ("move.all_sealed", 1)):
        gateway.arm(seam, number)
        assert gateway.run(*command).returncode == 8
        assert gateway.disarm(), f"nothing reached {seam}"
        gateway.start()
        if seam == "move.registered":
            for ask in (s3.list_objects_v2, lambda **bucket: s3.get_object(Key="00", **bucket)):
                with pytest.raises(ClientError, match="ServiceUnavailable"):
                    ask(Bucket="through")
            continue
        if seam == "move.opened":
            s3.put_object(Bucket="through", Key="00", Body=b"ours")
            s3.delete_object(Bucket="through", Key="01")
            wanted = {**wanted, "00": b"ours"}
            del wanted["01"]
            _recovered(gateway)
        listed = s3.list_objects_v2(Bucket="through")["Contents"]
        assert {entry["Key"]: entry["Size"] for entry in listed} == {key: len(body) for key, body in wanted.items()}
        assert {key: s3.get_object(Bucket="through", Key=key)["Body"].read() for key in wanted} == wanted
    _goes_on_by_itself(gateway, command)
    for key in wanted:
        theirs.delete_object(Bucket="through", Key=key)
    assert {key: s3.get_object(Bucket="through", Key=key)["Body"].read() for key in wanted} == wanted
    assert gateway.run("verify").returncode == 0
    written = [path for path in gateway.folder.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if SECRET_ACCESS_KEY.encode() in path.read_bytes()]
    theirs.close()
    s3.close()


def _goes_on_by_itself(gateway: CrashingGateway, command: list[str]) -> None:
    """All was sealed when it was killed; without a command the source is forgotten, and a command says so."""
    status = ["import", "--bucket", "through", "--status", "--json"]
    assert json.loads(gateway.run(*status).stdout)["phase"] == "verified"
    gateway.stop()
    gateway.set(RESUMES, "1")
    gateway.start()
    while json.loads(gateway.run(*status).stdout)["phase"] != "cut over":
        pass
    again = gateway.run(*command)
    assert (again.returncode, json.loads(again.stdout)["phase"]) == (0, "cut over"), again.stderr


def _recovered(gateway: CrashingGateway) -> None:
    """The catalogue made anew from the journal: what lies at the source still does."""
    assert gateway.run("scrub").returncode == 0
    gateway.stop()
    assert gateway.run("recover", "--replace").returncode == 0
    gateway.start()


class _Migrating:
    """One gateway, and the places that its blobs go through."""

    def __init__(self, folder: Path, server: S3Server) -> None:
        self.gateway = CrashingGateway(folder, {"SEALGATE_INLINE_MAX_BYTES": "1024"})
        self._folder = folder
        self._server = server
        self._credentials = _credentials(folder)

    def bucket(self, prefix: str) -> Path:
        """A settings file that names a place in the server's bucket."""
        file = self._folder / f"{prefix}.toml"
        told = {
            "blob_store": "s3",
            "s3_endpoint": self._server.endpoint,
            "s3_bucket": "moved",
            "s3_prefix": f"{prefix}/",
            "s3_credentials_file": self._credentials,
            "s3_ca_file": self._server.authority.certificate,
        }
        file.write_text("".join(f"{name} = {json.dumps(str(value))}\n" for name, value in told.items()))
        return file

    def migrate(self, *to: str | Path) -> int:
        """`sealgate migrate` in a process that a trap can strike; its exit code."""
        return self.run("migrate", *to)

    def run(self, *command: str | Path) -> int:
        """A command on the deployment, forked; its exit code."""
        folders = ("--data", self.gateway.data, "--keys", self.gateway.keys)
        return self.gateway.spawned([str(word) for word in (PROGRAM, *command, *folders, "--json")]).wait(60)

    def told(self) -> dict[str, Any]:
        """What the last command said."""
        answer: dict[str, Any] = json.loads(self.gateway.log.read_text().splitlines()[-1])
        return answer

    def realms(self) -> set[str]:
        """Every place that says that it is the live one."""
        places = {f"s3://{key}" for key in self.names() if key.endswith("/realm")}
        return places | {str(file.parent) for file in self._folder.rglob("realm")}

    def names(self) -> list[str]:
        """Every object of the server's bucket."""
        client = self._server.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="moved")
        names = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        client.close()
        return names

    def uploads(self) -> list[Any]:
        """Unfinished uploads of the server's bucket."""
        client = self._server.client()
        found: list[Any] = client.list_multipart_uploads(Bucket="moved").get("Uploads", [])
        client.close()
        return found

    def use(self, settings: Path) -> None:
        """Start the gateway with those settings from now on."""
        for name, value in tomllib.loads(settings.read_text()).items():
            self.gateway.set(f"SEALGATE_{name.upper()}", value)


@pytest.fixture
def migrating(tmp_path: Path, server: S3Server) -> Iterator[_Migrating]:
    moving = _Migrating(tmp_path, server)
    try:
        yield moving
    finally:
        moving.gateway.close()


def _fill(s3: Any) -> dict[str, bytes]:
    """Objects of every kind of blob; their contents."""
    s3.create_bucket(Bucket="bucket")
    contents = {f"{number}": payload(number * 999, number) for number in range(12)}
    contents["large"] = payload(9 * MIB)  # more than one part of the backend's
    for key, content in contents.items():
        s3.put_object(Bucket="bucket", Key=key, Body=content)
    upload = {"Bucket": "bucket", "Key": "parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    etag = s3.upload_part(**upload, PartNumber=1, Body=contents["7"])["ETag"]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    contents["parts"] = contents["7"]
    return contents


def test_blobs_migrate_from_store_to_store_killed_on_every_step(migrating: _Migrating, tmp_path: Path) -> None:
    """From disk to disk, to a bucket, to another place in it, and back to a disk; never two that say they are live."""
    gateway = migrating.gateway
    gateway.start()
    s3 = s3_client(gateway)
    contents = _fill(s3)
    assert gateway.run("snapshot").returncode == 0
    old, disk = gateway.data / "blobs", tmp_path / "elsewhere"
    first, second, last = migrating.bucket("first"), migrating.bucket("second"), tmp_path / "last"
    legs: list[tuple[str, Path, list[tuple[str, int]], list[Path]]] = [
        ("--to", disk, [("migrate.blob", 1), ("migrate.released", 1)], []),
        (
            "--to-settings",
            first,
            [
                *(("blob.sending", 3), ("blob.sent", 4), ("migrate.blob", 2)),
                *((f"migrate.{step}", 1) for step in ("copied", "compared", "released", "claimed")),
            ],
            [first],
        ),
        ("--to-settings", second, [("blob.sent", 2), ("migrate.compared", 1), ("migrate.released", 1)], [second]),
        ("--to", last, [("blob.synced", 3), ("migrate.copied", 1), ("migrate.released", 1)], []),
    ]
    live = str(old)
    for flag, place, seams, settings in legs:
        assert migrating.migrate(flag, place) == 8, "a gateway serves"
        gateway.stop()
        goal = f"s3://{place.stem}/realm" if settings else str(place)
        for seam, number in seams:
            gateway.arm(seam, number)
            assert migrating.migrate(flag, place) == -signal.SIGKILL, (seam, gateway.log_tail())
            assert migrating.realms() == {"migrate.released": set(), "migrate.claimed": {goal}}.get(seam, {live})
            if seam == "migrate.released":
                with pytest.raises(GatewayFailed, match="sealgate migrate"):
                    gateway.start()
                assert migrating.migrate("--to", tmp_path / "third") == 3, "handed over, and not to this place"
        assert migrating.migrate(flag, place) == 0, gateway.log_tail()
        assert (migrating.realms(), migrating.uploads()) == ({goal}, [])
        if seams[-1][0] == "migrate.released":
            assert migrating.told()["kinds"].keys() >= {"object", "part", "manifest", "journal", "snapshot", "pack"}
        assert migrating.told()["damaged"] == []
        with pytest.raises(GatewayFailed, match="sealgate migrate"):
            gateway.start()
        for file in settings:
            migrating.use(file)
        if not settings:
            gateway.set("SEALGATE_BLOB_STORE", "disk")
            gateway.set("SEALGATE_BLOBS", str(place))
        elif live == str(disk):
            gateway.unset("SEALGATE_BLOBS")
        live = goal
        gateway.start()
        assert {key: s3.get_object(Bucket="bucket", Key=key)["Body"].read() for key in contents} == contents
        contents[place.stem] = payload(5000, len(contents))
        s3.put_object(Bucket="bucket", Key=place.stem, Body=contents[place.stem])
        assert migrating.run("scrub") == 0, gateway.log_tail()
        scrubbed = migrating.told()
        assert (scrubbed["damaged"], scrubbed["blobs"] > len(contents)) == (0, True)
    assert migrating.run("verify") == 0
    s3.close()
