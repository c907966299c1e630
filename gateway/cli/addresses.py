"""The addresses by which other machines can reach this one.

Sources: netdevice(7) for IPv4 (SIOCGIFADDR), `/proc/net/if_inet6` for IPv6. Nothing is asked of the network.
"""

import fcntl
import ipaddress
import socket
import struct
from pathlib import Path
from typing import Final

_SIOCGIFADDR: Final = 0x8915
_NAME_SIZE: Final = 16
_REQUEST_SIZE: Final = 40
_ADDRESS: Final = slice(20, 24)
_MOST: Final = 64
"""A machine of many containers has an address for each; a certificate need not name them all."""


def machine_addresses() -> list[str]:
    """Each interface's address, IPv4 first; none of one link alone, which a certificate cannot name."""
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [*_ipv4(), *_ipv6()]
    return [str(one) for one in found if not one.is_link_local and not one.is_unspecified][:_MOST]


def _ipv4() -> list[ipaddress.IPv4Address]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            request = struct.pack(f"{_REQUEST_SIZE}s", name.encode()[: _NAME_SIZE - 1])
            try:
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, request)
            except OSError:
                continue  # an interface that is down, or has none
            found.append(ipaddress.IPv4Address(answer[_ADDRESS]))
    return found


def _ipv6() -> list[ipaddress.IPv6Address]:
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return []  # a kernel without IPv6
    return [ipaddress.IPv6Address(bytes.fromhex(line.split()[0])) for line in lines]
