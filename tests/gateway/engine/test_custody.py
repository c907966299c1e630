"""Envelopes, the keys in them, and when a bucket key is renewed."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from gateway.engine import custody as module
from gateway.engine.attributes import ObjectAttributes
from gateway.engine.custody import Envelope, WrappingMode
from gateway.engine.objects import new_id
from keys.errors import KeysError, KmsKeyNotFound, UnwrapFailed
from keys.kms.base import KeyDescription
from keys.kms.memory import Fault
from storage.catalogue.records import BlobRole
from tests.gateway.engine.rig import Rig, run

BOTH = pytest.mark.parametrize("wrapping", list(WrappingMode))


@BOTH
def test_a_slot_opens_where_it_belongs_and_nowhere_else(wrapping: WrappingMode) -> None:
    async def body(rig: Rig) -> None:
        bucket_id, content_id = rig.bucket.bucket_id, new_id()
        made = await rig.custody.new_content_key(bucket_id, content_id)
        data_key, slot = made.data_key, made.slot
        assert await rig.custody.open_content_key(bucket_id, content_id, slot) == data_key
        for wrong in ((new_id(), content_id), (bucket_id, new_id())):
            with pytest.raises(UnwrapFailed):
                await rig.custody.open_content_key(*wrong, slot)
        second = await rig.custody.new_content_key(bucket_id, content_id)
        again, other = second.data_key, second.slot
        assert again != data_key, "no key is ever derived from what it is for"
        assert other != slot
        assert (Envelope.decode(slot).bucket_key is None) == (wrapping is WrappingMode.DIRECT)

    run(body, wrapping=wrapping)


@BOTH
def test_every_truncation_extension_and_flip_of_a_slot_is_refused(wrapping: WrappingMode) -> None:
    async def body(rig: Rig) -> None:
        bucket_id, content_id = rig.bucket.bucket_id, new_id()
        slot = (await rig.custody.new_content_key(bucket_id, content_id)).slot
        assert Envelope.decode(slot).encode() == slot
        wrong = [slot[:size] for size in range(len(slot))]
        wrong += [slot + b"\0", slot + slot, slot + bytes(18)]
        wrong += [slot[:index] + bytes([slot[index] ^ bit]) + slot[index + 1 :] for index in range(len(slot))
                  for bit in (1, 0x80)]  # fmt: skip
        for altered in wrong:
            with pytest.raises(KeysError):
                await rig.custody.open_content_key(bucket_id, content_id, altered)

    run(body, wrapping=wrapping)


def test_the_key_of_a_part_opens_for_its_blob_alone() -> None:
    async def body(rig: Rig) -> None:
        upload = await rig.multipart.create(rig.bucket, b"k", ObjectAttributes())
        content = upload.content
        content_key = await rig.custody.open_content_key(content.bucket_id, content.content_id, content.wrapped_key)
        blob_id = new_id()
        data_key, slot = rig.custody.new_blob_key(content_key, content, blob_id)
        blob = fake_blob(blob_id, slot)
        assert await rig.custody.open_blob_key(content, blob) == data_key
        assert await rig.custody.open_blob_key(content, fake_blob(blob_id, b"", BlobRole.OBJECT)) == content_key
        with pytest.raises(UnwrapFailed):
            await rig.custody.open_blob_key(content, fake_blob(new_id(), slot))

    run(body)


def fake_blob(blob_id: bytes, slot: bytes, role: BlobRole = BlobRole.PART) -> Any:
    return type("Blob", (), {"blob_id": blob_id, "role": role, "wrapped_key": slot})


async def bucket_key_ids(rig: Rig, count: int, bucket_id: bytes | None = None) -> list[bytes]:
    found = []
    for _ in range(count):
        slot = (await rig.custody.new_content_key(bucket_id or rig.bucket.bucket_id, new_id())).slot
        bucket_key = Envelope.decode(slot).bucket_key
        assert bucket_key is not None
        found.append(bucket_key.bucket_key_id)
    return found


def test_a_bucket_key_is_renewed_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUCKET_KEY_MAX_OBJECTS", 3)

    async def body(rig: Rig) -> None:
        ids = await bucket_key_ids(rig, 7)
        assert [ids.index(one) for one in ids] == [0, 0, 0, 3, 3, 3, 6]

    run(body, wrapping=WrappingMode.BUCKET_KEY)


def test_a_bucket_key_is_renewed_by_age_and_belongs_to_its_bucket() -> None:
    async def body(rig: Rig) -> None:
        (young,) = set(await bucket_key_ids(rig, 5))
        assert rig.kms.calls["wrap"] == 1, "the KMS is asked once for many objects"
        (other,) = set(await bucket_key_ids(rig, 2, new_id()))
        start = rig.clock.now
        rig.clock.now = start.replace(minute=start.minute + 4, second=58)
        assert set(await bucket_key_ids(rig, 2)) == {young}
        rig.clock.now = start.replace(minute=start.minute + 5, second=1)
        (renewed,) = set(await bucket_key_ids(rig, 2))
        assert len({young, other, renewed}) == 3

    run(body, wrapping=WrappingMode.BUCKET_KEY)


def test_what_an_old_bucket_key_wrapped_still_opens() -> None:
    async def body(rig: Rig) -> None:
        await rig.put(b"old", b"data" * 10_000)
        rig.clock.now = rig.clock.now.replace(year=2027)
        await rig.put(b"new", b"more" * 10_000)
        unwraps = rig.kms.calls["unwrap"]
        assert await rig.get(b"old") == b"data" * 10_000
        assert rig.kms.calls["unwrap"] == unwraps + 1
        assert await rig.get(b"new") == b"more" * 10_000

    run(body, wrapping=WrappingMode.BUCKET_KEY)


@BOTH
def test_nothing_is_written_when_the_kms_refuses(wrapping: WrappingMode) -> None:
    async def body(rig: Rig) -> None:
        for fault in (Fault.UNAVAILABLE, Fault.DENIED):
            rig.kms.fault = fault
            with pytest.raises(KeysError):
                await rig.put(b"k", b"data" * 10_000)
        rig.kms.fault = None
        assert rig.stored() == {}
        await rig.put(b"k", b"data")
        assert await rig.get(b"k") == b"data"

    run(body, wrapping=wrapping)


def test_many_writers_at_once_ask_for_one_bucket_key() -> None:
    async def body(rig: Rig) -> None:
        made = await asyncio.gather(*(rig.custody.new_content_key(rig.bucket.bucket_id, new_id()) for _ in range(50)))
        ids = {key.bucket_key_id for one in made if (key := Envelope.decode(one.slot).bucket_key) is not None}
        assert len(ids) == 1

    run(body, wrapping=WrappingMode.BUCKET_KEY)


def test_a_waiter_that_gives_up_leaves_the_renewal_to_the_others() -> None:
    async def body(rig: Rig) -> None:
        first = asyncio.create_task(rig.custody.new_content_key(rig.bucket.bucket_id, new_id()))
        second = asyncio.create_task(rig.custody.new_content_key(rig.bucket.bucket_id, new_id()))
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()

    run(body, wrapping=WrappingMode.BUCKET_KEY)


def test_a_bucket_key_that_wrapped_nothing_has_no_place_in_a_slot() -> None:
    async def body(rig: Rig) -> None:
        bucket_id, content_id = rig.bucket.bucket_id, new_id()
        _, wrapped = await rig.keyring.new_content_key(rig.realm_id, bucket_id, content_id)
        bucket_key = await rig.keyring.new_bucket_key(rig.realm_id, bucket_id)
        with pytest.raises(UnwrapFailed):
            Envelope.decode(Envelope(wrapped, bucket_key).encode())

    run(body)


def test_the_keys_of_buckets_long_unused_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CURRENT_BUCKET_KEYS", 2)

    async def body(rig: Rig) -> None:
        buckets = [new_id() for _ in range(3)]
        first = await bucket_key_ids(rig, 1, buckets[0])
        for bucket_id in buckets[1:]:
            await bucket_key_ids(rig, 1, bucket_id)
        assert await bucket_key_ids(rig, 1, buckets[0]) != first
        assert len(rig.custody._current) == 2

    run(body, wrapping=WrappingMode.BUCKET_KEY)


def test_a_key_is_described_once_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DESCRIBED", 2)

    async def body(rig: Rig) -> None:
        asked: list[str | None] = []
        describe = rig.keyring.describe

        async def counted(name: str | None) -> KeyDescription:
            asked.append(name)
            return await describe(name)

        monkeypatch.setattr(rig.keyring, "describe", counted)
        first = await rig.custody.describe_key(None)
        assert await rig.custody.describe_key(None) is first
        assert asked == [None]
        rig.clock.now += timedelta(seconds=module.DESCRIBED_S)
        await rig.custody.describe_key(None)
        await rig.custody.renew()
        await rig.custody.describe_key(None)
        assert asked == [None] * 3
        with pytest.raises(KmsKeyNotFound):
            await rig.custody.describe_key("none")
        with pytest.raises(KmsKeyNotFound):
            await rig.custody.describe_key("none")
        assert asked[3:] == ["none"] * 2, "what is refused is asked again"
        for name in (first.kms_key_id, first.arn, None):
            await rig.custody.describe_key(name)
        assert asked[5:] == [first.kms_key_id, first.arn, None], "only so many are kept"

    run(body)
