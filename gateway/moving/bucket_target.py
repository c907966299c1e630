"""A plain S3 bucket as target, over verified TLS: each request has the MD5 of its bytes, none replaces an object.

Sources: AWS "PutObject", "CompleteMultipartUpload" (Content-MD5, If-None-Match), "ListObjectVersions".
"""

import hashlib
from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final
from urllib.parse import urlencode

from gateway.errors import MoveError
from gateway.moving.bucket import Calls, in_order, tags_of
from gateway.moving.endpoint import Endpoint, Patience
from gateway.moving.places import (
    PIECE_BYTES,
    Interrupted,
    ItemChanged,
    ItemFailed,
    ItemGone,
    Opened,
    Outgoing,
    PlaceFailed,
)

_HEADERS: Final = {
    "content_type": "ContentType",
    "cache_control": "CacheControl",
    "content_disposition": "ContentDisposition",
    "content_encoding": "ContentEncoding",
    "content_language": "ContentLanguage",
    "expires": "Expires",
}
_COMPARED: Final = tuple(name for name in _HEADERS if name != "expires")
"""Headers that a target must give back as they were sent; servers write dates in their own way."""
_META: Final = "x-amz-meta-"
_OTHER: Final = "the target holds something else under this key; it was left as it is"
_DESCRIBED_OTHERWISE: Final = "the target holds its bytes with other headers, metadata or tags than here"


class BucketTarget:
    """Objects of a bucket at any S3. A part, or an object of one part, is held in memory until it is acknowledged."""

    def __init__(self, endpoint: Endpoint, parallel: int, patience: Patience, *, versions: bool) -> None:
        """Raises: KeysError, PlaceFailed."""
        self.name = endpoint.name
        self.keeps_versions = versions
        self._prefix = endpoint.prefix
        self._calls = Calls(endpoint, parallel, patience)

    async def check(self) -> None:
        """See that the bucket can take what is to come. Raises: PlaceFailed."""
        try:
            await self._calls.ask("head_bucket")
            if self.keeps_versions and (await self._calls.ask("get_bucket_versioning")).get("Status") != "Enabled":
                raise PlaceFailed(f"{self.name} is not versioned: enable its versioning, or leave --versions out")
        except ItemGone:
            raise PlaceFailed(f"there is no {self.name}: make the bucket there first") from None
        except (ItemFailed, Interrupted) as error:
            raise PlaceFailed(f"{self.name} cannot be used: {error}") from None

    def _key(self, outgoing: Outgoing) -> str:
        return self._prefix + outgoing.object_key.decode("utf-8")

    async def holds(self, outgoing: Outgoing, index: int, count: int, opened: Opened) -> int:
        """Compare what is there at its place. Raises: ItemChanged, MoveError."""
        there, held = await self._there(outgoing)
        if len(there) > count:
            raise ItemChanged(_OTHER)
        if len(there) > index:
            size, etag = there[index]
            is_same = (size is None) == outgoing.is_delete_marker
            if is_same and size is not None:
                is_same = size == outgoing.size and await _same(etag, outgoing, opened)
            if not is_same:
                raise ItemChanged(_OTHER)
            if held is not None and not await self._is_described(held, outgoing):
                raise ItemChanged(_DESCRIBED_OTHERWISE)
        return len(there)

    async def _there(self, outgoing: Outgoing) -> tuple[list[tuple[int | None, str]], Any]:
        """Sizes and ETags of the versions of a key, the oldest first; None for a delete marker.

        And what HEAD tells of the only one, where versions do not count.
        """
        key = self._key(outgoing)
        if not self.keeps_versions:
            try:
                held = await self._calls.ask("head_object", Key=key)
            except ItemGone:
                return [], None
            return [(int(held["ContentLength"]), str(held["ETag"]).strip('"'))], held
        found: list[tuple[int | None, str]] = []
        async with aclosing(self._calls.pages("list_object_versions", Prefix=key)) as pages:
            async for page in pages:
                items = in_order(page)
                found += [
                    (None if item.is_delete_marker else item.size, item.etag)
                    for item in items
                    if item.object_key == key.encode()
                ]
                if items and items[-1].object_key != key.encode():
                    break
        return found[::-1], None

    async def _is_described(self, held: Any, outgoing: Outgoing, **version: str) -> bool:
        """Whether the target tells of a version what was sent with it."""
        sent = held["ResponseMetadata"]["HTTPHeaders"]
        told = {name: sent.get(name.replace("_", "-")) for name in _COMPARED if name in outgoing.headers}
        metadata = {name.removeprefix(_META): value for name, value in sent.items() if name.startswith(_META)}
        if told != {name: outgoing.headers[name] for name in told} or metadata != dict(outgoing.metadata):
            return False
        if not outgoing.tags:
            return True
        tagging = await self._calls.ask("get_object_tagging", Key=self._key(outgoing), **version)
        return dict(tags_of(tagging)) == dict(outgoing.tags)

    async def put(self, outgoing: Outgoing, opened: Opened, *, read_back: bool) -> None:
        """Write a version or a delete marker. Raises: MoveError."""
        key = self._key(outgoing)
        if outgoing.is_delete_marker:
            await self._calls.ask("delete_object", Key=key)
            return
        if outgoing.parts:
            etag, answer = await self._put_parts(key, outgoing, opened)
        else:
            body = await _gathered(opened, 0, outgoing.size)
            md5 = hashlib.md5(body, usedforsecurity=False)
            etag = md5.hexdigest()
            answer = await self._calls.ask(
                "put_object", Key=key, Body=body, ContentMD5=_text(md5), **_described(outgoing), **self._condition()
            )
        version = {"VersionId": answer["VersionId"]} if answer.get("VersionId") else {}
        held = await self._calls.ask("head_object", Key=key, **version)
        if int(held["ContentLength"]) != outgoing.size:
            raise ItemFailed("the target keeps another length than it was sent")
        if not await self._is_described(held, outgoing, **version):
            raise ItemFailed(_DESCRIBED_OTHERWISE)
        if read_back:
            await self._read_back(key, version, outgoing, etag)

    def _condition(self) -> dict[str, str]:
        return {} if self.keeps_versions else {"IfNoneMatch": "*"}

    async def _put_parts(self, key: str, outgoing: Outgoing, opened: Opened) -> tuple[str, Any]:
        upload = {"Key": key, "UploadId": ""}
        upload["UploadId"] = (await self._calls.ask("create_multipart_upload", Key=key, **_described(outgoing)))[
            "UploadId"
        ]
        try:
            parts, md5s, offset = [], b"", 0
            for number, size in enumerate(outgoing.parts, start=1):
                body = await _gathered(opened, offset, size)
                md5 = hashlib.md5(body, usedforsecurity=False)
                done = await self._calls.ask(
                    "upload_part", **upload, PartNumber=number, Body=body, ContentMD5=_text(md5)
                )
                parts.append({"PartNumber": number, "ETag": done["ETag"]})
                md5s += md5.digest()
                offset += size
            answer = await self._calls.ask(
                "complete_multipart_upload", **upload, MultipartUpload={"Parts": parts}, **self._condition()
            )
        except BaseException:
            with suppress(MoveError):
                await self._calls.ask("abort_multipart_upload", **upload)
            raise
        return f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(parts)}", answer

    async def _read_back(self, key: str, version: dict[str, str], outgoing: Outgoing, etag: str) -> None:
        answer = await self._calls.ask("get_object", Key=key, **version)
        body = answer["Body"]
        try:
            sums = _Sums(outgoing.parts or (outgoing.size,))
            while chunk := await self._calls.run(body.read, PIECE_BYTES):
                sums.update(chunk)
        finally:
            await self._calls.run(body.close)
        if sums.etag(has_parts=bool(outgoing.parts)) != etag:
            raise ItemFailed("what was read back is not what was written")

    async def note(self, outgoing: Outgoing) -> None:
        """The bucket lists it."""

    async def close(self) -> None:
        """Let go of threads and connections."""
        self._calls.close()


class _Sums:
    """MD5s of parts of known sizes, over bytes that come in any pieces."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = list(sizes)
        self._done: list[bytes] = []
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._left = self._sizes[0]

    def update(self, chunk: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(chunk)
        while view:
            if not self._left and len(self._done) + 1 < len(self._sizes):
                self._done.append(self._md5.digest())
                self._md5 = hashlib.md5(usedforsecurity=False)
                self._left = self._sizes[len(self._done)]
            take = view[: self._left] if self._left else view  # more than there should be: the sum is another
            self._md5.update(take)
            self._left = max(0, self._left - len(take))
            view = view[len(take) :]

    def etag(self, *, has_parts: bool) -> str:
        """The ETag that S3 would give."""
        if not has_parts:
            return self._md5.hexdigest()
        sums = [*self._done, self._md5.digest()]
        return f"{hashlib.md5(b''.join(sums), usedforsecurity=False).hexdigest()}-{len(sums)}"


def _text(md5: "hashlib._Hash") -> str:
    return b64encode(md5.digest()).decode("ascii")


def _described(outgoing: Outgoing) -> dict[str, Any]:
    told: dict[str, Any] = {_HEADERS[name]: value for name, value in outgoing.headers.items() if name in _HEADERS}
    if outgoing.metadata:
        told["Metadata"] = dict(outgoing.metadata)
    if outgoing.tags:
        told["Tagging"] = urlencode(outgoing.tags)
    return told


async def _gathered(opened: Opened, offset: int, length: int) -> bytes:
    """One part whole, as S3's client sends it."""
    gathered = bytearray()
    chunks: AsyncGenerator[bytes]
    async with aclosing(opened(offset, length)) as chunks:
        async for chunk in chunks:
            gathered += chunk
    return bytes(gathered)


async def _same(etag: str, outgoing: Outgoing, opened: Opened) -> bool:
    """Whether an ETag is that of our bytes, cut as we cut them; read where the row does not say it."""
    if outgoing.md5_etag and etag == outgoing.etag:
        return True
    sums = _Sums(outgoing.parts or (outgoing.size,))
    async with aclosing(opened(0, outgoing.size)) as chunks:
        async for chunk in chunks:
            sums.update(chunk)
    return sums.etag(has_parts=bool(outgoing.parts)) == etag
