"""Killing a real node under load, again and again, and holding what clients were told against what is there.

    python -m tests.campaigns.kill --kills 300 [--seed S] [--kind load|start|point]

Each kill ends the process as SIGKILL does: at a random moment under load, during a start (and again while it recovers),
or at one of the named crash points: in a commit and beside it, at an empty directory, in a start, a reload, a stop or a
copy. The load is mixed: REST over HTTP/1.1 and HTTP/2, and both streams, of two tenants that get in each other's way,
and operators who pause and resume queues, cancel tasks and requeue dead letters.
After each kill every row of the store is checked. In the end everything is drained and the log of every request and
answer is judged (see `history` and `order`).

The seed fixes every choice of clients and kills; what they meet is a real process, so two runs of a seed differ in
their moments. A kill leaves the kernel's page cache alive. So this shows that things happen in the right order (nothing
is answered before its commit, nothing is there in part); what survives a power cut is for `power_cut`.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from appliance.engine import crashpoints
from tests.campaigns.clients import Producer, Reader, Worker, look_at_all
from tests.campaigns.dying import Dying
from tests.campaigns.field import Field, Power, now_ms
from tests.campaigns.history import History, summary
from tests.campaigns.operators import Operator
from tests.campaigns.storecheck import StoreCheck
from tests.campaigns.streams import StreamProducer, StreamWorker
from tests.campaigns.wire import Http2Wire, Wire
from tests.e2e.node import Node, NodeError

LOAD: Final = "load"
START: Final = "start"
POINT: Final = "point"
KINDS: Final = (LOAD, START, POINT)
KIND_WEIGHTS: Final = (4, 2, 4)

RETENTION_SECONDS: Final = 3
ENVIRONMENT: Final = {
    "CODEQ_TASKS_RETENTION_SECONDS": str(RETENTION_SECONDS),
    "CODEQ_TASKS_BACKOFF_POLICY": "fixed",
    "CODEQ_TASKS_BACKOFF_BASE_SECONDS": "1",
    "CODEQ_TASKS_BACKOFF_CAP_SECONDS": "1",
    "CODEQ_DRAIN_SECONDS": "1",
    "CODEQ_LOG_LEVEL": "warning",
}
"""Short, so that expiry, delays and the sweep of finished tasks go on all the time. Dead letters stay: that is how a
task that no worker ever saw is told from a lost one."""

LOAD_SECONDS_MAX: Final = 1.0
"""Under load before a kill: some hundred groups, and past the first leases and sweeps of the run before."""
SHORT_LOAD_SECONDS_MAX: Final = 0.3
START_SECONDS_MAX: Final = 0.7
"""A start takes about as long, so kills fall into all of it."""
DRAIN_SECONDS: Final = 60.0
LOOKERS: Final = 4
SPEAK_KILLS: Final = 20
SHOWN_MAX: Final = 20
"""Violations printed: they come in hundreds, and the first few tell."""


@dataclasses.dataclass(frozen=True, slots=True)
class Crew:
    """How many clients of each sort one tenant has. REST clients speak HTTP/1.1 and HTTP/2 in turn."""

    producers: int
    workers: int
    readers: int
    stream_producers: int
    stream_workers: int
    operators: int


CREWS: Final = {"acme": Crew(3, 4, 2, 2, 3, 2), "bolt": Crew(1, 1, 1, 1, 1, 1)}
"""By tenant."""


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
        self._power = Power()
        self._fields = {name: Field(History(RETENTION_SECONDS * 1000), self._power, name) for name in CREWS}
        self._kills: Counter[str] = Counter()
        self._findings: list[str] = []
        self._points = self._random_points()
        self._dying = Dying(self._node, self._random("dying"), self._findings.append)
        self._stores = 0

    async def run(self, kills: int) -> Outcome:
        """Kill so many times, then drain and judge."""
        began = time.monotonic()
        try:
            with StoreCheck() as check:
                await self._all(kills, check)
        finally:
            self._node.kill()
        seconds = time.monotonic() - began
        violations = list(self._findings)
        for field in self._fields.values():
            violations += field.history.violations()
        return Outcome(violations, self._counts(kills, seconds), time.monotonic() - began)

    def _counts(self, kills: int, seconds: float) -> dict[str, int]:
        summed: Counter[str] = Counter()
        for field in self._fields.values():
            summed.update(summary(field.history))
        return {
            **{f"kills: {kind}": self._kills[kind] for kind in self._kinds},
            "named points at which it died": len(self._dying.died_at),
            "stores checked": self._stores,
            "milliseconds per kill, with drain": round(seconds * 1000 / kills),
            **summed,
        }

    def _random(self, part: str) -> Random:
        return Random(f"{self._seed}/{part}")

    async def _all(self, kills: int, check: StoreCheck) -> None:
        await asyncio.to_thread(self._node.up)
        async with asyncio.TaskGroup() as load:
            self._start_load(load)
            for number, kind in enumerate(self._plan(kills), 1):
                self._speak(number, kills)
                await self._kill_once(kind)
                await self._check(check, f"kill {self._kills.total()} ({kind})")
            await self._go_up()
            self._power.stopping = True
        await self._drain()
        for tenant, field in self._fields.items():
            await look_at_all(field, [Wire(self._node.port, self._node.producer(tenant)) for _ in range(LOOKERS)])
        await asyncio.to_thread(self._node.stop)
        await self._check(check, "the end")
        checked = await asyncio.to_thread(self._node.check)
        if checked.returncode:
            self._findings.append(f"codeq check: {checked.returncode}\n{checked.stdout}{checked.stderr}")

    def _speak(self, number: int, kills: int) -> None:
        if number % SPEAK_KILLS == 0:
            print(f"kill {number} of {kills}, {len(self._findings)} findings so far", flush=True)

    # Load.

    def _start_load(self, load: asyncio.TaskGroup) -> None:
        self._power.up.set()
        port, node = self._node.port, self._node
        for tenant, crew in CREWS.items():
            field = self._fields[tenant]
            (strangers,) = (other for name, other in self._fields.items() if name != tenant)
            names = self._names(tenant)

            def wire(number: int, token: str) -> Wire:
                return (Wire if number % 2 else Http2Wire)(port, token)

            for number in range(crew.producers):
                token = node.producer(tenant)
                wires = wire(number, token), wire(number + 1, token)
                load.create_task(Producer(field, self._random(next(names)), wires).run())
            for number in range(crew.workers):
                name = next(names)
                worker = Worker(field, self._random(name), wire(number, node.worker(tenant)), name, strangers)
                load.create_task(worker.run())
            for number in range(crew.readers):
                stranger = wire(number, node.worker("stranger"))
                reader = Reader(field, self._random(next(names)), wire(number, node.producer(tenant)), stranger)
                load.create_task(reader.run())
            for _ in range(crew.stream_producers):
                name = next(names)
                load.create_task(StreamProducer(field, self._random(name), port, node.producer(tenant), name).run())
            for _ in range(crew.stream_workers):
                name = next(names)
                load.create_task(StreamWorker(field, self._random(name), port, node.worker(tenant), name).run())
            for number in range(crew.operators):
                admin = wire(number, node.admin(tenant))
                load.create_task(Operator(field, self._random(next(names)), admin, strangers).run())

    def _names(self, tenant: str) -> Iterator[str]:
        return (f"{tenant}-client-{number}" for number in range(1_000))

    # Kills.

    def _plan(self, kills: int) -> list[str]:
        """The kinds of the kills: each at least once, where there are enough kills."""
        weights = [KIND_WEIGHTS[KINDS.index(kind)] for kind in self._kinds]
        plan = [*self._kinds, *self._rng.choices(self._kinds, weights, k=kills)][:kills]
        self._rng.shuffle(plan)
        return plan

    def _random_points(self) -> Iterator[str]:
        """Every name in a random order, then again."""
        while True:
            yield from self._rng.sample(crashpoints.NAMES, len(crashpoints.NAMES))

    async def _kill_once(self, kind: str) -> None:
        if kind == START:
            await self._kill_in_start()
        elif kind == POINT:
            await self._die_at_point(next(self._points))
        else:
            await self._go_up()
            await asyncio.sleep(self._rng.random() * LOAD_SECONDS_MAX)
            await self._down()
        self._kills[kind] += 1
        for field in self._fields.values():
            field.history.kills_ms.append(now_ms())

    async def _go_up(self, environ: dict[str, str] | None = None) -> None:
        if not self._node.running:
            await asyncio.to_thread(self._node.up, environ)
        self._power.up.set()

    async def _down(self) -> None:
        self._power.up.clear()
        await asyncio.to_thread(self._node.kill)

    async def _kill_in_start(self) -> None:
        """Kill during a start, and often again during the next one, which recovers from the first."""
        await self._go_up()
        await asyncio.sleep(self._rng.random() * SHORT_LOAD_SECONDS_MAX)
        await self._down()
        for _ in range(self._rng.choice((1, 1, 2, 3))):
            self._node.start()
            await asyncio.sleep(self._rng.random() * START_SECONDS_MAX)
            await self._down()

    async def _die_at_point(self, name: str) -> None:
        if name in crashpoints.OF_THE_LOAD or name in crashpoints.OF_A_RELOAD or name in crashpoints.OF_A_STOP:
            await self._down()
            # Some of these points lie on the way of a start, too.
            with contextlib.suppress(NodeError):
                await self._go_up(self._dying.armed(name))
            await asyncio.sleep(self._rng.random() * SHORT_LOAD_SECONDS_MAX)
            await asyncio.to_thread(self._dying.running, name)
        else:
            await self._down()
            await asyncio.to_thread(self._dying.stopped, name)
        await self._down()

    async def _check(self, check: StoreCheck, when: str) -> None:
        found = await asyncio.to_thread(check.findings, self._node.folder / "data")
        self._stores += 1
        self._findings += [f"store after {when}: {finding}" for finding in found]

    # The end.

    async def _drain(self) -> None:
        """Finish everything, also what is delayed or leased to workers that are gone."""
        pairs = list(self._fields.items())
        workers = [
            Worker(field, self._random("drain"), Wire(self._node.port, self._node.worker(tenant)), "drain", field)
            for tenant, field in pairs
        ]
        deadline = time.monotonic() + DRAIN_SECONDS
        while sum([await worker.drain() for worker in workers]) or await asyncio.to_thread(self._unfinished):
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
        print("nothing lost, nothing delivered again, no double lease, nothing out of order, every store clean;")
        print("what was cancelled, requeued or paused stayed so")
        print("what was shown is order: a kill spares the page cache, so durability is the power cut campaign's")
        return 0
    kind = f" --kind {arguments.kind}" if arguments.kind else ""
    print(f"{len(outcome.violations)} violations; the node's files are in {folder}; once more:")
    print(f"python -m tests.campaigns.kill --kills {arguments.kills} --seed {arguments.seed}{kind}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
