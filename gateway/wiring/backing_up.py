"""Where a backup lies: a folder with a blob store of its own and the signed head that says what belongs to it."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from gateway.engine.journal.anchor import MAX_ANCHOR_BYTES, Anchor, AnchorRefused
from gateway.engine.journal.backup import Backup, NoWholeBackup, put_back_blobs
from gateway.engine.journal.records import RecordBlobs
from gateway.wiring.stores import utc_now
from keys.safe_files import make_private_folder, read_private_file, write_private_file
from storage.blobs.disk import DiskBlobStore

HEAD: Final = "head.json"
_BLOBS: Final = "blobs"

Tell = Callable[[dict[str, Any]], None]


async def back_up(
    backup: Backup, realm_id: bytes, records: RecordBlobs, folder: Path, tell: Tell, *, verify: bool
) -> dict[str, Any]:
    """Bring a backup in a folder up to now; what was done. Raises: RealmMismatch, StorageError, KeyringError."""
    make_private_folder(folder)
    make_private_folder(folder / _BLOBS)
    target = DiskBlobStore(folder / _BLOBS)
    try:
        await target.claim(realm_id)
        head, report = await backup.run(target, lambda so_far: tell(asdict(so_far)), verify=verify)
    finally:
        await target.close()
    anchor = Anchor.of(realm_id, head, utc_now())
    write_private_file(folder / HEAD, anchor.encode(records.keys), replace=True)
    return asdict(report) | {"folder": str(folder), "segment_count": anchor.count, "at": anchor.at.isoformat()}


async def put_back(folder: Path, target: RecordBlobs, tell: Callable[[], None]) -> dict[str, Any]:
    """Give a store what a backup holds and it lacks. Raises: NoWholeBackup, StorageError, KeyringError."""
    try:
        anchor = Anchor.decode(read_private_file(folder / HEAD, MAX_ANCHOR_BYTES), target.keys)
    except AnchorRefused as error:
        raise NoWholeBackup(f"{folder / HEAD}: {error}") from None
    blobs = DiskBlobStore(folder / _BLOBS)
    try:
        done = await put_back_blobs(target.beside(blobs), target, anchor, tell)
    finally:
        await blobs.close()
    return asdict(done) | {"backup_at": anchor.at.isoformat()}
