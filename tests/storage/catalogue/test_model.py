"""The SQLite catalogue and the one in memory do the same to the same commands, in any order that Hypothesis finds."""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from storage.catalogue.base import Catalogue
from storage.catalogue.commands import (
    Conditions,
    Deleted,
    DeleteVersion,
    HistoryQuery,
    ListQuery,
    UploadsQuery,
    VersionChange,
)
from storage.catalogue.conflicts import NoSuchVersion
from storage.catalogue.memory import MemoryCatalogue
from storage.catalogue.records import NULL_VERSION_ID, Part, Upload, Versioning
from storage.catalogue.replay import Replay, key_of
from storage.catalogue.rowlog import LOGGED
from storage.catalogue.sqlite import SqliteCatalogue
from storage.errors import CatalogueConflict
from tests.suites.catalogue import BUCKET, REALM, FakeClock, Maker, all_rows, populate

DATABASE_KEY = bytes(range(32))
ROW_MAC_KEY = bytes(range(32, 64))
KEYS = st.sampled_from([b"a", b"a/b", b"a/c", b"b", b"\xff/x"])
CONDITIONS = st.sampled_from(
    [Conditions(), Conditions(if_none_match_any=True), Conditions(if_match_etag="*"), Conditions(if_match_etag="e1")]
)
ETAGS = st.sampled_from(["e1", "e2"])
NUMBERS = st.integers(1, 3)
HOUR = timedelta(hours=1)


def comparable(answer: object) -> object:
    """Answers, and refusals by their kind."""
    if isinstance(answer, CatalogueConflict):
        return type(answer)
    if isinstance(answer, tuple) and all(isinstance(item, Deleted | CatalogueConflict) for item in answer):
        return tuple(comparable(item) if isinstance(item, CatalogueConflict) else item for item in answer)
    return answer


class CatalogueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.make = Maker(random.Random(4711))
        self.uploads: list[Upload] = []
        self.parts: dict[tuple[bytes, int], Part] = {}
        self.runner.run(self.start())

    async def start(self) -> None:
        self.memory: Catalogue = MemoryCatalogue(REALM, self.clock)
        self.sqlite: Catalogue = SqliteCatalogue.create(
            self.folder / "catalogue.db", REALM, DATABASE_KEY, ROW_MAC_KEY, self.clock, reserve_bytes=0
        )
        for catalogue in (self.memory, self.sqlite):
            await populate(catalogue)
            await catalogue.acquire_lease("sweep", "one", 1000 * HOUR)

    def teardown(self) -> None:
        self.runner.run(self.sqlite.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def fresh_id(self) -> str:
        """A version id that fits the bucket, most of the time."""
        bucket = self.runner.run(self.memory.get_bucket(BUCKET.name))
        return self.make.version_id() if bucket.versioning is Versioning.ENABLED else NULL_VERSION_ID

    def both(self, call: Callable[[Catalogue], Awaitable[object]]) -> object:
        """Ask both, compare, return the answer."""

        async def ask(catalogue: Catalogue) -> object:
            try:
                return await call(catalogue)
            except CatalogueConflict as refusal:
                return refusal

        expected = comparable(self.runner.run(ask(self.memory)))
        assert comparable(self.runner.run(ask(self.sqlite))) == expected
        return expected

    @rule(key=KEYS, etag=ETAGS, inline=st.booleans(), conditions=CONDITIONS)
    def publish(self, key: bytes, etag: str, inline: bool, conditions: Conditions) -> None:
        command = self.make.publish(key, etag=etag, inline=inline, conditions=conditions, version_id=self.fresh_id())
        self.both(lambda catalogue: catalogue.publish_version(command))

    @rule(status=st.sampled_from([Versioning.ENABLED, Versioning.SUSPENDED]))
    def set_versioning(self, status: Versioning) -> None:
        self.both(lambda catalogue: catalogue.set_versioning(BUCKET.bucket_id, status))

    @rule(kind=st.sampled_from(["cors", "policy"]), document=st.sampled_from([None, b"", b"x"]))
    def configure(self, kind: str, document: bytes | None) -> None:
        self.both(lambda catalogue: catalogue.put_configuration(BUCKET.bucket_id, kind, document))
        self.both(lambda catalogue: catalogue.get_configuration(BUCKET.bucket_id, kind))
        self.both(lambda catalogue: catalogue.get_bucket(BUCKET.name))

    @rule(data=st.data())
    def delete_a_version(self, data: st.DataObject) -> None:
        held = self.runner.run(self.memory.list_history(BUCKET.bucket_id, HistoryQuery())).versions
        if held:
            version = data.draw(st.sampled_from(held))
            command = DeleteVersion(version.object_key, version.version_id)
            self.both(lambda catalogue: catalogue.delete_versions(BUCKET.bucket_id, [command]))

    @rule(key=KEYS, tags=st.sampled_from([[], [("a", "b")]]))
    def tag(self, key: bytes, tags: list[tuple[str, str]]) -> None:
        self.both(lambda catalogue: catalogue.update_version(BUCKET.bucket_id, key, None, VersionChange(tags=tags)))

    @rule(source=KEYS, copy=KEYS)
    def share(self, source: bytes, copy: bytes) -> None:
        try:
            found = self.runner.run(self.memory.get_version(BUCKET.bucket_id, source))
        except NoSuchVersion:
            return
        if found.content is None:
            return
        command = self.make.share(copy, found.content.content_id)
        command = replace(command, version=replace(command.version, version_id=self.fresh_id()))
        self.both(lambda catalogue: catalogue.publish_version(command))

    @rule(keys=st.lists(KEYS, max_size=3), conditions=CONDITIONS)
    def delete(self, keys: list[bytes], conditions: Conditions) -> None:
        commands = [DeleteVersion(key, conditions=conditions, marker_id=self.make.version_id()) for key in keys]
        self.both(lambda catalogue: catalogue.delete_versions(BUCKET.bucket_id, commands))

    @rule(key=KEYS)
    def create_upload(self, key: bytes) -> None:
        upload = self.make.upload(key, created_at=self.clock())
        self.uploads.append(upload)
        self.both(lambda catalogue: catalogue.create_upload(upload))

    @rule(data=st.data(), number=NUMBERS)
    def put_part(self, data: st.DataObject, number: int) -> None:
        if self.uploads:
            upload = data.draw(st.sampled_from(self.uploads))
            part = self.make.part(upload, number)
            if self.both(lambda catalogue: catalogue.put_part(part)) is None:
                self.parts[upload.upload_id, number] = part

    @rule(data=st.data(), numbers=st.sets(NUMBERS, min_size=1), conditions=CONDITIONS)
    def complete(self, data: st.DataObject, numbers: set[int], conditions: Conditions) -> None:
        if self.uploads:
            upload = data.draw(st.sampled_from(self.uploads))
            parts = [self.parts.get((upload.upload_id, number)) or self.make.part(upload, number) for number in numbers]
            parts.sort(key=lambda part: part.part_number)
            command = self.make.complete(upload, *parts, conditions=conditions)
            command = replace(command, version=replace(command.version, version_id=self.fresh_id()))
            self.both(lambda catalogue: catalogue.complete_upload(command))

    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        if self.uploads:
            upload = data.draw(st.sampled_from(self.uploads))
            self.both(lambda catalogue: catalogue.abort_upload(BUCKET.bucket_id, upload.object_key, upload.upload_id))

    @rule()
    def forget_uploads(self) -> None:
        self.both(lambda catalogue: catalogue.forget_completed_uploads(self.clock()))

    @rule()
    def wait(self) -> None:
        self.clock.advance()

    @rule(limit=st.integers(1, 5))
    def sweep(self, limit: int) -> None:
        async def forget(catalogue: Catalogue) -> object:
            lease = await catalogue.acquire_lease("sweep", "one", 1000 * HOUR)
            condemned = await catalogue.list_condemned(self.clock(), limit)
            await catalogue.forget_condemned(condemned, lease)
            return condemned, await catalogue.blob_states(condemned)

        self.both(forget)

    @rule(
        prefix=st.sampled_from([b"", b"a", b"a/"]),
        after=KEYS,
        limit=st.integers(0, 3),
        delimiter=st.sampled_from([b"", b"/"]),
    )
    def list_page(self, prefix: bytes, after: bytes, limit: int, delimiter: bytes) -> None:
        self.both(
            lambda catalogue: catalogue.list_versions(BUCKET.bucket_id, ListQuery(prefix, delimiter, after, limit))
        )
        self.both(
            lambda catalogue: catalogue.list_history(
                BUCKET.bucket_id, HistoryQuery(prefix, delimiter, after, limit=limit)
            )
        )
        self.both(
            lambda catalogue: catalogue.list_uploads(
                BUCKET.bucket_id, UploadsQuery(prefix, delimiter, after, limit=limit)
            )
        )

    @invariant()
    def all_is_the_same(self) -> None:
        page = self.runner.run(self.memory.list_versions(BUCKET.bucket_id, ListQuery()))
        self.both(lambda catalogue: catalogue.list_versions(BUCKET.bucket_id, ListQuery()))
        for version in page.versions:
            key = version.object_key
            self.both(lambda catalogue, key=key: catalogue.get_version(BUCKET.bucket_id, key))  # type: ignore[misc]  # binds now
        self.both(lambda catalogue: catalogue.list_history(BUCKET.bucket_id, HistoryQuery()))
        self.both(lambda catalogue: catalogue.list_uploads(BUCKET.bucket_id, UploadsQuery()))
        for upload in self.uploads:
            self.both(lambda catalogue, upload=upload: catalogue.list_parts(upload.upload_id))  # type: ignore[misc]  # binds now
        self.both(lambda catalogue: catalogue.count_live_blobs())
        self.both(lambda catalogue: catalogue.list_condemned(self.clock() + HOUR, 1000))
        self.both(lambda catalogue: catalogue.read_changes(0, 1000))
        self.runner.run(self.sqlite.verify())
        self.runner.run(self.changes_rebuild_the_rows())

    async def changes_rebuild_the_rows(self) -> None:
        replay = Replay()
        for change in await self.sqlite.read_changes(0, 10_000):
            replay.apply(change.rows)
        for table in LOGGED:
            rows = await all_rows(self.sqlite, table)
            assert [replay.check(table, key_of(row), row) for row in rows] == [None] * replay.count(table)


TestCatalogueMachine = CatalogueMachine.TestCase
TestCatalogueMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
