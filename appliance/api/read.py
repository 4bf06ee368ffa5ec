"""Reading tasks and results, and waiting for a result without polling.

Owns the two reads and the place of this node in a cluster it is not part of. Reads see durable rows only. Runs on the
event loop's thread.
"""

from typing import Final
from urllib.parse import parse_qs

import msgspec

from appliance.api.context import Context, answering, damaged
from appliance.api.parse import QUERY_FIELDS_MAX, wait_ms_in_query
from appliance.api.render import encode, problem, result, task
from appliance.auth.caller import Caller
from appliance.engine.faults import StoreError
from appliance.engine.rows import COMPLETED, DamagedRow
from appliance.errors import NOT_FOUND, RATE_LIMITED, Problem, invalid, unavailable
from appliance.mux.exchange import Request, Response
from appliance.tasks.model import Task
from appliance.tasks.watches import Watch


class RaftMemberJson(msgspec.Struct):
    """A member of a group."""

    id: str
    addr: str


class RaftGroupJson(msgspec.Struct, rename="camel"):
    """One shard's group, as this node sees it."""

    shard_idx: int
    is_leader: bool
    self_id: str
    self_addr: str
    leader_id: str
    leader_addr: str
    leader_http_addr: str = msgspec.field(name="leaderHTTPAddr")
    has_leader: bool
    voters: list[RaftMemberJson]
    learners: list[RaftMemberJson]
    term: int
    commit_index: int
    applied_index: int


class RaftStatusJson(msgspec.Struct, rename="camel"):
    """A node's place in a cluster."""

    enabled: bool
    num_groups: int
    groups: list[RaftGroupJson]


_ALONE: Final = encode(RaftStatusJson(enabled=False, num_groups=0, groups=[]))


class Reading:
    """The routes that change nothing."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def task(self, request: Request, caller: Caller, task_id: bytes) -> Response:
        """`GET /tasks/<id>`."""
        try:
            return task(self._find(caller.tenant, task_id), caller.tenant)
        except DamagedRow as damage:
            return damaged(request, damage)
        except StoreError as failure:
            raise _unreadable() from failure

    def result(self, request: Request, caller: Caller, task_id: bytes) -> Response | None:
        """`GET /tasks/<id>/result`. With `waitSeconds` it is answered the moment that the result is durable."""
        wait_ms = wait_ms_in_query(_query_values(request.query, "waitSeconds"))
        tenant = caller.tenant
        try:
            found = self._find(tenant, task_id)
        except DamagedRow as damage:
            return damaged(request, damage)
        except StoreError as failure:
            raise _unreadable() from failure
        if found.state.status >= COMPLETED or not wait_ms:
            return result(found, tenant)
        self._wait(request, tenant, task_id, wait_ms)
        return None

    def raft_status(self, _request: Request, _caller: Caller, _task_id: bytes) -> Response:
        """`GET /raft/status` of a node that stands alone."""
        return Response(200, _ALONE)

    def _find(self, tenant: str, task_id: bytes) -> Task:
        found = self._context.scheduler.reads.task(tenant, task_id)
        if found is None:
            raise Problem(NOT_FOUND, "no such task")
        return found

    def _wait(self, request: Request, tenant: str, task_id: bytes, wait_ms: int) -> None:
        context = self._context
        watches = context.scheduler.watches
        if watches.watching(tenant) >= context.settings.waiting_per_tenant_max:
            raise Problem(RATE_LIMITED, "too many reads of this tenant are waiting", retry_after_seconds=1)

        answer = answering(request, self._result_now, tenant)

        def tell() -> None:
            answer(task_id)

        request.on_closed = context.scheduler.watch(task_id, Watch(tenant, tell), context.clock() + wait_ms)

    def _result_now(self, task_id: bytes, tenant: str) -> Response:
        try:
            return result(self._find(tenant, task_id), tenant)
        except Problem as refusal:
            return problem(refusal)


def _unreadable() -> Problem:
    """For a store that cannot be read: the node ends for it, and this is the last that the client hears."""
    return unavailable("the store cannot be read")


def _query_values(query: str, name: str) -> list[str]:
    if not query:
        return []
    try:
        return parse_qs(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX).get(name, [])
    except ValueError:
        raise invalid(f"the query must not have more than {QUERY_FIELDS_MAX} fields") from None
