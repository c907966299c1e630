"""The policy columns: callers, one who signs nothing among them, whom a policy lets in or keeps out, owners as well.

Which actions an operation needs stands here a second time, written from AWS "Required permissions for Amazon S3 API
operations": a policy that allows just these must do, and one that takes any of them away must not.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from gateway.operations.table import OPERATIONS
from tests.matrix.routes import ROUTES
from tests.matrix.test_matrix import COPIES, DENIED, NO_BUCKET, NO_CHUNKS, NO_FORM, Verdict, expected, is_refusal, judge
from tests.matrix.ways import CHUNKED, WAYS
from tests.matrix.world import World, in_process

_PUT: Final = ("s3:PutObject",)
_COPY: Final = ("s3:PutObject", "s3:GetObject")

ACTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "HeadBucket": ("s3:ListBucket",),
    "DeleteBucket": ("s3:DeleteBucket",),
    "GetBucketLocation": ("s3:GetBucketLocation",),
    "GetBucketEncryption": ("s3:GetEncryptionConfiguration",),
    "PutBucketEncryption": ("s3:PutEncryptionConfiguration",),
    "DeleteBucketEncryption": ("s3:PutEncryptionConfiguration",),
    "GetBucketVersioning": ("s3:GetBucketVersioning",),
    "GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration",),
    "PutBucketLifecycleConfiguration": ("s3:PutLifecycleConfiguration",),
    "DeleteBucketLifecycle": ("s3:PutLifecycleConfiguration",),
    "GetBucketNotificationConfiguration": ("s3:GetBucketNotification",),
    "PutBucketNotificationConfiguration": ("s3:PutBucketNotification",),
    "GetBucketLogging": ("s3:GetBucketLogging",),
    "PutBucketLogging": ("s3:PutBucketLogging",),
    "GetBucketPolicy": ("s3:GetBucketPolicy",),
    "PutBucketPolicy": ("s3:PutBucketPolicy",),
    "DeleteBucketPolicy": ("s3:DeleteBucketPolicy",),
    "GetBucketPolicyStatus": ("s3:GetBucketPolicyStatus",),
    "GetPublicAccessBlock": ("s3:GetBucketPublicAccessBlock",),
    "PutPublicAccessBlock": ("s3:PutBucketPublicAccessBlock",),
    "DeletePublicAccessBlock": ("s3:PutBucketPublicAccessBlock",),
    "GetBucketOwnershipControls": ("s3:GetBucketOwnershipControls",),
    "PutBucketOwnershipControls": ("s3:PutBucketOwnershipControls",),
    "DeleteBucketOwnershipControls": ("s3:PutBucketOwnershipControls",),
    "GetBucketAcl": ("s3:GetBucketAcl",),
    "PutBucketAcl": ("s3:PutBucketAcl",),
    "GetObjectAcl": ("s3:GetObjectAcl",),
    "PutObjectAcl": ("s3:PutObjectAcl",),
    "GetBucketCors": ("s3:GetBucketCORS",),
    "PutBucketCors": ("s3:PutBucketCORS",),
    "DeleteBucketCors": ("s3:PutBucketCORS",),
    "ListObjects": ("s3:ListBucket",),
    "ListObjectsV2": ("s3:ListBucket",),
    "PutObject": _PUT,
    "PostObject": _PUT,
    "GetObject": ("s3:GetObject",),
    "HeadObject": ("s3:GetObject",),
    "DeleteObject": ("s3:DeleteObject",),
    "DeleteObjects": ("s3:DeleteObject",),
    "CopyObject": _COPY,
    "GetObjectTagging": ("s3:GetObjectTagging",),
    "PutObjectTagging": ("s3:PutObjectTagging",),
    "DeleteObjectTagging": ("s3:DeleteObjectTagging",),
    "GetObjectRetention": ("s3:GetObjectRetention",),
    "PutObjectRetention": ("s3:PutObjectRetention",),
    "GetObjectLegalHold": ("s3:GetObjectLegalHold",),
    "PutObjectLegalHold": ("s3:PutObjectLegalHold",),
    "GetObjectAttributes": ("s3:GetObjectAttributes", "s3:GetObject"),
    "PutBucketVersioning": ("s3:PutBucketVersioning",),
    "ListObjectVersions": ("s3:ListBucketVersions",),
    "GetObjectLockConfiguration": ("s3:GetBucketObjectLockConfiguration",),
    "PutObjectLockConfiguration": ("s3:PutBucketObjectLockConfiguration",),
    "GetBucketTagging": ("s3:GetBucketTagging",),
    "PutBucketTagging": ("s3:PutBucketTagging",),
    "DeleteBucketTagging": ("s3:PutBucketTagging",),
    "CreateMultipartUpload": _PUT,
    "UploadPart": _PUT,
    "UploadPartCopy": _COPY,
    "CompleteMultipartUpload": _PUT,
    "AbortMultipartUpload": ("s3:AbortMultipartUpload",),
    "ListParts": ("s3:ListMultipartUploadParts",),
    "ListMultipartUploads": ("s3:ListBucketMultipartUploads",),
}
OWNER_ALWAYS: Final = {"GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"}
"""An owner can always take a policy back ("Bucket policies": the root user of the bucket owner's account)."""
TELLS_IN_ITS_DOCUMENT: Final = {"DeleteObjects"}
"""Refuses each object by itself, in a document that is a success."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with in_process() as made:
        yield made


class Policies:
    """Puts policies on the buckets of the world's owner, and takes them away."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.bob = world.wire.bob.list_buckets()["Owner"]["ID"]
        self.alice = world.wire.alice.list_buckets()["Owner"]["ID"]

    def put(self, *statements: dict[str, Any]) -> None:
        """Have just these statements stand on each bucket; what they speak of is the bucket and all in it."""
        for bucket in ("bucket", "empty"):
            self.put_on(self._world.wire.alice, bucket, *statements)

    @staticmethod
    def put_on(owner: Any, bucket: str, *statements: dict[str, Any]) -> None:
        """Have just these statements stand on one bucket, whose owner wants no block of public ones."""
        resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        policy = {"Statement": [{**statement, "Resource": resources} for statement in statements]}
        owner.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={})
        owner.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    def clear(self) -> None:
        """Take them away, and have the world furnished anew."""
        self._world.seen = None
        if self._world.kept is None:
            for bucket in ("bucket", "empty"):
                if bucket in {entry["Name"] for entry in self._world.wire.alice.list_buckets()["Buckets"]}:
                    self._world.wire.alice.delete_bucket_policy(Bucket=bucket)


@pytest.fixture
def policies(world: World) -> Iterator[Policies]:
    made = Policies(world)
    yield made
    made.clear()


EVERYONE: Final = "*"


def statement(effect: str, who: str, *actions: str) -> dict[str, Any]:
    principal = who if who == EVERYONE else {"AWS": f"arn:aws:iam::{who}:root"}
    return {"Effect": effect, "Principal": principal, "Action": list(actions)}


def allowed_verdict(operation: str, way: str) -> Verdict:
    """What another account, or nobody, gets whom a policy allows all that the operation needs."""
    verdict = expected(operation, "unsigned payload" if way == "anonymous" else way, "owner")
    if way == "anonymous" and operation == "PostObject":
        return NO_FORM
    # As on AWS: who has the permission but is not of the owner's account gets 405.
    return (405, "MethodNotAllowed") if operation in OWNER_ALWAYS and not is_refusal(verdict) else verdict


def every_way(world: World, policies: Policies, operation: str, *statements: dict[str, Any]) -> Iterator[str]:
    """The ways that say who asks, each under these statements, in a world that lacks nothing."""
    is_set = False
    for way in WAYS:
        if way == "anonymous" or (way == "form") != (operation == "PostObject"):
            continue
        if not is_set or world.seen != world.wire.changes():
            set_up(world, policies, *statements)
            is_set = True
        yield way


def set_up(world: World, policies: Policies, *statements: dict[str, Any]) -> None:
    """Have these statements stand in a world that lacks nothing."""
    policies.clear()
    world.furnish()
    policies.put(*statements)
    world.seen = world.wire.changes()


def ask(world: World, operation: str, way: str, caller: str, verdict: Verdict) -> None:
    judge(world, world.placed(ROUTES[operation]), operation, way, caller, verdict)


def test_every_route_over_a_bucket_says_which_actions_it_needs() -> None:
    assert set(ACTIONS) == set(OPERATIONS) - NO_BUCKET, "each new one needs its row"


@pytest.mark.parametrize("operation", ACTIONS)
def test_a_policy_that_allows_just_its_actions_lets_another_account_in(
    world: World, policies: Policies, operation: str
) -> None:
    allowed = statement("Allow", policies.bob, *ACTIONS[operation])
    for way in every_way(world, policies, operation, allowed):
        ask(world, operation, way, "another account", allowed_verdict(operation, way))


@pytest.mark.parametrize("operation", ACTIONS)
def test_a_policy_for_everyone_lets_him_in_who_signs_nothing(world: World, policies: Policies, operation: str) -> None:
    set_up(world, policies, statement("Allow", EVERYONE, *ACTIONS[operation]))
    ask(world, operation, "anonymous", "owner", allowed_verdict(operation, "anonymous"))


@pytest.mark.parametrize("operation", ACTIONS)
def test_a_policy_that_denies_everyone_an_action_keeps_him_out_who_signs_nothing(
    world: World, policies: Policies, operation: str
) -> None:
    for action in ACTIONS[operation]:
        set_up(world, policies, statement("Allow", EVERYONE, "s3:*"), statement("Deny", EVERYONE, action))
        if operation == "PostObject":
            ask(world, operation, "anonymous", "owner", NO_FORM)
        else:
            refused(world, operation, "anonymous", "owner", action)


@pytest.mark.parametrize("operation", ACTIONS)
def test_a_policy_that_allows_all_but_one_of_its_actions_does_not(
    world: World, policies: Policies, operation: str
) -> None:
    for action in ACTIONS[operation]:
        statements = statement("Allow", policies.bob, "s3:*"), statement("Deny", policies.bob, action)
        for way in every_way(world, policies, operation, *statements):
            refused(world, operation, way, "another account", action)


@pytest.mark.parametrize("operation", [name for name in ACTIONS if name not in OWNER_ALWAYS])
def test_a_policy_that_denies_one_of_its_actions_keeps_the_owner_out(
    world: World, policies: Policies, operation: str
) -> None:
    for action in ACTIONS[operation]:
        for way in every_way(world, policies, operation, statement("Deny", policies.alice, action)):
            refused(world, operation, way, "owner", action)


@pytest.mark.parametrize("operation", sorted(OWNER_ALWAYS))
def test_an_owner_can_always_take_a_policy_back(world: World, policies: Policies, operation: str) -> None:
    for way in every_way(world, policies, operation, statement("Deny", policies.alice, "s3:*")):
        ask(world, operation, way, "owner", expected(operation, way, "owner"))


def refused(world: World, operation: str, way: str, caller: str, action: str) -> None:
    """See that the way is barred where this action is not allowed."""
    if operation in TELLS_IN_ITS_DOCUMENT:
        answer = world.wire.send(WAYS[way](world.wire.signers[caller], world.placed(ROUTES[operation])))
        assert answer.status == 200
        assert b"<Code>AccessDenied</Code>" in answer.body
        assert world.seen == world.wire.changes()
        return
    # Of the source of a copy it is asked once the request was read, and a body that does not fit is told of before.
    is_of_source = ACTIONS[operation] is _COPY and action != _COPY[0]
    ask(world, operation, way, caller, NO_CHUNKS if is_of_source and way in CHUNKED else DENIED)


SAYS: Final = {
    # What a bucket's policy says of the caller -> whether he may, where the bucket is another's and where it is his.
    "nothing": ((), False, True),
    "allow": (("Allow",), True, True),
    "deny": (("Deny",), False, False),
    "both": (("Allow", "Deny"), False, False),
}


@pytest.mark.parametrize("of_source", SAYS)
@pytest.mark.parametrize("of_target", SAYS)
@pytest.mark.parametrize("caller", ["owner", "another account", "anonymous"])
def test_the_policies_of_both_ends_of_a_copy_count(
    world: World, policies: Policies, caller: str, of_target: str, of_source: str
) -> None:
    """The target is `bucket`, which is the owner's; the source is `bobs`, which is the other account's."""
    who = {"owner": policies.alice, "another account": policies.bob}.get(caller, EVERYONE)
    target_effects, others, own = SAYS[of_target]
    may_write = own if caller == "owner" else others
    source_effects, others, own = SAYS[of_source]
    may_read = own if caller == "another account" else others
    silent = statement("Deny", EVERYONE, "s3:GetObjectTorrent")
    for operation in COPIES:
        for way in [way for way in WAYS if way != "form" and (way == "anonymous") == (caller == "anonymous")]:
            policies.clear()
            world.furnish()
            policies.put(silent, *(statement(effect, who, "s3:PutObject") for effect in target_effects))
            reading = (statement(effect, who, "s3:GetObject") for effect in source_effects)
            policies.put_on(world.wire.bob, "bobs", silent, *reading)
            world.seen = world.wire.changes()
            if not may_write:
                verdict = DENIED
            elif way in CHUNKED:
                verdict = NO_CHUNKS
            else:
                verdict = (200, "") if may_read else DENIED
            signer = "owner" if caller == "anonymous" else caller
            judge(world, world.placed(ROUTES[operation], "bucket", "bobs"), operation, way, signer, verdict)
