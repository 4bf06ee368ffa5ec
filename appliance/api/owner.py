"""What the owner of a lease does: result, heartbeat, nack, abandon.

Owns the way from their bodies to operations. Whether the caller is the owner is the state machine's to judge. Runs on
the event loop's thread.
"""

from appliance.api.bodies import (
    BadItem,
    OwnerBody,
    ResultBody,
    ResultItem,
    named_task,
    read_heartbeat,
    read_nack,
    read_owner,
    read_result,
    read_result_batch,
)
from appliance.api.context import Context, answering
from appliance.api.parse import (
    NO_TASK,
    artifacts_json,
    check_batch,
    lease_ms,
    lease_number,
    nack_delay_ms,
    reason,
    result_value,
    worker_id,
)
from appliance.api.render import abandoned, extended, nacked, record, record_batch
from appliance.auth.caller import Caller
from appliance.errors import Problem
from appliance.mux.exchange import Request, Response
from appliance.tasks.ids import parse_id
from appliance.tasks.model import Abandon, Finish, FinishBatch, Heartbeat, Nack, Record, Sink


class Owning:
    """The routes by which workers end or keep their leases."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def result(self, request: Request, caller: Caller, task_id: bytes) -> None:
        """`POST /tasks/<id>/result`."""
        body = read_result(request.body)
        self._context.ask(request, self._finish(body, caller, task_id, answering(request, record)))

    def result_batch(self, request: Request, caller: Caller, _task_id: bytes) -> Response | None:
        """`POST /tasks/batch/results`. A bad item fails alone, the others are one commit."""
        read, bare = read_result_batch(request.body)
        check_batch(len(read))
        if not read:
            return _batch_response([], [], bare)
        items = [self._item(item, caller) for item in read]
        sink = answering(request, _batch_response, read, bare)
        self._context.ask(request, FinishBatch(caller.tenant, sink, items))
        return None

    def heartbeat(self, request: Request, caller: Caller, task_id: bytes) -> None:
        """`POST /tasks/<id>/heartbeat`."""
        body = read_heartbeat(request.body)
        extend_ms = lease_ms(body.extend_seconds, "extendSeconds")
        worker, lease = _lease(body, task_id)
        sink = answering(request, extended)
        self._context.ask(request, Heartbeat(caller.tenant, sink, task_id, caller.subject, worker, lease, extend_ms))

    def nack(self, request: Request, caller: Caller, task_id: bytes) -> None:
        """`POST /tasks/<id>/nack`."""
        body = read_nack(request.body)
        delay_ms, why = nack_delay_ms(body.delay_seconds), reason(body.reason, "reason")
        worker, lease = _lease(body, task_id)
        sink = answering(request, nacked)
        self._context.ask(request, Nack(caller.tenant, sink, task_id, caller.subject, worker, lease, delay_ms, why))

    def abandon(self, request: Request, caller: Caller, task_id: bytes) -> None:
        """`POST /tasks/<id>/abandon`."""
        worker, lease = _lease(read_owner(request.body), task_id)
        sink = answering(request, abandoned)
        self._context.ask(request, Abandon(caller.tenant, sink, task_id, caller.subject, worker, lease))

    def _finish(self, body: ResultBody, caller: Caller, task_id: bytes, sink: Sink) -> Finish:
        worker, lease = _lease(body, task_id)
        return Finish(
            caller.tenant,
            sink,
            task_id,
            caller.subject,
            worker,
            lease,
            body.status == "COMPLETED",
            result_value(body.result, self._context.settings.payload_bytes_max),
            reason(body.error, "error"),
            artifacts_json(body.artifacts),
        )

    def _item(self, item: ResultItem | BadItem, caller: Caller) -> Finish | Problem:
        if isinstance(item, BadItem):
            return item.problem
        try:
            return self._finish(item, caller, parse_id(item.task_id) or NO_TASK, _never)
        except Problem as problem:
            return problem.kept()


def _lease(body: OwnerBody, task_id: bytes) -> tuple[str, int | None]:
    return worker_id(body.worker_id), lease_number(body.lease_id, task_id)


def _batch_response(outcomes: list[Record | Problem], read: list[ResultItem | BadItem], bare: bool) -> Response:
    task_ids = [named_task(item.raw) if isinstance(item, BadItem) else item.task_id for item in read]
    return record_batch(task_ids, outcomes, bare)


def _never(_outcome: Record | Problem) -> None:
    raise AssertionError("an item of a batch is answered with its batch")
