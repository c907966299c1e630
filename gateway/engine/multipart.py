"""Multipart uploads: parts are sealed blobs and rows, Complete is one transaction and a sealed manifest.

No data moves at Complete, and reads never need the manifest: it is there for recovery. Source: AWS "Uploading and
copying objects using multipart upload"; DESIGN part 2.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from gateway.engine.attributes import KeptChecksum, ObjectAttributes, SealedChecksum, decode_checksum, encode_checksum
from gateway.engine.custody import Custody, Unlock
from gateway.engine.integrity import EtagMode, PayloadCheck, VerifiedPayload, opaque_etag
from gateway.engine.notifying import Notices, no_notices
from gateway.engine.objects import (
    ObjectEngine,
    Published,
    blob_references,
    describe,
    in_turns,
    new_content,
    new_id,
    new_version_id,
)
from gateway.engine.protection import Mode, Protection
from gateway.engine.sealing import BlobPlan, BlobWriter
from gateway.s3.checksums import ALGORITHMS, PayloadDigests, combine, composite
from gateway.s3.checksums import decode_checksum as decode_digest
from gateway.s3.checksums import encode_checksum as encode_digest
from gateway.s3.errors import (
    BAD_DIGEST,
    ENTITY_TOO_LARGE,
    ENTITY_TOO_SMALL,
    INVALID_PART,
    INVALID_REQUEST,
    SERVICE_UNAVAILABLE,
    S3Error,
)
from gateway.s3.types import Body, Buffer, Checksum, ChecksumAlgorithm, ChecksumType, PayloadExpectation
from gateway.s3.upload_types import CompletedPart
from keys.datakey import DataKey
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import CompleteUpload, Conditions, Found
from storage.catalogue.conflicts import NoSuchUpload, NoSuchVersion, PartsChanged
from storage.catalogue.records import (
    NO_LOCK,
    NULL_VERSION_ID,
    BlobRole,
    Bucket,
    ObjectLock,
    ObjectVersion,
    Part,
    Upload,
)
from storage.catalogue.rules import lock_from_json, lock_to_json
from storage.sealed.description import Description
from storage.sealed.records import Manifest, manifest_pieces
from storage.seams import reach

MIN_PART_BYTES = 5 * 1024**2
"""Of every part but the last (AWS: "Amazon S3 multipart upload limits")."""

MAX_OBJECT_BYTES = 5 * 1024**4
"""Of a completed object."""

COMPLETE_ATTEMPTS = 5
"""Times that Complete reads the parts again when one was replaced meanwhile."""

_OPENED_IN_ONE_GO = 100
"""Checksums of parts that are opened before others have their turn: about 3 ms."""


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """A part as it became visible."""

    part: Part
    checksum: Checksum
    """In plain, for the answer to who wrote it."""


_LOCK = "lock"
"""Attribute of an upload: what its version is to be locked by."""


class MultipartEngine:
    """Multipart uploads of one realm."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        custody: Custody,
        writer: BlobWriter,
        objects: ObjectEngine,
        etag_mode: EtagMode,
        clock: Callable[[], datetime],
    ) -> None:
        self._catalogue = catalogue
        self._custody = custody
        self._writer = writer
        self._objects = objects
        self._etag_mode = etag_mode
        self._clock = clock

    async def create(
        self,
        bucket: Bucket,
        object_key: bytes,
        attributes: ObjectAttributes,
        customer_key: DataKey | None = None,
        lock: ObjectLock = NO_LOCK,
    ) -> Upload:
        """Begin an upload; its content key is made and wrapped now, its lock kept. Raises: KeysError, StorageError."""
        upload_id, content_id = new_id(), new_id()
        made = await self._custody.new_content_key(bucket.bucket_id, content_id, attributes.protection, customer_key)
        upload = Upload(
            upload_id=upload_id,
            bucket_id=bucket.bucket_id,
            object_key=object_key,
            account_id=bucket.account_id,
            content=new_content(bucket, content_id, made),
            created_at=self._clock(),
            attributes={
                **replace(attributes, protection=made.protection).encode(),
                **({} if lock == NO_LOCK else {_LOCK: lock_to_json(lock)}),
            },
        )
        await self._catalogue.create_upload(upload)
        reach("upload.created")
        return upload

    async def put_part(
        self,
        bucket: Bucket,
        upload: Upload,
        part_number: int,
        expectation: PayloadExpectation,
        body: Body,
        customer_key: DataKey | None = None,
    ) -> UploadedPart:
        """Seal a body into a part, under a data key of this attempt alone. `customer_key` is checked already.

        Raises:
            S3Error: the body is not what the request says, or its checksum is not of the upload's algorithm.
            NoSuchUpload: the upload ended meanwhile.
        """
        attributes = ObjectAttributes.decode(upload.attributes)
        wanted = attributes.checksum_algorithm
        if wanted is not None and expectation.algorithm not in (None, wanted):
            raise S3Error(
                INVALID_REQUEST,
                f"Checksum Type mismatch occurred, expected checksum Type: {wanted.value.lower()}, "
                f"actual checksum Type: {str(expectation.algorithm).lower()}",
            )
        check = PayloadCheck(expectation, attributes.protection.etag_mode(self._etag_mode), wanted)
        return await self._put_part(
            bucket,
            upload,
            part_number,
            body,
            check.digests,
            lambda size: check.finish(size, body.trailers),
            customer_key,
        )

    async def copy_part(
        self,
        bucket: Bucket,
        upload: Upload,
        part_number: int,
        source: Found,
        offset: int,
        length: int,
        *,
        customer_key: DataKey | None = None,
        source_key: DataKey | None = None,
    ) -> UploadedPart:
        """Seal a span of another version anew as a part. Raises: as by `put_part` and `ObjectEngine.open`."""
        attributes = ObjectAttributes.decode(upload.attributes)
        etag_mode = attributes.protection.etag_mode(self._etag_mode)
        check = PayloadCheck(PayloadExpectation(content_length=length), etag_mode, attributes.checksum_algorithm)
        async with aclosing(await self._objects.open(source, offset, length, source_key)) as plaintext:
            return await self._put_part(
                bucket, upload, part_number, plaintext, check.digests, lambda size: check.finish(size, {}), customer_key
            )

    async def _put_part(
        self,
        bucket: Bucket,
        upload: Upload,
        part_number: int,
        source: AsyncIterable[Buffer],
        digests: PayloadDigests,
        finish: Callable[[int], VerifiedPayload],
        customer_key: DataKey | None,
    ) -> UploadedPart:
        content, of_upload = upload.content, ObjectAttributes.decode(upload.attributes)
        content_key = await self._content_key(upload, of_upload.protection, customer_key)
        blob_id = new_id()
        data_key, slot = self._custody.new_blob_key(content_key, content, blob_id)
        payload: VerifiedPayload | None = None
        kept: KeptChecksum | None = None
        created_at = self._clock()

        def judge_and_describe(size: int) -> Description:
            nonlocal payload, kept
            payload = finish(size)
            kept = self._custody.keep_checksum(of_upload.protection, content_key, content, payload.checksum, blob_id)
            attributes = replace(of_upload, checksum=kept)
            version = ObjectVersion(
                bucket_id=upload.bucket_id,
                object_key=upload.object_key,
                version_id=NULL_VERSION_ID,
                content_id=content.content_id,
                size=size,
                etag=payload.etag,
                created_at=created_at,
                attributes=attributes.encode(),
            )
            return describe(bucket, version, content.content_id, part_number=part_number, upload_id=upload.upload_id)

        plan = BlobPlan(blob_id, BlobRole.PART, data_key, slot, part_number=part_number)
        blob = await self._writer.write(plan, source, digests, judge_and_describe, may_be_inline=False)
        assert payload is not None, "the blob was described"
        assert kept is not None, "the blob was described"
        part = Part(
            upload_id=upload.upload_id,
            part_number=part_number,
            blob=blob,
            etag=payload.etag,
            size=payload.size,
            created_at=created_at,
            attributes={"checksum": encode_checksum(kept)},
        )
        reach("part.before_commit")
        async with self._writer.publishing(blob):
            await self._catalogue.put_part(part)
        reach("part.committed")
        return UploadedPart(part, payload.checksum)

    async def _content_key(self, upload: Upload, protection: Protection, customer_key: DataKey | None) -> DataKey:
        content = upload.content
        return await self._custody.open_content_key(
            content.bucket_id, content.content_id, content.wrapped_key, Unlock.of(protection, customer_key)
        )

    async def part_checksums(
        self, upload: Upload, parts: Sequence[Part], customer_key: DataKey | None = None
    ) -> list[Checksum | None]:
        """The checksums of parts in plain; None where there is none, or where only the client's key would open it."""
        protection = ObjectAttributes.decode(upload.attributes).protection
        kept = [part_checksum(part) for part in parts]
        if all(not isinstance(checksum, SealedChecksum) for checksum in kept):
            return [checksum for checksum in kept if not isinstance(checksum, SealedChecksum)]
        if protection.mode is Mode.CUSTOMER and customer_key is None:
            return [None for _ in parts]
        content_key = await self._content_key(upload, protection, customer_key)
        opened: list[Checksum | None] = []
        for part, checksum in zip(parts, kept, strict=True):
            if isinstance(checksum, SealedChecksum):
                opened.append(self._custody.open_checksum(content_key, upload.content, checksum, part.blob.blob_id))
            else:
                opened.append(checksum)
            if len(opened) % _OPENED_IN_ONE_GO == 0:
                await asyncio.sleep(0)
        return opened

    async def complete(
        self,
        bucket: Bucket,
        upload: Upload,
        wanted: Sequence[CompletedPart],
        conditions: Conditions,
        *,
        checksum: Checksum | None = None,
        checksum_type: ChecksumType | None = None,
        object_size: int | None = None,
        customer_key: DataKey | None = None,
        notices: Notices = no_notices,
        lock: ObjectLock = NO_LOCK,
        version_id: str | None = None,
    ) -> Published:
        """Publish the named parts as one version. A second call answers with the version of the first.

        `version_id` as in `NewObject`.

        Without the client's key an upload under SSE-C gets no checksum, since those of its parts cannot be read.

        Raises:
            S3Error: InvalidPart, EntityTooSmall, EntityTooLarge, InvalidRequest, BadDigest.
            NoSuchUpload, PreconditionRefused, NoSuchVersion: as by `Catalogue.complete_upload`.
        """
        if upload.completed is not None:
            return await self._again(upload.completed, customer_key)
        for _ in range(COMPLETE_ATTEMPTS):
            try:
                held = {part.part_number: part for part in await self._catalogue.list_parts(upload.upload_id)}
            except NoSuchUpload:
                return await self._again(await self._completed_meanwhile(upload), customer_key)
            parts = choose_parts(held, wanted)
            checksums = await self.part_checksums(upload, parts, customer_key)
            check_part_checksums(wanted, checksums)
            size = sum(part.size for part in parts)
            if object_size is not None and object_size != size:
                raise S3Error(
                    INVALID_REQUEST,
                    f"The provided 'x-amz-mp-object-size' header value {object_size} does not match what was "
                    f"computed: {size}",
                )
            attributes = ObjectAttributes.decode(upload.attributes)
            plain = object_checksum(attributes, parts, checksums, checksum, checksum_type)
            kept = None
            if plain is not None and attributes.protection.hides_hashes:
                content_key = await self._content_key(upload, attributes.protection, customer_key)
                kept = self._custody.seal_checksum(content_key, upload.content, plain)
            version = self._version_of(upload, parts, size, plain if kept is None else kept)
            version = replace(version, version_id=version_id or new_version_id(bucket), lock=lock)
            blob_id = new_id()
            # As a link: the manifest names the content key, so it cannot lie under it (FORMAT section 4).
            made = await self._custody.new_content_key(upload.content.bucket_id, blob_id)
            record = Manifest(
                content_id=upload.content.content_id,
                bucket_id=upload.content.bucket_id,
                wrapped_key=upload.content.wrapped_key,
                plaintext_size=size,
                blobs=await blob_references(part.blob for part in parts),
            )
            description = describe(bucket, version, upload.content.content_id, upload_id=upload.upload_id)
            # A manifest must outlive the catalogue, as its parts do.
            manifest = await self._writer.write(
                BlobPlan(blob_id, BlobRole.MANIFEST, made.data_key, made.slot),
                in_turns(manifest_pieces(record)),
                PayloadDigests(()),
                partial(_same, description),
                may_be_inline=False,
            )
            command = CompleteUpload(
                upload_id=upload.upload_id,
                parts=tuple((part.part_number, part.blob.blob_id) for part in parts),
                version=version,
                manifest=manifest,
                conditions=conditions,
                notices=notices(version),
                manifest_wrap=upload.content.wrapped_key,
            )
            reach("complete.before_commit")
            try:
                async with self._writer.publishing(manifest):
                    published = await self._catalogue.complete_upload(command)
            except PartsChanged:
                continue
            reach("complete.committed")
            return Published(published, plain)
        raise S3Error(SERVICE_UNAVAILABLE, "Parts of the upload keep changing. Complete it once they are all uploaded.")

    async def _again(self, version: ObjectVersion, customer_key: DataKey | None) -> Published:
        """The answer to Complete of an upload that is completed."""
        held = ObjectAttributes.decode(version.attributes)
        if held.protection.mode is Mode.CUSTOMER and customer_key is None:
            return Published(version, None)
        try:
            found = await self._catalogue.get_version(version.bucket_id, version.object_key, version.version_id)
        except NoSuchVersion:
            found = None
        if found is None or found.version.content_id != version.content_id:
            return Published(version, None)  # deleted since, and with it the key that would open its checksum
        return Published(version, await self._objects.checksum_of(replace(found, version=version), customer_key))

    async def _completed_meanwhile(self, upload: Upload) -> ObjectVersion:
        """The version of another Complete that came first. Raises: NoSuchUpload for an upload that was aborted."""
        now = await self._catalogue.get_upload(upload.bucket_id, upload.object_key, upload.upload_id)
        if now.completed is None:
            raise NoSuchUpload
        return now.completed

    def _version_of(
        self, upload: Upload, parts: Sequence[Part], size: int, checksum: KeptChecksum | None
    ) -> ObjectVersion:
        attributes = ObjectAttributes.decode(upload.attributes)
        return ObjectVersion(
            bucket_id=upload.bucket_id,
            object_key=upload.object_key,
            version_id=NULL_VERSION_ID,
            content_id=upload.content.content_id,
            size=size,
            etag=_etag_of(parts, attributes.protection.etag_mode(self._etag_mode)),
            created_at=self._clock(),
            attributes=replace(
                attributes, checksum=checksum, checksum_algorithm=None, checksum_type=None, initiator=None
            ).encode(),
        )


def _etag_of(parts: Sequence[Part], etag_mode: EtagMode) -> str:
    """MD5 of the parts' MD5s and their number; part ETags are MD5s where the object's is to be one."""
    if etag_mode is EtagMode.OPAQUE:
        return f"{opaque_etag()}-{len(parts)}"
    md5s = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(parts)}"


def lock_of(upload: Upload) -> ObjectLock:
    """The lock that was asked for when the upload began."""
    kept = upload.attributes.get(_LOCK)
    return NO_LOCK if kept is None else lock_from_json(kept)


def _same(description: Description, _size: int) -> Description:
    return description


def choose_parts(held: dict[int, Part], wanted: Sequence[CompletedPart]) -> list[Part]:
    """Find the parts that Complete names; their order was judged when the request was parsed.

    Raises:
        S3Error: InvalidPart, EntityTooSmall, EntityTooLarge.
    """
    parts = []
    for asked in wanted:
        part = held.get(asked.part_number)
        if part is None or part.etag != asked.etag:
            raise _invalid_part(asked)
        parts.append(part)
    for part in parts[:-1]:
        if part.size < MIN_PART_BYTES:
            raise S3Error(
                ENTITY_TOO_SMALL,
                "Your proposed upload is smaller than the minimum allowed size",
                fields={
                    "ProposedSize": str(part.size),
                    "MinSizeAllowed": str(MIN_PART_BYTES),
                    "PartNumber": str(part.part_number),
                    "ETag": part.etag,
                },
            )
    if sum(part.size for part in parts) > MAX_OBJECT_BYTES:
        raise S3Error(ENTITY_TOO_LARGE, fields={"MaxSizeAllowed": str(MAX_OBJECT_BYTES)})
    return parts


def check_part_checksums(wanted: Sequence[CompletedPart], checksums: Sequence[Checksum | None]) -> None:
    """See that Complete names the checksums that the parts have.

    Raises:
        S3Error: InvalidPart; one of another algorithm than the part's cannot be compared, so it counts as another.
    """
    for asked, checksum in zip(wanted, checksums, strict=True):
        if asked.checksum not in (None, checksum):
            raise _invalid_part(asked)


def _invalid_part(asked: CompletedPart) -> S3Error:
    return S3Error(INVALID_PART, fields={"PartNumber": str(asked.part_number), "ETag": asked.etag})


def part_checksum(part: Part) -> KeptChecksum | None:
    """The checksum kept of a part."""
    return decode_checksum(part.attributes.get("checksum"))


def object_checksum(
    attributes: ObjectAttributes,
    parts: Sequence[Part],
    checksums: Sequence[Checksum | None],
    declared: Checksum | None,
    declared_type: ChecksumType | None,
) -> Checksum | None:
    """Make the checksum of a completed object from those of its parts; None where they are not of one algorithm.

    The type is the upload's, or the request's, or the algorithm's default (AWS: "Full object and composite
    checksums").

    Raises:
        S3Error: InvalidRequest for a type that the upload or the algorithm does not have; BadDigest where the
            request declares another value.
    """
    algorithms = {None if checksum is None else checksum.algorithm for checksum in checksums}
    if declared_type is not None and attributes.checksum_type not in (None, declared_type):
        raise S3Error(
            INVALID_REQUEST,
            f"The upload was created using the {attributes.checksum_type} checksum mode. The complete request must "
            f"use the same checksum mode.",
        )
    if len(algorithms) != 1 or None in algorithms:
        if declared is not None or declared_type is not None:
            raise S3Error(INVALID_REQUEST, "The parts have checksums of different algorithms, so the object has none.")
        return None
    algorithm = ChecksumAlgorithm(str(algorithms.pop()))
    rules = ALGORITHMS[algorithm.value]
    kind = attributes.checksum_type or declared_type or rules.types[0]
    if kind not in rules.types:
        raise S3Error(
            INVALID_REQUEST,
            f"The {kind.value} checksum type cannot be used with the {algorithm.value.lower()} checksum algorithm.",
        )
    digests = [decode_digest(rules, checksum.value) for checksum in checksums if checksum is not None]
    if kind is ChecksumType.COMPOSITE:
        value = composite(rules, digests)
    else:
        value = encode_digest(combine(rules, zip(digests, [part.size for part in parts], strict=True)))
    if declared is not None and declared.algorithm is not algorithm:
        raise S3Error(
            INVALID_REQUEST,
            f"Checksum Type mismatch occurred, expected checksum Type: {algorithm.value.lower()}, "
            f"actual checksum Type: {declared.algorithm.value.lower()}",
        )
    if declared is not None and declared.value not in (value, value.split("-")[0]):
        raise S3Error(BAD_DIGEST, f"The {algorithm.value} you specified did not match the calculated checksum.")
    return Checksum(algorithm, value, kind)
