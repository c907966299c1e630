"""A multipart/form-data body as it comes: fields whole, the file as a stream, nothing that a form need not have.

Sources: RFC 7578, RFC 2046 section 5.1, and AWS "POST Object" for the limits and for what stands where: fields first,
one file, and behind it only fields that nobody reads. Stricter than RFC 2046 where leniency would give two readings:
no preamble, no padding behind a boundary, no folded header, CRLF alone ends a line.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from gateway.s3.errors import (
    INCORRECT_NUMBER_OF_FILES,
    MALFORMED_POST_REQUEST,
    MAX_POST_PRE_DATA_LENGTH_EXCEEDED,
    PRECONDITION_FAILED,
    S3Error,
)

FILE: Final = "file"
"""Name of the field that carries the object's bytes."""

_CRLF: Final = b"\r\n"
# RFC 2046 section 5.1.1: 1 to 70 characters of this set, no blank at the end.
_BOUNDARY: Final = r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]"
_UNQUOTED: Final = r"[0-9A-Za-z'()+_./:=?-]{1,70}"
_CONTENT_TYPE: Final = re.compile(
    rf'multipart/form-data\s*;\s*boundary=(?:"({_BOUNDARY})"|({_UNQUOTED}))(?:\s*;\s*charset="?utf-8"?)?',
    re.IGNORECASE,
)
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_PARAMETER: Final = re.compile(rb';[ \t]*([A-Za-z*]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"\\]+))[ \t]*')
# HTML "Multipart form data": a browser writes these three, and only these, as escapes.
_ESCAPE: Final = re.compile(rb'%(22|0D|0A)|\\(["\\])', re.IGNORECASE)
_IDENTITY: Final = frozenset({b"7bit", b"8bit", b"binary"})


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What of a form beside its file is taken; bytes are those of the wire, boundaries and headers included."""

    fields_bytes: int = 20 * 1024
    """AWS: "The form data and boundaries (excluding file content) cannot exceed 20KB"."""
    field_count: int = 100
    header_bytes: int = 2048
    """Of one part."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that came before the file."""

    name: str
    """As sent; S3 takes any case."""
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FileBegin:
    """The file begins: from here on there are `FileData`."""

    file_name: str | None = field(repr=False)
    """As the client calls it, which may be a whole path."""


@dataclass(frozen=True, slots=True)
class FileData:
    """The next bytes of the file."""

    data: bytearray = field(repr=False)


Event = Field | FileBegin | FileData


class _At(Enum):
    """What the next bytes are."""

    FIRST_BOUNDARY = auto()
    BEHIND_BOUNDARY = auto()
    HEADERS = auto()
    FIELD = auto()
    FILE = auto()
    IGNORED = auto()
    EPILOGUE = auto()


def boundary_of(content_type: str | None) -> bytes:
    """Find the boundary that a form's Content-Type names.

    Raises:
        S3Error: PreconditionFailed where it is no multipart/form-data with one boundary, as on AWS.
    """
    match = _CONTENT_TYPE.fullmatch(content_type or "")
    if match is None:
        raise S3Error(
            PRECONDITION_FAILED,
            fields={"Condition": "Bucket POST must be of the enclosure-type multipart/form-data"},
        )
    return (match[1] or match[2]).encode("ascii")


class FormDecoder:
    """Decodes one form. `feed` what comes, in pieces of any size, then `finish`. A decoder that failed stays failed."""

    def __init__(self, boundary: bytes, limits: FormLimits | None = None) -> None:
        self._limits = limits or FormLimits()
        self._delimiter = _CRLF + b"--" + boundary
        # The first boundary then looks like every other one.
        self._buffer = bytearray(_CRLF)
        self._at = _At.FIRST_BOUNDARY
        self._name = ""
        self._parts = 0
        self._beside_bytes = 0
        """Bytes that came and are not the file's."""
        self._has_file = False

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes; give what they complete.

        Raises:
            S3Error: MalformedPOSTRequest, MaxPostPreDataLengthExceededError, IncorrectNumberOfFilesInPostRequest.
        """
        self._buffer += data
        events: list[Event] = []
        while self._step(events):
            pass
        return events

    def finish(self) -> None:
        """See that the form has come to its end.

        Raises:
            S3Error: MalformedPOSTRequest where the last boundary is missing; IncorrectNumberOfFilesInPostRequest.
        """
        if self._at is not _At.EPILOGUE:
            raise S3Error(MALFORMED_POST_REQUEST)
        if not self._has_file:
            raise S3Error(INCORRECT_NUMBER_OF_FILES)

    def _step(self, events: list[Event]) -> bool:
        """Take one thing out of the buffer; False where that needs more bytes."""
        match self._at:
            case _At.FIRST_BOUNDARY:
                return self._first_boundary()
            case _At.BEHIND_BOUNDARY:
                return self._behind_boundary()
            case _At.HEADERS:
                return self._headers(events)
            case _At.FIELD | _At.IGNORED:
                return self._field(events)
            case _At.FILE:
                return self._file(events)
            case _At.EPILOGUE:
                self._take(len(self._buffer))
                return False

    def _first_boundary(self) -> bool:
        size = len(self._delimiter)
        if self._buffer[:size] != self._delimiter[: len(self._buffer)]:
            raise S3Error(MALFORMED_POST_REQUEST)
        if len(self._buffer) < size:
            return False
        self._take(size)
        self._at = _At.BEHIND_BOUNDARY
        return True

    def _behind_boundary(self) -> bool:
        if len(self._buffer) < 2:
            return False
        end = self._take(2)
        if end == b"--":
            self._at = _At.EPILOGUE
        elif end == _CRLF:
            self._at = _At.HEADERS
        else:
            raise S3Error(MALFORMED_POST_REQUEST)
        return True

    def _headers(self, events: list[Event]) -> bool:
        limit = self._limits.header_bytes
        end = self._buffer.find(_CRLF * 2, 0, limit)
        if end < 0:
            if len(self._buffer) >= limit:
                raise S3Error(MALFORMED_POST_REQUEST)
            return False
        name, file_name = _read_headers(self._take(end + 4)[:-4])
        self._parts += 1
        if self._parts > self._limits.field_count:
            raise S3Error(MAX_POST_PRE_DATA_LENGTH_EXCEEDED)
        if name.lower() == FILE:
            if self._has_file:
                raise S3Error(INCORRECT_NUMBER_OF_FILES)
            self._has_file = True
            events.append(FileBegin(file_name))
            self._at = _At.FILE
        else:
            # Some libraries give every part a file name; the name of the field alone says which is the file.
            self._name = name
            self._at = _At.IGNORED if self._has_file else _At.FIELD
        return True

    def _field(self, events: list[Event]) -> bool:
        end = self._buffer.find(self._delimiter)
        if end < 0:
            self._check_beside(len(self._buffer))
            return False
        value = self._take(end + len(self._delimiter))[:end]
        if self._at is _At.FIELD:
            events.append(Field(self._name, value))
        self._at = _At.BEHIND_BOUNDARY
        return True

    def _file(self, events: list[Event]) -> bool:
        end = self._buffer.find(self._delimiter)
        # What may be the beginning of a boundary waits for the next bytes.
        size = end if end >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
        if size:
            events.append(FileData(self._buffer[:size]))
            del self._buffer[:size]
        if end < 0:
            return False
        self._take(len(self._delimiter))
        self._at = _At.BEHIND_BOUNDARY
        return True

    def _take(self, size: int) -> bytes:
        """Remove bytes that are not the file's."""
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._beside_bytes += size
        self._check_beside(0)
        return taken

    def _check_beside(self, waiting: int) -> None:
        if self._beside_bytes + waiting > self._limits.fields_bytes:
            raise S3Error(
                MAX_POST_PRE_DATA_LENGTH_EXCEEDED, fields={"MaxPostPreDataLengthBytes": str(self._limits.fields_bytes)}
            )


def _read_headers(block: bytes) -> tuple[str, str | None]:
    """Give the name of a part, and its file name where it has one. Raises: S3Error MalformedPOSTRequest."""
    disposition: bytes | None = None
    for line in block.split(_CRLF):
        match = _HEADER.fullmatch(line)
        if match is None:
            raise S3Error(MALFORMED_POST_REQUEST)
        header, value = match[1].lower(), match[2].strip()
        if header == b"content-disposition":
            if disposition is not None:
                raise S3Error(MALFORMED_POST_REQUEST)
            disposition = value
        elif header == b"content-transfer-encoding" and value.lower() not in _IDENTITY:
            raise S3Error(MALFORMED_POST_REQUEST, "The parts of a form must be sent as they are.")
    return _read_disposition(disposition or b"")


def _read_disposition(text: bytes) -> tuple[str, str | None]:
    kind, _, rest = text.partition(b";")
    if kind.strip().lower() != b"form-data":
        raise S3Error(MALFORMED_POST_REQUEST)
    found: dict[bytes, str] = {}
    rest, at = b";" + rest, 0
    while at < len(rest):
        match = _PARAMETER.match(rest, at)
        # `filename*` is forbidden by RFC 7578 section 4.2, and a second reading of the name is not wanted.
        if match is None or match[1].lower() not in {b"name", b"filename"} or match[1].lower() in found:
            raise S3Error(MALFORMED_POST_REQUEST)
        found[match[1].lower()] = _text(match[2] if match[2] is not None else match[3])
        at = match.end()
    if not found.get(b"name"):
        raise S3Error(MALFORMED_POST_REQUEST)
    return found[b"name"], found.get(b"filename")


def _text(raw: bytes) -> str:
    plain = _ESCAPE.sub(lambda found: found[2] or bytes.fromhex(found[1].decode()), raw)
    try:
        return plain.decode("utf-8")
    except UnicodeDecodeError:
        raise S3Error(MALFORMED_POST_REQUEST) from None
