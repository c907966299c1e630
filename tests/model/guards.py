"""The rules of the machine about what guards objects: locks, and the policy by which another account comes in."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.model.dictionaries import AES256, CUSTOMER, KMS, NO_LOCK, Answer, DictionaryS3, Lock, Rule, answer_of
from tests.model.world import World

KEYS: Final = ("a", "a/", "a/b", "a/b/c", "a//b", "a b", "b+c", "é", "e\u0301", "~", "\U0001f512/x", "z/")
LOCKED: Final = "locked"

_START: Final = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
_SSE_KEY: Final = b"0123456789abcdef0123456789abcdef"
CUSTOMER_KEY: Final[dict[str, Any]] = {"SSECustomerAlgorithm": AES256, "SSECustomerKey": _SSE_KEY}
SOURCE_KEY: Final[dict[str, Any]] = {f"CopySource{name}": value for name, value in CUSTOMER_KEY.items()}
ENCRYPTIONS: Final[dict[str, dict[str, Any]]] = {
    "": {},
    AES256: {"ServerSideEncryption": AES256},
    KMS: {"ServerSideEncryption": KMS},
    CUSTOMER: CUSTOMER_KEY,
}

# Most steps meet on a few keys: what is there is what most can go wrong with.
keys = st.sampled_from((*("a",) * 12, *("a/b",) * 8, *KEYS))
buckets = st.sampled_from(("one", "one", "one", "two", LOCKED, LOCKED))
lockable = st.sampled_from((LOCKED, LOCKED, LOCKED, LOCKED, "one"))
chances = st.integers(0, 9)
encryptions = st.sampled_from(("", "", "", *ENCRYPTIONS))
modes = st.sampled_from(("GOVERNANCE", "GOVERNANCE", "COMPLIANCE"))
days = st.integers(1, 3)
locks = st.one_of(
    st.just(NO_LOCK),
    st.just(NO_LOCK),
    st.just(NO_LOCK),
    st.builds(Lock, modes, days, st.sampled_from((None, None, True, False))),
    st.builds(Lock, hold=st.booleans()),
)
_ACTIONS: Final = ("s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion")
policies = st.lists(
    st.builds(
        Rule,
        st.sampled_from((True, True, True, True, False)),
        st.sampled_from(((*_ACTIONS, "s3:ListBucket"), _ACTIONS, ("s3:GetObject", "s3:GetObjectVersion"))),
        st.sampled_from(("", "", "", "a", "a/")),
    ),
    max_size=3,
).map(tuple)


def day(number: int) -> datetime:
    """One of the days until which locks of the model hold."""
    return _START + timedelta(days=number)


def lock_arguments(lock: Lock) -> dict[str, Any]:
    """A lock as PutObject takes it."""
    asked: dict[str, Any] = {}
    if lock.mode:
        asked |= {"ObjectLockMode": lock.mode, "ObjectLockRetainUntilDate": day(lock.until)}
    if lock.hold is not None:
        asked["ObjectLockLegalHoldStatus"] = "ON" if lock.hold else "OFF"
    return asked


class Guards(RuleBasedStateMachine):
    """Half of the machine; the other half sets it up and gives the helpers."""

    world: World
    model: DictionaryS3
    names: dict[str, str]

    def ask(self, method: str, fields: tuple[str, ...], **arguments: Any) -> Answer:
        raise NotImplementedError

    def same(self, expected: Any, actual: Any) -> None:
        raise NotImplementedError

    def version_id(self, bucket: str, key: str, chance: int) -> str | None:
        raise NotImplementedError

    # Locks

    @rule(bucket=lockable, key=keys, which=chances, mode=modes, until=days, bypass=st.booleans())
    def put_object_retention(self, bucket: str, key: str, which: int, mode: str, until: int, bypass: bool) -> None:
        version_id = self.version_id(bucket, key, which)
        actual = self.ask(
            "put_object_retention", (), Bucket=bucket, Key=key, VersionId=version_id,
            Retention={"Mode": mode, "RetainUntilDate": day(until)}, BypassGovernanceRetention=bypass or None,
        )  # fmt: skip  # one line of what, one of how
        expected = answer_of(lambda: self.model.put_object_retention(bucket, key, version_id, mode, until, bypass))
        self.same(expected, actual)

    @rule(bucket=lockable, key=keys, which=chances)
    def get_object_retention(self, bucket: str, key: str, which: int) -> None:
        version_id = self.version_id(bucket, key, which)
        actual = self.ask("get_object_retention", ("Retention",), Bucket=bucket, Key=key, VersionId=version_id)
        if (held := actual.pop("Retention", None)) is not None:
            actual |= {"Mode": held["Mode"], "Until": (held["RetainUntilDate"] - _START).days}
        self.same(answer_of(lambda: self.model.get_object_retention(bucket, key, version_id)), actual)

    @rule(bucket=lockable, key=keys, which=chances, is_on=st.booleans())
    def put_object_legal_hold(self, bucket: str, key: str, which: int, is_on: bool) -> None:
        version_id = self.version_id(bucket, key, which)
        status = {"Status": "ON" if is_on else "OFF"}
        actual = self.ask("put_object_legal_hold", (), Bucket=bucket, Key=key, VersionId=version_id, LegalHold=status)
        self.same(answer_of(lambda: self.model.put_object_legal_hold(bucket, key, version_id, is_on)), actual)

    @rule(bucket=lockable, key=keys, which=chances)
    def get_object_legal_hold(self, bucket: str, key: str, which: int) -> None:
        version_id = self.version_id(bucket, key, which)
        actual = self.ask("get_object_legal_hold", ("LegalHold",), Bucket=bucket, Key=key, VersionId=version_id)
        if (held := actual.pop("LegalHold", None)) is not None:
            actual["Status"] = held["Status"]
        self.same(answer_of(lambda: self.model.get_object_legal_hold(bucket, key, version_id)), actual)

    # Another account

    @rule(bucket=buckets, rules=policies)
    def put_bucket_policy(self, bucket: str, rules: tuple[Rule, ...]) -> None:
        expected = answer_of(lambda: self.model.put_bucket_policy(bucket, rules))
        if not rules:
            self.same(expected, self.ask("delete_bucket_policy", (), Bucket=bucket))
            return
        arn = f"arn:aws:s3:::{self.names[bucket]}"
        statements = [
            {
                "Effect": "Allow" if each.allows else "Deny",
                "Principal": {"AWS": self.world.guest_id},
                "Action": list(each.actions),
                "Resource": [f"{arn}/{each.prefix}*", *([arn] if "s3:ListBucket" in each.actions else [])],
            }
            for each in rules
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.same(expected, self.ask("put_bucket_policy", (), Bucket=bucket, Policy=policy))

    @rule(bucket=buckets, key=keys, which=chances)
    def guest_gets(self, bucket: str, key: str, which: int) -> None:
        version_id = self.version_id(bucket, key, which)
        action = "s3:GetObject" if version_id is None else "s3:GetObjectVersion"
        fields = ("Body", "ETag", "VersionId")
        actual = self.ask("get_object", fields, as_guest=True, Bucket=bucket, Key=key, VersionId=version_id)
        expected = answer_of(
            lambda: self.model.as_guest(
                bucket, action, key, lambda: self.model.get_object(bucket, key, version_id, None, None, None)
            )
        )
        for answer in (expected, actual):
            answer.pop("DeleteMarker", None)  # who may not list is not told of markers either
        self.same({name: expected.get(name) for name in (*fields, "refused", "code")}, actual)

    @rule(bucket=buckets, key=keys, body=st.binary(max_size=4))
    def guest_puts(self, bucket: str, key: str, body: bytes) -> None:
        actual = self.ask("put_object", ("ETag", "VersionId"), as_guest=True, Bucket=bucket, Key=key, Body=body)
        expected = answer_of(
            lambda: self.model.as_guest(
                bucket, "s3:PutObject", key,
                lambda: self.model.put_object(
                    bucket, key, body, metadata={}, content_type="binary/octet-stream", tags={},
                    if_none_match=False, if_match=None, given_id=actual.get("VersionId"),
                ),
            )
        )  # fmt: skip  # as above
        expected.pop("ServerSideEncryption", None)
        self.same(expected, actual)

    @rule(bucket=buckets, key=keys, which=chances)
    def guest_deletes(self, bucket: str, key: str, which: int) -> None:
        version_id = self.version_id(bucket, key, which)
        action = "s3:DeleteObject" if version_id is None else "s3:DeleteObjectVersion"
        fields = ("VersionId", "DeleteMarker")
        actual = self.ask("delete_object", fields, as_guest=True, Bucket=bucket, Key=key, VersionId=version_id)
        expected = answer_of(
            lambda: self.model.as_guest(
                bucket, action, key,
                lambda: self.model.delete_object(bucket, key, version_id, None, actual.get("VersionId")),
            )
        )  # fmt: skip  # as above
        self.same(expected, actual)

    @rule(bucket=buckets)
    def guest_lists(self, bucket: str) -> None:
        actual = self.ask("list_objects_v2", ("KeyCount",), as_guest=True, Bucket=bucket)
        expected = answer_of(
            lambda: self.model.as_guest(
                bucket, "s3:ListBucket", "",
                lambda: {"KeyCount": len(self.model.list_objects(bucket, "", "", ""))},
            )
        )  # fmt: skip  # as above
        self.same(expected, actual)
