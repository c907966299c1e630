"""Reading through: a bucket that answers from the source of its import until all of it is sealed here.

Where a source is registered its endpoint, its access key and a random id stand in the bucket's configurations, sealed
as everything there. A version whose bytes are still over there names that id, and its row the size and the ETag that
were registered: bytes of another state are never given, but 503. Design: docs/decisions/0019.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from gateway.engine.opening import OpenedSpan
from gateway.engine.turns import Turns
from gateway.errors import MoveError
from gateway.moving.endpoint import AccessKey, Endpoint, Patience
from gateway.moving.places import Item
from gateway.s3.types import Buffer
from keys.errors import KeysError
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import HistoryQuery
from storage.catalogue.conflicts import NoSuchBucket
from storage.catalogue.records import Bucket, ObjectVersion
from storage.errors import StorageUnavailable

if TYPE_CHECKING:
    from gateway.moving.bucket import BodyPiece, Calls

SOURCE: Final = "source"
"""The configuration that names the source, from the registering until all is sealed."""
_TOO_MANY: Final = (
    "Too many objects are being read from where they are imported from, of this account or of all. Try again, with"
    " fewer at a time."
)
_MD5: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Registered:
    """A source, as a bucket's configuration keeps it."""

    source_id: str
    endpoint: Endpoint
    key: AccessKey
    account: str
    """Whose the bucket is: what is read through counts for it."""

    def encode(self) -> bytes:
        """For the catalogue, which seals it."""
        endpoint = self.endpoint
        kept = {
            "source_id": self.source_id,
            "url": endpoint.url,
            "bucket": endpoint.bucket,
            "prefix": endpoint.prefix,
            "region": endpoint.region,
            "ca_file": "" if endpoint.ca_file is None else str(endpoint.ca_file),
            "access_key_id": self.key.access_key_id,
            "secret_access_key": self.key.secret_access_key,
            "session_token": self.key.session_token or "",
            "account": self.account,
        }
        return json.dumps(kept).encode("ascii")

    @classmethod
    def decode(cls, document: bytes) -> Self:
        """The reverse; the catalogue has authenticated it."""
        kept = json.loads(document)
        ca_file = Path(kept["ca_file"]) if kept["ca_file"] else None
        endpoint = Endpoint(kept["url"], kept["bucket"], kept["prefix"], kept["region"], ca_file, None, "")
        key = AccessKey(kept["access_key_id"], kept["secret_access_key"], kept["session_token"] or None)
        return cls(kept["source_id"], endpoint, key, kept["account"])


async def registered_source(catalogue: Catalogue, bucket: Bucket) -> Registered | None:
    """The source that a bucket reads through to. Raises: NoSuchBucket, StorageError."""
    document = await catalogue.get_configuration(bucket.bucket_id, SOURCE)
    return None if document is None else Registered.decode(document)


async def pending_versions(catalogue: Catalogue, bucket: Bucket, after: bytes) -> AsyncGenerator[ObjectVersion]:
    """Versions behind a key whose bytes are still at the source, current or not. Raises: NoSuchBucket, StorageError."""
    query = HistoryQuery(key_marker=after)
    while True:
        page = await catalogue.list_history(bucket.bucket_id, query)
        for version in page.versions:
            if "pending" in version.attributes:
                yield version
        if not page.is_truncated:
            return
        query = HistoryQuery(key_marker=page.next_key_marker, version_id_marker=page.next_version_id_marker)


@dataclass(frozen=True, slots=True)
class _Client:
    document: bytes
    registered: Registered
    calls: "Calls"


class ReadThrough:
    """Reads from the sources of a gateway's buckets; `gateway.engine.objects.Through`. Belongs to one event loop."""

    def __init__(
        self, catalogue: Catalogue, streams: int, account_percent: int, wait_s: float, patience: Patience
    ) -> None:
        """At most `streams` are read at once, of which one account has its share; who waits longer is refused."""
        self._catalogue = catalogue
        self._patience = patience
        self._places = Turns(streams, wait_s, account_percent=account_percent, refusal=_TOO_MANY)
        self._clients: dict[bytes, _Client] = {}
        self._making = asyncio.Lock()

    async def open(self, version: ObjectVersion, offset: int, length: int) -> OpenedSpan:
        """A span of a pending version's bytes; the first piece is here.

        Raises (here, and later from the iterator):
            StorageUnavailable: the source cannot be asked, or has that state no more.
            S3Error: SlowDown where too many are read already.
        """
        client = await self._client_for(version)
        return await OpenedSpan.of(self._pieces(client, version, offset, length))

    async def _client_for(self, version: ObjectVersion) -> _Client:
        from gateway.moving.bucket import Calls  # noqa: PLC0415  # boto3: half a second that only moves shall pay

        try:
            document = await self._catalogue.get_configuration(version.bucket_id, SOURCE)
        except NoSuchBucket:
            document = None
        if document is None:
            raise StorageUnavailable("the source of the import is forgotten: look the object up again")
        async with self._making:
            held = self._clients.get(version.bucket_id)
            if held is None or held.document != document:
                if held is not None:
                    held.calls.close()
                registered = Registered.decode(document)
                try:
                    calls = await asyncio.to_thread(
                        Calls, registered.endpoint, self._places.share, self._patience, registered.key
                    )
                except (MoveError, KeysError) as error:
                    raise StorageUnavailable(f"the source of the import cannot be used: {error}") from error
                held = self._clients[version.bucket_id] = _Client(document, registered, calls)
        if version.attributes.get("pending") != held.registered.source_id:
            raise StorageUnavailable("the object was registered from another source than the bucket has")
        return held

    async def _pieces(
        self, client: _Client, version: ObjectVersion, offset: int, length: int
    ) -> AsyncGenerator[Buffer]:
        """The bytes; of a whole the last piece comes only once its MD5 has borne all of it out."""
        if not length:
            return
        is_whole = length == version.size
        md5 = hashlib.md5(usedforsecurity=False) if is_whole and _MD5.fullmatch(version.etag) else None
        held = b""
        try:
            async with self._place(client.registered.account):
                piece = await _ask(client.calls, version, offset, length)
                try:
                    async with aclosing(piece.chunks(md5)) as chunks:
                        async for chunk in chunks:
                            if held:
                                yield held
                            held = chunk
                    if md5 is not None and md5.hexdigest() != version.etag:
                        raise StorageUnavailable("the source of the import gave other bytes than its ETag says")
                finally:
                    await piece.close()
        except MoveError as error:
            raise StorageUnavailable(f"the source of the import does not give the object: {error}") from error
        # Nothing is held or waited for behind it: the source gave all, and a client may take its time with the last.
        yield held

    @asynccontextmanager
    async def _place(self, account: str) -> AsyncIterator[None]:
        """One stream for an account. Raises: S3Error SlowDown."""
        await self._places.take(account, 1)
        try:
            yield
        finally:
            self._places.give_back(account, 1)

    def close(self) -> None:
        """Let go of threads and connections."""
        for client in self._clients.values():
            client.calls.close()
        self._clients.clear()


def _check_span(answer: Any, length: int, span: str | None) -> None:
    """Raises: StorageUnavailable."""
    if int(answer["ContentLength"]) != length or answer.get("ContentRange") != span:
        raise StorageUnavailable("the source of the import gave another span than it was asked for")


async def _ask(calls: "Calls", version: ObjectVersion, offset: int, length: int) -> "BodyPiece":
    """Ask for exactly that span of exactly that state. Raises: MoveError, StorageUnavailable."""
    from gateway.moving.bucket import BodyPiece, check_etag  # noqa: PLC0415  # as above

    wanted: dict[str, Any] = {"Key": version.object_key.decode("utf-8"), "IfMatch": f'"{version.etag}"'}
    is_whole = length == version.size
    span = f"bytes {offset}-{offset + length - 1}/{version.size}"
    if not is_whole:
        wanted["Range"] = f"bytes={offset}-{offset + length - 1}"
    answer = await calls.ask("get_object", **wanted)
    piece = BodyPiece(calls, answer["Body"], length)
    try:
        check_etag(Item(version.object_key, version.size, version.etag, version.created_at), answer)
        _check_span(answer, length, None if is_whole else span)
    except BaseException:
        await piece.close()
        raise
    return piece
