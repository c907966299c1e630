"""Makes what the services of `compose.yaml` need to trust one another, before they start, as its service `provision`.

A private CA; for each service a certificate of its name, the client certificate and the secrets that it needs, in a
volume of its own. What is there stays, save certificates that end within `RENEW_BEFORE` or lack a name. The CA's key
and the secrets that two services share lie in a volume that no other service mounts.
"""

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.cli.pki import RENEW_BEFORE, certificate_pem, issue, key_pem, new_authority, utc_now

ROOT: Final = Path("/provision")
_AUTHORITY: Final = "authority"
_OTHERS: Final = 0o077


@dataclass(frozen=True)
class Service:
    """What one volume holds, and the user (and group) that reads it."""

    user: int
    hosts: tuple[str, ...] = ()
    """Names of a server certificate; none: it serves nothing."""
    client: str = ""
    """The common name of a client certificate; empty: it needs none."""
    secrets: tuple[str, ...] = ()
    """Names in `SECRETS`."""
    is_data: bool = False
    """Holds the service's own data: only its folder is handed over."""


SERVICES: Final = {
    "gateway": Service(10001, ("gateway-1", "gateway-2", "localhost", "127.0.0.1"), "sealgate", ("s3-credentials",)),
    "postgres": Service(999, ("postgres", "localhost"), secrets=("superuser-password",)),
    "minio": Service(10002, ("minio", "localhost"), secrets=("minio.env",)),
    "openbao": Service(10003, ("openbao", "localhost"), "openbao-operator", ("seal.key",)),
    "prometheus": Service(65534, ("prometheus", "localhost"), "prometheus"),
    "balancer": Service(99, client="balancer"),
    "minio-data": Service(10002, is_data=True),
    "openbao-data": Service(10003, is_data=True),
    "prometheus-data": Service(65534, is_data=True),
}


def _words(*sizes: int) -> bytes:
    return b" ".join(secrets.token_hex(size).encode() for size in sizes)


@dataclass(frozen=True)
class Secret:
    """How a secret is spelled for a service, and the file beside the CA that keeps what it is made of."""

    source: str
    make: Callable[[], bytes]
    spelled: str = "{0}"
    """A line for each word of the source, or the source as it is."""

    def spell(self, held: bytes) -> bytes:
        """What the service reads."""
        return held if self.spelled == "{0}" else self.spelled.format(*held.decode().split()).encode()


SECRETS: Final = {
    "s3-credentials": Secret("minio", lambda: _words(16, 32), "AWS_ACCESS_KEY_ID={0}\nAWS_SECRET_ACCESS_KEY={1}\n"),
    "minio.env": Secret("minio", lambda: _words(16, 32), "MINIO_ROOT_USER={0}\nMINIO_ROOT_PASSWORD={1}\n"),
    "superuser-password": Secret("postgres", lambda: _words(32)),
    "seal.key": Secret("openbao-seal", lambda: secrets.token_bytes(32)),
}


class Provision:
    """One run over the volumes below `root`."""

    def __init__(self, root: Path, domains: Sequence[str], now: datetime, *, hands_over: bool) -> None:
        self._root = root
        self._domains = tuple(form for domain in domains for form in (domain, f"*.{domain}"))
        self._now = now
        self._hands_over = hands_over

    def run(self) -> None:
        """Make whatever is missing, in an order that a crash leaves completable."""
        beside = self._root / _AUTHORITY
        self._folder(beside, 0)
        authority = self._authority(beside)
        for name, service in SERVICES.items():
            folder = self._root / name
            self._folder(folder, service.user)
            if service.is_data:
                continue
            self._write(folder / "ca.crt", certificate_pem(authority[0]), service.user)
            if service.hosts:
                hosts = service.hosts + (self._domains if name == "gateway" else ())
                self._pair(folder, "public.crt", "private.key", authority, name, hosts, service.user)
            if service.client:
                self._pair(folder, "client.crt", "client.key", authority, service.client, (), service.user)
            for secret in service.secrets:
                told = SECRETS[secret]
                self._write(folder / secret, told.spell(self._held(beside / told.source, told.make())), service.user)

    def _folder(self, folder: Path, user: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._own(folder, user)

    def _own(self, path: Path, user: int) -> None:
        if self._hands_over:
            os.chown(path, user, user)

    def _write(self, path: Path, data: bytes, user: int) -> None:
        """Write a file of mode 0600 for a user, whole or not at all; one that holds that already is left alone."""
        if path.exists() and path.read_bytes() == data and not path.stat().st_mode & _OTHERS:
            return
        made = path.with_name(f".{path.name}.new")
        made.unlink(missing_ok=True)
        made.touch(mode=0o600, exist_ok=False)
        with made.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._own(made, user)
        made.rename(path)
        sys.stdout.write(f"made {path}\n")

    def _held(self, path: Path, made: bytes) -> bytes:
        """What a file holds, or from now on holds."""
        if not path.exists():
            self._write(path, made, 0)
        return path.read_bytes()

    def _authority(self, folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        # Key and certificate are one file, so that no crash leaves one without the other.
        certificate, key = new_authority("Sealgate compose", self._now)
        held = self._held(folder / "ca.pem", certificate_pem(certificate) + key_pem(key))
        return x509.load_pem_x509_certificate(held), _key_of(held)

    def _pair(
        self,
        folder: Path,
        certificate_name: str,
        key_name: str,
        authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
        common_name: str,
        hosts: tuple[str, ...],
        user: int,
    ) -> None:
        """A key that stays, and a certificate that is renewed in time."""
        path = folder / key_name
        if not path.exists():
            self._write(path, key_pem(ec.generate_private_key(ec.SECP256R1())), user)
        key = _key_of(path.read_bytes())
        certificate = folder / certificate_name
        if not certificate.exists() or not self._holds(certificate.read_bytes(), authority[0], key, hosts):
            made = issue(authority, key.public_key(), common_name, hosts, self._now)
            self._write(certificate, certificate_pem(made), user)

    def _holds(
        self, pem: bytes, authority: x509.Certificate, key: ec.EllipticCurvePrivateKey, hosts: tuple[str, ...]
    ) -> bool:
        certificate = x509.load_pem_x509_certificate(pem)
        names: list[str] = []
        if hosts:
            held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = [*held.get_values_for_type(x509.DNSName), *map(str, held.get_values_for_type(x509.IPAddress))]
        return (
            certificate.issuer == authority.subject
            and certificate.public_key() == key.public_key()
            and certificate.not_valid_after_utc - self._now >= RENEW_BEFORE
            and set(hosts) == set(names)
        )


def _key_of(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def main(arguments: Sequence[str] | None = None) -> None:
    """Provision the volumes below `--root`; without containers everything stays with who runs it (`--keep-owner`)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--domains", default="s3.localhost", help="base names of the S3 endpoint, separated by commas")
    parser.add_argument("--keep-owner", action="store_true")
    given = parser.parse_args(arguments)
    domains = [domain.strip().lower() for domain in given.domains.split(",")]
    Provision(given.root, domains, utc_now(), hands_over=not given.keep_owner).run()


if __name__ == "__main__":
    main()
