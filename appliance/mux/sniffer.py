"""What a connection is, decided from its first bytes alone.

A pure function of a prefix: no socket, no clock, no state. The caller owns the deadline and brings a longer prefix
after NEED_MORE. No protocol needs more than SNIFF_LIMIT_BYTES to be told from the others.
"""

import enum
from typing import Final

TLS_HANDSHAKE_RECORD: Final = 0x16
HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
RAFT_MAGIC: Final = b"CQRF"
METHOD_LIMIT_BYTES: Final = 16
"""The longest registered method has 17 letters (UPDATEREDIRECTREF); none that anybody serves has more than 16."""
SNIFF_LIMIT_BYTES: Final = len(HTTP2_PREFACE)

_METHOD_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-"


class Kind(enum.Enum):
    """What the bytes begin."""

    NEED_MORE = "need-more"
    TLS = "tls"
    HTTP1 = "http1"
    HTTP2 = "http2"
    RAFT = "raft"
    UNKNOWN = "unknown"


def sniff(prefix: bytes) -> Kind:
    """Says what a connection that begins with `prefix` is; a longer prefix never changes an answer but NEED_MORE."""
    if not prefix:
        return Kind.NEED_MORE
    if prefix[0] == TLS_HANDSHAKE_RECORD:
        return Kind.TLS
    head = prefix[:SNIFF_LIMIT_BYTES]
    for magic, kind in ((RAFT_MAGIC, Kind.RAFT), (HTTP2_PREFACE, Kind.HTTP2)):
        if head.startswith(magic):
            return kind
        if magic.startswith(head):
            return Kind.NEED_MORE
    return _sniff_method(head)


def _sniff_method(head: bytes) -> Kind:
    method, space, _ = head.partition(b" ")
    if len(method) > METHOD_LIMIT_BYTES or not method or method.strip(_METHOD_BYTES):
        return Kind.UNKNOWN
    if not space:
        return Kind.NEED_MORE
    return Kind.UNKNOWN if method == b"PRI" else Kind.HTTP1
