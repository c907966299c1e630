"""Which actions a request needs: that of its operation's row, and those that its version, headers and document add.

Source: S3 "Required permissions for Amazon S3 API operations".
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gateway.access.actions import VERSIONED
from gateway.access.facts import tag_facts
from gateway.access.templates import Values
from gateway.s3.query import effective_headers, parse_query
from gateway.s3.request import Headers, Request

_WRITES: Final = frozenset({"PutObject", "PostObject", "CopyObject", "CreateMultipartUpload"})
_CONDITIONAL: Final = frozenset({"PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject"})
_BYPASSES: Final = frozenset({"DeleteObject", "PutObjectRetention"})
"""Not DeleteObjects: the right is one to objects, so that it is judged for each of its keys."""
_OWN_ACLS: Final = frozenset({"private", "bucket-owner-full-control"})
"""Canned ACLs that give nobody but the two owners anything: they need no right to set ACLs."""


def _is_true(value: str) -> bool:
    return value.lower() == "true"


_BY_HEADER: Final[Mapping[str, tuple[frozenset[str], str, Callable[[str], bool]]]] = {
    "x-amz-tagging": (_WRITES, "s3:PutObjectTagging", bool),
    "x-amz-object-lock-mode": (_WRITES, "s3:PutObjectRetention", bool),
    "x-amz-object-lock-retain-until-date": (_WRITES, "s3:PutObjectRetention", bool),
    "x-amz-object-lock-legal-hold": (_WRITES, "s3:PutObjectLegalHold", bool),
    "x-amz-bypass-governance-retention": (_BYPASSES, "s3:BypassGovernanceRetention", _is_true),
    # Its answer tells something of an object, which only a reader may learn.
    "if-match": (_CONDITIONAL, "s3:GetObject", bool),
    "x-amz-acl": (_WRITES, "s3:PutObjectAcl", lambda value: value not in _OWN_ACLS),
    **{
        f"x-amz-grant-{name}": (_WRITES, "s3:PutObjectAcl", bool)
        for name in ("full-control", "read", "read-acp", "write", "write-acp")
    },
}
"""Header -> the operations for which it needs a further action, and when."""

_BESIDES: Final[Mapping[str, tuple[str, ...]]] = {"GetObjectAttributes": ("s3:GetObject",)}
"""Operations whose row names only one of their actions."""


def _retention_facts(asked: Any) -> dict[str, Values | None]:
    mode, until = asked.retention.mode, asked.retention.retain_until
    return {
        "s3:object-lock-mode": (str(mode),) if mode else None,
        "s3:object-lock-retain-until-date": None if until is None else (f"{until:%Y-%m-%dT%H:%M:%SZ}",),
    }


DOCUMENT_FACTS: Final[Mapping[str, Callable[[Any], Mapping[str, Values | None]]]] = {
    "PutObjectTagging": lambda asked: tag_facts(dict(asked.tags)),
    "PutObjectRetention": _retention_facts,
    "PutObjectLegalHold": lambda asked: {"s3:object-lock-legal-hold": ("ON" if asked.is_on else "OFF",)},
}
"""Operations whose document holds what policies ask for -> how to find it in the Input."""

JUDGED_LATER: Final = frozenset({"DeleteObjects", *DOCUMENT_FACTS})
"""Operations whose own action is judged when their document was read. DeleteObjects judges each of its keys."""


def versioned(action: str, version_id: str | None) -> str:
    """The action that a request for a version needs in the place of `action`."""
    return action if version_id is None else VERSIONED.get(action, action)


def actions_of(operation: str, action: str, request: Request) -> list[str]:
    """The actions that the request itself shows; each is judged on its own, and all must be allowed."""
    version_id = parse_query(request).get("versionId")
    own = [] if operation in JUDGED_LATER else [action, *_BESIDES.get(operation, ())]
    added = _added(operation, effective_headers(request))
    return list(dict.fromkeys([*(versioned(name, version_id) for name in own), *added]))


def _added(operation: str, headers: Headers) -> Iterator[str]:
    for name, (operations, action, counts) in _BY_HEADER.items():
        value = headers.get(name) if operation in operations else None
        if value is not None and counts(value):
            yield action
