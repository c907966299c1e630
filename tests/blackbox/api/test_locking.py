"""Object lock: a bucket's configuration, retention and legal hold of versions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.blackbox.clients import refusal
from tests.blackbox.witness import shows

YEAR = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Years": 1}}}


def in_days(days: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


@pytest.fixture
def locked(s3: Any, bucket: str) -> str:
    name = f"{bucket}-with-locks"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


@shows(
    "PutObjectLockConfiguration 409 InvalidBucketState",
    "PutObjectLockConfiguration 200",
    "PutObjectLockConfiguration 400 MalformedXML",
    "PutObjectLockConfiguration 403 AccessDenied",
    "GetObjectLockConfiguration 404 ObjectLockConfigurationNotFoundError",
    "GetObjectLockConfiguration 200",
    "GetObjectLockConfiguration 403 AccessDenied",
)
def test_a_buckets_configuration(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    put = {"Bucket": bucket, "ObjectLockConfiguration": YEAR}
    not_found = (404, "ObjectLockConfigurationNotFoundError")
    assert refusal(s3.get_object_lock_configuration, Bucket=bucket) == not_found
    assert refusal(s3.put_object_lock_configuration, **put) == (409, "InvalidBucketState")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for other in (guest, nobody):
        assert refusal(other.put_object_lock_configuration, **put) == (403, "AccessDenied")
        assert refusal(other.get_object_lock_configuration, Bucket=bucket) == (403, "AccessDenied")
    both = {"Mode": "GOVERNANCE", "Years": 1, "Days": 1}
    unclear = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": both}}
    refused = refusal(s3.put_object_lock_configuration, Bucket=bucket, ObjectLockConfiguration=unclear)
    assert refused == (400, "MalformedXML")
    assert refusal(s3.get_object_lock_configuration, Bucket=bucket) == not_found
    s3.put_object_lock_configuration(**put)
    assert s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"] == YEAR
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["ObjectLockMode"] == "GOVERNANCE"
    assert timedelta(days=364) < head["ObjectLockRetainUntilDate"] - datetime.now(UTC) <= timedelta(days=367)


@shows(
    "GetObjectRetention 404 NoSuchObjectLockConfiguration",
    "GetObjectRetention 200",
    "GetObjectRetention 403 AccessDenied",
    "GetObjectRetention 400 InvalidRequest",
    "PutObjectRetention 200",
    "PutObjectRetention 403 AccessDenied",
    "PutObjectRetention 400 InvalidRequest",
    "PutObjectRetention 404 NoSuchKey",
    "DeleteObject 403 AccessDenied",
    "DeleteObject 204",
)
def test_governance_gives_way_to_a_bypass_alone(s3: Any, guest: Any, nobody: Any, bucket: str, locked: str) -> None:
    where = {"Bucket": locked, "Key": "k"}
    version = s3.put_object(**where, Body=b"x")["VersionId"]
    assert refusal(s3.get_object_retention, **where) == (404, "NoSuchObjectLockConfiguration")
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": in_days(2)}
    shorter = {"Mode": "GOVERNANCE", "RetainUntilDate": in_days(1)}
    s3.put_object_retention(**where, Retention=retention)
    assert refusal(s3.put_object_retention, **where, Retention=shorter) == (403, "AccessDenied")
    for other in (guest, nobody):
        bypassed = refusal(other.put_object_retention, **where, Retention=shorter, BypassGovernanceRetention=True)
        assert bypassed == (403, "AccessDenied")
        assert refusal(other.get_object_retention, **where) == (403, "AccessDenied")
    assert refusal(s3.delete_object, **where, VersionId=version) == (403, "AccessDenied")
    assert s3.get_object_retention(**where)["Retention"] == retention
    s3.put_object_retention(**where, Retention=shorter, BypassGovernanceRetention=True)
    assert s3.get_object_retention(**where, VersionId=version)["Retention"] == shorter
    s3.delete_object(**where, VersionId=version, BypassGovernanceRetention=True)
    assert "Versions" not in s3.list_object_versions(Bucket=locked)
    assert refusal(s3.put_object_retention, **where, Retention=shorter) == (404, "NoSuchKey")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    plain = {"Bucket": bucket, "Key": "k"}
    assert refusal(s3.get_object_retention, **plain) == (400, "InvalidRequest")
    assert refusal(s3.put_object_retention, **plain, Retention=shorter) == (400, "InvalidRequest")


@shows(
    "GetObjectLegalHold 404 NoSuchObjectLockConfiguration",
    "GetObjectLegalHold 200",
    "GetObjectLegalHold 403 AccessDenied",
    "GetObjectLegalHold 400 InvalidRequest",
    "PutObjectLegalHold 200",
    "PutObjectLegalHold 403 AccessDenied",
    "PutObjectLegalHold 400 InvalidRequest",
    "PutObjectLegalHold 404 NoSuchKey",
    "DeleteObject 403 AccessDenied",
    "DeleteObject 204",
)
def test_a_hold_has_no_bypass(s3: Any, guest: Any, nobody: Any, bucket: str, locked: str) -> None:
    where = {"Bucket": locked, "Key": "k"}
    version = s3.put_object(**where, Body=b"x")["VersionId"]
    assert refusal(s3.get_object_legal_hold, **where) == (404, "NoSuchObjectLockConfiguration")
    on, off = {"Status": "ON"}, {"Status": "OFF"}
    s3.put_object_legal_hold(**where, LegalHold=on)
    for other in (guest, nobody):
        assert refusal(other.put_object_legal_hold, **where, LegalHold=off) == (403, "AccessDenied")
        assert refusal(other.get_object_legal_hold, **where) == (403, "AccessDenied")
    doomed = {**where, "VersionId": version, "BypassGovernanceRetention": True}
    assert refusal(s3.delete_object, **doomed) == (403, "AccessDenied")
    assert s3.get_object_legal_hold(**where)["LegalHold"] == on
    s3.put_object_legal_hold(**where, LegalHold=off)
    assert s3.get_object_legal_hold(**where, VersionId=version)["LegalHold"] == off
    s3.delete_object(**where, VersionId=version)
    assert refusal(s3.put_object_legal_hold, **where, LegalHold=on) == (404, "NoSuchKey")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    plain = {"Bucket": bucket, "Key": "k"}
    assert refusal(s3.get_object_legal_hold, **plain) == (400, "InvalidRequest")
    assert refusal(s3.put_object_legal_hold, **plain, LegalHold=on) == (400, "InvalidRequest")
