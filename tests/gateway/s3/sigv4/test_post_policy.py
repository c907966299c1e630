"""POST policies. The first vector is AWS's own ("Example: Browser-Based Upload using HTTP POST"), byte for byte."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from gateway.s3.errors import S3Error
from gateway.s3.sigv4 import Kind, PostPolicy, SignatureSettings, SizeRange, present_form, verify_form
from gateway.s3.sigv4.post_policy import MAX_CONDITIONS
from gateway.s3.sigv4.presentation import NOBODYS_SECRET

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
AWS_POLICY = (
    '{ "expiration": "2015-12-30T12:00:00.000Z",\r\n  "conditions": [\r\n    {"bucket": "sigv4examplebucket"},\r\n'
    '    ["starts-with", "$key", "user/user1/"],\r\n    {"acl": "public-read"},\r\n'
    '    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},\r\n'
    '    ["starts-with", "$Content-Type", "image/"],\r\n    {"x-amz-meta-uuid": "14365123651274"},\r\n'
    '    {"x-amz-server-side-encryption": "AES256"},\r\n    ["starts-with", "$x-amz-meta-tag", ""],\r\n\r\n'
    '    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},\r\n'
    '    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},\r\n    {"x-amz-date": "20151229T000000Z" }\r\n  ]\r\n}'
)
AWS_FORM = {
    "bucket": "sigv4examplebucket",
    "key": "user/user1/photo.jpg",
    "acl": "public-read",
    "success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
    "content-type": "image/jpeg",
    "x-amz-meta-uuid": "14365123651274",
    "x-amz-server-side-encryption": "AES256",
    "x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
    "x-amz-algorithm": "AWS4-HMAC-SHA256",
    "x-amz-date": "20151229T000000Z",
    "x-amz-meta-tag": "",
    "policy": base64.b64encode(AWS_POLICY.encode()).decode(),
    "x-amz-signature": "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
}
BEFORE = datetime(2015, 12, 30, 11, 59, 59, tzinfo=UTC)
SETTINGS = SignatureSettings()


def present(form: dict[str, str], settings: SignatureSettings = SETTINGS) -> Any:
    return present_form(form, "us-east-1", settings)


def refused(code: str, call: Any, *arguments: Any) -> S3Error:
    with pytest.raises(S3Error) as caught:
        call(*arguments)
    assert caught.value.row.code == code, caught.value
    return caught.value


def test_awss_example() -> None:
    verified = verify_form(present(AWS_FORM), SECRET)
    assert (verified.access_key_id, verified.kind) == ("AKIAIOSFODNN7EXAMPLE", Kind.POST_V4)
    policy = PostPolicy.parse(AWS_FORM["policy"])
    policy.check(AWS_FORM, BEFORE)
    assert policy.size == SizeRange()
    error = refused("AccessDenied", policy.check, AWS_FORM, datetime(2015, 12, 30, 12, tzinfo=UTC))
    assert error.message == "Invalid according to Policy: Policy expired."


@pytest.mark.parametrize("name", sorted(AWS_FORM.keys() - {"policy", "x-amz-signature"}))
def test_every_field_is_bound(name: str) -> None:
    policy = PostPolicy.parse(AWS_FORM["policy"])
    without = {held: value for held, value in AWS_FORM.items() if held != name}
    assert "Policy Condition failed" in refused("AccessDenied", policy.check, without, BEFORE).message
    if name != "x-amz-meta-tag":
        changed = AWS_FORM | {name: "x" + AWS_FORM[name]}
        assert "Policy Condition failed" in refused("AccessDenied", policy.check, changed, BEFORE).message


def test_a_field_that_no_condition_names_is_refused() -> None:
    policy = PostPolicy.parse(AWS_FORM["policy"])
    error = refused("AccessDenied", policy.check, AWS_FORM | {"x-amz-meta-b": "", "a": "b"}, BEFORE)
    assert error.message == "Invalid according to Policy: Extra input fields: a, x-amz-meta-b"
    policy.check(AWS_FORM | {"x-ignore-a": "b"}, BEFORE)


@pytest.mark.parametrize("at", [0, 31, 63])
def test_a_changed_signature(at: int) -> None:
    signature = AWS_FORM["x-amz-signature"]
    changed = signature[:at] + ("0" if signature[at] != "0" else "1") + signature[at + 1 :]
    refused("SignatureDoesNotMatch", verify_form, present(AWS_FORM | {"x-amz-signature": changed}), SECRET)


@pytest.mark.parametrize("signature", ["8AFD" + AWS_FORM["x-amz-signature"][4:], "0", "ä" * 32, " "])
def test_other_signatures(signature: str) -> None:
    refused("SignatureDoesNotMatch", verify_form, present(AWS_FORM | {"x-amz-signature": signature}), SECRET)


def test_the_policy_is_signed_as_sent() -> None:
    cut = AWS_FORM | {"policy": AWS_FORM["policy"][:-4]}
    refused("SignatureDoesNotMatch", verify_form, present(cut), SECRET)


def test_an_unknown_key_is_nobodys() -> None:
    refused("InvalidAccessKeyId", verify_form, present(AWS_FORM), None)
    own = AWS_FORM | {"x-amz-signature": ""}
    scope = present(AWS_FORM).scope
    from gateway.s3.sigv4.canonical import signature, signing_key  # noqa: PLC0415 - to forge with nobody's secret

    own["x-amz-signature"] = signature(signing_key(NOBODYS_SECRET, scope), AWS_FORM["policy"].encode()).decode()
    refused("InvalidAccessKeyId", verify_form, present(own), None)


@pytest.mark.parametrize("name", ["policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"])
@pytest.mark.parametrize("empty", [False, True])
def test_what_is_missing_is_named(name: str, empty: bool) -> None:
    form = AWS_FORM | {name: ""} if empty else {held: value for held, value in AWS_FORM.items() if held != name}
    error = refused("InvalidArgument", present, form)
    assert error.fields["ArgumentName"].lower() == name
    assert "check the order of the fields." in error.message


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE", "form"),
        ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151229/eu-west-1/s3/aws4_request", "us-east-1"),
        ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/sts/aws4_request", "s3"),
        ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws5_request", "aws4_request"),
        ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151228/us-east-1/s3/aws4_request", "day"),
        ("x-amz-date", "2015-12-29", "YYYYMMDD"),
        ("x-amz-date", "20151328T000000Z", "YYYYMMDD"),
    ],
)
def test_what_is_malformed_is_named(name: str, value: str, says: str) -> None:
    error = refused("InvalidArgument", present, AWS_FORM | {name: value})
    assert error.fields["ArgumentName"] == name
    assert says in error.message


def test_session_tokens_and_two_signatures_are_refused() -> None:
    refused("InvalidToken", present, AWS_FORM | {"x-amz-security-token": "t"})
    refused("InvalidArgument", present, AWS_FORM | {"signature": "s"})
    refused("InvalidArgument", present, AWS_FORM | {"awsaccesskeyid": "s"})


def test_without_any_claim_a_form_is_anonymous() -> None:
    assert present({"key": "k", "bucket": "b"}) is None
    # As recorded on AWS: a policy that nobody signed says nothing.
    assert present({"key": "k", "bucket": "b", "policy": AWS_FORM["policy"]}) is None


def test_version_2_as_botocore_signs_it() -> None:
    request = botocore.awsrequest.AWSRequest(method="POST", url="https://localhost/b")
    request.context["s3-presign-post-fields"] = {}
    request.context["s3-presign-post-policy"] = {"expiration": "2030-01-01T00:00:00Z", "conditions": [{"bucket": "b"}]}
    credentials = botocore.credentials.Credentials("AKIA", SECRET)
    botocore.auth.HmacV1PostAuth(credentials).add_auth(request)
    form = {name.lower(): value for name, value in request.context["s3-presign-post-fields"].items()}
    verified = verify_form(present(form), SECRET)
    assert (verified.access_key_id, verified.kind) == ("AKIA", Kind.POST_V2)
    refused("SignatureDoesNotMatch", verify_form, present(form), SECRET + "x")
    PostPolicy.parse(form["policy"]).check(form | {"bucket": "b"}, BEFORE)
    refused("InvalidRequest", present, form, SignatureSettings(presigned_v2=False))
    for name in form:
        without = {held: value for held, value in form.items() if held != name}
        assert refused("InvalidArgument", present, without).fields["ArgumentName"].lower() == name


def encoded(document: object) -> str:
    text = document if isinstance(document, str) else json.dumps(document)
    return base64.b64encode(text.encode()).decode()


def policy_of(*conditions: object, expiration: object = "2030-01-01T00:00:00Z") -> PostPolicy:
    return PostPolicy.parse(encoded({"expiration": expiration, "conditions": list(conditions)}))


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "[]",
        "null",
        '"x"',
        "[" * 15_000,
        '{"conditions": []}',
        '{"expiration": "2030-01-01T00:00:00Z"}',
        '{"EXPIRATION": "2030-01-01T00:00:00Z", "conditions": []}',
        '{"expiration": "2030-01-01T00:00:00Z", "CONDITIONS": []}',
        '{"expiration": "2030-01-01T00:00:00Z", "conditions": [], "more": 1}',
        '{"expiration": "2030-01-01T00:00:00Z", "expiration": "2031-01-01T00:00:00Z", "conditions": []}',
        '{"expiration": "2030-01-01T00:00:00Z", "conditions": {}}',
        '{"expiration": "2030-01-01T00:00:00Z", "conditions": [{"a": "b", "a": "c"}]}',
        '{"expiration": "2030-01-01T00:00:00Z", "conditions": [],}',
    ],
)
def test_documents_that_are_none(document: str) -> None:
    assert refused("InvalidPolicyDocument", PostPolicy.parse, encoded(document)).message.startswith("Invalid Policy: ")


@pytest.mark.parametrize("text", ["!", "e30", "e30=\n", "/////w==", "ä"])
def test_texts_that_are_no_base64_of_utf8(text: str) -> None:
    refused("InvalidPolicyDocument", PostPolicy.parse, text)


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"a": "b", "c": "d"},
        {"a": 1},
        {"a": None},
        {"a": ["b"]},
        "eq",
        None,
        [],
        ["eq", "$a"],
        ["eq", "$a", "b", "c"],
        ["eq", "$a", 1],
        ["eq", 1, "a"],
        ["matches", "$a", "b"],
        [1, "$a", "b"],
        ["content-length-range", 0],
        ["content-length-range", -1, 0],
        ["content-length-range", 2, 1],
        ["content-length-range", 0, 1.5],
        ["content-length-range", True, 1],
        ["content-length-range", 0, "1e3"],
        ["content-length-range", 0, "٣"],
        ["content-length-range", 0, 10**15],
        ["content-length-range", 0, None],
    ],
)
def test_conditions_that_are_none(condition: object) -> None:
    refused("InvalidPolicyDocument", policy_of, condition)


def test_the_number_of_conditions_is_limited() -> None:
    policy_of(*([{"a": "b"}] * MAX_CONDITIONS))
    refused("InvalidPolicyDocument", policy_of, *([{"a": "b"}] * (MAX_CONDITIONS + 1)))


@pytest.mark.parametrize(
    "expiration", ["", "tomorrow", "2030-01-01", "2030-13-01T00:00:00Z", 1, None, "2030-01-01T00:00:00"]
)
def test_expirations_that_are_none(expiration: object) -> None:
    with pytest.raises(S3Error) as caught:
        policy_of(expiration=expiration)
    assert caught.value.row.code == "InvalidPolicyDocument"


def test_names_and_operators_have_any_case_and_values_their_own() -> None:
    policy = policy_of({"BuCkEt": "b"}, ["StArTs-WiTh", "$KeY", "Foo"], ["EQ", "$ACL", "private"])
    policy.check({"bucket": "b", "key": "Foo1", "acl": "private"}, BEFORE)
    refused("AccessDenied", policy.check, {"bucket": "b", "key": "foo1", "acl": "private"}, BEFORE)
    refused("AccessDenied", policy.check, {"bucket": "B", "key": "Foo1", "acl": "private"}, BEFORE)


def test_a_condition_without_a_dollar_never_holds() -> None:
    policy = policy_of(["eq", "a", "b"], ["eq", "$a", "b"])
    error = refused("AccessDenied", policy.check, {"a": "b", "": "b"} | {"": "c"}, BEFORE)
    assert error.message == 'Invalid according to Policy: Policy Condition failed: ["eq", "a", "b"]'


def test_several_conditions_on_a_field_must_all_hold() -> None:
    policy = policy_of(["starts-with", "$key", "a"], ["starts-with", "$key", "ab"])
    policy.check({"key": "abc"}, BEFORE)
    refused("AccessDenied", policy.check, {"key": "acb"}, BEFORE)


def test_content_types_are_lists_and_nothing_else_is() -> None:
    policy = policy_of(["starts-with", "$Content-Type", "image/"], ["starts-with", "$key", "a"])
    policy.check({"content-type": "image/jpg,image/png, image/gif", "key": "a,b"}, BEFORE)
    refused("AccessDenied", policy.check, {"content-type": "image/jpg,text/plain", "key": "a"}, BEFORE)


def test_a_field_that_is_absent_fails_even_an_empty_prefix() -> None:
    policy = policy_of(["starts-with", "$Content-Type", ""])
    policy.check({"content-type": ""}, BEFORE)
    refused("AccessDenied", policy.check, {}, BEFORE)


def test_sizes() -> None:
    assert policy_of(["content-length-range", 5, "10"]).size == SizeRange(5, 10)
    assert policy_of(["content-length-range", 0, 0]).size == SizeRange(0, 0)
    both = policy_of(["content-length-range", 5, 10], ["content-length-range", 0, 8])
    assert both.size == SizeRange(5, 8)


def test_nothing_of_it_is_shown() -> None:
    shown = repr(present(AWS_FORM))
    assert AWS_FORM["policy"] not in shown
    assert AWS_FORM["x-amz-signature"] not in shown
