"""The producer for an event loop.

Owns the futures of creates and the order in which creates wait for room. What is sent, repeated and settled is the
core's to decide. Runs on one event loop.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack, cast, overload

from codeq._core.requests import NewTask, encode_create
from codeq._creating import (
    IN_FLIGHT_BYTES_MAX,
    IN_FLIGHT_MAX,
    TIMEOUT_SECONDS,
    Options,
    first_error,
    make_producing,
)
from codeq._dial import Dialer, Targets, Token
from codeq._wire.producer_pb2 import CreateTask
from codeq.aio._pump import Pump
from codeq.errors import CodeqError, DeadlineExceeded
from codeq.trace import traced


class _Waiter:
    """A create that waits for room."""

    __slots__ = ("admitted", "deadline", "future", "message")

    def __init__(self, future: asyncio.Future[str], message: CreateTask, deadline: float) -> None:
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.future = future
        self.message = message
        self.deadline = deadline


class Producer:
    """Creates tasks over one stream, pipelined and batched, and repeats what a lost connection left unanswered.

        async with Producer("localhost:8443", token, ca="ca.pem") as producer:
            task_id = await producer.create("send-email", {"to": "a@b.com"})

    `target` is `host:port`, a URL, or several of one cluster; `token` a string or a function that returns the current
    one. At most `in_flight_max` creates and `in_flight_bytes_max` bytes are under way; more wait their turn.
    `timeout_seconds` bounds each create from its call to its answer, connection losses included.
    Every method that creates raises `ValidationError` and `PayloadTooLarge` at once for what can't be sent,
    `DeadlineExceeded`, `Closed`, and what the server answers.
    """

    def __init__(
        self,
        target: Targets,
        token: Token,
        *,
        ca: str | Path | bytes | None = None,
        plaintext: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        in_flight_max: int = IN_FLIGHT_MAX,
        in_flight_bytes_max: int = IN_FLIGHT_BYTES_MAX,
    ) -> None:
        self._dialer = Dialer(target, token, ca=ca, plaintext=plaintext)
        self._core = make_producing(self._dialer, in_flight_max, in_flight_bytes_max)
        self._timeout_seconds = timeout_seconds
        self._pump: Pump | None = None
        self._running: asyncio.Task[None] | None = None
        self._waiting: deque[_Waiter] = deque()

    async def __aenter__(self) -> "Producer":
        self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def create(
        self, command: str, payload: Any = None, *, timeout_seconds: float | None = None, **options: Unpack[Options]
    ) -> str:
        """Create a task; its id, once it is durable. The options are the fields of `NewTask`."""
        task = NewTask(command=command, payload=payload, **options)
        return await (await self._submit(task, timeout_seconds))

    async def submit(
        self, command: str, payload: Any = None, *, timeout_seconds: float | None = None, **options: Unpack[Options]
    ) -> asyncio.Future[str]:
        """Begin to create a task, after waiting for room; a future of its id.

        Cancelling the future does not undo the create.
        """
        return await self._submit(NewTask(command=command, payload=payload, **options), timeout_seconds)

    @overload
    async def create_many(
        self,
        tasks: Iterable[NewTask],
        *,
        timeout_seconds: float | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[str]: ...

    @overload
    async def create_many(
        self, tasks: Iterable[NewTask], *, timeout_seconds: float | None = None, return_exceptions: bool
    ) -> Sequence[str | CodeqError]: ...

    async def create_many(
        self, tasks: Iterable[NewTask], *, timeout_seconds: float | None = None, return_exceptions: bool = False
    ) -> Sequence[str | CodeqError]:
        """Create many; their ids in order. One that is refused fails alone.

        With `return_exceptions` its error takes its place in the answer, else the first error is raised when all are
        settled.
        """
        begun: list[asyncio.Future[str] | CodeqError] = []
        for task in tasks:
            try:
                begun.append(await self._submit(task, timeout_seconds))
            except CodeqError as error:
                begun.append(error)
        futures = [each for each in begun if isinstance(each, asyncio.Future)]
        await asyncio.gather(*futures, return_exceptions=True)
        answers = [each if isinstance(each, CodeqError) else _outcome(each) for each in begun]
        return answers if return_exceptions else first_error(answers)

    async def close(self, timeout_seconds: float | None = None) -> None:
        """Accept no more, wait for what is under way, at most the timeout (default: the producer's), and disconnect."""
        self._core.close()
        if self._pump is None or self._running is None:
            return
        self._pump.poke()
        await asyncio.wait(
            [self._running], timeout=self._timeout_seconds if timeout_seconds is None else timeout_seconds
        )
        if not self._running.done():
            self._core.abort()
            self._pump.poke()
        await self._running

    async def _submit(self, task: NewTask, timeout_seconds: float | None) -> asyncio.Future[str]:
        pump = self._start()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        message = encode_create(traced(task))
        self._core.give_key(message)
        future: asyncio.Future[str] = loop.create_future()
        if self._waiting or not self._core.has_room(message):
            await self._wait_for_room(_Waiter(future, message, deadline))
        else:
            self._core.add(future, message, deadline)
        pump.poke()
        return future

    async def _wait_for_room(self, waiter: _Waiter) -> None:
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout_at(waiter.deadline):
                await waiter.admitted
        except TimeoutError:
            key = waiter.message.idempotency_key
            raise DeadlineExceeded("too many creates are under way; it was not sent", idempotency_key=key) from (
                self._core.trouble
            )

    def _deliver(self) -> None:
        for handle, outcome in self._core.take_settled():
            future = cast("asyncio.Future[str]", handle)
            if future.done():
                continue
            if isinstance(outcome, str):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
        while self._waiting and (self._waiting[0].admitted.done() or self._core.has_room(self._waiting[0].message)):
            self._admit(self._waiting.popleft())

    def _admit(self, waiter: _Waiter) -> None:
        if waiter.admitted.done():
            return
        try:
            self._core.add(waiter.future, waiter.message, waiter.deadline)
        except CodeqError as error:
            waiter.admitted.set_exception(error)
        else:
            waiter.admitted.set_result(None)

    def _start(self) -> Pump:
        if self._pump is None:
            self._core.check_open()
            self._pump = Pump(self._core, self._dialer, self._deliver)
            self._running = asyncio.create_task(self._run(self._pump), name="codeq producer")
        return self._pump

    async def _run(self, pump: Pump) -> None:
        try:
            await pump.run()
        finally:
            self._core.abort()
            self._deliver()


def _outcome(future: asyncio.Future[str]) -> str | CodeqError:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, CodeqError):
        return error
    raise error
