from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3 import errors, serialising, types, upload_types
from gateway.s3.errors import ROWS, S3Error
from gateway.s3.response import Response
from gateway.s3.types import ListObjectsInput, ListObjectsV2Input, Owner
from gateway.s3.upload_types import ListMultipartUploadsInput
from gateway.s3.xml import NAMESPACE

MODIFIED = datetime(2026, 5, 1, 12, 0, 0, 700_000, tzinfo=UTC)
S3 = f"{{{NAMESPACE}}}"


def tree(response: Response) -> Any:
    assert isinstance(response.body, bytes)
    return ET.fromstring(response.body)  # noqa: S314 - our own output, by a second parser


def names(response: Response) -> list[str]:
    return [element.tag.removeprefix(S3) for element in tree(response)]


def entry(object_key: bytes) -> types.ObjectEntry:
    return types.ObjectEntry(object_key, MODIFIED, "abc", 5)


def test_elements_of_a_listing_stand_in_s3s_order() -> None:
    asked = ListObjectsInput("bucket", b"p", b"/", b"m", 5, url_encoding=True)
    output = types.ListObjectsOutput(asked, (entry(b"k"),), (b"p/",), True, b"n")
    response = serialising.serialise_list_objects(output)
    assert names(response) == [
        *("Name", "Prefix", "Marker", "NextMarker", "MaxKeys", "Delimiter", "EncodingType", "IsTruncated"),
        *("Contents", "CommonPrefixes"),
    ]
    assert [element.tag.removeprefix(S3) for element in tree(response).find(f"{S3}Contents")] == [
        *("Key", "LastModified", "ETag", "Size", "StorageClass"),
    ]
    assert b"<LastModified>2026-05-01T12:00:00.000Z</LastModified><ETag>&quot;abc&quot;</ETag>" in bytes(
        response.body if isinstance(response.body, bytes) else b""
    )
    assert dict(response.headers) == {"Content-Type": "application/xml", "X-Content-Type-Options": "nosniff"}


def test_names_are_plain_where_nothing_asks_for_encoding() -> None:
    output = types.ListObjectsV2Output(ListObjectsV2Input("bucket", b"a b"), (entry(b"a b+c"),), (), False)
    root = tree(serialising.serialise_list_objects_v2(output))
    assert root.findtext(f"{S3}EncodingType") is None
    assert root.findtext(f"{S3}Prefix") == "a b"
    assert root.findtext(f"{S3}Contents/{S3}Key") == "a b+c"


def test_encoded_names() -> None:
    output = types.ListObjectsV2Output(
        ListObjectsV2Input("bucket", url_encoding=True), (entry(b"a b+c/d%~"),), (), False
    )
    root = tree(serialising.serialise_list_objects_v2(output))
    assert root.findtext(f"{S3}Contents/{S3}Key") == "a%20b%2Bc/d%25~"


CONTROL = b"a\x01b"


@pytest.mark.parametrize(
    "response",
    [
        serialising.serialise_list_objects(
            types.ListObjectsOutput(ListObjectsInput("bucket"), (entry(CONTROL), entry(b"a b")), (), False)
        ),
        serialising.serialise_list_objects(
            types.ListObjectsOutput(ListObjectsInput("bucket", prefix=CONTROL), (entry(b"a b"),), (), False)
        ),
        serialising.serialise_list_objects_v2(
            types.ListObjectsV2Output(ListObjectsV2Input("bucket"), (entry(b"a b"),), (CONTROL,), False)
        ),
        serialising.serialise_list_multipart_uploads(
            upload_types.ListMultipartUploadsOutput(
                ListMultipartUploadsInput("bucket"),
                (upload_types.UploadEntry(CONTROL, "u", MODIFIED, Owner("1", "a"), Owner("2", "b")),),
                (b"a b",),
                False,
            )
        ),
    ],
)
def test_h68_listings_that_xml_cannot_hold_are_encoded_unasked(response: Response) -> None:
    root = tree(response)
    assert root.findtext(f"{S3}EncodingType") == "url"
    texts = [element.text for element in root.iter()]
    assert "a%01b" in texts
    assert "a%20b" in texts or root.find(f"{S3}Upload") is not None


@given(st.lists(st.text(min_size=1, max_size=8).map(lambda text: text.encode("utf-8", "replace")), max_size=4))
def test_h68_every_listing_is_well_formed_and_tells_names_exactly(keys: list[bytes]) -> None:
    output = types.ListObjectsV2Output(ListObjectsV2Input("bucket"), tuple(entry(k) for k in keys), (), False)
    root = tree(serialising.serialise_list_objects_v2(output))
    listed = [element.text or "" for element in root.iter(f"{S3}Key")]
    encoded = root.findtext(f"{S3}EncodingType") == "url"
    assert [unquote_to_bytes(text) if encoded else text.encode() for text in listed] == keys


def test_keys_that_xml_cannot_hold_elsewhere_are_replaced() -> None:
    output = upload_types.CreateMultipartUploadOutput("bucket", CONTROL, "u", types.EncryptionReport())
    assert tree(serialising.serialise_create_multipart_upload(output)).findtext(f"{S3}Key") == "a\ufffdb"


def test_markers_of_uploads_only_where_there_is_more() -> None:
    asked = ListMultipartUploadsInput("bucket")
    assert "NextKeyMarker" not in names(
        serialising.serialise_list_multipart_uploads(
            upload_types.ListMultipartUploadsOutput(asked, (), (), False, b"k", "u")
        )
    )


def test_h107_objects_are_never_sniffed() -> None:
    output = types.GetObjectOutput(
        5, 0, 5, False, "e", MODIFIED, types.ObjectHeaders("text/html"), {}, types.EncryptionReport()
    )
    for serialise in (serialising.serialise_get_object, serialising.serialise_head_object):
        headers = dict(serialise(output).headers)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Length"] == "5"
        assert headers["Last-Modified"] == "Fri, 01 May 2026 12:00:00 GMT"


@pytest.mark.parametrize("code", ROWS)
def test_every_error_is_one_document(code: str) -> None:
    row = ROWS[code]
    error = S3Error(row, fields={"BucketName": "<b>"}, headers={"x-amz-bucket-region": "r"})
    response = serialising.error_response(error, "REQ", b"/b/%C3%A9&\xff", is_head=False)
    assert response.status == row.status
    assert ("x-amz-bucket-region", "r") in response.headers
    if row.status == 304:
        assert response.body == b""
        assert "Content-Type" not in dict(response.headers)
        return
    root = tree(response)
    assert root.tag == "Error"
    assert {element.tag: element.text for element in root} == {
        "Code": code,
        "Message": row.message,
        "BucketName": "<b>",
        "Resource": "/b/%C3%A9&\ufffd",
        "RequestId": "REQ",
        "HostId": "sealgate",
    }
    head = serialising.error_response(error, "REQ", b"/b", is_head=True)
    assert (head.status, head.body, head.headers) == (row.status, b"", (("x-amz-bucket-region", "r"),))


def test_an_errors_own_message_wins() -> None:
    response = serialising.error_response(S3Error(errors.INVALID_ARGUMENT, "why & how"), "REQ", b"/", is_head=False)
    assert tree(response).findtext("Message") == "why & how"


def test_successes_without_a_body() -> None:
    for response in (
        serialising.serialise_delete_bucket(types.EmptyOutput()),
        serialising.serialise_abort_multipart_upload(types.EmptyOutput()),
        serialising.serialise_delete_object(types.DeleteObjectOutput()),
    ):
        assert response == Response(204)
