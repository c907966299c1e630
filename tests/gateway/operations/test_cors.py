"""Cross-origin answers, of the endpoint as a whole: preflights, reads, refusals."""

import asyncio
from typing import Any

import pytest

from tests.gateway.http.asgi import HOST, Answer, call
from tests.gateway.operations.stage import Stage, refused, status_of

PAGE = "https://app.example.org"
RULES = [
    {
        "AllowedOrigins": ["https://*.example.org"],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["x-amz-*", "authorization"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 60,
    },
    {"AllowedOrigins": ["*"], "AllowedMethods": ["HEAD"]},
]


@pytest.fixture
def ruled(stage: Stage) -> Stage:
    stage.alice.put_bucket_cors(Bucket="bucket", CORSConfiguration={"CORSRules": RULES})
    return stage


def ask(stage: Stage, method: str, target: str, **headers: str) -> Answer:
    items = [(b"host", HOST.encode())]
    items += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return stage.runner.run(call(stage.app, method, target, items))


def preflight(stage: Stage, target: str = "/bucket/k", method: str = "PUT", **headers: str) -> Answer:
    return ask(stage, "OPTIONS", target, **{"origin": PAGE, "access_control_request_method": method, **headers})


def allowed(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


def test_rules_come_and_go(stage: Stage) -> None:
    refused(stage.alice.get_bucket_cors, 404, "NoSuchCORSConfiguration", Bucket="bucket")
    stage.alice.put_bucket_cors(Bucket="bucket", CORSConfiguration={"CORSRules": RULES})
    assert stage.alice.get_bucket_cors(Bucket="bucket")["CORSRules"] == RULES
    for _ in range(2):
        assert status_of(stage.alice.delete_bucket_cors(Bucket="bucket")) == 204
    refused(stage.alice.get_bucket_cors, 404, "NoSuchCORSConfiguration", Bucket="bucket")


def test_a_preflight_needs_no_signature(ruled: Stage) -> None:
    answer = preflight(ruled, access_control_request_headers="X-Amz-Date, authorization")
    assert (answer.status, answer.body) == (200, b"")
    assert allowed(answer) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "x-amz-date, authorization",
        "access-control-expose-headers": "ETag",
        "access-control-max-age": "60",
    }
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("target", "method", "headers"),
    [
        ("/bucket/k", "DELETE", {}),
        ("/bucket/k", "PUT", {"origin": "https://evil.example"}),
        ("/bucket/k", "PUT", {"access_control_request_headers": "x-other"}),
        ("/bucket/k", "PUT", {"access_control_request_headers": ",".join(["x-amz-a"] * 101)}),
        ("/no-such/k", "PUT", {}),
        ("/", "GET", {}),
    ],
)
def test_a_preflight_that_fits_no_rule(ruled: Stage, target: str, method: str, headers: dict[str, str]) -> None:
    answer = preflight(ruled, target, method, **headers)
    assert (answer.status, allowed(answer)) == (403, {})
    assert b"<Code>AccessForbidden</Code>" in answer.body


def test_a_bucket_without_rules_answers_as_one_that_is_not_there(stage: Stage) -> None:
    there, absent = preflight(stage, "/bucket/k"), preflight(stage, "/no-such/k")
    assert there.status == absent.status == 403
    assert (b"<Code>AccessForbidden" in there.body, b"<Code>AccessForbidden" in absent.body) == (True, True)


@pytest.mark.parametrize(
    "headers", [{}, {"origin": PAGE}, {"origin": PAGE, "access_control_request_method": "FOO"}, {"origin": ""}]
)
def test_a_preflight_that_says_too_little(ruled: Stage, headers: dict[str, str]) -> None:
    answer = ask(ruled, "OPTIONS", "/bucket/k", **headers)
    assert (answer.status, b"<Code>BadRequest</Code>" in answer.body) == (400, True)


def with_origin(stage: Stage, origin: str, call_: Any, **arguments: Any) -> dict[str, str]:
    def add(request: Any, **_: Any) -> None:
        request.headers["Origin"] = origin

    events = stage.alice.meta.events
    events.register("before-sign.s3", add)
    try:
        call_(**arguments)
    finally:
        events.unregister("before-sign.s3", add)
    return allowed(stage.last)


def test_an_answer_names_the_origin_that_asked(ruled: Stage) -> None:
    ruled.put("k")
    told = with_origin(ruled, PAGE, ruled.alice.get_object, Bucket="bucket", Key="k")
    assert (told["access-control-allow-origin"], told["access-control-expose-headers"]) == (PAGE, "ETag")
    told = with_origin(ruled, "https://evil.example", ruled.alice.get_object, Bucket="bucket", Key="k")
    assert told == {}
    assert "Origin" in ruled.last.headers["vary"], "a cache must not give this answer to another page"
    told = with_origin(ruled, "https://evil.example", ruled.alice.head_object, Bucket="bucket", Key="k")
    assert told["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in told


def test_refusals_carry_the_headers_too(ruled: Stage) -> None:
    answer = ask(ruled, "GET", "/bucket/k", origin=PAGE)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (403, PAGE)
    assert "access-control-allow-origin" not in ask(ruled, "GET", "/no-such/k", origin=PAGE).headers


def test_no_origin_is_ever_answered_without_a_rule(stage: Stage) -> None:
    stage.put("k")
    assert with_origin(stage, PAGE, stage.alice.get_object, Bucket="bucket", Key="k") == {}
    assert "vary" not in stage.last.headers


def test_the_order_of_requests_changes_nothing(ruled: Stage) -> None:
    async def both() -> list[Answer]:
        headers = [(b"host", HOST.encode()), (b"access-control-request-method", b"PUT")]
        origins = (PAGE.encode(), b"https://evil.example")
        return await asyncio.gather(
            *(call(ruled.app, "OPTIONS", "/bucket/k", [*headers, (b"origin", origin)]) for origin in origins)
        )

    good, bad = ruled.run(both())
    assert (good.status, bad.status) == (200, 403)
