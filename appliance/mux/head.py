"""One HTTP/1.1 request head: from its bytes to names, values and framing.

Pure: the caller brings exactly the bytes up to and including the empty line. The tokenising is llhttp's (strict, no
leniency flag ever); the rules that it leaves out are here: version, Host, framing headers that disagree or hide behind
an underscore, codings, expectations, repeated credentials.
"""

from typing import Final

import httptools

from appliance.mux.limits import Limits
from appliance.mux.refusal import RefusedError, malformed, refused
from appliance.mux.target import check_host, split_target

METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
}
NO_BODY: Final = 0
CHUNKED: Final = -1

_MISREAD_AS_FRAMING: Final = frozenset((b"content_length", b"transfer_encoding"))
_ONCE_ONLY: Final = frozenset((b"host", b"authorization", b"content-length", b"transfer-encoding", b"content-type"))


class Head:
    """A request head. `length` is the body's size in bytes, or CHUNKED."""

    __slots__ = ("expects_continue", "headers", "http10", "keep_alive", "length", "method", "path", "query")

    def __init__(self, method: str, path: str, query: str, http10: bool, headers: dict[bytes, bytes]) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.http10 = http10
        self.headers = headers
        self.length = NO_BODY
        self.keep_alive = not http10
        self.expects_continue = False


class _Fields:
    """Collects header fields from llhttp's callbacks. An exception in a callback would lose its type, so what is wrong
    is remembered instead."""

    __slots__ = ("completed", "headers", "repeated")

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.repeated = b""
        self.completed = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        headers = self.headers
        if name not in headers:
            headers[name] = value.rstrip(b" \t")
        elif name in _ONCE_ONLY:
            self.repeated = name
        else:
            headers[name] += (b"; " if name == b"cookie" else b", ") + value.rstrip(b" \t")

    def on_headers_complete(self) -> None:
        self.completed += 1


_lines: dict[bytes, tuple[str, str, str, bool]] = {}
"""Request lines that were parsed before: method, path, query, HTTP/1.0. A client repeats a few of them all day."""
_LINES_MAX: Final = 1_024
_LINE_BYTES_MAX: Final = 128
"""Of a line that is remembered: together with the bound above about 300 KB."""


def parse_head(data: bytes, limits: Limits) -> Head:
    """Parses `data`, which ends with the first empty line in it. Raises RefusedError."""
    line = data[: data.find(b"\r\n")]
    known = _lines.get(line)
    if known is None or len(line) > limits.target_bytes:
        method, target, http10 = request_line(line, limits)
        known = (method, *split_target(target), http10)
        if len(line) <= _LINE_BYTES_MAX:
            if len(_lines) >= _LINES_MAX:
                _lines.clear()
            _lines[line] = known
    method, path, query, http10 = known
    if data.count(b"\n") - 2 > limits.head_fields:
        raise refused("head-fields", 431, f"a request may have at most {limits.head_fields} header fields")
    headers = _parse_fields(data)
    head = Head(method, path, query, http10, headers)
    _check_host(head)
    _set_framing(head)
    _set_connection(head)
    return head


def request_line(line: bytes, limits: Limits) -> tuple[str, bytes, bool]:
    """Method, target and whether it is HTTP/1.0, of a line without its end. Raises RefusedError."""
    if b"\n" in line:
        raise malformed("a line does not end with CRLF")
    parts = line.split(b" ")
    if len(parts) != 3:
        raise malformed("the request line is not valid")
    name, target, version = parts
    if version != b"HTTP/1.1" and version != b"HTTP/1.0":
        if version.startswith(b"HTTP/") and len(version) == 8:
            raise refused("not-implemented", 505, "this connection speaks HTTP/1.1")
        raise malformed("the HTTP version is not valid")
    method = METHODS.get(name)
    if method is None:
        raise _unknown_method(name)
    if len(target) > limits.target_bytes:
        raise refused("head-too-large", 414, f"a request target may have at most {limits.target_bytes} bytes")
    return method, target, version == b"HTTP/1.0"


def _unknown_method(name: bytes) -> RefusedError:
    if name == b"CONNECT":
        return refused("not-implemented", 501, "CONNECT is not served: this is no proxy")
    if name.isalpha() and name.isupper():
        return refused("not-implemented", 501, "the method is not known")
    return malformed("the method is not valid")


def _parse_fields(data: bytes) -> dict[bytes, bytes]:
    fields = _Fields()
    try:
        httptools.HttpRequestParser(fields).feed_data(data)
    except httptools.HttpParserUpgrade:
        # An offer to upgrade is ignored, and the body, if there is one, is still a body.
        pass
    except httptools.HttpParserError as error:
        raise malformed(f"the request head is not valid: {error}") from None
    if fields.completed != 1:
        raise malformed("the request head is not valid")
    if fields.repeated:
        raise malformed(f"the header {fields.repeated.decode()} comes twice")
    if not _MISREAD_AS_FRAMING.isdisjoint(fields.headers):
        raise malformed("a framing header is spelt with an underscore")
    return fields.headers


def _check_host(head: Head) -> None:
    host = head.headers.get(b"host")
    if host is not None:
        check_host(host)
    elif not head.http10:
        raise malformed("the Host header is missing")


def _set_framing(head: Head) -> None:
    headers = head.headers
    length = headers.get(b"content-length")
    coding = headers.get(b"transfer-encoding")
    if coding is not None:
        if head.http10:
            raise malformed("HTTP/1.0 has no Transfer-Encoding")
        if length is not None:
            raise malformed("Content-Length and Transfer-Encoding exclude each other")
        if coding.lower() != b"chunked":
            raise refused("not-implemented", 501, "the only transfer coding served is chunked")
        head.length = CHUNKED
    elif length is not None:
        if not length.isdigit():
            raise malformed("the Content-Length is not a number")
        head.length = int(length)


def _set_connection(head: Head) -> None:
    connection = head.headers.get(b"connection")
    if connection is not None:
        tokens = {token.strip() for token in connection.lower().split(b",")}
        head.keep_alive = b"close" not in tokens and (not head.http10 or b"keep-alive" in tokens)
    expect = head.headers.get(b"expect")
    if expect is not None and not head.http10:
        if expect.lower() != b"100-continue":
            raise refused("not-implemented", 417, "the only expectation served is 100-continue")
        head.expects_continue = True
