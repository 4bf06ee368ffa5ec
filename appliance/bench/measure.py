"""A load runs, and everything about it is noted: what clients counted each second, and what the server says and costs.

Owns the load processes, the window of measurement and the notes. Must not know which server it is, beyond its address
and, where it is on this machine, its process.
"""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Any, Final

from appliance.bench import load
from appliance.bench.plan import ProcessPlan, Target
from appliance.bench.proc import IdleSampler, ThreadTime, thread_times
from appliance.bench.servers import get, metric_sum
from appliance.bench.tally import Tally

CONNECT_SECONDS: Final = 120.0
REPORT_SECONDS_MAX: Final = 60.0
"""A load process that says nothing for so long has hung."""
_START_SECONDS: Final = 0.05
"""From the word to all processes until all begin at once."""
_LOOK_SECONDS: Final = 0.01
"""Between looks at what the server's main thread does: 2,000 in a window of 20 s."""
_JOIN_SECONDS: Final = 10.0


class BenchError(Exception):
    """The load could not be made, or the server did not stand it."""


@dataclass(frozen=True, slots=True)
class Server:
    """What is measured: `pid` where its process is on this machine, `metrics` where it has them."""

    target: Target
    pid: int | None = None
    metrics: bool = True


@dataclass(frozen=True, slots=True)
class Counts:
    """What a server counts: tasks since its start, and tasks that wait for a worker now."""

    created: float
    finished: float
    waiting: float


@dataclass(frozen=True, slots=True)
class Moment:
    """The server at one moment; `at_seconds` is of the monotonic clock."""

    at_seconds: float
    threads: dict[int, ThreadTime]
    counts: Counts | None


@dataclass(slots=True)
class Window:
    """What was measured between two moments. Shares are of one core, or of the time."""

    before: Moment
    after: Moment
    busy_share: float | None
    seconds: list[Tally] = field(default_factory=list)
    waiting_before: int = 0
    """Tasks created and not finished before the window, by the clients' counts."""

    @property
    def elapsed_seconds(self) -> float:
        """Between the two moments."""
        return self.after.at_seconds - self.before.at_seconds

    @property
    def total(self) -> Tally:
        """What the clients counted."""
        total = Tally()
        for each in self.seconds:
            total.add(each)
        return total

    @property
    def server_cpu_seconds(self) -> float:
        """Of all threads of the server."""
        return sum(ran for ran, _ in self._thread_deltas())

    @property
    def busiest_thread(self) -> tuple[float, float]:
        """The shares of the time that the busiest thread ran, and that it waited for a core; 0 where unknown."""
        ran, waited = max(self._thread_deltas(), default=(0.0, 0.0))
        return ran / self.elapsed_seconds, waited / self.elapsed_seconds

    def _thread_deltas(self) -> list[tuple[float, float]]:
        nothing = ThreadTime(0, 0)
        deltas = []
        for number, after in self.after.threads.items():
            before = self.before.threads.get(number, nothing)
            deltas.append((after.ran - before.ran, after.waited - before.waited))
        return deltas


OnSecond = Callable[[int, Tally], None]
"""Called with the number of each second, from 0, the warm ones included, and its tally."""


class Crew:
    """The load processes of one run."""

    def __init__(self, pipes: list[Pipe]) -> None:
        self._pipes = pipes
        self._reports: list[deque[Tally]] = [deque() for _ in pipes]

    def connected(self) -> None:
        """Wait until all streams are greeted. Raises BenchError."""
        for pipe in self._pipes:
            if not pipe.poll(CONNECT_SECONDS):
                raise BenchError("a load process did not connect")
            word = _received(pipe)
            if word != load.CONNECTED:
                raise BenchError(str(word))

    def begin(self) -> None:
        """Start the load."""
        at = time.monotonic() + _START_SECONDS
        for pipe in self._pipes:
            pipe.send(at)

    def stop(self) -> None:
        """End it."""
        for pipe in self._pipes:
            pipe.send(load.STOP)

    def second(self, look: Callable[[], None]) -> Tally:
        """What all processes counted in the next second; `look` is called all the time. Raises BenchError."""
        deadline = time.monotonic() + REPORT_SECONDS_MAX
        while not all(self._reports):
            for pipe in wait(self._pipes, _LOOK_SECONDS):
                assert isinstance(pipe, Pipe)
                word = _received(pipe)
                if not isinstance(word, Tally):
                    raise BenchError(str(word))
                self._reports[self._pipes.index(pipe)].append(word)
            look()
            if time.monotonic() > deadline:
                raise BenchError("a load process hung")
        total = Tally()
        for reports in self._reports:
            total.add(reports.popleft())
        return total


@contextmanager
def crew(plans: Sequence[ProcessPlan]) -> Iterator[Crew]:
    """Load processes, connected, gone at the end of the block."""
    # Fresh interpreters: a fork would share this one's sockets and signal handlers.
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pipes = []
        for plan in plans:
            ours, theirs = context.Pipe()
            process = context.Process(target=load.main, args=(plan, theirs), daemon=True)
            process.start()
            theirs.close()
            stack.callback(_end, process, ours)
            pipes.append(ours)
        made = Crew(pipes)
        made.connected()
        yield made


def measure(
    server: Server, plans: Sequence[ProcessPlan], warm_seconds: int, seconds: int, on_second: OnSecond
) -> Window:
    """Load a server for some seconds that do not count and some that do. Raises BenchError."""
    sampler = IdleSampler(server.pid) if server.pid is not None else None
    look = sampler.look if sampler is not None else _nothing
    with crew(plans) as workers:
        workers.begin()
        unfinished = 0
        for number in range(warm_seconds):
            tally = workers.second(look)
            unfinished += tally.created - tally.finished
            on_second(number, tally)
        if sampler is not None:
            sampler.reset()
        before = moment(server)
        counted = []
        for number in range(warm_seconds, warm_seconds + seconds):
            counted.append(workers.second(look))
            on_second(number, counted[-1])
        busy_share = sampler.busy_share if sampler is not None else None
        window = Window(before, moment(server), busy_share, counted, unfinished)
        workers.stop()
    return window


def create_until(plans: Sequence[ProcessPlan], tasks: int, told: Callable[[int, int], None]) -> None:
    """Run plans with a limit until so many tasks are created. Raises BenchError."""
    with crew(plans) as workers:
        workers.begin()
        done = 0
        while done < tasks:
            tally = workers.second(_nothing)
            if tally.refused:
                raise BenchError(f"a create was refused: {tally.refusals[0]}")
            done += tally.created
            told(done, tasks)
        workers.stop()


def moment(server: Server) -> Moment:
    """The server now. Raises BenchError."""
    try:
        text = get(server.target, "/metrics")[1] if server.metrics else None
        threads = thread_times(server.pid) if server.pid is not None else {}
    except (OSError, HTTPException) as error:
        raise BenchError(f"the server cannot be asked about itself: {error}") from error
    return Moment(time.monotonic(), threads, None if text is None else counts_of(text))


def counts_of(text: str) -> Counts:
    """What matters of a node's metrics."""
    waiting = sum(metric_sum(text, "codeq_tasks", f'state="{state}"') for state in ("ready", "delayed"))
    return Counts(
        metric_sum(text, "codeq_tasks_created_total"), metric_sum(text, "codeq_tasks_finished_total"), waiting
    )


def _received(pipe: Pipe) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise BenchError("a load process ended by itself") from None


def _end(process: multiprocessing.process.BaseProcess, pipe: Pipe) -> None:
    pipe.close()
    process.join(_JOIN_SECONDS if process.exitcode is None else 0)
    if process.is_alive():
        process.kill()
        process.join()


def _nothing() -> None:
    """Where nothing is looked at."""
