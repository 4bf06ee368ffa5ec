"""Bad HTTP/1.1, as a table: what is sent, what must come back, and whether the connection lives on.

Every request that could be understood is a create with a valid token and body, so that each one that slipped through
would leave a task behind. `@` stands for the header line with the token.
"""

from typing import Final, NamedTuple

from appliance.mux.limits import Limits

LIMITS: Final = Limits()
GOOD: Final = b'{"command":"slipped-through","payload":1}'
NOTHING: Final = 0
"""Closed without an answer: what came is no HTTP at all."""
VALIDATION: Final = "validation-error"


class Bad(NamedTuple):
    """`status` and `code` of the last answer; `lives`: the connection serves a further request."""

    name: str
    data: bytes
    status: int = 400
    code: str = VALIDATION
    lives: bool = False


def request(
    *fields: bytes,
    line: bytes = b"POST /v1/codeq/tasks HTTP/1.1",
    host: bytes = b"Host: localhost",
    length: bytes | None = b"Content-Length: %d" % len(GOOD),
    body: bytes = GOOD,
) -> bytes:
    """A create in which one thing is bent."""
    lines = [line, *([host] if host else []), b"@", *fields, *([length] if length else [])]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(body: bytes, *fields: bytes) -> bytes:
    """A create whose body is already in chunks."""
    return request(b"Transfer-Encoding: chunked", *fields, length=None, body=body)


def one_chunk(data: bytes = GOOD) -> bytes:
    """A chunk without an end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def with_length(value: bytes) -> bytes:
    """A create with this Content-Length."""
    return request(length=b"Content-Length: " + value)


def with_coding(value: bytes) -> bytes:
    """A create in one good chunk with this Transfer-Encoding."""
    return request(b"Transfer-Encoding: " + value, length=None, body=one_chunk() + b"0\r\n\r\n")


LINES: Final = (
    Bad("no version", request(line=b"POST /v1/codeq/tasks")),
    Bad("two spaces", request(line=b"POST  /v1/codeq/tasks HTTP/1.1")),
    Bad("a space at the end", request(line=b"POST /v1/codeq/tasks HTTP/1.1 ")),
    Bad("a tab for a space", request(line=b"POST\t/v1/codeq/tasks HTTP/1.1"), NOTHING, ""),
    Bad("version 2.0", request(line=b"POST /v1/codeq/tasks HTTP/2.0"), 505),
    Bad("version 1.2", request(line=b"POST /v1/codeq/tasks HTTP/1.2"), 505),
    Bad("version 11", request(line=b"POST /v1/codeq/tasks HTTP/11")),
    Bad("version in lower case", request(line=b"POST /v1/codeq/tasks http/1.1")),
    Bad("CONNECT", request(line=b"CONNECT localhost:443 HTTP/1.1"), 501),
    Bad("an unknown method", request(line=b"BREW /v1/codeq/tasks HTTP/1.1"), 501),
    Bad("a method that is no word", request(line=b"PO-ST /v1/codeq/tasks HTTP/1.1")),
    Bad("a method in lower case", request(line=b"post /v1/codeq/tasks HTTP/1.1"), NOTHING, ""),
    Bad("an asterisk", request(line=b"POST * HTTP/1.1")),
    Bad("a target without a slash", request(line=b"POST v1/codeq/tasks HTTP/1.1")),
    Bad("a fragment", request(line=b"POST /v1/codeq/tasks#x HTTP/1.1")),
    Bad("a target beyond ASCII", request(line=b"POST /v1/codeq/t\xc3\xa4sks HTTP/1.1")),
    Bad("a NUL in the target", request(line=b"POST /v1/codeq/tasks\0 HTTP/1.1")),
    Bad("an absolute target of another scheme", request(line=b"POST ftp://x/v1/codeq/tasks HTTP/1.1")),
    Bad("an absolute target with a bad host", request(line=b"POST http://a b/v1/codeq/tasks HTTP/1.1")),
    Bad("a target past its limit", request(line=b"POST /" + b"a" * LIMITS.target_bytes + b" HTTP/1.1"), 414),
    Bad("two empty lines first", b"\r\n\r\n" + request(), NOTHING, ""),
    Bad("a space first", b" " + request(), NOTHING, ""),
    Bad("binary", bytes(range(0x80, 0xFF)), NOTHING, ""),
    Bad("TLS that is none", b"\x16\x03\x01\x00\x05hello", NOTHING, ""),
    Bad("a preface of peers", b"CQRF\x00\x00\x00\x01", NOTHING, ""),
)

HEADS: Final = (
    Bad("no Host", request(host=b"")),
    Bad("two equal Hosts", request(b"Host: localhost")),
    Bad("two Hosts", request(b"Host: other")),
    Bad("an empty Host", request(host=b"Host:")),
    Bad("a Host with a space", request(host=b"Host: a b")),
    Bad("a Host with a path", request(host=b"Host: a/b")),
    Bad("a Host with a user", request(host=b"Host: a@b")),
    Bad("a Host with half an address", request(host=b"Host: [::1")),
    Bad("a space before a colon", request(b"X-A : b")),
    Bad("a folded line", request(b"X-A: b\r\n c")),
    Bad("a name that is empty", request(b": b")),
    Bad("a line without a colon", request(b"X-A")),
    Bad("a name with a bracket", request(b"X[A]: b")),
    Bad("a NUL in a value", request(b"X-A: b\0c")),
    Bad("a bare CR in a value", request(b"X-A: b\rc")),
    Bad("a bare LF at the end of a line", request(b"X-A: b\nX-B: c")),
    Bad("lines that end with LF", request().replace(b"\r\n", b"\n")),
    Bad("two tokens", request(b"@")),
    Bad("two media types", request(b"Content-Type: application/json", b"Content-Type: application/json")),
    Bad("an expectation", request(b"Expect: 200-ok"), 417),
    Bad("too many fields", request(*(b"X-%d: a" % number for number in range(LIMITS.head_fields))), 431),
    Bad("a field past the limit", request(b"X-A: " + b"a" * LIMITS.head_bytes), 431),
    Bad("an upgrade to HTTP/2", request(b"Upgrade: h2c").replace(b"@\r\n", b""), 401, "unauthenticated", True),
    Bad("an upgrade to WebSocket", request(b"Connection: upgrade", b"Upgrade: websocket").replace(b"@\r\n", b""),
        401, "unauthenticated", True),
)  # fmt: skip

FRAMING: Final = (
    Bad("length and coding", request(b"Transfer-Encoding: chunked", body=one_chunk() + b"0\r\n\r\n")),
    Bad("two equal lengths", request(b"Content-Length: %d" % len(GOOD))),
    Bad("two lengths", request(b"Content-Length: 0")),
    Bad("a length with a sign", with_length(b"+%d" % len(GOOD))),
    Bad("a negative length", with_length(b"-1")),
    Bad("a hexadecimal length", with_length(b"0x29")),
    Bad("a list of equal lengths", with_length(b"%d, %d" % (len(GOOD), len(GOOD)))),
    Bad("an empty length", with_length(b"")),
    Bad("a length with a space within", with_length(b"4 1")),
    Bad("a length in other digits", with_length("٤١".encode())),
    Bad("a length of 30 digits", with_length(b"9" * 30)),
    Bad("a length one past the limit", with_length(b"%d" % (LIMITS.body_bytes + 1)), 413, "payload-too-large"),
    Bad("a length spelt with an underscore", request(b"Content_Length: 0")),
    Bad("a coding spelt with an underscore", request(b"Transfer_Encoding: chunked")),
    Bad("gzip", with_coding(b"gzip")),
    Bad("gzip, chunked", with_coding(b"gzip, chunked"), 501),
    Bad("chunked, gzip", with_coding(b"chunked, gzip")),
    Bad("chunked twice", with_coding(b"chunked, chunked")),
    Bad("xchunked", with_coding(b"xchunked")),
    Bad("identity", with_coding(b"identity")),
    Bad("an empty coding", with_coding(b"")),
    Bad("two lines of coding", chunked(one_chunk() + b"0\r\n\r\n", b"Transfer-Encoding: chunked")),
    Bad("chunks in HTTP/1.0", chunked(one_chunk() + b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")),
    Bad("a chunk size that is no number", chunked(b"zz\r\n" + GOOD + b"\r\n0\r\n\r\n")),
    Bad("a chunk size with a prefix", chunked(b"0x29\r\n" + GOOD + b"\r\n0\r\n\r\n")),
    Bad("a chunk size with a sign", chunked(b"+29\r\n" + GOOD + b"\r\n0\r\n\r\n")),
    Bad("a negative chunk size", chunked(b"-1\r\n" + GOOD + b"\r\n0\r\n\r\n")),
    Bad("an empty chunk size", chunked(b"\r\n" + GOOD + b"\r\n0\r\n\r\n")),
    Bad("a chunk size of 17 digits", chunked(b"0" * 15 + b"29\r\n" + GOOD + b"\r\n0\r\n\r\n")),
    Bad("a chunk of a terabyte", chunked(b"ffffffffff\r\n"), 413, "payload-too-large"),
    Bad("a chunk one past the limit", chunked(b"%x\r\n" % (LIMITS.body_bytes + 1)), 413, "payload-too-large"),
    Bad("a chunk longer than its size", chunked(b"1\r\n" + GOOD + b"\r\n0\r\n\r\n")),
    Bad("a chunk that ends with LF", chunked(b"29\r\n" + GOOD + b"\n0\r\n\r\n")),
    Bad("a chunk size that ends with LF", chunked(b"29\n" + GOOD + b"\r\n0\r\n\r\n")),
    Bad("an extension past its limit", chunked(b"29;" + b"a" * LIMITS.chunk_line_bytes + b"\r\n" + GOOD)),
    Bad("an extension with a bare CR", chunked(b"29;a\rb\r\n" + GOOD + b"\r\n0\r\n\r\n")),
    Bad("a body in single bytes", chunked(b"1\r\n \r\n" * (2 * LIMITS.chunks_free))),
    Bad("a trailer that is none", chunked(one_chunk() + b"0\r\nno trailer\r\n\r\n")),
    Bad("trailers past their limit",
        chunked(one_chunk() + b"0\r\n" + b"X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * (LIMITS.trailer_bytes // 32)), 431),
    Bad("a second request that is none", request(line=b"GET /healthz HTTP/1.1", length=None, body=b"") + b"\0\r\n\r\n"),
    Bad("a preface within", request(line=b"GET /healthz HTTP/1.1", length=None, body=b"")
        + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Bad("a body that is longer than its length", with_length(b"%d" % (len(GOOD) - 1)) + b"\r\n\r\n"),
)  # fmt: skip

TABLE: Final = LINES + HEADS + FRAMING

CUT_OFF: Final = (
    ("in the head", request()[:60]),
    ("in the body", request()[:-1]),
    ("in a chunk", chunked(one_chunk()[:-5])),
    ("before the last chunk", chunked(one_chunk())),
    ("in the trailers", chunked(one_chunk() + b"0\r\nX-A: b\r\n")),
)
"""Good beginnings whose end never comes."""
