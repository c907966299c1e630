"""What S3 has and this endpoint has not: botocore writes the request, and 501 in S3's XML is the answer."""

import pytest
from defusedxml.ElementTree import fromstring

from tests.gateway.operations.stage import Stage
from tests.gateway.s3.conformance.members import written
from tests.gateway.s3.conformance.samples import MODEL, operation_model, sample
from tests.tooling.support import state_of

NO_BUCKET_OF_OURS = {
    "ListDirectoryBuckets": "its request is that of ListBuckets, with a parameter that is refused",
    "WriteGetObjectResponse": "its path is no bucket name, which answers 400",
}
REFUSED = [name for name in MODEL.operation_names if state_of(name)[0] != "yes" and name not in NO_BUCKET_OF_OURS]


@pytest.mark.parametrize("operation", REFUSED)
def test_an_operation_that_is_not_there_answers_501(stage: Stage, operation: str) -> None:
    shape = operation_model(operation).input_shape
    assert shape is not None
    sent, body = written(operation, sample(shape))
    target = sent.raw_path.decode() + (f"?{sent.raw_query.decode()}" if sent.raw_query else "")
    headers = {name: value for name, value in sent.headers if name not in {"host", "content-length"}}
    before = stage.keys()
    answer = stage.raw(sent.method, target, headers, body)
    assert answer.status == 501, answer.body
    assert answer.headers["content-type"] == "application/xml"
    told = fromstring(answer.body)
    assert (told.tag, told.findtext("Code")) == ("Error", "NotImplemented")
    assert stage.keys() == before
