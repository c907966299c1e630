"""What tests of the S3 store share: a target in a bucket of its own, on a server that all of them use."""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any, Final

from storage.blobs.s3 import S3BlobStore
from storage.blobs.s3_backend import S3Target
from storage.blobs.s3_probe import Traits
from tests.servers.pki import Authority
from tests.servers.s3_servers import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, S3Server

_NUMBERS = count(1)
TRIES: Final = 3
TRAITS: Final = Traits(conditional_put=True, conditional_complete=True, versioned=False, locks=False, hoards=False)
"""Of SeaweedFS in a plain bucket; a test sees that they are right."""


def probed(target: S3Target, traits: Traits = TRAITS, **changes: Any) -> S3BlobStore:
    """A store that has probed its backend already."""
    store = S3BlobStore(replace(target, **changes))
    store._probing = asyncio.ensure_future(asyncio.sleep(0, traits))
    return store


async def walked(store: S3BlobStore) -> int:
    """The number of blobs that a walk finds."""
    return len([stat async for stat in store.iterate()])


@contextmanager
def running(server: S3Server) -> Iterator[S3Server]:
    """The server, ended at the end whatever happens."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def client_tls(authority: Authority) -> ssl.SSLContext:
    """Trusts that authority alone."""
    return ssl.create_default_context(cafile=str(authority.certificate))


def new_target(server: S3Server, **changes: Any) -> S3Target:
    """A target with a prefix of its own. The bucket is one for all: SeaweedFS gives each new one seven volumes."""
    bucket = make_bucket(server, "blobs")
    target = S3Target(
        endpoint=server.endpoint,
        bucket=bucket,
        access_key_id=ACCESS_KEY_ID,
        secret_access_key=SECRET_ACCESS_KEY,
        tls=client_tls(server.authority),
        prefix=f"realm-{next(_NUMBERS)}/",
        region=REGION,
        timeout_s=10,
    )
    return replace(target, **changes)


def make_bucket(server: S3Server, name: str, **options: Any) -> str:
    """See that a bucket of that name is there."""
    client = server.client()
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        client.create_bucket(Bucket=name, **options)
    client.close()
    return name


def objects_of(server: S3Server, target: S3Target) -> list[str]:
    """Names behind the prefix, as another client sees them."""
    client = server.client()
    listed = client.list_objects_v2(Bucket=target.bucket, Prefix=target.prefix)
    client.close()
    return [entry["Key"].removeprefix(target.prefix) for entry in listed.get("Contents", [])]


def uploads_of(server: S3Server, target: S3Target) -> list[str]:
    """Unfinished uploads behind the prefix."""
    client = server.client()
    listed = client.list_multipart_uploads(Bucket=target.bucket, Prefix=target.prefix)
    client.close()
    return [entry["Key"] for entry in listed.get("Uploads", [])]
