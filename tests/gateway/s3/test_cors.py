"""Cross-origin rules: what fits, what is answered, and what no rule may hold."""

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.access_types import PutBucketCorsInput
from gateway.s3.cors import MAX_RULES, CorsRule, find_rule, preflight_headers, response_headers
from gateway.s3.errors import INVALID_REQUEST, MALFORMED_XML, ErrorRow
from gateway.s3.parsing.cors import MAX_CORS_BYTES
from tests.gateway.s3.wire import read, refused

PAGE = "https://app.example.org"


@pytest.mark.parametrize(
    ("allowed", "origin", "fits"),
    [
        ("*", PAGE, True),
        ("*", "null", True),
        (PAGE, PAGE, True),
        (PAGE, "http://app.example.org", False),
        (PAGE, f"{PAGE}.evil.example", False),
        (PAGE, f"{PAGE}:8443", False),
        (PAGE, PAGE.upper(), False),
        ("https://*.example.org", PAGE, True),
        ("https://*.example.org", "https://example.org", False),
        ("https://*.example.org", "https://x.example.org.evil", False),
        ("https://a*a", "https://a", False),
        ("*", "chrome-extension://abcdef", True),
        ("*", "file://", True),
        ("*", "https://[::1]:8443", True),
        ("*", "https://app.example.org\thttps://evil.example", False),
        ("*", "https://app.example.org https://evil.example", False),
        ("*", "https://app.example.org,https://evil.example", False),
        ("*", "https://app.example.org/path", False),
        ("*", "app.example.org", False),
        ("*", "https://\xe9.example", False),
        ("*", "*", False),
    ],
)
def test_origins(allowed: str, origin: str, fits: bool) -> None:
    rule = CorsRule((allowed,), ("GET",))
    assert (find_rule([rule], origin, "GET") is rule) is fits


@pytest.mark.parametrize(
    ("allowed", "asked", "fits"),
    [
        ((), (), True),
        ((), ("x-a",), False),
        (("*",), ("x-a", "authorization"), True),
        (("X-A",), ("x-a",), True),
        (("x-amz-*",), ("X-Amz-Meta-Colour",), True),
        (("x-amz-*",), ("x-amz-date", "authorization"), False),
        (("x-amz-*", "authorization"), ("x-amz-date", "authorization"), True),
        (("*",), ("x-a", "x b"), False),
        (("*",), ("x-a\tx-b",), False),
        (("*",), ("x-a:b",), False),
        (("*",), ("\xe9",), False),
        (("*",), ("",), False),
    ],
)
def test_request_headers(allowed: tuple[str, ...], asked: tuple[str, ...], fits: bool) -> None:
    rule = CorsRule(("*",), ("PUT",), allowed)
    assert (find_rule([rule], PAGE, "PUT", asked) is rule) is fits
    assert find_rule([rule], PAGE, "DELETE", asked) is None


def test_the_first_rule_that_fits_counts() -> None:
    rules = [CorsRule(("*",), ("PUT",)), CorsRule((PAGE,), ("GET",)), CorsRule(("*",), ("GET",))]
    assert find_rule(rules, PAGE, "GET") is rules[1]
    assert find_rule(rules, "https://other", "GET") is rules[2]


ORIGINS = st.lists(st.sampled_from(["*", PAGE, "https://*.example.org", "http://*"]), min_size=1, max_size=3)


@given(ORIGINS, st.sampled_from([PAGE, "https://x.example.org", "http://evil", "null"]))
def test_h105_a_star_never_comes_with_credentials(allowed: list[str], origin: str) -> None:
    rule = find_rule([CorsRule(tuple(allowed), ("GET",))], origin, "GET")
    if rule is None:
        return
    told = dict(response_headers(rule, origin))
    assert (told["Access-Control-Allow-Origin"] == "*") is ("*" in allowed)
    assert ("Access-Control-Allow-Credentials" in told) is ("*" not in allowed)
    assert told["Access-Control-Allow-Origin"] in {"*", origin}
    assert "Origin" in told["Vary"]


def test_a_preflight_names_what_may_be_sent() -> None:
    rule = CorsRule((PAGE,), ("GET", "PUT"), ("*",), ("ETag", "x-amz-version-id"), 60)
    told = dict(preflight_headers(rule, PAGE, ["X-Amz-Date", "range"]))
    assert told == {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "GET, PUT",
        "Access-Control-Allow-Headers": "x-amz-date, range",
        "Access-Control-Expose-Headers": "ETag, x-amz-version-id",
        "Access-Control-Max-Age": "60",
        "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    }


def document(rule: str) -> bytes:
    return f"<CORSConfiguration><CORSRule>{rule}</CORSRule></CORSConfiguration>".encode()


ORIGIN, METHOD = "<AllowedOrigin>*</AllowedOrigin>", "<AllowedMethod>GET</AllowedMethod>"


@pytest.mark.parametrize(
    ("row", "body"),
    [
        (MALFORMED_XML, b""),
        (MALFORMED_XML, b"<CORSConfiguration/>"),
        (MALFORMED_XML, document("")),
        (MALFORMED_XML, document(ORIGIN)),
        (MALFORMED_XML, document(METHOD)),
        (MALFORMED_XML, document(f"{ORIGIN}{METHOD}<Unknown/>")),
        (MALFORMED_XML, document(f"{ORIGIN}{METHOD}<ID>a</ID><ID>b</ID>")),
        (MALFORMED_XML, document(f"{ORIGIN}{METHOD}<MaxAgeSeconds>-1</MaxAgeSeconds>")),
        (MALFORMED_XML, document(f"{ORIGIN}{METHOD}<MaxAgeSeconds>9999999999</MaxAgeSeconds>")),
        (INVALID_REQUEST, document(f"{ORIGIN}<AllowedMethod>OPTIONS</AllowedMethod>")),
        (INVALID_REQUEST, document(f"{ORIGIN}<AllowedMethod>get</AllowedMethod>")),
        (INVALID_REQUEST, document(f"<AllowedOrigin>https://*.*</AllowedOrigin>{METHOD}")),
        (INVALID_REQUEST, document(f"<AllowedOrigin></AllowedOrigin>{METHOD}")),
        (INVALID_REQUEST, document(f"<AllowedOrigin>a&#13;&#10;Set-Cookie: x</AllowedOrigin>{METHOD}")),
        (INVALID_REQUEST, document(f"{ORIGIN}{METHOD}<AllowedHeader>*-*</AllowedHeader>")),
        (INVALID_REQUEST, document(f"{ORIGIN}{METHOD}<AllowedHeader>a&#10;b</AllowedHeader>")),
        (INVALID_REQUEST, document(f"{ORIGIN}{METHOD}<ExposeHeader>a&#13;&#10;Set-Cookie: x</ExposeHeader>")),
        (INVALID_REQUEST, document(f"{ORIGIN}{METHOD}<ExposeHeader>*</ExposeHeader>")),
        (INVALID_REQUEST, document(f"{ORIGIN}{METHOD}<ExposeHeader>a, b</ExposeHeader>")),
        (INVALID_REQUEST, document(f"{ORIGIN}{METHOD}<ID>{'x' * 256}</ID>")),
        (MALFORMED_XML, document(f"{ORIGIN}{METHOD}").replace(b"</CORSRule>", b"</CORSRule>" + b" " * MAX_CORS_BYTES)),
    ],
)
def test_h106_rules_that_none_may_be(row: ErrorRow, body: bytes) -> None:
    refused(row, "PUT", "/bucket?cors", {}, body)


def test_a_hundred_rules_and_no_more() -> None:
    rule = f"<CORSRule>{ORIGIN}{METHOD}</CORSRule>"
    body = f"<CORSConfiguration>{rule * MAX_RULES}</CORSConfiguration>".encode()
    found = read("PUT", "/bucket?cors", {}, body)
    assert isinstance(found, PutBucketCorsInput)
    assert len(found.rules) == MAX_RULES
    refused(MALFORMED_XML, "PUT", "/bucket?cors", {}, body.replace(rule.encode(), rule.encode() * 2, 1))


def test_a_rule_comes_back_from_its_stored_form() -> None:
    rule = CorsRule(("*",), ("GET",), ("x",), ("y",), 5, "id")
    assert CorsRule.decode(json.loads(json.dumps(rule.encode()))) == rule
    assert CorsRule.decode(CorsRule(("*",), ("GET",)).encode()) == CorsRule(("*",), ("GET",))


_NAMES = st.text("ab*", min_size=1, max_size=6).filter(lambda name: name.count("*") <= 1)


@given(st.lists(_NAMES, max_size=8), st.text("ab", min_size=1, max_size=8))
def test_what_is_allowed_agrees_with_the_definition(allowed: list[str], asked: str) -> None:
    rule = CorsRule(("*",), ("GET",), tuple(allowed))
    fits = any(re.fullmatch(re.escape(name).replace(r"\*", ".*"), asked) for name in allowed)
    assert (find_rule([rule], "https://a", "GET", [asked]) is not None) is fits


def test_no_preflight_is_dear() -> None:
    allowed = tuple(f"{'x' * (number % 200)}*{number:04}" for number in range(2000))
    rules = [CorsRule((f"https://*.{number}.example",), ("GET",), allowed) for number in range(2)]
    asked = [f"x-{'y' * 70}{number}" for number in range(100)]
    rules.append(CorsRule(("*",), ("GET",), (*allowed, "x-*")))
    began = time.process_time()
    assert find_rule(rules, "https://a", "GET", asked) is rules[-1]
    assert time.process_time() - began < 0.02
