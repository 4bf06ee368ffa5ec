"""Creates while dead letters are requeued: the node with an operator who requeues all the time, and without.

The store is written without a node, with so many dead letters. An operator asks for one bounded step after the other;
producers run beside it, many keep-alive connections, HTTP/1.1, one small task per request. Each pair begins with the
dead letters that the one before has left; those that were requeued are nobody's, so that only requeues and creates are
at work.
"""

import argparse
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from appliance.bench.servers import Node, data_directory, running_node, workspace
from appliance.cli.dev import TENANT
from loadtest import arguments, lua, preload, wrk
from loadtest.client import Connection, post
from loadtest.record import COUNT, MS, PER_SECOND, RATIO, SECONDS, Report, Target, progress

RATIO_TARGET: Final = Target(">=", 0.8)
ERRORS_TARGET: Final = Target("<=", 0)

REQUEUE_PATH: Final = "/v1/codeq/admin/dlq/requeue"
DEAD_COMMAND: Final = "dying"
STEP_TASKS: Final = 1_000
PROGRESS_TASKS: Final = 100_000


class Operator:
    """Requeues in steps until nothing is left or it is told to stop; `done` tasks so far."""

    def __init__(self, node: Node) -> None:
        self.done = 0
        self.more = True
        self.failure: Exception | None = None
        self._stop = threading.Event()
        self._node = node
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step under way; raises what went wrong."""
        self._stop.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        body = json.dumps({"command": DEAD_COMMAND, "limit": STEP_TASKS})
        try:
            request = post(REQUEUE_PATH, self._node.producer_token, body)
            with Connection(self._node.address) as connection:
                while self.more and not self._stop.is_set():
                    status, answer = connection.exchange(request)
                    if status != 200:
                        raise ConnectionError(f"a requeue was answered {status}: {answer[:200]!r}")
                    outcome = json.loads(answer)
                    self.done += outcome["requeued"]
                    self.more = outcome["more"]
        except Exception as error:  # noqa: BLE001  # raised by `stop`, in the thread that measures
            self.failure = error


def main(given: Sequence[str] | None) -> int:
    """Measure and report."""
    parser = arguments.parser(__doc__)
    arguments.add_load(parser, seconds=15, pairs=5)
    parser.add_argument("--dead", type=int, default=1_000_000, help="dead letters at first (%(default)s)")
    parsed = parser.parse_args(given)
    report = Report("rest_requeue", parsed)
    alone: list[wrk.Outcome] = []
    beside: list[wrk.Outcome] = []
    rates: list[float] = []
    with workspace(parsed.directory) as folder:
        place = folder / "node"
        place.mkdir()
        preload.append_backlog(data_directory(place), TENANT, DEAD_COMMAND, 200, parsed.dead, _told, dead=True)
        with running_node(place, tls=parsed.tls) as node:
            script = lua.creates(node.producer_token, arguments.PAYLOAD_BYTES)
            arguments.warm(node.address.base, script, parsed)
            for pair in range(parsed.pairs):
                progress(f"pair {pair + 1} of {parsed.pairs}")
                for requeues in (False, True) if pair % 2 == 0 else (True, False):
                    outcome, rate = _run(node, script, parsed, requeues=requeues)
                    (beside if requeues else alone).append(outcome)
                    rates += [rate] if requeues else []
                    report.run(
                        requeues=requeues, per_second=outcome.per_second, p99_ms=outcome.p99_ms,
                        errors=outcome.errors, requeued_per_second=rate,
                    )  # fmt: skip
    ratios = [one.per_second / other.per_second for one, other in zip(beside, alone, strict=True)]
    report.figure("creates, with requeues / without", RATIO, ratios, RATIO_TARGET)
    report.figure("errors", COUNT, [float(run.errors) for run in (*alone, *beside)], ERRORS_TARGET)
    report.figure("requeued", PER_SECOND, rates)
    report.figure("a million at this rate", SECONDS, [1e6 / max(rate, 1e-9) for rate in rates])
    for name, runs in (("without requeues", alone), ("with requeues", beside)):
        report.figure(f"creates, {name}", PER_SECOND, [run.per_second for run in runs])
        report.figure(f"p99, {name}", MS, [run.p99_ms for run in runs])
    return report.finish()


def _run(node: Node, script: str, parsed: argparse.Namespace, *, requeues: bool) -> tuple[wrk.Outcome, float]:
    if not requeues:
        return wrk.run(node.address.base, script, arguments.load(parsed)), 0.0
    with operating(node) as operator:
        outcome = wrk.run(node.address.base, script, arguments.load(parsed))
        return outcome, operator.done / outcome.seconds


@contextmanager
def operating(node: Node) -> Iterator[Operator]:
    """An operator at work; raises where it went wrong."""
    operator = Operator(node)
    operator.start()
    try:
        yield operator
    finally:
        operator.stop()


def _told(done: int, count: int) -> None:
    if done % PROGRESS_TASKS == 0 or done == count:
        progress(f"  {done:,} of {count:,}")


if __name__ == "__main__":
    arguments.main(main)
