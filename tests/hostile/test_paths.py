"""Paths, keys, buckets, queries and listings, attacked: H50 to H62 of the hostile inputs."""

import socket
import time
from dataclasses import replace
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import pytest

from tests.hostile.signing import Shot
from tests.hostile.stage import Row, Stage, is_refusal

URI: Final = "InvalidURI"
NAME: Final = "InvalidBucketName"
ARGUMENT: Final = "InvalidArgument"
KEEP: Final = "/alice-1/keep"
NEW: Final = "/alice-1/new"


def put(target: str) -> Row:
    return Row(lambda s: s.alice.header("PUT", target, b"x"), 400, "BadRequest")


def bad(method: str, target: str, code: str, status: int = 400, says: str = "") -> Row:
    return Row(lambda s: s.alice.header(method, target, b"x" if method == "PUT" else b""), status, code, says)


def elsewhere(shot: Shot) -> Shot:
    return replace(shot, headers=[("Host", "alice-2.s3.localhost")])


SUBRESOURCES: Final = (
    *("attributes", "object-lock", "renameObject", "restore", "select"),
    *("torrent", "annotation", "policy", "website", "delete", "versions", "encryption"),
)
LATER_DOCUMENTS: Final = ("legal-hold", "retention", "tagging")
"""Subresources whose PUT needs a document; without one nothing may be stored, least of all an empty object."""

KEYS_REFUSED: Final = {
    "H54-dot-dot-first": "/alice-1/../x",
    "H54-dot-dot-inside": "/alice-1/a/../../x",
    "H54-dot": "/alice-1/.",
    "H54-dot-dot": "/alice-1/..",
    "H54-dot-inside": "/alice-1/a/./b",
    "H54-dot-dot-last": "/alice-1/a/..",
    "H54-encoded": "/alice-1/%2e%2e%2fx",
    "H54-encoded-upper-case": "/alice-1/%2E%2E/x",
    "H54-half-encoded": "/alice-1/.%2e/x",
    "H54-slash-encoded": "/alice-1/..%2fx",
    "H57-into-another-bucket": "/alice-1/../mallory-1/keep",
    "H57-into-another-bucket-encoded": "/alice-1/%2e%2e/alice-2/keep",
}
BUCKETS_REFUSED: Final = {
    "capital-and-underscore": "A_b",
    "two-letters": "ab",
    "one-letter": "a",
    "64-letters": "a" * 64,
    "ipv4": "192.168.1.1",
    "two-dots": "a..b",
    "puny": "xn--abc",
    "dot-first": ".abc",
    "dot-last": "abc.",
    "hyphen-first": "-abc",
    "hyphen-last": "abc-",
    "alias": "abc-s3alias",
    "object-lambda": "abc--ol-s3",
    "directory-bucket": "abc--x-s3",
    "capital": "Alice-1",
    "space": "a%20b",
    "unicode": "b%C3%BCcher",
    "slash-encoded": "alice-1%2fkeep",
    "dot-dot": "..",
    "dot-dot-encoded": "%2e%2e",
    "semicolon": "alice-1;x",
    "plus": "alice+1",
    "backslash": "alice%5C1",
    "line-feed": "alice-1%0A",
}

ROWS: Final = {
    **{name: put(target) for name, target in KEYS_REFUSED.items()},
    **{f"{name}-get": bad("GET", target, "BadRequest") for name, target in KEYS_REFUSED.items()},
    **{f"H60-{name}": bad("PUT", f"/{bucket}", NAME) for name, bucket in BUCKETS_REFUSED.items()},
    **{f"H60-{name}-with-key": bad("PUT", f"/{bucket}/keep", NAME) for name, bucket in BUCKETS_REFUSED.items()},
    "H50-1025-bytes": bad("PUT", "/alice-1/" + "k" * 1025, "KeyTooLongError"),
    "H50-1026-bytes-in-342-characters": bad("PUT", "/alice-1/" + quote("€" * 342), "KeyTooLongError"),
    "H50-5000-bytes-head": bad("HEAD", "/alice-1/" + "k" * 5000, "KeyTooLongError"),
    "H51-nul": bad("PUT", "/alice-1/a%00b", URI),
    "H51-nul-in-bucket": bad("GET", "/alice-1%00/keep", URI),
    "H51-nul-in-query": bad("GET", "/alice-1?prefix=%00", URI),
    "H51-nul-in-query-name": bad("GET", "/alice-1?pre%00fix=", URI),
    "H52-ff": bad("PUT", "/alice-1/%FF", URI),
    "H52-overlong-slash": bad("PUT", "/alice-1/..%c0%afx", URI),
    "H52-surrogate": bad("PUT", "/alice-1/%ED%A0%80", URI),
    "H52-above-unicode": bad("PUT", "/alice-1/%F5%80%80%80", URI),
    "H52-cut-character": bad("PUT", "/alice-1/%E2%82", URI),
    "H52-query": bad("GET", "/alice-1?prefix=%FF", URI),
    "H53-zz": bad("PUT", "/alice-1/%zz", URI),
    "H53-lone": bad("PUT", "/alice-1/a%", URI),
    "H53-half": bad("PUT", "/alice-1/a%4", URI),
    "H53-query": Row(
        # What was signed is what our decoder reads: a broken escape stands for itself, `%` is signed as `%25`.
        lambda s: replace(s.alice.header("GET", "/alice-1?prefix=%25zz"), target="/alice-1?prefix=%zz"), 400, URI
    ),
    "H55-overlong-dot": bad("PUT", "/alice-1/%c0%ae%c0%ae/x", URI),
    "H55-two-slashes-first": bad("GET", "//alice-1/keep", NAME),
    "H55-slash-and-key-only": bad("GET", "//", NAME),
    "H58-absolute-form": Row(
        lambda s: replace(s.alice.header("GET", KEEP), target=f"https://evil.example{KEEP}"), 400, "BadRequest",
        closes=True,
    ),
    "H58-absolute-form-of-ours": Row(
        lambda s: replace(s.alice.header("GET", KEEP), target=f"https://{s.alice.host}{KEEP}"), 400, "BadRequest",
        closes=True,
    ),
    "H58-asterisk": Row(
        lambda s: replace(s.alice.header("GET", KEEP), target="*"), 400, "BadRequest", closes=True
    ),
    "H58-authority": Row(
        lambda s: replace(s.alice.header("GET", KEEP), target="evil.example:443"), 400, "BadRequest", closes=True
    ),
    "H58-no-slash": Row(
        lambda s: replace(s.alice.header("GET", KEEP), target="alice-1/keep"), 400, "BadRequest", closes=True
    ),
    "H58-fragment": Row(
        lambda s: replace(s.alice.header("GET", KEEP), target=f"{KEEP}#x"), 400, "BadRequest", closes=True
    ),
    "H58-raw-bytes": Row(
        lambda s: replace(s.alice.header("PUT", "/alice-1/x", b"x"), target="/alice-1/\xc3\xa9"), 400, "BadRequest",
        closes=True,
    ),
    **{f"H59-put-{name}": bad("PUT", f"{KEEP}?{name}=", "NotImplemented", 501) for name in SUBRESOURCES},
    **{f"H59-delete-{name}": bad("DELETE", f"{KEEP}?{name}=", "NotImplemented", 501) for name in SUBRESOURCES},
    **{
        f"H59-delete-{name}": bad("DELETE", f"{KEEP}?{name}=", "NotImplemented", 501)
        for name in ("legal-hold", "retention")
    },
    **{f"H59-put-{name}": bad("PUT", f"{KEEP}?{name}=", "MalformedXML") for name in LATER_DOCUMENTS},
    **{
        f"H59-bucket-put-{name}": bad("PUT", f"/alice-1?{name}=", "MalformedXML") for name in ("versioning", "tagging")
    },
    **{
        f"H59-bucket-delete-{name}": bad("DELETE", f"/alice-2?{name}=", "NotImplemented", 501)
        for name in ("website", "replication", "delete")
    },
    "H59-bucket-put-lifecycle": bad("PUT", "/alice-1?lifecycle=", "InvalidRequest"),
    "H59-bucket-put-encryption": bad("PUT", "/alice-1?encryption=", "MalformedXML"),
    "H59-put-acl": bad("PUT", f"{KEEP}?acl=", "MalformedACLError"),
    "H59-bucket-put-acl": bad("PUT", "/alice-1?acl=", "MalformedACLError"),
    "H59-bucket-put-cors": bad("PUT", "/alice-1?cors=", "MalformedXML"),
    "H59-bucket-put-policy": bad("PUT", "/alice-1?policy=", "MalformedPolicy"),
    "H59-bucket-put-block": bad("PUT", "/alice-1?publicAccessBlock=", "MalformedXML"),
    "H59-bucket-put-ownership": bad("PUT", "/alice-1?ownershipControls=", "MalformedXML"),
    "H59-put-foo": bad("PUT", f"{KEEP}?foo", ARGUMENT),
    "H59-put-upper-case-acl": bad("PUT", f"{KEEP}?ACL", ARGUMENT),
    "H59-put-acl-encoded": Row(
        lambda s: replace(s.alice.header("PUT", f"{KEEP}?acl=", b"x"), target=f"{KEEP}?%61cl="),
        400,
        "MalformedACLError",
    ),
    "H59-put-acl-and-upload-id": bad("PUT", f"{KEEP}?acl=&partNumber=1&uploadId=x", "NotImplemented", 501),
    "H59-put-empty-name": bad("PUT", f"{KEEP}?=x", ARGUMENT),
    "H59-put-part-number-alone": bad("PUT", f"{KEEP}?partNumber=1", ARGUMENT),
    "H59-put-version-id": bad("PUT", f"{KEEP}?versionId=null", ARGUMENT),
    "H59-delete-foo": bad("DELETE", f"{KEEP}?foo", ARGUMENT),
    "H59-delete-bucket-list-type": bad("DELETE", "/alice-2?list-type=2", "MethodNotAllowed", 405),
    "H59-delete-bucket-prefix": bad("DELETE", "/alice-2?prefix=x", ARGUMENT),
    "H59-same-name-twice": bad("GET", "/alice-1?prefix=a&prefix=b", ARGUMENT),
    "H59-selector-twice": bad("GET", f"{KEEP}?tagging=&tagging=", ARGUMENT),
    "H59-delete-on-service": bad("DELETE", "/", "MethodNotAllowed", 405),
    "H59-put-on-service": bad("PUT", "/", "MethodNotAllowed", 405),
    "H61-max-keys-negative": bad("GET", "/alice-1?max-keys=-1", ARGUMENT),
    "H61-max-keys-abc": bad("GET", "/alice-1?max-keys=abc", ARGUMENT),
    "H61-max-keys-empty": bad("GET", "/alice-1?max-keys=", ARGUMENT),
    "H61-max-keys-30-digits": bad("GET", f"/alice-1?max-keys={'9' * 30}", ARGUMENT),
    "H61-max-keys-2-to-the-31": bad("GET", "/alice-1?max-keys=2147483648", ARGUMENT),
    "H61-max-keys-other-digits": bad("GET", "/alice-1?max-keys=%D9%A3", ARGUMENT),
    "H61-list-type-3": bad("GET", "/alice-1?list-type=3", ARGUMENT),
    "H61-encoding-type": bad("GET", "/alice-1?encoding-type=base64", ARGUMENT),
    "H61-fetch-owner": bad("GET", "/alice-1?fetch-owner=perhaps&list-type=2", ARGUMENT),
    "H61-garbage-token": bad("GET", "/alice-1?continuation-token=garbage&list-type=2", ARGUMENT),
    "H61-token-not-base64": bad("GET", "/alice-1?continuation-token=%C3%A9%21%21&list-type=2", ARGUMENT),
    "H61-empty-token": bad("GET", "/alice-1?continuation-token=&list-type=2", ARGUMENT),
    "H61-token-of-10-kilobytes": bad("GET", f"/alice-1?continuation-token={'A' * 10_000}&list-type=2", ARGUMENT),
    "H61-token-of-another-account": Row(
        lambda s: s.alice.header("GET", f"/alice-1?continuation-token={quote(s.ids['mallory token'])}&list-type=2"),
        400, ARGUMENT,
    ),
    "H61-token-of-another-bucket": Row(
        lambda s: s.alice.header("GET", f"/alice-2?continuation-token={quote(s.ids['alice token'])}&list-type=2"),
        400, ARGUMENT,
    ),
    "H61-token-cut": Row(
        lambda s: s.alice.header("GET", f"/alice-1?continuation-token={quote(s.ids['alice token'][:20])}&list-type=2"),
        400, ARGUMENT,
    ),
    "H61-token-of-a-bucket-for-the-account": Row(
        lambda s: s.alice.header("GET", f"/?continuation-token={quote(s.ids['alice token'])}"), 400, ARGUMENT
    ),
    "H61-max-buckets-0": bad("GET", "/?max-buckets=0", ARGUMENT),
    "H61-max-uploads-negative": bad("GET", "/alice-1?max-uploads=-5&uploads=", ARGUMENT),
    "H61-upload-id-marker-garbage": bad(
        "GET", "/alice-1?key-marker=a&upload-id-marker=..%2F&uploads=", ARGUMENT
    ),
    "H62-head-missing-key": bad("HEAD", "/alice-1/absent", "NoSuchKey", 404),
    "H62-get-missing-key": bad("GET", "/alice-1/absent", "NoSuchKey", 404),
    "H62-get-missing-key-of-another": bad("GET", "/mallory-1/absent", "AccessDenied", 403),
    "H62-head-missing-key-of-another": bad("HEAD", "/mallory-1/absent", "AccessDenied", 403),
    "H62-missing-bucket": bad("GET", "/nobody-has-this/key", "NoSuchBucket", 404),
    "H62-missing-bucket-put": bad("PUT", "/nobody-has-this/key", "NoSuchBucket", 404),
    "H62-missing-bucket-delete": bad("DELETE", "/nobody-has-this", "NoSuchBucket", 404),
    "bucket-not-empty": bad("DELETE", "/alice-1", "BucketNotEmpty", 409),
    "bucket-again": Row(lambda s: s.alice.header("PUT", "/alice-1"), 409, "BucketAlreadyOwnedByYou"),
    "version-id-malformed": bad("GET", f"{KEEP}?versionId=abc", ARGUMENT),
    "version-id-of-nothing": bad("GET", f"{KEEP}?versionId={'0' * 32}", "NoSuchVersion", 404),
    "version-id-empty": bad("GET", f"{KEEP}?versionId=", ARGUMENT),
    "version-id-of-5-kilobytes": bad("GET", f"{KEEP}?versionId={'v' * 5000}", ARGUMENT),
    "virtual-host-of-another": Row(
        lambda s: s.alice.header("GET", "/keep", host=f"mallory-1.s3.localhost:{s.gateway.port}"), 403, "AccessDenied"
    ),
    "virtual-host-added-to-path-style": Row(
        lambda s: s.alice.header("GET", KEEP).changed("Host", f"mallory-1.s3.localhost:{s.gateway.port}"),
        403, "SignatureDoesNotMatch",
    ),
    "virtual-host-with-two-labels": Row(
        lambda s: s.alice.header("GET", "/keep", host="a..b.s3.localhost"), 400, NAME
    ),
    "virtual-host-with-underscore": Row(
        lambda s: s.alice.header("GET", "/keep", host="a_b.s3.localhost"), 400, NAME
    ),
    "virtual-host-empty-label": Row(
        lambda s: s.alice.header("GET", "/keep", host=".s3.localhost"), 400, "BadRequest", closes=True
    ),
    "virtual-host-dot-dot-key": Row(
        lambda s: s.alice.header("GET", "/../mallory-1/keep", host="alice-1.s3.localhost"), 400, "BadRequest"
    ),
    "virtual-host-v2-presigned-for-another-bucket": Row(
        # SigV2 does not sign the host: only the canonical resource, which names the bucket, stands between.
        lambda s: elsewhere(s.alice.presigned_v2("GET", KEEP, expires=int(time.time()) + 300)),
        403, "SignatureDoesNotMatch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_refused_and_nothing_changed(stage: Stage, name: str) -> None:
    stage.refuses(ROWS[name])


LITERAL: Final = {
    "H50-1024-bytes": "k" * 1024,
    "H50-1024-bytes-of-unicode": quote("€" * 341 + "k"),
    "H54-twice-encoded": "%252e%252e%252fx",
    "H55-two-slashes": "a//b",
    "H55-slash-last": "a/",
    "H55-slash-first": "/a",
    "H55-slashes": "///",
    "H55-backslash": "a%5Cb",
    "H55-backslash-dots": "..%5C..%5Cx",
    "H55-three-dots": "...",
    "H55-dots-with-a-letter": "..a/a..",
    "H55-space-last": "a%20",
    "H55-space-alone": "%20",
    "H55-no-space": "a",
    "H55-line-feed": "a%0A",
    "H55-carriage-return": "a%0D%0AX-Evil%3A1",
    "H55-control": "a%01%1F%7F",
    "H55-noncharacter": "a%EF%BF%BF",
    "H55-byte-order-mark": "%EF%BB%BFa",
    "H55-right-to-left": "%E2%80%AEgpj.exe",
    "H55-percent": "100%25",
    "H55-plus": "a+b",
    "H55-question-mark": "a%3Fb=c",
    "H55-hash": "a%23b",
    "H55-quotes": "%27%22%3E%3Cscript%3E",
    "H55-sql": "x%27%3B%20DROP%20TABLE%20versions%3B--",
    "H56-nfc": quote("é"),
    "H56-nfd": quote("e\u0301"),
    "H56-ligature": quote("\ufb01"),
    "H56-dotless": quote("\u0131"),
    "astral": quote("\U0010ffff"),
}


def test_h50_to_h56_odd_keys_are_literal_distinct_and_listed_in_byte_order(stage: Stage) -> None:
    who = stage.alice
    keys = {name: unquote_to_bytes(raw) for name, raw in LITERAL.items()}
    assert len(set(keys.values())) == len(keys)
    for name, raw in LITERAL.items():
        assert stage.send(who.header("PUT", f"/alice-2/{raw}", name.encode())).status == 200, name
    for name, raw in LITERAL.items():
        answer = stage.send(who.header("GET", f"/alice-2/{raw}"))
        assert (answer.status, answer.body) == (200, name.encode()), name
    for query in ("list-type=2", "encoding-type=url&list-type=2", "encoding-type=url", ""):
        listed = stage.send(who.header("GET", f"/alice-2?{query}"))
        found = [
            unquote_to_bytes(element.text or "") for element in listed.xml().iter() if element.tag.endswith("}Key")
        ]
        assert listed.text("EncodingType") == "url"
        assert found == sorted(keys.values()), query
    stage.gone(who, *(f"/alice-2/{raw}" for raw in LITERAL.values()))


def test_h68_control_bytes_in_keys_never_break_a_listing(stage: Stage) -> None:
    keys = [b"c\x01", b"c\x08\x0b\x0c", b"c\x1b[2J", b"c\x7f", b"c\xc2\x85", b"c\xef\xbf\xbe", b"c]]>", b"c\r\n\t"]
    targets = [f"/alice-2/{quote(key, safe='')}" for key in keys]
    for target in targets:
        assert stage.send(stage.alice.header("PUT", target, b"x")).status == 200
    for query in ("prefix=c", "list-type=2&prefix=c", "encoding-type=url&prefix=c"):
        listed = stage.send(stage.alice.header("GET", f"/alice-2?{query}"))
        found = [element.text or "" for element in listed.xml().iter() if element.tag.endswith("}Key")]
        assert [unquote_to_bytes(one) for one in found] == sorted(keys), query
    stage.gone(stage.alice, *targets)


def test_h61_a_billion_keys_are_a_thousand(stage: Stage) -> None:
    answer = stage.send(stage.alice.header("GET", "/alice-1?list-type=2&max-keys=1000000000"))
    assert answer.text("MaxKeys") == "1000"
    assert answer.status == 200


def test_h61_a_token_serves_where_it_was_made(stage: Stage) -> None:
    token = quote(stage.ids["alice token"])
    answer = stage.send(stage.alice.header("GET", f"/alice-1?continuation-token={token}&list-type=2"))
    assert answer.status == 200
    again = stage.send(stage.mallory.header("GET", f"/alice-1?continuation-token={token}&list-type=2"))
    is_refusal(again, 403, "AccessDenied")


FOREIGN: Final = (
    *("evil.example", "169.254.169.254", "localhost.evil.example", "s3.amazonaws.com", "keep.s3.amazonaws.com"),
    *("127.0.0.2", "0.0.0.1", "[::2]", "127.1", "2130706433", "s3.localhost.evil", "xs3.localhost", "localhos"),
    *("localhost..", "[127.0.0.1]", "[::ffff:127.0.0.1]", "0177.0.0.1"),
)


@pytest.mark.parametrize("host", FOREIGN, ids="H41-{}".format)
def test_h41_a_host_that_is_none_of_ours_is_refused(stage: Stage, host: str) -> None:
    """Signed for that name or for ours, and by nobody: a page or another endpoint's request that was led here."""
    for shot in (
        stage.alice.header("GET", KEEP, host=host),
        stage.alice.header("GET", KEEP).changed("Host", f"{host}:{stage.gateway.port}"),
        stage.alice.header("PUT", NEW, b"x", host=host),
        Shot("GET", KEEP, [("Host", host)]),
    ):
        answer = stage.send(shot)
        is_refusal(answer, 400, "BadRequest")
        assert host not in answer.body.decode()
    stage.unchanged()


OURS: Final = ("localhost", "LOCALHOST", "localhost.", "127.0.0.1", "[::1]", "[0:0:0:0:0:0:0:1]", "s3.localhost")


@pytest.mark.parametrize("host", [*OURS, socket.gethostname().lower()], ids="H41-{}".format)
def test_h41_every_name_of_the_certificate_is_ours(stage: Stage, host: str) -> None:
    for form in (host, f"{host}:{stage.gateway.port}", f"{host}:443"):
        answer = stage.send(stage.alice.header("GET", KEEP, host=form))
        assert (answer.status, answer.body) == (200, b"kept"), form


def test_virtual_hosts_name_the_bucket(stage: Stage) -> None:
    for host in ("alice-1.s3.localhost", "ALICE-1.S3.LOCALHOST", f"alice-1.s3.localhost.:{stage.gateway.port}"):
        answer = stage.send(stage.alice.header("GET", "/keep", host=host))
        assert (answer.status, answer.body) == (200, b"kept"), host
    anonymous = stage.send(Shot("GET", "/keep", [("Host", "alice-1.s3.localhost")]))
    is_refusal(anonymous, 403, "AccessDenied")
