"""What `docker/compose/provision.py` makes: for whom, readable to whom, and when it is renewed."""

import os
import runpy
import ssl
import stat
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from gateway.cli.pki import utc_now
from tests.docker.recipes import DOCKER

NOW = utc_now()


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCKER / "compose" / "provision.py"))


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
    """Who was given what last: only root may give, so that it is noted here instead."""
    given: dict[Path, int] = {}

    def chown(path: Path, uid: int, gid: int) -> None:
        assert uid == gid
        given[path] = uid

    monkeypatch.setattr(os, "chown", chown)
    return given


def run(script: dict[str, Any], root: Path, now: datetime = NOW, domains: tuple[str, ...] = ("s3.localhost",)) -> None:
    script["Provision"](root, domains, now, hands_over=True).run()


def held(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    assert set(before) == set(after)
    return {name for name, data in before.items() if after[name] != data}


def test_each_file_is_its_services_alone(script: dict[str, Any], owners: dict[Path, int], tmp_path: Path) -> None:
    run(script, tmp_path)
    for name, service in script["SERVICES"].items():
        folder = tmp_path / name
        assert owners[folder] == service.user
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            # A file is given away under the name that it has before it takes its place.
            assert owners[path.with_name(f".{path.name}.new")] == service.user
    assert owners[tmp_path / "authority"] == 0
    keys = [data for name, data in held(tmp_path).items() if name.endswith(".key")]
    assert len(set(keys)) == len(keys)


def test_pairs_are_usable_and_names_are_those_of_the_service(
    script: dict[str, Any], owners: dict[Path, int], tmp_path: Path
) -> None:
    run(script, tmp_path, domains=("s3.example",))
    for name, service in script["SERVICES"].items():
        folder = tmp_path / name
        if service.hosts:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / "public.crt", folder / "private.key")
            made = x509.load_pem_x509_certificate((folder / "public.crt").read_bytes())
            names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert set(service.hosts) <= {*names.get_values_for_type(x509.DNSName), "127.0.0.1"}
            assert ("*.s3.example" in names.get_values_for_type(x509.DNSName)) == (name == "gateway")
        if service.client:
            ssl.create_default_context(cafile=folder / "ca.crt").load_cert_chain(
                folder / "client.crt", folder / "client.key"
            )


def test_secrets_of_two_services_agree_and_stay(
    script: dict[str, Any], owners: dict[Path, int], tmp_path: Path
) -> None:
    run(script, tmp_path)
    before = held(tmp_path)
    gateway = dict(line.split("=", 1) for line in before["gateway/s3-credentials"].decode().splitlines())
    store = dict(line.split("=", 1) for line in before["minio/minio.env"].decode().splitlines())
    assert list(gateway.values()) == list(store.values())
    assert all(len(value) >= 32 for value in gateway.values())
    assert len(before["openbao/seal.key"]) == 32
    run(script, tmp_path)
    assert held(tmp_path) == before


def test_certificates_are_renewed_in_time_under_their_keys(
    script: dict[str, Any], owners: dict[Path, int], tmp_path: Path
) -> None:
    run(script, tmp_path)
    before = held(tmp_path)
    run(script, tmp_path, NOW + timedelta(days=366))
    assert held(tmp_path) == before
    run(script, tmp_path, NOW + timedelta(days=368))
    renewed = changed(before, held(tmp_path))
    assert renewed == {name for name in before if name.endswith(("public.crt", "client.crt"))}


def test_another_name_is_taken_into_the_gateways_certificate_alone(
    script: dict[str, Any], owners: dict[Path, int], tmp_path: Path
) -> None:
    run(script, tmp_path)
    before = held(tmp_path)
    run(script, tmp_path, domains=("s3.example",))
    assert changed(before, held(tmp_path)) == {"gateway/public.crt"}


def test_what_a_crash_left_half_made_is_completed(
    script: dict[str, Any], owners: dict[Path, int], tmp_path: Path
) -> None:
    run(script, tmp_path)
    before = held(tmp_path)
    (tmp_path / "postgres" / "public.crt").unlink()
    (tmp_path / "postgres" / ".public.crt.new").write_bytes(b"half")
    (tmp_path / "gateway" / "s3-credentials").unlink()
    run(script, tmp_path)
    assert changed(before, held(tmp_path)) == {"postgres/public.crt"}
