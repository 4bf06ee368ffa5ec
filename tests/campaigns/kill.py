"""Killing a real node under load, again and again, and holding what clients were told against what is there.

    python -m tests.campaigns.kill --kills 20 [--seed S] [--kind load|start|point]

Each kill ends the process as SIGKILL does: at a random moment under load, during a start, or at a named crash point of
the engine. After each of them `codeq check` must find the store clean. In the end everything is drained and the log of
every request and answer is judged (see `history`). The seed fixes every choice of clients and kills; what they meet is
a real process, so two runs of a seed differ in their moments. A kill leaves the kernel's page cache alive: what would
survive a power cut is not shown here.
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

from appliance.auth.caller import PRODUCER, WORKER
from appliance.engine import crashpoints
from tests.campaigns.clients import Field, Producer, Reader, Worker, look_at_all
from tests.campaigns.history import History, summary
from tests.campaigns.wire import Wire
from tests.e2e.node import Node

LOAD: Final = "load"
START: Final = "start"
POINT: Final = "point"
KINDS: Final = (LOAD, START, POINT)
KIND_WEIGHTS: Final = (6, 2, 2)

RETENTION_SECONDS: Final = 3
ENVIRONMENT: Final = {
    "CODEQ_TASKS_RETENTION_SECONDS": str(RETENTION_SECONDS),
    "CODEQ_TASKS_BACKOFF_POLICY": "fixed",
    "CODEQ_TASKS_BACKOFF_BASE_SECONDS": "1",
    "CODEQ_TASKS_BACKOFF_CAP_SECONDS": "1",
    "CODEQ_LOG_LEVEL": "warning",
}
"""Short, so that expiry, delays and the sweep of finished tasks go on all the time. Dead letters stay: that is how a
task that no worker ever saw is told from a lost one."""

LOAD_SECONDS_MAX: Final = 1.5
"""Under load before a kill: some thousand groups, and past the first leases and sweeps of the run before."""
SHORT_LOAD_SECONDS_MAX: Final = 0.4
START_SECONDS_MAX: Final = 0.8
"""A start takes about as long, so kills fall into all of it."""
POINT_HITS_MAX: Final = 400
POINT_SECONDS: Final = 10.0
"""Groups follow each other within milliseconds, so a crash point is reached far sooner."""
DRAIN_SECONDS: Final = 60.0
SHOWN_MAX: Final = 20
"""Violations printed: they come in hundreds, and the first few tell."""
PRODUCERS: Final = 4
WORKERS: Final = 6
READERS: Final = 2


@dataclasses.dataclass(slots=True)
class Outcome:
    """What a campaign found."""

    violations: list[str]
    counts: dict[str, int]
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return not self.violations


class Campaign:
    """One run. `folder` must be empty; it holds the node's directory and output."""

    def __init__(self, folder: Path, seed: int, kinds: tuple[str, ...] = KINDS) -> None:
        self._seed = seed
        self._kinds = kinds
        self._rng = self._random("kills")
        self._node = Node(folder, plaintext=True, environ=ENVIRONMENT)
        self._field = Field(History(RETENTION_SECONDS * 1000))
        self._kills: Counter[str] = Counter()
        self._findings: list[str] = []

    async def run(self, kills: int) -> Outcome:
        """Kill so many times, then drain and judge."""
        began = time.monotonic()
        try:
            await self._all(kills)
        finally:
            self._node.kill()
        violations = [*self._findings, *self._field.history.violations()]
        counts = {
            **{f"kills: {kind}": self._kills[kind] for kind in self._kinds},
            "clean stores": sum(self._kills.values()) + 1 - len(self._findings),
            **summary(self._field.history),
        }
        return Outcome(violations, counts, time.monotonic() - began)

    def _random(self, part: str) -> Random:
        return Random(f"{self._seed}/{part}")

    async def _all(self, kills: int) -> None:
        await asyncio.to_thread(self._node.up)
        async with asyncio.TaskGroup() as load:
            self._start_load(load)
            for kind in self._plan(kills):
                await self._kill_once(kind)
            await self._go_up({})
            self._field.stopping = True
        await self._drain()
        await look_at_all(self._field, self._wire(PRODUCER))
        await asyncio.to_thread(self._node.stop)
        await self._check("the end")

    # Load.

    def _wire(self, kind: str, tenant: str = "campaign") -> Wire:
        token = self._node.producer(tenant) if kind == PRODUCER else self._node.worker(tenant)
        return Wire(self._node.port, token)

    def _start_load(self, load: asyncio.TaskGroup) -> None:
        self._field.up.set()
        for number in range(PRODUCERS):
            wires = self._wire(PRODUCER), self._wire(PRODUCER)
            load.create_task(Producer(self._field, self._random(f"producer {number}"), wires).run())
        for number in range(WORKERS):
            name = f"worker-{number}"
            load.create_task(Worker(self._field, self._random(name), self._wire(WORKER), name).run())
        for number in range(READERS):
            stranger = self._wire(WORKER, "stranger")
            reader = Reader(self._field, self._random(f"reader {number}"), self._wire(PRODUCER), stranger)
            load.create_task(reader.run())

    # Kills.

    def _plan(self, kills: int) -> list[str]:
        """The kinds of the kills: each at least once, where there are enough kills."""
        weights = [KIND_WEIGHTS[KINDS.index(kind)] for kind in self._kinds]
        plan = [*self._kinds, *self._rng.choices(self._kinds, weights, k=kills)][:kills]
        self._rng.shuffle(plan)
        return plan

    async def _kill_once(self, kind: str) -> None:
        if kind == START:
            await self._kill_in_start()
        elif kind == POINT:
            await self._die_at_point()
        else:
            await self._go_up({})
            await asyncio.sleep(self._rng.random() * LOAD_SECONDS_MAX)
            await self._down()
        self._kills[kind] += 1
        await self._check(f"kill {self._kills.total()} ({kind})")

    async def _go_up(self, environ: dict[str, str]) -> None:
        if not self._node.running:
            await asyncio.to_thread(self._node.up, environ)
        self._field.up.set()

    async def _down(self) -> None:
        self._field.up.clear()
        await asyncio.to_thread(self._node.kill)

    async def _kill_in_start(self) -> None:
        await self._go_up({})
        await asyncio.sleep(self._rng.random() * SHORT_LOAD_SECONDS_MAX)
        await self._down()
        self._node.start()
        await asyncio.sleep(self._rng.random() * START_SECONDS_MAX)
        await self._down()

    async def _die_at_point(self) -> None:
        name = self._rng.choice(crashpoints.NAMES)
        await self._down()
        await self._go_up({crashpoints.VARIABLE: f"{name}:{self._rng.randrange(1, POINT_HITS_MAX)}"})
        deadline = time.monotonic() + POINT_SECONDS
        while self._node.running and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        if self._node.running:
            self._findings.append(f"the crash point {name} was not reached within {POINT_SECONDS} s")
        await self._down()

    async def _check(self, when: str) -> None:
        checked = await asyncio.to_thread(self._node.check)
        if checked.returncode:
            self._findings.append(f"store after {when}: {checked.returncode}\n{checked.stdout}{checked.stderr}")

    # The end.

    async def _drain(self) -> None:
        """Finish everything, also what is delayed or leased to workers that are gone."""
        worker = Worker(self._field, self._random("drain"), self._wire(WORKER), "drain")
        deadline = time.monotonic() + DRAIN_SECONDS
        while await worker.drain() or await asyncio.to_thread(self._unfinished):
            if time.monotonic() > deadline:
                self._findings.append(f"not drained within {DRAIN_SECONDS} s")
                return
            await asyncio.sleep(0.01)

    def _unfinished(self) -> bool:
        unfinished = ('state="ready"', 'state="delayed"', 'state="claimed"')
        return any(
            value
            for name, value in self._node.metrics().items()
            if name.startswith("codeq_tasks{") and any(state in name for state in unfinished)
        )


def main() -> int:
    """Run a campaign as the command line says; 0 when it found nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.kill", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--kind", choices=KINDS, help="only kills of this kind")
    arguments = parser.parse_args()
    kinds = (arguments.kind,) if arguments.kind else KINDS
    folder = Path(tempfile.mkdtemp(prefix="codeq-kill-"))
    print(f"seed {arguments.seed}, {arguments.kills} kills, in {folder}", flush=True)
    outcome = asyncio.run(Campaign(folder, arguments.seed, kinds).run(arguments.kills))
    for name, count in outcome.counts.items():
        print(f"{count:>8,}  {name}")
    print(f"{outcome.seconds:8.1f}  seconds")
    for violation in outcome.violations[:SHOWN_MAX]:
        print(violation)
    if outcome.clean:
        shutil.rmtree(folder)
        print("nothing lost, nothing delivered again, no double lease, every store clean")
        return 0
    kind = f" --kind {arguments.kind}" if arguments.kind else ""
    print(f"{len(outcome.violations)} violations; the node's files are in {folder}; once more:")
    print(f"python -m tests.campaigns.kill --kills {arguments.kills} --seed {arguments.seed}{kind}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
