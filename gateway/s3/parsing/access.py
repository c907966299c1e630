"""Requests about who may do what: policies, public-access block, ownership, ACLs.

Sources: AWS "PutBucketPolicy", "PutPublicAccessBlock", "PutBucketOwnershipControls", "PutBucketAcl", "PutObjectAcl",
"Access control list (ACL) overview". What a policy says is read by `gateway.access`.
"""

import re
from typing import Final

from gateway.s3 import xml
from gateway.s3.access_types import (
    ObjectAclInput,
    PutBucketAclInput,
    PutBucketOwnershipControlsInput,
    PutBucketPolicyInput,
    PutObjectAclInput,
    PutPublicAccessBlockInput,
)
from gateway.s3.acl import CANNED_ACLS, GROUPS, MAX_GRANTS, Acl, AclRequest, Grant, Permission
from gateway.s3.addressing import Address
from gateway.s3.errors import (
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    MALFORMED_ACL,
    MALFORMED_XML,
    MISSING_SECURITY_HEADER,
    NOT_IMPLEMENTED,
    UNEXPECTED_CONTENT,
    S3Error,
)
from gateway.s3.headers import single
from gateway.s3.parsing import fields
from gateway.s3.parsing.fields import bucket_of, key_of
from gateway.s3.parsing.start import begin
from gateway.s3.public_access import ObjectOwnership, PublicAccessBlock
from gateway.s3.query import parse_query
from gateway.s3.request import Headers, Request
from gateway.s3.types import BucketInput

_GRANT_HEADERS: Final = {
    "x-amz-grant-full-control": Permission.FULL_CONTROL,
    "x-amz-grant-read": Permission.READ,
    "x-amz-grant-read-acp": Permission.READ_ACP,
    "x-amz-grant-write": Permission.WRITE,
    "x-amz-grant-write-acp": Permission.WRITE_ACP,
}
ACL_HEADERS: Final = frozenset({"x-amz-acl", *_GRANT_HEADERS})
"""Headers that ask for an ACL; `begin` lets them pass where `acl_request` reads them."""
_GRANTEE: Final = re.compile(r'\s*(?P<kind>id|uri|emailAddress)\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<bare>[^",\s]+))\s*')
_CANONICAL_ID: Final = re.compile(r"[0-9a-f]{32}")
_MEMBERS: Final = {
    "BlockPublicAcls": "block_public_acls",
    "IgnorePublicAcls": "ignore_public_acls",
    "BlockPublicPolicy": "block_public_policy",
    "RestrictPublicBuckets": "restrict_public_buckets",
}
_BOOLEANS: Final = {"true": True, "false": False, "TRUE": True, "FALSE": False}


def _parse_bucket(request: Request, address: Address, document: bytes) -> BucketInput:  # noqa: ARG001 - one signature for all
    begin(request)
    return BucketInput(bucket_of(address))


parse_get_bucket_policy = _parse_bucket
parse_delete_bucket_policy = _parse_bucket
parse_get_bucket_policy_status = _parse_bucket
parse_get_public_access_block = _parse_bucket
parse_delete_public_access_block = _parse_bucket
parse_get_bucket_ownership_controls = _parse_bucket
parse_delete_bucket_ownership_controls = _parse_bucket
parse_get_bucket_acl = _parse_bucket


def parse_put_bucket_policy(request: Request, address: Address, document: bytes) -> PutBucketPolicyInput:
    """Read PutBucketPolicy. Raises S3Error: what `begin` raises."""
    begin(request)
    return PutBucketPolicyInput(bucket_of(address), document)


def parse_put_public_access_block(request: Request, address: Address, document: bytes) -> PutPublicAccessBlockInput:
    """Read PutPublicAccessBlock; a setting that is left out is off.

    Raises:
        S3Error: MalformedXML; what `begin` raises.
    """
    begin(request)
    parts = xml.parse(document, "PublicAccessBlockConfiguration", max_elements=8).parts(once=tuple(_MEMBERS))
    settings = {member: _boolean(parts.required(name)) for name, member in _MEMBERS.items() if name in parts.once}
    return PutPublicAccessBlockInput(bucket_of(address), PublicAccessBlock(**settings))


def _boolean(text: str) -> bool:
    if text.strip() not in _BOOLEANS:
        raise S3Error(MALFORMED_XML)
    return _BOOLEANS[text.strip()]


def parse_put_bucket_ownership_controls(
    request: Request, address: Address, document: bytes
) -> PutBucketOwnershipControlsInput:
    """Read PutBucketOwnershipControls: one rule.

    Raises:
        S3Error: MalformedXML; what `begin` raises.
    """
    begin(request)
    rules = xml.parse(document, "OwnershipControls", max_elements=8).parts(many=("Rule",)).many
    if len(rules) != 1:
        raise S3Error(MALFORMED_XML)
    text = rules[0].parts(once=("ObjectOwnership",)).required("ObjectOwnership")
    try:
        ownership = ObjectOwnership(text.strip())
    except ValueError:
        raise S3Error(MALFORMED_XML) from None
    return PutBucketOwnershipControlsInput(bucket_of(address), ownership)


def object_ownership(headers: Headers) -> ObjectOwnership | None:
    """Read x-amz-object-ownership of CreateBucket.

    Raises:
        S3Error: InvalidArgument for an unknown value.
    """
    text = single(headers, "x-amz-object-ownership")
    try:
        return None if text is None else ObjectOwnership(text)
    except ValueError:
        raise fields.invalid("x-amz-object-ownership", "Invalid x-amz-object-ownership header") from None


# ACLs


def acl_request(headers: Headers) -> AclRequest:
    """Read the ACL that headers ask for.

    Raises:
        S3Error: InvalidArgument for what is none; InvalidRequest for a canned ACL beside grants; NotImplemented for
            `aws-exec-read` and for email addresses.
    """
    canned = single(headers, "x-amz-acl")
    grants = tuple(
        grant
        for name, permission in _GRANT_HEADERS.items()
        if name in headers
        for grant in _header_grants(single(headers, name) or "", name, permission)
    )
    has_grants = any(name in headers for name in _GRANT_HEADERS)
    if canned is not None and has_grants:
        raise S3Error(INVALID_REQUEST, "Specifying both Canned ACLs and Header Grants is not allowed")
    if canned == "aws-exec-read":
        raise S3Error(NOT_IMPLEMENTED, fields={"Header": "x-amz-acl"})
    if canned is not None and canned not in CANNED_ACLS:
        raise fields.invalid("x-amz-acl", "The canned ACL is not known.")
    _check_count(grants)
    return AclRequest(canned=canned, grants=tuple(dict.fromkeys(grants)) if has_grants else None)


def _header_grants(text: str, name: str, permission: Permission) -> list[Grant]:
    grants = []
    position = 0
    while True:
        match = _GRANTEE.match(text, position)
        if match is None:
            raise fields.invalid(name, "Argument format not recognized")
        value = match["quoted"] if match["quoted"] is not None else match["bare"]
        grants.append(Grant(_grantee(match["kind"], value), permission))
        position = match.end()
        if position == len(text):
            return grants
        if text[position] != ",":
            raise fields.invalid(name, "Argument format not recognized")
        position += 1


def _grantee(kind: str, value: str) -> str:
    """Read who is meant: a canonical id or the URI of a group."""
    if kind == "emailAddress":
        raise S3Error(NOT_IMPLEMENTED, "Accounts have no email addresses here; name them by id.")
    if kind == "id" and not _CANONICAL_ID.fullmatch(value):
        raise S3Error(INVALID_ARGUMENT, "Invalid id", fields={"ArgumentName": "CanonicalUser/ID"})
    if kind == "uri" and value not in GROUPS:
        raise S3Error(INVALID_ARGUMENT, "Invalid group uri", fields={"ArgumentName": "Group/URI"})
    return value


def _check_count(grants: tuple[Grant, ...]) -> None:
    if len(grants) > MAX_GRANTS:
        raise S3Error(MALFORMED_ACL, f"An ACL has {MAX_GRANTS} grants at the most.")


def _put_acl(request: Request, document: bytes) -> AclRequest:
    asked = acl_request(begin(request, ACL_HEADERS).headers)
    if asked.names_any:
        if document:
            raise S3Error(UNEXPECTED_CONTENT)
        return asked
    if not document:
        raise S3Error(MISSING_SECURITY_HEADER, fields={"MissingHeaderName": "x-amz-acl"})
    return AclRequest(document=read_acl(document))


def read_acl(document: bytes) -> Acl:
    """Read an AccessControlPolicy.

    Raises:
        S3Error: MalformedACLError; InvalidArgument for an unknown group or id; NotImplemented for email addresses.
    """
    try:
        root = xml.parse(document, "AccessControlPolicy", max_elements=8 * MAX_GRANTS + 16, xsi_types=True)
        parts = root.parts(once=("Owner", "AccessControlList"))
        owner = parts.once["Owner"].parts(once=("ID", "DisplayName")).required("ID")
        entries = parts.once["AccessControlList"].parts(many=("Grant",)).many
        grants = tuple(_grant(entry) for entry in entries)
    except KeyError:
        raise S3Error(MALFORMED_ACL) from None
    except S3Error as error:
        raise S3Error(MALFORMED_ACL) if error.row is MALFORMED_XML else error from None
    _check_count(grants)
    return Acl(_grantee("id", owner), tuple(dict.fromkeys(grants)))


def _grant(entry: xml.Element) -> Grant:
    parts = entry.parts(once=("Grantee", "Permission"))
    try:
        permission = Permission(parts.required("Permission").strip())
    except ValueError:
        raise S3Error(MALFORMED_XML) from None
    grantee = parts.once["Grantee"]
    members = grantee.parts(once=("ID", "DisplayName", "URI", "EmailAddress"))
    match grantee.xsi_type:
        case "CanonicalUser":
            return Grant(_grantee("id", members.required("ID")), permission)
        case "Group":
            return Grant(_grantee("uri", members.required("URI")), permission)
        case "AmazonCustomerByEmail":
            return Grant(_grantee("emailAddress", ""), permission)
        case _:
            raise S3Error(MALFORMED_XML)


def parse_put_bucket_acl(request: Request, address: Address, document: bytes) -> PutBucketAclInput:
    """Read PutBucketAcl: a canned ACL, grants in headers, or a document.

    Raises:
        S3Error: as `acl_request` and `read_acl`; MissingSecurityHeader where none of them is sent; UnexpectedContent.
    """
    return PutBucketAclInput(bucket_of(address), _put_acl(request, document))


def parse_get_object_acl(request: Request, address: Address, document: bytes) -> ObjectAclInput:  # noqa: ARG001 - one signature for all
    """Read GetObjectAcl.

    Raises:
        S3Error: InvalidArgument for an empty version id; what `begin` raises.
    """
    return ObjectAclInput(bucket_of(address), key_of(address), fields.version_id(begin(request).query))


def parse_put_object_acl(request: Request, address: Address, document: bytes) -> PutObjectAclInput:
    """Read PutObjectAcl. Raises S3Error: as `parse_put_bucket_acl`; InvalidArgument for an empty version id."""
    acl = _put_acl(request, document)
    return PutObjectAclInput(bucket_of(address), key_of(address), acl, fields.version_id(parse_query(request)))
