"""Signature Version 4 in the header, attacked: H1 to H17 of the hostile inputs, and what follows from them."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from tests.hostile.signing import Shot, other_digit
from tests.hostile.stage import Row, Stage, is_refusal

KEEP: Final = "/alice-1/keep"
MALFORMED: Final = "AuthorizationHeaderMalformed"
MISMATCH: Final = "SignatureDoesNotMatch"


def get(stage: Stage, **changes: object) -> Shot:
    return stage.alice.header("GET", KEEP, **changes)  # type: ignore[arg-type]  # the tables name parameters that there are


def put(stage: Stage, **changes: object) -> Shot:
    return stage.alice.header("PUT", "/alice-1/new", b"new", **changes)  # type: ignore[arg-type]  # as above


def edited(shot: Shot, old: str, new: str) -> Shot:
    return shot.resigned(old, new)


def with_signature(shot: Shot, signature: str) -> Shot:
    return shot.resigned(shot.signature, signature)


def bent(shot: Shot, change: Callable[[str], str]) -> Shot:
    return with_signature(shot, change(shot.signature))


def without_field(shot: Shot, name: str) -> Shot:
    scheme, _, rest = shot.authorization.partition(" ")
    kept = ", ".join(part for part in rest.split(", ") if not part.startswith(name))
    return shot.changed("Authorization", f"{scheme} {kept}")


def doubled(shot: Shot, name: str) -> Shot:
    return shot.with_header(name, next(value for held, value in shot.headers if held.lower() == name.lower()))


ROWS: Final = {
    "H1-no-authorization": Row(lambda s: get(s).without("Authorization"), 403, "AccessDenied"),
    "H1-no-authorization-on-put": Row(lambda s: put(s).without("Authorization"), 403, "AccessDenied"),
    "H1-no-authorization-on-delete": Row(
        lambda s: s.alice.header("DELETE", KEEP).without("Authorization"), 403, "AccessDenied"
    ),
    "H1-no-authorization-on-service": Row(
        lambda s: s.alice.header("GET", "/").without("Authorization"), 403, "AccessDenied"
    ),
    "H1-anonymous-learns-no-bucket": Row(
        lambda s: s.alice.header("GET", "/nobody-has-this").without("Authorization"), 403, "AccessDenied"
    ),
    "H1-empty": Row(lambda s: get(s).changed("Authorization", ""), 403, "AccessDenied"),
    "H1-blank": Row(lambda s: get(s).changed("Authorization", " \t "), 403, "AccessDenied"),
    "H2-x": Row(lambda s: get(s).changed("Authorization", "x"), 400, "InvalidArgument"),
    "H2-bearer": Row(lambda s: get(s).changed("Authorization", "Bearer abc"), 400, "InvalidArgument"),
    "H2-basic": Row(lambda s: get(s).changed("Authorization", "Basic YWRtaW46YWRtaW4="), 400, "InvalidArgument"),
    "H2-lower-case-scheme": Row(lambda s: edited(get(s), "AWS4-HMAC", "aws4-hmac"), 400, "InvalidArgument"),
    "H2-latin-1": Row(lambda s: get(s).changed("Authorization", "\xe9\xff"), 400, "InvalidArgument"),
    "H3-sigv2": Row(lambda s: get(s).changed("Authorization", "AWS AKID:c2ln"), 400, "InvalidRequest"),
    "H3-sigv4a": Row(
        lambda s: edited(get(s), "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), 400, "InvalidRequest"
    ),
    "H3-sigv4-sha1": Row(lambda s: edited(get(s), "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), 400, "InvalidRequest"),
    "H4-no-credential": Row(lambda s: without_field(get(s), "Credential"), 400, MALFORMED),
    "H4-no-signed-headers": Row(lambda s: without_field(get(s), "SignedHeaders"), 400, MALFORMED),
    "H4-no-signature": Row(lambda s: without_field(get(s), "Signature"), 400, MALFORMED),
    "H4-scheme-alone": Row(lambda s: get(s).changed("Authorization", "AWS4-HMAC-SHA256"), 400, MALFORMED),
    "H4-empty-credential": Row(
        lambda s: get(s).changed("Authorization", "AWS4-HMAC-SHA256 Credential=, SignedHeaders=host, Signature=0"),
        400,
        MALFORMED,
    ),
    "H4-empty-signature": Row(lambda s: with_signature(get(s), ""), 400, MALFORMED),
    "H4-signature-twice": Row(
        lambda s: get(s).changed("Authorization", get(s).authorization + ", Signature=0"), 400, MALFORMED
    ),
    "H4-unknown-field": Row(
        lambda s: get(s).changed("Authorization", get(s).authorization + ", Region=x"), 400, MALFORMED
    ),
    "H4-lower-case-fields": Row(lambda s: edited(get(s), "Signature=", "signature="), 400, MALFORMED),
    "H4-thousand-commas": Row(
        lambda s: get(s).changed("Authorization", "AWS4-HMAC-SHA256 " + "," * 1000), 400, MALFORMED
    ),
    "H5-region": Row(
        lambda s: s.alice.bent(region="eu-nowhere-1").header("GET", KEEP), 400, MALFORMED, "<Region>us-east-1</Region>"
    ),
    "H5-empty-region": Row(lambda s: s.alice.bent(region="").header("GET", KEEP), 400, MALFORMED, "us-east-1"),
    "H5-region-upper-case": Row(lambda s: s.alice.bent(region="US-EAST-1").header("GET", KEEP), 400, MALFORMED),
    "H5-service": Row(lambda s: s.alice.bent(service="ec2").header("GET", KEEP), 400, MALFORMED),
    "H5-service-s3-outposts": Row(
        lambda s: s.alice.bent(service="s3-outposts").header("GET", KEEP), 400, MALFORMED
    ),
    "H5-terminal": Row(lambda s: s.alice.bent(terminal="aws5_request").header("GET", KEEP), 400, MALFORMED),
    "H5-terminal-with-more": Row(
        lambda s: s.alice.bent(terminal="aws4_request/x").header("GET", KEEP), 400, MALFORMED
    ),
    "H5-date-no-date": Row(
        lambda s: s.alice.header("GET", KEEP, scope="3223423234/us-east-1/s3/aws4_request"), 400, MALFORMED
    ),
    "H5-date-13th-month": Row(
        lambda s: s.alice.header("GET", KEEP, scope="20261301/us-east-1/s3/aws4_request"), 400, MALFORMED
    ),
    "H5-date-of-another-day": Row(
        lambda s: s.alice.header("GET", KEEP, scope="20200101/us-east-1/s3/aws4_request"), 400, MALFORMED
    ),
    "H5-credential-too-short": Row(lambda s: edited(get(s), "/aws4_request", ""), 400, MALFORMED),
    "H6-unknown-key-id": Row(
        lambda s: s.alice.bent(access_key_id="AKNOBODYHASTHISONE00").header("GET", KEEP), 403, "InvalidAccessKeyId"
    ),
    "H6-unknown-key-id-on-put": Row(
        lambda s: s.alice.bent(access_key_id="AKNOBODYHASTHISONE00").header("PUT", KEEP, b"x"),
        403,
        "InvalidAccessKeyId",
    ),
    "H6-key-id-in-lower-case": Row(
        lambda s: s.alice.bent(access_key_id=s.alice.access_key_id.lower()).header("GET", KEEP),
        403,
        "InvalidAccessKeyId",
    ),
    "H6-key-id-with-a-percent-sign": Row(
        lambda s: s.alice.bent(access_key_id=s.alice.access_key_id[:-1] + "%").header("GET", KEEP),
        403,
        "InvalidAccessKeyId",
    ),
    "H6-key-id-latin-1": Row(
        lambda s: s.alice.bent(access_key_id="AK\xff\xe9").header("GET", KEEP), 403, "InvalidAccessKeyId"
    ),
    "H6-key-id-of-8-kilobytes": Row(
        lambda s: s.alice.bent(access_key_id="A" * 8000).header("GET", KEEP), 403, "InvalidAccessKeyId"
    ),
    "H6-key-id-as-sql": Row(
        lambda s: s.alice.bent(access_key_id="' OR 1=1 --").header("GET", KEEP), 403, "InvalidAccessKeyId"
    ),
    "H7-last-digit": Row(lambda s: with_signature(get(s), other_digit(get(s).signature)), 403, MISMATCH),
    "H7-first-digit": Row(
        lambda s: bent(get(s), lambda text: other_digit(text[::-1])[::-1]), 403, MISMATCH
    ),
    "H7-upper-case": Row(
        lambda s: bent(get(s), lambda text: text[:-1].upper() + "A"),
        403,
        MISMATCH,
    ),
    "H7-truncated": Row(lambda s: bent(get(s), lambda text: text[:-1]), 403, MISMATCH),
    "H7-one-digit": Row(lambda s: with_signature(get(s), "0"), 403, MISMATCH),
    "H7-65-digits": Row(lambda s: bent(get(s), lambda text: text + "0"), 403, MISMATCH),
    "H7-latin-1": Row(lambda s: with_signature(get(s), "\xe9" * 64), 403, MISMATCH),
    "H7-wrong-secret": Row(lambda s: s.alice.bent(secret="guessed").header("GET", KEEP), 403, MISMATCH),
    "H7-empty-secret": Row(lambda s: s.alice.bent(secret="").header("GET", KEEP), 403, MISMATCH),
    "H7-another-accounts-secret": Row(
        lambda s: s.alice.bent(secret=s.mallory.secret).header("GET", KEEP), 403, MISMATCH
    ),
    "H7-nobodys-secret": Row(lambda s: s.alice.bent(secret="0" * 40).header("GET", KEEP), 403, MISMATCH),
    "H7-unknown-key-with-nobodys-secret": Row(
        lambda s: s.alice.bent(access_key_id="AKNOBODY", secret="0" * 40).header("GET", KEEP),
        403,
        "InvalidAccessKeyId",
    ),
    "H7-signature-of-another-method": Row(
        lambda s: replace(s.alice.header("GET", KEEP), method="DELETE"), 403, MISMATCH
    ),
    "H7-signature-of-head-for-put": Row(
        lambda s: replace(s.alice.header("HEAD", KEEP), method="PUT"), 403, MISMATCH
    ),
    "H7-signature-of-another-key": Row(
        lambda s: replace(s.alice.header("GET", KEEP), target="/alice-1/big"), 403, MISMATCH
    ),
    "H7-signature-of-another-bucket": Row(
        lambda s: replace(s.alice.header("DELETE", "/alice-2"), target="/alice-1"), 403, MISMATCH
    ),
    "H7-signature-without-the-query": Row(
        lambda s: replace(s.alice.header("GET", "/alice-1"), target="/alice-1?list-type=2"), 403, MISMATCH
    ),
    "H7-put-signature-for-upload-part": Row(
        lambda s: replace(
            s.alice.header("PUT", "/alice-1/alice-upload", b"x"),
            target=f"/alice-1/alice-upload?partNumber=2&uploadId={s.ids['alice']}",
        ),
        403,
        MISMATCH,
    ),
    "H7-abort-signature-for-delete": Row(
        lambda s: replace(
            s.alice.header("DELETE", f"{KEEP}?uploadId={s.ids['alice']}"), target=KEEP
        ),
        403,
        MISMATCH,
    ),
    "H7-path-encoded-twice": Row(
        lambda s: replace(s.alice.header("GET", "/alice-1/kee%70"), target="/alice-1/kee%2570"), 403, MISMATCH
    ),
    "H7-path-signed-for-what-it-decodes-to-twice": Row(
        lambda s: replace(s.alice.header("GET", "/alice-1/kee%2570"), target="/alice-1/kee%70"), 403, MISMATCH
    ),
    "H7-path-with-a-plus-for-a-blank": Row(
        lambda s: replace(s.alice.header("GET", "/alice-1/a%20b"), target="/alice-1/a+b"), 403, MISMATCH
    ),
    "H7-path-with-another-case-of-letters": Row(
        lambda s: replace(s.alice.header("GET", "/alice-1/Keep"), target=KEEP), 403, MISMATCH
    ),
    "H7-path-with-a-slash-more": Row(
        lambda s: replace(s.alice.header("GET", KEEP), target="/alice-1//keep"), 403, MISMATCH
    ),
    "H7-path-normalised": Row(
        lambda s: replace(s.alice.header("GET", "/alice-1/x//keep"), target="/alice-1/x/keep"), 403, MISMATCH
    ),
    "H7-header-value-changed": Row(
        lambda s: put(s, headers=[("x-amz-meta-a", "b")]).changed("x-amz-meta-a", "c"), 403, MISMATCH
    ),
    "H7-header-value-extended": Row(
        lambda s: put(s, headers=[("x-amz-meta-a", "b")]).changed("x-amz-meta-a", "b,c"), 403, MISMATCH
    ),
    "H7-header-repeated": Row(
        lambda s: doubled(put(s, headers=[("x-amz-meta-a", "b")]), "x-amz-meta-a"), 403, MISMATCH
    ),
    "H7-moved-boundary-of-two-headers": Row(
        lambda s: put(s, headers=[("x-amz-meta-a", "b c")]).changed("x-amz-meta-a", "b\tx"), 403, MISMATCH
    ),
    "H7-host-changed": Row(lambda s: get(s).changed("Host", "localhost:1"), 403, MISMATCH),
    "H8-no-date": Row(lambda s: get(s, dated_by=None), 403, "AccessDenied"),
    "H8-bad-x-amz-date": Row(lambda s: get(s, stamp="yesterday"), 403, "AccessDenied"),
    "H8-x-amz-date-with-a-29th-of-february": Row(lambda s: get(s, stamp="20270229T000000Z"), 403, "AccessDenied"),
    "H8-x-amz-date-with-blanks": Row(lambda s: get(s, stamp="2026 1122T000000Z"), 403, "AccessDenied"),
    "H8-x-amz-date-in-other-digits": Row(lambda s: get(s, stamp="\xb2\xb3\xb9" * 6), 403, "AccessDenied"),
    "H8-bad-date": Row(lambda s: get(s, dated_by="date", stamp="Sunday"), 403, "AccessDenied"),
    "H8-bad-x-amz-date-is-not-saved-by-date": Row(
        lambda s: get(s, stamp="x").with_header("Date", "Sun, 22 Nov 2026 08:00:00 GMT"), 403, "AccessDenied"
    ),
    "H9-15-minutes-behind": Row(
        lambda s: s.alice.bent(ago_s=902).header("GET", KEEP), 403, "RequestTimeTooSkewed"
    ),
    "H9-15-minutes-ahead": Row(
        lambda s: s.alice.bent(ago_s=-904).header("GET", KEEP), 403, "RequestTimeTooSkewed"
    ),
    "H9-year-9999": Row(
        lambda s: get(s, stamp="99991231T235959Z", scope="99991231/us-east-1/s3/aws4_request"),
        403,
        "RequestTimeTooSkewed",
    ),
    "H10-metadata-not-signed": Row(lambda s: put(s).with_header("x-amz-meta-a", "b"), 403, "AccessDenied", "signed"),
    "H10-acl-not-signed": Row(lambda s: put(s).with_header("x-amz-acl", "public-read"), 403, "AccessDenied", "signed"),
    "H10-copy-source-not-signed": Row(
        lambda s: put(s).with_header("x-amz-copy-source", "/alice-1/big"), 403, "AccessDenied", "signed"
    ),
    "H10-upper-case-name-not-signed": Row(
        lambda s: put(s).with_header("X-AMZ-Meta-A", "b"), 403, "AccessDenied", "signed"
    ),
    "H10-date-not-signed": Row(
        lambda s: get(s, names="host;x-amz-content-sha256"), 403, "AccessDenied", "signed"
    ),
    "H11-host-not-signed": Row(
        lambda s: get(s, names="x-amz-content-sha256;x-amz-date"), 403, "AccessDenied", "host"
    ),
    "H12-absent-header": Row(
        lambda s: get(s, names="host;x-amz-content-sha256;x-amz-date;x-amz-meta-none"), 403, MISMATCH
    ),
    "H12-unsorted": Row(lambda s: get(s, names="x-amz-content-sha256;host;x-amz-date"), 403, MISMATCH),
    "H12-upper-case": Row(lambda s: get(s, names="Host;x-amz-content-sha256;x-amz-date"), 403, MISMATCH),
    "H12-repeated": Row(lambda s: get(s, names="host;host;x-amz-content-sha256;x-amz-date"), 403, MISMATCH),
    "H12-empty-name": Row(lambda s: get(s, names=";host;x-amz-content-sha256;x-amz-date"), 403, MISMATCH),
    "H12-blank-in-name": Row(lambda s: get(s, names="host;x-amz-content-sha256 ;x-amz-date"), 403, MISMATCH),
    "H13-header-and-query": Row(
        lambda s: replace(get(s), target=s.alice.presigned("GET", KEEP).target), 400, "InvalidArgument"
    ),
    "H13-header-and-one-parameter": Row(
        lambda s: s.alice.header("GET", f"{KEEP}?X-Amz-Signature=00"), 400, "InvalidArgument"
    ),
    "H13-header-and-sigv2": Row(
        lambda s: s.alice.header("GET", f"{KEEP}?AWSAccessKeyId=x"), 400, "InvalidArgument"
    ),
    "H13-empty-header-and-query": Row(
        lambda s: s.alice.presigned("GET", KEEP, late=[("Authorization", "")]), 400, "InvalidArgument"
    ),
    "H14-two-authorizations": Row(
        lambda s: get(s).with_header("Authorization", get(s).authorization), 400, "BadRequest", closes=True
    ),
    "H14-two-hosts": Row(lambda s: doubled(get(s), "Host"), 400, "BadRequest", closes=True),
    "H14-two-dates": Row(lambda s: doubled(get(s), "x-amz-date"), 400, "BadRequest", closes=True),
    "H14-two-hashes": Row(lambda s: doubled(get(s), "x-amz-content-sha256"), 400, "BadRequest", closes=True),
    "H15-another-body": Row(lambda s: replace(put(s), body=b"NEW"), 400, "XAmzContentSHA256Mismatch"),
    "H15-another-body-as-a-blob": Row(
        lambda s: replace(s.alice.header("PUT", "/alice-1/new", b"a" * 300_000), body=b"a" * 299_999 + b"b"),
        400,
        "XAmzContentSHA256Mismatch",
    ),
    "H15-replacing-what-is-there": Row(
        lambda s: replace(s.alice.header("PUT", KEEP, b"kept"), body=b"lost"), 400, "XAmzContentSHA256Mismatch"
    ),
    "H15-another-document": Row(
        lambda s: replace(
            s.alice.header("POST", "/alice-1?delete=", b"<Delete><Object><Key>nokey</Key></Object></Delete>", [
                ("x-amz-checksum-sha256", "z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c4="),
            ]),
            body=b"<Delete><Object><Key>keep</Key></Object></Delete> ",
        ),
        400,
        "XAmzContentSHA256Mismatch",
    ),
    "H15-another-part": Row(
        lambda s: replace(
            s.alice.header("PUT", f"/alice-1/alice-upload?partNumber=1&uploadId={s.ids['alice']}", b"x" * 99),
            body=b"y" * 99,
        ),
        400,
        "XAmzContentSHA256Mismatch",
    ),
    "H15-foo": Row(lambda s: put(s, payload="foo"), 400, "InvalidArgument"),
    "H15-63-digits": Row(lambda s: put(s, payload="a" * 63), 400, "InvalidArgument"),
    "H15-lower-case-unsigned": Row(lambda s: put(s, payload="unsigned-payload"), 400, "InvalidArgument"),
    "H15-empty": Row(lambda s: put(s, payload=""), 400, "InvalidArgument"),
    "H15-absent": Row(
        lambda s: put(s, names="host;x-amz-date").without("x-amz-content-sha256"), 400, "InvalidRequest"
    ),
    "H15-empty-bodys-hash-with-a-body": Row(
        lambda s: replace(s.alice.header("PUT", "/alice-1/new"), body=b"x"), 400, "XAmzContentSHA256Mismatch"
    ),
    "H17-policy": Row(
        lambda s: s.alice.header("PUT", "/alice-1?policy=", b"{}", payload="UNSIGNED-PAYLOAD"), 400, "InvalidRequest"
    ),
    "session-token": Row(
        lambda s: get(s, headers=[("x-amz-security-token", "t")]), 400, "InvalidToken"
    ),
    "session-token-in-query": Row(
        lambda s: s.alice.header("GET", f"{KEEP}?X-Amz-Security-Token=t"), 400, "InvalidToken"
    ),
    "anothers-bucket-list": Row(lambda s: s.mallory.header("GET", "/alice-1"), 403, "AccessDenied"),
    "anothers-bucket-head": Row(lambda s: s.mallory.header("HEAD", "/alice-1"), 403, "AccessDenied"),
    "anothers-bucket-create": Row(lambda s: s.mallory.header("PUT", "/alice-1"), 409, "BucketAlreadyExists"),
    "anothers-bucket-delete": Row(lambda s: s.mallory.header("DELETE", "/alice-2"), 403, "AccessDenied"),
    "anothers-object-get": Row(lambda s: s.mallory.header("GET", KEEP), 403, "AccessDenied"),
    "anothers-object-head": Row(lambda s: s.mallory.header("HEAD", KEEP), 403, "AccessDenied"),
    "anothers-object-put": Row(lambda s: s.mallory.header("PUT", KEEP, b"mine"), 403, "AccessDenied"),
    "anothers-object-delete": Row(lambda s: s.mallory.header("DELETE", KEEP), 403, "AccessDenied"),
    "anothers-uploads": Row(lambda s: s.mallory.header("GET", "/alice-1?uploads="), 403, "AccessDenied"),
    "anothers-location": Row(lambda s: s.mallory.header("GET", "/alice-1?location="), 403, "AccessDenied"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_refused_and_nothing_changed(stage: Stage, name: str) -> None:
    stage.refuses(ROWS[name])


@pytest.mark.parametrize("ago_s", [890, -890, 0], ids="H9-within-{}s".format)
def test_a_clock_that_is_less_than_15_minutes_off_will_do(stage: Stage, ago_s: int) -> None:
    answer = stage.send(stage.alice.bent(ago_s=ago_s).header("GET", KEEP))
    assert (answer.status, answer.body) == (200, b"kept")


def test_h8_a_signed_date_header_will_do(stage: Stage) -> None:
    answer = stage.send(get(stage, dated_by="date"))
    assert (answer.status, answer.body) == (200, b"kept")


def test_h10_the_hash_of_the_body_need_not_stand_among_the_signed_headers(stage: Stage) -> None:
    answer = stage.send(get(stage, names="host;x-amz-date"))
    assert (answer.status, answer.body) == (200, b"kept")


def test_h6_unknown_and_wrong_say_as_little(stage: Stage) -> None:
    """What is not mine and what is not there must not differ in more than code and message."""
    wrong = stage.send(stage.alice.bent(secret="x").header("GET", KEEP))
    absent = stage.send(stage.alice.bent(secret="x").header("GET", "/alice-1/absent"))
    nowhere = stage.send(stage.alice.bent(secret="x").header("GET", "/no-such-bucket/absent"))
    for answer in (wrong, absent, nowhere):
        is_refusal(answer, 403, MISMATCH)
        assert {element.tag for element in answer.xml()} == {"Code", "Message", "Resource", "RequestId", "HostId"}
        assert hashlib.sha256(b"").hexdigest() not in answer.body.decode()


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Range"])
@pytest.mark.parametrize("target", [KEEP, "/alice-1/absent"])
def test_h89_conditions_are_no_oracle_for_who_may_not_read(stage: Stage, header: str, target: str) -> None:
    for value in ("*", '"0"', "Sun, 22 Nov 2020 08:00:00 GMT", "bytes=99-"):
        answer = stage.send(stage.mallory.header("GET", target, headers=[(header, value)]))
        is_refusal(answer, 403, "AccessDenied")


def test_h44_x_forwarded_headers_change_nothing(stage: Stage) -> None:
    """Neither scheme nor host nor address may be claimed."""
    claims = [("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "evil.example")]
    answer = stage.send(get(stage, headers=claims))
    assert (answer.status, answer.body) == (200, b"kept")
    log = stage.gateway.log.read_text()
    assert "evil.example" not in log
