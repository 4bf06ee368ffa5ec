"""Renders the head of an HTTP/1.1 response.

Pure: values in, bytes out. Owns status lines and the headers that every response carries; which framing a response gets
is decided by its caller.
"""

from http import HTTPStatus
from typing import Final

from appliance.mux.exchange import Response

STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
CHUNKED_FRAMING: Final = b"Transfer-Encoding: chunked\r\n"
CLOSE_DELIMITED: Final = b""
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"


def has_body(status: int) -> bool:
    """Whether a response with this status has a body at all, and so a Content-Length."""
    return status >= 200 and status != 204 and status != 304


def render_head(
    response: Response, framing: bytes | None, date: bytes, request_id: str, keep_alive: bool, http10: bool
) -> bytes:
    """The head, up to and with the empty line. `framing` None means Content-Length of the response's body."""
    status, body = response.status, response.body
    head = STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    if has_body(status):
        if framing is not None:
            head += b"Content-Type: %b\r\n%b" % (response.content_type, framing)
        elif body:
            head += b"Content-Type: %b\r\nContent-Length: %d\r\n" % (response.content_type, len(body))
        else:
            head += b"Content-Length: 0\r\n"
    if response.headers:
        head += b"".join([b"%b: %b\r\n" % header for header in response.headers])
    if not keep_alive:
        end = b"\r\nConnection: close\r\n\r\n"
    elif http10:
        end = b"\r\nConnection: keep-alive\r\n\r\n"
    else:
        end = b"\r\n\r\n"
    return b"%bDate: %b\r\nX-Request-Id: %b%b" % (head, date, request_id.encode(), end)


_beginnings: dict[tuple[int, bytes], bytes] = {}
"""Status line and headers up to the number in Content-Length, by status and content type: a few dozen at the most,
since both come from code."""


def render_small(response: Response, date: bytes, request_id: str) -> bytes:
    """A whole response with a body, on a connection that stays open: what nearly every answer is, in one piece."""
    key = (response.status, response.content_type)
    beginning = _beginnings.get(key)
    if beginning is None:
        line = STATUS_LINES.get(response.status) or b"HTTP/1.1 %d \r\n" % response.status
        beginning = _beginnings[key] = b"%bContent-Type: %b\r\nContent-Length: " % (line, response.content_type)
    body = response.body
    further = b"".join([b"%b: %b\r\n" % header for header in response.headers]) if response.headers else b""
    return b"%b%d\r\n%bDate: %b\r\nX-Request-Id: %b\r\n\r\n%b" % (
        beginning,
        len(body),
        further,
        date,
        request_id.encode(),
        body,
    )


def render_chunk(piece: bytes) -> bytes:
    """One chunk of a chunked body; `piece` is not empty."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)
