"""The server's TLS context: Mozilla's intermediate profile, and its certificate renewed without a restart.

Sources: Mozilla "Server Side TLS" 5.7 (intermediate), RFC 8446, SSL_CTX_set1_groups_list(3). Every step narrows what
OpenSSL would offer by itself; none widens it.
"""

import ctypes
import logging
import ssl
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from gateway.errors import TlsError
from gateway.http.hosts import names_in_certificate

_LOG = logging.getLogger(__name__)

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
GROUPS = "X25519:P-256:P-384"

_SSL_CTRL_SET_GROUPS_LIST = 92


@dataclass(frozen=True, slots=True)
class Certificate:
    """Where the server's certificate chain and its private key rest, both PEM."""

    certfile: Path
    keyfile: Path
    client_ca: Path | None = None
    """The authorities, PEM, whose certificates clients must present; None asks for none."""

    def load_into(self, context: ssl.SSLContext) -> None:
        """Put chain and key into a context. Raises: TlsError."""
        try:
            context.load_cert_chain(self.certfile, self.keyfile)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(
                f"certificate {self.certfile} with key {self.keyfile} cannot be used ({_said(error)}): give both as PEM"
                " files that this user may read and that belong together"
            ) from error

    def names(self) -> frozenset[str]:
        """DNS names and addresses that it is made out to. Raises: TlsError."""
        try:
            return names_in_certificate(self.certfile.read_bytes())
        except (OSError, ValueError) as error:
            raise TlsError(f"certificate {self.certfile} cannot be read: {error}") from error

    def expires_at(self) -> datetime:
        """When the server's own certificate ends. Raises: TlsError."""
        try:
            return x509.load_pem_x509_certificate(self.certfile.read_bytes()).not_valid_after_utc
        except (OSError, ValueError) as error:
            raise TlsError(f"certificate {self.certfile} cannot be read: {error}") from error

    def stamp(self) -> tuple[tuple[int, ...], ...]:
        """What changes when a file is written anew or another takes its place. Raises: TlsError where one is gone."""
        try:
            told = [path.stat() for path in (self.certfile, self.keyfile, self.client_ca) if path is not None]
        except OSError as error:
            raise TlsError(f"certificate {self.certfile} with key {self.keyfile} cannot be seen: {error}") from error
        return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in told)


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """Return a context that offers TLS 1.2 and 1.3 with forward secrecy and authenticated ciphers only.

    Raises: TlsError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    limit_groups(context)
    certificate.load_into(context)
    if certificate.client_ca is not None:
        _ask_for_certificates(context, certificate.client_ca)
    return context


def check_client_ca(client_ca: Path) -> None:
    """See that the authorities of clients can be loaded. Raises: TlsError."""
    _ask_for_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), client_ca)


def _ask_for_certificates(context: ssl.SSLContext, client_ca: Path) -> None:
    """Let nobody in who shows no certificate of these authorities, made out for clients. Raises: TlsError."""
    try:
        context.load_verify_locations(client_ca)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(
            f"the CA of clients {client_ca} cannot be used ({_said(error)}): give a PEM file with its certificate"
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED


def _said(error: OSError) -> str:
    """What the system or OpenSSL said, without the number and the place in its sources."""
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else error.strerror
    return str(reason or error).replace("_", " ").lower()


def client_certificate(session: ssl.SSLObject | ssl.SSLSocket) -> dict[object, object]:
    """What ASGI's `tls` extension says of a client's certificate, which TLS has verified; nothing without one."""
    der = session.getpeercert(binary_form=True)
    if der is None:
        return {}
    name = x509.load_der_x509_certificate(der).subject.rfc4514_string()
    return {"client_cert_chain": [ssl.DER_cert_to_PEM_cert(der)], "client_cert_name": name}


def limit_groups(context: ssl.SSLContext) -> str:
    """Offer `GROUPS` for the key exchange, or P-256 alone where the interpreter gives no way to a list.

    Returns what is offered now. P-256 alone is also within the profile, and every client has it; it costs those that
    begin with X25519 one more round trip. Raises: TlsError where neither can be had.
    """
    try:
        if hasattr(context, "set_groups"):  # Python 3.15
            context.set_groups(GROUPS)
            return GROUPS
        if _set_groups_list(context):
            return GROUPS
        context.set_ecdh_curve("prime256v1")
    except (ValueError, ssl.SSLError) as error:
        raise TlsError(f"the TLS library takes no list of groups: {error}") from error
    _LOG.info("key exchange is limited to P-256: this interpreter takes no list of groups")
    return "P-256"


def _set_groups_list(context: ssl.SSLContext) -> bool:
    """Call SSL_CTX_set1_groups_list on the context's own SSL_CTX; False where that cannot be reached safely.

    CPython 3.11 to 3.14 keep the pointer as the first field behind the object header (Modules/_ssl.c,
    `PySSLContext`). The symbol is looked up through the `_ssl` extension itself, so it is of the very library that
    made the context; an interpreter with `_ssl` built in has no such file and is not touched.
    """
    known = sys.implementation.name == "cpython" and (3, 11) <= sys.version_info[:2] <= (3, 14)
    extension = getattr(sys.modules.get("_ssl"), "__file__", None)
    if not known or extension is None:
        return False
    try:
        control = ctypes.CDLL(extension).SSL_CTX_ctrl
    except (OSError, AttributeError):
        return False
    control.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]
    control.restype = ctypes.c_long
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    if not pointer:
        return False
    return bool(control(pointer, _SSL_CTRL_SET_GROUPS_LIST, 0, GROUPS.encode("ascii")) == 1)
