"""The S3 store over a backend that fails, stalls and lies: a fault proxy before a real SeaweedFS, all over TLS."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from storage.blobs.s3 import S3BlobStore
from storage.blobs.s3_backend import S3Target
from storage.blobs.s3_writer import PART_BYTES
from storage.errors import BlobMissing, BlobReadFailed, StorageFull, StorageUnavailable
from tests.servers import s3_faults as faults
from tests.servers.https_double import Answer, HttpsDouble
from tests.servers.s3_faults import Act, S3FaultProxy
from tests.servers.s3_servers import S3Server
from tests.storage.blobs.s3.support import TRAITS, TRIES, objects_of, probed, uploads_of, walked
from tests.suites.blobs import blob_id, chunks, content, read_all

pytestmark = pytest.mark.anyio

ALWAYS: Final = 1000
SMALL: Final = content(300_000)
LARGE: Final = content(PART_BYTES + 4321)
LONG: Final = content(1_500_000)
"""Longer than what comes with opening a blob."""


async def test_the_probe_finds_what_these_tests_take_for_granted(target: S3Target) -> None:
    store = S3BlobStore(target)
    assert await store.traits() == TRAITS
    await store.close()


def flipped(body: bytes) -> bytes:
    """One bit changed, in the middle."""
    changed = bytearray(body)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


TROUBLE: Final = {
    "503": faults.refused(503, "SlowDown"),
    "500": faults.refused(500, "InternalError"),
    "429": faults.refused(429, "TooManyRequests"),
    "502 without a code": lambda _request, _forward: Answer(502, b"<html>Bad Gateway</html>"),
    "the connection breaks": faults.broken,
    "the acknowledgement is lost": faults.lost,
    "500 though it was done": faults.after(faults.refused(500, "InternalError")),
    "503 though it was done": faults.after(faults.refused(503, "SlowDown")),
    "the head is cut": faults.paced(faults.cut(20)),
}
"""What happens to one request, and is mended by sending it again."""


def some(table: Mapping[str, object], *names: str) -> list[object]:
    """Rows of a table by name, and the others in the long form."""
    assert set(names) <= set(table)
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in table]


@pytest.mark.parametrize("kind", ["put", "head"])
@pytest.mark.parametrize("trouble", TROUBLE)
async def test_a_small_put_survives(proxy: S3FaultProxy, store: S3BlobStore, kind: str, trouble: str) -> None:
    proxy.on(kind, TROUBLE[trouble], times=TRIES - 1)
    assert await store.put(blob_id(1), chunks(SMALL)) == len(SMALL)
    assert await read_all(store, blob_id(1)) == SMALL
    assert len(proxy.seen(kind)) == TRIES
    assert {request.body for request in proxy.seen("put")} == {SMALL}, "a retry sends the very bytes"


@pytest.mark.parametrize("kind", ["begin", "part", "complete"])
@pytest.mark.parametrize("trouble", some(TROUBLE, "503", "the acknowledgement is lost", "the head is cut"))
async def test_a_large_put_survives(
    proxy: S3FaultProxy, store: S3BlobStore, seaweedfs: S3Server, target: S3Target, kind: str, trouble: str
) -> None:
    proxy.on(kind, TROUBLE[trouble])
    assert await store.put(blob_id(1), chunks(LARGE, 1_000_003)) == len(LARGE)
    assert await read_all(store, blob_id(1)) == LARGE
    bodies = {request.path.partition("partNumber=")[2][0]: request.body for request in proxy.seen("part")}
    assert b"".join(bodies[number] for number in sorted(bodies)) == LARGE
    assert len({request.body for request in proxy.seen("part")}) == 2, "a retry sends the very bytes"
    # An upload whose beginning nobody heard of is debris.
    assert len(uploads_of(seaweedfs, target)) in ((0, 1) if kind == "begin" else (0,))


@pytest.mark.parametrize("kind", ["put", "part"])
async def test_a_bit_that_flips_on_its_way_in_is_sent_again(proxy: S3FaultProxy, store: S3BlobStore, kind: str) -> None:
    data = SMALL if kind == "put" else LARGE
    proxy.on(kind, faults.changed_on_the_way_in(flipped))
    await store.put(blob_id(1), chunks(data, 1_000_003))
    assert await read_all(store, blob_id(1)) == data


@pytest.mark.parametrize("kind", ["put", "part"])
@pytest.mark.parametrize("checksum", ["crc32c", "md5"])
async def test_bits_that_always_flip_on_their_way_in_store_nothing(
    proxy: S3FaultProxy, target: S3Target, seaweedfs: S3Server, kind: str, checksum: str
) -> None:
    store = probed(target, checksum=checksum)
    proxy.on(kind, faults.changed_on_the_way_in(flipped), times=ALWAYS)
    with pytest.raises(StorageUnavailable):
        await store.put(blob_id(1), chunks(SMALL if kind == "put" else LARGE, 1_000_003))
    await store.close()
    assert objects_of(seaweedfs, target) == []
    assert uploads_of(seaweedfs, target) == []


async def test_a_backend_that_does_not_verify_what_arrives_is_refused(target: S3Target) -> None:
    """SeaweedFS takes a SHA-256 of other bytes than came, where TLS carries them."""
    store = probed(target, checksum="sha256")
    with pytest.raises(StorageUnavailable, match="do not match their sha256 checksum"):
        await store.check()
    await store.close()


REFUSALS: Final = {
    "503 SlowDown": (faults.refused(503, "SlowDown"), StorageUnavailable, TRIES),
    "500 InternalError": (faults.refused(500, "InternalError"), StorageUnavailable, TRIES),
    "429 TooManyRequests": (faults.refused(429, "TooManyRequests"), StorageUnavailable, TRIES),
    "the connection breaks": (faults.broken, StorageUnavailable, TRIES),
    "403 AccessDenied": (faults.refused(403, "AccessDenied"), StorageUnavailable, 1),
    "403 RequestTimeTooSkewed": (faults.refused(403, "RequestTimeTooSkewed"), StorageUnavailable, 1),
    "404 NoSuchBucket": (faults.refused(404, "NoSuchBucket"), StorageUnavailable, 1),
    "507": (faults.refused(507, "InsufficientStorage"), StorageFull, 1),
    "XMinioStorageFull": (faults.refused(400, "XMinioStorageFull"), StorageFull, 1),
    "200 with an error inside": (faults.refused(200, "InternalError"), StorageUnavailable, 1),
}
"""What every request of a kind meets: the error, and how often it is sent."""
_OF_PARTS: Final = frozenset({"503 SlowDown", "404 NoSuchBucket", "200 with an error inside"})
"""Those that uploads in parts meet in the short form too."""


@pytest.mark.parametrize(
    ("kind", "refusal"),
    [
        *(("put", refusal) for refusal in REFUSALS),
        *(
            pytest.param(kind, refusal, marks=() if refusal in _OF_PARTS else pytest.mark.slow)
            for kind in ("begin", "part", "complete")
            for refusal in REFUSALS
        ),
    ],
)
async def test_a_put_that_is_refused_leaves_nothing(
    proxy: S3FaultProxy, store: S3BlobStore, seaweedfs: S3Server, target: S3Target, kind: str, refusal: str
) -> None:
    act, error, tries = REFUSALS[refusal]
    proxy.on(kind, act, times=ALWAYS)
    with pytest.raises(error) as caught:
        await store.put(blob_id(1), chunks(SMALL if kind == "put" else LARGE, 1_000_003))
    assert not isinstance(caught.value, StorageFull) or error is StorageFull
    await store.close()
    assert objects_of(seaweedfs, target) == []
    assert uploads_of(seaweedfs, target) == []
    most = tries * (2 if kind == "part" else 1)
    assert tries <= len(proxy.seen(kind)) <= most


@pytest.mark.parametrize("kind", ["put", "complete"])
async def test_what_was_done_though_every_answer_said_otherwise_is_a_success(
    proxy: S3FaultProxy, store: S3BlobStore, kind: str
) -> None:
    data = SMALL if kind == "put" else LARGE
    proxy.on(kind, faults.after(faults.refused(500, "InternalError")), times=ALWAYS)
    assert await store.put(blob_id(1), chunks(data, 1_000_003)) == len(data)
    proxy.reset()
    assert await read_all(store, blob_id(1)) == data


@pytest.mark.parametrize("kind", ["put", "complete"])
async def test_an_acknowledgement_of_what_was_not_done_is_not_believed(
    proxy: S3FaultProxy, store: S3BlobStore, kind: str
) -> None:
    told = b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
    proxy.on(kind, lambda _request, _forward: Answer(200, told, {"etag": '"x"'}), times=ALWAYS)
    with pytest.raises(StorageUnavailable, match="acknowledged a blob and does not have it"):
        await store.put(blob_id(1), chunks(SMALL if kind == "put" else LARGE, 1_000_003))


async def test_an_object_that_was_kept_in_part_is_not_believed(
    proxy: S3FaultProxy, store: S3BlobStore, seaweedfs: S3Server, target: S3Target
) -> None:
    def shorter(answer: Answer) -> Answer:
        return replace(answer, headers=dict(answer.headers) | {"content-length": str(len(SMALL) - 1)})

    proxy.on("head", faults.changed_on_the_way_out(shorter))
    with pytest.raises(StorageUnavailable, match="kept less of it"):
        await store.put(blob_id(1), chunks(SMALL))
    await store.close()
    assert objects_of(seaweedfs, target) == []


@pytest.mark.parametrize("trouble", some(TROUBLE, "503", "the acknowledgement is lost", "the head is cut"))
async def test_a_delete_survives(proxy: S3FaultProxy, store: S3BlobStore, trouble: str) -> None:
    await store.put(blob_id(1), chunks(SMALL))
    proxy.on("delete", TROUBLE[trouble], times=TRIES - 1)
    await store.delete(blob_id(1))
    with pytest.raises(BlobMissing):
        await store.open(blob_id(1))


async def test_a_delete_that_is_refused_says_so(proxy: S3FaultProxy, store: S3BlobStore) -> None:
    await store.put(blob_id(1), chunks(SMALL))
    for act in (faults.refused(500, "InternalError"), faults.refused(403, "AccessDenied")):
        proxy.on("delete", act, times=TRIES)
        with pytest.raises(StorageUnavailable):
            await store.delete(blob_id(1))
        proxy.reset()
    assert await read_all(store, blob_id(1)) == SMALL


def _spanned(answer: Answer, move: int = 0, size: int = 0) -> Answer:
    """An answer that states another span, or another size of the whole."""
    span, _, whole = answer.headers["content-range"].removeprefix("bytes ").partition("/")
    first, last = (int(end) + move for end in span.split("-"))
    stated = f"bytes {first}-{last}/{int(whole) + size}"
    return replace(answer, headers=dict(answer.headers) | {"content-range": stated})


def _without(answer: Answer, name: str) -> Answer:
    return replace(answer, headers={key: value for key, value in answer.headers.items() if key != name})


def _shorter(answer: Answer) -> Answer:
    return _without(replace(answer, body=answer.body[:-1]), "content-length")


LIES: Final = {
    "another span": lambda answer: _spanned(answer, move=1),
    "a larger whole": lambda answer: _spanned(answer, size=1),
    "a smaller whole": lambda answer: _spanned(answer, size=-1),
    "no span": lambda answer: _without(answer, "content-range"),
    "a byte less": _shorter,
    "a byte more": lambda answer: _without(replace(answer, body=answer.body + b"!"), "content-length"),
    "gzip": lambda answer: replace(answer, headers=dict(answer.headers) | {"content-encoding": "gzip"}),
    "the whole": lambda answer: replace(answer, status=200),
    "an error inside": lambda answer: replace(
        answer, status=200, body=b"<Error><Code>InternalError</Code></Error>", headers={}
    ),
    "nothing": lambda answer: replace(answer, body=b"", headers={}),
}
"""What a backend may answer instead of the span that it was asked for."""


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("when", ["opening", "reading on"])
async def test_a_lie_about_a_span_is_seen(proxy: S3FaultProxy, store: S3BlobStore, lie: str, when: str) -> None:
    """Once, it is asked for again; a backend that goes on lying gives no byte."""
    await store.put(blob_id(1), chunks(LONG))
    act = faults.changed_on_the_way_out(LIES[lie])
    if when == "opening" and lie in ("a larger whole", "a smaller whole"):
        # Nothing to compare with yet: the row of the blob tells, and the engine compares.
        return
    for times in (1, ALWAYS):
        if when == "opening":
            proxy.on("get", act, times)
        reader = None
        try:
            reader = await store.open(blob_id(1))
            if when == "reading on":
                proxy.on("get", act, times)
            got = await reader.read(400_000, 1_000_000)
            assert times == 1
            assert got == LONG[400_000:1_400_000]
        except BlobReadFailed:
            assert times == ALWAYS
        finally:
            if reader is not None:
                await reader.close()
        proxy.reset()


@pytest.mark.parametrize("act", [faults.paced(faults.cut_in_the_body()), *TROUBLE.values()])
@pytest.mark.parametrize("when", ["opening", "reading on"])
async def test_a_read_survives(proxy: S3FaultProxy, store: S3BlobStore, act: Act, when: str) -> None:
    await store.put(blob_id(1), chunks(LONG))
    if when == "opening":
        proxy.on("get", act)
    reader = await store.open(blob_id(1))
    if when == "reading on":
        proxy.on("get", act)
    assert await reader.read(0, 400_000) + await reader.read(400_000, 1_100_000) == LONG
    await reader.close()


@pytest.mark.parametrize("status", [404, 403, 503, 500, 301])
async def test_a_blob_that_cannot_be_had_is_never_taken_for_a_missing_one(
    proxy: S3FaultProxy, store: S3BlobStore, status: int
) -> None:
    await store.put(blob_id(1), chunks(SMALL))
    code = {404: "NoSuchBucket", 403: "AccessDenied", 503: "SlowDown", 500: "InternalError", 301: "PermanentRedirect"}
    proxy.on("get", faults.refused(status, code[status]), times=ALWAYS)
    with pytest.raises(StorageUnavailable):
        await store.open(blob_id(1))


async def test_a_blob_that_is_not_found_at_once_is_looked_for_again(proxy: S3FaultProxy, store: S3BlobStore) -> None:
    await store.put(blob_id(1), chunks(SMALL))
    for kind, code in (("get", "NoSuchKey"), ("head", "")):
        proxy.on(kind, faults.refused(404, code), times=2)
    assert await read_all(store, blob_id(1)) == SMALL
    assert (await store.stat(blob_id(1))).sealed_size == len(SMALL)
    proxy.on("get", faults.refused(404, "NoSuchKey"), times=ALWAYS)
    with pytest.raises(BlobMissing):
        await store.open(blob_id(1))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_never_followed(
    proxy: S3FaultProxy, store: S3BlobStore, tmp_path: Path, status: int
) -> None:
    """It would carry bytes and signatures to a place that nobody chose."""
    await store.put(blob_id(1), chunks(SMALL))
    with HttpsDouble(tmp_path, lambda _: Answer(200), proxy.double.authority) as elsewhere:
        act = faults.refused(status, "TemporaryRedirect", location=f"{elsewhere.address}/there")
        for kind in ("put", "get", "head", "delete", "list", "begin", "ask uploads"):
            proxy.on(kind, act, times=ALWAYS)
        tried: list[Callable[[], object]] = [
            lambda: store.put(blob_id(2), chunks(SMALL)),
            lambda: store.put(blob_id(3), chunks(LARGE, 1_000_003)),
            lambda: store.open(blob_id(1)),
            lambda: store.stat(blob_id(1)),
            lambda: store.delete(blob_id(1)),
            lambda: store.reclaim_debris(datetime.now(UTC)),
            lambda: walked(store),
        ]
        for ask in tried:
            with pytest.raises(StorageUnavailable, match="redirects"):
                await ask()  # type: ignore[misc]  # coroutines, each of another type
        assert elsewhere.requests == []
