"""What a request costs, counted and not timed: hops, digests, rows, reads, calls of the KMS. Source: DESIGN part 7."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.engine import integrity, multipart, objects
from gateway.engine.custody import WrappingMode
from gateway.engine.integrity import EtagMode
from gateway.s3.checksums import Algorithm, PayloadDigests
from tests.gateway.operations.stage import MIB, Stage, make_stage

BODY = random.Random(8).randbytes(8 * MIB + 1000)

LOOKED_UP = {"get_access_key": 1, "get_bucket": 1}
"""What every request asks the catalogue: who calls, and whose bucket it is."""


@contextmanager
def counted(stage: Stage) -> Iterator[Counter[str]]:
    """Count the commands that reach the catalogue."""
    calls: Counter[str] = Counter()
    catalogue = stage.rig.catalogue
    names = [name for name in dir(catalogue) if not name.startswith("_")]

    def spy(name: str) -> Callable[..., Any]:
        real = getattr(catalogue, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return await real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(catalogue, name, spy(name))
        yield calls


def test_a_put_hops_once_a_mebibyte_at_the_most(stage: Stage) -> None:
    hops = 0
    for size in (0, 1000, 64 * 1024, MIB, len(BODY)):
        before = stage.rig.pool.submitted
        stage.put("k", BODY[:size])
        hops = stage.rig.pool.submitted - before
        assert hops <= math.ceil(size / MIB), size
    assert hops >= 4, "what is large is not hashed on the loop"


def test_a_get_does_not_hop_in_the_engine_and_reads_a_mebibyte_at_a_time(stage: Stage) -> None:
    stage.put("k", BODY)
    stage.rig.track_readers()
    before = stage.rig.pool.submitted
    assert stage.body_of("k") == BODY
    assert stage.rig.pool.submitted == before
    (reader,) = stage.rig.readers
    assert len(reader.reads) <= math.ceil(len(BODY) / MIB) + 1


@pytest.mark.parametrize("at_hand", [True, False])
def test_a_get_gives_the_transport_slices_of_256_kib(stage: Stage, at_hand: bool) -> None:
    """A slice is opened and encrypted in one go on the loop: larger ones delay others, smaller ones cost CPU."""
    stage.put("k", BODY)
    stage.rig.are_at_hand = at_hand
    stage.rig.track_readers()
    assert stage.body_of("k") == BODY
    sizes = stage.last.body_sizes
    assert max(sizes) <= 256 * 1024
    assert len(sizes) <= 4 * len(BODY) / MIB + 12
    (reader,) = stage.rig.readers
    assert bool(reader.reads) != at_hand


def test_a_range_reads_the_prefix_and_its_chunks_and_no_more(stage: Stage) -> None:
    stage.put("k", BODY)
    stage.rig.track_readers()
    assert stage.body_of("k", Range="bytes=5000000-5000009") == BODY[5_000_000:5_000_010]
    (reader,) = stage.rig.readers
    assert len(reader.reads) == 2
    assert sum(length for _, length in reader.reads) < 2 * 16384 + 1000
    assert reader.is_closed


def test_reads_of_parts_open_only_the_blobs_that_they_touch(stage: Stage) -> None:
    upload_id = stage.alice.create_multipart_upload(Bucket="bucket", Key="k")["UploadId"]
    names = {"Bucket": "bucket", "Key": "k", "UploadId": upload_id}
    parts = []
    for number in (1, 2, 3):
        etag = stage.alice.upload_part(**names, PartNumber=number, Body=BODY[: 5 * MIB])["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    stage.rig.track_readers()
    stage.alice.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    stage.alice.head_object(Bucket="bucket", Key="k")
    stage.alice.head_object(Bucket="bucket", Key="k", PartNumber=2)
    assert stage.rig.readers == [], "Complete moves no data, and HEAD touches no blob"
    stage.body_of("k", PartNumber=2)
    assert len(stage.rig.readers) == 1
    stage.body_of("k", Range=f"bytes={5 * MIB - 1}-{5 * MIB}")
    assert len(stage.rig.readers) == 3
    stage.body_of("k")
    assert len(stage.rig.readers) == 6


CALLS = [
    ("put_object", {"Key": "new", "Body": b"x"}, {"publish_version": 1}),
    ("put_object", {"Key": "new", "Body": b"x", "IfNoneMatch": "*"}, {"get_version": 1, "publish_version": 1}),
    ("get_object", {"Key": "k"}, {"get_version": 1}),
    ("get_object", {"Key": "k", "Range": "bytes=1-2"}, {"get_version": 1}),
    ("head_object", {"Key": "k"}, {"get_version": 1}),
    ("delete_object", {"Key": "k"}, {"delete_versions": 1}),
    ("delete_objects", {"Delete": {"Objects": [{"Key": f"{n}"} for n in range(100)]}}, {"delete_versions": 1}),
    ("list_objects_v2", {}, {"list_versions": 1}),
    ("list_objects_v2", {"MaxKeys": 0}, {}),
    ("copy_object", {"Key": "c", "CopySource": "bucket/k"}, {"get_bucket": 2, "get_version": 1, "publish_version": 1}),
    ("create_multipart_upload", {"Key": "k"}, {"create_upload": 1}),
    ("head_bucket", {}, {}),
]


@pytest.mark.parametrize(("method", "arguments", "commands"), CALLS, ids=[f"{r[0]}-{n}" for n, r in enumerate(CALLS)])
def test_the_commands_of_each_operation(
    stage: Stage, method: str, arguments: dict[str, Any], commands: dict[str, int]
) -> None:
    stage.put("k", BODY[:100_000])
    with counted(stage) as calls:
        getattr(stage.alice, method)(Bucket="bucket", **arguments)
    assert calls == Counter({**LOOKED_UP, **commands})


@pytest.mark.parametrize("mode", list(EtagMode))
def test_only_the_digests_that_a_request_needs_run(mode: EtagMode, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[set[str]] = []

    class Recording(PayloadDigests):
        def __init__(self, algorithms: Iterable[Algorithm]) -> None:
            wanted = list(algorithms)
            made.append({algorithm.name for algorithm in wanted})
            super().__init__(wanted)

    for module in (integrity, objects, multipart):
        monkeypatch.setattr(module, "PayloadDigests", Recording)
    md5 = {"MD5"} if mode is EtagMode.MD5 else set()
    with make_stage(etag_mode=mode) as stage:
        stage.put("k", BODY[:100_000])
        assert made.pop() == {"CRC32"} | md5
        stage.raw("PUT", "/bucket/k", None, b"hashed by SigV4")
        assert made.pop() == {"SHA256", "CRC64NVME"} | md5
        stage.body_of("k")
        stage.alice.head_object(Bucket="bucket", Key="k")
        assert made == [], "reads hash nothing"
        stage.alice.copy_object(Bucket="bucket", Key="c", CopySource="bucket/k")
        assert made == [set()], "a copy that shares hashes nothing but seals a link"


@pytest.mark.parametrize(("wrapping", "wraps"), [(WrappingMode.DIRECT, 10), (WrappingMode.BUCKET_KEY, 1)])
def test_what_the_kms_is_asked(wrapping: WrappingMode, wraps: int) -> None:
    with make_stage(wrapping=wrapping) as stage:
        before = Counter(stage.rig.kms.calls)
        for number in range(10):
            stage.put(f"{number}", BODY[:100_000])
        for number in range(10):
            stage.body_of(f"{number}")
            stage.alice.head_object(Bucket="bucket", Key=f"{number}")
        stage.alice.list_objects_v2(Bucket="bucket")
        stage.alice.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": f"{n}"} for n in range(10)]})
        assert Counter(stage.rig.kms.calls) - before == Counter({"wrap": wraps}), "keys just made are in the cache"
