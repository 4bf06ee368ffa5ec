"""A node under steady load for a long time, through everything that happens to it: nothing grows, nothing is lost.

    python -m tests.campaigns.soak --minutes 60 [--rate N] [--every S]

Producers create at a fixed rate, workers finish what they claim, and the sweep removes it seconds later. Every so often
the node is restarted, killed, given another certificate or other token keys, or backed up. Samples of memory, file
size and descriptors are printed; what the last third of them shows must not be above the second third. Every create
that was acknowledged must have been finished in the end.
"""

import argparse
import asyncio
import datetime
import itertools
import shutil
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from appliance.auth.caller import PRODUCER, WORKER, Kind
from appliance.cli import pki
from tests.campaigns.wire import Unknown, Wire
from tests.e2e.node import Node, codeq

ENVIRONMENT: Final = {
    "CODEQ_TASKS_RETENTION_SECONDS": "5",
    "CODEQ_TASKS_BACKOFF_POLICY": "fixed",
    "CODEQ_TASKS_BACKOFF_BASE_SECONDS": "1",
    "CODEQ_TASKS_BACKOFF_CAP_SECONDS": "1",
    "CODEQ_LOG_LEVEL": "warning",
}
TENANT: Final = "soak"
COMMAND: Final = "soak"
PRODUCERS: Final = 4
WORKERS: Final = 4
CLAIM: Final = 20
LEASE_SECONDS: Final = 5
RETRY_SECONDS: Final = 0.05
FOLLOW_SECONDS: Final = 20.0
"""Within which a new certificate is shown, and tokens of new keys are taken."""
DRAIN_SECONDS: Final = 90.0
SAMPLES: Final = 60
"""Over the whole run."""
MEMORY_SLACK_BYTES: Final = 16 << 20
FILE_SLACK_BYTES: Final = 16 << 20
DESCRIPTORS_SLACK: Final = 8
SHARE_SLACK: Final = 1.1


class Sample(NamedTuple):
    """One look at the node: seconds since the start, bytes, and counts."""

    seconds: float
    memory_bytes: int
    file_bytes: int
    descriptors: int
    acknowledged: int
    finished: int
    event: str


class Account:
    """What clients were told: acknowledged creates that are not finished yet, and the reverse. Nothing else is kept."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.finished = 0
        self.oddities: list[str] = []
        self._open: set[str] = set()
        self._early: set[str] = set()

    def created(self, task: str) -> None:
        """A create was acknowledged. A finish may have been heard of before."""
        self.acknowledged += 1
        if task in self._early:
            self._early.remove(task)
        else:
            self._open.add(task)

    def done(self, task: str) -> None:
        """A result was accepted, for the first time or again."""
        self.finished += 1
        if task in self._open:
            self._open.remove(task)
        else:
            self._early.add(task)

    @property
    def unfinished(self) -> int:
        """Acknowledged, and not known to be finished."""
        return len(self._open)


class Campaign:
    """One run in `folder`, which must be empty. `rate` is creates per second, `every` seconds between two events."""

    def __init__(self, folder: Path, rate: float, every: float, tell: Callable[[Sample], None]) -> None:
        self._node = Node(folder / "node", plaintext=True, environ=ENVIRONMENT)
        self._folder = folder
        self._rate = rate
        self._every = every
        self._tell = tell
        self._account = Account()
        self._numbers = itertools.count()
        self._producing = self._working = True
        self._event = ""
        self._wrong: list[str] = []
        self.samples: list[Sample] = []

    async def run(self, seconds: float) -> list[str]:
        """So long; what was wrong."""
        try:
            await asyncio.to_thread(self._node.up)
            async with asyncio.TaskGroup() as load:
                for number in range(PRODUCERS):
                    load.create_task(self._produce(number))
                for number in range(WORKERS):
                    load.create_task(self._work(f"worker-{number}"))
                watching = load.create_task(self._watch(seconds / SAMPLES))
                await self._live(seconds)
                watching.cancel()
                self._producing = False
                await self._drain()
                self._working = False
            await asyncio.to_thread(self._node.stop)
            checked = await asyncio.to_thread(self._node.check)
            if checked.returncode:
                self._wrong.append(f"the store: {checked.stdout}{checked.stderr}")
        finally:
            self._node.kill()
        return [*self._wrong, *self._account.oddities, *growth(self.samples)]

    # Clients.

    def _wire(self, kind: Kind) -> Wire:
        token = self._node.producer(TENANT) if kind == PRODUCER else self._node.worker(TENANT)
        return Wire(self._node.port, token)

    async def _request(self, kind: Kind, wire: Wire, path: str, body: object) -> tuple[Wire, int, object]:
        """Until there is an answer; with a new token where the keys have changed."""
        began = time.monotonic()
        while True:
            try:
                status, answer = await wire.post(path, body)
            except Unknown:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if status == 401 and time.monotonic() - began < FOLLOW_SECONDS:
                wire.close()
                wire = self._wire(kind)
            elif status != 503:
                return wire, status, answer
            await asyncio.sleep(RETRY_SECONDS)

    async def _produce(self, number: int) -> None:
        wire, interval, due = self._wire(PRODUCER), PRODUCERS / self._rate, time.monotonic()
        while self._producing:
            body = {
                "command": COMMAND, "payload": "x" * 200, "idempotencyKey": f"{number}-{next(self._numbers)}",
                "maxAttempts": 1_000,
            }  # fmt: skip
            wire, status, answer = await self._request(PRODUCER, wire, "/tasks", body)
            if status in (200, 201) and isinstance(answer, dict):
                self._account.created(answer["id"])
            else:
                self._account.oddities.append(f"create: {status} {answer}")
            due = max(due + interval, time.monotonic() - 1)
            await asyncio.sleep(max(due - time.monotonic(), 0))
        wire.close()

    async def _work(self, name: str) -> None:
        wire = self._wire(WORKER)
        claim = {
            "commands": [COMMAND], "count": CLAIM, "leaseSeconds": LEASE_SECONDS, "waitSeconds": 1, "workerId": name,
        }  # fmt: skip
        while self._working:
            wire, status, answer = await self._request(WORKER, wire, "/tasks/claim/batch", claim)
            if status == 204:
                continue
            if status != 200 or not isinstance(answer, dict):
                self._account.oddities.append(f"claim: {status} {answer}")
                continue
            results = [
                {"taskId": task["id"], "leaseId": task["leaseId"], "workerId": name, "status": "COMPLETED", "result": 1}
                for task in answer["tasks"]
            ]
            wire, status, answer = await self._request(WORKER, wire, "/tasks/batch/results", results)
            if status != 200 or not isinstance(answer, list):
                self._account.oddities.append(f"results: {status} {answer}")
                continue
            for item in answer:
                # A result whose answer was lost is sent again, and may come when the task is swept already.
                if "result" in item or item["error"]["code"] == "not-found":
                    self._account.done(item["taskId"])
        wire.close()

    async def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._account.unfinished:
            if time.monotonic() > deadline:
                self._wrong.append(f"{self._account.unfinished} acknowledged tasks were never finished")
                return
            await asyncio.sleep(RETRY_SECONDS)

    # Events.

    async def _live(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        events = itertools.cycle((self._restart, self._new_certificate, self._new_keys, self._back_up, self._kill))
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(self._every, left))
            if end - time.monotonic() > 0:
                happen = next(events)
                self._event = happen.__name__.strip("_").replace("_", " ")
                await asyncio.to_thread(happen)

    def _restart(self) -> None:
        self._node.stop()
        self._node.up()

    def _kill(self) -> None:
        self._node.kill()
        self._node.up()

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
        self._follow("the new certificate", lambda: self._shown_certificate() != before)

    def _new_keys(self) -> None:
        folder = self._node.folder
        for kind in (PRODUCER, WORKER):
            (folder / f"{kind}-key.pem").unlink()
            (folder / f"{kind}-key.pub").unlink()
            pki.ensure_key_pair(folder / f"{kind}-key.pem", folder / f"{kind}-key.pub")
        self._follow("the new keys", self._takes_new_tokens)

    def _takes_new_tokens(self) -> bool:
        with self._node.client() as client:
            headers = {"Authorization": f"Bearer {self._node.worker(TENANT)}"}
            return client.get("/v1/codeq/tasks/none", headers=headers).status_code == 404

    def _shown_certificate(self) -> str:
        return ssl.get_server_certificate(("localhost", self._node.port))

    def _follow(self, what: str, is_there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + FOLLOW_SECONDS
        while not is_there():
            if time.monotonic() > deadline:
                self._wrong.append(f"{what} took more than {FOLLOW_SECONDS} s")
                return
            time.sleep(RETRY_SECONDS)

    def _back_up(self) -> None:
        target = self._folder / "backup"
        made = codeq("backup", "--directory", str(self._node.folder / "data"), str(target), "--quiet")
        if made.returncode:
            self._wrong.append(f"backup: {made.returncode} {made.stdout}{made.stderr}")
        shutil.rmtree(target, ignore_errors=True)

    # Looking.

    async def _watch(self, interval: float) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(interval)
            sample = self._sample(time.monotonic() - began)
            if sample is not None:
                self.samples.append(sample)
                self._tell(sample)

    def _sample(self, seconds: float) -> Sample | None:
        """None where the node is just not there."""
        try:
            process = Path(f"/proc/{self._node.process.pid}")
            lines = (process / "status").read_text(encoding="ascii").splitlines()
            memory_kib = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
            descriptors = len(list((process / "fd").iterdir()))
            file_bytes = (self._node.folder / "data" / "data.mdb").stat().st_size
        except (AssertionError, OSError, StopIteration):
            return None
        event, self._event = self._event, ""
        account = self._account
        return Sample(seconds, memory_kib << 10, file_bytes, descriptors, account.acknowledged, account.finished, event)


def growth(samples: Sequence[Sample]) -> list[str]:
    """What is higher in the last third of the samples than it was in the second."""
    third = len(samples) // 3
    if not third:
        return ["too few samples to say anything"]
    middle, last = samples[third : 2 * third], samples[2 * third :]
    bounds = (
        ("memory_bytes", MEMORY_SLACK_BYTES),
        ("file_bytes", FILE_SLACK_BYTES),
        ("descriptors", DESCRIPTORS_SLACK),
    )
    wrong = []
    for name, slack in bounds:
        before = max(getattr(sample, name) for sample in middle)
        after = max(getattr(sample, name) for sample in last)
        if after > before * SHARE_SLACK + slack:
            wrong.append(f"{name.replace('_', ' ')} grew from {before:,} to {after:,}")
    return wrong


def main() -> int:
    """Run as the command line says; 0 when nothing grew and nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="default %(default)s")
    parser.add_argument("--rate", type=float, default=500, help="creates per second (default %(default)s)")
    parser.add_argument("--every", type=float, default=60, help="seconds between two events (default %(default)s)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="codeq-soak-"))
    print(
        f"{'seconds':>8} {'memory MiB':>11} {'file MiB':>9} {'descriptors':>12} {'acknowledged':>13} {'finished':>11}"
    )
    campaign = Campaign(folder, arguments.rate, arguments.every, _show)
    wrong = asyncio.run(campaign.run(arguments.minutes * 60))
    for each in wrong[:20]:
        print(f"WRONG: {each}")
    if wrong:
        print(f"the node's files are in {folder}")
        return 1
    shutil.rmtree(folder)
    print("memory, file and descriptors are flat, and everything acknowledged was finished")
    return 0


def _show(sample: Sample) -> None:
    print(
        f"{sample.seconds:>8.0f} {sample.memory_bytes / (1 << 20):>11.1f} {sample.file_bytes / (1 << 20):>9.1f} "
        f"{sample.descriptors:>12} {sample.acknowledged:>13,} {sample.finished:>11,}  {sample.event}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
