"""The Range header: its grammar, and what a range means for an object of a given size.

Sources: RFC 9110 section 14; AWS "GetObject". As on AWS, a header that is malformed or names several ranges is
ignored, and the whole object is answered.
"""

import re
from typing import Final

from gateway.s3.errors import INVALID_ARGUMENT, INVALID_RANGE, S3Error
from gateway.s3.types import RangeRequest

_RANGE: Final = re.compile(
    r"bytes=[ \t]*(?:(?P<first>[0-9]+)-(?P<last>[0-9]*)|-(?P<suffix>[0-9]+))[ \t]*", re.IGNORECASE
)
_COPY_RANGE: Final = re.compile(r"bytes=(?P<first>[0-9]+)-(?P<last>[0-9]+)")

BEYOND_ANY_SIZE: Final = 10**20
"""Where longer numbers are cut off: past every object, and Python would refuse to read thousands of digits."""


def parse_range(text: str) -> RangeRequest | None:
    """Read a Range header; None where it is to be ignored. Linear in the length of the text."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    if match["suffix"] is not None:
        return RangeRequest(suffix_length=_number(match["suffix"]))
    first = _number(match["first"])
    last = _number(match["last"]) if match["last"] else None
    if last is not None and last < first:
        return None
    return RangeRequest(first_byte=first, last_byte=last)


def parse_copy_range(text: str) -> tuple[int, int]:
    """Read x-amz-copy-source-range, which is strictly `bytes=first-last`, inclusive.

    Raises:
        S3Error: InvalidArgument.
    """
    match = _COPY_RANGE.fullmatch(text)
    first, last = (_number(match["first"]), _number(match["last"])) if match else (1, 0)
    if last < first:
        raise S3Error(
            INVALID_ARGUMENT,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
            "zero-based offsets of the first and last bytes to copy",
            fields={"ArgumentName": "x-amz-copy-source-range"},
        )
    return first, last


def _number(digits: str) -> int:
    significant = digits.lstrip("0")
    return BEYOND_ANY_SIZE if len(significant) > 19 else int(significant or "0")


def resolve(wanted: RangeRequest | None, size: int) -> tuple[int, int] | None:
    """Give the half-open span (offset, length) of a range within an object of `size` bytes; None where none is wanted.

    Raises:
        S3Error: InvalidRange where no byte of it exists: any range of an empty object, a suffix of 0, a start at or
            beyond the end.
    """
    if wanted is None:
        return None
    if wanted.suffix_length is not None:
        length = min(wanted.suffix_length, size)
        offset = size - length
    else:
        assert wanted.first_byte is not None, "a range has a first byte or a suffix length"
        offset = wanted.first_byte
        end = size if wanted.last_byte is None else min(wanted.last_byte + 1, size)
        length = end - offset
    if length <= 0:
        raise S3Error(
            INVALID_RANGE,
            fields={"RangeRequested": _spell(wanted), "ActualObjectSize": str(size)},
            headers={"Content-Range": f"bytes */{size}"},
        )
    return offset, length


def _spell(wanted: RangeRequest) -> str:
    if wanted.suffix_length is not None:
        return f"bytes=-{wanted.suffix_length}"
    return f"bytes={wanted.first_byte}-{'' if wanted.last_byte is None else wanted.last_byte}"
