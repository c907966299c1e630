"""Rotation and rewrap over the memory references: what moves, what is left, and that everything opens all along."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.custody import Envelope, Unlock, WrappingMode, take_sized
from gateway.engine.objects import NewObject
from gateway.engine.protection import Mode, Protection
from gateway.engine.rewrap import Under
from gateway.engine.whole import read_slot
from gateway.s3.types import PayloadExpectation
from keys.customer import customer_key
from keys.errors import KmsKeyDisabled
from keys.keyring import bucket_key_context, content_context
from keys.kms.base import KeyState
from keys.kms.memory import DEFAULT_KEY_ID
from keys.realm import RealmKeys, check_canary
from keys.recovery import Copies, Recipient, RecoverySecret
from storage import seams
from storage.catalogue.commands import Conditions, DeleteVersion, Lease, MoveWraps, WrapOwner
from storage.catalogue.conflicts import NoSuchVersion
from storage.catalogue.records import BlobRole, BlobState, ObjectLock, RetentionMode, Versioning
from tests.gateway.engine.keys_rig import BIG, SSE_KMS, KeysRig, begin, check_all, complete, copy, fill, run_keys
from tests.gateway.engine.rig import PieceBody

BOTH = pytest.mark.parametrize("wrapping", list(WrappingMode))


@BOTH
def test_rotation_moves_everything_and_touches_no_data(wrapping: WrappingMode) -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        contents = await fill(rig)
        opened = await begin(rig, b"open")
        blobs_before = rig.stored()
        rig.kms.rotate_key()
        kms_before = await keys.left_under(DEFAULT_KEY_ID, "1")
        report = await keys.rewrap()
        assert (report.left_count, report.failed_count, report.changed_count) == (0, 0, 0)
        # Five contents (a shared one once), two links, one manifest, one upload; root and canary.
        assert report.moved_count == 3 + 1 + 2 + 1 + 1 + 2
        assert kms_before >= report.moved_count
        assert await keys.left_under(DEFAULT_KEY_ID, "1") == 0
        assert await keys.left_under(DEFAULT_KEY_ID, "2") == kms_before
        stored = rig.stored()
        assert {blob_id: stored[blob_id] for blob_id in blobs_before} == blobs_before, "no blob was touched"
        assert len(stored) - len(blobs_before) == report.envelopes_count == 2
        # What the old version wrapped is of no use any more.
        rig.kms._keys[DEFAULT_KEY_ID].versions[0] = rig.kms._keys[DEFAULT_KEY_ID].versions[1]
        await check_all(keys, contents)
        opened = await rig.catalogue.get_upload(rig.bucket.bucket_id, b"open", opened.upload_id)
        await complete(rig, opened, b"after")
        assert await rig.get(b"open") == b"after"
        await RealmKeys.open(rig.kms, rig.realm_id, keys.realm.saved[0])
        await check_canary(rig.kms, rig.realm_id, keys.realm.saved[1])
        again = await keys.rewrap()
        assert (again.moved_count, again.left_count, again.pass_count) == (0, 0, 1)

    run_keys(body, wrapping=wrapping)


def test_the_kms_is_asked_once_for_each_bucket_key() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        for number in range(50):
            await rig.put(b"%d" % number, b"x")
        rig.kms.rotate_key()
        await keys.rewrap()
        calls = rig.kms.calls.copy()
        rig.kms.rotate_key()
        report = await keys.rewrap()
        assert report.bucket_key_count == 1
        # The bucket key: unwrap, wrap, and a proof. The root likewise; the canary is wrapped anew.
        assert rig.kms.calls["wrap"] - calls["wrap"] == 3
        assert rig.kms.calls["unwrap"] - calls["unwrap"] == 5
        await check_all(keys, {b"%d" % number: b"x" for number in range(50)})

    run_keys(body, wrapping=WrappingMode.BUCKET_KEY)


@BOTH
def test_blobs_alone_open_under_the_new_version(wrapping: WrappingMode) -> None:
    """A recovery has slots and envelopes blobs: the root from the slot, then the envelope of the greatest epoch."""

    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        await fill(rig)
        for _ in range(2):
            rig.kms.rotate_key()
            await keys.rewrap()
        rig.kms._keys[DEFAULT_KEY_ID].versions[:2] = [rig.kms._keys[DEFAULT_KEY_ID].versions[2]] * 2
        newest: dict[bytes, tuple[int, bytes]] = {}
        async for kept in keys.envelopes.all():
            _, root_part = take_sized(await read_slot(rig.blobs, kept.blob))
            root, rest = take_sized(root_part)
            assert not rest
            realm_keys = await RealmKeys.open(rig.kms, rig.realm_id, root)
            assert realm_keys == keys.realm_keys
            envelopes = await keys.envelopes.read(kept.blob)
            assert envelopes.epoch == kept.epoch
            for wrap_id, envelope in envelopes.entries:
                if newest.get(wrap_id, (0, b""))[0] < envelopes.epoch:
                    newest[wrap_id] = envelopes.epoch, envelope
        for wrap in await keys.wraps():
            assert newest[wrap.wrap_id][1] == wrap.envelope
        assert newest[rig.realm_id][1] == keys.realm.root_part()

    run_keys(body, wrapping=wrapping)


def test_older_envelopes_go_with_their_last_wrap() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        await fill(rig)
        before = {kept.blob.blob_id async for kept in keys.envelopes.all()}
        for _ in range(3):
            rig.kms.rotate_key()
            await keys.rewrap()
            kept = [kept async for kept in keys.envelopes.all()]
            assert len(kept) == 2
            states = await rig.catalogue.blob_states(list(before))
            assert all(state is BlobState.CONDEMNED for state in states.values())
            before = {each.blob.blob_id for each in kept}

    run_keys(body)


def test_everything_moves_to_another_key() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        rig.kms.create_key("second")
        contents = await fill(rig)
        report = await keys.rewrap(DEFAULT_KEY_ID, "second")
        assert report.left_count == 0
        assert await keys.left_under(DEFAULT_KEY_ID) == 0
        rig.kms.destroy_key()
        await check_all(keys, contents)

    run_keys(body)


def test_only_the_named_key_is_moved() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        rig.kms.create_key("second")
        of_second = replace(SSE_KMS, protection=replace(SSE_KMS.protection, kms_key_id="second"))
        await rig.put(b"one", b"1")
        await rig.put(b"two", b"2", attributes=of_second)
        for key in (DEFAULT_KEY_ID, "second"):
            rig.kms.rotate_key(key)
        assert (await keys.rewrap("second")).moved_count == 1
        assert await keys.left_under("second", "1") == 0
        assert await keys.left_under(DEFAULT_KEY_ID, "1") == 1 + 2

    run_keys(body)


def test_the_key_of_a_client_is_counted_and_left_alone() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        key = customer_key(b"k" * 32)
        attributes = ObjectAttributes(protection=Protection(Mode.CUSTOMER))
        new = NewObject(b"theirs", attributes, Conditions(), customer_key=key)
        await rig.objects.put(rig.bucket, new, PayloadExpectation(), PieceBody(BIG))
        rig.kms.rotate_key()
        report = await keys.rewrap()
        assert (report.customer_count, report.left_count, report.moved_count) == (1, 0, 2)
        found = await rig.objects.find(rig.bucket, b"theirs")
        opened = await rig.objects.open(found, 0, len(BIG), key)
        assert b"".join([bytes(piece) async for piece in opened]) == BIG

    run_keys(body)


def test_a_locked_object_moves_like_any_other() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        await rig.catalogue.set_versioning(rig.bucket.bucket_id, Versioning.ENABLED)
        await rig.catalogue.enable_object_lock(rig.bucket.bucket_id)
        rig.bucket = await rig.catalogue.get_bucket("bucket")
        until = rig.clock().replace(year=2040)
        new = NewObject(
            b"locked", ObjectAttributes(), Conditions(), lock=ObjectLock(RetentionMode.COMPLIANCE, until, True)
        )
        await rig.objects.put(rig.bucket, new, PayloadExpectation(), PieceBody(b"x"))
        rig.kms.rotate_key()
        assert (await keys.rewrapper.scan(Under(DEFAULT_KEY_ID, "1"))).locked_count == 1
        assert (await keys.rewrap()).left_count == 0
        await check_all(keys, {b"locked": b"x"})

    run_keys(body)


def test_a_wrap_that_stands_in_its_slot_alone_is_found_there() -> None:
    """Rows of manifests and links that older versions wrote hold no wrap."""

    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        contents = await fill(rig)
        for entry in rig.catalogue._blobs.values():
            if entry.blob is not None and entry.blob.role in {BlobRole.LINK, BlobRole.MANIFEST}:
                entry.blob = replace(entry.blob, wrapped_key=b"")
                rig.catalogue._refresh_manifest(entry.blob)
        rig.kms.rotate_key()
        report = await keys.rewrap()
        assert (report.left_count, report.moved_count) == (0, 9)
        assert all(wrap.envelope for wrap in await keys.wraps())
        await check_all(keys, contents)

    run_keys(body)


def test_a_wrap_that_does_not_open_is_told_and_left(caplog: pytest.LogCaptureFixture) -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        await rig.put(b"good", b"1")
        bad = await rig.put(b"bad", b"2")
        assert bad.content_id is not None
        held = rig.catalogue._contents[bad.content_id]
        envelope = Envelope.decode(held.content.wrapped_key)
        spoiled = replace(envelope.wrapped, provider_ciphertext=bytes(len(envelope.wrapped.provider_ciphertext)))
        held.content = replace(held.content, wrapped_key=replace(envelope, wrapped=spoiled).encode())
        rig.kms.rotate_key()
        report = await keys.rewrap()
        assert (report.failed_count, report.left_count, report.moved_count) == (1, 1, 1 + 2)
        assert bad.content_id.hex() in caplog.text
        await check_all(keys, {b"good": b"1"})

    run_keys(body)


def test_objects_that_go_or_change_meanwhile_are_skipped() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        for number in range(5):
            await rig.put(b"%d" % number, b"x")
        rig.kms.rotate_key()
        real = rig.catalogue.move_wraps

        async def racing(command: MoveWraps, lease: Lease) -> tuple[bytes, ...]:
            if any(move.owner is WrapOwner.CONTENT for move in command.moves):
                await rig.catalogue.delete_versions(rig.bucket.bucket_id, [DeleteVersion(b"0")])
                await rig.put(b"1", b"y")
            return await real(command, lease)

        rig.catalogue.move_wraps = racing  # type: ignore[method-assign]  # requests come in between
        report = await keys.rewrap()
        assert (report.changed_count, report.moved_count, report.left_count) == (2, 3 + 2, 0)
        await check_all(keys, {b"1": b"y"} | {b"%d" % number: b"x" for number in (2, 3, 4)})
        async for kept in keys.envelopes.all():
            assert kept.wrap_count in {1, 3}

    run_keys(body)


def test_epochs_rise_though_the_clock_goes_back() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        await rig.put(b"k", b"x")
        epochs = []
        for _ in range(3):
            rig.kms.rotate_key()
            await keys.rewrap()
            epochs.append(max([kept.epoch async for kept in keys.envelopes.all()]))
            rig.clock.now -= timedelta(hours=1)
        assert epochs == sorted(set(epochs))

    run_keys(body)


def test_a_disabled_version_is_needed_by_nothing() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        rig.kms.create_key("second")
        contents = await fill(rig)
        await keys.rewrap(DEFAULT_KEY_ID, "second")
        rig.kms.set_key_state(KeyState.DISABLED)
        await check_all(keys, contents)
        with pytest.raises(KmsKeyDisabled):
            await rig.put(b"new", b"x")

    run_keys(body)


class _KilledError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("wrapping", list(WrappingMode))
def test_killed_at_every_point_it_goes_on(wrapping: WrappingMode) -> None:
    """Every point that a rewrap reaches, one by one: at none of them is a record half-wrapped."""

    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        contents = await fill(rig)
        points: list[str] = []
        seams.hook = points.append
        rig.kms.rotate_key()
        await keys.rewrap()
        seams.hook = None
        assert len(points) >= 20
        for number in range(len(points)):
            rig.kms.rotate_key()
            reached = iter(range(number + 1))

            def kill(_: str, reached: Any = reached, number: int = number) -> None:
                if next(reached) == number:
                    raise _KilledError

            seams.hook = kill
            try:
                with pytest.raises(_KilledError):
                    await keys.rewrap()
            finally:
                seams.hook = None
            # As a new process: what it had in memory of the realm is gone.
            keys.realm.root, keys.realm.canary = keys.realm.saved
            await check_all(keys, contents)
            report = await keys.rewrap()
            assert report.left_count == 0
            await check_all(keys, contents)
            await rig.catalogue.verify()

    run_keys(body, wrapping=wrapping, batch=3)


@BOTH
def test_recipients_open_everything_without_the_kms(wrapping: WrappingMode) -> None:
    """What was there before gets its copies by a rewrap; what comes after has them in its slot. SSE-C never."""

    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        await fill(rig)
        before = rig.stored()
        secret = RecoverySecret.generate()
        rig.custody.recipients.set([Recipient("r", secret.public, rig.clock())])
        report = await keys.rewrap()
        assert (report.left_count, report.failed_count) == (0, 0)
        await rig.put(b"after", b"x")
        new = NewObject(
            b"theirs",
            ObjectAttributes(protection=Protection(Mode.CUSTOMER)),
            Conditions(),
            customer_key=customer_key(b"k" * 32),
        )
        await rig.objects.put(rig.bucket, new, PayloadExpectation(), PieceBody(b"x"))
        assert (await keys.rewrap()).moved_count == 0
        seen = set()
        for kept in await keys.wraps():
            envelope = Envelope.decode(kept.envelope)
            assert kept.version is not None
            if envelope.kms_wrapped is None:
                assert not envelope.copies.ids
                continue
            encryption = Protection.decode(kept.version.attributes.get("encryption")).context.encode()
            if envelope.bucket_key is not None:
                context = bucket_key_context(rig.realm_id, kept.bucket_id, envelope.bucket_key.bucket_key_id)
                opened = secret.open(envelope.copies, context)
                assert opened == await rig.keyring.open_bucket_key(rig.realm_id, kept.bucket_id, envelope.bucket_key)
            else:
                is_content = kept.owner is WrapOwner.CONTENT
                context = content_context(rig.realm_id, kept.bucket_id, kept.wrap_id, encryption if is_content else b"")
                opened = secret.open(envelope.copies, context)
                unlock = Unlock(encryption.decode() if is_content else "")
                assert opened == await rig.custody.open_content_key(kept.bucket_id, kept.wrap_id, kept.envelope, unlock)
            seen.add(kept.owner)
        assert seen == {WrapOwner.CONTENT, WrapOwner.BLOB}
        realm_keys, _ = RealmKeys.recover(secret, keys.realm.copies, rig.realm_id)
        assert realm_keys == keys.realm_keys
        # With blobs alone: the root's copy stands in the slot of an envelopes blob.
        newest = max([kept async for kept in keys.envelopes.all()], key=lambda kept: kept.epoch)
        _, rest = take_sized(await read_slot(rig.blobs, newest.blob))
        _, copies = take_sized(rest)
        assert RealmKeys.recover(secret, Copies.decode(copies), rig.realm_id)[0] == keys.realm_keys
        # A later rotation keeps the copies, and removing the recipient takes them from the rows.
        rig.kms.rotate_key()
        await keys.rewrap()
        ids = {Envelope.decode(kept.envelope).copies.ids for kept in await keys.wraps()}
        assert ids == {frozenset(), rig.custody.recipients.ids}
        rig.custody.recipients.set(())
        assert (await keys.rewrap()).left_count == 0
        assert {Envelope.decode(kept.envelope).copies.ids for kept in await keys.wraps()} == {frozenset()}
        assert before.items() <= rig.stored().items(), "no blob was touched"

    run_keys(body, wrapping=wrapping)


def test_what_lies_under_a_key_that_is_off_takes_no_other_name() -> None:
    """As on AWS: such a copy could not be read."""

    async def body(keys: KeysRig) -> None:
        other = "another-key"
        keys.rig.kms.create_key(other)
        await keys.rig.put(b"z", BIG)
        await keys.rewrap(DEFAULT_KEY_ID, other)
        await copy(keys.rig, b"z", b"y")
        keys.rig.kms.set_key_state(KeyState.DISABLED, other)
        keys.forget_keys()
        stored = keys.rig.stored()
        with pytest.raises(KmsKeyDisabled):
            await copy(keys.rig, b"z", b"a")
        assert keys.rig.stored() == stored
        with pytest.raises(NoSuchVersion):
            await keys.rig.objects.find(keys.rig.bucket, b"a")
        keys.rig.kms.set_key_state(KeyState.ENABLED, other)
        await copy(keys.rig, b"z", b"a")

    run_keys(body)
