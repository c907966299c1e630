"""ACLs of buckets and objects: read anywhere, written where the bucket's ownership lets them count.

A bucket's ACL is one of its configurations, an object's stands in its version's attributes.
"""

from gateway.engine.attributes import ObjectAttributes
from gateway.operations.context import Context
from gateway.operations.granting import names, refuse_acl, resolve, stored
from gateway.operations.objects import find, no_such_key
from gateway.operations.rules import ACL, encode_acl
from gateway.s3.access_types import (
    GetAclOutput,
    ObjectAclInput,
    PutBucketAclInput,
    PutObjectAclInput,
)
from gateway.s3.acl import private
from gateway.s3.errors import SERVICE_UNAVAILABLE, S3Error
from gateway.s3.types import Body, BucketInput, EmptyOutput, GetObjectInput
from storage.catalogue.commands import VersionChange
from storage.catalogue.conflicts import NoSuchVersion, PreconditionRefused


async def get_bucket_acl(context: Context, request: BucketInput, _: Body) -> GetAclOutput:
    """GetBucketAcl; where there are no ACLs, the owner's full control."""
    del request
    rules, owner_id = context.access.rules, context.access.owner_id
    acl = (rules.acl if rules.have_acls else None) or private(owner_id)
    return GetAclOutput(acl, await names(context.services.catalogue, acl))


async def put_bucket_acl(context: Context, request: PutBucketAclInput, _: Body) -> EmptyOutput:
    """PutBucketAcl."""
    access, catalogue = context.access, context.services.catalogue
    if not access.rules.have_acls:
        refuse_acl(access.owner_id, request.acl)
        return EmptyOutput()
    acl = stored(
        access.owner_id,
        await resolve(catalogue, request.acl, access.owner_id, access.owner_id, access.rules.block),
    )
    await catalogue.put_configuration(context.bucket.bucket_id, ACL, None if acl is None else encode_acl(acl))
    return EmptyOutput()


async def get_object_acl(context: Context, request: ObjectAclInput, _: Body) -> GetAclOutput:
    """GetObjectAcl."""
    asked = GetObjectInput(request.bucket, request.object_key, request.version_id)
    version = (await find(context, asked, with_content=False)).version
    held = ObjectAttributes.decode(version.attributes).acl if context.access.rules.have_acls else None
    acl = held or private(context.access.owner_id)
    return GetAclOutput(acl, await names(context.services.catalogue, acl))


async def put_object_acl(context: Context, request: PutObjectAclInput, _: Body) -> EmptyOutput:
    """PutObjectAcl: the owner of the object stays."""
    access, catalogue = context.access, context.services.catalogue
    asked = GetObjectInput(request.bucket, request.object_key, request.version_id)
    version = (await find(context, asked, with_content=False)).version
    if not access.rules.have_acls:
        refuse_acl(access.owner_id, request.acl)
        return EmptyOutput()
    held = ObjectAttributes.decode(version.attributes).acl or private(access.owner_id)
    acl = await resolve(catalogue, request.acl, held.owner_id, access.owner_id, access.rules.block)
    kept = stored(access.owner_id, acl)
    try:
        await catalogue.update_version(
            context.bucket.bucket_id,
            request.object_key,
            version.version_id,
            VersionChange(acl={} if kept is None else kept.encode(), sequence=version.sequence),
        )
    except PreconditionRefused:
        raise S3Error(SERVICE_UNAVAILABLE, "The object changed meanwhile. Try again.") from None
    except NoSuchVersion:
        raise await access.absent(no_such_key(request.object_key)) from None
    return EmptyOutput()
