"""Answers about who may do what: policies, public-access block, ownership, ACLs, CORS.

Sources: AWS "GetBucketPolicy", "GetBucketPolicyStatus", "GetPublicAccessBlock", "GetBucketOwnershipControls",
"GetBucketAcl", "GetObjectAcl", "GetBucketCors".
"""

from typing import Final

from gateway.s3.access_types import (
    GetAclOutput,
    GetBucketCorsOutput,
    GetBucketOwnershipControlsOutput,
    GetBucketPolicyOutput,
    GetBucketPolicyStatusOutput,
    GetPublicAccessBlockOutput,
)
from gateway.s3.acl import GROUPS, Grant
from gateway.s3.cors import CorsRule
from gateway.s3.response import Response
from gateway.s3.serialising.common import CONTENT_TYPE, document
from gateway.s3.types import EmptyOutput
from gateway.s3.xml import Node, optional, typed

_JSON_HEADERS: Final = ((CONTENT_TYPE, "application/json"), ("X-Content-Type-Options", "nosniff"))


def _done(output: EmptyOutput) -> Response:  # noqa: ARG001 - one signature for all
    return Response(200)


def _gone(output: EmptyOutput) -> Response:  # noqa: ARG001 - one signature for all
    return Response(204)


serialise_put_bucket_policy = _gone  # AWS: "204 No Content"
serialise_delete_bucket_policy = _gone
serialise_put_public_access_block = _done
serialise_delete_public_access_block = _gone
serialise_put_bucket_ownership_controls = _done
serialise_delete_bucket_ownership_controls = _gone
serialise_put_bucket_acl = _done
serialise_put_object_acl = _done
serialise_put_bucket_cors = _done
serialise_delete_bucket_cors = _gone


def serialise_get_bucket_policy(output: GetBucketPolicyOutput) -> Response:
    """Write GetBucketPolicy: the document as it was put."""
    return Response(200, _JSON_HEADERS, output.document)


def serialise_get_bucket_policy_status(output: GetBucketPolicyStatusOutput) -> Response:
    """Write GetBucketPolicyStatus."""
    return document(Node("PolicyStatus", Node("IsPublic", output.is_public)))


def serialise_get_public_access_block(output: GetPublicAccessBlockOutput) -> Response:
    """Write GetPublicAccessBlock."""
    block = output.block
    return document(
        Node(
            "PublicAccessBlockConfiguration",
            Node("BlockPublicAcls", block.block_public_acls),
            Node("IgnorePublicAcls", block.ignore_public_acls),
            Node("BlockPublicPolicy", block.block_public_policy),
            Node("RestrictPublicBuckets", block.restrict_public_buckets),
        )
    )


def serialise_get_bucket_ownership_controls(output: GetBucketOwnershipControlsOutput) -> Response:
    """Write GetBucketOwnershipControls."""
    return document(Node("OwnershipControls", Node("Rule", Node("ObjectOwnership", output.ownership.value))))


def serialise_get_bucket_acl(output: GetAclOutput) -> Response:
    """Write GetBucketAcl."""
    names = dict(output.names)
    acl = output.acl
    return document(
        Node(
            "AccessControlPolicy",
            Node("Owner", Node("ID", acl.owner_id), optional("DisplayName", names.get(acl.owner_id))),
            Node("AccessControlList", *(_grant(grant, names) for grant in acl.grants)),
        )
    )


serialise_get_object_acl = serialise_get_bucket_acl


def _grant(grant: Grant, names: dict[str, str]) -> Node:
    if grant.grantee in GROUPS:
        grantee = typed("Grantee", "Group", Node("URI", grant.grantee))
    else:
        name = optional("DisplayName", names.get(grant.grantee))
        grantee = typed("Grantee", "CanonicalUser", Node("ID", grant.grantee), name)
    return Node("Grant", grantee, Node("Permission", grant.permission.value))


def serialise_get_bucket_cors(output: GetBucketCorsOutput) -> Response:
    """Write GetBucketCors."""
    return document(Node("CORSConfiguration", *(_rule(rule) for rule in output.rules)))


def _rule(rule: CorsRule) -> Node:
    return Node(
        "CORSRule",
        optional("ID", rule.rule_id),
        *(Node("AllowedHeader", name) for name in rule.allowed_headers),
        *(Node("AllowedMethod", name) for name in rule.allowed_methods),
        *(Node("AllowedOrigin", name) for name in rule.allowed_origins),
        *(Node("ExposeHeader", name) for name in rule.expose_headers),
        optional("MaxAgeSeconds", rule.max_age_s),
    )
