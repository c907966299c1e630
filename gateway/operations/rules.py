"""What a bucket's configurations say about access: read and parsed when they change, kept by their hashes.

A bucket's row carries the hashes, so a request on a bucket whose rules were seen before costs no further read, and a
change counts from the next request on, in every process.
"""

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from gateway.access.policy import NEW_BUCKET, BucketRules
from gateway.access.policy_document import parse_policy
from gateway.access.statements import Policy
from gateway.s3.acl import Acl
from gateway.s3.cors import CorsRule
from gateway.s3.errors import S3Error
from gateway.s3.public_access import ALL_BLOCKED, NOTHING_BLOCKED, ObjectOwnership, PublicAccessBlock
from storage.catalogue.base import Catalogue
from storage.catalogue.records import Bucket

POLICY: Final = "policy"
PUBLIC_ACCESS_BLOCK: Final = "public-access-block"
OWNERSHIP: Final = "ownership-controls"
ACL: Final = "acl"
CORS: Final = "cors"
_OF_ACCESS: Final = frozenset({POLICY, PUBLIC_ACCESS_BLOCK, OWNERSHIP, ACL})

REMEMBERED_BYTES: Final = 2 * 1024 * 1024
"""Of documents whose parsed form is kept, which takes some ten times as much."""
_LEAST_BYTES: Final = 512
"""What the smallest document counts as."""

_log = logging.getLogger(__name__)


def encode_block(block: PublicAccessBlock | None) -> bytes:
    """A public-access block as it is stored; None says that it was deleted, so that nothing is blocked."""
    return json.dumps(None if block is None else block.encode()).encode()


def encode_ownership(ownership: ObjectOwnership | None) -> bytes:
    """Ownership controls as they are stored; None says that they were deleted."""
    return json.dumps(None if ownership is None else ownership.value).encode()


def encode_acl(acl: Acl) -> bytes:
    """A bucket's ACL as it is stored."""
    return json.dumps(acl.encode()).encode()


def encode_cors(rules: tuple[CorsRule, ...]) -> bytes:
    """Cross-origin rules as they are stored."""
    return json.dumps([rule.encode() for rule in rules]).encode()


def _decode_policy(document: bytes, bucket: Bucket) -> Policy:
    """A policy that was taken once and is not understood today lets nobody pass but the owner to his policy."""
    try:
        return parse_policy(document, bucket.name)
    except S3Error as error:
        _log.error(
            "a stored bucket policy is not understood: everything is denied",
            extra={"fields": {"bucket_id": bucket.bucket_id.hex(), "reason": error.message}},
        )
        both = [f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{bucket.name}/*"]
        deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": both}
        return parse_policy(json.dumps({"Statement": deny}).encode(), bucket.name)


def _decode_block(document: bytes, _: Bucket) -> PublicAccessBlock | None:
    held = json.loads(document)
    return None if held is None else PublicAccessBlock(**held)


def _decode_ownership(document: bytes, _: Bucket) -> ObjectOwnership | None:
    held = json.loads(document)
    return None if held is None else ObjectOwnership(held)


def _decode_acl(document: bytes, _: Bucket) -> Acl:
    return Acl.decode(json.loads(document))


def _decode_cors(document: bytes, _: Bucket) -> tuple[CorsRule, ...]:
    return tuple(CorsRule.decode(rule) for rule in json.loads(document))


_DECODERS: Final[dict[str, Callable[[bytes, Bucket], Any]]] = {
    POLICY: _decode_policy,
    PUBLIC_ACCESS_BLOCK: _decode_block,
    OWNERSHIP: _decode_ownership,
    ACL: _decode_acl,
    CORS: _decode_cors,
}


class RulesOfBuckets:
    """Gives the rules of buckets; holds the parsed form of the documents used last."""

    def __init__(self, catalogue: Catalogue, remembered_bytes: int = REMEMBERED_BYTES) -> None:
        self._catalogue = catalogue
        self._most = remembered_bytes
        self._kept: OrderedDict[tuple[str, str, str], tuple[int, Any]] = OrderedDict()
        self._kept_bytes = 0

    async def of(self, bucket: Bucket) -> BucketRules:
        """All that a bucket says about access. Raises: NoSuchBucket, StorageError."""
        if _OF_ACCESS.isdisjoint(bucket.configurations):
            return NEW_BUCKET
        block = await self.document(bucket, PUBLIC_ACCESS_BLOCK, ALL_BLOCKED)
        ownership = await self.document(bucket, OWNERSHIP, ObjectOwnership.BUCKET_OWNER_ENFORCED)
        return BucketRules(
            policy=await self.document(bucket, POLICY, None),
            block=NOTHING_BLOCKED if block is None else block,
            # AWS: a bucket whose controls were deleted is one from before there were any.
            ownership=ObjectOwnership.OBJECT_WRITER if ownership is None else ownership,
            acl=await self.document(bucket, ACL, None),
        )

    async def cors_of(self, bucket: Bucket) -> tuple[CorsRule, ...]:
        """The cross-origin rules of a bucket. Raises: NoSuchBucket, StorageError."""
        rules: tuple[CorsRule, ...] = await self.document(bucket, CORS, ())
        return rules

    async def document(self, bucket: Bucket, kind: str, absent: Any) -> Any:
        """One document, parsed; `absent` where there is none. Raises: NoSuchBucket, StorageError."""
        digest = bucket.configurations.get(kind)
        if digest is None:
            return absent
        name = (bucket.name, kind, digest)
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name][1]
        document = await self._catalogue.get_configuration(bucket.bucket_id, kind)
        if document is None:
            return absent
        parsed = _DECODERS[kind](document, bucket)
        # It may be newer than the row that was read before it.
        self._keep((bucket.name, kind, hashlib.sha256(document).hexdigest()), max(_LEAST_BYTES, len(document)), parsed)
        return parsed

    def _keep(self, name: tuple[str, str, str], size: int, parsed: Any) -> None:
        held = self._kept.pop(name, None)
        self._kept_bytes += size - (0 if held is None else held[0])
        self._kept[name] = (size, parsed)
        while self._kept_bytes > self._most:
            _, (gone, _) = self._kept.popitem(last=False)
            self._kept_bytes -= gone
