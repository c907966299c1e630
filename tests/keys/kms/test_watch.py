"""One line when a KMS goes away, one when it is back, and every call is counted."""

import logging

import pytest

from keys.errors import KmsDenied, KmsKeyNotFound, KmsUnavailable
from keys.kms.watch import Watch


def test_an_outage_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 100.0
    watch = Watch("vault-eu", lambda: now)
    seen: list[tuple[str, str, str]] = []
    watch.observe = lambda provider, call, outcome, seconds: seen.append((provider, call, outcome))
    watch.ended("wrap", now, None)
    for _ in range(50):
        watch.ended("unwrap", now, KmsUnavailable("it is sealed"))
    assert watch.is_away
    now = 112.5
    watch.ended("unwrap", now, KmsKeyNotFound("none"))
    assert [record.message for record in caplog.records] == [
        "KMS vault-eu is away: it is sealed. Keys in the cache serve on, at most 300 s; what needs others gets 503",
        "KMS vault-eu is back after 12.5 s; 50 calls failed",
    ]
    assert seen[0] == ("vault-eu", "wrap", "ok")
    assert seen.count(("vault-eu", "unwrap", "KmsUnavailable")) == 50
    assert seen[-1] == ("vault-eu", "unwrap", "KmsKeyNotFound")


def test_denials_are_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 100.0
    watch = Watch("vault-eu", lambda: now)
    for _ in range(50):
        watch.ended("wrap", now, KmsDenied("see its policy"))
    now += 3
    watch.ended("wrap", now, None)
    assert [record.message for record in caplog.records] == [
        "KMS vault-eu refuses us: see its policy",
        "KMS vault-eu no longer refuses us, after 3.0 s",
    ]


def test_what_was_given_up_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch("x")
    watch.ended("wrap", 0.0, KeyboardInterrupt())
    assert not watch.is_away
    assert not caplog.records
