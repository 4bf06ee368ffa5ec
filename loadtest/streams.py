"""The streams under load, row by row: the node against the sketch, or against itself under lighter conditions.

Runs come in alternating pairs, each on a server and a store of its own; verdicts are about the median of the ratios. A
pair in which either server had time to spare says nothing about servers, and does not count.
"""

import argparse
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.bench import run
from appliance.bench.row import Row
from appliance.bench.scenario import SCENARIOS, Scenario, commands
from appliance.bench.servers import ServerError, data_directory, workspace
from loadtest import arguments, preload
from loadtest.pagecache import read_through
from loadtest.record import COUNT, MICROSECONDS, MS, PER_SECOND, RATIO, Report, Target, progress

NODE: Final = "node"
PROTOTYPE: Final = "prototype"
TENANT: Final = "bench-0"
"""The first tenant of every load; stores that are filled beforehand belong to it."""
TASK_DISK_BYTES: Final = 600
"""Of one task, its rows and their share of half-full pages, with room to spare."""
SPARE_DISK_BYTES: Final = 4 << 30
PROGRESS_TASKS: Final = 1_000_000

CYCLE: Final = SCENARIOS["cycle"]
CREATES: Final = SCENARIOS["creates"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two in a pair: a server, its load, and the tasks that its store holds before the node starts."""

    name: str
    server: str
    scenario: Scenario
    stored: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of the table: two sides, and what the ratio of the first to the second must be."""

    one: Side
    other: Side
    ratio: Target | None
    cpu_ratio: Target | None = None
    tls: bool = False


def against_prototype(scenario: Scenario, ratio: float, cpu: float | None = None, *, tls: bool = False) -> Comparison:
    """The same load on both."""
    return Comparison(
        Side(NODE, NODE, scenario), Side(PROTOTYPE, PROTOTYPE, scenario), Target(">=", ratio),
        Target("<=", cpu) if cpu else None, tls,
    )  # fmt: skip


def against_itself(one: Side, base: Scenario, ratio: float | None) -> Comparison:
    """The node under harder conditions, and the node without them."""
    return Comparison(one, Side("without", NODE, base), Target(">=", ratio) if ratio else None)


ROWS: Final = {
    "cycle": against_prototype(CYCLE, 0.65, 1.6),
    "cycle-tls": against_prototype(CYCLE, 0.65, tls=True),
    "unbatched": against_prototype(SCENARIOS["single"], 0.65),
    "creates-64": against_prototype(CREATES, 0.65),
    "keys": against_itself(Side("keys", NODE, dataclasses.replace(CREATES, keys=True)), CREATES, 0.7),
    "retention": against_itself(Side("sweeping", NODE, SCENARIOS["retention"]), CYCLE, 0.8),
    "queues": against_itself(
        Side("many queues", NODE, dataclasses.replace(CYCLE, queues=10, priorities=3, tenants=4)), CYCLE, 0.85
    ),
    "queues-1000": against_itself(Side("many queues", NODE, dataclasses.replace(CYCLE, queues=1_000)), CYCLE, None),
    "backlog-1m": against_itself(Side("backlog", NODE, CYCLE, stored=1_000_000), CYCLE, 0.8),
    "backlog-10m": against_itself(Side("backlog", NODE, CYCLE, stored=10_000_000), CYCLE, 0.8),
}
LATENCY: Final = "latency-5000"
LATENCY_TARGET: Final = Target("<", 10)
LATENCY_LOADS: Final = {
    "creates only": dataclasses.replace(SCENARIOS["latency"], slots=0),
    "with workers": SCENARIOS["latency"],
}


def main(given: Sequence[str] | None) -> int:
    """Measure one row and report."""
    parser = arguments.parser(__doc__)
    parser.add_argument("row", choices=[*ROWS, LATENCY])
    parser.add_argument("--prototype", type=Path, help="the sketch, for the rows that compare with it")
    parser.add_argument("--pairs", type=int, default=5, help="alternating runs of each (%(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="of each run (%(default)s)")
    parser.add_argument("--warm-seconds", type=int, default=3, help="of load before each run (%(default)s)")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--in-flight", type=int, help="creates; twice as many slots")
    parser.add_argument("--stored", type=int, help="tasks in the store, for the rows with a backlog")
    parser.add_argument("--processes", type=int, help="of clients, where the load's own number is not wanted")
    parsed = parser.parse_args(given)
    report = Report(f"streams {parsed.row}", parsed)
    if parsed.row == LATENCY:
        _latency(report, parsed)
    else:
        _compare(report, ROWS[parsed.row], parsed)
    return report.finish()


def _compare(report: Report, row: Comparison, parsed: argparse.Namespace) -> None:
    if PROTOTYPE in (row.one.server, row.other.server) and parsed.prototype is None:
        raise ServerError("this row compares with a sketch: --prototype PATH")
    pairs: list[tuple[Row, Row]] = []
    with workspace(parsed.directory) as folder, _stored(folder / "stored", row.one, parsed) as store:
        for number in range(parsed.pairs):
            progress(f"pair {number + 1} of {parsed.pairs}")
            sides = [row.one, row.other] if number % 2 == 0 else [row.other, row.one]
            made = {side.name: _run(report, side, parsed, folder, store, tls=row.tls) for side in sides}
            pairs.append((made[row.one.name], made[row.other.name]))
    _figures(report, row, pairs)


def _run(
    report: Report, side: Side, parsed: argparse.Namespace, folder: Path, store: Path | None, *, tls: bool = False
) -> Row:
    place = folder / "run"
    place.mkdir(mode=0o700)
    tls = tls or parsed.tls
    scenario = dataclasses.replace(side.scenario, processes=parsed.processes or side.scenario.processes)
    if parsed.in_flight:
        scenario = dataclasses.replace(
            scenario, in_flight=parsed.in_flight, slots=2 * parsed.in_flight if scenario.cycles else 0
        )
    try:
        if side.stored and store is not None:
            data_directory(place).mkdir()
            shutil.copyfile(store / "data.mdb", data_directory(place) / "data.mdb")
            read_through(data_directory(place) / "data.mdb")
        # What is still on its way to the disk would be written beside the run.
        os.sync()
        server = (
            run.prototype(parsed.prototype, place, scenario, tls=tls)
            if side.server == PROTOTYPE
            else run.node(place, scenario, tls=tls)
        )
        with server as subject:
            made = run.run(
                side.name, scenario, subject, parsed.seconds, parsed.directory, parsed.warm_seconds, told=_silent
            )
    finally:
        shutil.rmtree(place)
    report.run(side=side.name, **_facts(made))
    return made


@contextmanager
def _stored(folder: Path, side: Side, parsed: argparse.Namespace) -> Iterator[Path | None]:
    """A store with what a side needs beforehand; each run gets a copy."""
    tasks = (parsed.stored or side.stored) if side.stored else 0
    if tasks:
        needed, free = 2 * tasks * TASK_DISK_BYTES + SPARE_DISK_BYTES, shutil.disk_usage(folder.parent).free
        if free < needed:
            raise ServerError(f"{tasks:,} tasks need {needed >> 20:,} MiB of disk, {free >> 20:,} MiB are free")
        progress(f"filling a store with {tasks:,} tasks")
        command = commands(side.scenario)[0]
        preload.append_backlog(folder, TENANT, command, side.scenario.payload_bytes, tasks, _told)
    yield folder if tasks else None


def _figures(report: Report, row: Comparison, pairs: list[tuple[Row, Row]]) -> None:
    counting = [pair for pair in pairs if not any(each.client_bound for each in pair)]
    names = f"{row.one.name} / {row.other.name}"
    if counting:
        report.figure(
            f"throughput, {names}", RATIO, [one.per_second / other.per_second for one, other in counting], row.ratio
        )
        cpu = [_cpu_us(one) / _cpu_us(other) for one, other in counting]
        report.figure(f"server CPU per task, {names}", RATIO, cpu, row.cpu_ratio)
    report.figure("pairs in which neither was client-bound", COUNT, [len(counting)], Target(">=", len(pairs)))
    report.figure("refused", COUNT, [sum(each.refused for pair in pairs for each in pair)], Target("<=", 0))
    for name, runs in ((row.one.name, [one for one, _ in pairs]), (row.other.name, [other for _, other in pairs])):
        _show(report, name, runs)


def _show(report: Report, name: str, runs: list[Row]) -> None:
    shown: tuple[tuple[str, str, Callable[[Row], float]], ...] = (
        ("tasks", PER_SECOND, lambda each: each.per_second),
        ("server CPU per task", MICROSECONDS, _cpu_us),
        ("client CPU per task", MICROSECONDS, lambda each: each.client_cpu_us),
        ("busy share of the loop", RATIO, lambda each: each.busy_share or 0.0),
        ("ack p50", MS, lambda each: each.ack["p50_ms"]),
        ("ack p99", MS, lambda each: each.ack["p99_ms"]),
        ("backlog at the end", COUNT, lambda each: each.backlog_end),
    )
    for what, unit, value in shown:
        report.figure(f"{what}, {name}", unit, [value(each) for each in runs])


def _latency(report: Report, parsed: argparse.Namespace) -> None:
    """At an offered load nothing is compared; the sketch is beside it where there is one."""
    runs: dict[str, list[Row]] = {}
    with workspace(parsed.directory) as folder:
        for number in range(parsed.pairs):
            progress(f"round {number + 1} of {parsed.pairs}")
            for name, scenario in LATENCY_LOADS.items():
                for server in [NODE, PROTOTYPE] if parsed.prototype else [NODE]:
                    side = Side(f"{server}, {name}", server, scenario)
                    runs.setdefault(side.name, []).append(_run(report, side, parsed, folder, None))
    for name, made in runs.items():
        target = LATENCY_TARGET if name.startswith(NODE) else None
        report.figure(f"ack p99, {name}", MS, [each.ack["p99_ms"] for each in made], target)
        report.figure(f"ack p50, {name}", MS, [each.ack["p50_ms"] for each in made])
        report.figure(f"ack p99.9, {name}", MS, [each.ack["p99_9_ms"] for each in made])
        report.figure(f"created, {name}", PER_SECOND, [each.created / each.seconds for each in made])
        report.figure(f"server CPU per task, {name}", MICROSECONDS, [_cpu_us(each) for each in made])
    refused = sum(each.refused for made in runs.values() for each in made)
    report.figure("refused", COUNT, [refused], Target("<=", 0))


def _facts(made: Row) -> dict[str, object]:
    return {
        "per_second": made.per_second, "cpu_us": _cpu_us(made), "client_cpu_us": made.client_cpu_us,
        "busy_share": made.busy_share, "thread_share": made.thread_share,
        "thread_waited_share": made.thread_waited_share, "client_bound": made.client_bound,
        "ack_p50_ms": made.ack["p50_ms"], "ack_p99_ms": made.ack["p99_ms"], "finish_p99_ms": made.finish["p99_ms"],
        "backlog_end": made.backlog_end, "refused": made.refused, "counted_by": made.counted_by,
    }  # fmt: skip


def _cpu_us(made: Row) -> float:
    return made.server_cpu_us or 0.0


def _told(done: int, count: int) -> None:
    if done % PROGRESS_TASKS == 0 or done == count:
        progress(f"  {done:,} of {count:,}")


def _silent(_text: str) -> None:
    """Runs are told of at their end only."""


if __name__ == "__main__":
    arguments.main(main)
