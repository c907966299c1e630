"""Which ACL a request ends up with: where ACLs count, one of accounts that exist, and not public where that is blocked.

Source: S3 "Controlling ownership of objects and disabling ACLs". An ACL is stored only where it says more than that the
bucket's owner has full control.
"""

from gateway.operations.context import Context
from gateway.s3.acl import GROUPS, Acl, AclRequest, Grant, Permission, canned, private
from gateway.s3.errors import ACCESS_CONTROL_LIST_NOT_SUPPORTED, ACCESS_DENIED, INVALID_ARGUMENT, S3Error
from gateway.s3.public_access import ObjectOwnership, PublicAccessBlock
from storage.catalogue.base import Catalogue
from storage.catalogue.conflicts import NoSuchAccount

UNCHANGED_CANNED = frozenset({"private", "bucket-owner-full-control"})
"""Canned ACLs that say what is so anyway where there are none (AWS: "bucket owner full control ACLs or no ACL")."""


async def acl_to_write(context: Context, asked: AclRequest) -> Acl | None:
    """The ACL that a new object gets; None where the bucket's owner alone has full control.

    Raises:
        S3Error: AccessControlListNotSupported, AccessDenied, InvalidArgument.
    """
    access = context.access
    if not access.rules.have_acls:
        refuse_acl(access.owner_id, asked)
        return None
    # What nobody signed for belongs to the bucket's owner, who must answer for it.
    writer_id = access.caller.account_id or access.owner_id
    if access.rules.ownership is ObjectOwnership.BUCKET_OWNER_PREFERRED and asked.canned == "bucket-owner-full-control":
        writer_id = access.owner_id
    acl = await resolve(context.services.catalogue, asked, writer_id, access.owner_id, access.rules.block)
    return stored(access.owner_id, acl)


def refuse_acl(owner_id: str, asked: AclRequest) -> None:
    """Where there are no ACLs, let pass only what says that the bucket's owner has full control.

    Raises:
        S3Error: AccessControlListNotSupported.
    """
    granted = asked.document.grants if asked.document is not None else asked.grants
    only_owner = granted is None or set(granted) == {Grant(owner_id, Permission.FULL_CONTROL)}
    if not only_owner or asked.canned not in {None, *UNCHANGED_CANNED}:
        raise S3Error(ACCESS_CONTROL_LIST_NOT_SUPPORTED)


async def resolve(
    catalogue: Catalogue, asked: AclRequest, owner_id: str, bucket_owner_id: str, block: PublicAccessBlock
) -> Acl:
    """Make the ACL that is asked for, of what `owner_id` owns.

    Raises:
        S3Error: AccessDenied for another owner, and for a public ACL where those are blocked; InvalidArgument for an
            account that does not exist.
    """
    if asked.document is not None:
        if asked.document.owner_id != owner_id:
            raise S3Error(ACCESS_DENIED)
        acl = asked.document
    elif asked.grants is not None:
        acl = Acl(owner_id, asked.grants)
    else:
        acl = canned(asked.canned or "private", owner_id, bucket_owner_id)
    if acl.is_public and block.block_public_acls:
        raise S3Error(
            ACCESS_DENIED, "Public ACLs are prevented by the BlockPublicAcls setting of the public access block."
        )
    await names(catalogue, acl)
    return acl


def stored(bucket_owner_id: str, acl: Acl) -> Acl | None:
    """The ACL as it is stored: None where it says nothing new."""
    return None if acl == private(bucket_owner_id) else acl


async def names(catalogue: Catalogue, acl: Acl) -> tuple[tuple[str, str], ...]:
    """Display names of all accounts that an ACL names.

    Raises:
        S3Error: InvalidArgument where there is no such account.
    """
    found = []
    for account_id in dict.fromkeys([acl.owner_id, *(grant.grantee for grant in acl.grants)]):
        if account_id not in GROUPS:
            try:
                account = await catalogue.get_account(bytes.fromhex(account_id))
            except NoSuchAccount:
                fields = {"ArgumentName": "CanonicalUser/ID"}
                raise S3Error(INVALID_ARGUMENT, "Invalid id", fields=fields) from None
            found.append((account_id, account.name))
    return tuple(found)
