"""What a worker holds and is owed: its requests for work, its leases, and the outcomes on their way.

Owns the count of free slots, every lease from its delivery until its outcome is acknowledged or it is lost, and the
heartbeats in between. It is pulled like the producer's core, so outcomes that gather during a write travel together.
After a lost connection the leases go on: they are renewed on the next one, and outcomes without an acknowledgement are
sent again under their lease, which the server answers as it did the first time. Must not know sockets, threads, tasks
of an event loop or clocks: times are seconds of the caller's monotonic clock.

                     finished by its handler            acknowledged
       RUNNING ───────────────────────────► OUTCOME ───────────────────► (gone)
          │                                    │ refused: lost
          └── lease ended or cancelled: lost ──┴──────────────────────► (gone)
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from codeq._core import outcomes
from codeq._core.lease import Lease, make_task
from codeq._core.link import Link, State
from codeq._wire import worker_pb2
from codeq.errors import CodeqError, LeaseError, NotFound, PermissionDenied, Unavailable, from_ack

METHOD: Final = "/workerpb.WorkerStream/Stream"
READY_COUNT_MAX: Final = 100
"""What the server hands out in one answer at most."""
HEARTBEATS_PER_LEASE: Final = 3
"""Two may get lost before the lease is."""
SETTLE_SECONDS: Final = 5.0
"""After the drain's time: for the last acknowledgements."""
RETRY_SECONDS: Final = 1.0
"""Before an outcome that the server could not take just then is sent again."""
LOST_LEASE: Final = "lease lost"
LOST_DRAIN: Final = "the worker stops"


class Working:
    """One worker's leases. `concurrency` handlers run at once; `drain_seconds` bounds the wait for them at the end."""

    method = METHOD
    deserialize = staticmethod(worker_pb2.ServerEvent.FromString)

    def __init__(
        self,
        targets: Sequence[str],
        *,
        token_changes: bool,
        jitter: Callable[[], float],
        worker_id: str,
        commands: Sequence[str],
        concurrency: int,
        lease_seconds: int,
        drain_seconds: float,
    ) -> None:
        self.link = Link(targets, token_changes=token_changes, jitter=jitter)
        self._worker_id = worker_id
        self._commands = tuple(commands)
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._drain_seconds = drain_seconds
        self._hello: worker_pb2.Hello | None = None
        self._leases: dict[str, Lease] = {}
        """All leases held, by task."""
        self._busy = 0
        """Handlers that run, those of lost leases included."""
        self._requested: deque[int] = deque()
        """The counts of the Readys without an answer, oldest first."""
        self._outcomes: deque[Lease] = deque()
        self._beats: deque[Lease] = deque()
        self._delayed: list[tuple[float, Lease]] = []
        self._next_beat: float | None = None
        self._drain_until: float | None = None
        self._settle_until: float | None = None
        """Set when what was left at the end of the drain was given back."""
        self._started: list[Lease] = []
        self._lost: list[Lease] = []

    # The shell's side.

    def take_started(self) -> list[Lease]:
        """Leases whose handlers are to be started."""
        started, self._started = self._started, []
        return started

    def take_lost(self) -> list[Lease]:
        """Leases that were lost, each once. Its handler should end if it runs still, or its outcome was refused."""
        lost, self._lost = self._lost, []
        return lost

    def finish(self, now: float, lease: Lease, outcome: outcomes.Outcome) -> None:
        """The handler of a lease ended. Dropped if the lease is lost."""
        self._busy -= 1
        if self._leases.get(lease.task.id) is lease and lease.outcome is None:
            lease.outcome = outcome
            self._outcomes.append(lease)
        self._end_if_drained(now)

    def drain(self, now: float) -> None:
        """Ask for no more work, wait for the handlers, abandon what is left, and end."""
        if self._drain_until is None:
            self._drain_until = now + self._drain_seconds
            self._end_if_drained(now)

    def abort(self) -> None:
        """End now: every lease is lost to this worker, and ends at the server by time."""
        for lease in list(self._leases.values()):
            self._lose(lease, LOST_DRAIN)
        self.link.close()

    @property
    def busy(self) -> int:
        """Handlers that run."""
        return self._busy

    @property
    def trouble(self) -> CodeqError | None:
        """Why there is no connection, or None."""
        return self.link.trouble

    # The connection's side.

    @property
    def finished(self) -> bool:
        """No connection is needed any more."""
        return self.link.state is State.CLOSED

    def connecting(self, now: float, token: str) -> None:
        """A new connection begins: outcomes without an answer are to be sent again, and all leases renewed."""
        self.link.connecting(now)
        self._hello = worker_pb2.Hello(token=token, worker_id=self._worker_id)
        self._requested.clear()
        waiting = {id(lease) for _, lease in self._delayed}
        self._outcomes = deque(
            lease for lease in self._leases.values() if lease.outcome is not None and id(lease) not in waiting
        )
        self._beats.clear()
        for lease in self._leases.values():
            lease.beat_sent_at = None

    def next_message(self, now: float) -> bytes | None:
        """The next message to write, or None while there is none."""
        if self._hello is not None:
            hello, self._hello = self._hello, None
            return worker_pb2.WorkerEvent(hello=hello).SerializeToString()
        if self.link.state is not State.OPEN:
            return None
        return self._next_outcomes() or self._next_heartbeat(now) or self._next_ready(now)

    def receive(self, now: float, event: worker_pb2.ServerEvent) -> None:
        """An event of the server."""
        kind = event.WhichOneof("event")
        if kind == "task_batch":
            self._answered(len(event.task_batch.tasks))
            for each in event.task_batch.tasks:
                self._deliver(now, each)
        elif kind == "task":
            self._answered(1)
            self._deliver(now, event.task.task)
        elif kind == "result_ack_batch":
            for ack in event.result_ack_batch.acks:
                self._acked(now, ack)
        elif kind == "result_ack":
            self._acked(now, event.result_ack)
        elif kind == "nack_ack":
            self._acked(now, event.nack_ack)
        elif kind == "abandon_ack":
            self._acked(now, event.abandon_ack)
        elif kind == "heartbeat_ack":
            self._beat_acked(now, event.heartbeat_ack)
        elif kind == "hello_ack":
            self.link.greeted(now)
            self._renew_all(now)

    def ended(self, now: float, status: str, details: str, leader: str) -> None:
        """The connection is over. A fatal status loses every lease: nothing can be settled any more."""
        self.link.ended(now, status, details, leader)
        self._hello = None
        if self.finished:
            for lease in list(self._leases.values()):
                self._lose(lease, LOST_LEASE)
        self._end_if_drained(now)

    def tick(self, now: float) -> None:
        """What time brings: heartbeats that are due, leases that ended, repeats, the end of a drain."""
        if self._next_beat is not None and now >= self._next_beat:
            self._look_at_leases(now)
        if self._delayed:
            due = [lease for at, lease in self._delayed if at <= now]
            self._delayed = [(at, lease) for at, lease in self._delayed if at > now]
            self._outcomes.extend(due)
        if self._settle_until is not None:
            if now >= self._settle_until:
                self.link.close()
        elif self._drain_until is not None and now >= self._drain_until:
            self._settle_until = now + SETTLE_SECONDS
            self._give_back()
        self._end_if_drained(now)

    def wake_at(self) -> float | None:
        """When `tick` has something to do, or None."""
        times = [at for at, _ in self._delayed]
        if self._next_beat is not None:
            times.append(self._next_beat)
        times += [at for at in (self._settle_until or self._drain_until, self.link.wake_at()) if at is not None]
        return min(times, default=None)

    # Messages.

    def _next_outcomes(self) -> bytes | None:
        results: list[worker_pb2.Result] = []
        size_bytes = 0
        while self._outcomes and len(results) < outcomes.BATCH_COUNT_MAX:
            lease = self._outcomes[0]
            outcome = lease.outcome
            if outcome is None or self._leases.get(lease.task.id) is not lease:
                self._outcomes.popleft()
                continue
            if not isinstance(outcome, outcomes.Done):
                if results:
                    break
                self._outcomes.popleft()
                return outcomes.event(lease, outcome).SerializeToString()
            size_bytes += outcome.size_bytes
            if results and size_bytes > outcomes.BATCH_BYTES_MAX:
                break
            self._outcomes.popleft()
            results.append(outcomes.result(lease, outcome))
        return outcomes.results_event(results).SerializeToString() if results else None

    def _next_heartbeat(self, now: float) -> bytes | None:
        while self._beats:
            lease = self._beats.popleft()
            if lease.outcome is None and self._leases.get(lease.task.id) is lease:
                lease.beat_sent_at = now
                beat = worker_pb2.Heartbeat(
                    task_id=lease.task.id, extend_seconds=self._lease_seconds, lease_id=lease.task.lease_id
                )
                return worker_pb2.WorkerEvent(heartbeat=beat).SerializeToString()
        return None

    def _next_ready(self, now: float) -> bytes | None:
        if self._drain_until is not None:
            self._end_if_drained(now)
            return None
        # Outcomes without an answer are bounded too: a server that delivers and never acknowledges can't fill memory.
        unsettled = len(self._leases) - self._busy
        free = min(self._concurrency - self._busy, 2 * self._concurrency + READY_COUNT_MAX - unsettled)
        count = min(free - sum(self._requested), READY_COUNT_MAX)
        if count <= 0:
            return None
        self._requested.append(count)
        ready = worker_pb2.Ready(commands=self._commands, lease_seconds=self._lease_seconds, count=count)
        return worker_pb2.WorkerEvent(ready=ready).SerializeToString()

    # Leases.

    def _answered(self, count: int) -> None:
        """Spend the oldest Ready that this many tasks can be the answer to."""
        for index, requested in enumerate(self._requested):
            if requested >= count:
                del self._requested[index]
                return

    def _deliver(self, now: float, message: worker_pb2.Task) -> None:
        lease = Lease(make_task(message), now, self._lease_seconds, HEARTBEATS_PER_LEASE)
        older = self._leases.get(lease.task.id)
        if older is not None:
            self._lose(older, LOST_LEASE)
        self._leases[lease.task.id] = lease
        if self._next_beat is None or lease.next_beat < self._next_beat:
            self._next_beat = lease.next_beat
        if self._drain_until is not None or lease.task.command not in self._commands:
            lease.outcome = outcomes.GIVE_BACK
            self._outcomes.append(lease)
            return
        self._busy += 1
        self._started.append(lease)

    def _renew_all(self, now: float) -> None:
        """How long the connection was away is unknown to the leases: look at them all now."""
        for lease in self._leases.values():
            lease.next_beat = now
        self._look_at_leases(now)

    def _look_at_leases(self, now: float) -> None:
        self._next_beat = None
        for lease in list(self._leases.values()):
            if lease.outcome is not None:
                continue
            if now >= lease.until:
                self._lose(lease, LOST_LEASE)
                continue
            if now >= lease.next_beat:
                lease.next_beat = now + self._lease_seconds / HEARTBEATS_PER_LEASE
                if self.link.state is State.OPEN and lease.beat_sent_at is None:
                    self._beats.append(lease)
            at = min(lease.next_beat, lease.until)
            if self._next_beat is None or at < self._next_beat:
                self._next_beat = at

    def _beat_acked(self, now: float, ack: worker_pb2.HeartbeatAck) -> None:
        lease = self._leases.get(ack.task_id)
        if lease is None or lease.beat_sent_at is None:
            return
        sent_at, lease.beat_sent_at = lease.beat_sent_at, None
        if ack.ok:
            lease.until = max(lease.until, sent_at + self._lease_seconds)
            return
        error = from_ack(ack.error_message)
        if lease.outcome is None and isinstance(error, (LeaseError, NotFound)):
            self._lose(lease, error.message)

    def _acked(self, now: float, ack: outcomes.Ack) -> None:
        lease = self._leases.get(ack.task_id)
        if lease is None or lease.outcome is None:
            return
        if ack.ok:
            del self._leases[ack.task_id]
        else:
            self._refused(now, lease, from_ack(ack.error_message))
        self._end_if_drained(now)

    def _refused(self, now: float, lease: Lease, error: CodeqError) -> None:
        """An outcome was not taken: say it again later, say something else, or let the lease go."""
        if isinstance(error, Unavailable):
            self._delayed.append((now + RETRY_SECONDS, lease))
        elif isinstance(error, (LeaseError, NotFound, PermissionDenied)) or lease.refusals:
            self._lose(lease, str(error))
        else:
            lease.refusals += 1
            lease.outcome = outcomes.Again(0, outcomes.cut(f"the server refused the outcome: {error}"))
            self._outcomes.append(lease)

    def _lose(self, lease: Lease, reason: str) -> None:
        """Let a lease go: it is not this worker's any more."""
        if self._leases.get(lease.task.id) is lease:
            del self._leases[lease.task.id]
        if not lease.lost_reason:
            lease.lost_reason = reason
            self._lost.append(lease)

    def _give_back(self) -> None:
        """The drain's time is up: abandon what is still worked on."""
        for lease in self._leases.values():
            if lease.outcome is None:
                lease.outcome = outcomes.GIVE_BACK
                lease.lost_reason = LOST_DRAIN
                self._lost.append(lease)
                self._outcomes.append(lease)

    def _end_if_drained(self, now: float) -> None:
        if self._drain_until is None or self._leases:
            return
        if self._busy and now < self._drain_until:
            return
        if self.link.state is State.OPEN:
            self.link.half_close()
        elif self.link.state in (State.PAUSED, State.GREETING):
            self.link.close()
