"""What tests of catalogues are made of: a clock, records, and a filled catalogue. The suite itself: `cataloguing`."""

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from storage.catalogue.base import Catalogue
from storage.catalogue.commands import CompleteUpload, Conditions, PublishVersion
from storage.catalogue.records import (
    NO_LOCK,
    NULL_VERSION_ID,
    Account,
    Attributes,
    Blob,
    BlobRole,
    Bucket,
    Content,
    ObjectLock,
    ObjectVersion,
    Part,
    Upload,
)

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


async def all_rows(catalogue: Catalogue, table: str, limit: int = 3) -> list[Attributes]:
    """Every row of a table as the log has it, read in small pages."""
    found: list[Attributes] = []
    while page := await catalogue.read_rows(table, found[-1] if found else None, limit):
        found += page
    return found
