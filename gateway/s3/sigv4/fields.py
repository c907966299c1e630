"""Checks that the header form and the presigned form of Signature Version 4 share: dates, scope, signed headers.

Source: AWS "Elements of an AWS API request signature"; dates by ISO 8601 basic and RFC 9110 section 5.6.7.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from gateway.s3.errors import ACCESS_DENIED, INVALID_ARGUMENT, INVALID_TOKEN, SIGNATURE_DOES_NOT_MATCH, S3Error
from gateway.s3.request import Request
from gateway.s3.sigv4 import payload
from gateway.s3.sigv4.canonical import TERMINATOR, QueryPairs, Scope

SERVICE: Final = "s3"

_AMZ_DATE: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")
_SCOPE_DATE: Final = re.compile(r"[0-9]{8}")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# botocore writes -0000 where RFC 9110 has GMT.
_HTTP_DATE: Final = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) (" + "|".join(_MONTHS) + r") ([0-9]{4}) "
    r"([0-9]{2}):([0-9]{2}):([0-9]{2}) (?:GMT|UTC|[+-]0000)"
)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_UNSIGNED_BY_NATURE: Final = frozenset({payload.HEADER})
"""Its value is a line of the canonical request anyway."""
_SINGLE: Final = ("authorization", "host", "x-amz-date", payload.HEADER)

Malformed = Callable[..., S3Error]
"""Makes the error of one form: AuthorizationHeaderMalformed or AuthorizationQueryParametersError."""


def refuse_repeats(request: Request) -> None:
    """Refuse what could be read in two ways.

    Raises:
        S3Error: InvalidArgument where a header that decides about the signature is sent twice.
    """
    for name in _SINGLE:
        if len(request.headers.get_all(name)) > 1:
            raise S3Error(INVALID_ARGUMENT, f"The header {name} was sent more than once.")


def refuse_session_tokens(request: Request, query: QueryPairs) -> None:
    """Refuse credentials that this endpoint never issued.

    Raises:
        S3Error: InvalidToken where a session token is sent in a header or the query.
    """
    token = "x-amz-security-token"  # noqa: S105 - the name of a header
    if token in request.headers or any(name.lower() == token.encode() for name, _ in query):
        raise S3Error(INVALID_TOKEN, "Session tokens are not supported by this endpoint.")


def parse_amz_date(text: str) -> datetime | None:
    """Read `YYYYMMDDThhmmssZ`; None where it is no such date."""
    match = _AMZ_DATE.fullmatch(text)
    return _utc(*(int(part) for part in match.groups())) if match else None


def parse_http_date(text: str) -> datetime | None:
    """Read the fixed form of an HTTP date; None where it is none."""
    match = _HTTP_DATE.fullmatch(text)
    if match is None:
        return None
    day, month, year, *clock = match.groups()
    return _utc(int(year), _MONTHS.index(month) + 1, int(day), *map(int, clock))


def _utc(*fields: int) -> datetime | None:
    try:
        year, month, day, hour, minute, second = fields
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def format_amz_date(moment: datetime) -> str:
    """Write `YYYYMMDDThhmmssZ`."""
    return f"{moment:%Y%m%dT%H%M%SZ}"


def parse_credential(text: str, malformed: Malformed) -> tuple[str, Scope]:
    """Split `ACCESS_KEY_ID/YYYYMMDD/REGION/SERVICE/aws4_request`. The region is judged later, beside the right one.

    Raises:
        S3Error: what `malformed` makes.
    """
    parts = text.split("/")
    if len(parts) != 5 or not parts[0]:
        raise malformed('The Credential must have the form "ACCESS_KEY_ID/YYYYMMDD/REGION/SERVICE/aws4_request".')
    access_key_id, date, region, service, terminator = parts
    if not _SCOPE_DATE.fullmatch(date) or parse_amz_date(f"{date}T000000Z") is None:
        raise malformed('The date of the Credential must have the form "YYYYMMDD".')
    if service != SERVICE:
        raise malformed(f'The service of the Credential must be "{SERVICE}".')
    if terminator != TERMINATOR:
        raise malformed(f'The Credential must end in "{TERMINATOR}".')
    return access_key_id, Scope(date, region, service)


def check_scope(scope: Scope, region: str, signed_at: datetime, malformed: Malformed) -> None:
    """Compare a scope with the region of this endpoint and the day of the signature.

    Raises:
        S3Error: what `malformed` makes; with a `Region` field where the region is wrong, which SDKs follow.
    """
    if scope.region != region:
        raise malformed(f"The region of the Credential is wrong; expecting '{region}'.", fields={"Region": region})
    if scope.date != f"{signed_at:%Y%m%d}":
        raise malformed("The date of the Credential is not the day of the signature.")


def parse_signed_headers(text: str, request: Request) -> tuple[str, ...]:
    """Read `SignedHeaders` and see that it covers what it must.

    Raises:
        S3Error: SignatureDoesNotMatch where the list is not in canonical form or names what was not sent;
            AccessDenied where `host` or an `x-amz-*` header is left out.
    """
    names = tuple(text.split(";"))
    sent = {name for name, _ in request.headers}
    canonical = all(_HEADER_NAME.fullmatch(name) for name in names) and list(names) == sorted(set(names))
    if not canonical or not sent.issuperset(names):
        raise S3Error(SIGNATURE_DOES_NOT_MATCH)
    if "host" not in names:
        raise S3Error(ACCESS_DENIED, "The header host was not signed.", fields={"HeadersNotSigned": "host"})
    unsigned = sorted(name for name in sent.difference(names, _UNSIGNED_BY_NATURE) if name.startswith("x-amz-"))
    if unsigned:
        raise S3Error(
            ACCESS_DENIED,
            "There were headers present in the request which were not signed",
            fields={"HeadersNotSigned": ", ".join(unsigned)},
        )
    return names
