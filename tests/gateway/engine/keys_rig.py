"""What the life cycle of wrapping keys takes besides a rig: the realm's own wraps, and short ways to run jobs."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.engine.custody import sized
from gateway.engine.envelopes import EnvelopesBlobs
from gateway.engine.journal.packs import Packs
from gateway.engine.journal.records import RecordBlobs
from gateway.engine.rewrap import MoveToCurrent, Rewrapper, RewrapReport, Under
from keys.datakey import WrappedKey
from keys.journal import JournalKeys
from keys.realm import RealmKeys, copy_root, create_canary, rewrap_root
from keys.recovery import NO_COPIES, Copies
from storage.catalogue.commands import KeptWrap, WrapsMark
from tests.gateway.engine.rig import Rig, rig_parts

T = TypeVar("T")


@dataclass
class MemoryRealm:
    """Root and canary of a rig's realm; `saved` is what the files would hold."""

    rig: Rig
    root: WrappedKey
    canary: WrappedKey
    saved: tuple[WrappedKey, WrappedKey]
    copies: Copies = NO_COPIES

    @property
    def realm_id(self) -> bytes:
        return self.rig.realm_id

    def wrapped(self) -> tuple[WrappedKey, ...]:
        return self.saved

    def copied_to(self) -> frozenset[bytes]:
        return self.copies.ids

    def root_part(self) -> bytes:
        return sized(self.root) + self.copies.encode()

    async def rewrap(self, kms_key_id: str) -> bytes:
        self.root = await rewrap_root(self.rig.kms, self.realm_id, self.root, kms_key_id)
        self.canary = await create_canary(self.rig.kms, self.realm_id, kms_key_id)
        self.copies = await copy_root(self.rig.kms, self.realm_id, self.root, self.rig.custody.recipients)
        return self.root_part()

    def save(self) -> None:
        self.saved = (self.root, self.canary)


@dataclass
class KeysRig:
    """A rig with the jobs of its wrapping keys."""

    rig: Rig
    realm: MemoryRealm
    realm_keys: RealmKeys
    envelopes: EnvelopesBlobs
    rewrapper: Rewrapper
    packs: Packs

    async def rewrap(self, source: str | None = None, to: str | None = None, **options: Any) -> RewrapReport:
        options.setdefault("patience_s", 0.0)
        return await self.rewrapper.rewrap(
            MoveToCurrent(self.rig.keyring, self.rig.custody.recipients, source, to), **options
        )

    async def left_under(self, kms_key_id: str, version: str | None = None) -> int:
        return (await self.rewrapper.scan(Under(kms_key_id, version))).left_count

    async def wraps(self) -> list[KeptWrap]:
        found: list[KeptWrap] = []
        mark: WrapsMark | None = WrapsMark()
        while mark is not None:
            page = await self.rig.catalogue.list_wraps(mark, 1000)
            found += page.wraps
            mark = page.next_mark
        return found

    def forget_keys(self) -> None:
        """As a gateway that was started anew: nothing that was unwrapped is known."""
        self.rig.keyring.forget_all()


async def keys_rig(rig: Rig, *, batch: int = 4096) -> KeysRig:
    realm_keys, root = await RealmKeys.create(rig.kms, rig.realm_id)
    canary = await create_canary(rig.kms, rig.realm_id)
    realm = MemoryRealm(rig, root, canary, (root, canary))
    envelopes = EnvelopesBlobs(
        catalogue=rig.catalogue,
        blobs=rig.blobs,
        writer=rig.writer,
        realm_keys=realm_keys,
        root=realm.root_part,
        clock=rig.clock,
    )
    rewrapper = Rewrapper(
        catalogue=rig.catalogue,
        blobs=rig.blobs,
        writer=rig.writer,
        custody=rig.custody,
        envelopes=envelopes,
        realm=realm,
        holder="test",
        batch=batch,
    )
    records = RecordBlobs(
        blobs=rig.blobs,
        realm_id=rig.realm_id,
        description_key=rig.writer._description_key,
        keys=JournalKeys(realm_keys),
        clock=rig.clock,
    )

    async def settled() -> None:
        """No journal is kept here."""

    packs = Packs(catalogue=rig.catalogue, records=records, settle=settled, holder="test")
    return KeysRig(rig, realm, realm_keys, envelopes, rewrapper, packs)


def run_keys(test: Callable[[KeysRig], Coroutine[Any, Any, T]], *, batch: int = 4096, **options: Any) -> T:
    """Run one async test body with a fresh rig and its jobs."""

    async def body(make: Callable[[], Coroutine[Any, Any, Rig]]) -> T:
        return await test(await keys_rig(await make(), batch=batch))

    with rig_parts(**options) as make:
        return asyncio.run(body(make))
