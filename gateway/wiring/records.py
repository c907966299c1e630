"""The blobs that the gateway writes for itself, from the keys of a realm and its blob store."""

from gateway.engine.journal.records import RecordBlobs
from gateway.wiring.realm import OpenedKeys
from gateway.wiring.stores import utc_now
from keys.journal import JournalKeys
from storage.blobs.base import BlobStore


def record_blobs(opened: OpenedKeys, blobs: BlobStore) -> RecordBlobs:
    """Journal, snapshots and packs of one realm."""
    return RecordBlobs(
        blobs=blobs,
        realm_id=opened.realm.realm_id,
        description_key=opened.realm_keys.description_key.material(),
        keys=JournalKeys(opened.realm_keys),
        clock=utc_now,
    )
