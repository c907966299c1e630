"""`sealgate migrate --catalogue`: a real gateway's catalogue goes into PostgreSQL, killed on the way at every point."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import MIB, payload, s3_client
from tests.blackbox.process import PROGRAM, GatewayFailed
from tests.faults.crashing import CrashingGateway
from tests.tooling.postgresql import PostgresServer, postgres_settings

SEAMS = ("filled", "aside", "committed")


def _fill(s3: Any) -> None:
    for name in ("plain", "history", "empty"):
        s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket="history", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_tagging(Bucket="empty", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    for number in range(60):
        s3.put_object(Bucket="plain", Key=f"k/{number:03}-ä", Body=payload(number, number), Metadata={"n": str(number)})
    for number in range(3):
        s3.put_object(Bucket="history", Key="x", Body=b"%d" % number, Tagging="t=1")
    s3.delete_object(Bucket="history", Key="x")
    s3.copy_object(Bucket="plain", Key="copy", CopySource="plain/k/059-ä")
    for key, is_completed in (("parts", True), ("open", False)):
        upload = s3.create_multipart_upload(Bucket="plain", Key=key)["UploadId"]
        named = {"Bucket": "plain", "Key": key, "UploadId": upload}
        part = s3.upload_part(PartNumber=1, Body=payload(MIB), **named)
        if is_completed:
            s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}, **named)


def _told(s3: Any) -> list[Any]:
    """Everything that listings and configurations say, without what is of one answer."""
    answers = [s3.list_buckets()]
    for bucket in ("plain", "history", "empty"):
        answers += [s3.list_objects_v2(Bucket=bucket), s3.list_object_versions(Bucket=bucket)]
        answers += [s3.list_multipart_uploads(Bucket=bucket), s3.get_bucket_versioning(Bucket=bucket)]
    answers += [s3.get_bucket_tagging(Bucket="empty"), s3.head_object(Bucket="plain", Key="k/007-ä")]
    for answer in answers:
        del answer["ResponseMetadata"]
    return answers


def _migrate(gateway: CrashingGateway) -> int:
    command = [PROGRAM, "migrate", "--catalogue", "--data", gateway.data, "--keys", gateway.keys]
    return gateway.spawned(list(map(str, command))).wait(120)


def test_a_catalogue_moves_into_postgresql_whole(server: PostgresServer, tmp_path: Path) -> None:
    server.create_database("moved")
    gateway = CrashingGateway(tmp_path)
    gateway.start()
    try:
        s3 = s3_client(gateway)
        _fill(s3)
        before = _told(s3)
        gateway.kill()  # its log waits to be written back
        assert _migrate(gateway) == 3, "no database is named"
        for name, value in postgres_settings(server, "moved", tmp_path).items():
            gateway.set(name, value)
        for seam in SEAMS:
            gateway.arm(f"migrate.catalogue_{seam}", 1)
            assert _migrate(gateway) == -signal.SIGKILL, gateway.log_tail()
            assert (gateway.data / "catalogue" / "catalogue.db").exists() == (seam == "filled")
        assert _migrate(gateway) == 0, gateway.log_tail()
        assert _migrate(gateway) == 3, "done is done"
        gateway.start()
        assert _told(s3) == before
        for number in (0, 30, 59):
            got = s3.get_object(Bucket="plain", Key=f"k/{number:03}-ä")
            assert got["Body"].read() == payload(number, number)
        s3.put_object(Bucket="plain", Key="new", Body=b"new")
        s3.delete_object(Bucket="plain", Key="copy")
        assert gateway.run("verify").returncode == 0
        gateway.stop()
        gateway.set("SEALGATE_CATALOGUE", "sqlite")
        with pytest.raises(GatewayFailed, match="is missing"):
            gateway.start()
        s3.close()
    finally:
        gateway.close()


def test_a_database_with_another_catalogue_is_left_alone(server: PostgresServer, tmp_path: Path) -> None:
    server.create_database("taken")
    other = CrashingGateway(tmp_path / "other", postgres_settings(server, "taken", tmp_path))
    other.start()
    gateway = CrashingGateway(tmp_path / "mine")
    gateway.start()
    try:
        s3 = s3_client(other)
        s3.create_bucket(Bucket="theirs")
        gateway.stop()
        for name, value in postgres_settings(server, "taken", tmp_path).items():
            gateway.set(name, value)
        assert _migrate(gateway) not in (0, 1)
        assert (gateway.data / "catalogue" / "catalogue.db").exists()
        assert s3.list_buckets()["Buckets"][0]["Name"] == "theirs"
        s3.close()
    finally:
        other.close()
        gateway.close()
