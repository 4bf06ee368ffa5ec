"""Which network addresses a node may call because a configuration or a client names them.

Owns the one rule against reaching inside: only addresses of the public internet, after resolution, in every spelling an
address can hide in. Must not know what for. A name is resolved once and the caller connects to the addresses
returned here, so a name that changes between check and use gains nothing.
"""

import ipaddress
import socket
from typing import Final

_PROTOCOLS: Final = ipaddress.IPv4Network("192.0.0.0/24")
"""Special throughout, although two addresses in it count as global."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR: Final = ipaddress.IPv6Network("2002::/16")


class PrivateAddress(OSError):
    """A name has an address that is not public."""


def is_public(address: str) -> bool:
    """Whether `address` (numeric) is one of the public internet. IPv6 forms that carry an IPv4 address are not."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        carries_ipv4 = parsed.ipv4_mapped is not None or int(parsed) >> 32 == 0
        if carries_ipv4 or parsed in _NAT64 or parsed in _SIX_TO_FOUR or parsed.is_site_local:
            return False
    elif parsed in _PROTOCOLS:
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def resolve(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The numeric addresses of `host`, in the system's order of preference. Blocks: never call it on the event loop.

    Raises `OSError` when the name is unknown, and `PrivateAddress` when any of its addresses is not public and
    `allow_private` is false.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and not all(map(is_public, addresses)):
        raise PrivateAddress("the host has a private, loopback or reserved address")
    return addresses
