"""gRPC framing: any DATA, in any pieces, is the same messages and the same error; compressed and not."""

import contextlib
import gzip
from typing import Final

from appliance.mux.grpc_framing import GrpcError, MessageReader, encode_message, frame, parse_timeout_seconds

MESSAGE_BYTES_MAX: Final = 100_000
_SQUEEZED: Final = gzip.compress(b"hello" * 50, mtime=0)
SEEDS: Final = (
    b"\0" + frame(b"hello") + frame(b"") + frame(b"x" * 300),
    b"\1\1" + len(_SQUEEZED).to_bytes(4) + _SQUEEZED + frame(b"y"),
    b"\0" + frame(b"cut")[:-1],
    b"\0\0\xff\xff\xff\xff",
    b"\x025S",
)


def _read(pieces: list[bytes], encoding: bytes) -> tuple[list[bytes], int]:
    reader = MessageReader(encoding, MESSAGE_BYTES_MAX, first=True)
    messages: list[bytes] = []
    for piece in pieces:
        if reader.error is not None:
            break
        messages += reader.feed(piece)
        if reader.first and messages and reader.error is None:
            messages += reader.proceed(MESSAGE_BYTES_MAX)
    assert all(len(message) <= MESSAGE_BYTES_MAX for message in messages)
    return messages, reader.error.status if reader.error is not None else 0


def run(data: bytes) -> None:
    """The first byte says whether the call is compressed, the second where it is cut."""
    encoding, rest = (b"gzip" if data[:1] and data[0] & 1 else b""), data[1:]
    cut = rest[0] * len(rest) // 256 if rest else 0
    assert _read([rest], encoding) == _read([rest[:cut], rest[cut:]], encoding)
    with contextlib.suppress(GrpcError):
        assert parse_timeout_seconds(rest[:16]) >= 0
    assert encode_message(rest.decode("utf-8", "replace")).isascii()
