"""Browser forms, attacked: H24 of the hostile inputs, and what a form can carry besides. Forms are built by hand."""

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import pytest

from tests.hostile.signing import Shot, Signer, other_digit
from tests.hostile.stage import Row, Stage

BUCKET: Final = "/alice-1"
BOUNDARY: Final = "xXxXxXxX"
DENIED: Final = "AccessDenied"
MALFORMED: Final = "MalformedPOSTRequest"
DOCUMENT: Final = "InvalidPolicyDocument"
ARGUMENT: Final = "InvalidArgument"
TOO_MANY: Final = "MaxPostPreDataLengthExceededError"


@dataclass(frozen=True)
class Form:
    """A form that is right by default. `late` are fields that no condition names; `bend` changes the signed ones."""

    who: Signer
    fields: dict[str, str] = field(default_factory=dict)
    conditions: Iterable[Any] = ()
    late: tuple[tuple[str, str], ...] = ()
    bend: dict[str, str | None] = field(default_factory=dict)
    lifetime_s: int = 300
    policy: str | None = None
    target: str = BUCKET
    bucket: str = "alice-1"
    content: bytes = b"content"
    file: bytes | None = None

    def signed(self) -> list[tuple[str, str]]:
        now = self.who.now()
        scope = self.who.scope(now)
        fields = {"key": "post/new"} | self.fields
        fields |= {
            "x-amz-algorithm": "AWS4-HMAC-SHA256",
            "x-amz-credential": f"{self.who.access_key_id}/{scope}",
            "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
        }
        policy = {
            "expiration": f"{now + timedelta(seconds=self.lifetime_s):%Y-%m-%dT%H:%M:%SZ}",
            "conditions": [
                {"bucket": self.bucket},
                *({name: value} for name, value in fields.items()),
                *self.conditions,
            ],
        }
        text = json.dumps(policy) if self.policy is None else self.policy
        encoded = base64.b64encode(text.encode()).decode()
        fields |= {"policy": encoded, "x-amz-signature": self.who.sign(encoded, scope)}
        bent = {name: self.bend.get(name, value) for name, value in (fields | dict.fromkeys(self.bend, "")).items()}
        return [(name, value) for name, value in bent.items() if value is not None]

    def shot(self) -> Shot:
        body = b"".join(part(name, value.encode()) for name, value in (*self.signed(), *self.late))
        body += part("file", self.content, '; filename="a.txt"') if self.file is None else self.file
        return posted(body + END, self.who.host, self.target)


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


END: Final = f"--{BOUNDARY}--\r\n".encode()


def posted(body: bytes, host: str, target: str = BUCKET, content_type: str | None = None) -> Shot:
    headers = [("Host", host), ("Content-Type", content_type or f"multipart/form-data; boundary={BOUNDARY}")]
    return Shot("POST", target, headers, body)


def form(status: int, code: str, says: str = "", *, changed: Callable[[Shot], Shot] = lambda s: s, **bent: Any) -> Row:
    return Row(lambda stage: changed(Form(stage.alice, **bent).shot()), status, code, says)


def bent(name: str, value: str | None, status: int, code: str, says: str = "") -> Row:
    return form(status, code, says, bend={name: value})


def raw(body: bytes, status: int, code: str) -> Row:
    return Row(lambda stage: posted(body, stage.alice.host), status, code)


def with_body(change: Callable[[bytes], bytes]) -> Callable[[Shot], Shot]:
    return lambda shot: replace(shot, body=change(shot.body))


def policy(conditions: object, expiration: object = "2999-01-01T00:00:00Z") -> str:
    return json.dumps({"expiration": expiration, "conditions": conditions})


SIX: Final = ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")

ROWS: Final = {
    "H24-wrong-bucket": form(403, DENIED, "$bucket", target="/alice-2"),
    "H24-policy-of-another-bucket": form(403, DENIED, "$bucket", bucket="alice-2"),
    "H24-bucket-field-of-another-bucket": form(403, DENIED, late=(("bucket", "alice-2"),)),
    "H24-no-condition-for-the-bucket": form(
        403, DENIED, "Extra input fields", policy=policy([["starts-with", "$key", ""]])
    ),
    "H24-key-outside-the-prefix": form(
        403, DENIED, "$key", conditions=[["starts-with", "$key", "user/"]], fields={"key": "users/x"}
    ),
    "H24-key-changed": bent("key", "post/other", 403, DENIED, "$key"),
    "H24-key-leaves-the-prefix": form(400, "BadRequest", fields={"key": "user/../../x"}),
    "H24-key-by-file-name-leaves-the-prefix": form(
        403, DENIED, "$key", fields={"key": "${filename}"}, file=part("file", b"x", '; filename=".."')
    ),
    "H24-key-expanded-outside-the-prefix": form(
        403,
        DENIED,
        "$key",
        fields={"key": "post/new"},
        bend={"key": "${filename}"},
        file=part("file", b"x", '; filename="keep"'),
    ),
    "H24-too-large": form(400, "EntityTooLarge", conditions=[["content-length-range", 0, 6]]),
    "H24-too-large-blob": form(
        400, "EntityTooLarge", conditions=[["content-length-range", 0, 200_000]], content=b"x" * 300_000
    ),
    "H24-too-small": form(400, "EntityTooSmall", conditions=[["content-length-range", 8, 9]]),
    "H24-too-small-blob": form(
        400, "EntityTooSmall", conditions=[["content-length-range", 300_001, 400_000]], content=b"x" * 300_000
    ),
    "H24-a-field-without-a-condition": form(403, DENIED, "Extra input fields: acl", late=(("acl", "private"),)),
    "H24-metadata-without-a-condition": form(403, DENIED, "x-amz-meta-a", late=(("x-amz-meta-a", "b"),)),
    "H24-redirect-without-a-condition": form(
        403, DENIED, "success_action_redirect", late=(("success_action_redirect", "https://evil.example"),)
    ),
    "H24-condition-without-its-field": form(403, DENIED, "$acl", conditions=[["starts-with", "$acl", ""]]),
    "H24-expired": form(403, DENIED, "Policy expired", lifetime_s=-2),
    "H24-of-a-stranger": Row(lambda s: Form(s.mallory).shot(), 403, DENIED),
    "H24-anonymous": Row(
        lambda s: posted(part("key", b"post/new") + part("file", b"x") + END, s.alice.host), 403, DENIED
    ),
    "H24-anonymous-with-a-policy": Row(lambda s: Form(s.alice, bend=dict.fromkeys(SIX[1:])).shot(), 403, DENIED),
    "H24-no-such-bucket": form(404, "NoSuchBucket", target="/no-such-bucket", bucket="no-such-bucket"),
    # The signature
    "H24-signature-of-another-digit": form(
        403,
        "SignatureDoesNotMatch",
        changed=with_body(lambda b: b.replace(signature(b), other_digit(signature(b).decode()).encode())),
    ),
    "H24-signature-in-capitals": form(
        403, "SignatureDoesNotMatch", changed=with_body(lambda b: b.replace(signature(b), signature(b).upper() + b"0"))
    ),
    "H24-signature-cut": form(
        403, "SignatureDoesNotMatch", changed=with_body(lambda b: b.replace(signature(b), signature(b)[:63]))
    ),
    "H24-policy-changed": form(
        403, "SignatureDoesNotMatch", changed=with_body(lambda b: b.replace(b"eyJleHBpcm", b"eyJFeHBpcm"))
    ),
    "H24-unknown-key-id": Row(
        lambda s: Form(s.alice.bent(access_key_id="AKIDNOBODYHASTHISONE")).shot(), 403, "InvalidAccessKeyId"
    ),
    "H24-region": Row(lambda s: Form(s.alice.bent(region="eu-west-1")).shot(), 400, ARGUMENT, "us-east-1"),
    "H24-service": Row(lambda s: Form(s.alice.bent(service="sts")).shot(), 400, ARGUMENT),
    "H24-algorithm": form(400, ARGUMENT, bend={"x-amz-algorithm": "none"}),
    "H24-date-of-another-day": form(400, ARGUMENT, bend={"x-amz-date": "20200101T000000Z"}),
    "H24-session-token": form(400, "InvalidToken", late=(("x-amz-security-token", "t"),)),
    "H24-two-signatures": form(400, ARGUMENT, late=(("signature", "s"), ("AWSAccessKeyId", "a"))),
    **{f"H24-no-{name}": bent(name, None, 400, ARGUMENT) for name in SIX},
    **{f"H24-empty-{name}": bent(name, "", 400, ARGUMENT) for name in SIX},
    **{f"H24-{name}-twice": form(400, ARGUMENT, late=((name.title(), "x"),)) for name in (*SIX, "key")},
    "H24-with-an-authorization-header": Row(
        lambda s: Form(s.alice).shot().with_header("Authorization", "AWS4-HMAC-SHA256 Credential=x"),
        400,
        "AuthorizationHeaderMalformed",
    ),
    "H24-with-an-empty-authorization-header": Row(
        lambda s: Form(s.alice).shot().with_header("Authorization", ""), 403, DENIED
    ),
    "H24-with-a-query": form(501, "NotImplemented", target="/alice-1?policy"),
    "H24-to-an-object": form(405, "MethodNotAllowed", target="/alice-1/keep"),
    "H24-to-the-service": form(405, "MethodNotAllowed", target="/"),
    # Policies
    "H24-policy-no-json": form(400, DOCUMENT, policy="{"),
    "H24-policy-deep": form(400, DOCUMENT, policy="[" * 8_000),
    "H24-policy-names-twice": form(
        400,
        DOCUMENT,
        policy='{"expiration":"2999-01-01T00:00:00Z","conditions":[],"conditions":[["starts-with","$key",""]]}',
    ),
    "H24-policy-without-an-end": form(400, DOCUMENT, policy='{"conditions": []}'),
    "H24-policy-without-conditions": form(400, DOCUMENT, policy='{"expiration": "2999-01-01T00:00:00Z"}'),
    "H24-policy-empty-condition": form(400, DOCUMENT, policy=policy([{}])),
    "H24-policy-unknown-operator": form(400, DOCUMENT, policy=policy([["ends-with", "$key", "x"]])),
    "H24-policy-number": form(400, DOCUMENT, policy=policy([{"key": 1}])),
    "H24-policy-range-of-words": form(400, DOCUMENT, policy=policy([["content-length-range", "a", "b"]])),
    "H24-policy-expiration-no-date": form(400, DOCUMENT, policy=policy([], "soon")),
    # What no upload may ask for
    "H24-copy-source": form(400, ARGUMENT, fields={"x-amz-copy-source": "/mallory-1/keep"}),
    "H24-decoded-length": form(400, ARGUMENT, fields={"x-amz-decoded-content-length": "1"}),
    "H24-foreign-orders": form(400, ARGUMENT, fields={"x-amz-key": "1"}),
    "H24-line-end-in-a-value": form(400, ARGUMENT, fields={"Content-Type": "a\r\nx-amz-acl: public-read"}),
    "H24-line-end-in-metadata": form(400, ARGUMENT, fields={"x-amz-meta-a": "b\r\nc: d"}),
    "H24-metadata-too-large": form(400, "MetadataTooLarge", fields={"x-amz-meta-a": "b" * 2_100}),
    "H24-digest-of-another-file": form(400, "BadDigest", fields={"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}),
    "H24-checksum-of-another-file": form(400, "BadDigest", fields={"x-amz-checksum-crc32": "AAAAAA=="}),
    "H24-external-entity-in-tags": form(
        400,
        "MalformedXML",
        fields={"tagging": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Tagging>&b;</Tagging>'},
    ),
    "H24-header-beside-the-form": Row(
        lambda s: Form(s.alice).shot().with_header("x-amz-acl", "private"), 403, DENIED, "not signed"
    ),
    # Framing
    "H24-no-multipart": Row(
        lambda s: posted(b"key=a", s.alice.host, content_type="application/x-www-form-urlencoded"),
        412,
        "PreconditionFailed",
        "multipart/form-data",
    ),
    "H24-no-boundary": Row(
        lambda s: posted(b"", s.alice.host, content_type="multipart/form-data"), 412, "PreconditionFailed"
    ),
    "H24-boundary-of-71": Row(
        lambda s: posted(b"", s.alice.host, content_type="multipart/form-data; boundary=" + "a" * 71),
        412,
        "PreconditionFailed",
    ),
    "H24-empty": raw(b"", 400, MALFORMED),
    "H24-another-boundary": raw(b"--other\r\n", 400, MALFORMED),
    "H24-nothing-but-the-end": raw(END, 400, "IncorrectNumberOfFilesInPostRequest"),
    "H24-no-file": raw(part("key", b"k") + END, 400, "IncorrectNumberOfFilesInPostRequest"),
    "H24-file-first": Row(
        lambda s: Form(s.alice, bend=dict.fromkeys((*SIX, "key")), file=part("file", b"x") + part("key", b"k")).shot(),
        400,
        ARGUMENT,
        "check the order of the fields",
    ),
    "H24-two-files": form(
        400, "IncorrectNumberOfFilesInPostRequest", file=part("file", b"x" * 300_000) + part("file", b"y")
    ),
    "H24-no-end": form(400, MALFORMED, changed=with_body(lambda b: b[: -len(END)])),
    "H24-half-an-end": form(400, MALFORMED, content=b"x" * 300_000, changed=with_body(lambda b: b[:-4])),
    "H24-bytes-behind-a-boundary": form(
        400, MALFORMED, changed=with_body(lambda b: b.replace(b"xXxXxXxX--", b"xXxXxXxX-x"))
    ),
    "H24-bare-line-feeds": form(400, MALFORMED, changed=with_body(lambda b: b.replace(b"\r\n", b"\n"))),
    "H24-folded-header": raw(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data;\r\n name="key"\r\n\r\nk\r\n'.encode() + END, 400, MALFORMED
    ),
    "H24-endless-header": raw(f"--{BOUNDARY}\r\nContent-Disposition: {'a' * 19_000}".encode(), 400, MALFORMED),
    "H24-base64-part": form(400, MALFORMED, file=part("file", b"eA==", "\r\nContent-Transfer-Encoding: base64")),
    "H24-second-name-of-the-file": form(400, MALFORMED, file=part("file", b"x", "; filename*=utf-8''a")),
    "H24-fields-beyond-20-kB": form(400, TOO_MANY, late=(("x-ignore-a", "b" * 20_480),)),
    "H24-fields-without-an-end": raw(part("key", b"k" * 40_000)[:-2], 400, TOO_MANY),
    "H24-too-many-fields": form(400, TOO_MANY, late=tuple((f"x-ignore-{n}", "") for n in range(101))),
    "H24-fields-beyond-20-kB-behind-the-file": form(400, TOO_MANY, file=part("file", b"x") + part("x", b"y" * 20_480)),
    "H24-chunked": Row(
        lambda s: replace(Form(s.alice).shot(), framed=False, body=b"0\r\n\r\n").with_header(
            "Transfer-Encoding", "chunked"
        ),
        411,
        "MissingContentLength",
    ),
}


def signature(body: bytes) -> bytes:
    mark = b'name="x-amz-signature"\r\n\r\n'
    return body.partition(mark)[2][:64]


@pytest.mark.parametrize("name", ROWS)
def test_refused(stage: Stage, name: str) -> None:
    stage.refuses(ROWS[name])


def test_a_form_that_is_right_passes(stage: Stage) -> None:
    answer = stage.send(Form(stage.alice, content=b"x" * 300_000).shot())
    assert answer.status == 204, answer
    held = stage.send(stage.alice.header("GET", "/alice-1/post/new"))
    assert (held.status, held.body) == (200, b"x" * 300_000)
    stage.gone(stage.alice, "/alice-1/post/new")


def test_no_header_can_be_written_by_a_redirect(stage: Stage) -> None:
    address = "https://example.org/\r\nSet-Cookie: a=b"
    answer = stage.send(Form(stage.alice, fields={"success_action_redirect": address}).shot())
    assert answer.status == 204, "what is no address is no redirect"
    assert "set-cookie" not in answer.headers
    stage.gone(stage.alice, "/alice-1/post/new")


def test_a_connection_goes_on_behind_a_form(stage: Stage) -> None:
    with stage.connected() as secure:
        from tests.hostile.stage import read_answer  # noqa: PLC0415 - the only test that keeps a connection

        for _ in range(2):
            secure.sendall(Form(stage.alice).shot().wire())
            assert read_answer(secure, "POST").status == 204
    stage.gone(stage.alice, "/alice-1/post/new")
