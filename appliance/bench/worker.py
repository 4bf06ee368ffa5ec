"""One worker stream under load: Readys stand all the time, and what arrives is completed at once.

Owns nothing but a few samples on their way. Sans-IO: the clock is an argument, seconds of the monotonic clock.
"""

from typing import Final

from appliance.bench import wire
from appliance.bench.http2 import Connection, data_frames
from appliance.bench.plan import WorkerPlan
from appliance.bench.tally import Tally, microseconds

RESULT_JSON: Final = b'{"ok":true}'


class Worker:
    """One stream; `tally` is replaced by its owner from time to time."""

    __slots__ = (
        "_between", "_form", "_head", "_plan", "_ready", "_sampled", "_single_size", "_stream", "_tail", "greeted",
        "tally",
    )  # fmt: skip

    def __init__(self, connection: Connection, plan: WorkerPlan, tally: Tally) -> None:
        self._plan = plan
        self.tally = tally
        self._stream = stream = connection.open(wire.WORKER_PATH)
        stream.receiver = self
        greeting = wire.hello(plan.token, plan.worker_id)
        stream.send(data_frames(stream.id, greeting), len(greeting))
        ready = wire.ready_event(plan.commands, plan.count, plan.lease_seconds)
        self._ready = data_frames(stream.id, ready), len(ready)
        self._form = form = wire.ResultForm(RESULT_JSON)
        # A result and the next Ready of a single task, around its id: the same bytes each time.
        whole = data_frames(stream.id, form.single(b"\0" * wire.ID_BYTES)) + self._ready[0]
        self._head, self._tail = whole.split(b"\0" * wire.ID_BYTES)
        self._between = self._tail + self._head
        self._single_size = form.single_bytes + len(ready)
        self._sampled: dict[bytes, list[int]] = {}
        self.greeted = False

    def begin(self) -> None:
        """Ask for tasks."""
        frames, size = self._ready
        count = max(1, self._plan.slots // self._plan.count)
        self._stream.send(frames * count, size * count)

    def finish(self) -> None:
        """Nothing more is asked for or finished."""
        self._stream.finish()

    @property
    def ended(self) -> bool:
        """Whether the server has ended the stream."""
        return self._stream.ended

    def messages(self, messages: list[bytes], now: float) -> None:
        """Tasks and acknowledgements. Raises wire.MessageError."""
        if not self.greeted:
            wire.check_hello_ack(messages.pop(0))
            self.greeted = True
        singles: list[bytes] = []
        for message in messages:
            if not wire.is_tasks(message):
                self._settled(message, now)
            elif self._plan.count == 1:
                task_id = wire.task_id(message)
                singles.append(task_id)
                if wire.SAMPLE in message:
                    self._sample(task_id, message, now)
            else:
                self._complete(message, now)
        if singles:
            self.tally.delivered += len(singles)
            frames = self._head + self._between.join(singles) + self._tail
            self._stream.send(frames, self._single_size * len(singles))

    def _complete(self, message: bytes, now: float) -> None:
        ids = wire.task_ids(message)
        self.tally.delivered += len(ids)
        if wire.SAMPLE in message:
            self._sample(ids[0], message, now)
        results = self._form.batch(ids)
        ready, ready_size = self._ready
        self._stream.send(data_frames(self._stream.id, results) + ready, len(results) + ready_size)

    def _sample(self, task_id: bytes, message: bytes, now: float) -> None:
        """Time the sampled tasks of a message; `task_id` is the first that its acknowledgement will name."""
        stamps = wire.samples(message)
        now_ns = int(now * 1e9)
        self.tally.deliveries.extend(microseconds((now_ns - stamp) / 1e9) for stamp in stamps)
        self._sampled[task_id] = stamps

    def _settled(self, message: bytes, now: float) -> None:
        first, ok, refusals = wire.result_acks(message)
        tally = self.tally
        tally.finished += ok
        if refusals:
            tally.refuse(refusals)
        stamps = self._sampled.pop(first, None)
        if stamps is not None:
            now_ns = int(now * 1e9)
            tally.finishes.extend(microseconds((now_ns - stamp) / 1e9) for stamp in stamps)
