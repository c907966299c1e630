"""The real application and S3 as dictionaries, driven side by side by random steps: no answer may differ.

5,000 steps in the tests, 50,000 with `--full`. A divergence is shrunk by Hypothesis to the shortest way there.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from tests.model.dictionaries import (
    AES256,
    CUSTOMER,
    MIN_PART_SIZE,
    NO_LOCK,
    NULL,
    Answer,
    DictionaryS3,
    Lock,
    Upload,
    Version,
    answer_of,
    etag_of,
)
from tests.model.guards import (
    CUSTOMER_KEY,
    ENCRYPTIONS,
    LOCKED,
    SOURCE_KEY,
    Guards,
    buckets,
    chances,
    encryptions,
    keys,
    lock_arguments,
    locks,
)
from tests.model.world import World, open_world, tagging
from tests.servers.ground import Ground

STEPS: Final = 250
EXAMPLES: Final = 28
FULL_EXAMPLES: Final = 280

BUCKETS: Final = ("one", "two", LOCKED)

metadata = st.sampled_from(({}, {"color": "red"}, {"a-b": "1", "note": "x=y z"}))
content_types = st.sampled_from(("binary/octet-stream", "text/plain", "application/json; charset=utf-8"))
tag_sets = st.sampled_from(({}, {"team": "a"}, {"k 1": "v+1", "empty": ""}))
bodies = st.tuples(
    st.sampled_from((0, 1, 100, 16_383, 16_384, 16_385, 40_000, 70_000)), st.binary(min_size=1, max_size=4)
).map(lambda drawn: (drawn[1] * (drawn[0] // len(drawn[1]) + 1))[: drawn[0]])


_ENCRYPTION: Final = ("ServerSideEncryption", "SSECustomerAlgorithm")
_HEAD: Final = (
    *("ContentLength", "ETag", "Metadata", "ContentType", "VersionId", "TagCount"),
    *("ObjectLockMode", "ObjectLockLegalHoldStatus", *_ENCRYPTION),
)


class Machine(Guards):
    """Every rule makes one request of both, and compares."""

    world: World
    steps = 0
    examples = 0

    @initialize()
    def begin(self) -> None:
        Machine.examples += 1
        self.names = {name: f"{name}-{Machine.examples}" for name in BUCKETS}
        self.model = DictionaryS3()
        self.old: list[tuple[str, str, str]] = []
        """(bucket, key, version id) of versions that were there once."""
        self.ended: list[tuple[str, str, str]] = []
        """(bucket, key, upload id) of uploads that are no more."""
        for name in BUCKETS:
            has_locks = name == LOCKED
            answer = self.ask("create_bucket", (), Bucket=name, ObjectLockEnabledForBucket=has_locks or None)
            self.same(self.model.create_bucket(name, has_locks), answer)

    def teardown(self) -> None:
        """Leave no bucket behind: the account may hold only so many."""
        for name, bucket in self.model.buckets.items():
            if bucket.has_locks and bucket.versions:
                continue  # compliance holds to the end
            self.world.client.delete_bucket_policy(Bucket=self.names[name])
            for key, versions in bucket.versions.items():
                for version in versions:
                    self.world.client.delete_object(Bucket=self.names[name], Key=key, VersionId=version.version_id)
            self.world.client.delete_bucket(Bucket=self.names[name])

    # Helpers

    def ask(self, method: str, fields: tuple[str, ...], **arguments: Any) -> Answer:
        Machine.steps += 1
        if "Bucket" in arguments:
            arguments["Bucket"] = self.names[arguments["Bucket"]]
        return self.world.ask(method, fields, **arguments)

    def same(self, expected: Any, actual: Any) -> None:
        if isinstance(expected, dict) and isinstance(actual, dict):
            expected = {name: value for name, value in expected.items() if value is not None}
            actual = {name: value for name, value in actual.items() if value is not None}
        assert actual == expected

    def _versions(self, bucket: str, key: str) -> list[Version]:
        return self.model.buckets[bucket].versions.get(key, []) if bucket in self.model.buckets else []

    def version_id(self, bucket: str, key: str, chance: int) -> str | None:
        """Mostly the current version; else one that is there, or was, or is called null."""
        held = self._versions(bucket, key)
        if chance >= 4:
            return None
        if chance >= 1 and held:
            return held[chance % len(held)].version_id
        gone = [version_id for where, name, version_id in self.old if (where, name) == (bucket, key)]
        return gone[-1] if gone else NULL

    def _etag(self, bucket: str, key: str, chance: int) -> str | None:
        """Mostly no condition; else the current ETag, or a wrong one."""
        held = self._versions(bucket, key)
        if chance == 0:
            return '"00000000000000000000000000000000"'
        return held[0].etag if chance == 1 and held and held[0].etag else None

    def _has_customer_key(self, bucket: str, key: str, version_id: str | None) -> bool:
        held = self._versions(bucket, key)
        named = [version for version in held if version_id is None or version.version_id == version_id]
        return bool(named) and named[0].encryption == CUSTOMER

    def _with_key(self, bucket: str, key: str, version_id: str | None, chance: int) -> bool:
        """Mostly what the object wants."""
        return self._has_customer_key(bucket, key, version_id) is bool(chance)

    def _remember(self, bucket: str, key: str, answer: Answer) -> None:
        if answer.get("VersionId"):
            self.old.append((bucket, key, answer["VersionId"]))

    # Buckets

    @rule(bucket=buckets, chance=chances)
    def create_or_delete_bucket(self, bucket: str, chance: int) -> None:
        if chance >= 2:
            has_locks = bucket == LOCKED
            expected = answer_of(lambda: self.model.create_bucket(bucket, has_locks))
            actual = self.ask("create_bucket", (), Bucket=bucket, ObjectLockEnabledForBucket=has_locks or None)
        else:
            expected = answer_of(lambda: self.model.delete_bucket(bucket))
            actual = self.ask("delete_bucket", (), Bucket=bucket)
        self.same(expected, actual)

    @rule(bucket=buckets, status=st.sampled_from(("Enabled", "Enabled", "Suspended")))
    def put_bucket_versioning(self, bucket: str, status: str) -> None:
        expected = answer_of(lambda: self.model.put_bucket_versioning(bucket, status))
        configuration = {"Status": status}
        self.same(expected, self.ask("put_bucket_versioning", (), Bucket=bucket, VersioningConfiguration=configuration))

    @rule(bucket=buckets)
    def get_bucket_versioning(self, bucket: str) -> None:
        expected = answer_of(lambda: self.model.get_bucket_versioning(bucket))
        self.same(expected, self.ask("get_bucket_versioning", ("Status",), Bucket=bucket))

    # Writing

    @rule(
        bucket=buckets, key=keys, body=bodies, meta=metadata, kind=content_types, tags=tag_sets,
        absent=chances, matching=chances, lock=locks, encryption=encryptions,
    )  # fmt: skip  # what is drawn, on two lines
    def put_object(
        self, bucket: str, key: str, body: bytes, meta: dict[str, str], kind: str, tags: dict[str, str],
        absent: int, matching: int, lock: Lock, encryption: str,
    ) -> None:  # fmt: skip  # as above
        if_match = self._etag(bucket, key, matching) if absent else None
        self._put(bucket, key, body, meta, kind, tags, lock, encryption, if_none_match=not absent, if_match=if_match)

    @rule(bucket=buckets, key=keys, body=bodies, lock=locks, encryption=encryptions)
    def put_object_whatever_there_is(self, bucket: str, key: str, body: bytes, lock: Lock, encryption: str) -> None:
        self._put(bucket, key, body, {}, "text/plain", {}, lock if bucket == LOCKED else NO_LOCK, encryption)

    def _put(
        self, bucket: str, key: str, body: bytes, meta: dict[str, str], kind: str, tags: dict[str, str],
        lock: Lock, encryption: str, *, if_none_match: bool = False, if_match: str | None = None,
    ) -> None:  # fmt: skip  # as above
        actual = self.ask(
            "put_object", ("ETag", "VersionId", *_ENCRYPTION), Bucket=bucket, Key=key, Body=body, Metadata=meta,
            ContentType=kind, Tagging=tagging(tags), IfNoneMatch="*" if if_none_match else None, IfMatch=if_match,
            **lock_arguments(lock), **ENCRYPTIONS[encryption],
        )  # fmt: skip  # as above
        expected = answer_of(
            lambda: self.model.put_object(
                bucket, key, body, metadata=meta, content_type=kind, tags=tags, if_none_match=if_none_match,
                if_match=if_match, given_id=actual.get("VersionId"),
                lock=lock, encryption=encryption or AES256, given_etag=actual.get("ETag"),
            )
        )  # fmt: skip  # as above
        self.same(expected, actual)
        self._remember(bucket, key, actual)

    @rule(bucket=buckets, key=keys, which=chances, matching=chances, bypass=st.booleans())
    def delete_object(self, bucket: str, key: str, which: int, matching: int, bypass: bool) -> None:
        version_id = self.version_id(bucket, key, which)
        if_match = self._etag(bucket, key, matching) if version_id is None else None
        actual = self.ask(
            "delete_object",
            ("VersionId", "DeleteMarker"),
            Bucket=bucket,
            Key=key,
            VersionId=version_id,
            IfMatch=if_match,
            BypassGovernanceRetention=bypass or None,
        )
        expected = answer_of(
            lambda: self.model.delete_object(bucket, key, version_id, if_match, actual.get("VersionId"), bypass)
        )
        self.same(expected, actual)

    @rule(bucket=buckets, entries=st.lists(st.tuples(keys, chances), min_size=1, max_size=5))
    def delete_objects(self, bucket: str, entries: list[tuple[str, int]]) -> None:
        named: list[dict[str, str]] = []
        for key, chance in entries:
            version_id = self.version_id(bucket, key, chance)
            entry = {"Key": key} | ({"VersionId": version_id} if version_id is not None else {})
            if entry not in named:
                named.append(entry)
        actual = self.ask("delete_objects", ("Deleted", "Errors"), Bucket=bucket, Delete={"Objects": named})
        if bucket not in self.model.buckets:
            assert actual == {"refused": 404, "code": "NoSuchBucket"}
            return
        done = {(deleted["Key"], deleted.get("VersionId")): deleted for deleted in actual["Deleted"] or ()}
        kept = {(error["Key"], error.get("VersionId")): error["Code"] for error in actual["Errors"] or ()}
        assert len(done) + len(kept) == len(named)
        for entry in named:
            which = entry["Key"], entry.get("VersionId")
            deleted = done.get(which, {})
            marker_id = deleted.get("DeleteMarkerVersionId")
            expected = answer_of(partial(self.model.delete_object, bucket, *which, None, marker_id))
            assert kept.get(which) == expected.get("code")
            if which in kept:
                continue
            assert deleted.get("DeleteMarker") == expected["DeleteMarker"]
            assert marker_id == (expected["VersionId"] if expected["DeleteMarker"] else None)

    @rule(
        source_bucket=buckets, source_key=keys, which=chances, bucket=buckets, key=keys,
        meta=metadata, kind=content_types, tags=tag_sets, replace=st.booleans(), replace_tags=st.booleans(),
        encryption=encryptions, has_key=chances,
    )  # fmt: skip  # as above
    def copy_object(
        self, source_bucket: str, source_key: str, which: int, bucket: str, key: str,
        meta: dict[str, str], kind: str, tags: dict[str, str], replace: bool, replace_tags: bool,
        encryption: str, has_key: int,
    ) -> None:  # fmt: skip  # as above
        version_id = self.version_id(source_bucket, source_key, which)
        source = {"Bucket": self.names[source_bucket], "Key": source_key}
        if version_id is not None:
            source["VersionId"] = version_id
        changes: dict[str, Any] = (
            {"MetadataDirective": "REPLACE", "Metadata": meta, "ContentType": kind} if replace else {}
        )
        if replace_tags:
            changes |= {"TaggingDirective": "REPLACE", "Tagging": tagging(tags) or ""}
        with_key = self._with_key(source_bucket, source_key, version_id, has_key)
        changes |= ENCRYPTIONS[encryption] | (SOURCE_KEY if with_key else {})
        actual = self.ask(
            "copy_object", ("CopyObjectResult", "VersionId", "CopySourceVersionId", *_ENCRYPTION),
            Bucket=bucket, Key=key, CopySource=source, **changes,
        )  # fmt: skip  # as above
        if (result := actual.pop("CopyObjectResult", None)) is not None:
            actual["ETag"] = result["ETag"]
        expected = answer_of(
            lambda: self.model.copy_object(
                source_bucket, source_key, version_id, bucket, key, replaced=(meta, kind) if replace else None,
                new_tags=tags if replace_tags else None, given_id=actual.get("VersionId"),
                encryption=encryption or None, with_key=with_key, given_etag=actual.get("ETag"),
            )
        )  # fmt: skip  # as above
        self.same(expected, actual)
        self._remember(bucket, key, actual)

    # Reading

    @rule(
        bucket=buckets, key=keys, which=chances, matching=chances, unmatched=chances, has_key=chances,
        span=st.one_of(
            st.none(), st.none(), st.tuples(st.sampled_from((0, 1, 16_383, 16_384, 50_000)), st.none()),
            st.tuples(st.sampled_from((0, 99, 16_384)), st.sampled_from((16_384, 99_999))),
            st.tuples(st.none(), st.sampled_from((0, 1, 16_384, 99_999))),
        ),
    )  # fmt: skip  # as above
    def get_object(
        self,
        bucket: str,
        key: str,
        which: int,
        matching: int,
        unmatched: int,
        has_key: int,
        span: tuple[int | None, int | None] | None,
    ) -> None:
        version_id = self.version_id(bucket, key, which)
        with_key = self._with_key(bucket, key, version_id, has_key)
        # Which of a wrong key and a wrong ETag is told first is nowhere said.
        fits = with_key is self._has_customer_key(bucket, key, version_id)
        if_match = self._etag(bucket, key, matching) if fits else None
        if_none_match = self._etag(bucket, key, unmatched) if if_match is None and fits else None
        span = span if fits else None
        fields = ("Body", "ContentRange", *_HEAD)
        asked = (
            None if span is None else f"bytes={'' if span[0] is None else span[0]}-{'' if span[1] is None else span[1]}"
        )
        actual = self.ask(
            "get_object", fields, Bucket=bucket, Key=key, VersionId=version_id, Range=asked,
            IfMatch=if_match, IfNoneMatch=if_none_match, **(CUSTOMER_KEY if with_key else {}),
        )  # fmt: skip  # as above
        expected = answer_of(
            lambda: self.model.get_object(bucket, key, version_id, span, if_match, if_none_match, with_key)
        )
        self.same(expected, actual)

    @rule(bucket=buckets, key=keys, which=chances, has_key=chances)
    def head_object(self, bucket: str, key: str, which: int, has_key: int) -> None:
        version_id = self.version_id(bucket, key, which)
        with_key = self._with_key(bucket, key, version_id, has_key)
        actual = self.ask(
            "head_object", _HEAD, Bucket=bucket, Key=key, VersionId=version_id, **(CUSTOMER_KEY if with_key else {})
        )
        expected = answer_of(lambda: self.model.get_object(bucket, key, version_id, None, None, None, with_key))
        expected.pop("Body", None)
        if "refused" in expected:
            expected["code"] = str(expected["refused"])  # an answer to HEAD has no body that names a code
        self.same(expected, actual)

    @rule(bucket=buckets, key=keys, which=chances)
    def get_object_tagging(self, bucket: str, key: str, which: int) -> None:
        version_id = self.version_id(bucket, key, which)
        actual = self.ask("get_object_tagging", ("TagSet", "VersionId"), Bucket=bucket, Key=key, VersionId=version_id)
        if "TagSet" in actual:
            actual["TagSet"] = {tag["Key"]: tag["Value"] for tag in actual["TagSet"]}
        self.same(answer_of(lambda: self.model.get_object_tagging(bucket, key, version_id)), actual)

    @rule(bucket=buckets, key=keys, which=chances, tags=tag_sets, is_removal=st.booleans())
    def put_object_tagging(self, bucket: str, key: str, which: int, tags: dict[str, str], is_removal: bool) -> None:
        version_id = self.version_id(bucket, key, which)
        if is_removal:
            tags = {}
            actual = self.ask("delete_object_tagging", ("VersionId",), Bucket=bucket, Key=key, VersionId=version_id)
        else:
            tag_set = [{"Key": name, "Value": value} for name, value in tags.items()]
            actual = self.ask(
                "put_object_tagging", ("VersionId",),
                Bucket=bucket, Key=key, VersionId=version_id, Tagging={"TagSet": tag_set},
            )  # fmt: skip  # as above
        self.same(answer_of(lambda: self.model.put_object_tagging(bucket, key, version_id, tags)), actual)

    # Listing

    @rule(
        bucket=buckets, prefix=st.sampled_from(("", "", "a", "a/", "é")), delimiter=st.sampled_from(("", "/", "b")),
        after=st.sampled_from(("", "", "a/", "a/b", "é")), size=st.sampled_from((1, 2, 3, 1000)), is_v2=st.booleans(),
    )  # fmt: skip  # as above
    def list_objects(self, bucket: str, prefix: str, delimiter: str, after: str, size: int, is_v2: bool) -> None:
        Machine.steps += 1
        arguments = {"Bucket": self.names[bucket], "Prefix": prefix, "Delimiter": delimiter}
        arguments["StartAfter" if is_v2 else "Marker"] = after
        actual = self.world.pages("list_objects_v2" if is_v2 else "list_objects", arguments, _listed, size)
        expected = answer_of(lambda: self.model.list_objects(bucket, prefix, delimiter, after))
        self.same(expected, actual)

    @rule(
        bucket=buckets, prefix=st.sampled_from(("", "", "a", "a/", "é")), delimiter=st.sampled_from(("", "", "/", "b")),
        size=st.sampled_from((1, 2, 3, 1000)),
    )  # fmt: skip  # as above
    def list_object_versions(self, bucket: str, prefix: str, delimiter: str, size: int) -> None:
        Machine.steps += 1
        arguments = {"Bucket": self.names[bucket], "Prefix": prefix, "Delimiter": delimiter}
        actual = self.world.pages("list_object_versions", arguments, _listed_versions, size)
        expected = answer_of(lambda: self.model.list_object_versions(bucket, prefix, delimiter))
        if isinstance(actual, list) and isinstance(expected, list):
            # botocore gives the versions, markers and prefixes of a page apart: their order in the page is lost.
            if size == 1:
                assert actual == expected
            assert sorted(map(repr, actual)) == sorted(map(repr, expected))
        else:
            assert actual == expected

    # Multipart uploads

    def _upload(self, bucket: str, chance: int) -> Upload | None:
        held = list(self.model.buckets[bucket].uploads.values()) if bucket in self.model.buckets else []
        return held[chance % len(held)] if held else None

    def _upload_names(self, bucket: str, chance: int) -> tuple[str, str] | None:
        upload = self._upload(bucket, chance)
        if upload is not None and chance:
            return upload.key, upload.upload_id
        ended = [(key, upload_id) for where, key, upload_id in self.ended if where == bucket]
        return ended[-1] if ended else None

    @rule(bucket=buckets, key=keys, meta=metadata, kind=content_types, tags=tag_sets)
    def create_multipart_upload(
        self, bucket: str, key: str, meta: dict[str, str], kind: str, tags: dict[str, str]
    ) -> None:
        actual = self.ask(
            "create_multipart_upload", ("UploadId", "Key"),
            Bucket=bucket, Key=key, Metadata=meta, ContentType=kind, Tagging=tagging(tags),
        )  # fmt: skip  # as above
        upload_id = actual.pop("UploadId", None)
        expected = answer_of(
            lambda: self.model.create_multipart_upload(
                bucket, key, metadata=meta, content_type=kind, tags=tags, given_id=upload_id
            )
        )
        self.same(expected, actual)

    @rule(bucket=buckets, which=chances, number=st.integers(1, 3), body=bodies, is_large=chances)
    def upload_part(self, bucket: str, which: int, number: int, body: bytes, is_large: int) -> None:
        if (names := self._upload_names(bucket, which)) is None:
            return
        if not is_large:
            body = (body or b"\0") * (MIN_PART_SIZE // max(1, len(body)) + 1)
        actual = self.ask(
            "upload_part", ("ETag",), Bucket=bucket, Key=names[0], UploadId=names[1], PartNumber=number, Body=body
        )
        self.same(answer_of(lambda: self.model.upload_part(bucket, *names, number, body)), actual)

    @rule(bucket=buckets, which=chances)
    def list_parts(self, bucket: str, which: int) -> None:
        if (names := self._upload_names(bucket, which)) is None:
            return
        actual = self.ask("list_parts", ("Parts",), Bucket=bucket, Key=names[0], UploadId=names[1])
        if "code" not in actual:
            actual = {"Parts": [(p["PartNumber"], p["ETag"], p["Size"]) for p in actual["Parts"] or ()]}
        self.same(answer_of(lambda: self.model.list_parts(bucket, *names)), actual)

    @rule(bucket=buckets, prefix=st.sampled_from(("", "a", "é")))
    def list_multipart_uploads(self, bucket: str, prefix: str) -> None:
        actual = self.ask("list_multipart_uploads", ("Uploads",), Bucket=bucket, Prefix=prefix)
        if "code" not in actual:
            found = [(upload["Key"], upload["UploadId"]) for upload in actual["Uploads"] or ()]
            actual = {"Uploads": sorted(found, key=lambda entry: (entry[0].encode(), entry[1]))}
        self.same(answer_of(lambda: self.model.list_multipart_uploads(bucket, prefix)), actual)

    @rule(bucket=buckets, which=chances)
    def abort_multipart_upload(self, bucket: str, which: int) -> None:
        if (names := self._upload_names(bucket, which)) is None:
            return
        actual = self.ask("abort_multipart_upload", (), Bucket=bucket, Key=names[0], UploadId=names[1])
        expected = answer_of(lambda: self.model.abort_multipart_upload(bucket, *names))
        self.same(expected, actual)
        self.ended.append((bucket, *names))

    @rule(
        bucket=buckets, which=st.integers(1, 9), how=chances, absent=chances,
        picked=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    )  # fmt: skip  # as above
    def complete_multipart_upload(self, bucket: str, which: int, how: int, absent: int, picked: list[int]) -> None:
        upload = self._upload(bucket, which)
        if upload is None:
            return
        numbers = sorted(upload.parts) if how >= 2 else picked
        named = [(number, _etag_in(upload, number)) for number in numbers]
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in named]
        actual = self.ask(
            "complete_multipart_upload", ("ETag", "VersionId", "Key", *_ENCRYPTION), Bucket=bucket, Key=upload.key,
            UploadId=upload.upload_id, MultipartUpload={"Parts": parts}, IfNoneMatch=None if absent else "*",
        )  # fmt: skip  # as above
        expected = answer_of(
            lambda: self.model.complete_multipart_upload(
                bucket, upload.key, upload.upload_id, named, if_none_match=not absent, given_id=actual.get("VersionId")
            )
        )
        self.same(expected, actual)


def _etag_in(upload: Upload, number: int) -> str:
    return etag_of(upload.parts.get(number, b"not there"))


def _listed(page: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = [("key", e["Key"], e["ETag"], e["Size"]) for e in page.get("Contents", ())]
    found += [("prefix", e["Prefix"]) for e in page.get("CommonPrefixes", ())]
    return sorted(found, key=lambda entry: entry[1].encode())


def _listed_versions(page: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = [
        ("version", e["Key"], e["VersionId"], e["IsLatest"], e["ETag"], e["Size"]) for e in page.get("Versions", ())
    ]
    found += [("marker", e["Key"], e["VersionId"], e["IsLatest"]) for e in page.get("DeleteMarkers", ())]
    found += [("prefix", e["Prefix"]) for e in page.get("CommonPrefixes", ())]
    return sorted(found, key=lambda entry: entry[1].encode())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, ground: Ground) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("model")
    with open_world(folder, ground.settings(folder)) as opened:
        yield opened


def test_the_gateway_and_the_dictionaries_agree(world: World, full: bool) -> None:
    Machine.world, Machine.steps, Machine.examples = world, 0, 0
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=FULL_EXAMPLES if full else EXAMPLES,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )
    print(f"{Machine.steps} requests in {Machine.examples} walks")
    assert Machine.steps >= (50_000 if full else 5_000)
