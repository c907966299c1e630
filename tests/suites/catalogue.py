"""One suite for every catalogue: each command, each refusal, races, and what listings mean.

An implementation subclasses `CatalogueSuite` and gives a fixture `catalogue` that yields an empty one which tells the
time by the fixture `clock`.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from storage.catalogue.base import (
    UPKEEP,
    AccountExists,
    BlobCondemned,
    BucketExists,
    BucketNotEmpty,
    BucketStateRefused,
    Catalogue,
    CompleteUpload,
    Conditions,
    ContentGone,
    Deleted,
    DeleteVersion,
    HistoryQuery,
    Lease,
    LeaseLost,
    ListQuery,
    LockRefused,
    NoSuchAccessKey,
    NoSuchAccount,
    NoSuchBucket,
    NoSuchUpload,
    NoSuchVersion,
    PartsChanged,
    PreconditionRefused,
    PublishVersion,
    Seen,
    TooManyBuckets,
    UploadsQuery,
    VersionChange,
    VersioningChanged,
)
from storage.catalogue.records import (
    NO_LOCK,
    NULL_VERSION_ID,
    AccessKey,
    Account,
    Attributes,
    Blob,
    BlobRole,
    BlobState,
    Bucket,
    Content,
    Notice,
    ObjectLock,
    ObjectVersion,
    Part,
    RetentionMode,
    Upload,
    Versioning,
)
from storage.errors import CatalogueConflict, StorageUnavailable

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
REALM = b"realm-of-16-byte"
ALICE = Account(b"a" * 16, "alice", START)
BOB = Account(b"b" * 16, "bob", START)
BUCKET = Bucket(b"B" * 16, "first-bucket", ALICE.account_id, START)
OTHER = Bucket(b"O" * 16, "other-bucket", ALICE.account_id, START)
MINUTE = timedelta(minutes=1)


@dataclass
class FakeClock:
    """A clock that stands still until it is moved."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, step: timedelta = MINUTE) -> None:
        self.now += step


@dataclass
class Maker:
    """Makes records with random ids, always the same ones for a seed."""

    rng: random.Random = field(default_factory=lambda: random.Random(20260102))

    def id(self) -> bytes:
        return self.rng.randbytes(16)

    def blob(self, role: BlobRole = BlobRole.OBJECT, *, inline: bool = False, part_number: int = 0) -> Blob:
        sealed = self.rng.randbytes(300) if inline else None
        return Blob(
            blob_id=self.id(),
            role=role,
            plaintext_size=100,
            sealed_size=300,
            slot_size=64,
            salt=self.rng.randbytes(32),
            commitment=self.rng.randbytes(32),
            footer_hash=self.rng.randbytes(32),
            wrapped_key=b"" if role is BlobRole.OBJECT else self.rng.randbytes(60),
            part_number=part_number,
            inline=sealed,
        )

    def content(self, *blobs: Blob, bucket: Bucket = BUCKET) -> Content:
        return Content(
            content_id=self.id(),
            bucket_id=bucket.bucket_id,
            account_id=bucket.account_id,
            encryption="AES256",
            kms_key_id="",
            wrapped_key=self.rng.randbytes(80),
            blobs=blobs,
        )

    def version(
        self, object_key: bytes, content_id: bytes, *, etag: str = "etag", bucket: Bucket = BUCKET
    ) -> ObjectVersion:
        return ObjectVersion(
            bucket_id=bucket.bucket_id,
            object_key=object_key,
            version_id=NULL_VERSION_ID,
            content_id=content_id,
            size=100,
            etag=etag,
            created_at=START,
            attributes={
                "content-type": "text/plain",
                "metadata": {"ü": "☃"},
                "parts": [1, 2],
                "none": None,
                "flag": True,
            },
        )

    def publish(
        self,
        object_key: bytes,
        *,
        etag: str = "etag",
        inline: bool = False,
        bucket: Bucket = BUCKET,
        conditions: Conditions | None = None,
        version_id: str = NULL_VERSION_ID,
        lock: ObjectLock = NO_LOCK,
    ) -> PublishVersion:
        content = self.content(self.blob(inline=inline), bucket=bucket)
        version = self.version(object_key, content.content_id, etag=etag, bucket=bucket)
        version = replace(version, version_id=version_id, lock=lock)
        return PublishVersion(version, content, conditions=conditions or Conditions())

    def version_id(self) -> str:
        return self.id().hex()

    def share(self, object_key: bytes, content_id: bytes, *, etag: str = "etag") -> PublishVersion:
        version = self.version(object_key, content_id, etag=etag)
        return PublishVersion(version, share_content_id=content_id, link=self.blob(BlobRole.LINK))

    def upload(self, object_key: bytes = b"big", *, created_at: datetime = START) -> Upload:
        return Upload(
            upload_id=self.id(),
            bucket_id=BUCKET.bucket_id,
            object_key=object_key,
            account_id=ALICE.account_id,
            content=self.content(),
            created_at=created_at,
            attributes={"checksum": "CRC32"},
        )

    def part(self, upload: Upload, part_number: int) -> Part:
        blob = self.blob(BlobRole.PART, part_number=part_number)
        return Part(upload.upload_id, part_number, blob, f"etag{part_number}", 100, START, {"CRC32": "abc="})

    def complete(self, upload: Upload, *parts: Part, conditions: Conditions | None = None) -> CompleteUpload:
        return CompleteUpload(
            upload_id=upload.upload_id,
            parts=tuple((part.part_number, part.blob.blob_id) for part in parts),
            version=self.version(upload.object_key, upload.content.content_id, etag="whole-2"),
            manifest=self.blob(BlobRole.MANIFEST),
            conditions=conditions or Conditions(),
        )


async def populate(catalogue: Catalogue) -> None:
    """Two accounts, two buckets of the first."""
    await catalogue.create_account(ALICE)
    await catalogue.create_account(BOB)
    await catalogue.create_bucket(BUCKET, 100)
    await catalogue.create_bucket(OTHER, 100)


async def settle(*calls: Awaitable[object]) -> list[object]:
    """Run calls together; refusals are answers too, anything else is raised."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, CatalogueConflict):
            raise answer
    return list(answers)


def refusals(answers: list[object], kind: type[CatalogueConflict]) -> int:
    return sum(type(answer) is kind for answer in answers)


async def all_rows(catalogue: Catalogue, table: str, limit: int = 3) -> list[Attributes]:
    """Every row of a table as the log has it, read in small pages."""
    found: list[Attributes] = []
    while page := await catalogue.read_rows(table, found[-1] if found else None, limit):
        found += page
    return found


@pytest.mark.anyio
class CatalogueSuite:
    """What every catalogue does."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def make(self) -> Maker:
        return Maker()

    @pytest.fixture
    async def ready(self, catalogue: Catalogue) -> Catalogue:
        await populate(catalogue)
        return catalogue

    # Accounts

    async def test_realm(self, catalogue: Catalogue) -> None:
        assert await catalogue.realm_id() == REALM
        await catalogue.verify()

    async def test_accounts(self, catalogue: Catalogue) -> None:
        for absent in (catalogue.get_account(ALICE.account_id), catalogue.get_account_by_name("alice")):
            with pytest.raises(NoSuchAccount):
                await absent
        await catalogue.create_account(BOB)
        await catalogue.create_account(ALICE)
        assert await catalogue.get_account(ALICE.account_id) == ALICE
        assert await catalogue.get_account_by_name("bob") == BOB
        assert await catalogue.list_accounts() == (ALICE, BOB)
        with pytest.raises(AccountExists):
            await catalogue.create_account(replace(ALICE, account_id=b"x" * 16))
        assert await catalogue.list_accounts() == (ALICE, BOB)

    async def test_access_keys(self, catalogue: Catalogue) -> None:
        access_key = AccessKey("AKIA1", ALICE.account_id, b"sealed", START)
        younger = AccessKey("AKIA0", ALICE.account_id, b"sealed too", START + MINUTE)
        with pytest.raises(NoSuchAccount):
            await catalogue.create_access_key(access_key)
        with pytest.raises(NoSuchAccount):
            await catalogue.list_access_keys(ALICE.account_id)
        await catalogue.create_account(ALICE, access_key)
        await catalogue.create_access_key(younger)
        with pytest.raises(CatalogueConflict):
            await catalogue.create_access_key(access_key)
        assert await catalogue.get_access_key("AKIA1") == (access_key, ALICE)
        assert await catalogue.list_access_keys(ALICE.account_id) == (access_key, younger)
        await catalogue.set_access_key_enabled("AKIA1", enabled=False)
        assert (await catalogue.get_access_key("AKIA1"))[0].enabled is False
        await catalogue.delete_access_key("AKIA1")
        assert await catalogue.list_access_keys(ALICE.account_id) == (younger,)
        for absent in (
            catalogue.get_access_key("AKIA1"),
            catalogue.delete_access_key("AKIA1"),
            catalogue.set_access_key_enabled("AKIA1", enabled=True),
        ):
            with pytest.raises(NoSuchAccessKey):
                await absent

    async def test_account_and_its_first_key_come_together_or_not_at_all(self, catalogue: Catalogue) -> None:
        await catalogue.create_account(ALICE, AccessKey("AKIA", ALICE.account_id, b"s", START))
        with pytest.raises(CatalogueConflict):
            await catalogue.create_account(BOB, AccessKey("AKIA", BOB.account_id, b"s", START))
        assert await catalogue.list_accounts() == (ALICE,)
        assert [change.kind for change in await catalogue.read_changes(0, 10)] == [
            "create_account",
            "create_access_key",
        ]

    # Buckets

    async def test_buckets(self, ready: Catalogue) -> None:
        assert await ready.get_bucket("first-bucket") == BUCKET
        assert await ready.list_buckets(ALICE.account_id) == (BUCKET, OTHER)
        assert await ready.list_buckets(BOB.account_id) == ()
        assert await ready.list_buckets(ALICE.account_id, limit=1) == (BUCKET,)
        assert await ready.list_buckets(ALICE.account_id, start_after="first-bucket") == (OTHER,)
        assert await ready.list_buckets(ALICE.account_id, prefix="oth") == (OTHER,)
        assert await ready.list_buckets(ALICE.account_id, prefix="b") == ()
        with pytest.raises(BucketExists) as taken:
            await ready.create_bucket(replace(BUCKET, bucket_id=b"x" * 16, account_id=BOB.account_id), 100)
        assert taken.value.owner_id == ALICE.account_id
        third = Bucket(b"T" * 16, "third", ALICE.account_id, START)
        with pytest.raises(TooManyBuckets):
            await ready.create_bucket(third, 2)
        with pytest.raises(NoSuchAccount):
            await ready.create_bucket(replace(third, account_id=b"?" * 16), 2)
        with pytest.raises(BucketStateRefused, match="versioning"):
            await ready.create_bucket(replace(third, object_lock=True), 100)
        await ready.delete_bucket(OTHER.bucket_id)
        await ready.create_bucket(third, 2)
        for absent in (ready.get_bucket("other-bucket"), ready.delete_bucket(OTHER.bucket_id)):
            with pytest.raises(NoSuchBucket):
                await absent
        await ready.verify()

    async def test_configurations(self, ready: Catalogue) -> None:
        start = (await ready.read_changes(0, 100))[-1].sequence
        bucket_id = BUCKET.bucket_id
        assert await ready.get_configuration(bucket_id, "policy") is None
        await ready.put_configuration(bucket_id, "policy", None)
        await ready.put_configuration(bucket_id, "policy", b"one")
        await ready.put_configuration(bucket_id, "policy", b"\xfftwo")
        await ready.put_configuration(bucket_id, "cors", b"")
        assert await ready.get_configuration(bucket_id, "policy") == b"\xfftwo"
        assert await ready.get_configuration(bucket_id, "cors") == b""
        assert await ready.get_configuration(OTHER.bucket_id, "policy") is None
        hashes = {kind: hashlib.sha256(held).hexdigest() for kind, held in (("policy", b"\xfftwo"), ("cors", b""))}
        assert (await ready.get_bucket(BUCKET.name)).configurations == hashes
        assert (await ready.list_buckets(ALICE.account_id))[0].configurations == hashes
        await ready.verify()
        await ready.put_configuration(bucket_id, "policy", None)
        assert await ready.get_configuration(bucket_id, "policy") is None
        assert list((await ready.get_bucket(BUCKET.name)).configurations) == ["cors"]
        changes = await ready.read_changes(start, 100)
        assert [change.kind for change in changes] == ["put_configuration"] * 4
        await ready.delete_bucket(bucket_id)
        await ready.verify()
        for refused in (
            ready.get_configuration(bucket_id, "cors"),
            ready.put_configuration(bucket_id, "cors", b""),
            ready.set_versioning(bucket_id, Versioning.ENABLED),
            ready.enable_object_lock(bucket_id),
        ):
            with pytest.raises(NoSuchBucket):
                await refused

    async def test_a_bucket_with_objects_stays(self, ready: Catalogue, make: Maker) -> None:
        await ready.publish_version(make.publish(b"key"))
        with pytest.raises(BucketNotEmpty):
            await ready.delete_bucket(BUCKET.bucket_id)
        assert await ready.get_bucket("first-bucket") == BUCKET

    async def test_deleting_a_bucket_drops_its_uploads(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        upload = make.upload()
        part = make.part(upload, 1)
        await ready.create_upload(upload)
        await ready.put_part(part)
        await ready.delete_bucket(BUCKET.bucket_id)
        clock.advance()
        assert await ready.list_condemned(clock(), 10) == (part.blob.blob_id,)
        with pytest.raises(NoSuchUpload):
            await ready.put_part(make.part(upload, 2))
        await ready.verify()

    # Versions

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

    # Versioned buckets

    async def test_versions_stand_above_each_other(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        null, one, two = make.publish(b"key", etag="null"), make.version_id(), make.version_id()
        await ready.publish_version(null)
        with pytest.raises(VersioningChanged):
            await ready.publish_version(make.publish(b"key", version_id=one))
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        assert (await ready.get_bucket(BUCKET.name)).versioning is Versioning.ENABLED
        with pytest.raises(VersioningChanged):
            await ready.publish_version(make.publish(b"key"))
        for new_id in (one, two):
            published = await ready.publish_version(make.publish(b"key", etag=new_id, version_id=new_id))
            assert published.is_latest
        for version_id, etag in ((None, two), (two, two), (one, one), (NULL_VERSION_ID, "null")):
            found = await ready.get_version(BUCKET.bucket_id, b"key", version_id)
            assert found.version.etag == etag
            assert found.version.is_latest == (etag == two)
            assert found.content is not None
        with pytest.raises(NoSuchVersion):
            await ready.get_version(BUCKET.bucket_id, b"key", make.version_id())
        assert len((await ready.list_versions(BUCKET.bucket_id, ListQuery())).versions) == 1
        assert await ready.count_live_blobs() == 3
        with pytest.raises(CatalogueConflict):  # an id is given once
            await ready.publish_version(make.publish(b"key", version_id=one))
        await ready.verify()
        with pytest.raises(BucketNotEmpty):
            await ready.delete_bucket(BUCKET.bucket_id)
        assert await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", two)]) == (
            Deleted(b"key", removed_version_id=two),
        )
        current = await ready.get_version(BUCKET.bucket_id, b"key")
        assert (current.version.etag, current.version.is_latest) == (one, True)
        await ready.delete_versions(
            BUCKET.bucket_id, [DeleteVersion(b"key", NULL_VERSION_ID), DeleteVersion(b"key", one)]
        )
        with pytest.raises(NoSuchVersion):
            await ready.get_version(BUCKET.bucket_id, b"key")
        assert await ready.count_live_blobs() == 0
        await ready.verify()
        await ready.delete_bucket(BUCKET.bucket_id)

    async def test_delete_markers(self, ready: Catalogue, make: Maker) -> None:
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        version_id, first, second = make.version_id(), make.version_id(), make.version_id()
        await ready.publish_version(make.publish(b"key", version_id=version_id))
        (refused,) = await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key")])
        assert isinstance(refused, VersioningChanged)
        answers = await ready.delete_versions(
            BUCKET.bucket_id,
            [DeleteVersion(b"key", marker_id=first), DeleteVersion(b"absent", marker_id=second)],
        )
        assert answers == (Deleted(b"key", marker_version_id=first), Deleted(b"absent", marker_version_id=second))
        found = await ready.get_version(BUCKET.bucket_id, b"key")
        assert (found.version.is_delete_marker, found.version.version_id, found.content) == (True, first, None)
        assert (await ready.get_version(BUCKET.bucket_id, b"key", version_id)).content is not None
        assert (await ready.list_versions(BUCKET.bucket_id, ListQuery())).versions == ()
        assert len((await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions) == 3
        with pytest.raises(NoSuchVersion):  # a marker counts as absent
            await ready.publish_version(
                make.publish(b"key", version_id=make.version_id(), conditions=Conditions(if_match_etag="*"))
            )
        (refused,) = await ready.delete_versions(
            BUCKET.bucket_id,
            [DeleteVersion(b"key", marker_id=make.version_id(), conditions=Conditions(if_match_etag="*"))],
        )
        assert isinstance(refused, NoSuchVersion)
        assert await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", first)]) == (
            Deleted(b"key", removed_version_id=first, removed_a_marker=True),
        )
        assert (await ready.get_version(BUCKET.bucket_id, b"key")).version.version_id == version_id
        again = make.publish(b"absent", version_id=make.version_id(), conditions=Conditions(if_none_match_any=True))
        await ready.publish_version(again)
        with pytest.raises(BucketNotEmpty):
            await ready.delete_bucket(BUCKET.bucket_id)
        await ready.verify()

    async def test_suspended_buckets_replace_the_null_version(self, ready: Catalogue, make: Maker) -> None:
        await ready.publish_version(make.publish(b"key", etag="null one"))
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        version_id = make.version_id()
        await ready.publish_version(make.publish(b"key", etag="named", version_id=version_id))
        await ready.set_versioning(BUCKET.bucket_id, Versioning.SUSPENDED)
        await ready.publish_version(make.publish(b"key", etag="null two"))
        assert await ready.count_live_blobs() == 2
        history = (await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions
        assert [(version.etag, version.is_latest) for version in history] == [("null two", True), ("named", False)]
        await ready.publish_version(make.publish(b"key", etag="null three"))
        assert await ready.count_live_blobs() == 2
        unused = make.version_id()
        assert await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", marker_id=unused)]) == (
            Deleted(b"key", marker_version_id=NULL_VERSION_ID),
        )
        history = (await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions
        assert [version.is_delete_marker for version in history] == [True, False]
        assert await ready.count_live_blobs() == 1
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key")])
        assert len((await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions) == 2
        await ready.publish_version(make.publish(b"key", etag="null four"))
        history = (await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions
        assert [version.etag for version in history] == ["null four", "named"]
        await ready.verify()

    async def test_history_pages_equal_brute_force(self, ready: Catalogue, make: Maker) -> None:
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        rng = random.Random(11)
        keys = [b"a", b"a/1", b"a/2", b"b", b"b/x/1", b"b/x/2", b"c", b"\xff"]
        for number in range(60):
            key = rng.choice(keys)
            if rng.random() < 0.2:
                await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(key, marker_id=make.version_id())])
            else:
                await ready.publish_version(make.publish(key, etag=str(number), version_id=make.version_id()))
        whole = (await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions
        assert len(whole) == 60
        assert [version.object_key for version in whole] == sorted(version.object_key for version in whole)
        for older, newer in zip(whole[1:], whole, strict=False):
            same_key = older.object_key == newer.object_key
            assert older.is_latest != same_key
            assert not same_key or older.sequence < newer.sequence
        for prefix in (b"", b"a", b"b/", b"zz"):
            for delimiter in (b"", b"/"):
                expected = history_by_brute_force(whole, prefix, delimiter)
                for limit in (1, 2, 7, 1000):
                    query = HistoryQuery(prefix, delimiter, limit=limit)
                    given: list[tuple[bytes, str | None]] = []
                    while True:
                        page = await ready.list_history(BUCKET.bucket_id, query)
                        entries: list[tuple[bytes, str | None]] = [
                            (version.object_key, version.version_id) for version in page.versions
                        ]
                        entries += [(common, None) for common in page.common_prefixes]
                        entries.sort(key=lambda entry: entry[0])
                        assert len(entries) <= limit
                        given += entries
                        if not page.is_truncated:
                            break
                        assert (page.next_key_marker, page.next_version_id_marker) == entries[-1]
                        query = replace(
                            query, key_marker=page.next_key_marker, version_id_marker=page.next_version_id_marker
                        )
                    assert given == expected, (prefix, delimiter, limit)
        gone = HistoryQuery(key_marker=b"b", version_id_marker=make.version_id())
        assert (await ready.list_history(BUCKET.bucket_id, gone)).versions == tuple(
            version for version in whole if version.object_key >= b"b"
        )
        assert (await ready.list_history(BUCKET.bucket_id, HistoryQuery(limit=0))).is_truncated is False

    async def test_completing_in_a_versioned_bucket(self, ready: Catalogue, make: Maker) -> None:
        upload = make.upload()
        part = make.part(upload, 1)
        await ready.create_upload(upload)
        await ready.put_part(part)
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await ready.enable_object_lock(BUCKET.bucket_id)
        command = make.complete(upload, part)
        with pytest.raises(VersioningChanged):
            await ready.complete_upload(command)
        lock = ObjectLock(RetentionMode.COMPLIANCE, START + MINUTE, legal_hold=True)
        version = replace(command.version, version_id=make.version_id(), lock=lock)
        published = await ready.complete_upload(replace(command, version=version))
        assert (published.version_id, published.lock) == (version.version_id, lock)
        assert (await ready.get_upload(BUCKET.bucket_id, b"big", upload.upload_id)).completed == published
        assert (await ready.get_version(BUCKET.bucket_id, b"big")).version == published
        await ready.verify()

    # Locks and changes in place

    async def test_locks_keep_versions(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        until = START + MINUTE
        with pytest.raises(BucketStateRefused):
            await ready.enable_object_lock(BUCKET.bucket_id)
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        held = make.publish(b"key", version_id=make.version_id(), lock=ObjectLock(legal_hold=True))
        with pytest.raises(BucketStateRefused):
            await ready.publish_version(held)
        await ready.enable_object_lock(BUCKET.bucket_id)
        await ready.enable_object_lock(BUCKET.bucket_id)
        assert (await ready.get_bucket(BUCKET.name)).object_lock
        with pytest.raises(BucketStateRefused):
            await ready.set_versioning(BUCKET.bucket_id, Versioning.SUSPENDED)
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        locks = [
            ObjectLock(legal_hold=True),
            ObjectLock(RetentionMode.COMPLIANCE, until),
            ObjectLock(RetentionMode.GOVERNANCE, until),
            ObjectLock(RetentionMode.GOVERNANCE, until, legal_hold=True),
        ]
        ids = [make.version_id() for _ in locks]
        for version_id, lock in zip(ids, locks, strict=True):
            published = await ready.publish_version(make.publish(b"key", version_id=version_id, lock=lock))
            assert published.lock == lock
        for bypass, gone in ((False, set()), (True, {ids[2]})):
            answers = await ready.delete_versions(
                BUCKET.bucket_id,
                [DeleteVersion(b"key", version_id, bypass_governance=bypass) for version_id in ids],
            )
            for version_id, answer in zip(ids, answers, strict=True):
                assert isinstance(answer, Deleted if version_id in gone else LockRefused)
        (marker,) = await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", marker_id=make.version_id())])
        assert isinstance(marker, Deleted)
        clock.advance()
        answers = await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", id_) for id_ in ids])
        assert [type(answer) for answer in answers] == [LockRefused, Deleted, Deleted, LockRefused]
        await ready.verify()

    @pytest.mark.parametrize(
        ("held", "wanted", "bypass", "allowed"),
        [
            (NO_LOCK, (RetentionMode.GOVERNANCE, 5), False, True),
            ((RetentionMode.COMPLIANCE, 5), (RetentionMode.COMPLIANCE, 5), False, True),
            ((RetentionMode.COMPLIANCE, 5), (RetentionMode.COMPLIANCE, 6), False, True),
            ((RetentionMode.COMPLIANCE, 5), (RetentionMode.COMPLIANCE, 4), True, False),
            ((RetentionMode.COMPLIANCE, 5), (RetentionMode.GOVERNANCE, 9), True, False),
            ((RetentionMode.COMPLIANCE, 5), (RetentionMode.NONE, None), True, False),
            ((RetentionMode.COMPLIANCE, 0), (RetentionMode.NONE, None), False, True),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.GOVERNANCE, 6), False, True),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.GOVERNANCE, 4), False, False),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.GOVERNANCE, 4), True, True),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.COMPLIANCE, 9), False, False),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.COMPLIANCE, 9), True, True),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.NONE, None), False, False),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.NONE, None), True, True),
        ],
    )
    async def test_retention_grows(
        self,
        ready: Catalogue,
        make: Maker,
        held: ObjectLock | tuple[RetentionMode, int | None],
        wanted: tuple[RetentionMode, int | None],
        *,
        bypass: bool,
        allowed: bool,
    ) -> None:
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await ready.enable_object_lock(BUCKET.bucket_id)
        has = held if isinstance(held, ObjectLock) else lock_of(*held)
        version_id = make.version_id()
        await ready.publish_version(make.publish(b"key", version_id=version_id, lock=replace(has, legal_hold=True)))
        change = VersionChange(retention=lock_of(*wanted), bypass_governance=bypass)
        if allowed:
            updated = await ready.update_version(BUCKET.bucket_id, b"key", version_id, change)
            assert updated.lock == replace(lock_of(*wanted), legal_hold=True)
        else:
            with pytest.raises(LockRefused):
                await ready.update_version(BUCKET.bucket_id, b"key", version_id, change)
        expected = lock_of(*wanted) if allowed else has
        found = await ready.get_version(BUCKET.bucket_id, b"key")
        assert found.version.lock == replace(expected, legal_hold=True)
        await ready.verify()

    async def test_changes_in_place(self, ready: Catalogue, make: Maker) -> None:
        await ready.publish_version(make.publish(b"key"))
        before = (await ready.get_version(BUCKET.bucket_id, b"key")).version
        tagged = await ready.update_version(BUCKET.bucket_id, b"key", None, VersionChange(tags=[("a", "1")]))
        assert tagged == replace(before, attributes={**before.attributes, "tags": [["a", "1"]]})
        assert (await ready.get_version(BUCKET.bucket_id, b"key")).version == tagged
        assert await ready.update_version(BUCKET.bucket_id, b"key", NULL_VERSION_ID, VersionChange(tags=[])) == before
        for key, version_id in ((b"absent", None), (b"key", "1" * 32)):
            with pytest.raises(NoSuchVersion):
                await ready.update_version(BUCKET.bucket_id, key, version_id, VersionChange(tags=[]))
        for change in (VersionChange(legal_hold=True), VersionChange(retention=NO_LOCK)):
            with pytest.raises(BucketStateRefused):
                await ready.update_version(BUCKET.bucket_id, b"key", None, change)
        with pytest.raises(NoSuchBucket):
            await ready.update_version(b"?" * 16, b"key", None, VersionChange(tags=[]))
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await ready.enable_object_lock(BUCKET.bucket_id)
        held = await ready.update_version(BUCKET.bucket_id, b"key", None, VersionChange(legal_hold=True))
        assert held == replace(before, lock=ObjectLock(legal_hold=True))
        (refused,) = await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", NULL_VERSION_ID)])
        assert isinstance(refused, LockRefused)
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", marker_id=make.version_id())])
        with pytest.raises(NoSuchVersion):  # the current version is a delete marker
            await ready.update_version(BUCKET.bucket_id, b"key", None, VersionChange(legal_hold=False))
        old = await ready.update_version(BUCKET.bucket_id, b"key", NULL_VERSION_ID, VersionChange(legal_hold=False))
        assert (old.lock, old.is_latest) == (ObjectLock(legal_hold=False), False)
        assert (await ready.read_changes(0, 100))[-1].kind == "update_version"
        await ready.verify()

    # Listing

    async def test_listing(self, ready: Catalogue, make: Maker) -> None:
        keys = [b"a", b"a/b", b"a/c", b"b//x", b"b//y", b"b/z", b"c", b"\xc3\xa9", b"\xff", b"\xff\xff/1"]
        for key in random.Random(1).sample(keys, len(keys)):
            await ready.publish_version(make.publish(key))
        await ready.publish_version(make.publish(b"elsewhere", bucket=OTHER))
        page = await ready.list_versions(BUCKET.bucket_id, ListQuery())
        assert [version.object_key for version in page.versions] == sorted(keys)
        assert (page.common_prefixes, page.is_truncated, page.next_start_after) == ((), False, b"")
        page = await ready.list_versions(BUCKET.bucket_id, ListQuery(delimiter=b"/"))
        assert [version.object_key for version in page.versions] == [b"a", b"c", b"\xc3\xa9", b"\xff"]
        assert page.common_prefixes == (b"a/", b"b/", b"\xff\xff/")
        page = await ready.list_versions(BUCKET.bucket_id, ListQuery(delimiter=b"//"))
        assert page.common_prefixes == (b"b//",)
        page = await ready.list_versions(BUCKET.bucket_id, ListQuery(prefix=b"b/", delimiter=b"/"))
        assert [version.object_key for version in page.versions] == [b"b/z"]
        assert page.common_prefixes == (b"b//",)
        page = await ready.list_versions(BUCKET.bucket_id, ListQuery(delimiter=b"/", start_after=b"a/b", limit=2))
        assert ([version.object_key for version in page.versions], page.common_prefixes) == ([b"c"], (b"b/",))
        assert (page.is_truncated, page.next_start_after) == (True, b"c")
        page = await ready.list_versions(BUCKET.bucket_id, ListQuery(start_after=b"\xff"))
        assert [version.object_key for version in page.versions] == [b"\xff\xff/1"]
        page = await ready.list_versions(BUCKET.bucket_id, ListQuery(limit=0))
        assert page == type(page)((), (), is_truncated=False)
        page = await ready.list_versions(BUCKET.bucket_id, ListQuery(limit=len(keys)))
        assert not page.is_truncated
        assert (await ready.list_versions(b"?" * 16, ListQuery())).versions == ()

    async def test_listing_follows_deletes_and_overwrites(self, ready: Catalogue, make: Maker) -> None:
        for key in (b"a", b"b", b"c"):
            await ready.publish_version(make.publish(key))
        newer = await ready.publish_version(make.publish(b"b", etag="new"))
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"c")])
        page = await ready.list_versions(BUCKET.bucket_id, ListQuery())
        assert [version.object_key for version in page.versions] == [b"a", b"b"]
        assert page.versions[1] == newer

    async def test_pages_equal_brute_force(self, ready: Catalogue, make: Maker) -> None:
        seed = 7
        print("seed", seed)
        rng = random.Random(seed)
        alphabet = [b"a", b"b", b"/", b"//", b"\x00", b"\xff", b"-"]
        keys = sorted({b"".join(rng.choices(alphabet, k=rng.randint(1, 5))) for _ in range(150)})
        await asyncio.gather(*(ready.publish_version(make.publish(key)) for key in keys))
        for _ in range(150):
            prefix = b"".join(rng.choices(alphabet, k=rng.choice([0, 0, 1, 2])))
            delimiter = rng.choice([b"", b"/", b"//", b"a", b"\xff", b"/a"])
            start_after = rng.choice([b"", rng.choice(keys), b"".join(rng.choices(alphabet, k=2))])
            limit = rng.choice([1, 2, 3, 7, 1000])
            expected = brute_force(keys, prefix, delimiter, start_after)
            given: list[bytes] = []
            marker = start_after
            for _page in range(len(keys) + 2):
                query = ListQuery(prefix, delimiter, marker, limit)
                page = await ready.list_versions(BUCKET.bucket_id, query)
                entries = sorted([*(version.object_key for version in page.versions), *page.common_prefixes])
                assert len(entries) <= limit
                given += entries
                if not page.is_truncated:
                    break
                assert page.next_start_after == entries[-1]
                assert len(entries) == limit
                marker = page.next_start_after
            assert given == expected, (prefix, delimiter, start_after, limit)

    # Multipart uploads

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

    # Blobs, leases, outbox

    async def test_leases(self, catalogue: Catalogue, clock: FakeClock) -> None:
        first = await catalogue.acquire_lease("sweep", "one", MINUTE)
        assert first == Lease("sweep", "one", 1, START + MINUTE)
        with pytest.raises(LeaseLost):
            await catalogue.acquire_lease("sweep", "two", MINUTE)
        assert (await catalogue.acquire_lease("rewrap", "two", MINUTE)).epoch == 1
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

    # Races

    async def test_one_of_a_hundred_creates_wins(self, ready: Catalogue, make: Maker) -> None:
        condition = Conditions(if_none_match_any=True)
        commands = [make.publish(b"key", etag=str(number), conditions=condition) for number in range(100)]
        answers = await settle(*(ready.publish_version(command) for command in commands))
        assert refusals(answers, PreconditionRefused) == 99
        (winner,) = (answer for answer in answers if isinstance(answer, ObjectVersion))
        assert (await ready.get_version(BUCKET.bucket_id, b"key")).version == winner
        assert await ready.count_live_blobs() == 1
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
        await ready.verify()

    # End

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


def lock_of(mode: RetentionMode, minutes: int | None) -> ObjectLock:
    """A retention that ends so many minutes after the start."""
    return ObjectLock(mode, None if minutes is None else START + MINUTE * minutes)


def history_by_brute_force(
    versions: tuple[ObjectVersion, ...], prefix: bytes, delimiter: bytes
) -> list[tuple[bytes, str | None]]:
    """Entries of a listing of versions: object keys with version ids, common prefixes without."""
    entries: list[tuple[bytes, str | None]] = []
    for version in versions:
        if version.object_key[: len(prefix)] != prefix:
            continue
        head, found, _ = version.object_key[len(prefix) :].partition(delimiter or b"\0never")
        entry = (prefix + head + found, None if found else version.version_id)
        if not found or entry not in entries:
            entries.append(entry)
    return entries


def brute_force(keys: list[bytes], prefix: bytes, delimiter: bytes, start_after: bytes) -> list[bytes]:
    """Every entry of a listing, in order, by the plainest means."""
    entries = set()
    for key in keys:
        if key[: len(prefix)] != prefix:
            continue
        rest = key[len(prefix) :]
        head, found, _ = rest.partition(delimiter) if delimiter else (rest, b"", b"")
        entries.add(prefix + head + found)
    return sorted(entry for entry in entries if entry > start_after)
