"""Bucket policies at work: who is let in by them, what a refusal tells, and what they cost those who have none."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.access import facts
from gateway.operations.admission import MAX_JUDGING_S, Access, Admission
from gateway.operations.rules import POLICY, RulesOfBuckets, encode_block
from gateway.s3.public_access import NOTHING_BLOCKED
from storage.catalogue.records import Bucket
from tests.gateway.operations.stage import Stage, refused, status_of

BOX, ALL = "arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"
OPEN = {"BlockPublicPolicy": False, "RestrictPublicBuckets": False}
Statement = dict[str, Any]


def account(stage: Stage, name: str) -> str:
    return str(stage.run(stage.rig.catalogue.get_account_by_name(name)).canonical_id)


def allow(action: object, resource: object = ALL, **more: Any) -> Statement:
    return {"Effect": "Allow", "Principal": "*", "Action": action, "Resource": resource} | more


def deny(action: object, resource: object = ALL, **more: Any) -> Statement:
    return allow(action, resource, Effect="Deny", **more)


@pytest.fixture
def set_policy(stage: Stage) -> Callable[..., None]:
    def put(*statements: Statement) -> None:
        stage.alice.put_public_access_block(Bucket="bucket", PublicAccessBlockConfiguration=OPEN)
        stage.alice.put_bucket_policy(
            Bucket="bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        )

    return put


SetPolicy = Callable[..., None]


def test_a_policy_is_kept_as_it_was_sent(stage: Stage) -> None:
    refused(stage.alice.get_bucket_policy, 404, "NoSuchBucketPolicy", Bucket="bucket")
    refused(stage.alice.get_bucket_policy_status, 404, "NoSuchBucketPolicy", Bucket="bucket")
    document = json.dumps({"Id": "ä", "Statement": deny("s3:GetObject")}, ensure_ascii=False, indent=2)
    assert status_of(stage.alice.put_bucket_policy(Bucket="bucket", Policy=document)) == 204
    assert stage.alice.get_bucket_policy(Bucket="bucket")["Policy"] == document
    assert stage.alice.get_bucket_policy_status(Bucket="bucket")["PolicyStatus"] == {"IsPublic": False}
    for _ in range(2):
        assert status_of(stage.alice.delete_bucket_policy(Bucket="bucket")) == 204
    refused(stage.alice.get_bucket_policy, 404, "NoSuchBucketPolicy", Bucket="bucket")


def test_a_public_policy_is_blocked_until_the_block_is_gone(stage: Stage) -> None:
    document = json.dumps({"Statement": allow("s3:GetObject")})
    refused(stage.alice.put_bucket_policy, 403, "AccessDenied", Bucket="bucket", Policy=document)
    stage.alice.delete_public_access_block(Bucket="bucket")
    refused(stage.alice.get_public_access_block, 404, "NoSuchPublicAccessBlockConfiguration", Bucket="bucket")
    stage.alice.put_bucket_policy(Bucket="bucket", Policy=document)
    assert stage.alice.get_bucket_policy_status(Bucket="bucket")["PolicyStatus"] == {"IsPublic": True}


def test_a_new_bucket_blocks_everything_public(stage: Stage) -> None:
    block = stage.alice.get_public_access_block(Bucket="bucket")["PublicAccessBlockConfiguration"]
    assert list(block.values()) == [True] * 4
    none = dict.fromkeys(block, False)
    stage.alice.put_public_access_block(Bucket="bucket", PublicAccessBlockConfiguration=none)
    assert stage.alice.get_public_access_block(Bucket="bucket")["PublicAccessBlockConfiguration"] == none


def test_a_principal_must_exist(stage: Stage, set_policy: SetPolicy) -> None:
    for principal in ({"AWS": "0" * 32}, {"CanonicalUser": "f" * 32}):
        document = json.dumps({"Statement": allow("s3:GetObject", Principal=principal)})
        error = refused(stage.alice.put_bucket_policy, 400, "MalformedPolicy", Bucket="bucket", Policy=document)
        assert error["Message"] == "Invalid principal in policy"
    set_policy(allow("s3:GetObject", Principal={"AWS": f"arn:aws:iam::{account(stage, 'bob')}:root"}))


def test_everyone_may_read_what_is_public_and_no_more(stage: Stage, set_policy: SetPolicy) -> None:
    stage.put("open/x", b"shown")
    stage.put("k", b"hidden")
    set_policy(allow("s3:GetObject", f"{BOX}/open/*"))
    for caller in (stage.nobody, stage.bob):
        assert caller.get_object(Bucket="bucket", Key="open/x")["Body"].read() == b"shown"
        refused(caller.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")
        refused(caller.put_object, 403, "AccessDenied", Bucket="bucket", Key="open/x", Body=b"")
        refused(caller.list_objects_v2, 403, "AccessDenied", Bucket="bucket")
        refused(caller.get_object_acl, 403, "AccessDenied", Bucket="bucket", Key="open/x")


def test_restrict_public_buckets_shuts_a_public_policy_out(stage: Stage, set_policy: SetPolicy) -> None:
    stage.put("k")
    set_policy(allow("s3:GetObject"))
    stage.nobody.get_object(Bucket="bucket", Key="k")
    stage.alice.put_public_access_block(Bucket="bucket", PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    for caller in (stage.nobody, stage.bob):
        refused(caller.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")
    assert stage.body_of("k") == b"data"


def test_h62_who_may_not_list_does_not_learn_what_is_missing(stage: Stage, set_policy: SetPolicy) -> None:
    stage.put("k")
    set_policy(allow("s3:GetObject"))
    for caller in (stage.nobody, stage.bob):
        refused(caller.get_object, 403, "AccessDenied", Bucket="bucket", Key="missing")
        refused(caller.head_object, 403, "403", Bucket="bucket", Key="missing")
        refused(caller.get_object, 403, "AccessDenied", Bucket="bucket", Key="k", VersionId="0" * 32)
    set_policy(allow(["s3:GetObject", "s3:GetObjectVersion"]), allow("s3:ListBucket", BOX))
    for caller in (stage.nobody, stage.bob):
        refused(caller.get_object, 404, "NoSuchKey", Bucket="bucket", Key="missing")
        refused(caller.head_object, 404, "404", Bucket="bucket", Key="missing")


def test_the_owner_may_be_denied_all_but_his_policy(stage: Stage, set_policy: SetPolicy) -> None:
    stage.put("k")
    set_policy(deny("s3:*", [BOX, ALL]))
    refused(stage.alice.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")
    refused(stage.alice.list_objects_v2, 403, "AccessDenied", Bucket="bucket")
    refused(stage.alice.delete_bucket, 403, "AccessDenied", Bucket="bucket")
    stage.alice.get_bucket_policy(Bucket="bucket")
    stage.alice.delete_bucket_policy(Bucket="bucket")
    assert stage.body_of("k") == b"data"


def test_h89_a_condition_tells_nothing_to_who_may_not_read(stage: Stage, set_policy: SetPolicy) -> None:
    etag = stage.put("k")["ETag"]
    set_policy(allow("s3:PutObject"), allow("s3:DeleteObject"))
    for conditions in ({"IfMatch": etag}, {"IfNoneMatch": etag}, {"IfMatch": '"x"'}):
        refused(stage.bob.get_object, 403, "AccessDenied", Bucket="bucket", Key="k", **conditions)
    for tag in (etag, '"x"'):
        refused(stage.bob.put_object, 403, "AccessDenied", Bucket="bucket", Key="k", Body=b"", IfMatch=tag)
        refused(stage.bob.delete_object, 403, "AccessDenied", Bucket="bucket", Key="k", IfMatch=tag)
        objects = {"Objects": [{"Key": "k", "ETag": tag}]}
        (error,) = stage.bob.delete_objects(Bucket="bucket", Delete=objects)["Errors"]
        assert error["Code"] == "AccessDenied"
    # That a key is taken is told to who may write it: decision 0010.
    refused(stage.bob.put_object, 412, "PreconditionFailed", Bucket="bucket", Key="k", Body=b"", IfNoneMatch="*")
    stage.bob.put_object(Bucket="bucket", Key="new", Body=b"new", IfNoneMatch="*")
    stage.bob.put_object(Bucket="bucket", Key="k", Body=b"new")


def test_the_policy_is_the_owners_alone_to_read_and_to_change(stage: Stage, set_policy: SetPolicy) -> None:
    set_policy(allow(["s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"], BOX))
    for caller in (stage.bob, stage.nobody):
        refused(caller.get_bucket_policy, 405, "MethodNotAllowed", Bucket="bucket")
        refused(caller.delete_bucket_policy, 405, "MethodNotAllowed", Bucket="bucket")


def test_a_guest_puts_no_policy(stage: Stage, set_policy: SetPolicy) -> None:
    set_policy(allow("s3:PutBucketPolicy", BOX))
    refused(stage.bob.put_bucket_policy, 405, "MethodNotAllowed", Bucket="bucket", Policy="{}")
    refused(stage.nobody.put_bucket_policy, 400, "InvalidRequest", Bucket="bucket", Policy="{}")


def test_h93_a_source_that_is_not_readable_is_not_copied(stage: Stage, set_policy: SetPolicy) -> None:
    stage.put("open/x", b"shown")
    stage.put("k", b"hidden")
    stage.bob.create_bucket(Bucket="bobs")
    upload_id = stage.bob.create_multipart_upload(Bucket="bobs", Key="big")["UploadId"]
    part = {"Bucket": "bobs", "Key": "big", "UploadId": upload_id, "PartNumber": 1}

    def copies(source: str) -> None:
        stage.bob.copy_object(Bucket="bobs", Key="copy", CopySource=source)
        stage.bob.upload_part_copy(**part, CopySource=source)

    for source in ("bucket/k", "bucket/missing"):
        refused(stage.bob.copy_object, 403, "AccessDenied", Bucket="bobs", Key="copy", CopySource=source)
        refused(stage.bob.upload_part_copy, 403, "AccessDenied", **part, CopySource=source)
    set_policy(allow("s3:GetObject", f"{BOX}/open/*"))
    copies("bucket/open/x")
    assert stage.bob.get_object(Bucket="bobs", Key="copy")["Body"].read() == b"shown"
    for source in ("bucket/k", "bucket/open/missing"):
        refused(stage.bob.copy_object, 403, "AccessDenied", Bucket="bobs", Key="copy", CopySource=source)
        refused(stage.bob.upload_part_copy, 403, "AccessDenied", **part, CopySource=source)
    refused(stage.bob.copy_object, 404, "NoSuchBucket", Bucket="bobs", Key="copy", CopySource="no-such/k")


def test_a_copy_needs_both_ends(stage: Stage, set_policy: SetPolicy) -> None:
    stage.put("k")
    set_policy(allow("s3:GetObject"))
    refused(stage.bob.copy_object, 403, "AccessDenied", Bucket="bucket", Key="new", CopySource="bucket/k")
    set_policy(allow("s3:PutObject"))
    refused(stage.bob.copy_object, 403, "AccessDenied", Bucket="bucket", Key="new", CopySource="bucket/k")
    set_policy(allow(["s3:GetObject", "s3:PutObject"]))
    stage.bob.copy_object(Bucket="bucket", Key="new", CopySource="bucket/k")


@pytest.mark.parametrize("source", ["bucket/secret/k", "/bucket/secret/k", "bucket/%73ecret/k", "bucket%2Fsecret/k"])
def test_a_deny_of_copy_sources_holds_for_every_spelling(stage: Stage, set_policy: SetPolicy, source: str) -> None:
    stage.put("secret/k")
    condition = {"StringLike": {"s3:x-amz-copy-source": "bucket/secret/*"}}
    set_policy(deny("s3:PutObject", Condition=condition))
    signed = {"x-amz-copy-source": source}
    assert stage.raw("PUT", "/bucket/new", signed).status == 403


def test_a_deny_of_copy_sources_holds_for_bytes_that_are_not_escaped(stage: Stage, set_policy: SetPolicy) -> None:
    stage.put("é/k")
    set_policy(deny("s3:PutObject", Condition={"StringLike": {"s3:x-amz-copy-source": "bucket/é/*"}}))
    signed = {"x-amz-copy-source": "bucket/é/k"}
    assert stage.raw("PUT", "/bucket/new", signed).status == 403


@pytest.mark.parametrize("tags", ["secret=1", "secret=1&b", "b&secret=1", "%73ecret=1", "secret=1&b="])
def test_a_deny_of_tags_holds_for_every_spelling(stage: Stage, set_policy: SetPolicy, tags: str) -> None:
    set_policy(deny("s3:PutObject", Condition={"StringEquals": {"s3:RequestObjectTag/secret": "1"}}))
    assert stage.raw("PUT", "/bucket/k", {"x-amz-tagging": "b=1"}, b"x").status == 200
    assert stage.raw("PUT", "/bucket/k", {"x-amz-tagging": tags}, b"x").status == 403


@pytest.mark.parametrize("action", ["s3:PutObject", "s3:PutObjectTagging"])
def test_tags_that_a_copy_does_not_set_open_nothing(stage: Stage, set_policy: SetPolicy, action: str) -> None:
    stage.alice.put_object(Bucket="bucket", Key="k", Body=b"", Tagging="class=secret")
    stage.alice.put_object(Bucket="bucket", Key="other", Body=b"", Tagging="x=y")
    set_policy(deny(action, Condition={"StringNotEquals": {"s3:RequestObjectTag/class": "open"}}))
    for source in ("k", "other"):
        sent = {"x-amz-copy-source": f"bucket/{source}", "x-amz-tagging": "class=open"}
        assert stage.raw("PUT", "/bucket/new", sent).status == 403
        assert stage.raw("PUT", "/bucket/new", sent | {"x-amz-tagging-directive": "REPLACE"}).status == 200


def test_delete_objects_judges_each_key(stage: Stage, set_policy: SetPolicy) -> None:
    for key in ("a/1", "b/1", "a/2"):
        stage.put(key)
    set_policy(allow("s3:DeleteObject", f"{BOX}/a/*"))
    keys = ["b/1", "a/1", "b/missing", "a/2"]
    result = stage.bob.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key} for key in keys]})
    assert [entry["Key"] for entry in result["Deleted"]] == ["a/1", "a/2"]
    assert [(entry["Key"], entry["Code"]) for entry in result["Errors"]] == [
        ("b/1", "AccessDenied"),
        ("b/missing", "AccessDenied"),
    ]
    assert stage.keys() == ["b/1"]


def test_who_can_have_nothing_is_refused_before_his_document_is_read(stage: Stage) -> None:
    objects = {"Objects": [{"Key": "k"}]}
    for caller in (stage.nobody, stage.bob):
        refused(caller.delete_objects, 403, "AccessDenied", Bucket="bucket", Delete=objects)
        assert stage.last.received_messages == 0


def test_the_version_that_is_named_needs_an_action_of_its_own(stage: Stage, set_policy: SetPolicy) -> None:
    stage.put("k")
    set_policy(allow("s3:GetObject"))
    stage.bob.get_object(Bucket="bucket", Key="k")
    refused(stage.bob.get_object, 403, "AccessDenied", Bucket="bucket", Key="k", VersionId="null")
    set_policy(allow("s3:GetObjectVersion"))
    stage.bob.get_object(Bucket="bucket", Key="k", VersionId="null")
    refused(stage.bob.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")


def test_conditions_on_the_request(stage: Stage, set_policy: SetPolicy) -> None:
    stage.put("home/bob/x")
    set_policy(
        allow("s3:ListBucket", BOX, Condition={"StringLike": {"s3:prefix": "home/${aws:username}/*"}}),
        deny("s3:ListBucket", BOX, Condition={"NumericGreaterThan": {"s3:max-keys": 10}}),
        allow("s3:PutObject", Condition={"StringEquals": {"s3:x-amz-server-side-encryption": "AES256"}}),
    )
    assert stage.bob.list_objects_v2(Bucket="bucket", Prefix="home/bob/", MaxKeys=5)["KeyCount"] == 1
    refused(stage.bob.list_objects_v2, 403, "AccessDenied", Bucket="bucket", Prefix="home/alice/", MaxKeys=5)
    refused(stage.bob.list_objects_v2, 403, "AccessDenied", Bucket="bucket", MaxKeys=5)
    refused(stage.bob.list_objects_v2, 403, "AccessDenied", Bucket="bucket", Prefix="home/bob/", MaxKeys=11)
    refused(stage.nobody.list_objects_v2, 403, "AccessDenied", Bucket="bucket", Prefix="home//", MaxKeys=5)
    refused(stage.bob.put_object, 403, "AccessDenied", Bucket="bucket", Key="k", Body=b"")
    stage.bob.put_object(Bucket="bucket", Key="k", Body=b"", ServerSideEncryption="AES256")


def test_a_guest_sees_the_owner_of_the_bucket_and_not_himself(stage: Stage, set_policy: SetPolicy) -> None:
    stage.put("k")
    set_policy(allow("s3:ListBucket", BOX))
    owner = stage.alice.list_objects_v2(Bucket="bucket", FetchOwner=True)["Contents"][0]["Owner"]
    for caller in (stage.bob, stage.nobody):
        assert caller.list_objects_v2(Bucket="bucket", FetchOwner=True)["Contents"][0]["Owner"] == owner
        assert caller.list_objects(Bucket="bucket")["Contents"][0]["Owner"] == owner


def test_response_headers_are_not_for_the_anonymous_caller(stage: Stage, set_policy: SetPolicy) -> None:
    stage.put("k")
    set_policy(allow("s3:GetObject"))
    arguments = {"Bucket": "bucket", "Key": "k", "ResponseContentType": "text/html"}
    refused(stage.nobody.get_object, 400, "InvalidRequest", **arguments)
    assert stage.bob.get_object(**arguments)["ContentType"] == "text/html"


def test_an_anonymous_caller_may_write_where_he_is_let(stage: Stage, set_policy: SetPolicy) -> None:
    set_policy(allow(["s3:PutObject", "s3:DeleteObject"], f"{BOX}/drop/*"))
    stage.nobody.put_object(Bucket="bucket", Key="drop/x", Body=b"found")
    assert stage.body_of("drop/x") == b"found"
    stage.nobody.delete_object(Bucket="bucket", Key="drop/x")
    refused(stage.nobody.put_object, 403, "AccessDenied", Bucket="bucket", Key="x", Body=b"")
    assert stage.keys() == []


class _Counting:
    """A catalogue that counts its calls."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if callable(found):
            self.calls.append(name)
        return found


def test_a_policy_is_read_once_and_again_when_it_changes(stage: Stage, set_policy: SetPolicy) -> None:
    counting = _Counting(stage.rig.catalogue)
    rules = RulesOfBuckets(counting)

    def look() -> list[str]:
        counting.calls.clear()
        stage.run(rules.of(stage.run(stage.rig.catalogue.get_bucket("bucket"))))
        return counting.calls

    assert look() == [], "a bucket that was never told anything costs nothing"
    set_policy(allow("s3:GetObject"))
    assert look() == ["get_configuration"] * 2
    assert look() == []
    set_policy(allow("s3:PutObject"))
    assert look() == ["get_configuration"]
    assert look() == []


def test_what_is_kept_of_parsed_policies_is_bounded(stage: Stage, set_policy: SetPolicy) -> None:
    rules = RulesOfBuckets(stage.rig.catalogue, remembered_bytes=1200)
    for number in range(5):
        set_policy(allow("s3:GetObject", f"{BOX}/{number}/*"))
        stage.run(rules.of(stage.run(stage.rig.catalogue.get_bucket("bucket"))))
        assert len(rules._kept) <= 2
        assert rules._kept_bytes <= 1200


def test_a_stored_policy_that_is_not_understood_denies_all(stage: Stage) -> None:
    stage.put("k")
    bucket = stage.run(stage.rig.catalogue.get_bucket("bucket"))
    stage.run(stage.rig.catalogue.put_configuration(bucket.bucket_id, POLICY, b'{"Statement": "of another time"}'))
    refused(stage.alice.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")
    stage.alice.delete_bucket_policy(Bucket="bucket")
    assert stage.body_of("k") == b"data"


def test_a_configuration_that_goes_while_it_is_read_is_absent(stage: Stage) -> None:
    bucket = stage.run(stage.rig.catalogue.get_bucket("bucket"))
    stage.run(stage.rig.catalogue.put_configuration(bucket.bucket_id, "public-access-block", encode_block(None)))
    old: Bucket = stage.run(stage.rig.catalogue.get_bucket("bucket"))
    stage.run(stage.rig.catalogue.put_configuration(bucket.bucket_id, "public-access-block", None))
    rules = stage.run(Admission(stage.rig.catalogue, "us-east-1").rules.of(old))
    assert rules.block != NOTHING_BLOCKED


def test_the_tags_of_an_object_are_read_only_where_a_policy_asks_for_them(
    stage: Stage, set_policy: SetPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.put("k")
    looks: list[bytes] = []
    get_version = stage.rig.catalogue.get_version

    async def counted(bucket_id: bytes, object_key: bytes, *arguments: Any, **named: Any) -> Any:
        looks.append(object_key)
        return await get_version(bucket_id, object_key, *arguments, **named)

    monkeypatch.setattr(stage.rig.catalogue, "get_version", counted)
    set_policy(allow("s3:GetObject"))
    stage.bob.get_object(Bucket="bucket", Key="k")
    assert looks == [b"k"], "the object itself"
    looks.clear()
    set_policy(allow("s3:GetObject", Condition={"StringEquals": {"s3:ExistingObjectTag/public": "yes"}}))
    refused(stage.bob.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")
    assert looks == [b"k"], "its tags"


@pytest.mark.parametrize("ask", ["get", "head", "tags", "copy", "part"])
def test_what_is_read_is_what_was_judged(
    stage: Stage, set_policy: SetPolicy, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    """An object that is overwritten between the judging and the reading is judged by the tags that it has then."""
    stage.bob.create_bucket(Bucket="bobs")
    upload_id = stage.bob.create_multipart_upload(Bucket="bobs", Key="c")["UploadId"]
    source = {"Bucket": "bucket", "Key": "k"}
    asks: dict[str, Callable[[], Any]] = {
        "get": lambda: stage.bob.get_object(**source),
        "head": lambda: stage.bob.head_object(**source),
        "tags": lambda: stage.bob.get_object_tagging(**source),
        "copy": lambda: stage.bob.copy_object(Bucket="bobs", Key="c", CopySource=source, TaggingDirective="REPLACE"),
        "part": lambda: stage.bob.upload_part_copy(
            Bucket="bobs", Key="c", UploadId=upload_id, PartNumber=1, CopySource=source
        ),
    }
    is_secret = {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}}
    set_policy(allow(["s3:GetObject", "s3:GetObjectTagging"]), deny("s3:GetObject*", Condition=is_secret))
    catalogue = stage.rig.catalogue
    get_version = catalogue.get_version
    stage.put("k", b"of the next object", Tagging="secret=yes")
    secret = stage.run(catalogue.get_version(stage.run(catalogue.get_bucket("bucket")).bucket_id, b"k"))
    stage.put("k", b"open")
    asks[ask]()
    judged = False

    async def overwritten(bucket_id: bytes, object_key: bytes, *arguments: Any, **named: Any) -> Any:
        nonlocal judged
        if object_key == b"k" and judged:
            return secret
        judged = judged or object_key == b"k"
        return await get_version(bucket_id, object_key, *arguments, **named)

    monkeypatch.setattr(catalogue, "get_version", overwritten)
    refused(asks[ask], 403, "403" if ask == "head" else "AccessDenied")


@pytest.mark.parametrize("ask", ["put", "delete", "acl"])
def test_what_is_changed_is_what_was_judged(
    stage: Stage, set_policy: SetPolicy, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    """Who may change an object that is then overwritten takes no tag off the one that took its place."""
    rule = {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    stage.alice.put_bucket_ownership_controls(Bucket="bucket", OwnershipControls=rule)
    asks: dict[str, Callable[[], Any]] = {
        "put": lambda: stage.bob.put_object_tagging(Bucket="bucket", Key="k", Tagging={"TagSet": []}),
        "delete": lambda: stage.bob.delete_object_tagging(Bucket="bucket", Key="k"),
        "acl": lambda: stage.bob.put_object_acl(Bucket="bucket", Key="k", ACL="private"),
    }
    actions = ["s3:PutObjectTagging", "s3:DeleteObjectTagging", "s3:PutObjectAcl"]
    is_secret = {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}}
    set_policy(allow(actions), deny(actions, Condition=is_secret))
    catalogue = stage.rig.catalogue
    get_version = catalogue.get_version
    stage.put("k", b"open")
    before = stage.run(get_version(stage.run(catalogue.get_bucket("bucket")).bucket_id, b"k"))
    stage.put("k", b"secret", Tagging="secret=yes")
    looks, stale = 0, 3 if ask == "put" else 2  # each judging, and the look for what is changed

    async def overtaken(bucket_id: bytes, object_key: bytes, *arguments: Any, **named: Any) -> Any:
        nonlocal looks
        looks += 1
        return before if looks <= stale else await get_version(bucket_id, object_key, *arguments, **named)

    monkeypatch.setattr(catalogue, "get_version", overtaken)
    refused(asks[ask], 503 if ask == "acl" else 403, "ServiceUnavailable" if ask == "acl" else "AccessDenied")
    tags = stage.alice.get_object_tagging(Bucket="bucket", Key="k")["TagSet"]
    assert tags == [{"Key": "secret", "Value": "yes"}]


def test_others_go_on_while_many_keys_are_judged(
    stage: Stage, set_policy: SetPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_policy(deny("s3:DeleteObject"))
    in_a_row = 0
    longest = 0
    allows = Access.allows

    async def counted(*arguments: Any, **more: Any) -> bool:
        nonlocal in_a_row, longest
        in_a_row += 1
        longest = max(longest, in_a_row)
        asyncio.get_running_loop().call_soon(pause)
        return await allows(*arguments, **more)

    def pause() -> None:
        nonlocal in_a_row
        in_a_row = 0

    monkeypatch.setattr(Access, "allows", counted)
    wanted = {"Objects": [{"Key": f"k{i}", "ETag": "x"} for i in range(50)]}
    result = stage.alice.delete_objects(Bucket="bucket", Delete=wanted)
    assert len(result["Errors"]) == 50
    assert longest <= 3


def test_a_policy_costs_one_request_no_more_than_its_share(stage: Stage, set_policy: SetPolicy) -> None:
    """What is dear to judge is judged until the share is spent; the other keys are left for another request."""
    variables = "${aws:UserAgent}" * 18
    set_policy(allow("s3:DeleteObject"), deny("s3:DeleteObject", [f"{BOX}/{variables}?{n}" for n in range(31)]))
    keys = [f"{'k' * 800}{number}" for number in range(1000)]
    stage.put(keys[0])
    stage.put(keys[-1])
    began = time.process_time()
    result = stage.alice.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key} for key in keys]})
    assert time.process_time() - began < 1.5  # boto3's own part and the engine's are in it
    held = [entry["Key"] for entry in stage.alice.list_objects_v2(Bucket="bucket").get("Contents", [])]
    gone = {entry["Key"] for entry in result["Deleted"]}
    assert {entry["Code"] for entry in result.get("Errors", [])} <= {"SlowDown"}
    assert gone | {entry["Key"] for entry in result.get("Errors", [])} == set(keys)
    assert set(held) == {keys[0], keys[-1]} - gone


@pytest.mark.parametrize("reader", ["header_tags", "effective_headers"])
def test_a_request_is_read_once_however_many_conditions_ask(
    stage: Stage, set_policy: SetPolicy, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """Five hundred conditions on tags of the request read its headers as often: five seconds for 13 kB of tags."""
    keys = [f"s3:RequestObjectTag/{number}" for number in range(500)]
    conditions = {"StringNotEquals": dict.fromkeys(keys, "x"), "StringEquals": {"aws:username": "nobody"}}
    set_policy(deny("s3:PutObject", Condition=conditions))
    read = 0
    real: Callable[..., object] = getattr(facts, reader)

    def counted(*arguments: object) -> object:
        nonlocal read
        read += 1
        return real(*arguments)

    monkeypatch.setattr(facts, reader, counted)
    stage.put("k", Tagging="a=b")
    assert read <= 2, "once for each action that is judged"


def test_what_is_over_the_share_is_refused_and_never_allowed(
    stage: Stage, set_policy: SetPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_policy(allow("s3:DeleteObject"))
    ticks = itertools.count(0, MAX_JUDGING_S / 3.5)
    monkeypatch.setattr("gateway.operations.admission.thread_time", lambda: next(ticks))
    keys = [f"{number}" for number in range(6)]
    for key in keys:
        stage.put(key)
    result = stage.bob.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key} for key in keys]})
    assert [entry["Key"] for entry in result["Deleted"]] == keys[:4]
    assert [(entry["Key"], entry["Code"]) for entry in result["Errors"]] == [(key, "SlowDown") for key in keys[4:]]
