"""Rows H1 to H22 of the hostile inputs that concern signatures, and what a verified request carries."""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from gateway.s3.errors import S3Error
from gateway.s3.request import Headers, Request
from gateway.s3.sigv4 import (
    Anonymous,
    Kind,
    PayloadMode,
    Presentation,
    SignatureSettings,
    Verified,
    canonical,
    present,
    verify,
)
from gateway.s3.sigv4.payload import parse_payload
from gateway.s3.sigv4.presentation import NOBODYS_SECRET
from tests.gateway.s3.sigv4.signer import (
    ACCESS_KEY_ID,
    NOW,
    REGION,
    SECRET,
    header_request,
    presigned_request,
    presigned_v2_request,
    request_of,
)

DAY = f"{NOW:%Y%m%d}"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def accept(
    request: Request,
    *,
    secrets: dict[str, str] | None = None,
    settings: SignatureSettings | None = None,
    now: datetime = NOW,
    bucket_from_host: str | None = None,
) -> Verified:
    presentation = present(request, now, REGION, settings, bucket_from_host=bucket_from_host)
    assert isinstance(presentation, Presentation)
    held = {ACCESS_KEY_ID: SECRET} if secrets is None else secrets
    return verify(presentation, request, held.get(presentation.access_key_id))


def seconds(count: float) -> datetime:
    return NOW + timedelta(seconds=count)


def with_authorization(value: str) -> Request:
    return request_of("GET", "/b/k", "", [("host", "h"), ("authorization", value)])


def resigned(change: Callable[[str], str], **options: str) -> Request:
    request = header_request(**options)  # type: ignore[arg-type]  # the tests pass text options only
    items = [(name.encode(), value.encode()) for name, value in request.headers if name != "authorization"]
    value = change(request.headers.get("authorization") or "")
    return Request(
        method=request.method,
        raw_path=request.raw_path,
        raw_query=request.raw_query,
        headers=Headers([*items, (b"authorization", value.encode())]),
        request_id="R",
        received_at=NOW,
        tls_version="TLSv1.3",
    )


def signature_changed(change: Callable[[str], str]) -> Request:
    def apply(value: str) -> str:
        head, _, signature = value.rpartition("=")
        return f"{head}={change(signature)}"

    return resigned(apply)


def scoped(scope: str) -> Request:
    return header_request(scope=scope)


V2_SOON = str(int(seconds(60).timestamp()))

REFUSED: list[tuple[str, Request, int, str]] = [
    ("H1 empty Authorization", with_authorization(""), 403, "AccessDenied"),
    ("H2 Authorization x", with_authorization("x"), 400, "InvalidArgument"),
    ("H2 Authorization Bearer", with_authorization("Bearer abc"), 400, "InvalidArgument"),
    ("H3 SigV2 header", with_authorization("AWS k:s"), 400, "InvalidRequest"),
    (
        "H3 SigV4A header",
        with_authorization("AWS4-ECDSA-P256-SHA256 Credential=a/b/s3/aws4_request, SignedHeaders=host, Signature=00"),
        400,
        "InvalidRequest",
    ),
    ("H4 scheme only", with_authorization("AWS4-HMAC-SHA256"), 400, "AuthorizationHeaderMalformed"),
    *(
        (
            f"H4 no {name}",
            resigned(lambda value, name=name: ", ".join(p for p in value.split(", ") if f"{name}=" not in p)),  # type: ignore[misc]  # mypy cannot see through the default
            400,
            "AuthorizationHeaderMalformed",
        )
        for name in ("SignedHeaders", "Signature")
    ),
    (
        "H4 no Credential",
        resigned(lambda value: "AWS4-HMAC-SHA256 " + value.partition(", ")[2]),
        400,
        "AuthorizationHeaderMalformed",
    ),
    ("H4 empty Signature", signature_changed(lambda _: ""), 400, "AuthorizationHeaderMalformed"),
    ("H4 repeated field", resigned(lambda v: v + ", Signature=00"), 400, "AuthorizationHeaderMalformed"),
    ("H4 unknown field", resigned(lambda v: v + ", Foo=00"), 400, "AuthorizationHeaderMalformed"),
    ("H5 region", scoped(f"{DAY}/us-east-1/s3/aws4_request"), 400, "AuthorizationHeaderMalformed"),
    ("H5 service", scoped(f"{DAY}/{REGION}/ec2/aws4_request"), 400, "AuthorizationHeaderMalformed"),
    ("H5 terminal", scoped(f"{DAY}/{REGION}/s3/aws5_request"), 400, "AuthorizationHeaderMalformed"),
    ("H5 ten digits", scoped(f"3223423234/{REGION}/s3/aws4_request"), 400, "AuthorizationHeaderMalformed"),
    ("H5 no such day", scoped(f"20261322/{REGION}/s3/aws4_request"), 400, "AuthorizationHeaderMalformed"),
    ("H5 day before", scoped(f"20261121/{REGION}/s3/aws4_request"), 400, "AuthorizationHeaderMalformed"),
    ("H5 scope too short", scoped(f"{DAY}/{REGION}/aws4_request"), 400, "AuthorizationHeaderMalformed"),
    (
        "H5 no key id",
        resigned(lambda v: v.replace(ACCESS_KEY_ID, "")),
        400,
        "AuthorizationHeaderMalformed",
    ),
    ("H6 unknown key id", resigned(lambda v: v.replace(ACCESS_KEY_ID, "AKOTHER")), 403, "InvalidAccessKeyId"),
    (
        "H7 one digit",
        signature_changed(lambda s: s[:-1] + ("0" if s[-1] != "0" else "1")),
        403,
        "SignatureDoesNotMatch",
    ),
    ("H7 upper-case", signature_changed(str.upper), 403, "SignatureDoesNotMatch"),
    ("H7 truncated", signature_changed(lambda s: s[:-1]), 403, "SignatureDoesNotMatch"),
    ("H7 65 characters", signature_changed(lambda s: s + "0"), 403, "SignatureDoesNotMatch"),
    ("H8 no date", header_request(dated_by=None), 403, "AccessDenied"),
    ("H8 bad x-amz-date", header_request(stamp="yesterday"), 403, "AccessDenied"),
    ("H8 no such time", header_request(stamp=f"{DAY}T256199Z"), 403, "AccessDenied"),
    ("H8 bad Date", header_request(dated_by="date", stamp="Sun, 99 Nov 2026 12:00:00 GMT"), 403, "AccessDenied"),
    (
        "H8 bad x-amz-date beside a good Date",
        header_request(stamp="x", extra=[("date", "Sun, 22 Nov 2026 12:00:00 GMT")]),
        403,
        "AccessDenied",
    ),
    ("H9 too old", header_request(when=seconds(-901)), 403, "RequestTimeTooSkewed"),
    ("H9 too new", header_request(when=seconds(901)), 403, "RequestTimeTooSkewed"),
    ("H10 x-amz-acl unsigned", header_request(late=[("x-amz-acl", "public-read")]), 403, "AccessDenied"),
    ("H10 x-amz-meta unsigned", header_request(late=[("X-Amz-Meta-A", "1")]), 403, "AccessDenied"),
    ("H11 host unsigned", header_request(names="x-amz-content-sha256;x-amz-date"), 403, "AccessDenied"),
    (
        "H12 absent header",
        header_request(names="host;x-absent;x-amz-content-sha256;x-amz-date"),
        403,
        "SignatureDoesNotMatch",
    ),
    ("H12 unsorted", header_request(names="x-amz-content-sha256;host;x-amz-date"), 403, "SignatureDoesNotMatch"),
    ("H12 upper-case", header_request(names="Host;x-amz-content-sha256;x-amz-date"), 403, "SignatureDoesNotMatch"),
    (
        "H12 repeated",
        header_request(names="host;host;x-amz-content-sha256;x-amz-date"),
        403,
        "SignatureDoesNotMatch",
    ),
    ("H12 empty name", header_request(names=";host;x-amz-content-sha256;x-amz-date"), 403, "SignatureDoesNotMatch"),
    ("H13 header and query", presigned_request(late=[("authorization", "AWS4-HMAC-SHA256 x")]), 400, "InvalidArgument"),
    ("H13 header and SigV2", presigned_v2_request(extra=[("authorization", "AWS k:s")]), 400, "InvalidArgument"),
    ("H13 SigV4 and SigV2", presigned_request(late_query="&Signature=x"), 400, "InvalidArgument"),
    *(
        (f"H14 two {name}", header_request(late=[(name, value)]), 400, "InvalidArgument")
        for name, value in (
            ("authorization", "x"),
            ("host", "s3.example.test"),
            ("x-amz-date", "20261122T120000Z"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        )
    ),
    ("H15 content hash foo", header_request(payload="foo"), 400, "InvalidArgument"),
    ("H15 content hash empty", header_request(payload=""), 400, "InvalidArgument"),
    ("H15 content hash absent", header_request(payload=None), 400, "InvalidRequest"),
    (
        "H15 SigV4A chunks",
        header_request(payload="STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"),
        400,
        "InvalidRequest",
    ),
    ("session token", header_request(extra=[("x-amz-security-token", "t")]), 400, "InvalidToken"),
    ("session token in the query", presigned_request(query="X-Amz-Security-Token=t"), 400, "InvalidToken"),
    ("H18 Expires abc", presigned_request(changed={"X-Amz-Expires": "abc"}), 400, "AuthorizationQueryParametersError"),
    *(
        (f"H18 Expires {value}", presigned_request(changed={"X-Amz-Expires": value}), 403, "AccessDenied")
        for value in ("604801", "-1", "0", "9999999999999999999")
    ),
    *(
        (f"H18 no {name}", presigned_request(changed={name: None}), 400, "AuthorizationQueryParametersError")
        for name in (
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Date",
            "X-Amz-Expires",
            "X-Amz-SignedHeaders",
            "X-Amz-Signature",
        )
    ),
    (
        "H18 date not ISO",
        presigned_request(changed={"X-Amz-Date": "Sun, 22 Nov 2026"}),
        400,
        "AuthorizationQueryParametersError",
    ),
    (
        "H18 ECDSA",
        presigned_request(changed={"X-Amz-Algorithm": "AWS4-ECDSA-P256-SHA256"}),
        400,
        "AuthorizationQueryParametersError",
    ),
    ("H18 repeated", presigned_request(late_query="&X-Amz-Expires=9"), 400, "AuthorizationQueryParametersError"),
    (
        "H18 another region",
        presigned_request(changed={"X-Amz-Credential": f"{ACCESS_KEY_ID}/{DAY}/us-east-1/s3/aws4_request"}),
        400,
        "AuthorizationQueryParametersError",
    ),
    ("H19 expired", presigned_request(when=seconds(-3601)), 403, "AccessDenied"),
    ("H19 not valid yet", presigned_request(when=seconds(901)), 403, "AccessDenied"),
    *(
        (f"H21 unsigned {name}", presigned_request("PUT", late=[(name, "x")]), 403, "AccessDenied")
        for name in ("x-amz-tagging", "x-amz-acl", "x-amz-copy-source")
    ),
    ("H32 forged presigned", presigned_request(late_query="&x-id=GetObject"), 403, "SignatureDoesNotMatch"),
    (
        "H32 forged seed, header",
        resigned(lambda v: v[:-1] + ("0" if v[-1] != "0" else "1"), payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        403,
        "SignatureDoesNotMatch",
    ),
    (
        "H32 forged seed, query",
        presigned_request("PUT", late=[("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")]),
        403,
        "SignatureDoesNotMatch",
    ),
    (
        "H36 anonymous signed streaming",
        request_of("PUT", "/b/k", "", [("host", "h"), ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")]),
        400,
        "InvalidRequest",
    ),
    (
        "H36 presigned signed streaming",
        presigned_request("PUT", late=[("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")]),
        400,
        "InvalidRequest",
    ),
    (
        "presigned payload said twice",
        presigned_request(
            "PUT", query=f"X-Amz-Content-Sha256={EMPTY}", late=[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]
        ),
        400,
        "InvalidArgument",
    ),
    (
        "presigned control bytes",
        presigned_request(query="x-amz-acl=a%0D%0Ab"),
        400,
        "InvalidArgument",
    ),
    ("presigned repeated header", presigned_request(query="x-amz-acl=a&X-Amz-Acl=b"), 400, "InvalidArgument"),
    ("SigV2 expired", presigned_v2_request(expires=str(int(seconds(-1).timestamp()))), 403, "AccessDenied"),
    (
        "SigV2 over 7 days",
        presigned_v2_request(expires=str(int(seconds(604801).timestamp()))),
        403,
        "AccessDenied",
    ),
    ("SigV2 Expires no number", presigned_v2_request(expires="soon"), 403, "AccessDenied"),
    ("SigV2 Expires 12 digits", presigned_v2_request(expires="253402300800"), 403, "AccessDenied"),
    *(
        (f"SigV2 no {name}", presigned_v2_request(changed={name: None}), 403, "AccessDenied")
        for name in ("AWSAccessKeyId", "Expires", "Signature")
    ),
    ("SigV2 repeated", presigned_v2_request(late_query=f"&Expires={V2_SOON}"), 403, "AccessDenied"),
    ("SigV2 over HTTP", presigned_v2_request(tls_version=None), 403, "AccessDenied"),
    ("SigV2 unknown key", presigned_v2_request(changed={"AWSAccessKeyId": "AKOTHER"}), 403, "InvalidAccessKeyId"),
    ("SigV2 forged", presigned_v2_request(changed={"Signature": "AAAA"}), 403, "SignatureDoesNotMatch"),
    ("SigV2 subresource added", presigned_v2_request(late_query="&acl"), 403, "SignatureDoesNotMatch"),
    ("SigV2 subresource added, escaped", presigned_v2_request(late_query="&%61cl"), 403, "SignatureDoesNotMatch"),
    ("SigV2 unsigned subresource added", presigned_v2_request(late_query="&retention"), 403, "AccessDenied"),
    (
        "SigV2 version made part of another parameter",
        presigned_v2_request(
            query="response-expires=a%26versionId%3Db", resource="/bucket/key?response-expires=a&versionId=b"
        ),
        403,
        "AccessDenied",
    ),
    (
        "SigV2 subresource made part of another parameter",
        presigned_v2_request(query="response-expires=a%26uploads", resource="/bucket/key?response-expires=a&uploads"),
        403,
        "AccessDenied",
    ),
    ("SigV2 header added in the query", presigned_v2_request(late_query="&x-amz-acl=a"), 403, "SignatureDoesNotMatch"),
    (
        "SigV2 signed type not sent",
        request_of(
            "PUT",
            "/bucket/key",
            presigned_v2_request("PUT", extra=[("content-type", "a/b")]).raw_query.decode() + "&content-type=a%2Fb",
            [("host", "h")],
        ),
        403,
        "SignatureDoesNotMatch",
    ),
    *(
        (
            f"presigned {value} in the query alone",
            presigned_request("PUT", query=f"X-Amz-Content-Sha256={value}", payload=value),
            400,
            "InvalidArgument",
        )
        for value in (EMPTY, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "foo")
    ),
]


@pytest.mark.parametrize(("name", "request_", "status", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_hostile_request_is_refused(name: str, request_: Request, status: int, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        accept(request_)
    assert (caught.value.row.status, caught.value.row.code) == (status, code)
    assert SECRET not in str(caught.value)


def test_h1_nothing_presented_is_anonymous() -> None:
    found = present(request_of("GET", "/b/k", "prefix=a", [("host", "h")]), NOW, REGION)
    assert isinstance(found, Anonymous)
    assert found.payload.mode is PayloadMode.UNSIGNED_PAYLOAD


def test_anonymous_may_send_an_unsigned_trailer() -> None:
    headers = [("host", "h"), ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")]
    found = present(request_of("PUT", "/b/k", "", headers), NOW, REGION)
    assert isinstance(found, Anonymous)
    assert found.payload.mode.has_trailer


def test_h5_names_the_right_region() -> None:
    for request in (
        scoped(f"{DAY}/us-east-1/s3/aws4_request"),
        presigned_request(changed={"X-Amz-Credential": f"{ACCESS_KEY_ID}/{DAY}/us-east-1/s3/aws4_request"}),
    ):
        with pytest.raises(S3Error) as caught:
            accept(request)
        assert caught.value.fields["Region"] == REGION


@pytest.mark.parametrize("make", [header_request, presigned_request, presigned_v2_request])
def test_h6_unknown_key_costs_what_a_wrong_signature_costs(
    make: Callable[[], Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make()
    presentation = present(request, NOW, REGION)
    assert isinstance(presentation, Presentation)
    steps: list[tuple[str, int]] = []
    real = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        steps.append(("compare", len(left)))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    taken = []
    for secret in ("wrong" * 8, None, ""):
        with pytest.raises(S3Error) as caught:
            verify(presentation, request, secret)
        taken.append((caught.value.row.code, tuple(steps)))
        steps.clear()
    assert [code for code, _ in taken] == ["SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidAccessKeyId"]
    assert len({work for _, work in taken}) == 1
    assert taken[0][1]


def test_h6_nobodys_secret_opens_nothing() -> None:
    request = header_request()
    presentation = present(request, NOW, REGION)
    assert isinstance(presentation, Presentation)
    with pytest.raises(S3Error) as caught:
        verify(presentation, request, NOBODYS_SECRET)
    assert caught.value.row.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("offset", [-900, -899, 899, 900])
def test_h9_within_15_minutes_is_accepted(offset: int) -> None:
    assert accept(header_request(when=seconds(offset))).kind is Kind.HEADER


def test_h10_content_sha256_may_stay_unsigned() -> None:
    assert accept(header_request(names="host;x-amz-date")).signed_headers == ("host", "x-amz-date")


def test_h15_declared_hash_is_compared() -> None:
    verified = accept(header_request(payload=EMPTY))
    verified.payload.check(bytes.fromhex(EMPTY))
    with pytest.raises(S3Error) as caught:
        verified.payload.check(bytes(32))
    assert (caught.value.row.status, caught.value.row.code) == (400, "XAmzContentSHA256Mismatch")
    accept(header_request()).payload.check(bytes(32))


@pytest.mark.parametrize("expires", ["1", "604800"])
def test_h18_expires_bounds_are_accepted(expires: str) -> None:
    assert accept(presigned_request(changed={"X-Amz-Expires": expires})).kind is Kind.PRESIGNED_V4


def test_h19_message_and_last_second() -> None:
    assert accept(presigned_request(when=seconds(-3600))).expires_at == NOW
    for when, message in ((seconds(-3601), "Request has expired"), (seconds(901), "Request is not valid yet")):
        with pytest.raises(S3Error) as caught:
            accept(presigned_request(when=when))
        assert caught.value.message == message


def test_h22_revoked_key_is_refused_at_once() -> None:
    with pytest.raises(S3Error) as caught:
        accept(presigned_request(), secrets={})
    assert (caught.value.row.status, caught.value.row.code) == (403, "InvalidAccessKeyId")


def test_presigned_lifetime_beyond_the_calendar_is_an_error_of_ours() -> None:
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    with pytest.raises(S3Error) as caught:
        accept(presigned_request(when=end), now=end)
    assert caught.value.row.code == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    "stamp", ["Sun, 22 Nov 2026 12:00:00 GMT", "Sun, 22 Nov 2026 12:00:00 -0000", "20261122T120000Z"]
)
def test_date_header_is_legal(stamp: str) -> None:
    assert accept(header_request(dated_by="date", stamp=stamp)).access_key_id == ACCESS_KEY_ID


def test_no_space_behind_the_commas_is_legal() -> None:
    assert accept(resigned(lambda value: value.replace(", ", ","))).access_key_id == ACCESS_KEY_ID


def test_unknown_query_names_are_signed() -> None:
    assert accept(header_request(query="x-id=PutObject")).kind is Kind.HEADER
    assert accept(header_request(query="uploads&x-id=CreateMultipartUpload")).kind is Kind.HEADER


def test_plus_in_a_query_is_a_space_for_signing_and_for_reading() -> None:
    assert canonical.query_pairs(b"a=b+c&&d&=e&f=%zz") == (
        (b"a", b"b c"),
        (b"d", b""),
        (b"", b"e"),
        (b"f", b"%zz"),
    )
    assert canonical.canonical_query(canonical.query_pairs(b"a=b+c")) == b"a=b%20c"


def test_empty_path_is_signed_as_a_slash() -> None:
    signed = header_request(path="/")
    request = request_of("PUT", "", "", list(signed.headers))
    assert accept(request).kind is Kind.HEADER


@pytest.mark.parametrize("mode", [mode for mode in PayloadMode if mode is not PayloadMode.HASH])
def test_payload_forms(mode: PayloadMode) -> None:
    verified = accept(header_request(payload=mode.value))
    assert verified.payload.mode is mode
    assert verified.payload.sha256 is None
    assert (verified.chunk_signer is not None) == mode.is_signed_streaming


def test_presigned_payload_is_unsigned_unless_said() -> None:
    assert accept(presigned_request("PUT")).payload.mode is PayloadMode.UNSIGNED_PAYLOAD
    said = presigned_request("PUT", payload=EMPTY, late=[("x-amz-content-sha256", EMPTY)])
    assert accept(said).payload.sha256 == bytes.fromhex(EMPTY)
    hoisted = presigned_request(
        "PUT", query=f"X-Amz-Content-Sha256={EMPTY}", payload=EMPTY, late=[("x-amz-content-sha256", EMPTY)]
    )
    assert accept(hoisted).payload == parse_payload(EMPTY)
    unsigned = presigned_request("PUT", query="X-Amz-Content-Sha256=UNSIGNED-PAYLOAD")
    assert accept(unsigned).payload.mode is PayloadMode.UNSIGNED_PAYLOAD


def test_presigned_parameters_that_stand_for_headers_are_reported() -> None:
    verified = accept(presigned_request("PUT", query="x-amz-acl=private&x-amz-meta-a=%20b%20&x-id=PutObject"))
    assert verified.hoisted_headers == (("x-amz-acl", "private"), ("x-amz-meta-a", "b"))
    both = presigned_request("PUT", query="x-amz-acl=private", extra=[("x-amz-acl", "private")])
    assert accept(both).hoisted_headers == ()


def test_sigv2_presigned_is_accepted() -> None:
    verified = accept(presigned_v2_request(late_query="&x-id=GetObject"))
    assert verified.kind is Kind.PRESIGNED_V2
    assert verified.payload.mode is PayloadMode.UNSIGNED_PAYLOAD
    assert verified.expires_at == seconds(3600)
    last = presigned_v2_request(expires=str(int(seconds(604800).timestamp())))
    assert accept(last).kind is Kind.PRESIGNED_V2


def test_sigv2_takes_ampersands_that_begin_no_parameter() -> None:
    query = "response-content-disposition=attachment%3B%20filename%3D%22a%26b%26acls.txt%22"
    resource = '/bucket/key?response-content-disposition=attachment; filename="a&b&acls.txt"'
    assert accept(presigned_v2_request(query=query, resource=resource)).kind is Kind.PRESIGNED_V2


def test_sigv2_covers_headers_and_subresources() -> None:
    request = presigned_v2_request(
        "PUT",
        query="partNumber=1&uploadId=u",
        extra=[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), ("content-type", "text/plain"), ("x-amz-acl", "private")],
    )
    assert accept(request).kind is Kind.PRESIGNED_V2
    repeated = presigned_v2_request(
        extra=[("x-amz-meta-a", "1,2")],
    )
    split = [("host", "h"), ("x-amz-meta-a", "1"), ("x-amz-meta-a", "2")]
    same = request_of("GET", "/bucket/key", repeated.raw_query.decode(), split)
    assert accept(same).kind is Kind.PRESIGNED_V2


def test_sigv2_parameters_that_stand_for_headers_are_signed_and_reported() -> None:
    signed = presigned_v2_request("PUT", extra=[("content-type", "text/plain"), ("x-amz-acl", "private")])
    query = signed.raw_query.decode() + "&content-type=text%2Fplain&x-amz-acl=private"
    sent = [("host", "h"), ("content-type", "text/plain")]
    assert accept(request_of("PUT", "/bucket/key", query, sent)).hoisted_headers == (("x-amz-acl", "private"),)


def test_sigv2_virtual_hosted_resource_names_the_bucket() -> None:
    request = presigned_v2_request(path="/key", resource="/bucket/key")
    assert accept(request, bucket_from_host="bucket").kind is Kind.PRESIGNED_V2
    for other in (None, "victim"):
        with pytest.raises(S3Error) as caught:
            accept(request, bucket_from_host=other)
        assert caught.value.row.code == "SignatureDoesNotMatch"


def test_sigv2_can_be_turned_off() -> None:
    with pytest.raises(S3Error) as caught:
        accept(presigned_v2_request(), settings=SignatureSettings(presigned_v2=False))
    assert (caught.value.row.status, caught.value.row.code) == (400, "InvalidRequest")


def test_expires_alone_is_no_authentication() -> None:
    assert isinstance(present(request_of("GET", "/b", "Expires=1", [("host", "h")]), NOW, REGION), Anonymous)


def test_no_secret_in_a_repr() -> None:
    request = header_request(payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    presentation = present(request, NOW, REGION)
    assert isinstance(presentation, Presentation)
    verified = verify(presentation, request, SECRET)
    assert verified.chunk_signer is not None
    shown = repr((presentation, verified, verified.chunk_signer))
    for secret in (
        SECRET,
        presentation.signature.decode(),
        repr(verified.chunk_signer.signing_key)[2:-1],
        verified.chunk_signer.signing_key.hex(),
    ):
        assert secret not in shown
