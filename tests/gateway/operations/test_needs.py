"""Which actions a request needs, row by row; and what a document adds."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from gateway.access.actions import ACTIONS
from gateway.operations.needs import DOCUMENT_FACTS, JUDGED_LATER, actions_of
from gateway.operations.table import OPERATIONS
from tests.gateway.s3.wire import request

PUT = ["s3:PutObject"]


@pytest.mark.parametrize(
    ("operation", "action", "target", "headers", "needed"),
    [
        ("GetObject", "s3:GetObject", "/b/k", {}, ["s3:GetObject"]),
        ("GetObject", "s3:GetObject", "/b/k?versionId=v", {}, ["s3:GetObjectVersion"]),
        ("GetObject", "s3:GetObject", "/b/k", {"If-Match": "x"}, ["s3:GetObject"]),
        ("GetObjectAcl", "s3:GetObjectAcl", "/b/k?acl&versionId=v", {}, ["s3:GetObjectVersionAcl"]),
        ("GetObjectTagging", "s3:GetObjectTagging", "/b/k?versionId=v", {}, ["s3:GetObjectVersionTagging"]),
        ("GetObjectRetention", "s3:GetObjectRetention", "/b/k?versionId=v", {}, ["s3:GetObjectRetention"]),
        (
            "GetObjectAttributes",
            "s3:GetObjectAttributes",
            "/b/k?versionId=v",
            {},
            ["s3:GetObjectVersionAttributes", "s3:GetObjectVersion"],
        ),
        ("DeleteObject", "s3:DeleteObject", "/b/k?versionId=v", {}, ["s3:DeleteObjectVersion"]),
        ("DeleteObject", "s3:DeleteObject", "/b/k", {"If-Match": "x"}, ["s3:DeleteObject", "s3:GetObject"]),
        (
            "DeleteObject",
            "s3:DeleteObject",
            "/b/k",
            {"x-amz-bypass-governance-retention": "TRUE"},
            ["s3:DeleteObject", "s3:BypassGovernanceRetention"],
        ),
        (
            "DeleteObject",
            "s3:DeleteObject",
            "/b/k",
            {"x-amz-bypass-governance-retention": "false"},
            ["s3:DeleteObject"],
        ),
        ("DeleteObjects", "s3:DeleteObject", "/b?delete", {}, []),
        # No key is known yet: the operation judges it for each.
        ("DeleteObjects", "s3:DeleteObject", "/b?delete", {"x-amz-bypass-governance-retention": "true"}, []),
        ("PutObject", "s3:PutObject", "/b/k", {}, PUT),
        ("PutObject", "s3:PutObject", "/b/k", {"x-amz-tagging": ""}, PUT),
        ("PutObject", "s3:PutObject", "/b/k", {"x-amz-tagging": "a=b"}, [*PUT, "s3:PutObjectTagging"]),
        ("PutObject", "s3:PutObject", "/b/k?x-amz-tagging=a%3Db", {}, [*PUT, "s3:PutObjectTagging"]),
        ("PostObject", "s3:PutObject", "/b/k", {"x-amz-tagging": "a=b"}, [*PUT, "s3:PutObjectTagging"]),
        ("CopyObject", "s3:PutObject", "/b/k", {"x-amz-tagging": "a=b"}, [*PUT, "s3:PutObjectTagging"]),
        ("CreateMultipartUpload", "s3:PutObject", "/b/k", {"x-amz-tagging": "a=b"}, [*PUT, "s3:PutObjectTagging"]),
        ("PutObject", "s3:PutObject", "/b/k", {"x-amz-acl": "private"}, PUT),
        ("PutObject", "s3:PutObject", "/b/k", {"x-amz-acl": "bucket-owner-full-control"}, PUT),
        ("PutObject", "s3:PutObject", "/b/k", {"x-amz-acl": "public-read"}, [*PUT, "s3:PutObjectAcl"]),
        ("PutObject", "s3:PutObject", "/b/k", {"x-amz-grant-read": "id=1"}, [*PUT, "s3:PutObjectAcl"]),
        ("PutObject", "s3:PutObject", "/b/k", {"If-None-Match": "*"}, PUT),
        ("PutObject", "s3:PutObject", "/b/k", {"If-Match": "x"}, [*PUT, "s3:GetObject"]),
        ("CompleteMultipartUpload", "s3:PutObject", "/b/k", {"If-Match": "x"}, [*PUT, "s3:GetObject"]),
        (
            "PutObject",
            "s3:PutObject",
            "/b/k",
            {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2030"},
            [*PUT, "s3:PutObjectRetention"],
        ),
        ("PutObject", "s3:PutObject", "/b/k", {"x-amz-object-lock-legal-hold": "ON"}, [*PUT, "s3:PutObjectLegalHold"]),
        ("PutObjectTagging", "s3:PutObjectTagging", "/b/k?tagging", {}, []),
        (
            "PutObjectRetention",
            "s3:PutObjectRetention",
            "/b/k?retention",
            {"x-amz-bypass-governance-retention": "true"},
            ["s3:BypassGovernanceRetention"],
        ),
        ("ListObjectsV2", "s3:ListBucket", "/b?list-type=2", {}, ["s3:ListBucket"]),
    ],
)
def test_rows(operation: str, action: str, target: str, headers: dict[str, str], needed: list[str]) -> None:
    assert actions_of(operation, action, request("PUT", target, headers)) == needed


def test_every_action_of_the_table_is_known() -> None:
    assert {row.action for row in OPERATIONS.values() if row.needs_bucket} <= set(ACTIONS)


def test_what_is_judged_later_is_judged() -> None:
    assert set(DOCUMENT_FACTS) | {"DeleteObjects"} == JUDGED_LATER


def test_facts_of_documents() -> None:
    tags = DOCUMENT_FACTS["PutObjectTagging"](SimpleNamespace(tags=(("a", "b"), ("c", ""))))
    assert tags["s3:requestobjecttagkeys"] == ("a", "c")
    assert tags["s3:requestobjecttag/a"] == ("b",)
    until = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    held = SimpleNamespace(retention=SimpleNamespace(mode="GOVERNANCE", retain_until=until))
    assert DOCUMENT_FACTS["PutObjectRetention"](held) == {
        "s3:object-lock-mode": ("GOVERNANCE",),
        "s3:object-lock-retain-until-date": ("2030-01-02T03:04:05Z",),
    }
    none = SimpleNamespace(retention=SimpleNamespace(mode="", retain_until=None))
    assert set(DOCUMENT_FACTS["PutObjectRetention"](none).values()) == {None}
    assert DOCUMENT_FACTS["PutObjectLegalHold"](SimpleNamespace(is_on=True)) == {"s3:object-lock-legal-hold": ("ON",)}
