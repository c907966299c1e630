"""What stands between a request and its operation: the bucket exists, and the caller may do this.

Runs before a byte of the body is read. What follows from the document, or from what is found (keys of DeleteObjects,
sources of copies, whether a key that is missing may be told), is asked of the same `Access` later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from time import thread_time
from typing import Final

from gateway.access.actions import OBJECT_ACL_NEEDS
from gateway.access.facts import Caller, Facts
from gateway.access.policy import SERVICE_ACTIONS, BucketRules, Question, could_allow, decide
from gateway.access.templates import Values
from gateway.engine.attributes import ObjectAttributes
from gateway.operations.needs import DOCUMENT_FACTS, JUDGED_LATER, actions_of, versioned
from gateway.operations.rules import RulesOfBuckets
from gateway.s3.acl import private
from gateway.s3.addressing import Address
from gateway.s3.cors import CorsRule
from gateway.s3.errors import (
    ACCESS_DENIED,
    INVALID_REQUEST,
    NO_SUCH_BUCKET,
    NO_SUCH_KEY,
    NO_SUCH_VERSION,
    NOT_IMPLEMENTED,
    SERVICE_UNAVAILABLE,
    SLOW_DOWN,
    S3Error,
)
from gateway.s3.parsing.fields import EXPECTED_OWNER, expected_owner
from gateway.s3.query import parse_query
from gateway.s3.request import Request
from storage.catalogue.base import Catalogue
from storage.catalogue.conflicts import NoSuchBucket, NoSuchVersion
from storage.catalogue.records import Bucket, ObjectVersion

REGISTERING: Final = "registering"
"""The configuration that closes a bucket while an import registers in it what its source lists."""
_OPEN_WHILE_REGISTERING: Final = frozenset({"HeadBucket", "DeleteBucket"})

_NOTHING: Final[Mapping[str, Values | None]] = {}

MAX_JUDGING_S: Final = 0.08
"""CPU time that judging may cost one request, give or take its last question: DeleteObjects asks a thousand times, and
whoever writes a policy can make each dear (`policy_document.MAX_DEAR`). What is over it is not judged, so not allowed.
"""


class Admission:
    """Admits requests; one for the whole gateway."""

    def __init__(self, catalogue: Catalogue, region: str) -> None:
        self.catalogue = catalogue
        self.region = region
        self.rules = RulesOfBuckets(catalogue)

    async def find_bucket(self, name: str, caller: Caller) -> Bucket:
        """Look a bucket up. The anonymous caller cannot tell a missing bucket from one that is not his to see.

        Raises:
            S3Error: NoSuchBucket, AccessDenied.
        """
        try:
            return await self.catalogue.get_bucket(name)
        except NoSuchBucket:
            if caller.identity is None:
                raise S3Error(ACCESS_DENIED) from None
            raise S3Error(NO_SUCH_BUCKET, fields={"BucketName": name}) from None

    async def admit(
        self, request: Request, address: Address, operation: str, action: str, caller: Caller, bucket: Bucket | None
    ) -> "Access":
        """Judge what the request itself shows. `bucket` is None for ListBuckets and CreateBucket.

        Raises:
            S3Error: AccessDenied; InvalidRequest for response-* of the anonymous caller.
        """
        if bucket is None:
            if caller.identity is None or action not in SERVICE_ACTIONS:
                raise S3Error(ACCESS_DENIED)
            if expected_owner(request) is not None:
                raise S3Error(NOT_IMPLEMENTED, fields={"Header": EXPECTED_OWNER})
            return Access(self, request, operation, caller, None, BucketRules())
        _check_owner(bucket, expected_owner(request))
        if operation not in _OPEN_WHILE_REGISTERING:
            _check_open(bucket, caller)
        access = Access(self, request, operation, caller, bucket, await self.rules.of(bucket))
        if access.is_free:
            return access
        if operation in JUDGED_LATER:
            access.require_some()
        query = parse_query(request)
        for needed in actions_of(operation, action, request):
            await access.require(needed, address.object_key, query.get("versionId"))
        if caller.identity is None and any(name.startswith("response-") for name in query):
            message = "Request specific response headers cannot be used for anonymous GET requests."
            raise S3Error(INVALID_REQUEST, message)
        return access


def _check_open(bucket: Bucket, caller: Caller) -> None:
    """See that a bucket is not being registered: until that ends nobody can be told what is in it, or is not.

    Raises:
        S3Error: ServiceUnavailable; AccessDenied for the anonymous caller, who is told nothing of it.
    """
    if REGISTERING in bucket.configurations:
        if caller.identity is None:
            raise S3Error(ACCESS_DENIED)
        raise S3Error(SERVICE_UNAVAILABLE, "An import registers the objects of this bucket. Try again later.")


def _check_owner(bucket: Bucket, owner_id: str | None) -> None:
    """See that a bucket is whose the request believes it to be.

    Source: S3 "Verifying bucket ownership with bucket owner condition". Raises: S3Error AccessDenied.
    """
    if owner_id not in (None, bucket.account_id.hex()):
        raise S3Error(ACCESS_DENIED)


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What was allowed for the sake of what an object's tags and ACL were then."""

    action: str
    object_key: bytes
    version_id: str | None
    """As asked for."""
    more: Mapping[str, Values | None]
    seen: ObjectAttributes | None
    """None where there was no object."""


class Access:
    """What one caller may do in one bucket, asked as a request goes on."""

    __slots__ = (
        "_admission",
        "_allowed",
        "_bucket",
        "_operation",
        "_request",
        "_spent_s",
        "caller",
        "is_free",
        "is_owner",
        "rules",
    )

    def __init__(
        self,
        admission: Admission,
        request: Request,
        operation: str,
        caller: Caller,
        bucket: Bucket | None,
        rules: BucketRules,
    ) -> None:
        self._admission = admission
        self._request = request
        self._operation = operation
        self._bucket = bucket
        self._spent_s = 0.0
        self._allowed: list[_Allowed] = []
        self.caller = caller
        self.rules = rules
        identity = caller.identity
        self.is_owner = identity is not None and bucket is not None and identity.account.account_id == bucket.account_id
        self.is_free = self.is_owner and rules.are_plain
        """Whether nothing needs to be asked: the owner, in a bucket that has neither policy nor ACLs."""

    @property
    def bucket(self) -> Bucket:
        """The bucket that is asked about."""
        assert self._bucket is not None, "the operation needs no bucket"
        return self._bucket

    @property
    def owner_id(self) -> str:
        """Canonical id of the bucket's owner."""
        return self.bucket.account_id.hex()

    def require_some(self) -> None:
        """Refuse a caller to whom nothing at all could be allowed, before his document is read.

        Raises:
            S3Error: AccessDenied.
        """
        if not could_allow(self.caller.account_id, self.owner_id, self.rules):
            raise S3Error(ACCESS_DENIED)

    async def allows(
        self,
        action: str,
        object_key: bytes | None = None,
        version_id: str | None = None,
        more: Mapping[str, Values | None] = _NOTHING,
    ) -> bool:
        """Whether the caller may do it. `action` is the one for the version, where one is named.

        `more` are facts that stand in the document.

        Raises:
            StorageError
            S3Error: SlowDown where judging has cost this request its share.
        """
        if self.is_free:
            return True
        policy = self.rules.policy
        asks_tags = policy is not None and action in policy.tag_actions
        asks_acl = self.rules.have_acls and action in OBJECT_ACL_NEEDS
        if object_key is None or not (asks_tags or asks_acl):
            return self._judge(action, object_key, version_id, more, None)
        version = await self._version(object_key, version_id)
        seen = None if version is None else ObjectAttributes.decode(version.attributes)
        allowed = self._judge(action, object_key, version_id, more, seen)
        if allowed:
            self._allowed.append(_Allowed(action, object_key, version_id, more, seen))
        return allowed

    def require_found(self, version: ObjectVersion, version_id: str | None) -> None:
        """Judge again, by the version that was found, what was allowed for the sake of another.

        Between the judging and the reading an object may be overwritten, and its tags and its ACL with it. `version_id`
        is the one that was asked for.

        Raises:
            S3Error: AccessDenied; SlowDown as `allows`.
        """
        for one in self._allowed:
            if (one.object_key, one.version_id) == (version.object_key, version_id):
                held = ObjectAttributes.decode(version.attributes)
                is_same = one.seen is not None and (one.seen.tags, one.seen.acl) == (held.tags, held.acl)
                if not is_same and not self._judge(one.action, one.object_key, version_id, one.more, held):
                    raise S3Error(ACCESS_DENIED)

    def _judge(
        self,
        action: str,
        object_key: bytes | None,
        version_id: str | None,
        more: Mapping[str, Values | None],
        seen: ObjectAttributes | None,
    ) -> bool:
        """Decide. `seen` is what the object has, where that counts and there is one."""
        if self._spent_s > MAX_JUDGING_S:
            raise S3Error(SLOW_DOWN, "The policy of this bucket is dear to judge. Ask for fewer objects at a time.")
        facts = Facts(
            request=self._request,
            caller=self.caller,
            operation=self._operation,
            owner_id=self.owner_id,
            region=self._admission.region,
            more={**more, "s3:versionid": None if version_id is None else (version_id,)},
            object_tags={} if seen is None else dict(seen.tags),
        )
        question = Question(
            caller_id=self.caller.account_id,
            owner_id=self.owner_id,
            action=action,
            bucket_name=self.bucket.name,
            object_key=None if object_key is None else object_key.decode("utf-8"),
            lookup=facts.lookup,
            object_acl=None if seen is None else seen.acl or private(self.owner_id),
        )
        began = thread_time()
        decision = decide(question, self.rules)
        self._spent_s += thread_time() - began
        return decision

    async def _version(self, object_key: bytes, version_id: str | None) -> ObjectVersion | None:
        try:
            found = await self._admission.catalogue.get_version(
                self.bucket.bucket_id, object_key, version_id, with_content=False
            )
        except NoSuchVersion:
            return None
        return None if found.version.is_delete_marker else found.version

    async def require(
        self,
        action: str,
        object_key: bytes | None = None,
        version_id: str | None = None,
        more: Mapping[str, Values | None] = _NOTHING,
    ) -> None:
        """As `allows`, but raises.

        Raises:
            S3Error: AccessDenied, in words that do not tell why.
        """
        if not await self.allows(action, object_key, version_id, more):
            raise S3Error(ACCESS_DENIED)

    async def judge_document(self, action: str, object_key: bytes | None, asked: object) -> None:
        """Judge the operation's own action where its document had to be read first (`needs.DOCUMENT_FACTS`).

        `asked` is the Input.

        Raises:
            S3Error: AccessDenied.
        """
        facts_of = DOCUMENT_FACTS.get(self._operation)
        if facts_of is not None and not self.is_free:
            version_id = parse_query(self._request).get("versionId")
            await self.require(versioned(action, version_id), object_key, version_id, facts_of(asked))

    async def cors(self) -> tuple[CorsRule, ...]:
        """The bucket's cross-origin rules. Raises: StorageError."""
        return await self._admission.rules.cors_of(self.bucket)

    async def absent(self, error: S3Error) -> S3Error:
        """What a caller may hear of a failure: only who may list the bucket learns that a key is missing.

        Source: S3 "GetObject", permissions: "If you don't have the s3:ListBucket permission ... 403".
        """
        tells = error.row in (NO_SUCH_KEY, NO_SUCH_VERSION)
        return S3Error(ACCESS_DENIED) if tells and not await self.allows("s3:ListBucket") else error

    async def enter(self, bucket_name: str, owner_id: str | None) -> "Access":
        """The same caller and request in another bucket: the source of a copy. `owner_id` is whose it must be.

        Raises:
            S3Error: NoSuchBucket, AccessDenied.
        """
        bucket = await self._admission.find_bucket(bucket_name, self.caller)
        _check_owner(bucket, owner_id)
        _check_open(bucket, self.caller)
        rules = await self._admission.rules.of(bucket)
        return Access(self._admission, self._request, self._operation, self.caller, bucket, rules)
