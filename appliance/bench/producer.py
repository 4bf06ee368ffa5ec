"""One producer stream under load: as many creates in flight as the plan allows, or one whenever it is due.

Owns the slots. A slot is a message in flight; the bytes of each are made beforehand and differ between uses in a clock
reading or in keys at most. Sans-IO: the clock is an argument. Times are seconds of the monotonic clock.
"""

import math
from collections import deque
from typing import Final, NamedTuple

from appliance.bench import wire
from appliance.bench.http2 import Connection, Stream, data_frames
from appliance.bench.plan import ProducerPlan
from appliance.bench.tally import Tally, microseconds

_KEY_DIGITS: Final = 14


class Form(NamedTuple):
    """A message ready to send: its frames, the size of their content, and where the clock reading goes (or -1)."""

    frames: bytes
    size: int
    stamp_at: int


class Producer:
    """One stream; `tally` is replaced by its owner from time to time."""

    __slots__ = (
        "_due", "_forms", "_free", "_last_key", "_plan", "_sent", "_sent_at", "_slots", "_stream", "_turns", "acked",
        "greeted", "stopped", "tally",
    )  # fmt: skip

    def __init__(self, connection: Connection, plan: ProducerPlan, tally: Tally) -> None:
        self._plan = plan
        self.tally = tally
        self._stream = stream = connection.open(wire.PRODUCER_PATH)
        stream.receiver = self
        greeting = wire.hello(plan.token)
        stream.send(data_frames(stream.id, greeting), len(greeting))
        self._slots = slots = max(1, plan.in_flight // plan.batch)
        self._turns = math.ceil(len(plan.commands) * len(plan.priorities) / (slots * plan.batch))
        self._forms = [_form(plan, stream, number % slots, number) for number in range(slots * self._turns)]
        self._free = deque(range(slots))
        self._sent_at = [0.0] * slots
        self._sent = 0
        self._due = math.inf
        self._last_key = 0
        self.acked = 0
        self.greeted = False
        self.stopped = False

    @property
    def done(self) -> bool:
        """Whether the limit of the plan is reached and acknowledged."""
        return 0 < self._plan.limit <= self.acked

    @property
    def due(self) -> float:
        """When the next message has to be sent; infinity where it is up to acknowledgements."""
        return self._due if self._free and not self.stopped else math.inf

    def begin(self, now: float) -> None:
        """Start the load."""
        if self._plan.interval_seconds:
            self._due = now + self._plan.phase_seconds
        else:
            self._fill(now)

    def finish(self) -> None:
        """Nothing more is created."""
        self.stopped = True
        self._stream.finish()

    @property
    def ended(self) -> bool:
        """Whether the server has ended the stream."""
        return self._stream.ended

    def messages(self, messages: list[bytes], now: float) -> None:
        """Acknowledgements. Raises wire.MessageError."""
        if not self.greeted:
            wire.check_hello_ack(messages.pop(0))
            self.greeted = True
            if not messages:
                return
        batch, tally, free, sent_at = self._plan.batch, self.tally, self._free, self._sent_at
        latencies = tally.acks.append
        for message in messages:
            slot, ok, refusals = wire.acks(message, batch)
            if refusals:
                tally.refuse(refusals)
            tally.created += ok
            self.acked += ok + len(refusals)
            latencies(microseconds(now - sent_at[slot]))
            free.append(slot)
        if self._due == math.inf:
            self._fill(now)
        else:
            self.send_due(now)

    def send_due(self, now: float) -> None:
        """Send whatever is due; it is timed from when it was due."""
        while self._due <= now and self._free and not self.stopped:
            self._send(self._due, 1)
            self._due += self._plan.interval_seconds

    def _fill(self, now: float) -> None:
        count = len(self._free)
        if self._plan.limit:
            count = min(count, -(-self._plan.limit // self._plan.batch) - self._sent)
        if count > 0 and not self.stopped:
            self._send(now, count)

    def _send(self, since: float, count: int) -> None:
        free, forms, sent_at, slots = self._free, self._forms, self._sent_at, self._slots
        clock_ns = int(since * 1e9)
        stamp = wire.stamp(clock_ns)
        parts, size = [], 0
        for _ in range(count):
            slot = free.popleft()
            sent_at[slot] = since
            form = forms[slot + self._sent // slots % self._turns * slots]
            self._sent += 1
            frames, form_size, stamp_at = form
            if stamp_at >= 0:
                frames = frames[:stamp_at] + stamp + frames[stamp_at + wire.STAMP_BYTES :]
            if self._plan.key_suffix:
                frames = self._keyed(frames, clock_ns)
            parts.append(frames)
            size += form_size
        self._stream.send(b"".join(parts), size)

    def _keyed(self, message: bytes, clock_ns: int) -> bytes:
        """A message with its keys filled in, framed. Keys are the clock in microseconds, or one more than the last."""
        batch = self._plan.batch
        first = max(self._last_key + 1, clock_ns // 1_000)
        self._last_key = first + batch - 1
        return data_frames(self._stream.id, message % tuple(range(first, first + batch)))


def _form(plan: ProducerPlan, stream: Stream, slot: int, number: int) -> Form:
    """The message number `number` of a producer, for one of its slots."""
    first = plan.offset + number * plan.batch
    creates = [
        _create(plan, slot, first + index, sampled=index == 0 and (plan.batch > 1 or number % plan.sample_every == 0))
        for index in range(plan.batch)
    ]
    message = wire.create_event(creates[0]) if plan.batch == 1 else wire.create_batch_event(creates)
    size = len(message)
    if plan.key_suffix:
        message = _with_places(message, plan)
    else:
        message = data_frames(stream.id, message)
    stamp_at = message.find(wire.SAMPLE)
    return Form(message, size, stamp_at + len(wire.SAMPLE) if stamp_at >= 0 else -1)


def _create(plan: ProducerPlan, slot: int, number: int, *, sampled: bool) -> bytes:
    command = plan.commands[number % len(plan.commands)]
    priority = plan.priorities[number // len(plan.commands) % len(plan.priorities)]
    content = wire.payload(plan.payload_bytes, sampled=sampled)
    return wire.create(slot, command, content, priority, _blank_key(plan) if plan.key_suffix else "")


def _blank_key(plan: ProducerPlan) -> str:
    return "\0" * _KEY_DIGITS + plan.key_suffix


def _with_places(message: bytes, plan: ProducerPlan) -> bytes:
    """A template for `%`: one number for each blank key."""
    suffix = plan.key_suffix.encode().replace(b"%", b"%%")
    return message.replace(b"%", b"%%").replace(b"\0" * _KEY_DIGITS + suffix, b"%%0%dx" % _KEY_DIGITS + suffix)
