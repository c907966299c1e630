"""kill -9 in the middle of imports and exports, at the points that they name: nothing is lost or doubled."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.moving.folder import INDEX_NAME
from tests.blackbox.clients import MIB, payload, s3_client
from tests.blackbox.process import PROGRAM, GatewayFailed
from tests.faults.crashing import CrashingGateway

FILES = 20


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashingGateway]:
    deployment = CrashingGateway(tmp_path_factory.mktemp("gateway"))
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


def _migrate(gateway: CrashingGateway, to: Path) -> int:
    """`sealgate migrate` in a process that a trap can strike; its exit code."""
    command = [PROGRAM, "migrate", "--to", str(to), "--data", str(gateway.data), "--keys", str(gateway.keys), "--json"]
    return gateway.spawned(list(map(str, command))).wait(60)


def test_a_killed_migration_goes_on_and_never_leaves_two_live_stores(tmp_path: Path) -> None:
    gateway = CrashingGateway(tmp_path, {"SEALGATE_INLINE_MAX_BYTES": "1024"})
    gateway.start()
    try:
        s3 = s3_client(gateway)
        s3.create_bucket(Bucket="bucket")
        contents = {f"{number}": payload(number * 999, number) for number in range(12)}
        for key, content in contents.items():
            s3.put_object(Bucket="bucket", Key=key, Body=content)
        new, old = tmp_path / "elsewhere", gateway.data / "blobs"
        assert gateway.run("migrate", "--to", str(new)).returncode == 8, "a gateway serves"
        gateway.stop()
        for seam, number in (("blob", 1), ("blob", 5), ("copied", 1), ("compared", 1), ("released", 1)):
            gateway.arm(f"migrate.{seam}", number)
            assert _migrate(gateway, new) == -signal.SIGKILL
            claims = [place for place in (old, new) if (place / "realm").exists()]
            assert claims == ([] if seam == "released" else [old])
        with pytest.raises(GatewayFailed, match="sealgate migrate"):
            gateway.start()
        assert _migrate(gateway, new) == 0
        assert _migrate(gateway, new) == 0, "done is done"
        with pytest.raises(GatewayFailed, match="sealgate migrate"):
            gateway.start()
        old.rename(tmp_path / "away")
        gateway.set("SEALGATE_BLOBS", str(new))
        gateway.start()
        for key, content in contents.items():
            assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == content
        s3.put_object(Bucket="bucket", Key="more", Body=payload(5000))
        assert gateway.run("verify").returncode == 0
        assert json.loads(gateway.run("sweep", "--json", "--dry-run").stdout)
        s3.close()
    finally:
        gateway.close()
