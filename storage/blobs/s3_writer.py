"""Puts of one object: one request up to a part's size, a multipart upload above; held until acknowledged.

Every put carries a random token of its own, by which an acknowledgement that was lost, and an answer that says more
than was done, are settled: HEAD tells whether the object that is there is this one, and whole.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape

from storage.blobs.base import Buffer
from storage.blobs.s3_backend import SILENCES, Backend, Call, Checksum, checksum_headers, refusal
from storage.errors import BlobExists, StorageError, StorageUnavailable
from storage.seams import reach

PART_BYTES: Final = 8 * 1024 * 1024
"""Bytes of every part but the last; all alike, since some servers want that."""

MAX_PARTS: Final = 10_000
COMPLETED_PER_SILENCE: Final = 100
"""Parts for which completing may take one `timeout_s` longer: servers that copy them send blanks meanwhile."""
PARTS_AT_ONCE: Final = 3
"""Parts of one blob that are under way while the next one is gathered."""

UNCOUNTED_BYTES: Final = 256 * 1024
"""A blob up to here takes no place among the held bytes."""

TOKEN_HEADER: Final = "x-amz-meta-sealgate-put"  # noqa: S105 - a name
_OK, _NOT_FOUND = 200, 404


class HeldBytes:
    """Places for parts that wait for their acknowledgement, shared by all puts. Belongs to one event loop."""

    def __init__(self, held_bytes: int, wait_s: float) -> None:
        self._free = asyncio.Semaphore(max(1, held_bytes // PART_BYTES))
        self._wait_s = wait_s
        self.waiting_count = 0

    async def take(self) -> None:
        """Wait for a place. Raises: StorageUnavailable."""
        self.waiting_count += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError as error:
            raise StorageUnavailable("more uploads are under way than s3_held_bytes has room for") from error
        finally:
            self.waiting_count -= 1

    async def take_at_once(self) -> bool:
        """Take a place if that takes no waiting."""
        if self._free.locked() or self.waiting_count:
            return False
        return await self._free.acquire()

    def give(self) -> None:
        """Give a place back."""
        self._free.release()


@dataclass(slots=True)
class _Gathering:
    """The part that is filled."""

    buffers: list[Buffer] = field(default_factory=list)
    size: int = 0

    def fill(self, view: memoryview) -> memoryview:
        """Take what still fits; return the rest."""
        taken = view[: PART_BYTES - self.size]
        self.buffers.append(taken)
        self.size += len(taken)
        return view[len(taken) :]


class Putting:
    """One put. `run` ends with the object whole and acknowledged, or raises; then `undo` takes away what is there."""

    def __init__(
        self,
        backend: Backend,
        held: HeldBytes,
        name: str,
        *,
        conditional: tuple[bool, bool],
        delete: Callable[[str], Awaitable[None]],
    ) -> None:
        """`conditional`: whether the backend refuses to replace on PUT, and on CompleteMultipartUpload."""
        self._delete = delete
        self._backend = backend
        self._held = held
        self._name = name
        self._conditional = conditional
        self._token = secrets.token_hex(16)
        self._upload_id = ""
        self._parts: list[asyncio.Task[str]] = []
        self._places = 0
        self._size = 0
        self.is_sent = False
        """Whether what makes the object visible may be on its way."""

    async def run(self, chunks: AsyncIterable[Buffer]) -> int:
        """Store what `chunks` gives. Raises: BlobExists, StorageError, and what `chunks` raises."""
        gathering = _Gathering()
        async for chunk in chunks:
            rest = memoryview(chunk).cast("B")
            while rest:
                if gathering.size == PART_BYTES:
                    await self._send_part(gathering)
                    gathering = _Gathering()
                rest = gathering.fill(rest)
                if not self._places and gathering.size > UNCOUNTED_BYTES:
                    await self._held.take()
                    self._places = 1
        if self._upload_id:
            await self._send_part(gathering, is_last=True)
            await self._complete()
        else:
            await self._put(gathering)
        return self._size

    async def _put(self, gathering: _Gathering) -> None:
        self._size = gathering.size
        conditional = self._conditional[0]
        await self._see_that_it_is_free(conditional)
        sums = await self._backend.run(checksum_headers, self._backend.target.checksum, gathering.buffers)
        call = Call("PUT", self._name, headers=self._headers(conditional) | sums, body=gathering.buffers)
        reach("blob.sending")
        await self._publish(call, "storing a blob")

    def _headers(self, conditional: bool) -> dict[str, str]:
        headers = {TOKEN_HEADER: self._token, "Content-Type": "application/octet-stream"}
        return headers | ({"If-None-Match": "*"} if conditional else {})

    async def _see_that_it_is_free(self, conditional: bool) -> None:
        """For a backend that would replace. Another process may come between, but ids are random: none has ours."""
        if not conditional and await self._found() is not None:
            raise BlobExists("a blob of this id is already stored")

    async def _send_part(self, gathering: _Gathering, *, is_last: bool = False) -> None:
        if not self._upload_id:
            await self._see_that_it_is_free(self._conditional[1])
            self._upload_id = await self._begin()
        if len(self._parts) == MAX_PARTS:
            raise StorageUnavailable("a blob is larger than the backend can take")
        self._size += gathering.size
        self._parts.append(asyncio.ensure_future(self._part(len(self._parts) + 1, gathering.buffers)))
        while not is_last:
            under_way = [part for part in self._parts[-PARTS_AT_ONCE - 1 :] if not part.done()]
            while self._places > len(under_way) + 1 and (self._held.waiting_count or self._places > PARTS_AT_ONCE):
                self._give()
            if self._places > len(under_way):
                break
            if len(under_way) < PARTS_AT_ONCE and await self._held.take_at_once():
                self._places += 1
                break
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        for part in self._parts:
            if part.done():
                part.result()

    def _give(self) -> None:
        self._places -= 1
        self._held.give()

    async def _begin(self) -> str:
        headers = {TOKEN_HEADER: self._token, "Content-Type": "application/octet-stream"}
        if self._backend.target.checksum is Checksum.CRC32C:
            headers["x-amz-checksum-algorithm"] = "CRC32C"
        doing = "beginning a blob"
        answer = (await self._backend.ask(Call("POST", self._name, {"uploads": ""}, headers), doing)).expect(doing, _OK)
        upload_id = answer.document(doing, "InitiateMultipartUploadResult").findtext("UploadId")
        if not upload_id:
            raise StorageUnavailable("the backend gave no upload id")
        return upload_id

    async def _part(self, number: int, body: list[Buffer]) -> str:
        """Send a part; return its element of CompleteMultipartUpload."""
        sums = await self._backend.run(checksum_headers, self._backend.target.checksum, body)
        query = {"partNumber": str(number), "uploadId": self._upload_id}
        doing = "storing a part of a blob"
        answer = (await self._backend.ask(Call("PUT", self._name, query, sums, body), doing)).expect(doing, _OK)
        etag = answer.headers.get("etag")
        if etag is None or not etag.isascii():
            raise StorageUnavailable("the backend acknowledged a part without an ETag")
        crc = sums.get("x-amz-checksum-crc32c")
        told = f"<ChecksumCRC32C>{crc}</ChecksumCRC32C>" if crc else ""
        return f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag>{told}</Part>"

    async def _complete(self) -> None:
        listed = "".join(await asyncio.gather(*self._parts))
        body = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</CompleteMultipartUpload>'
        headers = {"Content-Type": "application/xml"} | ({"If-None-Match": "*"} if self._conditional[1] else {})
        call = Call("POST", self._name, {"uploadId": self._upload_id}, headers, (body.encode("ascii"),))
        await self._publish(call, "completing a blob", SILENCES + len(self._parts) // COMPLETED_PER_SILENCE)

    async def _publish(self, call: Call, doing: str, silences: int = SILENCES) -> None:
        """Send what makes the object visible, and believe nothing but that it is there, ours and whole."""
        self.is_sent = True
        refused: StorageError | None = None
        try:
            answer = await self._backend.ask(call, doing, silences=silences)
        except StorageUnavailable as error:  # every acknowledgement was lost, or nothing was done
            refused = error
        else:
            if answer.status != _OK or answer.code:
                refused = refusal(answer, doing)
        reach("blob.sent")
        found = await self._found()
        if found == (self._token, self._size):
            reach("blob.durable")
            return
        if found is not None and found[0] != self._token:
            raise BlobExists("a blob of this id is already stored")
        if found is not None:
            raise StorageUnavailable("the backend acknowledged a blob and kept less of it")
        raise refused or StorageUnavailable("the backend acknowledged a blob and does not have it")

    async def _found(self) -> tuple[str, int] | None:
        """Token and size of the object that is there."""
        doing = "looking for a blob"
        for pause in (0.0, 0.1, 0.4) if self.is_sent else (0.0,):
            await asyncio.sleep(pause)
            answer = await self._backend.ask(Call("HEAD", self._name), doing)
            if answer.status != _NOT_FOUND:
                answer.expect(doing, _OK)
                return answer.headers.get(TOKEN_HEADER, ""), answer.length
        return None

    async def undo(self) -> None:
        """Take away what an ended `run` left, whatever its end. What cannot be reached is debris for the sweep."""
        for part in self._parts:
            part.cancel()
        await asyncio.gather(*self._parts, return_exceptions=True)
        with contextlib.suppress(StorageError):
            if self._upload_id:
                await self._backend.ask(Call("DELETE", self._name, {"uploadId": self._upload_id}), "undoing an upload")
        with contextlib.suppress(StorageError):
            if self.is_sent and (found := await self._found()) is not None and found[0] == self._token:
                await self._delete(self._name)

    def release(self) -> None:
        """Give every place back; the buffers may go."""
        while self._places:
            self._give()


async def of_bytes(content: bytes) -> AsyncIterator[bytes]:
    """A source of chunks that is here already."""
    yield content
