"""The one place that decides: a pure function of who asks for what, and of the rules of the bucket. Deny by default.

Source: IAM "Policy evaluation logic"; S3 "How Amazon S3 authorizes a request", "Blocking public access". In order: an
explicit Deny, the owner's own right, an Allow of the policy, a grant of an ACL. An account may do everything in its own
buckets, as the root of an AWS account; there are no users below it.
"""

from dataclasses import dataclass, field

from gateway.access.actions import BUCKET_ACL_NEEDS, OBJECT_ACL_NEEDS, OWNER_ALWAYS
from gateway.access.statements import Policy, Verdict
from gateway.access.templates import Lookup
from gateway.s3.acl import Acl, private
from gateway.s3.public_access import ALL_BLOCKED, ObjectOwnership, PublicAccessBlock

SERVICE_ACTIONS = frozenset({"s3:ListAllMyBuckets", "s3:CreateBucket"})
"""Actions that need no bucket: every account has them for itself."""


@dataclass(frozen=True, slots=True)
class BucketRules:
    """All that a bucket says about access. The defaults are those of a new bucket."""

    policy: Policy | None = None
    block: PublicAccessBlock = ALL_BLOCKED
    ownership: ObjectOwnership = ObjectOwnership.BUCKET_OWNER_ENFORCED
    acl: Acl | None = None
    """None: the owner alone."""

    @property
    def have_acls(self) -> bool:
        """Whether ACLs count."""
        return self.ownership is not ObjectOwnership.BUCKET_OWNER_ENFORCED

    @property
    def are_plain(self) -> bool:
        """Whether the owner may do everything and nobody else anything."""
        return self.policy is None and not self.have_acls


NEW_BUCKET = BucketRules()


@dataclass(frozen=True, slots=True)
class Question:
    """One action on one resource."""

    caller_id: str | None
    """Canonical id of the account; None for the anonymous caller."""
    owner_id: str
    """Of the bucket."""
    action: str
    bucket_name: str
    object_key: str | None
    """None for actions on the bucket."""
    lookup: Lookup = field(repr=False)
    object_acl: Acl | None = None
    """Of the object that is there, where ACLs count and there is one."""

    @property
    def resource(self) -> str:
        """The ARN."""
        path = self.bucket_name if self.object_key is None else f"{self.bucket_name}/{self.object_key}"
        return f"arn:aws:s3:::{path}"


def decide(question: Question, rules: BucketRules) -> bool:
    """Whether the caller may do it."""
    is_owner = question.caller_id == question.owner_id
    if is_owner and question.action in OWNER_ALWAYS:
        return True
    verdict = _judged(question, rules.policy)
    if verdict is Verdict.DENY:
        return False
    # An object of another account is its own: neither the bucket's owner nor his policy gives it away (S3 "Object
    # Ownership"). He may delete it all the same, so only what the object's ACL rules over is taken from him.
    acl = question.object_acl
    is_foreign = (
        rules.have_acls
        and acl is not None
        and acl.owner_id != question.owner_id
        and question.action in OBJECT_ACL_NEEDS
    )
    if not is_foreign:
        if is_owner:
            return True
        if verdict is Verdict.ALLOW and not _is_restricted(rules):
            return True
    return _granted(question, rules)


def _judged(question: Question, policy: Policy | None) -> Verdict:
    if policy is None:
        return Verdict.SILENT
    return policy.judge(question.caller_id, question.action, question.resource, question.lookup)


def _is_restricted(rules: BucketRules) -> bool:
    return rules.block.restrict_public_buckets and rules.policy is not None and rules.policy.is_public


def _granted(question: Question, rules: BucketRules) -> bool:
    if not rules.have_acls:
        return False
    ignore_public = rules.block.ignore_public_acls
    by_bucket, by_object = BUCKET_ACL_NEEDS.get(question.action), OBJECT_ACL_NEEDS.get(question.action)
    if by_bucket is not None:
        acl = rules.acl or private(question.owner_id)
        return acl.allows(question.caller_id, by_bucket, ignore_public=ignore_public)
    if by_object is not None and question.object_acl is not None:
        return question.object_acl.allows(question.caller_id, by_object, ignore_public=ignore_public)
    return False


def could_allow(caller_id: str | None, owner_id: str, rules: BucketRules) -> bool:
    """Whether some action of a caller could be allowed at all: asked before a body is read that names the resources."""
    named = rules.policy is not None and any(each.principals.include(caller_id) for each in rules.policy.allows)
    return caller_id == owner_id or rules.have_acls or named
