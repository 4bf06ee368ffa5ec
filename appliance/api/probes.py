"""What monitoring asks for, without a token: metrics, liveness, readiness. Runs on the event loop's thread."""

from collections.abc import Callable, Iterable

from appliance.api.render import encode, problem
from appliance.errors import unavailable
from appliance.metrics import CONTENT_TYPE
from appliance.mux.exchange import Request, Response


class Probes:
    """The routes at the root."""

    __slots__ = ("_metrics_text", "_ok", "_ready")

    def __init__(self, metrics_text: Callable[[], Iterable[bytes]], ready: Callable[[], bool]) -> None:
        self._metrics_text = metrics_text
        self._ready = ready
        self._ok = encode({"status": "ok"})

    def metrics(self, _request: Request) -> Response:
        """`GET /metrics`: the Prometheus text, piece by piece."""
        return Response(200, content_type=CONTENT_TYPE, chunks=self._metrics_text())

    def alive(self, _request: Request) -> Response:
        """`GET /healthz`: the process answers."""
        return Response(200, self._ok)

    def ready(self, _request: Request) -> Response:
        """`GET /readyz`: the process can do its work."""
        return Response(200, self._ok) if self._ready() else problem(unavailable("the node is not ready"))
