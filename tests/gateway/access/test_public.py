"""Which policies are public."""

import json
from typing import Any

import pytest

from gateway.access.policy_document import parse_policy

A = "a1" * 16


def public(**statement: Any) -> bool:
    whole = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::box/*",
    } | statement
    document = {"Version": "2012-10-17", "Statement": whole}
    return parse_policy(json.dumps(document).encode(), "box").is_public


def under(operator: str, key: str, value: object) -> bool:
    return public(Condition={operator: {key: value}})


@pytest.mark.parametrize("principal", ["*", {"AWS": "*"}, {"AWS": [A, "*"]}])
def test_everyone_is_the_public(principal: object) -> None:
    assert public(Principal=principal)
    assert not public(Principal=principal, Effect="Deny")


@pytest.mark.parametrize("principal", [{"AWS": A}, {"CanonicalUser": A}, {"AWS": f"arn:aws:iam::{A}:root"}])
def test_an_account_is_not(principal: object) -> None:
    assert not public(Principal=principal)


@pytest.mark.parametrize(
    ("operator", "key", "value"),
    [
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8"),
        ("IpAddress", "aws:SourceIp", ["203.0.113.0/24", "2001:db8::/32"]),
        ("StringEquals", "aws:SourceVpce", "vpce-1"),
        ("StringLike", "aws:SourceVpc", "vpc-1"),
        ("StringEquals", "aws:PrincipalAccount", [A, "b2" * 16]),
        ("ArnEquals", "aws:PrincipalArn", f"arn:aws:iam::{A}:root"),
        ("ForAnyValue:StringEquals", "aws:PrincipalOrgID", "o-1"),
        ("StringEquals", "aws:userid", A),
    ],
)
def test_fixed_values_keep_the_public_out(operator: str, key: str, value: object) -> None:
    assert not under(operator, key, value)


@pytest.mark.parametrize(
    ("operator", "key", "value"),
    [
        ("IpAddress", "aws:SourceIp", "0.0.0.0/0"),
        ("IpAddress", "aws:SourceIp", "0.0.0.0/1"),
        ("IpAddress", "aws:SourceIp", "8.0.0.0/7"),
        ("IpAddress", "aws:SourceIp", ["10.0.0.0/8", "::/0"]),
        ("IpAddress", "aws:SourceIp", "2001::/31"),
        ("NotIpAddress", "aws:SourceIp", "10.0.0.0/8"),
        ("IpAddressIfExists", "aws:SourceIp", "10.0.0.0/8"),
        ("StringNotEquals", "aws:SourceVpce", "vpce-1"),
        ("StringEqualsIfExists", "aws:SourceVpce", "vpce-1"),
        ("StringLike", "aws:SourceVpce", "vpce-*"),
        ("StringEquals", "aws:PrincipalAccount", "${aws:ResourceAccount}"),
        ("ForAllValues:StringEquals", "aws:PrincipalOrgID", "o-1"),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:root"),
        ("ArnLike", "aws:PrincipalArn", "*"),
        ("StringLike", "aws:Referer", "https://example.org/*"),
        ("StringEquals", "aws:UserAgent", "x"),
        ("Bool", "aws:SecureTransport", "true"),
        ("Null", "aws:SourceVpce", "false"),
        ("DateLessThan", "aws:CurrentTime", "2030-01-01"),
        ("StringEquals", "s3:ExistingObjectTag/public", "no"),
        # Everyone who does not sign has this one.
        ("StringEquals", "aws:userid", "anonymous"),
        ("StringLike", "aws:userid", [A, "anonymous"]),
        ("StringEqualsIgnoreCase", "aws:userid", "Anonymous"),
    ],
)
def test_all_else_is_public(operator: str, key: str, value: object) -> None:
    assert under(operator, key, value)


def test_one_condition_that_keeps_the_public_out_is_enough() -> None:
    conditions = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}, "StringLike": {"aws:Referer": "*"}}
    assert not public(Condition=conditions)
