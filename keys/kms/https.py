"""How a KMS is reached over HTTPS, the same for all of them: certificate and host name checked, no redirect, no proxy.

Source: RFC 9110 section 15.4 (a redirect would carry the token away), RFC 9525 (names of services in TLS).
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from keys.errors import KmsMisconfigured, KmsUnavailable
from keys.extras import how_to_install

if TYPE_CHECKING:
    from requests import Session

_T = TypeVar("_T")

CONNECT_TIMEOUT_S: Final = 2.0
"""A KMS is near; one that takes longer to accept is as good as away."""
THREADS: Final = 8
"""Calls that one KMS answers at a time; transit answers some 700 in a second that way."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a KMS is and what it must show.

    `ca_file`: the only authorities that count (None: the public ones). `certificate_file` and `key_file`: what we show.
    `proxy`: a proxy to go through; those of the environment never count. `timeout_s`: for each answer.
    """

    address: str
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    proxy: str | None = None
    timeout_s: float = 5.0

    @property
    def timeouts(self) -> tuple[float, float]:
        """For connecting, and for each read, in seconds."""
        return min(CONNECT_TIMEOUT_S, self.timeout_s), self.timeout_s

    def check_files(self) -> None:
        """See that the files named can be read. Raises: KmsMisconfigured."""
        for name, path in (
            ("ca_file", self.ca_file),
            ("client_certificate_file", self.certificate_file),
            ("client_key_file", self.key_file),
        ):
            if path is not None:
                try:
                    data = path.read_bytes()
                except OSError as error:
                    raise KmsMisconfigured(f"{name} {path} cannot be read ({error.strerror}): correct it") from None
                if b"-----BEGIN" not in data:
                    raise KmsMisconfigured(f"{name} {path} holds no PEM: give a PEM file")


def new_session(reach: Reach, extra: str) -> "Session":
    """A session of `requests` that goes nowhere but to the KMS; its connections are reused by all threads."""
    session: Session = need("requests", extra).Session()
    session.trust_env = False  # neither proxies, nor CA files, nor passwords of the environment
    session.max_redirects = 0
    session.verify = True if reach.ca_file is None else str(reach.ca_file)
    if reach.certificate_file is not None:
        session.cert = (str(reach.certificate_file), str(reach.key_file))
    if reach.proxy is not None:
        session.proxies = {"https": reach.proxy}
    session.mount(
        "https://",
        need("requests.adapters", extra).HTTPAdapter(pool_connections=1, pool_maxsize=THREADS, max_retries=0),
    )
    session.adapters.pop("http://")
    return session


def need(module: str, extra: str) -> Any:
    """A module of an optional client.

    Raises:
        KmsMisconfigured: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise KmsMisconfigured(
            f"a KMS of type {extra} needs a client that is not installed: {how_to_install(extra)}"
        ) from None


def parsed(read: Callable[[], _T]) -> _T:
    """What an answer holds. Raises: KmsUnavailable where it is no answer."""
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError):
        raise KmsUnavailable("the KMS answers with what is no answer") from None


def why_unreachable(error: Exception) -> str:
    """What failed on the way to a KMS, in words that hold neither address nor request."""
    text = str(error)
    for sign, told in _SIGNS:
        if sign in text:
            return told
    return f"it cannot be reached ({type(error).__name__})"


_SIGNS: Final = (
    ("redirects", "it answers with a redirect, and none is followed: give its own address"),
    ("CERTIFICATE_REQUIRED", "it asks for a client certificate: set client_certificate_file and client_key_file"),
    ("certificate required", "it asks for a client certificate: set client_certificate_file and client_key_file"),
    ("bad certificate", "it refuses our client certificate: see client_certificate_file"),
    ("certificate revoked", "it refuses our client certificate, which is revoked"),
    ("unknown ca", "it refuses our client certificate, whose authority it does not know"),
    ("EOF occurred", "it ends the connection, as one does that asks for a client certificate and gets none"),
    ("reset by peer", "it ends the connection, as one does that asks for a client certificate and gets none"),
    ("Hostname mismatch", "its certificate is for another host name than the address says"),
    ("doesn't match", "its certificate is for another host name than the address says"),
    ("IP address mismatch", "its certificate is for another host than the address says"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not of the authorities in ca_file"),
    ("Connection refused", "nothing listens at its address: start it there, or correct the address"),
    ("Name or service not known", "its host name is not known: correct the address"),
    ("timed out", "it did not answer in time"),
)
