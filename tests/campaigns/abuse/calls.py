"""Attacks with requests and calls: HTTP/1.1 framing, gRPC, tokens. Most are the tables of the end-to-end tests.

A table is one attack here: all of its rows in turn, each of which has to get its own refusal.
"""

import contextlib
import gzip
import json
from typing import Final

from appliance.api.streams.wire import worker_pb2 as wb
from tests.campaigns.abuse.http2 import CALM
from tests.campaigns.abuse.stage import Attack, NotRefused, Stage, expect
from tests.e2e import bad_grpc, bad_http1, bad_tokens, frames
from tests.e2e.bad_grpc import MESSAGE_BYTES_MAX, STREAM, greeting, producer_hello, worker_hello
from tests.e2e.frames import Outcome, frame
from tests.e2e.grpc_peer import PRODUCER, WORKER, GrpcPeer, head, prefixed
from tests.e2e.raw import Answer, answers, read_answer, send

HTTP1: Final = "HTTP/1.1"
GRPC: Final = "gRPC"
TOKENS: Final = "tokens"
EXHAUSTED: Final = Outcome("grpc", 8)
BRACKETS: Final = 4 << 20
FORGED_ENOUGH: Final = 10_000


def _bearer(token: str) -> bytes:
    return b"Authorization: Bearer " + token.encode() + b"\r\n"


def _play_http1(stage: Stage) -> str:
    for bad in bad_http1.TABLE:
        with contextlib.closing(stage.connect()) as sock:
            data = bad.data.replace(b"@\r\n", _bearer(stage.tokens.producer))
            if bad.lives:
                answer = read_answer(send(sock, data))
                found = [answer] if answer is not None else []
            else:
                found = answers(sock, data)
        last = found[-1].status if found else bad_http1.NOTHING
        expect(last == bad.status, (bad.name, found))
    return f"{len(bad_http1.TABLE)} kinds, each its status"


def post(stage: Stage, body: bytes, token: str, path: bytes = b"/v1/codeq/tasks/batch") -> Answer:
    """A request on a connection of its own."""
    head_text = b"POST %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" % path
    head_text += b"Content-Length: %d\r\n" % len(body)
    with contextlib.closing(stage.connect()) as sock:
        found = answers(sock, head_text + _bearer(token) + b"\r\n" + body)
        expect(len(found) == 1, found)
        return found[0]


def _many_brackets(stage: Stage) -> str:
    answer = post(stage, b"[" + b"[]," * (BRACKETS // 2) + b"[]]", stage.tokens.producer)
    expect(answer.status in (200, 400), answer.status)
    return str(answer.status)


def _deep_brackets(stage: Stage) -> str:
    answer = post(stage, b"[" * BRACKETS + b"]" * BRACKETS, stage.tokens.producer)
    expect(answer.status == 400, answer.status)
    return "400"


def _tiny_chunks(stage: Stage) -> str:
    data = (
        b"POST /v1/codeq/tasks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        + _bearer(stage.tokens.producer) + b"\r\n" + b"1\r\n \r\n" * 2_000
    )  # fmt: skip
    with contextlib.closing(stage.connect()) as sock:
        found = answers(sock, data)
    expect(found and found[-1].status == 400, found)
    return "400"


def _play_grpc(stage: Stage) -> str:
    for bad in bad_grpc.TABLE:
        with contextlib.closing(GrpcPeer(stage.connect())) as peer:
            peer.call(1, PRODUCER, producer_hello(stage.tokens.producer))
            expect(isinstance(peer.message(1, 0), bytes), bad.name)
            if bad.hello:
                peer.call(STREAM, bad.hello, greeting(bad.hello, stage.tokens))
                expect(isinstance(peer.message(STREAM, 0), bytes), bad.name)
            bad.send(peer, stage.tokens)
            if bad.outcome.kind == "answer":
                expect(isinstance(peer.message(STREAM, 1), bytes), bad.name)
            else:
                seen = peer.outcome(STREAM)
                expect(seen == bad.outcome, (bad.name, seen))
    return f"{len(bad_grpc.TABLE)} kinds, each its status"


def _hellos(stage: Stage) -> str:
    """A greeting and a reset, over and over."""
    hello = prefixed(producer_hello(stage.tokens.producer))
    with contextlib.closing(GrpcPeer(stage.connect())) as peer:
        for stream in range(1, 2 * (bad_http1.LIMITS.h2_resets + 2), 2):
            call = peer.headers(stream, head(PRODUCER), end=False) + frame(frames.DATA, 0, stream, hello)
            peer.send(call + frame(frames.RST_STREAM, 0, stream, (8).to_bytes(4)))
        seen = peer.outcome(0)
        expect(seen == CALM, seen)
        return "goaway 11"


def _bomb_before_hello(stage: Stage) -> str:
    bomb = prefixed(gzip.compress(bytes(MESSAGE_BYTES_MAX), mtime=0), 1)
    with contextlib.closing(GrpcPeer(stage.connect())) as peer:
        peer.send(peer.headers(STREAM, head(PRODUCER, ("grpc-encoding", "gzip")), end=False))
        peer.data(STREAM, bomb * 10)
        seen = peer.outcome(STREAM)
        expect(seen == EXHAUSTED, seen)
        return "RESOURCE_EXHAUSTED"


def _ready_flood(stage: Stage) -> str:
    ready = wb.WorkerEvent(ready=wb.Ready(commands=["nothing"])).SerializeToString()
    with contextlib.closing(GrpcPeer(stage.connect())) as peer:
        peer.call(STREAM, WORKER, worker_hello(stage.tokens.worker))
        expect(isinstance(peer.message(STREAM, 0), bytes), "no hello_ack")
        peer.data(STREAM, prefixed(ready) * 10_001)
        seen = peer.outcome(STREAM)
        expect(seen == EXHAUSTED, seen)
        return "RESOURCE_EXHAUSTED"


def _play_tokens(stage: Stage) -> str:
    keys = bad_tokens.Keys.load(stage.key("producer"), stage.key("worker"))
    for bad in bad_tokens.TABLE:
        answer = post(stage, b"{}", bad.make(keys))
        expect(answer.status == 401, (bad.name, answer.status))
    return f"{len(bad_tokens.TABLE)} kinds, each 401"


def forged(stage: Stage, number: int) -> str:
    """A token whose claims are new each time, and whose signature is of something else."""
    first, _, signature = stage.tokens.producer.split(".")
    claims = bad_tokens.text_of(json.dumps({"sub": f"x{number}", "exp": 2**33}).encode())
    return f"{first}.{claims}.{signature}"


def _forged_flood(stage: Stage) -> str:
    """Forged tokens on one connection until the node looks at no more of them."""
    with contextlib.closing(stage.connect()) as sock:
        stream = sock.makefile("rb")
        for number in range(FORGED_ENOUGH):
            sock.sendall(
                b"GET /v1/codeq/tasks/x HTTP/1.1\r\nHost: localhost\r\n" + _bearer(forged(stage, number)) + b"\r\n"
            )
            answer = read_answer(stream)
            expect(answer is not None and answer.status in (401, 429), answer)
            if answer is not None and answer.status == 429:
                return "429"
    raise NotRefused(f"{FORGED_ENOUGH} forged tokens were looked at")


ATTACKS: Final = (
    Attack(HTTP1, "every malformed request", "malformed", _play_http1),
    Attack(HTTP1, "chunks of one byte", "tiny-chunks", _tiny_chunks),
    Attack(HTTP1, "8 MiB of brackets, side by side", "", _many_brackets),
    Attack(HTTP1, "8 MiB of brackets, within each other", "", _deep_brackets),
    Attack(GRPC, "every malformed call", 'codeq_streams_ended_total{status="internal"}', _play_grpc),
    Attack(GRPC, "a hello for each stream", "h2-resets", _hellos),
    Attack(GRPC, "gzip bombs before hello", 'codeq_streams_ended_total{status="resource-exhausted"}',
           _bomb_before_hello),
    Attack(GRPC, "more readys than may wait", 'codeq_streams_ended_total{status="resource-exhausted"}', _ready_flood),
    Attack(TOKENS, "every malformed token", "codeq_token_refusals_total", _play_tokens, floods=False),
)  # fmt: skip

FLOOD: Final = Attack(TOKENS, "forged tokens without end", "codeq_tokens_throttled_total", _forged_flood)
"""Played after everything else: what it does to its address would refuse the bad tokens of others differently."""
