"""`codeq bench`: measure a server, and print the row that tells all that the figures depend on.

Owns the files written. Without `--target` or `--prototype` it starts a node in a folder of its own
below `--directory`, every commit synced to disk, and removes it afterwards.
"""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import msgspec

from appliance.bench import plot, row
from appliance.bench import run as running
from appliance.bench.measure import BenchError
from appliance.bench.options import CHANGES
from appliance.bench.plan import Target
from appliance.bench.scenario import SCENARIOS, Scenario
from appliance.bench.servers import ServerError, workspace
from appliance.cli import status


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write; the exit status."""
    scenario = _scenario(arguments)
    complaint = scenario.complaint() or _complaint(arguments)
    if complaint:
        print(f"codeq: {complaint}", file=sys.stderr)
        return status.USAGE
    # As an exception, so that a server started here stops and its folder goes.
    signal.signal(signal.SIGTERM, _end)
    try:
        with _subject(arguments, scenario) as subject:
            made = running.run(
                arguments.scenario, scenario, subject, arguments.seconds, arguments.directory, arguments.warm_seconds
            )
        print(row.text(made), flush=True)
        _write(made, arguments)
    except (BenchError, ServerError, OSError) as error:
        print(f"codeq: {error}", file=sys.stderr)
        return status.FAILURE
    return status.OK


def _scenario(arguments: argparse.Namespace) -> Scenario:
    names = [*CHANGES, "keys"]
    changes = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if changes.get("tenants", 1) > 1 and "streams" not in changes:
        # A stream of each kind for each tenant, at least.
        tenants = changes["tenants"]
        changes["streams"] = -(-SCENARIOS[arguments.scenario].streams // tenants) * tenants
    return dataclasses.replace(SCENARIOS[arguments.scenario], **changes)


def _complaint(arguments: argparse.Namespace) -> str:
    if arguments.target and arguments.prototype:
        return "--target and --prototype exclude each other"
    if not arguments.target:
        return "" if arguments.server_pid is None else "--server-pid needs --target"
    host, _, port = arguments.target.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        return "--target is host:port"
    return ""


@contextmanager
def _subject(arguments: argparse.Namespace, scenario: Scenario) -> Iterator[running.Subject]:
    if arguments.target:
        host, _, port = arguments.target.rpartition(":")
        target = Target(host.strip("[]"), int(port), arguments.tls, arguments.ca)
        yield running.elsewhere(
            scenario, target, arguments.server_pid, arguments.producer_token_file, arguments.worker_token_file
        )
        return
    with workspace(arguments.directory, "codeq-bench-") as folder:
        made = (
            running.prototype(arguments.prototype, folder, scenario, tls=arguments.tls)
            if arguments.prototype
            else running.node(folder, scenario, tls=arguments.tls)
        )
        with made as subject:
            yield subject


def _write(made: row.Row, arguments: argparse.Namespace) -> None:
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(made.record())) + b"\n")
    if arguments.plot:
        lines = {name.replace("_", " "): [each[name] for each in made.over_time] for name in made.over_time[0]}
        panels = [
            plot.Panel("tasks per second", {name: line for name, line in lines.items() if name.endswith("second")}),
            plot.Panel("latency, ms", {name: line for name, line in lines.items() if not name.endswith("second")}),
        ]
        arguments.plot.write_text(plot.drawing(f"{made.name}, {made.server}", panels))


def _end(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)
