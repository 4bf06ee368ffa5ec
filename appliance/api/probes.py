"""What is asked for without a token: metrics, liveness, readiness, the description. Runs on the event loop's thread."""

from collections.abc import Callable, Iterable

import msgspec

from appliance.api.render import encode, problem
from appliance.errors import unavailable
from appliance.metrics import CONTENT_TYPE
from appliance.mux.exchange import Request, Response


class HealthJson(msgspec.Struct):
    """All is well."""

    status: str


class Probes:
    """The routes at the root."""

    __slots__ = ("_describe", "_description", "_metrics_text", "_ok", "_ready")

    def __init__(
        self, metrics_text: Callable[[], Iterable[bytes]], ready: Callable[[], bool], describe: Callable[[], bytes]
    ) -> None:
        """`describe` makes the description of REST; it is called once, when somebody first asks."""
        self._metrics_text = metrics_text
        self._ready = ready
        self._describe = describe
        self._description = b""
        self._ok = encode(HealthJson("ok"))

    def metrics(self, _request: Request) -> Response:
        """`GET /metrics`: the Prometheus text, piece by piece."""
        return Response(200, content_type=CONTENT_TYPE, chunks=self._metrics_text())

    def alive(self, _request: Request) -> Response:
        """`GET /healthz`: the process answers."""
        return Response(200, self._ok)

    def description(self, _request: Request) -> Response:
        """`GET /openapi.json`: all of REST, as OpenAPI 3.1."""
        self._description = self._description or self._describe()
        return Response(200, self._description)

    def ready(self, _request: Request) -> Response:
        """`GET /readyz`: the process can do its work."""
        return Response(200, self._ok) if self._ready() else problem(unavailable("the node is not ready"))
