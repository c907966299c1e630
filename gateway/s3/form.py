"""A browser's upload form as what it is: a PutObject whose headers stand in fields.

Once its fields are headers, the parser of PutObject reads them, so that a form can ask for nothing that a PUT could
not, and what is refused there is refused here. Source: AWS "POST Object", form fields.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

from gateway.s3 import xml
from gateway.s3.addressing import Address, check_key
from gateway.s3.errors import (
    ACCESS_DENIED,
    INVALID_ARGUMENT,
    MAX_POST_PRE_DATA_LENGTH_EXCEEDED,
    NOT_IMPLEMENTED,
    S3Error,
)
from gateway.s3.headers import check_field_value
from gateway.s3.multipart_form import Field
from gateway.s3.query import HEADER_NAME
from gateway.s3.request import Headers, Request

_FILE_NAME: Final = "${filename}"
_KEY: Final = "key"
_BUCKET: Final = "bucket"
_TAGGING: Final = "tagging"
MAX_TAG_ELEMENTS: Final = 64

_AS_HEADER: Final = MappingProxyType(
    {
        "acl": "x-amz-acl",
        **{
            name: name
            for name in (
                "cache-control",
                "content-disposition",
                "content-encoding",
                "content-language",
                "content-md5",
                "content-type",
                "expires",
                # AWS does not know these two in a form; to skip a condition that somebody sets would lose his object.
                "if-match",
                "if-none-match",
                "x-amz-sdk-checksum-algorithm",
                "x-amz-storage-class",
                "x-amz-website-redirect-location",
            )
        },
    }
)
_AS_HEADER_BY_PREFIX: Final = (
    "x-amz-checksum-",
    "x-amz-grant-",
    "x-amz-meta-",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption",
)
_OF_THE_SIGNATURE: Final = frozenset({"x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"})
_OF_THE_CONNECTION: Final = frozenset({b"host", b"origin", b"referer", b"user-agent"})
"""Headers of the POST itself that go on to whoever judges access; the others speak of the form, not of the object."""
_TOLERATED: Final = "x-amz-user-agent"
_OF_AN_OBJECT: Final = ("content-md5", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since")
"""Headers that nobody sends but to be heeded. What they would say stands in the fields of a form."""
MAX_EXPANDED_BYTES: Final = 64 * 1024
"""Of all fields, with the name of the file put in: 20 KiB of them may ask for it, with its 2 KB, 1,800 times."""


@dataclass(frozen=True, slots=True, repr=False)
class FormRequest(Request):
    """The request that a form stands for: its headers come from the fields."""

    form: Mapping[str, str] = field(default_factory=dict)
    """Every field by its lower-case name, expanded; `bucket` is there always."""


def read_form(sent: Iterable[Field], file_name: str | None, bucket: str) -> Mapping[str, str]:
    """Decode the fields of a form and put the name of its file where they ask for it.

    "If the browser or client provides a full or partial path to the file, only the text following the last slash or
    backslash is used." A file without a name leaves `${filename}` as it stands, as on AWS. `bucket` is the bucket that
    the form was sent to.

    Raises:
        S3Error: InvalidArgument for a field that stands twice or is not UTF-8, and where `key` is missing or empty;
            MaxPostPreDataLengthExceededError where the name makes more than 64 KiB of them;
            AccessDenied where the field `bucket` names another bucket.
    """
    short_name = _FILE_NAME if file_name is None else file_name.replace("\\", "/").rpartition("/")[2]
    form: dict[str, str] = {}
    left = MAX_EXPANDED_BYTES
    for one in sent:
        name = one.name.lower()
        if name in form:
            raise _wrong(one.name, "This field stands in the form more than once.")
        try:
            value = one.value.decode("utf-8")
        except UnicodeDecodeError:
            raise _wrong(one.name, "The fields of a form must be UTF-8.") from None
        left -= len(one.value) + value.count(_FILE_NAME) * len(short_name.encode())
        if left < 0:
            raise S3Error(MAX_POST_PRE_DATA_LENGTH_EXCEEDED)
        form[name] = value.replace(_FILE_NAME, short_name)
    if _KEY not in form:
        raise _wrong(
            _KEY,
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.",
        )
    if not form[_KEY]:
        raise _wrong(_KEY, "User key must have a length greater than 0.")
    if form.setdefault(_BUCKET, bucket) != bucket:
        raise S3Error(ACCESS_DENIED, "The form is for another bucket.")
    return MappingProxyType(form)


def request_of_form(request: Request, form: Mapping[str, str], address: Address) -> tuple[FormRequest, Address]:
    """Make the request that a form stands for, and the address of the object that it makes.

    Raises:
        S3Error: AccessDenied for `x-amz-*` headers beside the form, which nobody signed; NotImplemented for those that
            speak of an object; InvalidArgument for a field that cannot be a header, or asks for what no upload can;
            MalformedXML for tags; as `check_key`.
    """
    unsigned = [name for name, _ in request.headers if name.startswith("x-amz-") and name != _TOLERATED]
    if unsigned:
        raise S3Error(
            ACCESS_DENIED,
            "There were headers present in the request which were not signed",
            fields={"HeadersNotSigned": ", ".join(sorted(set(unsigned)))},
        )
    for name in _OF_AN_OBJECT:
        if name in request.headers:
            raise S3Error(NOT_IMPLEMENTED, fields={"Header": name})
    object_key = form[_KEY].encode()
    check_key(object_key)
    headers = [pair for pair in request.headers.raw() if pair[0] in _OF_THE_CONNECTION]
    headers += [(b"transfer-encoding", b"chunked")]  # no field says how long the file is
    for name, value in form.items():
        header = _header_of(name)
        if header is not None:
            headers.append(_pair(header, value))
    if form.get(_TAGGING):
        headers.append(_pair("x-amz-tagging", _tags(form[_TAGGING])))
    made = FormRequest(
        method=request.method,
        raw_path=request.raw_path,
        raw_query=request.raw_query,
        headers=Headers(headers),
        request_id=request.request_id,
        received_at=request.received_at,
        client_host=request.client_host,
        tls_version=request.tls_version,
        form=form,
    )
    return made, replace(address, object_key=object_key)


def _header_of(name: str) -> str | None:
    """Which header a field stands for; None where it stands for none. Raises: S3Error InvalidArgument."""
    if name in _AS_HEADER:
        return _AS_HEADER[name]
    if name.startswith(_AS_HEADER_BY_PREFIX):
        return name
    if name.startswith("x-amz-") and name not in _OF_THE_SIGNATURE:
        raise _wrong(name, "This field is not known here.")
    return None


def _pair(header: str, value: str) -> tuple[bytes, bytes]:
    if not HEADER_NAME.fullmatch(header):
        # Metadata names come back as header names: one with a line end in it would write headers of its own.
        raise _wrong(header, "The name of this field cannot stand for a header.")
    # As a PUT carries them: UTF-8, which a header shows as ISO-8859-1.
    shown = check_field_value(value.encode().decode("latin-1"), header)
    return header.encode("ascii"), shown.encode("latin-1")


def _tags(document: str) -> str:
    """Give the tags of a form, which are XML there, as the header of a PUT has them. Raises: S3Error MalformedXML."""
    tag_set = xml.parse(document.encode(), "Tagging", max_elements=MAX_TAG_ELEMENTS).parts(once=("TagSet",)).once
    tags = tag_set["TagSet"].parts(many=("Tag",)).many if "TagSet" in tag_set else []
    parts = [tag.parts(once=("Key", "Value")) for tag in tags]
    return urlencode([(part.required("Key"), part.required("Value")) for part in parts])


def _wrong(name: str, message: str) -> S3Error:
    return S3Error(INVALID_ARGUMENT, message, fields={"ArgumentName": name})
