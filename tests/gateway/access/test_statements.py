"""What a policy says of a request, row by row, and what must hold for every policy."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.policy_document import parse_policy
from gateway.access.statements import Policy, Verdict

A, B = "a1" * 16, "b2" * 16
ARN = "arn:aws:s3:::box"
Facts = Mapping[str, tuple[str, ...]]

Y, N = True, False


def judge(policy: Policy, caller: str | None, action: str, key: str | None, facts: Facts) -> Verdict:
    return policy.judge(caller, action, ARN if key is None else f"{ARN}/{key}", facts.get)


def made(*statements: dict[str, Any], version: str = "2012-10-17") -> Policy:
    whole = [
        {"Effect": "Allow", **({} if "NotPrincipal" in entry else {"Principal": "*"})}
        | ({} if "NotAction" in entry else {"Action": "s3:*"})
        | ({} if "NotResource" in entry else {"Resource": [ARN, f"{ARN}/*"]})
        | entry
        for entry in statements
    ]
    return parse_policy(json.dumps({"Version": version, "Statement": whole}).encode(), "box")


# Principals: (member, value) -> is the caller meant?
PRINCIPALS = [
    ("Principal", "*", A, Y),
    ("Principal", "*", None, Y),
    ("Principal", {"AWS": "*"}, None, Y),
    ("Principal", {"AWS": A}, A, Y),
    ("Principal", {"AWS": A}, B, N),
    ("Principal", {"AWS": A}, None, N),
    ("Principal", {"AWS": f"arn:aws:iam::{A}:root"}, A, Y),
    ("Principal", {"AWS": [A, B]}, B, Y),
    ("Principal", {"AWS": [A, "*"]}, None, Y),
    ("Principal", {"CanonicalUser": A}, A, Y),
    ("Principal", {"CanonicalUser": A}, B, N),
    ("Principal", {"AWS": A, "CanonicalUser": B}, B, Y),
]


@pytest.mark.parametrize(("member", "value", "caller", "meant"), PRINCIPALS)
def test_principals(member: str, value: object, caller: str | None, meant: bool) -> None:
    allow = judge(made({member: value}), caller, "s3:GetObject", "k", {})
    assert allow is (Verdict.ALLOW if meant else Verdict.SILENT)
    deny = made({}, {"Effect": "Deny", f"Not{member}": value})
    assert judge(deny, caller, "s3:GetObject", "k", {}) is (Verdict.ALLOW if meant else Verdict.DENY)


# (pattern, action, key) -> does the statement speak of it?
ACTIONS = [
    ("s3:GetObject", "s3:GetObject", Y),
    ("s3:getobject", "s3:GetObject", Y),
    ("S3:GETOBJECT", "s3:GetObject", Y),
    ("s3:GetObject", "s3:GetObjectVersion", N),
    ("s3:GetObject*", "s3:GetObjectVersion", Y),
    ("s3:GetObjectAc?", "s3:GetObject", N),
    ("s3:Get*", "s3:GetObjectAcl", Y),
    ("s3:Get*", "s3:PutObject", N),
    ("s3:*Object", "s3:PutObject", Y),
    ("s3:*Object", "s3:PutObjectAcl", N),
    ("s3:?etObject", "s3:GetObject", Y),
    ("s3:*", "s3:DeleteObjectVersion", Y),
    ("*", "s3:DeleteObjectVersion", Y),
    (["s3:PutObject", "s3:GetObject"], "s3:GetObject", Y),
    (["s3:PutObject", "s3:DeleteObject"], "s3:GetObject", N),
]


@pytest.mark.parametrize(("pattern", "action", "speaks"), ACTIONS)
def test_actions(pattern: object, action: str, speaks: bool) -> None:
    assert (judge(made({"Action": pattern}), A, action, "k", {}) is Verdict.ALLOW) is speaks
    if pattern not in ("*", "s3:*"):  # nothing would be left
        assert (judge(made({"NotAction": pattern}), A, action, "k", {}) is Verdict.ALLOW) is not speaks


RESOURCES = [
    (f"{ARN}/*", "s3:GetObject", "k", Y),
    (f"{ARN}/*", "s3:GetObject", "a/b/c", Y),
    (f"{ARN}/*", "s3:ListBucket", None, N),
    (f"{ARN}", "s3:ListBucket", None, Y),
    (f"{ARN}", "s3:GetObject", "k", N),
    (f"{ARN}*", "s3:ListBucket", None, Y),
    (f"{ARN}*", "s3:GetObject", "k", Y),
    (f"{ARN}/k", "s3:GetObject", "k", Y),
    (f"{ARN}/k", "s3:GetObject", "K", N),
    (f"{ARN}/k", "s3:GetObject", "kk", N),
    (f"{ARN}/team-a/*", "s3:GetObject", "team-a/x", Y),
    (f"{ARN}/team-a/*", "s3:GetObject", "team-ab", N),
    (f"{ARN}/team-a/*", "s3:GetObject", "team-a", N),
    (f"{ARN}/team-a*", "s3:GetObject", "team-ab", Y),
    (f"{ARN}/?", "s3:GetObject", "é", Y),
    (f"{ARN}/?", "s3:GetObject", "ab", N),
    (f"{ARN}/*.jpg", "s3:GetObject", "a/b.jpg", Y),
    (f"{ARN}/*.jpg", "s3:GetObject", "a/b.jpg.exe", N),
    (f"{ARN}/a*/b*/c", "s3:GetObject", "a1/b2/c", Y),
    (f"{ARN}/a*/b*/c", "s3:GetObject", "a1/c", N),
    (f"{ARN}/${{*}}", "s3:GetObject", "*", Y),
    (f"{ARN}/${{*}}", "s3:GetObject", "k", N),
    (f"{ARN}/${{?}}", "s3:GetObject", "?", Y),
    (f"{ARN}/${{?}}", "s3:GetObject", "k", N),
    (f"{ARN}/${{$}}{{x}}", "s3:GetObject", "${x}", Y),
    (f"{ARN}/home/${{aws:username}}/*", "s3:GetObject", "home/alice/x", Y),
    (f"{ARN}/home/${{aws:username}}/*", "s3:GetObject", "home/bob/x", N),
    (f"{ARN}/home/${{AWS:UserName}}/*", "s3:GetObject", "home/alice/x", Y),
    (f"{ARN}/${{aws:PrincipalTag/team, 'all'}}/x", "s3:GetObject", "all/x", Y),
    (f"{ARN}/${{aws:PrincipalTag/team}}/x", "s3:GetObject", "/x", N),
    (f"{ARN}/${{aws:username, 'all'}}", "s3:GetObject", "all", N),
    (f"{ARN}/${{aws:Referer}}/x", "s3:GetObject", "a/x", N),
    (f"{ARN}/${{aws:Referer}}/x", "s3:GetObject", "*/x", Y),
    ([f"{ARN}/a", f"{ARN}/b"], "s3:GetObject", "b", Y),
    ([f"{ARN}/a", f"{ARN}/b"], "s3:GetObject", "c", N),
]
CALL = {"aws:username": ("alice",), "aws:referer": ("*",)}


@pytest.mark.parametrize(("resource", "action", "key", "meant"), RESOURCES)
def test_resources(resource: object, action: str, key: str | None, meant: bool) -> None:
    verdict = judge(made({"Resource": resource}), A, action, key, CALL)
    assert verdict is (Verdict.ALLOW if meant else Verdict.SILENT)


@pytest.mark.parametrize(("resource", "action", "key", "meant"), RESOURCES)
def test_resources_of_a_deny(resource: object, action: str, key: str | None, meant: bool) -> None:
    verdict = judge(made({}, {"Effect": "Deny", "Resource": resource}), A, action, key, CALL)
    assert verdict is (Verdict.DENY if meant else Verdict.ALLOW)


def test_not_resource() -> None:
    policy = made({"NotResource": f"{ARN}/secret/*", "Action": "s3:GetObject"})
    assert judge(policy, A, "s3:GetObject", "open/x", {}) is Verdict.ALLOW
    assert judge(policy, A, "s3:GetObject", "secret/x", {}) is Verdict.SILENT


def test_not_resource_that_cannot_be_filled_in_denies_and_never_allows() -> None:
    mine = f"{ARN}/${{aws:username}}/*"
    assert judge(made({"NotResource": mine}), None, "s3:GetObject", "x", {}) is Verdict.SILENT
    deny = made({}, {"Effect": "Deny", "NotResource": mine})
    assert judge(deny, None, "s3:GetObject", "x", {}) is Verdict.DENY


def test_variables_mean_nothing_in_the_version_of_2008() -> None:
    old = made({"Resource": f"{ARN}/${{aws:username}}"}, version="2008-10-17")
    assert judge(old, A, "s3:GetObject", "alice", CALL) is Verdict.SILENT
    assert judge(old, A, "s3:GetObject", "${aws:username}", CALL) is Verdict.ALLOW


REF, IP, NOW, TLS = "aws:Referer", "aws:SourceIp", "aws:CurrentTime", "s3:TlsVersion"
KEYS = "s3:RequestObjectTagKeys"
ROOT = f"arn:aws:iam::{A}:root"

# (operator, key, values of the policy, values of the request, holds)
CONDITIONS: list[tuple[str, str, object, tuple[str, ...] | None, bool]] = [
    ("StringEquals", REF, "x", ("x",), Y),
    ("StringEquals", REF, "x", ("X",), N),
    ("StringEquals", REF, "x", ("",), N),
    ("StringEquals", REF, "", ("",), Y),
    ("StringEquals", REF, "", None, N),
    ("StringEquals", REF, "x", None, N),
    ("StringEquals", REF, ["x", "y"], ("y",), Y),
    ("StringEquals", REF, ["x", "y"], ("z",), N),
    ("StringEquals", REF, "x*", ("xy",), N),
    ("StringEquals", REF, "x*", ("x*",), Y),
    ("StringEquals", REF, "${*}", ("*",), Y),
    ("StringEquals", REF, "${aws:username}", ("alice",), Y),
    ("StringEquals", REF, "${aws:username}", ("bob",), N),
    ("StringEquals", REF, "${aws:PrincipalTag/t, 'x'}", ("x",), Y),
    ("StringNotEquals", REF, "x", ("x",), N),
    ("StringNotEquals", REF, "x", ("y",), Y),
    ("StringNotEquals", REF, "x", None, Y),
    ("StringNotEquals", REF, ["x", "y"], ("y",), N),
    ("StringNotEquals", REF, ["x", "y"], ("z",), Y),
    ("StringEqualsIgnoreCase", REF, "ÄX", ("äx",), Y),
    ("StringEqualsIgnoreCase", REF, "x", ("y",), N),
    ("StringNotEqualsIgnoreCase", REF, "X", ("x",), N),
    ("StringNotEqualsIgnoreCase", REF, "X", ("y",), Y),
    ("StringLike", REF, "https://a.example/*", ("https://a.example/p",), Y),
    ("StringLike", REF, "https://a.example/*", ("https://a.example.evil/p",), N),
    ("StringLike", REF, "x?z", ("xyz",), Y),
    ("StringLike", REF, "x?z", ("xz",), N),
    ("StringLike", REF, "*", ("",), Y),
    ("StringLike", REF, "*", None, N),
    ("StringLike", REF, "${*}x", ("ax",), N),
    ("StringLike", REF, "${aws:username}/*", ("alice/x",), Y),
    ("StringNotLike", REF, "x*", ("xy",), N),
    ("StringNotLike", REF, "x*", ("y",), Y),
    ("StringNotLike", REF, "x*", None, Y),
    ("StringLikeIfExists", REF, "x*", None, Y),
    ("StringLikeIfExists", REF, "x*", ("y",), N),
    ("StringLikeIfExists", REF, "x*", ("xy",), Y),
    ("StringEqualsIfExists", REF, "x", None, Y),
    ("StringNotEqualsIfExists", REF, "x", None, Y),
    ("StringNotEqualsIfExists", REF, "x", ("x",), N),
    ("NumericEquals", TLS, "1.2", ("1.2",), Y),
    ("NumericEquals", TLS, "1.2", ("1.20",), Y),
    ("NumericEquals", TLS, 1.2, ("1.3",), N),
    ("NumericNotEquals", TLS, "1.2", ("1.3",), Y),
    ("NumericNotEquals", TLS, "1.2", None, Y),
    ("NumericLessThan", TLS, "1.3", ("1.2",), Y),
    ("NumericLessThan", TLS, "1.2", ("1.2",), N),
    ("NumericLessThan", TLS, "1.2", None, N),
    ("NumericLessThanEquals", TLS, "1.2", ("1.2",), Y),
    ("NumericGreaterThan", TLS, "1.2", ("1.3",), Y),
    ("NumericGreaterThan", TLS, "1.2", ("1.2",), N),
    ("NumericGreaterThanEquals", TLS, "1.2", ("1.2",), Y),
    ("NumericGreaterThanEquals", TLS, "-5", ("-6",), N),
    ("NumericLessThanIfExists", TLS, "1.2", None, Y),
    ("NumericEquals", TLS, ["1.2", "1.3"], ("1.3",), Y),
    ("DateLessThan", NOW, "2026-06-01T00:00:00Z", ("2026-05-31T23:59:59Z",), Y),
    ("DateLessThan", NOW, "2026-06-01T00:00:00Z", ("2026-06-01T00:00:00Z",), N),
    ("DateLessThanEquals", NOW, "2026-06-01T00:00:00Z", ("2026-06-01T00:00:00Z",), Y),
    ("DateLessThan", NOW, "2026-06-01T02:00:00+02:00", ("2026-05-31T23:59:59Z",), Y),
    ("DateLessThan", NOW, "2026-06-01", ("2026-05-31T23:59:59Z",), Y),
    ("DateLessThan", NOW, "2026", ("2025-12-31T23:59:59Z",), Y),
    ("DateGreaterThan", NOW, "2026-06-01T00:00:00Z", ("2026-06-01T00:00:01Z",), Y),
    ("DateGreaterThanEquals", NOW, "2026-06-01T00:00:00Z", ("2026-06-01T00:00:00Z",), Y),
    ("DateEquals", NOW, "2026-06-01T00:00:00Z", ("2026-06-01T00:00:00Z",), Y),
    ("DateNotEquals", NOW, "2026-06-01T00:00:00Z", ("2026-06-01T00:00:00Z",), N),
    ("DateLessThan", "aws:EpochTime", "1780272000", ("1780271999",), Y),
    ("DateGreaterThan", "aws:EpochTime", "2026-05-31T00:00:00Z", ("1780271999",), Y),
    ("NumericGreaterThan", "aws:EpochTime", 1780272000, ("1780271999",), N),
    ("Bool", "aws:SecureTransport", "true", ("true",), Y),
    ("Bool", "aws:SecureTransport", "false", ("true",), N),
    ("Bool", "aws:SecureTransport", False, ("false",), Y),
    ("Bool", "aws:SecureTransport", "TRUE", ("true",), Y),
    ("Bool", "aws:MultiFactorAuthPresent", "true", None, N),
    ("BoolIfExists", "aws:MultiFactorAuthPresent", "false", None, Y),
    ("BinaryEquals", REF, "eHl6", ("xyz",), Y),
    ("BinaryEquals", REF, "eHl6", ("xy",), N),
    ("IpAddress", IP, "10.0.0.0/8", ("10.1.2.3",), Y),
    ("IpAddress", IP, "10.0.0.0/8", ("11.1.2.3",), N),
    ("IpAddress", IP, "10.1.2.3", ("10.1.2.3",), Y),
    ("IpAddress", IP, "10.1.2.3/24", ("10.1.2.77",), Y),
    ("IpAddress", IP, "10.0.0.0/8", ("::ffff:10.1.2.3",), Y),
    ("IpAddress", IP, "2001:db8::/32", ("2001:db8::1",), Y),
    ("IpAddress", IP, "2001:db8::/32", ("2001:db9::1",), N),
    ("IpAddress", IP, "fe80::/10", ("fe80::1%eth0",), Y),
    ("IpAddress", IP, "0.0.0.0/0", ("::1",), N),
    ("IpAddress", IP, ["10.0.0.0/8", "::/0"], ("::1",), Y),
    ("IpAddress", IP, "10.0.0.0/8", None, N),
    ("NotIpAddress", IP, "10.0.0.0/8", ("10.1.2.3",), N),
    ("NotIpAddress", IP, "10.0.0.0/8", ("11.1.2.3",), Y),
    ("NotIpAddress", IP, ["10.0.0.0/8", "11.0.0.0/8"], ("11.1.2.3",), N),
    ("NotIpAddress", IP, "10.0.0.0/8", None, Y),
    ("ArnEquals", "aws:PrincipalArn", ROOT, (ROOT,), Y),
    ("ArnEquals", "aws:PrincipalArn", ROOT, (ROOT.replace(A, B),), N),
    ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:root", (ROOT,), Y),
    ("ArnLike", "aws:PrincipalArn", "arn:aws:s3:*:*:*", (ROOT,), N),
    ("ArnLike", "aws:PrincipalArn", "*", (ROOT,), Y),
    ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:root", None, N),
    ("ArnNotLike", "aws:PrincipalArn", "arn:aws:iam::*:root", (ROOT,), N),
    ("ArnNotEquals", "aws:PrincipalArn", ROOT, (ROOT.replace(A, B),), Y),
    ("ArnNotEquals", "aws:PrincipalArn", ROOT, None, Y),
    ("Null", REF, "true", None, Y),
    ("Null", REF, "true", ("x",), N),
    ("Null", REF, "false", None, N),
    ("Null", REF, "false", ("x",), Y),
    ("Null", REF, False, ("",), Y),
    ("Null", KEYS, "true", (), Y),
    ("Null", REF, ["true", "false"], None, Y),
    ("ForAnyValue:StringEquals", KEYS, "a", ("a", "b"), Y),
    ("ForAnyValue:StringEquals", KEYS, "c", ("a", "b"), N),
    ("ForAnyValue:StringEquals", KEYS, "a", None, N),
    ("ForAnyValue:StringEquals", KEYS, "a", (), N),
    ("ForAnyValue:StringNotEquals", KEYS, "a", ("a", "b"), Y),
    ("ForAnyValue:StringNotEquals", KEYS, "a", ("a",), N),
    ("ForAnyValue:StringNotEquals", KEYS, "a", None, N),
    ("ForAnyValue:StringEqualsIfExists", KEYS, "a", None, Y),
    ("ForAnyValue:StringLike", KEYS, "a*", ("ab", "c"), Y),
    ("ForAllValues:StringEquals", KEYS, ["a", "b"], ("a", "b"), Y),
    ("ForAllValues:StringEquals", KEYS, ["a", "b"], ("a",), Y),
    ("ForAllValues:StringEquals", KEYS, ["a", "b"], ("a", "c"), N),
    ("ForAllValues:StringEquals", KEYS, ["a", "b"], None, Y),
    ("ForAllValues:StringEquals", KEYS, ["a", "b"], (), Y),
    ("ForAllValues:StringNotEquals", KEYS, ["a"], ("b", "c"), Y),
    ("ForAllValues:StringNotEquals", KEYS, ["a"], ("a", "c"), N),
    ("ForAllValues:StringLike", KEYS, "a*", ("ab", "ac"), Y),
    ("StringEquals", KEYS, "a", ("a", "b"), Y),
    ("StringNotEquals", KEYS, "a", ("a", "b"), N),
    ("StringNotEquals", KEYS, "a", ("b", "c"), Y),
    ("StringEquals", "s3:RequestObjectTag/Team", "x", ("x",), Y),
    ("StringEquals", "S3:REQUESTOBJECTTAG/Team", "x", ("x",), Y),
    ("StringEquals", "s3:x-amz-acl", "public-read", ("public-read",), Y),
    ("StringEquals", "s3:x-amz-server-side-encryption", "AES256", None, N),
    ("StringNotEquals", "s3:x-amz-server-side-encryption", "AES256", None, Y),
    ("Null", "s3:x-amz-server-side-encryption", "true", None, Y),
    ("StringLike", "s3:x-amz-copy-source", "box/public/*", ("box/public/x",), Y),
    ("StringLike", "s3:x-amz-grant-full-control", "*", None, N),
    ("Null", "s3:if-none-match", "false", ("*",), Y),
    ("Bool", "s3:ObjectCreationOperation", "true", ("true",), Y),
    ("NumericLessThan", "s3:object-lock-remaining-retention-days", "10", ("9.5",), Y),
]


def _stated(operator: str, key: str, values: object) -> dict[str, Any]:
    return {"Action": "s3:PutObject", "Resource": f"{ARN}/*", "Condition": {operator: {key: values}}}


def _facts(key: str, values: tuple[str, ...] | None) -> Facts:
    head, slash, tag = key.partition("/")
    return {"aws:username": ("alice",)} | ({} if values is None else {head.lower() + slash + tag: values})


@pytest.mark.parametrize(("operator", "key", "values", "sent", "holds"), CONDITIONS)
def test_conditions(operator: str, key: str, values: object, sent: tuple[str, ...] | None, holds: bool) -> None:
    stated, facts = _stated(operator, key, values), _facts(key, sent)
    allow = judge(made(stated), A, "s3:PutObject", "k", facts)
    assert allow is (Verdict.ALLOW if holds else Verdict.SILENT)
    deny = judge(made({}, stated | {"Effect": "Deny"}), A, "s3:PutObject", "k", facts)
    assert deny is (Verdict.DENY if holds else Verdict.ALLOW)


# What cannot be judged: no Allow by it, and no way round a Deny.
DOUBTS = [
    ("NumericLessThan", TLS, "1.2", "soon"),
    ("NumericNotEquals", TLS, "1.2", "1e9"),
    ("DateLessThan", NOW, "2026-01-01", "yesterday"),
    ("DateNotEquals", NOW, "2026-01-01", "0:00"),
    ("IpAddress", IP, "10.0.0.0/8", "10.0.0.0, 11.1.1.1"),
    ("NotIpAddress", IP, "10.0.0.0/8", "unknown"),
    ("NotIpAddress", IP, "fe80::/10", "fe80::1%" + "a" * 60),
    ("Bool", "aws:SecureTransport", "true", "1"),
    ("StringEquals", REF, "${aws:PrincipalTag/team}", "x"),
    ("StringNotEquals", REF, "${aws:PrincipalTag/team}", "x"),
    ("StringNotLike", REF, "${aws:PrincipalTag/team}*", "x"),
    ("ArnNotLike", "aws:PrincipalArn", "arn:aws:iam::${aws:PrincipalTag/team}:root", ROOT),
    ("ForAnyValue:StringNotEquals", KEYS, "${aws:PrincipalTag/team}", "x"),
    ("ForAllValues:StringEquals", KEYS, "${aws:PrincipalTag/team}", "x"),
    ("StringEquals", REF, "${aws:UserAgent}", "x"),
]


@pytest.mark.parametrize(("operator", "key", "values", "sent"), DOUBTS)
def test_doubt_denies_and_never_allows(operator: str, key: str, values: object, sent: str) -> None:
    stated = _stated(operator, key, values)
    facts = {**_facts(key, (sent,)), "aws:useragent": ("x" * 9000,)}
    assert judge(made(stated), A, "s3:PutObject", "k", facts) is Verdict.SILENT
    assert judge(made({}, stated | {"Effect": "Deny"}), A, "s3:PutObject", "k", facts) is Verdict.DENY


def test_all_conditions_of_a_statement_must_hold() -> None:
    both = {"StringEquals": {REF: "x", "aws:UserAgent": "y"}, "Bool": {"aws:SecureTransport": "true"}}
    policy = made({"Condition": both})
    whole = {"aws:referer": ("x",), "aws:useragent": ("y",), "aws:securetransport": ("true",)}
    assert judge(policy, A, "s3:GetObject", "k", whole) is Verdict.ALLOW
    for name in whole:
        part = {key: value for key, value in whole.items() if key != name}
        assert judge(policy, A, "s3:GetObject", "k", part) is Verdict.SILENT


def test_the_case_of_a_tag_counts() -> None:
    policy = made(_stated("StringEquals", "s3:RequestObjectTag/Team", "x"))
    assert judge(policy, A, "s3:PutObject", "k", {"s3:requestobjecttag/team": ("x",)}) is Verdict.SILENT


def test_there_are_two_hundred_rows() -> None:
    assert len(PRINCIPALS) * 2 + len(ACTIONS) * 2 + len(RESOURCES) * 2 + len(CONDITIONS) + len(DOUBTS) >= 200


ENTRIES = st.fixed_dictionaries(
    {
        "Principal": st.sampled_from(["*", {"AWS": A}, {"AWS": B}]),
        "Action": st.sampled_from(["s3:*", "s3:GetObject", "s3:Get*", ["s3:PutObject", "s3:GetObject"]]),
        "Resource": st.sampled_from([[ARN, f"{ARN}/*"], f"{ARN}/a*", f"{ARN}/${{aws:username}}/*"]),
        "Condition": st.sampled_from(
            [
                {},
                {"StringEquals": {REF: "x"}},
                {"StringNotEquals": {REF: "x"}},
                {"NumericLessThan": {"aws:EpochTime": "5"}},
                {"Null": {REF: "true"}},
            ]
        ),
    }
)
REQUESTS = st.tuples(
    st.sampled_from([A, B, None]),
    st.sampled_from(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]),
    st.sampled_from(["a", "alice/x", "b"]),
    st.fixed_dictionaries(
        {},
        optional={
            "aws:referer": st.sampled_from([("x",), ("y",), ("",)]),
            "aws:username": st.just(("alice",)),
            "aws:epochtime": st.sampled_from([("1",), ("9",), ("z",)]),
        },
    ),
)


@given(st.lists(ENTRIES, min_size=1, max_size=4), ENTRIES, REQUESTS)
def test_adding_a_deny_never_allows(entries: list[dict[str, Any]], more: dict[str, Any], request_: Any) -> None:
    before = judge(made(*entries), *request_)
    after = judge(made(*entries, more | {"Effect": "Deny"}), *request_)
    assert after in {before, Verdict.DENY}


@given(st.lists(ENTRIES, min_size=1, max_size=4), ENTRIES, REQUESTS)
def test_adding_an_allow_never_denies(entries: list[dict[str, Any]], more: dict[str, Any], request_: Any) -> None:
    before = judge(made(*entries), *request_)
    after = judge(made(*entries, more), *request_)
    assert after in {before, Verdict.ALLOW}


@given(st.lists(ENTRIES, min_size=2, max_size=4), st.randoms(), REQUESTS)
def test_the_order_of_statements_means_nothing(entries: list[dict[str, Any]], random: Any, request_: Any) -> None:
    effects = [entry | {"Effect": random.choice(["Allow", "Deny"])} for entry in entries]
    shuffled = random.sample(effects, len(effects))
    assert judge(made(*effects), *request_) is judge(made(*shuffled), *request_)


@given(ENTRIES, REQUESTS)
def test_a_statement_cannot_both_allow_and_not_deny(entry: dict[str, Any], request_: Any) -> None:
    """What a statement allows, the same statement denies where it says Deny: doubt goes one way only."""
    if judge(made(entry), *request_) is Verdict.ALLOW:
        assert judge(made(entry | {"Effect": "Deny"}), *request_) is Verdict.DENY
