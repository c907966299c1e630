"""The private CA and the server certificate of the embedded default, made at the first start and renewed in time.

Source: RFC 5280 sections 4.2.1.1-4.2.1.12 (the extensions that strict verifiers ask for), CA/Browser Forum baseline
section 6.3.2 (397 days). Keys are ECDSA P-256; nothing here signs anything but this one server.
"""

import ipaddress
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.cli.addresses import machine_addresses
from gateway.cli.exits import SetupError
from gateway.config import Settings
from keys.safe_files import check_private_folder, make_private_folder, read_private_file, write_private_file

CA_VALIDITY: Final = timedelta(days=3652)
SERVER_VALIDITY: Final = timedelta(days=397)
RENEW_BEFORE: Final = timedelta(days=30)
_CLOCK_SLACK: Final = timedelta(hours=1)
"""Certificates start a little early, for clients whose clock is behind."""
_MAX_PEM_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the certificates lie. The CA key signs renewals alone and could as well be kept elsewhere."""

    folder: Path

    @property
    def ca_certificate(self) -> Path:
        """What clients trust."""
        return self.folder / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """The CA's private key."""
        return self.folder / "ca-key.pem"

    @property
    def certificate(self) -> Path:
        """The server certificate."""
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        """The server's private key."""
        return self.folder / "server-key.pem"


def server_names(settings: Settings) -> tuple[str, ...]:
    """What a server certificate is made out to: DNS names and IP addresses, as text.

    Loopback, the machine's host name, what is listened on (of every interface: the machine's addresses), further
    hosts, each domain and every bucket under it.
    """
    names = ["localhost", socket.gethostname().lower(), "127.0.0.1", "::1"]
    address = _address(settings.host)
    if address is None or not address.is_unspecified:
        names.append(settings.host.lower())
    else:
        names += machine_addresses()
    names += [host.lower() for host in settings.hosts]
    names += [form for domain in settings.domains for form in (domain, f"*.{domain}")]
    return tuple(dict.fromkeys(name for name in names if name.isascii() and 0 < len(name) <= 253))


def make_certificates(files: TlsFiles, names: tuple[str, ...], now: datetime) -> None:
    """Make whatever of CA and server certificate is not there yet; what a crash left half-made is completed.

    Raises:
        KeyringError: a file cannot be written, or lies open to others.
    """
    make_private_folder(files.folder)
    # The certificate is written after its key, so a certificate without a key is never what a crash leaves.
    if not files.ca_certificate.exists():
        _make_ca(files, now)
    if not files.certificate.exists():
        _make_server(files, names, now)


def renew_certificate(files: TlsFiles, names: tuple[str, ...], now: datetime) -> bool:
    """Renew the server certificate where it is due; tell whether it was. Raises: as `is_renewal_due`."""
    is_due = is_renewal_due(files, names, now)
    if is_due:
        _make_server(files, names, now)
    return is_due


def is_renewal_due(files: TlsFiles, names: tuple[str, ...], now: datetime) -> bool:
    """Whether the server certificate ends within `RENEW_BEFORE` or lacks a name; nothing is changed.

    Raises:
        SetupError: a TLS file is missing or is none, or the CA itself has ended.
        KeyringError: a private file is open to others.
    """
    check_private_folder(files.folder)
    for path in (files.ca_certificate, files.ca_key, files.certificate, files.key):
        if not path.exists():
            raise SetupError(f"{path} is missing: restore it from its backup, or give tls_certificate and tls_key")
    authority, certificate = _load_certificate(files.ca_certificate), _load_certificate(files.certificate)
    if authority.not_valid_after_utc <= now:
        raise SetupError(f"the CA {files.ca_certificate} has ended: move the tls folder away and start again")
    key = _load_key(files.key)
    if key.public_key() != certificate.public_key():
        raise SetupError(f"{files.key} is not the key of {files.certificate}: restore both from one backup")
    held = set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    return certificate.not_valid_after_utc - now < RENEW_BEFORE or not set(_alternative_names(names)) <= held


def new_authority(common_name: str, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Make a CA that signs certificates of servers and clients, and no further CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + CA_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def issue(
    authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
    public_key: ec.EllipticCurvePublicKey,
    common_name: str,
    hosts: tuple[str, ...],
    now: datetime,
) -> x509.Certificate:
    """Sign a server's certificate for these DNS names and addresses, or with none of them a client's."""
    certificate, key = authority
    authority_id = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(min(now + SERVER_VALIDITY - _CLOCK_SLACK, certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(_alternative_names(hosts)), critical=False)
    return builder.sign(key, hashes.SHA256())


def _make_ca(files: TlsFiles, now: datetime) -> None:
    certificate, key = new_authority("Sealgate private CA", now)
    write_private_file(files.ca_key, key_pem(key), replace=True)
    write_private_file(files.ca_certificate, certificate_pem(certificate), replace=False)


def _make_server(files: TlsFiles, names: tuple[str, ...], now: datetime) -> None:
    authority, authority_key = _load_certificate(files.ca_certificate), _load_key(files.ca_key)
    if authority_key.public_key() != authority.public_key():
        raise SetupError(f"{files.ca_key} is not the key of {files.ca_certificate}: restore both from one backup")
    # A renewal keeps the key, so that a crash between two files never leaves a pair that does not match.
    key = _load_key(files.key) if files.key.exists() else ec.generate_private_key(ec.SECP256R1())
    if not files.key.exists():
        write_private_file(files.key, key_pem(key), replace=False)
    certificate = issue((authority, authority_key), key.public_key(), "Sealgate", names, now)
    write_private_file(files.certificate, certificate_pem(certificate), replace=True)


def _alternative_names(names: tuple[str, ...]) -> list[x509.GeneralName]:
    addresses = {name: _address(name) for name in names}
    return [x509.DNSName(name) if address is None else x509.IPAddress(address) for name, address in addresses.items()]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """A certificate as files hold it."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as files of mode 0600 hold it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read_private_file(path, _MAX_PEM_BYTES))
    except ValueError:
        raise SetupError(f"{path} is no PEM certificate: restore it from its backup") from None


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_private_file(path, _MAX_PEM_BYTES), None)
    except (ValueError, TypeError):
        raise SetupError(f"{path} is no PEM private key: restore it from its backup") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SetupError(f"{path} is no key of Sealgate's own CA: give your own as tls_certificate and tls_key")
    return key


def utc_now() -> datetime:
    """The wall clock; tests hand in their own time."""
    return datetime.now(UTC)
