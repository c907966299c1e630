"""The one decision, over every action there is."""

from datetime import UTC, datetime

import pytest

from gateway.access.identities import Identity
from gateway.access.policy import SERVICE_ACTIONS, authorise
from gateway.operations.table import OPERATIONS
from gateway.s3.errors import ACCESS_DENIED, S3Error
from storage.catalogue.records import Account, Bucket

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = Identity(Account(b"a" * 16, "alice", NOW), "FIRST")
BOB = Identity(Account(b"b" * 16, "bob", NOW), "SECOND")
ALICES = Bucket(b"i" * 16, "box", ALICE.account.account_id, NOW)
ACTIONS = sorted({row.action for row in OPERATIONS.values()})


def refuse(identity: Identity | None, action: str, bucket: Bucket | None) -> None:
    with pytest.raises(S3Error) as caught:
        authorise(identity, action, bucket)
    assert caught.value.row is ACCESS_DENIED
    assert (caught.value.message, dict(caught.value.fields)) == ("Access Denied", {}), "it does not tell why"


@pytest.mark.parametrize("action", ACTIONS)
def test_an_owner_may_everything_and_others_nothing(action: str) -> None:
    authorise(ALICE, action, ALICES)
    refuse(BOB, action, ALICES)
    refuse(None, action, ALICES)


@pytest.mark.parametrize("action", [*ACTIONS, "", "s3:*", "*"])
def test_without_a_bucket_only_the_service_can_be_asked(action: str) -> None:
    refuse(None, action, None)
    if action in SERVICE_ACTIONS:
        authorise(ALICE, action, None)
    else:
        refuse(ALICE, action, None)


def test_the_actions_that_need_no_bucket_are_those_of_the_operations_without_one() -> None:
    assert {row.action for row in OPERATIONS.values() if not row.needs_bucket} == SERVICE_ACTIONS


def test_an_account_of_the_same_name_is_another() -> None:
    refuse(Identity(Account(b"c" * 16, "alice", NOW), "FIRST"), "s3:GetObject", ALICES)
