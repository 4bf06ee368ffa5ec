"""Threads for handlers that are plain functions.

Owns the threads. Unlike those of `concurrent.futures` they are daemons: a function that can't be ended does not keep
the program alive after its task was given back. Must not know what the functions do.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any


class Threads:
    """Runs at most `count` functions at once, each in a thread, for one event loop."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._started = 0
        self._busy = 0

    def call(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run a function that raises nothing; a future of what it returns."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._busy += 1
        if self._busy > self._started < self._count:
            self._started += 1
            threading.Thread(target=self._run, name=f"codeq handler {self._started}", daemon=True).start()
        self._work.put((future, function))
        return future

    def stop(self) -> None:
        """Let the threads end, each after the function that it runs."""
        for _ in range(self._started):
            self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, function = item
            value = function()
            # The loop is gone when its worker was given up while the function ran; nobody waits for the value then.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._done, future, value)

    def _done(self, future: asyncio.Future[Any], value: object) -> None:
        self._busy -= 1
        if not future.done():
            future.set_result(value)
