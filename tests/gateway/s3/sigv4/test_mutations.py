"""A request that differs from a signed one in one bit of what is signed is never verified."""

import pytest

from gateway.s3.errors import S3Error
from gateway.s3.request import Headers, Request
from gateway.s3.sigv4 import Anonymous, present
from tests.gateway.s3.sigv4.signer import NOW, REGION, header_request, presigned_request, presigned_v2_request
from tests.gateway.s3.sigv4.test_authenticate import EMPTY, accept


def mutations(request: Request) -> list[tuple[str, Request]]:
    """Every request that differs in the lowest bit of one byte of what is signed or says what is."""
    found = []

    def add(what: str, **changed: object) -> None:
        values: dict[str, object] = {
            "method": request.method,
            "raw_path": request.raw_path,
            "raw_query": request.raw_query,
            "headers": request.headers,
            "request_id": "R",
            "received_at": NOW,
            "tls_version": "TLSv1.3",
        }
        found.append((what, Request(**(values | changed))))  # type: ignore[arg-type]  # fields by name

    def flips(data: bytes) -> list[bytes]:
        return [data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :] for i in range(len(data))]

    for method in flips(request.method.encode()):
        add("method", method=method.decode())
    for path in flips(request.raw_path):
        add("path", raw_path=path)
    for query in flips(request.raw_query):
        add("query", raw_query=query)
    items = request.headers.raw()
    for index, (name, value) in enumerate(items):
        for changed_name in flips(name):
            add(f"name {name!r}", headers=Headers([*items[:index], (changed_name, value), *items[index + 1 :]]))
        for changed in flips(value):
            add(f"value {name!r}", headers=Headers([*items[:index], (name, changed), *items[index + 1 :]]))
    return found


@pytest.mark.parametrize(
    "request_",
    [
        header_request(query="partNumber=1&uploadId=a%2Fb", extra=[("x-amz-meta-a", "b  c")], payload=EMPTY),
        presigned_request(query="versionId=v", extra=[("x-amz-acl", "private")]),
        presigned_v2_request(query="versionId=v", extra=[("x-amz-acl", "private"), ("content-type", "a/b")]),
    ],
    ids=["header", "presigned", "presigned-v2"],
)
def test_every_change_of_one_signed_byte_is_refused(request_: Request) -> None:
    accept(request_)
    changed = mutations(request_)
    assert len(changed) > 100
    for what, mutant in changed:
        if what.endswith("b'host'") and b"AWSAccessKeyId" in request_.raw_query:
            continue  # SigV2 signs no host
        if what == "name b'authorization'":
            assert isinstance(present(mutant, NOW, REGION), Anonymous)
            continue
        with pytest.raises(S3Error):
            pytest.fail(f"{what}: {accept(mutant)}")
