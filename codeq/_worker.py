"""The worker for programs without an event loop.

Owns the loop that it brings along: the work is that of `codeq.aio.Worker`, with functions in threads and coroutine
functions on that loop. `stop` may be called from any thread.
"""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from codeq import aio
from codeq._dial import Targets, Token
from codeq.aio._worker import DRAIN_SECONDS, LEASE_SECONDS

_F = TypeVar("_F", bound=Callable[..., object])


class Worker:
    """Runs handlers for tasks, with heartbeats beside them, until it is told to stop.

        worker = Worker("localhost:8443", token, ca="ca.pem", concurrency=10)

        @worker.handler("send-email")
        def send_email(task: Task) -> object:
            return {"sent": True}

        worker.run()

    Options, handlers and outcomes are those of `codeq.aio.Worker`. A function runs in a thread of its own and can't be
    interrupted: one that takes long should look at `task.lost`.
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
        self._worker = aio.Worker(
            target,
            token,
            concurrency=concurrency,
            lease_seconds=lease_seconds,
            drain_seconds=drain_seconds,
            worker_id=worker_id,
            ca=ca,
            plaintext=plaintext,
        )
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def handler(self, *commands: str, fail_on: tuple[type[Exception], ...] = ()) -> Callable[[_F], _F]:
        """Register the decorated function or coroutine function as the handler of these commands."""
        return self._worker.handler(*commands, fail_on=fail_on)

    def stop(self) -> None:
        """Begin to drain. Harmless when it is not running; then the next `run` ends at once."""
        with self._lock:
            if self._loop is None:
                self._worker.stop()
            else:
                self._loop.call_soon_threadsafe(self._worker.stop)

    def run(self, *, signals: bool = True) -> None:
        """Work until `stop`, or with `signals` (in the main thread) until SIGTERM or SIGINT.

        Raises ValueError without a handler, and the error by which the server refused this worker for good.
        """
        asyncio.run(self._run(signals))

    async def _run(self, signals: bool) -> None:
        with self._lock:
            self._loop = asyncio.get_running_loop()
        try:
            await self._worker.run(signals=signals)
        finally:
            with self._lock:
                self._loop = None
