"""The table of routes: which path and method is whose, and what token it takes.

Owns paths, methods and scopes. Must not know what a route does. A path is looked up as it came: fixed paths first,
then the shapes below one task.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from appliance.api.admin.routes import PREFIX as ADMIN_PREFIX
from appliance.api.admin.routes import AdminRoutes
from appliance.api.admin.routes import Handle as HandleNamed
from appliance.api.claim import Claiming
from appliance.api.console.serving import PATH as CONSOLE_PATH
from appliance.api.console.serving import console_files
from appliance.api.create import Creating
from appliance.api.owner import Owning
from appliance.api.parse import NO_TASK
from appliance.api.probes import Probes
from appliance.api.rates import ADMIN_RATE, PRODUCER_RATE, WORKER_RATE
from appliance.api.read import Reading
from appliance.api.streams.app import SERVICES
from appliance.api.subscribe import Subscribing
from appliance.auth.caller import PRODUCER, SCOPE_ADMIN, WORKER, Caller
from appliance.errors import METHOD_NOT_ALLOWED, NOT_FOUND, UNSUPPORTED_MEDIA_TYPE, Problem
from appliance.mux.exchange import Request, Response
from appliance.tasks.ids import parse_id

ANY: Final = ""
PREFIX: Final = "/v1/codeq"

_TASK_PREFIX: Final = PREFIX + "/tasks/"
_SUBSCRIPTION_PREFIX: Final = PREFIX + "/workers/subscriptions/"

Handle = Callable[[Request, Caller, bytes], Response | None]
"""A route: its response, or None where the outcome of an operation will bring it. The last argument is the task's id,
`NO_TASK` where the path names none."""


class Route(NamedTuple):
    """One method of one path. `kind` is the kind of token that it takes, or ANY; `scope` is empty where none is
    needed; `has_body` says that a body is read, so its media type counts; `rate` is the kind of rate that it counts
    against, empty for none but its tenant's."""

    handle: Handle
    kind: str
    scope: str = ""
    has_body: bool = False
    rate: str = ""


class Open(NamedTuple):
    """One method of one path that takes no token."""

    handle: Callable[[Request], Response]


Methods = dict[str, Route | Open]


class MethodNotAllowed(Problem):
    """The path is there, the method is not; `allow` is the value of the `Allow` header."""

    def __init__(self, allow: str) -> None:
        super().__init__(METHOD_NOT_ALLOWED, f"this path allows {allow}")
        self.allow = allow


class Routes:
    """All routes."""

    __slots__ = ("_admin", "_below_subscription", "_below_task", "_fixed")

    def __init__(
        self,
        creating: Creating,
        claiming: Claiming,
        owning: Owning,
        reading: Reading,
        subscribing: Subscribing,
        probes: Probes,
        admin: AdminRoutes,
    ) -> None:
        self._admin = admin
        self._fixed: dict[str, Methods] = {
            PREFIX + "/tasks": _post(creating.create, PRODUCER, rate=PRODUCER_RATE),
            PREFIX + "/tasks/batch": _post(creating.create_batch, PRODUCER, rate=PRODUCER_RATE),
            PREFIX + "/tasks/claim": _post(claiming.claim, WORKER, "codeq:claim", rate=WORKER_RATE),
            PREFIX + "/tasks/claim/batch": _post(claiming.claim_batch, WORKER, "codeq:claim", rate=WORKER_RATE),
            PREFIX + "/tasks/batch/results": _post(owning.result_batch, WORKER, "codeq:result"),
            PREFIX + "/workers/subscriptions": _post(subscribing.subscribe, WORKER, "codeq:subscribe"),
            PREFIX + "/raft/status": _get(Route(reading.raft_status, ANY)),
            "/metrics": _get(Open(probes.metrics)),
            "/healthz": _get(Open(probes.alive)),
            "/readyz": _get(Open(probes.ready)),
            "/openapi.json": _get(Open(probes.description)),
            **{path: _get(Open(handle)) for path, handle in console_files().items()},
        }
        self._below_task: dict[str, Methods] = {
            "": _get(Route(reading.task, ANY)),
            "/result": _get(Route(reading.result, ANY)) | _post(owning.result, WORKER, "codeq:result"),
            "/heartbeat": _post(owning.heartbeat, WORKER, "codeq:heartbeat"),
            "/nack": _post(owning.nack, WORKER, "codeq:nack"),
            "/abandon": _post(owning.abandon, WORKER, "codeq:abandon"),
        }

        self._below_subscription: dict[str, Methods] = {
            "/heartbeat": _post(subscribing.poll, WORKER, "codeq:subscribe"),
        }

    def listed(self) -> Iterator[tuple[str, str, Route | Open]]:
        """Every method of every path, with `{id}` or `{name}` for what stands in its place. Not the console: its files
        are for browsers, and no program calls them."""
        below = ((_TASK_PREFIX, self._below_task), (_SUBSCRIPTION_PREFIX, self._below_subscription))
        for path, methods in self._fixed.items():
            if path.startswith(CONSOLE_PATH):
                continue
            for method, route in methods.items():
                yield method, path, route
        for prefix, shapes in below:
            for rest, methods in shapes.items():
                for method, route in methods.items():
                    yield method, f"{prefix}{{id}}{rest}", route
        for method, parts, handle in self._admin.listed():
            yield method, ADMIN_PREFIX + "/".join(parts), _admin_route(method, handle, "")

    def find(self, method: str, path: str) -> tuple[Route | Open, bytes]:
        """The route of a request and the id of the task (or subscription) in its path.

        Raises `not-found` for an unknown path and MethodNotAllowed for an unknown method. Text in the place of an id
        that can't be one is no task's id: the route finds nothing.
        """
        methods = self._fixed.get(path)
        task_id = NO_TASK
        if methods is None:
            if path.startswith(ADMIN_PREFIX):
                return self._find_admin(method, path), NO_TASK
            if path.startswith(_TASK_PREFIX):
                below, start = self._below_task, len(_TASK_PREFIX)
            elif path.startswith(_SUBSCRIPTION_PREFIX):
                below, start = self._below_subscription, len(_SUBSCRIPTION_PREFIX)
            else:
                raise _no_such_path(path)
            text, slash, rest = path[start:].partition("/")
            methods = below.get(slash + rest)
            if methods is None or not text:
                raise _no_such_path(path)
            task_id = parse_id(text) or NO_TASK
        route = methods.get(method)
        if route is None:
            raise MethodNotAllowed(", ".join(sorted(methods)))
        return route, task_id

    def _find_admin(self, method: str, path: str) -> Route:
        methods, name = self._admin.find(path)
        handle = methods.get("GET" if method == "HEAD" else method)
        if handle is None:
            allowed = [*methods, "HEAD"] if "GET" in methods else [*methods]
            raise MethodNotAllowed(", ".join(sorted(allowed)))
        return _admin_route(method, handle, name)


def _admin_route(method: str, handle: HandleNamed, name: str) -> Route:
    has_body = method not in ("GET", "HEAD")
    return Route(partial(_named, handle, name), PRODUCER, SCOPE_ADMIN, has_body, ADMIN_RATE)


def _named(handle: HandleNamed, name: str, request: Request, caller: Caller, _task_id: bytes) -> Response | None:
    return handle(request, caller, name)


def _no_such_path(path: str) -> Problem:
    if path.startswith(SERVICES):
        return Problem(UNSUPPORTED_MEDIA_TYPE, "this path takes gRPC: HTTP/2 and a content type of application/grpc")
    return Problem(NOT_FOUND, "no such path")


def _post(handle: Handle, kind: str, scope: str = "", rate: str = "") -> Methods:
    return {"POST": Route(handle, kind, scope, has_body=True, rate=rate)}


def _get(route: Route | Open) -> Methods:
    return {"GET": route, "HEAD": route}
