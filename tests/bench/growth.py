"""How the catalogue's answers grow with the number of objects: a page, common prefixes, a read, a write, opening it.

In-process, through the catalogue's own contract; every version has one content with one small inline blob: listings
read no blobs. The time is that of the call, on the loop, with nothing beside it.
"""

import asyncio
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from storage.catalogue.commands import ListQuery, PublishVersion
from storage.catalogue.records import NULL_VERSION_ID, Account, Blob, BlobRole, Bucket, Content, ObjectVersion
from storage.catalogue.sqlite import SqliteCatalogue

_PREFIXES: Final = 1000
_AT_ONCE: Final = 2000
_REPEATS: Final = 15


@dataclass(frozen=True)
class Growth:
    """Medians in milliseconds at that many objects."""

    objects: int
    page_ms: float
    prefixes_ms: float
    get_ms: float
    put_ms: float
    open_ms: float
    """Opening it again, with the count of its versions and the first moment of its audit."""
    build_s: float


def measure(folder: Path, sizes: list[int], inline_bytes: int) -> list[Growth]:
    """Build one catalogue up to the largest of `sizes`, measuring at each."""
    folder.mkdir(parents=True)
    return asyncio.run(_measure(folder, sizes, inline_bytes))


async def _measure(folder: Path, sizes: list[int], inline_bytes: int) -> list[Growth]:
    now = datetime.now(UTC)
    keys = secrets.token_bytes(16), secrets.token_bytes(32), secrets.token_bytes(32)
    catalogue = SqliteCatalogue.create(folder / "catalogue", *keys, lambda: datetime.now(UTC))
    account = Account(secrets.token_bytes(16), "bench", now)
    bucket = Bucket(secrets.token_bytes(16), "bench", account.account_id, now)
    await catalogue.create_account(account)
    await catalogue.create_bucket(bucket, 1)
    found: list[Growth] = []
    built = 0
    began = time.perf_counter()
    for size in sizes:
        while built < size:
            count = min(_AT_ONCE, size - built)
            commands = (_command(bucket, _key(number), inline_bytes) for number in range(built, built + count))
            await asyncio.gather(*(catalogue.publish_version(command) for command in commands))
            built += count
            if built % 50_000 == 0:
                print(f"  {built} objects, {time.perf_counter() - began:.0f} s", flush=True)
        build_s = time.perf_counter() - began
        page_ms, prefixes_ms, get_ms, put_ms = await _medians(catalogue, bucket, size)
        await catalogue.close()
        reopening = time.perf_counter()
        # What is left of the audit ends while the next size is built.
        catalogue = SqliteCatalogue.open(folder / "catalogue", *keys, lambda: datetime.now(UTC))
        open_ms = (time.perf_counter() - reopening) * 1000
        found.append(Growth(size, page_ms, prefixes_ms, get_ms, put_ms, open_ms, build_s))
        print(f"  {found[-1]}", flush=True)
    await catalogue.close()
    return found


async def _medians(catalogue: SqliteCatalogue, bucket: Bucket, size: int) -> list[float]:
    """Of a page, common prefixes, a read and a write, in milliseconds."""

    async def page() -> object:
        return await catalogue.list_versions(bucket.bucket_id, ListQuery(start_after=_key(7)))

    async def prefixes() -> object:
        return await catalogue.list_versions(bucket.bucket_id, ListQuery(delimiter=b"/"))

    async def get() -> object:
        return await catalogue.get_version(bucket.bucket_id, _key(secrets.randbelow(size)))

    async def put() -> object:
        return await catalogue.publish_version(_command(bucket, b"~" + secrets.token_bytes(4).hex().encode(), 0))

    return [await _median_ms(call) for call in (page, prefixes, get, put)]


async def _median_ms(call: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        await call()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def _key(number: int) -> bytes:
    """Spreads keys over the prefixes, so that every prefix grows alike."""
    return b"p%04d/%07d" % (number % _PREFIXES, number // _PREFIXES)


def _command(bucket: Bucket, object_key: bytes, inline_bytes: int) -> PublishVersion:
    inline = secrets.token_bytes(inline_bytes + 700)
    blob = Blob(
        blob_id=secrets.token_bytes(16),
        role=BlobRole.OBJECT,
        plaintext_size=inline_bytes,
        sealed_size=len(inline),
        slot_size=128,
        salt=inline[:24],
        commitment=inline[:32],
        footer_hash=inline[:32],
        inline=inline,
    )
    content_id = secrets.token_bytes(16)
    content = Content(content_id, bucket.bucket_id, bucket.account_id, "AES256", "", inline[:128], (blob,))
    now = datetime.now(UTC)
    attributes = {"headers": {"content-type": "text/plain"}}
    version = ObjectVersion(
        bucket.bucket_id, object_key, NULL_VERSION_ID, content_id, inline_bytes, "0" * 32, now, attributes
    )
    return PublishVersion(version, content)
