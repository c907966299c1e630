"""ACLs over the wire: off by default, at work where the bucket's owner switches them on."""

from typing import Any

from tests.blackbox.clients import refusal
from tests.blackbox.witness import shows

NOT_SUPPORTED = (400, "AccessControlListNotSupported")
DENIED = (403, "AccessDenied")


@shows(
    "PutObject 400 AccessControlListNotSupported",
    "PutBucketAcl 400 AccessControlListNotSupported",
    "PutObjectAcl 400 AccessControlListNotSupported",
    "GetObjectAcl 200",
    "GetBucketAcl 200",
)
def test_acls_are_off_by_default(s3: Any, bucket: str, nobody: Any) -> None:
    put = {"Bucket": bucket, "Key": "k", "Body": b"x"}
    assert refusal(s3.put_object, **put, ACL="public-read") == NOT_SUPPORTED
    assert refusal(s3.put_bucket_acl, Bucket=bucket, ACL="public-read") == NOT_SUPPORTED
    s3.put_object(**put, ACL="bucket-owner-full-control")
    assert refusal(s3.put_object_acl, Bucket=bucket, Key="k", ACL="public-read") == NOT_SUPPORTED
    for told in (s3.get_object_acl(Bucket=bucket, Key="k"), s3.get_bucket_acl(Bucket=bucket)):
        (grant,) = told["Grants"]
        assert (grant["Permission"], grant["Grantee"]["ID"]) == ("FULL_CONTROL", told["Owner"]["ID"])
    assert refusal(nobody.get_object, Bucket=bucket, Key="k") == DENIED


@shows("PutObjectAcl 403 AccessDenied", "PutObjectAcl 200", "PutBucketAcl 200", "PutBucketOwnershipControls 200")
def test_acls_at_work(s3: Any, guest: Any, guest_id: str, nobody: Any) -> None:
    bucket, grant = "with-acls", f"id={guest_id}"
    s3.create_bucket(Bucket=bucket, ObjectOwnership="ObjectWriter", GrantWrite=grant, GrantRead=grant)
    guest.put_object(Bucket=bucket, Key="his", Body=b"guest's")
    assert guest.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert refusal(s3.get_object, Bucket=bucket, Key="his") == DENIED
    assert refusal(guest.put_object_acl, Bucket=bucket, Key="his", ACL="public-read") == DENIED
    s3.delete_public_access_block(Bucket=bucket)
    guest.put_object_acl(Bucket=bucket, Key="his", ACL="public-read")
    for caller in (s3, guest, nobody):
        assert caller.get_object(Bucket=bucket, Key="his")["Body"].read() == b"guest's"
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"IgnorePublicAcls": True})
    assert refusal(nobody.get_object, Bucket=bucket, Key="his") == DENIED
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    enforced = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=enforced)
    assert s3.get_object(Bucket=bucket, Key="his")["Body"].read() == b"guest's"
    assert refusal(guest.get_object, Bucket=bucket, Key="his") == DENIED


@shows(
    "PutBucketAcl 200",
    "PutBucketAcl 403 AccessDenied",
    "PutBucketAcl 400 InvalidArgument",
    "GetBucketAcl 403 AccessDenied",
    "GetBucketAcl 200",
    "PutObjectAcl 200",
    "PutObjectAcl 404 NoSuchKey",
    "GetObjectAcl 200",
    "GetObjectAcl 403 AccessDenied",
    "GetObjectAcl 404 NoSuchKey",
)
def test_grants_by_document(s3: Any, guest: Any, guest_id: str, nobody: Any) -> None:
    bucket = "with-grants"
    s3.create_bucket(Bucket=bucket, ObjectOwnership="BucketOwnerPreferred")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for other in (guest, nobody):
        assert refusal(other.put_bucket_acl, Bucket=bucket, ACL="private") == DENIED
        assert refusal(other.get_bucket_acl, Bucket=bucket) == DENIED
        assert refusal(other.get_object_acl, Bucket=bucket, Key="k") == DENIED
    owner = {"ID": s3.list_buckets()["Owner"]["ID"]}
    read = {"Grantee": {"Type": "CanonicalUser", "ID": guest_id}, "Permission": "READ"}
    read_acp = read | {"Permission": "READ_ACP"}
    wanted = {"Owner": owner, "Grants": [read, read_acp]}
    s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy=wanted)
    s3.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=wanted)
    assert guest.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert guest.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    for told in (guest.get_bucket_acl(Bucket=bucket), guest.get_object_acl(Bucket=bucket, Key="k")):
        given = [(grant["Grantee"]["ID"], grant["Permission"]) for grant in told["Grants"]]
        assert given == [(guest_id, "READ"), (guest_id, "READ_ACP")]
    assert refusal(guest.put_object, Bucket=bucket, Key="new", Body=b"x") == DENIED
    stranger = {"Grantee": {"Type": "CanonicalUser", "ID": "0" * 32}, "Permission": "READ"}
    unknown = refusal(s3.put_bucket_acl, Bucket=bucket, AccessControlPolicy={"Owner": owner, "Grants": [stranger]})
    assert unknown == (400, "InvalidArgument")
    assert refusal(s3.put_object_acl, Bucket=bucket, Key="missing", ACL="private") == (404, "NoSuchKey")
    assert refusal(s3.get_object_acl, Bucket=bucket, Key="missing") == (404, "NoSuchKey")


@shows(
    "GetBucketOwnershipControls 200",
    "GetBucketOwnershipControls 403 AccessDenied",
    "GetBucketOwnershipControls 404 OwnershipControlsNotFoundError",
    "PutBucketOwnershipControls 200",
    "PutBucketOwnershipControls 400 InvalidBucketAclWithObjectOwnership",
    "PutBucketOwnershipControls 403 AccessDenied",
    "DeleteBucketOwnershipControls 204",
    "DeleteBucketOwnershipControls 403 AccessDenied",
    "DeleteBucketOwnershipControls 404 NoSuchBucket",
)
def test_who_owns_what_others_write(s3: Any, guest: Any, guest_id: str, nobody: Any, bucket: str) -> None:
    def controls(ownership: str) -> dict[str, Any]:
        return {"Bucket": bucket, "OwnershipControls": {"Rules": [{"ObjectOwnership": ownership}]}}

    for other in (guest, nobody):
        assert refusal(other.put_bucket_ownership_controls, **controls("ObjectWriter")) == DENIED
        assert refusal(other.get_bucket_ownership_controls, Bucket=bucket) == DENIED
        assert refusal(other.delete_bucket_ownership_controls, Bucket=bucket) == DENIED
    rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    s3.put_bucket_ownership_controls(**controls("ObjectWriter"))
    s3.put_bucket_acl(Bucket=bucket, GrantWrite=f"id={guest_id}")
    guest.put_object(Bucket=bucket, Key="his", Body=b"x")
    enforced = refusal(s3.put_bucket_ownership_controls, **controls("BucketOwnerEnforced"))
    assert enforced == (400, "InvalidBucketAclWithObjectOwnership")
    assert refusal(s3.get_object, Bucket=bucket, Key="his") == DENIED
    s3.delete_bucket_ownership_controls(Bucket=bucket)
    missing = refusal(s3.get_bucket_ownership_controls, Bucket=bucket)
    assert missing == (404, "OwnershipControlsNotFoundError")
    gone = refusal(s3.delete_bucket_ownership_controls, Bucket="no-such-bucket")
    assert gone == (404, "NoSuchBucket")
