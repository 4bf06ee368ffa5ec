"""The producer for an event loop against a server that breaks: what differs from the one for threads."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import codeq
from codeq import NewTask
from codeq._core import link
from codeq.aio import Producer
from tests.client.fake_server import CUT, LOSE, TOKEN, FakeServer

Story = Callable[[Producer], Coroutine[Any, Any, None]]


def run(server: FakeServer, story: Story, **options: Any) -> None:
    """Tell a story with a producer of its own."""

    async def told() -> None:
        async with Producer(server.target, TOKEN, plaintext=True, **options) as producer:
            await story(producer)

    asyncio.run(told())


@pytest.mark.parametrize("fault", ["", LOSE, CUT])
def test_creates_are_pipelined_and_survive_lost_connections(server: FakeServer, fault: str) -> None:
    async def story(producer: Producer) -> None:
        await producer.create("first")
        events = 0

        def judge(_kind: str) -> str:
            nonlocal events
            events += 1
            return fault if events % 5 == 0 else ""

        server.fault = judge
        ids = await producer.create_many(NewTask(command="a", payload=number) for number in range(2_000))
        assert len(set(ids)) == 2_000

    run(server, story)
    assert len(server.tasks) == 2_001
    assert max(server.batches) > 1


def test_creates_that_wait_for_room_are_admitted_in_order(server: FakeServer) -> None:
    async def story(producer: Producer) -> None:
        futures = await asyncio.gather(*(producer.submit("a", number) for number in range(300)))
        ids = [await future for future in futures]
        assert [server.tasks[each].payload for each in ids] == [b"%d" % number for number in range(300)]

    run(server, story, in_flight_max=3)


def test_waiting_for_room_ends_with_the_deadline(server: FakeServer) -> None:
    async def story(producer: Producer) -> None:
        await producer.create("a")
        server.silent = True
        held = await producer.submit("a")
        with pytest.raises(codeq.DeadlineExceeded, match="not sent"):
            await producer.create("a", timeout_seconds=0.1)
        await producer.close(timeout_seconds=0.1)
        assert isinstance(held.exception(), codeq.Closed)

    run(server, story, in_flight_max=1)


def test_what_waits_for_room_learns_that_the_token_is_refused(server: FakeServer) -> None:
    async def told() -> None:
        async with Producer(server.target, "wrong", plaintext=True, in_flight_max=1) as producer:
            answers = await asyncio.gather(*(producer.create("a") for _ in range(5)), return_exceptions=True)
            assert all(isinstance(answer, codeq.Unauthenticated) for answer in answers), answers
            with pytest.raises(codeq.Unauthenticated):
                await producer.create("a")

    asyncio.run(told())


def test_a_target_that_never_answers_is_given_up(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "HELLO_SECONDS", 0.2)

    async def told(deaf: str) -> None:
        async with Producer([deaf, server.target], TOKEN, plaintext=True) as producer:
            assert await producer.create("a") in server.tasks

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        asyncio.run(told(f"127.0.0.1:{deaf.getsockname()[1]}"))


def test_a_create_that_is_cancelled_leaves_the_others_alone(server: FakeServer) -> None:
    async def story(producer: Producer) -> None:
        first = asyncio.create_task(producer.create("a"))
        await asyncio.sleep(0)
        first.cancel()
        assert await producer.create("b") in server.tasks

    run(server, story)


def test_one_of_many_that_is_refused_fails_alone(server: FakeServer) -> None:
    async def story(producer: Producer) -> None:
        server.refuse["bad"] = "queue-paused: not now"
        tasks = [NewTask(command="a"), NewTask(command="bad"), NewTask(command="a", payload=object())]
        first, second, third = await producer.create_many(tasks, return_exceptions=True)
        assert isinstance(first, str)
        assert isinstance(second, codeq.QueuePaused)
        assert isinstance(third, codeq.ValidationError)

    run(server, story)
