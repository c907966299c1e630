"""ACLs over the wire: off by default, at work where the bucket's owner switches them on."""

from typing import Any

import pytest
from botocore.exceptions import ClientError


def code_of(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_acls_are_off_by_default(s3: Any, bucket: str, nobody: Any) -> None:
    put = {"Bucket": bucket, "Key": "k", "Body": b"x"}
    assert code_of(s3.put_object, **put, ACL="public-read") == "AccessControlListNotSupported"
    assert code_of(s3.put_bucket_acl, Bucket=bucket, ACL="public-read") == "AccessControlListNotSupported"
    s3.put_object(**put, ACL="bucket-owner-full-control")
    grants = s3.get_object_acl(Bucket=bucket, Key="k")["Grants"]
    assert [grant["Permission"] for grant in grants] == ["FULL_CONTROL"]
    assert code_of(nobody.get_object, Bucket=bucket, Key="k") == "AccessDenied"


def test_acls_at_work(s3: Any, guest: Any, guest_id: str, nobody: Any) -> None:
    bucket, grant = "with-acls", f"id={guest_id}"
    s3.create_bucket(Bucket=bucket, ObjectOwnership="ObjectWriter", GrantWrite=grant, GrantRead=grant)
    guest.put_object(Bucket=bucket, Key="his", Body=b"guest's")
    assert guest.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert code_of(s3.get_object, Bucket=bucket, Key="his") == "AccessDenied"
    assert code_of(guest.put_object_acl, Bucket=bucket, Key="his", ACL="public-read") == "AccessDenied"
    s3.delete_public_access_block(Bucket=bucket)
    guest.put_object_acl(Bucket=bucket, Key="his", ACL="public-read")
    for caller in (s3, guest, nobody):
        assert caller.get_object(Bucket=bucket, Key="his")["Body"].read() == b"guest's"
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"IgnorePublicAcls": True})
    assert code_of(nobody.get_object, Bucket=bucket, Key="his") == "AccessDenied"
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    enforced = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=enforced)
    assert s3.get_object(Bucket=bucket, Key="his")["Body"].read() == b"guest's"
    assert code_of(guest.get_object, Bucket=bucket, Key="his") == "AccessDenied"
