from typing import Any

import pytest

from gateway.s3.errors import S3Error
from gateway.s3.lifecycle_document import (
    MAX_RULES,
    decode_lifecycle,
    encode_lifecycle,
    lifecycle_node,
    read_lifecycle,
)

SIZE = "all_storage_classes_128K"
EXPIRE = "<Expiration><Days>1</Days></Expiration>"
ABORT = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
MARKER = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"


def rule(
    actions: str = EXPIRE,
    *,
    about: str = "<Filter><Prefix>a/</Prefix></Filter>",
    name: str = "<ID>r</ID>",
    status: str = "Enabled",
) -> str:
    return f"<Rule>{name}{about}<Status>{status}</Status>{actions}</Rule>"


def document(*rules: str) -> bytes:
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<LifecycleConfiguration xmlns="{namespace}">{"".join(rules)}</LifecycleConfiguration>'.encode()


def noncurrent(days: str | None, newer: str | None = None) -> str:
    inner = "" if days is None else f"<NoncurrentDays>{days}</NoncurrentDays>"
    inner += "" if newer is None else f"<NewerNoncurrentVersions>{newer}</NewerNoncurrentVersions>"
    return f"<NoncurrentVersionExpiration>{inner}</NoncurrentVersionExpiration>"


def about(inner: str) -> str:
    return f"<Filter>{inner}</Filter>"


TAG = "<Tag><Key>k</Key><Value>v</Value></Tag>"
WHOLE = document(
    rule(
        EXPIRE + noncurrent("30", "5") + ABORT.replace("7", "2"),
        about=about("<And><Prefix>a&amp;b/</Prefix></And>").replace(
            "</And>", "<ObjectSizeGreaterThan>1</ObjectSizeGreaterThan></And>"
        ),
    ).replace(ABORT.replace("7", "2"), ""),
    rule(MARKER + ABORT, name="<ID>s</ID>", about="<Prefix>logs/</Prefix>"),
    rule(
        "<Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration>",
        name="<ID>t</ID>",
        about=about(TAG),
        status="Disabled",
    ),
    rule(
        EXPIRE,
        name="<ID>u</ID>",
        about=about("<And>" + TAG + TAG.replace("k<", "l<") + "<ObjectSizeLessThan>9</ObjectSizeLessThan></And>"),
    ),
    rule(EXPIRE, name="<ID>w</ID>", about=about("<ObjectSizeLessThan>9</ObjectSizeLessThan>")),
    rule(MARKER.replace("true", "false"), name="<ID>v</ID>", about="<Filter/>"),
)


def test_what_is_read_is_written_back() -> None:
    lifecycle = read_lifecycle(WHOLE, SIZE)
    assert [one.rule_id for one in lifecycle.rules] == ["r", "s", "t", "u", "w", "v"]
    written = lifecycle_node(lifecycle).document()
    assert read_lifecycle(written, SIZE) == lifecycle
    assert b"Transition" not in written
    stored = encode_lifecycle(lifecycle)
    assert decode_lifecycle(stored) == lifecycle
    other = read_lifecycle(WHOLE, "varies_by_storage_class")
    assert decode_lifecycle(encode_lifecycle(other)) == other != lifecycle


def test_a_rule_without_an_id_gets_one_that_stays() -> None:
    for name in ("", "<ID/>", "<ID> </ID>"):
        lifecycle = read_lifecycle(document(rule(name=name), rule(name=name, actions=ABORT)), SIZE)
        first, second = (one.rule_id for one in lifecycle.rules)
        assert first
        assert first != second
        assert decode_lifecycle(encode_lifecycle(lifecycle)) == lifecycle


def test_days_as_they_were_sent() -> None:
    lifecycle = read_lifecycle(document(rule("<Expiration><Days>2147483647</Days></Expiration>")), SIZE)
    assert b"<Days>2147483647</Days>" in lifecycle_node(lifecycle).document()


@pytest.mark.parametrize(
    "text", ["2030-01-01", "2030-01-01T00:00:00Z", "2030-01-01T00:00:00.000Z", "2030-01-01T00:00:00+00:00"]
)
def test_dates(text: str) -> None:
    (one,) = read_lifecycle(document(rule(f"<Expiration><Date>{text}</Date></Expiration>")), SIZE).rules
    assert str(one.expiration_date) == "2030-01-01 00:00:00+00:00"


MALFORMED: Any = {
    "no rule": document(),
    "no status": document(f"<Rule><Filter/>{EXPIRE}</Rule>"),
    "status": document(rule(status="enabled")),
    "neither filter nor prefix": document(rule(about="")),
    "both": document(rule(about="<Filter/><Prefix/>")),
    "unknown element": document(rule(EXPIRE + "<More/>")),
    "two ids": document(rule(name="<ID>a</ID><ID>b</ID>")),
    "two predicates without And": document(rule(about=about("<Prefix>a</Prefix>" + TAG))),
    "And of one": document(rule(about=about("<And><Prefix>a</Prefix></And>"))),
    "And inside And": document(rule(about=about("<And><And/><Prefix/></And>"))),
    "tag without value": document(rule(about=about("<Tag><Key>a</Key></Tag>"))),
    "tag without name": document(rule(about=about("<Tag><Key/><Value/></Tag>"))),
    "size": document(rule(about=about("<ObjectSizeLessThan>-1</ObjectSizeLessThan>"))),
    "size in words": document(rule(about=about("<ObjectSizeLessThan>1e3</ObjectSizeLessThan>"))),
    "days in words": document(rule("<Expiration><Days>one</Days></Expiration>")),
    "days of many digits": document(rule(f"<Expiration><Days>{'9' * 5000}</Days></Expiration>")),
    "empty expiration": document(rule("<Expiration/>")),
    "days and date": document(rule("<Expiration><Days>1</Days><Date>2030-01-01T00:00:00Z</Date></Expiration>")),
    "days and marker": document(
        rule(EXPIRE.replace("</Exp", "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Exp"))
    ),
    "marker": document(rule(MARKER.replace("true", "yes"))),
    "date": document(rule("<Expiration><Date>tomorrow</Date></Expiration>")),
    "date of no calendar": document(rule("<Expiration><Date>2030-02-30T00:00:00Z</Date></Expiration>")),
    "noncurrent without days": document(rule(noncurrent(None, "5"))),
    "abort without days": document(rule("<AbortIncompleteMultipartUpload/>")),
    "too many rules": document(
        *(rule(name=f"<ID>{n}</ID>", about=f"<Prefix>{n}</Prefix>") for n in range(MAX_RULES + 1))
    ),
    "too many tags": document(
        rule(about=about("<And>" + "".join(TAG.replace("k<", f"k{n}<") for n in range(11)) + "</And>"))
    ),
    "nothing": b"",
    "doctype": b'<!DOCTYPE a [<!ENTITY b "c">]>' + document(rule()),
    "another root": b"<Lifecycle/>",
    "the header as an element": document(
        rule(), "<TransitionDefaultMinimumObjectSize>x</TransitionDefaultMinimumObjectSize>"
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    refused("MalformedXML", MALFORMED[name])


def refused(code: str, sent: bytes) -> S3Error:
    with pytest.raises(S3Error) as caught:
        read_lifecycle(sent, SIZE)
    assert caught.value.row.code == code, caught.value
    return caught.value


@pytest.mark.parametrize(
    ("code", "says", "rules"),
    [
        ("InvalidArgument", "unique", [rule(), rule(about="<Prefix>b</Prefix>")]),
        ("InvalidArgument", "255", [rule(name=f"<ID>{'x' * 256}</ID>")]),
        ("InvalidArgument", "'Days' for Expiration", [rule("<Expiration><Days>0</Days></Expiration>")]),
        ("InvalidArgument", "positive", [rule("<Expiration><Days>-1</Days></Expiration>")]),
        ("InvalidArgument", "positive", [rule("<Expiration><Days>2147483648</Days></Expiration>")]),
        ("InvalidArgument", "'NoncurrentDays'", [rule(noncurrent("0"))]),
        ("InvalidArgument", "'NewerNoncurrentVersions'", [rule(noncurrent("1", "0"))]),
        ("InvalidArgument", "100", [rule(noncurrent("1", "101"))]),
        ("InvalidArgument", "'DaysAfterInitiation'", [rule(ABORT.replace("7", "0"))]),
        ("InvalidArgument", "midnight", [rule("<Expiration><Date>2030-01-01T00:00:01Z</Date></Expiration>")]),
        ("InvalidArgument", "prefix", [rule(about=f"<Prefix>{'x' * 1025}</Prefix>")]),
        ("InvalidRequest", "At least one action", [rule("")]),
        ("InvalidRequest", "Tags", [rule(MARKER, about=about(TAG))]),
        ("InvalidRequest", "Tags", [rule(ABORT, about=about(TAG))]),
        ("InvalidRequest", "Size", [rule(ABORT, about=about("<ObjectSizeLessThan>9</ObjectSizeLessThan>"))]),
        ("InvalidRequest", "Duplicate Tag Keys", [rule(about=about(f"<And>{TAG}{TAG}</And>"))]),
        (
            "InvalidRequest",
            "greater",
            [
                rule(
                    about=about(
                        "<And><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>5</ObjectSizeLessThan></And>"
                    )
                )
            ],
        ),
        ("InvalidRequest", "same prefix 'a/'", [rule(), rule(name="<ID>s</ID>")]),
        (
            "NotImplemented",
            "transitions",
            [rule("<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>")],
        ),
        ("NotImplemented", "transitions", [rule(EXPIRE + "<NoncurrentVersionTransition/>")]),
    ],
)
def test_what_s3_refuses(code: str, says: str, rules: list[str]) -> None:
    assert says in refused(code, document(*rules)).message


def test_overlapping_prefixes_are_judged_rule_by_rule() -> None:
    lifecycle = read_lifecycle(
        document(rule(), rule(name="<ID>s</ID>", about="<Prefix>a/b</Prefix>"), rule(ABORT, name="<ID>t</ID>")), SIZE
    )
    assert len(lifecycle.rules) == 3


def test_the_most_rules() -> None:
    many = document(*(rule(name=f"<ID>{n}</ID>", about=f"<Prefix>{n}</Prefix>") for n in range(MAX_RULES)))
    assert len(read_lifecycle(many, SIZE).rules) == MAX_RULES
