"""XML under limits: a reader for the three documents that clients send, and a writer that is always well-formed.

Sources: XML 1.0 (fifth edition), "Namespaces in XML"; the limits are ours. The reader is expat itself.

Writing what XML 1.0 cannot hold: AWS answers `&#x1;`, which no parser takes. Here such characters become U+FFFD, and
listings, where the exact name matters, switch to `encoding-type=url` by themselves (see `serialising.listing`).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, NoReturn
from xml.parsers import expat

from gateway.s3.errors import MALFORMED_XML, MAX_MESSAGE_LENGTH_EXCEEDED, S3Error

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 8
MAX_MARKUP_BYTES: Final = 64 * 1024
"""One tag or comment. The reader looks for its end in one go, which holds up all else: 0.2 s for 170,000 attributes."""

_XSI_TYPE: Final = f"{XSI}}}type"
_DECLARATION: Final = re.compile(rb"(?:\xef\xbb\xbf)?<\?xml[^>]*?encoding\s*=\s*[\"']([^\"']*)[\"']")
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_PLAIN: Final = re.compile("[^\t\n !#-%'-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What `escape` has to do something about: the forbidden characters, and `& < > "` and the carriage return."""
# A bare carriage return would come back as a line feed (XML 1.0 section 2.11).
# The ampersand comes first. One replacement after another takes a fifth of what `str.translate` does.
_ESCAPES: Final = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\r", "&#13;"))


@dataclass(slots=True)
class Element:
    """An element that was read. It has either text or children; the blanks between children are dropped."""

    name: str
    """Local name; the namespace is S3's or none."""
    text: str = ""
    children: list["Element"] = field(default_factory=list)
    xsi_type: str = ""
    """Its attribute `xsi:type`, which only the grantees of an ACL have."""

    def leaf(self) -> str:
        """The text of an element that has no children.

        Raises:
            S3Error: MalformedXML where it has some.
        """
        if self.children:
            raise S3Error(MALFORMED_XML)
        return self.text

    def parts(self, *, once: Collection[str] = (), many: Collection[str] = ()) -> "Parts":
        """Sort the children by name.

        Raises:
            S3Error: MalformedXML for a name that is in neither list, one of `once` that stands twice, or text.
        """
        if self.text.strip():
            raise S3Error(MALFORMED_XML)
        parts = Parts()
        for child in self.children:
            if child.name in once and child.name not in parts.once:
                parts.once[child.name] = child
            elif child.name in many:
                parts.many.append(child)
            else:
                raise S3Error(MALFORMED_XML)
        return parts


@dataclass(slots=True)
class Parts:
    """The children of an element, sorted."""

    once: dict[str, Element] = field(default_factory=dict)
    many: list[Element] = field(default_factory=list)

    def text(self, name: str) -> str | None:
        """Text of the child of that name; None where there is none.

        Raises:
            S3Error: MalformedXML where that child has children.
        """
        child = self.once.get(name)
        return None if child is None else child.leaf()

    def required(self, name: str) -> str:
        """Text of the child of that name.

        Raises:
            S3Error: MalformedXML where there is none or where it has children.
        """
        text = self.text(name)
        if text is None:
            raise S3Error(MALFORMED_XML)
        return text


class _Reader:
    """Builds `Element`s from what expat reads, and stops it at the first thing that no S3 document has.

    One element and one list for each: what the handlers need stands in their own variables, since a Complete of 10,000
    parts calls them 120,000 times on the event loop.
    """

    def __init__(self, max_elements: int, *, xsi_types: bool) -> None:
        self._top = Element("")
        self._parser = expat.ParserCreate("utf-8", "}")
        self._parser.buffer_text = True
        self._parser.ordered_attributes = True
        self._handle_elements(max_elements, [_XSI_TYPE] if xsi_types else [])
        # Without a document type there are neither entities nor anything external; each is refused by itself as well.
        self._parser.StartDoctypeDeclHandler = _refuse
        self._parser.EntityDeclHandler = _refuse
        self._parser.UnparsedEntityDeclHandler = _refuse
        self._parser.ExternalEntityRefHandler = _refuse
        self._parser.ProcessingInstructionHandler = _refuse

    def read(self, document: bytes) -> Element:
        """Give the root. Raises: S3Error MalformedXML."""
        try:
            for start in range(0, len(document), MAX_MARKUP_BYTES):
                piece = document[start : start + MAX_MARKUP_BYTES]
                self._parser.Parse(piece, False)
                if start + len(piece) - self._parser.CurrentByteIndex > MAX_MARKUP_BYTES:
                    _refuse()
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise S3Error(MALFORMED_XML) from error
        (root,) = self._top.children
        return root

    def _handle_elements(self, max_elements: int, known_attributes: list[str]) -> None:
        left, current = max_elements, self._top
        opened: list[Element] = []
        text: list[str] = []
        names: dict[str, str] = {}

        def start(tag: str, attributes: list[str]) -> None:
            nonlocal left, current
            left -= 1
            if (attributes and attributes[::2] != known_attributes) or left < 0 or len(opened) == MAX_DEPTH:
                _refuse()
            name = names.get(tag)
            if name is None:
                name = names[tag] = _local_name(tag)
            if text:
                take_blanks()
            element = Element(name, xsi_type="".join(attributes[1:]))
            current.children.append(element)
            opened.append(current)
            current = element

        def end(_: str) -> None:
            nonlocal current
            if text:
                if current.children:
                    take_blanks()
                else:
                    current.text = "".join(text)
                    text.clear()
            current = opened.pop()

        def take_blanks() -> None:
            """Nothing else may stand beside children."""
            if "".join(text).strip():
                _refuse()
            text.clear()

        self._parser.StartElementHandler = start
        self._parser.EndElementHandler = end
        self._parser.CharacterDataHandler = text.append


def _refuse(*_: object) -> NoReturn:
    raise S3Error(MALFORMED_XML)


def _local_name(tag: str) -> str:
    # The parser writes `namespace}name`.
    namespace, brace, name = tag.rpartition("}")
    if brace and namespace != NAMESPACE:
        _refuse()
    return name


def parse(document: bytes, root: str, *, max_elements: int, xsi_types: bool = False) -> Element:
    """Read one document whose root element has the name `root`; `xsi_types` lets the attribute `xsi:type` pass.

    Refused: a document type, processing instructions, attributes, any namespace but S3's or none, any encoding but
    UTF-8, more than `max_elements` elements, more than `MAX_DEPTH` levels, a tag or comment that after
    `MAX_MARKUP_BYTES` is still open where it is looked at, once for so many bytes, and bytes behind the root.

    Raises:
        S3Error: MaxMessageLengthExceeded beyond 4 MiB, else MalformedXML.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise S3Error(MAX_MESSAGE_LENGTH_EXCEEDED, fields={"MaxMessageLengthBytes": str(MAX_DOCUMENT_BYTES)})
    _check_encoding(document)
    found = _Reader(max_elements, xsi_types=xsi_types).read(document)
    if found.name != root:
        raise S3Error(MALFORMED_XML)
    return found


def _check_encoding(document: bytes) -> None:
    # expat finds UTF-16 by itself, by its byte order mark or its zero bytes, whatever encoding it is told.
    declared = _DECLARATION.match(document[:256])
    if b"\0" in document or (declared is not None and declared[1].lower() not in {b"utf-8", b"utf8", b"us-ascii"}):
        raise S3Error(MALFORMED_XML)
    try:
        document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise S3Error(MALFORMED_XML) from error


def holds(text: str) -> bool:
    """Whether XML 1.0 can hold every character of a text."""
    return _FORBIDDEN.search(text) is None


def escape(text: str) -> str:
    """Write character data or an attribute's value; characters that XML 1.0 forbids become U+FFFD."""
    if _NOT_PLAIN.search(text) is None:
        return text
    text = _FORBIDDEN.sub("\ufffd", text)
    for character, written in _ESCAPES:
        text = text.replace(character, written)
    return text


class Node:
    """An element to be written: a text, or further nodes. None is left out, so optional members read plainly.

    The text is made at once, bottom up, as a listing has some thousands of nodes and is written on the event loop.
    """

    __slots__ = ("_name", "text")
    text: str
    """The element as it is written."""

    def __init__(self, name: str, *content: "str | int | bool | Node | None") -> None:
        self._name = name
        inner = "".join([item.text if type(item) is Node else _written(item) for item in content if item is not None])
        self.text = f"<{name}>{inner}</{name}>"

    def __str__(self) -> str:
        return self.text

    def document(self, namespace: str | None = NAMESPACE) -> bytes:
        """Give the whole document with this element as its root, in UTF-8."""
        attributes = f' xmlns="{namespace}"' if namespace else ""
        start = f'<?xml version="1.0" encoding="UTF-8"?>\n<{self._name}{attributes}>'
        return (start + self.text[len(self._name) + 2 :]).encode()


def typed(name: str, xsi_type: str, *content: str | int | bool | Node | None) -> Node:
    """Make a node with the attribute `xsi:type`, by which the grantees of an ACL tell what they are."""
    node = Node(name, *content)
    node.text = f'<{name} xmlns:xsi="{XSI}" xsi:type="{escape(xsi_type)}"{node.text[len(name) + 1 :]}'
    return node


def _written(item: str | int | bool | Node) -> str:
    if isinstance(item, str):
        return escape(item)
    if isinstance(item, bool):
        return "true" if item else "false"
    return str(item)


def optional(name: str, content: str | int | bool | None) -> Node | None:
    """Make a node, or nothing where there is no content."""
    return None if content is None else Node(name, content)
