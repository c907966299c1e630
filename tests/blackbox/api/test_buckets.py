"""Buckets themselves: made, found, listed and removed, by their owner and by others."""

from typing import Any

from tests.blackbox.clients import refusal, s3_client
from tests.blackbox.process import Gateway
from tests.blackbox.witness import shows


def names(client: Any, **asked: Any) -> list[str]:
    return [entry["Name"] for entry in client.list_buckets(**asked)["Buckets"]]


@shows(
    "CreateBucket 200",
    "CreateBucket 409 BucketAlreadyOwnedByYou",
    "CreateBucket 409 BucketAlreadyExists",
    "CreateBucket 400 InvalidBucketName",
    "CreateBucket 403 AccessDenied",
)
def test_a_name_is_given_once(s3: Any, guest: Any, nobody: Any) -> None:
    made = s3.create_bucket(Bucket="only-one")
    assert made["Location"].endswith("/only-one")
    assert refusal(s3.create_bucket, Bucket="only-one") == (409, "BucketAlreadyOwnedByYou")
    assert refusal(guest.create_bucket, Bucket="only-one") == (409, "BucketAlreadyExists")
    assert refusal(s3.create_bucket, Bucket="192.168.1.1") == (400, "InvalidBucketName")
    assert refusal(nobody.create_bucket, Bucket="of-nobody") == (403, "AccessDenied")
    assert "only-one" in names(s3)
    assert {"only-one", "of-nobody"}.isdisjoint(names(guest))


@shows("CreateBucket 400 IllegalLocationConstraintException", "CreateBucket 200")
def test_a_bucket_is_of_this_region(s3: Any) -> None:
    elsewhere = {"LocationConstraint": "mars-north-1"}
    refused = refusal(s3.create_bucket, Bucket="elsewhere", CreateBucketConfiguration=elsewhere)
    assert refused == (400, "IllegalLocationConstraintException")
    assert "elsewhere" not in names(s3)
    s3.create_bucket(Bucket="elsewhere")


@shows("HeadBucket 200", "HeadBucket 403 403", "HeadBucket 404 404")
def test_who_learns_that_a_bucket_is_there(gateway: Gateway, s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    head = s3.head_bucket(Bucket=bucket)
    assert head["BucketRegion"] == gateway.region
    for other in (guest, nobody):
        assert refusal(other.head_bucket, Bucket=bucket) == (403, "403")
    assert refusal(s3.head_bucket, Bucket="no-such-bucket") == (404, "404")


@shows("GetBucketLocation 200", "GetBucketLocation 403 AccessDenied", "GetBucketLocation 404 NoSuchBucket")
def test_where_a_bucket_is(s3: Any, guest: Any, bucket: str) -> None:
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert refusal(guest.get_bucket_location, Bucket=bucket) == (403, "AccessDenied")
    assert refusal(s3.get_bucket_location, Bucket="no-such-bucket") == (404, "NoSuchBucket")


@shows(
    "DeleteBucket 409 BucketNotEmpty",
    "DeleteBucket 403 AccessDenied",
    "DeleteBucket 204",
    "DeleteBucket 404 NoSuchBucket",
)
def test_only_an_empty_bucket_goes(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    assert refusal(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
    for held in (version, marker):
        s3.delete_object(Bucket=bucket, Key="k", VersionId=held)
    for other in (guest, nobody):
        assert refusal(other.delete_bucket, Bucket=bucket) == (403, "AccessDenied")
    assert bucket in names(s3)
    s3.delete_bucket(Bucket=bucket)
    assert bucket not in names(s3)
    assert refusal(s3.delete_bucket, Bucket=bucket) == (404, "NoSuchBucket")


@shows("ListBuckets 200", "ListBuckets 403 AccessDenied", "ListBuckets 400 InvalidArgument")
def test_everyone_lists_his_own(gateway: Gateway, nobody: Any) -> None:
    client = s3_client(gateway, gateway.create_account("collector"))
    assert names(client) == []
    for name in ("box-1", "box-2", "box-3", "case-1"):
        client.create_bucket(Bucket=name)
    assert names(client, Prefix="box-") == ["box-1", "box-2", "box-3"]
    page = client.list_buckets(MaxBuckets=3)
    assert [entry["Name"] for entry in page["Buckets"]] == ["box-1", "box-2", "box-3"]
    assert names(client, MaxBuckets=3, ContinuationToken=page["ContinuationToken"]) == ["case-1"]
    assert refusal(client.list_buckets, ContinuationToken="garbage") == (400, "InvalidArgument")
    assert refusal(nobody.list_buckets) == (403, "AccessDenied")
    client.close()
