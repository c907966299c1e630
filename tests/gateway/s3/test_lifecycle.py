"""The rules, judged, by a table: AWS's examples first ("Lifecycle configuration elements", "Expiring objects")."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.s3.lifecycle import Age, Due, Filter, Lifecycle, Rule


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def rules(*made: Rule) -> Lifecycle:
    return Lifecycle(made)


def rule(rule_id: str = "r", prefix: str = "", **parts: object) -> Rule:
    made = Rule(rule_id, True, Filter(prefix))
    return replace(made, **parts)  # type: ignore[arg-type]  # the tables name fields that there are


@pytest.mark.parametrize(
    ("created", "days", "due"),
    [
        # AWS: created 1/15/2014 10:30 AM UTC, 3 days, so 1/19/2014 00:00 UTC.
        ("2014-01-15T10:30", 3, "2014-01-19T00:00"),
        ("2014-01-15T00:00", 3, "2014-01-19T00:00"),
        ("2014-01-15T00:00:00.000001", 1, "2014-01-17T00:00"),
        ("2014-01-15T23:59:59.999999", 1, "2014-01-17T00:00"),
        ("2024-02-28T12:00", 1, "2024-03-01T00:00"),
        ("2023-02-28T12:00", 1, "2023-03-02T00:00"),
        ("2014-01-15T10:30", 3650, "2024-01-14T00:00"),
    ],
)
def test_midnights(created: str, days: int, due: str) -> None:
    lifecycle = rules(rule(expiration_days=days, noncurrent_days=days, abort_days=days))
    expected = Due(at(due), "r")
    assert lifecycle.expiry(b"k", 0, {}, at(created)) == expected
    # AWS: the same for the time at which the successor was made.
    assert lifecycle.noncurrent_expiry(b"k", 0, {}, at(created), 0) == expected
    assert lifecycle.abort(b"k", at(created)) == expected
    assert lifecycle.marker_expiry(b"k", at(created)) == expected


def test_a_day_may_be_shorter() -> None:
    age = Age(10)
    assert age.after(at("2026-01-01T00:00:03"), 2) == at("2026-01-01T00:00:30")
    assert age.day_of(at("2026-01-01T00:00:29")) + 1 == age.day_of(at("2026-01-01T00:00:30"))
    lifecycle = rules(rule(expiration_days=2))
    assert lifecycle.expiry(b"k", 0, {}, at("2026-01-01T00:00:03"), age) == Due(at("2026-01-01T00:00:30"), "r")


def test_days_that_never_come() -> None:
    due = rules(rule(expiration_days=2**31 - 1)).expiry(b"k", 0, {}, at("2026-01-01T00:00"))
    assert due is not None
    assert due.at.year == 9999


def test_a_date_is_the_same_for_every_object() -> None:
    lifecycle = rules(rule(expiration_date=at("2027-01-01T00:00")))
    for created in ("2020-01-01T00:00", "2030-01-01T00:00"):
        assert lifecycle.expiry(b"k", 0, {}, at(created)) == Due(at("2027-01-01T00:00"), "r")


NOW = at("2026-01-01T12:00")
TAGS = {"tag1": "value1", "tag2": "value2"}


@pytest.mark.parametrize(
    ("about", "key", "size", "tags", "holds"),
    [
        # Example 1: "tax/doc1.txt, tax/doc2.txt"
        (Filter("tax/"), b"tax/doc1.txt", 0, {}, True),
        (Filter("tax/"), b"taxes/doc1.txt", 0, {}, False),
        (Filter("tax/"), b"tax/", 0, {}, True),
        (Filter(), b"anything", 0, {}, True),
        (Filter("é/"), "é/x".encode(), 0, {}, True),
        # "the rule applies to objects that have both tags"
        (Filter("tax/", (("tag1", "value1"), ("tag2", "value2"))), b"tax/d", 0, TAGS | {"more": ""}, True),
        (Filter("tax/", (("tag1", "value1"), ("tag2", "value2"))), b"tax/d", 0, {"tag1": "value1"}, False),
        (Filter("tax/", (("tag1", "value1"),)), b"tax/d", 0, {"tag1": "value2"}, False),
        (Filter("tax/", (("tag1", "value1"),)), b"d", 0, TAGS, False),
        (Filter(tags=(("a", ""),)), b"d", 0, {}, False),
        (Filter(tags=(("a", ""),)), b"d", 0, {"a": ""}, True),
        # Example: "ObjectSizeGreaterThan 500 ... ObjectSizeLessThan 64000": neither end counts
        (Filter(size_greater_than=500), b"k", 500, {}, False),
        (Filter(size_greater_than=500), b"k", 501, {}, True),
        (Filter(size_less_than=64_000), b"k", 64_000, {}, False),
        (Filter(size_less_than=64_000), b"k", 63_999, {}, True),
        (Filter(size_greater_than=0), b"k", 0, {}, False),
        (Filter("a", (), 1, 3), b"ab", 2, {}, True),
    ],
)
def test_filters(about: Filter, key: bytes, size: int, tags: dict[str, str], holds: bool) -> None:
    lifecycle = rules(rule(filter=about, expiration_days=1, noncurrent_days=1))
    assert (lifecycle.expiry(key, size, tags, NOW) is not None) == holds
    assert (lifecycle.noncurrent_expiry(key, size, tags, NOW, 0) is not None) == holds
    assert rules(rule(enabled=False, filter=about, expiration_days=1)).expiry(key, size, tags, NOW) is None


def test_the_earliest_counts() -> None:
    lifecycle = rules(
        rule("late", expiration_days=365),
        rule("early", "tax/", expiration_days=30),
        rule("off", "tax/", expiration_days=1, enabled=False),
    )
    assert lifecycle.expiry(b"tax/x", 0, {}, NOW) == Due(at("2026-02-01T00:00"), "early")
    assert lifecycle.expiry(b"x", 0, {}, NOW) == Due(at("2027-01-02T00:00"), "late")
    assert rules(rule(abort_days=3)).expiry(b"x", 0, {}, NOW) is None


@pytest.mark.parametrize(
    ("newer", "keep", "goes"), [(0, None, True), (4, 5, False), (5, 5, True), (6, 5, True), (0, 1, False)]
)
def test_newer_noncurrent_versions_stay(newer: int, keep: int | None, goes: bool) -> None:
    lifecycle = rules(rule(noncurrent_days=1, newer_noncurrent_versions=keep))
    assert (lifecycle.noncurrent_expiry(b"k", 0, {}, NOW, newer) is not None) == goes


def test_lone_markers() -> None:
    at_once = rules(rule(expired_object_delete_marker=True))
    assert at_once.marker_expiry(b"k", NOW) == Due(NOW, "r")
    assert at_once.expiry(b"k", 0, {}, NOW) is None
    assert rules(rule(expired_object_delete_marker=False)).marker_expiry(b"k", NOW) is None
    assert rules(rule(noncurrent_days=1)).marker_expiry(b"k", NOW) is None
    by_tag = rules(rule(filter=Filter(tags=(("a", "b"),)), expiration_days=1))
    by_size = rules(rule(filter=Filter(size_less_than=5), expiration_days=1))
    assert by_tag.marker_expiry(b"k", NOW) is by_size.marker_expiry(b"k", NOW) is None


@pytest.mark.parametrize(
    ("prefixes", "common"),
    [
        (["logs/a", "logs/b"], b"logs/"),
        (["", "x"], b""),
        (["é", "è"], b""),
        (["a"], b"a"),
        (["a", "ab"], b"a"),
        ([], b""),
    ],
)
def test_what_all_keys_begin_with(prefixes: list[str], common: bytes) -> None:
    made = [rule(str(number), prefix, expiration_days=1) for number, prefix in enumerate(prefixes)]
    assert rules(*made, rule("off", "z", enabled=False)).common_prefix == common


def test_what_has_to_be_walked() -> None:
    for parts, versions, uploads in (
        ({"expiration_days": 1}, True, False),
        ({"expiration_date": NOW}, True, False),
        ({"noncurrent_days": 1}, True, False),
        ({"expired_object_delete_marker": True}, True, False),
        ({"expired_object_delete_marker": False}, False, False),
        ({"abort_days": 1}, False, True),
        ({"abort_days": 1, "enabled": False}, False, False),
    ):
        lifecycle = rules(rule(**parts))
        assert (lifecycle.removes_versions, lifecycle.aborts_uploads) == (versions, uploads), parts


def test_nothing_is_due_within_a_day() -> None:
    age = Age()
    start = at("2026-01-01T00:00")
    days = {age.day_of(start + timedelta(minutes=minute)) for minute in range(1440)}
    assert len(days) == 1
