"""Drives one core on an event loop: connects, writes, reads, keeps its time, and connects again.

Owns the calls of `grpc.aio`. Every touch of the core happens on the loop, and after each of them `deliver` takes the
core's outputs. Must not know what a core decides.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from codeq._dial import Dialer, leader_of
from codeq._pump import Core, report_end
from codeq.errors import Unavailable


class Pump:
    """Runs the connections of `core` until it is finished."""

    def __init__(self, core: Core, dialer: Dialer, deliver: Callable[[], None]) -> None:
        self._core = core
        self._dialer = dialer
        self._deliver = deliver
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._call: Any = None

    def poke(self) -> None:
        """The core was touched: deliver its outputs, write what it has, and set the timer anew."""
        self._deliver()
        self._changed.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._core.finished and self._call is not None:
            self._call.cancel()
        at = self._core.wake_at()
        if at is not None and not self._core.finished:
            self._timer = self._loop.call_at(at, self._tick)

    async def run(self) -> None:
        """Connect again and again until the core is finished."""
        core = self._core
        try:
            while not core.finished:
                if await self._paused():
                    await self._connect()
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    async def _paused(self) -> bool:
        """Wait for the time of the next attempt. False if the core changed its mind meanwhile."""
        seconds = self._core.link.pause_until - self._loop.time()
        if seconds <= 0:
            return True
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        return False

    async def _connect(self) -> None:
        core = self._core
        target = core.link.target
        try:
            token = self._dialer.token()
        except Unavailable as error:
            core.connecting(self._loop.time(), "")
            self._ended(target, "UNAVAILABLE", error.message, "")
            return
        async with self._dialer.aio_channel(target) as channel:
            method = channel.stream_stream(core.method, None, core.deserialize)
            core.connecting(self._loop.time(), token)
            self._call = call = method()
            writer = asyncio.create_task(self._write(call))
            try:
                self.poke()
                status, details, leader = await self._read(call)
            finally:
                self._call = None
                writer.cancel()
                call.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await writer
        self._ended(target, status, details, leader)

    def _ended(self, target: str, status: str, details: str, leader: str) -> None:
        report_end(self._core, target, status, details)
        self._core.ended(self._loop.time(), status, details, leader)
        self.poke()

    async def _read(self, call: Any) -> tuple[str, str, str]:
        core = self._core
        try:
            while (event := await call.read()) is not grpc.aio.EOF:
                core.receive(self._loop.time(), event)
                self.poke()
            code, details, trailers = await call.code(), await call.details(), await call.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            code, details, trailers = error.code(), error.details(), error.trailing_metadata()
        except asyncio.CancelledError:
            # The library raises this for a call that was cancelled, and the loop for a reader that is to end.
            if not call.cancelled() or (task := asyncio.current_task()) is None or task.cancelling():
                raise
            return "CANCELLED", "given up by this side", ""
        return code.name, details or "", leader_of(trailers)

    async def _write(self, call: Any) -> None:
        """Write while there is something to write. The reader learns how the call ended."""
        core = self._core
        try:
            while not core.link.ending:
                self._changed.clear()
                while (message := core.next_message(self._loop.time())) is not None:
                    await call.write(message)
                if not core.link.ending:
                    await self._changed.wait()
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return
        except BaseException:
            call.cancel()
            raise

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._core.link.overdue(now) and self._call is not None:
            self._call.cancel()
            return
        self._core.tick(now)
        self.poke()
