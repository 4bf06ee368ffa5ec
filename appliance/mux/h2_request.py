"""An HTTP/2 request head: from the codec's field list to the same shape that HTTP/1.1 gives.

Pure. The codec has already refused what makes a request malformed by RFC 9113 (pseudo-headers, upper case, connection
headers, Host against :authority); the rules that both protocols share are applied here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from appliance.mux.head import METHODS
from appliance.mux.limits import Limits
from appliance.mux.refusal import body_too_large, malformed, refused
from appliance.mux.target import check_host, split_target

FIELD_OVERHEAD_BYTES: Final = 32
"""What HPACK counts for a field beside its name and value; near enough to what it costs here."""
_ONCE_ONLY: Final = frozenset((b"host", b"authorization", b"content-length", b"content-type"))


@dataclass(frozen=True, slots=True)
class Head2:
    """A request head; `length` is the declared size of the body in bytes, or None."""

    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    length: int | None


def parse_fields(fields: Iterable[tuple[bytes, bytes]], limits: Limits) -> Head2:
    """Raises RefusedError."""
    pseudo: dict[bytes, bytes] = {}
    headers: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[0] == 0x3A:
            pseudo[name] = value
        elif name not in headers:
            headers[name] = value
        elif name in _ONCE_ONLY:
            raise malformed(f"the header {name.decode()} comes twice")
        else:
            headers[name] += (b"; " if name == b"cookie" else b", ") + value
    method = METHODS.get(pseudo[b":method"])
    if method is None:
        raise refused("not-implemented", 501, "the method is not served")
    target = pseudo[b":path"]
    if len(target) > limits.target_bytes:
        raise refused("head-too-large", 414, f"a request target may have at most {limits.target_bytes} bytes")
    if not target.startswith(b"/"):
        raise malformed("the request target must be a path")
    path, query = split_target(target)
    host = pseudo.get(b":authority", headers.get(b"host"))
    if host is None:
        raise malformed("the authority is missing")
    check_host(host)
    headers[b"host"] = host
    return Head2(method, path, query, headers, _length(headers, limits))


def _length(headers: dict[bytes, bytes], limits: Limits) -> int | None:
    value = headers.get(b"content-length")
    if value is None:
        return None
    length = int(value)
    if length > limits.body_bytes:
        raise body_too_large(limits.body_bytes)
    return length


def head_bytes(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """What a field list costs in memory, about."""
    return sum(len(name) + len(value) + FIELD_OVERHEAD_BYTES for name, value in fields)
