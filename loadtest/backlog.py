"""A backlog of millions: memory over an empty node, time to start, and claims against a backlog of a thousand.

The store is written without a node, row by row as creates would have left it. Claims are measured with the store's
file in the page cache, and again after it was dropped from there. Each claim follows a create on its connection, so
that the small backlog stays as long as it is; only claims are timed. Stalls of the loop are what the node's own metric
says, which looks ten times a second; a probe that asks for `/healthz` all the time gives an upper bound beside it.
"""

import argparse
import os
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from appliance.bench.servers import Node, ServerError, data_directory, running_node, workspace
from appliance.cli.dev import TENANT
from loadtest import arguments, lua, preload
from loadtest.client import Turn, closed_loop, post
from loadtest.pagecache import drop, read_through, resident_share
from loadtest.probe import probing
from loadtest.record import MEGABYTES, MS, RATIO, SECONDS, Report, Target, percentile, progress

MEMORY_TARGET: Final = Target("<", 150)
START_TARGET: Final = Target("<", 3)
CLAIM_TARGET: Final = Target("<", 2)
STALL_TARGET: Final = Target("<", 20)

SMALL_TASKS: Final = 1_000
TASK_DISK_BYTES: Final = 600
"""Of one task with a payload of 200 bytes, its rows and their share of half-full pages, with room to spare."""
SPARE_DISK_BYTES: Final = 2 << 30
PROGRESS_TASKS: Final = 1_000_000


class Claims(NamedTuple):
    """One run of claims on one node."""

    ready_seconds: float
    memory_at_start_mb: float
    memory_after_mb: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    loop_delay_ms: float
    probe_max_ms: float
    resident_share: float


def main(given: Sequence[str] | None) -> int:
    """Measure and report."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--tasks", type=int, default=10_000_000, help="in the large backlog (%(default)s)")
    parser.add_argument("--payload-bytes", type=int, default=200)
    parser.add_argument("--claims", type=int, default=20_000, help="in each run (%(default)s)")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=3, help="rounds of empty, small, warm, dropped (%(default)s)")
    parsed = parser.parse_args(given)
    report = Report("backlog", parsed)
    runs: dict[str, list[Claims]] = {"small": [], "warm": [], "dropped": []}
    with workspace(parsed.directory) as folder:
        _require_space(folder, parsed.tasks)
        large = folder / "large"
        _fill(large, parsed.tasks, parsed.payload_bytes)
        empty_mb = []
        for number in range(parsed.pairs):
            progress(f"round {number + 1} of {parsed.pairs}")
            with running_node(folder / f"empty-{number}") as node:
                empty_mb.append(node.anonymous_bytes() / 1e6)
            small = folder / f"small-{number}"
            _fill(small, SMALL_TASKS, parsed.payload_bytes)
            for kind, place in (("small", small), ("warm", large), ("dropped", large)):
                _set_cache(place, dropped=kind == "dropped")
                run = _run(parsed, place)
                runs[kind].append(run)
                report.run(backlog=kind, **run._asdict())
    _figures(report, empty_mb, runs)
    return report.finish()


def _require_space(folder: Path, tasks: int) -> None:
    needed = tasks * TASK_DISK_BYTES + SPARE_DISK_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ServerError(f"{tasks:,} tasks need {needed >> 20:,} MiB of disk, {free >> 20:,} MiB are free")


def _fill(folder: Path, tasks: int, payload_bytes: int) -> None:
    progress(f"filling a store with {tasks:,} tasks")
    folder.mkdir()
    preload.append_backlog(data_directory(folder), TENANT, lua.COMMAND, payload_bytes, tasks, _told)


def _told(done: int, count: int) -> None:
    if done % PROGRESS_TASKS == 0 or done == count:
        progress(f"  {done:,} of {count:,}")


def _set_cache(folder: Path, *, dropped: bool) -> None:
    os.sync()
    data = data_directory(folder) / "data.mdb"
    if dropped:
        drop(data)
    else:
        read_through(data)


def _run(parsed: argparse.Namespace, folder: Path) -> Claims:
    resident = resident_share(data_directory(folder) / "data.mdb")
    with running_node(folder) as node:
        at_start_mb = node.anonymous_bytes() / 1e6
        # The first scrape begins a new maximum.
        node.metric("codeq_loop_delay_max_seconds")
        with probing(node.address) as probe:
            times_ms = closed_loop(node.address, parsed.connections, parsed.claims, lambda: _turn(node))
        return Claims(
            node.ready_seconds,
            at_start_mb,
            node.anonymous_bytes() / 1e6,
            statistics.median(times_ms),
            percentile(times_ms, 99),
            max(times_ms),
            node.metric("codeq_loop_delay_max_seconds") * 1000,
            probe.max_ms,
            resident,
        )


def _turn(node: Node) -> Turn:
    """Create and claim in turn, each checked."""
    create = post(lua.PATH, node.producer_token, lua.create_body(arguments.PAYLOAD_BYTES))
    claim = post(f"{lua.PATH}/claim", node.worker_token, lua.claim_body())
    expected = 0

    def turn(status: int, body: bytes) -> tuple[bytes, bool]:
        nonlocal expected
        if status != expected:
            raise ConnectionError(f"expected {expected}, got {status}: {body[:200]!r}")
        claims = expected == 201
        expected = 200 if claims else 201
        return (claim if claims else create), claims

    return turn


def _figures(report: Report, empty_mb: list[float], runs: dict[str, list[Claims]]) -> None:
    small, warm, dropped = runs["small"], runs["warm"], runs["dropped"]
    over_empty = [run.memory_at_start_mb - empty for run, empty in zip(warm, empty_mb, strict=True)]
    over_small = [run.memory_after_mb - empty for run, empty in zip(warm, empty_mb, strict=True)]
    report.figure("memory over an empty node, at start", MEGABYTES, over_empty, MEMORY_TARGET)
    report.figure("memory over an empty node, after claims", MEGABYTES, over_small, MEMORY_TARGET)
    for name, claims in (("warm", warm), ("dropped", dropped)):
        report.figure(f"start to ready, {name}", SECONDS, [run.ready_seconds for run in claims], START_TARGET)
    ratios = [one.p99_ms / other.p99_ms for one, other in zip(warm, small, strict=True)]
    report.figure("claim p99, warm / backlog of 1,000", RATIO, ratios, CLAIM_TARGET)
    report.figure("loop stall, dropped", MS, [run.loop_delay_ms for run in dropped], STALL_TARGET)
    report.figure(
        "claim p99, dropped / backlog of 1,000",
        RATIO,
        [one.p99_ms / other.p99_ms for one, other in zip(dropped, small, strict=True)],
    )
    for name, claims in (("backlog of 1,000", small), ("warm", warm), ("dropped", dropped)):
        report.figure(f"claim p50, {name}", MS, [run.p50_ms for run in claims])
        report.figure(f"claim p99, {name}", MS, [run.p99_ms for run in claims])
        report.figure(f"claim max, {name}", MS, [run.max_ms for run in claims])
        report.figure(f"slowest /healthz meanwhile, {name}", MS, [run.probe_max_ms for run in claims])
    report.figure("file in memory after dropping", RATIO, [run.resident_share for run in dropped])


if __name__ == "__main__":
    arguments.main(main)
