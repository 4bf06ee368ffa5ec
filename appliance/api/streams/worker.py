"""The worker stream: requests for work and results in, tasks and acknowledgements out.

Owns the events and answers of workerpb. Results that arrive together are one operation, and so one commit. An event
without `lease_id` stands for the last lease that this stream received for its task. Runs on the event loop's thread.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from appliance.api.parse import (
    DELAY_SECONDS_MAX,
    LEASE_SECONDS,
    LEASE_SECONDS_MAX,
    NO_TASK,
    WORKER_CHARS_MAX,
    lease_number,
)
from appliance.api.streams.acks import Finished, Meant, acknowledgement, batch_finished, each_finished, lease_is_over
from appliance.api.streams.leases import Delivered, Lease, Leases, Outbox
from appliance.api.streams.readys import Answer, Kind, Readys
from appliance.api.streams.settings import BATCH_ITEMS_MAX, SINGLES_BYTES_MAX
from appliance.api.streams.stream import (
    GONE,
    INVALID_ARGUMENT_NAME,
    End,
    Stream,
    World,
)
from appliance.api.streams.tasks import Deliveries
from appliance.api.streams.values import completed, result_text, seconds_ms, words
from appliance.api.streams.wire import worker_pb2 as wire
from appliance.auth.caller import WORKER, Caller
from appliance.errors import PERMISSION_DENIED, Problem
from appliance.mux.grpc_call import Call
from appliance.mux.grpc_framing import INVALID_ARGUMENT, OK, GrpcError
from appliance.tasks.ids import id_text, parse_id
from appliance.tasks.model import (
    Abandon,
    Extended,
    Finish,
    FinishBatch,
    Heartbeat,
    Nack,
    Record,
    Returned,
    Task,
)

_decode: Final = wire.WorkerEvent.FromString

Judge = Callable[[Sequence[Record | Problem]], Finished]
"""Makes of outcomes what this stream has to send and to forget."""


class WorkerStream(Stream):
    """One worker."""

    __slots__ = (
        "_abandons",
        "_bytes",
        "_deliveries",
        "_leases",
        "_meant",
        "_outbox",
        "_readys",
        "_results",
        "_stop_wait",
        "_winding",
        "_worker",
    )

    kind = WORKER

    def __init__(self, world: World, call: Call) -> None:
        super().__init__(world, call)
        self._worker = ""
        self._leases = Leases()
        self._outbox = Outbox()
        self._results: list[Finish | Problem] = []
        self._meant: Meant = []
        self._bytes = 0
        self._winding: End | None = None
        self._abandons = False
        self._stop_wait: Callable[[], None] | None = None

    # Events.

    def _take(self, message: bytes) -> None:
        if self._caller is not None and self._readys.repeats(message):
            return
        event = _decode(message)
        kind = event.WhichOneof("event")
        if self._caller is None:
            self._first(kind)
            self._greet(event.hello)
        elif kind == "ready":
            ready = event.ready
            self._readys.add(ready.commands, ready.lease_seconds, ready.count, message)
        elif kind == "result":
            self._collect((event.result,))
            self._bytes += len(message)
            if len(self._results) >= BATCH_ITEMS_MAX or self._bytes >= SINGLES_BYTES_MAX:
                self._flush_results()
        else:
            # What came before is decided before.
            self._flush_results()
            if kind == "result_batch":
                self._result_batch(event.result_batch.results)
            elif kind == "heartbeat":
                self._heartbeat(event.heartbeat)
            elif kind == "nack":
                self._nack(event.nack)
            elif kind == "abandon":
                self._abandon(event.abandon)
            elif kind == "hello":
                self._refuse("hello was received already")
            else:
                self._refuse("the event has no field that is known")

    def _flush(self) -> None:
        self._flush_results()
        if self._caller is not None:
            self._readys.expose()

    def _greet(self, hello: wire.Hello) -> None:
        if len(hello.worker_id) > WORKER_CHARS_MAX:
            raise GrpcError(INVALID_ARGUMENT, f"worker_id must not have more than {WORKER_CHARS_MAX} characters")
        caller = self._hello(hello.token)
        self._worker = hello.worker_id or caller.subject
        self._deliveries = Deliveries(caller.tenant, self._worker)
        self._readys = Readys(
            self.world, caller, self._worker, self._offer, self._encode, self._deliver, self._give_back, self._progress
        )
        if self.call.full:
            self._readys.pause()
        ack = wire.HelloAck(worker_id=self._worker, tenant_id=caller.tenant)
        self._send([wire.ServerEvent(hello_ack=ack).SerializeToString()])

    def _refuse(self, message: str) -> None:
        error = wire.ServerError(code=INVALID_ARGUMENT_NAME, message=message)
        self._send([wire.ServerEvent(error=error).SerializeToString()])

    # Which lease an event means.

    def _owner(self) -> Caller:
        assert self._caller is not None
        return self._caller

    def _lease(self, text: str, lease_id: str) -> tuple[bytes, int | None]:
        """The task that an event names, and the number of the lease that it means; None where that is not known."""
        lease = self._leases.find(text)
        if lease is None:
            task_id = parse_id(text) or NO_TASK
            # An id in capital letters is the same one.
            lease = self._leases.find(id_text(task_id))
        else:
            task_id = lease[0]
        if lease_id:
            return task_id, lease_number(lease_id, task_id)
        return task_id, None if lease is None else lease[1]

    def _check_scope(self, scope: str) -> None:
        if scope not in self._owner().scopes:
            raise Problem(PERMISSION_DENIED, f"the token lacks the scope {scope}")

    # Results.

    def _collect(self, results: Iterable[wire.Result]) -> None:
        """Results for the next operation."""
        caller = self._owner()
        tenant, subject, worker, bytes_max = (
            caller.tenant, caller.subject, self._worker, self.world.settings.payload_bytes_max,
        )  # fmt: skip
        may = "codeq:result" in caller.scopes
        held, collected, meant = self._leases.held, self._results, self._meant
        for result in results:
            text, lease_id = result.task_id, result.lease_id
            try:
                if not may:
                    self._check_scope("codeq:result")
                # What most workers send is found at once.
                lease = held.get(text) if not lease_id else None
                task_id, number = lease or self._lease(text, lease_id)
                error = result.error
                item = Finish(
                    tenant, _never, task_id, subject, worker, number, completed(result.status),
                    result_text(result.result_json, bytes_max), error and words(error, "error"), b"",
                )  # fmt: skip
            except Problem as problem:
                collected.append(problem.kept())
                meant.append((text, None))
            else:
                collected.append(item)
                meant.append((text, number))

    def _flush_results(self) -> None:
        if self._results:
            self._finish_all(each_finished)

    def _result_batch(self, results: Sequence[wire.Result]) -> None:
        if not results:
            self._send(batch_finished([], [])[0])
        for start in range(0, len(results), BATCH_ITEMS_MAX):
            self._collect(results[start : start + BATCH_ITEMS_MAX])
            self._finish_all(batch_finished)

    def _finish_all(self, judge: Callable[[Meant, Sequence[Record | Problem]], Finished]) -> None:
        meant, results = self._meant, self._results
        self._meant, self._results, self._bytes = [], [], 0
        prepare = partial(judge, meant)
        sink = partial(self._finished, prepare, len(results))
        self._ask(FinishBatch(self._owner().tenant, sink, results, prepare))

    def _finished(self, judge: Judge, count: int, outcome: Finished | Problem) -> None:
        messages, over = judge([outcome] * count) if isinstance(outcome, Problem) else outcome
        self._leases.all_settled(over)
        self._send(messages)
        self._answered()

    # Heartbeat, nack, abandon.

    def _heartbeat(self, event: wire.Heartbeat) -> None:
        text = event.task_id
        try:
            self._check_scope("codeq:heartbeat")
            extend_ms = seconds_ms(event.extend_seconds, 1, LEASE_SECONDS_MAX, LEASE_SECONDS, "extend_seconds")
        except Problem as problem:
            self._acknowledge("heartbeat_ack", text, problem)
            return
        task_id, number = self._lease(text, event.lease_id)
        caller = self._owner()
        sink = partial(self._extended, text, number)
        self._ask(Heartbeat(caller.tenant, sink, task_id, caller.subject, self._worker, number, extend_ms))

    def _nack(self, event: wire.Nack) -> None:
        text = event.task_id
        try:
            self._check_scope("codeq:nack")
            delay_ms = seconds_ms(event.delay_seconds, 0, DELAY_SECONDS_MAX, 0, "delay_seconds") or None
            reason = words(event.reason, "reason")
        except Problem as problem:
            self._acknowledge("nack_ack", text, problem)
            return
        task_id, number = self._lease(text, event.lease_id)
        caller = self._owner()
        sink = partial(self._returned, "nack_ack", text, number)
        self._ask(Nack(caller.tenant, sink, task_id, caller.subject, self._worker, number, delay_ms, reason))

    def _abandon(self, event: wire.Abandon) -> None:
        text = event.task_id
        try:
            self._check_scope("codeq:abandon")
        except Problem as problem:
            self._acknowledge("abandon_ack", text, problem)
            return
        task_id, number = self._lease(text, event.lease_id)
        caller = self._owner()
        sink = partial(self._returned, "abandon_ack", text, number)
        self._ask(Abandon(caller.tenant, sink, task_id, caller.subject, self._worker, number))

    def _extended(self, text: str, number: int | None, outcome: Extended | Problem) -> None:
        if isinstance(outcome, Problem) and lease_is_over(outcome):
            self._leases.settled(text, number)
        self._acknowledge("heartbeat_ack", text, outcome)
        self._answered()

    def _returned(self, ack: str, text: str, number: int | None, outcome: Returned | Problem) -> None:
        if lease_is_over(outcome):
            self._leases.settled(text, number)
        self._acknowledge(ack, text, outcome)
        self._answered()

    def _acknowledge(self, name: str, text: str, outcome: Extended | Returned | Problem) -> None:
        self._send([acknowledgement(name, text, outcome)])

    # Tasks.

    def _encode(self, kind: Kind, tasks: Sequence[Task]) -> Answer:
        delivered: Delivered = []
        if kind.single:
            return self._deliveries.one_by_one(tasks, delivered), delivered
        return self._deliveries.batches(tasks, kind.count, delivered), delivered

    def _deliver(self, kind: Kind, messages: Sequence[bytes], delivered: Delivered) -> None:
        call = self.call
        if call.closed:
            self._give_back(delivered)
            return
        self._leases.received(delivered)
        first = self.sent
        self._send(messages)
        if call.unsent:
            self._outbox.add(first, kind.count, delivered, self.sent - call.unsent)

    def _send(self, messages: Sequence[bytes]) -> None:
        super()._send(messages)
        if self.call.full and self._caller is not None:
            self._readys.pause()

    def _give_back(self, delivered: Delivered) -> None:
        """The worker has never seen these."""
        for _, lease in delivered:
            self._return(lease, undelivered=True)

    def _return(self, lease: Lease, *, undelivered: bool) -> None:
        caller = self._owner()
        sink = self._given_back
        task_id, number = lease
        self._ask(Abandon(caller.tenant, sink, task_id, caller.subject, self._worker, number, undelivered=undelivered))

    def _given_back(self, _outcome: Returned | Problem) -> None:
        """A lease that could not be given back ends by itself."""
        self._answered()

    # Ways to an end.

    def crowded(self) -> None:
        """The connection's send queue is full."""
        if self._caller is not None:
            self._readys.pause()

    def room(self) -> None:
        """The send queue is empty again."""
        if self._caller is not None and self._closing is None and self._winding is None:
            self._readys.resume()

    def half_closed(self) -> None:
        """END_STREAM: no more tasks; what was delivered and is not settled goes back."""
        self._abandons = True
        self._close(self._winding or End(OK))

    def gone(self) -> None:
        """Leases are left to expire, except those of tasks that never left this node."""
        if self._caller is not None:
            self._closing = GONE
            self._readys.shut()
            for text, lease in self._outbox.unsent(self.sent - self.call.unsent):
                if self._leases.held.get(text) == lease:
                    self._return(lease, undelivered=True)
        super().gone()

    def _close(self, end: End) -> None:
        if self._closing is None and self._caller is not None:
            self._readys.shut()
        super()._close(end)

    def _wind_down(self, end: End) -> None:
        """No more tasks; then wait for the leases of this stream, but not for ever."""
        if self._winding is not None or self._closing is not None:
            return
        if self._caller is None:
            self._close(end)
            return
        self._winding = end
        self._readys.shut()
        self._stop_wait = self.world.later(self.world.settings.settle_seconds, partial(self._close, end))
        self._progress()

    def _answered(self) -> None:
        self._owed -= 1
        self._progress()

    def _progress(self) -> None:
        """Something that an end may wait for has happened."""
        if self._closing is not None:
            self._settle()
        elif self._winding is not None and not (self._owed or self._leases.held or self._readys.under_way):
            self._close(self._winding)

    def _settle(self) -> None:
        if self._owed or (self._caller is not None and self._readys.under_way):
            return
        if self._abandons and self._leases.held:
            held, self._leases = self._leases.held, Leases()
            for lease in held.values():
                self._return(lease, undelivered=False)
            return
        self._finish()

    def _finish(self) -> None:
        if self._stop_wait is not None:
            self._stop_wait()
            self._stop_wait = None
        super()._finish()


def _never(_outcome: Record | Problem) -> None:
    raise AssertionError("an item of a batch is answered with its batch")
