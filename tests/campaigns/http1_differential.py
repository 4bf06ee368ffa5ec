"""The same bytes to our HTTP/1.1 and to h11: how many requests, which ones, with which bodies, and refused or not.

    python -m tests.campaigns.http1_differential [--seconds S] [--jobs N] [--seed N] [--case N]

Requests in a row are made from parts that are right, unusual and wrong, bent here and there by a byte, and given to
ours in random pieces. What ours sees must be what h11 sees, request by request. Ours may be stricter, but only for a
reason that `STRICTER` knows and that can be found in the bytes; it may be laxer in one thing only, which the RFC asks
for. Any other difference is a finding. Each case comes from the seed and its number alone.
"""

import argparse
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Final, NamedTuple

import h11

from appliance.mux.exchange import Request, Response
from appliance.mux.head import METHODS
from tests.mux.support import Wire

PIECES_MAX: Final = 4
REQUESTS_MAX: Final = 3
BATCH: Final = 500
"""Cases between two looks at the clock."""
SHOWN_MAX: Final = 5

FIRSTS: Final = (
    b"GET / HTTP/1.1", b"GET / HTTP/1.1", b"POST /a?b=c HTTP/1.1", b"POST / HTTP/1.1", b"PUT /%41 HTTP/1.0",
    b"HEAD / HTTP/1.1", b"DELETE /x HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET http://a/ HTTP/1.1", b"GET /",
    b"GET / HTTP/1.2", b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"BREW / HTTP/1.1", b"get / HTTP/1.1", b"GET  / HTTP/1.1",
    b"GET / HTTP/1.1 ", b"GET /a b HTTP/1.1", b"GET /#a HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"GET\t/ HTTP/1.1",
    b"PATCH /\xc3\xa4 HTTP/1.1", b"GET /a\x7f HTTP/1.1",
)  # fmt: skip
LINES: Final = (
    b"Host: a", b"Host: a:80", b"Host: b", b"host:a", b"Host: ", b"Host: a b", b"Host: a/b", b"Content-Length: 3",
    b"Content-Length: 0", b"Content-Length: 3, 3", b"Content-Length: 3,4", b"Content-Length: +3",
    b"Content-Length: 03", b"Content-Length: 3 ", b"Content-Length:", b"Content-Length: 0x3",
    b"Content-Length: 18446744073709551619", b"Content-Length: \xb2", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding : chunked", b"Transfer_Encoding: chunked",
    b"Content_Length: 3", b"Connection: close", b"Connection: keep-alive", b"Connection: x, close",
    b"Connection: Content-Length", b"Expect: 100-continue", b"Expect: x", b"X: y", b"X:", b"X:y\t", b": y", b"X",
    b"X : y", b"X y: z", b" folded", b"\tfolded", b"Upgrade: h2c", b"X: \xff", b"X: a\0b", b"X: a\rb", b"X: a\x01b",
    b"Authorization: Bearer a", b"Content-Type: a/b", b"Cookie: a", b"Trailer: X", b"TE: trailers", b"X(: y",
)  # fmt: skip
BODIES: Final = (
    b"", b"", b"abc", b"abcd", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n", b"3\nabc\r\n0\r\n\r\n", b"3\r\nabc\n0\r\n\r\n",
    b"03;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n", b"3 \r\nabc\r\n0\r\n\r\n", b"3;\r\nabc\r\n0\r\n\r\n",
    b"3\t;x\r\nabc\r\n0\r\n\r\n", b"+3\r\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nab\r\n0\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n", b"0\r\nT\r\n\r\n", b"0\r\n T: 1\r\n\r\n",
    b"3;x=\"\r\n\"\r\nabc\r\n0\r\n\r\n", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"g\r\nabc\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n", b"00000000000000003\r\nabc\r\n0\r\n\r\n", b"-0\r\n\r\n", b"\r\n",
    b"3;x\0\r\nabc\r\n0\r\n\r\n", b"0\r\nT: a\0\r\n\r\n", b"0;\xff\r\n\r\n",
)  # fmt: skip
GOOD_FIRSTS: Final = (b"GET / HTTP/1.1", b"POST /a?b=c HTTP/1.1", b"PUT /%41 HTTP/1.1", b"HEAD / HTTP/1.1")
GOOD_LINES: Final = (b"X: y", b"X:", b"Cookie: a", b"Connection: keep-alive", b"Expect: 100-continue", b"X:y\t")
GOOD_CHUNKS: Final = (
    b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nT: 1\r\n\r\n",
    b"1B\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n00\r\n\r\n",
)  # fmt: skip
BENDS: Final = (b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b"0", b",", b"\x80", b";")

Seen = tuple[bytes, bytes]
"""Method and body."""


class Reading(NamedTuple):
    """What a parser made of the bytes: complete requests, and the status of its refusal, 0 where it wants more."""

    requests: list[Seen]
    refusal: int
    rests: list[bytes]
    """Of h11 only: what begins at each request, and at what came last."""


def make(rng: Random) -> bytes:
    """Requests in a row."""
    data = b"".join(_request(rng) for _ in range(rng.randint(1, REQUESTS_MAX)))
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2))):
        at = rng.randrange(len(data))
        data = data[:at] + rng.choice(BENDS) + data[at + rng.randint(0, 1) :]
    return data


def _request(rng: Random) -> bytes:
    """Mostly right, or nothing but refusals would be compared."""
    first = rng.choice(GOOD_FIRSTS if rng.random() < 0.85 else FIRSTS)
    lines = [b"Host: a"] * (rng.random() < 0.95)
    lines += [rng.choice(GOOD_LINES) for _ in range(rng.choice((0, 0, 1, 2)))]
    body = b""
    framing = rng.random()
    if framing < 0.4:
        body = rng.choice((b"", b"abc", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
        lines.append(b"Content-Length: %d" % len(body))
    elif framing < 0.7:
        body = rng.choice(GOOD_CHUNKS if rng.random() < 0.7 else BODIES)
        lines.append(b"Transfer-Encoding: chunked")
    lines += [rng.choice(LINES)] * (rng.random() < 0.2)
    rng.shuffle(lines)
    body = rng.choice(BODIES) if rng.random() < 0.05 else body
    return b"\r\n".join([first, *lines, b"", b""]) + body


def cut(data: bytes, rng: Random) -> list[bytes]:
    """The same in pieces."""
    edges = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(0, PIECES_MAX - 1)))
    return [data[start:end] for start, end in zip([0, *edges], [*edges, len(data)], strict=True)]


def ours(pieces: list[bytes]) -> Reading:
    """What our side makes of it."""
    seen: list[Seen] = []

    def handler(request: Request) -> None:
        seen.append((request.method.encode(), request.body))
        request.respond(Response(200))

    wire = Wire(handler)
    answers = b"".join(wire.send(piece) for piece in pieces)
    statuses = [int(code) for code in re.findall(rb"HTTP/1\.1 ([45]\d\d) ", answers)]
    return Reading(seen, statuses[-1] if statuses else 0, [])


def theirs(data: bytes) -> Reading:
    """What h11 makes of it.

    h11 neither skips the one empty line before a request that RFC 9112 2.2 asks for, nor keeps HTTP/1.0 alive; both are
    no matter of framing, so the line is skipped here and each request gets a parser of its own.
    """
    requests: list[Seen] = []
    rests: list[bytes] = []
    while True:
        data = data.removeprefix(b"\r\n")
        rests.append(data)
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(data)
        method, body = b"", b""
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    method = event.method
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    return Reading(requests, 0, rests)
        except h11.RemoteProtocolError as error:
            return Reading(requests, error.error_status_hint, rests)
        requests.append((method, body))
        data = bytes(connection.trailing_data[0])


# Why ours may refuse what h11 takes, or refuse it earlier.


def _head(rest: bytes) -> bytes:
    return re.split(rb"\r?\n\r?\n", rest, maxsplit=1)[0]


def _values(rest: bytes, name: bytes) -> list[bytes]:
    return [value.strip() for value in re.findall(rb"(?im)^" + name + rb":([^\r\n]*)", _head(rest))]


def _bare_line_end(rest: bytes) -> bool:
    return re.search(rb"(?<!\r)\n|\r(?!\n)", rest) is not None


def _first_line(rest: bytes) -> bool:
    parts = rest.split(b"\n")[0].rstrip(b"\r").split(b" ")
    if len(parts) != 3 or parts[0] not in METHODS or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        return True
    return re.fullmatch(rb"(?:/|http://[^/]+/)[!-\"$-~]*", parts[1]) is None


def _host(rest: bytes) -> bool:
    values = _values(rest, rb"host")
    return len(values) != 1 or re.fullmatch(rb"[A-Za-z0-9.\-]+(:[0-9]*)?", values[0]) is None


def _framing(rest: bytes) -> bool:
    lengths, codings = _values(rest, rb"content-length"), _values(rest, rb"transfer-encoding")
    return (
        len(lengths) + len(codings) > 1
        or any(not length.isdigit() or len(length) > 8 for length in lengths)
        or any(coding.lower() != b"chunked" for coding in codings)
        or re.search(rb"(?i)\ntransfer-encoding:[^\r\n]*\t", _head(rest)) is not None
        or (bool(codings) and b" HTTP/1.0" in rest.split(b"\n")[0])
    )


def _fold(rest: bytes) -> bool:
    return re.search(rb"\n[ \t]", _head(rest)) is not None


def _repeated(rest: bytes) -> bool:
    return any(len(_values(rest, name)) > 1 for name in (rb"authorization", rb"content-type"))


def _control(rest: bytes) -> bool:
    return re.search(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]", _head(rest)) is not None


def _underscore(rest: bytes) -> bool:
    return re.search(rb"(?i)\n(content_length|transfer_encoding):", _head(rest)) is not None


def _expectation(rest: bytes) -> bool:
    values = _values(rest, rb"expect")
    return len(values) > 1 or any(value.lower() != b"100-continue" for value in values)


_GENEROUS_CHUNKS: Final = re.compile(
    rb"(?m)^[0-9a-fA-F]+[ \t]+\r?$"  # blanks behind a size
    rb"|^[0-9a-fA-F]{17,}"
    rb"|^[0-9a-fA-F]+[ \t]*;[^\r\n]*[\0-\x08\x0b-\x1f\x7f]"  # control characters in an extension
    rb"|\r\n[ \t]+"  # a folded trailer
)


def _chunks(rest: bytes) -> bool:
    return _GENEROUS_CHUNKS.search(rest[len(_head(rest)) :]) is not None


_BLANK_BEFORE_EXTENSION: Final = re.compile(rb"(?m)^[0-9a-fA-F]+[ \t]+;")

STRICTER: Final[dict[str, Callable[[bytes], bool]]] = {
    "a line end that is not CRLF": _bare_line_end,
    "a request line of another form, method or version": _first_line,
    "no single valid Host": _host,
    "framing that is doubtful, doubled or not served": _framing,
    "a folded line": _fold,
    "control characters": _control,
    "a header that must not be repeated": _repeated,
    "a framing header with an underscore": _underscore,
    "an expectation other than 100-continue": _expectation,
    "a chunked coding that is written oddly": _chunks,
}


class Verdict(NamedTuple):
    """`finding` is empty where both agree, or ours is stricter for the reason that `kind` names."""

    kind: str
    finding: str


def compare(data: bytes, pieces: list[bytes]) -> Verdict:
    """Hold both readings against each other."""
    mine, other = ours(pieces), theirs(data)
    count = len(mine.requests)
    if mine.requests != other.requests[:count]:
        agreed = mine.requests[: len(other.requests)] == other.requests
        if agreed and other.refusal and _BLANK_BEFORE_EXTENSION.search(other.rests[-1]):
            return Verdict("laxer: a blank before an extension of a chunk, as RFC 9112 7.1.1 wants it", "")
        return Verdict("", f"ours saw {mine.requests}, h11 {other.requests}, refused with {other.refusal}")
    if mine.refusal:
        if count == len(other.requests) and other.refusal:
            return Verdict("both refuse", "")
        rest = other.rests[count]
        reason = next((name for name, found in STRICTER.items() if found(rest)), "")
        if reason:
            return Verdict(f"stricter: {reason}", "")
        if count == len(other.requests):
            return Verdict("ours refuses what h11 waits for the end of", "")
        return Verdict("", f"ours refused with {mine.refusal} after {count} requests, h11 saw {other.requests}")
    if count < len(other.requests):
        if count and _ended(other.rests[count - 1]):
            return Verdict("ours ended the connection as it was asked to", "")
        if _bare_line_end(other.rests[count]):
            return Verdict("ours waits for the end of a head whose lines end otherwise", "")
        return Verdict("", f"ours waits after {count} requests, h11 saw {other.requests}")
    if other.refusal:
        if count and _ended(other.rests[count - 1]):
            return Verdict("ours ended the connection as it was asked to", "")
        if _bare_line_end(other.rests[count]):
            return Verdict("ours waits for the end of a head whose lines end otherwise", "")
        if not other.rests[count].strip(b"\r\n"):
            return Verdict("ours waits behind empty lines", "")
        return Verdict("", f"ours waits where h11 refused with {other.refusal}")
    return Verdict("both see the same", "")


def _ended(rest: bytes) -> bool:
    """Whether the request that begins here is the last of its connection."""
    values = _values(rest, rb"connection")
    tokens = {token.strip() for value in values for token in value.lower().split(b",")}
    old = b"HTTP/1.0" in rest.split(b"\n")[0]
    return b"close" in tokens or (old and b"keep-alive" not in tokens)


def case(seed: int, number: int) -> tuple[bytes, list[bytes]]:
    """One case: the bytes, whole and in pieces."""
    rng = Random(f"{seed}/{number}")
    data = make(rng)
    return data, cut(data, rng)


def findings(seed: int, start: int, step: int, seconds: float) -> tuple[Counter[str], list[tuple[int, str]], int]:
    """Cases `start`, `start + step` … until the time is up: their kinds, what was found, and how many there were."""
    kinds: Counter[str] = Counter()
    found: list[tuple[int, str]] = []
    number, deadline = start, time.monotonic() + seconds
    while time.monotonic() < deadline and len(found) < SHOWN_MAX:
        for _ in range(BATCH):
            verdict = compare(*case(seed, number))
            kinds[verdict.kind] += 1
            if verdict.finding:
                found.append((number, verdict.finding))
            number += step
    return kinds, found, kinds.total()


def _job(arguments: tuple[int, int, int, float]) -> tuple[Counter[str], list[tuple[int, str]], int]:
    return findings(*arguments)


def _jobs(seed: int, jobs: int, seconds: float) -> Iterator[tuple[Counter[str], list[tuple[int, str]], int]]:
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_job, [(seed, start, jobs, seconds) for start in range(jobs)])


def main() -> int:
    """Run as the command line says; 0 when every difference is explained."""
    program = "python -m tests.campaigns.http1_differential"
    parser = argparse.ArgumentParser(prog=program, description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30, help="default %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--case", type=int, help="only this one, shown")
    arguments = parser.parse_args()
    if arguments.case is not None:
        data, pieces = case(arguments.seed, arguments.case)
        verdict = compare(data, pieces)
        print(*(repr(piece) for piece in pieces), verdict.finding or verdict.kind, sep="\n")
        return bool(verdict.finding)
    print(f"seed {arguments.seed}", flush=True)
    kinds: Counter[str] = Counter()
    found: list[tuple[int, str]] = []
    for some_kinds, some_found, _ in _jobs(arguments.seed, arguments.jobs, arguments.seconds):
        kinds += some_kinds
        found += some_found
    for kind, count in kinds.most_common():
        print(f"{count:>12,}  {kind or 'DIFFERENT'}")
    print(f"{kinds.total():>12,}  cases")
    for number, finding in found[:SHOWN_MAX]:
        print(f"\n{finding}\n{program} --seed {arguments.seed} --case {number}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
