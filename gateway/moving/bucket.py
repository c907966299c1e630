"""A plain S3 bucket as source, over verified TLS. Nothing that it says is believed before the bytes have borne it out.

Sources: AWS "ListObjectsV2", "ListObjectVersions", "GetObject" (partNumber), "HeadObject".
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from botocore.exceptions import BotoCoreError

from gateway.errors import MoveError
from gateway.moving.client import asking, make_client
from gateway.moving.endpoint import AccessKey, Endpoint, Patience
from gateway.moving.places import (
    PIECE_BYTES,
    Interrupted,
    Item,
    ItemChanged,
    ItemFailed,
    PlaceFailed,
    part_sizes,
)
from gateway.s3.request import Headers
from gateway.s3.types import Checksum, ChecksumAlgorithm, Tags

_MD5: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PARTS: Final = re.compile(r"[0-9a-f]{32}-([1-9][0-9]{0,4})", re.ASCII)
_KEPT: Final = frozenset(
    {"content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires"}
)
_META: Final = "x-amz-meta-"
_ENTRY: Final = re.compile(rb"<(Version|DeleteMarker)>")
_ORDER: Final = "Order"

T = TypeVar("T")


class _Answer(dict[str, Any]):
    """What an endpoint answered, which may lack what every S3 sends."""

    def __missing__(self, name: str) -> Any:
        raise ItemFailed(f"the endpoint answers without {name}")


class Calls:
    """Blocking calls of one client, in threads of their own."""

    def __init__(self, endpoint: Endpoint, parallel: int, patience: Patience, key: AccessKey | None = None) -> None:
        """Raises: KeysError, PlaceFailed."""
        self.endpoint = endpoint
        self.client = make_client(endpoint, parallel, patience, key)
        self.client.meta.events.register("before-parse.s3.ListObjectVersions", _keep_order)
        self._pool = ThreadPoolExecutor(2 * parallel + 1, thread_name_prefix="moving")

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """In a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def ask(self, operation: str, **arguments: Any) -> Any:
        """One call about the bucket. Raises: MoveError, also where what is looked up in the answer is not there."""
        call = getattr(self.client, operation)
        return _Answer(await self.run(lambda: asking(call, Bucket=self.endpoint.bucket, **arguments)))

    async def pages(self, operation: str, **arguments: Any) -> AsyncGenerator[Any]:
        """Answers of a listing, page by page. Raises: PlaceFailed."""
        pages = iter(self.client.get_paginator(operation).paginate(Bucket=self.endpoint.bucket, **arguments))
        while True:
            try:
                page = await self.run(lambda: asking(lambda: next(pages, None)))
            except MoveError as error:
                raise PlaceFailed(f"{self.endpoint.name} cannot be listed: {error}") from None
            if page is None:
                return
            yield page

    def close(self) -> None:
        """Let go of threads and connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.client.close()


@dataclass(slots=True)
class BodyPiece:
    """The body of one answer."""

    calls: Calls
    body: Any
    size: int

    async def chunks(self, md5: "hashlib._Hash | None" = None) -> AsyncGenerator[bytes]:
        """Exactly `size` bytes. Raises: Interrupted where the source gives fewer or more."""
        left = self.size
        while chunk := await self.calls.run(self._read, md5):
            left -= len(chunk)
            if left < 0:
                raise Interrupted("the source sent more than it said")
            yield chunk
        if left:
            raise Interrupted("the source broke off")

    def _read(self, md5: "hashlib._Hash | None") -> bytes:
        try:
            chunk: bytes = self.body.read(PIECE_BYTES)
        except (BotoCoreError, OSError, ValueError) as error:
            raise Interrupted(f"the source broke off ({type(error).__name__})") from None
        if md5 is not None:
            md5.update(chunk)
        return chunk

    async def close(self) -> None:
        """Drop the connection unless all was read."""
        await self.calls.run(self.body.close)


class _Reading:
    """One version, opened. Parts are read by their numbers, or by ranges where the source has none."""

    def __init__(
        self, calls: Calls, item: Item, arguments: dict[str, Any], answer: Any, tags: Tags, *, by_number: bool
    ) -> None:
        sent = answer["ResponseMetadata"]["HTTPHeaders"]
        self.headers = _kept(sent)
        self.tags = tags
        hides = _hides(sent)
        whole = not hides and _MD5.fullmatch(item.etag)
        self.md5 = bytes.fromhex(item.etag) if whole else None
        self.parts_etag = item.etag if by_number and not hides else None
        self.checksum = _checksum(answer)
        self._calls, self._item, self._arguments = calls, item, arguments
        self._first: Any = answer.get("Body")
        self._ranges = () if by_number or self._first is not None else part_sizes(item.size)
        self.part_count = int(answer["PartsCount"]) if by_number else len(self._ranges) or 1

    async def piece(self, number: int) -> BodyPiece:
        """Open one part. Raises: MoveError."""
        if self._first is not None:
            body, self._first = self._first, None
            return BodyPiece(self._calls, body, self._item.size)
        if self._ranges:
            offset, length = sum(self._ranges[: number - 1]), self._ranges[number - 1]
            answer = await self._get(Range=f"bytes={offset}-{offset + length - 1}")
            if int(answer["ContentLength"]) != length:
                raise ItemFailed("the source does not give the ranges that it is asked for")
            return BodyPiece(self._calls, answer["Body"], length)
        answer = await self._get(PartNumber=number) if self.parts_etag or self.part_count > 1 else await self._get()
        return BodyPiece(self._calls, answer["Body"], int(answer["ContentLength"]))

    async def _get(self, **more: Any) -> Any:
        answer = await self._calls.ask("get_object", **self._arguments, **more)
        check_etag(self._item, answer)
        return answer

    async def settle(self) -> None:
        """Every answer named the ETag that was listed, so that all bytes are of one state."""

    async def close(self) -> None:
        """Drop what was not read."""
        if self._first is not None:
            await self._calls.run(self._first.close)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a source tells of an object."""

    item: Item
    headers: Headers
    tags: Tags
    has_md5: bool
    """Whether its ETag is an MD5 of the content, or of the MD5s of its parts."""


def _kept(sent: Mapping[str, str]) -> Headers:
    return Headers(
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in sent.items()
        if name in _KEPT or name.startswith(_META)
    )


def _hides(sent: Mapping[str, str]) -> bool:
    """Whether the ETag looks like an MD5 and is none, as under SSE-KMS and SSE-C."""
    return sent.get("x-amz-server-side-encryption", "").startswith("aws:") or (
        "x-amz-server-side-encryption-customer-algorithm" in sent
    )


class BucketSource:
    """The objects of a bucket at any S3, below a prefix."""

    def __init__(self, endpoint: Endpoint, parallel: int, patience: Patience, key: AccessKey | None = None) -> None:
        """Raises: KeysError, PlaceFailed."""
        self.name = endpoint.name
        self._prefix = endpoint.prefix
        self._calls = Calls(endpoint, parallel, patience, key)

    async def walk(self, after: bytes, *, versions: bool) -> AsyncGenerator[Item]:
        """By ListObjectsV2 or ListObjectVersions, behind a key. Raises: PlaceFailed."""
        name = "list_object_versions" if versions else "list_objects_v2"
        begin = {"KeyMarker" if versions else "StartAfter": after.decode("utf-8")} if after else {}
        last = after
        async with aclosing(self._calls.pages(name, Prefix=self._prefix, **begin)) as pages:
            async for page in pages:
                for item in in_order(page) if versions else map(_item, page.get("Contents", ())):
                    if item.object_key > last or (versions and item.object_key == last != after):
                        last = item.object_key
                        yield item
                    elif item.object_key != after:
                        raise PlaceFailed(f"{self.name} lists its keys in another order than S3 does")

    async def open(self, item: Item) -> _Reading:
        """Get it, or its head where it has parts or is large. Raises: MoveError."""
        try:
            arguments: dict[str, Any] = {"Key": item.object_key.decode("utf-8")}
        except UnicodeDecodeError:
            raise ItemFailed("the key is no UTF-8") from None
        if item.version_id is not None:
            arguments["VersionId"] = item.version_id
        answer, by_number = await self._first(item, arguments)
        try:
            check_etag(item, answer)
            tags = await self._tags(answer, arguments)
            return _Reading(self._calls, item, arguments, answer, tags, by_number=by_number)
        except BaseException:
            if "Body" in answer:
                answer["Body"].close()
            raise

    async def _tags(self, answer: Any, arguments: dict[str, Any]) -> Tags:
        if int(answer.get("TagCount", 0)) == 0 and (
            "x-amz-tagging-count" not in answer["ResponseMetadata"]["HTTPHeaders"]
        ):
            return ()
        return tags_of(await self._calls.ask("get_object_tagging", **arguments))

    async def look(self, item: Item) -> "Looked":
        """What is told of it, without its bytes, as it is now. Raises: MoveError, ItemGone."""
        arguments = {"Key": item.object_key.decode("utf-8")}
        head = await self._calls.ask("head_object", **arguments)
        sent = head["ResponseMetadata"]["HTTPHeaders"]
        etag = str(head.get("ETag", "")).strip('"')
        now = Item(item.object_key, int(head["ContentLength"]), etag, _utc(head["LastModified"]))
        is_proven = not _hides(sent) and (_MD5.fullmatch(etag) or _PARTS.fullmatch(etag)) is not None
        return Looked(now, _kept(sent), await self._tags(head, arguments), is_proven)

    async def _first(self, item: Item, arguments: dict[str, Any]) -> tuple[Any, bool]:
        """The first answer about an item, and whether its parts can be read by their numbers."""
        parts, is_large = _PARTS.fullmatch(item.etag), bool(part_sizes(item.size))
        if parts or is_large:
            head = await self._calls.ask("head_object", **arguments, **({"PartNumber": 1} if parts else {}))
            by_number = parts is not None and head.get("PartsCount") == int(parts[1])
            if by_number or is_large:
                return head, by_number
        answer = await self._calls.ask("get_object", **arguments, ChecksumMode="ENABLED")
        if int(answer["ContentLength"]) != item.size:
            answer["Body"].close()
            raise ItemChanged("the source has another length than it listed")
        return answer, False

    async def close(self) -> None:
        """Let go of threads and connections."""
        self._calls.close()


def _item(entry: Any, *, is_delete_marker: bool = False) -> Item:
    """An entry of a list. Raises: PlaceFailed for one that is none."""
    try:
        return Item(
            entry["Key"].encode("utf-8", "surrogateescape"),
            0 if is_delete_marker else int(entry["Size"]),
            str(entry.get("ETag", "")).strip('"'),
            _utc(entry["LastModified"]),
            entry.get("VersionId"),
            is_delete_marker,
        )
    except (KeyError, AttributeError, ValueError, TypeError):
        raise PlaceFailed("the list of objects is not as S3 writes it") from None


def _utc(told: datetime) -> datetime:
    """A time that an answer tells. One at the end of the calendar has no other clock's: it stays as it is."""
    try:
        return told.astimezone(UTC)
    except OverflowError:
        return told


def _keep_order(
    http_response: Any = None, response_dict: Any = None, customized_response_dict: Any = None, **_: Any
) -> None:
    """Keep the order of versions and delete markers, of which botocore makes two lists."""
    del http_response
    customized_response_dict[_ORDER] = _ENTRY.findall(response_dict["body"])


def in_order(page: Any) -> list[Item]:
    """A page of ListObjectVersions in the order of its XML: by key, the newest first. Raises: PlaceFailed."""
    versions, markers = iter(page.get("Versions", ())), iter(page.get("DeleteMarkers", ()))
    kinds = page[_ORDER]
    if kinds.count(b"Version") != len(page.get("Versions", ())) or kinds.count(b"DeleteMarker") != len(
        page.get("DeleteMarkers", ())
    ):
        raise PlaceFailed("the list of versions is not as S3 writes it")
    return [
        _item(next(versions)) if kind == b"Version" else _item(next(markers), is_delete_marker=True) for kind in kinds
    ]


def tags_of(answer: Any) -> Tags:
    """The tags in an answer. Raises: ItemFailed."""
    return tuple((tag["Key"], tag["Value"]) for tag in map(_Answer, answer["TagSet"]))


def check_etag(item: Item, answer: Any) -> None:
    """Raises: ItemChanged."""
    if str(answer.get("ETag", "")).strip('"') != item.etag:
        raise ItemChanged("the source changed it since it was listed")


def _checksum(answer: Any) -> Checksum | None:
    """A checksum of the whole, as the source keeps it."""
    if answer.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT" or "Body" not in answer:
        return None
    for algorithm in ChecksumAlgorithm:
        value = answer.get(f"Checksum{algorithm.value}")
        if value and "-" not in value:
            return Checksum(algorithm, value)
    return None
