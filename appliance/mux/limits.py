"""Every bound on what a peer can make this process hold or do, with the reason for its value.

Owns the numbers, the words under which a refusal is counted, and the `Observer` that counts them. Decides nothing: the
parts that enforce a limit take it from here, so that tests can pass small ones and the configuration can change a few.
"""

from dataclasses import dataclass
from typing import Final, Protocol

KIB: Final = 1024
MIB: Final = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds, the rest are counts."""

    # The first bytes.
    sniff_seconds: float = 5.0
    """An honest client speaks first and at once; a silent one only holds a descriptor."""
    client_hello_bytes: int = 16 * KIB
    """A ClientHello with post-quantum keys is below 3 KiB; TLS allows more only to be general."""
    handshake_seconds: float = 10.0
    handshakes: int = 64
    """Handshakes at once. Each costs about a millisecond of CPU, so this is well under 0.1 s of work."""
    handshakes_waiting: int = 1024
    """Connections that wait for one of those places; their time runs from the accept."""

    handshakes_burst_per_address: int = 2_000
    """Handshakes that one address may begin at once: a proxy that starts opens all of its connections."""
    handshakes_per_second_per_address: float = 100.0
    """And then at this rate: a tenth of a core, however often it connects."""

    # Connections.
    connections: int = 10_000
    connections_per_address: int = 5_000
    """Half of all: one address (a proxy, a network behind one) can be busy, yet never shut everybody else out."""
    accepts_per_turn: int = 64
    """Accepted in one loop turn, so that a flood of connections does not starve the open ones."""
    idle_closed_at_once: int = 100
    """When full, this many of the longest idle connections make room: one search pays for many accepts."""
    idle_seconds: float = 300.0
    linger_seconds: float = 2.0
    """After an early refusal the rest of the request is read and thrown away for so long, or the kernel would reset
    the connection and the client never see why it was refused."""
    linger_bytes: int = 16 * MIB

    # One request's head.
    head_bytes: int = 16 * KIB
    head_fields: int = 100
    """Counted one by one, Cookie crumbs too: it is the number of fields that costs memory, not their bytes."""
    target_bytes: int = 8 * KIB
    head_seconds: float = 10.0
    """For the whole head, from its first byte: a deadline that restarts at each byte stops nobody."""

    # One request's body.
    body_bytes: int = 8 * MIB
    body_seconds: float = 30.0
    body_bytes_per_second: int = KIB
    """A body may take `body_seconds` and one second more for each of these many bytes received."""
    chunk_line_bytes: int = 256
    """Size and extensions of one chunk; nobody uses extensions."""
    chunks_free: int = 1_000
    chunk_bytes_mean: int = 16
    """After `chunks_free` chunks their mean size must reach this: a chunk costs the same CPU however small it is."""
    trailer_bytes: int = 4 * KIB

    # Many requests on one connection.
    pipeline: int = 16
    """Unanswered HTTP/1.1 requests per connection; more wait in the peer's socket buffer."""
    answers_bytes: int = 256 * KIB
    """Answers of one connection that are ready and not yet written; above it no further request is taken."""
    requests_per_turn: int = 64
    """Requests taken from one connection in one loop turn, so that a full read buffer does not stall the others."""
    write_seconds: float = 30.0
    """Without any progress of a blocked write, the peer does not read."""

    # Memory over all connections: requests not yet answered and answers not yet written.
    memory_bytes: int = 256 * MIB
    memory_stop_reading: float = 0.80
    memory_shed: float = 0.90

    # HTTP/2: what we advertise.
    h2_streams: int = 100
    h2_streams_slack: int = 1_000
    """Streams that may be open before the codec itself fails the connection; those above `h2_streams` are refused one
    by one, since an honest client may not have read our SETTINGS yet."""
    h2_stream_window_bytes: int = 64 * KIB - 1
    """HTTP/2's default: 100 streams can make us hold 6.4 MB before we grant anything."""
    h2_connection_window_bytes: int = MIB
    h2_upload_bytes: int = 8 * MIB
    """Unfinished bodies per connection; above it only the oldest upload is granted more window, so it can finish."""
    h2_frame_bytes: int = 16 * KIB
    h2_table_bytes: int = 4 * KIB
    """HPACK dynamic table."""

    # HTTP/2: what a peer may do. Past each of these comes GOAWAY with ENHANCE_YOUR_CALM.
    h2_rate_seconds: float = 10.0
    """The span over which the counts below are taken, where they are rates."""
    h2_resets: int = 100
    """Resets per span, by the client or by us because of the client (Rapid Reset, MadeYouReset)."""
    h2_reset_share_streams: int = 1_000
    """Of this many streams at most half may end by such a reset: a slow attack stays under every rate."""
    h2_pings: int = 10
    """PINGs per span that do not follow DATA; bandwidth probes do."""
    h2_settings: int = 10
    h2_empty_frames: int = 10
    """DATA, HEADERS or CONTINUATION that carry nothing and end nothing."""
    h2_unknown_frames: int = 100
    h2_continuations: int = 8
    """CONTINUATION frames per header block."""
    h2_header_block_bytes: int = 64 * KIB
    """Encoded; what it may decode to is `head_bytes`."""
    h2_priority_base: int = 100
    h2_priority_per_stream: int = 10
    h2_window_update_base: int = 1_000
    h2_window_updates_per_unit: int = 10
    """WINDOW_UPDATEs allowed for each stream opened and each DATA frame we sent, above the base."""

    # HTTP/2: answers that the peer does not take.
    h2_queue_connection_bytes: int = MIB
    """Answers waiting for window; above it no further request is read."""
    h2_queue_calls_bytes: int = 8 * MIB
    """The same for gRPC calls, which get no further tasks above it."""
    first_message_seconds: float = 30.0
    """A gRPC call that says nothing at all only holds memory; published clients send their first event at once."""
    h2_stalled_seconds: float = 30.0
    """A stream that wants to send and got no window for so long is reset, whatever trickles in elsewhere."""
    call_stalled_seconds: float = 300.0
    """The same for a gRPC call: a worker may be paused for a while, and what waits for it is bounded. While the buffers
    are half full it gets no more patience than anybody else."""
    h2_keepalive_seconds: float = 60.0
    """Silence after which a connection with open streams is asked by PING whether it lives."""
    h2_keepalive_answer_seconds: float = 20.0
    h2_last_stream_id: int = 2**30
    """Half of the ids: from here on the connection drains and the client opens another."""
    drain_notice_seconds: float = 1.0
    """Between the first GOAWAY, which only announces, and the one that names the last stream served."""


REASONS: Final[dict[str, str]] = {
    "sniff-timeout": "nothing, or too little, within the sniff deadline",
    "sniff-unknown": "the first bytes are no protocol of ours",
    "sniff-closed": "the peer closed before it said what it wants",
    "raft-disabled": "raft preface on a node without raft",
    "plaintext-refused": "plaintext on an address that takes TLS only",
    "tls-unavailable": "TLS on a node without a certificate",
    "client-hello": "malformed or oversized ClientHello",
    "alpn-mismatch": "no offered ALPN protocol is ours, or the first bytes are not the agreed protocol",
    "handshake": "TLS handshake failed or took too long",
    "handshakes": "too many TLS handshakes at once",
    "handshakes-per-address": "too many TLS handshakes per second from one address",
    "connections": "too many connections",
    "connections-per-address": "too many connections from one address",
    "connection-evicted": "idle connection closed to make room",
    "no-descriptors": "the process has no file descriptors left",
    "idle": "idle connection closed",
    "head-timeout": "request head not complete in time",
    "body-timeout": "request body too slow",
    "first-message-timeout": "gRPC call without a first message",
    "write-timeout": "the peer does not read its answers",
    "head-too-large": "request head or target too large",
    "head-fields": "too many header fields",
    "body-too-large": "request body too large",
    "malformed": "request that is not HTTP",
    "not-implemented": "method, transfer coding, version or expectation that is not supported",
    "tiny-chunks": "chunked body in pieces that are too small",
    "memory": "request shed because buffers are full",
    "h2-protocol": "HTTP/2 connection error",
    "h2-streams": "stream above the advertised number refused",
    "h2-malformed": "HTTP/2 request that is malformed",
    "h2-resets": "too many resets",
    "h2-reset-share": "too large a share of streams reset",
    "h2-pings": "PING flood",
    "h2-settings": "SETTINGS flood",
    "h2-empty-frames": "empty frame flood",
    "h2-unknown-frames": "unknown frame flood",
    "h2-continuations": "too many CONTINUATION frames",
    "h2-header-block": "header block too large, encoded or decoded",
    "h2-header-fields": "too many header fields",
    "h2-priority": "PRIORITY flood",
    "h2-window-updates": "WINDOW_UPDATE flood",
    "h2-stalled": "stream reset because its window stayed shut",
    "h2-keepalive": "no answer to a keepalive PING",
}
"""Every word with which `Observer.refused` is called, and what it means."""


class Observer(Protocol):
    """Counts what happens at the front. Every method is called on the event loop's thread and must be cheap."""

    def connection_opened(self, kind: str) -> None:
        """A connection speaks `kind`: h1, h2, h1-tls or h2-tls."""

    def connection_closed(self, kind: str) -> None:
        """The end of a connection that was opened with the same `kind`."""

    def refused(self, reason: str) -> None:
        """A limit or a rule refused something; `reason` is a key of `REASONS`."""

    def responded(self, status: int, seconds: float) -> None:
        """A response was handed to the connection, `seconds` after its request was complete."""

    def call_opened(self) -> None:
        """A gRPC call began."""

    def call_ended(self, status: int) -> None:
        """A gRPC call is over; `status` is the one that we ended it with, CANCELLED where its peer left."""
