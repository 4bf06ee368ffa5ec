"""Drives one core with threads: connects, writes, reads, keeps its time, and connects again.

Owns the lock around the core and three threads: one connects and reads, one keeps the time, and the gRPC library runs
the iterator of messages in one of its own. Must not know what a core decides. `deliver` is called without the lock.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from codeq._dial import Dialer, leader_of
from codeq._pump import Core, report_end
from codeq.errors import Unavailable


class SyncPump:
    """Runs the connections of `core` until it is finished. The core is touched under `changed` only."""

    def __init__(self, core: Core, dialer: Dialer, deliver: Callable[[], None], name: str) -> None:
        self.changed = threading.Condition()
        self._core = core
        self._dialer = dialer
        self._deliver = deliver
        self._call: Any = None
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True) for target in (self._run, self._keep_time)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the threads; whether they ended."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        try:
            while self._paused():
                self._connect()
        finally:
            with self.changed:
                self._core.abort()
                self.changed.notify_all()
            self._deliver()

    def _paused(self) -> bool:
        """Wait for the time of the next attempt; False when there is none."""
        with self.changed:
            while not self._core.finished:
                seconds = self._core.link.pause_until - time.monotonic()
                if seconds <= 0:
                    return True
                self.changed.wait(seconds)
        return False

    def _connect(self) -> None:
        target = self._core.link.target
        try:
            token = self._dialer.token()
        except Unavailable as error:
            with self.changed:
                self._core.connecting(time.monotonic(), "")
            self._ended(target, "UNAVAILABLE", error.message, "")
            return
        with self._dialer.channel(target) as channel:
            method = channel.stream_stream(self._core.method, None, self._core.deserialize)
            with self.changed:
                if self._core.finished:
                    return
                self._core.connecting(time.monotonic(), token)
                messages = _Messages(self)
                self._call = call = method(messages)
                self.changed.notify_all()
            try:
                status, details, leader = self._read(call)
            finally:
                with self.changed:
                    self._call = None
                    messages.over = True
                    self.changed.notify_all()
                call.cancel()
        self._ended(target, status, details, leader)

    def _ended(self, target: str, status: str, details: str, leader: str) -> None:
        report_end(self._core, target, status, details)
        with self.changed:
            self._core.ended(time.monotonic(), status, details, leader)
            self.changed.notify_all()
        self._deliver()

    def _read(self, call: Any) -> tuple[str, str, str]:
        try:
            for event in call:
                with self.changed:
                    self._core.receive(time.monotonic(), event)
                    self.changed.notify_all()
                self._deliver()
        except grpc.RpcError as error:
            if error is not call:
                return "INTERNAL", repr(error), ""
        return call.code().name, call.details() or "", leader_of(call.trailing_metadata())

    def _keep_time(self) -> None:
        while True:
            with self.changed:
                if self._core.finished:
                    if self._call is not None:
                        self._call.cancel()
                    return
                now = time.monotonic()
                at = self._core.wake_at()
                if at is None or at > now:
                    self.changed.wait(None if at is None else at - now)
                    continue
                if self._core.link.overdue(now):
                    self._give_up()
                self._core.tick(now)
                self.changed.notify_all()
            self._deliver()

    def _give_up(self) -> None:
        """Cancel the attempt; its thread sees it end."""
        if self._call is not None:
            self._call.cancel()
        self.changed.wait(GIVE_UP_SECONDS)

    def next_message(self, messages: "_Messages") -> bytes | None:
        """For the iterator: wait for a message of this connection; None when it ends or is to be half-closed."""
        with self.changed:
            while not messages.over:
                message = self._core.next_message(time.monotonic())
                if message is not None:
                    return message
                if self._core.link.ending:
                    self.changed.notify_all()
                    return None
                self.changed.wait()
        return None


GIVE_UP_SECONDS = 1.0
"""Between two looks at an attempt that was cancelled and has not ended yet."""


class _Messages(Iterator[bytes]):
    """The messages of one connection, pulled by the gRPC library when it can send one."""

    def __init__(self, pump: SyncPump) -> None:
        self._pump = pump
        self.over = False

    def __next__(self) -> bytes:
        message = self._pump.next_message(self)
        if message is None:
            raise StopIteration
        return message
