"""Wildcards against a naive reference, and their cost against patterns that are made to be dear."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.wildcards import Pattern, Wild, items_of, pattern_of


def naive(pattern: str, text: str) -> bool:
    """Straight from the definition; exponential, so for short ones only."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return naive(pattern[1:], text) or (bool(text) and naive(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and naive(pattern[1:], text[1:])


@given(st.text("ab*?", max_size=7), st.text("ab", max_size=8))
def test_agrees_with_the_definition(pattern: str, text: str) -> None:
    assert pattern_of(pattern).matches(text) is naive(pattern, text)


@given(st.text("ab*?", max_size=6), st.text("ab*?", max_size=6))
def test_a_star_in_the_text_is_a_character(pattern: str, text: str) -> None:
    assert pattern_of(pattern).matches(text) is naive(pattern, text)


@given(st.text(max_size=20))
def test_what_is_given_as_characters_matches_itself_alone(text: str) -> None:
    text = text.replace("\0", "")
    assert Pattern(text).matches(text)
    assert not Pattern(text).matches(text + "x")


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b/k", True),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b/", True),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b", False),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b-evil/k", False),
        ("arn:aws:s3:::b/team-a/*", "arn:aws:s3:::b/team-ab/k", False),
        ("a*b", "ab", True),
        ("a*a", "a", False),
        ("ab*ba", "aba", False),
        ("*x*x*", "axa", False),
        ("?", "é", True),
        ("??", "🧊", False),
        ("", "", True),
        ("*", "", True),
        ("?", "", False),
    ],
)
def test_rows(pattern: str, text: str, fits: bool) -> None:
    assert pattern_of(pattern).matches(text) is fits


@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 10_000 + "b",
        "?*" * 10_000,
        "*" * 20_000,
        "*a?" * 6_000 + "b",
        "a?" * 10_000,
        "*" + "a" * 1_000 + "b*" + "a?" * 500 + "c",
    ],
    ids=range(6),
)
def test_no_pattern_of_a_policy_is_dear(pattern: str) -> None:
    compiled = Pattern(items_of(pattern))
    began = time.process_time()
    compiled.matches("a" * 1100)
    assert time.process_time() - began < 0.25


def test_wildcards_are_told_from_the_characters_that_spell_them() -> None:
    assert items_of("a*?") == ("a", Wild.ANY, Wild.ONE)
    assert not Pattern("*").matches("x")
