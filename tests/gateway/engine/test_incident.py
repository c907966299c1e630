"""What somebody opens who has the leaked versions and all that is in the store: nothing, once an incident is over."""

from collections.abc import Container, Mapping
from typing import Any

import pytest

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.custody import Custody, Unlock, WrappingMode
from gateway.engine.journal.records import read_payload, recovered_from
from gateway.engine.moved_wraps import read_envelopes
from gateway.engine.objects import NewObject
from gateway.engine.protection import Mode, Protection
from gateway.s3.types import PayloadExpectation
from keys.customer import customer_key
from keys.datakey import DataKey
from keys.errors import KmsKeyError, UnwrapFailed
from keys.keyring import Keyring
from keys.kms.base import KeyState
from keys.kms.memory import DEFAULT_KEY_ID, MemoryKms, _MemoryKey
from storage.blobs.memory import MemoryBlobReader
from storage.catalogue.commands import Conditions, DeleteVersion
from storage.sealed.header import BlobKind
from storage.sealed.layout import HEADER_SIZE
from storage.sealed.records import decode_link, decode_manifest
from tests.gateway.engine.keys_rig import BIG, KeysRig, begin, check_all, complete, copy, fill, run_keys
from tests.gateway.engine.rig import PieceBody
from tests.gateway.engine.test_life_kills import pack_all, run_incident

BOTH = pytest.mark.parametrize("wrapping", list(WrappingMode))
OTHER = "another-key"
FIRST = frozenset({"1"})
RECORDS = {BlobKind.MANIFEST: decode_manifest, BlobKind.LINK: decode_link}


class Thief:
    """Has some versions of a key, the realm's own keys, and every byte of store and catalogue; gives contents by id."""

    def __init__(self, keys: KeysRig, versions: Container[str], kms_key_id: str = DEFAULT_KEY_ID) -> None:
        self.keys = keys
        kms = MemoryKms()
        kms._keys = {
            name: _MemoryKey(
                key.created_at,
                versions=[
                    material if name == kms_key_id and str(number) in versions else DataKey.random()
                    for number, material in enumerate(key.versions, 1)
                ],
            )
            for name, key in keys.rig.kms._keys.items()
        }
        keyring = Keyring(kms, keys.rig.clock.monotonic)
        self.custody = Custody(keyring, keys.rig.realm_id, WrappingMode.DIRECT, keys.rig.clock.monotonic, 300)

    async def opens(self) -> set[bytes]:
        """Ids of the contents whose bytes are there, and whose key he gets."""
        rig, description_key = self.keys.rig, self.keys.rig.writer._description_key
        wraps: list[tuple[bytes, bytes, bytes, str]] = []  # bucket, content, envelope, context
        there: dict[bytes, tuple[bytes, str]] = {}
        moved: list[tuple[bytes, bytes]] = []
        for sealed in [*rig.stored().values(), *rig.catalogue._inline.values()]:
            reader = MemoryBlobReader(bytes(sealed))
            recovered = await recovered_from(reader, rig.realm_id, description_key)
            told, kind = recovered.description, recovered.header.kind
            context = Protection.decode(told.encryption).context
            if kind is BlobKind.OBJECT:
                there[told.content_id] = told.bucket_id, context
                wraps.append((told.bucket_id, told.content_id, recovered.wrapped_key, context))
            elif kind in RECORDS:
                key = await self._key(told.bucket_id, recovered.header.blob_id, recovered.wrapped_key)
                if key is not None:
                    record = RECORDS[kind](await read_payload(recovered, reader, key))
                    wraps.append((record.bucket_id, record.content_id, record.wrapped_key, context))
                    if kind is BlobKind.MANIFEST:
                        there[record.content_id] = record.bucket_id, context
            elif kind is BlobKind.ENVELOPES:
                moved += (await read_envelopes(recovered, reader, self.keys.realm_keys)).entries
        wraps += [(*(there[name])[:1], name, each, there[name][1]) for name, each in moved if name in there]
        return {
            name
            for bucket, name, each, context in wraps
            if name in there and await self._key(bucket, name, each, context)
        }

    async def _key(self, bucket_id: bytes, wrap_id: bytes, slot: bytes, context: str = "") -> DataKey | None:
        try:
            return await self.custody.open_content_key(bucket_id, wrap_id, slot, Unlock(context))
        except (UnwrapFailed, KmsKeyError):
            return None


async def rotated(keys: KeysRig) -> None:
    """A routine rotation, with all that is left moved."""
    keys.rig.kms.rotate_key()
    await keys.rig.custody.renew()
    assert (await keys.rewrap()).left_count == 0


@BOTH
def test_what_was_moved_away_is_sealed_anew_as_its_slots_were_not(wrapping: WrappingMode) -> None:
    async def body(keys: KeysRig) -> None:
        contents = await fill(keys.rig)
        await rotated(keys)
        contents[b"later"] = BIG
        await keys.rig.put(b"later", BIG)
        await pack_all(keys)
        assert await keys.left_under(DEFAULT_KEY_ID, "1") == 0, "no row needs it"
        leaks = await Thief(keys, FIRST).opens()
        assert len(leaks) == 4, "small, big, kms and whole; copies share theirs"
        later = (await keys.rig.objects.find(keys.rig.bucket, b"later")).content
        report = await run_incident(keys, FIRST)
        assert keys.rig.catalogue._leases["keys"].holder == "", "the next job need not wait for its end"
        assert (report.sealed_count, report.left_count, report.failed_count) == (4, 0, 0)
        assert await Thief(keys, FIRST).opens() == set()
        assert (await keys.rig.objects.find(keys.rig.bucket, b"later")).content == later, "it was never under it"
        await check_all(keys, contents)
        await keys.rig.catalogue.verify()
        assert (await run_incident(keys, FIRST)).sealed_count == 0

    run_keys(body, wrapping=wrapping)


def test_the_wrap_inside_of_a_manifest_counts_also_where_its_content_has_moved() -> None:
    async def body(keys: KeysRig) -> None:
        await complete(keys.rig, await begin(keys.rig, b"whole"), BIG)
        await rotated(keys)
        assert len(await Thief(keys, FIRST).opens()) == 1
        assert (await run_incident(keys, FIRST)).sealed_count == 1
        assert not await Thief(keys, FIRST).opens()
        await check_all(keys, {b"whole": BIG})

    run_keys(body)


def test_a_manifest_that_opens_does_no_harm_where_another_key_wraps_the_content() -> None:
    async def body(keys: KeysRig) -> None:
        keys.rig.kms.create_key(OTHER)
        other = ObjectAttributes(protection=Protection(Mode.KMS, OTHER, "arn"))
        await complete(keys.rig, await begin(keys.rig, b"whole", other), BIG)
        await keys.rig.put(b"source", BIG, attributes=other)
        await copy(keys.rig, b"source", b"copy")
        keys.rig.kms.rotate_key()
        report = await run_incident(keys, FIRST)
        # Manifest, link, root and canary are moved; nothing of the other key is read or written.
        assert (report.sealed_count, report.rewrapped_count, report.left_count) == (0, 4, 0)
        assert not await Thief(keys, FIRST).opens()
        await check_all(keys, {b"whole": BIG, b"copy": BIG})

    run_keys(body)


def test_what_a_retired_key_wrapped_once_is_sealed_anew_under_the_one_that_took_its_place() -> None:
    async def body(keys: KeysRig) -> None:
        keys.rig.kms.create_key(OTHER)
        other = ObjectAttributes(protection=Protection(Mode.KMS, OTHER, "arn", context='{"team":"a"}'))
        await keys.rig.put(b"kms", BIG, attributes=other)
        await keys.rewrap(OTHER, DEFAULT_KEY_ID)
        keys.rig.kms.set_key_state(KeyState.PENDING_DELETION, OTHER)
        before = (await keys.rig.objects.find(keys.rig.bucket, b"kms")).version
        assert len(await Thief(keys, FIRST, OTHER).opens()) == 1
        report = await run_incident(keys, FIRST, OTHER)
        assert (report.sealed_count, report.left_count) == (1, 0)
        assert not await Thief(keys, FIRST, OTHER).opens()
        found = await keys.rig.objects.find(keys.rig.bucket, b"kms")
        assert found.version.attributes["encryption"] == before.attributes["encryption"], (
            "answers name the key that it was written under"
        )
        await check_all(keys, {b"kms": BIG})

    run_keys(body)


async def moved_by_halves(keys: KeysRig) -> None:
    """Two objects under another key, one moved on since: the envelopes blob that has both stays for the other."""
    keys.rig.kms.create_key(OTHER)
    for name in (b"one", b"two"):
        await keys.rig.put(name, BIG)
    await keys.rewrap(DEFAULT_KEY_ID, OTHER)
    keys.rig.kms.rotate_key(OTHER)
    moves = keys.rewrapper._move

    async def only_one(found: list[Any], *rest: Any) -> None:
        await moves([one for one in found if one.kept.version.object_key == b"one"], *rest)

    keys.rewrapper._move = only_one  # type: ignore[method-assign,assignment]
    await keys.rewrap(OTHER, patience_s=0.0)
    keys.rewrapper._move = moves  # type: ignore[method-assign]


def test_what_an_older_envelopes_blob_still_names_counts() -> None:
    async def body(keys: KeysRig) -> None:
        await moved_by_halves(keys)
        assert await keys.left_under(OTHER, "1") == 1
        assert len(await Thief(keys, FIRST, OTHER).opens()) == 2
        report = await run_incident(keys, FIRST, OTHER)
        assert (report.sealed_count, report.left_count) == (2, 0)
        assert not await Thief(keys, FIRST, OTHER).opens()
        await check_all(keys, {b"one": BIG, b"two": BIG})

    run_keys(body)


@pytest.mark.parametrize("is_missing", [True, False])
def test_what_an_envelopes_blob_may_name_that_does_not_open_counts(
    is_missing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has the leaked key and can write to the store keeps a copy of the blob, and damages what would tell of it."""

    async def body(keys: KeysRig) -> None:
        await moved_by_halves(keys)
        await complete(keys.rig, await begin(keys.rig, b"whole"), BIG)
        await keys.rig.put(b"never", BIG)
        never = (await keys.rig.objects.find(keys.rig.bucket, b"never")).content
        before = dict(keys.rig.blobs._blobs)
        older = min([each async for each in keys.envelopes.all()], key=lambda each: each.epoch).blob.blob_id
        if is_missing:
            del keys.rig.blobs._blobs[older]
        else:
            keys.rig.damage(older, lambda sealed: sealed[:-600] + bytes(600))
        report = await run_incident(keys, FIRST, OTHER)
        assert (report.sealed_count, report.left_count, report.failed_count) == (2, 0, 0)
        assert older.hex() in caplog.text
        keys.rig.blobs._blobs[older] = before[older]
        assert not await Thief(keys, FIRST, OTHER).opens()
        assert (await keys.rig.objects.find(keys.rig.bucket, b"never")).content == never, "it was never moved"
        await check_all(keys, {b"one": BIG, b"two": BIG, b"whole": BIG, b"never": BIG})

    run_keys(body)


def test_envelopes_that_nothing_needs_any_more_go_at_once() -> None:
    async def body(keys: KeysRig) -> None:
        await keys.rig.put(b"gone", BIG)
        await rotated(keys)
        before = {blob_id for blob_id in keys.rig.stored() if await kind_of(keys, blob_id) is BlobKind.ENVELOPES}
        await keys.rig.objects.delete(keys.rig.bucket, [DeleteVersion(b"gone")])
        keys.rig.kms.rotate_key()
        await run_incident(keys, frozenset({"1", "2"}))
        assert not before & keys.rig.stored().keys()

    run_keys(body)


async def kind_of(keys: KeysRig, blob_id: bytes) -> BlobKind:
    reader = MemoryBlobReader(keys.rig.stored()[blob_id])
    return (await recovered_from(reader, keys.rig.realm_id, keys.rig.writer._description_key)).header.kind


def test_what_lies_under_a_key_of_a_client_is_left_alone() -> None:
    async def body(keys: KeysRig) -> None:
        attributes = ObjectAttributes(protection=Protection(Mode.CUSTOMER))
        new = NewObject(b"theirs", attributes, Conditions(), customer_key=customer_key(b"k" * 32))
        await keys.rig.objects.put(keys.rig.bucket, new, PayloadExpectation(), PieceBody(BIG))
        await rotated(keys)
        before = (await keys.rig.objects.find(keys.rig.bucket, b"theirs")).content
        report = await run_incident(keys, FIRST)
        assert (report.sealed_count, report.left_count) == (0, 0)
        assert (await keys.rig.objects.find(keys.rig.bucket, b"theirs")).content == before

    run_keys(body)


@pytest.mark.parametrize("is_missing", [True, False])
def test_what_does_not_open_is_told_and_holds_up_nothing_else(
    is_missing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(keys: KeysRig) -> None:
        contents: Mapping[bytes, bytes] = {b"a": BIG, b"b": BIG, b"c": BIG}
        for name, content in contents.items():
            await keys.rig.put(name, content)
        await rotated(keys)
        broken = (await keys.rig.objects.find(keys.rig.bucket, b"b")).content
        assert broken is not None
        if is_missing:
            del keys.rig.blobs._blobs[broken.blobs[0].blob_id]
        else:
            keys.rig.damage(broken.blobs[0].blob_id, lambda sealed: sealed[:-2000] + bytes(2000))
        stored = keys.rig.stored()
        report = await run_incident(keys, FIRST)
        assert (report.sealed_count, report.failed_count, report.left_count) == (2, 1, 1)
        assert broken.content_id.hex() in caplog.text
        assert len(keys.rig.stored()) <= len(stored), "what was begun of it is not left behind"
        await check_all(keys, {b"a": BIG, b"c": BIG})
        await keys.rig.objects.delete(keys.rig.bucket, [DeleteVersion(b"b")])
        assert (await run_incident(keys, FIRST)).left_count == 0

    run_keys(body)


def test_a_slot_that_was_replaced_hides_nothing() -> None:
    """Who holds the leaked key and can write to the store puts today's envelope into the slot."""

    async def body(keys: KeysRig) -> None:
        await keys.rig.put(b"k", BIG)
        await rotated(keys)
        content = (await keys.rig.objects.find(keys.rig.bucket, b"k")).content
        assert content is not None
        (blob,) = content.blobs
        assert len(content.wrapped_key) == blob.slot_size, "it fits"
        hidden = slice(HEADER_SIZE, HEADER_SIZE + blob.slot_size)
        keys.rig.damage(
            blob.blob_id, lambda sealed: sealed[: hidden.start] + content.wrapped_key + sealed[hidden.stop :]
        )
        report = await run_incident(keys, FIRST)
        assert report.sealed_count + report.failed_count == 1
        assert report.left_count == report.failed_count
        now = (await keys.rig.objects.find(keys.rig.bucket, b"k")).content
        assert (now == content) is bool(report.failed_count)

    run_keys(body)
