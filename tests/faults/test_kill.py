"""kill -9 between any two steps of every operation that writes: the real process over TLS, killed at named seams.

Each operation is first run once while its seams are recorded, then again for every reach of every seam in the record,
with the kill there; after each kill the gateway starts again and `World` compares everything with what was
acknowledged. FAULTS section 3: F1, F2, F3, F5. `--full` goes on with other sizes until 1,000 kills.
"""

import ast
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import MIB, multipart_etag, s3_client
from tests.faults.crashing import CrashingGateway
from tests.faults.world import BUCKET, Effects, Unanswered, Upload, Version, World, answered, new_version
from tests.tooling.places import ROOT

MIN_HITS: Final = 3
FULL_KILLS: Final = 1000
SEED: Final = 20_260
KIB: Final = 1024
SEAMS: Final = frozenset(
    {
        "blob.created",
        "blob.written",
        "blob.before_sync",
        "blob.synced",
        "blob.linked",
        "blob.durable",
        "catalogue.before_commit",
        "catalogue.committed",
        "complete.before_commit",
        "complete.committed",
        "copy.before_commit",
        "copy.committed",
        "delete.before_commit",
        "delete.committed",
        "part.before_commit",
        "part.committed",
        "put.before_commit",
        "put.blob_durable",
        "put.committed",
        "put.key_wrapped",
        "put.sealed",
        "sweep.condemned",
        "sweep.deleted",
        "upload.created",
    }
)
ELSEWHERE: Final = {
    "abandon.": "tests/faults/test_moving.py stops at each of them",
    "migrate.": "tests/faults/test_moving.py and tests/several/test_migrate.py stop migrations at them",
    "move.": "tests/faults/test_moving.py stops imports and exports at them",
    "fill.": "tests/faults/test_moving.py stops the sealing of an import that reads through at them",
    "first-start.": "tests/gateway/cli/test_bootstrap.py stops the first start at each of them",
    "blob.sen": "tests/faults/test_kill_s3.py stops at both",
    "catalogue.migrat": "tests/storage/catalogue/test_migration.py stops at both",
    "incident.": "tests/gateway/engine/test_life_kills.py stops at each of them",
    "realm.": "tests/gateway/wiring/test_realm.py stops at it",
    "reseal.": "tests/gateway/engine/test_life_kills.py stops at each of them",
    "rewrap.": "tests/gateway/engine/test_rewrap.py stops at each of them",
    "shred.": "tests/gateway/engine/test_life_kills.py stops at each of them",
    "journal.": "tests/faults/test_journal.py and tests/gateway/engine/journal stop at each of them",
    "backup.": "tests/gateway/engine/journal/test_backup.py stops at them",
    "restore.": "tests/gateway/engine/journal/test_backup.py stops at them",
    "packs.": "tests/gateway/engine/journal/test_packs.py stops at each of them",
    "recover.": "tests/gateway/cli/test_recover.py stops at each of them",
}


@dataclass
class Trial:
    """One operation, ready to be sent: what it sends, what it makes of keys, and what it makes of an upload."""

    send: Callable[[], Any]
    effects: Effects
    settle: Callable[[bool], None] = lambda _answered: None
    """Called after a restart (or an answer), when `effects` are settled."""


class Operations:
    """Every operation that writes. Each makes a new trial; sizes come from the seeded generator."""

    def __init__(self, world: World, s3: Any, seed: int) -> None:
        self._world = world
        self._s3 = s3
        self._random = random.Random(seed)
        self._names = itertools.count(1)

    def all(self) -> dict[str, Callable[[], Trial]]:
        """Every operation by its name."""
        return {
            "put, inline": lambda: self._put(self._new_key(), self._small()),
            "put, stored": lambda: self._put(self._new_key(), self._large()),
            "overwrite, inline": lambda: self._put("small", self._small()),
            "overwrite, stored": lambda: self._put("large", self._large()),
            "create upload": self._create_upload,
            "part": self._part,
            "part again": self._part_again,
            "complete": self._complete,
            "copy, inline": lambda: self._copy("small", self._new_key()),
            "copy, stored": lambda: self._copy("large", self._new_key()),
            "copy over, stored": lambda: self._copy("large", "small"),
            "delete": self._delete,
            "delete many": self._delete_many,
            "sweep": self._sweep,
        }

    def prepare(self) -> None:
        """Make what the operations stand on: two sources, and at most a handful of keys."""
        for key, data in (("small", self._small()), ("large", self._large())):
            if key not in self._world.keys or (key == "small") != (not self._world.keys[key].content):
                self._run(self._put(key, data))
        for key in [key for key in self._world.keys if key not in ("small", "large")][:-4]:
            self._s3.delete_object(Bucket=BUCKET, Key=key)
            self._world.acknowledge({key: None})
        while len(self._world.uploads) > 2:
            upload = self._world.uploads.pop(0)
            self._s3.abort_multipart_upload(Bucket=BUCKET, Key=upload.key, UploadId=upload.upload_id)

    def _run(self, trial: Trial) -> None:
        trial.send()
        self._world.acknowledge(trial.effects)
        trial.settle(True)

    def _new_key(self) -> str:
        return f"key/{next(self._names)}"

    def _small(self) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 100, 16 * KIB - 1, 16 * KIB)))

    def _large(self) -> bytes:
        return self._random.randbytes(self._random.choice((16 * KIB + 1, 300 * KIB, MIB, MIB + 1, 2 * MIB + 77)))

    def _put(self, key: str, data: bytes) -> Trial:
        version = new_version(data)

        def send() -> None:
            answer = answered(self._s3.put_object, Bucket=BUCKET, Key=key, Body=data, Metadata=dict(version.metadata))
            assert answer["ETag"] == version.etag

        return Trial(send, {key: version})

    def _create_upload(self) -> Trial:
        key = self._new_key()
        made: list[str] = []

        def send() -> None:
            made.append(answered(self._s3.create_multipart_upload, Bucket=BUCKET, Key=key)["UploadId"])

        def settle(_answered: bool) -> None:
            if not made:
                # Without an answer the client cannot know; what is there must be an upload that works.
                uploads = self._s3.list_multipart_uploads(Bucket=BUCKET, Prefix=key).get("Uploads", [])
                assert len(uploads) <= 1
                made.extend(upload["UploadId"] for upload in uploads)
            self._world.uploads += [Upload(key, upload_id) for upload_id in made]

        return Trial(send, {}, settle)

    def _new_upload(self, *, parts: int = 0) -> Upload:
        self._run(self._create_upload())
        upload = self._world.uploads[-1]
        for number in range(1, parts + 1):
            data = self._large() if number == parts else self._random.randbytes(5 * MIB)
            self._run(self._put_part(upload, number, data))
        return upload

    def _part(self) -> Trial:
        return self._put_part(self._new_upload(), 1, self._large())

    def _part_again(self) -> Trial:
        return self._put_part(self._new_upload(parts=1), 1, self._large())

    def _put_part(self, upload: Upload, number: int, data: bytes) -> Trial:
        etag = new_version(data).etag

        def send() -> None:
            answer = answered(
                self._s3.upload_part,
                Bucket=BUCKET,
                Key=upload.key,
                UploadId=upload.upload_id,
                PartNumber=number,
                Body=data,
            )
            assert answer["ETag"] == etag

        def settle(was_answered: bool) -> None:
            listed = self._s3.list_parts(Bucket=BUCKET, Key=upload.key, UploadId=upload.upload_id).get("Parts", [])
            found = {part["PartNumber"]: (part["Size"], part["ETag"]) for part in listed}.get(number)
            before = upload.parts.get(number)
            if found == (len(data), etag):
                upload.parts[number] = (data, etag)
            else:
                assert not was_answered, "an acknowledged part is lost"
                assert found == (None if before is None else (len(before[0]), before[1])), "neither before nor after"

        return Trial(send, {}, settle)

    def _complete(self) -> Trial:
        upload = self._new_upload(parts=self._random.choice((1, 1, 1, 2)))
        # One more part that Complete does not name.
        self._run(self._put_part(upload, 9, self._small()))
        chosen = {number: part for number, part in upload.parts.items() if number != 9}
        data = b"".join(data for data, _ in chosen.values())
        etag = multipart_etag(data, 5 * MIB) if len(chosen) > 1 else multipart_etag(data, max(len(data), 1))
        version = Version(data, etag, (), new_version(b"", blobs=len(chosen) + 1).content)
        parts = [{"PartNumber": number, "ETag": part_etag} for number, (_, part_etag) in chosen.items()]

        def send() -> None:
            answer = answered(
                self._s3.complete_multipart_upload,
                Bucket=BUCKET,
                Key=upload.key,
                UploadId=upload.upload_id,
                MultipartUpload={"Parts": parts},
            )
            assert answer["ETag"] == etag

        def settle(_answered: bool) -> None:
            # Object or upload, never neither, never both; and in either case the client's retry succeeds.
            uploads = self._s3.list_multipart_uploads(Bucket=BUCKET, Prefix=upload.key).get("Uploads", [])
            assert bool(uploads) != (self._world.keys.get(upload.key) == version)
            send()
            self._world.acknowledge({upload.key: version})
            self._world.uploads.remove(upload)

        return Trial(send, {upload.key: version}, settle)

    def _copy(self, source: str, key: str) -> Trial:
        copied = self._world.keys[source]
        link = new_version(b"", blobs=int(bool(copied.content)))
        version = Version(copied.data, copied.etag, copied.metadata, copied.content, link.content)

        def send() -> None:
            answer = answered(self._s3.copy_object, Bucket=BUCKET, Key=key, CopySource=f"{BUCKET}/{source}")
            assert answer["CopyObjectResult"]["ETag"] == version.etag

        return Trial(send, {key: version})

    def _delete(self) -> Trial:
        key = self._new_key()
        self._run(self._put(key, self._large()))
        return Trial(lambda: answered(self._s3.delete_object, Bucket=BUCKET, Key=key), {key: None})

    def _delete_many(self) -> Trial:
        keys = [self._new_key() for _ in range(3)]
        for key in keys:
            self._run(self._put(key, self._small() if key is keys[0] else self._large()))
        copied = self._new_key()
        self._run(self._copy(keys[1], copied))  # the shared content must outlive its first key

        def send() -> None:
            wanted = {"Objects": [{"Key": key} for key in keys]}
            answer = answered(self._s3.delete_objects, Bucket=BUCKET, Delete=wanted)
            assert {entry["Key"] for entry in answer["Deleted"]} == set(keys)

        return Trial(send, dict.fromkeys(keys))

    def _sweep(self) -> Trial:
        """An orphan, a condemned blob, and a live one that must stay."""
        self._run(self._delete())
        name = self._random.randbytes(16).hex()
        orphan = self._world.gateway.data / "blobs" / "b" / name[:2] / name[2:4] / name
        orphan.parent.mkdir(parents=True, exist_ok=True)
        orphan.write_bytes(self._random.randbytes(1000))
        self._world.age()

        return Trial(self._world.sweep, {})


class Driver:
    """Kills and compares."""

    def __init__(self, gateway: CrashingGateway, world: World) -> None:
        self.world = world
        self.operations = Operations(world, world.s3, SEED)
        self.hits: Counter[str] = Counter()
        self.kills = 0
        self._gateway = gateway

    def record(self, name: str) -> list[tuple[str, int]]:
        """Run an operation to its end and return every (seam, n-th reach) on its way."""
        self.operations.prepare()
        trial = self.operations.all()[name]()
        with self._gateway.recording() as reached:
            trial.send()
        self.world.acknowledge(trial.effects)
        trial.settle(True)
        counts: Counter[str] = Counter()
        steps = []
        for seam in reached:
            counts[seam] += 1
            steps.append((seam, counts[seam]))
        return steps

    def kill_at(self, name: str, seam: str, number: int) -> None:
        """Run an operation that dies at that seam, start again, compare everything."""
        self.operations.prepare()
        trial = self.operations.all()[name]()
        self._gateway.arm(seam, number)
        was_answered = True
        try:
            trial.send()
        except Unanswered:
            was_answered = False
        struck = self._gateway.disarm()
        if struck:
            self.hits[seam] += 1
            self.kills += 1
            self._gateway.start()
        assert struck or was_answered, "the gateway broke off without having been killed"
        if was_answered:
            self.world.acknowledge(trial.effects)
        else:
            self.world.settle(trial.effects)
        trial.settle(was_answered)
        self.world.check()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    gateway = CrashingGateway(
        tmp_path,
        {
            "SEALGATE_CONDEMNED_GRACE_S": "0",
            "SEALGATE_ORPHAN_GRACE_S": "3600",
            # The journal writes blobs, too: it rests while an operation's own steps are recorded and struck.
            "SEALGATE_JOURNAL_INTERVAL_S": "60",
        },
    )
    try:
        gateway.start()
        s3 = s3_client(gateway)
        s3.create_bucket(Bucket=BUCKET)
        yield Driver(gateway, World(gateway, s3))
        s3.close()
    finally:
        gateway.close()


def test_every_seam_in_the_source_is_listed() -> None:
    found = set()
    for package in ("gateway", "storage", "keys"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach":
                    argument = node.args[0]
                    assert isinstance(argument, ast.Constant), f"{path}: a seam's name is a literal"
                    found.add(str(argument.value))
    assert {name for name in found if not name.startswith(tuple(ELSEWHERE))} == SEAMS


def test_no_kill_loses_what_was_acknowledged(driver: Driver, full: bool, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    steps = {name: driver.record(name) for name in driver.operations.all()}
    for name, reached in steps.items():
        print(f"{name}: {' '.join(seam for seam, _ in reached)}")
    todo = [(name, *step) for name, reached in steps.items() for step in reached]
    orphans = 0
    for name, reached in steps.items():
        for seam, number in reached:
            driver.kill_at(name, seam, number)
        orphans += driver.world.check_sweep()["orphan_count"]
    for name, seam, number in todo * (FULL_KILLS if full else MIN_HITS - 1):
        if driver.kills >= FULL_KILLS:
            break
        if full or driver.hits[seam] < MIN_HITS:
            driver.kill_at(name, seam, number)
    orphans += driver.world.check_sweep()["orphan_count"]
    with capsys.disabled():
        print()
        for seam in sorted(SEAMS):
            print(f"{seam:<26}{driver.hits[seam]:>5} kills")
        print(f"{driver.kills} kills in {time.monotonic() - began:.0f} s; {orphans} orphans reclaimed; seed {SEED}")
    assert {seam for seam in SEAMS if driver.hits[seam] < MIN_HITS} == set()
    assert orphans > 0, "no kill left an orphan behind: they did not strike between two steps"
    assert driver.world.sweep(dry_run=True)["orphan_count"] == 0
    _leave_nothing(driver)


def _leave_nothing(driver: Driver) -> None:
    """With every object deleted and every upload aborted, one sweep empties the store."""
    world = driver.world
    for key in list(world.keys):
        world.s3.delete_object(Bucket=BUCKET, Key=key)
        world.acknowledge({key: None})
    for upload in world.uploads:
        world.s3.abort_multipart_upload(Bucket=BUCKET, Key=upload.key, UploadId=upload.upload_id)
    world.uploads.clear()
    world.check_sweep()
    assert world.blob_files() == []
    world.s3.delete_bucket(Bucket=BUCKET)
    with pytest.raises(ClientError, match="NoSuchBucket"):
        world.s3.list_objects_v2(Bucket=BUCKET)
