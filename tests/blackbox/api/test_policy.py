"""Bucket policies over the wire: two accounts, an anonymous caller, presigned URLs, conditions of the connection."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import refusal
from tests.blackbox.process import Gateway
from tests.blackbox.witness import shows


def denied(call: Callable[..., Any], code: str = "AccessDenied", **arguments: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code


def put(s3: Any, bucket: str, *statements: dict[str, Any], public: bool = False) -> None:
    if public:
        s3.delete_public_access_block(Bucket=bucket)
    both = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    whole = [{"Effect": "Allow", "Principal": "*", "Resource": both} | statement for statement in statements]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": whole}))


@shows("PutBucketPolicy 204", "DeleteBucketPolicy 204", "GetObject 403 AccessDenied", "DeleteObject 403 AccessDenied")
def test_an_account_is_let_in_by_name(s3: Any, bucket: str, guest: Any, guest_id: str, nobody: Any) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"shared")
    denied(guest.get_object, Bucket=bucket, Key="k")
    root = f"arn:aws:iam::{guest_id}:root"
    put(s3, bucket, {"Principal": {"AWS": root}, "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"]})
    assert guest.get_object(Bucket=bucket, Key="k")["Body"].read() == b"shared"
    guest.put_object(Bucket=bucket, Key="from-guest", Body=b"mine")
    assert s3.get_object(Bucket=bucket, Key="from-guest")["Body"].read() == b"mine"
    assert guest.list_objects_v2(Bucket=bucket)["KeyCount"] == 2
    denied(guest.delete_object, Bucket=bucket, Key="k")
    denied(nobody.get_object, Bucket=bucket, Key="k")
    s3.delete_bucket_policy(Bucket=bucket)
    denied(guest.get_object, Bucket=bucket, Key="k")


@shows(
    "DeletePublicAccessBlock 204",
    "PutPublicAccessBlock 200",
    "PutBucketPolicy 403 AccessDenied",
    "PutBucketPolicy 204",
    "GetBucketPolicyStatus 200",
)
def test_a_public_bucket_needs_its_block_gone(s3: Any, bucket: str, nobody: Any) -> None:
    s3.put_object(Bucket=bucket, Key="page", Body=b"hello")
    with pytest.raises(ClientError) as caught:
        put(s3, bucket, {"Action": "s3:GetObject"})
    assert "BlockPublicPolicy" in caught.value.response["Error"]["Message"]
    put(s3, bucket, {"Action": "s3:GetObject"}, public=True)
    assert nobody.get_object(Bucket=bucket, Key="page")["Body"].read() == b"hello"
    denied(nobody.get_object, Bucket=bucket, Key="missing")
    denied(nobody.list_objects_v2, Bucket=bucket)
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    denied(nobody.get_object, Bucket=bucket, Key="page")


@pytest.mark.parametrize(
    ("operator", "key", "value", "lets"),
    [
        ("Bool", "aws:SecureTransport", "true", True),
        ("IpAddress", "aws:SourceIp", "127.0.0.0/8", True),
        ("NotIpAddress", "aws:SourceIp", "127.0.0.0/8", False),
        ("NumericGreaterThanEquals", "s3:TlsVersion", "1.2", True),
        ("NumericLessThan", "s3:TlsVersion", "1.2", False),
        ("StringLike", "aws:UserAgent", "Boto3/*", True),
        ("StringEquals", "s3:authType", "REST-HEADER", False),
        ("StringEquals", "aws:PrincipalType", "Anonymous", True),
        ("DateLessThan", "aws:CurrentTime", "2020-01-01T00:00:00Z", False),
        ("Null", "aws:Referer", "true", True),
    ],
)
def test_conditions_of_the_connection(
    s3: Any, bucket: str, nobody: Any, operator: str, key: str, value: str, lets: bool
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    put(s3, bucket, {"Action": "s3:GetObject", "Condition": {operator: {key: value}}}, public=True)
    if lets:
        assert nobody.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    else:
        denied(nobody.get_object, Bucket=bucket, Key="k")


def test_h101_no_header_says_where_a_request_comes_from(gateway: Gateway, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    condition = {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}
    put(s3, bucket, {"Action": "s3:GetObject", "Condition": condition}, public=True)
    for name in ("X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip"):
        value = "for=203.0.113.7" if name == "Forwarded" else "203.0.113.7"
        sent = urllib.request.Request(f"{gateway.endpoint}/{bucket}/k", headers={name: value})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(sent, context=gateway.tls_context(), timeout=10)
        caught.value.close()
        assert caught.value.code == 403


def test_a_presigned_url_does_what_its_signer_may(
    gateway: Gateway, s3: Any, bucket: str, guest: Any, guest_id: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    url = guest.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})

    def status() -> int:
        try:
            with urllib.request.urlopen(url, context=gateway.tls_context(), timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    assert status() == 403
    put(s3, bucket, {"Principal": {"AWS": guest_id}, "Action": "s3:GetObject"})
    assert status() == 200
    assert "X-Amz-Date" in url
    old = {"Effect": "Deny", "Action": "s3:GetObject", "Condition": {"NumericGreaterThan": {"s3:signatureAge": "-1"}}}
    put(s3, bucket, {"Principal": {"AWS": guest_id}, "Action": "s3:GetObject"}, old)
    assert status() == 403


def test_rules_outlive_the_process(gateway: Gateway, s3: Any, bucket: str, nobody: Any) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    put(s3, bucket, {"Action": "s3:GetObject"}, public=True)
    gateway.restart()
    assert nobody.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    s3.delete_bucket_policy(Bucket=bucket)
    gateway.restart()
    denied(nobody.get_object, Bucket=bucket, Key="k")


@shows(
    "PutBucketPolicy 400 MalformedPolicy",
    "PutBucketPolicy 403 AccessDenied",
    "GetBucketPolicy 200",
    "GetBucketPolicy 403 AccessDenied",
    "GetBucketPolicy 404 NoSuchBucketPolicy",
    "GetBucketPolicyStatus 200",
    "GetBucketPolicyStatus 403 AccessDenied",
    "GetBucketPolicyStatus 404 NoSuchBucketPolicy",
    "DeleteBucketPolicy 204",
    "DeleteBucketPolicy 403 AccessDenied",
    "DeleteBucketPolicy 404 NoSuchBucket",
)
def test_a_policy_is_its_owners(s3: Any, guest: Any, guest_id: str, nobody: Any, bucket: str) -> None:
    missing = (404, "NoSuchBucketPolicy")
    assert refusal(s3.get_bucket_policy, Bucket=bucket) == missing
    assert refusal(s3.get_bucket_policy_status, Bucket=bucket) == missing
    put(s3, bucket, {"Principal": {"AWS": guest_id}, "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"})
    kept = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    assert json.loads(kept)["Statement"][0]["Action"] == "s3:GetObject"
    assert not s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]
    for text in ("{", "[]", kept.replace("s3:GetObject", "s3:Fly"), kept.replace('"Effect"', '"Sid": "", "Sid"')):
        assert refusal(s3.put_bucket_policy, Bucket=bucket, Policy=text) == (400, "MalformedPolicy")
    for other in (guest, nobody):
        assert refusal(other.put_bucket_policy, Bucket=bucket, Policy=kept) == (403, "AccessDenied")
        assert refusal(other.get_bucket_policy, Bucket=bucket) == (403, "AccessDenied")
        assert refusal(other.get_bucket_policy_status, Bucket=bucket) == (403, "AccessDenied")
        assert refusal(other.delete_bucket_policy, Bucket=bucket) == (403, "AccessDenied")
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == kept
    s3.delete_bucket_policy(Bucket=bucket)
    assert refusal(s3.get_bucket_policy, Bucket=bucket) == missing
    assert refusal(s3.delete_bucket_policy, Bucket="no-such-bucket") == (404, "NoSuchBucket")


@shows(
    "GetPublicAccessBlock 200",
    "GetPublicAccessBlock 403 AccessDenied",
    "GetPublicAccessBlock 404 NoSuchPublicAccessBlockConfiguration",
    "PutPublicAccessBlock 200",
    "PutPublicAccessBlock 403 AccessDenied",
    "PutPublicAccessBlock 404 NoSuchBucket",
    "DeletePublicAccessBlock 204",
    "DeletePublicAccessBlock 403 AccessDenied",
    "DeletePublicAccessBlock 404 NoSuchBucket",
)
def test_a_block_is_its_owners(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    all_blocked = dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    open_block = {"Bucket": bucket, "PublicAccessBlockConfiguration": dict.fromkeys(all_blocked, False)}
    for other in (guest, nobody):
        assert refusal(other.put_public_access_block, **open_block) == (403, "AccessDenied")
        assert refusal(other.get_public_access_block, Bucket=bucket) == (403, "AccessDenied")
        assert refusal(other.delete_public_access_block, Bucket=bucket) == (403, "AccessDenied")
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == all_blocked
    s3.put_public_access_block(**open_block)
    told = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert told == open_block["PublicAccessBlockConfiguration"]
    s3.delete_public_access_block(Bucket=bucket)
    missing = refusal(s3.get_public_access_block, Bucket=bucket)
    assert missing == (404, "NoSuchPublicAccessBlockConfiguration")
    gone = {"Bucket": "no-such-bucket"}
    assert refusal(s3.put_public_access_block, **open_block | gone) == (404, "NoSuchBucket")
    assert refusal(s3.delete_public_access_block, **gone) == (404, "NoSuchBucket")
