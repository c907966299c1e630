"""ListObjects and ListObjectsV2: order, pages, groups, encodings, tokens."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.operations.stage import Stage, headers_of, make_stage, refused, status_of

TREE = ["a", "b/1", "b/2", "b/c/3", "b/c/4", "d", "e/5", "f"]


@pytest.fixture
def tree(stage: Stage) -> Stage:
    for key in TREE:
        stage.put(key, key.encode())
    return stage


def names(page: dict[str, Any]) -> list[str]:
    groups = [group["Prefix"] for group in page.get("CommonPrefixes", [])]
    return sorted([entry["Key"] for entry in page.get("Contents", [])] + groups)


def test_an_empty_bucket(stage: Stage) -> None:
    page = stage.alice.list_objects_v2(Bucket="bucket")
    assert (status_of(page), page["KeyCount"], page["IsTruncated"], page["MaxKeys"]) == (200, 0, False, 1000)
    assert headers_of(page)["content-type"] == "application/xml"
    assert "Contents" not in page
    old = stage.alice.list_objects(Bucket="bucket")
    assert (old["Marker"], old["IsTruncated"]) == ("", False)


def test_an_entry_says_what_head_says(stage: Stage) -> None:
    put = stage.put("k", b"12345", ChecksumAlgorithm="SHA256")
    (entry,) = stage.alice.list_objects_v2(Bucket="bucket")["Contents"]
    head = stage.alice.head_object(Bucket="bucket", Key="k")
    assert (entry["Size"], entry["ETag"], entry["StorageClass"]) == (5, put["ETag"], "STANDARD")
    assert entry["LastModified"].replace(microsecond=0) == head["LastModified"]
    assert (entry["ChecksumAlgorithm"], entry["ChecksumType"]) == (["SHA256"], "FULL_OBJECT")
    assert "Owner" not in entry
    (owned,) = stage.alice.list_objects_v2(Bucket="bucket", FetchOwner=True)["Contents"]
    (always,) = stage.alice.list_objects(Bucket="bucket")["Contents"]
    assert owned["Owner"] == always["Owner"]
    assert owned["Owner"]["ID"] == stage.rig.account.account_id.hex()


def test_keys_sort_as_bytes(stage: Stage) -> None:
    keys = ["z", "Z", "é", "\uffff", "😀", "a b", "a+b", "a/b", "a"]
    for key in keys:
        stage.put(key)
    assert stage.keys() == sorted(keys, key=lambda key: key.encode())


@pytest.mark.parametrize("method", ["list_objects", "list_objects_v2"])
def test_a_delimiter_groups_and_groups_count(tree: Stage, method: str) -> None:
    call = getattr(tree.alice, method)
    page = call(Bucket="bucket", Delimiter="/")
    assert [entry["Key"] for entry in page["Contents"]] == ["a", "d", "f"]
    assert [group["Prefix"] for group in page["CommonPrefixes"]] == ["b/", "e/"]
    assert page.get("KeyCount", 5) == 5
    inner = call(Bucket="bucket", Delimiter="/", Prefix="b/")
    assert names(inner) == ["b/1", "b/2", "b/c/"]
    short = call(Bucket="bucket", Delimiter="/", MaxKeys=2)
    assert (names(short), short["IsTruncated"]) == (["a", "b/"], True)
    assert names(call(Bucket="bucket", Prefix="b/c/")) == ["b/c/3", "b/c/4"]
    assert names(call(Bucket="bucket", Prefix="nothing")) == []


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_pages_of_version_2_meet(tree: Stage, size: int, delimiter: str) -> None:
    whole = names(tree.alice.list_objects_v2(Bucket="bucket", Delimiter=delimiter))
    arguments = {"Bucket": "bucket", "MaxKeys": size, "Delimiter": delimiter}
    seen: list[str] = []
    page = tree.alice.list_objects_v2(**arguments)
    while True:
        assert page["KeyCount"] <= size
        seen += names(page)
        if not page["IsTruncated"]:
            break
        token = page["NextContinuationToken"]
        page = tree.alice.list_objects_v2(**arguments, ContinuationToken=token)
        assert page["ContinuationToken"] == token
    assert "NextContinuationToken" not in page
    assert seen == whole


def test_version_1_goes_on_from_marker_and_names_the_next_only_with_a_delimiter(tree: Stage) -> None:
    plain = tree.alice.list_objects(Bucket="bucket", MaxKeys=2)
    assert (plain["IsTruncated"], "NextMarker" in plain) == (True, False)
    rest = tree.alice.list_objects(Bucket="bucket", Marker=plain["Contents"][-1]["Key"])
    assert rest["Marker"] == "b/1"
    assert names(plain) + names(rest) == TREE
    grouped = tree.alice.list_objects(Bucket="bucket", MaxKeys=2, Delimiter="/")
    assert grouped["NextMarker"] == "b/"
    after = tree.alice.list_objects(Bucket="bucket", Marker="b/", Delimiter="/")
    assert (names(after), after["IsTruncated"], "NextMarker" in after) == (["d", "e/", "f"], False, False)


def test_start_after_is_exclusive_and_gives_way_to_a_token(tree: Stage) -> None:
    page = tree.alice.list_objects_v2(Bucket="bucket", StartAfter="b/c/3", MaxKeys=1)
    assert (names(page), page["StartAfter"]) == (["b/c/4"], "b/c/3")
    following = tree.alice.list_objects_v2(
        Bucket="bucket", StartAfter="a", ContinuationToken=page["NextContinuationToken"]
    )
    assert names(following) == ["d", "e/5", "f"]


@pytest.mark.parametrize("method", ["list_objects", "list_objects_v2"])
def test_no_keys_asked_for_are_none_and_not_truncated(tree: Stage, method: str) -> None:
    page = getattr(tree.alice, method)(Bucket="bucket", MaxKeys=0)
    assert (names(page), page["IsTruncated"], page["MaxKeys"]) == ([], False, 0)


def test_more_than_1000_means_1000(tree: Stage) -> None:
    page = tree.alice.list_objects_v2(Bucket="bucket", MaxKeys=5000)
    assert (page["MaxKeys"], page["KeyCount"]) == (1000, len(TREE))


@pytest.mark.parametrize("kind", ["", "list-type=2&"])
@pytest.mark.parametrize("asked", ["max-keys=x", "max-keys=-1", "max-keys=1e3", "encoding-type=base64"])
def test_what_is_no_number_or_encoding_is_refused(stage: Stage, kind: str, asked: str) -> None:
    answer = stage.raw("GET", f"/bucket?{kind}{asked}")
    assert (answer.status, b"<Code>InvalidArgument</Code>" in answer.body) == (400, True)


def test_names_are_url_encoded_on_request_and_tokens_never(stage: Stage) -> None:
    for key in ("a b+c/d%e", "a b+c/é"):
        stage.put(key)
    target = "/bucket?encoding-type=url&delimiter=%2F&list-type=2&start-after=a%20a&prefix=a%20b%2B&max-keys=1"
    text = stage.raw("GET", target).body.decode()
    assert "<EncodingType>url</EncodingType>" in text
    assert "<Prefix>a%20b%2B</Prefix>" in text
    assert "<StartAfter>a%20a</StartAfter>" in text
    assert "<CommonPrefixes><Prefix>a%20b%2Bc/</Prefix></CommonPrefixes>" in text
    keys = stage.raw("GET", "/bucket?encoding-type=url&marker=a%20b&delimiter=%25").body.decode()
    assert "<Marker>a%20b</Marker>" in keys
    assert "<Delimiter>%25</Delimiter>" in keys
    assert "<Prefix>a%20b%2Bc/d%25</Prefix>" in keys
    assert "<Key>a%20b%2Bc/%C3%A9</Key>" in keys
    assert stage.keys() == ["a b+c/d%e", "a b+c/é"]


def test_a_token_is_good_for_its_bucket_alone_and_only_as_it_is(tree: Stage) -> None:
    tree.alice.create_bucket(Bucket="other")
    token = tree.alice.list_objects_v2(Bucket="bucket", MaxKeys=1)["NextContinuationToken"]
    for bucket, wrong in (("other", token), ("bucket", token[:-4]), ("bucket", "b/1"), ("bucket", token * 100)):
        error = refused(tree.alice.list_objects_v2, 400, "InvalidArgument", Bucket=bucket, ContinuationToken=wrong)
        assert error["ArgumentName"] == "continuation-token"
    buckets = tree.alice.list_buckets(MaxBuckets=1)["ContinuationToken"]
    refused(tree.alice.list_objects_v2, 400, "InvalidArgument", Bucket="bucket", ContinuationToken=buckets)


def test_every_altered_token_is_refused(tree: Stage) -> None:
    cursors, scope = tree.services.cursors, b"s" * 16
    token = cursors.seal(b"position", scope)
    assert cursors.open(token, scope) == b"position"
    assert "position" not in token
    for index in range(len(token)):
        altered = token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :]
        with pytest.raises(Exception, match="InvalidArgument"):
            cursors.open(altered, scope)
    with pytest.raises(Exception, match="InvalidArgument"):
        cursors.open(token, b"t" * 16)
    assert cursors.seal(b"position", scope) != token


def test_an_absent_bucket_has_no_listing(stage: Stage) -> None:
    for method in ("list_objects", "list_objects_v2"):
        refused(getattr(stage.alice, method), 404, "NoSuchBucket", Bucket="no-such")


def test_what_is_deleted_or_put_shows_at_once(stage: Stage) -> None:
    stage.put("k", b"1")
    stage.put("k", b"22")
    assert [entry["Size"] for entry in stage.alice.list_objects_v2(Bucket="bucket")["Contents"]] == [2]
    stage.alice.delete_object(Bucket="bucket", Key="k")
    assert stage.keys() == []


KEYS = st.sets(st.text("ab/é+", min_size=1, max_size=5), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(KEYS, st.text("ab/", max_size=2), st.sampled_from(["", "/", "a", "é+"]), st.integers(1, 4))
def test_pages_equal_a_plain_reading_of_the_rules(keys: set[str], prefix: str, delimiter: str, size: int) -> None:
    expected = set()
    for key in keys:
        if key.startswith(prefix):
            found = key.find(delimiter, len(prefix)) if delimiter else -1
            expected.add(key if found < 0 else key[: found + len(delimiter)])
    with make_stage() as stage:
        for key in sorted(keys):
            stage.put(key, b"")
        pages = stage.alice.get_paginator("list_objects_v2").paginate(
            Bucket="bucket", Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
        )
        seen = [name for page in pages for name in sorted(names(page), key=str.encode)]
        old = stage.alice.get_paginator("list_objects").paginate(
            Bucket="bucket", Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
        )
        seen_by_1 = [name for page in old for name in sorted(names(page), key=str.encode)]
    assert seen == sorted(expected, key=str.encode)
    assert seen_by_1 == seen
