"""The lifecycle document: XML of clients in, the same rules out. What is stored is what is given back.

Sources: AWS "PutBucketLifecycleConfiguration" and "Lifecycle configuration elements"; messages as S3 writes them.
"""

import re
import secrets
from datetime import UTC, datetime
from typing import Final

from gateway.s3 import xml
from gateway.s3.errors import INVALID_ARGUMENT, INVALID_REQUEST, MALFORMED_XML, NOT_IMPLEMENTED, S3Error
from gateway.s3.headers import format_iso8601
from gateway.s3.lifecycle import Filter, Lifecycle, Rule
from gateway.s3.xml import Element, Node, Parts, optional

MAX_RULES: Final = 1000
MAX_ID_LENGTH: Final = 255
MAX_PREFIX_BYTES: Final = 1024
MAX_TAGS: Final = 10
MAX_NEWER_VERSIONS: Final = 100
_MAX_DAYS: Final = 2**31 - 1
_ROOT: Final = "LifecycleConfiguration"
_MINIMUM: Final = "TransitionDefaultMinimumObjectSize"
MINIMUM_SIZES: Final = frozenset({"all_storage_classes_128K", "varies_by_storage_class"})
_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_DATE: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?:Z|\+00:00))?"
)
_BOOLEANS: Final = {"true": True, "false": False}
_ACTIONS: Final = ("Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")


def read_lifecycle(document: bytes, minimum_size: str) -> Lifecycle:
    """Read what a client sends; a rule without an id gets one.

    Raises:
        S3Error: MalformedXML, InvalidArgument, InvalidRequest; NotImplemented for transitions.
    """
    # A rule of every element has some fifty of them, with its tags.
    root = xml.parse(document, _ROOT, max_elements=60 * MAX_RULES + 16)
    if "Rule" not in {child.name for child in root.children}:
        raise S3Error(MALFORMED_XML)
    rules = tuple(_rule(element) for element in root.parts(many=("Rule",)).many)
    if len(rules) > MAX_RULES:
        raise S3Error(MALFORMED_XML)
    _check_together(rules)
    return Lifecycle(rules, minimum_size)


def decode_lifecycle(stored: bytes) -> Lifecycle:
    """Read what `encode_lifecycle` wrote."""
    parts = xml.parse(stored, _ROOT, max_elements=60 * MAX_RULES + 16).parts(once=(_MINIMUM,), many=("Rule",))
    return Lifecycle(tuple(_rule(element) for element in parts.many), parts.required(_MINIMUM))


def encode_lifecycle(lifecycle: Lifecycle) -> bytes:
    """Write rules for the catalogue: the document of clients and what came in a header."""
    return _node(lifecycle, Node(_MINIMUM, lifecycle.transition_default_minimum_object_size)).document()


def lifecycle_node(lifecycle: Lifecycle) -> Node:
    """Write rules for clients."""
    return _node(lifecycle, None)


# Reading


def _rule(element: Element) -> Rule:
    if any(child.name in {"Transition", "NoncurrentVersionTransition"} for child in element.children):
        raise S3Error(NOT_IMPLEMENTED, "There is one storage class: transitions are not implemented.")
    parts = element.parts(once=("ID", "Prefix", "Filter", "Status", *_ACTIONS))
    status = parts.required("Status")
    if status not in {"Enabled", "Disabled"}:
        raise S3Error(MALFORMED_XML)
    if ("Prefix" in parts.once) == ("Filter" in parts.once):
        raise S3Error(MALFORMED_XML)
    rule_id = (parts.text("ID") or "").strip()
    if len(rule_id) > MAX_ID_LENGTH:
        raise _argument(f"ID length should not exceed allowed limit of {MAX_ID_LENGTH}")
    stands_alone = "Prefix" in parts.once
    about = Filter(prefix=_prefix(parts.required("Prefix"))) if stands_alone else _filter(parts.once["Filter"])
    days, date, marker = _expiration(parts)
    noncurrent_days, newer = _noncurrent(parts)
    rule = Rule(
        rule_id=rule_id or secrets.token_hex(24),
        enabled=status == "Enabled",
        filter=about,
        expiration_days=days,
        expiration_date=date,
        expired_object_delete_marker=marker,
        noncurrent_days=noncurrent_days,
        newer_noncurrent_versions=newer,
        abort_days=_abort(parts),
        prefix_stands_alone=stands_alone,
    )
    _check_alone(rule, parts)
    return rule


def _filter(element: Element) -> Filter:
    names = ("Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan")
    parts = element.parts(once=(*names, "And"))
    if len(parts.once) > 1:
        raise S3Error(MALFORMED_XML)
    if "And" in parts.once:
        both = parts.once["And"].parts(once=tuple(name for name in names if name != "Tag"), many=("Tag",))
        if len(both.once) + len(both.many) < 2:
            raise S3Error(MALFORMED_XML)
        return _predicates(both, both.many)
    return _predicates(parts, [parts.once["Tag"]] if "Tag" in parts.once else [])


def _predicates(parts: Parts, tag_elements: list[Element]) -> Filter:
    tags = [
        (tag.required("Key"), tag.required("Value")) for tag in (e.parts(once=("Key", "Value")) for e in tag_elements)
    ]
    if len(tags) > MAX_TAGS or any(not 1 <= len(name) <= 128 or len(value) > 256 for name, value in tags):
        raise S3Error(MALFORMED_XML)
    if len({name for name, _ in tags}) != len(tags):
        raise S3Error(INVALID_REQUEST, "Duplicate Tag Keys are not allowed.")
    greater, less = (_size(parts, name) for name in ("ObjectSizeGreaterThan", "ObjectSizeLessThan"))
    if greater is not None and less is not None and less <= greater:
        raise S3Error(INVALID_REQUEST, "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.")
    return Filter(_prefix(parts.text("Prefix") or ""), tuple(tags), greater, less)


def _prefix(text: str) -> str:
    if len(text.encode()) > MAX_PREFIX_BYTES:
        raise _argument(f"The maximum size of a prefix is {MAX_PREFIX_BYTES}.")
    return text


def _size(parts: Parts, name: str) -> int | None:
    text = parts.text(name)
    if text is None:
        return None
    if not _DIGITS.fullmatch(text.strip()):
        raise S3Error(MALFORMED_XML)
    return int(text)


def _expiration(parts: Parts) -> tuple[int | None, datetime | None, bool | None]:
    element = parts.once.get("Expiration")
    if element is None:
        return None, None, None
    inner = element.parts(once=("Days", "Date", "ExpiredObjectDeleteMarker"))
    if len(inner.once) != 1:
        raise S3Error(MALFORMED_XML)
    marker, date = inner.text("ExpiredObjectDeleteMarker"), inner.text("Date")
    if marker is not None and marker.strip() not in _BOOLEANS:
        raise S3Error(MALFORMED_XML)
    return (
        _days(inner, "Days", "Expiration"),
        None if date is None else _date(date.strip()),
        None if marker is None else _BOOLEANS[marker.strip()],
    )


def _noncurrent(parts: Parts) -> tuple[int | None, int | None]:
    element = parts.once.get("NoncurrentVersionExpiration")
    if element is None:
        return None, None
    inner = element.parts(once=("NoncurrentDays", "NewerNoncurrentVersions"))
    days = _days(inner, "NoncurrentDays", "NoncurrentVersionExpiration")
    if days is None:
        raise S3Error(MALFORMED_XML)
    newer = _days(inner, "NewerNoncurrentVersions", "NoncurrentVersionExpiration")
    if newer is not None and newer > MAX_NEWER_VERSIONS:
        raise _argument("'NewerNoncurrentVersions' for NoncurrentVersionExpiration action must be between 1 and 100")
    return days, newer


def _abort(parts: Parts) -> int | None:
    element = parts.once.get("AbortIncompleteMultipartUpload")
    if element is None:
        return None
    days = _days(element.parts(once=("DaysAfterInitiation",)), "DaysAfterInitiation", "AbortIncompleteMultipartUpload")
    if days is None:
        raise S3Error(MALFORMED_XML)
    return days


def _days(parts: Parts, name: str, action: str) -> int | None:
    text = parts.text(name)
    if text is None:
        return None
    text = text.strip()
    if not re.fullmatch(r"-?[0-9]{1,15}", text):
        raise S3Error(MALFORMED_XML)
    if not 1 <= int(text) <= _MAX_DAYS:
        raise _argument(f"'{name}' for {action} action must be a positive integer")
    return int(text)


def _date(text: str) -> datetime:
    match = _DATE.fullmatch(text)
    if match is None:
        raise S3Error(MALFORMED_XML)
    year, month, day, *clock = match.groups()
    if any(part is not None and int(part) for part in clock):
        raise _argument("'Date' must be at midnight GMT")
    try:
        return datetime(int(year), int(month), int(day), tzinfo=UTC)
    except ValueError:
        raise S3Error(MALFORMED_XML) from None


# Judging


def _check_alone(rule: Rule, parts: Parts) -> None:
    if not any(name in parts.once for name in _ACTIONS):
        raise S3Error(INVALID_REQUEST, "At least one action needs to be specified in a rule.")
    # Neither an upload nor a delete marker has tags or a size that a rule could go by.
    for name, is_asked in (
        ("ExpiredObjectDeleteMarker", rule.expired_object_delete_marker is True),
        ("AbortIncompleteMultipartUpload", rule.abort_days is not None),
    ):
        if is_asked and rule.filter.tags:
            raise S3Error(INVALID_REQUEST, f"{name} cannot be specified with Tags.")
        if is_asked and not rule.filter.is_by_name_alone:
            raise S3Error(INVALID_REQUEST, f"{name} cannot be specified with Object Size.")


def _check_together(rules: tuple[Rule, ...]) -> None:
    """Overlapping filters are judged rule by rule, the earliest counts; only the same one twice is refused."""
    if len({rule.rule_id for rule in rules}) != len(rules):
        raise _argument("Rule ID must be unique. Found same ID for more than one rule")
    seen: set[tuple[Filter, str]] = set()
    for rule in rules:
        asked = {
            "Expiration": rule.expiration_days or rule.expiration_date,
            "ExpiredObjectDeleteMarker": rule.expired_object_delete_marker,
            "NoncurrentVersionExpiration": rule.noncurrent_days,
            "AbortIncompleteMultipartUpload": rule.abort_days,
        }
        for action in (action for action, value in asked.items() if value):
            if (rule.filter, action) in seen:
                message = f"Found two rules with same prefix '{rule.filter.prefix}' for same action type '{action}'"
                raise S3Error(INVALID_REQUEST, message)
            seen.add((rule.filter, action))


def _argument(message: str) -> S3Error:
    return S3Error(INVALID_ARGUMENT, message)


# Writing


def _node(lifecycle: Lifecycle, more: Node | None) -> Node:
    return Node(_ROOT, more, *(_rule_node(rule) for rule in lifecycle.rules))


def _rule_node(rule: Rule) -> Node:
    prefix = Node("Prefix", rule.filter.prefix)
    return Node(
        "Rule",
        Node("ID", rule.rule_id),
        prefix if rule.prefix_stands_alone else _filter_node(rule.filter),
        Node("Status", "Enabled" if rule.enabled else "Disabled"),
        _expiration_node(rule),
        _noncurrent_node(rule),
        None
        if rule.abort_days is None
        else Node("AbortIncompleteMultipartUpload", Node("DaysAfterInitiation", rule.abort_days)),
    )


def _filter_node(about: Filter) -> Node:
    tags = [Node("Tag", Node("Key", name), Node("Value", value)) for name, value in about.tags]
    sizes = [
        optional("ObjectSizeGreaterThan", about.size_greater_than),
        optional("ObjectSizeLessThan", about.size_less_than),
    ]
    given = [
        node for node in (Node("Prefix", about.prefix) if about.prefix else None, *tags, *sizes) if node is not None
    ]
    if not given:
        return Node("Filter", Node("Prefix", ""))
    return Node("Filter", given[0] if len(given) == 1 else Node("And", *given))


def _expiration_node(rule: Rule) -> Node | None:
    if rule.expiration_days is not None:
        return Node("Expiration", Node("Days", rule.expiration_days))
    if rule.expiration_date is not None:
        return Node("Expiration", Node("Date", format_iso8601(rule.expiration_date)))
    marker = optional("ExpiredObjectDeleteMarker", rule.expired_object_delete_marker)
    return None if marker is None else Node("Expiration", marker)


def _noncurrent_node(rule: Rule) -> Node | None:
    if rule.noncurrent_days is None:
        return None
    return Node(
        "NoncurrentVersionExpiration",
        Node("NoncurrentDays", rule.noncurrent_days),
        optional("NewerNoncurrentVersions", rule.newer_noncurrent_versions),
    )
