"""The one decision: owner, policy, public-access block, ownership and ACLs together."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.actions import ACTIONS, BUCKET_ACL_NEEDS, OBJECT_ACL_NEEDS, OWNER_ALWAYS
from gateway.access.policy import NEW_BUCKET, BucketRules, Question, could_allow, decide
from gateway.access.policy_document import parse_policy
from gateway.access.statements import Policy
from gateway.s3.acl import (
    ALL_USERS,
    AUTHENTICATED_USERS,
    CANNED_ACLS,
    Acl,
    Grant,
    Permission,
    canned,
    private,
)
from gateway.s3.public_access import ALL_BLOCKED, NOTHING_BLOCKED, ObjectOwnership, PublicAccessBlock

OWNER, WRITER, OTHER = "0a" * 16, "1b" * 16, "2c" * 16
CALLERS = [OWNER, WRITER, OTHER, None]
ENFORCED, PREFERRED, WRITERS = ObjectOwnership


def policy(effect: str = "Allow", principal: object = "*", action: object = "s3:*", **more: Any) -> Policy:
    both = ["arn:aws:s3:::box", "arn:aws:s3:::box/*"]
    statement = {"Effect": effect, "Principal": principal, "Action": action, "Resource": both} | more
    return parse_policy(json.dumps({"Version": "2012-10-17", "Statement": statement}).encode(), "box")


def ask(caller: str | None, action: str, rules: BucketRules, object_acl: Acl | None = None) -> bool:
    key = "k" if ACTIONS[action].on_object else None
    return decide(Question(caller, OWNER, action, "box", key, lambda _: None, object_acl), rules)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_new_bucket_is_its_owners_alone(action: str) -> None:
    assert [ask(caller, action, NEW_BUCKET) for caller in CALLERS] == [True, False, False, False]


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_deny_of_everything_leaves_the_owner_his_policy(action: str) -> None:
    rules = BucketRules(policy("Deny"), NOTHING_BLOCKED)
    assert [ask(caller, action, rules) for caller in CALLERS] == [action in OWNER_ALWAYS, False, False, False]


def test_an_allow_is_for_whom_it_names() -> None:
    rules = BucketRules(policy(principal={"AWS": WRITER}, action="s3:GetObject"))
    assert [ask(caller, "s3:GetObject", rules) for caller in CALLERS] == [True, True, False, False]
    assert [ask(caller, "s3:PutObject", rules) for caller in CALLERS] == [True, False, False, False]


@pytest.mark.parametrize("blocked", [True, False])
def test_a_public_policy_lets_nobody_in_where_it_is_restricted(blocked: bool) -> None:
    rules = BucketRules(policy(), PublicAccessBlock(restrict_public_buckets=blocked))
    assert [ask(caller, "s3:GetObject", rules) for caller in CALLERS] == [True, *[not blocked] * 3]


def test_the_restriction_takes_from_named_accounts_what_a_public_policy_gives_them() -> None:
    document = {
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::box"},
            {
                "Effect": "Allow",
                "Principal": {"AWS": WRITER},
                "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::box/*",
            },
        ]
    }
    public = parse_policy(json.dumps(document).encode(), "box")
    assert not ask(WRITER, "s3:GetObject", BucketRules(public, ALL_BLOCKED))
    assert ask(WRITER, "s3:GetObject", BucketRules(public, NOTHING_BLOCKED))


def test_a_policy_that_is_not_public_is_not_restricted() -> None:
    assert ask(WRITER, "s3:GetObject", BucketRules(policy(principal={"AWS": WRITER}), ALL_BLOCKED))


PUBLIC = Acl(OWNER, (Grant(ALL_USERS, Permission.FULL_CONTROL),))
MEMBERS = Acl(OWNER, (Grant(AUTHENTICATED_USERS, Permission.FULL_CONTROL),))
NAMED = Acl(OWNER, (Grant(WRITER, Permission.FULL_CONTROL),))


@pytest.mark.parametrize("action", sorted(ACTIONS))
@pytest.mark.parametrize("acl", [PUBLIC, MEMBERS, NAMED])
def test_acls_count_for_nothing_where_the_owner_is_enforced(action: str, acl: Acl) -> None:
    rules = BucketRules(block=NOTHING_BLOCKED, acl=acl)
    assert [ask(caller, action, rules, acl) for caller in CALLERS] == [True, False, False, False]


@pytest.mark.parametrize("action", sorted(ACTIONS))
@pytest.mark.parametrize(
    ("acl", "means"),
    [(PUBLIC, [True] * 3), (MEMBERS, [True, True, False]), (NAMED, [True, False, False])],
    ids=["public", "members", "named"],
)
def test_acls_give_what_their_actions_need_and_no_more(action: str, acl: Acl, means: list[bool]) -> None:
    rules = BucketRules(block=NOTHING_BLOCKED, ownership=WRITERS, acl=acl)
    given_by_acl = action in BUCKET_ACL_NEEDS or action in OBJECT_ACL_NEEDS
    assert [ask(caller, action, rules, acl) for caller in CALLERS] == [True, *(given_by_acl and mean for mean in means)]


def test_public_grants_can_be_ignored() -> None:
    rules = BucketRules(block=PublicAccessBlock(ignore_public_acls=True), ownership=WRITERS, acl=PUBLIC)
    assert [ask(caller, "s3:ListBucket", rules) for caller in CALLERS] == [True, False, False, False]
    rules = BucketRules(block=PublicAccessBlock(ignore_public_acls=True), ownership=WRITERS, acl=NAMED)
    assert [ask(caller, "s3:ListBucket", rules) for caller in CALLERS] == [True, True, False, False]


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        (Permission.READ, {"s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"}),
        (Permission.WRITE, {"s3:PutObject"}),
        (Permission.READ_ACP, {"s3:GetBucketAcl"}),
        (Permission.WRITE_ACP, {"s3:PutBucketAcl"}),
    ],
)
def test_what_each_permission_on_a_bucket_is_worth(permission: Permission, allowed: set[str]) -> None:
    rules = BucketRules(ownership=WRITERS, acl=Acl(OWNER, (Grant(WRITER, permission),)))
    assert {action for action in ACTIONS if ask(WRITER, action, rules)} == allowed


def test_an_object_of_another_is_not_the_bucket_owners_to_read_or_give() -> None:
    rules = BucketRules(policy(), NOTHING_BLOCKED, WRITERS)
    theirs = private(WRITER)
    assert [ask(caller, "s3:GetObject", rules, theirs) for caller in CALLERS] == [False, True, False, False]
    shared = canned("bucket-owner-read", WRITER, OWNER)
    assert [ask(caller, "s3:GetObject", rules, shared) for caller in CALLERS] == [True, True, False, False]
    assert ask(OWNER, "s3:DeleteObject", rules, theirs)
    denied = BucketRules(policy("Deny"), NOTHING_BLOCKED, WRITERS)
    assert not ask(WRITER, "s3:GetObject", denied, theirs)


def test_an_object_of_another_comes_back_to_the_bucket_owner_when_ownership_is_enforced() -> None:
    assert [ask(caller, "s3:GetObject", NEW_BUCKET, private(WRITER)) for caller in CALLERS] == [True] + [False] * 3


def test_the_owner_of_an_object_can_always_read_and_mend_its_acl() -> None:
    rules, nothing = BucketRules(ownership=WRITERS), Acl(WRITER, ())
    assert ask(WRITER, "s3:GetObjectAcl", rules, nothing)
    assert ask(WRITER, "s3:PutObjectAcl", rules, nothing)
    assert not ask(WRITER, "s3:GetObject", rules, nothing)


@pytest.mark.parametrize("name", sorted(CANNED_ACLS))
def test_canned_acls(name: str) -> None:
    acl = canned(name, WRITER, OWNER)
    assert acl.grants[0] == Grant(WRITER, Permission.FULL_CONTROL)
    assert acl.is_public is (name.startswith("public") or name == "authenticated-read")
    assert Acl.decode(json.loads(json.dumps(acl.encode()))) == acl
    mine = canned(name, OWNER, OWNER)
    assert len({grant.grantee for grant in mine.grants if grant.grantee == OWNER}) == 1
    assert [grant.grantee for grant in mine.grants].count(OWNER) == 1


def test_who_could_be_let_in_at_all() -> None:
    assert could_allow(OWNER, OWNER, NEW_BUCKET)
    assert not could_allow(WRITER, OWNER, NEW_BUCKET)
    assert not could_allow(None, OWNER, NEW_BUCKET)
    assert could_allow(None, OWNER, BucketRules(policy()))
    assert not could_allow(None, OWNER, BucketRules(policy("Deny")))
    assert not could_allow(None, OWNER, BucketRules(policy(principal={"AWS": WRITER})))
    assert could_allow(WRITER, OWNER, BucketRules(policy(principal={"AWS": WRITER})))
    assert could_allow(None, OWNER, BucketRules(ownership=WRITERS))


RULES = st.builds(
    BucketRules,
    st.sampled_from([None, policy(), policy("Deny"), policy(principal={"AWS": WRITER}), policy(action="s3:Get*")]),
    st.builds(PublicAccessBlock, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    st.sampled_from(ObjectOwnership),
    st.sampled_from([None, PUBLIC, MEMBERS, NAMED, private(OWNER)]),
)
ACLS = st.sampled_from([None, PUBLIC, MEMBERS, NAMED, private(WRITER), canned("public-read", WRITER, OWNER)])


@given(RULES, st.sampled_from(CALLERS), st.sampled_from(sorted(ACTIONS)), ACLS)
def test_blocking_more_never_allows_more(rules: BucketRules, caller: str | None, action: str, acl: Acl | None) -> None:
    blocked = BucketRules(rules.policy, ALL_BLOCKED, rules.ownership, rules.acl)
    assert ask(caller, action, blocked, acl) <= ask(caller, action, rules, acl)


@given(RULES, st.sampled_from(CALLERS), st.sampled_from(sorted(ACTIONS)), ACLS)
def test_what_is_allowed_could_be(rules: BucketRules, caller: str | None, action: str, acl: Acl | None) -> None:
    assert ask(caller, action, rules, acl) <= could_allow(caller, OWNER, rules)


@given(RULES, st.sampled_from(sorted(ACTIONS)), ACLS)
def test_nobody_may_more_than_an_account_may(rules: BucketRules, action: str, acl: Acl | None) -> None:
    if acl is None or acl.owner_id == OWNER:
        assert ask(None, action, rules, acl) <= ask(OTHER, action, rules, acl)
