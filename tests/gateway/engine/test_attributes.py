"""Attributes survive the catalogue's JSON, and an absent one leaves no trace."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.attributes import ObjectAttributes
from gateway.s3.types import Checksum, ChecksumAlgorithm, ChecksumType, ObjectHeaders

TEXT = st.text(max_size=20)
NAMES = st.text(min_size=1, max_size=10)
CHECKSUMS = st.builds(Checksum, st.sampled_from(ChecksumAlgorithm), TEXT, st.sampled_from(ChecksumType))
ATTRIBUTES = st.builds(
    ObjectAttributes,
    headers=st.builds(ObjectHeaders, *[st.none() | TEXT] * 6),
    metadata=st.dictionaries(NAMES, TEXT, max_size=3),
    checksum=st.none() | CHECKSUMS,
    tags=st.lists(st.tuples(NAMES, TEXT), max_size=3).map(tuple),
    checksum_algorithm=st.none() | st.sampled_from(ChecksumAlgorithm),
    checksum_type=st.none() | st.sampled_from(ChecksumType),
)


@given(ATTRIBUTES)
def test_every_value_goes_round(attributes: ObjectAttributes) -> None:
    encoded = attributes.encode()
    assert ObjectAttributes.decode(json.loads(json.dumps(encoded))) == attributes
    assert None not in encoded.values()


def test_nothing_is_nothing() -> None:
    assert ObjectAttributes().encode() == {}
    assert ObjectAttributes.decode({}) == ObjectAttributes()
    assert ObjectAttributes(headers=ObjectHeaders(content_type="")).encode() == {"headers": {"content_type": ""}}
