"""Power loss under the real gateway: data, catalogue, keys and realm on a disk that forgets what was not synced.

The operations, the seams and the checker are those of `test_kill`; here a seam that strikes takes the power away, too,
and each operation also loses it right after its answer. Each is tried with nothing left but what was synced, and with
any part of the rest, by a seed. FAULTS section 3, F6.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import payload, s3_client
from tests.blackbox.process import Credentials, GatewayFailed
from tests.faults.power.disk import PoweredGateway
from tests.faults.test_journal import check_journal
from tests.faults.test_kill import Driver
from tests.faults.world import BUCKET, World

pytestmark = pytest.mark.slow

_SETTINGS: Final = {
    "SEALGATE_CONDEMNED_GRACE_S": "0",
    "SEALGATE_ORPHAN_GRACE_S": "3600",
    # The journal writes blobs, too: it rests while an operation's own steps are recorded and struck.
    "SEALGATE_JOURNAL_INTERVAL_S": "60",
}
OPERATIONS: Final = (
    *("put, inline", "put, stored", "overwrite, inline", "overwrite, stored", "create upload", "part", "part again"),
    *("complete", "copy, inline", "copy, stored", "copy over, stored", "delete", "delete many", "sweep"),
)
BY_CHANCE: Final = {"blob.written"}
"""Reached where a body comes in several pieces, which time decides."""
LARGE: Final = payload(300 * 1024 + 7)
FIRST_START: Final = (
    *("first-start.marked", "first-start.keyring", "first-start.realm-copy", "first-start.realm", "first-start.tls"),
    *("first-start.catalogue", "first-start.stores"),
)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[PoweredGateway]:
    gateway = PoweredGateway(tmp_path, _SETTINGS)
    try:
        yield gateway
    finally:
        gateway.close()


@pytest.fixture
def world(gateway: PoweredGateway) -> Iterator[World]:
    gateway.start()
    s3 = s3_client(gateway)
    s3.create_bucket(Bucket=BUCKET)
    yield World(gateway, s3)
    s3.close()


def cut_after(driver: Driver, gateway: PoweredGateway, name: str) -> None:
    """Run an operation to its answer, cut the power, and compare everything."""
    driver.operations.prepare()
    trial = driver.operations.all()[name]()
    trial.send()
    gateway.cut()
    driver.world.acknowledge(trial.effects)
    trial.settle(True)
    driver.world.check()


@pytest.mark.parametrize("rounds", [("strict",), ("drawn", "drawn")], ids=["strict", "drawn"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_power_loss_loses_what_was_acknowledged(
    gateway: PoweredGateway, world: World, name: str, rounds: tuple[str, ...], seed: int
) -> None:
    chance = random.Random(seed)
    driver = Driver(gateway, world)
    steps = driver.record(name)
    for kind in rounds:
        gateway.seed = chance.randrange(2**32) if kind == "drawn" else None
        for seam, number in steps:
            driver.kill_at(name, seam, number)
        cut_after(driver, gateway, name)
        world.check_sweep()
    assert driver.hits.keys() | BY_CHANCE == {seam for seam, _ in steps} | BY_CHANCE
    assert gateway.disk.lost > 0, "the cuts took nothing away"
    assert world.sweep(dry_run=True)["orphan_count"] == 0
    print(f"{gateway.disk.cuts} cuts took {gateway.disk.lost} writes and names away")


def test_every_operation_is_tried(gateway: PoweredGateway, world: World) -> None:
    assert tuple(Driver(gateway, world).operations.all()) == OPERATIONS


@pytest.mark.parametrize("is_drawn", [False, True], ids=["strict", "drawn"])
@pytest.mark.parametrize("seam", FIRST_START)
def test_a_first_start_that_lost_the_power_goes_on(
    gateway: PoweredGateway, seam: str, is_drawn: bool, seed: int
) -> None:
    gateway.seed = seed if is_drawn else None
    gateway.arm(seam, 1)
    with pytest.raises(GatewayFailed, match="left with -9"):
        gateway.start()
    gateway.disk.cut(gateway.seed)
    gateway.start()
    s3 = s3_client(gateway)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="first", Body=LARGE)
    gateway.cut()
    assert s3.get_object(Bucket=BUCKET, Key="first")["Body"].read() == LARGE
    s3.close()


@dataclass(frozen=True)
class Row:
    """A change that is answered, and what is seen of it from then on."""

    change: Callable[[], object]
    look: Callable[[], object]
    wanted: object


def configured(gateway: PoweredGateway, s3: Any) -> dict[str, Row]:
    """Changes to buckets, accounts and keys, to be made in this order."""
    policy = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObjectAcl",'
        f'"Resource":"arn:aws:s3:::{BUCKET}/*"}}]}}'
    )
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 9}}
    tags = [{"Key": "a", "Value": "b"}]
    accounts: list[Credentials] = []

    def run(*words: str) -> str:
        done = gateway.run("key", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def key() -> Any:
        return json.loads(run("describe", "alias/default", "--json"))

    def buckets(client: Any) -> list[str]:
        return [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]

    def buckets_of_another() -> list[str]:
        other = s3_client(gateway, accounts[0])
        try:
            return buckets(other)
        finally:
            other.close()

    def put(name: str) -> None:
        s3.put_object(Bucket=BUCKET, Key=name, Body=LARGE)

    def is_whole(name: str) -> bool:
        return bool(s3.get_object(Bucket=BUCKET, Key=name)["Body"].read() == LARGE)

    return {
        "object": Row(lambda: put("before"), lambda: is_whole("before"), True),
        "tags": Row(
            lambda: s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tags}),
            lambda: s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"],
            tags,
        ),
        "versioning": Row(
            lambda: s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}),
            lambda: s3.get_bucket_versioning(Bucket=BUCKET)["Status"],
            "Enabled",
        ),
        "policy": Row(
            lambda: s3.put_bucket_policy(Bucket=BUCKET, Policy=policy),
            lambda: s3.get_bucket_policy(Bucket=BUCKET)["Policy"],
            policy,
        ),
        "lifecycle": Row(
            lambda: s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]}),
            lambda: s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"],
            [rule],
        ),
        "account": Row(lambda: accounts.append(gateway.create_account("another")), buckets_of_another, []),
        "another bucket": Row(lambda: s3.create_bucket(Bucket="another"), lambda: buckets(s3), ["another", BUCKET]),
        "rotation": Row(lambda: run("rotate", "alias/default"), lambda: key()["version_count"], 2),
        "object under the new version": Row(lambda: put("after"), lambda: is_whole("after"), True),
        "rewrap": Row(lambda: run("rewrap"), lambda: is_whole("before"), True),
        "old version off": Row(
            lambda: run("disable", "alias/default", "--version", "1"),
            lambda: key()["version_states"][0]["state"],
            "disabled",
        ),
        "deletion": Row(
            lambda: s3.delete_object(Bucket=BUCKET, Key="after"),
            lambda: [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]],
            ["before"],
        ),
    }


def test_configuration_accounts_and_keys_are_durable_when_answered(gateway: PoweredGateway, world: World) -> None:
    rows = configured(gateway, world.s3)
    done: dict[str, Row] = {}
    for name, row in rows.items():
        row.change()
        gateway.cut()
        if name == "deletion":
            del done["object under the new version"]
        done[name] = row
        for earlier, seen in done.items():
            assert seen.look() == seen.wanted, f"{earlier} after a power loss that followed {name}"


def test_what_was_answered_survives_the_power_and_the_catalogue(tmp_path: Path) -> None:
    gateway = PoweredGateway(tmp_path, {"SEALGATE_JOURNAL": "sync", "SEALGATE_JOURNAL_INTERVAL_S": "0.05"})
    try:
        gateway.start()
        check_journal(gateway)
    finally:
        gateway.close()


@pytest.mark.parametrize("command", ["recover", "restore"])
def test_what_brings_a_catalogue_back_is_durable_when_it_ends(
    gateway: PoweredGateway, world: World, command: str
) -> None:
    driver = Driver(gateway, world)
    driver.operations.prepare()
    cut_after(driver, gateway, "complete")
    backup = str(gateway.disk.folder / "backup")
    words = (command, backup) if command == "restore" else (command,)
    if command == "restore":
        assert_done(gateway, "backup", backup)
        gateway.cut()
    gateway.stop()
    shutil.rmtree(gateway.data / "catalogue")
    assert_done(gateway, *words)
    gateway.disk.cut(None)
    gateway.start()
    world.check()


def assert_done(gateway: PoweredGateway, *words: str) -> None:
    done = gateway.run(*words)
    assert done.returncode == 0, done.stderr


# The tester: a disk that lies about one kind of sync must be found out, else what passes above says nothing.


@pytest.mark.parametrize("part", ["/blobs/b/", "/catalogue/"])
def test_a_file_that_was_never_synced_is_noticed(gateway: PoweredGateway, world: World, part: str) -> None:
    gateway.disk.go_deaf("file", part)
    assert_lost(gateway, world)


def test_a_folder_that_was_never_synced_is_noticed(gateway: PoweredGateway, world: World) -> None:
    gateway.disk.go_deaf("folder", "/blobs/b/")
    assert_lost(gateway, world)


def test_keys_whose_names_were_never_synced_are_noticed(gateway: PoweredGateway) -> None:
    gateway.disk.go_deaf("folder", "/keys")
    gateway.start()
    with pytest.raises(GatewayFailed):
        gateway.cut()


def assert_lost(gateway: PoweredGateway, world: World) -> None:
    driver = Driver(gateway, world)
    with pytest.raises((AssertionError, ClientError, GatewayFailed)):
        cut_after(driver, gateway, "put, stored")
