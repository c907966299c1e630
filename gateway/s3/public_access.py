"""The public-access block and the ownership of objects: who may be let in at all, and whether ACLs count.

Source: S3 "Blocking public access to your Amazon S3 storage", "Controlling ownership of objects and disabling ACLs".
New buckets have all four settings on and `BucketOwnerEnforced`, as on AWS since April 2023.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class PublicAccessBlock:
    """The four settings of a bucket."""

    block_public_acls: bool = False
    """Refuse ACLs that are public."""
    ignore_public_acls: bool = False
    """Give nothing by a public grant."""
    block_public_policy: bool = False
    """Refuse policies that are public."""
    restrict_public_buckets: bool = False
    """Give nothing beyond the owner's account by a policy that is public."""

    def encode(self) -> dict[str, bool]:
        """JSON values for the catalogue."""
        return asdict(self)


ALL_BLOCKED = PublicAccessBlock(
    block_public_acls=True, ignore_public_acls=True, block_public_policy=True, restrict_public_buckets=True
)
"""What a bucket has that was never told otherwise."""
NOTHING_BLOCKED = PublicAccessBlock()
"""What a bucket has whose block was deleted."""


class ObjectOwnership(StrEnum):
    """Who owns what is written, and whether ACLs count."""

    BUCKET_OWNER_ENFORCED = "BucketOwnerEnforced"
    """The bucket's owner, always; there are no ACLs."""
    BUCKET_OWNER_PREFERRED = "BucketOwnerPreferred"
    """The bucket's owner where the writer says `bucket-owner-full-control`, else the writer."""
    OBJECT_WRITER = "ObjectWriter"
    """The writer."""
