"""A URL that a client wants to be called at, parsed strictly.

Owns what such a URL may be: http or https, a host that means the same to every parser, a port, a path. A host is a name
of plain labels, a dotted IPv4 address or an IPv6 address in brackets; whatever else resolvers take for an address
(`2130706433`, `0x7f.1`) is refused, so that a check of the text can't be led round. Pure; what a name resolves to is
the resolver's affair.
"""

import ipaddress
import re
from typing import Final, NamedTuple

from appliance.addresses import is_public

URL_CHARS_MAX: Final = 2_048
HOST_CHARS_MAX: Final = 253

_PORTS: Final = {"http": 80, "https": 443}
_URL: Final = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://"
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:[/?][!$-;=?-Z\[\]_a-z~]*)?)"
)
"""After the host anything printable but blanks, double quotes, `#`, `<`, `>`, `\\`, `^`, `|`, backticks, braces. User
information and escapes in the host do not match."""

_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER: Final = re.compile(r"(?:[0-9]+|0[xX][0-9A-Fa-f]*)")


class BadTarget(ValueError):
    """The text is no URL that is ever called; it says why."""


class Target(NamedTuple):
    """Where to connect, and what to ask for. `host` has no brackets and is in lower case."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_address(self) -> bool:
        """Whether the host is an address already."""
        return ":" in self.host or self.host[-1].isdigit()


def parse_target(text: str, *, allow_private: bool) -> Target:
    """The target that a URL means. Raises `BadTarget`, also for an address that is not public, unless allowed."""
    if not 0 < len(text) <= URL_CHARS_MAX:
        raise BadTarget(f"must have 1 to {URL_CHARS_MAX} characters")
    match = _URL.fullmatch(text)
    if match is None:
        raise BadTarget("must be an http or https URL without user information and fragment")
    scheme, host = match["scheme"].lower(), match["host"].lower()
    port = int(match["port"]) if match["port"] else _PORTS[scheme]
    if not 0 < port < 65_536:
        raise BadTarget("must have a port from 1 to 65535")
    host = _checked(host, allow_private=allow_private)
    path = match["target"]
    return Target(scheme, host, port, path if path.startswith("/") else "/" + path)


def _checked(host: str, *, allow_private: bool) -> str:
    if host.startswith("["):
        address = _address(host[1:-1], 6)
    elif _NUMBER.fullmatch(host.rpartition(".")[2]):
        # What ends in a number is an address to some resolvers, in forms of which only one is the same everywhere.
        address = _address(host, 4)
    else:
        if len(host) > HOST_CHARS_MAX or not all(_LABEL.fullmatch(label) for label in host.split(".")):
            raise BadTarget("must have a host name of letters, digits and hyphens, or an IP address")
        return host
    if not allow_private and not is_public(address):
        raise BadTarget("must not name a private, loopback or reserved address")
    return address


def _address(text: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or address.version != version:
        raise BadTarget("must have a host name, a dotted IPv4 address or an IPv6 address in brackets")
    return str(address)
