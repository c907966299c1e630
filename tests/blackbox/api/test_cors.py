"""Cross-origin requests as a browser sends them: a preflight without a signature, then the request itself."""

import http.client
from typing import Any

import pytest

from tests.blackbox.clients import refusal
from tests.blackbox.process import Gateway
from tests.blackbox.witness import shows

PAGE = "https://app.example.org"


@pytest.fixture
def ruled(s3: Any, bucket: str) -> str:
    rule = {
        "AllowedOrigins": [PAGE],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["content-type", "x-amz-*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 600,
    }
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    return bucket


def ask(gateway: Gateway, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPSConnection("localhost", gateway.port, context=gateway.tls_context(), timeout=10)
    try:
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def test_a_browser_uploads_and_reads(gateway: Gateway, s3: Any, ruled: str) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    status, told = ask(gateway, "OPTIONS", f"/{ruled}/k", asked)
    assert (status, told["access-control-allow-origin"]) == (200, PAGE)
    assert (told["access-control-allow-headers"], told["access-control-max-age"]) == ("content-type", "600")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": ruled, "Key": "k"})
    status, told = ask(gateway, "GET", url.removeprefix(gateway.endpoint), {"Origin": PAGE})
    assert (status, told["access-control-allow-origin"]) == (200, PAGE)
    assert told["access-control-expose-headers"] == "ETag"
    assert "Origin" in told["vary"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"},
        {"Origin": PAGE, "Access-Control-Request-Method": "DELETE"},
        {"Origin": PAGE, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-other"},
    ],
)
def test_other_pages_get_nothing(gateway: Gateway, ruled: str, headers: dict[str, str]) -> None:
    status, told = ask(gateway, "OPTIONS", f"/{ruled}/k", headers)
    assert status == 403
    assert not any(name.startswith("access-control") for name in told)
    _, told = ask(gateway, "GET", f"/{ruled}/k", {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in told


@shows(
    "GetBucketCors 404 NoSuchCORSConfiguration",
    "GetBucketCors 200",
    "GetBucketCors 403 AccessDenied",
    "PutBucketCors 200",
    "PutBucketCors 400 InvalidRequest",
    "PutBucketCors 403 AccessDenied",
    "DeleteBucketCors 204",
    "DeleteBucketCors 403 AccessDenied",
    "DeleteBucketCors 404 NoSuchBucket",
)
def test_rules_are_their_owners(gateway: Gateway, s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    def put(*methods: str) -> dict[str, Any]:
        rule = {"AllowedOrigins": [PAGE], "AllowedMethods": list(methods)}
        return {"Bucket": bucket, "CORSConfiguration": {"CORSRules": [rule]}}

    missing = (404, "NoSuchCORSConfiguration")
    assert refusal(s3.get_bucket_cors, Bucket=bucket) == missing
    s3.put_bucket_cors(**put("GET"))
    assert refusal(s3.put_bucket_cors, **put("TRACE")) == (400, "InvalidRequest")
    for other in (guest, nobody):
        assert refusal(other.put_bucket_cors, **put("PUT")) == (403, "AccessDenied")
        assert refusal(other.get_bucket_cors, Bucket=bucket) == (403, "AccessDenied")
        assert refusal(other.delete_bucket_cors, Bucket=bucket) == (403, "AccessDenied")
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == put("GET")["CORSConfiguration"]["CORSRules"]
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
    assert ask(gateway, "OPTIONS", f"/{bucket}/k", asked)[0] == 200
    s3.delete_bucket_cors(Bucket=bucket)
    assert refusal(s3.get_bucket_cors, Bucket=bucket) == missing
    assert ask(gateway, "OPTIONS", f"/{bucket}/k", asked)[0] == 403
    assert refusal(s3.delete_bucket_cors, Bucket="no-such-bucket") == (404, "NoSuchBucket")
