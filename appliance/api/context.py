"""What every route works with, and the one way from a request to the state machine and back.

Owns the handing over of operations, and the boundary at which an outcome becomes a response. Must not know what any
operation means. Runs on the event loop's thread.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import msgspec

from appliance.api.render import problem
from appliance.auth.caller import Caller
from appliance.engine.faults import StoreError
from appliance.engine.rows import DamagedRow
from appliance.errors import INTERNAL, Problem, unavailable
from appliance.mux.exchange import Request, Response
from appliance.tasks.model import Operation, Sink
from appliance.tasks.scheduler import Scheduler

logger = logging.getLogger("codeq.api")


class ApiSettings(msgspec.Struct, frozen=True):
    """What an operator can set about the API. Sizes are bytes."""

    payload_bytes_max: int = 262_144
    """For a payload and for a result, as JSON text."""
    max_attempts: int = 5
    """For creates that name none."""
    private_webhooks: bool = False
    """Whether a webhook may name a private, loopback or link-local address."""
    waiting_per_tenant_max: int = 10_000
    """Result reads of one tenant that wait at once."""


class Context:
    """The state machine, the settings and the clock, which gives the state machine's time (ms)."""

    __slots__ = ("clock", "scheduler", "settings")

    def __init__(self, scheduler: Scheduler, settings: ApiSettings, clock: Callable[[], int]) -> None:
        self.scheduler = scheduler
        self.settings = settings
        self.clock = clock

    def ask(self, request: Request, operation: Operation) -> None:
        """Hand an operation over; where its tenant's inbox is full, the request's connection is not read for now."""
        if not self.scheduler.offer(operation):
            self.scheduler.when_room(operation.tenant, request.hold())


def answering(request: Request, render: Callable[..., Response], *args: Any) -> Sink:
    """A sink that answers `request` with what `render` makes of the outcome and the further arguments."""

    def sink(outcome: Any) -> None:
        if isinstance(outcome, Problem):
            response = problem(outcome)
        else:
            try:
                response = render(outcome, *args)
            except Exception as error:  # noqa: BLE001  # see `failed`
                response = failed(request, error)
        request.respond(response)

    return sink


_Method = TypeVar("_Method", bound=Callable[..., Response])


def reading(handle: _Method) -> _Method:
    """A handler that reads rows: where one is damaged the client hears that the node cannot tell."""

    @wraps(handle)
    def guarded(self: Any, request: Request, caller: Caller, name: str) -> Response:
        try:
            return handle(self, request, caller, name)
        except DamagedRow as damage:
            return damaged(request, damage)

    return cast("_Method", guarded)


def failed(request: Request, error: Exception) -> Response:
    """The refusal for an answer that could not be made.

    For what runs when the handler of the request has returned long ago: nobody else would answer the client. A failure
    of the whole store is not one request's affair and goes on to whoever called.
    """
    if isinstance(error, StoreError):
        raise error
    if isinstance(error, DamagedRow):
        return damaged(request, error)
    logger.error("an answer could not be made", exc_info=error, extra={"request_id": request.request_id})
    return problem(Problem(INTERNAL, "internal error"))


def damaged(request: Request, damage: DamagedRow) -> Response:
    """A row is not what was written: it is reported and never served."""
    logger.error("%s", damage, extra={"request_id": request.request_id})
    return problem(unavailable("the stored task is damaged"))
