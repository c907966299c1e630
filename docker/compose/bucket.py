"""Makes the bucket for the sealed blobs, once MinIO answers: run by the service `bucket` of `compose.yaml`.

It takes endpoint, bucket and credentials from the very settings of the gateways, so that they cannot differ.
"""

import argparse
import ssl
import sys
import time
from collections.abc import Sequence
from typing import Final

import urllib3
from minio import Minio
from minio.error import S3Error

from gateway.config import load_settings

_PATIENCE_S: Final = 120
_POLL_S: Final = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the bucket unless it is there; wait up to two minutes for the server."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--object-lock", choices=("on", "off"), default="off", help="make it with object lock")
    object_lock = parser.parse_args(arguments).object_lock == "on"
    settings = load_settings()
    assert settings.s3_credentials_file is not None, "blob_store is s3"
    lines = settings.s3_credentials_file.read_text().splitlines()
    credentials = dict(line.split("=", 1) for line in lines if line)
    context = ssl.create_default_context(cafile=settings.s3_ca_file)
    client = Minio(
        settings.s3_endpoint.removeprefix("https://"),
        access_key=credentials["AWS_ACCESS_KEY_ID"],
        secret_key=credentials["AWS_SECRET_ACCESS_KEY"],
        region=settings.s3_region,
        http_client=urllib3.PoolManager(ssl_context=context, retries=False, timeout=5),
    )
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if not client.bucket_exists(bucket_name=settings.s3_bucket):
                client.make_bucket(bucket_name=settings.s3_bucket, object_lock=object_lock)
            elif object_lock and not _has_object_lock(client, settings.s3_bucket):
                sys.exit(f"the bucket {settings.s3_bucket} was made without object lock: name another, or leave it off")
        except (S3Error, urllib3.exceptions.HTTPError) as error:
            if time.monotonic() >= deadline:
                raise
            sys.stderr.write(f"{settings.s3_endpoint} is not ready: {error}\n")
            time.sleep(_POLL_S)
        else:
            sys.stdout.write(f"the bucket {settings.s3_bucket} is there\n")
            return


def _has_object_lock(client: Minio, bucket: str) -> bool:
    """Whether a bucket was made with object lock. Raises: S3Error."""
    try:
        client.get_object_lock_config(bucket_name=bucket)
    except S3Error as error:
        if error.code == "ObjectLockConfigurationNotFoundError":
            return False
        raise
    return True


if __name__ == "__main__":
    main()
