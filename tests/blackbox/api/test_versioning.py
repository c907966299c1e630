"""Versions: enabled, suspended, null, markers, and their listing."""

from typing import Any

from tests.blackbox.clients import refusal
from tests.blackbox.witness import shows


def set_to(s3: Any, bucket: str, status: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


@shows(
    "GetBucketVersioning 200",
    "GetBucketVersioning 403 AccessDenied",
    "GetBucketVersioning 404 NoSuchBucket",
    "PutBucketVersioning 200",
    "PutBucketVersioning 400 MalformedXML",
    "PutBucketVersioning 403 AccessDenied",
    "PutBucketVersioning 409 InvalidBucketState",
)
def test_the_state_of_a_bucket(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    for status in ("Enabled", "Suspended", "Enabled"):
        set_to(s3, bucket, status)
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == status
    put = {"Bucket": bucket, "VersioningConfiguration": {"Status": "Suspended"}}
    for other in (guest, nobody):
        assert refusal(other.put_bucket_versioning, **put) == (403, "AccessDenied")
        assert refusal(other.get_bucket_versioning, Bucket=bucket) == (403, "AccessDenied")
    none = refusal(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Disabled"})
    assert none == (400, "MalformedXML")
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert refusal(s3.get_bucket_versioning, Bucket="no-such-bucket") == (404, "NoSuchBucket")
    s3.create_bucket(Bucket=f"{bucket}-locks", ObjectLockEnabledForBucket=True)
    put["Bucket"] = f"{bucket}-locks"
    assert refusal(s3.put_bucket_versioning, **put) == (409, "InvalidBucketState")


@shows(
    "PutObject 200",
    "DeleteObject 204",
    "GetObject 404 NoSuchKey",
    "GetObject 405 MethodNotAllowed",
    "HeadObject 405 405",
    "GetObject 404 NoSuchVersion",
    "DeleteObjects 200",
)
def test_versions_come_and_go(s3: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    assert "VersionId" not in s3.put_object(**where, Body=b"null")
    set_to(s3, bucket, "Enabled")
    first = s3.put_object(**where, Body=b"first")["VersionId"]
    gone = s3.delete_object(**where)
    assert gone["DeleteMarker"]
    assert refusal(s3.get_object, **where) == (404, "NoSuchKey")
    assert refusal(s3.get_object, **where, VersionId=gone["VersionId"]) == (405, "MethodNotAllowed")
    assert refusal(s3.head_object, **where, VersionId=gone["VersionId"]) == (405, "405")
    assert s3.get_object(**where, VersionId=first)["Body"].read() == b"first"
    assert s3.get_object(**where, VersionId="null")["Body"].read() == b"null"
    set_to(s3, bucket, "Suspended")
    assert s3.put_object(**where, Body=b"null again")["VersionId"] == "null"
    assert s3.get_object(**where, VersionId="null")["Body"].read() == b"null again"
    undone = s3.delete_object(**where, VersionId=gone["VersionId"])
    assert (undone["DeleteMarker"], undone["VersionId"]) == (True, gone["VersionId"])
    assert s3.delete_object(**where, VersionId="null")["VersionId"] == "null"
    assert s3.get_object(**where)["Body"].read() == b"first"
    wanted = [{"Key": "k", "VersionId": first}, {"Key": "k"}]
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": wanted})["Deleted"]
    assert [entry.get("VersionId") for entry in deleted] == [first, None]
    assert (deleted[1]["DeleteMarker"], deleted[1]["DeleteMarkerVersionId"]) == (True, "null")
    assert refusal(s3.get_object, **where, VersionId=first) == (404, "NoSuchVersion")


@shows(
    "ListObjectVersions 200",
    "ListObjectVersions 400 InvalidArgument",
    "ListObjectVersions 403 AccessDenied",
    "ListObjectVersions 404 NoSuchBucket",
)
def test_versions_are_listed(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    set_to(s3, bucket, "Enabled")
    made = [("k", s3.put_object(Bucket=bucket, Key="k", Body=b"x" * size)["VersionId"]) for size in range(3)]
    made.append(("k", s3.delete_object(Bucket=bucket, Key="k")["VersionId"]))
    made.reverse()
    made += [(f"dir/{name}", s3.put_object(Bucket=bucket, Key=f"dir/{name}", Body=b"")["VersionId"]) for name in "ab"]
    made.sort(key=lambda entry: entry[0])
    listed: list[tuple[str, str]] = []
    more: dict[str, str] = {}
    while True:
        page = s3.list_object_versions(Bucket=bucket, MaxKeys=1, **more)
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        listed += [(entry["Key"], entry["VersionId"]) for entry in found]
        if not page["IsTruncated"]:
            break
        more = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    assert listed == made
    whole = s3.list_object_versions(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in whole["CommonPrefixes"]] == ["dir/"]
    assert [entry["IsLatest"] for entry in [*whole["DeleteMarkers"], *whole["Versions"]]] == [True, False, False, False]
    assert refusal(s3.list_object_versions, Bucket=bucket, VersionIdMarker=made[0][1]) == (400, "InvalidArgument")
    for other in (guest, nobody):
        assert refusal(other.list_object_versions, Bucket=bucket) == (403, "AccessDenied")
    assert refusal(s3.list_object_versions, Bucket="no-such-bucket") == (404, "NoSuchBucket")
