"""What was wrapped goes to who wrapped it; what is named goes to who offers it; what names two is refused."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from keys.errors import KmsKeyNotFound, KmsMisconfigured, KmsUnavailable, UnwrapFailed
from keys.keyring import Direct, Keyring, content_context
from keys.keyring_file import LocalKeyring
from keys.kms.base import PromptKms, RotatingKms
from keys.kms.binding import RecordKms
from keys.kms.local import LocalKms
from keys.kms.memory import DEFAULT_KEY_ID, Fault, MemoryKms
from keys.kms.names import DEFAULT_NAMES, KeyNames
from keys.kms.routing import FOUND_S, Route, RoutingKms, local_kms, providers_of
from tests.suites.kms import CONTEXT

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class NamedMemoryKms(MemoryKms):
    """One of several."""

    def __init__(self, provider: str, *keys: str) -> None:
        super().__init__()
        self.provider = provider
        for key in keys:
            self.create_key(key)


proved: list[str] = []


async def prove(kms: RecordKms) -> None:
    await asyncio.sleep(0)  # as one over a network does
    await kms.prove()
    proved.append(kms.provider)


def route(kms: RecordKms, *offers: str, **aliases: str) -> Route:
    return Route(kms, KeyNames(kms.provider, aliases=aliases), frozenset(offers), prove)


@pytest.fixture
def one() -> NamedMemoryKms:
    return NamedMemoryKms("one", "first", "hidden")


@pytest.fixture
def two() -> NamedMemoryKms:
    return NamedMemoryKms("two", "second", "first-too")


@pytest.fixture
def local(tmp_path: Path) -> LocalKms:
    return LocalKms(LocalKeyring.create(tmp_path / "keys"), KeyNames("us-east-1"))


@pytest.fixture
async def kms(one: NamedMemoryKms, two: NamedMemoryKms, local: LocalKms) -> AsyncIterator[RoutingKms]:
    proved.clear()
    routes = [
        route(two, DEFAULT_KEY_ID, "second", shared="second"),
        route(one, "first", shared="first", mine="first"),
        Route(local, KeyNames("us-east-1"), None, prove),
    ]
    routing = RoutingKms(routes, "one")
    yield routing
    await routing.close()


async def test_what_names_nothing_goes_to_the_default(kms: RoutingKms) -> None:
    data_key, wrapped = await kms.generate(None, CONTEXT)
    assert wrapped.provider == kms.provider == "one"
    assert (await kms.describe(None)).kms_key_id == DEFAULT_KEY_ID
    assert await kms.unwrap(wrapped, CONTEXT) == data_key
    assert proved == ["one"]
    await kms.wrap(data_key, None, CONTEXT)
    assert proved == ["one"], "once is enough"


@pytest.mark.parametrize(
    ("name", "provider", "key"),
    [
        ("first", "one", "first"),
        ("second", "two", "second"),
        ("alias/mine", "one", "first"),
        ("arn:aws:kms:two:000000000000:key/second", "two", "second"),
        ("arn:aws:kms:two:000000000000:alias/shared", "two", "second"),
        ("arn:aws:kms:one:000000000000:alias/shared", "one", "first"),
        (DEFAULT_KEY_ID, "two", DEFAULT_KEY_ID),
    ],
)
async def test_a_name_goes_to_who_offers_it(kms: RoutingKms, name: str, provider: str, key: str) -> None:
    _, wrapped = await kms.generate(name, CONTEXT)
    assert (wrapped.provider, wrapped.kms_key_id) == (provider, key)
    assert (await kms.describe(name)).kms_key_id == key


async def test_the_local_keyring_offers_what_it_has(kms: RoutingKms, local: LocalKms) -> None:
    made = local.keyring.create_key("later")
    for name in (made.kms_key_id, "alias/later", "alias/default"):
        assert (await kms.generate(name, CONTEXT))[1].provider == "local"
    assert local_kms(kms) is local is local_kms(local)
    assert local_kms(MemoryKms()) is None
    assert {provider.provider for provider in providers_of(kms)} == {"one", "two", "local"}
    assert providers_of(local) == (local,)


@pytest.mark.parametrize(
    "name",
    ["hidden", "nothing", "first-too", "alias/none", "arn:aws:kms:three:000000000000:key/first", "arn:", "*"],
)
async def test_what_nobody_offers_is_not_found(kms: RoutingKms, name: str) -> None:
    for call in (kms.generate(name, CONTEXT), kms.describe(name)):
        with pytest.raises(KmsKeyNotFound):
            await call


async def test_what_names_two_is_refused(kms: RoutingKms) -> None:
    with pytest.raises(KmsKeyNotFound, match="names a key of one and two: name it by its ARN"):
        await kms.generate("alias/shared", CONTEXT)


async def test_what_was_wrapped_goes_back_to_who_did(kms: RoutingKms, one: NamedMemoryKms) -> None:
    data_key, wrapped = await kms.generate("second", CONTEXT)
    one.fault = Fault.UNAVAILABLE
    assert await kms.unwrap(wrapped, CONTEXT) == data_key
    with pytest.raises(KmsKeyNotFound, match="no KMS named three is set up"):
        await kms.unwrap(replace(wrapped, provider="three"), CONTEXT)


async def test_a_key_moves_from_one_kms_to_another(kms: RoutingKms, one: NamedMemoryKms) -> None:
    data_key, wrapped = await kms.generate("first", CONTEXT)
    moved = await kms.rewrap(wrapped, CONTEXT, "second")
    assert (moved.provider, moved.kms_key_id) == ("two", "second")
    assert moved.record == wrapped.record, "the data key was not opened"
    one.destroy_key("first")
    assert await kms.unwrap(moved, CONTEXT) == data_key
    within = await kms.rewrap(moved, CONTEXT, DEFAULT_KEY_ID)
    assert (within.provider, within.kms_key_id) == ("two", DEFAULT_KEY_ID)
    assert await kms.unwrap(within, CONTEXT) == data_key


async def test_who_does_not_prove_itself_wraps_nothing(kms: RoutingKms, two: NamedMemoryKms) -> None:
    two.fault = Fault.ZERO_KEY
    with pytest.raises(UnwrapFailed):
        await kms.generate("second", CONTEXT)
    two.fault = Fault.UNAVAILABLE
    with pytest.raises(KmsUnavailable):
        await kms.generate("second", CONTEXT)
    two.fault = None
    await kms.generate("second", CONTEXT)
    assert proved == ["two"]


async def test_many_wait_for_one_proof(kms: RoutingKms) -> None:
    await asyncio.gather(*(kms.generate("second", CONTEXT) for _ in range(20)))
    assert proved == ["two"]


async def test_all_are_proved_and_probed(kms: RoutingKms, one: NamedMemoryKms, two: NamedMemoryKms) -> None:
    await kms.prove()
    assert proved == ["one", "two", "local"]
    await kms.health()
    two.fault = Fault.UNAVAILABLE
    await kms.probe()
    assert two.watch.is_away
    assert not one.watch.is_away
    two.fault = None
    await kms.probe()
    assert not two.watch.is_away


async def test_a_move_within_one_kms_waits_for_nobody(
    one: NamedMemoryKms, local: LocalKms, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    routes = [route(one, "first"), Route(local, KeyNames("us-east-1"), None, prove)]
    kms = RoutingKms(routes, "one", lambda: now[0])
    key, other = local.keyring.default_key_id, local.keyring.create_key("other").kms_key_id
    data_key, wrapped = await local.generate(None, CONTEXT)
    _, elsewhere = await kms.generate("first", CONTEXT)
    assert isinstance(kms, PromptKms)
    assert kms.move(wrapped, CONTEXT, key) is None, "nobody was asked yet whose that is"
    await kms.describe(key)
    assert kms.move(wrapped, CONTEXT, key) is None, "it has yet to prove itself"
    await kms.prove()
    local.keyring.rotate_key(key)
    moved = kms.move(wrapped, CONTEXT, key)
    assert moved is not None
    assert (moved.provider, moved.kms_key_id, moved.kms_key_version) == ("local", key, "2")
    assert await kms.unwrap(moved, CONTEXT) == data_key
    with pytest.raises(UnwrapFailed):
        kms.move(wrapped, replace(CONTEXT, content_id=CONTEXT.realm_id), key)
    assert kms.move(wrapped, CONTEXT, None) is None, "the default one is another's"
    assert kms.move(wrapped, CONTEXT, other) is None
    assert kms.move(elsewhere, CONTEXT, key) is None, "from one to another takes waiting"
    assert kms.move(replace(wrapped, provider="gone"), CONTEXT, key) is None
    await kms.describe("first")
    assert kms.move(elsewhere, CONTEXT, "first") is None, "one elsewhere is waited for"
    now[0] = FOUND_S
    assert kms.move(wrapped, CONTEXT, key) is None, "it may have come to name two"
    monkeypatch.setattr("keys.kms.routing.MAX_FOUND", 1)
    for name in ("first", key):
        await kms.describe(name)
    assert kms.move(wrapped, CONTEXT, key) is not None
    assert kms.move(elsewhere, CONTEXT, "first") is None


async def test_a_keyring_moves_at_once_or_waits(one: NamedMemoryKms, local: LocalKms) -> None:
    kms = RoutingKms([route(one, "first"), Route(local, KeyNames("us-east-1"), None, prove)], "one")
    keyring = Keyring(kms, time.monotonic)
    ids = CONTEXT.realm_id, CONTEXT.bucket_id, CONTEXT.content_id
    data_key, wrapped = await keyring.new_content_key(*ids, Direct("first"))
    key = local.keyring.default_key_id
    for version in ("2", "3"):  # from the other one to the local keyring, and within that
        local.keyring.rotate_key(None)
        wrapped = await keyring.rewrap_content_key(*ids, wrapped, key)
        assert (wrapped.provider, wrapped.kms_key_version) == ("local", version)
        assert await kms.unwrap(wrapped, content_context(*ids)) == data_key


async def test_who_can_rotates(kms: RoutingKms, local: LocalKms) -> None:
    contract: RotatingKms = kms
    before = await local.describe(None)
    assert (await contract.rotate(before.kms_key_id)).version == "2"
    assert (await contract.rotate("second")).version == "2"


async def test_who_cannot_rotate_says_so() -> None:
    class Fixed(NamedMemoryKms):
        rotate = None  # type: ignore[assignment]

    routing = RoutingKms([route(Fixed("fixed", "key"), "key")], "fixed")
    with pytest.raises(KmsMisconfigured, match="rotates its keys itself"):
        await routing.rotate("key")


async def test_many_who_come_first_prove_a_kms_once() -> None:
    asked: list[RecordKms] = []

    async def prove(kms: RecordKms) -> None:
        asked.append(kms)
        await asyncio.sleep(0)

    kms = MemoryKms()
    several = Route(kms, DEFAULT_NAMES, None, prove)
    assert await asyncio.gather(*(several.proved() for _ in range(5))) == [kms] * 5
    assert asked == [kms]
