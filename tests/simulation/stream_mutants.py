"""Deliberate errors in the sessions of streams, for `mutants`: each function is one, as the patches that make it."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from appliance.api.streams import producer
from appliance.api.streams.leases import Delivered, Leases, Outbox
from appliance.api.streams.producer import ProducerStream
from appliance.api.streams.readys import Kind, Readys
from appliance.api.streams.stream import End, Stream
from appliance.api.streams.worker import WorkerStream
from appliance.errors import Problem
from appliance.mux.grpc_framing import OK
from appliance.tasks.model import Operation, Returned


def _nack_acknowledged_before_its_commit() -> list[Any]:
    real = WorkerStream._nack

    def nack(self: WorkerStream, event: Any) -> None:
        real(self, event)
        self._acknowledge("nack_ack", event.task_id, Returned(False, 0, 1))

    def returned(self: WorkerStream, ack: str, text: str, number: int | None, outcome: Any) -> None:
        if ack != "nack_ack":
            self._acknowledge(ack, text, outcome)
        self._leases.settled(text, number)
        self._answered()

    return [patch.object(WorkerStream, "_nack", nack), patch.object(WorkerStream, "_returned", returned)]


def _create_acknowledged_before_its_commit() -> list[Any]:
    real = ProducerStream._create

    def create(self: ProducerStream, tasks: list[Any], acknowledge: Any) -> None:
        self._send(acknowledge([SimpleNamespace(task=SimpleNamespace(id=bytes(16)))] * len(tasks)))
        real(self, tasks, acknowledge)

    return [patch.object(ProducerStream, "_create", create)]


def _acks_of_another_create() -> list[Any]:
    real = producer._acks
    return [patch.object(producer, "_acks", lambda seqs, outcomes: real(list(seqs)[::-1], outcomes))]


def _acks_of_a_lost_group_forgotten() -> list[Any]:
    real = ProducerStream._created

    def created(self: ProducerStream, acknowledge: Any, count: int, outcome: Any) -> None:
        if isinstance(outcome, Problem):
            self._answered()
        else:
            real(self, acknowledge, count, outcome)

    return [patch.object(ProducerStream, "_created", created)]


def _ready_answered_twice() -> list[Any]:
    real = Readys._answer

    def answer(self: Readys, kind: Kind, messages: Sequence[bytes], delivered: Delivered) -> None:
        real(self, kind, messages, delivered)
        if not self._shut:
            kind.waiting += 1
            self._expose(kind)

    return [patch.object(Readys, "_answer", answer)]


def _ready_forgotten_with_a_lost_group() -> list[Any]:
    def lost(self: Readys, kind: Kind) -> None:
        if kind.claim is not None:
            self._world.scheduler.withdraw(kind.claim)
            kind.claim = None
        kind.exposed = 0

    return [patch.object(Readys, "_lost", lost)]


def _ready_not_offered_again_after_a_pause() -> list[Any]:
    def resume(self: Readys) -> None:
        self._paused = False

    return [patch.object(Readys, "resume", resume)]


def _withdrawn_claims_still_counted() -> list[Any]:
    def withdraw_all(self: Readys) -> None:
        for kind in self._kinds.values():
            claim, kind.claim = kind.claim, None
            if claim is not None and claim.answers:
                self._world.scheduler.withdraw(claim)

    return [patch.object(Readys, "_withdraw_all", withdraw_all)]


def _claims_go_on_beside_a_full_queue() -> list[Any]:
    return [patch.object(Readys, "pause", lambda self: None)]


def _all_readys_claim_at_once() -> list[Any]:
    real = Kind.__init__

    def init(self: Kind, commands: tuple[str, ...] | None, lease_ms: int, count: int) -> None:
        real(self, commands, lease_ms, count)
        self.exposed_max = 10_000

    return [patch.object(Kind, "__init__", init)]


def _tasks_after_the_end_of_a_stream() -> list[Any]:
    return [patch.object(Readys, "shut", lambda self: None)]


def _end_of_stream_leaves_leases() -> list[Any]:
    def half_closed(self: WorkerStream) -> None:
        self._close(self._winding or End(OK))

    return [patch.object(WorkerStream, "half_closed", half_closed)]


def _reset_gives_leases_back() -> list[Any]:
    real = WorkerStream.gone

    def gone(self: WorkerStream) -> None:
        for lease in self._leases.held.values():
            self._return(lease, undelivered=False)
        real(self)

    return [patch.object(WorkerStream, "gone", gone)]


def _unwritten_tasks_forgotten_at_a_reset() -> list[Any]:
    return [patch.object(Outbox, "unsent", lambda self, written: [])]


def _written_tasks_given_back_at_a_reset() -> list[Any]:
    def unsent(self: Outbox, written: int) -> Delivered:
        return [lease for _, _, delivered in self._entries for lease in delivered]

    return [patch.object(Outbox, "unsent", unsent)]


def _tasks_for_a_closed_call_dropped() -> list[Any]:
    real = WorkerStream._deliver

    def deliver(self: WorkerStream, kind: Kind, messages: Sequence[bytes], delivered: Delivered) -> None:
        if not self.call.closed:
            real(self, kind, messages, delivered)

    return [
        patch.object(WorkerStream, "_deliver", deliver),
        patch.object(WorkerStream, "_give_back", lambda self, delivered: None),
    ]


def _undelivered_task_counted_as_an_attempt() -> list[Any]:
    real = WorkerStream._return

    def give_back(self: WorkerStream, lease: Any, *, undelivered: bool) -> None:
        real(self, lease, undelivered=False)

    return [patch.object(WorkerStream, "_return", give_back)]


def _event_means_the_older_lease() -> list[Any]:
    def received(self: Leases, delivered: Delivered) -> None:
        for text, lease in delivered:
            self.held.setdefault(text, lease)

    return [patch.object(Leases, "received", received)]


def _token_outlived() -> list[Any]:
    return [patch.object(Stream, "_watch", lambda self, until, end: None)]


def _drain_owes_acknowledgements() -> list[Any]:
    def wind_down(self: Stream, end: End) -> None:
        if self._closing is None:
            self._closing = end
            self._finish()

    return [patch.object(Stream, "_wind_down", wind_down), patch.object(WorkerStream, "_wind_down", wind_down)]


def _drain_waits_for_ever() -> list[Any]:
    return [patch.object(WorkerStream, "_wind_down", lambda self, end: None)]


def _full_inbox_not_heeded() -> list[Any]:
    def offer(self: Stream, operation: Operation) -> None:
        self.world.scheduler.offer(operation)

    return [patch.object(Stream, "_offer", offer)]


STREAM_ERRORS: Final[tuple[Callable[[], list[Any]], ...]] = (
    _nack_acknowledged_before_its_commit,
    _create_acknowledged_before_its_commit,
    _acks_of_another_create,
    _acks_of_a_lost_group_forgotten,
    _ready_answered_twice,
    _ready_forgotten_with_a_lost_group,
    _ready_not_offered_again_after_a_pause,
    _withdrawn_claims_still_counted,
    _claims_go_on_beside_a_full_queue,
    _all_readys_claim_at_once,
    _tasks_after_the_end_of_a_stream,
    _end_of_stream_leaves_leases,
    _reset_gives_leases_back,
    _unwritten_tasks_forgotten_at_a_reset,
    _written_tasks_given_back_at_a_reset,
    _tasks_for_a_closed_call_dropped,
    _undelivered_task_counted_as_an_attempt,
    _event_means_the_older_lease,
    _token_outlived,
    _drain_owes_acknowledgements,
    _drain_waits_for_ever,
    _full_inbox_not_heeded,
)
