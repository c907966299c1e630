"""Blobs as objects in one bucket of MinIO or any S3: the contract is `storage.blobs.base.BlobStore`.

Names: `<prefix>realm` holds the realm id in hexadecimal, `<prefix>b/<2 hex>/<32 hex>` the blobs, `<prefix>probe/` what
the start-up probe tries. The backend is trusted to keep what it acknowledged, and for nothing else: s3_backend.py
speaks to it, s3_writer.py and s3_reader.py believe no answer that can be compared with something.
"""

import asyncio
import contextlib
import logging
import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from xml.etree import ElementTree as ET

from storage.blobs.base import BLOB_ID_SIZE, BlobStat, Buffer
from storage.blobs.s3_backend import Backend, Call, S3Target
from storage.blobs.s3_lock import parsed_time, retain_object, retention_of
from storage.blobs.s3_probe import PROBES, Traits, delete_object, probe
from storage.blobs.s3_reader import S3BlobReader, open_reader
from storage.blobs.s3_writer import HeldBytes, Putting, of_bytes
from storage.errors import BlobExists, BlobHeld, BlobMissing, BlobReadFailed, RealmMismatch, StorageUnavailable

_LOG = logging.getLogger(__name__)

_REALM: Final = "realm"
_BLOBS: Final = "b/"
_BLOB_NAME: Final = re.compile(r"b/([0-9a-f]{2})/(\1[0-9a-f]{30})", re.ASCII)
_LISTED: Final = ("Contents/Key", "CommonPrefixes/Prefix")
_IDLE_PAGES: Final = 100
"""So many pages that lead to no further name may come one after the other."""
_UPLOAD_PAGES: Final = 1000
"""Pages of unfinished uploads, each of 1,000, that one sweep looks at; what was aborted is not listed by the next."""
_MISSING_PAUSES_S: Final = (0.0, 0.05, 0.2)
_OK, _NO_CONTENT, _NOT_FOUND = 200, 204, 404


class S3BlobStore:
    """Blobs in a bucket. Several gateways of one realm may share it; it belongs to one event loop."""

    def __init__(self, target: S3Target) -> None:
        self._backend = Backend(target)
        self._held = HeldBytes(target.held_bytes, wait_s=target.timeout_s)
        self._probing: asyncio.Task[Traits] | None = None
        self._behind: dict[asyncio.Task[None], str] = {}
        """Clean-ups of puts that failed or were given up, with the name that each works on."""
        self._is_closed = False

    @property
    def unfinished_count(self) -> int:
        """Clean-ups of failed puts that still run."""
        return len(self._behind)

    async def traits(self) -> Traits:
        """What the backend can do; found out once. Raises: StorageError."""
        if self._probing is None or (self._probing.done() and self._probing.exception() is not None):
            self._probing = asyncio.ensure_future(probe(self._backend))
        return await asyncio.shield(self._probing)

    async def realm_id(self) -> bytes | None:
        """The realm in the object `realm`. Raises: RealmMismatch, StorageUnavailable."""
        doing = "reading the realm of the store"
        answer = await self._backend.ask(Call("GET", _REALM), doing)
        if answer.status == _NOT_FOUND and answer.code == "NoSuchKey":
            return None
        if answer.status == _NOT_FOUND:
            raise StorageUnavailable("the backend has no bucket of that name: create it, or correct s3_bucket")
        try:
            return bytes.fromhex(answer.expect(doing, _OK).body.decode("ascii").strip())
        except ValueError as error:
            raise RealmMismatch("the blob store's realm object is damaged; restore it from a backup") from error

    async def claim(self, realm_id: bytes) -> None:
        """Write the object `realm`. Raises: RealmMismatch, StorageFull, StorageUnavailable."""
        if await self.realm_id() is None:
            # Another gateway may be as far: who comes first is read below.
            with contextlib.suppress(BlobExists):
                await self._put(_REALM, of_bytes(realm_id.hex().encode("ascii") + b"\n"))
        if await self.realm_id() != realm_id:
            raise RealmMismatch("the blob store belongs to another realm")

    async def release(self, realm_id: bytes) -> None:
        """Remove the object `realm`. Raises: RealmMismatch, StorageUnavailable."""
        held = await self.realm_id()
        if held not in (None, realm_id):
            raise RealmMismatch("the blob store belongs to another realm")
        if held is not None:
            await self._delete(_REALM)

    async def put(self, blob_id: bytes, chunks: AsyncIterable[Buffer]) -> int:
        """Store a blob durably. Raises: BlobExists, StorageFull, StorageUnavailable, and what `chunks` raises."""
        return await self._put(_name(blob_id), chunks)

    async def _put(self, name: str, chunks: AsyncIterable[Buffer]) -> int:
        traits = await self.traits()
        await self._settled(name)
        conditional = (traits.conditional_put, traits.conditional_complete)
        putting = Putting(self._backend, self._held, name, conditional=conditional, delete=self._delete)
        run = asyncio.ensure_future(putting.run(chunks))
        try:
            return await asyncio.shield(run)
        except BaseException:
            # What is on its way may still arrive: it is waited for, and then taken away. A cancelled request does not
            # wait for that, and neither does one whose backend is gone.
            undoing = asyncio.ensure_future(_undo(putting, run))
            self._behind[undoing] = name
            undoing.add_done_callback(self._behind.pop)
            if run.done():
                await asyncio.wait({undoing}, timeout=1.0)
            raise
        finally:
            if run.done():
                putting.release()

    async def _settled(self, name: str) -> None:
        """Wait until a put of that name which was given up is taken away: what is there may go in a moment.

        The ids of the journal are no random ones. A segment that was given up is written again at once, and who took
        the first for one that stays would lose both.
        """
        while undoing := {task for task, one in self._behind.items() if one == name}:
            await asyncio.wait(undoing)

    async def open(self, blob_id: bytes) -> S3BlobReader:
        """Open for reading. Raises: BlobMissing, BlobReadFailed, StorageUnavailable."""
        await self._settled(_name(blob_id))
        return await open_reader(self._backend, _name(blob_id))

    async def stat(self, blob_id: bytes) -> BlobStat:
        """Size and time. Raises: BlobMissing, BlobReadFailed, StorageUnavailable."""
        doing = "looking for a blob"
        await self._settled(_name(blob_id))
        for pause in _MISSING_PAUSES_S:
            await asyncio.sleep(pause)
            answer = await self._backend.ask(Call("HEAD", _name(blob_id)), doing)
            if answer.status != _NOT_FOUND:
                break
        else:
            raise BlobMissing("a blob is missing")
        size = answer.expect(doing, _OK).length
        try:
            modified_at = parsedate_to_datetime(answer.headers["last-modified"]).astimezone(UTC)
        except (KeyError, ValueError, OverflowError) as error:
            raise BlobReadFailed("the backend tells no time of a blob") from error
        if size < 0:
            raise BlobReadFailed("the backend tells no size of a blob")
        return BlobStat(blob_id, size, modified_at)

    async def delete(self, blob_id: bytes) -> None:
        """Remove a blob with all its versions. Raises: BlobHeld, StorageUnavailable."""
        await self._delete(_name(blob_id))

    async def _delete(self, name: str) -> None:
        traits = await self.traits()
        try:
            await delete_object(self._backend, name, versioned=traits.versioned)
        except StorageUnavailable:
            if traits.locks and (held := await retention_of(self._backend, name)) is not None:
                raise BlobHeld(f"the backend keeps a blob until {held:%Y-%m-%d %H:%M} UTC") from None
            raise

    async def retain(self, blob_id: bytes, until: datetime) -> bool:
        """Put a blob under COMPLIANCE in a bucket with object lock. Raises: BlobMissing, StorageUnavailable."""
        traits = await self.traits()
        if traits.locks:
            await retain_object(self._backend, _name(blob_id), until)
        return traits.locks

    async def iterate(self) -> AsyncIterator[BlobStat]:
        """Every blob once, a page of names at a time. Raises: BlobReadFailed, StorageUnavailable."""
        prefix = self._backend.target.prefix
        last = ""
        async for page in self._pages({"list-type": "2", "prefix": prefix + _BLOBS}):
            for entry in page.iterfind("Contents"):
                found = _BLOB_NAME.fullmatch((entry.findtext("Key") or "").removeprefix(prefix))
                if found is None:
                    continue
                if found[2] <= last:
                    raise BlobReadFailed("the backend lists a name twice, or in another order than S3 does")
                last = found[2]
                try:
                    size, modified_at = int(entry.findtext("Size") or ""), parsed_time(entry.findtext("LastModified"))
                except ValueError as error:
                    raise BlobReadFailed("the backend lists a blob without its size or time") from error
                # As HEAD tells it, in whole seconds.
                yield BlobStat(bytes.fromhex(found[2]), size, modified_at.replace(microsecond=0))

    async def _pages(self, query: dict[str, str]) -> AsyncIterator[ET.Element]:
        """The pages of ListObjectsV2. Raises: BlobReadFailed where they lead nowhere."""
        doing, more = "walking the store", dict[str, str]()
        last, idle = "", 0
        while True:
            answer = await self._backend.ask(Call("GET", None, query | more), doing)
            page = answer.expect(doing, _OK).document(doing, "ListBucketResult")
            yield page
            if page.findtext("IsTruncated") != "true":
                return
            token = page.findtext("NextContinuationToken") or ""
            newest = max((name.text or "" for path in _LISTED for name in page.iterfind(path)), default="")
            last, idle = (newest, 0) if newest > last else (last, idle + 1)
            if token in ("", more.get("continuation-token")) or idle > _IDLE_PAGES:
                raise BlobReadFailed("the backend's pages of names lead in a circle, or nowhere")
            more = {"continuation-token": token}

    async def stranger(self) -> str | None:
        """A name behind the prefix that is none of ours, looked for by first words. Raises: StorageUnavailable."""
        prefix = self._backend.target.prefix
        async for page in self._pages({"list-type": "2", "prefix": prefix, "delimiter": "/"}):
            listed = [entry.findtext("Key") or "" for entry in page.iterfind("Contents")]
            listed += [entry.findtext("Prefix") or "" for entry in page.iterfind("CommonPrefixes")]
            for name in listed:
                # Some servers list the prefix itself, as the folder that it stands for.
                if name.removeprefix(prefix) not in ("", _REALM, _BLOBS, PROBES):
                    return name
        return None

    async def reclaim_debris(self, older_than: datetime) -> int:
        """Abort uploads that were begun before that. Raises: StorageUnavailable."""
        # Without a prefix: MinIO takes one for a whole key. The bucket is ours, so there are few others.
        doing, count = "looking for unfinished uploads", 0
        prefix = self._backend.target.prefix
        more: dict[str, str] = {}
        for _ in range(_UPLOAD_PAGES):
            answer = await self._backend.ask(Call("GET", None, {"uploads": ""} | more), doing)
            page = answer.expect(doing, _OK).document(doing, "ListMultipartUploadsResult")
            for upload in page.iterfind("Upload"):
                key, upload_id = upload.findtext("Key") or "", upload.findtext("UploadId") or ""
                if not key.startswith(prefix) or _began(upload) >= older_than:
                    continue
                call = Call("DELETE", key.removeprefix(prefix), {"uploadId": upload_id})
                ended = await self._backend.ask(call, "aborting an upload")
                if ended.status != _NOT_FOUND:
                    ended.expect("aborting an upload", _OK, _NO_CONTENT)
                    count += 1
            marker = (page.findtext("NextKeyMarker") or "", page.findtext("NextUploadIdMarker") or "")
            if page.findtext("IsTruncated") != "true" or marker == tuple(more.values()):
                break
            more = {"key-marker": marker[0], "upload-id-marker": marker[1]}
        return count

    async def check(self) -> None:
        """Probe the backend anew, and write, read and delete one small blob. Raises: StorageError."""
        self._probing = None
        for line in (await self.traits()).lacks():
            _LOG.warning("the blob backend lacks something: %s", line)
        blob_id, content = secrets.token_bytes(BLOB_ID_SIZE), secrets.token_bytes(64)
        await self.put(blob_id, of_bytes(content))
        try:
            reader = await self.open(blob_id)
            if await reader.read(0, len(content)) != content:
                raise StorageUnavailable("the backend gave back other bytes than were written: do not use it")
        finally:
            await self.delete(blob_id)

    async def close(self) -> None:
        """Wait for clean-ups, and end the threads."""
        if self._is_closed:
            return
        self._is_closed = True
        tasks = [*self._behind, *([self._probing] if self._probing is not None else [])]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._backend.close()


async def _undo(putting: Putting, run: "asyncio.Future[int]") -> None:
    """Wait for a put to end, and take away what it made."""
    if not run.done() and not putting.is_sent:
        # What makes the object visible may still arrive once it was sent, so that is waited for by its own limits.
        run.cancel()
    await asyncio.wait({run})
    await putting.undo()
    putting.release()


def _name(blob_id: bytes) -> str:
    assert len(blob_id) == BLOB_ID_SIZE
    name = blob_id.hex()
    return f"{_BLOBS}{name[:2]}/{name}"


def _began(upload: ET.Element) -> datetime:
    try:
        return parsed_time(upload.findtext("Initiated"))
    except ValueError:  # of an unknown age: never old enough
        return datetime.max.replace(tzinfo=UTC)
