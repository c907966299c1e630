"""boto3 goes round: policies, public-access block, ownership, ACLs, CORS."""

from typing import Any

import pytest

from gateway.s3 import access_types as types
from gateway.s3.acl import ALL_USERS, LOG_DELIVERY, Acl, AclRequest, Grant, Permission
from gateway.s3.cors import CorsRule
from gateway.s3.public_access import ALL_BLOCKED, ObjectOwnership, PublicAccessBlock
from gateway.s3.types import BucketInput, EmptyOutput
from tests.gateway.s3.loop import Loop

A, B = "a1" * 16, "b2" * 16
ACL = Acl(A, (Grant(A, Permission.FULL_CONTROL), Grant(ALL_USERS, Permission.READ), Grant(B, Permission.WRITE_ACP)))


@pytest.fixture(scope="module")
def loop() -> Loop:
    return Loop()


def test_policy(loop: Loop) -> None:
    document = '{"Statement": "ä"}'
    assert loop("put_bucket_policy", EmptyOutput(), Bucket="bucket", Policy=document) == {"status": 204}
    assert loop.seen == types.PutBucketPolicyInput("bucket", document.encode())
    output = types.GetBucketPolicyOutput(document.encode())
    assert loop("get_bucket_policy", output, Bucket="bucket")["Policy"] == document
    assert loop("delete_bucket_policy", EmptyOutput(), Bucket="bucket") == {"status": 204}
    assert loop.seen == BucketInput("bucket")
    status = loop("get_bucket_policy_status", types.GetBucketPolicyStatusOutput(True), Bucket="bucket")
    assert status["PolicyStatus"] == {"IsPublic": True}


def test_public_access_block(loop: Loop) -> None:
    some = {"BlockPublicAcls": True, "RestrictPublicBuckets": False}
    result = loop("put_public_access_block", EmptyOutput(), Bucket="bucket", PublicAccessBlockConfiguration=some)
    assert result == {"status": 200}
    assert loop.seen == types.PutPublicAccessBlockInput("bucket", PublicAccessBlock(block_public_acls=True))
    result = loop("get_public_access_block", types.GetPublicAccessBlockOutput(ALL_BLOCKED), Bucket="bucket")
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    assert result["PublicAccessBlockConfiguration"] == dict.fromkeys(names, True)
    assert loop("delete_public_access_block", EmptyOutput(), Bucket="bucket") == {"status": 204}


@pytest.mark.parametrize("ownership", ObjectOwnership)
def test_ownership_controls(loop: Loop, ownership: ObjectOwnership) -> None:
    controls = {"Rules": [{"ObjectOwnership": ownership.value}]}
    loop("put_bucket_ownership_controls", EmptyOutput(), Bucket="bucket", OwnershipControls=controls)
    assert loop.seen == types.PutBucketOwnershipControlsInput("bucket", ownership)
    output = types.GetBucketOwnershipControlsOutput(ownership)
    assert loop("get_bucket_ownership_controls", output, Bucket="bucket")["OwnershipControls"] == controls
    assert loop("delete_bucket_ownership_controls", EmptyOutput(), Bucket="bucket") == {"status": 204}


def policy_of(result: dict[str, Any]) -> dict[str, Any]:
    return {"Owner": result["Owner"], "Grants": result["Grants"]}


def test_acl_of_a_bucket_comes_back_as_it_was_given(loop: Loop) -> None:
    told = loop("get_bucket_acl", types.GetAclOutput(ACL, ((A, "alice & bob"),)), Bucket="bucket")
    assert told["Owner"] == {"ID": A, "DisplayName": "alice & bob"}
    assert [grant["Permission"] for grant in told["Grants"]] == ["FULL_CONTROL", "READ", "WRITE_ACP"]
    assert told["Grants"][1]["Grantee"] == {"Type": "Group", "URI": ALL_USERS}
    loop("put_bucket_acl", EmptyOutput(), Bucket="bucket", AccessControlPolicy=policy_of(told))
    assert loop.seen == types.PutBucketAclInput("bucket", AclRequest(document=ACL))


def test_acl_of_an_object(loop: Loop) -> None:
    output = types.GetAclOutput(ACL, ())
    told = loop("get_object_acl", output, Bucket="bucket", Key="k", VersionId="null")
    assert loop.seen == types.ObjectAclInput("bucket", b"k", "null")
    loop("put_object_acl", EmptyOutput(), Bucket="bucket", Key="k", AccessControlPolicy=policy_of(told))
    assert loop.seen == types.PutObjectAclInput("bucket", b"k", AclRequest(document=ACL))


def test_acls_in_headers(loop: Loop) -> None:
    loop("put_bucket_acl", EmptyOutput(), Bucket="bucket", ACL="public-read")
    assert loop.seen.acl == AclRequest("public-read")
    loop(
        "put_object_acl",
        EmptyOutput(),
        Bucket="bucket",
        Key="k",
        GrantRead=f'id={A}, id="{B}",uri="{LOG_DELIVERY}"',
        GrantFullControl=f"id={A}",
    )
    assert set(loop.seen.acl.grants) == {
        Grant(A, Permission.FULL_CONTROL),
        Grant(A, Permission.READ),
        Grant(B, Permission.READ),
        Grant(LOG_DELIVERY, Permission.READ),
    }


def test_cors(loop: Loop) -> None:
    rules = [
        {
            "ID": "one",
            "AllowedOrigins": ["https://*.example.org", "null"],
            "AllowedMethods": ["GET", "PUT"],
            "AllowedHeaders": ["x-amz-*"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 3000,
        },
        {"AllowedOrigins": ["*"], "AllowedMethods": ["HEAD"]},
    ]
    loop("put_bucket_cors", EmptyOutput(), Bucket="bucket", CORSConfiguration={"CORSRules": rules})
    kept = (
        CorsRule(("https://*.example.org", "null"), ("GET", "PUT"), ("x-amz-*",), ("ETag",), 3000, "one"),
        CorsRule(("*",), ("HEAD",)),
    )
    assert loop.seen == types.PutBucketCorsInput("bucket", kept)
    assert loop("get_bucket_cors", types.GetBucketCorsOutput(kept), Bucket="bucket")["CORSRules"] == rules
    assert loop("delete_bucket_cors", EmptyOutput(), Bucket="bucket") == {"status": 204}
