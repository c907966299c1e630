"""Evaluation of If-* headers of reads and of copy sources against an object that exists; pure.

Sources: RFC 9110 section 13.2.2 (precedence); AWS "Conditional requests" and "CopyObject". The conditions of writes are
judged by the catalogue, inside the transaction that they guard.
"""

from datetime import datetime

from gateway.s3.errors import NOT_MODIFIED, PRECONDITION_FAILED, S3Error
from gateway.s3.headers import entity_tags, format_http_date, parse_http_date, quote_etag
from gateway.s3.types import ReadConditions


def check_read(conditions: ReadConditions, etag: str, last_modified: datetime) -> None:
    """Judge the conditions of GetObject and HeadObject. `etag` has no quotes.

    Raises:
        S3Error: PreconditionFailed; NotModified, with the headers that a 304 must repeat.
    """
    failed = _first_failure(conditions, etag, last_modified)
    if failed is None:
        return
    if failed in {"If-None-Match", "If-Modified-Since"}:
        headers = {"ETag": quote_etag(etag), "Last-Modified": format_http_date(last_modified)}
        raise S3Error(NOT_MODIFIED, headers=headers)
    raise S3Error(PRECONDITION_FAILED, fields={"Condition": failed})


def check_copy_source(conditions: ReadConditions, etag: str, last_modified: datetime) -> None:
    """Judge the conditions on a copy source. AWS's rules for pairs are those of RFC 9110, but nothing answers 304.

    Raises:
        S3Error: PreconditionFailed.
    """
    failed = _first_failure(conditions, etag, last_modified)
    if failed is not None:
        raise S3Error(PRECONDITION_FAILED, fields={"Condition": f"x-amz-copy-source-{failed}"})


def range_applies(if_range: str | None, etag: str, last_modified: datetime) -> bool:
    """Whether a Range is to be obeyed: If-Range names this very object, strongly, or is not there (RFC 9110 13.1.5).

    A download that resumes after the object was replaced must get the new one whole, never a mix of both.
    """
    if if_range is None:
        return True
    tags = entity_tags(if_range) if if_range.startswith(('"', "W/")) else []
    if tags:
        return tags == [(etag, False)]
    return parse_http_date(if_range, last_modified) == last_modified.replace(microsecond=0)


def _first_failure(conditions: ReadConditions, etag: str, last_modified: datetime) -> str | None:
    # HTTP dates have whole seconds, so an object is as old as the second it was written in.
    modified = last_modified.replace(microsecond=0)
    if conditions.if_match is not None:
        if not _matches(conditions.if_match, etag, weakly=False):
            return "If-Match"
    elif conditions.if_unmodified_since is not None and modified > conditions.if_unmodified_since:
        return "If-Unmodified-Since"
    if conditions.if_none_match is not None:
        if _matches(conditions.if_none_match, etag, weakly=True):
            return "If-None-Match"
    elif conditions.if_modified_since is not None and modified <= conditions.if_modified_since:
        return "If-Modified-Since"
    return None


def _matches(wanted: str, etag: str, *, weakly: bool) -> bool:
    # RFC 9110 8.8.3.2: If-Match compares strongly, so a weak tag never matches there.
    return any(tag in {"*", etag} and (weakly or not weak) for tag, weak in entity_tags(wanted))
