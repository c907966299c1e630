"""Keys of the journal: bound to kind and id, named by place, signed by the realm."""

import secrets

import pytest

from keys.errors import UnwrapFailed
from keys.journal import JournalKeys
from keys.kms.memory import MemoryKms
from keys.realm import RealmKeys

pytestmark = pytest.mark.anyio
REALM, OTHER = b"R" * 16, b"O" * 16


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def keys() -> JournalKeys:
    return JournalKeys((await RealmKeys.create(MemoryKms(), REALM))[0])


async def test_a_data_key_opens_for_its_blob_alone(keys: JournalKeys) -> None:
    blob_id = secrets.token_bytes(16)
    data_key, wrapped = keys.new_data_key(8, blob_id)
    assert keys.open_data_key(wrapped, 8, blob_id) == data_key
    assert keys.new_data_key(8, blob_id)[0] != data_key
    for kind, name in ((9, blob_id), (8, secrets.token_bytes(16))):
        with pytest.raises(UnwrapFailed):
            keys.open_data_key(wrapped, kind, name)
    another = JournalKeys((await RealmKeys.create(MemoryKms(), REALM))[0])
    with pytest.raises(UnwrapFailed):
        another.open_data_key(wrapped, 8, blob_id)


async def test_a_wrap_of_another_provider_is_refused(keys: JournalKeys) -> None:
    kms = MemoryKms()
    _, wrapped = await RealmKeys.create(kms, REALM)
    with pytest.raises(UnwrapFailed, match="another key"):
        keys.open_data_key(wrapped, 8, b"x" * 16)


async def test_ids_follow_from_places_and_realm(keys: JournalKeys) -> None:
    ids = {keys.segment_id(position) for position in range(1000)}
    assert len(ids) == 1000
    assert {len(each) for each in ids} == {16}
    assert keys.segment_id(7) == keys.segment_id(7)
    another = JournalKeys((await RealmKeys.create(MemoryKms(), OTHER))[0])
    assert another.segment_id(7) not in ids


async def test_a_signature_is_of_its_realm_and_bytes(keys: JournalKeys) -> None:
    signature = keys.sign(b"head")
    keys.check_signature(signature, b"head")
    another = JournalKeys((await RealmKeys.create(MemoryKms(), OTHER))[0])
    for check, given, data in (
        (keys, signature, b"heads"),
        (keys, bytes(64), b"head"),
        (another, signature, b"head"),
    ):
        with pytest.raises(UnwrapFailed, match="anchor"):
            check.check_signature(given, data)
