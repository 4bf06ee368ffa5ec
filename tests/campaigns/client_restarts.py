"""The client's own promise: through restarts of the node every create makes one task, and every task is completed.

    python -m tests.campaigns.client_restarts --restarts 20 [--seed S] [--tls]

A `codeq.aio` producer creates all the time, without keys of its own, and a worker with functions and coroutines
completes what it gets, while the node is killed (SIGKILL) and started again. Neither of them may see an error, and
`codeq check` finds each store clean that a kill left behind. In the end each acknowledged id is there, completed with
the result of its own payload, and no task is there that was not acknowledged: a repeated create would be one.
"""

import argparse
import asyncio
import dataclasses
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

import codeq
from tests.e2e.node import Node

COMMANDS: Final = ("function", "coroutine")
ENVIRONMENT: Final = {"CODEQ_TASKS_BACKOFF_BASE_SECONDS": "0", "CODEQ_LOG_LEVEL": "warning"}
LEASE_SECONDS: Final = 2
"""Short: what a kill took from the worker without its knowledge comes back soon."""
PACE_SECONDS: Final = 0.002
LOAD_SECONDS_MAX: Final = 1.0
START_SECONDS_MAX: Final = 0.4
"""Every other kill falls into the start of the node."""
PROGRESS_DELIVERIES: Final = 20
PATIENCE_SECONDS: Final = 120.0
"""For a create through several restarts, and for the end."""
SHOWN_MAX: Final = 10


@dataclasses.dataclass(slots=True)
class Outcome:
    """What a campaign found."""

    violations: list[str]
    created: int
    deliveries: int
    restarts: int
    seconds: float


class Campaign:
    """One run on an empty folder."""

    def __init__(self, folder: Path, seed: int, *, plaintext: bool) -> None:
        self._rng = Random(seed)
        self._node = Node(folder, plaintext=plaintext, environ=ENVIRONMENT)
        self._ids: dict[int, str] = {}
        """By the number that is the payload."""
        self._handled: Counter[str] = Counter()
        self._errors: list[str] = []
        self._stopping = False

    async def run(self, restarts: int) -> Outcome:
        """Restart so many times under load, then let everything end, and judge."""
        began = time.monotonic()
        try:
            await asyncio.to_thread(self._node.up)
            async with asyncio.timeout(PATIENCE_SECONDS + 5.0 * restarts):
                violations = await self._all(restarts)
        finally:
            self._node.kill()
        return Outcome(violations, len(self._ids), self._handled.total(), restarts, time.monotonic() - began)

    async def _all(self, restarts: int) -> list[str]:
        worker = self._worker()
        working = asyncio.create_task(worker.run(signals=False))
        producing = asyncio.create_task(self._produce())
        for number in range(restarts):
            await self._progress()
            await asyncio.sleep(self._rng.random() * LOAD_SECONDS_MAX)
            await asyncio.to_thread(self._restart, number)
        await asyncio.sleep(LOAD_SECONDS_MAX)
        self._stopping = True
        await producing
        await self._until_done(working)
        worker.stop()
        await working
        violations = [*self._errors, *await asyncio.to_thread(self._judge)]
        await asyncio.to_thread(self._node.stop)
        return violations

    def _restart(self, number: int) -> None:
        self._node.kill()
        if number % 2:
            self._node.start()
            time.sleep(self._rng.random() * START_SECONDS_MAX)
            self._node.kill()
        # Before the next start mends anything: what a kill leaves must be whole as it is.
        check = self._node.check()
        if check.returncode:
            self._errors.append(f"the store is not clean after kill {number + 1}: {check.stdout[-500:]}")
        self._node.up()

    @property
    def _ca(self) -> Path | None:
        return None if self._node.plaintext else self._node.folder / "ca.pem"

    async def _progress(self) -> None:
        """Wait until both clients are at work again, so that the next kill meets them there."""
        goal = self._handled.total() + PROGRESS_DELIVERIES
        while self._handled.total() < goal:
            await asyncio.sleep(PACE_SECONDS)

    async def _produce(self) -> None:
        target, token = f"localhost:{self._node.port}", self._node.producer("clients")
        async with codeq.aio.Producer(
            target,
            token,
            ca=self._ca,
            plaintext=self._node.plaintext,
            timeout_seconds=PATIENCE_SECONDS,
            in_flight_max=256,
        ) as producer:
            futures: list[asyncio.Future[str]] = []
            while not self._stopping:
                futures.append(await producer.submit(COMMANDS[len(futures) % 2], len(futures)))
                await asyncio.sleep(PACE_SECONDS)
            answers = await asyncio.gather(*futures, return_exceptions=True)
        for number, answer in enumerate(answers):
            if isinstance(answer, str):
                self._ids[number] = answer
            else:
                self._errors.append(f"create {number}: {answer!r}")

    def _worker(self) -> codeq.aio.Worker:
        worker = codeq.aio.Worker(
            f"localhost:{self._node.port}",
            self._node.worker("clients"),
            ca=self._ca,
            plaintext=self._node.plaintext,
            concurrency=16,
            lease_seconds=LEASE_SECONDS,
        )

        @worker.handler("function")
        def function(task: codeq.Task) -> int:
            self._handled[task.id] += 1
            return int(task.payload) * 2

        @worker.handler("coroutine")
        async def coroutine(task: codeq.Task) -> int:
            self._handled[task.id] += 1
            await asyncio.sleep(PACE_SECONDS)
            return int(task.payload) * 2

        return worker

    async def _until_done(self, working: asyncio.Task[None]) -> None:
        while await asyncio.to_thread(self._unfinished):
            if working.done():
                working.result()
            await asyncio.sleep(0.05)

    def _unfinished(self) -> bool:
        unfinished = ('state="ready"', 'state="delayed"', 'state="claimed"')
        return any(
            value
            for name, value in self._node.metrics().items()
            if name.startswith("codeq_tasks{") and any(state in name for state in unfinished)
        )

    def _judge(self) -> list[str]:
        found = []
        ids = set(self._ids.values())
        if len(ids) != len(self._ids):
            found.append(f"{len(self._ids)} creates were answered with {len(ids)} ids")
        if strange := self._handled.keys() - ids:
            found.append(f"{len(strange)} tasks that no create was answered with, such as {next(iter(strange))}")
        if lost := ids - self._handled.keys():
            found.append(f"{len(lost)} tasks never came to the worker, such as {next(iter(lost))}")
        admin = codeq.Admin(
            f"localhost:{self._node.port}", self._node.producer("clients"), ca=self._ca, plaintext=self._node.plaintext
        )
        for number, task_id in self._ids.items():
            result = admin.result(task_id)
            if (result.status, result.result) != ("COMPLETED", number * 2):
                found.append(f"{task_id}: {result.status} with {result.result}, its payload was {number}")
        return found


def main() -> int:
    """Run a campaign as the command line says; 0 when it found nothing."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.client_restarts", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--restarts", type=int, default=20, metavar="N", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="codeq-clients-"))
    print(f"seed {arguments.seed}, {arguments.restarts} restarts, in {folder}", flush=True)
    campaign = Campaign(folder, arguments.seed, plaintext=not arguments.tls)
    outcome = asyncio.run(campaign.run(arguments.restarts))
    print(f"{outcome.created:>8,}  creates acknowledged")
    print(f"{outcome.deliveries:>8,}  deliveries handled")
    print(f"{outcome.restarts:>8,}  restarts")
    print(f"{outcome.seconds:8.1f}  seconds")
    for violation in outcome.violations[:SHOWN_MAX]:
        print(violation)
    if outcome.violations:
        print(f"{len(outcome.violations)} violations; the node's directory is {folder}")
        return 1
    shutil.rmtree(folder)
    print("nothing lost, nothing twice, every task completed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
