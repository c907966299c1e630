"""Drives minio-py, in its own environment; see `tests/blackbox/test_minio_py.py`."""

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import urllib3
from minio import Minio
from minio.commonconfig import REPLACE, ComposeSource, CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from tests.blackbox.scripts.speak import main, sha256, variable


def _client() -> Minio:
    return Minio(
        variable("AWS_ENDPOINT_URL").removeprefix("https://"),
        access_key=variable("AWS_ACCESS_KEY_ID"),
        secret_key=variable("AWS_SECRET_ACCESS_KEY"),
        region=variable("AWS_REGION"),
        http_client=urllib3.PoolManager(ca_certs=variable("AWS_CA_BUNDLE"), cert_reqs="CERT_REQUIRED", retries=False),
    )


def buckets(name: str) -> list[bool]:
    client = _client()
    client.make_bucket(name)
    seen = [client.bucket_exists(name), name in {bucket.name for bucket in client.list_buckets()}]
    client.remove_bucket(name)
    return [*seen, client.bucket_exists(name)]


def files(bucket: str, names: list[str], part_bytes: int) -> dict[str, dict[str, Any]]:
    """Upload every file of `sent`, download it to `back`; return what the listing and `stat` say."""
    client = _client()
    told = {}
    for name in names:
        made = client.fput_object(
            bucket, name, str(Path("sent", name)), part_size=part_bytes, metadata={"Colour": "blue"}
        )
        client.fget_object(bucket, name, str(Path("back", name)))
        stat = client.stat_object(bucket, name)
        colour = (stat.metadata or {}).get("x-amz-meta-colour")
        told[name] = {"put": made.etag, "stat": stat.etag, "size": stat.size, "colour": colour}
    for entry in client.list_objects(bucket, recursive=True):
        assert entry.object_name is not None
        told[entry.object_name] |= {"listed": entry.etag, "listed size": entry.size}
    return told


def streams(bucket: str, key: str) -> dict[str, str]:
    """Upload a stream of unknown length, and read a span and the whole."""
    client = _client()
    content = Path("sent").read_bytes()
    client.put_object(bucket, key, io.BytesIO(content), length=-1, part_size=5 * 1024 * 1024)
    answers = {"whole": client.get_object(bucket, key)}
    answers["span"] = client.get_object(bucket, key, offset=1_000_000, length=6_000_001)
    digests = {}
    for name, answer in answers.items():
        digests[name] = sha256(answer.read())
        answer.close()
        answer.release_conn()
    return digests


def copies(bucket: str, key: str) -> dict[str, Any]:
    """Copy, copy with other metadata, and compose three sources; return the sources' ETags and the results."""
    client = _client()
    whole = client.copy_object(bucket, "copied", CopySource(bucket, key))
    client.copy_object(
        bucket, "renamed", CopySource(bucket, key), metadata={"colour": "red"}, metadata_directive=REPLACE
    )
    # All sources but the last must be as large as a part.
    sources = [ComposeSource(bucket, key), ComposeSource(bucket, key), ComposeSource(bucket, key, offset=5, length=100)]
    composed = client.compose_object(bucket, "composed", sources)
    return {
        "copied": whole.etag,
        "source": client.stat_object(bucket, key).etag,
        "colour": (client.stat_object(bucket, "renamed").metadata or {})["x-amz-meta-colour"],
        "composed": composed.etag,
        "stat": client.stat_object(bucket, "composed").etag,
    }


def listings(bucket: str) -> dict[str, list[str | None]]:
    client = _client()
    return {
        "top": [entry.object_name for entry in client.list_objects(bucket)],
        "old": [entry.object_name for entry in client.list_objects(bucket, use_api_v1=True, recursive=True)],
        "after": [entry.object_name for entry in client.list_objects(bucket, recursive=True, start_after="a/two")],
        "below": [entry.object_name for entry in client.list_objects(bucket, prefix="a/", recursive=True)],
    }


def deletes(bucket: str, keys: list[str]) -> dict[str, list[str | None]]:
    """Delete one by one call and the rest by another; return what is listed after each, and errors."""
    client = _client()
    client.remove_object(bucket, keys[0])
    first = [entry.object_name for entry in client.list_objects(bucket, recursive=True)]
    errors = [error.code for error in client.remove_objects(bucket, [DeleteObject(key) for key in keys[1:]])]
    return {"first": first, "errors": [*errors], "left": [e.object_name for e in client.list_objects(bucket)]}


def missing(bucket: str) -> list[str | None]:
    client = _client()
    codes = []
    for call in (client.stat_object, client.get_object):
        try:
            call(bucket, "not/there")
        except S3Error as error:
            codes.append(error.code)
    return codes


def presigned(bucket: str, key: str) -> list[str]:
    """Put and get through URLs that were signed before; return status and digest."""
    client = _client()
    plain = urllib3.PoolManager(ca_certs=variable("AWS_CA_BUNDLE"), cert_reqs="CERT_REQUIRED", retries=False)
    put = plain.request("PUT", client.presigned_put_object(bucket, key), body=Path("sent").read_bytes())
    got = plain.request("GET", client.presigned_get_object(bucket, key, expires=timedelta(minutes=1)))
    return [str(put.status), str(got.status), sha256(got.data)]


if __name__ == "__main__":
    main(buckets, files, streams, copies, listings, deletes, missing, presigned)
