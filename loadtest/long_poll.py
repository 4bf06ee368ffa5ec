"""How soon a long poll of a subscription hears of a create, on an idle node.

One worker polls, one producer creates: the time is from the create's first byte to the poll's whole answer, with the
fsync of the create in it. Then the task is claimed and finished, so that the next poll waits again.
"""

import json
import random
import time
from collections.abc import Sequence
from typing import Any, Final

from appliance.bench.servers import Node, running_node, workspace
from loadtest import arguments
from loadtest.client import Connection, post
from loadtest.record import COUNT, MS, Report, Target, percentile, progress

WAKE_TARGET: Final = Target("<", 20)
EMPTY_TARGET: Final = Target("<=", 0)
PAUSE_SECONDS: Final = 0.02
"""Between a poll and the create that wakes it: several times what the poll needs to begin to wait."""

_BASE: Final = "/v1/codeq"
_COMMAND: Final = "polled"


def main(given: Sequence[str] | None) -> int:
    """Measure and report."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=500, help="creates (%(default)s)")
    parser.add_argument("--tls", action="store_true")
    parsed = parser.parse_args(given)
    report = Report("long_poll", parsed)
    with workspace(parsed.directory) as folder, running_node(folder / "node", tls=parsed.tls) as node:
        progress(f"{parsed.rounds} rounds")
        times_ms, empty = _rounds(node, parsed.rounds)
    report.run(p50_ms=percentile(times_ms, 50), p99_ms=percentile(times_ms, 99), max_ms=max(times_ms), empty=empty)
    report.figure("create to the poll's answer, p99", MS, [percentile(times_ms, 99)], WAKE_TARGET)
    report.figure("polls that heard nothing", COUNT, [empty], EMPTY_TARGET)
    report.figure("create to the poll's answer, p50", MS, [percentile(times_ms, 50)])
    report.figure("create to the poll's answer, longest", MS, [max(times_ms)])
    return report.finish()


def _rounds(node: Node, rounds: int) -> tuple[list[float], int]:
    chance = random.Random(1)
    times_ms, empty = [], 0
    create = post(f"{_BASE}/tasks", node.producer_token, json.dumps({"command": _COMMAND, "payload": 1}))
    with Connection(node.address) as polling, Connection(node.address) as creating:
        subscriptions = f"{_BASE}/workers/subscriptions"
        made = _ask(polling, post(subscriptions, node.worker_token, json.dumps({"commands": [_COMMAND]})))
        poll = post(f"{subscriptions}/{made['subscriptionId']}/heartbeat", node.worker_token, '{"waitSeconds": 30}')
        for _ in range(rounds):
            polling.socket.sendall(poll)
            time.sleep(PAUSE_SECONDS * (1 + chance.random()))
            began = time.perf_counter()
            creating.socket.sendall(create)
            _, answer = polling.answer()
            times_ms.append((time.perf_counter() - began) * 1000)
            creating.answer()
            empty += not json.loads(answer)["ready"]
            _finish(creating, node.worker_token)
    return times_ms, empty


def _finish(connection: Connection, token: str) -> None:
    task = _ask(connection, post(f"{_BASE}/tasks/claim", token, json.dumps({"commands": [_COMMAND]})))
    _ask(connection, post(f"{_BASE}/tasks/{task['id']}/result", token, '{"status": "COMPLETED"}'))


def _ask(connection: Connection, request: bytes) -> Any:
    status, body = connection.exchange(request)
    if status != 200:
        raise ConnectionError(f"the node answered {status}: {body!r}")
    return json.loads(body)


if __name__ == "__main__":
    arguments.main(main)
