"""Operators' routes about single tasks and dead letters.

Owns the way from these requests to operations and lists. Runs on the event loop's thread.
"""

from appliance.api.admin import render
from appliance.api.admin.asking import asked, command_of, cursor_of, limit_of, moment_of
from appliance.api.admin.bodies import read_cancel, read_cleanup, read_nothing, read_step, step_limit
from appliance.api.context import Context, answering, reading
from appliance.api.parse import NO_TASK, reason
from appliance.api.render import encode, task
from appliance.api.times import time_text
from appliance.auth.caller import Caller
from appliance.errors import NOT_FOUND, Problem, invalid
from appliance.mux.exchange import Request, Response
from appliance.tasks.ids import id_text, parse_id
from appliance.tasks.model import Cancel, Cleanup, Purge, PurgeDead, Requeue, RequeueDead, Stepped


class OperatedTasks:
    """The routes below `/admin/tasks` and `/admin/dlq`."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    @reading
    def one(self, request: Request, caller: Caller, name: str) -> Response:
        """`GET /admin/tasks/<id>`."""
        tenant = asked(request.query, caller).tenant
        scheduler = self._context.scheduler
        task_id = _id(name)
        found = scheduler.reads.task(tenant, task_id)
        if found is None:
            raise Problem(NOT_FOUND, "no such task")
        return render.operator_task(found, tenant, scheduler.lists.history(tenant, id_text(task_id)))

    def cancel(self, request: Request, caller: Caller, name: str) -> None:
        """`POST /admin/tasks/<id>/cancel`."""
        tenant, by, _ = asked(request.query, caller)
        why = reason(read_cancel(request.body).reason, "reason")
        self._context.ask(request, Cancel(tenant, answering(request, task, tenant), _id(name), by, why))

    def requeue(self, request: Request, caller: Caller, name: str) -> None:
        """`POST /admin/tasks/<id>/requeue`."""
        tenant, by, _ = asked(request.query, caller)
        read_nothing(request.body)
        self._context.ask(request, Requeue(tenant, answering(request, task, tenant), _id(name), by))

    def purge(self, request: Request, caller: Caller, name: str) -> None:
        """`POST /admin/tasks/<id>/purge`."""
        tenant, by, _ = asked(request.query, caller)
        read_nothing(request.body)
        self._context.ask(request, Purge(tenant, answering(request, _purged), _id(name), by))

    def cleanup(self, request: Request, caller: Caller, _name: str) -> None:
        """`POST /admin/tasks/cleanup`: the retention sweep, now."""
        tenant, by, _ = asked(request.query, caller)
        body = read_cleanup(request.body)
        now = self._context.clock()
        before = moment_of(body.before, "before") or now
        if before > now:
            raise invalid("before must not lie in the future")
        limit = step_limit(body.limit)
        sink = answering(request, _cleaned, before, limit)
        self._context.ask(request, Cleanup(tenant, sink, None, before, limit, by))

    @reading
    def dead(self, request: Request, caller: Caller, _name: str) -> Response:
        """`GET /admin/dlq`."""
        tenant, _, fields = asked(request.query, caller)
        command, before = command_of(fields.get("command")), moment_of(fields.get("before"), "before")
        page = self._context.scheduler.lists.dead(tenant, command, before, cursor_of(fields), limit_of(fields))
        return render.tasks(page, tenant)

    def requeue_dead(self, request: Request, caller: Caller, _name: str) -> None:
        """`POST /admin/dlq/requeue`: one bounded step."""
        tenant, by, _ = asked(request.query, caller)
        sink = answering(request, _requeued)
        self._context.ask(request, RequeueDead(tenant, sink, *_step(request), by))

    def purge_dead(self, request: Request, caller: Caller, _name: str) -> None:
        """`POST /admin/dlq/purge`: one bounded step."""
        tenant, by, _ = asked(request.query, caller)
        sink = answering(request, _purged_many)
        self._context.ask(request, PurgeDead(tenant, sink, *_step(request), by))


def _id(name: str) -> bytes:
    return parse_id(name) or NO_TASK


def _step(request: Request) -> tuple[str | None, int, int]:
    body = read_step(request.body)
    return command_of(body.command), moment_of(body.before, "before"), step_limit(body.limit)


def _requeued(outcome: Stepped) -> Response:
    return Response(200, encode(render.RequeuedJson(outcome.done, outcome.more)))


def _purged_many(outcome: Stepped) -> Response:
    return Response(200, encode(render.PurgedStepJson(outcome.done, outcome.more)))


def _purged(outcome: Stepped) -> Response:
    return Response(200, encode(render.PurgedJson(outcome.done)))


def _cleaned(outcome: Stepped, before: int, limit: int) -> Response:
    return Response(200, encode(render.CleanedJson(outcome.done, time_text(before), limit)))
