"""What every catalogue does: multipart uploads."""

from dataclasses import replace

import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Conditions, UploadsQuery
from storage.catalogue.conflicts import NoSuchBucket, NoSuchUpload, NoSuchVersion, PartsChanged, PreconditionRefused
from storage.catalogue.records import Upload
from storage.errors import CatalogueConflict
from tests.suites.catalogue import BUCKET, MINUTE, OTHER, START, FakeClock, Maker


class UploadsSuite:
    async def test_multipart(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        upload = make.upload()
        await ready.create_upload(upload)
        assert await ready.get_upload(BUCKET.bucket_id, b"big", upload.upload_id) == upload
        for bucket_id, key, upload_id in (
            (OTHER.bucket_id, b"big", upload.upload_id),
            (BUCKET.bucket_id, b"bigger", upload.upload_id),
            (BUCKET.bucket_id, b"big", b"?" * 16),
        ):
            with pytest.raises(NoSuchUpload):
                await ready.get_upload(bucket_id, key, upload_id)
        parts = [make.part(upload, number) for number in (3, 1, 2, 7)]
        for part in parts:
            await ready.put_part(part)
        replaced, parts[1] = parts[1], make.part(upload, 1)
        await ready.put_part(parts[1])
        third, first, second, seventh = parts
        assert await ready.list_parts(upload.upload_id) == (first, second, third, seventh)
        assert await ready.list_parts(upload.upload_id, after=1, limit=2) == (second, third)
        assert await ready.count_live_blobs() == 4
        await ready.check_live_blobs()
        await ready.verify()
        with pytest.raises(PartsChanged):
            await ready.complete_upload(make.complete(upload, replaced, second))
        with pytest.raises(PartsChanged):
            await ready.complete_upload(make.complete(upload, first, make.part(upload, 9)))
        with pytest.raises(NoSuchVersion):
            await ready.complete_upload(make.complete(upload, first, conditions=Conditions(if_match_etag="x")))
        command = make.complete(upload, first, second)
        published = await ready.complete_upload(command)
        found = await ready.get_version(BUCKET.bucket_id, b"big")
        assert found.version == published
        assert found.content == replace(upload.content, blobs=(first.blob, second.blob, command.manifest))
        clock.advance()
        gone = {replaced.blob.blob_id, third.blob.blob_id, seventh.blob.blob_id}
        assert set(await ready.list_condemned(clock(), 10)) == gone
        assert await ready.count_live_blobs() == 3
        await ready.check_live_blobs()
        await ready.verify()

    async def test_complete_can_be_repeated(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        upload = make.upload()
        part = make.part(upload, 1)
        await ready.create_upload(upload)
        await ready.put_part(part)
        published = await ready.complete_upload(make.complete(upload, part))
        again = make.complete(upload, part)
        assert await ready.complete_upload(again) == published
        assert (await ready.get_upload(BUCKET.bucket_id, b"big", upload.upload_id)).completed == published
        clock.advance()
        assert await ready.list_condemned(clock(), 10) == (again.manifest.blob_id,)
        await ready.publish_version(make.publish(b"big", etag="newer"))
        assert await ready.complete_upload(make.complete(upload, part)) == published
        assert (await ready.get_version(BUCKET.bucket_id, b"big")).version.etag == "newer"
        for refused in (
            ready.put_part(make.part(upload, 2)),
            ready.list_parts(upload.upload_id),
            ready.abort_upload(BUCKET.bucket_id, b"big", upload.upload_id),
        ):
            with pytest.raises(NoSuchUpload):
                await refused
        await ready.verify()
        assert await ready.forget_completed_uploads(clock.now - MINUTE) == 0
        assert await ready.forget_completed_uploads(clock()) == 1
        with pytest.raises(NoSuchUpload):
            await ready.complete_upload(make.complete(upload, part))

    async def test_complete_judges_its_conditions(self, ready: Catalogue, make: Maker) -> None:
        await ready.publish_version(make.publish(b"big", etag="old"))
        upload = make.upload()
        part = make.part(upload, 1)
        await ready.create_upload(upload)
        await ready.put_part(part)
        for conditions in (Conditions(if_none_match_any=True), Conditions(if_match_etag="other")):
            with pytest.raises(PreconditionRefused):
                await ready.complete_upload(make.complete(upload, part, conditions=conditions))
        assert await ready.list_parts(upload.upload_id) == (part,)
        await ready.complete_upload(make.complete(upload, part, conditions=Conditions(if_match_etag="old")))
        assert await ready.count_live_blobs() == 2
        await ready.check_live_blobs()
        await ready.verify()

    async def test_abort(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        upload = make.upload()
        part = make.part(upload, 1)
        await ready.create_upload(upload)
        await ready.put_part(part)
        with pytest.raises(NoSuchUpload):
            await ready.abort_upload(OTHER.bucket_id, b"big", upload.upload_id)
        await ready.abort_upload(BUCKET.bucket_id, b"big", upload.upload_id)
        clock.advance()
        assert await ready.list_condemned(clock(), 10) == (part.blob.blob_id,)
        for refused in (
            ready.abort_upload(BUCKET.bucket_id, b"big", upload.upload_id),
            ready.put_part(make.part(upload, 2)),
            ready.complete_upload(make.complete(upload, part)),
            ready.list_parts(upload.upload_id),
        ):
            with pytest.raises(NoSuchUpload):
                await refused
        await ready.verify()

    async def test_upload_needs_its_bucket(self, ready: Catalogue, make: Maker) -> None:
        with pytest.raises(NoSuchBucket):
            await ready.create_upload(replace(make.upload(), bucket_id=b"?" * 16))
        upload = make.upload()
        await ready.create_upload(upload)
        with pytest.raises(CatalogueConflict):
            await ready.create_upload(upload)

    async def test_listing_uploads(self, ready: Catalogue, make: Maker) -> None:
        keys = [b"a", b"a", b"a", b"d/1", b"d/2", b"e", b"e//x", b"f"]
        uploads = [make.upload(key, created_at=START + MINUTE * (number % 3)) for number, key in enumerate(keys)]
        for upload in uploads:
            await ready.create_upload(upload)
        finished = make.upload(b"a")
        part = make.part(finished, 1)
        await ready.create_upload(finished)
        await ready.put_part(part)
        await ready.complete_upload(make.complete(finished, part))
        ordered = sorted(uploads, key=lambda upload: (upload.object_key, upload.created_at, upload.upload_id))
        assert (await ready.list_uploads(BUCKET.bucket_id, UploadsQuery())).uploads == tuple(ordered)
        page = await ready.list_uploads(BUCKET.bucket_id, UploadsQuery(delimiter=b"/"))
        assert [upload.object_key for upload in page.uploads] == [b"a", b"a", b"a", b"e", b"f"]
        assert page.common_prefixes == (b"d/", b"e/")
        page = await ready.list_uploads(BUCKET.bucket_id, UploadsQuery(key_marker=b"a"))
        assert page.uploads == tuple(upload for upload in ordered if upload.object_key > b"a")
        page = await ready.list_uploads(BUCKET.bucket_id, UploadsQuery(prefix=b"e"))
        assert [upload.object_key for upload in page.uploads] == [b"e", b"e//x"]
        page = await ready.list_uploads(
            BUCKET.bucket_id, UploadsQuery(key_marker=b"a", upload_id_marker=finished.upload_id, limit=1)
        )
        behind = (finished.created_at, finished.upload_id)
        expected = [upload for upload in ordered if upload.object_key == b"a"]
        assert page.uploads == (next(u for u in expected if (u.created_at, u.upload_id) > behind),)
        assert (await ready.list_uploads(BUCKET.bucket_id, UploadsQuery(limit=0))).is_truncated is False
        for limit in (1, 2, 3):
            for delimiter in (b"", b"/"):
                whole = await ready.list_uploads(BUCKET.bucket_id, UploadsQuery(delimiter=delimiter))
                seen: list[Upload] = []
                prefixes: list[bytes] = []
                query = UploadsQuery(delimiter=delimiter, limit=limit)
                while True:
                    page = await ready.list_uploads(BUCKET.bucket_id, query)
                    seen += page.uploads
                    prefixes += page.common_prefixes
                    if not page.is_truncated:
                        break
                    query = replace(query, key_marker=page.next_key_marker, upload_id_marker=page.next_upload_id_marker)
                assert (tuple(seen), tuple(prefixes)) == (whole.uploads, whole.common_prefixes)

    async def test_a_marker_that_was_aborted_loses_nothing(self, ready: Catalogue, make: Maker) -> None:
        uploads = [make.upload(b"a", created_at=START + MINUTE * number) for number in range(3)]
        for upload in uploads:
            await ready.create_upload(upload)
        await ready.abort_upload(BUCKET.bucket_id, b"a", uploads[0].upload_id)
        query = UploadsQuery(key_marker=b"a", upload_id_marker=uploads[0].upload_id)
        assert (await ready.list_uploads(BUCKET.bucket_id, query)).uploads == tuple(uploads[1:])
