import json
import socket
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from defusedxml import ElementTree
from defusedxml.ElementTree import ParseError
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import MALFORMED_XML, MAX_MESSAGE_LENGTH_EXCEEDED, S3Error
from gateway.s3.xml import (
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_MARKUP_BYTES,
    NAMESPACE,
    Element,
    Node,
    escape,
    holds,
    optional,
    parse,
)
from tests.gateway.s3.wire import read

VECTORS = Path(__file__).parents[2] / "vectors" / "xml"
CASES: dict[str, Any] = json.loads((VECTORS / "cases.json").read_text(encoding="utf-8"))
MD5 = {"Content-MD5": "XrY7u+Ae7tCTyyK7j1rNww=="}


def test_every_vector_has_a_case() -> None:
    assert {path.stem for path in VECTORS.glob("*.xml")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_h63_to_h67_vectors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_way_out(*arguments: object, **named: object) -> None:
        raise AssertionError("a document opened something")

    document = (VECTORS / f"{name}.xml").read_bytes()
    monkeypatch.setattr(socket, "socket", no_way_out)
    monkeypatch.setattr("builtins.open", no_way_out)
    started = time.process_time()
    if CASES[name]["outcome"] == "value":
        assert [entry.object_key for entry in read("POST", "/bucket?delete", MD5, document).objects] == [b"a"]
    else:
        with pytest.raises(S3Error) as caught:
            read("POST", "/bucket?delete", MD5, document)
        assert caught.value.row.code == CASES[name]["outcome"]
    assert time.process_time() - started < 0.1


def refused(document: bytes, max_elements: int = 100) -> S3Error:
    with pytest.raises(S3Error) as caught:
        parse(document, "A", max_elements=max_elements)
    return caught.value


def test_h64_200_000_nested_tags_stop_early() -> None:
    started = time.process_time()
    assert refused(b"<A>" * 200_000).row is MALFORMED_XML
    assert refused(b"<A>" * 200_000 + b"</A>" * 200_000).row is MALFORMED_XML
    assert time.process_time() - started < 0.1


def test_depth_is_bounded_exactly() -> None:
    assert parse(b"<A>" * MAX_DEPTH + b"</A>" * MAX_DEPTH, "A", max_elements=100).name == "A"
    assert refused(b"<A>" * (MAX_DEPTH + 1) + b"</A>" * (MAX_DEPTH + 1)).row is MALFORMED_XML


def test_elements_are_bounded_exactly() -> None:
    document = b"<A>" + b"<B/>" * 9 + b"</A>"
    assert len(parse(document, "A", max_elements=10).children) == 9
    assert refused(document, 9).row is MALFORMED_XML


def test_markup_that_does_not_end_is_not_waited_for() -> None:
    inner = "a" * (MAX_MARKUP_BYTES - 100)
    assert parse(f"<A><!--{inner}-->{inner * 3}</A>".encode(), "A", max_elements=1).text == inner * 3
    for opened in ("<A><!--", "<A><B c='", "<A><B"):
        for closed in ("", "--></A>", "'/></A>", "/></A>"):
            assert refused((opened + inner * 3 + closed).encode()).row is MALFORMED_XML


def test_h65_more_than_4_mib() -> None:
    document = b"<A>" + b" " * (MAX_DOCUMENT_BYTES - 7) + b"</A>"
    assert parse(document, "A", max_elements=1).name == "A"
    assert refused(document + b" ").row is MAX_MESSAGE_LENGTH_EXCEEDED


def test_h66_trailing_bytes_of_every_kind() -> None:
    for tail in (b"x", b"<A/>", b"\0", b"<!DOCTYPE A>", b"\xff", b"<?pi?>", b"&amp;"):
        assert refused(b"<A/>" + tail).row is MALFORMED_XML


def test_every_cut_of_a_document_is_refused() -> None:
    document = f'<?xml version="1.0"?><A xmlns="{NAMESPACE}"><B>text &amp; more</B></A>'.encode()
    assert parse(document, "A", max_elements=2).parts(once=("B",)).text("B") == "text & more"
    for length in range(len(document)):
        assert refused(document[:length]).row is MALFORMED_XML


@pytest.mark.parametrize(
    "document",
    [
        b"<!DOCTYPE A><A/>",
        b"<!DOCTYPE A []><A/>",
        b'<!DOCTYPE A SYSTEM "file:///etc/passwd"><A/>',
        b'<!DOCTYPE A [<!ENTITY e "x">]><A>&e;</A>',
        b'<!DOCTYPE A [<!ENTITY % e SYSTEM "http://127.0.0.1/">%e;]><A/>',
        b"<A>&undefined;</A>",
        b"<?pi?><A/>",
        b"<A><?pi?></A>",
        b'<A a="1"/>',
        b'<A xml:space="preserve"/>',
        b'<A xmlns="urn:other"/>',
        b'<A xmlns:p="urn:other"><p:B/></A>',
        b"<p:A/>",
        b"<A>text<B/></A>",
        b"<A><B/>text</A>",
        b"<A><B/><B/>&#65;<B/></A>",
        b"<A><![CDATA[x]]><B/></A>",
    ],
)
def test_what_no_document_of_s3_has_is_refused(document: bytes) -> None:
    assert refused(document).row is MALFORMED_XML


def test_a_prefix_for_the_namespace_of_s3_is_as_good() -> None:
    root = parse(f'<p:A xmlns:p="{NAMESPACE}"><p:B>1</p:B></p:A>'.encode(), "A", max_elements=2)
    assert root.parts(once=("B",)).text("B") == "1"


def test_texts_are_whole_however_they_are_written() -> None:
    long = "a&amp;b<![CDATA[<c>]]>&#x64;<!-- no text -->" * 5_000
    root = parse(f"<A> <B>{long}</B><!-- --> </A>".encode(), "A", max_elements=2)
    assert root.parts(once=("B",)).text("B") == "a&b<c>d" * 5_000
    assert root.text == ""


PIECES = ["<A>", "</A>", "<B>", "</B>", "<B/>", " ", "x", "&amp;", "&#65;", "<!-- c -->", "<![CDATA[<]]>", "\u00e4"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_another_reader_reads_the_same(inner: str) -> None:
    document = f"<A>{inner}</A>".encode()
    try:
        other = ElementTree.fromstring(document, forbid_dtd=True)
    except ParseError:
        refused(document)
        return
    mixed = any(
        len(element) and ((element.text or "") + "".join(child.tail or "" for child in element)).strip()
        for element in other.iter()
    )
    if mixed or other.tag != "A":
        refused(document)
    else:
        assert flat(parse(document, "A", max_elements=100)) == [
            (element.tag, "" if len(element) else element.text or "", len(element)) for element in other.iter()
        ]


def flat(root: Element) -> list[tuple[str, str, int]]:
    below = [row for child in root.children for row in flat(child)]
    return [(root.name, root.text, len(root.children)), *below]


def test_members() -> None:
    root = parse(b"<A><B>1</B><C/><C/></A>", "A", max_elements=10)
    parts = root.parts(once=("B", "D"), many=("C",))
    assert parts.required("B") == "1"
    assert parts.text("D") is None
    assert len(parts.many) == 2
    with pytest.raises(S3Error):
        parts.required("D")


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_a_document_is_a_value_or_an_s3_error(document: bytes) -> None:
    for candidate in (document, b"<A>" + document + b"</A>"):
        try:
            parse(candidate, "A", max_elements=20)
        except S3Error as error:
            assert error.row is MALFORMED_XML  # noqa: PT017 - a value is as good


def xml_text(node: Node) -> str | None:
    return ET.fromstring(node.document()).text  # noqa: S314 - our own output, by a second parser


@given(st.text())
def test_h68_whatever_is_written_is_well_formed(text: str) -> None:
    written = xml_text(Node("A", text.encode("utf-8", "replace").decode()))
    if holds(text):
        assert (written or "") == text
    else:
        assert written is not None
        assert holds(written)


@pytest.mark.parametrize("text", ["]]>", "<![CDATA[", "a&b<c>\"d'", "😀", "\t\r\n ", "a\rb", "\r\n", "\u2028\x85"])
def test_h67_awkward_texts_come_back(text: str) -> None:
    assert xml_text(Node("A", text)) == text


@pytest.mark.parametrize("text", ["\x01", "\x00", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800"])
def test_h68_what_xml_cannot_hold_becomes_a_replacement_character(text: str) -> None:
    assert not holds(text)
    assert escape(f"a{text}b") == "a\ufffdb"


def test_nodes() -> None:
    node = Node("A", Node("B", 1), None, Node("C", True), Node("D", False), optional("E", None), optional("F", 0))
    body = node.document()
    assert body == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<A xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<B>1</B><C>true</C><D>false</D><F>0</F></A>"
    )
    assert Node("A").document(namespace=None) == b'<?xml version="1.0" encoding="UTF-8"?>\n<A></A>'
