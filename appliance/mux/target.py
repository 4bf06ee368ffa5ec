"""The rules for a request's target and host that HTTP/1.1 and HTTP/2 share.

Pure functions over bytes; refusals are raised as `RefusedError`.
"""

import re
from typing import Final

from appliance.mux.refusal import malformed

_visible_ascii = re.compile(rb"[\x21-\x22\x24-\x7e]+").fullmatch
"""Every character a target may have; "#" is not one: a fragment never travels."""

_host = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~%!$&'()*+,;=-]{1,255})(?::[0-9]{0,5})?").fullmatch
_absolute = re.compile(rb"https?://([^/?]*)([^?]*)(\?.*)?", re.IGNORECASE | re.DOTALL).fullmatch


def split_target(target: bytes) -> tuple[str, str]:
    """Path and query of a request target in origin form or absolute form."""
    if not _visible_ascii(target):
        raise malformed("the request target has characters that must be percent-encoded")
    if target[0] != 0x2F:
        target = _origin_form(target)
    path, _, query = target.decode("ascii").partition("?")
    return path, query


def _origin_form(target: bytes) -> bytes:
    parts = _absolute(target)
    if parts is None:
        raise malformed("the request target must be a path")
    check_host(parts[1])
    return bytes((parts[2] or b"/") + (parts[3] or b""))


_hosts: set[bytes] = set()
"""Hosts that were found valid: a node is called by a handful of names."""
_HOSTS_MAX: Final = 256


def check_host(host: bytes) -> None:
    """Refuses a Host or :authority that is no host with an optional port."""
    if host in _hosts:
        return
    if not _host(host):
        raise malformed("the Host is not valid")
    if len(_hosts) < _HOSTS_MAX:
        _hosts.add(host)
