"""Bucket policies and cross-origin rules, attacked: H89, H93 and H98 to H106 of the hostile inputs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from tests.hostile.signing import Pairs, Shot
from tests.hostile.stage import Row, Stage, cpu, is_refusal

POLICY: Final = "/alice-1?policy="
MALFORMED: Final = "MalformedPolicy"
CORS: Final = "/alice-1?cors="
ALLOW: Final = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::alice-1/*"}
HOLE: Final = b"</CORSRule></CORSConfiguration>"


def policy(body: bytes | dict[str, Any], status: int = 400, code: str = MALFORMED) -> Row:
    document = body if isinstance(body, bytes) else json.dumps({"Version": "2012-10-17", "Statement": body}).encode()
    return Row(lambda s: s.alice.header("PUT", POLICY, document), status, code)


def cors(rule: str, code: str = "InvalidRequest") -> Row:
    body = f"<CORSConfiguration><CORSRule>{rule}</CORSRule></CORSConfiguration>".encode()
    return Row(lambda s: s.alice.header("PUT", CORS, body), 400, code)


def by_mallory(method: str, target: str, body: bytes = b"", headers: Pairs = ()) -> Row:
    return Row(lambda s: s.mallory.header(method, target, body, headers), 403, "AccessDenied")


ANY: Final = "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
ROWS: Final = {
    "H98-no-json": policy(b"{x"),
    "H98-first-byte": policy(b" {}"),
    "H98-array": policy(b"[]"),
    "H98-empty": policy(b""),
    "H98-utf-16": policy('{"Statement":[]}'.encode("utf-16")),
    "H98-20-kilobytes-and-one": policy(b"{" + b" " * 20_480, code="PolicyTooLarge"),
    "H98-100000-nested-arrays": policy(b'{"Statement":' + b"[" * 100_000, code="PolicyTooLarge"),
    "H98-nested-as-deep-as-it-fits": policy(b'{"Statement":' + b"[" * 20_000),
    "H98-nested-and-closed": policy(b'{"Statement":' + b"[" * 9_000 + b"]" * 9_000 + b"}"),
    "H98-duplicate-keys": policy(b'{"Statement":[],"Statement":[]}'),
    "H98-duplicate-effect": policy(
        json.dumps({"Statement": ALLOW}).encode().replace(b'"Effect"', b'"Effect":"Deny","Effect"')
    ),
    "H98-unknown-element": policy(ALLOW | {"Note": "x"}),
    "H98-unknown-action": policy(ALLOW | {"Action": "s3:ReadObject"}),
    "H98-unknown-operator": policy(ALLOW | {"Condition": {"StringMatches": {"aws:Referer": "x"}}}),
    "H98-unknown-key": policy(ALLOW | {"Condition": {"StringEquals": {"aws:Sourceip2": "x"}}}),
    "H98-key-of-another-action": policy(ALLOW | {"Condition": {"StringEquals": {"s3:prefix": "x"}}}),
    "H98-public-while-blocked": policy(ALLOW, 403, "AccessDenied"),
    "H100-another-bucket": policy(ALLOW | {"Resource": "arn:aws:s3:::mallory-1/*"}),
    "H100-every-bucket": policy(ALLOW | {"Resource": "arn:aws:s3:::*"}),
    "H100-half-a-name": policy(ALLOW | {"Resource": "arn:aws:s3:::alice*"}),
    "H100-longer-name": policy(ALLOW | {"Resource": "arn:aws:s3:::alice-1-evil/*"}),
    "policy-of-another": by_mallory("PUT", POLICY, b"{}"),
    "policy-read-by-another": by_mallory("GET", POLICY),
    "policy-deleted-by-another": by_mallory("DELETE", POLICY),
    "block-lifted-by-another": by_mallory("DELETE", "/alice-1?publicAccessBlock="),
    "ownership-changed-by-another": by_mallory("DELETE", "/alice-1?ownershipControls="),
    "acl-set-by-another": by_mallory("PUT", "/alice-1?acl=", headers=[("x-amz-acl", "private")]),
    "object-acl-set-by-another": by_mallory("PUT", "/alice-1/keep?acl=", headers=[("x-amz-acl", "private")]),
    "cors-set-by-another": by_mallory("PUT", CORS, b"<CORSConfiguration/>"),
    "H89-if-none-match-without-read": by_mallory("GET", "/alice-1/keep", headers=[("If-None-Match", "*")]),
    "H89-if-modified-since-without-read": by_mallory(
        "GET", "/alice-1/keep", headers=[("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")]
    ),
    "H89-if-match-without-read": by_mallory("PUT", "/alice-1/keep", b"x", [("If-Match", '"x"')]),
    "H93-source-of-another": by_mallory("PUT", "/mallory-1/new", headers=[("x-amz-copy-source", "alice-1/keep")]),
    "H93-missing-source-of-another": by_mallory("PUT", "/mallory-1/new", headers=[("x-amz-copy-source", "alice-1/no")]),
    "H106-line-end-in-expose-header": cors(f"{ANY}<ExposeHeader>a&#13;&#10;Set-Cookie: x</ExposeHeader>"),
    "H106-line-end-in-allowed-header": cors(f"{ANY}<AllowedHeader>a&#13;&#10;b</AllowedHeader>"),
    "H106-line-end-in-origin": cors("<AllowedOrigin>a&#13;&#10;b</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"),
    "H106-two-wildcards": cors("<AllowedOrigin>*.*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"),
    "H106-two-wildcards-in-header": cors(f"{ANY}<AllowedHeader>*-*</AllowedHeader>"),
    "H106-unknown-method": cors("<AllowedOrigin>*</AllowedOrigin><AllowedMethod>TRACE</AllowedMethod>"),
    "H106-unknown-element": cors(f"{ANY}<AllowCredentials>true</AllowCredentials>", "MalformedXML"),
    "acl-with-an-entity": Row(
        lambda s: s.alice.header(
            "PUT", "/alice-1?acl=", b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><AccessControlPolicy/>'
        ),
        400,
        "MalformedACLError",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_refused_and_nothing_changed(stage: Stage, name: str) -> None:
    stage.refuses(ROWS[name])


@contextmanager
def ruled(stage: Stage, *statements: dict[str, Any]) -> Iterator[None]:
    """Let a policy hold for a while, public ones too."""
    whole = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()
    both = (("DELETE", "/alice-1?publicAccessBlock=", b""), ("PUT", POLICY, whole))
    assert [stage.send(stage.alice.header(*each)).status for each in both] == [204, 204]
    try:
        yield
    finally:
        assert stage.send(stage.alice.header("DELETE", POLICY)).status == 204
        block = b"".join(
            b"<%s>true</%s>" % (name, name)
            for name in (b"BlockPublicAcls", b"IgnorePublicAcls", b"BlockPublicPolicy", b"RestrictPublicBuckets")
        )
        document = b"<PublicAccessBlockConfiguration>%s</PublicAccessBlockConfiguration>" % block
        assert stage.send(stage.alice.header("PUT", "/alice-1?publicAccessBlock=", document)).status == 200
        stage.settle()


def nobody(stage: Stage, target: str, headers: Pairs = ()) -> Shot:
    return Shot("GET", target, [("Host", stage.alice.host), *headers])


def test_h99_a_deny_wins(stage: Stage) -> None:
    deny = ALLOW | {"Effect": "Deny", "Resource": "arn:aws:s3:::alice-1/keep"}
    with ruled(stage, ALLOW, deny):
        assert stage.send(nobody(stage, "/alice-1/dir/one")).body == b"1"
        for who in (stage.alice, stage.mallory):
            is_refusal(stage.send(who.header("GET", "/alice-1/keep")), 403, "AccessDenied")
        is_refusal(stage.send(nobody(stage, "/alice-1/keep")), 403, "AccessDenied")


def test_h100_a_prefix_ends_where_it_is_written(stage: Stage) -> None:
    with ruled(stage, ALLOW | {"Resource": "arn:aws:s3:::alice-1/dir/*"}):
        assert stage.send(nobody(stage, "/alice-1/dir/one")).body == b"1"
        for target in ("/alice-1/dir", "/alice-1/dirt", "/alice-1/keep", "/mallory-1/dir/one", "/alice-1/x/../dir/one"):
            assert stage.send(nobody(stage, target)).status in {400, 403}, target


FORGED: Final = (
    *("X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-Ip"),
)


@pytest.mark.parametrize("name", FORGED)
def test_h101_an_address_cannot_be_forged(stage: Stage, name: str) -> None:
    condition = {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}
    with ruled(stage, ALLOW | {"Condition": condition}):
        is_refusal(stage.send(nobody(stage, "/alice-1/keep", [(name, "203.0.113.7")])), 403, "AccessDenied")


def test_h101_nor_can_the_transport(stage: Stage) -> None:
    with ruled(stage, ALLOW | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}):
        is_refusal(stage.send(nobody(stage, "/alice-1/keep", [("X-Forwarded-Proto", "http")])), 403, "AccessDenied")


def test_h105_no_origin_is_answered_without_a_rule(stage: Stage) -> None:
    page = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "GET")]
    for shot in (
        Shot("OPTIONS", "/alice-1/keep", [("Host", stage.alice.host), *page]),
        Shot("OPTIONS", "/no-such/keep", [("Host", stage.alice.host), *page]),
        stage.alice.header("GET", "/alice-1/keep", headers=[page[0]]),
    ):
        answer = stage.send(shot)
        assert not any(name.startswith("access-control") for name in answer.headers), answer.headers
    stage.unchanged()


def test_a_policy_that_is_made_to_be_dear_is_cheap(stage: Stage) -> None:
    dear = [f"arn:aws:s3:::alice-1/{'*a?' * 300}{number}" for number in range(20)]
    with ruled(stage, ALLOW | {"Resource": dear}):
        target = "/alice-1/" + "a" * 1000
        began = cpu(stage)
        for _ in range(20):
            is_refusal(stage.send(nobody(stage, target)), 403, "AccessDenied")
        assert cpu(stage) - began < 2.0
