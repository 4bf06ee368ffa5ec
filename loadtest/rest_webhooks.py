"""Full cycles beside webhooks to a receiver that hangs, against full cycles alone.

Before a run so many tasks with webhooks are brought to their end; their receiver accepts connections and never answers.
Each attempt then holds its place for the whole timeout, and is made again after a second, all through the run.
"""

import argparse
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from appliance.bench.servers import Node, running_node, workspace
from loadtest import arguments, lua, wrk
from loadtest.record import COUNT, MICROSECONDS, MS, PER_SECOND, RATIO, Report, Target, progress

RATIO_TARGET: Final = Target(">=", 0.9)
ERRORS_TARGET: Final = Target("<=", 0)
BATCH: Final = 100
BACKLOG: Final = 4_096
"""Connections that the kernel accepts for a program that never does."""
SETTINGS: Final = {
    "WEBHOOKS_ALLOW_PRIVATE": "true",
    "WEBHOOKS_TIMEOUT_SECONDS": "2",
    "WEBHOOKS_BACKOFF_BASE_SECONDS": "1",
    "WEBHOOKS_BACKOFF_CAP_SECONDS": "1",
    "WEBHOOKS_CONCURRENCY_PER_HOST": "64",
}


class Cycles(NamedTuple):
    """One run: finished tasks per second, times, CPU of the server per cycle, attempts that failed meanwhile."""

    per_second: float
    p99_ms: float
    cpu_us: float
    attempts: float
    errors: int


def main(given: Sequence[str] | None) -> int:
    """Measure and report."""
    parser = arguments.parser(__doc__)
    arguments.add_load(parser, seconds=15, pairs=5)
    parser.add_argument("--webhooks", type=int, default=5_000, help="that wait for the receiver (%(default)s)")
    parsed = parser.parse_args(given)
    report = Report("rest_webhooks", parsed)
    runs: dict[bool, list[Cycles]] = {True: [], False: []}
    with workspace(parsed.directory) as folder:
        for pair in range(parsed.pairs):
            progress(f"pair {pair + 1} of {parsed.pairs}")
            for hanging in (True, False) if pair % 2 == 0 else (False, True):
                run = _run(parsed, folder / f"node-{pair}-{hanging}", hanging=hanging)
                runs[hanging].append(run)
                report.run(hanging=hanging, **run._asdict())
    _figures(report, runs[True], runs[False])
    return report.finish()


def _run(parsed: argparse.Namespace, folder: Path, *, hanging: bool) -> Cycles:
    with _never_answers() as port, running_node(folder, tls=parsed.tls, settings=SETTINGS) as node:
        if hanging:
            _end_with_webhooks(node, parsed.webhooks, f"http://127.0.0.1:{port}/hook")
        script = lua.cycles(node.producer_token, node.worker_token, arguments.PAYLOAD_BYTES)
        arguments.warm(node.address.base, script, parsed)
        cpu_seconds, attempts = node.cpu_seconds(), node.metric("codeq_webhook_failures_total")
        outcome = wrk.run(node.address.base, script, arguments.load(parsed))
        cpu_seconds = node.cpu_seconds() - cpu_seconds
        attempts = node.metric("codeq_webhook_failures_total") - attempts
        finished = outcome.counters["finished"]
        if finished == 0:
            raise wrk.WrkError(f"no cycle was finished: {outcome}")
        if hanging and not node.metric("codeq_webhooks_under_way"):
            raise wrk.WrkError("the run took longer than the webhooks: ask for more of them")
        missed = outcome.errors + outcome.counters["missed"]
        return Cycles(finished / outcome.seconds, outcome.p99_ms, cpu_seconds / finished * 1e6, attempts, missed)


@contextmanager
def _never_answers() -> Iterator[int]:
    """A receiver on a port of its own: the kernel accepts, and nobody reads."""
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as server:
        port: int = server.getsockname()[1]
        yield port


def _end_with_webhooks(node: Node, count: int, url: str) -> None:
    address = node.address
    context = address.context()
    with httpx.Client(
        base_url=address.base, verify=context if context else True, timeout=60, trust_env=False
    ) as client:
        for start in range(0, count, BATCH):
            tasks = [{"command": "hooked", "payload": None, "webhook": url} for _ in range(min(BATCH, count - start))]
            _post(client, node.producer_token, "/batch", tasks)
            claimed = _post(client, node.worker_token, "/claim/batch", {"count": BATCH, "commands": ["hooked"]})
            results = [{"taskId": task["id"], "status": "COMPLETED"} for task in claimed["tasks"]]
            _post(client, node.worker_token, "/batch/results", results)


def _post(client: httpx.Client, token: str, path: str, body: Any) -> Any:
    answer = client.post(lua.PATH + path, json=body, headers={"Authorization": f"Bearer {token}"})
    return answer.raise_for_status().json()


def _figures(report: Report, hanging: list[Cycles], alone: list[Cycles]) -> None:
    ratios = [one.per_second / other.per_second for one, other in zip(hanging, alone, strict=True)]
    report.figure("cycles, beside a hanging receiver / alone", RATIO, ratios, RATIO_TARGET)
    errors = sum(run.errors for run in hanging + alone)
    report.figure("errors and claims without a task", COUNT, [errors], ERRORS_TARGET)
    report.figure("attempts that failed in a run", COUNT, [run.attempts for run in hanging])
    for name, runs in (("beside", hanging), ("alone", alone)):
        report.figure(f"cycles, {name}", PER_SECOND, [run.per_second for run in runs])
        report.figure(f"p99, {name}", MS, [run.p99_ms for run in runs])
        report.figure(f"server CPU per cycle, {name}", MICROSECONDS, [run.cpu_us for run in runs])


if __name__ == "__main__":
    arguments.main(main)
