"""Requests about cross-origin rules.

Source: AWS "PutBucketCors". What a rule holds comes back in headers of answers, so it may hold what they may.
"""

import re
from typing import Final

from gateway.s3 import xml
from gateway.s3.access_types import PutBucketCorsInput
from gateway.s3.addressing import Address
from gateway.s3.cors import MAX_RULES, METHODS, CorsRule
from gateway.s3.errors import INVALID_REQUEST, MALFORMED_XML, S3Error
from gateway.s3.parsing.fields import bucket_of
from gateway.s3.parsing.start import begin
from gateway.s3.request import Request
from gateway.s3.types import BucketInput

MAX_CORS_BYTES: Final = 64 * 1024
"""AWS: "The file is limited to 64 KB"."""
MAX_AGE_S: Final = 2**31 - 1

_ORIGIN: Final = re.compile(r"[\x21-\x7e]{1,1024}")
# RFC 9110 section 5.6.2, with the wildcard, which is a token's character anyway.
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_MANY: Final = ("AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader")


def _parse_bucket(request: Request, address: Address, document: bytes) -> BucketInput:  # noqa: ARG001 - one signature for all
    begin(request)
    return BucketInput(bucket_of(address))


parse_get_bucket_cors = _parse_bucket
parse_delete_bucket_cors = _parse_bucket


def parse_put_bucket_cors(request: Request, address: Address, document: bytes) -> PutBucketCorsInput:
    """Read PutBucketCors.

    Raises:
        S3Error: MalformedXML; InvalidRequest for what no rule may hold: an unknown method, two wildcards, characters
            that no header has; what `begin` raises.
    """
    begin(request)
    if len(document) > MAX_CORS_BYTES:
        raise S3Error(MALFORMED_XML)
    root = xml.parse(document, "CORSConfiguration", max_elements=4096)
    rules = tuple(_rule(element) for element in root.parts(many=("CORSRule",)).many)
    if not 1 <= len(rules) <= MAX_RULES:
        raise S3Error(MALFORMED_XML)
    return PutBucketCorsInput(bucket_of(address), rules)


def _rule(element: xml.Element) -> CorsRule:
    parts = element.parts(once=("ID", "MaxAgeSeconds"), many=_MANY)
    texts = {name: tuple(child.leaf().strip() for child in parts.many if child.name == name) for name in _MANY}
    origins, methods, headers, exposed = (texts[name] for name in _MANY)
    if not origins or not methods:
        raise S3Error(MALFORMED_XML)
    for method in methods:
        if method not in METHODS:
            raise _invalid(f"Found unsupported HTTP method in CORS config. Unsupported method is {method[:32]}")
    for name, values, form in (
        ("AllowedOrigin", origins, _ORIGIN),
        ("AllowedHeader", headers, _HEADER),
        ("ExposeHeader", exposed, _HEADER),
    ):
        for value in values:
            if not form.fullmatch(value):
                raise _invalid(f"{name} holds a character that no header may hold, or is empty or too long.")
            if value.count("*") > (name != "ExposeHeader"):
                raise _invalid(f'{name} "{value[:64]}" can not have more than one wildcard.')
    age, rule_id = parts.text("MaxAgeSeconds"), parts.text("ID")
    if rule_id is not None and len(rule_id) > 255:
        raise _invalid("The ID of a rule has 255 characters at the most.")
    return CorsRule(origins, methods, headers, exposed, _age(age), rule_id)


def _age(text: str | None) -> int | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text.strip()) or int(text) > MAX_AGE_S:
        raise S3Error(MALFORMED_XML)
    return int(text)


def _invalid(message: str) -> S3Error:
    return S3Error(INVALID_REQUEST, message)
