"""The worker for an event loop.

Owns the running of handlers: coroutine functions as tasks of the loop, functions in threads. Which task is held,
renewed, answered and lost is the core's to decide. Runs on one event loop.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from codeq._core import outcomes
from codeq._core.lease import Lease
from codeq._core.working import Working
from codeq._dial import Dialer, Targets, Token
from codeq._handlers import Handler, Handlers
from codeq._pump import log
from codeq.aio._pump import Pump
from codeq.aio._threads import Threads
from codeq.tasks import Outcome
from codeq.trace import handling

LEASE_SECONDS: Final = 60
DRAIN_SECONDS: Final = 30.0
_F = TypeVar("_F", bound=Callable[..., object])


class Worker:
    """Runs handlers for tasks, with heartbeats beside them, until it is told to stop.

        worker = Worker("localhost:8443", token, ca="ca.pem", concurrency=10)

        @worker.handler("send-email")
        async def send_email(task: Task) -> object:
            return {"sent": True}

        await worker.run()

    A handler's return value is the result of the task (any JSON value). It may raise `Fail`, `Nack` or `Abandon`; any
    other exception is a nack with the exception as its reason, or FAILED if the handler's `fail_on` names its type.
    `concurrency` handlers run at once. A lease lasts `lease_seconds` and is renewed three times within them while the
    handler runs. When the task is lost, `task.lost` is set and a coroutine is cancelled. After `stop`, SIGTERM or
    SIGINT it asks for no more work, gives the handlers `drain_seconds`, and abandons what is left.
    `worker_id` names this process to the server; by default it is made of host, process and chance.
    """

    def __init__(
        self,
        target: Targets,
        token: Token,
        *,
        concurrency: int = 1,
        lease_seconds: int = LEASE_SECONDS,
        drain_seconds: float = DRAIN_SECONDS,
        worker_id: str = "",
        ca: str | Path | bytes | None = None,
        plaintext: bool = False,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency is at least 1")
        if not 1 <= lease_seconds <= 86_400:
            raise ValueError("lease_seconds is 1 to 86400")
        self._dialer = Dialer(target, token, ca=ca, plaintext=plaintext)
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._drain_seconds = drain_seconds
        self._worker_id = worker_id or default_worker_id()
        self._handlers = Handlers()
        self._stopping = False
        self._core: Working | None = None
        self._pump: Pump | None = None
        self._threads: Threads | None = None
        self._running: dict[int, asyncio.Task[None]] = {}

    def handler(self, *commands: str, fail_on: tuple[type[Exception], ...] = ()) -> Callable[[_F], _F]:
        """Register the decorated function or coroutine function as the handler of these commands."""
        return self._handlers.register(commands, fail_on)

    def stop(self) -> None:
        """Begin to drain. Harmless when it is not running; then the next `run` ends at once."""
        self._stopping = True
        if self._core is not None and self._pump is not None:
            self._core.drain(asyncio.get_running_loop().time())
            self._pump.poke()

    async def run(self, *, signals: bool = True) -> None:
        """Work until `stop`, or with `signals` (in the main thread) until SIGTERM or SIGINT.

        Raises ValueError without a handler, and the error by which the server refused this worker for good.
        """
        if self._core is not None:
            raise RuntimeError("the worker runs already")
        if not self._handlers.commands:
            raise ValueError("the worker has no handler")
        self._core = core = self._make_core()
        self._pump = Pump(core, self._dialer, self._deliver)
        self._threads = Threads(self._concurrency)
        try:
            with _signals(self.stop if signals else None):
                if self._stopping:
                    self.stop()
                await self._pump.run()
        finally:
            core.abort()
            self._deliver()
            await self._end_handlers()
            self._core = self._pump = None
            self._stopping = False
        if core.link.fatal is not None:
            raise core.link.fatal

    def _make_core(self) -> Working:
        return Working(
            self._dialer.targets,
            token_changes=self._dialer.token_changes,
            jitter=random.random,
            worker_id=self._worker_id,
            commands=self._handlers.commands,
            concurrency=self._concurrency,
            lease_seconds=self._lease_seconds,
            drain_seconds=self._drain_seconds,
        )

    async def _end_handlers(self) -> None:
        """Wait for the coroutines that were cancelled; a function that does not look at `task.lost` is left behind."""
        for running in self._running.values():
            running.cancel()
        if self._running:
            await asyncio.wait(self._running.values(), timeout=CANCEL_SECONDS)
        self._running.clear()
        if self._threads is not None:
            self._threads.stop()
            self._threads = None

    def _deliver(self) -> None:
        assert self._core is not None
        for lease in self._core.take_lost():
            self._lose(lease)
        for lease in self._core.take_started():
            handler = self._handlers.get(lease.task.command)
            run = self._run_coroutine if handler.is_coroutine else self._run_function
            self._running[id(lease)] = asyncio.create_task(run(self._core, lease, handler))

    def _lose(self, lease: Lease) -> None:
        lease.task.lost.set()
        log.warning("task %s (%s) is lost: %s", lease.task.id, lease.task.command, lease.lost_reason)
        running = self._running.get(id(lease))
        if running is not None and self._handlers.get(lease.task.command).is_coroutine:
            running.cancel()

    async def _run_coroutine(self, core: Working, lease: Lease, handler: Handler) -> None:
        try:
            with _span(lease):
                outcome = outcomes.of_value(await handler.function(lease.task))
        except asyncio.CancelledError as error:
            outcome = outcomes.of_exception(error)
        except Exception as error:  # noqa: BLE001 (whatever a handler raises is an outcome; it is logged)
            outcome = _judge(lease, handler, error)
        self._finish(core, lease, outcome)

    async def _run_function(self, core: Working, lease: Lease, handler: Handler) -> None:
        assert self._threads is not None
        outcome = await self._threads.call(lambda: self._call(lease, handler))
        self._finish(core, lease, outcome)

    @staticmethod
    def _call(lease: Lease, handler: Handler) -> outcomes.Outcome:
        """In a thread of its own."""
        try:
            with _span(lease):
                return outcomes.of_value(handler.function(lease.task))
        except BaseException as error:  # noqa: BLE001 (whatever a handler raises is an outcome, sys.exit too)
            return _judge(lease, handler, error)

    def _finish(self, core: Working, lease: Lease, outcome: outcomes.Outcome) -> None:
        self._running.pop(id(lease), None)
        core.finish(asyncio.get_running_loop().time(), lease, outcome)
        if self._pump is not None:
            self._pump.poke()


CANCEL_SECONDS: Final = 15.0
"""For cancelled coroutines to clean up before `run` returns."""


def _judge(lease: Lease, handler: Handler, error: BaseException) -> outcomes.Outcome:
    if not isinstance(error, Outcome):
        log.error("the handler of task %s (%s) failed", lease.task.id, lease.task.command, exc_info=error)
    return outcomes.of_exception(error, handler.fail_on)


def default_worker_id() -> str:
    """A name for this process that no other has: host, process, chance. At most 128 characters."""
    return f"{socket.gethostname()[:100]}-{os.getpid()}-{os.urandom(4).hex()}"


@contextlib.contextmanager
def _span(lease: Lease) -> Iterator[None]:
    """A span around the handler that does not take `Fail`, `Nack` and `Abandon` for errors of the program."""
    said: Outcome | None = None
    with handling(lease.task):
        try:
            yield
        except Outcome as outcome:
            said = outcome
    if said is not None:
        raise said


@contextlib.contextmanager
def _signals(stop: Callable[[], None] | None) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop` while this lasts, where the loop can have them."""
    loop = asyncio.get_running_loop()
    taken: list[signal.Signals] = []
    for number in (signal.SIGTERM, signal.SIGINT) if stop is not None else ():
        # Outside of the main thread there are no signals to be had.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            assert stop is not None
            loop.add_signal_handler(number, stop)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
