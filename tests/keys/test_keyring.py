"""The engine's keyring: hierarchy, binding, cache, deadline and re-wrapping."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from keys.context import Purpose, WrapContext
from keys.customer import customer_key
from keys.datakey import DataKey, WrappedKey
from keys.errors import (
    KeysError,
    KmsDenied,
    KmsKeyDisabled,
    KmsKeyInvalidState,
    KmsKeyNotFound,
    KmsUnavailable,
    UnwrapFailed,
)
from keys.keyring import BucketKey, Customer, Direct, Keyring, _own_context, bucket_key_id_of, part_context
from keys.keyring_file import LocalKeyring
from keys.kms.base import KeyState
from keys.kms.local import LocalKms
from keys.kms.memory import Fault, MemoryKms
from keys.record import unseal

pytestmark = pytest.mark.anyio
REALM, BUCKET, CONTENT, BLOB = b"R" * 16, b"B" * 16, b"C" * 16, b"L" * 16
IDS = (REALM, BUCKET, CONTENT)
OTHER_IDS = [(b"r" * 16, BUCKET, CONTENT), (REALM, b"b" * 16, CONTENT), (REALM, BUCKET, b"c" * 16)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class House:
    """A keyring, its KMS and its clock."""

    def __init__(self) -> None:
        self.kms = MemoryKms()
        self.clock = Clock()
        self.keyring = Keyring(self.kms, self.clock, deadline_s=0.02)


@pytest.fixture
def house() -> House:
    return House()


class TestDirect:
    async def test_the_key_comes_back(self, house: House) -> None:
        data_key, wrapped = await house.keyring.new_content_key(*IDS)
        assert wrapped.provider == "memory"
        for _ in range(2):
            assert await house.keyring.unwrap_content_key(*IDS, wrapped) == data_key
            house.keyring.forget_all()

    async def test_a_named_wrapping_key_is_used(self, house: House) -> None:
        house.kms.create_key("mine")
        _, wrapped = await house.keyring.new_content_key(*IDS, Direct("mine"))
        assert wrapped.kms_key_id == "mine"

    @pytest.mark.parametrize("ids", OTHER_IDS)
    async def test_other_ids_do_not_open_not_even_from_the_cache(
        self, house: House, ids: tuple[bytes, bytes, bytes]
    ) -> None:
        _, wrapped = await house.keyring.new_content_key(*IDS)
        await house.keyring.unwrap_content_key(*IDS, wrapped)
        with pytest.raises(UnwrapFailed):
            await house.keyring.unwrap_content_key(*ids, wrapped)

    async def test_an_altered_key_does_not_open_not_even_from_the_cache(self, house: House) -> None:
        _, wrapped = await house.keyring.new_content_key(*IDS)
        encoded = bytearray(wrapped.encode())
        encoded[-1] ^= 1
        with pytest.raises(UnwrapFailed):
            await house.keyring.unwrap_content_key(*IDS, WrappedKey.decode(bytes(encoded)))

    @pytest.mark.parametrize("guess", [bytes(32), b"\xff" * 32, hashlib.sha256(b"").digest()])
    async def test_no_zero_or_default_key_opens_a_wrap(self, house: House, guess: bytes) -> None:
        context = WrapContext(*IDS, Purpose.CONTENT).encode()
        bucket_key = await house.keyring.new_bucket_key(REALM, BUCKET)
        for wrapping in (Direct(), bucket_key):
            _, wrapped = await house.keyring.new_content_key(*IDS, wrapping)
            for under in (context, _own_context("bucket", WrapContext(*IDS, Purpose.CONTENT))):
                with pytest.raises(UnwrapFailed):
                    unseal(guess, wrapped.record, under)


class TestCacheAndDeadline:
    async def test_the_kms_is_asked_once_per_age(self, house: House) -> None:
        _, wrapped = await house.keyring.new_content_key(*IDS)
        house.keyring.forget_all()
        for _ in range(1000):
            await house.keyring.unwrap_content_key(*IDS, wrapped)
        assert house.kms.calls["unwrap"] == 1
        house.clock.now += 300
        await house.keyring.unwrap_content_key(*IDS, wrapped)
        assert house.kms.calls["unwrap"] == 2

    async def test_a_new_key_needs_no_unwrap_until_its_age(self, house: House) -> None:
        _, wrapped = await house.keyring.new_content_key(*IDS)
        house.clock.now += 299
        await house.keyring.unwrap_content_key(*IDS, wrapped)
        assert house.kms.calls["unwrap"] == 0
        house.clock.now += 1
        house.keyring.forget_expired()
        assert len(house.keyring._cache) == 0

    async def test_revocation_bites_within_300_seconds(self, house: House) -> None:
        _, wrapped = await house.keyring.new_content_key(*IDS)
        house.kms.revoke()
        house.clock.now += 299
        await house.keyring.unwrap_content_key(*IDS, wrapped)
        house.clock.now += 1
        with pytest.raises(KmsDenied):
            await house.keyring.unwrap_content_key(*IDS, wrapped)

    async def test_a_hundred_readers_of_a_slow_kms_share_one_call(self, house: House) -> None:
        _, wrapped = await house.keyring.new_content_key(*IDS)
        house.keyring.forget_all()
        house.kms.fault = Fault.SLOW
        calls = [house.keyring.unwrap_content_key(*IDS, wrapped) for _ in range(100)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [KmsUnavailable] * 100
        assert house.kms.calls["unwrap"] == 1
        house.kms.fault = None
        await house.keyring.unwrap_content_key(*IDS, wrapped)

    async def test_cached_reads_go_on_while_the_kms_is_down(self, house: House) -> None:
        data_key, wrapped = await house.keyring.new_content_key(*IDS)
        house.kms.fault = Fault.UNAVAILABLE
        assert await house.keyring.unwrap_content_key(*IDS, wrapped) == data_key
        with pytest.raises(KmsUnavailable):
            await house.keyring.new_content_key(*IDS)

    async def test_every_call_has_the_deadline(self, house: House) -> None:
        keyring = house.keyring
        _, wrapped = await keyring.new_content_key(*IDS)
        bucket_key = await keyring.new_bucket_key(REALM, BUCKET)
        keyring.forget_all()
        house.kms.fault = Fault.SLOW
        for call in (
            keyring.new_content_key(*IDS),
            keyring.new_content_key(*IDS, bucket_key),
            keyring.unwrap_content_key(*IDS, wrapped),
            keyring.new_bucket_key(REALM, BUCKET),
            keyring.rewrap_content_key(*IDS, wrapped),
            keyring.rewrap_bucket_key(REALM, BUCKET, bucket_key),
        ):
            with pytest.raises(KmsUnavailable):
                await call

    async def test_a_disabled_key_is_told_as_such(self, house: House) -> None:
        house.kms.set_key_state(KeyState.DISABLED)
        with pytest.raises(KmsKeyDisabled):
            await house.keyring.new_content_key(*IDS)


class TestBucketKeys:
    async def test_the_kms_is_asked_once_for_a_thousand_contents(self, house: House) -> None:
        bucket_key = await house.keyring.new_bucket_key(REALM, BUCKET)
        house.keyring.forget_all()
        for number in range(1000):
            ids = (REALM, BUCKET, number.to_bytes(16, "big"))
            data_key, wrapped = await house.keyring.new_content_key(*ids, bucket_key)
            assert await house.keyring.unwrap_content_key(*ids, wrapped, bucket_key) == data_key
        assert house.kms.calls == {"wrap": 1, "unwrap": 1}

    async def test_a_content_key_names_its_bucket_key(self, house: House) -> None:
        bucket_key = await house.keyring.new_bucket_key(REALM, BUCKET)
        _, wrapped = await house.keyring.new_content_key(*IDS, bucket_key)
        assert bucket_key_id_of(wrapped) == bucket_key.bucket_key_id
        _, direct = await house.keyring.new_content_key(*IDS)
        assert bucket_key_id_of(direct) is None

    @pytest.mark.parametrize("ids", OTHER_IDS)
    async def test_other_ids_do_not_open(self, house: House, ids: tuple[bytes, bytes, bytes]) -> None:
        bucket_key = await house.keyring.new_bucket_key(REALM, BUCKET)
        _, wrapped = await house.keyring.new_content_key(*IDS, bucket_key)
        with pytest.raises(UnwrapFailed):
            await house.keyring.unwrap_content_key(*ids, wrapped, bucket_key)

    async def test_another_bucket_key_does_not_open(self, house: House) -> None:
        one, two = [await house.keyring.new_bucket_key(REALM, BUCKET) for _ in range(2)]
        _, wrapped = await house.keyring.new_content_key(*IDS, one)
        swapped = BucketKey(one.bucket_key_id, two.wrapped)
        for bucket_key in (None, two, swapped):
            with pytest.raises(UnwrapFailed):
                await house.keyring.unwrap_content_key(*IDS, wrapped, bucket_key)
        renamed = replace(wrapped, kms_key_id=two.bucket_key_id.hex())
        with pytest.raises(UnwrapFailed):
            await house.keyring.unwrap_content_key(*IDS, renamed, two)

    @pytest.mark.parametrize("name", ["zz" * 16, "00" * 15, "AB" * 16, "00" * 17, "0"])
    async def test_a_bucket_key_id_is_32_lower_case_digits(self, house: House, name: str) -> None:
        bucket_key = await house.keyring.new_bucket_key(REALM, BUCKET)
        _, wrapped = await house.keyring.new_content_key(*IDS, bucket_key)
        with pytest.raises(UnwrapFailed):
            bucket_key_id_of(replace(wrapped, kms_key_id=name))

    async def test_every_byte_counts(self, house: House) -> None:
        bucket_key = await house.keyring.new_bucket_key(REALM, BUCKET)
        _, wrapped = await house.keyring.new_content_key(*IDS, bucket_key)
        await _flip_each_byte(wrapped, lambda altered: house.keyring.unwrap_content_key(*IDS, altered, bucket_key))

    async def test_rewrapping_it_moves_all_content_keys_at_once(self, house: House) -> None:
        house.kms.create_key("new")
        bucket_key = await house.keyring.new_bucket_key(REALM, BUCKET)
        data_key, wrapped = await house.keyring.new_content_key(*IDS, bucket_key)
        moved = await house.keyring.rewrap_bucket_key(REALM, BUCKET, bucket_key, "new")
        house.kms.destroy_key()
        house.keyring.forget_all()
        assert moved.wrapped.kms_key_id == "new"
        assert await house.keyring.unwrap_content_key(*IDS, wrapped, moved) == data_key


class TestPartKeys:
    async def test_a_part_key_needs_content_key_and_context(self, house: House) -> None:
        content_key, _ = await house.keyring.new_content_key(*IDS)
        context = part_context(*IDS, BLOB)
        part_key, wrapped = house.keyring.new_part_key(content_key, context)
        again, _ = house.keyring.new_part_key(content_key, context)
        assert part_key != again, "each attempt has a key of its own"
        assert part_key != content_key
        assert house.keyring.unwrap_part_key(content_key, wrapped, context) == part_key
        assert house.kms.calls == {"wrap": 1}
        with pytest.raises(UnwrapFailed):
            house.keyring.unwrap_part_key(DataKey.random(), wrapped, context)
        others = [part_context(*ids, BLOB) for ids in OTHER_IDS] + [part_context(*IDS, b"l" * 16)]
        for other in others:
            with pytest.raises(UnwrapFailed):
                house.keyring.unwrap_part_key(content_key, wrapped, other)

    async def test_every_byte_counts(self, house: House) -> None:
        content_key, _ = await house.keyring.new_content_key(*IDS)
        context = part_context(*IDS, BLOB)
        _, wrapped = house.keyring.new_part_key(content_key, context)

        async def unwrap(altered: WrappedKey) -> DataKey:
            return house.keyring.unwrap_part_key(content_key, altered, context)

        await _flip_each_byte(wrapped, unwrap)

    async def test_kinds_of_wraps_do_not_stand_for_each_other(self, house: House) -> None:
        keyring = house.keyring
        bucket_key = await keyring.new_bucket_key(REALM, BUCKET)
        content_key, content = await keyring.new_content_key(*IDS, bucket_key)
        context = part_context(*IDS, BLOB)
        _, part = keyring.new_part_key(content_key, context)
        for wrong in (content, bucket_key.wrapped):
            with pytest.raises(UnwrapFailed):
                keyring.unwrap_part_key(content_key, wrong, context)
        with pytest.raises(UnwrapFailed):
            await keyring.unwrap_content_key(*IDS, part, bucket_key)
        with pytest.raises(UnwrapFailed):
            await keyring.unwrap_content_key(*IDS, bucket_key.wrapped)

    @pytest.mark.parametrize("context", [WrapContext(*IDS, Purpose.CONTENT, BLOB), WrapContext(*IDS, Purpose.PART)])
    async def test_only_part_contexts_are_taken(self, house: House, context: WrapContext) -> None:
        with pytest.raises(AssertionError):
            house.keyring.new_part_key(DataKey.random(), context)


class TestRewrap:
    async def test_a_content_key_moves_and_stays_the_same(self, house: House) -> None:
        house.kms.create_key("new")
        data_key, wrapped = await house.keyring.new_content_key(*IDS)
        moved = await house.keyring.rewrap_content_key(*IDS, wrapped, "new")
        house.kms.destroy_key()
        house.keyring.forget_all()
        assert await house.keyring.unwrap_content_key(*IDS, moved) == data_key

    async def test_a_key_under_a_bucket_key_is_not_the_kmss_to_move(self, house: House) -> None:
        bucket_key = await house.keyring.new_bucket_key(REALM, BUCKET)
        _, wrapped = await house.keyring.new_content_key(*IDS, bucket_key)
        with pytest.raises(UnwrapFailed):
            await house.keyring.rewrap_content_key(*IDS, wrapped)


async def _flip_each_byte(wrapped: WrappedKey, unwrap: Callable[[WrappedKey], Awaitable[DataKey]]) -> None:
    encoded = wrapped.encode()
    for index in range(len(encoded)):
        altered = encoded[:index] + bytes([encoded[index] ^ 1]) + encoded[index + 1 :]
        with pytest.raises(KeysError) as raised:
            await unwrap(WrappedKey.decode(altered))
        assert not raised.value.retryable


class TestCustomer:
    KEY, OTHER = customer_key(bytes(range(32))), customer_key(bytes(32))

    async def test_the_key_comes_back_to_who_brings_the_same(self, house: House) -> None:
        data_key, wrapped = await house.keyring.new_content_key(*IDS, Customer(self.KEY))
        assert (wrapped.provider, wrapped.kms_key_id) == ("customer", CONTENT.hex())
        assert await house.keyring.unwrap_content_key(*IDS, wrapped, customer_key=self.KEY) == data_key
        assert not house.kms.calls
        assert len(house.keyring._cache) == 0, "nothing of a client is cached"

    async def test_no_other_key_opens(self, house: House) -> None:
        _, wrapped = await house.keyring.new_content_key(*IDS, Customer(self.KEY))
        await house.keyring.unwrap_content_key(*IDS, wrapped, customer_key=self.KEY)
        for brought in (self.OTHER, None):
            with pytest.raises(UnwrapFailed):
                await house.keyring.unwrap_content_key(*IDS, wrapped, customer_key=brought)

    @pytest.mark.parametrize("ids", OTHER_IDS)
    async def test_other_ids_do_not_open(self, house: House, ids: tuple[bytes, bytes, bytes]) -> None:
        _, wrapped = await house.keyring.new_content_key(*IDS, Customer(self.KEY))
        with pytest.raises(UnwrapFailed):
            await house.keyring.unwrap_content_key(*ids, wrapped, customer_key=self.KEY)

    async def test_a_clients_key_opens_nothing_of_the_kms(self, house: House) -> None:
        _, wrapped = await house.keyring.new_content_key(*IDS)
        with pytest.raises(UnwrapFailed):
            await house.keyring.unwrap_content_key(*IDS, wrapped, customer_key=self.KEY)

    async def test_is_never_rewrapped(self, house: House) -> None:
        _, wrapped = await house.keyring.new_content_key(*IDS, Customer(self.KEY))
        with pytest.raises(UnwrapFailed):
            await house.keyring.rewrap_content_key(*IDS, wrapped)


class TestEncryptionContext:
    @pytest.mark.parametrize("through", ["the KMS", "a bucket key", "a client's key"])
    async def test_binds_the_content_key(self, house: House, through: str) -> None:
        mine = customer_key(bytes(32)) if through == "a client's key" else None
        bucket_key = await house.keyring.new_bucket_key(REALM, BUCKET) if through == "a bucket key" else None
        wrapping = Customer(mine) if mine is not None else bucket_key or Direct()
        data_key, wrapped = await house.keyring.new_content_key(*IDS, wrapping, encryption_context=b"{}")

        async def unwrap(context: bytes) -> DataKey:
            return await house.keyring.unwrap_content_key(
                *IDS, wrapped, bucket_key, encryption_context=context, customer_key=mine
            )

        assert await unwrap(b"{}") == data_key
        for other in (b"", b'{"a":"b"}'):
            with pytest.raises(UnwrapFailed):
                await unwrap(other)

    async def test_is_kept_by_rewrapping(self, house: House) -> None:
        data_key, wrapped = await house.keyring.new_content_key(*IDS, encryption_context=b"{}")
        house.kms.create_key("mine")
        moved = await house.keyring.rewrap_content_key(*IDS, wrapped, "mine", encryption_context=b"{}")
        assert moved.kms_key_id == "mine"
        assert await house.keyring.unwrap_content_key(*IDS, moved, encryption_context=b"{}") == data_key
        with pytest.raises(UnwrapFailed):
            await house.keyring.unwrap_content_key(*IDS, moved)


async def test_describes_wrapping_keys_by_every_name(house: House) -> None:
    house.kms.create_key("mine", alias="team/mine")
    described = await house.keyring.describe("mine")
    assert described.arn == "arn:aws:kms:us-east-1:000000000000:key/mine"
    for name in ("alias/team/mine", described.arn, "arn:aws:kms:us-east-1:000000000000:alias/team/mine"):
        assert await house.keyring.describe(name) == described
    for unknown in ("none", "alias/none", "arn:aws:kms:eu-west-1:000000000000:key/mine"):
        with pytest.raises(KmsKeyNotFound):
            await house.keyring.describe(unknown)


async def test_a_kms_of_this_process_moves_and_proves_in_one_go(tmp_path: Path) -> None:
    local = LocalKms(LocalKeyring.create(tmp_path / "keys"))
    keyring = Keyring(local, Clock())
    data_key, wrapped = await keyring.new_content_key(*IDS)
    bucket_key = await keyring.new_bucket_key(REALM, BUCKET)
    local.keyring.rotate_key(None)
    moved = await keyring.rewrap_content_key(*IDS, wrapped)
    moved_bucket_key = await keyring.rewrap_bucket_key(REALM, BUCKET, bucket_key)
    assert (moved.kms_key_version, moved_bucket_key.wrapped.kms_key_version) == ("2", "2")
    local.keyring.set_key_state(None, KeyState.DESTROYED, version=1)
    keyring.forget_all()
    assert await keyring.unwrap_content_key(*IDS, moved) == data_key
    await keyring.open_bucket_key(REALM, BUCKET, moved_bucket_key)
    for other in OTHER_IDS:
        with pytest.raises(UnwrapFailed):
            await keyring.rewrap_content_key(*other, moved)
    with pytest.raises(KmsKeyInvalidState):
        await keyring.rewrap_content_key(*IDS, wrapped)
