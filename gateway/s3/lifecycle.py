"""Lifecycle rules, judged: which rule lets which version or upload go, and when. Pure; the time comes in.

Source: AWS "Lifecycle configuration elements" and "Expiring objects". "Amazon S3 calculates the time by adding the
number of days specified in the rule to the object creation time and rounding the resulting time to the next day at
midnight UTC"; a noncurrent version counts from the time at which its successor was made.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

DAY_S: Final = 86_400
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER: Final = datetime(9999, 12, 31, tzinfo=UTC)
_NO_TAGS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which objects a rule is about: those for which everything holds that is given."""

    prefix: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    size_greater_than: int | None = None
    size_less_than: int | None = None

    def holds(self, object_key: bytes, size: int, tags: Mapping[str, str]) -> bool:
        """Whether an object is meant."""
        return (
            object_key.startswith(self.prefix.encode())
            and all(tags.get(name) == value for name, value in self.tags)
            and (self.size_greater_than is None or size > self.size_greater_than)
            and (self.size_less_than is None or size < self.size_less_than)
        )

    @property
    def is_by_name_alone(self) -> bool:
        """Whether nothing but the key counts."""
        return not self.tags and self.size_greater_than is None and self.size_less_than is None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; an action that it does not have is None."""

    rule_id: str
    enabled: bool
    filter: Filter
    expiration_days: int | None = None
    expiration_date: datetime | None = None
    """Midnight UTC."""
    expired_object_delete_marker: bool | None = None
    """False is kept, and asks for nothing."""
    noncurrent_days: int | None = None
    newer_noncurrent_versions: int | None = None
    """How many newer noncurrent versions stay in any case; None: none."""
    abort_days: int | None = None
    prefix_stands_alone: bool = False
    """Whether the document has `Prefix` beside `Status`, as the first version of the API had it."""


@dataclass(frozen=True, slots=True)
class Due:
    """When something goes, and by which rule."""

    at: datetime
    rule_id: str


@dataclass(frozen=True, slots=True)
class Age:
    """How days are counted; `day_s` is shorter only where somebody watches rules at work."""

    day_s: float = DAY_S

    def after(self, start: datetime, days: int) -> datetime:
        """The first midnight (UTC) later than `days` after `start`."""
        seconds = ((start - _EPOCH).total_seconds() // self.day_s + days + 1) * self.day_s
        try:
            return _EPOCH + timedelta(seconds=seconds)
        except OverflowError:
            return _NEVER

    def day_of(self, moment: datetime) -> int:
        """The number of the day, since 1970, in which a moment lies; nothing becomes due within a day."""
        return int((moment - _EPOCH).total_seconds() // self.day_s)


REAL_DAYS: Final = Age()


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The rules of one bucket."""

    rules: tuple[Rule, ...]
    transition_default_minimum_object_size: str = "all_storage_classes_128K"
    """Kept and given back; there are no transitions."""

    @property
    def enabled(self) -> tuple[Rule, ...]:
        """The rules that count."""
        return tuple(rule for rule in self.rules if rule.enabled)

    def expiry(
        self, object_key: bytes, size: int, tags: Mapping[str, str], created_at: datetime, age: Age = REAL_DAYS
    ) -> Due | None:
        """When the current version of an object expires; where rules overlap, the earliest counts."""
        return _first(
            Due(at, rule.rule_id)
            for rule in self.enabled
            if rule.filter.holds(object_key, size, tags) and (at := _expires_at(rule, created_at, age)) is not None
        )

    def marker_expiry(self, object_key: bytes, created_at: datetime, age: Age = REAL_DAYS) -> Due | None:
        """When a delete marker goes that has no version below it.

        At once by `ExpiredObjectDeleteMarker`; by days "when the delete markers are old enough to satisfy the age
        criteria". A marker has neither tags nor size, so that a rule that asks for them does not mean it.
        """
        return _first(
            Due(at, rule.rule_id)
            for rule in self.enabled
            if rule.filter.is_by_name_alone
            and rule.filter.holds(object_key, 0, _NO_TAGS)
            and (at := created_at if rule.expired_object_delete_marker else _expires_at(rule, created_at, age))
            is not None
        )

    def noncurrent_expiry(
        self,
        object_key: bytes,
        size: int,
        tags: Mapping[str, str],
        succeeded_at: datetime,
        newer_count: int,
        age: Age = REAL_DAYS,
    ) -> Due | None:
        """When a noncurrent version goes; `newer_count` noncurrent ones of its key are newer."""
        return _first(
            Due(age.after(succeeded_at, rule.noncurrent_days), rule.rule_id)
            for rule in self.enabled
            if rule.noncurrent_days is not None
            and newer_count >= (rule.newer_noncurrent_versions or 0)
            and rule.filter.holds(object_key, size, tags)
        )

    def abort(self, object_key: bytes, initiated_at: datetime, age: Age = REAL_DAYS) -> Due | None:
        """When an upload that was not completed goes."""
        return _first(
            Due(age.after(initiated_at, rule.abort_days), rule.rule_id)
            for rule in self.enabled
            if rule.abort_days is not None and rule.filter.holds(object_key, 0, _NO_TAGS)
        )

    @property
    def removes_versions(self) -> bool:
        """Whether any rule looks at versions."""
        return any(
            rule.noncurrent_days is not None
            or rule.expiration_days is not None
            or rule.expiration_date is not None
            or rule.expired_object_delete_marker is True
            for rule in self.enabled
        )

    @property
    def aborts_uploads(self) -> bool:
        """Whether any rule looks at uploads."""
        return any(rule.abort_days is not None for rule in self.enabled)

    @property
    def common_prefix(self) -> bytes:
        """What every key that any rule means begins with, in whole characters."""
        prefixes = sorted(rule.filter.prefix for rule in self.enabled)
        if not prefixes:
            return b""
        first, last = prefixes[0], prefixes[-1]
        size = next(
            (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
        )
        return first[:size].encode()


def _expires_at(rule: Rule, created_at: datetime, age: Age) -> datetime | None:
    if rule.expiration_date is not None:
        return rule.expiration_date
    return None if rule.expiration_days is None else age.after(created_at, rule.expiration_days)


def _first(found: Iterable[Due] | Iterator[Due]) -> Due | None:
    return min(found, key=lambda due: due.at, default=None)
