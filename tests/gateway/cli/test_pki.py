"""The private CA: a strict verifier accepts what it signs, for the right names and no others."""

import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from gateway.cli.addresses import machine_addresses
from gateway.cli.exits import SetupError
from gateway.cli.pki import TlsFiles, issue, make_certificates, new_authority, renew_certificate, server_names
from gateway.config import Settings
from keys.errors import KeyringError

NOW = datetime.now(UTC)
NAMES = server_names(Settings(host="::"))


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    made = TlsFiles(tmp_path / "tls")
    make_certificates(made, NAMES, NOW)
    return made


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def handshake(files: TlsFiles, name: str) -> None:
    """One TLS handshake in memory, verified as Python's strictest client does."""
    client = ssl.create_default_context(cafile=files.ca_certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(to_client, to_server, server_hostname=name)
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client_side, server_side):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client_side.version() == "TLSv1.3"


@pytest.mark.parametrize(
    "name", ["localhost", "127.0.0.1", "::1", "s3.localhost", "bucket.s3.localhost", socket.gethostname().lower()]
)
def test_strict_clients_accept_every_name(files: TlsFiles, name: str) -> None:
    handshake(files, name)


@pytest.mark.parametrize("name", ["example.com", "127.0.0.2", "a.b.s3.localhost", "192.0.2.7"])
def test_other_names_are_refused(files: TlsFiles, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(files, name)


def test_a_second_strict_verifier_agrees(files: TlsFiles) -> None:
    store = Store([certificate(files.ca_certificate)])
    verifier = PolicyBuilder().store(store).build_server_verifier(x509.DNSName("b.s3.localhost"))
    assert len(verifier.verify(certificate(files.certificate), [])) == 2


def test_what_is_listened_on_is_a_name(tmp_path: Path) -> None:
    made = TlsFiles(tmp_path / "tls")
    make_certificates(made, server_names(Settings(host="192.0.2.7", domains=("s3.example.test",))), NOW)
    handshake(made, "192.0.2.7")
    handshake(made, "x.s3.example.test")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - nothing is bound
def test_of_every_interface_the_addresses_are_names(tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.pki.machine_addresses", lambda: ["192.0.2.9", "2001:db8::9"])
    made = TlsFiles(tmp_path / "tls")
    make_certificates(made, server_names(Settings(host=host)), NOW)
    for name in ("192.0.2.9", "2001:db8::9", "127.0.0.1", "::1", "localhost", socket.gethostname().lower()):
        handshake(made, name)


def test_a_machine_knows_its_own_addresses() -> None:
    assert "127.0.0.1" in machine_addresses()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # sends nothing; the system chooses the address that leads there
        except OSError:
            return  # a machine without a way out
        assert asking.getsockname()[0] in machine_addresses()


def test_what_a_proxy_presents_is_a_name(tmp_path: Path) -> None:
    made = TlsFiles(tmp_path / "tls")
    make_certificates(made, server_names(Settings(hosts=("Backup.example.test", "192.0.2.8"))), NOW)
    handshake(made, "backup.example.test")
    handshake(made, "192.0.2.8")


def test_keys_and_extensions(files: TlsFiles) -> None:
    authority, server = certificate(files.ca_certificate), certificate(files.certificate)
    for made in (authority, server):
        key = made.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
        for extension in (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier):
            made.extensions.get_extension_for_class(extension)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert authority.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not server.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert server.not_valid_after_utc - server.not_valid_before_utc <= timedelta(days=397)


def test_every_file_is_private(files: TlsFiles) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.folder.iterdir()} == {0o600}
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700


def test_nothing_is_renewed_before_its_time(files: TlsFiles) -> None:
    before = files.certificate.read_bytes()
    assert not renew_certificate(files, NAMES, NOW + timedelta(days=360))
    make_certificates(files, NAMES, NOW)
    assert files.certificate.read_bytes() == before


def test_a_certificate_that_ends_soon_is_renewed_under_the_same_ca(files: TlsFiles) -> None:
    authority, key = files.ca_certificate.read_bytes(), files.key.read_bytes()
    later = NOW + timedelta(days=370)
    assert renew_certificate(files, NAMES, later)
    assert certificate(files.certificate).not_valid_after_utc > later + timedelta(days=390)
    assert (files.ca_certificate.read_bytes(), files.key.read_bytes()) == (authority, key)
    assert not renew_certificate(files, NAMES, later)


def test_a_new_domain_is_added_to_the_certificate(files: TlsFiles) -> None:
    assert renew_certificate(files, server_names(Settings(host="::", domains=("s3.localhost", "s3.example.test"))), NOW)
    handshake(files, "b.s3.example.test")


@pytest.mark.parametrize("crashed_after", ["ca-key.pem", "ca.pem", "server-key.pem"])
def test_a_crash_half_way_is_completed(files: TlsFiles, crashed_after: str) -> None:
    order = ["ca-key.pem", "ca.pem", "server-key.pem", "server.pem"]
    for name in order[order.index(crashed_after) + 1 :]:
        (files.folder / name).unlink()
    make_certificates(files, NAMES, NOW)
    handshake(files, "localhost")


@pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem"])
def test_a_missing_or_foreign_file_is_refused(files: TlsFiles, name: str, tmp_path: Path) -> None:
    path = files.folder / name
    other = TlsFiles(tmp_path / "other")
    make_certificates(other, NAMES, NOW)
    held = path.read_bytes()
    path.unlink()
    with pytest.raises(SetupError, match="is missing"):
        renew_certificate(files, NAMES, NOW)
    path.write_bytes(b"-----BEGIN NONSENSE-----\n")
    path.chmod(0o600)
    with pytest.raises(SetupError, match="is no PEM"):
        renew_certificate(files, NAMES, NOW + timedelta(days=380))
    path.write_bytes((other.folder / name).read_bytes())
    if name != "server.pem":  # another server's certificate is noticed by its key, whichever of the two is foreign
        with pytest.raises(SetupError, match="is not the key of"):
            renew_certificate(files, NAMES, NOW + timedelta(days=380))
    path.write_bytes(held)
    path.chmod(0o640)
    with pytest.raises(KeyringError, match="open to other users"):
        renew_certificate(files, NAMES, NOW + timedelta(days=380))


def test_an_ended_ca_is_refused(files: TlsFiles) -> None:
    with pytest.raises(SetupError, match="has ended"):
        renew_certificate(files, NAMES, NOW + timedelta(days=3653))


def test_a_clients_certificate_is_one_of_clients_alone() -> None:
    authority = new_authority("an authority", NOW)
    key = ec.generate_private_key(ec.SECP256R1())
    made = issue(authority, key.public_key(), "prometheus", (), NOW)
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert made.subject.rfc4514_string() == "CN=prometheus"
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    made.verify_directly_issued_by(authority[0])
