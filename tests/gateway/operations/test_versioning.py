"""Versioned buckets: version ids everywhere, delete markers, suspension, listings of versions, attributes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from storage.catalogue.records import Versioning
from tests.gateway.operations.stage import MIB, Stage, headers_of, refused, status_of

K = {"Bucket": "bucket", "Key": "k"}


@pytest.fixture
def versioned(stage: Stage) -> Iterator[Stage]:
    set_status(stage, "Enabled")
    yield stage
    stage.run(stage.rig.catalogue.verify())


def set_status(stage: Stage, status: str) -> None:
    stage.alice.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": status})


def history(stage: Stage, **arguments: Any) -> list[tuple[str, str, bool, bool]]:
    """(key, version id, is latest, is delete marker), as listed."""
    page = stage.alice.list_object_versions(Bucket="bucket", **arguments)
    found = [(v["Key"], v["VersionId"], v["IsLatest"], False) for v in page.get("Versions", [])]
    found += [(m["Key"], m["VersionId"], m["IsLatest"], True) for m in page.get("DeleteMarkers", [])]
    return sorted(found)


def test_the_status_is_kept(stage: Stage) -> None:
    assert "Status" not in stage.alice.get_bucket_versioning(Bucket="bucket")
    for status in ("Enabled", "Suspended", "Enabled"):
        set_status(stage, status)
        assert stage.alice.get_bucket_versioning(Bucket="bucket")["Status"] == status
    refused(
        stage.alice.put_bucket_versioning, 501, "NotImplemented", Bucket="bucket",
        VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"},
    )  # fmt: skip


def test_every_write_is_a_version_of_its_own(versioned: Stage) -> None:
    ids = [versioned.put("k", data)["VersionId"] for data in (b"one", b"two")]
    copied = versioned.alice.copy_object(Bucket="bucket", Key="k", CopySource={**K, "VersionId": ids[0]})
    assert copied["CopySourceVersionId"] == ids[0]
    upload_id = versioned.alice.create_multipart_upload(**K)["UploadId"]
    etag = versioned.alice.upload_part(**K, UploadId=upload_id, PartNumber=1, Body=b"part")["ETag"]
    done = {"UploadId": upload_id, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": etag}]}}
    completed = versioned.alice.complete_multipart_upload(**K, **done)
    assert versioned.alice.complete_multipart_upload(**K, **done)["VersionId"] == completed["VersionId"]
    ids += [copied["VersionId"], completed["VersionId"]]
    assert len(set(ids)) == 4
    for version_id, data in zip(ids, (b"one", b"two", b"one", b"part"), strict=True):
        got = versioned.alice.get_object(**K, VersionId=version_id)
        assert (got["Body"].read(), got["VersionId"]) == (data, version_id)
        assert versioned.alice.head_object(**K, VersionId=version_id)["ContentLength"] == len(data)
    assert versioned.alice.head_object(**K)["VersionId"] == ids[-1]
    assert [entry[1] for entry in history(versioned) if entry[2]] == [ids[-1]]
    assert len(history(versioned)) == 4
    assert versioned.keys() == ["k"]


def test_a_delete_lays_a_marker_that_can_be_taken_off(versioned: Stage) -> None:
    version_id = versioned.put("k", b"kept")["VersionId"]
    result = versioned.alice.delete_object(**K)
    marker = result["VersionId"]
    assert (status_of(result), result["DeleteMarker"], marker != version_id) == (204, True, True)
    error = refused(versioned.alice.get_object, 404, "NoSuchKey", **K)
    assert (error["headers"]["x-amz-delete-marker"], error["headers"]["x-amz-version-id"]) == ("true", marker)
    head = refused(versioned.alice.head_object, 404, "404", **K)
    assert head["headers"]["x-amz-delete-marker"] == "true"
    named = refused(versioned.alice.get_object, 405, "MethodNotAllowed", **K, VersionId=marker)
    assert (named["headers"]["allow"], named["headers"]["x-amz-delete-marker"]) == ("DELETE", "true")
    refused(versioned.alice.get_object_tagging, 405, "MethodNotAllowed", **K, VersionId=marker)
    refused(versioned.alice.copy_object, 404, "NoSuchKey", Bucket="bucket", Key="c", CopySource=K)
    source = {**K, "VersionId": marker}
    refused(versioned.alice.copy_object, 400, "InvalidRequest", Bucket="bucket", Key="c", CopySource=source)
    assert versioned.keys() == []
    assert versioned.body_of("k", VersionId=version_id) == b"kept"
    assert history(versioned) == sorted([("k", version_id, False, False), ("k", marker, True, True)])
    removed = versioned.alice.delete_object(**K, VersionId=marker)
    assert (removed["DeleteMarker"], removed["VersionId"]) == (True, marker)
    assert versioned.body_of("k") == b"kept"
    gone = versioned.alice.delete_object(**K, VersionId=version_id)
    assert ("DeleteMarker" in gone, gone["VersionId"]) == (False, version_id)
    refused(versioned.alice.get_object, 404, "NoSuchVersion", **K, VersionId=version_id)
    assert versioned.alice.delete_object(**K, VersionId=version_id)["VersionId"] == version_id
    assert versioned.alice.delete_object(Bucket="bucket", Key="absent")["DeleteMarker"]
    assert "NoSuchKey" in refused(versioned.alice.get_object, 404, "NoSuchKey", Bucket="bucket", Key="never")["Code"]


def test_deleting_many_versions_and_markers(versioned: Stage) -> None:
    version_id = versioned.put("k")["VersionId"]
    objects = [{"Key": "k"}, {"Key": "k", "VersionId": version_id}, {"Key": "k", "VersionId": "nonsense"}]
    result = versioned.alice.delete_objects(Bucket="bucket", Delete={"Objects": objects})
    laid, removed = result["Deleted"]
    assert (laid["DeleteMarker"], "VersionId" in laid) == (True, False)
    assert removed == {"Key": "k", "VersionId": version_id}
    assert [(e["Code"], e["VersionId"]) for e in result["Errors"]] == [("InvalidArgument", "nonsense")]
    marker = laid["DeleteMarkerVersionId"]
    (last,) = versioned.alice.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k", "VersionId": marker}]})[
        "Deleted"
    ]
    assert last == {"Key": "k", "VersionId": marker, "DeleteMarker": True, "DeleteMarkerVersionId": marker}
    assert history(versioned) == []


def test_suspended_versioning_writes_null_versions(versioned: Stage) -> None:
    named = versioned.put("k", b"named")["VersionId"]
    set_status(versioned, "Suspended")
    for data in (b"one", b"two"):
        assert versioned.put("k", data)["VersionId"] == "null"
    assert versioned.body_of("k", VersionId="null") == b"two"
    assert history(versioned) == sorted([("k", named, False, False), ("k", "null", True, False)])
    result = versioned.alice.delete_object(**K)
    assert (result["DeleteMarker"], result["VersionId"]) == (True, "null")
    assert history(versioned) == sorted([("k", named, False, False), ("k", "null", True, True)])
    refused(versioned.alice.get_object, 404, "NoSuchKey", **K)
    versioned.alice.delete_object(**K, VersionId="null")
    assert versioned.body_of("k") == b"named"


def test_what_was_there_before_versioning_is_the_null_version(stage: Stage) -> None:
    assert "VersionId" not in stage.put("k", b"old")
    assert "VersionId" not in stage.alice.get_object(**K)
    assert stage.alice.head_object(**K, VersionId="null")["VersionId"] == "null"
    set_status(stage, "Enabled")
    assert stage.alice.head_object(**K)["VersionId"] == "null"
    stage.put("k", b"new")
    assert (stage.body_of("k"), stage.body_of("k", VersionId="null")) == (b"new", b"old")


def test_a_marker_counts_as_absent_for_conditions(versioned: Stage) -> None:
    versioned.put("k", b"one")
    refused(versioned.alice.put_object, 412, "PreconditionFailed", **K, Body=b"", IfNoneMatch="*")
    versioned.alice.delete_object(**K)
    refused(versioned.alice.delete_object, 404, "NoSuchKey", **K, IfMatch="*")
    refused(versioned.alice.put_object, 404, "NoSuchKey", **K, Body=b"", IfMatch='"x"')
    versioned.put("k", b"two", IfNoneMatch="*")
    assert versioned.body_of("k") == b"two"


def test_conditional_deletes(stage: Stage) -> None:
    etag = stage.put("k")["ETag"]
    refused(stage.alice.delete_object, 412, "PreconditionFailed", **K, IfMatch='"other"')
    objects = [{"Key": "k", "ETag": '"other"'}, {"Key": "absent", "ETag": "*"}]
    errors = stage.alice.delete_objects(Bucket="bucket", Delete={"Objects": objects})["Errors"]
    assert [error["Code"] for error in errors] == ["PreconditionFailed", "NoSuchKey"]
    stage.alice.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k", "ETag": etag}]})
    assert stage.keys() == []
    stage.put("k")
    stage.alice.delete_object(**K, IfMatch=etag)
    assert stage.keys() == []


def test_an_empty_version_id_is_no_version_and_not_the_current_one(versioned: Stage) -> None:
    versioned.put("k", b"kept")
    objects = [{"Key": "k", "VersionId": ""}, {"Key": "absent", "VersionId": ""}]
    result = versioned.alice.delete_objects(Bucket="bucket", Delete={"Objects": objects})
    assert "Deleted" not in result
    assert [(error["Key"], error["Code"], error["VersionId"]) for error in result["Errors"]] == [
        ("k", "NoSuchVersion", ""),
        ("absent", "NoSuchVersion", ""),
    ]
    assert versioned.body_of("k") == b"kept"


def test_a_bucket_with_versions_stays(versioned: Stage) -> None:
    versioned.put("k")
    versioned.alice.delete_object(**K)
    for _ in range(2):
        refused(versioned.alice.delete_bucket, 409, "BucketNotEmpty", Bucket="bucket")
        versioned.alice.delete_object(**K, VersionId=history(versioned)[0][1])
    versioned.alice.delete_bucket(Bucket="bucket")
    versioned.alice.create_bucket(Bucket="bucket")


def test_an_older_version_is_made_current_by_a_copy_onto_itself(versioned: Stage) -> None:
    old = versioned.put("k", b"old")["VersionId"]
    versioned.put("k", b"new")
    versioned.alice.copy_object(**K, CopySource={**K, "VersionId": old})
    assert versioned.body_of("k") == b"old"
    refused(versioned.alice.copy_object, 400, "InvalidRequest", **K, CopySource=K)
    current = versioned.alice.head_object(**K)["VersionId"]
    again = versioned.alice.copy_object(**K, CopySource={**K, "VersionId": current})
    assert again["CopySourceVersionId"] == current != again["VersionId"]
    assert versioned.body_of("k") == b"old"


def test_bad_version_ids_are_no_versions(versioned: Stage) -> None:
    versioned.put("k")
    for call in (versioned.alice.get_object, versioned.alice.delete_object, versioned.alice.get_object_tagging):
        refused(call, 400, "InvalidArgument", **K, VersionId="nonsense")
    source = {**K, "VersionId": "nonsense"}
    refused(versioned.alice.copy_object, 400, "InvalidArgument", Bucket="bucket", Key="c", CopySource=source)
    refused(versioned.alice.get_object, 404, "NoSuchVersion", **K, VersionId="0" * 32)
    refused(versioned.alice.get_object, 404, "NoSuchVersion", **K, VersionId="null")


def test_pages_of_versions_meet(versioned: Stage) -> None:
    for key in ("a", "a", "d/1", "d/2", "é +", "z", "a"):
        versioned.put(key)
    versioned.alice.delete_object(Bucket="bucket", Key="z")
    whole = history(versioned)
    assert len(whole) == 8
    given = []
    more: dict[str, Any] = {}
    while True:
        page = versioned.alice.list_object_versions(Bucket="bucket", MaxKeys=3, **more)
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        assert len(entries) <= 3
        given += [(entry["Key"], entry["VersionId"]) for entry in entries]
        assert all(entry["Owner"]["DisplayName"] == "main" for entry in entries)
        if not page["IsTruncated"]:
            break
        more = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    assert sorted(given) == [entry[:2] for entry in whole]
    rolled = versioned.alice.list_object_versions(Bucket="bucket", Delimiter="/", Prefix="d")
    assert ([p["Prefix"] for p in rolled["CommonPrefixes"]], "Versions" in rolled) == (["d/"], False)
    assert [entry[0] for entry in history(versioned, KeyMarker="d/1")] == ["d/2", "z", "z", "é +"]
    empty = versioned.alice.list_object_versions(Bucket="bucket", MaxKeys=0)
    assert (empty["IsTruncated"], "Versions" in empty) == (False, False)


def test_a_status_that_changes_before_the_commit_refuses_the_write_for_now(stage: Stage) -> None:
    """The id stands in what was sealed: the commit that would contradict the bucket is refused, to be tried again."""
    stage.put("k", b"before")
    bucket = stage.run(stage.rig.catalogue.get_bucket("bucket"))
    stale = replace(bucket, versioning=Versioning.ENABLED)
    real = stage.rig.catalogue.get_bucket

    async def told_late(_name: str) -> Any:
        return stale

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.rig.catalogue, "get_bucket", told_late)
        error = refused(stage.alice.put_object, 503, "ServiceUnavailable", **K, Body=b"x")
    assert error["headers"]["retry-after"]
    assert real is not told_late
    assert stage.body_of("k") == b"before"


def test_attributes(versioned: Stage) -> None:
    put = versioned.put("k", b"data", ChecksumAlgorithm="SHA256")
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    found = versioned.alice.get_object_attributes(**K, ObjectAttributes=wanted)
    assert found["ETag"] == put["ETag"].strip('"')
    assert found["Checksum"] == {"ChecksumSHA256": put["ChecksumSHA256"], "ChecksumType": "FULL_OBJECT"}
    assert (found["StorageClass"], found["ObjectSize"], "ObjectParts" in found) == ("STANDARD", 4, False)
    assert found["VersionId"] == put["VersionId"]
    assert headers_of(found)["last-modified"]
    only = versioned.alice.get_object_attributes(**K, VersionId=put["VersionId"], ObjectAttributes=["ObjectSize"])
    assert (only["ObjectSize"], "ETag" in only, "Checksum" in only) == (4, False, False)
    marker = versioned.alice.delete_object(**K)["VersionId"]
    refused(versioned.alice.get_object_attributes, 404, "NoSuchKey", **K, ObjectAttributes=["ETag"])
    refused(
        versioned.alice.get_object_attributes, 405, "MethodNotAllowed", **K, VersionId=marker, ObjectAttributes=["ETag"]
    )


def test_attributes_of_parts(stage: Stage) -> None:
    upload_id = stage.alice.create_multipart_upload(**K)["UploadId"]
    parts = []
    for number, size in ((2, 5 * MIB), (5, 5 * MIB), (9, 10)):
        sent = {**K, "UploadId": upload_id, "PartNumber": number}
        parts.append({"PartNumber": number, "ETag": stage.alice.upload_part(**sent, Body=bytes(size))["ETag"]})
    stage.alice.complete_multipart_upload(**K, UploadId=upload_id, MultipartUpload={"Parts": parts})
    first = stage.alice.get_object_attributes(**K, ObjectAttributes=["ObjectParts"], MaxParts=2)["ObjectParts"]
    assert (first["TotalPartsCount"], first["IsTruncated"], first["NextPartNumberMarker"]) == (3, True, 2)
    assert [(part["PartNumber"], part["Size"]) for part in first["Parts"]] == [(1, 5 * MIB), (2, 5 * MIB)]
    rest = stage.alice.get_object_attributes(**K, ObjectAttributes=["ObjectParts"], PartNumberMarker=2)["ObjectParts"]
    assert ([(part["PartNumber"], part["Size"]) for part in rest["Parts"]], rest["IsTruncated"]) == ([(3, 10)], False)
