"""What every catalogue does: what listings mean."""

import asyncio
import random

from storage.catalogue.base import Catalogue
from storage.catalogue.commands import DeleteVersion, ListQuery
from tests.suites.catalogue import BUCKET, OTHER, Maker


class ListingSuite:
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
