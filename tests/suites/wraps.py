"""What every catalogue does with the wraps of the KMS: walk, move, replace contents. Beside `CatalogueSuite`."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.commands import (
    DeleteVersion,
    KeptWrap,
    Lease,
    MoveWraps,
    ReplaceContent,
    ReplacedVersion,
    VersionChange,
    WrapMove,
    WrapOwner,
    WrapsMark,
)
from storage.catalogue.conflicts import BlobCondemned, NoSuchVersion, WrapsChanged
from storage.catalogue.records import Blob, BlobRole, BlobState, Content, ObjectLock, RetentionMode, Versioning
from storage.errors import LeaseLost
from tests.suites.catalogue import BUCKET, MINUTE, OTHER, REALM, START, FakeClock, Maker

FAR = timedelta(hours=10)
LIVE, CONDEMNED = BlobState.LIVE, BlobState.CONDEMNED


def envelopes_blob(make: Maker) -> Blob:
    return replace(make.blob(BlobRole.ENVELOPES), wrapped_key=b"")


def move_of(wrap: KeptWrap, envelope: bytes, kms_key_id: str | None = None) -> WrapMove:
    upload_id = b"" if wrap.upload is None else wrap.upload.upload_id
    return WrapMove(wrap.owner, wrap.wrap_id, wrap.envelope, envelope, upload_id, kms_key_id)


async def all_wraps(catalogue: Catalogue, limit: int = 100) -> list[KeptWrap]:
    found: list[KeptWrap] = []
    mark: WrapsMark | None = WrapsMark()
    while mark is not None:
        page = await catalogue.list_wraps(mark, limit)
        found += page.wraps
        assert mark != page.next_mark, "the walk stands still"
        mark = page.next_mark
    return found


async def publish_whole(catalogue: Catalogue, make: Maker, object_key: bytes = b"whole") -> tuple[Content, Blob]:
    """A completed upload of two parts: its content and its manifest."""
    upload = make.upload(object_key)
    parts = [make.part(upload, number) for number in (1, 2)]
    await catalogue.create_upload(upload)
    for part in parts:
        await catalogue.put_part(part)
    command = make.complete(upload, *parts)
    await catalogue.complete_upload(command)
    return upload.content, command.manifest


class WrapsSuite:
    @pytest.fixture
    async def lease(self, ready: Catalogue) -> Lease:
        return await ready.acquire_lease("keys", "one", FAR)

    # Walks

    async def test_a_walk_finds_every_wrap(self, ready: Catalogue, make: Maker) -> None:
        await ready.set_versioning(OTHER.bucket_id, Versioning.ENABLED)
        first = make.publish(b"a")
        assert first.content is not None
        await ready.publish_version(first)
        shared = make.share(b"b", first.content.content_id)
        assert shared.link is not None
        await ready.publish_version(shared)
        versions = [make.publish(b"k", bucket=OTHER, version_id=make.version_id(), inline=True) for _ in range(3)]
        for command in versions:
            await ready.publish_version(command)
        await ready.delete_versions(OTHER.bucket_id, [DeleteVersion(b"k", marker_id=make.version_id())])
        whole, manifest = await publish_whole(ready, make)
        opened = make.upload(b"open")
        await ready.create_upload(opened)
        expected = [
            (WrapOwner.UPLOAD, opened.content.content_id, opened.content.wrapped_key, None),
            (WrapOwner.CONTENT, first.content.content_id, first.content.wrapped_key, b"a"),
            (WrapOwner.CONTENT, first.content.content_id, first.content.wrapped_key, b"b"),
            (WrapOwner.BLOB, shared.link.blob_id, shared.link.wrapped_key, b"b"),
            (WrapOwner.CONTENT, whole.content_id, whole.wrapped_key, b"whole"),
            (WrapOwner.BLOB, manifest.blob_id, manifest.wrapped_key, b"whole"),
            *(
                (WrapOwner.CONTENT, command.content.content_id, command.content.wrapped_key, b"k")
                for command in reversed(versions)
                if command.content is not None
            ),
            (WrapOwner.CONTENT, first.content.content_id, first.content.wrapped_key, b"b"),
        ]
        found: list[KeptWrap] = []
        for limit in (1, 2, 3, 4, 100):
            found = await all_wraps(ready, limit)
            told = [
                (wrap.owner, wrap.wrap_id, wrap.envelope, None if wrap.version is None else wrap.version.object_key)
                for wrap in found
            ]
            assert told == expected, limit
        assert [wrap.bucket_id for wrap in found] == [BUCKET.bucket_id] * 6 + [OTHER.bucket_id] * 3 + [BUCKET.bucket_id]
        assert found[0].upload == opened
        assert [wrap.blob for wrap in found if wrap.blob is not None] == [shared.link, manifest]
        for wrap in (found[2], found[-1]):
            assert wrap.version is not None
            assert wrap.version.attributes == shared.version.attributes

    async def test_a_content_that_goes_behind_the_mark_by_copies_is_found(self, ready: Catalogue, make: Maker) -> None:
        published = make.publish(b"z")
        assert published.content is not None
        content_id = published.content.content_id
        for command in (make.publish(b"m"), published):
            await ready.publish_version(command)
        page = await ready.list_wraps(WrapsMark(), 1)
        assert [wrap.wrap_id for wrap in page.wraps] != [content_id]
        held, hops = b"z", [b"a", b"b", b"c"]
        found: list[bytes] = []
        while page.next_mark is not None:
            if hops:  # ever before the mark
                await ready.publish_version(make.share(hops[0], content_id))
                await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(held)])
                held = hops.pop(0)
            page = await ready.list_wraps(page.next_mark, 1)
            found += [wrap.wrap_id for wrap in page.wraps]
        assert content_id in found

    async def test_an_upload_that_is_completed_behind_the_mark_is_found(self, ready: Catalogue, make: Maker) -> None:
        upload = make.upload(b"a")
        await ready.create_upload(upload)
        part = make.part(upload, 1)
        await ready.put_part(part)
        for object_key in (b"m", b"n"):
            await ready.publish_version(make.publish(object_key))
        found: list[bytes] = []
        mark: WrapsMark | None = WrapsMark()
        while mark is not None:
            page = await ready.list_wraps(mark, 1)
            found += [wrap.wrap_id for wrap in page.wraps]
            if len(found) == 2:
                await ready.complete_upload(make.complete(upload, part))
            mark = page.next_mark
        assert upload.content.content_id in found

    async def test_an_empty_catalogue_has_no_wraps(self, ready: Catalogue) -> None:
        page = await ready.list_wraps(WrapsMark(), 10)
        assert (page.wraps, page.next_mark) == ((), None)

    async def test_a_wrap_that_only_the_slot_has_comes_with_its_blob(self, ready: Catalogue, make: Maker) -> None:
        original = make.publish(b"a", inline=True)
        assert original.content is not None
        await ready.publish_version(original)
        share = make.share(b"b", original.content.content_id)
        link = replace(make.blob(BlobRole.LINK, inline=True), wrapped_key=b"")
        await ready.publish_version(replace(share, link=link))
        (wrap,) = [wrap for wrap in await all_wraps(ready) if wrap.owner is WrapOwner.BLOB]
        assert wrap.envelope == b""
        assert wrap.blob == link

    # Moves

    async def test_wraps_move_together(self, ready: Catalogue, make: Maker, lease: Lease) -> None:
        first = make.publish(b"a", inline=True)
        assert first.content is not None
        await ready.publish_version(first)
        await ready.publish_version(make.share(b"b", first.content.content_id))
        await publish_whole(ready, make)
        opened = make.upload(b"open")
        await ready.create_upload(opened)
        before = {wrap.wrap_id: wrap for wrap in await all_wraps(ready)}
        moves = [move_of(wrap, b"new " + wrap.wrap_id, "key-2") for wrap in before.values()]
        moves.append(WrapMove(WrapOwner.REALM, REALM, b"", b"root"))
        blob = envelopes_blob(make)
        moved = await ready.move_wraps(MoveWraps(blob, 7, tuple(moves)), lease)
        assert moved == tuple(move.wrap_id for move in moves)
        after = await all_wraps(ready)
        assert len(after) == len(before) + 2  # the shared content comes with both versions, and as one that is shared
        assert all(wrap.envelope == b"new " + wrap.wrap_id for wrap in after)
        (kept,) = await ready.list_envelopes()
        assert (kept.blob, kept.epoch, kept.wrap_count) == (blob, 7, len(moves))
        assert await ready.blob_states([blob.blob_id]) == {blob.blob_id: LIVE}
        fresh = make.publish(b"fresh")
        await ready.publish_version(fresh)
        assert fresh.content is not None
        wrap_ids = [wrap.wrap_id for wrap in after]
        asked = [fresh.content.content_id, *wrap_ids, *(make.id() for _ in range(100))]
        assert await ready.moved_wraps(asked) == set(wrap_ids), "neither one that was never moved, nor one not there"
        content = (await ready.get_version(BUCKET.bucket_id, b"a")).content
        assert content is not None
        assert (content.wrapped_key, content.kms_key_id) == (b"new " + content.content_id, "key-2")
        upload = await ready.get_upload(BUCKET.bucket_id, b"open", opened.upload_id)
        assert upload.content.wrapped_key == b"new " + upload.content.content_id
        await ready.verify()
        changes = await ready.read_changes(0, 100)
        assert [change.kind for change in changes].count("move_wraps") == 1

    async def test_what_changed_or_went_is_skipped(self, ready: Catalogue, make: Maker, lease: Lease) -> None:
        changed, *others = (make.publish(key) for key in (b"changed", b"gone", b"kept"))
        for command in (changed, *others):
            await ready.publish_version(command)
        assert changed.content is not None
        opened, aborted, completed = make.upload(b"u"), make.upload(b"u"), make.upload(b"v")
        for upload in (opened, aborted, completed):
            await ready.create_upload(upload)
        moves = [move_of(wrap, b"new") for wrap in await all_wraps(ready) if wrap.wrap_id != changed.content.content_id]
        moves.append(WrapMove(WrapOwner.CONTENT, changed.content.content_id, b"another", b"new"))
        moves.append(WrapMove(WrapOwner.BLOB, make.id(), b"", b"new"))
        moves.append(WrapMove(WrapOwner.CONTENT, make.id(), b"", b"new"))
        part = make.part(completed, 1)
        await ready.put_part(part)
        manifest = make.complete(completed, part)
        await ready.complete_upload(manifest)
        moves.append(WrapMove(WrapOwner.BLOB, manifest.manifest.blob_id, b"another", b"new"))
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"gone")])
        await ready.abort_upload(BUCKET.bucket_id, b"u", aborted.upload_id)
        moved = await ready.move_wraps(MoveWraps(envelopes_blob(make), 1, tuple(moves)), lease)
        kept = (await ready.get_version(BUCKET.bucket_id, b"kept")).content
        assert kept is not None
        assert set(moved) == {kept.content_id, opened.content.content_id}
        assert [entry.wrap_count for entry in await ready.list_envelopes()] == [2]
        await ready.verify()

    async def test_nothing_moved_leaves_no_envelopes(self, ready: Catalogue, make: Maker, lease: Lease) -> None:
        blob = envelopes_blob(make)
        move = WrapMove(WrapOwner.CONTENT, make.id(), b"", b"new")
        assert await ready.move_wraps(MoveWraps(blob, 1, (move,)), lease) == ()
        assert await ready.list_envelopes() == ()
        assert await ready.blob_states([blob.blob_id]) == {blob.blob_id: CONDEMNED}
        await ready.verify()

    async def test_the_last_wrap_to_leave_condemns_its_envelopes(
        self, ready: Catalogue, make: Maker, lease: Lease, clock: FakeClock
    ) -> None:
        for key in (b"a", b"b"):
            await ready.publish_version(make.publish(key))
        await publish_whole(ready, make)
        opened = make.upload(b"open")
        await ready.create_upload(opened)
        old, new, newest = (envelopes_blob(make) for _ in range(3))
        realm = WrapMove(WrapOwner.REALM, REALM, b"", b"root")
        moves = (*(move_of(wrap, b"1") for wrap in await all_wraps(ready)), realm)
        await ready.move_wraps(MoveWraps(old, 1, moves), lease)
        assert len(moves) == 6
        _, a, *_ = [move_of(wrap, b"2") for wrap in await all_wraps(ready)]
        await ready.move_wraps(MoveWraps(new, 2, (a, realm)), lease)
        counts = {kept.blob.blob_id: kept.wrap_count for kept in await ready.list_envelopes()}
        assert counts == {old.blob_id: 4, new.blob_id: 2}
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"b"), DeleteVersion(b"whole")])
        await ready.abort_upload(BUCKET.bucket_id, b"open", opened.upload_id)
        assert [kept.blob for kept in await ready.list_envelopes()] == [new]
        assert await ready.blob_states([old.blob_id]) == {old.blob_id: CONDEMNED}
        await ready.move_wraps(MoveWraps(newest, 3, (replace(a, expected=b"2", envelope=b"3"), realm)), lease)
        assert [kept.blob for kept in await ready.list_envelopes()] == [newest]
        clock.advance()
        soon = clock.now + MINUTE
        assert set(await ready.list_condemned(soon, 10, BlobRole.ENVELOPES)) == {old.blob_id, new.blob_id}
        assert len(await ready.list_condemned(soon, 10)) > 2
        await ready.verify()

    async def test_a_completed_upload_keeps_its_place_among_the_envelopes(
        self, ready: Catalogue, make: Maker, lease: Lease
    ) -> None:
        upload = make.upload()
        part = make.part(upload, 1)
        await ready.create_upload(upload)
        await ready.put_part(part)
        (wrap,) = await all_wraps(ready)
        await ready.move_wraps(MoveWraps(envelopes_blob(make), 1, (move_of(wrap, b"new"),)), lease)
        await ready.complete_upload(make.complete(upload, part))
        found = await ready.get_version(BUCKET.bucket_id, upload.object_key)
        assert found.content is not None
        assert found.content.wrapped_key == b"new"
        assert [kept.wrap_count for kept in await ready.list_envelopes()] == [1]
        completed = await ready.get_upload(BUCKET.bucket_id, upload.object_key, upload.upload_id)
        assert completed.content.wrapped_key == b"", "a wrap stands in one row"
        await ready.verify()

    @pytest.mark.parametrize("is_moved", [False, True])
    async def test_a_wrap_that_the_manifest_has_needs_no_envelopes(
        self, ready: Catalogue, make: Maker, lease: Lease, is_moved: bool
    ) -> None:
        upload = make.upload()
        part = make.part(upload, 1)
        await ready.create_upload(upload)
        await ready.put_part(part)
        (wrap,) = await all_wraps(ready)
        blob = envelopes_blob(make)
        await ready.move_wraps(MoveWraps(blob, 1, (move_of(wrap, b"new" if is_moved else wrap.envelope),)), lease)
        command = replace(make.complete(upload, part), manifest_wrap=wrap.envelope)
        await ready.complete_upload(command)
        found = await ready.get_version(BUCKET.bucket_id, upload.object_key)
        assert found.content is not None
        assert found.content.wrapped_key == (b"new" if is_moved else wrap.envelope)
        assert len(await ready.list_envelopes()) == is_moved, "one that was moved since is in no manifest"
        assert await ready.blob_states([blob.blob_id]) == {blob.blob_id: LIVE if is_moved else CONDEMNED}
        await ready.verify()

    async def test_moves_need_the_lease_and_a_blob_that_sweep_left(
        self, ready: Catalogue, make: Maker, lease: Lease
    ) -> None:
        await ready.publish_version(make.publish(b"a"))
        (wrap,) = await all_wraps(ready)
        command = MoveWraps(envelopes_blob(make), 1, (move_of(wrap, b"new"),))
        with pytest.raises(LeaseLost):
            await ready.move_wraps(command, replace(lease, epoch=lease.epoch + 1))
        await ready.condemn_orphans([command.envelopes.blob_id], lease)
        with pytest.raises(BlobCondemned):
            await ready.move_wraps(command, lease)
        assert await all_wraps(ready) == [wrap]
        await ready.verify()

    async def test_move_or_delete(self, ready: Catalogue, make: Maker, lease: Lease) -> None:
        for number in range(20):
            key = b"key%d" % number
            await ready.publish_version(make.publish(key))
            (wrap,) = await all_wraps(ready)
            calls = [
                ready.move_wraps(MoveWraps(envelopes_blob(make), number, (move_of(wrap, b"new"),)), lease),
                ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(key)]),
            ]
            await asyncio.gather(*(reversed(calls) if number % 2 else calls))
            assert await all_wraps(ready) == []
            assert await ready.list_envelopes() == ()
        await ready.verify()

    async def test_envelopes_are_listed_page_by_page(self, ready: Catalogue, make: Maker, lease: Lease) -> None:
        for number in range(5):
            await ready.publish_version(make.publish(b"key%d" % number))
        blobs = []
        for number, wrap in enumerate(await all_wraps(ready)):
            blobs.append(envelopes_blob(make))
            await ready.move_wraps(MoveWraps(blobs[-1], number, (move_of(wrap, b"new"),)), lease)
        first = await ready.list_envelopes(limit=3)
        rest = await ready.list_envelopes(first[-1].blob.blob_id, 3)
        assert [kept.blob for kept in (*first, *rest)] == sorted(blobs, key=lambda blob: blob.blob_id)

    # Envelopes with fewer entries

    async def test_an_envelopes_blob_is_replaced(self, ready: Catalogue, make: Maker, lease: Lease) -> None:
        for key in (b"a", b"b"):
            await ready.publish_version(make.publish(key))
        wraps = await all_wraps(ready)
        old, new = envelopes_blob(make), envelopes_blob(make)
        await ready.move_wraps(MoveWraps(old, 5, tuple(move_of(wrap, b"new") for wrap in wraps)), lease)
        ids = [wrap.wrap_id for wrap in wraps]
        with pytest.raises(WrapsChanged):
            await ready.replace_envelopes(old.blob_id, new, ids[:1], lease)
        with pytest.raises(WrapsChanged):
            await ready.replace_envelopes(make.id(), new, ids, lease)
        with pytest.raises(LeaseLost):
            await ready.replace_envelopes(old.blob_id, new, ids, replace(lease, epoch=99))
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"a")])
        await ready.replace_envelopes(old.blob_id, new, [*ids, make.id()], lease)
        (kept,) = await ready.list_envelopes()
        assert (kept.blob, kept.epoch, kept.wrap_count) == (new, 5, 1)
        assert await ready.blob_states([old.blob_id, new.blob_id]) == {old.blob_id: CONDEMNED, new.blob_id: LIVE}
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"b")])
        assert await ready.list_envelopes() == ()
        await ready.verify()

    # Contents

    async def test_versions_of_a_content(self, ready: Catalogue, make: Maker) -> None:
        original = make.publish(b"a")
        assert original.content is not None
        content_id = original.content.content_id
        first = await ready.publish_version(original)
        assert await ready.versions_of_content(content_id) == ((first, None),)
        share = make.share(b"b", content_id)
        assert share.link is not None
        copy = await ready.publish_version(share)
        found = await ready.versions_of_content(content_id)
        assert sorted(found, key=lambda pair: pair[0].sequence) == [(first, None), (copy, share.link.blob_id)]
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"a")])
        assert await ready.versions_of_content(content_id) == ((copy, share.link.blob_id),)
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"b")])
        assert await ready.versions_of_content(content_id) == ()

    async def test_a_content_is_replaced_under_all_its_versions(
        self, ready: Catalogue, make: Maker, lease: Lease
    ) -> None:
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await ready.enable_object_lock(BUCKET.bucket_id)
        lock = ObjectLock(RetentionMode.COMPLIANCE, START + FAR, legal_hold=True)
        original = make.publish(b"a", version_id=make.version_id(), lock=lock)
        assert original.content is not None
        old = original.content
        first = await ready.publish_version(original)
        share = make.share(b"b", old.content_id)
        second = await ready.publish_version(
            replace(share, version=replace(share.version, version_id=make.version_id()))
        )
        await ready.publish_version(make.publish(b"a", version_id=make.version_id()))
        wraps = {wrap.wrap_id: wrap for wrap in await all_wraps(ready)}
        await ready.move_wraps(MoveWraps(envelopes_blob(make), 1, (move_of(wraps[old.content_id], b"moved"),)), lease)
        new = make.content(make.blob())
        link = make.blob(BlobRole.LINK)
        seen = {version.object_key: version for version, _ in await ready.versions_of_content(old.content_id)}
        changes = (
            ReplacedVersion(seen[b"a"], {"checksum": "new"}),
            ReplacedVersion(seen[b"b"], {"checksum": "new"}, link),
        )
        command = ReplaceContent(old.content_id, new, changes)
        for refused in (
            replace(command, versions=changes[:1]),
            replace(command, content_id=make.id()),
            replace(command, versions=(changes[0], replace(changes[1], link=None))),
            replace(command, versions=(replace(changes[0], seen=replace(first, sequence=10**6)), changes[1])),
            replace(command, versions=(replace(changes[0], seen=replace(first, attributes={})), changes[1])),
        ):
            with pytest.raises(WrapsChanged):
                await ready.replace_content(refused, lease)
        with pytest.raises(LeaseLost):
            await ready.replace_content(command, replace(lease, epoch=99))
        await ready.replace_content(command, lease)
        for before in (first, second):
            found = await ready.get_version(before.bucket_id, before.object_key, before.version_id)
            is_latest = before.object_key == b"b"
            wanted = replace(before, content_id=new.content_id, attributes={"checksum": "new"}, is_latest=is_latest)
            assert found.version == wanted
            assert found.content == new
        assert share.link is not None
        gone = [old.blobs[0].blob_id, share.link.blob_id]
        assert await ready.blob_states(gone) == dict.fromkeys(gone, CONDEMNED)
        assert await ready.list_envelopes() == ()
        await ready.verify()
        assert [change.kind for change in await ready.read_changes(0, 100)][-1] == "replace_content"
        # The copy goes with its new link; what is locked stays.
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"b", second.version_id)])
        assert await ready.blob_states([link.blob_id]) == {link.blob_id: CONDEMNED}
        await ready.verify()

    async def test_a_version_changed_meanwhile_keeps_its_content(
        self, ready: Catalogue, make: Maker, lease: Lease
    ) -> None:
        original = make.publish(b"a")
        assert original.content is not None
        await ready.publish_version(original)
        ((seen, _),) = await ready.versions_of_content(original.content.content_id)
        await ready.update_version(BUCKET.bucket_id, b"a", None, VersionChange(tags=[("k", "v")]))
        command = ReplaceContent(
            original.content.content_id, make.content(make.blob()), (ReplacedVersion(seen, seen.attributes),)
        )
        with pytest.raises(WrapsChanged):
            await ready.replace_content(command, lease)
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"a")])
        with pytest.raises(WrapsChanged):
            await ready.replace_content(command, lease)
        with pytest.raises(NoSuchVersion):
            await ready.get_version(BUCKET.bucket_id, b"a")
        await ready.verify()
