"""Operators' routes about queues: how they are, what is set for them, what is in them.

Owns the way from these requests to operations and lists. Runs on the event loop's thread.
"""

from typing import Any, Final

from appliance.api.admin import render
from appliance.api.admin.asking import (
    EVERY_TENANT,
    PAGE_ITEMS_MAX,
    asked,
    cursor_of,
    limit_of,
    moment_of,
)
from appliance.api.admin.bodies import What, control_changes, read_pause, read_resume, read_settings
from appliance.api.context import Context, answering, reading
from appliance.auth.caller import Caller
from appliance.errors import NOT_FOUND, Problem, invalid
from appliance.mux.exchange import Request, Response
from appliance.tasks import table
from appliance.tasks.model import Changed, SetQueue

_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "dispatch": ("dispatch",),
    "intake": ("intake",),
    "both": ("dispatch", "intake"),
}


class Queues:
    """The routes below `/admin/queues`."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    @reading
    def every(self, request: Request, caller: Caller, _name: str) -> Response:
        """`GET /admin/queues`. Without a limit a page is as large as it may be."""
        tenant, _, fields = asked(request.query, caller, every=True)
        limit, cursor = limit_of(fields, PAGE_ITEMS_MAX), cursor_of(fields)
        wanted = None if tenant == EVERY_TENANT else tenant
        return render.queues(self._context.scheduler.lists.queues(wanted, cursor, limit, self._context.clock()))

    @reading
    def one(self, request: Request, caller: Caller, command: str) -> Response:
        """`GET /admin/queues/<command>`."""
        return self._queue(asked(request.query, caller).tenant, command)

    @reading
    def tasks(self, request: Request, caller: Caller, command: str) -> Response:
        """`GET /admin/queues/<command>/tasks`."""
        tenant, _, fields = asked(request.query, caller)
        status = fields.get("status", table.READY)
        if status not in (*table.WAITING_STATES, table.CLAIMED, *table.TERMINAL_STATES):
            raise invalid("status must be one of ready, delayed, claimed, completed, failed, dlq")
        page = self._context.scheduler.lists.tasks(tenant, command, status, cursor_of(fields), limit_of(fields))
        if page is None:
            raise _no_such_queue()
        return render.tasks(page, tenant)

    def pause(self, request: Request, caller: Caller, command: str) -> None:
        """`POST /admin/queues/<command>/pause`."""
        body = read_pause(request.body)
        until = moment_of(body.until, "until")
        if until and until <= self._context.clock():
            raise invalid("until must lie in the future")
        changes: dict[str, Any] = {}
        for part in _PARTS[body.what]:
            changes |= {f"{part}_paused": True, f"{part}_until": until}
        detail = body.what if not until else f"{body.what} until {body.until}"
        self._set(request, caller, command, changes, "queue.pause", detail)

    def resume(self, request: Request, caller: Caller, command: str) -> None:
        """`POST /admin/queues/<command>/resume`."""
        what: What = read_resume(request.body).what
        changes: dict[str, Any] = {}
        for part in _PARTS[what]:
            changes |= {f"{part}_paused": False, f"{part}_until": 0}
        self._set(request, caller, command, changes, "queue.resume", what)

    def settings(self, request: Request, caller: Caller, command: str) -> None:
        """`PUT /admin/queues/<command>/settings`."""
        changes = control_changes(read_settings(request.body))
        self._set(request, caller, command, changes, "queue.set", words(changes))

    def _set(
        self, request: Request, caller: Caller, command: str, changes: dict[str, Any], action: str, detail: str
    ) -> None:
        tenant, by, _ = asked(request.query, caller)

        def show(_outcome: Changed) -> Response:
            return self._queue(tenant, command)

        self._context.ask(request, SetQueue(tenant, answering(request, show), command, changes, by, action, detail))

    def _queue(self, tenant: str, command: str) -> Response:
        found = self._context.scheduler.lists.queue(tenant, command, self._context.clock())
        if found is None:
            raise _no_such_queue()
        return render.queue(found)


def words(changes: dict[str, Any]) -> str:
    """Changes as the audit notes them."""
    return ", ".join(f"{name} {'default' if value is None else value}" for name, value in changes.items())


def _no_such_queue() -> Problem:
    return Problem(NOT_FOUND, "no task of this command was ever created")
