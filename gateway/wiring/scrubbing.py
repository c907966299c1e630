"""What proving the blobs of a store takes: keys, as they stand in its own slots."""

import time

from gateway.engine.custody import Custody, WrappingMode
from gateway.engine.moved_wraps import WrapsOfStore
from gateway.engine.scrub import ScrubKeys
from gateway.wiring.realm import OpenedKeys
from gateway.wiring.records import record_blobs
from keys.keyring import Keyring
from storage.blobs.base import BlobStore


def scrub_keys(opened: OpenedKeys, blobs: BlobStore) -> ScrubKeys:
    """Keys for the blobs of a store, from what stands in their slots and in envelopes blobs."""
    keys = opened.realm_keys
    records = record_blobs(opened, blobs)
    keyring = Keyring(opened.kms, time.monotonic)
    custody = Custody(keyring, keys.realm_id, WrappingMode.DIRECT, time.monotonic, bucket_key_age_s=0)
    wraps = WrapsOfStore(custody, keys, blobs)
    return ScrubKeys(records, custody, wraps, keys.realm_id, keys.description_key.material())
