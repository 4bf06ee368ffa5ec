"""Bad gRPC of every kind against a real node: each call gets its status, and its neighbours never notice.

The table is `bad_grpc`; the tokens that nobody may use are those of `bad_tokens`.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from appliance.auth.caller import WORKER_SCOPES
from tests.e2e import bad_grpc, bad_tokens, frames
from tests.e2e.bad_grpc import STREAM, Bad, Tokens, greeting, producer_hello
from tests.e2e.bad_tokens import Keys, Token
from tests.e2e.frames import Outcome, frame
from tests.e2e.grpc_peer import PRODUCER, WORKER, GrpcPeer, head, prefixed
from tests.e2e.node import Node

NEIGHBOUR = 1


class Stage(NamedTuple):
    """A node, the tokens of the tenant that behaves badly, and another one's that does not."""

    node: Node
    tokens: Tokens
    neighbour: str
    client: httpx.Client

    def counts(self) -> list[str]:
        """What the node counts of the bad tenant's tasks."""
        text = self.client.get("/metrics").raise_for_status().text
        return sorted(line for line in text.splitlines() if 'tenant="bad"' in line)


@pytest.fixture(scope="module")
def stage(plain_node: Node) -> Iterator[Stage]:
    narrow = tuple(scope for scope in WORKER_SCOPES if scope != "codeq:claim")
    tokens = Tokens(
        plain_node.producer("bad"),
        plain_node.worker("bad"),
        plain_node.mint("worker", "bad", scopes=narrow),
        plain_node.mint("worker", "bad", commands=("one",)),
    )
    with plain_node.client() as client:
        yield Stage(plain_node, tokens, plain_node.producer("neighbour"), client)


@contextlib.contextmanager
def connected(stage: Stage) -> Iterator[GrpcPeer]:
    """A connection on which a well-behaved producer has been greeted."""
    with contextlib.closing(stage.node.connect()) as sock:
        peer = GrpcPeer(sock)
        peer.call(NEIGHBOUR, PRODUCER, producer_hello(stage.neighbour))
        ack = peer.message(NEIGHBOUR, 0)
        assert isinstance(ack, bytes) and pb.ServerEvent.FromString(ack).hello_ack.tenant_id == "neighbour"
        yield peer


def serves(peer: GrpcPeer) -> None:
    """The well-behaved producer makes a task."""
    create = pb.ProducerEvent(create=pb.CreateTask(seq=7, command="fine"))
    peer.data(NEIGHBOUR, prefixed(create.SerializeToString()))
    ack = peer.message(NEIGHBOUR, len(peer.messages[NEIGHBOUR]))
    assert isinstance(ack, bytes) and pb.ServerEvent.FromString(ack).create_ack.ok


def code_of(message: bytes, path: str) -> str:
    """The code of a ServerError, or of an acknowledgement that says no."""
    event: Any = (pb if path == PRODUCER else wb).ServerEvent.FromString(message)
    kind = event.WhichOneof("event")
    if kind == "error":
        return str(event.error.code)
    ack = getattr(event, kind)
    assert not ack.ok
    return str(ack.error_message.partition(": ")[0])


@pytest.mark.parametrize("bad", bad_grpc.TABLE, ids=[bad.name.replace(" ", "-")[:70] for bad in bad_grpc.TABLE])
def test_a_bad_call_gets_its_status_alone(stage: Stage, bad: Bad) -> None:
    before = stage.counts()
    with connected(stage) as peer:
        if bad.hello:
            peer.call(STREAM, bad.hello, greeting(bad.hello, stage.tokens))
            assert isinstance(peer.message(STREAM, 0), bytes)
        bad.send(peer, stage.tokens)
        if bad.outcome.kind == "answer":
            answer = peer.message(STREAM, 1)
            assert isinstance(answer, bytes), answer
            assert code_of(answer, bad.hello) == bad.outcome.code
            peer.data(STREAM, b"", end=True)
            assert peer.outcome(STREAM) == Outcome("grpc", 0)
        else:
            assert peer.outcome(STREAM) == bad.outcome
        if bad.outcome.kind == "goaway":
            with connected(stage) as another:
                serves(another)
        else:
            serves(peer)
    assert stage.counts() == before


@pytest.fixture(scope="module")
def keys(plain_node: Node) -> Keys:
    """The node's private keys."""
    return Keys.load(plain_node.key("producer"), plain_node.key("worker"))


def test_bad_tokens_are_unauthenticated_and_good_ones_at_the_limit_are_not(stage: Stage, keys: Keys) -> None:
    def outcome(peer: GrpcPeer, stream: int, token: Token) -> bytes | Outcome:
        peer.call(stream, PRODUCER, producer_hello(token.make(keys)))
        return peer.message(stream, 0)

    with connected(stage) as peer:
        for number, bad in enumerate(bad_tokens.TABLE):
            assert outcome(peer, 2 * number + STREAM, bad) == bad_grpc.UNAUTHENTICATED, bad.name
        for number, good in enumerate(bad_tokens.ACCEPTED, len(bad_tokens.TABLE)):
            assert isinstance(outcome(peer, 2 * number + STREAM, good), bytes), good.name
        serves(peer)


@pytest.mark.parametrize("path", [PRODUCER, WORKER])
def test_an_empty_stream_is_fine(stage: Stage, path: str) -> None:
    with connected(stage) as peer:
        peer.call(STREAM, path, end=True)
        assert peer.outcome(STREAM) == Outcome("grpc", 0)
        serves(peer)


@pytest.mark.parametrize("path", [PRODUCER, WORKER])
def test_a_reset_at_any_point_leaves_the_neighbour_alone(stage: Stage, path: str) -> None:
    reset = (8).to_bytes(4, "big")
    hello = prefixed(greeting(path, stage.tokens))
    with connected(stage) as peer:
        for number, length in enumerate((0, 3, 5, len(hello) - 1, len(hello))):
            stream = 2 * number + STREAM
            peer.call(stream, path)
            if length:
                peer.data(stream, hello[:length])
            peer.send(frame(frames.RST_STREAM, 0, stream, reset))
            peer.data(stream, hello)
        serves(peer)


def test_data_behind_the_end_is_reset(stage: Stage) -> None:
    with connected(stage) as peer:
        # All in one write: the call has not ended yet when what follows is looked at.
        call = peer.headers(STREAM, head(PRODUCER), end=False)
        peer.send(call + frame(frames.DATA, frames.END_STREAM, STREAM) + frame(frames.DATA, 0, STREAM, prefixed(b"")))
        assert peer.outcome(STREAM) == Outcome("reset", frames.STREAM_CLOSED)
        serves(peer)


def test_a_connection_that_breaks_off_within_a_message_is_forgotten(stage: Stage) -> None:
    for cut in (1, 5, 8):
        with connected(stage) as peer:
            peer.call(STREAM, WORKER)
            peer.data(STREAM, prefixed(b"hello there")[:cut])
    with connected(stage) as peer:
        serves(peer)
