"""The streams of a soak: batches at a fixed rate over a few connections, which are opened again whenever they end.

Owns the connections and their pace; messages and frames are those of `codeq bench`. Every other connection is inside
TLS. Everything that was acknowledged goes into the account, and results without an answer too, as doubts. Must not know
what happens to the node. Waiting is counted in looks, not in seconds: a process that stands still does not look either.
"""

import asyncio
import re
import time
from typing import Final

from appliance.bench import wire
from appliance.bench.http2 import Connection, PeerError
from appliance.bench.link import Link, tls_context
from appliance.bench.plan import ProducerPlan, Target, WorkerPlan
from appliance.bench.producer import Producer
from appliance.bench.tally import Tally
from appliance.bench.worker import Worker
from tests.campaigns.account import Account
from tests.e2e.node import Node

LINKS: Final = 2
STREAMS: Final = 8
"""Of producers, and as many of workers."""
BATCH: Final = 20
READY: Final = 32
IN_FLIGHT: Final = 2_048
SLOTS: Final = 4_096
PAYLOAD_BYTES: Final = 200
LEASE_SECONDS: Final = 5
UNFINISHED_SECONDS: Final = 2
"""Of creates: with more tasks unfinished than come in so long, nothing is created until there are fewer."""
PACE_SECONDS: Final = 0.005
RETRY_SECONDS: Final = 0.2
LATE_SECONDS: Final = 1.0
"""What was not sent within this time is left out: after a stop the load goes on as before, not faster."""
FAREWELL_SECONDS: Final = 5.0
REFUSED_LOOKS: Final = 200
"""Attempts in a row to open streams with tokens that the node doesn't take, before that is an error."""
LEGAL_REFUSALS: Final = frozenset(("unavailable", "not-claimed", "lease-lost", "permission-denied", "not-found"))
"""The node goes; or the lease is over, and somebody else has, or had, the task by now."""
DOUBTFUL: Final = ("not-found", "unavailable")
"""Refusals after which the task may be finished, and nobody else may know."""
LEGAL_ENDS: Final = re.compile("closed the connection|going away, error 0|gRPC status (14|16)")

CREATED: Final = re.compile(rb"\x10\x01\x1a\x24([0-9a-f-]{36})")
"""An acknowledgement of a create, from `ok` on."""
SETTLED: Final = re.compile(
    rb"\x0a\x24([0-9a-f-]{36})(?:(\x10\x01)|\x1a[\x00-\xff]{1,2}?(%b))?" % b"|".join(map(str.encode, DOUBTFUL))
)
"""An acknowledgement of a result, from the task on: `ok` if it is set, or the code of a doubtful refusal."""


class _Producer(Producer):
    """A producer that tells the account, and stops while too much is unfinished."""

    __slots__ = ("_account", "_unfinished_max")

    def __init__(
        self, connection: Connection, plan: ProducerPlan, tally: Tally, account: Account, limit: float
    ) -> None:
        super().__init__(connection, plan, tally)
        self._account = account
        self._unfinished_max = limit

    def messages(self, messages: list[bytes], now: float) -> None:
        for message in messages:
            self._account.created(CREATED.findall(message))
        super().messages(messages, now)

    def send_due(self, now: float) -> None:
        if now - self.due > LATE_SECONDS:
            self.begin(now)
        if self._account.unfinished < self._unfinished_max:
            super().send_due(now)


class _Worker(Worker):
    """A worker that tells the account, and knows which of its results have no answer."""

    __slots__ = ("_account", "_leaving", "unanswered")

    def __init__(self, connection: Connection, plan: WorkerPlan, tally: Tally, account: Account) -> None:
        super().__init__(connection, plan, tally)
        self._account = account
        self._leaving = False
        self.unanswered: dict[bytes, float] = {}

    def finish(self) -> None:
        self._leaving = True
        super().finish()

    def messages(self, messages: list[bytes], now: float) -> None:
        for message in messages if self.greeted else messages[1:]:
            if wire.is_tasks(message):
                if not self._leaving:
                    self.unanswered.update(dict.fromkeys(wire.task_ids(message), now))
            else:
                self._settle(message)
        if self._leaving:
            # What comes after END_STREAM is given back by the node.
            messages = [message for message in messages if not wire.is_tasks(message)]
        super().messages(messages, now)

    def _settle(self, message: bytes) -> None:
        accepted, doubtful = [], {}
        for task, ok, code in SETTLED.findall(message):
            since = self.unanswered.pop(task, 0.0)
            if ok:
                accepted.append(task)
            elif code:
                doubtful[task] = since
        self._account.done(accepted)
        self._account.doubt(doubtful)


class _Session:
    """One connection with its streams, until something ends it."""

    def __init__(self, link: Link, producers: list[_Producer], workers: list[_Worker]) -> None:
        self._link = link
        self._producers = producers
        self._workers = workers
        self._streams: list[_Producer | _Worker] = [*producers, *workers]
        self._begun = self._writing = self._leaving = False
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[str] = self._loop.create_future()

    async def run(self) -> str:
        """Until the end; why, or nothing where it was our own will."""
        number = self._link.fileno()
        self._loop.add_reader(number, self._readable)
        try:
            self.flush()
            return await self._end
        finally:
            self._loop.remove_reader(number)
            self._loop.remove_writer(number)
            self._link.close()

    @property
    def begun(self) -> bool:
        """Whether all streams were greeted."""
        return self._begun

    @property
    def creating(self) -> bool:
        """Whether creates may still be acknowledged."""
        return not self._end.done() and not all(producer.ended for producer in self._producers)

    @property
    def unanswered(self) -> dict[bytes, float]:
        """Results that were sent, when they were, and no answer came."""
        return {task: since for worker in self._workers for task, since in worker.unanswered.items()}

    def pace(self, now: float) -> None:
        """Send what is due."""
        for producer in self._producers:
            producer.send_due(now)
        self.flush()

    def count(self, tally: Tally) -> None:
        """From now on count here."""
        for stream in self._streams:
            stream.tally = tally

    def stop_creating(self) -> None:
        """Nothing more is created; what was sent is still acknowledged."""
        for producer in self._producers:
            if not producer.stopped:
                producer.finish()
        self.flush()

    def leave(self) -> None:
        """End politely."""
        self.stop_creating()
        if not self._leaving:
            self._leaving = True
            for worker in self._workers:
                worker.finish()
            self._loop.call_later(FAREWELL_SECONDS, self.cut)
        self.flush()

    def cut(self, why: str = "") -> None:
        """End as a lost connection does."""
        if not self._end.done():
            self._end.set_result(why)

    def flush(self) -> None:
        """Send what is ready."""
        if self._end.done():
            return
        try:
            self._link.write()
        except OSError as error:
            self._lost(error)
            return
        if self._link.writable_wanted != self._writing:
            self._writing = self._link.writable_wanted
            if self._writing:
                self._loop.add_writer(self._link.fileno(), self.flush)
            else:
                self._loop.remove_writer(self._link.fileno())

    def _readable(self) -> None:
        if self._end.done():
            return
        try:
            self._link.read()
        except (OSError, PeerError, wire.MessageError) as error:
            self._lost(error)
            return
        if not self._begun and all(stream.greeted for stream in self._streams):
            self._begun = True
            if not self._leaving:
                for worker in self._workers:
                    worker.begin()
                now = time.monotonic()
                for producer in self._producers:
                    producer.begin(now)
        self.flush()
        if self._leaving and all(stream.ended for stream in self._streams):
            self.cut()

    def _lost(self, error: Exception) -> None:
        self.cut("" if isinstance(error, OSError) else f"{type(error).__name__}: {error}")


class Streams:
    """The load of `tenant` on `node`. `commands` are created in turn; tasks of `wanted` are worked on here.

    `rate` is creates per second, 0 for as many as there can be.
    """

    def __init__(
        self, node: Node, account: Account, tenant: str, commands: tuple[str, ...], wanted: str, rate: float
    ) -> None:
        self._node = node
        self._account = account
        self._tenant = tenant
        self._commands = commands
        self._wanted = wanted
        self._rate = rate
        self._sessions: dict[int, _Session] = {}
        self._tally = Tally()
        self._producing = self._running = True
        self.created = 0
        self.finished = 0
        self.connections = 0

    async def run(self) -> None:
        """Until `stop`."""
        async with asyncio.TaskGroup() as group:
            for number in range(LINKS):
                group.create_task(self._keep(number))
            group.create_task(self._pace())

    def renew(self, *, politely: bool) -> None:
        """End all connections; others are opened with new tokens, under the certificate of then."""
        for session in self._sessions.values():
            if politely:
                session.leave()
            else:
                session.cut()

    async def stop_creating(self) -> None:
        """Create nothing more; returns when nothing more can be acknowledged."""
        self._producing = False
        while any(session.creating for session in self._sessions.values()):
            for session in self._sessions.values():
                session.stop_creating()
            await asyncio.sleep(PACE_SECONDS)

    def stop(self) -> None:
        """End all connections for good."""
        self._producing = self._running = False
        self.renew(politely=True)

    async def _keep(self, number: int) -> None:
        refused = 0
        while self._running:
            target = Target("localhost", self._node.port, number % 2 == 1, self._node.folder / "ca.pem")
            try:
                link = await asyncio.to_thread(_link, target)
            except OSError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            session = self._session(number, link)
            self._sessions[number] = session
            self.connections += 1
            why = await session.run()
            del self._sessions[number]
            self._account.doubt(session.unanswered)
            refused = refused + 1 if "gRPC status 16" in why and not session.begun else 0
            if (why and not LEGAL_ENDS.search(why)) or refused > REFUSED_LOOKS:
                self._account.odd(f"a connection ended: {why}")
            if why:
                await asyncio.sleep(RETRY_SECONDS)

    def _session(self, number: int, link: Link) -> _Session:
        account, each = self._account, STREAMS // LINKS
        numbers = range(number * each, number * each + each)
        interval = STREAMS * BATCH / self._rate if self._rate else 0.0
        limit = max(UNFINISHED_SECONDS * self._rate, IN_FLIGHT + SLOTS)
        tokens = self._node.producer(self._tenant), self._node.worker(self._tenant)
        producers = [
            ProducerPlan(
                tokens[0], self._commands, batch=BATCH, in_flight=IN_FLIGHT // STREAMS, payload_bytes=PAYLOAD_BYTES,
                key_suffix=f"-soak-{at:015d}" if at % 2 else "", interval_seconds=interval,
                phase_seconds=interval * at / STREAMS,
            )
            for at in numbers
        ]  # fmt: skip
        workers = [
            WorkerPlan(tokens[1], (self._wanted,), f"stream-{at}", READY, SLOTS // STREAMS, LEASE_SECONDS)
            for at in numbers
        ]
        return _Session(
            link,
            [_Producer(link.http2, plan, self._tally, account, limit) for plan in producers if self._producing],
            [_Worker(link.http2, plan, self._tally, account) for plan in workers],
        )

    async def _pace(self) -> None:
        looks = 0
        while self._running:
            now = time.monotonic()
            for session in self._sessions.values():
                session.pace(now)
            looks += 1
            if looks * PACE_SECONDS >= 1:
                looks = 0
                self._count()
            await asyncio.sleep(PACE_SECONDS)
        self._count()

    def _count(self) -> None:
        """Add up, so that latencies, which nobody asks for here, are kept for a moment only."""
        tally, self._tally = self._tally, Tally()
        for session in self._sessions.values():
            session.count(self._tally)
        self.created += tally.created
        self.finished += tally.finished
        for refusal in tally.refusals:
            if refusal.partition(":")[0] not in LEGAL_REFUSALS:
                self._account.odd(f"a stream was refused: {refusal}")


def _link(target: Target) -> Link:
    return Link(target, tls_context(target))
