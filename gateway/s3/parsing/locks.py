"""Requests about object lock, and the lock that a new object's headers ask for.

Sources: AWS "PutObjectLockConfiguration", "PutObjectRetention", "PutObjectLegalHold".
"""

import re
from datetime import UTC, datetime
from typing import Final

from gateway.s3 import xml
from gateway.s3.addressing import Address
from gateway.s3.errors import INVALID_ARGUMENT, MALFORMED_XML, NOT_IMPLEMENTED, S3Error
from gateway.s3.headers import single
from gateway.s3.parsing.fields import bucket_of, bypass_governance, invalid, key_of, version_id
from gateway.s3.parsing.start import begin
from gateway.s3.request import Headers, Request
from gateway.s3.types import LockState
from gateway.s3.version_types import (
    DefaultRetention,
    PutObjectLegalHoldInput,
    PutObjectLockConfigurationInput,
    PutObjectRetentionInput,
    VersionInput,
)

MODES: Final = frozenset({"GOVERNANCE", "COMPLIANCE"})
MAX_DAYS: Final = 36_500
MAX_YEARS: Final = 100
"""Of a default retention (AWS: "DefaultRetention")."""
_MODE: Final = "x-amz-object-lock-mode"
_UNTIL: Final = "x-amz-object-lock-retain-until-date"
_HOLD: Final = "x-amz-object-lock-legal-hold"
_MAX_ELEMENTS: Final = 16
_NUMBER: Final = re.compile(r"-?[0-9]{1,9}")
# ISO 8601 as RFC 3339 narrows it: with its zone, so that nobody has to guess.
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def lock_headers(headers: Headers) -> LockState:
    """Read x-amz-object-lock-*.

    Raises:
        S3Error: InvalidArgument for a bad value, and for one of mode and date without the other.
    """
    mode, until, hold = (single(headers, name) for name in (_MODE, _UNTIL, _HOLD))
    if (mode is None) != (until is None):
        message = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied"
        raise invalid(_MODE if mode is None else _UNTIL, message)
    if mode is not None and mode not in MODES:
        raise invalid(_MODE, "Unknown wormMode directive.")
    if hold not in {None, "ON", "OFF"}:
        raise invalid(_HOLD, "Legal Hold must be either of 'ON' or 'OFF'")
    return LockState(
        mode or "", None if until is None else _moment(until, _UNTIL), None if hold is None else hold == "ON"
    )


def _moment(text: str, name: str) -> datetime:
    wrong = invalid(name, "The retain until date must be provided in ISO 8601 format")
    match = _TIME.fullmatch(text)
    if match is None:
        raise wrong
    fraction = (match[2] or "0")[:6].ljust(6, "0")
    zone = "+00:00" if match[3] == "Z" else match[3]
    try:
        return datetime.fromisoformat(f"{match[1]}.{fraction}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong from None


def parse_put_object_lock_configuration(
    request: Request, address: Address, document: bytes
) -> PutObjectLockConfigurationInput:
    """Read PutObjectLockConfiguration.

    Raises:
        S3Error: MalformedXML; InvalidArgument for a period that is not positive or too long; what `begin` raises.
    """
    begin(request)
    parts = xml.parse(document, "ObjectLockConfiguration", max_elements=_MAX_ELEMENTS).parts(
        once=("ObjectLockEnabled", "Rule")
    )
    if parts.required("ObjectLockEnabled") != "Enabled":
        raise S3Error(MALFORMED_XML)
    if "Rule" not in parts.once:
        return PutObjectLockConfigurationInput(bucket_of(address))
    rule = parts.once["Rule"].parts(once=("DefaultRetention",))
    if "DefaultRetention" not in rule.once:
        raise S3Error(MALFORMED_XML)
    return PutObjectLockConfigurationInput(bucket_of(address), _default_retention(rule.once["DefaultRetention"]))


def _default_retention(element: xml.Element) -> DefaultRetention:
    parts = element.parts(once=("Mode", "Days", "Years", "DefaultEventHold"))
    _refuse_event_holds(parts)
    mode = parts.required("Mode")
    if mode not in MODES or ("Days" in parts.once) == ("Years" in parts.once):
        raise S3Error(MALFORMED_XML)
    unit, most = ("Days", MAX_DAYS) if "Days" in parts.once else ("Years", MAX_YEARS)
    text = parts.required(unit).strip()
    if not _NUMBER.fullmatch(text):
        raise S3Error(MALFORMED_XML)
    period = int(text)
    if period < 1:
        raise S3Error(INVALID_ARGUMENT, "Default retention period must be a positive integer value.")
    if period > most:
        raise S3Error(INVALID_ARGUMENT, f"Default retention period too large: at most {most} {unit.lower()}.")
    return DefaultRetention(mode, days=period) if unit == "Days" else DefaultRetention(mode, years=period)


def _refuse_event_holds(parts: xml.Parts) -> None:
    if not parts.once.keys().isdisjoint({"DefaultEventHold", "EventHold", "EventHoldDuration"}):
        raise S3Error(NOT_IMPLEMENTED, "Event holds are not supported.")


def parse_put_object_retention(request: Request, address: Address, document: bytes) -> PutObjectRetentionInput:
    """Read PutObjectRetention. A document without mode and date takes the retention off.

    Raises:
        S3Error: MalformedXML, also for one of mode and date without the other; InvalidArgument for a date that is none
            and for a bad version id or bypass header; what `begin` raises.
    """
    parsed = begin(request)
    parts = xml.parse(document, "Retention", max_elements=_MAX_ELEMENTS).parts(
        once=("Mode", "RetainUntilDate", "EventHold", "EventHoldDuration")
    )
    _refuse_event_holds(parts)
    mode, until = parts.text("Mode"), parts.text("RetainUntilDate")
    if (mode is None) != (until is None) or (mode is not None and mode not in MODES):
        raise S3Error(MALFORMED_XML)
    moment = None if until is None else _moment(until.strip(), "RetainUntilDate")
    return PutObjectRetentionInput(
        target=VersionInput(bucket_of(address), key_of(address), version_id(parsed.query)),
        retention=LockState(mode or "", moment),
        bypass_governance=bypass_governance(parsed.headers),
    )


def parse_put_object_legal_hold(request: Request, address: Address, document: bytes) -> PutObjectLegalHoldInput:
    """Read PutObjectLegalHold.

    Raises:
        S3Error: MalformedXML; InvalidArgument for a bad version id; what `begin` raises.
    """
    query = begin(request).query
    status = xml.parse(document, "LegalHold", max_elements=_MAX_ELEMENTS).parts(once=("Status",)).required("Status")
    if status not in {"ON", "OFF"}:
        raise S3Error(MALFORMED_XML)
    target = VersionInput(bucket_of(address), key_of(address), version_id(query))
    return PutObjectLegalHoldInput(target, status == "ON")
