"""The canonical path: one decoding, one encoding, and never two objects under one signature."""

from dataclasses import replace
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.addressing import resolve
from gateway.s3.errors import S3Error
from gateway.s3.sigv4 import canonical
from tests.gateway.s3.sigv4.signer import HOST, request_of


@pytest.mark.parametrize(
    ("raw", "canonical_form"),
    [
        (b"", b"/"),
        (b"/", b"/"),
        (b"/b/a b", b"/b/a%20b"),
        (b"/b/a+b", b"/b/a%2Bb"),
        (b"/b/!'()*", b"/b/%21%27%28%29%2A"),
        (b"/b/%7e%2d%5F%2E~-_.", b"/b/~-_.~-_."),
        (b"/b/%c3%A9", b"/b/%C3%A9"),
        (b"/b/a%2fb", b"/b/a/b"),
        (b"/b/%2561", b"/b/%2561"),
        (b"/b//./../", b"/b//./../"),
        (b"/b/100%", b"/b/100%25"),
    ],
)
def test_the_path_is_decoded_once_and_encoded_by_one_rule(raw: bytes, canonical_form: bytes) -> None:
    assert canonical.canonical_path(raw) == canonical_form
    assert canonical.canonical_path(canonical_form) == canonical_form


PIECES = (
    *(b"b", b"k", b"/", b"%2F", b"%2f", b"%", b"%25", b"%2", b"+", b"%2B", b" ", b"%20", b"%6B", b".", b"%2e", b"%2E"),
    *(b"~", b"%7E", b"%C3%A9", b"\xc3\xa9", b"%FF", b"%zz", b"%00", b"!", b"%21"),
)
RAW_PATHS = st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join)


def addressed(raw_path: bytes) -> tuple[str | None, bytes | None] | None:
    try:
        address = resolve(replace(request_of("GET", "/", "", [("host", HOST)]), raw_path=raw_path), ())
    except S3Error:
        return None
    return address.bucket, address.object_key


@given(tail=RAW_PATHS, data=st.data())
def test_paths_that_are_signed_alike_address_the_same_or_are_refused(tail: bytes, data: st.DataObject) -> None:
    """What is verified is what is executed: of the paths that one signature covers, none names another object."""
    one = b"/bucket/" + tail
    other = b"".join(
        data.draw(st.sampled_from([bytes([octet]), b"%%%02X" % octet, b"%%%02x" % octet]))
        for octet in unquote_to_bytes(one)
    )
    meant = {addressed(one), addressed(other)} - {None}
    if canonical.canonical_path(one) == canonical.canonical_path(other):
        assert len(meant) <= 1
    else:
        assert len(meant) == 2 or None in {addressed(one), addressed(other)}
