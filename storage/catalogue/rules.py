"""What every catalogue decides alike, whatever it keeps its rows in: conditions, locks and prefixes.

Pure functions without a clock or a row. Sources: S3 "Conditional requests", "Listing objects using prefixes and
delimiters", "How S3 Object Lock works"; `base`.
"""

import hashlib
from dataclasses import replace
from datetime import datetime

from storage.catalogue.commands import Conditions, Seen, VersionChange
from storage.catalogue.conflicts import (
    BucketStateRefused,
    LockRefused,
    NoSuchVersion,
    PreconditionRefused,
    VersioningChanged,
)
from storage.catalogue.records import (
    NO_LOCK,
    NULL_VERSION_ID,
    Attributes,
    Bucket,
    ObjectLock,
    ObjectVersion,
    RetentionMode,
    Versioning,
)


def check_newest(conditions: Conditions, sequence: int | None) -> None:
    """See that the newest version of a key, a delete marker too, is what a job judged. Raises: PreconditionRefused."""
    if conditions.newest is not None and conditions.newest != (sequence or 0):
        raise PreconditionRefused("the newest version is another by now")


def check_conditions(conditions: Conditions, current_etag: str | None) -> None:
    """Judge the conditions of a write against its key's current version.

    Args:
        conditions: what the command asks for.
        current_etag: None where the key is absent or a delete marker.

    Raises:
        PreconditionRefused: one does not hold.
        NoSuchVersion: `if_match_etag` on an absent key.
    """
    if conditions.if_none_match_any and current_etag is not None:
        raise PreconditionRefused("the key exists")
    if conditions.if_match_etag is None:
        return
    if current_etag is None:
        raise NoSuchVersion("the key to match is absent")
    if conditions.if_match_etag not in {"*", current_etag}:
        raise PreconditionRefused("the ETag is another")


def check_seen(seen: Seen | None, version: ObjectVersion | None) -> None:
    """See that a version is what a job judged. Raises: PreconditionRefused."""
    if seen is not None and (version is None or Seen.of(version) != seen):
        raise PreconditionRefused("the version is another by now")


def check_pending(pending: str | None, version: ObjectVersion | None) -> None:
    """See that a version still waits for the bytes of a source. Raises: PreconditionRefused."""
    if pending is not None and (version is None or version.attributes.get("pending") != pending):
        raise PreconditionRefused("the version waits for no bytes by now")


def check_version_id(version_id: str, versioning: Versioning) -> None:
    """See that a new version is called as the bucket has it now. Raises: VersioningChanged."""
    if (version_id != NULL_VERSION_ID) != (versioning is Versioning.ENABLED):
        raise VersioningChanged("the bucket's versioning was changed meanwhile")


def delete_marker(bucket_id: bytes, object_key: bytes, version_id: str, now: datetime) -> ObjectVersion:
    """The version that says that its object is gone."""
    return ObjectVersion(bucket_id, object_key, version_id, content_id=None, size=0, etag="", created_at=now)


def check_lockable(lock: ObjectLock, bucket_has_locks: bool) -> None:
    """See that a lock comes to a bucket that has locks. Raises: BucketStateRefused."""
    if lock != NO_LOCK and not bucket_has_locks:
        raise BucketStateRefused("the bucket has no object lock")


def check_change(change: VersionChange, bucket_has_locks: bool) -> None:
    """See that what changes a lock comes to a bucket that has locks. Raises: BucketStateRefused."""
    if (change.retention is not None or change.legal_hold is not None) and not bucket_has_locks:
        raise BucketStateRefused("the bucket has no object lock")


def check_new_bucket(bucket: Bucket) -> None:
    """See that a new bucket comes as one can be made. Raises: BucketStateRefused."""
    assert not bucket.configurations, "configurations are put one by one"
    if bucket.object_lock and bucket.versioning is not Versioning.ENABLED:
        raise BucketStateRefused("object lock needs versioning")


def check_versioning(status: Versioning, bucket_has_locks: bool) -> None:
    """See that a bucket may be set so. Raises: BucketStateRefused."""
    assert status is not Versioning.NEVER, "versioning is never taken back"
    if status is Versioning.SUSPENDED and bucket_has_locks:
        raise BucketStateRefused("versioning of a bucket with object lock cannot be suspended")


def check_removable(lock: ObjectLock, now: datetime, *, bypass_governance: bool) -> None:
    """See that no lock holds a version that is to be removed. Raises: LockRefused."""
    if lock.legal_hold:
        raise LockRefused("a legal hold is on the version")
    if _retains(lock, now) and not (lock.mode is RetentionMode.GOVERNANCE and bypass_governance):
        raise LockRefused("the version is retained")


def check_retention(held: ObjectLock, wanted: ObjectLock, now: datetime, *, bypass_governance: bool) -> None:
    """See that a retention may be replaced by another: while it lasts it may grow, and GOVERNANCE may be bypassed.

    Raises:
        LockRefused: it would be shortened, taken off, or have its mode changed.
    """
    if not _retains(held, now) or (held.mode is RetentionMode.GOVERNANCE and bypass_governance):
        return
    assert held.retain_until is not None, "what retains has a time"
    if wanted.mode is not held.mode or wanted.retain_until is None or wanted.retain_until < held.retain_until:
        raise LockRefused("a retention can only be made longer")


def changed(version: ObjectVersion, change: VersionChange, now: datetime) -> ObjectVersion:
    """The version as a change in place leaves it. Raises: LockRefused, PreconditionRefused."""
    if change.sequence not in (None, version.sequence):
        raise PreconditionRefused("the version is another than was judged")
    attributes, lock = dict(version.attributes), version.lock
    if change.tags is not None:
        attributes.pop("tags", None)
        if change.tags:
            attributes["tags"] = [list(tag) for tag in change.tags]
    if change.acl is not None:
        attributes.pop("acl", None)
        if change.acl:
            attributes["acl"] = dict(change.acl)
    if change.retention is not None:
        check_retention(lock, change.retention, now, bypass_governance=change.bypass_governance)
        lock = replace(lock, mode=change.retention.mode, retain_until=change.retention.retain_until)
    if change.legal_hold is not None:
        lock = replace(lock, legal_hold=change.legal_hold)
    return replace(version, attributes=attributes, lock=lock)


def _retains(lock: ObjectLock, now: datetime) -> bool:
    return lock.retain_until is not None and lock.retain_until > now


def hash_of(document: bytes) -> str:
    """What a bucket's record says of a configuration document."""
    return hashlib.sha256(document).hexdigest()


def lock_to_json(lock: ObjectLock) -> Attributes:
    """A lock as JSON values."""
    until = None if lock.retain_until is None else lock.retain_until.isoformat()
    return {"mode": lock.mode.value, "retain_until": until, "legal_hold": lock.legal_hold}


def lock_from_json(kept: Attributes) -> ObjectLock:
    """The lock of `lock_to_json`."""
    until = None if kept["retain_until"] is None else datetime.fromisoformat(kept["retain_until"])
    return ObjectLock(RetentionMode(kept["mode"]), until, kept["legal_hold"])


def rolled_up(object_key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The common prefix that stands for this key in a listing, or None where the key stands for itself."""
    if not delimiter:
        return None
    found = object_key.find(delimiter, len(prefix))
    return None if found < 0 else object_key[: found + len(delimiter)]


def after_prefix(prefix: bytes) -> bytes | None:
    """The least byte string greater than all that start with `prefix`; None where there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else None
