"""boto3 goes round: listings and multipart uploads."""

import pytest

from gateway.s3 import types, upload_types
from gateway.s3.types import ChecksumAlgorithm, ChecksumType
from tests.gateway.s3.loop import BODY, COMPOSITE, CRC, MODIFIED, ODD, OWNER, SECOND, Loop


@pytest.fixture(scope="module")
def loop() -> Loop:
    return Loop()


ENTRIES = (
    types.ObjectEntry(ODD.encode(), MODIFIED, "abc", 5, OWNER, ChecksumAlgorithm.CRC32, ChecksumType.FULL_OBJECT),
    types.ObjectEntry(b"\x01\r\n", MODIFIED, "def-2", 0),
)
CONTENTS = [
    {
        "Key": ODD,
        "LastModified": SECOND,
        "ETag": '"abc"',
        "ChecksumAlgorithm": ["CRC32"],
        "ChecksumType": "FULL_OBJECT",
        "Size": 5,
        "StorageClass": "STANDARD",
        "Owner": {"DisplayName": "alice & bob", "ID": "0123"},
    },
    {"Key": "\x01\r\n", "LastModified": SECOND, "ETag": '"def-2"', "Size": 0, "StorageClass": "STANDARD"},
]


def test_list_objects(loop: Loop) -> None:
    asked = types.ListObjectsInput("bucket", b"a+", b"/ ", b"m%", 5, url_encoding=True)
    output = types.ListObjectsOutput(asked, ENTRIES, ("p é/".encode(),), True, b"n+")
    result = loop("list_objects", output, Bucket="bucket", Prefix="a+", Delimiter="/ ", Marker="m%", MaxKeys=5)
    assert loop.seen == asked
    assert result == {
        "Name": "bucket",
        "Prefix": "a%2B",  # of version 1, botocore decodes all names but this one
        "Marker": "m%",
        "NextMarker": "n+",
        "MaxKeys": 5,
        "Delimiter": "/ ",
        "EncodingType": "url",
        "IsTruncated": True,
        "Contents": CONTENTS,
        "CommonPrefixes": [{"Prefix": "p é/"}],
        "status": 200,
    }


def test_an_empty_list_echoes_its_marker(loop: Loop) -> None:
    asked = types.ListObjectsInput("bucket")
    result = loop("list_objects", types.ListObjectsOutput(asked, (), (), False), Bucket="bucket", EncodingType="url")
    assert result["Marker"] == ""
    assert "NextMarker" not in result
    assert "Delimiter" not in result


def test_list_objects_v2(loop: Loop) -> None:
    asked = types.ListObjectsV2Input("bucket", b"a+", b"/ ", b"s%", "t1", 5, fetch_owner=True, url_encoding=True)
    output = types.ListObjectsV2Output(asked, ENTRIES, (b"p+/",), True, "t2+%")
    result = loop(
        "list_objects_v2",
        output,
        Bucket="bucket",
        Prefix="a+",
        Delimiter="/ ",
        StartAfter="s%",
        ContinuationToken="t1",
        MaxKeys=5,
        FetchOwner=True,
    )
    assert loop.seen == asked
    assert result == {
        "Name": "bucket",
        "Prefix": "a+",
        "StartAfter": "s%",
        "ContinuationToken": "t1",
        "NextContinuationToken": "t2+%",
        "KeyCount": 3,
        "MaxKeys": 5,
        "Delimiter": "/ ",
        "EncodingType": "url",
        "IsTruncated": True,
        "Contents": CONTENTS,
        "CommonPrefixes": [{"Prefix": "p+/"}],
        "status": 200,
    }


def test_multipart_uploads(loop: Loop) -> None:
    output = upload_types.CreateMultipartUploadOutput(
        "bucket", ODD.encode(), "u1", types.EncryptionReport(), ChecksumAlgorithm.SHA256, ChecksumType.COMPOSITE
    )
    result = loop("create_multipart_upload", output, Bucket="bucket", Key=ODD, ChecksumAlgorithm="SHA256")
    assert loop.seen.checksum_type is ChecksumType.COMPOSITE
    assert result == {
        "Bucket": "bucket",
        "Key": ODD,
        "UploadId": "u1",
        "ServerSideEncryption": "AES256",
        "ChecksumAlgorithm": "SHA256",
        "ChecksumType": "COMPOSITE",
        "status": 200,
    }
    plain = upload_types.CreateMultipartUploadOutput("bucket", b"k", "u1", types.EncryptionReport())
    result = loop("create_multipart_upload", plain, Bucket="bucket", Key="k")
    assert "ChecksumType" not in result


def test_upload_part(loop: Loop) -> None:
    result = loop(
        "upload_part",
        upload_types.UploadPartOutput("abc", types.EncryptionReport(), CRC),
        Bucket="bucket",
        Key="k",
        UploadId="u/1+",
        PartNumber=7,
        Body=BODY,
    )
    assert (loop.seen.upload_id, loop.seen.part_number) == ("u/1+", 7)
    assert loop.seen.payload.trailer == "x-amz-checksum-crc32"
    assert (result["ETag"], result["ChecksumCRC32"]) == ('"abc"', CRC.value)


def test_upload_part_copy(loop: Loop) -> None:
    result = loop(
        "upload_part_copy",
        upload_types.UploadPartCopyOutput("abc", MODIFIED, types.EncryptionReport(), CRC, "v0"),
        Bucket="bucket",
        Key="k",
        UploadId="u1",
        PartNumber=7,
        CopySource="source/k",
        CopySourceRange="bytes=0-4",
    )
    assert loop.seen == upload_types.UploadPartCopyInput(
        "bucket", b"k", "u1", 7, types.CopySource("source", b"k"), 0, 4
    )
    assert result == {
        "CopyPartResult": {"ETag": '"abc"', "LastModified": SECOND, "ChecksumCRC32": CRC.value},
        "ServerSideEncryption": "AES256",
        "CopySourceVersionId": "v0",
        "status": 200,
    }


def test_complete_multipart_upload(loop: Loop) -> None:
    output = upload_types.CompleteMultipartUploadOutput(
        "bucket", ODD.encode(), "https://localhost/bucket/k", "abc-2", types.EncryptionReport(), COMPOSITE, "v1"
    )
    parts = [{"PartNumber": 1, "ETag": '"a"'}, {"PartNumber": 2, "ETag": "b", "ChecksumCRC32": CRC.value}]
    result = loop(
        "complete_multipart_upload",
        output,
        Bucket="bucket",
        Key=ODD,
        UploadId="u1",
        MultipartUpload={"Parts": parts},
        IfMatch='"e"',
        MpuObjectSize=12,
        ChecksumCRC32=CRC.value,
    )
    assert loop.seen == upload_types.CompleteMultipartUploadInput(
        "bucket",
        ODD.encode(),
        "u1",
        (upload_types.CompletedPart(1, "a"), upload_types.CompletedPart(2, "b", CRC)),
        types.WriteConditions(if_match="e"),
        CRC,
        None,
        12,
    )
    assert result == {
        "Location": "https://localhost/bucket/k",
        "Bucket": "bucket",
        "Key": ODD,
        "ETag": '"abc-2"',
        "ChecksumSHA256": "YQ==-2",
        "ChecksumType": "COMPOSITE",
        "ServerSideEncryption": "AES256",
        "VersionId": "v1",
        "status": 200,
    }


def test_abort_multipart_upload(loop: Loop) -> None:
    result = loop("abort_multipart_upload", types.EmptyOutput(), Bucket="bucket", Key="k", UploadId="u1")
    assert loop.seen == upload_types.AbortMultipartUploadInput("bucket", b"k", "u1")
    assert result == {"status": 204}


def test_list_parts(loop: Loop) -> None:
    asked = upload_types.ListPartsInput("bucket", ODD.encode(), "u1", 1, 5)
    entries = (upload_types.PartEntry(2, MODIFIED, "a", 5, CRC), upload_types.PartEntry(3, MODIFIED, "b", 6))
    kind = ChecksumAlgorithm.CRC32, ChecksumType.FULL_OBJECT
    output = upload_types.ListPartsOutput(asked, entries, True, OWNER, types.Owner("4567", "bob"), 3, *kind)
    result = loop("list_parts", output, Bucket="bucket", Key=ODD, UploadId="u1", PartNumberMarker=1, MaxParts=5)
    assert loop.seen == asked
    person = {"DisplayName": "alice & bob", "ID": "0123"}
    assert result == {
        "Bucket": "bucket",
        "Key": ODD,
        "UploadId": "u1",
        "PartNumberMarker": 1,
        "NextPartNumberMarker": 3,
        "MaxParts": 5,
        "IsTruncated": True,
        "Parts": [
            {"PartNumber": 2, "LastModified": SECOND, "ETag": '"a"', "Size": 5, "ChecksumCRC32": CRC.value},
            {"PartNumber": 3, "LastModified": SECOND, "ETag": '"b"', "Size": 6},
        ],
        "Initiator": {"DisplayName": "bob", "ID": "4567"},
        "Owner": person,
        "StorageClass": "STANDARD",
        "ChecksumAlgorithm": "CRC32",
        "ChecksumType": "FULL_OBJECT",
        "status": 200,
    }


def test_list_multipart_uploads(loop: Loop) -> None:
    asked = upload_types.ListMultipartUploadsInput("bucket", b"a+", b"/", b"k ", "u0", 5, url_encoding=True)
    kind = ChecksumAlgorithm.SHA1, ChecksumType.COMPOSITE
    entry = upload_types.UploadEntry(ODD.encode(), "u1", MODIFIED, OWNER, types.Owner("4567", "bob"), *kind)
    output = upload_types.ListMultipartUploadsOutput(asked, (entry,), (b"p /",), True, b"n+", "u9")
    result = loop(
        "list_multipart_uploads",
        output,
        Bucket="bucket",
        Prefix="a+",
        Delimiter="/",
        KeyMarker="k ",
        UploadIdMarker="u0",
        MaxUploads=5,
        EncodingType="url",
    )
    assert loop.seen == asked
    person = {"DisplayName": "alice & bob", "ID": "0123"}
    # botocore decodes listings of objects by itself, but not this one.
    assert result == {
        "Bucket": "bucket",
        "KeyMarker": "k%20",
        "UploadIdMarker": "u0",
        "NextKeyMarker": "n%2B",
        "NextUploadIdMarker": "u9",
        "Prefix": "a%2B",
        "Delimiter": "/",
        "EncodingType": "url",
        "MaxUploads": 5,
        "IsTruncated": True,
        "Uploads": [
            {
                "Key": "a%2Bb%20%25c/%C3%A9%26%3C%3E%5D%5D%3E%F0%9F%98%80",
                "UploadId": "u1",
                "Initiated": SECOND,
                "StorageClass": "STANDARD",
                "Owner": person,
                "Initiator": {"DisplayName": "bob", "ID": "4567"},
                "ChecksumAlgorithm": "SHA1",
                "ChecksumType": "COMPOSITE",
            }
        ],
        "CommonPrefixes": [{"Prefix": "p%20/"}],
        "status": 200,
    }


def test_no_uploads(loop: Loop) -> None:
    asked = upload_types.ListMultipartUploadsInput("bucket")
    result = loop(
        "list_multipart_uploads", upload_types.ListMultipartUploadsOutput(asked, (), (), False), Bucket="bucket"
    )
    assert result == {
        "Bucket": "bucket",
        "KeyMarker": "",
        "UploadIdMarker": "",
        "MaxUploads": 1000,
        "IsTruncated": False,
        "status": 200,
    }
