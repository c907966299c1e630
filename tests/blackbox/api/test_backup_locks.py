"""Compliance locks as backup programs such as Veeam set them: one for each object, prolonged later, never shortened."""

import hashlib
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import MIB, payload, sha256

_SOON: Final = timedelta(days=1)
_BUCKET: Final = "immutable-backups"


def _until(days: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def _md5(content: bytes) -> str:
    return b64encode(hashlib.md5(content).digest()).decode()


@pytest.fixture(scope="module")
def repository(s3: Any) -> str:
    """A bucket with object lock and no default retention: the program refuses one that has a default."""
    s3.create_bucket(Bucket=_BUCKET, ObjectLockEnabledForBucket=True)
    return _BUCKET


def _refused(code: str, call: Any, **arguments: Any) -> None:
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    assert refused.value.response["Error"]["Code"] == code


def test_bucket_tells_that_it_locks_and_has_no_default(s3: Any, repository: str) -> None:
    told = s3.get_object_lock_configuration(Bucket=repository)["ObjectLockConfiguration"]
    assert told == {"ObjectLockEnabled": "Enabled"}
    assert s3.get_bucket_versioning(Bucket=repository)["Status"] == "Enabled"
    _refused(
        "InvalidBucketState",
        s3.put_bucket_versioning,
        Bucket=repository,
        VersioningConfiguration={"Status": "Suspended"},
    )


def test_bucket_without_locks_says_so(s3: Any, bucket: str) -> None:
    _refused("ObjectLockConfigurationNotFoundError", s3.get_object_lock_configuration, Bucket=bucket)


def test_locked_block_is_prolonged_but_neither_shortened_nor_deleted(s3: Any, repository: str) -> None:
    block, until = {"Bucket": repository, "Key": "Veeam/Backup/blocks/0001.blk"}, _until(7)
    content = payload(300_000)
    version = s3.put_object(
        **block,
        Body=content,
        ContentMD5=_md5(content),
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until,
    )["VersionId"]
    head = s3.head_object(**block)
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == ("COMPLIANCE", until)

    def retain(mode: str, day: datetime, **more: Any) -> None:
        retention = {"Mode": mode, "RetainUntilDate": day}
        s3.put_object_retention(**block, VersionId=version, Retention=retention, **more)

    later = until + _SOON
    retain("COMPLIANCE", later)
    _refused("AccessDenied", retain, mode="COMPLIANCE", day=until)
    _refused("AccessDenied", retain, mode="GOVERNANCE", day=later + _SOON)
    _refused("AccessDenied", retain, mode="COMPLIANCE", day=until, BypassGovernanceRetention=True)
    _refused("AccessDenied", s3.delete_object, **block, VersionId=version)
    _refused("AccessDenied", s3.delete_object, **block, VersionId=version, BypassGovernanceRetention=True)
    told = s3.get_object_retention(**block, VersionId=version)["Retention"]
    assert told == {"Mode": "COMPLIANCE", "RetainUntilDate": later}

    marker = s3.delete_object(**block)
    assert marker["DeleteMarker"]
    kept = s3.get_object(**block, VersionId=version)["Body"].read()
    assert sha256(kept) == sha256(content)
    listed = s3.list_object_versions(Bucket=repository, Prefix=block["Key"])
    assert [(entry["VersionId"], entry["IsLatest"]) for entry in listed["Versions"]] == [(version, False)]
    assert [entry["VersionId"] for entry in listed["DeleteMarkers"]] == [marker["VersionId"]]
    s3.delete_object(**block, VersionId=marker["VersionId"])
    assert s3.head_object(**block)["VersionId"] == version


def test_upload_in_parts_is_locked_from_its_first_moment(s3: Any, repository: str) -> None:
    name, until = {"Bucket": repository, "Key": "Veeam/Backup/large.vbk"}, _until(3)
    upload = s3.create_multipart_upload(
        **name, ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until, ObjectLockLegalHoldStatus="OFF"
    )["UploadId"]
    contents = [payload(5 * MIB, seed=1), payload(1000, seed=2)]
    parts = []
    for number, content in enumerate(contents, start=1):
        sent = s3.upload_part(**name, UploadId=upload, PartNumber=number, Body=content, ContentMD5=_md5(content))
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    version = s3.complete_multipart_upload(**name, UploadId=upload, MultipartUpload={"Parts": parts})["VersionId"]
    head = s3.head_object(**name, VersionId=version)
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == ("COMPLIANCE", until)
    _refused("AccessDenied", s3.delete_object, **name, VersionId=version)


def test_deleting_many_names_what_stays(s3: Any, repository: str) -> None:
    free = s3.put_object(Bucket=repository, Key="many/free", Body=b"free")["VersionId"]
    held = s3.put_object(
        Bucket=repository,
        Key="many/held",
        Body=b"held",
        ContentMD5=_md5(b"held"),
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=_until(2),
    )["VersionId"]
    wanted = [{"Key": "many/free", "VersionId": free}, {"Key": "many/held", "VersionId": held}]
    answer = s3.delete_objects(Bucket=repository, Delete={"Objects": wanted})
    assert [(entry["Key"], entry["VersionId"]) for entry in answer["Deleted"]] == [("many/free", free)]
    errors = [(entry["Key"], entry["VersionId"], entry["Code"]) for entry in answer["Errors"]]
    assert errors == [("many/held", held, "AccessDenied")]


def test_lock_that_makes_no_sense_is_refused(s3: Any, repository: str, bucket: str) -> None:
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": _until(2)}
    block = {"Key": "block", "Body": b"x", "ContentMD5": _md5(b"x")}
    _refused("InvalidRequest", s3.put_object, Bucket=bucket, **block, **lock)
    past = lock | {"ObjectLockRetainUntilDate": _until(-1)}
    _refused("InvalidArgument", s3.put_object, Bucket=repository, **block, **past)
    _refused("InvalidArgument", s3.put_object, Bucket=repository, **block, ObjectLockMode="COMPLIANCE")
