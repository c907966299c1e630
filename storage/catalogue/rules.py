"""What every catalogue decides alike, whatever it keeps its rows in: conditions, prefixes, lines of the outbox.

Pure functions without a clock or a row. Sources: S3 "Conditional requests" and "Listing objects using prefixes and
delimiters"; `base`.
"""

from storage.catalogue.base import Conditions, NoSuchVersion, PreconditionRefused
from storage.catalogue.records import Attributes, Blob, Bucket, ObjectVersion
from storage.errors import CatalogueConflict


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


def check_bucket(bucket: Bucket) -> None:
    """Refuse what this release cannot keep: a bucket that asks for versions would lose them.

    Raises:
        CatalogueConflict: versioning is set.
    """
    if "versioning" in bucket.attributes:
        raise CatalogueConflict("buckets with versioning are not supported")


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


def version_change(version: ObjectVersion, link: Blob | None) -> Attributes:
    """What the journal must know of a version that became visible."""
    return {
        "bucket_id": version.bucket_id.hex(),
        "object_key": version.object_key.hex(),
        "version_id": version.version_id,
        "content_id": None if version.content_id is None else version.content_id.hex(),
        "link_id": None if link is None else link.blob_id.hex(),
    }


def removal_change(bucket_id: bytes, object_key: bytes, version_id: str) -> Attributes:
    """What the journal must know of a version that was removed."""
    return {"bucket_id": bucket_id.hex(), "object_key": object_key.hex(), "version_id": version_id}
