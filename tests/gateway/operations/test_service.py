"""ListBuckets, and who may call anything at all."""

from typing import Any

import pytest

from tests.gateway.operations.stage import ALICE_TOO, Stage, refused, status_of


def test_a_caller_sees_his_own_buckets_by_name(stage: Stage) -> None:
    stage.alice.create_bucket(Bucket="zebra")
    stage.alice.create_bucket(Bucket="ape")
    stage.bob.create_bucket(Bucket="bobs")
    result = stage.alice.list_buckets()
    assert status_of(result) == 200
    assert [bucket["Name"] for bucket in result["Buckets"]] == ["ape", "bucket", "zebra"]
    assert {bucket["BucketRegion"] for bucket in result["Buckets"]} == {"us-east-1"}
    assert result["Owner"] == {"ID": stage.rig.account.account_id.hex(), "DisplayName": "main"}
    assert "ContinuationToken" not in result
    assert [bucket["Name"] for bucket in stage.bob.list_buckets()["Buckets"]] == ["bobs"]


def test_every_key_of_an_account_is_the_same_caller(stage: Stage) -> None:
    assert [bucket["Name"] for bucket in stage.alice_too.list_buckets()["Buckets"]] == ["bucket"]
    stage.alice_too.put_object(Bucket="bucket", Key="k", Body=b"x")
    assert stage.body_of("k") == b"x"


def test_a_disabled_or_deleted_key_stops_at_once(stage: Stage) -> None:
    stage.alice_too.list_buckets()
    stage.run(stage.rig.catalogue.set_access_key_enabled(ALICE_TOO, False))
    refused(stage.alice_too.list_buckets, 403, "InvalidAccessKeyId")
    stage.run(stage.rig.catalogue.set_access_key_enabled(ALICE_TOO, True))
    stage.alice_too.list_buckets()
    stage.run(stage.rig.catalogue.delete_access_key(ALICE_TOO))
    refused(stage.alice_too.list_buckets, 403, "InvalidAccessKeyId")
    stage.alice.list_buckets()


def test_pages_meet_without_gap_or_repeat(stage: Stage) -> None:
    for name in ("b-1", "b-2", "b-3"):
        stage.alice.create_bucket(Bucket=name)
    first = stage.alice.list_buckets(MaxBuckets=2)
    second = stage.alice.list_buckets(MaxBuckets=2, ContinuationToken=first["ContinuationToken"])
    assert [b["Name"] for page in (first, second) for b in page["Buckets"]] == ["b-1", "b-2", "b-3", "bucket"]
    assert "ContinuationToken" not in second
    only = stage.alice.list_buckets(Prefix="b-", MaxBuckets=3)
    assert [b["Name"] for b in only["Buckets"]] == ["b-1", "b-2", "b-3"]
    assert (only["Prefix"], "ContinuationToken" in only) == ("b-", False)


def test_a_token_is_good_for_its_account_alone(stage: Stage) -> None:
    stage.alice.create_bucket(Bucket="another")
    token = stage.alice.list_buckets(MaxBuckets=1)["ContinuationToken"]
    refused(stage.bob.list_buckets, 400, "InvalidArgument", MaxBuckets=1, ContinuationToken=token)
    refused(stage.alice.list_buckets, 400, "InvalidArgument", ContinuationToken="made-up")
    listing = stage.alice.list_objects_v2(Bucket="bucket", MaxKeys=1)
    assert "NextContinuationToken" not in listing


def test_another_region_has_none(stage: Stage) -> None:
    assert stage.alice.list_buckets(BucketRegion="eu-west-1").get("Buckets", []) == []
    assert len(stage.alice.list_buckets(BucketRegion="us-east-1")["Buckets"]) == 1


@pytest.mark.parametrize("most", [0, 10_001])
def test_a_page_has_1_to_10000_buckets(stage: Stage, most: int) -> None:
    answer = stage.raw("GET", f"/?max-buckets={most}")
    assert (answer.status, b"<Code>InvalidArgument</Code>" in answer.body) == (400, True)


CALLS: dict[str, dict[str, Any]] = {
    "list_buckets": {},
    "create_bucket": {"Bucket": "new-one"},
    "head_bucket": {"Bucket": "bucket"},
    "delete_bucket": {"Bucket": "bucket"},
    "get_bucket_location": {"Bucket": "bucket"},
    "get_bucket_encryption": {"Bucket": "bucket"},
    "put_bucket_encryption": {
        "Bucket": "bucket",
        "ServerSideEncryptionConfiguration": {
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    },
    "delete_bucket_encryption": {"Bucket": "bucket"},
    "get_bucket_versioning": {"Bucket": "bucket"},
    "put_bucket_lifecycle_configuration": {
        "Bucket": "bucket",
        "LifecycleConfiguration": {"Rules": [{"Prefix": "", "Status": "Enabled", "Expiration": {"Days": 1}}]},
    },
    "get_bucket_lifecycle_configuration": {"Bucket": "bucket"},
    "put_bucket_notification_configuration": {"Bucket": "bucket", "NotificationConfiguration": {}},
    "get_bucket_notification_configuration": {"Bucket": "bucket"},
    "put_bucket_logging": {"Bucket": "bucket", "BucketLoggingStatus": {}},
    "get_bucket_logging": {"Bucket": "bucket"},
    "delete_bucket_lifecycle": {"Bucket": "bucket"},
    "get_bucket_policy": {"Bucket": "bucket"},
    "put_bucket_policy": {"Bucket": "bucket", "Policy": "{}"},
    "delete_bucket_policy": {"Bucket": "bucket"},
    "get_bucket_policy_status": {"Bucket": "bucket"},
    "get_public_access_block": {"Bucket": "bucket"},
    "put_public_access_block": {"Bucket": "bucket", "PublicAccessBlockConfiguration": {}},
    "delete_public_access_block": {"Bucket": "bucket"},
    "get_bucket_ownership_controls": {"Bucket": "bucket"},
    "put_bucket_ownership_controls": {
        "Bucket": "bucket", "OwnershipControls": {"Rules": [{"ObjectOwnership": "ObjectWriter"}]},
    },
    "delete_bucket_ownership_controls": {"Bucket": "bucket"},
    "get_bucket_acl": {"Bucket": "bucket"},
    "put_bucket_acl": {"Bucket": "bucket", "ACL": "private"},
    "get_object_acl": {"Bucket": "bucket", "Key": "k"},
    "put_object_acl": {"Bucket": "bucket", "Key": "k", "ACL": "private"},
    "get_bucket_cors": {"Bucket": "bucket"},
    "put_bucket_cors": {
        "Bucket": "bucket",
        "CORSConfiguration": {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]},
    },
    "delete_bucket_cors": {"Bucket": "bucket"},
    "put_bucket_versioning": {"Bucket": "bucket", "VersioningConfiguration": {"Status": "Enabled"}},
    "list_object_versions": {"Bucket": "bucket"},
    "get_object_lock_configuration": {"Bucket": "bucket"},
    "put_object_lock_configuration": {
        "Bucket": "bucket", "ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"},
    },
    "get_bucket_tagging": {"Bucket": "bucket"},
    "put_bucket_tagging": {"Bucket": "bucket", "Tagging": {"TagSet": []}},
    "delete_bucket_tagging": {"Bucket": "bucket"},
    "put_object_tagging": {"Bucket": "bucket", "Key": "k", "Tagging": {"TagSet": []}},
    "delete_object_tagging": {"Bucket": "bucket", "Key": "k"},
    "get_object_retention": {"Bucket": "bucket", "Key": "k"},
    "put_object_retention": {"Bucket": "bucket", "Key": "k", "Retention": {}},
    "get_object_legal_hold": {"Bucket": "bucket", "Key": "k"},
    "put_object_legal_hold": {"Bucket": "bucket", "Key": "k", "LegalHold": {"Status": "ON"}},
    "get_object_attributes": {"Bucket": "bucket", "Key": "k", "ObjectAttributes": ["ETag"]},
    "list_objects": {"Bucket": "bucket"},
    "list_objects_v2": {"Bucket": "bucket"},
    "put_object": {"Bucket": "bucket", "Key": "k", "Body": b"changed"},
    "get_object": {"Bucket": "bucket", "Key": "k"},
    "head_object": {"Bucket": "bucket", "Key": "k"},
    "delete_object": {"Bucket": "bucket", "Key": "k"},
    "delete_objects": {"Bucket": "bucket", "Delete": {"Objects": [{"Key": "k"}]}},
    "copy_object": {"Bucket": "bucket", "Key": "k2", "CopySource": "bucket/k"},
    "get_object_tagging": {"Bucket": "bucket", "Key": "k"},
    "create_multipart_upload": {"Bucket": "bucket", "Key": "k"},
    "upload_part": {"Bucket": "bucket", "Key": "k", "UploadId": "0" * 32, "PartNumber": 1, "Body": b"x"},
    "upload_part_copy": {
        "Bucket": "bucket", "Key": "k", "UploadId": "0" * 32, "PartNumber": 1, "CopySource": "bucket/k",
    },
    "complete_multipart_upload": {
        "Bucket": "bucket", "Key": "k", "UploadId": "0" * 32,
        "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": "x"}]},
    },
    "abort_multipart_upload": {"Bucket": "bucket", "Key": "k", "UploadId": "0" * 32},
    "list_parts": {"Bucket": "bucket", "Key": "k", "UploadId": "0" * 32},
    "list_multipart_uploads": {"Bucket": "bucket"},
}  # fmt: skip


def test_the_calls_below_are_all_that_there_are() -> None:
    from gateway.operations.table import OPERATIONS  # noqa: PLC0415  # only this test looks at the table itself

    assert {name.replace("_", "") for name in CALLS} == {name.lower() for name in OPERATIONS} - {"postobject"}


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("caller", ["nobody", "bob"])
def test_strangers_are_refused_and_nothing_changes(stage: Stage, caller: str, method: str) -> None:
    stage.put("k", b"mine")
    changes = len(stage.run(stage.rig.catalogue.read_changes(0, 1000)))
    call = getattr(getattr(stage, caller), method)
    if caller == "bob" and method in {"list_buckets", "create_bucket"}:
        call(**CALLS[method])
        return
    code = "403" if method.startswith("head") else "AccessDenied"
    refused(call, 403, code, **CALLS[method])
    assert len(stage.run(stage.rig.catalogue.read_changes(0, 1000))) == changes
    assert (stage.body_of("k"), stage.keys()) == (b"mine", ["k"])


def test_the_anonymous_caller_does_not_learn_which_buckets_exist(stage: Stage) -> None:
    there = refused(stage.nobody.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")
    absent = refused(stage.nobody.get_object, 403, "AccessDenied", Bucket="no-such", Key="k")
    assert there["Message"] == absent["Message"]
