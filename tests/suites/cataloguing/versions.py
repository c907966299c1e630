"""What every catalogue does: publishing, reading and deleting versions."""

from dataclasses import replace

import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Conditions, Deleted, DeleteVersion, Seen, VersionChange
from storage.catalogue.conflicts import ContentGone, NoSuchBucket, NoSuchVersion, PreconditionRefused
from storage.catalogue.records import NULL_VERSION_ID, BlobState, Versioning
from storage.errors import CatalogueConflict
from tests.suites.catalogue import BUCKET, MINUTE, OTHER, START, FakeClock, Maker


class VersionsSuite:
    @pytest.mark.parametrize("inline", [False, True])
    async def test_publish_and_read(self, ready: Catalogue, make: Maker, *, inline: bool) -> None:
        command = make.publish(b"dir/key \xff\x00", inline=inline)
        published = await ready.publish_version(command)
        assert published == replace(command.version, sequence=published.sequence)
        assert published.sequence > 0
        found = await ready.get_version(BUCKET.bucket_id, b"dir/key \xff\x00")
        assert found.version == published
        assert found.content == command.content
        bare = await ready.get_version(BUCKET.bucket_id, b"dir/key \xff\x00", NULL_VERSION_ID, with_content=False)
        assert (bare.version, bare.content) == (published, None)
        for key, version_id in ((b"dir/key", None), (b"dir/key \xff\x00", "0" * 32)):
            with pytest.raises(NoSuchVersion):
                await ready.get_version(BUCKET.bucket_id, key, version_id)
        with pytest.raises(NoSuchVersion):
            await ready.get_version(OTHER.bucket_id, b"dir/key \xff\x00")
        assert await ready.count_live_blobs() == (0 if inline else 1)
        await ready.verify()

    async def test_publish_without_bucket(self, ready: Catalogue, make: Maker) -> None:
        nowhere = replace(BUCKET, bucket_id=b"?" * 16)
        with pytest.raises(NoSuchBucket):
            await ready.publish_version(make.publish(b"key", bucket=nowhere))
        with pytest.raises(NoSuchBucket):
            await ready.delete_versions(nowhere.bucket_id, [DeleteVersion(b"key")])

    @pytest.mark.parametrize("inline", [False, True])
    async def test_overwriting_condemns_what_it_replaces(
        self, ready: Catalogue, make: Maker, clock: FakeClock, *, inline: bool
    ) -> None:
        first, second = make.publish(b"key", inline=inline), make.publish(b"key", etag="two")
        assert first.content is not None
        assert second.content is not None
        old, new = first.content.blobs[0].blob_id, second.content.blobs[0].blob_id
        before = await ready.publish_version(first)
        after = await ready.publish_version(second)
        assert after.sequence > before.sequence
        assert (await ready.get_version(BUCKET.bucket_id, b"key")).version.etag == "two"
        states = {new: BlobState.LIVE} | ({} if inline else {old: BlobState.CONDEMNED})
        assert await ready.blob_states([old, new]) == states
        assert await ready.list_condemned(clock(), 10) == ()
        clock.advance()
        assert await ready.list_condemned(clock(), 10) == (() if inline else (old,))
        assert await ready.count_live_blobs() == 1
        await ready.verify()

    async def test_time_never_goes_back(self, ready: Catalogue, make: Maker) -> None:
        late, early = make.publish(b"key"), make.publish(b"key")
        late = replace(late, version=replace(late.version, created_at=START + MINUTE))
        await ready.publish_version(late)
        assert (await ready.publish_version(early)).created_at == START + MINUTE
        assert (await ready.get_version(BUCKET.bucket_id, b"key")).version.created_at == START + MINUTE

    async def test_conditions_of_publishing(self, ready: Catalogue, make: Maker) -> None:
        absent, match, any_ = (
            Conditions(if_none_match_any=True),
            Conditions(if_match_etag="one"),
            Conditions(if_match_etag="*"),
        )
        for condition in (match, any_):
            with pytest.raises(NoSuchVersion):
                await ready.publish_version(make.publish(b"key", conditions=condition))
        await ready.publish_version(make.publish(b"key", etag="one", conditions=absent))
        with pytest.raises(PreconditionRefused):
            await ready.publish_version(make.publish(b"key", conditions=absent))
        await ready.publish_version(make.publish(b"key", etag="two", conditions=match))
        with pytest.raises(PreconditionRefused):
            await ready.publish_version(make.publish(b"key", conditions=match))
        await ready.publish_version(make.publish(b"key", etag="three", conditions=any_))
        assert (await ready.get_version(BUCKET.bucket_id, b"key")).version.etag == "three"
        assert await ready.count_live_blobs() == 1
        await ready.verify()

    async def test_delete(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        command = make.publish(b"key")
        assert command.content is not None
        await ready.publish_version(command)
        await ready.publish_version(make.publish(b"kept", etag="kept"))
        answers = await ready.delete_versions(
            BUCKET.bucket_id,
            [
                DeleteVersion(b"absent"),
                DeleteVersion(b"key", version_id="0" * 32),
                DeleteVersion(b"kept", conditions=Conditions(if_match_etag="other")),
                DeleteVersion(b"key"),
                DeleteVersion(b"key"),
                DeleteVersion(b"key", conditions=Conditions(if_match_etag="*")),
            ],
        )
        assert answers[0] == Deleted(b"absent")
        assert answers[1] == Deleted(b"key")
        assert isinstance(answers[2], PreconditionRefused)
        assert answers[3] == Deleted(b"key", removed_version_id=NULL_VERSION_ID)
        assert answers[4] == Deleted(b"key")
        assert isinstance(answers[5], NoSuchVersion)
        assert await ready.delete_versions(BUCKET.bucket_id, []) == ()
        clock.advance()
        assert await ready.list_condemned(clock(), 10) == (command.content.blobs[0].blob_id,)
        with pytest.raises(NoSuchVersion):
            await ready.get_version(BUCKET.bucket_id, b"key")
        assert (await ready.get_version(BUCKET.bucket_id, b"kept")).version.etag == "kept"
        await ready.verify()

    async def test_a_shared_content_lives_until_its_last_version_goes(
        self, ready: Catalogue, make: Maker, clock: FakeClock
    ) -> None:
        original = make.publish(b"original")
        assert original.content is not None
        content_id, blob_id = original.content.content_id, original.content.blobs[0].blob_id
        await ready.publish_version(original)
        copy = make.share(b"copy", content_id)
        assert copy.link is not None
        await ready.publish_version(copy)
        assert (await ready.get_version(BUCKET.bucket_id, b"copy")).content == original.content
        await ready.verify()
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"original")])
        assert (await ready.get_version(BUCKET.bucket_id, b"copy")).content == original.content
        assert await ready.blob_states([blob_id, copy.link.blob_id]) == {
            blob_id: BlobState.LIVE,
            copy.link.blob_id: BlobState.LIVE,
        }
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"copy")])
        clock.advance()
        assert set(await ready.list_condemned(clock(), 10)) == {blob_id, copy.link.blob_id}
        with pytest.raises(ContentGone):
            await ready.publish_version(make.share(b"late", content_id))
        assert await ready.count_live_blobs() == 0
        await ready.verify()

    async def test_a_copy_onto_itself_keeps_its_content(self, ready: Catalogue, make: Maker) -> None:
        original = make.publish(b"key", etag="one")
        assert original.content is not None
        await ready.publish_version(original)
        for etag in ("two", "three"):
            await ready.publish_version(make.share(b"key", original.content.content_id, etag=etag))
        found = await ready.get_version(BUCKET.bucket_id, b"key")
        assert found.content == original.content
        assert found.version.etag == "three"
        assert await ready.count_live_blobs() == 2
        await ready.verify()

    async def test_a_blob_is_used_once(self, ready: Catalogue, make: Maker) -> None:
        first, second = make.publish(b"one"), make.publish(b"two")
        assert first.content is not None
        assert second.content is not None
        await ready.publish_version(first)
        stolen = replace(second, content=replace(second.content, blobs=first.content.blobs))
        with pytest.raises(CatalogueConflict):
            await ready.publish_version(stolen)
        assert await ready.count_live_blobs() == 1
        await ready.verify()

    async def test_deletes_of_one_key_are_done_in_their_order(self, ready: Catalogue, make: Maker) -> None:
        await ready.set_versioning(BUCKET.bucket_id, Versioning.SUSPENDED)
        await ready.publish_version(make.publish(b"key", version_id=NULL_VERSION_ID))
        commands = [DeleteVersion(b"key", marker_id="0" * 32), DeleteVersion(b"key", NULL_VERSION_ID)] * 20
        answers = await ready.delete_versions(BUCKET.bucket_id, commands)
        made = Deleted(b"key", marker_version_id=NULL_VERSION_ID)
        removed = Deleted(b"key", removed_version_id=NULL_VERSION_ID, removed_a_marker=True)
        assert answers == (made, removed) * 20
        await ready.verify()

    async def test_what_waits_for_its_bytes_is_deleted_only_while_it_does(self, ready: Catalogue, make: Maker) -> None:
        waits = make.publish(b"key")
        waits = replace(waits, version=replace(waits.version, attributes={**waits.version.attributes, "pending": "id"}))
        command = DeleteVersion(b"key", NULL_VERSION_ID, pending="id")
        await ready.publish_version(waits)
        for refused in (replace(command, pending="other"), replace(command, version_id="0" * 32)):
            (answer,) = await ready.delete_versions(BUCKET.bucket_id, [refused])
            assert isinstance(answer, PreconditionRefused)
        await ready.update_version(BUCKET.bucket_id, b"key", None, VersionChange(tags=[("a", "b")]))
        assert await ready.delete_versions(BUCKET.bucket_id, [command]) == (
            Deleted(b"key", removed_version_id=NULL_VERSION_ID),
        )
        await ready.publish_version(make.publish(b"key"))
        (answer,) = await ready.delete_versions(BUCKET.bucket_id, [command])
        assert isinstance(answer, PreconditionRefused), "a client wrote it"
        await ready.get_version(BUCKET.bucket_id, b"key")

    async def test_what_a_job_judged_is_deleted_only_as_it_was(self, ready: Catalogue, make: Maker) -> None:
        seen = Seen.of(await ready.publish_version(make.publish(b"key")))
        judged = DeleteVersion(b"key", seen=seen)
        again = await ready.publish_version(make.publish(b"key"))
        (refused,) = await ready.delete_versions(BUCKET.bucket_id, [judged])
        assert isinstance(refused, PreconditionRefused), "the same ETag, but another version"
        tagged = await ready.update_version(BUCKET.bucket_id, b"key", None, VersionChange(tags=[("a", "b")]))
        (refused,) = await ready.delete_versions(BUCKET.bucket_id, [replace(judged, seen=Seen.of(again))])
        assert isinstance(refused, PreconditionRefused), "the tags are others"
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        above = await ready.publish_version(make.publish(b"key", version_id=make.version_id()))
        named = replace(judged, version_id=NULL_VERSION_ID)
        (refused,) = await ready.delete_versions(BUCKET.bucket_id, [replace(named, seen=Seen.of(tagged))])
        assert isinstance(refused, PreconditionRefused), "it was current and is not"
        found = (await ready.get_version(BUCKET.bucket_id, b"key", NULL_VERSION_ID)).version
        assert await ready.delete_versions(BUCKET.bucket_id, [replace(named, seen=Seen.of(found))]) == (
            Deleted(b"key", removed_version_id=NULL_VERSION_ID),
        )
        marker_id = make.version_id()
        current = replace(judged, seen=Seen.of(above), marker_id=marker_id)
        assert await ready.delete_versions(BUCKET.bucket_id, [current]) == (
            Deleted(b"key", marker_version_id=marker_id),
        )
        (refused,) = await ready.delete_versions(BUCKET.bucket_id, [current])
        assert isinstance(refused, PreconditionRefused), "a marker is laid once"
        (refused,) = await ready.delete_versions(BUCKET.bucket_id, [replace(judged, object_key=b"absent")])
        assert isinstance(refused, PreconditionRefused)
        await ready.verify()
