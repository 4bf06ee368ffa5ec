"""The table of operators' routes.

Owns their paths and methods. A path has at most one name in it, always in its second place: a command, an id or a
tenant. Must not know what a route does.
"""

from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import unquote

from appliance.api.admin.queues import Queues
from appliance.api.admin.tasks import OperatedTasks
from appliance.api.admin.tenants import Tenants
from appliance.api.admin.webhooks import Webhooks
from appliance.auth.caller import Caller
from appliance.errors import NOT_FOUND, Problem
from appliance.mux.exchange import Request, Response

PREFIX: Final = "/v1/codeq/admin/"
NAME: Final = "*"

Handle = Callable[[Request, Caller, str], Response | None]
"""A route: its response, or None where the outcome of an operation will bring it. The text is the name in the path."""

Methods = dict[str, Handle]


class AdminRoutes:
    """All routes of operators."""

    __slots__ = ("_table",)

    def __init__(self, queues: Queues, tasks: OperatedTasks, tenants: Tenants, webhooks: Webhooks) -> None:
        self._table: dict[tuple[str, ...], Methods] = {
            ("queues",): {"GET": queues.every},
            ("queues", NAME): {"GET": queues.one},
            ("queues", NAME, "pause"): {"POST": queues.pause},
            ("queues", NAME, "resume"): {"POST": queues.resume},
            ("queues", NAME, "settings"): {"PUT": queues.settings},
            ("queues", NAME, "tasks"): {"GET": queues.tasks},
            ("dlq",): {"GET": tasks.dead},
            ("dlq", "requeue"): {"POST": tasks.requeue_dead},
            ("dlq", "purge"): {"POST": tasks.purge_dead},
            ("tasks", "cleanup"): {"POST": tasks.cleanup},
            ("tasks", NAME): {"GET": tasks.one},
            ("tasks", NAME, "cancel"): {"POST": tasks.cancel},
            ("tasks", NAME, "requeue"): {"POST": tasks.requeue},
            ("tasks", NAME, "purge"): {"POST": tasks.purge},
            ("tenants", NAME, "limits"): {"GET": tenants.limits, "PUT": tenants.set_limits},
            ("webhooks",): {"GET": webhooks.every},
            ("webhooks", "retry"): {"POST": webhooks.retry_all},
            ("webhooks", NAME, "retry"): {"POST": webhooks.retry},
            ("audit",): {"GET": tenants.audit},
            ("node",): {"GET": tenants.node},
        }

    def listed(self) -> Iterator[tuple[str, tuple[str, ...], Handle]]:
        """Every method of every path, in its parts behind PREFIX, with `{name}` for the name."""
        for parts, methods in self._table.items():
            for method, handle in methods.items():
                yield method, tuple("{name}" if part == NAME else part for part in parts), handle

    def find(self, path: str) -> tuple[Methods, str]:
        """The methods of a path that begins with PREFIX, and the name in it; raises `not-found`."""
        parts = tuple(path[len(PREFIX) :].split("/"))
        methods = self._table.get(parts)
        if methods is not None and NAME not in parts:
            return methods, ""
        methods = self._table.get((parts[0], NAME, *parts[2:])) if len(parts) > 1 and parts[1] else None
        if methods is None:
            raise Problem(NOT_FOUND, "no such path")
        return methods, unquote(parts[1], errors="replace")
