"""A strict decoder of the chunked transfer coding.

Sans-IO: bytes in, body bytes collected, the position after the body out. Sizes are hex digits only, every line ends
with CRLF, extensions and trailers are bounded and thrown away: a trailer never changes what a request means.
"""

import enum
import re
from typing import Final

from appliance.mux.limits import Limits
from appliance.mux.refusal import body_too_large, malformed, refused

_size_line = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?").fullmatch
_trailer_line = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*").fullmatch
CRLF: Final = b"\r\n"


class _Expects(enum.Enum):
    SIZE = 0
    DATA = 1
    DATA_END = 2
    TRAILER = 3
    NOTHING = 4


class ChunkedDecoder:
    """Collects one chunked body in `body`; `complete` once its last line has been read."""

    __slots__ = ("_chunks", "_expects", "_left", "_limits", "_trailer_bytes", "body")

    def __init__(self, limits: Limits) -> None:
        self.body = bytearray()
        self._limits = limits
        self._expects = _Expects.SIZE
        self._left = 0
        self._chunks = 0
        self._trailer_bytes = 0

    @property
    def complete(self) -> bool:
        """The whole body has been read."""
        return self._expects is _Expects.NOTHING

    def feed(self, data: bytes, at: int) -> int:
        """Reads from `data[at:]` what belongs to the body; returns the position of the first byte not read yet.

        Those unread bytes must come again, with more behind them, unless the body is complete. Raises RefusedError.
        """
        while True:
            expects = self._expects
            if expects is _Expects.DATA:
                at = self._take_data(data, at)
                if self._left:
                    return at
            elif expects is _Expects.DATA_END:
                if len(data) - at < 2:
                    if data[at:] not in b"\r":
                        raise malformed("a chunk does not end with CRLF")
                    return at
                if data[at : at + 2] != CRLF:
                    raise malformed("a chunk does not end with CRLF")
                at += 2
                self._expects = _Expects.SIZE
            elif expects is _Expects.NOTHING:
                return at
            else:
                line = self._line(data, at)
                if line is None:
                    return at
                at += len(line) + 2
                if expects is _Expects.SIZE:
                    self._begin_chunk(line)
                else:
                    self._take_trailer(line)

    def _line(self, data: bytes, at: int) -> bytes | None:
        """The line at `at` without its CRLF, or None while it is incomplete."""
        limit = self._limits.chunk_line_bytes if self._expects is _Expects.SIZE else self._limits.trailer_bytes
        end = data.find(b"\n", at, at + limit + 2)
        if end >= 0:
            if end == at or data[end - 1] != 0x0D:
                raise malformed("a line of a chunked body does not end with CRLF")
            return data[at : end - 1]
        if len(data) - at >= limit + 2:
            raise malformed("a line of a chunked body is too long")
        return None

    def _begin_chunk(self, line: bytes) -> None:
        match = _size_line(line)
        if match is None:
            raise malformed("a chunk size is not valid")
        size = int(match[1], 16)
        if len(self.body) + size > self._limits.body_bytes:
            raise body_too_large(self._limits.body_bytes)
        self._chunks += 1
        extra = self._chunks - self._limits.chunks_free
        if extra > 0 and len(self.body) < extra * self._limits.chunk_bytes_mean:
            raise refused("tiny-chunks", 400, "the body comes in chunks that are too small")
        self._left = size
        self._expects = _Expects.DATA if size else _Expects.TRAILER

    def _take_data(self, data: bytes, at: int) -> int:
        piece = data[at : at + self._left]
        self.body += piece
        self._left -= len(piece)
        if not self._left:
            self._expects = _Expects.DATA_END
        return at + len(piece)

    def _take_trailer(self, line: bytes) -> None:
        if not line:
            self._expects = _Expects.NOTHING
            return
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > self._limits.trailer_bytes:
            raise refused("head-too-large", 431, "the trailers are too large")
        if _trailer_line(line) is None:
            raise malformed("a trailer is not valid")
