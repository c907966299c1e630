"""What the life cycle of wrapping keys takes besides a rig: the realm's own wraps, and short ways to run jobs."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.custody import sized
from gateway.engine.envelopes import EnvelopesBlobs
from gateway.engine.journal.packs import Packs
from gateway.engine.journal.records import RecordBlobs
from gateway.engine.objects import NewObject
from gateway.engine.protection import Mode, Protection
from gateway.engine.rewrap import MoveToCurrent, Rewrapper, RewrapReport, Under
from gateway.s3.types import PayloadExpectation
from gateway.s3.upload_types import CompletedPart
from keys.datakey import WrappedKey
from keys.journal import JournalKeys
from keys.kms.memory import DEFAULT_KEY_ID
from keys.realm import RealmKeys, copy_root, create_canary, rewrap_root
from keys.recovery import NO_COPIES, Copies
from storage.catalogue.commands import Conditions, KeptWrap, WrapsMark
from storage.catalogue.records import Upload
from tests.gateway.engine.rig import PieceBody, Rig, rig_parts

T = TypeVar("T")
BIG = bytes(range(251)) * 200
SSE_KMS = ObjectAttributes(
    protection=Protection(Mode.KMS, DEFAULT_KEY_ID, "arn", context='{"team":"ü"}'),
)


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


async def begin(rig: Rig, object_key: bytes, attributes: ObjectAttributes | None = None) -> Upload:
    return await rig.multipart.create(rig.bucket, object_key, attributes or ObjectAttributes())


async def complete(rig: Rig, upload: Upload, *pieces: bytes) -> None:
    named = []
    for number, piece in enumerate(pieces, start=1):
        part = await rig.multipart.put_part(rig.bucket, upload, number, PayloadExpectation(), PieceBody(piece))
        named.append(CompletedPart(number, part.part.etag))
    await rig.multipart.complete(rig.bucket, upload, named, Conditions())


async def copy(rig: Rig, source: bytes, target: bytes) -> None:
    found = await rig.objects.find(rig.bucket, source)
    new = NewObject(target, ObjectAttributes.decode(found.version.attributes), Conditions())
    await rig.objects.copy(found, rig.bucket, new)


async def fill(rig: Rig) -> dict[bytes, bytes]:
    """Every kind of record that the KMS wraps, and one that a client does; what the objects hold."""
    small, big = b"small", BIG
    await rig.put(b"small", small)
    await rig.put(b"big", big)
    await rig.put(b"kms", big, attributes=SSE_KMS)
    await copy(rig, b"big", b"copy")
    await copy(rig, b"small", b"copy of small")
    await complete(rig, await begin(rig, b"whole"), BIG)
    return {
        b"small": small,
        b"big": big,
        b"kms": big,
        b"copy": big,
        b"copy of small": small,
        b"whole": big,
    }


async def check_all(keys: KeysRig, contents: dict[bytes, bytes]) -> None:
    """Read everything as a gateway would that has just started."""
    keys.forget_keys()
    for object_key, content in contents.items():
        assert await keys.rig.get(object_key) == content, object_key
