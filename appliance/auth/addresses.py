"""Which network addresses a node may call on behalf of somebody's configuration.

Owns the one rule against reaching inside: only addresses of the public internet, after resolution, in every spelling an
address can hide in. Must not know what is fetched. A name is resolved once and the caller connects to the addresses
returned here, so a name that changes between check and use gains nothing.
"""

import ipaddress
import socket
from typing import Final

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR: Final = ipaddress.IPv6Network("2002::/16")


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
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def resolve(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The numeric addresses of `host`, in the system's order of preference. Blocks: never call it on the event loop.

    Raises `OSError` when the name is unknown, or when any of its addresses is not public and `allow_private` is false.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and not all(map(is_public, addresses)):
        raise OSError("the host has a private, loopback or reserved address")
    return addresses
