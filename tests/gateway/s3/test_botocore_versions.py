"""boto3 goes round: versions, locks, tags, attributes."""

from datetime import UTC, datetime

import pytest

from gateway.s3 import types, upload_types, version_types
from gateway.s3.version_types import DefaultRetention, VersionInput
from tests.gateway.s3.loop import COMPOSITE, MODIFIED, ODD, OWNER, SECOND, Loop

ID = "0123456789abcdef" * 2
UNTIL = datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
HELD = types.LockState("COMPLIANCE", UNTIL, legal_hold=True)
TARGET = VersionInput("bucket", b"k", ID)
NAMED = {"Bucket": "bucket", "Key": "k", "VersionId": ID}


@pytest.fixture(scope="module")
def loop() -> Loop:
    return Loop()


def test_versioning(loop: Loop) -> None:
    result = loop(
        "put_bucket_versioning",
        types.EmptyOutput(),
        Bucket="bucket",
        VersioningConfiguration={"Status": "Suspended", "MFADelete": "Disabled"},
    )
    assert (loop.seen, result) == (version_types.PutBucketVersioningInput("bucket", "Suspended"), {"status": 200})


def test_list_object_versions(loop: Loop) -> None:
    entry = types.ObjectEntry(ODD.encode(), MODIFIED, "abc", 5, OWNER)
    marker = types.ObjectEntry(b"gone", MODIFIED, "", 0, OWNER)
    asked = version_types.ListObjectVersionsInput("bucket", b"a+", b"/ ", b"m%", ID, 5, url_encoding=True)
    output = version_types.ListObjectVersionsOutput(
        asked,
        (
            version_types.VersionEntry(entry, ID, is_latest=True, is_delete_marker=False),
            version_types.VersionEntry(marker, "null", is_latest=False, is_delete_marker=True),
        ),
        (b"p+/",),
        is_truncated=True,
        next_key_marker=b"n+",
        next_version_id_marker="null",
    )
    result = loop(
        "list_object_versions", output, Bucket="bucket", Prefix="a+", Delimiter="/ ", KeyMarker="m%",
        VersionIdMarker=ID, MaxKeys=5,
    )  # fmt: skip
    assert loop.seen == asked
    owner = {"DisplayName": "alice & bob", "ID": "0123"}
    assert result == {
        "Name": "bucket",
        "Prefix": "a+",
        "Delimiter": "/ ",
        "KeyMarker": "m%",
        "VersionIdMarker": ID,
        "NextKeyMarker": "n+",
        "NextVersionIdMarker": "null",
        "MaxKeys": 5,
        "EncodingType": "url",
        "IsTruncated": True,
        "Versions": [
            {
                "Key": ODD, "VersionId": ID, "IsLatest": True, "LastModified": SECOND, "ETag": '"abc"', "Size": 5,
                "Owner": owner, "StorageClass": "STANDARD",
            }
        ],
        "DeleteMarkers": [
            {"Key": "gone", "VersionId": "null", "IsLatest": False, "LastModified": SECOND, "Owner": owner}
        ],
        "CommonPrefixes": [{"Prefix": "p+/"}],
        "status": 200,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("default", "rule"),
    [
        (None, None),
        (DefaultRetention("GOVERNANCE", days=3), {"Mode": "GOVERNANCE", "Days": 3}),
        (DefaultRetention("COMPLIANCE", years=2), {"Mode": "COMPLIANCE", "Years": 2}),
    ],
)
def test_object_lock_configuration(
    loop: Loop, default: DefaultRetention | None, rule: dict[str, object] | None
) -> None:
    configuration = {"ObjectLockEnabled": "Enabled", **({} if rule is None else {"Rule": {"DefaultRetention": rule}})}
    loop("put_object_lock_configuration", types.EmptyOutput(), Bucket="bucket", ObjectLockConfiguration=configuration)
    assert loop.seen == version_types.PutObjectLockConfigurationInput("bucket", default)
    output = version_types.GetObjectLockConfigurationOutput(default)
    result = loop("get_object_lock_configuration", output, Bucket="bucket")
    assert result["ObjectLockConfiguration"] == configuration


def test_retention_and_legal_hold(loop: Loop) -> None:
    loop(
        "put_object_retention", types.EmptyOutput(), **NAMED, BypassGovernanceRetention=True,
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": UNTIL},
    )  # fmt: skip
    assert loop.seen == version_types.PutObjectRetentionInput(
        TARGET, types.LockState("COMPLIANCE", UNTIL), bypass_governance=True
    )
    loop("put_object_retention", types.EmptyOutput(), Bucket="bucket", Key="k", Retention={})
    assert loop.seen.retention == types.LockState()
    result = loop("get_object_retention", version_types.LockOutput(HELD), **NAMED)
    assert result["Retention"] == {"Mode": "COMPLIANCE", "RetainUntilDate": UNTIL}
    for status in ("ON", "OFF"):
        loop("put_object_legal_hold", types.EmptyOutput(), **NAMED, LegalHold={"Status": status})
        assert loop.seen == version_types.PutObjectLegalHoldInput(TARGET, status == "ON")
        held = version_types.LockOutput(types.LockState(legal_hold=status == "ON"))
        assert loop("get_object_legal_hold", held, **NAMED)["LegalHold"] == {"Status": status}
    assert loop.seen == TARGET


def test_headers_of_writes_and_reads(loop: Loop) -> None:
    wanted = {
        "Tagging": "a=1&b%20c=%C3%A9+x",
        "ObjectLockMode": "COMPLIANCE",
        "ObjectLockRetainUntilDate": UNTIL,
        "ObjectLockLegalHoldStatus": "ON",
    }
    lock = types.LockState("COMPLIANCE", UNTIL.replace(microsecond=0), legal_hold=True)
    tags = (("a", "1"), ("b c", "é x"))
    loop(
        "put_object",
        types.PutObjectOutput("e", types.EncryptionReport()),
        Bucket="bucket",
        Key="k",
        Body=b"x",
        **wanted,
    )
    assert (loop.seen.tags, loop.seen.lock) == (tags, lock)
    output = upload_types.CreateMultipartUploadOutput("bucket", b"k", "u", types.EncryptionReport())
    loop("create_multipart_upload", output, Bucket="bucket", Key="k", **wanted)
    assert (loop.seen.tags, loop.seen.lock) == (tags, lock)
    copied = types.CopyObjectOutput("e", MODIFIED, types.EncryptionReport())
    loop("copy_object", copied, Bucket="bucket", Key="k", CopySource="b00/k", TaggingDirective="REPLACE", **wanted)
    assert (loop.seen.new_tags, loop.seen.lock) == (tags, lock)
    loop("copy_object", copied, Bucket="bucket", Key="k", CopySource="b00/k", Tagging="a=1")
    assert loop.seen.new_tags is None
    read = types.GetObjectOutput(
        5, 0, 5, is_partial=False, etag="e", last_modified=MODIFIED, headers=types.ObjectHeaders(), metadata={},
        encryption=types.EncryptionReport(), lock=HELD,
    )  # fmt: skip
    result = loop("head_object", read, Bucket="bucket", Key="k")
    shown = (result["ObjectLockMode"], result["ObjectLockRetainUntilDate"], result["ObjectLockLegalHoldStatus"])
    assert shown == ("COMPLIANCE", UNTIL, "ON")


def test_tags(loop: Loop) -> None:
    tag_set = [{"Key": "a", "Value": "1"}, {"Key": "b c", "Value": ""}]
    tags = (("a", "1"), ("b c", ""))
    result = loop("put_object_tagging", version_types.VersionOutput(ID), **NAMED, Tagging={"TagSet": tag_set})
    assert (loop.seen, result) == (
        version_types.PutObjectTaggingInput(TARGET, tags), {"VersionId": ID, "status": 200}
    )  # fmt: skip
    result = loop("delete_object_tagging", version_types.VersionOutput(ID), **NAMED)
    assert (loop.seen, result) == (TARGET, {"VersionId": ID, "status": 204})
    result = loop("put_bucket_tagging", types.EmptyOutput(), Bucket="bucket", Tagging={"TagSet": tag_set})
    assert (loop.seen, result) == (version_types.PutBucketTaggingInput("bucket", tags), {"status": 204})
    assert loop("get_bucket_tagging", version_types.TaggingOutput(tags), Bucket="bucket")["TagSet"] == tag_set
    assert loop("delete_bucket_tagging", types.EmptyOutput(), Bucket="bucket") == {"status": 204}


def test_get_object_attributes(loop: Loop) -> None:
    parts = version_types.ObjectParts(3, (version_types.PartSize(2, 7),), 1, 1, is_truncated=True)
    output = version_types.GetObjectAttributesOutput(MODIFIED, ID, "abc-3", COMPOSITE, parts, "STANDARD", 21)
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    result = loop("get_object_attributes", output, **NAMED, ObjectAttributes=wanted, MaxParts=1, PartNumberMarker=1)
    assert loop.seen == version_types.GetObjectAttributesInput(TARGET, frozenset(wanted), 1, 1)
    assert result == {
        "LastModified": SECOND,
        "VersionId": ID,
        "ETag": "abc-3",
        "Checksum": {"ChecksumSHA256": "YQ==-2", "ChecksumType": "COMPOSITE"},
        "ObjectParts": {
            "TotalPartsCount": 3, "PartNumberMarker": 1, "NextPartNumberMarker": 2, "MaxParts": 1, "IsTruncated": True,
            "Parts": [{"PartNumber": 2, "Size": 7}],
        },
        "StorageClass": "STANDARD",
        "ObjectSize": 21,
        "status": 200,
    }  # fmt: skip
    bare = version_types.GetObjectAttributesOutput(MODIFIED)
    result = loop("get_object_attributes", bare, Bucket="bucket", Key="k", ObjectAttributes=["ETag"])
    assert result == {"LastModified": SECOND, "status": 200}
