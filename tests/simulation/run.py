"""Runs many seeds: `python -m tests.simulation.run --seeds 5000 [--operations 50000] [--first N] [--jobs 2]`.

Prints progress with an estimate and the command that goes on from there, the totals, and how often each edge of the
state table was taken; ends with status 1 where a seed failed or an edge was never taken. A failure comes with its seed,
the end of its event log, and the command that repeats it. Ctrl-C ends a run with the totals so far.
"""

import argparse
import gc
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterable
from functools import partial
from itertools import count, takewhile

from appliance.tasks.table import EDGES
from tests.simulation.plan import OPERATIONS_MIN
from tests.simulation.runner import Outcome, run_seed

PROGRESS_SECONDS = 10.0
CHUNK = 4
CHUNK_OPERATIONS_MAX = 10_000
"""Seeds of long lives are handed out one by one."""
PROCESS_OPERATIONS_MAX = 50_000
"""Then a new process takes over: nothing of a run is collected, since the end of a process is the cheapest way."""


class Tally:
    """What the seeds of a run came to, so far."""

    def __init__(self, first: int, seeds: int, operations: int) -> None:
        self._first = first
        self._seeds = seeds
        self._operations = operations
        self._began = self._spoken = time.monotonic()
        self._done: set[int] = set()
        self._calls = self._crashes = self._groups = self._virtual_ms = 0
        self.failed: list[Outcome] = []
        self.edges = [0] * len(EDGES)

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Count outcomes as they come, in any order, and speak now and then."""
        for outcome in outcomes:
            self._done.add(outcome.seed)
            self._calls += outcome.calls
            self._crashes += outcome.crashes
            self._groups += outcome.groups
            self._virtual_ms += outcome.virtual_ms
            self.edges = [before + now for before, now in zip(self.edges, outcome.edges, strict=True)]
            if outcome.error:
                self.failed.append(outcome)
                print(f"seed {outcome.seed} failed: {outcome.error}", flush=True)
            if time.monotonic() - self._spoken > PROGRESS_SECONDS:
                self._spoken = time.monotonic()
                self._speak()

    @property
    def complete(self) -> bool:
        """Whether every seed has been run."""
        return len(self._done) == self._seeds

    def _speak(self) -> None:
        seconds = time.monotonic() - self._began
        left = seconds / len(self._done) * (self._seeds - len(self._done))
        print(
            f"{len(self._done)} of {self._seeds} seeds, {len(self.failed)} failed, "
            f"{self._calls / seconds:,.0f} operations/s, about {left / 60:,.0f} min left; {self._going_on()}",
            flush=True,
        )

    def _going_on(self) -> str:
        at = self._first + len(list(takewhile(self._done.__contains__, count(self._first))))
        return f"goes on with --first {at} --seeds {self._first + self._seeds - at}"

    def sum_up(self) -> None:
        """Print the totals and every failure."""
        seconds = time.monotonic() - self._began
        days = self._virtual_ms / 86_400_000
        print(
            f"{self._calls} operations, {self._crashes} crashes, {self._groups} groups, {days:.0f} days of virtual time"
        )
        print(f"{len(self._done)} seeds in {seconds:.0f} s, {len(self.failed)} failed")
        if not self.complete:
            print(self._going_on())
        for outcome in self.failed:
            self._explain(outcome)

    def _explain(self, outcome: Outcome) -> None:
        print(f"\nseed {outcome.seed}: {outcome.error}")
        for line in outcome.tail:
            print(f"    {line}")
        life = f" --operations {self._operations}" if self._operations != OPERATIONS_MIN else ""
        print(f"repeat it with: python -m tests.simulation.run --first {outcome.seed} --seeds 1{life}")


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--first", "--from-seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument("--operations", type=int, default=OPERATIONS_MIN, help="of one seed, at least")
    arguments = parser.parse_args()
    if arguments.operations < OPERATIONS_MIN:
        parser.error(f"--operations must be at least {OPERATIONS_MIN}")
    tally = Tally(arguments.first, arguments.seeds, arguments.operations)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    try:
        _run(tally, seeds, arguments.operations, arguments.jobs)
    except KeyboardInterrupt:
        print("stopped")
    tally.sum_up()
    # One seed repeats a failure; only many can be expected to take every edge.
    edge_missing = _print_edges(tally.edges) and arguments.seeds > 1
    return 1 if tally.failed or edge_missing or not tally.complete else 0


def _run(tally: Tally, seeds: range, operations: int, jobs: int) -> None:
    run = partial(run_seed, operations=operations)
    if len(seeds) == 1:  # in this process, where a debugger sees it
        tally.take(map(run, seeds))
        return
    chunk = CHUNK if operations < CHUNK_OPERATIONS_MAX else 1
    chunks = max(1, PROCESS_OPERATIONS_MAX // (operations * chunk))
    with multiprocessing.Pool(jobs, _begin, (), chunks) as pool:
        tally.take(pool.imap_unordered(run, seeds, chunk))


def _begin() -> None:
    """Make a new process ready: Ctrl-C is the first one's, and what runs leave behind is not looked through."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()


def _print_edges(edges: list[int]) -> bool:
    """Print the count of every edge; True where one was never taken."""
    for edge, times in zip(EDGES, edges, strict=True):
        print(f"{times:>9}  {edge.name}")
    missing = [edge.name for edge, times in zip(EDGES, edges, strict=True) if not times]
    print(f"{len(EDGES)} edges, never taken: {', '.join(missing) or 'none'}")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
