import asyncio
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from gateway.errors import MoveError
from gateway.moving import jobs, wire
from gateway.moving.bucket import Calls
from gateway.moving.bucket_target import BucketTarget
from gateway.moving.client import read_credentials, refused
from gateway.moving.endpoint import Endpoint, Patience
from gateway.moving.places import ItemChanged, ItemGone, Outgoing, PlaceFailed
from keys.errors import KeysError
from tests.gateway.moving.lying import BODY, Lying, lying_server
from tests.gateway.moving.moving import bring, give_up_soon, why
from tests.gateway.operations.stage import Stage

LIES = {
    "changed": "changed_at_the_source: the source changed it since it was listed",
    "cut": "failed: the source broke off",
    "error": "changed_at_the_source: the source has another length than it listed",
    "gone": "failed: the endpoint answered 404 NoSuchKey",
    "lengthless": "failed: the endpoint answers without ContentLength",
    "long": "changed_at_the_source: the source has another length than it listed",
    "metadata": "failed: MetadataTooLarge",
    "parts": "failed: the bytes of the source are not those of its ETag",
    "redirect": "",
    "tagged": "failed: the endpoint answers without Value",
    "short": "changed_at_the_source: the source has another length than it listed",
    "wrong-bytes": "failed: BadDigest",
}


@pytest.fixture
def lying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lying]:
    monkeypatch.setattr(jobs, "PAUSE_S", 0)
    with lying_server(tmp_path) as server:
        yield server


def test_a_source_that_lies_gives_no_object(stage: Stage, lying: Lying) -> None:
    lying.listed = sorted([*(key for key in LIES if key != "redirect"), "honest"])
    answer = bring(stage, "s3://source", **lying.place)
    assert stage.keys() == ["honest"]
    assert stage.body_of("honest") == BODY
    found = why(answer)
    assert set(found) == {key for key in LIES if key != "redirect"}
    for key, text in found.items():
        assert text.startswith(LIES[key]), (key, text)
    assert stage.alice.list_multipart_uploads(Bucket="bucket").get("Uploads", []) == []
    assert sum("/cut" in request for request in lying.requests) == jobs.ATTEMPTS


def _listing(keys: list[str], *, more: str = "") -> bytes:
    """As a server lists keys that no XML can hold."""
    entries = "".join(
        f"<Contents><Key>{quote(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{md5(BODY, usedforsecurity=False).hexdigest()}&quot;</ETag><Size>{len(BODY)}</Size></Contents>"
        for key in keys
    )
    told = f"<EncodingType>url</EncodingType><IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}"
    return f"<ListBucketResult>{told}{entries}</ListBucketResult>".encode()


NAMES = ["\t", "\n", "\x1b[2J", "a\u2028b", "x" * 1024, "ö" * 512]
NO_NAMES = ["a\0b", "y" * 1025, "é" * 513]


def test_hostile_names_come_as_they_are_or_not_at_all(stage: Stage, lying: Lying) -> None:
    """Never under another name: what a client library would make of `..` is asked for by nobody."""
    dots = ["..", "../x", "a/../b", "./c"]
    lying.listing = _listing(sorted([*NAMES, *NO_NAMES, *dots], key=str.encode))
    answer = bring(stage, "s3://source", **lying.place)
    assert answer["state"] == "done"
    there = set(stage.keys())
    assert set(NAMES) <= there <= {*NAMES, *dots}
    assert set(why(answer)) == {*NO_NAMES, *dots} - there
    assert all(stage.body_of(key) == BODY for key in NAMES)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_a_list_with_entities_stops_the_import(stage: Stage, lying: Lying, encoding: str) -> None:
    """Of 3 MB one would make 570 MB of memory."""
    entities = (
        f'<!DOCTYPE x [<!ENTITY a "{"a" * 30_000}">]><ListBucketResult><Name>{"&a;" * 90}</Name></ListBucketResult>'
    )
    lying.listing = f'<?xml version="1.0" encoding="{encoding}"?>{entities}'.encode(encoding)
    answer = bring(stage, "s3://source", **lying.place)
    assert answer["state"] == "stopped"


def test_times_at_the_end_of_the_calendar_move_nothing_away(stage: Stage, lying: Lying) -> None:
    lying.listing = _listing(["a"]).replace(b"2026-01-01T00:00:00.000Z", b"9999-12-31T23:59:59-12:00")
    assert bring(stage, "s3://source", **lying.place)["moved"] == 1


def test_a_listing_without_end_stops_the_import(stage: Stage, lying: Lying) -> None:
    lying.listing = _listing(["a", "b"], more="<NextContinuationToken>again</NextContinuationToken>")
    answer = bring(stage, "s3://source", **lying.place)
    assert answer["state"] == "stopped"
    assert set(stage.keys()) <= {"a", "b"}
    assert sum("list-type" in request for request in lying.requests) == 2


def test_a_move_that_did_not_end_is_told_with_what_was_asked_otherwise(stage: Stage, lying: Lying) -> None:
    lying.listed = ["a", "redirect"]
    asked = {"parallel": 1, **lying.place}
    stopped = bring(stage, "s3://source", **asked)
    assert (stopped["state"], stopped["moved"]) == ("stopped", 1)
    with pytest.raises(PlaceFailed, match=r"s3://source.* other --update: .*--restart"):
        bring(stage, "s3://source", update=True, **asked)
    with pytest.raises(PlaceFailed, match=r"s3://source.* other --endpoint, source or target: "):
        bring(stage, "s3://sauce", **asked | {"endpoint": "https://localhost:1"})


def test_a_certificate_that_is_not_trusted_is_told_with_the_flag_for_it(stage: Stage, lying: Lying) -> None:
    answer = bring(stage, "s3://source", **lying.place | {"ca_file": ""})
    assert answer["state"] == "stopped"
    assert "--ca-file" in answer["problem"]


def test_an_answer_without_a_code_is_told_by_its_status_alone() -> None:
    error = ClientError({"Error": {"Code": "404"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "HeadObject")
    assert str(refused(error)) == "the endpoint answered 404"


def test_a_bucket_that_is_not_there_is_named_before_anything_is_written(
    lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(self: Any, _call: str) -> Any:
        raise ItemGone("the endpoint answered 404")

    async def test() -> None:
        place = lying.place
        endpoint = Endpoint(
            place["endpoint"], "none", "", "us-east-1", Path(place["ca_file"]), Path(place["credentials"]), "default"
        )
        target = BucketTarget(endpoint, 1, Patience(), versions=False)
        try:
            with pytest.raises(PlaceFailed, match="make the bucket there first"):
                await target.check()
        finally:
            await target.close()

    monkeypatch.setattr(Calls, "ask", gone)
    asyncio.run(test())


def test_a_source_that_drips_is_given_up(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte ends one wait and begins the next: 21,000 of them would take minutes."""
    give_up_soon(monkeypatch)
    lying.listed = ["drip", "honest"]
    answer = bring(stage, "s3://source", **lying.place)
    assert why(answer) == {"drip": "failed: the source broke off (ReadTimeoutError)"}
    assert sum("/drip" in request for request in lying.requests) == jobs.ATTEMPTS
    assert stage.keys() == ["honest"]


def test_a_list_that_drips_stops_the_import(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    give_up_soon(monkeypatch)
    lying.listed = [f"{number:04}" for number in range(200)]
    lying.lists_slowly = True
    answer = bring(stage, "s3://source", **lying.place)
    assert (answer["state"], answer["moved"]) == ("stopped", 0)
    assert "cannot be listed" in answer["problem"]
    lying.lists_slowly = False
    assert bring(stage, "s3://source", **lying.place)["moved"] == 200


def test_a_page_of_the_list_has_a_greatest_length(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_DOCUMENT_BYTES", 100_000)
    lying.listing = _listing(["a" * 1000] * 1000)
    answer = bring(stage, "s3://source", **lying.place)
    assert "the endpoint's answer is longer than 100000 bytes" in answer["problem"]
    assert stage.keys() == []
    # An object is not a document.
    lying.listing, lying.listed = None, ["large"]
    assert "the source has another length" in why(bring(stage, "s3://source", **lying.place))["large"]


def test_an_etag_that_is_no_md5_proves_nothing_and_refuses_nothing(stage: Stage, lying: Lying) -> None:
    lying.listed = ["honest", "kms"]
    answer = bring(stage, "s3://source", **lying.place)
    assert (answer["moved"], answer["unproven"]) == (2, 1)
    assert stage.body_of("kms") == BODY[::-1]


def test_no_redirect_is_followed(stage: Stage, lying: Lying, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with lying_server(tmp_path / "other") as other:
        lying.elsewhere = other.url
        lying.listed = ["redirect"]
        answer = bring(stage, "s3://source", **{**lying.place, "ca_file": str(lying.ca_file)})
        assert answer["state"] == "stopped"
        assert "307" in answer["problem"]
        assert other.requests == []


@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a", "b", "b"]])
def test_a_list_out_of_order_stops_the_import(stage: Stage, lying: Lying, keys: list[str]) -> None:
    lying.listed = keys
    assert bring(stage, "s3://source", **lying.place)["state"] == "stopped"


@pytest.mark.parametrize("listing", [b"no XML", b"<ListBucketResult><Contents/></ListBucketResult>", b"<a/>"])
def test_a_list_that_is_none_moves_nothing(stage: Stage, lying: Lying, listing: bytes) -> None:
    lying.listing = listing
    answer = bring(stage, "s3://source", **lying.place)
    assert answer["moved"] == 0
    assert stage.keys() == []


def test_the_other_side_must_be_who_it_says(stage: Stage, lying: Lying, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with lying_server(tmp_path / "other") as other:
        answer = bring(stage, "s3://source", **{**lying.place, "ca_file": str(other.ca_file)})
    assert (answer["state"], answer["moved"]) == ("stopped", 0)
    assert lying.requests == []
    with pytest.raises(MoveError, match="https"):
        bring(stage, "s3://source", restart=True, **{**lying.place, "endpoint": lying.url.replace("https", "http")})


def test_credentials_come_from_a_closed_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text("[one]\naws_access_key_id=A\naws_secret_access_key=B\naws_session_token=C\n[two]\nregion=x\n")
    path.chmod(0o644)
    with pytest.raises(KeysError):
        read_credentials(path, "one")
    path.chmod(0o600)
    key = read_credentials(path, "one")
    assert (key.access_key_id, key.secret_access_key, key.session_token) == ("A", "B", "C")
    assert "B" not in repr(key)
    for profile in ("two", "three"):
        with pytest.raises(MoveError):
            read_credentials(path, profile)
    path.write_text("export AWS_ACCESS_KEY_ID='A'\nexport AWS_SECRET_ACCESS_KEY='b c'\n")
    assert read_credentials(path, "default").secret_access_key == "b c"


def test_nothing_of_the_machine_is_asked(
    stage: Stage, lying: Lying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[default]\nregion = nowhere\ns3 =\n  addressing_style = virtual\n")
    for name, value in {
        "AWS_PROFILE": "none",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_CA_BUNDLE": str(tmp_path / "none"),
        "AWS_ENDPOINT_URL": "https://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "wrong",
        "HTTPS_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    lying.listed = ["honest"]
    assert bring(stage, "s3://source", **lying.place)["moved"] == 1


class _Held(BucketTarget):
    """A target whose bucket holds these versions, the oldest first."""

    def __init__(self, *there: tuple[int | None, str]) -> None:
        self._held = list(there)

    async def _there(self, outgoing: Outgoing) -> tuple[list[tuple[int | None, str]], Any]:
        assert outgoing.object_key == b"key"
        return self._held, None


def _version(number: int, *, is_delete_marker: bool = False) -> Outgoing:
    etag = f"{number:032}"
    return Outgoing(b"key", 1, f"{number}", etag, True, datetime.now(UTC), is_delete_marker)


async def _unread(offset: int, length: int) -> AsyncGenerator[bytes]:
    assert (offset, length) == (0, 1)
    yield b"?"


def test_a_target_is_compared_version_by_version() -> None:
    first, marker = _version(1), _version(2, is_delete_marker=True)
    both = _Held((1, first.etag), (None, ""))

    def holds(target: _Held, outgoing: Outgoing, index: int, count: int = 3) -> int:
        return asyncio.run(target.holds(outgoing, index, count, _unread))

    assert holds(_Held(), first, 0) == 0
    assert holds(both, first, 0) == 2
    assert holds(both, marker, 1) == 2
    assert holds(both, _version(3), 2) == 2, "it is the next one"
    for outgoing, index, count in ((marker, 0, 3), (first, 1, 3), (_version(9), 0, 3), (first, 0, 1)):
        with pytest.raises(ItemChanged):
            holds(both, outgoing, index, count)
