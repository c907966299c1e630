"""Spellings of the wire that many places share: HTTP dates, timestamps in XML, ETags, and header values.

Sources: RFC 9110 sections 5.6.7 (dates) and 8.8.3 (entity tags); AWS "Common response headers".
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.s3.errors import INVALID_ARGUMENT, S3Error
from gateway.s3.request import Headers

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY: Final = "(?:" + "|".join(_DAYS) + ")"
_LONG_DAY: Final = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH: Final = "(?P<month>" + "|".join(_MONTHS) + ")"
_TIME: Final = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"

# RFC 9110 5.6.7: a recipient MUST accept all three forms. `+0000` and `-0000` are what mail libraries write for GMT.
_DATE_FORMS: Final = tuple(
    re.compile(form)
    for form in (
        rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} (?:GMT|UTC|[+-]0000)",
        rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        rf"{_DAY} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)
_ETAG: Final = re.compile(r'(?P<weak>W/)?"(?P<quoted>[^"]*)"|(?P<bare>[^\s,"]+)')
# RFC 9110 5.5: visible characters, blanks and obs-text; everything else could end the line or hide in it.
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def parse_http_date(text: str, now: datetime) -> datetime | None:
    """Read an HTTP date of any of the three forms; None where it is none, as RFC 9110 wants conditions ignored then.

    `now` settles the century of a two-digit year: more than 50 years ahead means the past.
    """
    for form in _DATE_FORMS:
        match = form.fullmatch(text)
        if match is not None:
            return _moment(match, now)
    return None


def _moment(match: re.Match[str], now: datetime) -> datetime | None:
    year = int(match["year"])
    if len(match["year"]) == 2:
        year += now.year // 100 * 100
        if year > now.year + 50:
            year -= 100
    clock = (int(match["hour"]), int(match["minute"]), int(match["second"]))
    try:
        return datetime(year, _MONTHS.index(match["month"]) + 1, int(match["day"]), *clock, tzinfo=UTC)
    except ValueError:
        return None


def format_http_date(moment: datetime) -> str:
    """Write an IMF-fixdate, in whole seconds, whatever the locale."""
    at = moment.astimezone(UTC)
    return f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} {at:%H:%M:%S} GMT"


def format_iso8601(moment: datetime) -> str:
    """Write a timestamp as S3's XML has it: whole seconds, so that it agrees with Last-Modified, and `.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")[: len("yyyy-mm-ddThh:mm:ss")] + ".000Z"


def format_precise(moment: datetime) -> str:
    """Write a timestamp to the millisecond, rounded up: how long a lock holds is never told too short."""
    at = (moment + timedelta(microseconds=999)).astimezone(UTC)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def quote_etag(etag: str) -> str:
    """Put an ETag in its quotes."""
    return f'"{etag}"'


def unquote_etag(text: str) -> str:
    """Take an ETag out of its quotes, which S3 clients leave out at times."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    return text


def entity_tags(text: str) -> list[tuple[str, bool]]:
    """Read the list of If-Match or If-None-Match as (tag without quotes, is it weak); `*` comes back as itself.

    Bare tags are taken as well, since S3 compares them too. The scan is linear in the length of the text.
    """
    return [
        (match["bare"] if match["quoted"] is None else match["quoted"], match["weak"] is not None)
        for match in _ETAG.finditer(text)
    ]


def check_field_value(value: str, name: str) -> str:
    """Give back a text that may stand in a header of an answer.

    Raises:
        S3Error: InvalidArgument where it holds a line end or another control character, or is not ISO-8859-1.
    """
    if not _FIELD_VALUE.fullmatch(value):
        raise S3Error(
            INVALID_ARGUMENT,
            "The value cannot stand in an HTTP header.",
            fields={"ArgumentName": name},
        )
    return value


def single(headers: Headers, name: str) -> str | None:
    """Value of a header that may be sent once.

    Raises:
        S3Error: InvalidArgument where it is sent twice, since two readers could then see two values.
    """
    values = headers.get_all(name)
    if len(values) > 1:
        raise S3Error(INVALID_ARGUMENT, f"The header {name} was sent more than once.", fields={"ArgumentName": name})
    return values[0] if values else None


def joined(headers: Headers, name: str) -> str | None:
    """Value of a header whose repeats form one list (RFC 9110 section 5.3); None where it was not sent."""
    values = headers.get_all(name)
    return ",".join(values) if values else None
