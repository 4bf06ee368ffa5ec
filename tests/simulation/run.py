"""Runs many seeds: `python -m tests.simulation.run --seeds 2000 [--first N] [--jobs 2]`.

Prints progress, the totals, and how often each edge of the state table was taken; ends with status 1 where a seed
failed or an edge was never taken. A failure comes with its seed, the end of its event log, and the command that
repeats it.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterable

from appliance.tasks.table import EDGES
from tests.simulation.runner import Outcome, run_seed

PROGRESS_SECONDS = 10.0
CHUNK = 4


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    began = time.monotonic()
    if arguments.jobs == 1:
        failed, edges = _collect(map(run_seed, seeds), len(seeds))
    else:
        with multiprocessing.Pool(arguments.jobs) as pool:
            failed, edges = _collect(pool.imap_unordered(run_seed, seeds, CHUNK), len(seeds))
    print(f"{len(seeds)} seeds in {time.monotonic() - began:.0f} s, {len(failed)} failed")
    for outcome in failed:
        _explain(outcome)
    # One seed repeats a failure; only many can be expected to take every edge.
    return 1 if failed or (_print_edges(edges) and len(seeds) > 1) else 0


def _collect(outcomes: Iterable[Outcome], count: int) -> tuple[list[Outcome], list[int]]:
    failed: list[Outcome] = []
    edges = [0] * len(EDGES)
    calls = crashes = groups = virtual_ms = 0
    spoken = time.monotonic()
    for done, outcome in enumerate(outcomes, 1):
        calls += outcome.calls
        crashes += outcome.crashes
        groups += outcome.groups
        virtual_ms += outcome.virtual_ms
        edges = [before + now for before, now in zip(edges, outcome.edges, strict=True)]
        if outcome.error:
            failed.append(outcome)
            print(f"seed {outcome.seed} failed: {outcome.error}", flush=True)
        if time.monotonic() - spoken > PROGRESS_SECONDS:
            spoken = time.monotonic()
            print(f"{done} of {count} seeds, {len(failed)} failed", flush=True)
    days = virtual_ms / 86_400_000
    print(f"{calls} operations, {crashes} crashes, {groups} groups, {days:.0f} days of virtual time")
    return failed, edges


def _explain(outcome: Outcome) -> None:
    print(f"\nseed {outcome.seed}: {outcome.error}")
    for line in outcome.tail:
        print(f"    {line}")
    print(f"repeat it with: python -m tests.simulation.run --first {outcome.seed} --seeds 1")


def _print_edges(edges: list[int]) -> bool:
    """Print the count of every edge; True where one was never taken."""
    for edge, count in zip(EDGES, edges, strict=True):
        print(f"{count:>9}  {edge.name}")
    missing = [edge.name for edge, count in zip(EDGES, edges, strict=True) if not count]
    print(f"{len(EDGES)} edges, never taken: {', '.join(missing) or 'none'}")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
