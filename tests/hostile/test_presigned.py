"""Presigned requests, attacked: H18 to H24 of the hostile inputs, in both versions of the signature."""

import json
import time
from dataclasses import replace
from typing import Final

import pytest

from tests.hostile.signing import Shot, other_digit
from tests.hostile.stage import Row, Stage, is_refusal

KEEP: Final = "/alice-1/keep"
NEW: Final = "/alice-1/new"
PARAMETERS: Final = "AuthorizationQueryParametersError"
DENIED: Final = "AccessDenied"
MISMATCH: Final = "SignatureDoesNotMatch"
SIX: Final = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")


def get(stage: Stage, **changes: str | None) -> Shot:
    return stage.alice.presigned(
        "GET", KEEP, changes={f"X-Amz-{name.replace('_', '-')}": value for name, value in changes.items()}
    )


def v2(stage: Stage, method: str = "GET", target: str = KEEP, *, ahead_s: int = 300, late_query: str = "") -> Shot:
    return stage.alice.presigned_v2(method, target, expires=int(time.time()) + ahead_s, late_query=late_query)


def altered(name: str, value: str | None) -> Row:
    return Row(lambda s: get(s, **{name: value}), 400, PARAMETERS)


def repeated(name: str) -> Row:
    return Row(lambda s: s.alice.presigned("GET", KEEP, late_query=f"&X-Amz-{name}=x"), 400, PARAMETERS)


def longer(shot: Shot) -> Shot:
    return swapped(shot, str(later()), str(later() + 3600))


def forged(shot: Shot) -> Shot:
    return replace(shot, target=other_digit(shot.target))


def later() -> int:
    """A time that stays the same while the suite runs."""
    return int(time.time()) // 86_400 * 86_400 + 2 * 86_400


def swapped(shot: Shot, old: str, new: str) -> Shot:
    assert old in shot.target
    return replace(shot, target=shot.target.replace(old, new))


ROWS: Final = {
    "H18-expires-0": Row(lambda s: get(s, Expires="0"), 403, DENIED),
    "H18-expires-604801": Row(lambda s: get(s, Expires="604801"), 403, DENIED),
    "H18-expires-negative": Row(lambda s: get(s, Expires="-1"), 403, DENIED),
    "H18-expires-19-digits": Row(lambda s: get(s, Expires="9" * 19), 403, DENIED),
    "H18-expires-5000-digits": Row(lambda s: get(s, Expires="9" * 5000), 400, PARAMETERS),
    "H18-expires-abc": Row(lambda s: get(s, Expires="abc"), 400, PARAMETERS),
    "H18-expires-float": Row(lambda s: get(s, Expires="1e3"), 400, PARAMETERS),
    "H18-expires-blank": Row(lambda s: get(s, Expires=" 300"), 400, PARAMETERS),
    "H18-expires-underscore": Row(lambda s: get(s, Expires="3_0"), 400, PARAMETERS),
    "H18-expires-other-digits": Row(lambda s: get(s, Expires="٣٠٠"), 400, PARAMETERS),
    **{f"H18-no-{name}": altered(name, None) for name in SIX},
    **{f"H18-empty-{name}": altered(name, "") for name in SIX[:5]},
    **{f"H18-{name}-twice": repeated(name) for name in SIX},
    "H18-date-not-iso": Row(lambda s: get(s, Date="2026-11-22T08:00:00Z"), 400, PARAMETERS),
    "H18-date-32nd": Row(lambda s: get(s, Date="20261132T080000Z"), 400, PARAMETERS),
    "H18-ecdsa": Row(lambda s: get(s, Algorithm="AWS4-ECDSA-P256-SHA256"), 400, PARAMETERS),
    "H18-no-algorithm-known": Row(lambda s: get(s, Algorithm="none"), 400, PARAMETERS),
    "H18-credential-without-scope": Row(lambda s: get(s, Credential="AKID"), 400, PARAMETERS),
    "H18-wrong-region": Row(
        lambda s: s.alice.bent(region="eu-west-1").presigned("GET", KEEP), 400, PARAMETERS, "us-east-1"
    ),
    "H18-wrong-service": Row(lambda s: s.alice.bent(service="sts").presigned("GET", KEEP), 400, PARAMETERS),
    "H19-expired": Row(
        lambda s: s.alice.bent(ago_s=12).presigned("GET", KEEP, expires="10"), 403, DENIED, "Request has expired"
    ),
    "H19-expired-put": Row(
        lambda s: s.alice.bent(ago_s=12).presigned("PUT", NEW, b"x", expires="10"), 403, DENIED, "Request has expired"
    ),
    "H19-from-the-future": Row(
        lambda s: s.alice.bent(ago_s=-1000).presigned("GET", KEEP), 403, DENIED, "not valid yet"
    ),
    "H19-a-week-and-a-second": Row(
        lambda s: s.alice.bent(ago_s=604_802).presigned("GET", KEEP, expires="604800"), 403, DENIED, "has expired"
    ),
    "H21-tagging": Row(
        lambda s: s.alice.presigned("PUT", NEW, b"x", late=[("x-amz-tagging", "a=b")]), 403, DENIED, "x-amz-tagging"
    ),
    "H21-acl": Row(
        lambda s: s.alice.presigned("PUT", NEW, b"x", late=[("x-amz-acl", "public-read")]), 403, DENIED, "x-amz-acl"
    ),
    "H21-copy-source": Row(
        lambda s: s.alice.presigned("PUT", NEW, late=[("x-amz-copy-source", "alice-1/big")]), 403, DENIED, "not signed"
    ),
    "H21-metadata": Row(
        lambda s: s.alice.presigned("PUT", NEW, b"x", late=[("x-amz-meta-a", "b")]), 403, DENIED, "not signed"
    ),
    "H21-parameter-added": Row(
        lambda s: s.alice.presigned("PUT", NEW, b"x", late_query="&x-amz-acl=public-read"), 403, MISMATCH
    ),
    "H21-response-header-added": Row(
        lambda s: s.alice.presigned("GET", KEEP, late_query="&response-content-type=text/html"), 403, MISMATCH
    ),
    "H21-subresource-added": Row(lambda s: s.alice.presigned("PUT", NEW, b"x", late_query="&acl"), 403, MISMATCH),
    "H21-upload-id-added": Row(
        lambda s: s.alice.presigned("DELETE", KEEP, late_query=f"&uploadId={s.ids['alice']}"), 403, MISMATCH
    ),
    "H21-copy-source-in-another-case": Row(
        lambda s: s.alice.presigned("PUT", NEW, late=[("X-Amz-Copy-Source", "alice-1/big")]), 403, DENIED, "not signed"
    ),
    "H21-version-id-added": Row(lambda s: s.alice.presigned("GET", KEEP, late_query="&versionId=null"), 403, MISMATCH),
    "H21-header-in-query-and-outside-differ": Row(
        lambda s: s.alice.presigned(
            "PUT", f"{NEW}?x-amz-meta-a=b", b"x", headers=[("x-amz-meta-a", "c")]
        ), 400, "InvalidArgument",
    ),
    "H21-header-twice-in-query": Row(
        lambda s: s.alice.presigned("PUT", f"{NEW}?X-Amz-Meta-A=b&x-amz-meta-a=c", b"x"), 400, "InvalidArgument"
    ),
    "H21-new-header-by-line-end-in-query": Row(
        lambda s: s.alice.presigned("PUT", f"{NEW}?x-amz-meta-a%0D%0Aset-cookie%3A=b", b"x"), 400, "InvalidArgument"
    ),
    "H21-line-end-in-value": Row(
        lambda s: s.alice.presigned("PUT", f"{NEW}?x-amz-meta-a=b%0D%0Aset-cookie%3Ax", b"x"), 400, "InvalidArgument"
    ),
    "H21-nul-in-value": Row(
        lambda s: s.alice.presigned("PUT", f"{NEW}?x-amz-meta-a=b%00", b"x"), 400, "InvalidArgument"
    ),
    "H21-unicode-in-value": Row(
        lambda s: s.alice.presigned("PUT", f"{NEW}?x-amz-meta-a=%E2%82%AC", b"x"), 400, "InvalidArgument"
    ),
    "H21-sse-c-in-query": Row(
        lambda s: s.alice.presigned(
            "PUT", f"{NEW}?x-amz-server-side-encryption-customer-algorithm=AES256", b"x"
        ), 400, "InvalidArgument",
    ),
    "H21-unsigned-body-made-signed-in-query": Row(
        lambda s: s.alice.presigned("PUT", f"{NEW}?X-Amz-Content-Sha256={'0' * 64}", b"x"), 400, "InvalidArgument"
    ),
    "H21-streaming-in-query": Row(
        lambda s: s.alice.presigned(
            "PUT", f"{NEW}?X-Amz-Content-Sha256=STREAMING-UNSIGNED-PAYLOAD-TRAILER", b"0\r\n\r\n"
        ), 400, "InvalidArgument",
    ),
    "H21-trailer-in-query": Row(
        lambda s: s.alice.presigned("PUT", f"{NEW}?x-amz-trailer=x-amz-checksum-crc32", b"x"), 400, "InvalidRequest"
    ),
    "unsigned-header-of-the-hash": Row(
        lambda s: s.alice.presigned("PUT", NEW, b"x", late=[("x-amz-content-sha256", "0" * 64)]), 403, MISMATCH
    ),
    "signed-hash-of-another-body": Row(
        lambda s: s.alice.presigned(
            "PUT", NEW, b"x", headers=[("x-amz-content-sha256", "0" * 64)], payload="0" * 64
        ), 400, "XAmzContentSHA256Mismatch",
    ),
    "host-not-signed": Row(
        lambda s: get(s, SignedHeaders="x-amz-date"), 403, MISMATCH
    ),
    "signature-digit": Row(lambda s: forged(get(s)), 403, MISMATCH),
    "signature-upper-case-name": Row(
        lambda s: swapped(get(s), "X-Amz-Signature=", "X-AMZ-SIGNATURE="), 400, PARAMETERS
    ),
    "all-six-in-lower-case": Row(
        lambda s: swapped(get(s), "X-Amz-", "x-amz-"), 403, DENIED
    ),
    "get-as-delete": Row(lambda s: replace(get(s), method="DELETE"), 403, MISMATCH),
    "get-as-head": Row(lambda s: replace(get(s), method="HEAD"), 403, MISMATCH),
    "other-key": Row(lambda s: swapped(get(s), "/keep?", "/big?"), 403, MISMATCH),
    "other-bucket": Row(lambda s: swapped(get(s), "/alice-1/", "/alice-2/"), 403, MISMATCH),
    "longer-life": Row(lambda s: swapped(get(s), "X-Amz-Expires=300", "X-Amz-Expires=3000"), 403, MISMATCH),
    "key-id-of-another": Row(lambda s: swapped(get(s), s.alice.access_key_id, s.mallory.access_key_id), 403, MISMATCH),
    "unknown-key-id": Row(
        lambda s: s.alice.bent(access_key_id="AKNOBODY").presigned("GET", KEEP), 403, "InvalidAccessKeyId"
    ),
    "key-id-with-a-nul": Row(
        lambda s: s.alice.bent(access_key_id="AK\0").presigned("GET", KEEP), 403, "InvalidAccessKeyId"
    ),
    "anothers-object": Row(lambda s: s.mallory.presigned("GET", KEEP), 403, DENIED),
    "H23-line-end": Row(
        lambda s: s.alice.presigned("GET", f"{KEEP}?response-content-disposition=a%0D%0ASet-Cookie%3Ax"),
        400, "InvalidArgument",
    ),
    "H23-bare-line-feed": Row(
        lambda s: s.alice.presigned("GET", f"{KEEP}?response-content-type=a%0ASet-Cookie%3Ax"), 400, "InvalidArgument"
    ),
    "H23-nul": Row(lambda s: s.alice.presigned("GET", f"{KEEP}?response-expires=a%00b"), 400, "InvalidURI"),
    "H23-not-latin-1": Row(
        lambda s: s.alice.presigned("GET", f"{KEEP}?response-content-disposition=%E2%82%AC"), 400, "InvalidArgument"
    ),
    "H23-unknown-response-header": Row(
        lambda s: s.alice.presigned("GET", f"{KEEP}?response-set-cookie=a"), 400, "InvalidArgument"
    ),
    "H23-by-header-signature": Row(
        lambda s: s.alice.header("HEAD", f"{KEEP}?response-expires=a%0D%0Ab"), 400, "InvalidArgument"
    ),
    "H23-anonymous": Row(
        lambda s: Shot("GET", f"{KEEP}?response-content-type=text/html", [("Host", s.alice.host)]), 403, DENIED
    ),
    "H24-post-form": Row(
        lambda s: s.alice.header(
            "POST", "/alice-1", b"--b\r\n\r\n", [("Content-Type", "multipart/form-data; boundary=b")]
        ), 412, "PreconditionFailed",
    ),
    "H24-anonymous-post-form": Row(
        lambda s: Shot("POST", "/alice-1", [("Host", s.alice.host), ("Content-Type", "multipart/form-data")], b"x"),
        412, "PreconditionFailed",
    ),
    "H24-post-to-a-key": Row(lambda s: s.alice.header("POST", KEEP, b"x"), 405, "MethodNotAllowed"),
    "v2-expired": Row(lambda s: v2(s, ahead_s=-2), 403, DENIED, "expired"),
    "v2-more-than-a-week": Row(lambda s: v2(s, ahead_s=604_900), 403, DENIED),
    "v2-digit": Row(lambda s: swapped(v2(s), "&Signature=", "&Signature=A"), 403, MISMATCH),
    "v2-other-key": Row(lambda s: swapped(v2(s), "/keep?", "/big?"), 403, MISMATCH),
    "v2-get-as-put": Row(lambda s: replace(v2(s), method="PUT", body=b"x"), 403, MISMATCH),
    "v2-get-as-delete": Row(lambda s: replace(v2(s), method="DELETE"), 403, MISMATCH),
    "v2-longer-life": Row(lambda s: longer(s.alice.presigned_v2("GET", KEEP, expires=later())), 403, MISMATCH),
    "v2-subresource-added": Row(lambda s: v2(s, late_query="&uploads"), 403, MISMATCH),
    "v2-unknown-parameter-added": Row(lambda s: v2(s, late_query="&attributes"), 403, DENIED),
    "v2-upload-id-added": Row(
        lambda s: v2(s, "DELETE", late_query=f"&uploadId={s.ids['alice']}"), 403, MISMATCH
    ),
    "v2-copy-source-added": Row(
        lambda s: v2(s, "PUT", NEW).with_header("x-amz-copy-source", "/alice-1/big"), 403, MISMATCH
    ),
    "v2-metadata-in-query-added": Row(
        lambda s: replace(v2(s, "PUT", NEW, late_query="&x-amz-meta-a=b"), body=b"x"), 403, MISMATCH
    ),
    "v2-renamed-by-a-selector-that-it-does-not-sign": Row(
        lambda s: v2(s, "GET", "/alice-1", late_query="&encryption"), 403, DENIED
    ),
    "v2-and-v4": Row(
        lambda s: replace(get(s), target=get(s).target + "&Signature=x&Expires=1&AWSAccessKeyId=y"),
        400, "InvalidArgument",
    ),
    "v2-without-expires": Row(
        lambda s: Shot("GET", f"{KEEP}?AWSAccessKeyId=a&Signature=b", [("Host", s.alice.host)]), 403, DENIED
    ),
    "v2-expires-of-5000-digits": Row(
        lambda s: Shot(
            "GET", f"{KEEP}?AWSAccessKeyId=a&Signature=b&Expires={'9' * 5000}", [("Host", s.alice.host)]
        ), 403, DENIED,
    ),
    "v2-expires-11-digits": Row(
        lambda s: Shot("GET", f"{KEEP}?AWSAccessKeyId=a&Signature=b&Expires=99999999999", [("Host", s.alice.host)]),
        403, DENIED,
    ),
    "v2-unknown-key-id": Row(
        lambda s: s.alice.bent(access_key_id="AKNOBODY").presigned_v2("GET", KEEP, expires=int(time.time()) + 60),
        403, "InvalidAccessKeyId",
    ),
    "v2-key-id-with-a-nul": Row(
        lambda s: Shot("GET", f"{KEEP}?AWSAccessKeyId=a%00&Signature=b&Expires={later()}", [("Host", s.alice.host)]),
        403, "InvalidAccessKeyId",
    ),
    "v2-signed-streaming": Row(
        lambda s: v2(s, "PUT", NEW).with_header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        400, "InvalidRequest",
    ),
    "v2-anothers-object": Row(
        lambda s: s.mallory.presigned_v2("GET", KEEP, expires=int(time.time()) + 60), 403, DENIED
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_refused_and_nothing_changed(stage: Stage, name: str) -> None:
    answer = stage.refuses(ROWS[name])
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("shape", ["v4", "v4-with-unknown-x-id", "v2", "v2-with-x-id"])
def test_a_right_one_is_taken(stage: Stage, shape: str) -> None:
    shots = {
        "v4": stage.alice.presigned("GET", KEEP),
        "v4-with-unknown-x-id": stage.alice.presigned("GET", f"{KEEP}?x-id=GetObject"),
        "v2": v2(stage),
        "v2-with-x-id": v2(stage, late_query="&x-id=GetObject"),
    }
    answer = stage.send(shots[shape])
    assert (answer.status, answer.body) == (200, b"kept")


def test_h23_response_headers_of_a_signed_query_are_sent_and_stay_one_line(stage: Stage) -> None:
    target = f"{KEEP}?response-content-disposition=attachment%3B%20filename%3D%22a%22&response-cache-control=no-store"
    answer = stage.send(stage.alice.presigned("GET", target))
    assert answer.headers["content-disposition"] == 'attachment; filename="a"'
    assert answer.headers["cache-control"] == "no-store"


def test_h22_a_key_that_was_switched_off_after_signing_opens_nothing(stage: Stage) -> None:
    made = stage.gateway.run("access-key", "create", "--account", "mallory", "--json")
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    spare = stage.mallory.bent(access_key_id=key["access_key_id"], secret=key["secret_access_key"])
    address = spare.presigned("GET", "/mallory-1/keep")
    assert stage.send(address).status == 200
    done = stage.gateway.run("access-key", "disable", key["access_key_id"])
    assert done.returncode == 0, done.stderr
    stage.settle()
    is_refusal(stage.send(address), 403, "InvalidAccessKeyId")
    is_refusal(stage.send(spare.header("PUT", "/mallory-1/new", b"x")), 403, "InvalidAccessKeyId")
    stage.unchanged()
