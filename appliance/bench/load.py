"""One load process: its connections, its streams, and a report each second.

Owns the loop over the sockets, and the words with the process that started it, over a pipe: here come `Tally` for each
second, `CONNECTED` and a reason to give up; from there the second of the monotonic clock at which to begin, and STOP.
"""

import resource
import select
import signal
import time
from multiprocessing.connection import Connection as Pipe
from typing import Final

from appliance.bench.http2 import Connection, PeerError
from appliance.bench.link import Link, tls_context
from appliance.bench.plan import ProcessPlan
from appliance.bench.producer import Producer
from appliance.bench.tally import Tally
from appliance.bench.wire import MessageError
from appliance.bench.worker import Worker

CONNECTED: Final = "connected"
STOP: Final = "stop"
REPORT_SECONDS: Final = 1.0
GREETING_SECONDS: Final = 30.0
FAREWELL_SECONDS: Final = 1.0
"""For the ends of streams, so that a server gives back what workers hold; a sketch may never end them."""
_LONG_SECONDS: Final = 0.05
"""Between looks at the pipe and the clock, at most."""


def main(plan: ProcessPlan, pipe: Pipe) -> None:
    """The process: load until told to stop. Problems are told, not raised."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        Load(plan, pipe).run()
    except EOFError:
        return
    except (OSError, PeerError, MessageError) as error:
        _tell(pipe, f"{type(error).__name__}: {error}" if isinstance(error, OSError) else str(error))


def _tell(pipe: Pipe, why: str) -> None:
    try:
        pipe.send(why)
    except BrokenPipeError:
        return


class Load:
    """The streams of one process."""

    def __init__(self, plan: ProcessPlan, pipe: Pipe) -> None:
        self._pipe = pipe
        self._tally = Tally()
        context = tls_context(plan.target)
        self._links = [Link(plan.target, context) for _ in range(plan.connections)]
        self._by_number = {link.fileno(): link for link in self._links}
        self._epoll = select.epoll()
        for number in self._by_number:
            self._epoll.register(number, select.EPOLLIN)
        self._writers: set[int] = set()
        self._producers = [Producer(self._dealt(at), each, self._tally) for at, each in enumerate(plan.producers)]
        self._workers = [Worker(self._dealt(at), each, self._tally) for at, each in enumerate(plan.workers)]
        self._timed = [each for each, its in zip(self._producers, plan.producers, strict=True) if its.interval_seconds]
        self._streams: list[Producer | Worker] = [*self._producers, *self._workers]
        self._cpu_seconds = _cpu_seconds()

    def run(self) -> None:
        """Greet, wait for the word, load, say good-bye. Raises OSError, PeerError, MessageError, EOFError."""
        self._greet()
        self._pipe.send(CONNECTED)
        begin = self._pipe.recv()
        while (now := time.monotonic()) < begin:
            self._turn(min(begin - now, _LONG_SECONDS))
        for worker in self._workers:
            worker.begin()
        for producer in self._producers:
            producer.begin(begin)
        self._load(begin)
        self._leave()

    def _dealt(self, number: int) -> Connection:
        return self._links[number % len(self._links)].http2

    def _greet(self) -> None:
        deadline = time.monotonic() + GREETING_SECONDS
        while not all(each.greeted for each in self._streams):
            if time.monotonic() > deadline:
                raise PeerError(f"a stream was not greeted within {GREETING_SECONDS:.0f} s")
            self._turn(_LONG_SECONDS)

    def _load(self, begin: float) -> None:
        report_at = begin + REPORT_SECONDS
        while True:
            now = time.monotonic()
            if now >= report_at:
                self._report()
                report_at += REPORT_SECONDS
                if self._pipe.poll() and self._pipe.recv() == STOP:
                    return
            due = min((each.due for each in self._timed), default=report_at)
            self._turn(min(max(min(due, report_at) - now, 0), _LONG_SECONDS))
            if self._timed:
                now = time.monotonic()
                for producer in self._timed:
                    producer.send_due(now)

    def _turn(self, seconds: float) -> None:
        """Send what is ready, wait at most so long for something to read, and handle it."""
        for link in self._links:
            if link.http2.outgoing or link.writable_wanted:
                self._write(link)
        # Not the wait of epoll itself, which rounds up to whole milliseconds.
        if seconds > 0 and not select.select([self._epoll], (), (), seconds)[0]:
            return
        for number, events in self._epoll.poll(0):
            if events & ~select.EPOLLOUT:
                self._by_number[number].read()

    def _write(self, link: Link) -> None:
        link.write()
        number = link.fileno()
        if link.writable_wanted != (number in self._writers):
            self._writers ^= {number}
            self._epoll.modify(number, select.EPOLLIN | (select.EPOLLOUT if link.writable_wanted else 0))

    def _report(self) -> None:
        tally, self._tally = self._tally, Tally()
        for stream in self._streams:
            stream.tally = self._tally
        cpu_seconds = _cpu_seconds()
        tally.cpu_seconds, self._cpu_seconds = cpu_seconds - self._cpu_seconds, cpu_seconds
        self._pipe.send(tally)

    def _leave(self) -> None:
        for stream in self._streams:
            stream.finish()
        deadline = time.monotonic() + FAREWELL_SECONDS
        while not all(each.ended for each in self._streams) and time.monotonic() < deadline:
            self._turn(_LONG_SECONDS)
        for link in self._links:
            link.close()
        self._epoll.close()


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
