"""Requests about tags of objects and buckets, and the tags that a header carries.

Sources: AWS "PutObjectTagging", "PutBucketTagging", "Tag"; x-amz-tagging of "PutObject".
"""

import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.s3 import xml
from gateway.s3.addressing import Address
from gateway.s3.errors import BAD_REQUEST, INVALID_TAG, MALFORMED_XML, S3Error
from gateway.s3.headers import single
from gateway.s3.parsing.fields import bucket_of, invalid, key_of, version_id
from gateway.s3.parsing.start import begin
from gateway.s3.query import PERCENT_ENCODED
from gateway.s3.request import Headers, Request
from gateway.s3.types import Tags
from gateway.s3.version_types import PutBucketTaggingInput, PutObjectTaggingInput, VersionInput

MAX_OBJECT_TAGS: Final = 10
MAX_BUCKET_TAGS: Final = 50
MAX_NAME_LENGTH: Final = 128
"""Characters, as are the next."""
MAX_VALUE_LENGTH: Final = 256
_TAGGING: Final = "x-amz-tagging"
_DIRECTIVE: Final = "x-amz-tagging-directive"
_RESERVED: Final = "aws:"
_PUNCTUATION: Final = frozenset("_.:/=+-@")


def header_tags(headers: Headers) -> Tags:
    """Read x-amz-tagging: pairs as in the query of a URL.

    Raises:
        S3Error: InvalidArgument where it is none, or names a tag twice; InvalidTag, BadRequest as `check_tags`.
    """
    text = single(headers, _TAGGING)
    if not text:
        return ()
    pairs = text.split("&")
    _check_number(len(pairs), MAX_OBJECT_TAGS)
    tags = []
    for pair in pairs:
        name, _, value = pair.partition("=")
        tags.append((_decoded(name), _decoded(value)))
    if len({name for name, _ in tags}) < len(tags):
        raise _malformed()
    return check_tags(tuple(tags), MAX_OBJECT_TAGS)


def _decoded(text: str) -> str:
    # Header values are ISO-8859-1 here, so that each of their characters is a byte.
    encoded = text.encode("latin-1")
    if not PERCENT_ENCODED.fullmatch(encoded):
        raise _malformed()
    try:
        return unquote_to_bytes(encoded.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed() from None


def _malformed() -> S3Error:
    return invalid(
        _TAGGING,
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name "
        "duplicates.",
    )


def new_tags_of_copy(headers: Headers) -> Tags | None:
    """Read the tags of a copy: None where it keeps those of its source. x-amz-tagging counts with REPLACE alone.

    Raises:
        S3Error: InvalidArgument for another directive; what `header_tags` raises.
    """
    directive = single(headers, _DIRECTIVE) or "COPY"
    if directive not in {"COPY", "REPLACE"}:
        raise invalid(_DIRECTIVE, "Unknown tagging directive.")
    return header_tags(headers) if directive == "REPLACE" else None


def check_tags(tags: Tags, most: int) -> Tags:
    """Give back tags that may be kept.

    Raises:
        S3Error: BadRequest where there are more than `most`; InvalidTag for names and values that S3 does not take.
    """
    _check_number(len(tags), most)
    for name, value in tags:
        if not 1 <= len(name) <= MAX_NAME_LENGTH or not _is_writable(name):
            raise S3Error(INVALID_TAG, "The TagKey you have provided is invalid")
        if len(value) > MAX_VALUE_LENGTH or not _is_writable(value):
            raise S3Error(INVALID_TAG, "The TagValue you have provided is invalid")
        if name.lower().startswith(_RESERVED):
            raise S3Error(INVALID_TAG, "System tags cannot be added/updated by requester")
    if len({name for name, _ in tags}) < len(tags):
        raise S3Error(INVALID_TAG, "Cannot provide multiple Tags with the same key")
    return tags


def _check_number(number: int, most: int) -> None:
    if number > most:
        kind = "Object" if most == MAX_OBJECT_TAGS else "Bucket"
        raise S3Error(BAD_REQUEST, f"{kind} tags cannot be greater than {most}")


def _is_writable(text: str) -> bool:
    """Letters, marks of letters, numbers and blanks of any script, and eight other characters (AWS: "Tag").

    Deviation: AWS's expression has no marks, which leaves Hindi and Thai without most of their words.
    """
    return all(character in _PUNCTUATION or unicodedata.category(character)[0] in "LMNZ" for character in text)


def _document_tags(document: bytes, most: int) -> Tags:
    root = xml.parse(document, "Tagging", max_elements=3 * MAX_BUCKET_TAGS + 16)
    parts = root.parts(once=("TagSet",))
    elements = parts.once["TagSet"].parts(many=("Tag",)).many if "TagSet" in parts.once else None
    if elements is None:
        raise S3Error(MALFORMED_XML)
    tags = []
    for element in elements:
        pair = element.parts(once=("Key", "Value"))
        tags.append((pair.required("Key"), pair.required("Value")))
    return check_tags(tuple(tags), most)


def parse_put_object_tagging(request: Request, address: Address, document: bytes) -> PutObjectTaggingInput:
    """Read PutObjectTagging.

    Raises:
        S3Error: MalformedXML; BadRequest and InvalidTag as `check_tags`; InvalidArgument for a bad version id; what
            `begin` raises.
    """
    query = begin(request).query
    target = VersionInput(bucket_of(address), key_of(address), version_id(query))
    return PutObjectTaggingInput(target, _document_tags(document, MAX_OBJECT_TAGS))


def parse_put_bucket_tagging(request: Request, address: Address, document: bytes) -> PutBucketTaggingInput:
    """Read PutBucketTagging.

    Raises:
        S3Error: as `parse_put_object_tagging`.
    """
    begin(request)
    return PutBucketTaggingInput(bucket_of(address), _document_tags(document, MAX_BUCKET_TAGS))
