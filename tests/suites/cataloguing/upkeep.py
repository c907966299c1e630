"""What every catalogue does: blobs, leases and the outbox."""

from dataclasses import replace
from datetime import timedelta

import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.commands import UPKEEP, Conditions, DeleteVersion, Lease, ListQuery
from storage.catalogue.conflicts import BlobCondemned, NoSuchVersion, PreconditionRefused
from storage.catalogue.records import BlobState, Notice, Versioning
from storage.errors import LeaseLost
from tests.suites.catalogue import BUCKET, MINUTE, START, FakeClock, Maker


class UpkeepSuite:
    async def test_leases(self, catalogue: Catalogue, clock: FakeClock) -> None:
        first = await catalogue.acquire_lease("sweep", "one", MINUTE)
        assert first == Lease("sweep", "one", 1, START + MINUTE)
        with pytest.raises(LeaseLost):
            await catalogue.acquire_lease("sweep", "two", MINUTE)
        named = await catalogue.acquire_lease("rewrap", "host:123:abcdef", MINUTE)
        assert named.epoch == 1
        # Who waits is told for whom, and for how long where that one is dead.
        ends = f"{named.expires_at + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"  # it has a part of a second
        with pytest.raises(LeaseLost, match=rf"^another holder \(host:123\) has the lease of 'rewrap': .* by {ends} "):
            await catalogue.acquire_lease("rewrap", "two", MINUTE)
        clock.advance(MINUTE / 2)
        renewed = await catalogue.acquire_lease("sweep", "one", MINUTE)
        assert (renewed.epoch, renewed.expires_at) == (1, clock.now + MINUTE)
        clock.advance()
        second = await catalogue.acquire_lease("sweep", "two", MINUTE)
        assert second.epoch == 2
        await catalogue.release_lease(first)
        with pytest.raises(LeaseLost):
            await catalogue.acquire_lease("sweep", "one", MINUTE)
        await catalogue.release_lease(second)
        await catalogue.release_lease(second)
        assert (await catalogue.acquire_lease("sweep", "one", MINUTE)).epoch == 3

    async def test_a_write_under_a_lease_is_refused_once_another_has_it(
        self, ready: Catalogue, make: Maker, clock: FakeClock
    ) -> None:
        held = await ready.acquire_lease("job", "one", MINUTE)
        under = Conditions(lease=held)
        upload = make.upload(b"parts")
        part = make.part(upload, 1)
        await ready.create_upload(upload)
        await ready.put_part(part)
        complete = replace(make.complete(upload, part), conditions=under)
        await ready.publish_version(replace(make.publish(b"key"), conditions=under))
        await ready.put_configuration(BUCKET.bucket_id, "kind", b"{}", held)
        clock.advance()
        for later in ("over", "of another"):
            if later == "of another":
                await ready.acquire_lease("job", "two", MINUTE)
            with pytest.raises(LeaseLost):
                await ready.publish_version(replace(make.publish(b"late"), conditions=under))
            with pytest.raises(LeaseLost):
                await ready.complete_upload(complete)
            with pytest.raises(LeaseLost):
                await ready.put_configuration(BUCKET.bucket_id, "kind", None, held)
            (refusal,) = await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", conditions=under)])
            assert isinstance(refusal, LeaseLost)
        assert [
            version.object_key for version in (await ready.list_versions(BUCKET.bucket_id, ListQuery())).versions
        ] == [b"key"]
        assert await ready.get_configuration(BUCKET.bucket_id, "kind") == b"{}"
        await ready.verify()

    async def test_orphans(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        lease = await ready.acquire_lease("sweep", "one", MINUTE)
        live = make.publish(b"live")
        late = make.publish(b"late")
        assert live.content is not None
        assert late.content is not None
        await ready.publish_version(live)
        live_id, late_id, loose_id = live.content.blobs[0].blob_id, late.content.blobs[0].blob_id, make.id()
        orphans = await ready.condemn_orphans([live_id, late_id, loose_id], lease)
        assert orphans == (late_id, loose_id)
        assert await ready.condemn_orphans([late_id], lease) == ()
        with pytest.raises(BlobCondemned):
            await ready.publish_version(late)
        with pytest.raises(NoSuchVersion):
            await ready.get_version(BUCKET.bucket_id, b"late")
        states = {live_id: BlobState.LIVE, late_id: BlobState.CONDEMNED, loose_id: BlobState.CONDEMNED}
        assert await ready.blob_states([live_id, late_id, loose_id, make.id()]) == states
        assert await ready.list_condemned(clock() + MINUTE, 1) == (min(late_id, loose_id),)
        await ready.forget_condemned([live_id, late_id], lease)
        assert await ready.blob_states([live_id, late_id]) == {live_id: BlobState.LIVE}
        await ready.verify()
        clock.advance()
        for refused in (ready.condemn_orphans([make.id()], lease), ready.forget_condemned([loose_id], lease)):
            with pytest.raises(LeaseLost):
                await refused
        stale = replace(lease, epoch=0, expires_at=clock.now + MINUTE)
        with pytest.raises(LeaseLost):
            await ready.condemn_orphans([make.id()], stale)
        assert await ready.blob_states([loose_id]) == {loose_id: BlobState.CONDEMNED}

    async def test_a_condemned_part_and_manifest_are_refused(self, ready: Catalogue, make: Maker) -> None:
        lease = await ready.acquire_lease("sweep", "one", MINUTE)
        upload = make.upload()
        part, lost = make.part(upload, 1), make.part(upload, 2)
        await ready.create_upload(upload)
        await ready.put_part(part)
        command = make.complete(upload, part)
        await ready.condemn_orphans([lost.blob.blob_id, command.manifest.blob_id], lease)
        for refused in (ready.put_part(lost), ready.complete_upload(command)):
            with pytest.raises(BlobCondemned):
                await refused
        assert await ready.list_parts(upload.upload_id) == (part,)
        await ready.complete_upload(make.complete(upload, part))
        await ready.verify()

    async def test_notices_stand_with_the_change_or_not_at_all(self, ready: Catalogue, make: Maker) -> None:
        def notice(name: str) -> Notice:
            return Notice("target", {"name": name, "nested": {"ü": ["☃", 1, None]}})

        async def told() -> list[tuple[str, tuple[Notice, ...]]]:
            changes = await ready.read_changes(before, 100)
            return [(change.kind, change.notices) for change in changes if change.notices]

        before = (await ready.read_changes(0, 1000))[-1].sequence
        await ready.publish_version(replace(make.publish(b"key"), notices=(notice("put"), notice("also"))))
        with pytest.raises(PreconditionRefused):
            await ready.publish_version(
                replace(make.publish(b"key", conditions=Conditions(if_none_match_any=True)), notices=(notice("no"),))
            )
        delete = DeleteVersion(b"key", removal_notices=(notice("gone"),), marker_notices=(notice("marked"),))
        await ready.delete_versions(BUCKET.bucket_id, [delete, delete])
        upload = make.upload()
        part = make.part(upload, 1)
        await ready.create_upload(upload)
        await ready.put_part(part)
        complete = replace(make.complete(upload, part), notices=(notice("completed"),))
        await ready.complete_upload(complete)
        await ready.complete_upload(complete)
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        marked = replace(delete, marker_id=make.version_id())
        await ready.delete_versions(BUCKET.bucket_id, [marked])
        await ready.delete_versions(BUCKET.bucket_id, [replace(delete, version_id=marked.marker_id)])
        assert await told() == [
            ("publish_version", (notice("put"), notice("also"))),
            ("delete_version", (notice("gone"),)),
            ("complete_upload", (notice("completed"),)),
            ("publish_version", (notice("marked"),)),
            ("delete_version", (notice("gone"),)),
        ]
        await ready.verify()

    async def test_cursors_only_go_on(self, ready: Catalogue) -> None:
        assert await ready.get_cursor("one") == 0
        await ready.set_cursor("one", 7)
        await ready.set_cursor("two", 3)
        await ready.set_cursor("one", 5)
        assert (await ready.get_cursor("one"), await ready.get_cursor("two")) == (7, 3)
        await ready.set_cursor("one", 8)
        assert await ready.get_cursor("one") == 8
        await ready.verify()

    async def test_the_outbox_tells_what_was_committed(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        start = (await ready.read_changes(0, 100))[-1].sequence
        command = make.publish(b"key\xff", inline=True)
        published = await ready.publish_version(command)
        with pytest.raises(PreconditionRefused):
            await ready.publish_version(make.publish(b"key\xff", conditions=Conditions(if_none_match_any=True)))
        clock.advance()
        upload = make.upload()
        part = make.part(upload, 4)
        await ready.create_upload(upload)
        await ready.put_part(part)
        await ready.complete_upload(make.complete(upload, part))
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key\xff"), DeleteVersion(b"absent")])
        changes = await ready.read_changes(start, 100)
        kinds = ["publish_version", "create_upload", "put_part", "complete_upload", "delete_version"]
        assert [change.kind for change in changes] == kinds
        assert [change.sequence for change in changes] == sorted({change.sequence for change in changes})
        assert [change.at for change in changes] == [START, *([START + MINUTE] * 4)]
        assert changes[0].sequence == published.sequence
        assert await ready.read_changes(changes[0].sequence, 2) == changes[1:3]

    async def test_what_tidies_up_is_told_too(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        start = (await ready.read_changes(0, 100))[-1].sequence
        lease = await ready.acquire_lease("sweep", "one", MINUTE)
        orphan = make.id()
        for _ in range(2):
            await ready.condemn_orphans([orphan], lease)
        for _ in range(2):
            await ready.forget_condemned([orphan], lease)
        assert [change.kind for change in await ready.read_changes(start, 10)] == [UPKEEP, UPKEEP]

    async def test_the_outbox_is_trimmed_by_who_has_the_lease(self, ready: Catalogue, clock: FakeClock) -> None:
        changes = await ready.read_changes(0, 100)
        lease = await ready.acquire_lease("journal", "one", MINUTE)
        assert await ready.trim_changes(changes[1].sequence, lease) == 2
        assert await ready.trim_changes(changes[1].sequence, lease) == 0
        assert await ready.read_changes(0, 100) == changes[2:]
        clock.advance()
        with pytest.raises(LeaseLost):
            await ready.trim_changes(changes[2].sequence, lease)
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        assert (await ready.read_changes(0, 100))[-1].sequence > changes[-1].sequence
        await ready.verify()

    async def test_inline_bytes_are_read_by_id(self, ready: Catalogue, make: Maker) -> None:
        inline, stored = make.publish(b"inline", inline=True), make.publish(b"stored")
        assert inline.content is not None
        assert stored.content is not None
        (held,), (other,) = inline.content.blobs, stored.content.blobs
        for command in (inline, stored):
            await ready.publish_version(command)
        asked = [held.blob_id, other.blob_id, make.id()]
        assert await ready.read_inline(asked) == {held.blob_id: held.inline}
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"inline")])
        assert await ready.read_inline(asked) == {}
