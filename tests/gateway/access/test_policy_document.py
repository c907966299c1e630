"""PutBucketPolicy's documents: what is refused, in which words, and how long that may take."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import policy_document
from gateway.access.actions import ACTIONS, named_by
from gateway.access.operators import OPERATORS
from gateway.access.policy_document import MAX_ACTION_PATTERNS, MAX_DEAR, MAX_POLICY_BYTES, MAX_STATEMENTS, parse_policy
from gateway.access.statements import Policy
from gateway.access.templates import Template
from gateway.s3.errors import MALFORMED_POLICY, POLICY_TOO_LARGE, S3Error

ALICE = "a1" * 16
STATEMENT: dict[str, Any] = {
    "Effect": "Allow",
    "Principal": "*",
    "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::box/*",
}
INVALID_JSON = "This policy contains invalid Json"
NO_EFFECT = "Action does not apply to any resource(s) in statement"
NO_KEY = "Conditions do not apply to combination of actions and resources in statement"


def parsed(document: object) -> Policy:
    return parse_policy(document if isinstance(document, bytes) else json.dumps(document).encode(), "box")


def policy(**changes: Any) -> dict[str, Any]:
    """One statement, with members changed; None takes one away."""
    statement = {name: value for name, value in (STATEMENT | changes).items() if value is not None}
    return {"Version": "2012-10-17", "Statement": [statement]}


def condition(operator: str, key: str, value: object = "x", action: object = "s3:GetObject") -> dict[str, Any]:
    return policy(
        Condition={operator: {key: value}}, Action=action, Resource=["arn:aws:s3:::box", "arn:aws:s3:::box/*"]
    )


MALFORMED: dict[str, tuple[object, str]] = {
    "empty": (b"", "first byte"),
    "a blank before": (b" {}", "first byte"),
    "a list": (b"[]", "first byte"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "first byte"),
    "cut short": (b'{"Version"', INVALID_JSON),
    "bytes behind": (b"{} {}", INVALID_JSON),
    "not UTF-8": (b'{"Id":"\xff"}', INVALID_JSON),
    "a comment": (b'{/* */"Id":"x"}', INVALID_JSON),
    "single quotes": (b"{'Id':'x'}", INVALID_JSON),
    "a comma behind": (b'{"Id":"x",}', INVALID_JSON),
    "not a number": (b'{"Id":NaN}', INVALID_JSON),
    "infinity": (b'{"Id":-Infinity}', INVALID_JSON),
    "a NUL": (b'{"Id":"\\u0000"}', INVALID_JSON),
    "a repeated member": (b'{"Id":"a","Id":"b"}', INVALID_JSON),
    "a repeated member below": (
        b'{"Statement":[{"Effect":"Deny","Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::box/*"}]}',
        INVALID_JSON,
    ),
    "a repeated key of a condition": (
        b'{"Statement":{"Condition":{"Bool":{"aws:SecureTransport":"true","aws:SecureTransport":"false"}}}}',
        INVALID_JSON,
    ),
    "too deep": ({"Statement": [[[[[[[[[]]]]]]]]]}, INVALID_JSON),
    "no statement": ({"Version": "2012-10-17"}, "Missing required field Statement"),
    "an empty list of statements": ({"Statement": []}, "statements"),
    "too many statements": ({"Statement": [{}] * (MAX_STATEMENTS + 1)}, ""),
    "a statement that is a text": ({"Statement": ["x"]}, INVALID_JSON),
    "an unknown member": (policy() | {"Comment": "x"}, "Unknown field Comment"),
    "members are in their case": (policy() | {"version": "2012-10-17"}, "Unknown field version"),
    "an unknown version": (policy() | {"Version": "2012-10-18"}, "version"),
    "a version that is a number": (policy() | {"Version": 2012}, "version"),
    "an Id that is a list": (policy() | {"Id": []}, "Id"),
    "an unknown member of a statement": (policy(Principle="*"), "Unknown field Principle"),
    "no effect": (policy(Effect=None), "Missing required field Effect"),
    "an unknown effect": (policy(Effect="allow"), "effect"),
    "an effect that is a list": (policy(Effect=["Allow"]), "effect"),
    "a Sid that is a number": (policy(Sid=1), "Sid"),
    "no principal": (policy(Principal=None), "Missing required field Principal"),
    "a principal beside its opposite": (policy(NotPrincipal="*"), "stands beside"),
    "a principal that is a bare account": (policy(Principal=ALICE), "Invalid principal"),
    "an empty principal": (policy(Principal={}), "Invalid principal"),
    "an empty list of principals": (policy(Principal={"AWS": []}), "principal"),
    "a service": (policy(Principal={"Service": "cloudfront.amazonaws.com"}), "Invalid principal"),
    "a federation": (policy(Principal={"Federated": "x"}), "Invalid principal"),
    "a user": (policy(Principal={"AWS": f"arn:aws:iam::{ALICE}:user/x"}), "Invalid principal"),
    "an account of AWS's form": (policy(Principal={"AWS": "123456789012"}), "Invalid principal"),
    "an account in upper case": (policy(Principal={"AWS": ALICE.upper()}), "Invalid principal"),
    "half an ARN": (policy(Principal={"AWS": f"arn:aws:iam::{ALICE}"}), "Invalid principal"),
    "the other half": (policy(Principal={"AWS": f"{ALICE}:root"}), "Invalid principal"),
    "a wildcard within a principal": (policy(Principal={"AWS": "arn:aws:iam::*:root"}), "Invalid principal"),
    "a canonical user by ARN": (policy(Principal={"CanonicalUser": f"arn:aws:iam::{ALICE}:root"}), "Invalid principal"),
    "every canonical user": (policy(Principal={"CanonicalUser": "*"}), "Invalid principal"),
    "a principal with a blank": (policy(Principal={"AWS": f"{ALICE} "}), "Invalid principal"),
    "Allow with NotPrincipal": (policy(Principal=None, NotPrincipal={"AWS": ALICE}), "NotPrincipal"),
    "no action": (policy(Action=None), "Missing required field Action"),
    "an action beside its opposite": (policy(NotAction="s3:GetObject"), "stands beside"),
    "an unknown action": (policy(Action="s3:GetObjekt"), "invalid action"),
    "an action without its service": (policy(Action="GetObject"), "invalid action"),
    "an action of another service": (policy(Action="ec2:RunInstances"), "invalid action"),
    "a pattern that names no action": (policy(Action="s3:Frob*"), "invalid action"),
    "one unknown action among others": (policy(Action=["s3:GetObject", "s3:Nope"]), "invalid action"),
    "an unknown action in NotAction": (policy(Action=None, NotAction="s3:Nope"), "invalid action"),
    "an action of the service alone": (policy(Action="s3:ListAllMyBuckets"), "invalid action"),
    "an action that is a number": (policy(Action=1), "invalid action"),
    "an action that is null": ({"Statement": STATEMENT | {"Action": None}}, "invalid action"),
    "no actions": (policy(Action=[]), "invalid action"),
    "no resource": (policy(Resource=None), "Missing required field Resource"),
    "another bucket": (policy(Resource="arn:aws:s3:::other/*"), "invalid resource"),
    "a bucket whose name goes on": (policy(Resource="arn:aws:s3:::box-evil/*"), "invalid resource"),
    "half the name": (policy(Resource="arn:aws:s3:::bo*"), "invalid resource"),
    "everything": (policy(Resource="*"), "invalid resource"),
    "every bucket": (policy(Resource="arn:aws:s3:::*"), "invalid resource"),
    "a variable for a bucket": (policy(Resource="arn:aws:s3:::${aws:username}/*"), "invalid resource"),
    "a resource of another service": (policy(Resource="arn:aws:sqs:::box/*"), "invalid resource"),
    "a resource with a region": (policy(Resource="arn:aws:s3:us-east-1::box/*"), "invalid resource"),
    "a bare path": (policy(Resource="box/*"), "invalid resource"),
    "one foreign resource among others": (
        policy(Resource=["arn:aws:s3:::box/*", "arn:aws:s3:::x/*"]),
        "invalid resource",
    ),
    "a foreign resource in NotResource": (policy(Resource=None, NotResource="arn:aws:s3:::x/*"), "invalid resource"),
    "an action on objects for the bucket": (policy(Resource="arn:aws:s3:::box"), NO_EFFECT),
    "an action on the bucket for objects": (policy(Action="s3:ListBucket"), NO_EFFECT),
    "one action that reaches nothing": (policy(Action=["s3:GetObject", "s3:ListBucket"]), NO_EFFECT),
    "a condition that is a text": (policy(Condition="x"), "condition"),
    "a condition that is a list": (policy(Condition=[]), "condition"),
    "an operator without keys": (policy(Condition={"Bool": {}}), "condition"),
    "a key without values": (condition("StringEquals", "aws:Referer", []), "condition"),
    "a value that is null": (condition("StringEquals", "aws:Referer", None), "condition"),
    "a value that is an object": (condition("StringEquals", "aws:Referer", {}), "condition"),
    "an unknown operator": (condition("StringMatches", "aws:Referer"), "Condition type"),
    "an operator in lower case": (condition("stringequals", "aws:Referer"), "Condition type"),
    "IfExists twice": (condition("StringEqualsIfExistsIfExists", "aws:Referer"), "Condition type"),
    "IfExists alone": (condition("IfExists", "aws:Referer"), "Condition type"),
    "NullIfExists": (condition("NullIfExists", "aws:Referer", "true"), "Condition type"),
    "ForAnyValue of Null": (condition("ForAnyValue:Null", "aws:Referer", "true"), "Condition type"),
    "an unknown quantifier": (condition("ForSomeValues:StringEquals", "aws:Referer"), "Condition type"),
    "two quantifiers": (condition("ForAllValues:ForAnyValue:StringEquals", "aws:Referer"), "Condition type"),
    "an unknown global key": (condition("StringEquals", "aws:Referrer"), "condition key"),
    "an unknown key of S3": (condition("StringEquals", "s3:Prefixes"), "condition key"),
    "a key of another service": (condition("StringEquals", "kms:ViaService"), "condition key"),
    "a key without a service": (condition("StringEquals", "prefix"), "condition key"),
    "a family of tags without a tag": (condition("StringEquals", "s3:ExistingObjectTag/"), "condition key"),
    "a family of tags by its name": (condition("StringEquals", "s3:ExistingObjectTag"), "condition key"),
    "tags of buckets": (condition("StringEquals", "aws:ResourceTag/team"), "condition key"),
    "a key that the action has not": (condition("StringEquals", "s3:prefix"), NO_KEY),
    "a key that one action has not": (
        condition("StringEquals", "s3:prefix", action=["s3:ListBucket", "s3:GetObject"]),
        NO_KEY,
    ),
    "a version of what has none": (condition("StringEquals", "s3:VersionId"), NO_KEY),
    "tags of what is not there": (condition("StringEquals", "s3:ExistingObjectTag/a", action="s3:PutObject"), NO_KEY),
    "a number that is none": (condition("NumericEquals", "aws:EpochTime", "ten"), "Condition value"),
    "a number beyond all": (condition("NumericEquals", "aws:EpochTime", "9" * 40), "Condition value"),
    "a number with an exponent": (condition("NumericLessThan", "aws:EpochTime", "1e9"), "Condition value"),
    "a date that is none": (condition("DateLessThan", "aws:CurrentTime", "2026-13-01T00:00:00Z"), "Condition value"),
    "a date without a zone": (condition("DateLessThan", "aws:CurrentTime", "2026-01-01T00:00:00"), "Condition value"),
    "neither true nor false": (condition("Bool", "aws:SecureTransport", "yes"), "Condition value"),
    "Null of neither": (condition("Null", "aws:Referer", "0"), "Condition value"),
    "an address that is none": (condition("IpAddress", "aws:SourceIp", "10.0.0.256"), "Condition value"),
    "a network that is none": (condition("IpAddress", "aws:SourceIp", "10.0.0.0/33"), "Condition value"),
    "not Base64": (condition("BinaryEquals", "aws:Referer", "%%%"), "Condition value"),
    "an ARN that is none": (condition("ArnLike", "aws:PrincipalArn", "root"), "Condition value"),
    "a variable that is not closed": (policy(Resource="arn:aws:s3:::box/${aws:username"), "policy variable"),
    "a variable without a name": (policy(Resource="arn:aws:s3:::box/${}"), "policy variable"),
    "a variable of an unknown key": (policy(Resource="arn:aws:s3:::box/${aws:nobody}"), "policy variable"),
    "a variable of several values": (policy(Resource="arn:aws:s3:::box/${s3:RequestObjectTagKeys}"), "policy variable"),
    "a variable in a variable": (policy(Resource="arn:aws:s3:::box/${${aws:username}}"), "policy variable"),
    "too many texts that are dear": (
        policy(Resource=[f"arn:aws:s3:::box/{number}?" for number in range(MAX_DEAR + 1)]),
        "with a ?",
    ),
    "too many variables": (
        condition("StringEquals", "aws:Referer", ["${aws:username}"] * (MAX_DEAR + 1)),
        "with a ?",
    ),
    "too many actions that are dear": (policy(Action=["s3:Get?bject"] * (MAX_DEAR + 1)), "with a ?"),
    "too many patterns of actions": (
        policy(Action=[f"s3:Get{'*' * number}" for number in range(1, MAX_ACTION_PATTERNS + 2)]),
        "different actions",
    ),
    "two statements of one Sid": ({"Statement": [STATEMENT | {"Sid": "a"}, STATEMENT | {"Sid": "a"}]}, "unique"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    document, says = MALFORMED[name]
    with pytest.raises(S3Error) as caught:
        parsed(document)
    assert caught.value.row is MALFORMED_POLICY
    assert says in caught.value.message


def test_what_an_action_names_is_found_once_however_often_it_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand times `s3:*` in 8 kB were 0.3 s, and with 250 conditions as much again."""
    asked: list[str] = []

    def counted(text: str) -> frozenset[str]:
        asked.append(text)
        return named_by(text)

    monkeypatch.setattr(policy_document, "named_by", counted)
    keys = {f"s3:ExistingObjectTag/{number}": "x" for number in range(200)}
    statement = STATEMENT | {"Action": ["s3:GetObject*", "s3:getobject*"] * 100, "Condition": {"StringEquals": keys}}
    parsed({"Statement": [statement, statement]})
    assert asked == ["s3:GetObject*", "s3:getobject*"]


def test_a_policy_has_20_kilobytes_and_not_a_byte_more() -> None:
    document = json.dumps(policy()).encode()
    parsed(document.ljust(MAX_POLICY_BYTES))
    with pytest.raises(S3Error) as caught:
        parsed(document.ljust(MAX_POLICY_BYTES + 1))
    assert caught.value.row is POLICY_TOO_LARGE


@pytest.mark.parametrize(
    "document",
    [
        b"{" + b"[" * 20_000,
        b'{"a":' * 3_900 + b"1" + b"}" * 900,
        b'{"Id":"' + b"\\" * 20_000,
        b'{"Id":' + b"9" * 20_000 + b"}",
        b'{"Statement":[' + b"{}," * 6_000 + b"{}]}",
        json.dumps(policy(Action=["s3:*?*?*?*?*?*?*?*?*x"] * 800)).encode(),
        json.dumps(policy(Resource="arn:aws:s3:::box/" + "${*}" * 5_000 + "${")).encode(),
    ],
    ids=range(7),
)
def test_hostile_documents_are_refused_at_once(document: bytes) -> None:
    began = time.process_time()
    with pytest.raises(S3Error):
        parsed(document)
    assert time.process_time() - began < 1


@given(st.binary(max_size=64))
def test_any_bytes_are_a_policy_or_a_refusal(junk: bytes) -> None:
    with pytest.raises(S3Error):
        parsed(b"{" + junk)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(st.sampled_from([*STATEMENT, "Condition", "Sid", "NotAction"]), JSON)
def test_any_value_of_any_member_is_taken_or_refused(member: str, value: object) -> None:
    try:
        parsed({"Statement": STATEMENT | {member: value}})
    except S3Error as error:
        assert error.row is MALFORMED_POLICY  # noqa: PT017 - it may also pass


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_every_action_can_be_named(name: str) -> None:
    resource = "arn:aws:s3:::box/*" if ACTIONS[name].on_object else "arn:aws:s3:::box"
    made = parsed(policy(Action=name.upper().replace("S3:", "s3:"), Resource=resource))
    assert made.allows[0].actions == {name}


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_every_operator_can_be_named(name: str) -> None:
    value = {"Numeric": "1", "Date": "2026-01-01", "Bool": "true", "Null": "true", "Arn": "arn:aws:s3:::box"}.get(
        next((prefix for prefix in ("Numeric", "Date", "Bool", "Null", "Arn") if name.startswith(prefix)), ""),
        "10.0.0.0" if "Ip" in name else "eHg=",
    )
    for written in {name, *(f"{q}{name}{s}" for q in ("", "ForAnyValue:", "ForAllValues:") for s in ("", "IfExists"))}:
        if name != "Null" or written == name:
            parsed(condition(written, "aws:Referer", value))


def test_a_statement_may_stand_without_its_list_and_values_without_theirs() -> None:
    made = parsed({"Statement": STATEMENT | {"Condition": {"Bool": {"aws:SecureTransport": True}}}})
    assert len(made.allows) == 1
    parsed(condition("NumericLessThan", "s3:max-keys", 10, action="s3:ListBucket"))


def test_the_accounts_and_tags_that_it_names_are_known_beforehand() -> None:
    made = parsed(
        {
            "Statement": [
                STATEMENT | {"Principal": {"AWS": [f"arn:aws:iam::{ALICE}:root", "b2" * 16]}},
                STATEMENT
                | {
                    "Action": ["s3:GetObject", "s3:PutObjectTagging"],
                    "Principal": {"CanonicalUser": "c3" * 16},
                    "Condition": {"StringEquals": {"s3:ExistingObjectTag/Team": "x"}},
                },
            ]
        }
    )
    assert made.accounts == {ALICE, "b2" * 16, "c3" * 16}
    assert made.tag_actions == {"s3:GetObject", "s3:PutObjectTagging"}
    assert parsed(policy()).tag_actions == frozenset()


ARN = "arn:aws:s3:::box/"
DEAREST: dict[str, tuple[dict[str, Any], dict[str, tuple[str, ...]]]] = {
    "stars": (policy(Resource=[f"{ARN}{'*a' * 400}{number}" for number in range(24)]), {}),
    "characters": (policy(Resource=[f"{ARN}{'?' * 18}*?b{number}" for number in range(MAX_DEAR)]), {}),
    "variables": (
        policy(Resource=[f"{ARN}{'${aws:Referer}' * 20}?" for _ in range(MAX_DEAR)]),
        {"aws:referer": ("a" * 100,)},
    ),
    "values": (
        condition("StringLike", "aws:Referer", [f"*?a{number}" for number in range(MAX_DEAR)]),
        {"aws:referer": ("a" * 2000,)},
    ),
    "long headers": (
        condition("StringLike", "aws:Referer", ["*a*a*"] * 1000),
        {"aws:referer": ("b" * 16_000,)},
    ),
    "folded": (
        condition("StringEqualsIgnoreCase", "aws:Referer", [f"A{number}" for number in range(1000)]),
        {"aws:referer": ("a" * 2000,)},
    ),
    "arns": (
        condition("ArnLike", "aws:PrincipalArn", [f"arn:aws:iam::*{number}:root" for number in range(500)]),
        {"aws:principalarn": (f"arn:aws:iam::{ALICE}:root",)},
    ),
}


@pytest.mark.parametrize("name", DEAREST)
def test_no_policy_is_dear_to_judge(name: str) -> None:
    document, facts = DEAREST[name]
    made = parsed(document)
    made.judge(None, "s3:GetObject", ARN + "a" * 1024, facts.get)  # what is kept of it is made now
    began = time.process_time()
    made.judge(None, "s3:GetObject", ARN + "a" * 1024, facts.get)
    assert time.process_time() - began < 0.15


def test_a_text_is_filled_in_once_for_the_same_values() -> None:
    template = Template("a${aws:Referer}?${aws:UserAgent, 'x'}", variables=True, wildcards=True)
    facts: dict[str, tuple[str, ...]] = {"aws:referer": ("b",)}
    first = template.resolve(facts.get)
    assert first is not None
    assert template.resolve(facts.get) is first
    assert first.matches("ab?x")
    facts["aws:useragent"] = ("y",)
    second = template.resolve(facts.get)
    assert second is not None
    assert (second.matches("ab?y"), second.matches("ab?x")) == (True, False)
    del facts["aws:referer"]
    assert template.resolve(facts.get) is None


def test_a_key_in_two_spellings_stands_twice() -> None:
    document = policy(Condition={"StringEquals": {"aws:Referer": "x", "AWS:referer": "y"}})
    with pytest.raises(S3Error) as caught:
        parsed(document)
    assert caught.value.row is MALFORMED_POLICY
