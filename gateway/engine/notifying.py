"""Event notifications, from the change to the outbox: what a bucket wants told is written with the change itself.

Nothing is sent here; `gateway.engine.delivery` reads the outbox. Source: AWS "Amazon S3 Event Notifications".
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from gateway.engine.documents import Documents
from gateway.s3.notifications import (
    EXPIRED_DELETE,
    EXPIRED_MARKER,
    REMOVED_DELETE,
    REMOVED_MARKER,
    Cause,
    Notifications,
    Subject,
    decode_notifications,
    event_record,
)
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import DeleteVersion
from storage.catalogue.records import NULL_VERSION_ID, Bucket, Notice, ObjectVersion

KIND: Final = "notification"
"""The configuration of a bucket that says who is told of what."""

Notices = Callable[[ObjectVersion], tuple[Notice, ...]]
"""What is to be told of a version that is about to be made."""

_BY_A_RULE: Final = "sealgate"
"""Who acts where nobody asked: a lifecycle rule."""


def no_notices(_: ObjectVersion) -> tuple[Notice, ...]:
    """Nobody wants to know."""
    return ()


@dataclass(frozen=True, slots=True)
class Announcer:
    """Makes the notices of one request, or of one walk of a job."""

    notifications: Notifications
    cause: Cause | None

    def created(self, event: str) -> Notices:
        """What is told of a version that such a request makes."""
        return lambda version: self._notices(
            event,
            Subject(version.object_key, _shown(version.version_id), version.size, version.etag),
        )

    def removing(self, command: DeleteVersion) -> DeleteVersion:
        """The command of a client, with what is told of it."""
        return self._with_notices(command, REMOVED_DELETE, REMOVED_MARKER)

    def expiring(self, command: DeleteVersion) -> DeleteVersion:
        """The command of a lifecycle rule, with what is told of it."""
        return self._with_notices(command, EXPIRED_DELETE, EXPIRED_MARKER)

    def _with_notices(self, command: DeleteVersion, removed: str, marked: str) -> DeleteVersion:
        if not self.notifications.configurations:
            return command
        named = None if command.version_id is None else _shown(command.version_id)
        return replace(
            command,
            removal_notices=self._notices(removed, Subject(command.object_key, named)),
            marker_notices=self._notices(marked, Subject(command.object_key, _shown(command.marker_id))),
        )

    def _notices(self, event: str, subject: Subject) -> tuple[Notice, ...]:
        return tuple(
            Notice(one.target, event_record(event, one.configuration_id, self._the_cause(), subject))
            for one in self.notifications.wanting(event, subject.object_key)
        )

    def _the_cause(self) -> Cause:
        assert self.cause is not None, "who tells something knows why"
        return self.cause


NOBODY: Final = Announcer(Notifications(), None)
"""For buckets that have nobody told."""


class Announcements:
    """Gives announcers, by the configurations of buckets. `targets` are the names of the webhooks that there are."""

    def __init__(self, catalogue: Catalogue, region: str, targets: Collection[str] = ()) -> None:
        # Whoever cannot read what is wanted tells nobody; the log has it.
        self._documents = Documents(catalogue, KIND, decode_notifications, Notifications())
        self._region = region
        self.targets = frozenset(targets)

    async def of(self, bucket: Bucket) -> Notifications | None:
        """The configuration of a bucket. Raises: NoSuchBucket, StorageError."""
        return await self._documents.of(bucket)

    async def by_request(
        self, bucket: Bucket, *, principal_id: str, source_address: str, request_id: str, at: datetime
    ) -> Announcer:
        """The announcer of one request. Raises: NoSuchBucket, StorageError."""
        held = await self.of(bucket)
        wanted = () if held is None else tuple(one for one in held.configurations if one.target in self.targets)
        if not wanted:
            return NOBODY
        cause = Cause(self._region, bucket.name, bucket.account_id.hex(), principal_id, source_address, request_id, at)
        return Announcer(Notifications(wanted), cause)

    async def by_rule(self, bucket: Bucket, at: datetime) -> Announcer:
        """The announcer of a job that carries out a bucket's rules. Raises: NoSuchBucket, StorageError."""
        return await self.by_request(bucket, principal_id=_BY_A_RULE, source_address="", request_id="", at=at)


def _shown(version_id: str) -> str | None:
    return None if version_id == NULL_VERSION_ID else version_id
