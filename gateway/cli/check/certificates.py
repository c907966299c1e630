"""The certificates: readable, a pair, in time, a chain, made out to the names that clients will ask for.

Sources: RFC 5280 (validity, path), RFC 6125 section 6.4 (names; a wildcard stands for one label).
"""

import ipaddress
import ssl
import stat
import warnings
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from gateway.cli.check.report import Report
from gateway.cli.pki import RENEW_BEFORE, TlsFiles, server_names
from gateway.config import Settings
from gateway.http.tls import server_context
from gateway.wiring.folders import Folders
from gateway.wiring.listeners import server_settings

AREA: Final = "certificate"
_SOON: Final = timedelta(days=30)
_MAX_BYTES: Final = 1024 * 1024


def check_certificates(report: Report, settings: Settings, folders: Folders, now: datetime) -> None:
    """Look at the user's own certificate, or at the private CA and what it signed."""
    if settings.tls_certificate is not None:
        assert settings.tls_key is not None, "the settings take both or neither"
        _check_permissions(report, settings.tls_key)
        chain = _load(report, settings.tls_certificate, settings.tls_key)
        if chain:
            _check_time(report, chain[0], now, "have it renewed; SIGHUP makes a running gateway take the new one")
            _check_chain(report, chain, _system_roots(), "clients need its CA: give it to them as AWS_CA_BUNDLE", now)
            _check_names(report, chain[0], settings)
    elif not folders.tls.is_dir():
        if folders.realm_file.exists():
            report.fail(AREA, f"{folders.tls} is missing", "restore it from the backup of the keys folder")
        else:
            report.ok(AREA, "none yet: the first start makes a private CA and a certificate")
    else:
        _check_private_ca(report, settings, folders, now)


def _check_private_ca(report: Report, settings: Settings, folders: Folders, now: datetime) -> None:
    files = TlsFiles(folders.tls)
    for key in (files.ca_key, files.key):
        _check_permissions(report, key)
    with report.failing(AREA):
        for certificate in server_settings(settings, folders).certificates():
            server_context(certificate)
    authority = _load(report, files.ca_certificate, files.ca_key)
    chain = _load(report, files.certificate, files.key)
    if not authority or not chain:
        return
    _check_time(report, authority[0], now, "move the tls folder away and start: clients then need the new ca.pem")
    left = chain[0].not_valid_after_utc - now
    if left < RENEW_BEFORE:
        report.warn(AREA, f"the server certificate ends in {left.days} days", "restart the gateway: a start renews it")
    else:
        _check_time(report, chain[0], now, "restart the gateway: a start renews it")
    _check_chain(report, chain, authority, "restore the tls folder from the backup of the keys folder", now)
    _check_names(report, chain[0], settings)


def _check_permissions(report: Report, key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError:
        return  # loading it says so
    if mode & stat.S_IRWXO:
        report.fail(AREA, f"the private key {key} is open to every user", f"run chmod o= {key}")
    elif mode & stat.S_IRWXG:
        report.warn(AREA, f"the private key {key} is open to its group", f"run chmod g= {key}, unless that is meant")


def _load(report: Report, certfile: Path, keyfile: Path) -> list[x509.Certificate]:
    """The certificates of a file, once its first is known to belong to the key; none where something failed."""
    try:
        chain = x509.load_pem_x509_certificates(_read(certfile))
        key = serialization.load_pem_private_key(_read(keyfile), None)
    except OSError as error:
        report.fail(
            AREA, f"{error.filename} cannot be read ({error.strerror})", "correct the path, or restore the file"
        )
        return []
    except (ValueError, TypeError):
        report.fail(AREA, f"{certfile} or {keyfile} is not PEM, or the key has a passphrase", "give both as plain PEM")
        return []
    if _spki(key.public_key()) != _spki(chain[0].public_key()):
        report.fail(AREA, f"{keyfile} is not the key of {certfile}", "give the two that were made together")
        return []
    report.ok(AREA, f"{certfile} and its key belong together")
    return chain


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES)


def _spki(key: object) -> bytes:
    encode = getattr(key, "public_bytes")  # noqa: B009 - every kind of public key has it, and no common type says so
    encoded: bytes = encode(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _check_time(report: Report, certificate: x509.Certificate, now: datetime, remedy: str) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    name = certificate.subject.rfc4514_string()
    if begins > now:
        report.fail(AREA, f"{name} is valid from {begins:%Y-%m-%d %H:%M} UTC only", "set the clock, or wait")
    elif ends <= now:
        report.fail(AREA, f"{name} ended on {ends:%Y-%m-%d}", remedy)
    elif ends - now < _SOON:
        report.warn(AREA, f"{name} ends in {(ends - now).days} days", remedy)
    else:
        report.ok(AREA, f"{name} ends on {ends:%Y-%m-%d}")


def _check_chain(
    report: Report, chain: list[x509.Certificate], roots: list[x509.Certificate], remedy: str, now: datetime
) -> None:
    subject = _subject(chain[0])
    if subject is None:
        report.fail(AREA, "the certificate names no host (subject alternative name)", "have one made that does")
        return
    if not roots:
        report.warn(AREA, "this machine has no list of CAs to compare with", remedy)
        return
    verifier = PolicyBuilder().store(Store(roots)).time(now).build_server_verifier(subject)
    try:
        verifier.verify(chain[0], chain[1:])
    except VerificationError as error:
        said = " ".join(str(error).split())
        report.warn(AREA, f"the chain does not lead to a CA that is known here ({said})", remedy)
    else:
        report.ok(AREA, "the chain leads to a CA that is known here")


def _subject(certificate: x509.Certificate) -> x509.DNSName | x509.IPAddress | None:
    dns, addresses = _names(certificate)
    for name in dns:
        return x509.DNSName(name.replace("*", "bucket", 1))
    return x509.IPAddress(addresses[0]) if addresses else None


def _names(
    certificate: x509.Certificate,
) -> tuple[list[str], list[ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], []
    addresses = [
        address
        for address in names.get_values_for_type(x509.IPAddress)
        if isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
    ]
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)], addresses


def _check_names(report: Report, certificate: x509.Certificate, settings: Settings) -> None:
    """Hold the names against the settings. A start has the private CA's certificate follow them by itself."""
    dns, addresses = _names(certificate)
    held = {*dns, *map(str, addresses)}
    wanted = [form for domain in settings.domains for form in (domain, f"*.{domain}")]
    if settings.tls_certificate is None:
        wanted = list(server_names(settings))
    missing = [name for name in wanted if name not in held]
    if not missing:
        report.ok(AREA, "it is made out to every name of the settings")
    elif settings.tls_certificate is None:
        report.warn(AREA, f"it does not hold {', '.join(missing)}", "restart the gateway: a start adds them")
    else:
        report.warn(
            AREA,
            f"it does not hold {', '.join(missing)}, so clients that use these names refuse it",
            "have them added, or set --domains to the names that it holds",
        )


def _system_roots() -> list[x509.Certificate]:
    context = ssl.create_default_context()
    roots = []
    with warnings.catch_warnings():
        # The machine's list may hold certificates that a strict parser warns of or refuses; no vouching for them here.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for encoded in context.get_ca_certs(binary_form=True):
            with suppress(ValueError):
                roots.append(x509.load_der_x509_certificate(encoded))
    return roots
