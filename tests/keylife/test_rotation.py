"""Rotation with the real process: under continuous reads and writes, killed in the middle, and proved by its report."""

import time
from collections.abc import Callable

import pytest

from tests.blackbox.clients import payload, s3_client
from tests.blackbox.process import Gateway
from tests.keylife.conftest import BUCKET, Traffic, fill, read_all, started, told, wait_until_it_runs


def content_of(name: str) -> bytes:
    """Small ones rest in the catalogue, every hundredth in the store."""
    number = int(name.partition("/")[2])
    return payload(50_000 if number % 100 == 0 else 64, number)


@pytest.mark.parametrize("wrapping", ["direct", "bucket-key"])
def test_rotation_under_reads_and_writes(make_gateway: Callable[..., Gateway], wrapping: str, full: bool) -> None:
    count = 10_000 if full else 200
    gateway = make_gateway(wrapping=wrapping)
    client = s3_client(gateway)
    client.create_bucket(Bucket=BUCKET)
    names = [f"o/{number}" for number in range(count)]
    fill(gateway, names, content_of)
    upload = client.create_multipart_upload(Bucket=BUCKET, Key="open")["UploadId"]
    with Traffic(gateway, names, content_of) as traffic:
        assert told(gateway, "key", "rotate", "alias/default")["version"] == "2"
        report = told(gateway, "key", "rewrap")
        assert (report["left_count"], report["failed_count"]) == (0, 0)
        assert report["moved_count"] >= count
        off = told(gateway, "key", "disable", "alias/default", "--version", "1")
        assert (off["left_count"], off["state"]) == (0, "disabled")
        time.sleep(0.5)
    described = told(gateway, "key", "describe", "alias/default")
    assert [version["state"] for version in described["version_states"]] == ["disabled", "enabled"]
    part = client.upload_part(Bucket=BUCKET, Key="open", UploadId=upload, PartNumber=1, Body=b"part")
    client.complete_multipart_upload(
        Bucket=BUCKET,
        Key="open",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    gateway.restart()  # no key is remembered
    read_all(gateway, {name: content_of(name) for name in names} | traffic.written | {"open": b"part"})
    assert told(gateway, "key", "retire", "alias/default", "--version", "1", "--destroy")["state"] == "destroyed"
    gateway.restart()
    read_all(gateway, {name: content_of(name) for name in names[::50]} | traffic.written)
    text = gateway.run("key", "rewrap").stdout.splitlines()
    assert text[-1] == "0 left"
    client.close()


@pytest.mark.own_catalogue
def test_killed_in_the_middle_it_goes_on(make_gateway: Callable[..., Gateway]) -> None:
    """The process dies while a throttled rewrap runs: everything opens, and the next one finishes."""
    gateway = make_gateway()
    client = s3_client(gateway)
    client.create_bucket(Bucket=BUCKET)
    names = [f"o/{number}" for number in range(200)]
    fill(gateway, names, content_of)
    told(gateway, "key", "rotate", "alias/default")
    rewrap = started(gateway, "key", "rewrap", "--rate", "10")
    wait_until_it_runs(gateway, rewrap)
    time.sleep(4)  # of the twenty that the rest takes
    gateway.kill()
    _, said = rewrap.communicate(timeout=30)
    assert rewrap.returncode == 8, said
    gateway.start()
    read_all(gateway, {name: content_of(name) for name in names})
    refused = told(gateway, "key", "retire", "alias/default", "--version", "1", code=3)
    assert "records are left under" in refused["error"]
    assert "sealgate key rewrap" in refused["error"]
    report = told(gateway, "key", "rewrap")
    assert report["left_count"] == 0
    assert 0 < report["moved_count"] < 200
    assert told(gateway, "key", "retire", "alias/default", "--version", "1")["state"] == "pending-deletion"
    gateway.restart()
    read_all(gateway, {name: content_of(name) for name in names})
    assert told(gateway, "verify")["verified_row_count"] > 200
    client.close()


def test_without_a_gateway_commands_run_here(gateway: Gateway) -> None:
    client = s3_client(gateway)
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="k", Body=b"x")
    client.close()
    gateway.stop()
    told(gateway, "key", "create", "--alias", "second")
    told(gateway, "key", "default", "second")
    report = told(gateway, "key", "rewrap", "alias/default", "--to", "alias/second")
    assert (report["left_count"], report["moved_count"]) == (0, 5)
    assert told(gateway, "key", "retire", "alias/default")["left_count"] == 0
    assert "default one" in told(gateway, "key", "retire", "alias/second", code=3)["error"]
    gateway.start()
    read_all(gateway, {"k": b"x"})
    states = {key["aliases"]: (key["state"], key["default"]) for key in told(gateway, "key", "list")["keys"]}
    assert states == {"alias/default": ("pending-deletion", False), "alias/second": ("enabled", True)}


def test_keys_rotate_by_their_age(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(key_rotation_days="0.00001", key_rotation_interval_s="1")
    client = s3_client(gateway)
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="k", Body=b"x")
    client.close()
    deadline = time.monotonic() + 60
    # The object, and root and canary in both files.
    while gateway.log.read_text().count("rewrapped: moved_count=5 ") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    gateway.stop()
    assert gateway.log.read_text().count("was rotated by its age") >= 2
    assert told(gateway, "key", "describe", "alias/default")["version_count"] >= 3
    assert told(gateway, "key", "rewrap", "alias/default")["left_count"] == 0


@pytest.mark.parametrize("command", ["disable", "retire"])
def test_a_key_that_the_realm_lies_under_comes_back(gateway: Gateway, command: str) -> None:
    """Nothing opens any more while it is off, and yet it is switched on, with a gateway and without."""
    client = s3_client(gateway)
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="k", Body=b"x")
    client.close()
    described = told(gateway, "key", "describe", "alias/default")
    if command == "retire":
        told(gateway, "key", "rotate", "alias/default")
        told(gateway, "key", "rewrap")
        told(gateway, "key", "retire", "alias/default", "--version", "1")
        assert told(gateway, "key", "enable", "alias/default", "--version", "1")["state"] == "enabled"
    assert told(gateway, "key", "disable", "alias/default", "--force")["state"] == "disabled"
    gateway.stop()
    refused = told(gateway, "account", "list", code=5)["error"]
    assert f"the realm root lies under it: run `sealgate key enable {described['key_id']}`" in refused
    assert told(gateway, "key", "list")["keys"][0]["state"] == "disabled"
    assert told(gateway, "key", "describe", "alias/default")["state"] == "disabled"
    assert told(gateway, "key", "enable", described["key_id"])["state"] == "enabled"
    gateway.start()
    read_all(gateway, {"k": b"x"})
