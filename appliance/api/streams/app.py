"""The handler of gRPC calls: which session answers which path. Runs on the event loop's thread."""

from collections.abc import Callable
from random import Random
from typing import Final

from appliance.api.rates import Rates
from appliance.api.streams.health import HealthCheck, HealthWatch
from appliance.api.streams.producer import ProducerStream
from appliance.api.streams.reflection import V1, V1ALPHA, Reflection
from appliance.api.streams.settings import StreamSettings
from appliance.api.streams.stream import Authenticates, Later, World
from appliance.api.streams.worker import WorkerStream
from appliance.mux.grpc_call import Call, Session
from appliance.tasks.scheduler import Scheduler

__all__ = ["StreamSettings", "Streams"]

SERVICES: Final = (
    "/producerpb.ProducerStream/",
    "/workerpb.WorkerStream/",
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
)
"""What the paths of our gRPC methods begin with."""

PRODUCER_PATH: Final = "/producerpb.ProducerStream/Stream"
WORKER_PATH: Final = "/workerpb.WorkerStream/Stream"


class Streams:
    """Opens the session of each call."""

    __slots__ = ("_openers",)

    def __init__(
        self,
        scheduler: Scheduler,
        validator: Authenticates,
        settings: StreamSettings,
        clock: Callable[[], int],
        epoch_seconds: Callable[[], float],
        later: Later,
        rng: Random,
        rates: Rates,
    ) -> None:
        """`clock` is the state machine's time (ms), `epoch_seconds` the wall clock that tokens are judged by; `later`
        calls a function after so many seconds and returns what cancels it."""
        world = World(scheduler, validator, settings, clock, epoch_seconds, later, rng, rates)
        self._openers: dict[str, Callable[[Call], Session]] = {
            PRODUCER_PATH: lambda call: ProducerStream(world, call),
            WORKER_PATH: lambda call: WorkerStream(world, call),
            "/grpc.health.v1.Health/Check": HealthCheck,
            "/grpc.health.v1.Health/Watch": HealthWatch,
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": lambda call: Reflection(V1, call),
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": lambda call: Reflection(V1ALPHA, call),
        }

    def open_call(self, call: Call) -> Session | None:
        """The session of a new call, or None where there is no such method."""
        opener = self._openers.get(call.path)
        return None if opener is None else opener(call)
