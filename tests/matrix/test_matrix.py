"""Every route, signed in every way, by everyone: who is let in is computed from a table that knows no code of ours.

The gateway is called in this process, as a server calls it: routing, signatures, access and operations are all there,
and only sockets, framing and TLS are not. `test_over_tls` sends the same cases to the real process.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from gateway.operations.table import OPERATIONS
from gateway.s3.addressing import resolve
from gateway.s3.routing import ROUTES as ROUTED
from gateway.s3.routing import route as routed
from tests.gateway.s3.wire import request
from tests.matrix.routes import ROUTES, Route
from tests.matrix.ways import CHUNKED, WAYS
from tests.matrix.world import CALLERS, World, in_process

Verdict = tuple[int, str]
"""Status, and the code of a refusal."""

DENIED: Verdict = (403, "AccessDenied")
NO_KEY: Verdict = (403, "InvalidAccessKeyId")
NO_CHUNKS: Verdict = (400, "InvalidRequest")
NO_FORM: Verdict = (412, "PreconditionFailed")

UNSIGNED_BODIES = {"unsigned payload", "unsigned chunks and trailer", "presigned"}
"""Ways whose signature does not cover the body: a policy is not taken by them."""

NO_BUCKET = {"ListBuckets", "CreateBucket"}
"""No bucket is concerned, so no bucket's policy is, and no bucket's owner."""

CASES = [
    (operation, way, caller)
    for operation in ROUTES
    for way in WAYS
    for caller in (("owner",) if way == "anonymous" else CALLERS)  # it is all one who does not sign
]


RULES: list[tuple[Callable[[Route, str, str, str], bool], Verdict]] = [
    # (route, operation, way, caller) -> verdict; the first that holds. Who signs with no key that is one gets nowhere;
    # then it counts whose bucket it is, and then whether the body fits the route.
    (lambda _, operation, way, __: operation == "PostObject" and way == "anonymous", NO_FORM),
    (lambda _, __, way, ___: way == "anonymous", DENIED),
    (lambda _, operation, way, __: way == "form" and operation != "PostObject", DENIED),
    (lambda _, __, ___, caller: caller in {"disabled key", "unknown key"}, NO_KEY),
    (lambda route, _, __, caller: caller == "another account" and route.stranger == DENIED[0], DENIED),
    (lambda _, operation, way, __: operation == "PutBucketPolicy" and way in UNSIGNED_BODIES, NO_CHUNKS),
    (lambda route, operation, way, _: way in CHUNKED and not route.takes_chunks(operation), NO_CHUNKS),
    (lambda _, operation, way, __: operation == "PostObject" and way != "form", NO_FORM),
]


def expected(operation: str, way: str, caller: str) -> Verdict:
    """Compute what a request must come to."""
    route = ROUTES[operation]
    passed = (route.status, route.code) if caller == "owner" else (route.stranger, "")
    return next((verdict for holds, verdict in RULES if holds(route, operation, way, caller)), passed)


def is_refusal(verdict: Verdict) -> bool:
    """Whether the answer is an error."""
    return verdict[0] >= 400


def see(world: World, sent: Route, operation: str, way: str, caller: str, verdict: Verdict) -> None:
    """Send a request, and see that the answer is as expected."""
    answer = world.wire.send(WAYS[way](world.wire.signers[caller], sent))
    status, code = verdict
    assert answer.status == status, (operation, way, caller, answer.body)
    if is_refusal(verdict):
        assert f"<Code>{code}</Code>".encode() in answer.body or sent.method == "HEAD", answer.body
        assert b"secret" not in answer.body


def judge(world: World, sent: Route, operation: str, way: str, caller: str, verdict: Verdict) -> None:
    """See that the answer is as expected, and that a refusal has changed nothing."""
    see(world, sent, operation, way, caller, verdict)
    if is_refusal(verdict):
        assert world.seen == world.wire.changes(), "a refusal changes nothing"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with in_process() as made:
        yield made


def test_every_route_has_a_row_and_every_row_is_that_route() -> None:
    assert set(ROUTES) == set(OPERATIONS) == {found.name for found in ROUTED.values()}, "each new one needs its row"
    for operation, route in ROUTES.items():
        target = route.target.replace("{", "").replace("}", "")
        sent = request(route.method, target, dict(route.headers))
        assert routed(sent, resolve(sent, ())) == operation


@pytest.mark.parametrize(("operation", "way", "caller"), CASES)
def test_who_may_do_what(world: World, operation: str, way: str, caller: str) -> None:
    world.furnish()
    sent = world.placed(ROUTES[operation])
    judge(world, sent, operation, way, caller, expected(operation, way, caller))


COPIES = [name for name, route in ROUTES.items() if "{source}" in "".join(route.headers.values())]


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("way", [way for way in WAYS if way not in {"form", "anonymous"}])
@pytest.mark.parametrize("operation", COPIES)
@pytest.mark.parametrize(("bucket", "source"), [("bucket", "bobs"), ("bobs", "bucket"), ("bobs", "bobs")])
def test_both_ends_of_a_copy_are_judged(
    world: World, bucket: str, source: str, operation: str, way: str, caller: str
) -> None:
    world.furnish()
    owned = {"owner": "bucket", "another account": "bobs"}.get(caller)
    if owned is None:
        verdict = NO_KEY
    elif bucket != owned:
        verdict = DENIED
    elif way in CHUNKED:
        verdict = NO_CHUNKS
    elif source != owned:
        verdict = DENIED
    else:
        verdict = 200, ""
    judge(world, world.placed(ROUTES[operation], bucket, source), operation, way, caller, verdict)


OWNED = [name for name in ROUTES if name not in {*NO_BUCKET, "PostObject"}]
"""No header counts beside a form."""


@pytest.mark.parametrize("operation", OWNED)
def test_a_bucket_of_somebody_else_than_expected_is_left_alone(world: World, operation: str) -> None:
    world.furnish()
    route = world.placed(ROUTES[operation])
    wrong = replace(route, headers={**route.headers, "x-amz-expected-bucket-owner": "0" * 32})
    for caller in ("owner", "another account"):
        judge(world, wrong, operation, "hashed", caller, DENIED)
    mine = world.wire.alice.list_buckets()["Owner"]["ID"]
    right = replace(route, headers={**route.headers, "x-amz-expected-bucket-owner": mine})
    judge(world, right, operation, "hashed", "owner", expected(operation, "hashed", "owner"))


@pytest.mark.parametrize("operation", COPIES)
def test_a_source_of_somebody_else_than_expected_is_left_alone(world: World, operation: str) -> None:
    world.furnish()
    route = world.placed(ROUTES[operation])
    mine = world.wire.alice.list_buckets()["Owner"]["ID"]
    for owner, verdict in (("0" * 32, DENIED), (mine, (200, ""))):
        sent = replace(route, headers={**route.headers, "x-amz-source-expected-bucket-owner": owner})
        judge(world, sent, operation, "hashed", "owner", verdict)


@pytest.mark.parametrize("operation", sorted(NO_BUCKET))
def test_what_has_no_owner_yet_expects_none(world: World, operation: str) -> None:
    world.furnish()
    sent = replace(world.placed(ROUTES[operation]), headers={"x-amz-expected-bucket-owner": "0" * 32})
    judge(world, sent, operation, "hashed", "owner", (501, "NotImplemented"))
