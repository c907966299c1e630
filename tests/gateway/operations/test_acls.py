"""ACLs and ownership: ignored and refused where the bucket's owner is enforced, at work where they count."""

from typing import Any

import pytest

from tests.gateway.operations.stage import Stage, refused

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
NO_ACLS = "AccessControlListNotSupported"


def account(stage: Stage, name: str) -> str:
    if name == "alice":
        return stage.rig.account.canonical_id
    return str(stage.run(stage.rig.catalogue.get_account_by_name(name)).canonical_id)


def own(stage: Stage, ownership: str, *, block: bool = False) -> None:
    """Let ACLs count, public ones too."""
    controls = {"Rules": [{"ObjectOwnership": ownership}]}
    stage.alice.put_bucket_ownership_controls(Bucket="bucket", OwnershipControls=controls)
    if not block:
        stage.alice.delete_public_access_block(Bucket="bucket")


def grants(result: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (grant["Grantee"].get("ID", grant["Grantee"].get("URI")), grant["Permission"]) for grant in result["Grants"]
    }


def test_a_new_bucket_has_no_acls(stage: Stage) -> None:
    stage.put("k")
    alice = account(stage, "alice")
    controls = stage.alice.get_bucket_ownership_controls(Bucket="bucket")["OwnershipControls"]
    assert controls == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    for acl in (
        stage.alice.get_bucket_acl(Bucket="bucket"),
        stage.alice.get_object_acl(Bucket="bucket", Key="k"),
    ):
        assert (acl["Owner"]["ID"], grants(acl)) == (alice, {(alice, "FULL_CONTROL")})


@pytest.mark.parametrize("acl", ["public-read", "authenticated-read", "public-read-write", "log-delivery-write"])
def test_what_would_change_something_is_refused_where_there_are_none(stage: Stage, acl: str) -> None:
    stage.put("k")
    refused(stage.alice.put_bucket_acl, 400, NO_ACLS, Bucket="bucket", ACL=acl)
    refused(stage.alice.put_object_acl, 400, NO_ACLS, Bucket="bucket", Key="k", ACL=acl)
    refused(stage.alice.put_object, 400, NO_ACLS, Bucket="bucket", Key="new", Body=b"", ACL=acl)
    refused(stage.alice.copy_object, 400, NO_ACLS, Bucket="bucket", Key="new", CopySource="bucket/k", ACL=acl)
    refused(stage.alice.create_multipart_upload, 400, NO_ACLS, Bucket="bucket", Key="new", ACL=acl)
    bob = account(stage, "bob")
    refused(stage.alice.put_object, 400, NO_ACLS, Bucket="bucket", Key="new", Body=b"", GrantRead=f"id={bob}")
    assert stage.keys() == ["k"]


@pytest.mark.parametrize("acl", ["private", "bucket-owner-full-control"])
def test_what_is_so_anyway_passes(stage: Stage, acl: str) -> None:
    stage.put("k", ACL=acl)
    stage.alice.put_bucket_acl(Bucket="bucket", ACL=acl)
    stage.alice.put_object_acl(Bucket="bucket", Key="k", ACL=acl)
    own_grant = f"id={account(stage, 'alice')}"
    stage.put("k", GrantFullControl=own_grant)
    told = stage.alice.get_object_acl(Bucket="bucket", Key="k")
    policy = {"Owner": told["Owner"], "Grants": told["Grants"]}
    stage.alice.put_object_acl(Bucket="bucket", Key="k", AccessControlPolicy=policy)


def test_public_objects(stage: Stage) -> None:
    own(stage, "ObjectWriter")
    stage.put("open", ACL="public-read")
    stage.put("k")
    assert stage.nobody.get_object(Bucket="bucket", Key="open")["Body"].read() == b"data"
    refused(stage.nobody.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")
    refused(stage.nobody.get_object, 403, "AccessDenied", Bucket="bucket", Key="missing")
    refused(stage.nobody.list_objects_v2, 403, "AccessDenied", Bucket="bucket")
    stage.alice.put_object_acl(Bucket="bucket", Key="open", ACL="private")
    refused(stage.nobody.get_object, 403, "AccessDenied", Bucket="bucket", Key="open")
    stage.alice.put_object_acl(Bucket="bucket", Key="k", ACL="public-read")
    stage.nobody.get_object(Bucket="bucket", Key="k")
    block = {"IgnorePublicAcls": True}
    stage.alice.put_public_access_block(Bucket="bucket", PublicAccessBlockConfiguration=block)
    refused(stage.nobody.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")


def test_public_acls_are_blocked_by_default(stage: Stage) -> None:
    own(stage, "ObjectWriter", block=True)
    stage.put("k")
    refused(stage.alice.put_bucket_acl, 403, "AccessDenied", Bucket="bucket", ACL="public-read")
    refused(stage.alice.put_object_acl, 403, "AccessDenied", Bucket="bucket", Key="k", ACL="public-read")
    refused(stage.alice.put_object, 403, "AccessDenied", Bucket="bucket", Key="k", Body=b"", ACL="public-read")


def test_a_public_bucket_is_listed_and_written_by_its_acl(stage: Stage) -> None:
    own(stage, "ObjectWriter")
    stage.alice.put_bucket_acl(Bucket="bucket", ACL="public-read-write")
    stage.nobody.put_object(Bucket="bucket", Key="k", Body=b"left")
    assert stage.nobody.list_objects_v2(Bucket="bucket")["KeyCount"] == 1
    refused(stage.nobody.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")
    refused(stage.nobody.delete_object, 403, "AccessDenied", Bucket="bucket", Key="k")
    assert stage.body_of("k") == b"left", "what nobody signed for belongs to the bucket's owner"


@pytest.mark.parametrize("ownership", ["ObjectWriter", "BucketOwnerPreferred"])
def test_writers_own_what_they_write(stage: Stage, ownership: str) -> None:
    own(stage, ownership)
    bob = account(stage, "bob")
    stage.alice.put_bucket_acl(Bucket="bucket", GrantWrite=f"id={bob}")
    stage.bob.put_object(Bucket="bucket", Key="his", Body=b"bob's")
    refused(stage.alice.get_object, 403, "AccessDenied", Bucket="bucket", Key="his")
    assert stage.bob.get_object(Bucket="bucket", Key="his")["Body"].read() == b"bob's"
    told = stage.bob.get_object_acl(Bucket="bucket", Key="his")
    assert (told["Owner"]["ID"], grants(told)) == (bob, {(bob, "FULL_CONTROL")})
    stage.bob.put_object_acl(Bucket="bucket", Key="his", ACL="bucket-owner-read")
    assert stage.body_of("his") == b"bob's"
    stage.bob.put_object(Bucket="bucket", Key="shared", Body=b"ours", ACL="bucket-owner-full-control")
    assert stage.body_of("shared") == b"ours"
    owner = stage.alice.get_object_acl(Bucket="bucket", Key="shared")["Owner"]["ID"]
    assert owner == (bob if ownership == "ObjectWriter" else account(stage, "alice"))
    stage.alice.delete_object(Bucket="bucket", Key="his")
    controls = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    stage.alice.put_bucket_acl(Bucket="bucket", ACL="private")
    stage.alice.put_bucket_ownership_controls(Bucket="bucket", OwnershipControls=controls)
    refused(stage.bob.get_object, 403, "AccessDenied", Bucket="bucket", Key="shared")


def test_an_upload_in_parts_has_the_acl_that_it_began_with(stage: Stage) -> None:
    own(stage, "ObjectWriter")
    where = {"Bucket": "bucket", "Key": "k"}
    upload_id = stage.alice.create_multipart_upload(**where, ACL="public-read")["UploadId"]
    etag = stage.alice.upload_part(**where, UploadId=upload_id, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    stage.alice.complete_multipart_upload(**where, UploadId=upload_id, MultipartUpload=parts)
    assert stage.nobody.get_object(**where)["Body"].read() == b"part"


def test_a_copy_does_not_take_the_acl_along(stage: Stage) -> None:
    own(stage, "ObjectWriter")
    stage.put("k", ACL="public-read")
    stage.alice.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/k")
    refused(stage.nobody.get_object, 403, "AccessDenied", Bucket="bucket", Key="copy")
    stage.alice.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/k", ACL="public-read")
    stage.nobody.get_object(Bucket="bucket", Key="copy")


def test_enforcing_the_owner_takes_nothing_from_anyone_unsaid(stage: Stage) -> None:
    own(stage, "ObjectWriter")
    stage.alice.put_bucket_acl(Bucket="bucket", ACL="public-read")
    controls = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    refused(
        stage.alice.put_bucket_ownership_controls,
        400,
        "InvalidBucketAclWithObjectOwnership",
        Bucket="bucket",
        OwnershipControls=controls,
    )


def test_deleted_controls_are_those_of_old(stage: Stage) -> None:
    stage.alice.delete_bucket_ownership_controls(Bucket="bucket")
    refused(stage.alice.get_bucket_ownership_controls, 404, "OwnershipControlsNotFoundError", Bucket="bucket")
    stage.put("k", ACL="bucket-owner-full-control")


def test_a_grantee_must_exist_and_the_owner_must_be_the_owner(stage: Stage) -> None:
    own(stage, "ObjectWriter")
    bad = "0" * 32
    refused(stage.alice.put_bucket_acl, 400, "InvalidArgument", Bucket="bucket", GrantRead=f"id={bad}")
    bob = account(stage, "bob")
    grantee = {"Type": "CanonicalUser", "ID": bob}
    policy = {"Owner": {"ID": bob}, "Grants": [{"Grantee": grantee, "Permission": "READ"}]}
    refused(stage.alice.put_bucket_acl, 403, "AccessDenied", Bucket="bucket", AccessControlPolicy=policy)
    email = 'emailAddress="a@example.org"'
    refused(stage.alice.put_bucket_acl, 501, "NotImplemented", Bucket="bucket", GrantRead=email)


def test_buckets_made_with_acls(stage: Stage) -> None:
    bob = account(stage, "bob")
    arguments = {"ObjectOwnership": "ObjectWriter", "GrantRead": f"id={bob}"}
    stage.alice.create_bucket(Bucket="shared", **arguments)
    assert stage.bob.list_objects_v2(Bucket="shared")["KeyCount"] == 0
    arguments = {"ObjectOwnership": "ObjectWriter", "ACL": "public-read"}
    refused(stage.alice.create_bucket, 403, "AccessDenied", Bucket="open", **arguments)
    refused(stage.alice.create_bucket, 400, "InvalidBucketAclWithObjectOwnership", Bucket="open", GrantRead=f"id={bob}")
    refused(stage.alice.head_bucket, 404, "404", Bucket="open")


UNTYPED = (
    b"<AccessControlPolicy><Owner><ID>ALICE</ID></Owner><AccessControlList><Grant><Grantee><ID>ALICE</ID>"
    b"</Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>"
)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MissingSecurityHeader"),
        (b"<AccessControlPolicy/>", "MalformedACLError"),
        (b"<AccessControlPolicy><Owner><ID>ALICE</ID></Owner></AccessControlPolicy>", "MalformedACLError"),
        (
            b"<AccessControlPolicy><Owner><ID>x</ID></Owner><AccessControlList/></AccessControlPolicy>",
            "InvalidArgument",
        ),
        (UNTYPED, "MalformedACLError"),
    ],
)
def test_documents_that_are_none(stage: Stage, body: bytes, code: str) -> None:
    document = body.replace(b"ALICE", account(stage, "alice").encode())
    answer = stage.raw("PUT", "/bucket?acl", {}, document)
    assert (answer.status, f"<Code>{code}</Code>".encode() in answer.body) == (400, True), answer.body
