"""The producer stream: creates in, an acknowledgement for each once it is durable.

Owns the events and answers of producerpb. Creates that arrive together are one operation, and so one commit; a batch
is one too, or several where it is long. Runs on the event loop's thread.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from appliance.api.streams import encode
from appliance.api.streams.settings import BATCH_ITEMS_MAX, SINGLES_BYTES_MAX
from appliance.api.streams.stream import INVALID_ARGUMENT_NAME, Stream, World, error_text
from appliance.api.streams.values import new_task
from appliance.api.streams.wire.producer_pb2 import (
    CreateAck,
    CreateTask,
    HelloAck,
    ProducerEvent,
    ServerError,
    ServerEvent,
)
from appliance.auth.caller import PRODUCER
from appliance.errors import Problem
from appliance.mux.grpc_call import Call
from appliance.tasks.ids import id_ascii, ids_ascii
from appliance.tasks.model import CreateBatch, Created, NewTask

_decode: Final = ProducerEvent.FromString

_CREATE_ACK: Final = 2
_CREATE_ACK_BATCH: Final = 4
"""Fields of producerpb.ServerEvent."""

_ALL_CREATED: Final = {Created}


Acknowledge = Callable[[Sequence[Created | Problem]], list[bytes]]
"""Makes the messages that tell what became of some creates."""


class ProducerStream(Stream):
    """One producer."""

    __slots__ = ("_bytes", "_seqs", "_tasks")

    kind = PRODUCER

    def __init__(self, world: World, call: Call) -> None:
        super().__init__(world, call)
        self._seqs: list[int] = []
        self._tasks: list[NewTask | Problem] = []
        self._bytes = 0

    def _take(self, message: bytes) -> None:
        event = _decode(message)
        kind = event.WhichOneof("event")
        if self._caller is None:
            self._first(kind)
            caller = self._hello(event.hello.token)
            ack = ServerEvent(hello_ack=HelloAck(tenant_id=caller.tenant, subject=caller.subject))
            self._send([ack.SerializeToString()])
        elif kind == "create":
            create = event.create
            self._seqs.append(create.seq)
            self._tasks += self._read_all((create,))
            self._bytes += len(message)
            if len(self._tasks) >= BATCH_ITEMS_MAX or self._bytes >= SINGLES_BYTES_MAX:
                self._flush()
        elif kind == "create_batch":
            # What came before is created before: its tasks are older.
            self._flush()
            self._batch(event.create_batch.tasks)
        elif kind == "hello":
            self._refuse("hello was received already")
        else:
            self._refuse("the event has no field that is known")

    def _flush(self) -> None:
        if self._tasks:
            seqs, tasks = self._seqs, self._tasks
            self._seqs, self._tasks, self._bytes = [], [], 0
            self._create(tasks, partial(_messages, seqs))

    def _batch(self, creates: Sequence[CreateTask]) -> None:
        if not creates:
            self._send(_batch_message((), ()))
        for start in range(0, len(creates), BATCH_ITEMS_MAX):
            part = creates[start : start + BATCH_ITEMS_MAX]
            seqs = [create.seq for create in part]
            self._create(self._read_all(part), partial(_batch_message, seqs))

    def _create(self, tasks: list[NewTask | Problem], acknowledge: Acknowledge) -> None:
        assert self._caller is not None
        sink = partial(self._created, acknowledge, len(tasks))
        self._ask(CreateBatch(self._caller.tenant, sink, tasks, acknowledge))

    def _read_all(self, creates: Iterable[CreateTask]) -> list[NewTask | Problem]:
        clock, settings = self.world.clock, self.world.settings
        attempts, bytes_max, private = settings.max_attempts, settings.payload_bytes_max, settings.private_webhooks
        tasks: list[NewTask | Problem] = []
        for create in creates:
            try:
                tasks.append(new_task(create, clock, attempts, bytes_max, private_webhooks=private))
            except Problem as problem:
                tasks.append(problem.kept())
        return tasks

    def _created(self, acknowledge: Acknowledge, count: int, outcome: list[bytes] | Problem) -> None:
        self._send(acknowledge([outcome] * count) if isinstance(outcome, Problem) else outcome)
        self._answered()

    def _refuse(self, message: str) -> None:
        error = ServerError(code=INVALID_ARGUMENT_NAME, message=message)
        self._send([ServerEvent(error=error).SerializeToString()])


def _messages(seqs: Sequence[int], outcomes: Sequence[Created | Problem]) -> list[bytes]:
    """An acknowledgement for each create."""
    return [encode.field(_CREATE_ACK, ack) for ack in _acks(seqs, outcomes)]


def _batch_message(seqs: Sequence[int], outcomes: Sequence[Created | Problem]) -> list[bytes]:
    """One acknowledgement for all of a batch."""
    if set(map(type, outcomes)) == _ALL_CREATED:
        ids = ids_ascii([created.task.id for created in outcomes if isinstance(created, Created)])
        return [encode.field(_CREATE_ACK_BATCH, encode.create_acks(1, seqs, ids))]
    return [encode.field(_CREATE_ACK_BATCH, encode.joined(1, _acks(seqs, outcomes)))]


def _acks(seqs: Iterable[int], outcomes: Iterable[Created | Problem]) -> list[bytes]:
    return [
        CreateAck(seq=seq, error_message=error_text(created)).SerializeToString()
        if isinstance(created, Problem)
        else encode.create_ack(seq, id_ascii(created.task.id))
        for seq, created in zip(seqs, outcomes, strict=True)
    ]
