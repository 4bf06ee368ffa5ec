"""Creating tasks: one, or many in one commit. Owns the way from the two bodies to operations; runs on the loop."""

from appliance.api.bodies import BadItem, CreateBody, read_create, read_create_batch
from appliance.api.context import Context, answering
from appliance.api.parse import check_batch, new_task
from appliance.api.render import created, created_batch
from appliance.auth.caller import Caller
from appliance.errors import Problem
from appliance.mux.exchange import Request, Response
from appliance.tasks.model import Create, CreateBatch, NewTask


class Creating:
    """The routes of producers."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(self, request: Request, caller: Caller, _task_id: bytes) -> None:
        """`POST /tasks`."""
        context = self._context
        settings = context.settings
        body = read_create(request.body)
        task = new_task(
            body,
            context.clock(),
            settings.max_attempts,
            settings.payload_bytes_max,
            private_webhooks=settings.private_webhooks,
        )
        tenant = caller.tenant
        context.ask(request, Create(tenant, answering(request, created, tenant), task))

    def create_batch(self, request: Request, caller: Caller, _task_id: bytes) -> Response | None:
        """`POST /tasks/batch`. A bad item fails alone, the others are one commit."""
        items, bare = read_create_batch(request.body)
        check_batch(len(items))
        tenant = caller.tenant
        if not items:
            return created_batch([], tenant, bare)
        now = self._context.clock()
        tasks = [self._item(item, now) for item in items]
        sink = answering(request, created_batch, tenant, bare)
        self._context.ask(request, CreateBatch(tenant, sink, tasks))
        return None

    def _item(self, item: CreateBody | BadItem, now: int) -> NewTask | Problem:
        if isinstance(item, BadItem):
            return item.problem
        settings = self._context.settings
        try:
            return new_task(
                item,
                now,
                settings.max_attempts,
                settings.payload_bytes_max,
                private_webhooks=settings.private_webhooks,
            )
        except Problem as problem:
            return problem.kept()
