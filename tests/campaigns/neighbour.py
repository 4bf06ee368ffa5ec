"""A noisy tenant and a quiet one on one node: the quiet one meets no error, and waits at most twice as long as alone.

    python -m tests.campaigns.neighbour [--seconds S] [--backlog N] [--streams N] [--due N] [--room MIB]
                                       [--only WORD] [--ratio R]

The noisy tenant has a backlog, and then one after the other: ten times the creates that its limit allows, creates and
cycles as fast as streams take them, payloads of 256 KiB, many worker streams that wait, tasks that all become due at
one moment, and all of that together. The quiet one creates, claims and finishes a task at a time, over REST and over
streams, and times every answer; its quiet time is taken before and after.

Clients would be on other machines. Here they share the node's cores, so those of the noisy tenant run at the lowest
priority and take what is left: what is measured is what the node does with their noise, not their part of its cores.
What that leaves of their competition shows beside processes that only burn CPU.

With room, the file has free pages from the start, as that of a node has once the sweep takes away as much as comes.
Without, all that the noisy tenant writes makes the file grow, and is written to memory that nobody has used before.
"""

import argparse
import contextlib
import dataclasses
import datetime
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Final, NamedTuple

from appliance.bench.measure import Crew, crew
from appliance.bench.plan import ProcessPlan, Target, WorkerPlan
from appliance.bench.scenario import Scenario, commands, plans
from appliance.engine.stamp import writing
from appliance.engine.store import Store
from appliance.engine.tables import BODY
from loadtest import preload
from tests.campaigns.abuse.good import Feeling, Place, Running, behaving
from tests.campaigns.abuse.load import cpu_seconds
from tests.e2e.node import Node
from tests.e2e.raw import read_answer

NOISY: Final = "noisy"
QUIET: Final = "quiet"
LIMIT_PER_SECOND: Final = 200
"""Creates and claims over REST that one subject may ask for; the quiet tenant stays below it."""
EXCESS: Final = 10
PAYLOAD_BYTES: Final = 256 << 10
LARGE_BATCH: Final = 4
"""A batch is one commit, so one of these writes a megabyte at once."""
ROOM_ROWS: Final = 64
BACKLOG_PAYLOAD_BYTES: Final = 200
BATCH: Final = 1_000
STREAMS_PER_CONNECTION: Final = 90
DUE_SECONDS: Final = 2.0
"""From the last create of what is due together to that moment."""
PIPELINED: Final = 20
END_SECONDS: Final = 30.0
BUSY: Final = "processes that only burn CPU"
_COUNTED: Final = ("codeq_tasks_created_total", "codeq_tasks_finished_total")


class Felt(NamedTuple):
    """What the quiet tenant felt beside one kind of noise, what share of a core the node spent, and how many tasks it
    created and finished per second, both tenants together."""

    noise: str
    share: float
    rate: float
    feeling: Feeling


class Sizes(NamedTuple):
    """How much noise."""

    backlog: int
    streams: int
    due: int
    room_mib: int = 0


class Campaign:
    """One run in `folder`, which must be empty."""

    def __init__(self, folder: Path, sizes: Sizes, tell: Callable[[str], None]) -> None:
        limit = str(LIMIT_PER_SECOND)
        environ = {
            "CODEQ_RATE_LIMIT_PRODUCER_PER_SECOND": limit,
            "CODEQ_RATE_LIMIT_WORKER_PER_SECOND": limit,
            "CODEQ_LOG_LEVEL": "warning",
        }
        self._node = Node(folder / "node", plaintext=True, environ=environ)
        self._sizes = sizes
        self._tell = tell

    def run(self, seconds: float, only: str = "") -> list[Felt]:
        """Each kind of noise with this in its name, for so long; the quiet times come first and last."""
        node = self._node
        (node.folder / "data").mkdir(parents=True)
        preload.append_backlog(
            node.folder / "data", NOISY, "backlog", BACKLOG_PAYLOAD_BYTES, self._sizes.backlog, lambda *_: None
        )
        _leave_room(node.folder / "data", self._sizes.room_mib)
        try:
            node.up()
            place = Place(node.port, node.folder / "ca.pem", node.producer(QUIET), node.worker(QUIET))
            with behaving(place) as quiet:
                felt = [self._beside("nothing", [], quiet, seconds)]
                for name, noises in self._noises().items():
                    if only in name:
                        felt.append(self._beside(name, noises, quiet, seconds))
                felt.append(self._beside("nothing, again", [], quiet, seconds))
            node.stop()
            return felt
        finally:
            node.kill()

    def _noises(self) -> dict[str, list[contextlib.AbstractContextManager[None]]]:
        creates = Scenario(batch=64, slots=0, in_flight=2_048, streams=4)
        cycles = Scenario(batch=16, ready=32, streams=4, in_flight=1_024, slots=2_048)
        large = Scenario(batch=1, ready=1, payload_bytes=PAYLOAD_BYTES, streams=4, in_flight=32, slots=32)
        batches = dataclasses.replace(large, batch=LARGE_BATCH, ready=LARGE_BATCH)
        each: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
            BUSY: _burning,
            f"creates at {EXCESS} times the limit": self._hammering,
            "creates on streams": lambda: self._bench(creates),
            "cycles on streams": lambda: self._bench(cycles),
            f"payloads of {PAYLOAD_BYTES >> 10} KiB": lambda: self._bench(large),
            f"payloads of {PAYLOAD_BYTES >> 10} KiB, {LARGE_BATCH} a batch": lambda: self._bench(batches),
            f"{self._sizes.streams:,} streams that wait": self._waiting,
            f"{self._sizes.due:,} tasks due at once": self._due,
        }
        noises = {name: [make()] for name, make in each.items()}
        return {**noises, "all of these together": [make() for name, make in each.items() if name != BUSY]}

    def _beside(
        self, name: str, noises: Sequence[contextlib.AbstractContextManager[None]], quiet: Running, seconds: float
    ) -> Felt:
        self._tell(name)
        others = set(multiprocessing.active_children())
        with ExitStack() as stack:
            for noise in noises:
                stack.enter_context(noise)
            for process in set(multiprocessing.active_children()) - others:
                assert process.pid is not None
                os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
            pid = self._node.process.pid
            counted = self._counted()
            quiet.take()
            began, used = time.monotonic(), cpu_seconds(pid)
            time.sleep(seconds)
            used, took = cpu_seconds(pid) - used, time.monotonic() - began
            feeling = quiet.take()
            return Felt(name, used / took, (self._counted() - counted) / took, feeling)

    def _counted(self) -> float:
        return sum(value for name, value in self._node.metrics().items() if name.startswith(_COUNTED))

    # Noise.

    def _target(self) -> Target:
        return Target("127.0.0.1", self._node.port)

    def _tokens(self) -> tuple[str, str]:
        return self._node.producer(NOISY), self._node.worker(NOISY)

    @contextmanager
    def _bench(self, scenario: Scenario) -> Iterator[None]:
        with _running(plans(scenario, self._target(), [self._tokens()])):
            yield

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Streams with a Ready each for a queue that stays empty, of more subjects than one: Hellos are limited too."""
        subjects = -(-2 * self._sizes.streams // LIMIT_PER_SECOND)
        tokens = [self._node.worker(NOISY, f"idle-{number}") for number in range(subjects)]
        queue = commands(Scenario())[0] + "-idle"
        streams = tuple(
            WorkerPlan(tokens[number % subjects], (queue,), f"idle-{number}", slots=1)
            for number in range(self._sizes.streams)
        )
        connections = -(-self._sizes.streams // STREAMS_PER_CONNECTION)
        with _running([ProcessPlan(self._target(), connections, workers=streams)]):
            yield

    @contextmanager
    def _due(self) -> Iterator[None]:
        """Tasks that become due soon, all at one moment."""
        with self._node.client() as client:
            moment = time.time() + DUE_SECONDS + self._sizes.due / BATCH * 1.2 / LIMIT_PER_SECOND
            at = datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat().replace("+00:00", "Z")
            body = [{"command": "midnight", "payload": None, "runAt": at}] * BATCH
            for _ in range(self._sizes.due // BATCH):
                headers = {"Authorization": f"Bearer {self._node.mint('producer', NOISY, subject='midnight')}"}
                client.post("/v1/codeq/tasks/batch", json=body, headers=headers).raise_for_status()
        yield

    @contextmanager
    def _hammering(self) -> Iterator[None]:
        # A subject of its own: what it uses up of its limit must not keep the streams of others from opening.
        token = self._node.mint("producer", NOISY, subject="hammer")
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_hammer, args=(self._node.port, token, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            ours.recv()
            yield
            ours.send("stop")
            if ours.poll(END_SECONDS):
                allowed, refused = ours.recv()
                self._tell(f"  {allowed:,} creates allowed, {refused:,} refused with 429")
        finally:
            process.kill()
            process.join()


def _leave_room(directory: Path, mib: int) -> None:
    """Rows as large as the noisy tenant's payloads, written and deleted, so that their pages are free."""
    store = Store.open(directory)
    keys = [bytes([0xFF] * 8) + number.to_bytes(8) for number in range((mib << 20) // PAYLOAD_BYTES)]
    content = bytes(PAYLOAD_BYTES)
    try:
        for start in range(0, len(keys), ROOM_ROWS):
            with writing(store.environment) as txn:
                for key in keys[start : start + ROOM_ROWS]:
                    txn.put(key, content, db=store.databases[BODY])
        for start in range(0, len(keys), ROOM_ROWS):
            with writing(store.environment) as txn:
                for key in keys[start : start + ROOM_ROWS]:
                    txn.delete(key, db=store.databases[BODY])
    finally:
        store.close()


@contextmanager
def _running(load: list[ProcessPlan]) -> Iterator[None]:
    with crew(load) as made:
        made.begin()
        _first_second(made)
        yield
        made.stop()


@contextmanager
def _burning() -> Iterator[None]:
    """As many processes as there are cores, without a word to the node: what is left of the clients' competition."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_burn, daemon=True) for _ in range(os.cpu_count() or 1)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _burn() -> None:
    while True:
        pass


def _first_second(made: Crew) -> None:
    made.second(lambda: None)


def _hammer(port: int, token: str, pipe: Pipe) -> None:
    """Creates at a fixed rate, far above the limit, on one connection."""
    content = b'{"command":"hammered","payload":1}'
    head = b"POST /v1/codeq/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n" % token.encode()
    message = (head + b"Content-Length: %d\r\n\r\n" % len(content) + content) * PIPELINED
    counts = {201: 0, 429: 0}
    with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as sock:
        stream = sock.makefile("rb")
        pipe.send(None)
        while not pipe.poll(PIPELINED / (EXCESS * LIMIT_PER_SECOND)):
            sock.sendall(message)
            for _ in range(PIPELINED):
                answer = read_answer(stream)
                assert answer is not None
                counts[answer.status] += 1
    pipe.send((counts[201], counts[429]))


def verdict(felt: Sequence[Felt], ratio: float) -> list[str]:
    """What the quiet tenant may complain about."""
    quiet_ms = max(each.feeling.percentile_ms(99) for each in (felt[0], felt[-1]))
    complaints = [f"{each.noise}: {error}" for each in felt for error in each.feeling.errors]
    complaints += [f"{each.noise}: no answer at all" for each in felt if not each.feeling.answers_ms]
    for each in felt:
        p99 = each.feeling.percentile_ms(99)
        if p99 > ratio * quiet_ms:
            complaints.append(f"{each.noise}: p99 is {p99:.1f} ms, {p99 / quiet_ms:.1f} times as long as alone")
    return complaints


def main() -> int:
    """Run as the command line says; 0 when the quiet tenant has nothing to complain about."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.neighbour", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="of each noise (default %(default)s)")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="tasks (default %(default)s)")
    parser.add_argument("--streams", type=int, default=1_000, help="that wait (default %(default)s)")
    parser.add_argument("--due", type=int, default=100_000, help="tasks due at once (default %(default)s)")
    parser.add_argument("--room", type=int, default=0, metavar="MIB", help="free pages in the file (default none)")
    parser.add_argument("--only", default="", metavar="WORD", help="kinds of noise with this in their name")
    parser.add_argument("--ratio", type=float, default=2.0, help="of p99 to the quiet one (default %(default)s)")
    arguments = parser.parse_args()
    sizes = Sizes(arguments.backlog, arguments.streams, arguments.due, arguments.room)
    with tempfile.TemporaryDirectory(prefix="codeq-neighbour-") as folder:
        felt = Campaign(Path(folder), sizes, lambda text: print(f"... {text}", file=sys.stderr, flush=True)).run(
            arguments.seconds, arguments.only
        )
    columns = f"{'CPU':>5} {'tasks/s':>8} {'answers':>8} {'errors':>7} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}"
    print(f"{'the quiet tenant beside':<36} {columns}")
    for each in felt:
        feeling = each.feeling
        times = " ".join(f"{feeling.percentile_ms(percent):>8.1f}" for percent in (50, 99, 100))
        counts = f"{each.rate:>8,.0f} {len(feeling.answers_ms):>8,} {len(feeling.errors):>7}"
        print(f"{each.noise:<36} {each.share:>5.0%} {counts} {times}")
    complaints = verdict(felt, arguments.ratio)
    for complaint in complaints:
        print(f"WRONG: {complaint}")
    if not complaints:
        print(f"no error, and p99 at most {arguments.ratio:g} times what it is alone")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
