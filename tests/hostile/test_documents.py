"""XML documents and multipart uploads, attacked: H63 to H80 of the hostile inputs."""

import base64
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import quote

import pytest

from tests.hostile.signing import Pairs, Shot, Signer
from tests.hostile.stage import BIG, Row, Stage, is_refusal, listening

XML: Final = "MalformedXML"
ARGUMENT: Final = "InvalidArgument"
GONE: Final = "NoSuchUpload"
MIB: Final = 1024 * 1024
NAMESPACE: Final = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def md5(body: bytes) -> tuple[str, str]:
    return "Content-MD5", base64.b64encode(hashlib.md5(body).digest()).decode()


def deleting(body: bytes, *, target: str = "/alice-1?delete=", headers: Pairs | None = None) -> Callable[[Stage], Shot]:
    return lambda s: s.alice.header("POST", target, body, [md5(body)] if headers is None else headers)


def delete(body: bytes, status: int = 400, code: str = XML) -> Row:
    return Row(deleting(body), status, code)


def keys(*names: bytes) -> bytes:
    return b"<Delete>" + b"".join(b"<Object><Key>%s</Key></Object>" % name for name in names) + b"</Delete>"


def completing(body: bytes, headers: Pairs = ()) -> Callable[[Stage], Shot]:
    def make(stage: Stage) -> Shot:
        document = body.replace(b"ETAG", stage.ids["alice etag"].strip('"').encode())
        return stage.alice.header("POST", f"/alice-1/alice-upload?uploadId={stage.ids['alice']}", document, headers)

    return make


def complete(body: bytes, status: int = 400, code: str = XML, headers: Pairs = ()) -> Row:
    return Row(completing(body, headers), status, code)


def parts(*listed: tuple[str, str]) -> bytes:
    inner = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in listed)
    return f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>".encode()


def part_numbered(text: str) -> Callable[[Stage], Shot]:
    return lambda s: s.alice.header("PUT", f"/alice-1/alice-upload?partNumber={text}&uploadId={s.ids['alice']}", b"x")


UPLOAD_IDS: Final = {
    "unknown": "0" * 32,
    "empty": "",
    "dots": "..%2F..%2Fetc%2Fpasswd",
    "10-kilobytes": "a" * 10_000,
    "not-hex": "z" * 32,
    "unicode": "%E2%82%AC" * 10,
    "blanks-in-hex": "00%2000" * 6,
    "wildcard": "%25",
    "sql": "%27%20OR%201%3D1--",
    "null": "null",
}


def on_every_verb(upload_id: str) -> list[tuple[str, Row]]:
    target = f"/alice-1/alice-upload?uploadId={upload_id}"
    part = f"/alice-1/alice-upload?partNumber=1&uploadId={upload_id}"
    return [
        ("put", Row(lambda s: s.alice.header("PUT", part, b"x"), 404, GONE)),
        ("list", Row(lambda s: s.alice.header("GET", target), 404, GONE)),
        ("abort", Row(lambda s: s.alice.header("DELETE", target), 404, GONE)),
        ("complete", Row(lambda s: s.alice.header("POST", target, parts(("1", "0"))), 404, GONE)),
        (
            "copy",
            Row(lambda s: s.alice.header("PUT", part, b"", [("x-amz-copy-source", "/alice-1/keep")]), 404, GONE),
        ),
    ]


LAUGHS: Final = (
    b'<!DOCTYPE l [<!ENTITY a0 "ha">'
    + b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 12))
    + b"]>"
)
DOCTYPES: Final = {
    "billion-laughs": LAUGHS + keys(b"&a11;"),
    "quadratic": b'<!DOCTYPE d [<!ENTITY a "' + b"a" * 50_000 + b'">]>' + keys(b"&a;" * 20_000),
    "file": b'<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + keys(b"&a;"),
    "http": b'<!DOCTYPE d [<!ENTITY a SYSTEM "http://127.0.0.1:%d/x">]>' + keys(b"&a;"),
    "external-dtd": b'<!DOCTYPE d SYSTEM "http://127.0.0.1:%d/x.dtd">' + keys(b"keep"),
    "parameter-entity": b'<!DOCTYPE d [<!ENTITY %% p SYSTEM "http://127.0.0.1:%d/p"> %%p;]>' + keys(b"keep"),
    "bare": b"<!DOCTYPE Delete>" + keys(b"keep"),
    "public": b'<!DOCTYPE d PUBLIC "x" "file:///dev/zero">' + keys(b"keep"),
    "lower-case": b"<!doctype Delete>" + keys(b"keep"),
}


@pytest.mark.parametrize("name", DOCTYPES, ids="H63-{}".format)
@pytest.mark.parametrize("route", ["delete", "complete", "create-bucket"])
def test_h63_a_document_type_is_refused_at_once_and_nothing_is_opened(stage: Stage, name: str, route: str) -> None:
    with listening() as (port, callers):
        document = DOCTYPES[name] % port if b"%d" in DOCTYPES[name] else DOCTYPES[name]
        _refused_at_once(stage, document, route)
    assert callers == []
    stage.unchanged()


def _refused_at_once(stage: Stage, document: bytes, route: str) -> None:
    shots: dict[str, Callable[[Stage], Shot]] = {
        "delete": deleting(document),
        "complete": completing(document),
        "create-bucket": lambda s: s.alice.header("PUT", "/alice-3", document),
    }
    shot = shots[route](stage)
    started = time.monotonic()
    is_refusal(stage.send(shot), 400, XML)
    assert time.monotonic() - started < 2  # 100 ms on a machine of its own


ROWS: Final = {
    "H64-200000-nested": delete(b"<Delete>" * 200_000),
    "H64-nine-deep": delete(b"<Delete>" + b"<Object>" * 9 + b"</Object>" * 9 + b"</Delete>"),
    "H64-many-attributes": delete(b"<Delete " + b" ".join(b'a%d="b"' % i for i in range(20_000)) + b"/>"),
    "H64-same-attribute-twice": delete(b'<Delete a="b" a="c"/>'),
    "H64-name-of-a-megabyte": delete(b"<" + b"D" * MIB + b"/>"),
    "H64-200000-elements": delete(b"<Delete>" + b"<Object/>" * 200_000 + b"</Delete>"),
    "H64-many-namespaces": delete(b"<Delete " + b" ".join(b'xmlns:n%d="u"' % i for i in range(5000)) + b"/>"),
    "H65-over-the-limit": delete(keys(b"k") + b" " * (4 * MIB), 400, "MaxMessageLengthExceeded"),
    "H65-over-the-limit-in-chunks": Row(
        lambda s: Shot(
            "POST", "/alice-1?delete=",
            s.alice.header(
                "POST", "/alice-1?delete=", b"",
                [("Transfer-Encoding", "chunked"), ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")],
                payload="UNSIGNED-PAYLOAD",
            ).headers,
            b"%x\r\n" % (3 * MIB) + b"<" * (3 * MIB) + b"\r\n0\r\n\r\n", framed=False,
        ), 400, "MaxMessageLengthExceeded",
    ),
    "H66-wrong-root": delete(b"<Remove><Object><Key>keep</Key></Object></Remove>"),
    "H66-root-in-lower-case": delete(keys(b"keep").replace(b"Delete", b"delete")),
    "H66-foreign-namespace": delete(keys(b"keep").replace(b"<Delete>", b'<Delete xmlns="http://evil/">')),
    "H66-foreign-namespace-inside": delete(keys(b"keep").replace(b"<Key>", b'<Key xmlns="http://evil/">')),
    "H66-no-body": delete(b""),
    "H66-blank-body": delete(b" \n "),
    "H66-not-xml": delete(b'{"Objects": []}'),
    "H66-utf-16": delete(keys(b"keep").decode().encode("utf-16")),
    "H66-utf-16-without-mark": delete(keys(b"keep").decode().encode("utf-16-le")),
    "H66-utf-7-declared": delete(b'<?xml version="1.0" encoding="utf-7"?>' + keys(b"keep")),
    "H66-latin-1-declared": delete(b'<?xml version="1.0" encoding="iso-8859-1"?>' + keys(b"k\xe9ep")),
    "H66-not-utf-8": delete(keys(b"k\xffep")),
    "H66-nul": delete(keys(b"k\0ep")),
    "H66-bytes-behind": delete(keys(b"keep") + b"x"),
    "H66-second-root": delete(keys(b"keep") * 2),
    "H66-quiet-twice": delete(keys(b"keep").replace(b"<Delete>", b"<Delete><Quiet>true</Quiet><Quiet>false</Quiet>")),
    "H66-quiet-perhaps": delete(keys(b"keep").replace(b"<Delete>", b"<Delete><Quiet>perhaps</Quiet>")),
    "H66-key-twice": delete(b"<Delete><Object><Key>keep</Key><Key>big</Key></Object></Delete>"),
    "H66-unknown-element": delete(keys(b"keep").replace(b"<Delete>", b"<Delete><Force>true</Force>")),
    "H66-unknown-element-inside": delete(keys(b"keep").replace(b"</Key>", b"</Key><Bypass/>")),
    "H66-attribute": delete(keys(b"keep").replace(b"<Key>", b'<Key a="b">')),
    "H66-processing-instruction": delete(b"<?php x ?>" + keys(b"keep")),
    "H66-text-between": delete(keys(b"keep").replace(b"<Object>", b"text<Object>")),
    "H66-empty-key": delete(keys(b"")),
    "H66-no-objects": delete(b"<Delete/>"),
    "H66-no-key": delete(b"<Delete><Object><VersionId>x</VersionId></Object></Delete>"),
    "H66-unclosed": delete(b"<Delete><Object><Key>keep</Key></Object>"),
    "H66-unknown-entity": delete(keys(b"&nbsp;")),
    "H67-1001-keys": delete(keys(*[b"k%d" % i for i in range(1001)])),
    "H67-no-digest": Row(deleting(keys(b"keep"), headers=()), 400, "InvalidRequest"),
    "H67-wrong-digest": Row(deleting(keys(b"keep"), headers=[md5(b"")]), 400, "BadDigest"),
    "H67-digest-not-base64": Row(deleting(keys(b"keep"), headers=[("Content-MD5", "?")]), 400, "InvalidDigest"),
    "H67-control-character": delete(keys(b"&#1;")),
    "H67-nul-character": delete(keys(b"&#0;")),
    "H67-surrogate": delete(keys(b"&#xD800;")),
    "H67-key-too-long": delete(keys(b"k" * 1025), 400, "KeyTooLongError"),
    "H67-dot-dot": delete(keys(b"keep", b"../mallory-1/keep"), 400, "BadRequest"),
    "H67-anothers-bucket": Row(
        lambda s: s.mallory.header("POST", "/alice-1?delete=", keys(b"keep"), [md5(keys(b"keep"))]),
        403, "AccessDenied",
    ),
    "H67-bucket-that-is-not": Row(deleting(keys(b"x"), target="/nobody-has-this?delete="), 404, "NoSuchBucket"),
    "create-in-another-region": Row(
        lambda s: s.alice.header(
            "PUT", "/alice-3", b"<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint>"
            b"</CreateBucketConfiguration>",
        ), 400, "IllegalLocationConstraintException",
    ),
    "create-location-with-control": Row(
        lambda s: s.alice.header(
            "PUT", "/alice-3", b"<CreateBucketConfiguration><LocationConstraint>&#13;&#10;x: y</LocationConstraint>"
            b"</CreateBucketConfiguration>",
        ), 400, "IllegalLocationConstraintException",
    ),
    "create-as-directory-bucket": Row(
        lambda s: s.alice.header(
            "PUT", "/alice-3", b"<CreateBucketConfiguration><Bucket><Type>Directory</Type></Bucket>"
            b"</CreateBucketConfiguration>",
        ), 501, "NotImplemented",
    ),
    **{
        f"H69-part-number-{name}": Row(part_numbered(text), 400, ARGUMENT)
        for name, text in {
            "0": "0", "negative": "-1", "10001": "10001", "abc": "abc", "empty": "", "plus": "%2B1", "float": "1.5",
            "30-digits": "9" * 30, "5000-digits": "9" * 5000, "blank": "%201", "other-digits": "%D9%A1", "hex": "0x1",
        }.items()
    },
    "H69-no-part-number": Row(
        lambda s: s.alice.header("PUT", f"/alice-1/alice-upload?uploadId={s.ids['alice']}", b"x"), 400, ARGUMENT
    ),
    **{f"H70-{name}-{verb}": row for name, text in UPLOAD_IDS.items() for verb, row in on_every_verb(text)},
    "H70-of-another-key": Row(
        lambda s: s.alice.header("PUT", f"/alice-1/keep?partNumber=1&uploadId={s.ids['alice']}", b"x"), 404, GONE
    ),
    "H70-of-another-bucket": Row(
        lambda s: s.alice.header("PUT", f"/alice-2/alice-upload?partNumber=1&uploadId={s.ids['alice']}", b"x"),
        404, GONE,
    ),
    "H70-of-another-user": Row(
        lambda s: s.alice.header("PUT", f"/alice-1/mallory-upload?partNumber=1&uploadId={s.ids['mallory']}", b"x"),
        404, GONE,
    ),
    "H70-abort-of-another-user": Row(
        lambda s: s.alice.header("DELETE", f"/alice-1/mallory-upload?uploadId={s.ids['mallory']}"), 404, GONE
    ),
    "H70-abort-of-another-key": Row(
        lambda s: s.alice.header("DELETE", f"/alice-1/keep?uploadId={s.ids['alice']}"), 404, GONE
    ),
    "H70-in-anothers-bucket": Row(
        lambda s: s.alice.header("PUT", f"/mallory-1/mallory-upload?partNumber=1&uploadId={s.ids['mallory']}", b"x"),
        403, "AccessDenied",
    ),
    "H70-parts-of-another-user": Row(
        lambda s: s.alice.header("GET", f"/alice-1/mallory-upload?uploadId={s.ids['mallory']}"), 404, GONE
    ),
    "H70-complete-of-another-user": Row(
        lambda s: s.alice.header(
            "POST", f"/alice-1/mallory-upload?uploadId={s.ids['mallory']}", parts(("1", s.ids["mallory etag"]))
        ), 404, GONE,
    ),
    "H70-upper-case": Row(
        lambda s: s.alice.header("GET", f"/alice-1/alice-upload?uploadId={s.ids['alice'].upper()}0"), 404, GONE
    ),
    "H71-wrong-etag": complete(parts(("1", "0" * 32)), 400, "InvalidPart"),
    "H71-empty-etag": complete(parts(("1", "")), 400, "InvalidPart"),
    "H71-missing-part": complete(parts(("1", "ETAG"), ("2", "ETAG")), 400, "InvalidPart"),
    "H71-other-part": complete(parts(("2", "ETAG")), 400, "InvalidPart"),
    "H71-repeated": complete(parts(("1", "ETAG"), ("1", "ETAG")), 400, "InvalidPartOrder"),
    "H71-not-ascending": complete(parts(("2", "ETAG"), ("1", "ETAG")), 400, "InvalidPartOrder"),
    "H71-empty": complete(b"<CompleteMultipartUpload/>"),
    "H71-no-body": complete(b""),
    "H71-number-0": complete(parts(("0", "ETAG")), 400, ARGUMENT),
    "H71-number-negative": complete(parts(("-1", "ETAG")), 400, ARGUMENT),
    "H71-number-10001": complete(parts(("10001", "ETAG")), 400, ARGUMENT),
    "H71-number-abc": complete(parts(("abc", "ETAG"))),
    "H71-number-30-digits": complete(parts(("9" * 30, "ETAG"))),
    "H71-10001-parts": complete(parts(*[(str(n), "ETAG") for n in range(1, 10_002)]), 400, ARGUMENT),
    "H71-unknown-element": complete(b"<CompleteMultipartUpload><Copy/></CompleteMultipartUpload>"),
    "H71-two-checksums": complete(
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>ETAG</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32>"
        b"<ChecksumCRC32C>AAAAAA==</ChecksumCRC32C></Part></CompleteMultipartUpload>", 400, "InvalidRequest",
    ),
    "H71-wrong-part-checksum": complete(
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>ETAG</ETag><ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME>"
        b"</Part></CompleteMultipartUpload>", 400, "InvalidPart",
    ),
    "H71-part-checksum-of-another-algorithm": complete(
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>ETAG</ETag>"
        b"<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>",
        400,
        "InvalidPart",
    ),
    "H79-wrong-size": complete(parts(("1", "ETAG")), 400, "InvalidRequest", [("x-amz-mp-object-size", "1")]),
    "H79-size-abc": complete(parts(("1", "ETAG")), 400, ARGUMENT, [("x-amz-mp-object-size", "abc")]),
    "H79-size-30-digits": complete(parts(("1", "ETAG")), 400, ARGUMENT, [("x-amz-mp-object-size", "9" * 30)]),
    "H80-type-without-algorithm": Row(
        lambda s: s.alice.header("POST", "/alice-1/x?uploads=", b"", [("x-amz-checksum-type", "FULL_OBJECT")]),
        400, "InvalidRequest",
    ),
    "H80-sha256-full-object": Row(
        lambda s: s.alice.header(
            "POST", "/alice-1/x?uploads=", b"",
            [("x-amz-checksum-algorithm", "SHA256"), ("x-amz-checksum-type", "FULL_OBJECT")],
        ), 400, "InvalidRequest",
    ),
    "H80-crc64-composite": Row(
        lambda s: s.alice.header(
            "POST", "/alice-1/x?uploads=", b"",
            [("x-amz-checksum-algorithm", "CRC64NVME"), ("x-amz-checksum-type", "COMPOSITE")],
        ), 400, "InvalidRequest",
    ),
    "H80-algorithm-md4": Row(
        lambda s: s.alice.header("POST", "/alice-1/x?uploads=", b"", [("x-amz-checksum-algorithm", "MD4")]),
        400, "InvalidRequest",
    ),
    "condition-on-complete": complete(
        parts(("1", "ETAG")), 404, "NoSuchKey", [("If-Match", '"0"')]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_refused_and_nothing_changed(stage: Stage, name: str) -> None:
    stage.refuses(ROWS[name])


def test_h66_no_namespace_and_the_right_one_will_do(stage: Stage) -> None:
    for body in (keys(b"absent"), keys(b"absent").replace(b"<Delete>", b"<Delete " + NAMESPACE + b">")):
        answer = stage.send(deleting(body)(stage))
        assert answer.status == 200
        assert answer.text("Key") == "absent"


def test_h67_odd_keys_come_back_well_formed(stage: Stage) -> None:
    odd = keys(b"]]&gt;", "🧊".encode(), b"&lt;a&amp;b&gt;", b"&#13;&#10;&#9;", b"same", b"same", b"e\xcc\x81")
    answer = stage.send(deleting(odd)(stage))
    assert answer.status == 200
    found = [element.text for element in answer.xml().iter() if element.tag.endswith("}Key")]
    assert found == ["]]>", "🧊", "<a&b>", "\r\n\t", "same", "same", "e\u0301"]
    stage.same_picture()


def started(stage: Stage, key: str, contents: list[bytes]) -> tuple[str, list[str]]:
    who = stage.alice
    upload = stage.send(who.header("POST", f"/alice-2/{key}?uploads=")).text("UploadId")
    etags = []
    for number, content in enumerate(contents, start=1):
        answer = stage.send(who.header("PUT", f"/alice-2/{key}?partNumber={number}&uploadId={upload}", content))
        assert answer.status == 200
        etags.append(answer.headers["etag"])
    return upload, etags


def finish(who: Signer, key: str, upload: str, etags: list[tuple[int, str]]) -> Shot:
    listed = parts(*[(str(number), quote(etag, safe='"')) for number, etag in etags])
    return who.header("POST", f"/alice-2/{key}?uploadId={upload}", listed)


def test_h71_small_part_in_the_middle(stage: Stage) -> None:
    upload, etags = started(stage, "small", [b"a", b"b"])
    is_refusal(stage.send(finish(stage.alice, "small", upload, [(1, etags[0]), (2, etags[1])])), 400, "EntityTooSmall")
    is_refusal(stage.send(stage.alice.header("GET", "/alice-2/small")), 404, "NoSuchKey")
    stage.gone(stage.alice, f"/alice-2/small?uploadId={upload}")


def test_h72_and_h74_a_subset_completes_and_completes_again(stage: Stage) -> None:
    upload, etags = started(stage, "subset", [b"one", b"two", b"three"])
    shot = finish(stage.alice, "subset", upload, [(2, etags[1])])
    first, second = stage.send(shot), stage.send(finish(stage.alice, "subset", upload, [(2, etags[1])]))
    assert (first.status, second.status) == (200, 200)
    assert first.text("ETag") == second.text("ETag")
    assert stage.send(stage.alice.header("GET", "/alice-2/subset")).body == b"two"
    late = stage.send(stage.alice.header("PUT", f"/alice-2/subset?partNumber=1&uploadId={upload}", b"late"))
    is_refusal(late, 404, GONE)
    is_refusal(stage.send(stage.alice.header("DELETE", f"/alice-2/subset?uploadId={upload}")), 404, GONE)
    stage.gone(stage.alice, "/alice-2/subset")


def test_h75_eight_completes_at_once_are_one(stage: Stage) -> None:
    upload, etags = started(stage, "eight", [BIG])
    shot = finish(stage.alice, "eight", upload, [(1, etags[0])])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(stage.send, [shot] * 8))
    assert [answer.status for answer in answers] == [200] * 8
    assert len({answer.text("ETag") for answer in answers}) == 1
    assert stage.send(stage.alice.header("GET", "/alice-2/eight")).body == BIG
    stage.gone(stage.alice, "/alice-2/eight")


def test_h76_complete_racing_abort_never_loses_acknowledged_bytes(stage: Stage) -> None:
    outcomes = set()
    for turn in range(8):
        key = f"race-{turn}"
        upload, etags = started(stage, key, [BIG])
        abort = stage.alice.header("DELETE", f"/alice-2/{key}?uploadId={upload}")
        shots = [finish(stage.alice, key, upload, [(1, etags[0])]), abort]
        with ThreadPoolExecutor(2) as pool:
            done, aborted = pool.map(stage.send, shots)
        outcomes.add((done.status, aborted.status))
        got = stage.send(stage.alice.header("GET", f"/alice-2/{key}"))
        assert (got.status, got.body) == (200, BIG) if done.status == 200 else got.status == 404
    assert outcomes <= {(200, 404), (404, 204)}
    stage.gone(stage.alice, *(f"/alice-2/race-{turn}" for turn in range(8)))


def test_h77_a_part_racing_complete_never_changes_what_was_listed(stage: Stage) -> None:
    for turn in range(6):
        key = f"part-race-{turn}"
        upload, etags = started(stage, key, [BIG])
        again = stage.alice.header("PUT", f"/alice-2/{key}?partNumber=1&uploadId={upload}", BIG[::-1])
        with ThreadPoolExecutor(2) as pool:
            done, _ = pool.map(stage.send, [finish(stage.alice, key, upload, [(1, etags[0])]), again])
        if done.status == 200:
            assert stage.send(stage.alice.header("GET", f"/alice-2/{key}")).body == BIG
            stage.gone(stage.alice, f"/alice-2/{key}")
        else:
            is_refusal(done, 400, "InvalidPart")
            stage.gone(stage.alice, f"/alice-2/{key}?uploadId={upload}")


def test_h78_a_part_again_with_other_bytes(stage: Stage) -> None:
    upload, etags = started(stage, "again", [BIG])
    other = BIG[::-1]
    answer = stage.send(stage.alice.header("PUT", f"/alice-2/again?partNumber=1&uploadId={upload}", other))
    old = stage.send(finish(stage.alice, "again", upload, [(1, etags[0])]))
    is_refusal(old, 400, "InvalidPart")
    assert stage.send(finish(stage.alice, "again", upload, [(1, answer.headers["etag"])])).status == 200
    assert stage.send(stage.alice.header("GET", "/alice-2/again")).body == other
    stage.gone(stage.alice, "/alice-2/again")
