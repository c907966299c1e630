"""The life of a multipart upload, as clients see it."""

import hashlib
from base64 import b64decode
from typing import Any

import pytest

from gateway.operations import multipart as operations
from gateway.s3.checksums import ALGORITHMS
from gateway.s3.checksums import composite as composite_of
from gateway.s3.upload_types import CompletedPart
from storage.catalogue.commands import Conditions
from storage.catalogue.conflicts import NoSuchUpload
from tests.gateway.operations.stage import MIB, Stage, checksum_of, headers_of, refused, status_of

FIRST, SECOND = bytes(range(256)) * (5 * MIB // 256), b"the end" * 1000
WHOLE = FIRST + SECOND
FULL, COMPOSITE = "FULL_OBJECT", "COMPOSITE"


def etag_of(*parts: bytes) -> str:
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    return f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"'


class Upload:
    """One upload of alice's under way."""

    def __init__(self, stage: Stage, key: str = "big", **arguments: Any) -> None:
        self.client = stage.alice
        self.created = stage.alice.create_multipart_upload(Bucket="bucket", Key=key, **arguments)
        self.names = {"Bucket": "bucket", "Key": key, "UploadId": self.created["UploadId"]}
        self.parts: list[dict[str, Any]] = []

    def part(self, number: int, data: bytes, **arguments: Any) -> dict[str, Any]:
        result: dict[str, Any] = self.client.upload_part(**self.names, PartNumber=number, Body=data, **arguments)
        self.parts.append({"PartNumber": number, "ETag": result["ETag"]})
        return result

    def listed(self, **arguments: Any) -> dict[str, Any]:
        result: dict[str, Any] = self.client.list_parts(**self.names, **arguments)
        return result

    def complete(self, *parts: dict[str, Any], **arguments: Any) -> dict[str, Any]:
        document = {"Parts": list(parts) or self.parts}
        result: dict[str, Any] = self.client.complete_multipart_upload(
            **self.names, MultipartUpload=document, **arguments
        )
        return result

    def refused(self, status: int, code: str, *parts: dict[str, Any], **arguments: Any) -> dict[str, Any]:
        document = {"Parts": list(parts) or self.parts}
        return refused(
            self.client.complete_multipart_upload, status, code, **self.names, MultipartUpload=document, **arguments
        )


def test_an_upload_becomes_an_object_with_everything_it_was_created_with(stage: Stage) -> None:
    upload = Upload(stage, ContentType="text/x", Metadata={"m": "1"}, CacheControl="no-cache")
    assert (upload.created["Bucket"], upload.created["Key"]) == ("bucket", "big")
    assert upload.created["ServerSideEncryption"] == "AES256"
    part = upload.part(1, FIRST)
    assert (status_of(part), part["ETag"]) == (200, f'"{hashlib.md5(FIRST).hexdigest()}"')
    assert (part["ServerSideEncryption"], part["ChecksumCRC32"]) == ("AES256", checksum_of("CRC32", FIRST))
    upload.part(2, SECOND)
    assert stage.keys() == []
    result = upload.complete()
    assert (status_of(result), result["ETag"], result["Key"]) == (200, etag_of(FIRST, SECOND), "big")
    assert (result["Location"], result["ServerSideEncryption"]) == ("https://s3.test/bucket/big", "AES256")
    got = stage.alice.get_object(Bucket="bucket", Key="big")
    assert got["Body"].read() == WHOLE
    assert (got["ETag"], got["ContentLength"]) == (result["ETag"], len(WHOLE))
    assert (got["ContentType"], got["Metadata"], got["CacheControl"]) == ("text/x", {"m": "1"}, "no-cache")
    assert "PartsCount" not in got
    (entry,) = stage.alice.list_objects_v2(Bucket="bucket")["Contents"]
    assert (entry["Size"], entry["ETag"]) == (len(WHOLE), result["ETag"])
    assert "Uploads" not in stage.alice.list_multipart_uploads(Bucket="bucket")


def test_parts_are_read_by_number_and_across_their_border(stage: Stage) -> None:
    upload = Upload(stage)
    upload.part(3, FIRST)
    upload.part(7, SECOND)
    etag = upload.complete()["ETag"]
    second = stage.alice.get_object(Bucket="bucket", Key="big", PartNumber=2)
    assert (status_of(second), second["Body"].read()) == (206, SECOND)
    assert (second["PartsCount"], second["ETag"], second["ContentLength"]) == (2, etag, len(SECOND))
    assert second["ContentRange"] == f"bytes {len(FIRST)}-{len(WHOLE) - 1}/{len(WHOLE)}"
    head = stage.alice.head_object(Bucket="bucket", Key="big", PartNumber=1, ChecksumMode="ENABLED")
    assert (status_of(head), head["PartsCount"], head["ContentLength"]) == (206, 2, len(FIRST))
    assert not [name for name in headers_of(head) if name.startswith("x-amz-checksum")]
    error = refused(stage.alice.get_object, 416, "InvalidPartNumber", Bucket="bucket", Key="big", PartNumber=3)
    assert error["PartNumberRequested"] == "3"
    border = len(FIRST)
    assert stage.body_of("big", Range=f"bytes={border - 2}-{border + 1}") == WHOLE[border - 2 : border + 2]


def test_an_empty_last_part_is_a_part(stage: Stage) -> None:
    upload = Upload(stage)
    upload.part(1, FIRST)
    upload.part(2, b"")
    assert upload.complete()["ETag"] == etag_of(FIRST, b"")
    assert stage.body_of("big") == FIRST
    empty = stage.alice.get_object(Bucket="bucket", Key="big", PartNumber=2)
    assert (status_of(empty), empty["ContentLength"], empty["PartsCount"]) == (200, 0, 2)
    assert empty["Body"].read() == b""
    alone = Upload(stage, "empty")
    alone.part(1, b"")
    alone.complete()
    assert stage.body_of("empty") == b""


def test_a_subset_of_the_parts_in_any_quotes(stage: Stage) -> None:
    upload = Upload(stage)
    for number in (1, 2, 3):
        upload.part(number, b"part %d" % number)
    bare = {"PartNumber": 2, "ETag": upload.parts[1]["ETag"].strip('"')}
    assert upload.complete(bare)["ETag"] == etag_of(b"part 2")
    assert stage.body_of("big") == b"part 2"


def test_a_part_uploaded_again_counts_as_it_was_last(stage: Stage) -> None:
    upload = Upload(stage)
    upload.part(1, b"first try")
    upload.part(1, b"second try")
    assert [part["Size"] for part in upload.listed()["Parts"]] == [10]
    upload.refused(400, "InvalidPart", upload.parts[0])
    upload.complete(upload.parts[1])
    assert stage.body_of("big") == b"second try"


def test_complete_twice_answers_the_same_also_after_an_overwrite(stage: Stage) -> None:
    upload = Upload(stage)
    upload.part(1, b"data")
    first = upload.complete()
    again = upload.complete()
    assert (status_of(again), again["ETag"]) == (200, first["ETag"])
    stage.put("big", b"newer")
    assert upload.complete()["ETag"] == first["ETag"]
    assert stage.body_of("big") == b"newer"
    refused(stage.alice.upload_part, 404, "NoSuchUpload", **upload.names, PartNumber=2, Body=b"late")
    assert stage.last.received_before_start == 0, "refused before the body was asked for"
    refused(stage.alice.list_parts, 404, "NoSuchUpload", **upload.names)
    refused(stage.alice.abort_multipart_upload, 404, "NoSuchUpload", **upload.names)


def test_what_complete_refuses_leaves_the_upload_as_it_was(stage: Stage) -> None:
    upload = Upload(stage)
    upload.part(1, b"small")
    upload.part(2, b"last")
    one, two = upload.parts
    too_small = upload.refused(400, "EntityTooSmall")
    assert (too_small["PartNumber"], too_small["ProposedSize"], too_small["MinSizeAllowed"]) == ("1", "5", "5242880")
    assert upload.refused(400, "InvalidPart", {"PartNumber": 9, "ETag": one["ETag"]})["PartNumber"] == "9"
    upload.refused(400, "InvalidPart", {"PartNumber": 1, "ETag": two["ETag"]})
    upload.refused(400, "InvalidPartOrder", two, one)
    upload.refused(400, "InvalidPartOrder", one, one)
    upload.refused(400, "InvalidRequest", one, MpuObjectSize=4)
    upload.refused(404, "NoSuchKey", one, IfMatch='"x"')
    target = f"/bucket/big?uploadId={upload.created['UploadId']}"
    for document in (b"", b"<CompleteMultipartUpload></CompleteMultipartUpload>", b"<Other/>", b"<Complete"):
        answer = stage.raw("POST", target, None, document)
        assert (answer.status, b"<Code>MalformedXML</Code>" in answer.body) == (400, True)
    assert stage.keys() == []
    assert [part["PartNumber"] for part in upload.listed()["Parts"]] == [1, 2]
    upload.complete(two, MpuObjectSize=4, IfNoneMatch="*")
    assert stage.body_of("big") == b"last"


def test_conditions_on_complete(stage: Stage) -> None:
    etag = stage.put("big", b"before")["ETag"]
    upload = Upload(stage)
    upload.part(1, b"after")
    upload.refused(412, "PreconditionFailed", IfNoneMatch="*")
    upload.refused(412, "PreconditionFailed", IfMatch='"x"')
    assert stage.body_of("big") == b"before"
    upload.complete(IfMatch=etag)
    assert stage.body_of("big") == b"after"


# Checksums

KINDS = [
    ("CRC32", None, COMPOSITE), ("CRC32", FULL, FULL), ("CRC32C", FULL, FULL), ("CRC32C", COMPOSITE, COMPOSITE),
    ("CRC64NVME", None, FULL), ("SHA1", None, COMPOSITE), ("SHA256", COMPOSITE, COMPOSITE),
]  # fmt: skip


@pytest.mark.parametrize(("name", "asked", "kind"), KINDS, ids=[f"{row[0]}-{row[1]}" for row in KINDS])
def test_the_checksum_of_an_object_of_parts(stage: Stage, name: str, asked: str | None, kind: str) -> None:
    upload = Upload(stage, ChecksumAlgorithm=name, **({"ChecksumType": asked} if asked else {}))
    assert (upload.created["ChecksumAlgorithm"], upload.created["ChecksumType"]) == (name, kind)
    for number, data in enumerate((FIRST, SECOND), 1):
        part = upload.part(number, data, ChecksumAlgorithm=name)
        assert part[f"Checksum{name}"] == checksum_of(name, data)
        upload.parts[-1][f"Checksum{name}"] = part[f"Checksum{name}"]
    algorithm = ALGORITHMS[name]
    if kind == FULL:
        expected = checksum_of(name, WHOLE)
    else:
        digests = [b64decode(checksum_of(name, data)) for data in (FIRST, SECOND)]
        expected = composite_of(algorithm, digests)
    wrong = checksum_of(name, b"other")
    declared = {f"Checksum{name}": wrong + ("-2" if kind == COMPOSITE else ""), "ChecksumType": kind}
    upload.refused(400, "BadDigest", **declared)
    result = upload.complete(**{f"Checksum{name}": expected}, ChecksumType=kind, MpuObjectSize=len(WHOLE))
    assert (result[f"Checksum{name}"], result["ChecksumType"]) == (expected, kind)
    head = stage.alice.head_object(Bucket="bucket", Key="big", ChecksumMode="ENABLED")
    assert (head[f"Checksum{name}"], head["ChecksumType"]) == (expected, kind)
    assert stage.body_of("big") == WHOLE
    (entry,) = stage.alice.list_objects_v2(Bucket="bucket")["Contents"]
    assert (entry["ChecksumAlgorithm"], entry["ChecksumType"]) == ([name], kind)


def test_a_checksum_type_that_the_algorithm_has_not(stage: Stage) -> None:
    create = stage.alice.create_multipart_upload
    for name, kind in (("CRC64NVME", COMPOSITE), ("SHA1", FULL)):
        refused(create, 400, "InvalidRequest", Bucket="bucket", Key="k", ChecksumAlgorithm=name, ChecksumType=kind)
    upload = Upload(stage, ChecksumAlgorithm="CRC32", ChecksumType=FULL)
    upload.part(1, b"data")
    upload.refused(400, "InvalidRequest", ChecksumType=COMPOSITE)
    upload.refused(400, "InvalidRequest", ChecksumSHA256=checksum_of("SHA256", b"data"))
    upload.complete(ChecksumType=FULL)


def test_a_part_must_have_the_checksum_that_its_upload_names(stage: Stage) -> None:
    upload = Upload(stage, ChecksumAlgorithm="SHA256")
    refused(
        stage.alice.upload_part, 400, "InvalidRequest",
        **upload.names, PartNumber=1, Body=b"data", ChecksumAlgorithm="CRC32",
    )  # fmt: skip
    assert "Parts" not in upload.listed()


def test_a_checksum_that_complete_names_of_a_part_must_be_the_parts(stage: Stage) -> None:
    upload = Upload(stage)
    upload.part(1, b"data", ChecksumAlgorithm="CRC32")
    (part,) = upload.parts
    upload.refused(400, "InvalidPart", {**part, "ChecksumCRC32": checksum_of("CRC32", b"other")})
    upload.refused(400, "InvalidPart", {**part, "ChecksumSHA256": checksum_of("SHA256", b"data")})
    upload.complete({**part, "ChecksumCRC32": checksum_of("CRC32", b"data")})


def test_a_checksum_of_the_object_that_cannot_be_compared_is_refused(stage: Stage) -> None:
    """The parts have different algorithms, so that nothing here could prove the declared value right or wrong."""
    upload = Upload(stage)
    upload.part(1, FIRST, ChecksumAlgorithm="CRC32")
    upload.part(2, SECOND, ChecksumAlgorithm="SHA256")
    upload.refused(400, "InvalidRequest", ChecksumCRC32=checksum_of("CRC32", b"anything"))
    upload.refused(400, "InvalidRequest", ChecksumType=FULL)
    upload.complete()
    head = stage.alice.head_object(Bucket="bucket", Key="big", ChecksumMode="ENABLED")
    assert not [name for name in headers_of(head) if name.startswith("x-amz-checksum")]
    assert stage.body_of("big") == WHOLE


# Whose upload it is


def test_an_upload_id_belongs_to_one_key_of_one_bucket(stage: Stage) -> None:
    stage.alice.create_bucket(Bucket="other")
    stage.bob.create_bucket(Bucket="bobs")
    upload = Upload(stage)
    upload.part(1, b"data")
    upload_id = upload.created["UploadId"]
    elsewhere = [
        (stage.alice, "bucket", "another", upload_id), (stage.alice, "other", "big", upload_id),
        (stage.bob, "bobs", "big", upload_id), (stage.alice, "bucket", "big", "f" * 32),
        (stage.alice, "bucket", "big", "A" * 32), (stage.alice, "bucket", "big", upload_id[:-2]),
        (stage.alice, "bucket", "big", "no hex at all"), (stage.alice, "bucket", "big", upload_id + " "),
    ]  # fmt: skip
    for client, bucket, key, asked in elsewhere:
        names = {"Bucket": bucket, "Key": key, "UploadId": asked}
        complete = {"Parts": upload.parts}
        refused(client.upload_part, 404, "NoSuchUpload", **names, PartNumber=1, Body=b"intruder")
        refused(client.list_parts, 404, "NoSuchUpload", **names)
        refused(client.complete_multipart_upload, 404, "NoSuchUpload", **names, MultipartUpload=complete)
        refused(client.abort_multipart_upload, 404, "NoSuchUpload", **names)
    assert upload.complete()["ETag"] == etag_of(b"data")


def test_abort_leaves_nothing(stage: Stage) -> None:
    stage.put("big", b"before")
    upload = Upload(stage)
    upload.part(1, b"data")
    result = stage.alice.abort_multipart_upload(**upload.names)
    assert (status_of(result), stage.last.body) == (204, b"")
    for method in ("abort_multipart_upload", "list_parts"):
        refused(getattr(stage.alice, method), 404, "NoSuchUpload", **upload.names)
    upload.refused(404, "NoSuchUpload")
    assert "Uploads" not in stage.alice.list_multipart_uploads(Bucket="bucket")
    assert stage.body_of("big") == b"before"


@pytest.mark.parametrize("number", [0, 10_001, -1])
def test_part_numbers_go_from_1_to_10000(stage: Stage, number: int) -> None:
    upload = Upload(stage)
    error = refused(stage.alice.upload_part, 400, "InvalidArgument", **upload.names, PartNumber=number, Body=b"")
    assert error["ArgumentName"] == "partNumber"
    upload.part(10_000, b"the highest")
    upload.complete()


def test_a_wrong_digest_of_a_part_leaves_the_earlier_one(stage: Stage) -> None:
    upload = Upload(stage)
    upload.part(1, b"data")
    target = f"/bucket/big?partNumber=1&uploadId={upload.created['UploadId']}"
    answer = stage.raw("PUT", target, {"x-amz-checksum-crc32": checksum_of("CRC32", b"data")}, b"other")
    assert (answer.status, b"<Code>BadDigest</Code>" in answer.body) == (400, True)
    assert [part["Size"] for part in upload.listed()["Parts"]] == [4]


# The two listings


def test_parts_are_listed_in_pages(stage: Stage) -> None:
    upload = Upload(stage, ChecksumAlgorithm="SHA1")
    for number in (5, 2, 9):
        upload.part(number, b"x" * number, ChecksumAlgorithm="SHA1")
    whole = upload.listed()
    assert [(part["PartNumber"], part["Size"]) for part in whole["Parts"]] == [(2, 2), (5, 5), (9, 9)]
    assert whole["Parts"][0]["ETag"] == f'"{hashlib.md5(b"xx").hexdigest()}"'
    assert whole["Parts"][0]["ChecksumSHA1"] == checksum_of("SHA1", b"xx")
    assert (whole["ChecksumAlgorithm"], whole["ChecksumType"]) == ("SHA1", COMPOSITE)
    assert (whole["IsTruncated"], whole["MaxParts"], whole["StorageClass"]) == (False, 1000, "STANDARD")
    assert whole["Owner"]["DisplayName"] == whole["Initiator"]["DisplayName"] == "main"
    first = upload.listed(MaxParts=2)
    assert (first["IsTruncated"], first["NextPartNumberMarker"]) == (True, 5)
    second = upload.listed(MaxParts=2, PartNumberMarker=5)
    assert ([part["PartNumber"] for part in second["Parts"]], second["IsTruncated"]) == ([9], False)
    none = upload.listed(MaxParts=0)
    assert ("Parts" in none, none["IsTruncated"]) == (False, False)
    refused(stage.alice.list_parts, 400, "InvalidArgument", **upload.names, PartNumberMarker=-1)


def uploads(page: dict[str, Any]) -> list[tuple[str, str]]:
    return [(upload["Key"], upload["UploadId"]) for upload in page.get("Uploads", [])]


def test_uploads_are_listed_in_pages_and_groups(stage: Stage) -> None:
    made = sorted((key, Upload(stage, key).created["UploadId"]) for key in ("a", "b/1", "b/2", "c d"))
    twice = Upload(stage, "a", ChecksumAlgorithm="CRC32C").created["UploadId"]
    everything = [made[0], ("a", twice), *made[1:]]
    whole = stage.alice.list_multipart_uploads(Bucket="bucket")
    assert (uploads(whole), whole["IsTruncated"]) == (everything, False)
    assert (whole["Uploads"][1]["ChecksumAlgorithm"], whole["Uploads"][1]["ChecksumType"]) == ("CRC32C", COMPOSITE)
    assert whole["Uploads"][0]["Initiator"]["ID"] == stage.rig.account.account_id.hex()
    seen: list[tuple[str, str]] = []
    markers: dict[str, str] = {}
    for _ in range(len(everything)):
        page = stage.alice.list_multipart_uploads(Bucket="bucket", MaxUploads=1, **markers)
        seen += uploads(page)
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert seen == everything
    grouped = stage.alice.list_multipart_uploads(Bucket="bucket", Delimiter="/", Prefix="")
    assert [group["Prefix"] for group in grouped["CommonPrefixes"]] == ["b/"]
    assert [key for key, _ in uploads(grouped)] == ["a", "a", "c d"]
    assert uploads(stage.alice.list_multipart_uploads(Bucket="bucket", Prefix="b/")) == made[1:3]
    none = stage.alice.list_multipart_uploads(Bucket="bucket", MaxUploads=0)
    assert (uploads(none), none["IsTruncated"], none["MaxUploads"]) == ([], False, 0)


def test_a_marker_that_is_no_upload_id_is_refused(stage: Stage) -> None:
    call = stage.alice.list_multipart_uploads
    error = refused(call, 400, "InvalidArgument", Bucket="bucket", KeyMarker="a", UploadIdMarker="x")
    assert error["ArgumentName"] == "upload-id-marker"
    assert uploads(call(Bucket="bucket", UploadIdMarker="x")) == [], "without a key marker it says nothing"
    refused(call, 404, "NoSuchBucket", Bucket="no-such")


# Races


async def _gone(*_: Any, **__: Any) -> Any:
    raise NoSuchUpload


@pytest.mark.parametrize(
    ("command", "method", "arguments"),
    [
        ("put_part", "upload_part", {"PartNumber": 2, "Body": b"late"}),
        ("list_parts", "list_parts", {}),
        ("complete_upload", "complete_multipart_upload", {}),
    ],
)
def test_an_upload_that_ends_between_the_look_and_the_command(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, command: str, method: str, arguments: dict[str, Any]
) -> None:
    upload = Upload(stage)
    upload.part(1, b"data")
    if method == "complete_multipart_upload":
        arguments = {"MultipartUpload": {"Parts": upload.parts}}
    monkeypatch.setattr(stage.rig.catalogue, command, _gone)
    error = refused(getattr(stage.alice, method), 404, "NoSuchUpload", **upload.names, **arguments)
    assert error["UploadId"] == upload.created["UploadId"]


def test_the_transaction_of_complete_judges_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> None:
        return None

    upload = Upload(stage)
    upload.part(1, b"late")
    monkeypatch.setattr(operations, "refuse_early", nothing)
    upload.refused(404, "NoSuchKey", IfMatch='"x"')
    stage.put("big", b"before")
    upload.refused(412, "PreconditionFailed", IfNoneMatch="*")
    assert stage.body_of("big") == b"before"


def test_a_complete_that_meets_another_answers_as_the_other_did(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that lost patience sends Complete again while the first one is still at work."""
    upload = Upload(stage)
    upload.part(1, b"data")
    real = stage.rig.catalogue.list_parts
    published = []

    async def meanwhile(upload_id: bytes, **options: Any) -> Any:
        monkeypatch.setattr(stage.rig.catalogue, "list_parts", real)
        held = await stage.rig.catalogue.get_upload(stage.rig.bucket.bucket_id, b"big", upload_id)
        parts = [CompletedPart(1, upload.parts[0]["ETag"].strip('"'))]
        published.append((await stage.rig.multipart.complete(stage.rig.bucket, held, parts, Conditions())).version)
        return await real(upload_id, **options)

    monkeypatch.setattr(stage.rig.catalogue, "list_parts", meanwhile)
    assert upload.complete()["ETag"] == f'"{published[0].etag}"'
    assert stage.body_of("big") == b"data"
