"""From the bytes of PutBucketPolicy to a `Policy`, or MalformedPolicy: nothing that is not understood is ever skipped.

Source: IAM "Grammar of the IAM JSON policy language", S3 "Bucket policies"; messages as AWS words them. Narrower than
AWS: only accounts and everyone may be principals, since there are no users, roles and services; NotPrincipal goes with
Deny alone; names of resources begin with the bucket's whole name.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from gateway.access.actions import ACTIONS, COMMON, S3_KEYS, named_by
from gateway.access.condition_keys import EXISTING_TAG, GLOBAL, TAG_FAMILIES, kind_of, normalise
from gateway.access.operators import OPERATORS
from gateway.access.public import is_public
from gateway.access.statements import Condition, Effect, Policy, Principals, Quantifier, Resources, Statement
from gateway.access.strict_json import NotStrict, Number, parse
from gateway.access.templates import Template
from gateway.s3.errors import MALFORMED_POLICY, POLICY_TOO_LARGE, S3Error

MAX_POLICY_BYTES: Final = 20 * 1024
MAX_STATEMENTS: Final = 256
MAX_VALUES: Final = 1024
"""Principals, actions, resources, or values of one key, in one statement."""

MAX_DEAR: Final = 32
"""Texts of a policy with a `?` or a variable, which are held against every character of what they are compared with.
Every request on the bucket pays for them, so they are few: at the worst they cost 20 ms together."""

MAX_ACTION_PATTERNS: Final = 128
"""Different texts with a `*` that a policy may name actions by. Each is held against every action there is."""

_VERSIONS: Final = {"2012-10-17": True, "2008-10-17": False}
"""Version -> whether policy variables have a meaning."""
_ARN_PREFIX: Final = "arn:aws:s3:::"
_ACCOUNT: Final = re.compile(r"(?:arn:aws:iam::)?(?P<id>[0-9a-f]{32})(?::root)?")
_MEMBERS: Final = {"Version", "Id", "Statement"}
_STATEMENT_MEMBERS: Final = {
    *("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"),
}


def _malformed(message: str) -> S3Error:
    return S3Error(MALFORMED_POLICY, message)


def parse_policy(document: bytes, bucket_name: str) -> Policy:
    """Read the policy of a bucket.

    Raises:
        S3Error: MalformedPolicy, in words that say what is wrong; PolicyTooLarge.
    """
    if len(document) > MAX_POLICY_BYTES:
        raise S3Error(POLICY_TOO_LARGE)
    if document[:1] != b"{":
        raise _malformed("Policies must be valid JSON and the first byte must be '{'")
    try:
        root = parse(document)
    except NotStrict:
        raise _malformed("This policy contains invalid Json") from None
    assert isinstance(root, dict), "it begins with a brace"
    _check_members(root, _MEMBERS)
    version = root.get("Version", "2008-10-17")
    if not isinstance(version, str) or version not in _VERSIONS:
        raise _malformed("The policy must contain a valid version string")
    if not isinstance(root.get("Id", ""), str):
        raise _malformed("Policy Id must be a string")
    reader = _Reader(bucket_name, variables=_VERSIONS[version])
    statements = tuple(reader.statement(entry) for entry in _listed(root, "Statement"))
    if not 1 <= len(statements) <= MAX_STATEMENTS:
        raise _malformed(f"A policy has 1 to {MAX_STATEMENTS} statements")
    sids = [statement.sid for statement in statements if statement.sid]
    if len(set(sids)) != len(sids):
        raise _malformed("Statement IDs (SID) in a single policy must be unique")
    return _policy(statements)


def _policy(statements: tuple[Statement, ...]) -> Policy:
    tagged = (
        statement.actions
        for statement in statements
        if any(kind_of(condition.key) == EXISTING_TAG for condition in statement.conditions)
        or any(EXISTING_TAG in template.text.lower() for template in statement.resources.templates)
        or any(_mentions_tag(condition) for condition in statement.conditions)
    )
    return Policy(
        allows=tuple(statement for statement in statements if statement.effect is Effect.ALLOW),
        denies=tuple(statement for statement in statements if statement.effect is Effect.DENY),
        is_public=any(is_public(statement) for statement in statements),
        accounts=frozenset().union(*(statement.principals.accounts for statement in statements)),
        tag_actions=frozenset(
            action for actions in tagged for action in actions if EXISTING_TAG in ACTIONS[action].keys
        ),
    )


def _mentions_tag(condition: Condition) -> bool:
    return any(isinstance(value, Template) and EXISTING_TAG in value.text.lower() for value in condition.values)


def _check_members(found: Mapping[str, object], known: set[str]) -> None:
    for name in found:
        if name not in known:
            raise _malformed(f"Unknown field {name[:64]}")


def _listed(members: Mapping[str, object], name: str) -> list[object]:
    """Give the member's values: one may stand for a list of one."""
    if name not in members:
        raise _malformed(f"Missing required field {name}")
    found = members[name]
    return found if isinstance(found, list) else [found]


def _texts(found: object, what: str) -> list[str]:
    listed = found if isinstance(found, list) else [found]
    texts = [text for text in listed if isinstance(text, str) and not isinstance(text, Number)]
    if not 1 <= len(listed) <= MAX_VALUES or len(texts) != len(listed):
        raise _malformed(f"Policy has invalid {what}")
    return texts


def _either(members: Mapping[str, object], name: str) -> tuple[object, bool]:
    """Give the member `name` or `Not<name>`, exactly one of which stands there, and whether it is the latter."""
    if (name in members) is (f"Not{name}" in members):
        raise _malformed(f"Missing required field {name}" if name not in members else f"{name} stands beside Not{name}")
    return (members[name], False) if name in members else (members[f"Not{name}"], True)


class _Reader:
    """Reads the statements of one policy."""

    def __init__(self, bucket_name: str, *, variables: bool) -> None:
        self._bucket_arn = _ARN_PREFIX + bucket_name
        self._variables = variables
        self._dear_count = 0
        self._named: dict[str, frozenset[str]] = {}
        self._pattern_count = 0

    def statement(self, entry: object) -> Statement:
        if not isinstance(entry, dict):
            raise _malformed("This policy contains invalid Json")
        _check_members(entry, _STATEMENT_MEMBERS)
        sid = entry.get("Sid", "")
        if not isinstance(sid, str) or isinstance(sid, Number):
            raise _malformed("Statement Sid must be a string")
        try:
            effect = Effect(entry.get("Effect"))
        except ValueError:
            raise _malformed("Missing required field Effect" if "Effect" not in entry else "Invalid effect") from None
        principals = _principals(*_either(entry, "Principal"))
        if principals.is_negated and effect is Effect.ALLOW:
            raise _malformed("Allow with NotPrincipal is not supported")
        patterns, is_negated = _either(entry, "Action")
        named = self._actions(_texts(patterns, "action"))
        actions = frozenset[str]().union(*named)
        if is_negated:
            actions = frozenset(ACTIONS) - actions
            named = [actions]
        resources = self._resources(*_either(entry, "Resource"))
        self._check_reach(resources, named)
        conditions = self._conditions(entry.get("Condition", {}))
        _check_keys(conditions, named)
        return Statement(effect, principals, actions, resources, conditions, sid)

    def _actions(self, texts: list[str]) -> list[frozenset[str]]:
        """What each text names, once for all that name the same."""
        self._count(sum("?" in text for text in texts))
        for text in texts:
            if text not in self._named:
                self._pattern_count += "*" in text
                if self._pattern_count > MAX_ACTION_PATTERNS:
                    raise _malformed(f"A policy has {MAX_ACTION_PATTERNS} different actions with a * at the most")
                self._named[text] = named_by(text)
            if not self._named[text]:
                raise _malformed("Policy has invalid action")
        return list(dict.fromkeys(self._named[text] for text in texts))

    def _resources(self, found: object, is_negated: bool) -> Resources:
        return Resources(tuple(self._resource(text) for text in _texts(found, "resource")), is_negated)

    def _resource(self, text: str) -> Template:
        rest = text.removeprefix(self._bucket_arn)
        if rest == text or not (rest == "" or rest[0] in "/*"):
            raise _malformed("Policy has invalid resource")
        template = Template(text, variables=self._variables, wildcards=True)
        self._counted(template)
        return template

    def _check_reach(self, resources: Resources, named: list[frozenset[str]]) -> None:
        """AWS: every action that is written must have a resource of its kind in the statement."""
        if resources.is_negated:
            return
        texts = [template.text.removeprefix(self._bucket_arn) for template in resources.templates]
        on_object = any(text and text != "/" for text in texts)
        on_bucket = any(not text.startswith("/") for text in texts)
        for actions in named:
            if not any(on_object if ACTIONS[action].on_object else on_bucket for action in actions):
                raise _malformed("Action does not apply to any resource(s) in statement")

    def _conditions(self, found: object) -> tuple[Condition, ...]:
        if not isinstance(found, dict):
            raise _malformed("Policy has an invalid condition")
        return tuple(
            self._condition(operator, key, values)
            for operator, keys in found.items()
            for key, values in _keys(keys).items()
        )

    def _condition(self, written: str, key: str, found: object) -> Condition:
        name, quantifier = written, Quantifier.NONE
        for candidate in (Quantifier.ALL, Quantifier.ANY):
            if written.startswith(f"{candidate.value}:"):
                name, quantifier = written.removeprefix(f"{candidate.value}:"), candidate
        if_exists = name.endswith("IfExists")
        operator = OPERATORS.get(name.removesuffix("IfExists"))
        if operator is None or (operator.name == "Null" and (if_exists or quantifier is not Quantifier.NONE)):
            raise _malformed(f"Invalid Condition type : {written[:64]}")
        normal = normalise(key)
        if kind_of(normal) not in S3_KEYS | GLOBAL or normal in TAG_FAMILIES:
            raise _malformed("Policy has an invalid condition key")
        values = tuple(self._value(operator.family.read, value) for value in _condition_values(found))
        return Condition(operator, normal, values, quantifier, if_exists)

    def _counted(self, found: Any) -> Any:
        self._count(isinstance(found, Template) and found.is_dear)
        return found

    def _count(self, more: int) -> None:
        """Refused as soon as there are too many: reading them is work as well."""
        self._dear_count += more
        if self._dear_count > MAX_DEAR:
            raise _malformed(f"A policy has {MAX_DEAR} texts with a ? or a variable at the most")

    def _value(self, read: object, value: str) -> object:
        assert callable(read)
        try:
            return self._counted(read(value, self._variables))
        except ValueError:
            raise _malformed("Invalid Condition value") from None


def _keys(found: object) -> dict[str, object]:
    if not isinstance(found, dict) or not found:
        raise _malformed("Policy has an invalid condition")
    if len({normalise(key) for key in found}) != len(found):
        # Both would have to hold, which of a Deny is the reverse of what somebody means who writes a key twice.
        raise _malformed("Policy has the same condition key twice")
    return found


def _condition_values(found: object) -> list[str]:
    """Values of a condition: texts, and numbers and booleans as they are written (IAM takes all three)."""
    listed = found if isinstance(found, list) else [found]
    values = [str(value).lower() if isinstance(value, bool) else value for value in listed]
    texts = [value for value in values if isinstance(value, str)]
    if not 1 <= len(values) <= MAX_VALUES or len(texts) != len(values):
        raise _malformed("Policy has an invalid condition")
    return texts


def _principals(found: object, is_negated: bool) -> Principals:
    invalid = _malformed("Invalid principal in policy")
    if found == "*":
        return Principals(everyone=True, is_negated=is_negated)
    if not isinstance(found, dict) or not found:
        raise invalid
    everyone, accounts = False, set[str]()
    for kind, names in found.items():
        if kind not in {"AWS", "CanonicalUser"}:
            raise invalid
        for name in _texts(names, "principal"):
            match = _ACCOUNT.fullmatch(name)
            if name == "*" and kind == "AWS":
                everyone = True
            elif match is None or (name != match["id"] and (kind != "AWS" or not _is_root_arn(name))):
                raise invalid
            else:
                accounts.add(match["id"])
    return Principals(everyone, frozenset(accounts), is_negated)


def _is_root_arn(name: str) -> bool:
    return name.startswith("arn:aws:iam::") and name.endswith(":root")


def _check_keys(conditions: tuple[Condition, ...], named: list[frozenset[str]]) -> None:
    """AWS: a condition must have a meaning for the actions of its statement. Of a wildcard, for one of them."""
    kinds = {kind_of(condition.key) for condition in conditions} - COMMON - GLOBAL
    if kinds and not all(kinds <= _keys_of(actions) for actions in named):
        raise _malformed("Conditions do not apply to combination of actions and resources in statement")


@lru_cache(maxsize=MAX_ACTION_PATTERNS)
def _keys_of(actions: frozenset[str]) -> frozenset[str]:
    """The kinds of keys that have a meaning for one of these actions."""
    return frozenset[str]().union(*(ACTIONS[action].keys for action in actions))
