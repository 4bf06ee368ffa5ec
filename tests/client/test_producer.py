"""The producer for threads against a server that breaks."""

import datetime
import json
import socket
import time
from collections.abc import Iterator

import grpc
import pytest

import codeq
from codeq import NewTask, Producer
from codeq._core import link
from tests.client.fake_server import CUT, LOSE, TOKEN, FakeServer


@pytest.fixture
def producer(server: FakeServer) -> Iterator[Producer]:
    with Producer(server.target, TOKEN, plaintext=True) as one:
        yield one


def test_a_create_returns_the_id_of_a_task_with_all_its_options(server: FakeServer, producer: Producer) -> None:
    task_id = producer.create("mail", {"to": "ä"}, priority=7, trace_parent="00-aa-bb-01")
    task = server.tasks[task_id]
    assert json.loads(task.payload) == {"to": "ä"}
    assert (task.command, task.trace_parent) == ("mail", "00-aa-bb-01")


def test_creates_that_are_pipelined_travel_in_batches(server: FakeServer, producer: Producer) -> None:
    futures = [producer.submit("index", number) for number in range(2_000)]
    ids = [future.result(20) for future in futures]
    assert len(set(ids)) == 2_000
    assert [server.tasks[each].payload for each in ids] == [b"%d" % number for number in range(2_000)]
    assert server.batches and max(server.batches) <= 256
    assert server.seen["create"] + len(server.batches) < 1_000


def test_a_refused_create_raises_the_error_of_its_code(server: FakeServer, producer: Producer) -> None:
    server.refuse["bad"] = "validation-error: it is bad"
    server.refuse["odd"] = "something-new: it is odd"
    with pytest.raises(codeq.ValidationError, match="it is bad"):
        producer.create("bad")
    with pytest.raises(codeq.CodeqError) as caught:
        producer.create("odd")
    assert caught.value.code == "something-new"


def test_of_many_the_bad_one_fails_alone(server: FakeServer, producer: Producer) -> None:
    server.refuse["bad"] = "validation-error: no"
    tasks = [NewTask(command=command) for command in ("a", "bad", "b")]
    first, second, third = producer.create_many(tasks, return_exceptions=True)
    assert isinstance(first, str) and isinstance(third, str)
    assert isinstance(second, codeq.ValidationError)
    with pytest.raises(codeq.ValidationError):
        producer.create_many(tasks)


def test_what_is_no_json_is_refused_before_it_is_sent(producer: Producer) -> None:
    for payload in (object(), float("nan"), {1, 2}):
        with pytest.raises(codeq.ValidationError):
            producer.submit("a", payload)
    with pytest.raises(codeq.ValidationError, match="time zone"):
        producer.submit("a", run_at=datetime.datetime(2030, 1, 1))
    with pytest.raises(codeq.PayloadTooLarge):
        producer.submit("a", b" " * 4_000_000)


@pytest.mark.parametrize("fault", [LOSE, CUT])
def test_a_connection_lost_around_a_create_makes_no_task_twice(
    server: FakeServer, producer: Producer, fault: str
) -> None:
    producer.create("first")
    server.fault = _every(5, fault)
    futures = [producer.submit("charge", number) for number in range(3_000)]
    ids = [future.result(20) for future in futures]
    assert len(set(ids)) == 3_000
    assert len(server.tasks) == 3_001
    assert server.connections > 1


def test_every_create_without_a_key_gets_one_and_they_grow(server: FakeServer, producer: Producer) -> None:
    for future in [producer.submit("a") for _ in range(50)]:
        future.result(20)
    producer.create("a", idempotency_key="mine")
    keys = [key for _, key in server.keys]
    assert keys[-1] == "mine"
    assert keys[:-1] == sorted(keys[:-1])


def test_creates_made_without_a_server_wait_for_it(server: FakeServer) -> None:
    target = server.target
    server.stop()
    with Producer(target, TOKEN, plaintext=True, timeout_seconds=0.3) as producer:
        started = time.monotonic()
        with pytest.raises(codeq.DeadlineExceeded) as caught:
            producer.create("a")
        assert time.monotonic() - started < 5
        assert isinstance(caught.value.__cause__, codeq.Unavailable)
        assert caught.value.idempotency_key


def test_a_create_without_an_answer_ends_with_its_deadline_and_key(server: FakeServer, producer: Producer) -> None:
    producer.create("a")
    server.silent = True
    with pytest.raises(codeq.DeadlineExceeded) as caught:
        producer.create("charge", timeout_seconds=0.2)
    server.silent = False
    again = producer.create("charge", idempotency_key=caught.value.idempotency_key)
    assert again == server.keys[("charge", caught.value.idempotency_key)]
    assert len(server.tasks) == 2


def test_creates_in_flight_are_bounded(server: FakeServer) -> None:
    server.silent = True
    producer = Producer(server.target, TOKEN, plaintext=True, in_flight_max=4, timeout_seconds=0.3)
    try:
        futures = [producer.submit("a", timeout_seconds=10) for _ in range(4)]
        with pytest.raises(codeq.DeadlineExceeded, match="not sent"):
            producer.submit("a")
    finally:
        producer.close(timeout_seconds=0.1)
    for future in futures:
        assert isinstance(future.exception(1), codeq.Closed)


def test_a_token_that_is_refused_fails_what_waits_and_what_comes(server: FakeServer) -> None:
    with Producer(server.target, "wrong", plaintext=True) as producer:
        for _ in range(2):
            with pytest.raises(codeq.Unauthenticated):
                producer.create("a")


def test_a_token_that_changes_is_asked_for_at_each_connection(server: FakeServer) -> None:
    tokens = iter(["wrong", "wrong again"])
    with Producer(server.target, lambda: next(tokens, TOKEN), plaintext=True) as producer:
        producer.create("a")
    assert [hello.token for hello in server.hellos] == ["wrong", "wrong again", TOKEN]


def test_the_leader_in_the_trailer_is_where_it_connects_next(server: FakeServer) -> None:
    leader = FakeServer()
    try:
        server.refuse_hello = (grpc.StatusCode.UNAVAILABLE, "not the leader", leader.target)
        with Producer(server.target, TOKEN, plaintext=True) as producer:
            task_id = producer.create("a")
            assert task_id in leader.tasks
            server.refuse_hello = None
            leader.stop()
            assert producer.create("b") in server.tasks
    finally:
        leader.stop()


def test_the_next_of_several_targets_is_tried(server: FakeServer) -> None:
    dead = FakeServer()
    dead.stop()
    with Producer([dead.target, server.target], TOKEN, plaintext=True) as producer:
        assert producer.create("a") in server.tasks


def test_a_target_that_never_answers_is_given_up(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "HELLO_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        targets = [f"127.0.0.1:{deaf.getsockname()[1]}", server.target]
        with Producer(targets, TOKEN, plaintext=True) as producer:
            assert producer.create("a") in server.tasks


def test_a_create_that_the_server_cannot_take_now_is_repeated(server: FakeServer, producer: Producer) -> None:
    server.refuse["a"] = "unavailable: the disk is full"
    future = producer.submit("a")
    server.wait_for(lambda: server.seen["create"] >= 2)
    server.refuse.clear()
    assert future.result(20) in server.tasks


def test_closing_waits_for_what_is_under_way(server: FakeServer) -> None:
    producer = Producer(server.target, TOKEN, plaintext=True)
    futures = [producer.submit("a", number) for number in range(500)]
    producer.close()
    assert all(future.done() for future in futures)
    assert len(server.tasks) == 500
    with pytest.raises(codeq.Closed):
        producer.create("a")


def test_a_target_that_is_none_is_refused() -> None:
    for target in ("localhost", "ftp://localhost:1", "localhost:99999", "http://a:1/path", ""):
        with pytest.raises(codeq.ValidationError):
            Producer(target, TOKEN)


def _every(count: int, fault: str):  # type: ignore[no-untyped-def]
    """A fault at every `count`-th event."""
    seen = 0

    def judge(_kind: str) -> str:
        nonlocal seen
        seen += 1
        return "" if seen % count else fault

    return judge
