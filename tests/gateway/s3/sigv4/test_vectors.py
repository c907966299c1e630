"""Published SigV4 vectors: the signature in each request is the one that is computed for it."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from gateway.s3.request import Headers
from gateway.s3.sigv4 import canonical

VECTORS = sorted((Path(__file__).parents[3] / "vectors" / "sigv4").glob("*.json"))
SECRETS = {
    "AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "AKIAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}


def test_vectors_are_there() -> None:
    assert len(VECTORS) == 17


@pytest.mark.parametrize("path", VECTORS, ids=[path.stem for path in VECTORS])
def test_published_signature(path: Path) -> None:
    lines = json.loads(path.read_text())["request"].split("\n")
    method, target, _ = lines[0].split(" ")
    headers = Headers(
        (name.encode(), value.encode()) for name, _, value in (line.partition(":") for line in lines[1:] if line)
    )
    raw_path, _, raw_query = target.encode().partition(b"?")
    text = headers.get("authorization") or unquote(raw_query.decode())
    found = re.search(r"Credential=([^/]+)/([0-9]{8})/([^/]+)/([^/]+)/aws4_request", text)
    signed = re.search(r"SignedHeaders=([^,&]+)", text)
    signature = re.search(r"Signature=([0-9a-f]{64})", text)
    assert found is not None
    assert signed is not None
    assert signature is not None
    scope = canonical.Scope(found[2], found[3], found[4])
    request = canonical.canonical_request(
        method,
        raw_path,
        [pair for pair in canonical.query_pairs(raw_query) if pair[0] != b"X-Amz-Signature"],
        headers,
        signed[1].split(";"),
        (headers.get("x-amz-content-sha256") or canonical.EMPTY_SHA256).encode(),
    )
    to_sign = canonical.string_to_sign(headers.get("x-amz-date") or "", scope, request)
    key = canonical.signing_key(SECRETS[found[1]], scope)
    assert canonical.signature(key, to_sign).decode() == signature[1]
