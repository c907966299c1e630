"""Event notifications of a bucket: which events go to whom, and what they say. Pure; times and ids come in.

Sources: AWS "PutBucketNotificationConfiguration", "Event notification types and destinations", "Event message
structure" (version 2.3). Destinations are webhooks that the operator names in the settings: a bucket's owner chooses
among them by ARN and can name no address of his own.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import combinations
from typing import Any, Final
from urllib.parse import quote_from_bytes

from gateway.s3 import xml
from gateway.s3.errors import INVALID_ARGUMENT, MALFORMED_XML, NOT_IMPLEMENTED, S3Error
from gateway.s3.xml import Element, Node

EVENT_VERSION: Final = "2.3"
SCHEMA_VERSION: Final = "1.0"
MAX_CONFIGURATIONS: Final = 100
MAX_ID_LENGTH: Final = 255
MAX_VALUE_LENGTH: Final = 1024

CREATED_PUT: Final = "ObjectCreated:Put"
CREATED_POST: Final = "ObjectCreated:Post"
CREATED_COPY: Final = "ObjectCreated:Copy"
CREATED_COMPLETE: Final = "ObjectCreated:CompleteMultipartUpload"
REMOVED_DELETE: Final = "ObjectRemoved:Delete"
REMOVED_MARKER: Final = "ObjectRemoved:DeleteMarkerCreated"
EXPIRED_DELETE: Final = "LifecycleExpiration:Delete"
EXPIRED_MARKER: Final = "LifecycleExpiration:DeleteMarkerCreated"
_TOLD: Final = frozenset(
    {
        *(CREATED_PUT, CREATED_POST, CREATED_COPY, CREATED_COMPLETE),
        *(REMOVED_DELETE, REMOVED_MARKER, EXPIRED_DELETE, EXPIRED_MARKER),
    }
)
"""Events that occur, as event messages name them."""
_PREFIX: Final = "s3:"
_FAMILIES: Final = frozenset(f"{name.partition(':')[0]}:*" for name in _TOLD)
_NOT_TOLD: Final = frozenset(
    {
        "ReducedRedundancyLostObject",
        *("ObjectRestore:*", "ObjectRestore:Post", "ObjectRestore:Completed", "ObjectRestore:Delete"),
        *("Replication:*", "Replication:OperationFailedReplication", "Replication:OperationNotTracked"),
        *("Replication:OperationMissedThreshold", "Replication:OperationReplicatedAfterThreshold"),
        *("LifecycleTransition", "IntelligentTiering", "ObjectAcl:Put"),
        *("ObjectTagging:*", "ObjectTagging:Put", "ObjectTagging:Delete"),
    }
)
"""Events of S3 that nobody would ever be told of here."""


class Destination(StrEnum):
    """What clients may call a webhook: all of these are one, and each gets back what it said."""

    TOPIC = "Topic"
    QUEUE = "Queue"
    CLOUD_FUNCTION = "CloudFunction"

    @property
    def element(self) -> str:
        """The element of the document; the ARN stands in a member with the value for its name."""
        return f"{self.value}Configuration"


_BY_ELEMENT: Final = {destination.element: destination for destination in Destination}
_ARN: Final = "arn:sealgate:webhook:::"


def arn_of(target: str) -> str:
    """The ARN of a webhook, by its name in the settings."""
    return _ARN + target


@dataclass(frozen=True, slots=True)
class Configuration:
    """One line: such events of such keys go to that target."""

    destination: Destination
    configuration_id: str
    target: str
    events: tuple[str, ...]
    """Without `s3:`; `ObjectCreated:*` for a whole family."""
    prefix: str = ""
    suffix: str = ""

    def wants(self, event: str, object_key: bytes) -> bool:
        """Whether an event about a key is meant."""
        return (
            (event in self.events or f"{event.partition(':')[0]}:*" in self.events)
            and object_key.startswith(self.prefix.encode())
            and object_key.endswith(self.suffix.encode())
        )


@dataclass(frozen=True, slots=True)
class Notifications:
    """The configuration of one bucket."""

    configurations: tuple[Configuration, ...] = ()

    def wanting(self, event: str, object_key: bytes) -> Iterator[Configuration]:
        """Those that mean an event."""
        return (one for one in self.configurations if one.wants(event, object_key))


# The document


def read_notifications(document: bytes) -> Notifications:
    """Read what a client sends; whether the destinations are there is for others to see.

    Raises:
        S3Error: MalformedXML; InvalidArgument for unknown events, what is no ARN of a webhook, and overlapping lines;
            NotImplemented for events that never occur here, and for EventBridge.
    """
    notifications = decode_notifications(document)
    _check_together(notifications.configurations)
    return notifications


def decode_notifications(document: bytes) -> Notifications:
    """Read a document, each line by itself. Raises: S3Error."""
    root = xml.parse(document, "NotificationConfiguration", max_elements=40 * MAX_CONFIGURATIONS)
    parts = root.parts(many=(*_BY_ELEMENT, "EventBridgeConfiguration"))
    if any(element.name == "EventBridgeConfiguration" for element in parts.many):
        raise S3Error(NOT_IMPLEMENTED, "There is no EventBridge.")
    if len(parts.many) > MAX_CONFIGURATIONS:
        raise S3Error(MALFORMED_XML)
    return Notifications(tuple(_configuration(element) for element in parts.many))


def notifications_node(notifications: Notifications) -> Node:
    """Write a configuration, for clients and for the catalogue."""
    return Node("NotificationConfiguration", *(_node(one) for one in notifications.configurations))


def _configuration(element: Element) -> Configuration:
    destination = _BY_ELEMENT[element.name]
    parts = element.parts(once=("Id", destination.value, "Filter"), many=("Event",))
    configuration_id = parts.text("Id") or ""
    if len(configuration_id) > MAX_ID_LENGTH:
        raise S3Error(INVALID_ARGUMENT, f"The ID may have {MAX_ID_LENGTH} characters.")
    arn = parts.required(destination.value).strip()
    if not arn.startswith(_ARN):
        raise S3Error(
            INVALID_ARGUMENT,
            f"The ARN could not be parsed: destinations are {arn_of('NAME')}, by their names in the settings.",
            fields={"ArgumentName": arn[:200]},
        )
    events = tuple(dict.fromkeys(_event(event.leaf().strip()) for event in parts.many))
    if not events:
        raise S3Error(MALFORMED_XML)
    prefix, suffix = _filter(parts.once.get("Filter"))
    return Configuration(
        destination, configuration_id or secrets.token_hex(16), arn.removeprefix(_ARN), events, prefix, suffix
    )


def _event(text: str) -> str:
    name = text.removeprefix(_PREFIX)
    if text.startswith(_PREFIX) and (name in _TOLD or name in _FAMILIES):
        return name
    if text.startswith(_PREFIX) and name in _NOT_TOLD:
        raise S3Error(NOT_IMPLEMENTED, "This event does not occur here.", fields={"Event": text})
    raise S3Error(INVALID_ARGUMENT, "The event is not supported for notifications", fields={"ArgumentName": text[:200]})


def _filter(element: Element | None) -> tuple[str, str]:
    found: dict[str, str] = {}
    keys = None if element is None else element.parts(once=("S3Key",)).once.get("S3Key")
    for rule in () if keys is None else keys.parts(many=("FilterRule",)).many:
        parts = rule.parts(once=("Name", "Value"))
        name, value = parts.required("Name").lower(), parts.text("Value") or ""
        if name not in {"prefix", "suffix"}:
            raise S3Error(INVALID_ARGUMENT, "filter rule name must be either prefix or suffix")
        if name in found:
            raise S3Error(INVALID_ARGUMENT, f"Cannot specify more than one {name} rule in a filter.")
        if len(value.encode()) > MAX_VALUE_LENGTH:
            raise S3Error(INVALID_ARGUMENT, f"Size of filter rule value cannot exceed {MAX_VALUE_LENGTH} bytes.")
        found[name] = value
    return found.get("prefix", ""), found.get("suffix", "")


def _check_together(configurations: Iterable[Configuration]) -> None:
    """See that no event has two lines that mean it: AWS wants one, wherever prefixes and suffixes may meet."""
    held = list(configurations)
    if len({one.configuration_id for one in held}) != len(held):
        raise S3Error(INVALID_ARGUMENT, "Same ID used for multiple configurations. IDs must be unique")
    for one, other in combinations(held, 2):
        if not _events_of(one).isdisjoint(_events_of(other)) and _may_meet(one, other):
            raise S3Error(
                INVALID_ARGUMENT,
                "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes "
                "are overlapping for the same event type.",
            )


def _events_of(one: Configuration) -> frozenset[str]:
    families = tuple(event.removesuffix("*") for event in one.events if event.endswith("*"))
    return frozenset(name for name in _TOLD if name in one.events or (families and name.startswith(families)))


def _may_meet(one: Configuration, other: Configuration) -> bool:
    prefixes = one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)
    return prefixes and (one.suffix.endswith(other.suffix) or other.suffix.endswith(one.suffix))


def _node(one: Configuration) -> Node:
    rules = [
        Node("FilterRule", Node("Name", name), Node("Value", value))
        for name, value in (("Prefix", one.prefix), ("Suffix", one.suffix))
        if value
    ]
    return Node(
        one.destination.element,
        Node("Id", one.configuration_id),
        Node(one.destination.value, arn_of(one.target)),
        *(Node("Event", _PREFIX + event) for event in one.events),
        Node("Filter", Node("S3Key", *rules)) if rules else None,
    )


# What is sent


@dataclass(frozen=True, slots=True)
class Cause:
    """Who did it, and how."""

    region: str
    bucket_name: str
    owner_id: str
    principal_id: str
    source_address: str
    request_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Subject:
    """What it was done to; size and ETag are those of what was created, None of what went."""

    object_key: bytes
    version_id: str | None = None
    size: int | None = None
    etag: str | None = None


def event_record(event: str, configuration_id: str, cause: Cause, subject: Subject) -> dict[str, Any]:
    """One record, but for its sequencer, which the commit gives."""
    described: dict[str, Any] = {"key": quote_from_bytes(subject.object_key, safe="/-_.*").replace("%20", "+")}
    if subject.size is not None:
        described["size"] = subject.size
    if subject.etag is not None:
        described["eTag"] = subject.etag
    if subject.version_id is not None:
        described["versionId"] = subject.version_id
    return {
        "eventVersion": EVENT_VERSION,
        "eventSource": "aws:s3",
        "awsRegion": cause.region,
        "eventTime": _time(cause.at),
        "eventName": event,
        "userIdentity": {"principalId": cause.principal_id},
        "requestParameters": {"sourceIPAddress": cause.source_address},
        "responseElements": {"x-amz-request-id": cause.request_id, "x-amz-id-2": "sealgate"},
        "s3": {
            "s3SchemaVersion": SCHEMA_VERSION,
            "configurationId": configuration_id,
            "bucket": {
                "name": cause.bucket_name,
                "ownerIdentity": {"principalId": cause.owner_id},
                "arn": f"arn:aws:s3:::{cause.bucket_name}",
            },
            "object": described,
        },
    }


def sequenced(record: Mapping[str, Any], sequence: int) -> dict[str, Any]:
    """A whole message of one record; of two events on one key, the one with the greater sequencer is the later."""
    s3 = record["s3"]
    described = {**s3["object"], "sequencer": f"{sequence:016X}"}
    return {"Records": [{**record, "s3": {**s3, "object": described}}]}


def test_event(cause: Cause) -> dict[str, Any]:
    """What a target gets when a bucket begins to send to it."""
    return {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": _time(cause.at),
        "Bucket": cause.bucket_name,
        "RequestId": cause.request_id,
        "HostId": "sealgate",
    }


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
