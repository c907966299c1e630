"""Uploads that are open survive the loss of the catalogue, whatever step between them and the journal a crash hits."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.envelopes import EnvelopesBlobs
from gateway.engine.journal import upload_wraps as module
from gateway.engine.journal.runner import LEASE_DURATION, Journal
from gateway.engine.journal.snapshots import Snapshots
from gateway.engine.journal.upload_wraps import UploadWraps
from gateway.engine.journal.witness import Witness
from gateway.s3.types import PayloadExpectation
from gateway.s3.upload_types import CompletedPart
from keys.errors import CanaryFailed
from storage import seams
from storage.catalogue.commands import Conditions, UploadsQuery
from storage.catalogue.records import BlobState, Part, Upload
from storage.errors import LeaseLost
from tests.gateway.engine.journal.stage import Stage, on_stage
from tests.gateway.engine.rig import PieceBody

BODIES = (b"the only part",)  # which is the last one, and may be small


class Crash(BaseException):
    """The process ends here."""


def journal_of(stage: Stage) -> Journal:
    envelopes = EnvelopesBlobs(
        catalogue=stage.catalogue,
        blobs=stage.blobs,
        writer=stage.objects._writer,
        realm_keys=stage.keys,
        root=lambda: b"the wrapped root",
        clock=stage.clock,
    )
    return stage.journal(carry=UploadWraps(stage.catalogue, envelopes).carry)


async def begin(stage: Stage, object_key: bytes = b"open") -> Upload:
    return await stage.multipart.create(stage.bucket, object_key, ObjectAttributes(metadata={"a": "b"}))


async def put(stage: Stage, upload: Upload) -> list[Part]:
    made = [
        await stage.multipart.put_part(stage.bucket, upload, number, PayloadExpectation(), PieceBody(body))
        for number, body in enumerate(BODIES, 1)
    ]
    return [each.part for each in made]


async def finish(stage: Stage, upload: Upload) -> bytes:
    """Complete an upload, and read what came of it."""
    parts = await stage.catalogue.list_parts(upload.upload_id)
    wanted = [CompletedPart(part.part_number, part.etag) for part in parts]
    held = await stage.catalogue.get_upload(upload.bucket_id, upload.object_key, upload.upload_id)
    await stage.multipart.complete(stage.bucket, held, wanted, Conditions())
    found = await stage.objects.find(stage.bucket, upload.object_key)
    return b"".join([bytes(piece) async for piece in await stage.objects.open(found, 0, found.version.size)])


async def check_witnessed(stage: Stage) -> None:
    journal = journal_of(stage)
    await Witness(stage.catalogue, journal, Snapshots(stage.catalogue, journal)).verify()


def test_an_open_upload_goes_on_after_the_loss_of_the_catalogue(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        upload, aborted, done = [await begin(stage, key) for key in (b"open", b"aborted", b"done")]
        await stage.multipart._catalogue.abort_upload(stage.bucket.bucket_id, b"aborted", aborted.upload_id)
        await put(stage, done)
        await finish(stage, done)
        journal = journal_of(stage)
        await journal.tend()
        (kept,) = await stage.catalogue.list_envelopes()
        assert kept.wrap_count == 1, "what was aborted or completed by then needs none"
        parts = await put(stage, upload)
        await journal.tend()
        before = await stage.catalogue.list_uploads(stage.bucket.bucket_id, UploadsQuery())
        catalogue, restored = await stage.recover(tmp_path / "recovered/catalogue.db")
        assert (restored.open_upload_count, restored.dropped_upload_count) == (1, 0)
        assert await catalogue.list_uploads(stage.bucket.bucket_id, UploadsQuery()) == before, "its wrap among it"
        assert list(await catalogue.list_parts(upload.upload_id)) == parts
        await stage.take(catalogue)
        stage.custody._keyring.forget_all()
        await check_witnessed(stage)
        assert await finish(stage, upload) == b"".join(BODIES)
        assert await stage.catalogue.list_envelopes() == (), "the manifest has the wrap now"
        assert await stage.catalogue.blob_states([kept.blob.blob_id]) == {kept.blob.blob_id: BlobState.CONDEMNED}
        await journal_of(stage).tend()
        catalogue, restored = await stage.recover(tmp_path / "again/catalogue.db")
        assert restored.open_upload_count == 0
        await stage.take(catalogue)
        found = await stage.objects.find(stage.bucket, b"open")
        assert found.version.size == sum(map(len, BODIES))

    on_stage(tmp_path, test)


@pytest.mark.parametrize(
    "seam",
    [
        "journal.wraps_durable",
        "journal.wraps_named",
        "journal.segment_durable",
        "journal.noted",
        "journal.trimmed",
    ],
)
@pytest.mark.parametrize("loses_the_catalogue", [False, True])
def test_a_crash_at_any_step(tmp_path: Path, seam: str, loses_the_catalogue: bool) -> None:
    async def test(stage: Stage) -> None:
        await journal_of(stage).tend()
        upload = await begin(stage)
        await put(stage, upload)

        def crash(reached: str) -> None:
            if reached == seam:
                seams.hook = None
                raise Crash

        seams.hook = crash
        try:
            with pytest.raises(Crash):
                await journal_of(stage).tend()
        finally:
            seams.hook = None
        if loses_the_catalogue:
            catalogue, restored = await stage.recover(tmp_path / "recovered/catalogue.db")
            await stage.take(catalogue)
            assert restored.dropped_upload_count == 0
            assert restored.open_upload_count == (seam not in ("journal.wraps_durable", "journal.wraps_named"))
        # What came back goes on, and survives the next loss.
        for _ in range(2):
            await journal_of(stage).tend()
        await check_witnessed(stage)
        catalogue, restored = await stage.recover(tmp_path / "again/catalogue.db")
        await stage.take(catalogue)
        if not loses_the_catalogue or seam not in ("journal.wraps_durable", "journal.wraps_named"):
            assert await finish(stage, upload) == b"".join(BODIES)

    on_stage(tmp_path, test)


def test_an_upload_whose_wrap_is_gone_is_dropped_and_the_journal_is_told(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        upload = await begin(stage)
        await put(stage, upload)
        await stage.journal().tend()  # as of a release that did not carry wraps
        catalogue, restored = await stage.recover(tmp_path / "recovered/catalogue.db")
        assert (restored.open_upload_count, restored.dropped_upload_count) == (0, 1)
        await stage.take(catalogue)
        assert (await catalogue.list_uploads(stage.bucket.bucket_id, UploadsQuery())).uploads == ()
        await check_witnessed(stage)

    on_stage(tmp_path, test)


def test_the_journal_goes_on_where_nothing_new_may_be_published(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await begin(stage)
        await stage.put(b"gone", b"x")
        await stage.delete(b"gone")
        stage.objects._writer.stop_publishing(CanaryFailed("wrong"))  # the KMS gave a wrong answer
        await journal_of(stage).tend()
        assert len(await stage.catalogue.list_envelopes()) == 1
        catalogue, restored = await stage.recover(tmp_path / "recovered/catalogue.db")
        await catalogue.close()
        assert restored.open_upload_count == 1

    on_stage(tmp_path, test)


def test_a_lease_that_is_lost_leaves_no_blob(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await begin(stage)
        before = set(stage.blobs._blobs)
        journal = journal_of(stage)
        carry, other = journal._carry, await stage.catalogue.acquire_lease("other", "other", LEASE_DURATION)
        assert carry is not None
        changes = await stage.catalogue.read_changes(0, 100)
        with pytest.raises(LeaseLost):
            await carry(changes, dataclasses.replace(other, epoch=other.epoch + 1))
        assert set(stage.blobs._blobs) == before

    on_stage(tmp_path, test)


def test_many_uploads_share_blobs_and_stand_below_what_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENVELOPES", 3)

    async def test(stage: Stage) -> None:
        uploads = [await begin(stage, b"%d" % number) for number in range(7)]
        await journal_of(stage).tend()
        kept = await stage.catalogue.list_envelopes()
        assert sorted(each.wrap_count for each in kept) == [1, 3, 3]
        now: Any = stage.clock().timestamp() * 1e6
        assert all(each.epoch < now for each in kept)
        assert min(each.epoch for each in kept) <= uploads[0].created_at.timestamp() * 1e6

    on_stage(tmp_path, test)
