"""Object lock: default retention, retention, legal hold, and that nobody deletes what they hold."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.gateway.operations.stage import Stage, refused, status_of

DAY = timedelta(days=1)
K = {"Bucket": "locked", "Key": "k"}
ARN = "arn:aws:s3:::locked"


@pytest.fixture
def locked(stage: Stage) -> Iterator[Stage]:
    stage.alice.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    yield stage
    stage.run(stage.rig.catalogue.verify())


def after(stage: Stage, step: timedelta) -> datetime:
    return stage.rig.clock().replace(microsecond=0) + step


def put(stage: Stage, **arguments: Any) -> str:
    version_id: str = stage.alice.put_object(**K, Body=b"data", **arguments)["VersionId"]
    return version_id


def retained(stage: Stage, mode: str, step: timedelta = DAY) -> str:
    return put(stage, ObjectLockMode=mode, ObjectLockRetainUntilDate=after(stage, step))


def default(stage: Stage, **rule: Any) -> None:
    configuration = {"ObjectLockEnabled": "Enabled", **({"Rule": {"DefaultRetention": rule}} if rule else {})}
    stage.alice.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=configuration)


def test_a_bucket_with_locks_is_versioned_for_good(locked: Stage) -> None:
    assert locked.alice.get_bucket_versioning(Bucket="locked")["Status"] == "Enabled"
    found = locked.alice.get_object_lock_configuration(Bucket="locked")["ObjectLockConfiguration"]
    assert found == {"ObjectLockEnabled": "Enabled"}
    refused(
        locked.alice.put_bucket_versioning, 409, "InvalidBucketState", Bucket="locked",
        VersioningConfiguration={"Status": "Suspended"},
    )  # fmt: skip
    assert locked.alice.get_bucket_versioning(Bucket="locked")["Status"] == "Enabled"


def test_a_bucket_without_locks_takes_none(stage: Stage) -> None:
    refused(stage.alice.get_object_lock_configuration, 404, "ObjectLockConfigurationNotFoundError", Bucket="bucket")
    named = {"Bucket": "bucket", "Key": "k"}
    stage.put("k", b"before")
    refused(stage.alice.put_object, 400, "InvalidRequest", **named, Body=b"", ObjectLockLegalHoldStatus="ON")
    refused(stage.alice.create_multipart_upload, 400, "InvalidRequest", **named, ObjectLockLegalHoldStatus="ON")
    copy = {**named, "CopySource": "bucket/k", "MetadataDirective": "REPLACE"}
    refused(stage.alice.copy_object, 400, "InvalidRequest", **copy, ObjectLockLegalHoldStatus="ON")
    for call, more in (
        (stage.alice.get_object_retention, {}),
        (stage.alice.get_object_legal_hold, {}),
        (stage.alice.put_object_retention, {"Retention": {}}),
        (stage.alice.put_object_legal_hold, {"LegalHold": {"Status": "ON"}}),
    ):
        refused(call, 400, "InvalidRequest", **named, **more)
    configuration = {"ObjectLockEnabled": "Enabled"}
    refused(
        stage.alice.put_object_lock_configuration, 409, "InvalidBucketState", Bucket="bucket",
        ObjectLockConfiguration=configuration,
    )  # fmt: skip
    stage.alice.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    stage.alice.put_object_lock_configuration(Bucket="bucket", ObjectLockConfiguration=configuration)
    stage.alice.put_object_legal_hold(**named, VersionId="null", LegalHold={"Status": "ON"})
    refused(stage.alice.delete_object, 403, "AccessDenied", **named, VersionId="null")
    assert stage.body_of("k") == b"before"


@pytest.mark.parametrize(("mode", "bypass"), [("COMPLIANCE", False), ("COMPLIANCE", True), ("GOVERNANCE", False)])
def test_what_is_retained_is_not_deleted_until_its_time(locked: Stage, mode: str, bypass: bool) -> None:
    version_id = retained(locked, mode)
    named = {**K, "VersionId": version_id}
    for method in (locked.alice.get_object, locked.alice.head_object):
        shown = method(**named)
        assert shown["ObjectLockMode"] == mode
        assert shown["ObjectLockRetainUntilDate"] == after(locked, DAY)
        assert "ObjectLockLegalHoldStatus" not in shown
    retention = locked.alice.get_object_retention(**named)["Retention"]
    assert retention == {"Mode": mode, "RetainUntilDate": after(locked, DAY)}
    asked = {"BypassGovernanceRetention": True} if bypass else {}
    refused(locked.alice.delete_object, 403, "AccessDenied", **named, **asked)
    (error,) = locked.alice.delete_objects(
        Bucket="locked", Delete={"Objects": [{"Key": "k", "VersionId": version_id}]}, **asked
    )["Errors"]
    assert error["Code"] == "AccessDenied"
    assert locked.alice.delete_object(**K)["DeleteMarker"]
    assert locked.alice.get_object(**named)["Body"].read() == b"data"
    locked.rig.clock.now += 2 * DAY
    assert status_of(locked.alice.delete_object(**named)) == 204
    refused(locked.alice.get_object, 404, "NoSuchVersion", **named)


def test_governance_is_bypassed_only_by_saying_so(locked: Stage) -> None:
    first, second = retained(locked, "GOVERNANCE"), retained(locked, "GOVERNANCE")
    assert status_of(locked.alice.delete_object(**K, VersionId=first, BypassGovernanceRetention=True)) == 204
    named = {**K, "VersionId": second}
    for change in ({"Mode": "GOVERNANCE", "RetainUntilDate": after(locked, DAY / 2)}, {}):
        refused(locked.alice.put_object_retention, 403, "AccessDenied", **named, Retention=change)
    longer = {"Mode": "GOVERNANCE", "RetainUntilDate": after(locked, 3 * DAY)}
    locked.alice.put_object_retention(**named, Retention=longer)
    assert locked.alice.get_object_retention(**named)["Retention"] == longer
    locked.alice.put_object_retention(**named, Retention={}, BypassGovernanceRetention=True)
    refused(locked.alice.get_object_retention, 404, "NoSuchObjectLockConfiguration", **named)
    locked.alice.delete_object(**named)


def test_nobody_bypasses_by_deleting_many_what_he_may_not_by_deleting_one(locked: Stage) -> None:
    version_id = retained(locked, "GOVERNANCE")
    bypass = {"Principal": "*", "Action": "s3:BypassGovernanceRetention"}
    statements = [{"Effect": "Deny", "Resource": f"{ARN}/*"} | bypass]
    locked.alice.put_bucket_policy(Bucket="locked", Policy=json.dumps({"Statement": statements}))
    delete = {"Objects": [{"Key": "k", "VersionId": version_id}]}
    refused(locked.alice.delete_object, 403, "AccessDenied", **K, VersionId=version_id, BypassGovernanceRetention=True)
    result = locked.alice.delete_objects(Bucket="locked", Delete=delete, BypassGovernanceRetention=True)
    assert [error["Code"] for error in result["Errors"]] == ["AccessDenied"]
    assert "Deleted" not in result
    locked.alice.delete_bucket_policy(Bucket="locked")
    result = locked.alice.delete_objects(Bucket="locked", Delete=delete, BypassGovernanceRetention=True)
    assert [entry["VersionId"] for entry in result["Deleted"]] == [version_id]


@pytest.mark.parametrize("fraction", ["", ".0", ".000000", ".0000000", ".000000000"])
def test_a_limit_of_retentions_holds_for_every_spelling(locked: Stage, fraction: str) -> None:
    limit = {"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": "10"}}
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObjectRetention", "Resource": f"{ARN}/*"}
    policy = {"Statement": statement | {"Condition": limit}}
    locked.alice.put_bucket_policy(Bucket="locked", Policy=json.dumps(policy))
    for days, status in ((11, 403), (9, 200)):
        until = f"{datetime.now(UTC) + days * DAY:%Y-%m-%dT%H:%M:%S}{fraction}Z"
        sent = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": until}
        assert locked.raw("PUT", "/locked/k", sent | {"content-md5": "ndTkYSaMgDT1yFZOFVxnpg=="}, b"x").status == status


def test_compliance_only_grows(locked: Stage) -> None:
    named = {**K, "VersionId": retained(locked, "COMPLIANCE")}
    for change in (
        {"Mode": "COMPLIANCE", "RetainUntilDate": after(locked, DAY / 2)},
        {"Mode": "GOVERNANCE", "RetainUntilDate": after(locked, 9 * DAY)},
        {},
    ):
        refused(
            locked.alice.put_object_retention, 403, "AccessDenied", **named, Retention=change,
            BypassGovernanceRetention=True,
        )  # fmt: skip
    longer = {"Mode": "COMPLIANCE", "RetainUntilDate": after(locked, 3 * DAY)}
    locked.alice.put_object_retention(**named, Retention=longer)
    assert locked.alice.get_object_retention(**named)["Retention"] == longer


def test_a_legal_hold_holds_until_it_is_taken_off(locked: Stage) -> None:
    named = {**K, "VersionId": put(locked, ObjectLockLegalHoldStatus="ON")}
    assert locked.alice.head_object(**named)["ObjectLockLegalHoldStatus"] == "ON"
    assert locked.alice.get_object_legal_hold(**named)["LegalHold"] == {"Status": "ON"}
    refused(locked.alice.delete_object, 403, "AccessDenied", **named, BypassGovernanceRetention=True)
    locked.alice.put_object_legal_hold(**named, LegalHold={"Status": "OFF"})
    assert locked.alice.get_object_legal_hold(**named)["LegalHold"] == {"Status": "OFF"}
    assert locked.alice.head_object(**named)["ObjectLockLegalHoldStatus"] == "OFF"
    locked.alice.delete_object(**named)
    never = {**K, "VersionId": put(locked)}
    refused(locked.alice.get_object_legal_hold, 404, "NoSuchObjectLockConfiguration", **never)
    assert "ObjectLockLegalHoldStatus" not in locked.alice.head_object(**never)
    spared = {**K, "VersionId": put(locked, ObjectLockLegalHoldStatus="OFF")}
    assert locked.alice.get_object_legal_hold(**spared)["LegalHold"] == {"Status": "OFF"}


@pytest.mark.parametrize(("rule", "days"), [({"Days": 3}, 3), ({"Years": 2}, 730)])
def test_the_default_holds_what_says_nothing_itself(locked: Stage, rule: dict[str, int], days: int) -> None:
    default(locked, Mode="GOVERNANCE", **rule)
    found = locked.alice.get_object_lock_configuration(Bucket="locked")["ObjectLockConfiguration"]
    assert found["Rule"] == {"DefaultRetention": {"Mode": "GOVERNANCE", **rule}}
    locked.alice.put_object(Bucket="locked", Key="source", Body=b"x")
    upload_id = locked.alice.create_multipart_upload(**K)["UploadId"]
    etag = locked.alice.upload_part(**K, UploadId=upload_id, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    ids = [
        put(locked),
        locked.alice.copy_object(**K, CopySource="locked/source")["VersionId"],
        locked.alice.complete_multipart_upload(**K, UploadId=upload_id, MultipartUpload=parts)["VersionId"],
    ]
    for version_id in ids:
        retention = locked.alice.get_object_retention(**K, VersionId=version_id)["Retention"]
        assert retention["Mode"] == "GOVERNANCE"
        assert abs(retention["RetainUntilDate"] - after(locked, timedelta(days=days))) < timedelta(minutes=5)
    own = retained(locked, "COMPLIANCE", 9 * DAY)
    assert locked.alice.get_object_retention(**K, VersionId=own)["Retention"]["Mode"] == "COMPLIANCE"
    default(locked)
    refused(locked.alice.get_object_retention, 404, "NoSuchObjectLockConfiguration", **K, VersionId=put(locked))


def test_locks_of_uploads_and_copies(locked: Stage) -> None:
    wanted = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": after(locked, DAY)}
    upload_id = locked.alice.create_multipart_upload(**K, **wanted, ObjectLockLegalHoldStatus="ON")["UploadId"]
    etag = locked.alice.upload_part(**K, UploadId=upload_id, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    locked.alice.complete_multipart_upload(**K, UploadId=upload_id, MultipartUpload=parts)
    head = locked.alice.head_object(**K)
    assert (head["ObjectLockMode"], head["ObjectLockLegalHoldStatus"]) == ("COMPLIANCE", "ON")
    copy = locked.alice.copy_object(Bucket="locked", Key="copy", CopySource="locked/k")["VersionId"]
    assert "ObjectLockMode" not in locked.alice.head_object(Bucket="locked", Key="copy"), "a lock is never copied"
    locked.alice.delete_object(Bucket="locked", Key="copy", VersionId=copy)
    held = locked.alice.copy_object(Bucket="locked", Key="copy", CopySource="locked/k", **wanted)["VersionId"]
    refused(locked.alice.delete_object, 403, "AccessDenied", Bucket="locked", Key="copy", VersionId=held)


def test_what_a_lock_cannot_be(locked: Stage) -> None:
    past = after(locked, -DAY)
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": past}
    refused(locked.alice.put_object, 400, "InvalidArgument", **K, Body=b"", **lock)
    refused(locked.alice.put_object, 400, "InvalidArgument", **K, Body=b"", ObjectLockMode="GOVERNANCE")
    version_id = put(locked)
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": past}
    refused(locked.alice.put_object_retention, 400, "InvalidArgument", **K, VersionId=version_id, Retention=retention)
    marker = locked.alice.delete_object(**K)["VersionId"]
    for method in (locked.alice.get_object_retention, locked.alice.get_object_legal_hold):
        refused(method, 404, "NoSuchKey", **K)
        refused(method, 405, "MethodNotAllowed", **K, VersionId=marker)
    refused(locked.alice.put_object_legal_hold, 404, "NoSuchKey", **K, LegalHold={"Status": "ON"})
