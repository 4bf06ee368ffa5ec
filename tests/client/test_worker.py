"""The worker against a server that breaks: handlers, outcomes, leases, drain."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

import codeq
from codeq import Task, Worker
from tests.client.fake_server import CUT, LOSE, TOKEN, WAIT_SECONDS, FakeServer


def make(server: FakeServer, **options: Any) -> Worker:
    return Worker(server.target, TOKEN, plaintext=True, **{"drain_seconds": 5, **options})


@contextmanager
def running(worker: Worker) -> Iterator[threading.Thread]:
    """The worker in a thread of its own, drained at the end."""
    thread = threading.Thread(target=worker.run, kwargs={"signals": False})
    thread.start()
    try:
        yield thread
    finally:
        worker.stop()
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()


def ended(server: FakeServer, *tasks: Any) -> None:
    server.wait_for(lambda: all(task.status in ("COMPLETED", "FAILED", "NACKED") for task in tasks))


def test_functions_and_coroutines_handle_tasks_and_give_results(server: FakeServer) -> None:
    worker = make(server, concurrency=4)

    @worker.handler("add", "sum")
    def add(task: Task) -> object:
        return sum(task.payload)

    @worker.handler("greet")
    async def greet(task: Task) -> object:
        await asyncio.sleep(0)
        return {"hello": task.payload, "attempts": task.attempts}

    tasks = [server.add("add", b"[1,2]"), server.add("sum", b"[3]"), server.add("greet", b'"you"')]
    with running(worker):
        ended(server, *tasks)
    assert [json.loads(task.result) for task in tasks] == [3, 3, {"hello": "you", "attempts": 1}]


def test_exceptions_decide_between_failed_nack_and_abandon(server: FakeServer) -> None:
    worker = make(server, concurrency=8)

    @worker.handler("work", fail_on=(LookupError,))
    async def work(task: Task) -> object:
        match task.payload:
            case "fail":
                raise codeq.Fail("no such address")
            case "nack":
                raise codeq.Nack(30, "the API is down")
            case "lookup":
                raise KeyError("x")
            case "no json":
                return object()
        raise RuntimeError("a surprise")

    fail, nack, lookup, no_json, other = (
        server.add("work", json.dumps(each).encode()) for each in ("fail", "nack", "lookup", "no json", "other")
    )
    with running(worker):
        ended(server, fail, nack, lookup, no_json, other)
    assert (fail.status, fail.error) == ("FAILED", "no such address")
    assert nack.nacks == [(30, "the API is down")]
    assert (lookup.status, lookup.error) == ("FAILED", "KeyError: 'x'")
    assert "not a JSON value" in no_json.nacks[0][1]
    assert other.nacks == [(0, "RuntimeError: a surprise")]


def test_an_abandoned_task_is_given_back_without_an_attempt(server: FakeServer) -> None:
    worker = make(server)
    seen: list[int] = []

    @worker.handler("work")
    def work(task: Task) -> None:
        seen.append(task.attempts)
        if len(seen) == 1:
            raise codeq.Abandon

    task = server.add("work")
    with running(worker):
        ended(server, task)
    assert seen == [1, 1]
    assert task.abandons == 1


def test_no_more_handlers_run_at_once_than_the_concurrency_allows(server: FakeServer) -> None:
    worker = make(server, concurrency=3)
    now, most = 0, 0

    @worker.handler("work")
    async def work(_task: Task) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1

    tasks = [server.add("work") for _ in range(40)]
    with running(worker):
        ended(server, *tasks)
    assert most == 3


def test_results_that_gather_travel_together(server: FakeServer) -> None:
    worker = make(server, concurrency=200)

    @worker.handler("work")
    async def work(_task: Task) -> None:
        return None

    tasks = [server.add("work") for _ in range(1_000)]
    with running(worker):
        ended(server, *tasks)
    assert max(server.batches) > 10
    assert server.seen["ready"] < 500


def test_a_lease_is_renewed_beside_its_handler(server: FakeServer) -> None:
    worker = make(server, lease_seconds=1)

    @worker.handler("work")
    def work(task: Task) -> None:
        server.wait_for(lambda: server.tasks[task.id].heartbeats >= 4)

    task = server.add("work")
    started = time.monotonic()
    with running(worker):
        ended(server, task)
    assert time.monotonic() - started > 1.2
    assert task.status == "COMPLETED"


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_a_lost_lease_is_seen_by_the_handler_and_its_result_is_dropped(server: FakeServer, kind: str) -> None:
    worker = make(server, lease_seconds=1)
    saw: list[str] = []

    @worker.handler("function")
    def function(task: Task) -> str:
        saw.append("lost" if task.lost.wait(WAIT_SECONDS) else "nothing")
        return "late"

    @worker.handler("coroutine")
    async def coroutine(task: Task) -> str:
        try:
            await asyncio.sleep(WAIT_SECONDS)
        except asyncio.CancelledError:
            saw.append("lost" if task.lost.is_set() else "cancelled only")
            raise
        return "late"

    task = server.add(kind)
    with running(worker):
        server.wait_for(lambda: task.heartbeats)
        server.take_lease(task)
        deadline = time.monotonic() + WAIT_SECONDS
        while not saw and time.monotonic() < deadline:
            time.sleep(0.01)
    assert saw == ["lost"]
    assert server.seen["result"] == 0


def test_a_lease_that_cannot_be_renewed_is_lost_when_its_time_is_up(server: FakeServer) -> None:
    worker = make(server, lease_seconds=1)
    lost_after: list[float] = []

    @worker.handler("work")
    def work(task: Task) -> None:
        started = time.monotonic()
        server.silent = True
        assert task.lost.wait(WAIT_SECONDS)
        lost_after.append(time.monotonic() - started)
        server.silent = False

    server.add("work")
    with running(worker):
        deadline = time.monotonic() + WAIT_SECONDS
        while not lost_after and time.monotonic() < deadline:
            time.sleep(0.01)
    assert 0.8 < lost_after[0] < 5


@pytest.mark.parametrize("fault", [LOSE, CUT])
def test_results_of_a_lost_connection_are_sent_again_under_their_lease(server: FakeServer, fault: str) -> None:
    worker = make(server, concurrency=16)
    handled: list[str] = []

    @worker.handler("work")
    async def work(task: Task) -> str:
        handled.append(task.id)
        return task.id

    count = 0

    def judge(kind: str) -> str:
        nonlocal count
        count += kind.startswith("result")
        return fault if kind.startswith("result") and count % 4 == 0 else ""

    server.fault = judge
    tasks = [server.add("work") for _ in range(120)]
    with running(worker):
        ended(server, *tasks)
    assert sorted(handled) == sorted(task.id for task in tasks)
    assert all(json.loads(task.result) == task.id for task in tasks)
    assert server.connections > 2


def test_a_result_that_is_refused_becomes_a_nack(server: FakeServer) -> None:
    worker = make(server)

    @worker.handler("work")
    def work(_task: Task) -> str:
        return "too much"

    server.refuse["result"] = "payload-too-large: the result is too large"
    task = server.add("work")
    with running(worker):
        ended(server, task)
    assert "payload-too-large" in task.nacks[0][1]


def test_a_worker_that_stops_finishes_its_handlers_and_takes_no_more(server: FakeServer) -> None:
    worker = make(server)
    begun, go_on = threading.Event(), threading.Event()

    @worker.handler("work")
    def work(_task: Task) -> str:
        begun.set()
        go_on.wait(WAIT_SECONDS)
        return "done"

    task = server.add("work")
    with running(worker):
        assert begun.wait(WAIT_SECONDS)
        worker.stop()
        other = server.add("work")
        go_on.set()
    assert task.status == "COMPLETED"
    assert other.status == "PENDING"


def test_a_worker_that_stops_abandons_what_is_not_finished_in_time(server: FakeServer) -> None:
    worker = make(server, drain_seconds=0.2)
    begun, cancelled = threading.Event(), threading.Event()

    @worker.handler("work")
    async def work(_task: Task) -> None:
        begun.set()
        try:
            await asyncio.sleep(WAIT_SECONDS)
        finally:
            cancelled.set()

    task = server.add("work")
    with running(worker):
        assert begun.wait(WAIT_SECONDS)
    assert cancelled.is_set()
    assert (task.status, task.attempts, task.abandons) == ("PENDING", 0, 1)


def test_a_function_that_cannot_be_ended_does_not_keep_the_worker(server: FakeServer) -> None:
    worker = make(server, drain_seconds=0.1)
    begun, go_on = threading.Event(), threading.Event()

    @worker.handler("work")
    def work(_task: Task) -> None:
        begun.set()
        go_on.wait(WAIT_SECONDS)

    task = server.add("work")
    with running(worker) as thread:
        assert begun.wait(WAIT_SECONDS)
        worker.stop()
        thread.join(WAIT_SECONDS / 2)
        assert not thread.is_alive()
    assert task.abandons == 1
    go_on.set()


def test_a_function_that_exits_is_a_failed_attempt(server: FakeServer) -> None:
    worker = make(server)

    @worker.handler("work")
    def work(_task: Task) -> None:
        raise SystemExit(3)

    task = server.add("work")
    with running(worker):
        ended(server, task)
    assert task.nacks == [(0, "SystemExit: 3")]


def test_a_worker_that_waits_stops_at_once(server: FakeServer) -> None:
    worker = make(server, drain_seconds=60)
    worker.handler("work")(lambda _task: None)
    with running(worker):
        server.wait_for(lambda: server.seen["ready"])
        started = time.monotonic()
    assert time.monotonic() - started < 10


def test_sigterm_drains_a_worker_of_the_main_thread(server: FakeServer) -> None:
    worker = make(server)
    task = server.add("work")

    @worker.handler("work")
    def work(_task: Task) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "done"

    worker.run()
    assert task.status == "COMPLETED"


def test_a_worker_that_the_server_refuses_for_good_raises_the_reason(server: FakeServer) -> None:
    server.refuse_hello = (grpc.StatusCode.PERMISSION_DENIED, "no scope", "")
    worker = make(server)
    worker.handler("work")(lambda _task: None)
    with pytest.raises(codeq.PermissionDenied, match="no scope"):
        worker.run()


def test_a_drained_server_is_left_and_found_again(server: FakeServer) -> None:
    worker = make(server)
    begun, go_on = threading.Event(), threading.Event()

    @worker.handler("work")
    def work(_task: Task) -> None:
        begun.set()
        go_on.wait(WAIT_SECONDS)

    first = server.add("work")
    with running(worker):
        assert begun.wait(WAIT_SECONDS)
        server.end_streams()
        server.wait_for(lambda: server.seen["heartbeat"])
        go_on.set()
        second = server.add("work")
        ended(server, first, second)
    assert server.connections == 2


def test_the_worker_follows_the_leader(server: FakeServer) -> None:
    leader = FakeServer()
    try:
        worker = make(server)
        worker.handler("work")(lambda _task: None)
        task = leader.add("work")
        server.refuse_hello = (grpc.StatusCode.UNAVAILABLE, "not the leader", leader.target)
        with running(worker):
            ended(leader, task)
    finally:
        leader.stop()


def test_handlers_are_registered_once_and_for_commands_only() -> None:
    worker = Worker("localhost:1", TOKEN)
    worker.handler("a")(lambda _task: None)
    for commands in (("a",), ("no command",), ("",), ()):
        with pytest.raises(ValueError):
            worker.handler(*commands)(lambda _task: None)
    with pytest.raises(ValueError):
        Worker("localhost:1", TOKEN).run()
    with pytest.raises(ValueError):
        codeq.Nack(-1)
