"""The REST front: every request goes through here, in one order of judgement.

Owns that order: path and method, token, scope, rate, media type, body, and only then the state machine. So nobody
learns about tasks without a token, and no body is read for nothing. Must not know sockets or the store. A handler is
a plain function on the event loop's thread; no coroutine and no future per request.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from appliance import __version__
from appliance.api.admin.queues import Queues
from appliance.api.admin.render import NodeJson
from appliance.api.admin.routes import AdminRoutes
from appliance.api.admin.tasks import OperatedTasks
from appliance.api.admin.tenants import Tenants
from appliance.api.admin.webhooks import Webhooks
from appliance.api.bodies import check_media_type
from appliance.api.claim import Claiming
from appliance.api.context import ApiSettings, Context
from appliance.api.create import Creating
from appliance.api.owner import Owning
from appliance.api.probes import Probes
from appliance.api.rates import Rates
from appliance.api.read import Reading
from appliance.api.render import problem
from appliance.api.routes import MethodNotAllowed, Open, Routes
from appliance.api.subscribe import Subscribing
from appliance.auth.caller import SCOPE_ADMIN, Caller
from appliance.errors import PERMISSION_DENIED, UNAUTHENTICATED, Problem
from appliance.mux.exchange import Request, Response
from appliance.tasks.scheduler import Scheduler

__all__ = ["Api", "ApiSettings"]


class Authenticates(Protocol):
    """Who knows tokens: the caller of an `Authorization` header at this time (epoch seconds) from this address, or a
    raised Problem."""

    def authenticate(self, header: bytes | None, now_seconds: float, peer: str = "") -> Caller: ...


class Api:
    """The handler of every request."""

    __slots__ = ("_authenticate", "_epoch_seconds", "_find", "_rates", "_routes")

    def __init__(
        self,
        scheduler: Scheduler,
        validator: Authenticates,
        settings: ApiSettings,
        clock: Callable[[], int],
        epoch_seconds: Callable[[], float],
        metrics_text: Callable[[], Iterable[bytes]],
        ready: Callable[[], bool],
        node_facts: Callable[[], NodeJson],
        rates: Rates,
    ) -> None:
        """`clock` is the state machine's time (ms), `epoch_seconds` the wall clock that tokens are judged by.

        `metrics_text` gives the Prometheus text in pieces, `ready` says whether the node can do its work, `node_facts`
        what operators are told of it.
        """
        context = Context(scheduler, settings, clock)
        routes = self._routes = Routes(
            Creating(context),
            Claiming(context),
            Owning(context),
            Reading(context),
            Subscribing(context),
            Probes(metrics_text, ready, self._describe),
            AdminRoutes(Queues(context), OperatedTasks(context), Tenants(context, node_facts), Webhooks(context)),
        )
        self._find = routes.find
        self._authenticate = validator.authenticate
        self._epoch_seconds = epoch_seconds
        self._rates = rates

    def handle(self, request: Request) -> None:
        """Answer a request, now or when the outcome of its operation is there."""
        try:
            response = self._judge(request)
        except MethodNotAllowed as refusal:
            response = problem(refusal)
            response.headers += ((b"Allow", refusal.allow.encode()),)
        except Problem as refusal:
            response = problem(refusal)
        if response is not None:
            request.respond(response)

    def _describe(self) -> bytes:
        # Nobody needs what this takes but who asks for the description.
        from appliance.api.openapi.document import document

        return document(self._routes.listed(), __version__)

    def _judge(self, request: Request) -> Response | None:
        route, task_id = self._find(request.method, request.path)
        if isinstance(route, Open):
            return route.handle(request)
        headers = request.headers
        caller = self._authenticate(headers.get(b"authorization"), self._epoch_seconds(), request.peer)
        if route.kind and caller.kind != route.kind:
            raise Problem(UNAUTHENTICATED, f"this path takes a {route.kind} token")
        # A role opens the administration too, not only the scope.
        if route.scope and route.scope not in caller.scopes and not (route.scope == SCOPE_ADMIN and caller.admin):
            raise Problem(PERMISSION_DENIED, f"the token lacks the scope {route.scope}")
        self._rates.request(route.rate, caller)
        if route.has_body:
            check_media_type(headers)
        return route.handle(request, caller, task_id)
