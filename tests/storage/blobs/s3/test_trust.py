"""Whom the S3 store believes to be its backend: one authority, one name, one time; and what it shows of itself."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.config import load_settings
from gateway.wiring.bucket import BucketPlace
from keys.errors import KeysError
from storage.blobs.s3_backend import S3Target
from storage.errors import StorageUnavailable
from tests.servers.pki import Authority
from tests.servers.s3_faults import S3FaultProxy
from tests.servers.s3_servers import ACCESS_KEY_ID, SECRET_ACCESS_KEY, S3Server
from tests.storage.blobs.s3.support import client_tls, make_bucket, probed
from tests.suites.blobs import blob_id, chunks, content, read_all

pytestmark = pytest.mark.anyio


@pytest.fixture
def proxy(tmp_path: Path, seaweedfs: S3Server) -> Iterator[S3FaultProxy]:
    """One of this test's own, whose certificate it may change."""
    with S3FaultProxy(tmp_path, seaweedfs) as proxy:
        yield proxy


async def refused(target: S3Target, words: str) -> None:
    """The store says why it does not speak to this server, and has sent nothing."""
    store = probed(target, tries=1)
    with pytest.raises(StorageUnavailable, match=words) as caught:
        await store.put(blob_id(1), chunks(b"sealed"))
    assert SECRET_ACCESS_KEY not in str(caught.value)
    await store.close()


async def test_a_server_of_another_authority_is_refused(proxy: S3FaultProxy, target: S3Target, tmp_path: Path) -> None:
    other = Authority(tmp_path, "another-ca")
    await refused(replace(target, tls=client_tls(other)), "certificate is not trusted")
    assert proxy.double.requests == []


async def test_a_server_of_another_name_is_refused(proxy: S3FaultProxy, target: S3Target) -> None:
    proxy.double.show_certificate(*proxy.double.authority.server("elsewhere", ["s3.example.com"]))
    await refused(target, "certificate is not trusted.*mismatch")
    assert proxy.double.requests == []


async def test_a_server_whose_certificate_has_ended_is_refused(proxy: S3FaultProxy, target: S3Target) -> None:
    proxy.double.show_certificate(*proxy.double.authority.server("old", lifetime=timedelta(minutes=-1)))
    await refused(target, "certificate is not trusted.*expired")
    assert proxy.double.requests == []


def _place(folder: Path, target: S3Target, authority: Authority, **more: str) -> BucketPlace:
    """The bucket as settings name it."""
    credentials = folder / "backend.env"
    credentials.touch(mode=0o600)
    credentials.write_text(f"AWS_ACCESS_KEY_ID={ACCESS_KEY_ID}\nAWS_SECRET_ACCESS_KEY={SECRET_ACCESS_KEY}\n")
    named = {
        "blob_store": "s3",
        "s3_endpoint": target.endpoint,
        "s3_bucket": target.bucket,
        "s3_prefix": target.prefix,
        "s3_credentials_file": str(credentials),
        "s3_ca_file": str(authority.certificate),
        "s3_tries": "1",
        **more,
    }
    return BucketPlace(load_settings(named))


async def test_a_backend_that_demands_a_client_certificate_gets_the_one_of_the_settings(
    proxy: S3FaultProxy, target: S3Target, seaweedfs: S3Server, tmp_path: Path
) -> None:
    make_bucket(seaweedfs, target.bucket)
    clients = Authority(tmp_path, "clients-ca")
    proxy.double.demand_certificate(clients)
    certificate, key = clients.client("gateway")
    shown = {"s3_client_certificate": str(certificate), "s3_client_key": str(key)}
    store = _place(tmp_path, target, proxy.double.authority, **shown).open()
    data = content(100_000)
    await store.put(blob_id(1), chunks(data))
    assert await read_all(store, blob_id(1)) == data
    await store.close()
    stranger, strange_key = Authority(tmp_path, "strangers-ca").client("stranger")
    for other in ({}, {"s3_client_certificate": str(stranger), "s3_client_key": str(strange_key)}):
        store = _place(tmp_path, target, proxy.double.authority, **other).open()
        with pytest.raises(StorageUnavailable, match="cannot be used"):
            await store.put(blob_id(2), chunks(data))
        await store.close()


async def test_a_client_key_that_others_can_read_is_refused(
    proxy: S3FaultProxy, target: S3Target, tmp_path: Path
) -> None:
    certificate, key = Authority(tmp_path, "clients-ca").client("gateway")
    key.chmod(0o644)
    shown = {"s3_client_certificate": str(certificate), "s3_client_key": str(key)}
    with pytest.raises(KeysError, match="chmod"):
        _place(tmp_path, target, proxy.double.authority, **shown).open()
