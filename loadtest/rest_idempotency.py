"""Creates with idempotency keys into a store that holds a million of them, against creates without.

The stores are filled through the state machine before any node runs; each run gets a fresh copy. Keys come in two
kinds, each into a store of its own kind: ordered by time (as of a UUIDv7), which touch few pages, and random ones.
"""

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from appliance.bench.servers import data_directory, running_node, workspace
from appliance.cli.dev import TENANT
from loadtest import arguments, lua, preload
from loadtest.record import COUNT, MICROSECONDS, MS, PER_SECOND, RATIO, Report, Target, progress
from loadtest.rest_create import Run, measured

ORDERED_TARGET: Final = Target(">=", 0.7)
ERRORS_TARGET: Final = Target("<=", 0)

STORE_OF: Final = {"none": "ordered", "ordered": "ordered", "random": "random"}
"""Which store each kind of create goes into."""
PROGRESS_TASKS: Final = 100_000


def main(given: Sequence[str] | None) -> int:
    """Measure and report."""
    parser = arguments.parser(__doc__)
    arguments.add_load(parser, seconds=10, pairs=5)
    parser.add_argument("--rows", type=int, default=1_000_000, help="keys in the store (%(default)s)")
    parsed = parser.parse_args(given)
    report = Report("rest_idempotency", parsed)
    runs: dict[str, list[Run]] = {kind: [] for kind in STORE_OF}
    with workspace(parsed.directory) as folder:
        for kind in ("ordered", "random"):
            _fill(folder / f"{kind}-rows", kind, parsed.rows)
        for pair in range(parsed.pairs):
            progress(f"round {pair + 1} of {parsed.pairs}")
            for kind in list(STORE_OF) if pair % 2 == 0 else list(STORE_OF)[::-1]:
                run = _run(kind, parsed, folder)
                runs[kind].append(run)
                outcome = run.outcome
                report.run(
                    keys=kind, per_second=outcome.per_second, p99_ms=outcome.p99_ms, cpu_us=run.cpu_us,
                    requests=outcome.requests, errors=outcome.errors,
                )  # fmt: skip
    _figures(report, runs)
    return report.finish()


def _fill(directory: Path, kind: str, rows: int) -> None:
    progress(f"filling a store with {rows:,} tasks with {kind} keys")
    payload = lua.payload(arguments.PAYLOAD_BYTES).encode()
    preload.create_exactly(directory, TENANT, lua.COMMAND, payload, list(preload.keys(kind, rows)), _told)


def _told(done: int, count: int) -> None:
    if done % PROGRESS_TASKS == 0 or done == count:
        progress(f"  {done:,} of {count:,}")


def _run(kind: str, parsed: argparse.Namespace, folder: Path) -> Run:
    place = folder / "run"
    data_directory(place).mkdir(parents=True)
    try:
        shutil.copyfile(folder / f"{STORE_OF[kind]}-rows" / "data.mdb", data_directory(place) / "data.mdb")
        # What is still on its way to the disk would be written beside the run.
        os.sync()
        with running_node(place, tls=parsed.tls) as node:
            return measured(node, lua.creates_with_keys(node.producer_token, arguments.PAYLOAD_BYTES, kind), parsed)
    finally:
        shutil.rmtree(place)


def _figures(report: Report, runs: dict[str, list[Run]]) -> None:
    speeds = {kind: [run.outcome.per_second for run in each] for kind, each in runs.items()}
    for kind, target in (("ordered", ORDERED_TARGET), ("random", None)):
        ratios = [with_keys / without for with_keys, without in zip(speeds[kind], speeds["none"], strict=True)]
        report.figure(f"creates, {kind} keys / without", RATIO, ratios, target)
    errors = sum(run.outcome.errors for each in runs.values() for run in each)
    report.figure("errors", COUNT, [errors], ERRORS_TARGET)
    for kind, each in runs.items():
        report.figure(f"creates, keys: {kind}", PER_SECOND, speeds[kind])
        report.figure(f"p99, keys: {kind}", MS, [run.outcome.p99_ms for run in each])
        report.figure(f"server CPU per create, keys: {kind}", MICROSECONDS, [run.cpu_us for run in each])


if __name__ == "__main__":
    arguments.main(main)
