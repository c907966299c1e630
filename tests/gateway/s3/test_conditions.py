from datetime import UTC, datetime, timedelta

import pytest

from gateway.s3.conditions import check_copy_source, check_read, range_applies
from gateway.s3.errors import NOT_MODIFIED, PRECONDITION_FAILED, ErrorRow, S3Error
from gateway.s3.types import ReadConditions

ETAG = "d41d8"
MODIFIED = datetime(2026, 5, 1, 12, 0, 0, 700_000, tzinfo=UTC)
SECOND = MODIFIED.replace(microsecond=0)
EARLIER, LATER = SECOND - timedelta(seconds=1), SECOND + timedelta(seconds=1)

# (If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since) -> outcome, from RFC 9110 section 13.2.2.
CASES: list[tuple[ReadConditions, ErrorRow | None]] = [
    (ReadConditions(), None),
    (ReadConditions(if_match='"d41d8"'), None),
    (ReadConditions(if_match="d41d8"), None),
    (ReadConditions(if_match="*"), None),
    (ReadConditions(if_match='"x", "d41d8"'), None),
    (ReadConditions(if_match='"x"'), PRECONDITION_FAILED),
    (ReadConditions(if_match='W/"d41d8"'), PRECONDITION_FAILED),
    (ReadConditions(if_match=""), PRECONDITION_FAILED),
    (ReadConditions(if_unmodified_since=SECOND), None),
    (ReadConditions(if_unmodified_since=LATER), None),
    (ReadConditions(if_unmodified_since=EARLIER), PRECONDITION_FAILED),
    (ReadConditions(if_match=ETAG, if_unmodified_since=EARLIER), None),
    (ReadConditions(if_match="x", if_unmodified_since=LATER), PRECONDITION_FAILED),
    (ReadConditions(if_none_match='"x"'), None),
    (ReadConditions(if_none_match='"d41d8"'), NOT_MODIFIED),
    (ReadConditions(if_none_match='W/"d41d8"'), NOT_MODIFIED),
    (ReadConditions(if_none_match="*"), NOT_MODIFIED),
    (ReadConditions(if_modified_since=EARLIER), None),
    (ReadConditions(if_modified_since=SECOND), NOT_MODIFIED),
    (ReadConditions(if_modified_since=LATER), NOT_MODIFIED),
    (ReadConditions(if_none_match="x", if_modified_since=LATER), None),
    (ReadConditions(if_none_match=ETAG, if_modified_since=EARLIER), NOT_MODIFIED),
    (ReadConditions(if_match=ETAG, if_none_match=ETAG), NOT_MODIFIED),
    (ReadConditions(if_match="x", if_none_match=ETAG), PRECONDITION_FAILED),
    (ReadConditions(if_unmodified_since=EARLIER, if_none_match=ETAG), PRECONDITION_FAILED),
]


@pytest.mark.parametrize(("conditions", "row"), CASES)
def test_reads(conditions: ReadConditions, row: ErrorRow | None) -> None:
    if row is None:
        check_read(conditions, ETAG, MODIFIED)
        return
    with pytest.raises(S3Error) as caught:
        check_read(conditions, ETAG, MODIFIED)
    assert caught.value.row is row


@pytest.mark.parametrize(("conditions", "row"), CASES)
def test_copy_sources_answer_412_only(conditions: ReadConditions, row: ErrorRow | None) -> None:
    if row is None:
        check_copy_source(conditions, ETAG, MODIFIED)
        return
    with pytest.raises(S3Error) as caught:
        check_copy_source(conditions, ETAG, MODIFIED)
    assert caught.value.row is PRECONDITION_FAILED
    assert caught.value.fields["Condition"].startswith("x-amz-copy-source-If-")


def test_h90_a_304_repeats_the_validators() -> None:
    with pytest.raises(S3Error) as caught:
        check_read(ReadConditions(if_none_match=ETAG), ETAG, MODIFIED)
    assert dict(caught.value.headers) == {"ETag": '"d41d8"', "Last-Modified": "Fri, 01 May 2026 12:00:00 GMT"}


def test_a_412_names_the_condition() -> None:
    with pytest.raises(S3Error) as caught:
        check_read(ReadConditions(if_match="x"), ETAG, MODIFIED)
    assert dict(caught.value.fields) == {"Condition": "If-Match"}


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [
        (None, True),
        ('"d41d8"', True),
        ('"x"', False),
        ('W/"d41d8"', False),
        ('"d41d8", "x"', False),
        ('"', False),
        ("d41d8", False),
        ("", False),
        ("Fri, 01 May 2026 12:00:00 GMT", True),
        ("Fri, 01 May 2026 11:59:59 GMT", False),
        ("Fri, 01 May 2026 12:00:01 GMT", False),
    ],
)
def test_a_range_is_obeyed_of_the_object_that_if_range_names(if_range: str | None, applies: bool) -> None:
    assert range_applies(if_range, ETAG, MODIFIED) is applies
