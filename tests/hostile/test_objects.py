"""Ranges, conditions and copies, attacked: H81 to H96 of the hostile inputs."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from tests.hostile.signing import Pairs, Shot
from tests.hostile.stage import BIG, Row, Stage, cpu, is_refusal, listening

KEEP: Final = "/alice-1/keep"
BIG_KEY: Final = "/alice-1/big"
NEW: Final = "/alice-1/new"
ARGUMENT: Final = "InvalidArgument"
CHUNK: Final = 16_384


def ranged(stage: Stage, value: str, target: str = BIG_KEY) -> Shot:
    return stage.alice.header("GET", target, headers=[("Range", value)])


def unsatisfiable(value: str, target: str = BIG_KEY) -> Row:
    return Row(lambda s: ranged(s, value, target), 416, "InvalidRange")


def put(status: int, code: str, *headers: tuple[str, str], target: str = KEEP) -> Row:
    return Row(lambda s: s.alice.header("PUT", target, b"lost", headers), status, code)


def copy(source: str, status: int = 400, code: str = ARGUMENT, more: Pairs = (), target: str = NEW) -> Row:
    return Row(lambda s: s.alice.header("PUT", target, b"", [("x-amz-copy-source", source), *more]), status, code)


def part_copy(source: str, status: int, code: str, more: Pairs = ()) -> Row:
    def make(stage: Stage) -> Shot:
        target = f"/alice-1/alice-upload?partNumber=2&uploadId={stage.ids['alice']}"
        return stage.alice.header("PUT", target, b"", [("x-amz-copy-source", source), *more])

    return Row(make, status, code)


SOURCES: Final = {
    "empty": "",
    "slash": "/",
    "bucket-alone": "alice-1",
    "bucket-and-slash": "alice-1/",
    "broken-escape": "alice-1/%ZZ",
    "address": "192.168.1.1/x",
    "dot-dot": "../mallory-1/keep",
    "dot-dot-inside": "alice-1/..%2fmallory-1/keep",
    "dot-dot-plain": "alice-1/../mallory-1/keep",
    "two-slashes": "//mallory-1/keep",
    "url": "http://169.254.169.254/latest/meta-data",
    "https-url": "https://localhost/alice-1/keep",
    "arn": "arn:aws:s3:::alice-1/keep",
    "nul": "alice-1/a%00b",
    "not-utf-8": "alice-1/%FF",
    "capital-bucket": "Alice-1/keep",
    "unknown-query": "alice-1/keep?foo=bar",
    "version-twice": "alice-1/keep?versionId=a&versionId=b",
    "empty-version": "alice-1/keep?versionId=",
    "query-alone": "?versionId=a",
    "key-too-long": "alice-1/" + "k" * 1025,
}


ROWS: Final = {
    "H81-suffix-0": unsatisfiable("bytes=-0"),
    "H81-at-the-end": unsatisfiable(f"bytes={len(BIG)}-"),
    "H81-behind-the-end": unsatisfiable(f"bytes={len(BIG) + 1}-{len(BIG) + 9}"),
    "H81-empty-object-first": unsatisfiable("bytes=0-0", "/alice-1/empty"),
    "H81-empty-object-suffix": unsatisfiable("bytes=-1", "/alice-1/empty"),
    "H83-30-digits": unsatisfiable(f"bytes={'9' * 30}-"),
    "H83-5000-digits": unsatisfiable(f"bytes={'9' * 5000}-"),
    "H83-2-to-the-64": unsatisfiable(f"bytes={2**64}-"),
    "part-number-2-of-one": Row(lambda s: s.alice.header("GET", f"{KEEP}?partNumber=2"), 416, "InvalidPartNumber"),
    "part-number-and-range": Row(
        lambda s: s.alice.header("GET", f"{KEEP}?partNumber=1", headers=[("Range", "bytes=0-1")]), 400, "InvalidRequest"
    ),
    "H87-none-match-star": put(412, "PreconditionFailed", ("If-None-Match", "*")),
    "H87-match-wrong": put(412, "PreconditionFailed", ("If-Match", '"0"')),
    "H87-match-on-missing": put(404, "NoSuchKey", ("If-Match", '"0"'), target=NEW),
    "H87-match-star-on-missing": put(404, "NoSuchKey", ("If-Match", "*"), target=NEW),
    "H87-none-match-etag": put(501, "NotImplemented", ("If-None-Match", '"0"')),
    "H87-none-match-list": put(501, "NotImplemented", ("If-None-Match", '*, "0"')),
    "H87-none-match-quoted-star": put(501, "NotImplemented", ("If-None-Match", '"*"')),
    "H87-both": put(501, "NotImplemented", ("If-None-Match", "*"), ("If-Match", '"0"')),
    "H87-none-match-twice": put(400, ARGUMENT, ("If-None-Match", "*"), ("If-None-Match", '"0"')),
    "H87-match-list": put(501, "NotImplemented", ("If-Match", '"0", "1"')),
    "H87-empty-match": put(501, "NotImplemented", ("If-Match", "")),
    "H87-modified-since": put(501, "NotImplemented", ("If-Modified-Since", "Sun, 22 Nov 2020 08:00:00 GMT")),
    "H87-unmodified-since": put(501, "NotImplemented", ("If-Unmodified-Since", "Sun, 22 Nov 2020 08:00:00 GMT")),
    "H87-weak-match": put(501, "NotImplemented", ("If-Match", 'W/"0"')),
    "H87-delete-match-wrong": Row(
        lambda s: s.alice.header("DELETE", KEEP, headers=[("If-Match", '"0"')]), 412, "PreconditionFailed"
    ),
    "H87-delete-none-match": Row(
        lambda s: s.alice.header("DELETE", KEEP, headers=[("If-None-Match", "*")]), 501, "NotImplemented"
    ),
    "H87-delete-match-size": Row(
        lambda s: s.alice.header("DELETE", KEEP, headers=[("x-amz-if-match-size", "4")]), 501, "NotImplemented"
    ),
    "H87-copy-none-match-star": copy("/alice-1/big", 412, "PreconditionFailed", [("If-None-Match", "*")], KEEP),
    "H90-match-wrong": Row(
        lambda s: s.alice.header("GET", KEEP, headers=[("If-Match", '"0"')]), 412, "PreconditionFailed"
    ),
    "H90-none-match-star": Row(
        lambda s: s.alice.header("GET", KEEP, headers=[("If-None-Match", "*")]), 304, "NotModified"
    ),
    "H90-unmodified-since": Row(
        lambda s: s.alice.header("GET", KEEP, headers=[("If-Unmodified-Since", "Sun, 22 Nov 2020 08:00:00 GMT")]),
        412, "PreconditionFailed",
    ),
    "H90-modified-since": Row(
        lambda s: s.alice.header("HEAD", KEEP, headers=[("If-Modified-Since", "Sun, 22 Nov 2099 08:00:00 GMT")]),
        304, "NotModified",
    ),
    **{f"H91-{name}": copy(source) for name, source in SOURCES.items()},
    **{f"H91-part-{name}": part_copy(source, 400, ARGUMENT) for name, source in SOURCES.items()},
    "H91-missing-key": copy("alice-1/absent", 404, "NoSuchKey"),
    "H91-missing-bucket": copy("nobody-has-this/keep", 404, "NoSuchBucket"),
    "H92-encoded-question-mark-is-of-the-key": copy("alice-1/keep%3FversionId=null", 404, "NoSuchKey"),
    "H92-encoded-twice": copy("alice-1/keep%253FversionId=null", 404, "NoSuchKey"),
    "H92-version": copy("alice-1/keep?versionId=abc"),
    "H93-anothers-object": copy("mallory-1/keep", 403, "AccessDenied"),
    "H93-anothers-missing-object": copy("mallory-1/absent", 403, "AccessDenied"),
    "H93-anothers-object-encoded": copy("mallory-1%2Fkeep", 403, "AccessDenied"),
    "H93-anothers-object-as-part": part_copy("mallory-1/keep", 403, "AccessDenied"),
    "H93-anothers-object-as-part-with-range": part_copy(
        "/mallory-1/big", 403, "AccessDenied", [("x-amz-copy-source-range", "bytes=0-1")]
    ),
    "H93-anothers-object-with-conditions": copy(
        "/mallory-1/big", 403, "AccessDenied", [("x-amz-copy-source-if-match", '"0"')]
    ),
    "H93-into-anothers-bucket": copy("/alice-1/keep", 403, "AccessDenied", target="/mallory-1/keep"),
    "H94-onto-itself": copy("/alice-1/keep", 400, "InvalidRequest", target=KEEP),
    "H94-onto-itself-encoded": copy("/alice-1/%6beep", 400, "InvalidRequest", target=KEEP),
    "H94-directive-unknown": copy("/alice-1/keep", 400, ARGUMENT, [("x-amz-metadata-directive", "MERGE")]),
    "H95-on-get": Row(
        lambda s: s.alice.header("GET", KEEP, headers=[("x-amz-copy-source", "/alice-1/big")]), 400, ARGUMENT
    ),
    "H95-on-delete": Row(
        lambda s: s.alice.header("DELETE", KEEP, headers=[("x-amz-copy-source", "/alice-1/big")]), 400, ARGUMENT
    ),
    "H95-on-bucket": Row(
        lambda s: s.alice.header("PUT", "/alice-3", headers=[("x-amz-copy-source", "/alice-1/big")]), 400, ARGUMENT
    ),
    "H95-on-create-upload": Row(
        lambda s: s.alice.header("POST", "/alice-1/x?uploads=", headers=[("x-amz-copy-source", "/alice-1/big")]),
        400, ARGUMENT,
    ),
    "H95-two": Row(
        lambda s: s.alice.header(
            "PUT", NEW, headers=[("x-amz-copy-source", "/alice-1/big"), ("x-amz-copy-source", "/mallory-1/big")]
        ), 400, ARGUMENT,
    ),
    "H95-in-query-and-header": Row(
        lambda s: s.alice.header(
            "PUT", f"{NEW}?x-amz-copy-source=mallory-1%2Fbig", headers=[("x-amz-copy-source", "/alice-1/big")]
        ), 400, ARGUMENT,
    ),
    "H95-in-query-of-another": Row(
        lambda s: s.alice.header("PUT", f"{NEW}?x-amz-copy-source=mallory-1%2Fbig"), 403, "AccessDenied"
    ),
    "H96-beyond": part_copy("/alice-1/keep", 400, ARGUMENT, [("x-amz-copy-source-range", "bytes=0-4")]),
    "H96-open": part_copy("/alice-1/keep", 400, ARGUMENT, [("x-amz-copy-source-range", "bytes=0-")]),
    "H96-suffix": part_copy("/alice-1/keep", 400, ARGUMENT, [("x-amz-copy-source-range", "bytes=-1")]),
    "H96-backwards": part_copy("/alice-1/keep", 400, ARGUMENT, [("x-amz-copy-source-range", "bytes=3-1")]),
    "H96-30-digits": part_copy("/alice-1/keep", 400, ARGUMENT, [("x-amz-copy-source-range", f"bytes=0-{'9' * 30}")]),
    "H96-two": part_copy("/alice-1/keep", 400, ARGUMENT, [("x-amz-copy-source-range", "bytes=0-1,2-3")]),
    "H96-empty-source": part_copy("/alice-1/empty", 400, ARGUMENT, [("x-amz-copy-source-range", "bytes=0-0")]),
    "copy-source-condition": copy(
        "/alice-1/keep", 412, "PreconditionFailed", [("x-amz-copy-source-if-match", '"0"')]
    ),
    "copy-source-sse-c": copy(
        "/alice-1/keep", 400, "InvalidArgument",
        [("x-amz-copy-source-server-side-encryption-customer-algorithm", "AES256")],
    ),
    "rename": Row(
        lambda s: s.alice.header(
            "PUT", f"{NEW}?renameObject=", headers=[("x-amz-rename-source", "/alice-1/keep")]
        ), 501, "NotImplemented",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_refused_and_nothing_changed(stage: Stage, name: str) -> None:
    stage.refuses(ROWS[name])


IGNORED: Final = {
    "backwards": "bytes=10-5",
    "abc": "abc",
    "unit": "foo=0-1",
    "two": "bytes=0-0,1-2",
    "blank": "bytes=0 -1",
    "negative": "bytes=-1-1",
    "hex": "bytes=0x0-0x1",
    "other-digits": "bytes=\xb2-\xb3",
    "empty": "bytes=",
    "dash": "bytes=-",
    "plus": "bytes=+1-2",
}


@pytest.mark.parametrize("name", IGNORED, ids="H82-{}".format)
def test_h82_a_bad_range_is_no_range(stage: Stage, name: str) -> None:
    answer = stage.send(ranged(stage, IGNORED[name]))
    assert (answer.status, answer.body) == (200, BIG)
    assert "content-range" not in answer.headers


def test_h84_five_thousand_ranges_cost_nothing(stage: Stage) -> None:
    many = "bytes=" + ",".join(["0-"] * 5000)
    began = cpu(stage)
    for _ in range(20):
        answer = stage.send(ranged(stage, many))
        assert (answer.status, answer.body) == (200, BIG)
    assert cpu(stage) - began < 20 * 0.02, "10 ms each, with all that a read costs besides"
    tail = "bytes=0-" + "0" * 12_000 + "-"
    assert stage.send(ranged(stage, tail)).status == 200


@pytest.mark.parametrize("first", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK - 1, 3 * CHUNK, len(BIG) - 1])
def test_h83_and_h86_ranges_at_the_edges_of_chunks(stage: Stage, first: int) -> None:
    for last in (first, first + 1, first + CHUNK - 1, first + CHUNK, len(BIG) - 1, len(BIG), 10**30):
        answer = stage.send(ranged(stage, f"bytes={first}-{last}"))
        end = min(last, len(BIG) - 1)
        assert (answer.status, answer.body) == (206, BIG[first : end + 1]), (first, last)
        assert answer.headers["content-range"] == f"bytes {first}-{end}/{len(BIG)}"
    answer = stage.send(ranged(stage, f"bytes=-{first + 1}"))
    assert (answer.status, answer.body) == (206, BIG[-first - 1 :])


def test_h88_a_hundred_creators_and_one_wins(stage: Stage) -> None:
    def create(number: int) -> int:
        body = b"%d" % number * 1000
        return stage.send(stage.alice.header("PUT", "/alice-2/lock", body, [("If-None-Match", "*")])).status

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(create, range(100)))
    assert outcomes.count(200) == 1
    assert set(outcomes) <= {200, 409, 412}
    stage.gone(stage.alice, "/alice-2/lock")


def test_h91_a_copy_source_makes_no_connection(stage: Stage) -> None:
    with listening() as (port, callers):
        for source in (f"http://127.0.0.1:{port}/x", f"127.0.0.1:{port}/x", f"//127.0.0.1:{port}/x"):
            answer = stage.send(stage.alice.header("PUT", NEW, headers=[("x-amz-copy-source", source)]))
            is_refusal(answer, 400, ARGUMENT)
    assert callers == []
    stage.unchanged()


def test_ranges_across_parts_and_a_copy_of_them(stage: Stage) -> None:
    who = stage.alice
    whole = bytes(range(256)) * 20 * 1024 + b"tail"
    cut = 5 * 1024 * 1024
    upload = stage.send(who.header("POST", "/alice-2/parts?uploads=")).text("UploadId")
    etags = [
        stage.send(who.header("PUT", f"/alice-2/parts?partNumber={number}&uploadId={upload}", piece)).headers["etag"]
        for number, piece in enumerate((whole[:cut], whole[cut:]), start=1)
    ]
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in enumerate(etags, 1)
    )
    document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    assert stage.send(who.header("POST", f"/alice-2/parts?uploadId={upload}", document)).status == 200
    for first, last in ((cut - 1, cut - 1), (cut - 1, cut), (cut, cut), (cut - CHUNK - 1, cut + 3), (cut + 3, cut + 9)):
        answer = stage.send(ranged(stage, f"bytes={first}-{last}", "/alice-2/parts"))
        assert (answer.status, answer.body) == (206, whole[first : last + 1])
    stage.gone(who, "/alice-2/parts")
