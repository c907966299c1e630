"""Access control lists: grants, the canned ones, and whom a grant reaches.

Source: S3 "Access control list (ACL) overview", with its tables of permissions, actions and canned ACLs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

MAX_GRANTS: Final = 100
"""AWS: "An ACL can have up to 100 grants"."""


class Permission(StrEnum):
    """What a grant gives."""

    FULL_CONTROL = "FULL_CONTROL"
    READ = "READ"
    WRITE = "WRITE"
    READ_ACP = "READ_ACP"
    WRITE_ACP = "WRITE_ACP"


_GROUPS: Final = "http://acs.amazonaws.com/groups/"
ALL_USERS: Final = f"{_GROUPS}global/AllUsers"
AUTHENTICATED_USERS: Final = f"{_GROUPS}global/AuthenticatedUsers"
LOG_DELIVERY: Final = f"{_GROUPS}s3/LogDelivery"
GROUPS: Final = frozenset({ALL_USERS, AUTHENTICATED_USERS, LOG_DELIVERY})
PUBLIC_GROUPS: Final = frozenset({ALL_USERS, AUTHENTICATED_USERS})


@dataclass(frozen=True, slots=True)
class Grant:
    """One grant."""

    grantee: str
    """A canonical id, or the URI of a group."""
    permission: Permission


@dataclass(frozen=True, slots=True)
class Acl:
    """The ACL of a bucket or object, with who owns it."""

    owner_id: str
    """Canonical id."""
    grants: tuple[Grant, ...]

    @property
    def is_public(self) -> bool:
        """Whether some grant is to everyone, or to everyone with an account."""
        return any(grant.grantee in PUBLIC_GROUPS for grant in self.grants)

    def allows(self, account_id: str | None, wanted: Permission, *, ignore_public: bool) -> bool:
        """Whether a caller, None for the anonymous one, has a permission; an owner always has those on the ACL."""
        if account_id == self.owner_id and wanted in (Permission.READ_ACP, Permission.WRITE_ACP):
            return True
        means: set[str] = set() if account_id is None else {account_id}
        if not ignore_public:
            means |= {ALL_USERS} if account_id is None else PUBLIC_GROUPS
        return any(
            grant.grantee in means and grant.permission in (wanted, Permission.FULL_CONTROL) for grant in self.grants
        )

    def encode(self) -> dict[str, Any]:
        """JSON values for the catalogue."""
        return {"owner": self.owner_id, "grants": [[grant.grantee, grant.permission.value] for grant in self.grants]}

    @classmethod
    def decode(cls, encoded: Mapping[str, Any]) -> "Acl":
        """The reverse; the catalogue has authenticated the values."""
        grants = (Grant(grantee, Permission(permission)) for grantee, permission in encoded["grants"])
        return cls(encoded["owner"], tuple(grants))


def private(owner_id: str) -> Acl:
    """The owner has full control and nobody else anything."""
    return Acl(owner_id, (Grant(owner_id, Permission.FULL_CONTROL),))


_CANNED: Final[Mapping[str, Sequence[tuple[str, Permission]]]] = MappingProxyType(
    {
        "private": (),
        "public-read": ((ALL_USERS, Permission.READ),),
        "public-read-write": ((ALL_USERS, Permission.READ), (ALL_USERS, Permission.WRITE)),
        "authenticated-read": ((AUTHENTICATED_USERS, Permission.READ),),
        "bucket-owner-read": (("bucket-owner", Permission.READ),),
        "bucket-owner-full-control": (("bucket-owner", Permission.FULL_CONTROL),),
        "log-delivery-write": ((LOG_DELIVERY, Permission.WRITE), (LOG_DELIVERY, Permission.READ_ACP)),
    }
)
"""Canned ACL -> what it grants beside the owner's full control. `aws-exec-read` is for EC2 and not served."""
CANNED_ACLS: Final = frozenset(_CANNED)


def canned(name: str, owner_id: str, bucket_owner_id: str) -> Acl:
    """Make a canned ACL; `name` is one of `CANNED_ACLS`."""
    grants = dict.fromkeys(private(owner_id).grants)
    for grantee, permission in _CANNED[name]:
        who = bucket_owner_id if grantee == "bucket-owner" else grantee
        if who != owner_id:
            grants[Grant(who, permission)] = None
    return Acl(owner_id, tuple(grants))


@dataclass(frozen=True, slots=True)
class AclRequest:
    """The ACL that a request asks for, by header or document; at most one of the three is set."""

    canned: str | None = None
    grants: tuple[Grant, ...] | None = None
    """Of the x-amz-grant-* headers."""
    document: Acl | None = None

    @property
    def names_any(self) -> bool:
        """Whether it asks for anything."""
        return self != AclRequest()
