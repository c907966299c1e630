"""A bucket policy as values, and what it says of one request: pure, and finished when the policy was parsed.

Source: IAM "Policy evaluation logic" and "JSON policy elements". Where a statement cannot be judged for a request (a
variable without a value, a header that is no number), a Deny holds and an Allow does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from gateway.access.operators import NULL, Operator
from gateway.access.templates import Lookup, Template


class Effect(Enum):
    """What a statement does."""

    ALLOW = "Allow"
    DENY = "Deny"


class Quantifier(Enum):
    """How a condition takes the values of a key that has several."""

    NONE = ""
    ALL = "ForAllValues"
    ANY = "ForAnyValue"


class Verdict(Enum):
    """What a policy says of a request."""

    DENY = "explicit deny"
    ALLOW = "allow"
    SILENT = "nothing"


@dataclass(frozen=True, slots=True)
class Principals:
    """Whom a statement is about."""

    everyone: bool = False
    """`*`: every account and the anonymous caller."""
    accounts: frozenset[str] = frozenset()
    """Canonical ids."""
    is_negated: bool = False
    """NotPrincipal."""

    def include(self, account_id: str | None) -> bool:
        """Whether a caller is meant; None is the anonymous one."""
        named = self.everyone or (account_id is not None and account_id in self.accounts)
        return named is not self.is_negated


@dataclass(frozen=True, slots=True)
class Resources:
    """ARNs of buckets and objects, with wildcards and variables."""

    templates: tuple[Template, ...]
    is_negated: bool = False
    """NotResource."""

    def include(self, resource: str, lookup: Lookup, *, doubt: bool) -> bool:
        """Whether a resource is meant. A name that cannot be filled in names nothing (IAM: variables)."""
        unknown = False
        for template in self.templates:
            pattern = template.resolve(lookup)
            if pattern is None:
                unknown = True
            elif pattern.matches(resource):
                return not self.is_negated
        if not self.is_negated:
            return False
        return doubt if unknown else True


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key; true where the key's values fit one of the values."""

    operator: Operator
    key: str
    """Normalised."""
    values: tuple[object, ...]
    """As the operator's family read them."""
    quantifier: Quantifier = Quantifier.NONE
    if_exists: bool = False

    def holds(self, lookup: Lookup, *, doubt: bool) -> bool:
        """Judge it; `doubt` is the answer where that is not possible."""
        found = lookup(self.key)
        if self.operator is NULL:
            return (not found) in self.values
        if not found:
            # IAM: an absent key fits no value, so only what is negated, or asks for it, holds.
            if self.quantifier is Quantifier.NONE:
                return self.if_exists or self.operator.is_negated
            return self.if_exists or self.quantifier is Quantifier.ALL
        judged = [self._fits(value, lookup, doubt=doubt) for value in found]
        wants_all = self.quantifier is Quantifier.ALL or (
            self.quantifier is Quantifier.NONE and self.operator.is_negated
        )
        return all(judged) if wants_all else any(judged)

    def _fits(self, value: str, lookup: Lookup, *, doubt: bool) -> bool:
        unknown = False
        for wanted in self.values:
            fits = self.operator.family.matches(wanted, value, lookup)
            if fits:
                return not self.operator.is_negated
            unknown |= fits is None
        return doubt if unknown else self.operator.is_negated


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement."""

    effect: Effect
    principals: Principals
    actions: frozenset[str]
    """By name; NotAction is resolved already."""
    resources: Resources
    conditions: tuple[Condition, ...] = ()
    sid: str = ""

    def applies(self, account_id: str | None, action: str, resource: str, lookup: Lookup) -> bool:
        """Whether it speaks of this request."""
        doubt = self.effect is Effect.DENY
        return (
            action in self.actions
            and self.principals.include(account_id)
            and self.resources.include(resource, lookup, doubt=doubt)
            and all(condition.holds(lookup, doubt=doubt) for condition in self.conditions)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed bucket policy."""

    allows: tuple[Statement, ...]
    denies: tuple[Statement, ...]
    is_public: bool = False
    """By AWS's definition (`gateway.access.public`)."""
    accounts: frozenset[str] = frozenset()
    """Every account that it names: whoever stores it sees that they exist."""
    tag_actions: frozenset[str] = frozenset()
    """Actions for which some statement asks for the tags of an object that exists, which have to be read first."""

    def judge(self, account_id: str | None, action: str, resource: str, lookup: Lookup) -> Verdict:
        """What it says of a request; a Deny wins (IAM: "Explicit denies")."""
        if _any(self.denies, account_id, action, resource, lookup):
            return Verdict.DENY
        return Verdict.ALLOW if _any(self.allows, account_id, action, resource, lookup) else Verdict.SILENT


def _any(statements: Iterable[Statement], account_id: str | None, action: str, resource: str, lookup: Lookup) -> bool:
    return any(statement.applies(account_id, action, resource, lookup) for statement in statements)
