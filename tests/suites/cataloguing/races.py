"""What every catalogue does: commands that meet, and the end."""

import asyncio
from collections.abc import Awaitable

import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Conditions, DeleteVersion, ListQuery
from storage.catalogue.conflicts import BlobCondemned, BucketExists, ContentGone, NoSuchUpload, PreconditionRefused
from storage.catalogue.records import BlobState, Bucket, ObjectVersion
from storage.errors import CatalogueConflict, StorageUnavailable
from tests.suites.catalogue import ALICE, BUCKET, MINUTE, START, Maker


class RacesSuite:
    async def test_one_of_a_hundred_creates_wins(self, ready: Catalogue, make: Maker) -> None:
        condition = Conditions(if_none_match_any=True)
        commands = [make.publish(b"key", etag=str(number), conditions=condition) for number in range(100)]
        answers = await settle(*(ready.publish_version(command) for command in commands))
        assert refusals(answers, PreconditionRefused) == 99
        (winner,) = (answer for answer in answers if isinstance(answer, ObjectVersion))
        assert (await ready.get_version(BUCKET.bucket_id, b"key")).version == winner
        assert await ready.count_live_blobs() == 1
        await ready.check_live_blobs()
        await ready.verify()

    async def test_one_of_many_bucket_names_wins(self, ready: Catalogue, make: Maker) -> None:
        made = [Bucket(make.id(), "wanted", ALICE.account_id, START) for _ in range(20)]
        answers = await settle(*(ready.create_bucket(bucket, 100) for bucket in made))
        assert refusals(answers, BucketExists) == 19
        assert (await ready.get_bucket("wanted")).bucket_id in {bucket.bucket_id for bucket in made}

    @pytest.mark.parametrize("abort_first", [False, True])
    async def test_complete_or_abort(self, ready: Catalogue, make: Maker, *, abort_first: bool) -> None:
        for number in range(10):
            upload = make.upload(b"big%d" % number)
            part = make.part(upload, 1)
            await ready.create_upload(upload)
            await ready.put_part(part)
            calls: list[Awaitable[object]] = [
                ready.complete_upload(make.complete(upload, part)),
                ready.abort_upload(BUCKET.bucket_id, upload.object_key, upload.upload_id),
            ]
            answers = await settle(*(reversed(calls) if abort_first else calls))
            assert refusals(answers, NoSuchUpload) == 1
            completed = any(isinstance(answer, ObjectVersion) for answer in answers)
            page = await ready.list_versions(BUCKET.bucket_id, ListQuery(prefix=upload.object_key))
            assert len(page.versions) == completed
        await ready.verify()

    async def test_publish_or_sweep(self, ready: Catalogue, make: Maker) -> None:
        lease = await ready.acquire_lease("sweep", "one", MINUTE)
        for number in range(20):
            command = make.publish(b"key%d" % number)
            assert command.content is not None
            blob_id = command.content.blobs[0].blob_id
            calls: list[Awaitable[object]] = [ready.publish_version(command), ready.condemn_orphans([blob_id], lease)]
            answers = await settle(*(reversed(calls) if number % 2 else calls))
            swept = (blob_id,) in answers
            assert refusals(answers, BlobCondemned) == swept
            state = BlobState.CONDEMNED if swept else BlobState.LIVE
            assert await ready.blob_states([blob_id]) == {blob_id: state}
        await ready.verify()

    async def test_share_or_delete(self, ready: Catalogue, make: Maker) -> None:
        for number in range(20):
            original = make.publish(b"from%d" % number)
            assert original.content is not None
            await ready.publish_version(original)
            calls: list[Awaitable[object]] = [
                ready.publish_version(make.share(b"to%d" % number, original.content.content_id)),
                ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(original.version.object_key)]),
            ]
            answers = await settle(*(reversed(calls) if number % 2 else calls))
            shared = any(isinstance(answer, ObjectVersion) for answer in answers)
            assert refusals(answers, ContentGone) == (not shared)
            blob_id = original.content.blobs[0].blob_id
            state = BlobState.LIVE if shared else BlobState.CONDEMNED
            assert await ready.blob_states([blob_id]) == {blob_id: state}
        await ready.verify()

    async def test_parts_uploaded_together(self, ready: Catalogue, make: Maker) -> None:
        upload = make.upload()
        await ready.create_upload(upload)
        parts = [make.part(upload, 1 + number % 5) for number in range(50)]
        await asyncio.gather(*(ready.put_part(part) for part in parts))
        assert [part.part_number for part in await ready.list_parts(upload.upload_id)] == [1, 2, 3, 4, 5]
        assert await ready.count_live_blobs() == 5
        await ready.check_live_blobs()
        await ready.verify()

    async def test_close(self, ready: Catalogue, make: Maker) -> None:
        await asyncio.gather(ready.close(), ready.close())
        await ready.close()
        for refused in (
            ready.get_account(ALICE.account_id),
            ready.list_accounts(),
            ready.publish_version(make.publish(b"key")),
            ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key")]),
        ):
            with pytest.raises(StorageUnavailable):
                await refused


async def settle(*calls: Awaitable[object]) -> list[object]:
    """Run calls together; refusals are answers too, anything else is raised."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, CatalogueConflict):
            raise answer
    return list(answers)


def refusals(answers: list[object], kind: type[CatalogueConflict]) -> int:
    return sum(type(answer) is kind for answer in answers)
