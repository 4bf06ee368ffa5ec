"""Operators' routes about tenants, the audit and the node.

Owns the way from these requests to operations and lists. Runs on the event loop's thread.
"""

from collections.abc import Callable
from typing import Final

from appliance.api.admin import render
from appliance.api.admin.asking import asked, cursor_of, limit_of, name_of
from appliance.api.admin.bodies import limit_changes, read_limits
from appliance.api.admin.queues import words
from appliance.api.admin.render import NodeJson
from appliance.api.context import Context, answering, reading
from appliance.api.render import encode
from appliance.auth.caller import Caller
from appliance.auth.claims import is_name
from appliance.engine.rows import TenantControl
from appliance.errors import PERMISSION_DENIED, Problem, invalid
from appliance.mux.exchange import Request, Response
from appliance.tasks.model import Changed, SetLimits
from appliance.tasks.operators import AUDIT_AGE_MS_MAX

_UNLIMITED: Final = TenantControl()


class Tenants:
    """The routes below `/admin/tenants`, `/admin/audit` and `/admin/node`."""

    __slots__ = ("_context", "_node_facts")

    def __init__(self, context: Context, node_facts: Callable[[], NodeJson]) -> None:
        self._context = context
        self._node_facts = node_facts

    def limits(self, _request: Request, caller: Caller, tenant: str) -> Response:
        """`GET /admin/tenants/<tenant>/limits`."""
        if tenant != caller.tenant and not caller.operator:
            raise Problem(PERMISSION_DENIED, "another tenant needs the scope codeq:operator")
        return self._limits(_name(tenant))

    def set_limits(self, request: Request, caller: Caller, tenant: str) -> None:
        """`PUT /admin/tenants/<tenant>/limits`."""
        if not caller.operator:
            raise Problem(PERMISSION_DENIED, "limits are set with the scope codeq:operator")
        changes = limit_changes(read_limits(request.body))

        def show(_outcome: Changed) -> Response:
            return self._limits(tenant)

        by = name_of(caller, _name(tenant))
        self._context.ask(request, SetLimits(tenant, answering(request, show), changes, by, words(changes)))

    @reading
    def audit(self, request: Request, caller: Caller, _name: str) -> Response:
        """`GET /admin/audit`."""
        tenant, _, fields = asked(request.query, caller)
        since = self._context.clock() - AUDIT_AGE_MS_MAX
        page = self._context.scheduler.lists.audit(tenant, cursor_of(fields), limit_of(fields), since)
        return render.audit(page, tenant)

    def node(self, _request: Request, _caller: Caller, _name: str) -> Response:
        """`GET /admin/node`."""
        return Response(200, encode(self._node_facts()))

    def _limits(self, tenant: str) -> Response:
        found = self._context.scheduler.tasks.registry.tenants.get(tenant)
        return render.limits(found.control if found is not None else _UNLIMITED)


def _name(tenant: str) -> str:
    if not is_name(tenant):
        raise invalid("this is not the name of a tenant")
    return tenant
