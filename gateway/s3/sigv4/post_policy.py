"""A POST policy: who signed it, and whether a form does what it allows; a field that it does not name is refused.

Sources: AWS "POST Policy" and "Authenticating Requests in Browser-Based Uploads Using POST (AWS Signature Version 4)";
for Version 2, which boto3 still makes by default, AWS "Browser-Based Uploads Using POST (AWS Signature Version 2)".
Messages are those of AWS, as its clients report them.
"""

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from gateway.s3.errors import (
    ACCESS_DENIED,
    INVALID_ACCESS_KEY_ID,
    INVALID_ARGUMENT,
    INVALID_POLICY_DOCUMENT,
    INVALID_REQUEST,
    INVALID_TOKEN,
    SIGNATURE_DOES_NOT_MATCH,
    S3Error,
)
from gateway.s3.sigv4 import canonical, fields, payload
from gateway.s3.sigv4.canonical import Scope
from gateway.s3.sigv4.presentation import NOBODYS_SECRET, Kind, SignatureSettings, Verified

POLICY: Final = "policy"
_ALGORITHM: Final = "x-amz-algorithm"
_CREDENTIAL: Final = "x-amz-credential"
_DATE: Final = "x-amz-date"
_SIGNATURE: Final = "x-amz-signature"
_FIELDS_V4: Final = (_ALGORITHM, _CREDENTIAL, _DATE, _SIGNATURE)
_KEY_ID_V2: Final = "awsaccesskeyid"
_SIGNATURE_V2: Final = "signature"
_SHOWN: Final = {
    POLICY: "Policy",
    **{name: name.title() for name in _FIELDS_V4},
    _KEY_ID_V2: "AWSAccessKeyId",
    _SIGNATURE_V2: "Signature",
}
_TOKEN: Final = "x-amz-security-token"  # noqa: S105 - the name of a field

# "Each form field that you specify in a form (except x-amz-signature, file, policy, and field names that have an
# x-ignore- prefix) must appear in the list of conditions." Of Version 2, its own two names.
_UNCONDITIONAL: Final = frozenset({_SIGNATURE, POLICY, _KEY_ID_V2, _SIGNATURE_V2})
_IGNORED_PREFIX: Final = "x-ignore-"

MAX_CONDITIONS: Final = 256
_EXPIRATION: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?Z")
_SIZE: Final = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class FormPresentation:
    """The signature of a policy, not compared yet: trust none of it."""

    access_key_id: str
    kind: Kind
    policy: str = field(repr=False)
    """Base64 as sent: what is signed."""
    signature: bytes = field(repr=False)
    scope: Scope | None = None
    """None for Version 2."""


def present_form(form: Mapping[str, str], region: str, settings: SignatureSettings) -> FormPresentation | None:
    """Read what a form claims; None where it claims nothing. `form` holds its fields by lower-case name.

    Raises:
        S3Error: InvalidArgument for a missing, malformed or doubled claim; InvalidToken for session credentials;
            InvalidRequest for Version 2 where that is turned off.
    """
    if _TOKEN in form:
        raise S3Error(INVALID_TOKEN, "Session tokens are not supported by this endpoint.")
    is_v4, is_v2 = any(name in form for name in _FIELDS_V4), _KEY_ID_V2 in form or _SIGNATURE_V2 in form
    if not is_v4 and not is_v2:
        return None
    if is_v4 and is_v2:
        raise S3Error(INVALID_ARGUMENT, "Only one auth mechanism allowed.")
    return _present_v2(form, settings) if is_v2 else _present_v4(form, region)


def _present_v4(form: Mapping[str, str], region: str) -> FormPresentation:
    policy, algorithm, credential, date, signature = (_required(form, name) for name in (POLICY, *_FIELDS_V4))
    if algorithm != canonical.ALGORITHM:
        raise _malformed(_ALGORITHM, f"{_ALGORITHM} only supports {canonical.ALGORITHM}")
    access_key_id, scope = fields.parse_credential(credential, _bad_credential)
    signed_at = fields.parse_amz_date(date)
    if signed_at is None:
        raise _malformed(_DATE, f'{_DATE} must have the form "YYYYMMDDThhmmssZ"')
    fields.check_scope(scope, region, signed_at, _bad_credential)
    return FormPresentation(access_key_id, Kind.POST_V4, policy, signature.encode(), scope)


def _present_v2(form: Mapping[str, str], settings: SignatureSettings) -> FormPresentation:
    if not settings.presigned_v2:
        raise S3Error(INVALID_REQUEST, "Signature Version 2 is turned off. Please use AWS4-HMAC-SHA256.")
    policy, access_key_id, signature = (_required(form, name) for name in (POLICY, _KEY_ID_V2, _SIGNATURE_V2))
    return FormPresentation(access_key_id, Kind.POST_V2, policy, signature.encode())


def verify_form(presentation: FormPresentation, secret_access_key: str | None) -> Verified:
    """Compare the signature of a policy with the right one, in constant time; None is nobody's secret.

    Raises:
        S3Error: InvalidAccessKeyId, SignatureDoesNotMatch.
    """
    secret = secret_access_key or NOBODYS_SECRET
    text = presentation.policy.encode()
    if presentation.scope is None:
        expected = base64.b64encode(hmac.digest(secret.encode(), text, "sha1"))
    else:
        expected = canonical.signature(canonical.signing_key(secret, presentation.scope), text)
    matches = hmac.compare_digest(expected, presentation.signature)
    if not secret_access_key:
        raise S3Error(INVALID_ACCESS_KEY_ID)
    if not matches:
        raise S3Error(SIGNATURE_DOES_NOT_MATCH)
    return Verified(
        access_key_id=presentation.access_key_id,
        kind=presentation.kind,
        payload=payload.UNSIGNED,
        signed_headers=(),
        expires_at=None,
        hoisted_headers=(),
        chunk_signer=None,
    )


@dataclass(frozen=True, slots=True)
class SizeRange:
    """How many bytes the file may have; both ends count."""

    low: int = 0
    high: int | None = None


@dataclass(frozen=True, slots=True)
class _Condition:
    is_prefix: bool
    name: str
    value: str
    shown: str
    """As it stands in the policy, for the refusal."""

    def holds(self, form: Mapping[str, str]) -> bool:
        actual = form.get(self.name)
        if actual is None:
            return False
        if not self.is_prefix:
            return actual == self.value
        # "Content-Types values for a starts-with condition that include commas are interpreted as lists. Each value
        # in the list must meet the condition for the whole condition to pass."
        values = actual.split(",") if self.name == "content-type" else [actual]
        return all(value.strip(" ").startswith(self.value) for value in values)


@dataclass(frozen=True, slots=True)
class PostPolicy:
    """A policy document that was read."""

    expires_at: datetime
    conditions: tuple[_Condition, ...]
    size: SizeRange

    @classmethod
    def parse(cls, text: str) -> "PostPolicy":
        """Read a policy as the form carries it: JSON in UTF-8 in Base64. Its two names keep their case.

        Raises:
            S3Error: InvalidPolicyDocument.
        """
        document = _read_json(text)
        if not isinstance(document, dict) or not document.keys() <= {"expiration", "conditions"}:
            raise _invalid("Unexpected elements")
        if "expiration" not in document:
            raise _invalid("Policy missing expiration.")
        if "conditions" not in document:
            raise _invalid("Policy missing conditions.")
        listed = document["conditions"]
        if not isinstance(listed, list) or len(listed) > MAX_CONDITIONS:
            raise _invalid("Invalid 'conditions' value: must be a List.")
        conditions: list[_Condition] = []
        low, high = 0, None
        for item in listed:
            found = _read_condition(item)
            if isinstance(found, _Condition):
                conditions.append(found)
            else:
                assert found.high is not None, "a range that was read has two ends"
                low, high = max(low, found.low), found.high if high is None else min(high, found.high)
        return cls(_read_expiration(document["expiration"]), tuple(conditions), SizeRange(low, high))

    def check(self, form: Mapping[str, str], now: datetime) -> None:
        """Judge all of a form but the size of its file. `form` has `bucket`, which no field need tell.

        Raises:
            S3Error: AccessDenied, saying which condition.
        """
        if now >= self.expires_at:
            raise S3Error(ACCESS_DENIED, "Invalid according to Policy: Policy expired.")
        for condition in self.conditions:
            if not condition.holds(form):
                raise S3Error(ACCESS_DENIED, f"Invalid according to Policy: Policy Condition failed: {condition.shown}")
        named = {condition.name for condition in self.conditions}
        extra = sorted(
            name
            for name in form
            if name not in named and name not in _UNCONDITIONAL and not name.startswith(_IGNORED_PREFIX)
        )
        if extra:
            raise S3Error(ACCESS_DENIED, f"Invalid according to Policy: Extra input fields: {', '.join(extra)}")


def _required(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        shown = _SHOWN[name]
        message = (
            f"Bucket POST must contain a field named '{shown}'.  If it is specified, please check the order of the "
        )
        raise _malformed(shown, message + "fields.")
    return value


def _malformed(name: str, message: str, fields: Mapping[str, str] | None = None) -> S3Error:
    return S3Error(INVALID_ARGUMENT, message, fields={"ArgumentName": name, **(fields or {})})


def _bad_credential(message: str, *, fields: dict[str, str] | None = None) -> S3Error:
    return _malformed(_CREDENTIAL, message, fields)


def _invalid(why: str) -> S3Error:
    return S3Error(INVALID_POLICY_DOCUMENT, f"Invalid Policy: {why}")


def _read_json(text: str) -> Any:
    try:
        decoded = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise _invalid("It is not UTF-8 in Base64.") from None
    try:
        return json.loads(decoded, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise _invalid("Invalid JSON.") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _invalid("A name stands twice.")
    return found


def _read_expiration(text: object) -> datetime:
    match = _EXPIRATION.fullmatch(text) if isinstance(text, str) else None
    if match is not None:
        year, month, day, hour, minute, second = map(int, match.groups())
        try:
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            pass
    raise _invalid("Invalid 'expiration' value.")


def _read_condition(item: object) -> _Condition | SizeRange:
    if isinstance(item, dict):
        return _read_simple_condition(item)
    if not isinstance(item, list) or len(item) != 3:
        raise _invalid("Invalid Condition: it is neither an object nor a list of three.")
    operator, left, right = item
    if not isinstance(operator, str):
        raise _invalid("Invalid Condition: the operator must be a string.")
    operator = operator.lower()
    if operator == "content-length-range":
        low, high = _read_size(left), _read_size(right)
        if low > high:
            raise _invalid("Invalid content-length-range: it holds no size.")
        return SizeRange(low, high)
    if operator not in {"eq", "starts-with"}:
        raise _invalid("Invalid Condition: unknown operation.")
    if not isinstance(left, str) or not isinstance(right, str):
        raise _invalid("Invalid Condition: the operands must be strings.")
    # What has no $ names no field: the condition is read, and never holds.
    name = left[1:].lower() if left.startswith("$") else ""
    return _Condition(operator == "starts-with", name, right, json.dumps(item))


def _read_simple_condition(item: dict[str, Any]) -> _Condition:
    if len(item) != 1:
        raise _invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
    ((name, value),) = item.items()
    if not isinstance(value, str):
        raise _invalid("Invalid Simple-Condition: value must be a string.")
    return _Condition(False, name.lower(), value, json.dumps(["eq", f"${name}", value]))


def _read_size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
        return value
    if isinstance(value, str) and _SIZE.fullmatch(value):
        return int(value)
    raise _invalid("Invalid content-length-range: its ends must be whole numbers.")
