from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import INVALID_ARGUMENT, S3Error
from gateway.s3.headers import (
    check_field_value,
    entity_tags,
    format_http_date,
    format_iso8601,
    joined,
    parse_http_date,
    quote_etag,
    single,
    unquote_etag,
)
from gateway.s3.request import Headers
from tests.gateway.s3.wire import NOW

RFC_EXAMPLE = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 -0000",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994",
    ],
)
def test_three_forms_of_http_dates(text: str) -> None:
    assert parse_http_date(text, NOW) == RFC_EXAMPLE


def test_two_digit_years_lie_at_most_50_years_ahead() -> None:
    parsed = [parse_http_date(f"Sunday, 06-Nov-{year} 08:49:37 GMT", NOW) for year in ("76", "77", "26")]
    assert [moment and moment.year for moment in parsed] == [2076, 1977, 2026]


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT", "1994-11-06T08:49:37Z"),
        *("Sun, 06 Nov 1994 08:49:37 EST", "Sun, 06 Nov 1994 08:49:60 GMT", "Sun, 06 Nov 0000 08:49:37 GMT"),
        "Sun Nov    08:49:37 1994",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_http_date(text, NOW) is None


@given(st.datetimes(timezones=st.just(UTC)))
def test_dates_come_back(moment: datetime) -> None:
    assert parse_http_date(format_http_date(moment), NOW) == moment.replace(microsecond=0)


def test_dates_are_written_in_utc() -> None:
    local = datetime(2026, 1, 1, 1, 30, 0, 999999, tzinfo=timezone(timedelta(hours=2)))
    assert format_http_date(local) == "Wed, 31 Dec 2025 23:30:00 GMT"
    assert format_iso8601(local) == "2025-12-31T23:30:00.000Z"


def test_etags() -> None:
    assert quote_etag("a") == '"a"'
    assert [unquote_etag(text) for text in ('"a"', "a", '"', '""', '"a')] == ["a", "a", '"', "", '"a']


def test_lists_of_etags() -> None:
    assert entity_tags('"a", W/"b" ,c,,*, "d,e"') == [
        *(("a", False), ("b", True), ("c", False), ("*", False), ("d,e", False)),
    ]


def test_field_values() -> None:
    assert check_field_value("a\tb é", "n") == "a\tb é"
    for value in ("a\r\nb", "a\nb", "\0", "\x7f", "€"):
        with pytest.raises(S3Error) as caught:
            check_field_value(value, "n")
        assert caught.value.row is INVALID_ARGUMENT


def test_repeats() -> None:
    headers = Headers([(b"A", b"1"), (b"a", b"2"), (b"b", b"3")])
    assert joined(headers, "a") == "1,2"
    assert joined(headers, "c") is None
    assert single(headers, "b") == "3"
    assert single(headers, "c") is None
    with pytest.raises(S3Error):
        single(headers, "a")
