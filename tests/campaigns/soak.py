"""A node under steady load for a long time, through everything that happens to it: nothing grows, nothing is lost.

    python -m tests.campaigns.soak --minutes 60 [--rate N] [--every S]

Streams and REST clients create at a fixed rate, finish what they are given, and the sweep removes it seconds later. The
rate is half of what a node of its own did beforehand, if nobody says another. Every so often the node is given another
certificate or other token keys, or backed up, and in the first third of the time it is restarted and killed too:
afterwards one process runs on, so that what grows in it shows. Samples of memory, file size and descriptors are
printed; what the last third of them shows must not be above the second third. Every create that was acknowledged must
have been finished in the end, after one more kill and one more restart.

Waiting is counted in looks and not in seconds, so that it is no error when a machine or a process group, clients and
node alike, is stopped for a while.
"""

import argparse
import asyncio
import collections
import datetime
import itertools
import shutil
import signal
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import uvloop

from appliance.auth.caller import PRODUCER, WORKER, Kind
from appliance.bench.proc import anonymous_bytes, cpu_seconds
from appliance.cli import pki
from tests.campaigns.account import Account
from tests.campaigns.soak_streams import DOUBTFUL, LEASE_SECONDS, Streams
from tests.campaigns.wire import Unknown, Wire
from tests.e2e.node import Node, codeq

RETENTION_SECONDS: Final = 5
ENVIRONMENT: Final = {
    "CODEQ_TASKS_RETENTION_SECONDS": str(RETENTION_SECONDS),
    "CODEQ_TASKS_MAX_ATTEMPTS": "1000",
    "CODEQ_TASKS_BACKOFF_POLICY": "fixed",
    "CODEQ_TASKS_BACKOFF_BASE_SECONDS": "1",
    "CODEQ_TASKS_BACKOFF_CAP_SECONDS": "1",
    "CODEQ_LOG_LEVEL": "warning",
}
TENANT: Final = "soak"
BY_STREAMS: Final = "soak-streams"
BY_REST: Final = "soak-rest"
"""The commands of tasks that workers of streams finish, and those of REST."""
OF_STREAMS: Final = (*[BY_STREAMS] * 19, BY_REST)
OF_REST: Final = (BY_STREAMS, BY_REST)
"""What producers of streams create in turn, and those of REST: some of each is finished by the others."""
REST_RATE: Final = 500.0
"""Creates per second over REST, a quarter of all at most. The streams make the others."""
PRODUCERS: Final = 4
WORKERS: Final = 4
CLAIM: Final = 100
"""As much as there can be: where the processor is short, a round trip takes long, and no backlog should form here."""
RETRY_SECONDS: Final = 0.05
FOLLOW_LOOKS: Final = 400
"""Within which a new certificate is shown, and tokens of new keys are taken: 20 s or more."""
DRAIN_LOOKS: Final = 1_800
"""In the end, without one more task finished: much longer than any lease."""
LOOK_SECONDS: Final = 1.0
FORGET_LOOKS: Final = 60
"""Between two calls to forget finishes without a create: longer than any answer takes."""
PATIENCE_SECONDS: Final = 600.0
"""For starts, stops and commands: they may be stopped for a while in the middle."""
WARM_LOOKS: Final = RETENTION_SECONDS + 2
"""Of the measurement at the start, until the sweep has as much to do as the others."""
MEASURED_LOOKS: Final = 5
HALF: Final = 0.5
SLACK_SECONDS: Final = 0.5
SAMPLES: Final = 120
"""Over the whole run."""
MEMORY_SLACK_BYTES: Final = 16 << 20
FILE_SLACK_BYTES: Final = 16 << 20
DESCRIPTORS_SLACK: Final = 8
SHARE_SLACK: Final = 1.1


class Sample(NamedTuple):
    """One look at the node: seconds since the start, bytes, and counts. Shares are of one core since the last look."""

    seconds: float
    memory_bytes: int
    file_bytes: int
    descriptors: int
    acknowledged: int
    finished: int
    unfinished: int = 0
    node_share: float = 0.0
    client_share: float = 0.0
    event: str = ""


class Campaign:
    """One run in `folder`, which must be empty.

    `rate` is creates per second, 0 for as many as the streams can; `every` is seconds between two events.
    """

    def __init__(self, folder: Path, rate: float, every: float, tell: Callable[[Sample], None]) -> None:
        self._node = Node(folder / "node", plaintext=True, environ=ENVIRONMENT)
        self._folder = folder
        self._rest_rate = min(REST_RATE, rate / 4) if rate else REST_RATE
        self._every = every
        self._tell = tell
        self._numbers = itertools.count()
        self._producing = self._working = True
        self._happened: list[str] = []
        self._wrong: list[str] = []
        self._used = (0, 0.0, 0.0, 0.0)
        """Process, moment, and CPU time of node and clients, at the last look."""
        self.account = Account()
        self.streams = Streams(
            self._node, self.account, TENANT, OF_STREAMS, BY_STREAMS, rate - self._rest_rate if rate else 0.0
        )
        self.events: collections.Counter[str] = collections.Counter()
        self.samples: list[Sample] = []

    async def run(self, seconds: float) -> list[str]:
        """So long; what was wrong."""
        try:
            await asyncio.to_thread(self._up)
            async with asyncio.TaskGroup() as load:
                producers = self._load(load)
                watching = load.create_task(self._watch(seconds / SAMPLES))
                await self._live(seconds)
                watching.cancel()
                await self._end()
                await self._drain(producers)
            await asyncio.to_thread(self._stop)
            await asyncio.to_thread(self._check)
        finally:
            self._node.kill()
        return [*self._wrong, *self.account.oddities, *growth(self.samples)]

    async def capacity(self) -> float:
        """Tasks finished per second while the streams go as fast as they can, and nothing happens."""
        rates = []
        try:
            await asyncio.to_thread(self._up)
            async with asyncio.TaskGroup() as load:
                producers = self._load(load)
                for _ in range(WARM_LOOKS):
                    await asyncio.sleep(LOOK_SECONDS)
                for _ in range(MEASURED_LOOKS):
                    began, before = time.monotonic(), self.account.finished
                    await asyncio.sleep(LOOK_SECONDS)
                    rates.append((self.account.finished - before) / (time.monotonic() - began))
                await self._drain(producers)
            await asyncio.to_thread(self._stop)
        finally:
            self._node.kill()
        return statistics.median(rates)

    # Clients.

    def _load(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Start all clients; the producers of REST."""
        group.create_task(self.streams.run())
        for number in range(WORKERS):
            group.create_task(self._work(f"worker-{number}"))
        group.create_task(self._look_up())
        return [group.create_task(self._produce(number)) for number in range(PRODUCERS)]

    def _wire(self, kind: Kind) -> Wire:
        token = self._node.producer(TENANT) if kind == PRODUCER else self._node.worker(TENANT)
        return Wire(self._node.port, token)

    async def _request(self, kind: Kind, wire: Wire, path: str, body: object) -> tuple[Wire, int, Any]:
        """Until there is an answer; with a new token where the keys have changed. Without a body it is a GET."""
        refused = 0
        while True:
            try:
                status, answer = await (wire.get(path) if body is None else wire.post(path, body))
            except Unknown:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if status == 401 and refused < FOLLOW_LOOKS:
                refused += 1
                wire.close()
                wire = self._wire(kind)
            elif status != 503:
                return wire, status, answer
            await asyncio.sleep(RETRY_SECONDS)

    async def _produce(self, number: int) -> None:
        wire, interval, due = self._wire(PRODUCER), PRODUCERS / self._rest_rate, time.monotonic()
        while self._producing:
            serial = next(self._numbers)
            body = {
                "command": OF_REST[serial % len(OF_REST)], "payload": "x" * 200,
                "idempotencyKey": f"{number}-{serial}",
            }  # fmt: skip
            wire, status, answer = await self._request(PRODUCER, wire, "/tasks", body)
            if status in (200, 201) and isinstance(answer, dict):
                self.account.created([answer["id"].encode()])
            else:
                self.account.odd(f"create: {status} {answer}")
            due = max(due + interval, time.monotonic() - 1)
            await asyncio.sleep(max(due - time.monotonic(), 0))
        wire.close()

    async def _work(self, name: str) -> None:
        wire = self._wire(WORKER)
        claim = {
            "commands": [BY_REST], "count": CLAIM, "leaseSeconds": LEASE_SECONDS, "waitSeconds": 1, "workerId": name,
        }  # fmt: skip
        while self._working:
            wire, status, answer = await self._request(WORKER, wire, "/tasks/claim/batch", claim)
            if status == 204:
                continue
            if status != 200 or not isinstance(answer, dict):
                self.account.odd(f"claim: {status} {answer}")
                continue
            since = time.monotonic()
            results = [
                {"taskId": task["id"], "leaseId": task["leaseId"], "workerId": name, "status": "COMPLETED", "result": 1}
                for task in answer["tasks"]
            ]
            wire, status, answer = await self._request(WORKER, wire, "/tasks/batch/results", results)
            if status != 200 or not isinstance(answer, list):
                self.account.odd(f"results: {status} {answer}")
                continue
            self.account.done(item["taskId"].encode() for item in answer if "result" in item)
            refused = [item for item in answer if "result" not in item]
            self.account.doubt(
                {item["taskId"].encode(): since for item in refused if item["error"]["code"] in DOUBTFUL}
            )
        wire.close()

    async def _look_up(self) -> None:
        """What became of tasks whose results had no answer: some were accepted nevertheless."""
        wire = self._wire(WORKER)
        for look in itertools.count(1):
            if not self._working:
                break
            await asyncio.sleep(LOOK_SECONDS)
            for task, since in self.account.doubts():
                if not self.account.is_open(task):
                    continue
                wire, status, answer = await self._request(WORKER, wire, f"/tasks/{task.decode()}", None)
                if status == 404:
                    # Swept already; what was finished just now cannot be.
                    if time.monotonic() - since < RETENTION_SECONDS - SLACK_SECONDS:
                        self.account.odd(f"{task.decode()} was acknowledged, and is gone")
                    self.account.done([task])
                elif status != 200 or answer["status"] not in ("PENDING", "CLAIMED", "COMPLETED"):
                    self.account.odd(f"{task.decode()}: {status} {answer}")
                elif answer["status"] == "COMPLETED":
                    self.account.done([task])
                # The others will be delivered again.
            if look % FORGET_LOOKS == 0:
                self.account.forget()
        wire.close()

    async def _drain(self, producers: Sequence[asyncio.Task[None]]) -> None:
        """Create nothing more, and finish what is there."""
        self._producing = False
        await asyncio.gather(self.streams.stop_creating(), *producers)
        looks, before = 0, self.account.unfinished
        while (left := self.account.unfinished) and looks < DRAIN_LOOKS:
            await asyncio.sleep(RETRY_SECONDS)
            looks, before = (looks + 1, before) if left >= before else (0, left)
        if self.account.unfinished:
            self._wrong.append(f"{self.account.unfinished} acknowledged tasks were never finished")
        self._working = False
        self.streams.stop()

    # Events.

    async def _live(self, seconds: float) -> None:
        began = time.monotonic()
        first = itertools.cycle((self._restart, self._new_certificate, self._kill, self._new_keys, self._back_up))
        later = itertools.cycle((self._new_certificate, self._new_keys, self._back_up))
        while (gone := time.monotonic() - began) < seconds:
            await asyncio.sleep(min(self._every, seconds - gone))
            gone = time.monotonic() - began
            if gone < seconds:
                await self._happen(next(first if gone < seconds / 3 else later))

    async def _end(self) -> None:
        await self._happen(self._kill)
        await asyncio.sleep(min(self._every, LEASE_SECONDS))
        await self._happen(self._restart)

    async def _happen(self, event: Callable[[], None]) -> None:
        name = event.__name__.strip("_").replace("_", " ")
        await asyncio.to_thread(event)
        # A lost connection and a polite end: streams live on under what they began with.
        if event == self._new_certificate:
            self.streams.renew(politely=False)
        elif event == self._new_keys:
            self.streams.renew(politely=True)
        self._happened.append(name)
        self.events[name] += 1

    def _up(self) -> None:
        self._node.start()
        self._node.wait_ready(PATIENCE_SECONDS)

    def _stop(self) -> None:
        self._node.signal(signal.SIGTERM)
        exit_status = self._node.wait(PATIENCE_SECONDS)
        if exit_status:
            self._wrong.append(f"the node ended with {exit_status}: {self._node.log_tail()}")

    def _restart(self) -> None:
        self._stop()
        self._up()

    def _kill(self) -> None:
        self._node.kill()
        self._up()

    def _new_certificate(self) -> None:
        folder = self._node.folder
        before = self._shown_certificate()
        for name in ("server.pem", "server-key.pem"):
            (folder / name).unlink()
        pki.ensure_server_certificate(
            folder / "ca.pem", folder / "ca-key.pem", folder / "server.pem", folder / "server-key.pem",
            datetime.datetime.now(datetime.UTC),
        )  # fmt: skip
        self._node.signal(signal.SIGHUP)
        self._follow("the new certificate", lambda: self._shown_certificate() not in ("", before))

    def _new_keys(self) -> None:
        spare = self._folder / "keys"
        spare.mkdir()
        for kind in (PRODUCER, WORKER):
            # Put in place at once: clients make tokens all the time.
            names = f"{kind}-key.pem", f"{kind}-key.pub"
            pki.ensure_key_pair(spare / names[0], spare / names[1])
            for name in names:
                (spare / name).replace(self._node.folder / name)
        spare.rmdir()
        self._follow("the new keys", self._takes_new_tokens)

    def _takes_new_tokens(self) -> bool:
        headers = {"Authorization": f"Bearer {self._node.worker(TENANT)}"}
        try:
            with self._node.client() as client:
                return client.get("/v1/codeq/tasks/none", headers=headers).status_code == 404
        except httpx.HTTPError:
            return False

    def _shown_certificate(self) -> str:
        try:
            return ssl.get_server_certificate(("localhost", self._node.port))
        except OSError:
            return ""

    def _follow(self, what: str, is_there: Callable[[], bool]) -> None:
        for _ in range(FOLLOW_LOOKS):
            if is_there():
                return
            time.sleep(RETRY_SECONDS)
        self._wrong.append(f"{what} were not followed within {FOLLOW_LOOKS * RETRY_SECONDS} s")

    def _back_up(self) -> None:
        target = self._folder / "backup"
        made = codeq(
            "backup", "--directory", str(self._node.folder / "data"), str(target), "--quiet", seconds=PATIENCE_SECONDS
        )
        if made.returncode:
            self._wrong.append(f"backup: {made.returncode} {made.stdout}{made.stderr}")
        shutil.rmtree(target, ignore_errors=True)

    def _check(self) -> None:
        checked = codeq("check", "--directory", str(self._node.folder / "data"), seconds=PATIENCE_SECONDS)
        if checked.returncode:
            self._wrong.append(f"the store: {checked.stdout}{checked.stderr}")

    # Looking.

    async def _watch(self, interval: float) -> None:
        began = time.monotonic()
        self._used = (0, 0.0, 0.0, time.process_time())
        while True:
            await asyncio.sleep(interval)
            sample = self._sample(time.monotonic() - began)
            if sample is not None:
                self.samples.append(sample)
                self._tell(sample)

    def _sample(self, seconds: float) -> Sample | None:
        """None where the node is just not there."""
        try:
            pid = self._node.process.pid
            memory_bytes = anonymous_bytes(pid)
            used = (pid, seconds, cpu_seconds(pid), time.process_time())
            descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            file_bytes = (self._node.folder / "data" / "data.mdb").stat().st_size
        except (AssertionError, OSError, ValueError):
            return None
        before, self._used = self._used, used
        elapsed = seconds - before[1]
        node_seconds = used[2] - before[2] if pid == before[0] else used[2]
        events, self._happened = ", ".join(self._happened), []
        account = self.account
        return Sample(
            seconds, memory_bytes, file_bytes, descriptors, account.acknowledged, account.finished,
            account.unfinished, node_seconds / elapsed, (used[3] - before[3]) / elapsed, events,
        )  # fmt: skip


BOUNDS: Final = (
    ("memory_bytes", MEMORY_SLACK_BYTES),
    ("file_bytes", FILE_SLACK_BYTES),
    ("descriptors", DESCRIPTORS_SLACK),
)
"""What is looked at, and by how much it may differ beside `SHARE_SLACK`."""


def thirds(samples: Sequence[Sample], name: str) -> tuple[int, int, int]:
    """The highest value in each third of the samples, of which there are three at least."""
    third = len(samples) // 3
    parts = samples[:third], samples[third : 2 * third], samples[2 * third :]
    first, middle, last = (max(getattr(sample, name) for sample in part) for part in parts)
    return first, middle, last


def growth(samples: Sequence[Sample]) -> list[str]:
    """What is higher in the last third of the samples than it was in the second."""
    if len(samples) < 3:
        return ["too few samples to say anything"]
    wrong = []
    for name, slack in BOUNDS:
        _, before, after = thirds(samples, name)
        if after > before * SHARE_SLACK + slack:
            wrong.append(f"{name.replace('_', ' ')} grew from {before:,} to {after:,}")
    return wrong


def main() -> int:
    """Run as the command line says; 0 when nothing grew and nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="default %(default)s")
    parser.add_argument(
        "--rate", type=float, default=0, help="creates per second (default: half of what the node does)"
    )
    parser.add_argument("--every", type=float, default=30, help="seconds between two events (default %(default)s)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="codeq-soak-"))
    rate = arguments.rate or HALF * _measured(folder)
    campaign = Campaign(folder, rate, arguments.every, _show)
    print(f"{rate:,.0f} tasks per second are created, nearly all of them over streams")
    print(
        f"{'seconds':>8} {'memory MiB':>11} {'file MiB':>9} {'descriptors':>12} {'acknowledged':>13} "
        f"{'unfinished':>11} {'CPU node':>9} {'client':>7}"
    )
    began = time.monotonic()
    wrong = uvloop.run(campaign.run(arguments.minutes * 60))
    _sum_up(campaign, time.monotonic() - began)
    for each in wrong[:20]:
        print(f"WRONG: {each}")
    if wrong:
        print(f"the node's files are in {folder}")
        return 1
    shutil.rmtree(folder)
    print("memory, file and descriptors are flat, and everything acknowledged was finished")
    return 0


def _measured(folder: Path) -> float:
    measured = folder / "measured"
    measured.mkdir()
    capacity = uvloop.run(Campaign(measured, 0, 0, _show).capacity())
    shutil.rmtree(measured)
    print(f"as fast as they can, these clients have {capacity:,.0f} tasks per second created and finished")
    return capacity


def _show(sample: Sample) -> None:
    print(
        f"{sample.seconds:>8.0f} {sample.memory_bytes / (1 << 20):>11.1f} {sample.file_bytes / (1 << 20):>9.1f} "
        f"{sample.descriptors:>12} {sample.acknowledged:>13,} {sample.unfinished:>11,} {sample.node_share:>8.0%} "
        f"{sample.client_share:>7.0%}  {sample.event}",
        flush=True,
    )


def _sum_up(campaign: Campaign, seconds: float) -> None:
    account, samples = campaign.account, campaign.samples
    print(
        f"{account.acknowledged:,} creates acknowledged, {campaign.streams.created:,} of them on streams, "
        f"{account.acknowledged / seconds:,.0f} per second; {account.unfinished:,} never finished; "
        f"{campaign.streams.connections} connections of streams"
    )
    print(", ".join(f"{name}: {count}" for name, count in campaign.events.items()))
    if len(samples) >= 3:
        for name, _ in BOUNDS:
            first, middle, last = thirds(samples, name)
            print(f"{name.replace('_', ' ')}, highest in each third: {first:,}, {middle:,}, {last:,}")


if __name__ == "__main__":
    sys.exit(main())
