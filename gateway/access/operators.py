"""The operators of a policy's conditions: how a value of the policy is read, and whether one of the request fits it.

Source: IAM "IAM JSON policy elements: Condition operators". Everything is read when the policy is stored; at evaluation
nothing can be unknown any more. What cannot be judged (a variable without a value, a date that is none) is None.
"""

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from operator import eq, ge, gt, le, lt
from types import MappingProxyType
from typing import Any, Final

from gateway.access.templates import MAX_TEXT, Lookup, Template
from gateway.access.wildcards import Item, Pattern

_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,9})?")
_EPOCH: Final = re.compile(r"[0-9]{1,3}|[0-9]{5,11}")
# The W3C profile of ISO 8601, as IAM has it. As many digits as the reader of locks takes: a time that is none here is
# no time to a Deny either.
_DATE: Final = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:[0-9]{2}))?)?)?"
)
_LONGEST_ADDRESS: Final = 64
"""Characters; 45 and the name of a zone. A longer header would be taken apart for each value of a policy."""
_BOOLEANS: Final = {"true": True, "false": False}
_ARN_PARTS: Final = 6


@dataclass(frozen=True, slots=True)
class Family:
    """Operators that read their values alike."""

    read: Callable[[str, bool], Any]
    """(value in the policy, are there variables) -> what `matches` takes. Raises ValueError, S3Error."""
    matches: Callable[[Any, str, Lookup], bool | None]
    """(what was read, value in the request, facts) -> does it fit; None where that cannot be judged."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator without its prefixes and suffixes."""

    name: str
    family: Family
    is_negated: bool = False


def number(text: str) -> Decimal | None:
    """Read a number."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def moment(text: str) -> datetime | None:
    """Read a date: ISO 8601 with a time zone where there is a time, or seconds since 1970."""
    if _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(int(text), UTC)
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(f"{match[1]}-{match[2] or '01'}-{match[3] or '01'}{match[4] or 'T00:00:00Z'}")
    except ValueError:
        return None


def address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address; an IPv4 one in the form of IPv6 is what it stands for (RFC 4291 section 2.5.5.2)."""
    if len(text) > _LONGEST_ADDRESS:
        return None
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _must(parse: Callable[[str], Any]) -> Callable[[str, bool], Any]:
    def read(text: str, variables: bool) -> Any:  # noqa: ARG001 - one signature for all
        found = parse(text)
        if found is None:
            raise ValueError("the value is not of the operator's type")
        return found

    return read


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _boolean(text: str) -> bool | None:
    return _BOOLEANS.get(text.lower())


def _bytes(text: str) -> bytes | None:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return None


def _like(template: Template, value: str, lookup: Lookup) -> bool | None:
    pattern = template.resolve(lookup) if len(value) <= MAX_TEXT else None
    return None if pattern is None else pattern.matches(value)


def _fold(template: Template, value: str, lookup: Lookup) -> bool | None:
    pattern = template.resolve(lookup) if len(value) <= MAX_TEXT else None
    return None if pattern is None else "".join(map(str, pattern.items)).casefold() == value.casefold()


def _arn_like(template: Template, value: str, lookup: Lookup) -> bool | None:
    """Each of the six parts by itself: no wildcard reaches over a colon."""
    pattern = template.resolve(lookup) if len(value) <= MAX_TEXT else None
    if pattern is None:
        return None
    wanted, parts = template.arn_parts or _arn_parts(pattern), value.split(":", _ARN_PARTS - 1)
    if template.arn_parts is None and not template.is_dear:
        template.arn_parts = wanted
    return len(wanted) == len(parts) and all(each.matches(part) for each, part in zip(wanted, parts, strict=True))


def _arn_parts(pattern: Pattern) -> tuple[Pattern, ...]:
    parts: list[list[Item]] = [[]]
    for item in pattern.items:
        if item == ":" and len(parts) < _ARN_PARTS:
            parts.append([])
        else:
            parts[-1].append(item)
    return tuple(Pattern(part) for part in parts)


def _read_exact(text: str, variables: bool) -> Template:
    return Template(text, variables=variables, wildcards=False)


def _read_like(text: str, variables: bool) -> Template:
    return Template(text, variables=variables, wildcards=True)


def _read_arn(text: str, variables: bool) -> Template:
    if text != "*" and not (text.startswith("arn:") and text.count(":") >= _ARN_PARTS - 1):
        raise ValueError("an ARN has six parts")
    return _read_like("arn:*:*:*:*:*" if text == "*" else text, variables)


def _compared(parse: Callable[[str], Any], compare: Callable[[Any, Any], bool]) -> Family:
    def matches(wanted: Any, value: str, lookup: Lookup) -> bool | None:  # noqa: ARG001 - one signature for all
        found = parse(value)
        return None if found is None else compare(found, wanted)

    return Family(_must(parse), matches)


def _in_network(wanted: IPv4Network | IPv6Network, value: str, lookup: Lookup) -> bool | None:  # noqa: ARG001 - one signature for all
    found = address(value)
    return None if found is None else found in wanted


def _same_bytes(wanted: bytes, value: str, lookup: Lookup) -> bool:  # noqa: ARG001 - one signature for all
    return value.encode("utf-8") == wanted


STRING: Final = Family(_read_exact, _like)
STRING_FOLDED: Final = Family(_read_exact, _fold)
STRING_LIKE: Final = Family(_read_like, _like)
ARN: Final = Family(_read_arn, _arn_like)
BOOL: Final = _compared(_boolean, eq)
BINARY: Final = Family(_must(_bytes), _same_bytes)
IP: Final = Family(_must(_network), _in_network)


def _never(wanted: Any, value: str, lookup: Lookup) -> bool:  # noqa: ARG001 - one signature for all
    raise AssertionError("Null asks whether a key is there, not for its value")


NULL: Final = Operator("Null", Family(_must(_boolean), _never))

_COMPARISONS: Final = {
    "Equals": (eq, False),
    "NotEquals": (eq, True),
    "LessThan": (lt, False),
    "LessThanEquals": (le, False),
    "GreaterThan": (gt, False),
    "GreaterThanEquals": (ge, False),
}

OPERATORS: Final = MappingProxyType(
    {
        operator.name: operator
        for operator in (
            Operator("StringEquals", STRING),
            Operator("StringNotEquals", STRING, is_negated=True),
            Operator("StringEqualsIgnoreCase", STRING_FOLDED),
            Operator("StringNotEqualsIgnoreCase", STRING_FOLDED, is_negated=True),
            Operator("StringLike", STRING_LIKE),
            Operator("StringNotLike", STRING_LIKE, is_negated=True),
            *(
                Operator(f"{prefix}{name}", _compared(parse, compare), is_negated)
                for prefix, parse in (("Numeric", number), ("Date", moment))
                for name, (compare, is_negated) in _COMPARISONS.items()
            ),
            Operator("Bool", BOOL),
            Operator("BinaryEquals", BINARY),
            Operator("IpAddress", IP),
            Operator("NotIpAddress", IP, is_negated=True),
            Operator("ArnEquals", ARN),
            Operator("ArnLike", ARN),
            Operator("ArnNotEquals", ARN, is_negated=True),
            Operator("ArnNotLike", ARN, is_negated=True),
            NULL,
        )
    }
)
"""Every operator by its name; `IfExists`, `ForAllValues:` and `ForAnyValue:` are read off first."""
