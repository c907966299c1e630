"""What makes a policy public, by AWS's definition.

Source: S3 "Blocking public access to your Amazon S3 storage", section "The meaning of public": a policy is public
until it is shown to grant access to fixed principals only, or only under fixed values of keys that tell where a request
comes from.
"""

from ipaddress import IPv4Network, IPv6Network
from typing import Final

from gateway.access.condition_keys import ANONYMOUS_ID
from gateway.access.operators import ARN, IP, STRING, STRING_FOLDED, STRING_LIKE
from gateway.access.statements import Condition, Effect, Quantifier, Statement
from gateway.access.templates import Template

_FIXING: Final = frozenset(
    {
        *("aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:sourceaccount", "aws:sourcearn"),
        *("aws:sourceowner", "aws:sourcevpc", "aws:sourcevpce", "aws:userid"),
    }
)
_WIDEST: Final = {4: 8, 6: 32}
"""Prefix lengths: "values broader than /8 for IPv4 and /32 for IPv6" are public."""


def is_public(statement: Statement) -> bool:
    """Whether a statement lets the world in."""
    return (
        statement.effect is Effect.ALLOW
        and statement.principals.everyone
        and not any(_fixes(condition) for condition in statement.conditions)
    )


def _fixes(condition: Condition) -> bool:
    """Whether a condition by itself keeps the world out: for every one of its values, and for an absent key."""
    if condition.operator.is_negated or condition.if_exists or condition.quantifier is Quantifier.ALL:
        return False
    if condition.key == "aws:sourceip":
        return condition.operator.family is IP and all(_is_narrow(value) for value in condition.values)
    return (
        condition.key in _FIXING
        and condition.operator.family in (STRING, STRING_FOLDED, STRING_LIKE, ARN)
        and all(isinstance(value, Template) and _names_one(value) for value in condition.values)
    )


def _names_one(value: Template) -> bool:
    """Whether a text is fixed, and not the one that every anonymous caller has for a user id."""
    return value.is_fixed and value.text.casefold() != ANONYMOUS_ID


def _is_narrow(value: object) -> bool:
    return isinstance(value, IPv4Network | IPv6Network) and value.prefixlen >= _WIDEST[value.version]
