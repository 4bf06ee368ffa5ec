"""Webhooks to receivers of every kind, with the node killed in between: each is delivered, or recorded as given up.

    python -m tests.campaigns.webhooks --count 10000 [--kills 2] [--seed S]

Tasks are created with webhooks to names of several kinds: receivers that answer, that fail at first or always, hang,
redirect, close, and names that resolve to a private address every other time. All tasks are brought to an end, one
in ten as a dead letter, while the node is killed with SIGKILL at even distances. In the end nothing may wait: each task
has been received by a receiver that said so, or its webhook is listed as given up. Nothing may ever be received where
redirects and lying names lead to, and every request must be signed and say how its task ended.
"""

import argparse
import asyncio
import hashlib
import hmac
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

from appliance.auth.caller import PRODUCER, WORKER
from tests.campaigns.kill import Outcome
from tests.campaigns.lying_node import PRIVATE, PUBLIC
from tests.campaigns.wire import Unknown, Wire
from tests.e2e.node import Node
from tests.webhooks.receiver import OK, Received, Receiver

KINDS: Final = {"ok": 70, "flaky": 12, "fail": 5, "close": 4, "redirect": 4, "hang": 2, "liar": 3}
"""Kinds of receivers and their weights. A call that hangs costs a place for the whole timeout, five times."""

GIVEN_UP_KINDS: Final = ("fail", "close", "redirect", "hang", "liar")
"""What never answers well: `liar` fails at its true address and is refused at the other."""

FLAKY_FAILURES: Final = 2
BATCH: Final = 100
DEAD_SHARE: Final = 0.1
SETTLE_SECONDS: Final = 600.0
LOOK_SECONDS: Final = 0.1
SHOWN_MAX: Final = 20
ENDS: Final = (("COMPLETED", None), ("DLQ", "not wanted"), ("DLQ", "lease expired"))
COMMAND: Final = (sys.executable, "-m", "tests.campaigns.lying_node")
ENVIRONMENT: Final = {
    "CODEQ_WEBHOOKS_ALLOW_PRIVATE": "false",
    "CODEQ_WEBHOOKS_TIMEOUT_SECONDS": "2",
    "CODEQ_WEBHOOKS_BACKOFF_BASE_SECONDS": "1",
    "CODEQ_WEBHOOKS_BACKOFF_CAP_SECONDS": "2",
    "CODEQ_WEBHOOKS_CONCURRENCY": "256",
    "CODEQ_WEBHOOKS_CONCURRENCY_PER_HOST": "64",
    "CODEQ_TASKS_BACKOFF_BASE_SECONDS": "0",
    "CODEQ_TASKS_BACKOFF_CAP_SECONDS": "0",
    "CODEQ_LOG_LEVEL": "error",
}


class Campaign:
    """One run. `folder` must be empty."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._rng = Random(seed)
        self._node = Node(folder, plaintext=True, environ=ENVIRONMENT, command=COMMAND)
        self._kinds: dict[str, str] = {}
        self._failures: Counter[str] = Counter()
        self._delivered: set[str] = set()
        self._violations: list[str] = []
        self._secret = b""

    async def run(self, count: int, kills: int) -> Outcome:
        """Create so many tasks, end them and kill so often, then wait and judge."""
        began = time.monotonic()
        try:
            await asyncio.to_thread(self._node.up)
            self._secret = (self._node.folder / "webhook.secret").read_bytes().strip()
            async with (
                Receiver(answer=self._answer, host=PUBLIC) as receiver,
                Receiver(host=PRIVATE, port=receiver.port) as trap,
            ):
                await self._create(count, receiver.port)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._kill(receiver, count, kills))
                    tasks.create_task(self._end_all(count))
                await self._settle()
                given_up = await self._given_up()
                self._judge(given_up, trap)
        finally:
            self._node.kill()
        return Outcome(self._violations, self._counts(given_up, receiver, kills), time.monotonic() - began)

    def _answer(self, received: Received) -> bytes | None:
        """What a receiver does; None leaves it to the path."""
        self._check(received)
        task, kind = received.json["taskId"], received.path.split("/")[1]
        if kind == "flaky":
            self._failures[task] += 1
            if self._failures[task] <= FLAKY_FAILURES:
                return b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
        if kind == "liar":
            return b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
        if kind in ("ok", "flaky"):
            self._delivered.add(task)
            return OK
        return None

    def _check(self, received: Received) -> None:
        signed = received.headers["x-codeq-timestamp"].encode() + b"." + received.body
        if received.headers["x-codeq-signature"] != hmac.new(self._secret, signed, hashlib.sha256).hexdigest():
            self._violations.append(f"a request to {received.path} is not signed as it should be")
        said = received.json
        if (said["status"], said["error"]) not in ENDS:
            self._violations.append(f"the webhook of {said['taskId']} says {said}")

    # The load.

    def _wire(self, kind: Any) -> Wire:
        return Wire(self._node.port, self._node.token(kind))

    async def _ask(self, wire: Wire, path: str, body: Any) -> Any:
        """The answer of a node that may be down just now."""
        while True:
            try:
                status, answer = await wire.post(path, body)
            except Unknown:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            if status not in (200, 204, 503):
                raise AssertionError(f"{path} was answered {status}: {answer}")
            if status != 503:
                return answer

    async def _create(self, count: int, port: int) -> None:
        wire = self._wire(PRODUCER)
        for start in range(0, count, BATCH):
            kinds = self._rng.choices(list(KINDS), list(KINDS.values()), k=min(BATCH, count - start))
            tasks = [
                {
                    "command": "c",
                    "payload": None,
                    "maxAttempts": 1 if self._rng.random() < DEAD_SHARE else 1_000,
                    "webhook": f"http://{kind}{self._rng.randrange(3)}.example:{port}/{kind}",
                }
                for kind in kinds
            ]
            answers = await self._ask(wire, "/tasks/batch", tasks)
            self._kinds.update((each["task"]["id"], kind) for each, kind in zip(answers, kinds, strict=True))
        wire.close()

    async def _end_all(self, count: int) -> None:
        wire = self._wire(WORKER)
        while await self._unended() > 0:
            claimed = await self._ask(wire, "/tasks/claim/batch", {"count": BATCH, "leaseSeconds": 2, "waitSeconds": 1})
            tasks = [] if claimed is None else claimed["tasks"]
            results = [
                {"taskId": task["id"], "leaseId": task["leaseId"], "status": "COMPLETED"}
                for task in tasks
                if task["maxAttempts"] > 1
            ]
            await self._ask(wire, "/tasks/batch/results", results)
            for task in tasks:
                if task["maxAttempts"] == 1:
                    await self._nack(wire, task)
        wire.close()

    async def _nack(self, wire: Wire, task: dict[str, Any]) -> None:
        try:
            await wire.post(f"/tasks/{task['id']}/nack", {"reason": "not wanted", "leaseId": task["leaseId"]})
        except Unknown:
            return  # its only attempt is used up: it dies of its lease, if not of this

    async def _metric(self, names: tuple[str, ...]) -> float:
        while True:
            try:
                metrics = await asyncio.to_thread(self._node.metrics)
                return sum(value for name, value in metrics.items() if name.startswith(names))
            except Exception:  # noqa: BLE001  # the node may be down just now, which shows in many ways
                await asyncio.sleep(LOOK_SECONDS)

    async def _unended(self) -> float:
        states = ("ready", "delayed", "claimed")
        return await self._metric(tuple(f'codeq_tasks{{command="c",state="{state}"' for state in states))

    # Kills, and the end.

    async def _kill(self, receiver: Receiver, count: int, kills: int) -> None:
        for number in range(1, kills + 1):
            while len(receiver.received) < count * number / (kills + 1):
                await asyncio.sleep(LOOK_SECONDS / 10)
            await asyncio.to_thread(self._node.kill)
            await asyncio.to_thread(self._node.up)

    async def _settle(self) -> None:
        async with asyncio.timeout(SETTLE_SECONDS):
            while await self._metric(("codeq_webhooks_waiting",)) > 0:
                await asyncio.sleep(LOOK_SECONDS)

    async def _given_up(self) -> dict[str, str]:
        """Tasks whose webhook was given up, with the last error."""
        wire, cursor = self._wire(PRODUCER), ""
        found: dict[str, str] = {}
        while True:
            _, page = await wire.get(f"/admin/webhooks?limit=500{cursor}")
            found.update((each["taskId"], each["lastError"]) for each in page["deliveries"])
            if page["cursor"] is None:
                wire.close()
                return found
            cursor = f"&cursor={page['cursor']}"

    def _judge(self, given_up: dict[str, str], trap: Receiver) -> None:
        for task, kind in self._kinds.items():
            if task not in self._delivered and task not in given_up:
                self._violations.append(f"the webhook of {task} ({kind}) was neither delivered nor given up")
            if kind in GIVEN_UP_KINDS and task not in given_up:
                self._violations.append(f"the webhook of {task} ({kind}) counts as delivered")
        if trap.connections:
            self._violations.append(f"there were {trap.connections} connections to a private address")
        if set(given_up) - set(self._kinds):
            self._violations.append("webhooks were given up that nobody asked for")

    def _counts(self, given_up: dict[str, str], receiver: Receiver, kills: int) -> dict[str, int]:
        good = {task for task, kind in self._kinds.items() if kind not in GIVEN_UP_KINDS}
        return {
            "webhooks": len(self._kinds),
            "kills": kills,
            "requests received": len(receiver.received),
            "delivered": len(self._delivered),
            "given up": len(given_up),
            "given up although the receiver is sound": len(good & set(given_up)),
            "received more than once by sound receivers": self._repeats(receiver, good),
            "refused for a private address": sum(error.startswith("refused") for error in given_up.values()),
        }

    def _repeats(self, receiver: Receiver, good: set[str]) -> int:
        received = Counter(each.json["taskId"] for each in receiver.received if each.path == "/ok")
        return sum(received[task] > 1 for task in good)


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.webhooks", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="webhooks")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    repeat = f"--count {arguments.count} --kills {arguments.kills} --seed {arguments.seed}"
    print(f"python -m tests.campaigns.webhooks {repeat}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(Campaign(Path(folder) / "node", arguments.seed).run(arguments.count, arguments.kills))
    for name, count in outcome.counts.items():
        print(f"{count:>9,}  {name}")
    print(f"{outcome.seconds:.0f} s, {len(outcome.violations)} violations")
    for violation in outcome.violations[:SHOWN_MAX]:
        print(violation)
    return 0 if outcome.clean else 1


if __name__ == "__main__":
    sys.exit(main())
