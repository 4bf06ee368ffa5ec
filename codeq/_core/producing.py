"""What a producer owes and is owed: creates under way, their repeats, their deadlines, and the batches they travel in.

Owns every create from its acceptance until it is settled: exactly once, with a task id or an error. It is pulled: the
shell asks for the next message when it can write one, so what arrives while a write is under way travels together.
After a lost connection everything unanswered is sent again in its first order; the idempotency key that every create
carries makes that harmless. Must not know sockets, threads, futures or clocks: times are seconds of the caller's
monotonic clock, and the `handle` of a create is the caller's own.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from codeq._core.keys import Keys
from codeq._core.link import Link, State
from codeq._wire import producer_pb2
from codeq.errors import Closed, CodeqError, DeadlineExceeded, QueuePaused, Unavailable, from_ack

METHOD: Final = "/producerpb.ProducerStream/Stream"
BATCH_COUNT_MAX: Final = 256
"""More in one message saves nothing measurable and makes the first of them wait."""
BATCH_BYTES_MAX: Final = 1024 * 1024
"""Below the server's 4 MiB for a message even when one more create of the largest payload is added."""
RETRY_BASE_SECONDS: Final = 0.2
RETRY_CAP_SECONDS: Final = 5.0
"""Between repeats of a create that the server could not take just then, such as for a full disk."""
OVERHEAD_BYTES: Final = 512
"""What a create costs beside its message, for the bound on bytes in flight."""

Settled = tuple[object, str | CodeqError]
"""The handle of a create, and its task id or its error."""


class _Create:
    __slots__ = ("deadline", "handle", "message", "refusals", "size_bytes")

    def __init__(self, handle: object, message: producer_pb2.CreateTask, deadline: float) -> None:
        self.handle = handle
        self.message = message
        self.deadline = deadline
        self.size_bytes = message.ByteSize() + OVERHEAD_BYTES
        self.refusals = 0


class Producing:
    """One producer's creates. `count_max` and `bytes_max` bound what is accepted and not yet settled."""

    method = METHOD
    deserialize = staticmethod(producer_pb2.ServerEvent.FromString)

    def __init__(
        self,
        targets: Sequence[str],
        *,
        token_changes: bool,
        keys: Keys,
        jitter: Callable[[], float],
        count_max: int,
        bytes_max: int,
    ) -> None:
        self.link = Link(targets, token_changes=token_changes, jitter=jitter)
        self._keys = keys
        self._jitter = jitter
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._last_seq = 0
        self._bytes = 0
        self._creates: dict[int, _Create] = {}
        """Everything unsettled by seq, in the order of acceptance."""
        self._queue: deque[int] = deque()
        """What is to be sent on this connection; may name creates that are settled already."""
        self._deadlines: list[tuple[float, int]] = []
        self._repeats: list[tuple[float, int]] = []
        self._settled: list[Settled] = []
        self._hello: producer_pb2.Hello | None = None
        self._closing = False

    # The user's side.

    def give_key(self, message: producer_pb2.CreateTask) -> None:
        """Give a create that is to be added an idempotency key, if it brings none."""
        if not message.idempotency_key:
            message.idempotency_key = self._keys.next()

    def has_room(self, message: producer_pb2.CreateTask) -> bool:
        """Whether `add` may be called for it now. One create of any size fits where nothing is under way."""
        if not self._creates:
            return True
        return len(self._creates) < self._count_max and self._bytes + message.ByteSize() <= self._bytes_max

    def add(self, handle: object, message: producer_pb2.CreateTask, deadline: float) -> None:
        """Accept a create. Raises the connection's fatal error, or Closed."""
        self.check_open(message.idempotency_key)
        self._last_seq += 1
        seq = message.seq = self._last_seq
        create = _Create(handle, message, deadline)
        self._creates[seq] = create
        self._bytes += create.size_bytes
        self._queue.append(seq)
        heapq.heappush(self._deadlines, (deadline, seq))
        if len(self._deadlines) > 2 * len(self._creates) + 64:
            self._deadlines = [(each.deadline, number) for number, each in self._creates.items()]
            heapq.heapify(self._deadlines)

    def check_open(self, idempotency_key: str = "") -> None:
        """Raise the connection's fatal error, or Closed, if nothing can be created any more."""
        if self.link.fatal is not None:
            raise type(self.link.fatal)(self.link.fatal.message)
        if self._closing or self.link.state is State.CLOSED:
            raise Closed("the producer is closed", idempotency_key=idempotency_key)

    def take_settled(self) -> list[Settled]:
        """What was settled since the last call."""
        settled, self._settled = self._settled, []
        return settled

    @property
    def unsettled(self) -> int:
        """Creates under way."""
        return len(self._creates)

    @property
    def trouble(self) -> CodeqError | None:
        """Why there is no connection, or None."""
        return self.link.trouble

    def close(self) -> None:
        """Accept no more; the stream ends when everything is settled."""
        self._closing = True
        if not self._creates and self.link.state in (State.PAUSED, State.GREETING):
            self.link.close()

    def abort(self) -> None:
        """End now: what is under way is settled with Closed."""
        self._closing = True
        self._settle_all(
            lambda create: Closed(
                "the producer was closed before the answer", idempotency_key=create.message.idempotency_key
            )
        )
        self.link.close()

    # The connection's side.

    @property
    def finished(self) -> bool:
        """No connection is needed any more."""
        return self.link.state is State.CLOSED

    def connecting(self, now: float, token: str) -> None:
        """A new connection begins: everything unanswered is to be sent again."""
        self.link.connecting(now)
        self._hello = producer_pb2.Hello(token=token)
        waiting = {seq for _, seq in self._repeats}
        self._queue = deque(seq for seq in self._creates if seq not in waiting)

    def next_message(self, now: float) -> bytes | None:
        """The next message to write, or None while there is none."""
        if self._hello is not None:
            hello, self._hello = self._hello, None
            return producer_pb2.ProducerEvent(hello=hello).SerializeToString()
        if self.link.state is not State.OPEN:
            return None
        batch = self._take_batch()
        if not batch:
            if self._closing and not self._creates:
                self.link.half_close()
            return None
        if len(batch) == 1:
            return producer_pb2.ProducerEvent(create=batch[0]).SerializeToString()
        return producer_pb2.ProducerEvent(create_batch=producer_pb2.CreateTaskBatch(tasks=batch)).SerializeToString()

    def receive(self, now: float, event: producer_pb2.ServerEvent) -> None:
        """An event of the server."""
        kind = event.WhichOneof("event")
        if kind == "create_ack_batch":
            for ack in event.create_ack_batch.acks:
                self._acked(now, ack)
        elif kind == "create_ack":
            self._acked(now, event.create_ack)
        elif kind == "hello_ack":
            self.link.greeted(now)

    def ended(self, now: float, status: str, details: str, leader: str) -> None:
        """The connection is over."""
        self.link.ended(now, status, details, leader)
        self._hello = None
        fatal = self.link.fatal
        if fatal is not None:
            self._settle_all(lambda _: type(fatal)(fatal.message))
        elif self._closing and not self._creates:
            self.link.close()

    def tick(self, now: float) -> None:
        """Settle what is past its deadline, and queue the repeats that are due."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, seq = heapq.heappop(self._deadlines)
            create = self._creates.get(seq)
            if create is not None:
                self._settle(seq, self._late(create))
        while self._repeats and self._repeats[0][0] <= now:
            _, seq = heapq.heappop(self._repeats)
            if seq in self._creates:
                self._queue.append(seq)
        if self._closing and not self._creates and self.link.state is State.PAUSED:
            self.link.close()

    def wake_at(self) -> float | None:
        """When `tick` has something to do, or None."""
        times = [heap[0][0] for heap in (self._deadlines, self._repeats) if heap]
        hello = self.link.wake_at()
        if hello is not None:
            times.append(hello)
        return min(times, default=None)

    def _take_batch(self) -> list[producer_pb2.CreateTask]:
        batch: list[producer_pb2.CreateTask] = []
        size_bytes = 0
        while self._queue and len(batch) < BATCH_COUNT_MAX:
            create = self._creates.get(self._queue[0])
            if create is not None:
                size_bytes += create.size_bytes
                if batch and size_bytes > BATCH_BYTES_MAX:
                    break
                batch.append(create.message)
            self._queue.popleft()
        return batch

    def _acked(self, now: float, ack: producer_pb2.CreateAck) -> None:
        create = self._creates.get(ack.seq)
        if create is None:
            return
        if ack.ok:
            self._settle(ack.seq, ack.task_id)
            return
        error = from_ack(ack.error_message)
        if isinstance(error, Unavailable) and not isinstance(error, QueuePaused):
            self._repeat_later(now, ack.seq, create)
            self.link.trouble = error
        else:
            self._settle(ack.seq, error)

    def _repeat_later(self, now: float, seq: int, create: _Create) -> None:
        longest = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(create.refusals, 16))
        create.refusals += 1
        heapq.heappush(self._repeats, (now + longest * (0.5 + self._jitter() / 2), seq))

    def _late(self, create: _Create) -> DeadlineExceeded:
        key = create.message.idempotency_key
        error = DeadlineExceeded(
            f"no answer in time; it may have been created: repeat it with the idempotency key {key}",
            idempotency_key=key,
        )
        error.__cause__ = self.link.trouble
        return error

    def _settle(self, seq: int, outcome: str | CodeqError) -> None:
        create = self._creates.pop(seq)
        self._bytes -= create.size_bytes
        self._settled.append((create.handle, outcome))

    def _settle_all(self, error: Callable[[_Create], CodeqError]) -> None:
        for seq, create in list(self._creates.items()):
            self._settle(seq, error(create))
