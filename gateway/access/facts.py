"""What a request is, as condition keys: each key is worked out when a policy asks for it, and never before.

Source: IAM "AWS global condition context keys"; S3 "Bucket policy examples using condition keys" and "Amazon S3
Signature Version 4 policy keys". Only what the socket, the signature and the request itself say: no header may tell
where a request comes from.

An account stands where AWS has a root user, and its name for `aws:username`, which root users lack there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.access.condition_keys import ANONYMOUS_ID, EXISTING_TAG, REQUEST_TAG
from gateway.access.identities import Identity
from gateway.access.operators import moment
from gateway.access.templates import Values
from gateway.s3.errors import S3Error
from gateway.s3.parsing.tags import header_tags
from gateway.s3.query import Query, effective_headers, parse_query
from gateway.s3.request import Headers, Request
from gateway.s3.sigv4 import Kind

TAG_KEYS: Final = "s3:requestobjecttagkeys"
_SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and how that was shown."""

    identity: Identity | None
    """None for the anonymous caller."""
    kind: Kind | None = None
    """The form of the signature; None where there is none."""

    @property
    def account_id(self) -> str | None:
        """Canonical id; None for the anonymous caller."""
        return None if self.identity is None else self.identity.account.canonical_id


@dataclass(frozen=True)
class Facts:
    """One request, about one bucket. What is dear to read is read once, however often a policy asks for it."""

    request: Request
    caller: Caller
    operation: str
    owner_id: str
    region: str
    more: Mapping[str, Values | None] = field(default_factory=dict)
    """What stands in the document, or in the catalogue, by normalised key; it comes before the request."""
    object_tags: Mapping[str, str] = field(default_factory=dict)
    """Of the object that is there."""

    def lookup(self, key: str) -> Values | None:
        """The values of a normalised key; None where the request has none."""
        if key in self.more:
            return self.more[key]
        if key.startswith(EXISTING_TAG):
            return _one(self.object_tags.get(key.removeprefix(EXISTING_TAG)))
        if key.startswith(REQUEST_TAG):
            # Where the tags stand elsewhere, those of a header are none that anybody sets.
            sent = {} if TAG_KEYS in self.more else self.sent_tags
            return _one(sent.get(key.removeprefix(REQUEST_TAG)))
        read = _KEYS.get(key)
        return None if read is None else read(self)

    @cached_property
    def headers(self) -> Headers:
        """Those in a presigned query included."""
        return effective_headers(self.request)

    @cached_property
    def query(self) -> Query:
        """The query, decoded."""
        return parse_query(self.request)

    @cached_property
    def sent_tags(self) -> Mapping[str, str]:
        """The tags of x-amz-tagging, by the reader that sets them; none where it refuses them, as it will again.

        A copy has them only with the directive REPLACE.
        """
        if self.operation == "CopyObject" and self.headers.get("x-amz-tagging-directive") != "REPLACE":
            return {}
        try:
            return dict(header_tags(self.headers))
        except S3Error:
            return {}


def tag_facts(tags: Mapping[str, str]) -> dict[str, Values]:
    """The tags that a document sets, as facts."""
    return {
        TAG_KEYS: tuple(tags),
        **{f"{REQUEST_TAG}{name}": (value,) for name, value in tags.items()},
    }


def _one(value: str | None) -> Values | None:
    return None if value is None else (value,)


_Read = Callable[[Facts], Values | None]


def _header(name: str) -> _Read:
    return lambda facts: _one(facts.headers.get(name))


def _query(name: str) -> _Read:
    return lambda facts: _one(facts.query.get(name))


def _account(form: Callable[[Identity], str], anonymous: str | None = None) -> _Read:
    def read(facts: Facts) -> Values | None:
        identity = facts.caller.identity
        return _one(anonymous) if identity is None else (form(identity),)

    return read


def _signature(values: Mapping[Kind, str]) -> _Read:
    return lambda facts: None if facts.caller.kind is None else (values[facts.caller.kind],)


def _signature_age(facts: Facts) -> Values | None:
    """Milliseconds since a presigned URL was made."""
    if facts.caller.kind is not Kind.PRESIGNED_V4:
        return None
    try:
        signed_at = datetime.strptime(facts.query["X-Amz-Date"], "%Y%m%dT%H%M%S%z")
    except (KeyError, ValueError):
        return None
    return (str(max(0, int((facts.request.received_at - signed_at).total_seconds() * 1000))),)


def _tls_version(facts: Facts) -> Values | None:
    version = facts.request.tls_version
    return None if version is None else (version.removeprefix("TLSv"),)


def _creates(facts: Facts) -> Values | None:
    if facts.operation in {"PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload"}:
        return ("true",)
    return ("false",) if facts.operation in {"CreateMultipartUpload", "UploadPart", "UploadPartCopy"} else None


def _remaining_days(facts: Facts) -> Values | None:
    text = (facts.lookup("s3:object-lock-retain-until-date") or ("",))[0]
    until = moment(text)
    if until is None:
        return None
    return (f"{(until - facts.request.received_at).total_seconds() / _SECONDS_PER_DAY:.6f}",)


def _copy_source(facts: Facts) -> Values | None:
    """`bucket/key`, decoded as the reader decodes it, so that no other spelling of it passes a policy by."""
    sent = facts.headers.get("x-amz-copy-source")
    if sent is None:
        return None
    path = sent.removeprefix("/").partition("?")[0]
    # Each character of a header is a byte here.
    return (unquote_to_bytes(path.encode("latin-1")).decode("utf-8", "replace"),)


def _tag_keys(facts: Facts) -> Values | None:
    return tuple(facts.sent_tags) or None


def _iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


_KEYS: Final[Mapping[str, _Read]] = MappingProxyType(
    {
        "aws:currenttime": lambda facts: (_iso(facts.request.received_at),),
        "aws:epochtime": lambda facts: (str(int(facts.request.received_at.timestamp())),),
        "aws:principalaccount": _account(lambda identity: identity.account.canonical_id),
        "aws:principalarn": _account(lambda identity: f"arn:aws:iam::{identity.account.canonical_id}:root"),
        "aws:principaltype": _account(lambda _: "Account", "Anonymous"),
        "aws:referer": _header("referer"),
        "aws:requestedregion": lambda facts: (facts.region,),
        "aws:resourceaccount": lambda facts: (facts.owner_id,),
        "aws:securetransport": lambda facts: ("false" if facts.request.tls_version is None else "true",),
        "aws:sourceip": lambda facts: _one(facts.request.client_host or None),
        "aws:useragent": _header("user-agent"),
        "aws:userid": _account(lambda identity: identity.account.canonical_id, ANONYMOUS_ID),
        "aws:username": _account(lambda identity: identity.account.name),
        "s3:authtype": _signature(
            {
                Kind.HEADER: "REST-HEADER",
                Kind.PRESIGNED_V4: "REST-QUERY-STRING",
                Kind.PRESIGNED_V2: "REST-QUERY-STRING",
                Kind.POST_V4: "POST",
                Kind.POST_V2: "POST",
            }
        ),
        "s3:delimiter": _query("delimiter"),
        "s3:if-match": _header("if-match"),
        "s3:if-none-match": _header("if-none-match"),
        "s3:max-keys": _query("max-keys"),
        "s3:object-lock-legal-hold": _header("x-amz-object-lock-legal-hold"),
        "s3:object-lock-mode": _header("x-amz-object-lock-mode"),
        "s3:object-lock-remaining-retention-days": _remaining_days,
        "s3:object-lock-retain-until-date": _header("x-amz-object-lock-retain-until-date"),
        "s3:objectcreationoperation": _creates,
        "s3:prefix": _query("prefix"),
        TAG_KEYS: _tag_keys,
        "s3:resourceaccount": lambda facts: (facts.owner_id,),
        "s3:signatureage": _signature_age,
        "s3:signatureversion": _signature(
            {
                Kind.HEADER: "AWS4-HMAC-SHA256",
                Kind.PRESIGNED_V4: "AWS4-HMAC-SHA256",
                Kind.PRESIGNED_V2: "AWS",
                Kind.POST_V4: "AWS4-HMAC-SHA256",
                Kind.POST_V2: "AWS",
            }
        ),
        "s3:tlsversion": _tls_version,
        "s3:versionid": _query("versionId"),
        "s3:x-amz-copy-source": _copy_source,
        **{
            f"s3:{name}": _header(name)
            for name in (
                *("x-amz-acl", "x-amz-content-sha256", "x-amz-grant-full-control"),
                *("x-amz-grant-read", "x-amz-grant-read-acp", "x-amz-grant-write", "x-amz-grant-write-acp"),
                *("x-amz-metadata-directive", "x-amz-object-ownership", "x-amz-server-side-encryption"),
                *("x-amz-server-side-encryption-aws-kms-key-id", "x-amz-storage-class"),
                *("x-amz-server-side-encryption-customer-algorithm", "x-amz-website-redirect-location"),
            )
        },
    }
)
"""Every key that a request can fill -> how. `s3:LocationConstraint` belongs to CreateBucket, which no policy judges."""
