"""The names that this endpoint answers to: those of the certificate it serves, and those that its operator gives.

A page in a browser may have its own name lead here, and a request signed for another endpoint may be sent here; both
carry a Host that is none of ours. Source: RFC 9110 section 7.4 (rejecting misdirected requests), RFC 9525 section 6.3.
"""

import ipaddress
import logging
from collections.abc import Iterable

from cryptography import x509

_LOG = logging.getLogger(__name__)


class AcceptedHosts:
    """A container of host names and addresses; nothing is in it that no certificate and no setting names."""

    def __init__(self, given: Iterable[str] = ()) -> None:
        """`given` are names and addresses that hold whatever certificate is served: what a proxy in front presents."""
        self._given = frozenset(canonical_host(host) for host in given)
        self._served: frozenset[str] = frozenset()

    def serve(self, names: frozenset[str]) -> None:
        """Take the names of the certificate that is served from now on, instead of those before."""
        self._served = names

    def __contains__(self, host: object) -> bool:
        """Whether `host`, as Host has it but without a port, is ours; a wildcard stands for one label, as in TLS."""
        if not isinstance(host, str) or (":" in host) != (host[:1] == "["):
            return (
                False  # RFC 3986 section 3.2.2: brackets stand around addresses of version 6, and around nothing else
            )
        name = canonical_host(host)
        if name in self._given or name in self._served:
            return True
        label, _, parent = name.partition(".")
        return bool(label) and f"*.{parent}" in self._served


def canonical_host(host: str) -> str:
    """The one spelling of a name or an address: small letters, no brackets, no dot at the end."""
    bare = host[1:-1] if host.startswith("[") else host
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return host.lower().removesuffix(".")


def names_in_certificate(pem: bytes) -> frozenset[str]:
    """DNS names and addresses that the first certificate of a chain is made out to; the common name counts for none.

    Raises: ValueError for what is no certificate.
    """
    certificate = x509.load_pem_x509_certificates(pem)[0]
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        _LOG.warning("the certificate names no host: clients refuse it, and only the setting `hosts` names any")
        return frozenset()
    names = [*held.get_values_for_type(x509.DNSName), *map(str, held.get_values_for_type(x509.IPAddress))]
    return frozenset(canonical_host(name) for name in names)
