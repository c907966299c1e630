from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.s3.addressing import Address
from gateway.s3.errors import S3Error
from gateway.s3.form import FormRequest, read_form, request_of_form
from gateway.s3.multipart_form import Field
from gateway.s3.parsing import parse_post_object
from gateway.s3.request import Headers, Request
from gateway.s3.types import EncryptionRequest, ObjectHeaders, PostObjectInput

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SENT = [(b"host", b"localhost:9443"), (b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"9")]


def posted(*headers: tuple[bytes, bytes], path: bytes = b"/bucket") -> Request:
    return Request("POST", path, b"", Headers([*SENT, *headers]), "REQ", NOW, "192.0.2.1", "TLSv1.3")


def form_of(file_name: str | None = "", **fields: str) -> dict[str, str]:
    sent = [Field(name.replace("_", "-"), value.encode()) for name, value in ({"key": "k"} | fields).items()]
    return dict(read_form(sent, file_name, "bucket"))


def made(request: Request | None = None, **fields: str) -> tuple[FormRequest, Address]:
    return request_of_form(request or posted(), form_of(**fields), Address("bucket"))


def parsed(**fields: Any) -> PostObjectInput:
    return parse_post_object(*made(**fields), b"")


def refused(code: str, **fields: str) -> S3Error:
    with pytest.raises(S3Error) as caught:
        parsed(**fields)
    assert caught.value.row.code == code, caught.value
    return caught.value


def test_names_have_any_case_and_the_bucket_is_always_told() -> None:
    fields = [Field("KEY", b"a"), Field("Acl", b"private")]
    assert dict(read_form(fields, None, "bucket")) == {"key": "a", "acl": "private", "bucket": "bucket"}


@pytest.mark.parametrize(
    ("file_name", "key"),
    [
        ("a.txt", "u/a.txt"),
        ("C:\\fake\\a.txt", "u/a.txt"),
        ("/etc/passwd", "u/passwd"),
        ("../../a", "u/a"),
        ("a/", "u/"),
        ("", "u/"),
        (None, "u/${filename}"),
        ("${filename}", "u/${filename}"),
    ],
)
def test_the_name_of_the_file(file_name: str | None, key: str) -> None:
    form = form_of(file_name, key="u/${filename}", x_amz_meta_name="<${filename}>")
    assert form["key"] == key
    assert form["x-amz-meta-name"] == f"<{key[2:]}>"


def test_the_name_of_the_file_is_not_put_in_without_end() -> None:
    name, once = "\u00e9" * 1000, "${filename}"
    sent = [Field("key", b"k"), *(Field(f"x-ignore-{number}", (once * 10).encode()) for number in range(3))]
    assert read_form(sent, name, "bucket")["x-ignore-2"] == name * 10
    with pytest.raises(S3Error) as caught:
        read_form([*sent, Field("x-ignore-more", (once * 3).encode())], name, "bucket")
    assert caught.value.row.code == "MaxPostPreDataLengthExceededError"


def test_a_field_stands_once() -> None:
    with pytest.raises(S3Error) as caught:
        read_form([Field("key", b"a"), Field("Key", b"b")], None, "bucket")
    assert caught.value.row.code == "InvalidArgument"


def test_fields_are_utf8() -> None:
    with pytest.raises(S3Error) as caught:
        read_form([Field("key", b"\xff")], None, "bucket")
    assert caught.value.row.code == "InvalidArgument"


@pytest.mark.parametrize("fields", [[], [Field("key", b"")], [Field("acl", b"private")]])
def test_a_key_is_needed(fields: list[Field]) -> None:
    with pytest.raises(S3Error) as caught:
        read_form(fields, None, "bucket")
    assert (caught.value.row.code, caught.value.fields["ArgumentName"]) == ("InvalidArgument", "key")


def test_another_bucket() -> None:
    assert form_of(bucket="bucket")["bucket"] == "bucket"
    with pytest.raises(S3Error) as caught:
        form_of(bucket="other")
    assert caught.value.row.code == "AccessDenied"


def test_fields_become_the_headers_of_a_put() -> None:
    put = parsed(
        Content_Type="a/b",
        Cache_Control="no-store",
        Content_Disposition="inline",
        Content_Encoding="gzip",
        Content_Language="de",
        Expires="never",
        Content_MD5="XUFAKrxLKna5cZ2REBfFkg==",
        x_amz_checksum_crc32="NhCmhg==",
        x_amz_meta_A="1",
        x_amz_meta_b="ä",
        x_amz_server_side_encryption="AES256",
        acl="private",
    ).put
    assert put.headers == ObjectHeaders("a/b", "no-store", "inline", "gzip", "de", "never")
    assert put.metadata == {"a": "1", "b": "ä".encode().decode("latin-1")}
    assert put.encryption == EncryptionRequest("AES256")
    assert put.payload.content_md5 == bytes.fromhex("5d41402abc4b2a76b9719d911017c592")
    assert (put.payload.checksum, put.payload.content_length) == ("NhCmhg==", None)
    assert (put.bucket, put.object_key) == ("bucket", b"k")


def test_the_form_itself_lends_nothing() -> None:
    request, _ = made(posted((b"cache-control", b"no-cache"), (b"range", b"x"), (b"user-agent", b"u")))
    assert parse_post_object(request, Address("bucket", b"k"), b"").put.headers == ObjectHeaders()
    assert dict(request.headers) == {"host": "localhost:9443", "user-agent": "u", "transfer-encoding": "chunked"}
    assert (request.client_host, request.tls_version) == ("192.0.2.1", "TLSv1.3")


@pytest.mark.parametrize(
    "name", [b"content-md5", b"If-Match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"]
)
def test_what_is_sent_to_be_heeded_is_not_skipped(name: bytes) -> None:
    """A page that sends `If-None-Match: *` beside its form means to overwrite nothing."""
    with pytest.raises(S3Error) as caught:
        made(posted((name, b"*")))
    assert (caught.value.row.code, caught.value.fields["Header"]) == ("NotImplemented", name.decode().lower())


@pytest.mark.parametrize("name", [b"x-amz-acl", b"x-amz-copy-source", b"x-amz-content-sha256", b"X-Amz-Tagging"])
def test_headers_beside_the_form_are_not_signed(name: bytes) -> None:
    with pytest.raises(S3Error) as caught:
        made(posted((name, b"x")))
    assert caught.value.row.code == "AccessDenied"
    assert caught.value.fields["HeadersNotSigned"] == name.decode().lower()


@pytest.mark.parametrize(
    "name",
    [
        *("x_amz_copy_source", "x_amz_copy_source_range", "x_amz_trailer", "x_amz_decoded_content_length"),
        *("x_amz_content_sha256", "x_amz_mp_object_size", "x_amz_tagging", "x_amz_acl", "x_amz_foo"),
        *("x_amz_expected_bucket_owner", "x_amz_metadata_directive", "x_amz_bypass_governance_retention"),
    ],
)
def test_what_no_upload_can_ask_for_is_not_skipped(name: str) -> None:
    assert refused("InvalidArgument", **{name: "x"}).fields["ArgumentName"] == name.replace("_", "-")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("Content_Type", "a\r\nx-amz-acl: public-read", "InvalidArgument"),
        ("Content_Type", "a\0", "InvalidArgument"),
        ("x_amz_meta_a", "a\nb", "InvalidArgument"),
        ("x_amz_meta_", "a", "InvalidArgument"),
        ("x_amz_meta_ä", "a", "InvalidArgument"),
        ("x_amz_meta_a", "a" * 2048, "MetadataTooLarge"),
        ("key", "a/../b", "BadRequest"),
        ("key", "a\0", "InvalidURI"),
        ("key", "a" * 1025, "KeyTooLongError"),
        ("Content_MD5", "x", "InvalidDigest"),
        ("x_amz_checksum_crc32", "x", "InvalidRequest"),
        ("x_amz_storage_class", "GLACIER", "InvalidStorageClass"),
        ("x_amz_server_side_encryption", "rot13", "InvalidEncryptionAlgorithmError"),
        ("tagging", "not xml", "MalformedXML"),
        ("tagging", "<Tags/>", "MalformedXML"),
        ("tagging", "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", "MalformedXML"),
        ("if_none_match", '"x"', "NotImplemented"),
    ],
)
def test_what_a_put_could_not_have(name: str, value: str, code: str) -> None:
    refused(code, **{name: value})


def test_a_header_cannot_be_written_by_the_name_of_a_field() -> None:
    fields = [Field("key", b"k"), Field("x-amz-meta-a: b\r\nx-amz-acl", b"public-read")]
    with pytest.raises(S3Error) as caught:
        request_of_form(posted(), read_form(fields, None, "bucket"), Address("bucket"))
    assert caught.value.row.code == "InvalidArgument"


def test_tags_are_xml_in_a_form_and_a_query_in_a_header() -> None:
    tags = "<Tag><Key>a b</Key><Value>1&amp;2</Value></Tag><Tag><Key>c</Key><Value/></Tag>"
    document = f"<Tagging><TagSet>{tags}</TagSet></Tagging>"
    request, _ = made(tagging=document)
    assert request.headers.get("x-amz-tagging") == "a+b=1%262&c="
    assert made(tagging="<Tagging><TagSet/></Tagging>")[0].headers.get("x-amz-tagging") == ""


@pytest.mark.parametrize(
    ("text", "status"),
    [(None, 204), ("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204), ("+200", 204)],
)
def test_the_status_of_success(text: str | None, status: int) -> None:
    fields = [Field("key", b"k"), *([] if text is None else [Field("success_action_status", text.encode())])]
    request, address = request_of_form(posted(), read_form(fields, None, "bucket"), Address("bucket"))
    assert parse_post_object(request, address, b"").status == status


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("https://example.org/done?a=b#c", True),
        ("http://example.org", True),
        ("/relative", False),
        ("//example.org", False),
        ("javascript:alert(1)", False),
        ("https://", False),
        ("https://example.org/\r\nSet-Cookie: a=b", False),
        ("https://example.org/ä", False),
        ("https://[", False),
        ("ftp://example.org", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("name", ["success_action_redirect", "redirect"])
def test_where_the_browser_goes(text: str, taken: bool, name: str) -> None:
    fields = [Field("key", b"k"), Field(name, text.encode())]
    request, address = request_of_form(posted(), read_form(fields, None, "bucket"), Address("bucket"))
    assert parse_post_object(request, address, b"").redirect == (text if taken else "")


@pytest.mark.parametrize("path", [b"/bucket", b"/bucket/"])
def test_where_the_object_will_be(path: bytes) -> None:
    request, address = request_of_form(posted(path=path), form_of(key="a/b c"), Address("bucket"))
    assert parse_post_object(request, address, b"").location == "https://localhost:9443/bucket/a%2Fb%20c"
    request, address = request_of_form(posted(path=b"/"), form_of(), Address("bucket", bucket_in_host=True))
    assert parse_post_object(request, address, b"").location == "https://localhost:9443/k"


def test_what_is_no_form_is_refused() -> None:
    with pytest.raises(S3Error) as caught:
        parse_post_object(posted(), Address("bucket"), b"")
    assert caught.value.row.status == 412
