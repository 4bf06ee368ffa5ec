"""What all connections of one listener share.

Owns the handler, the limits, the observer, the memory account, the current Date header and the maker of request ids.
No socket and no loop: the listener refreshes the date, connections read it. Runs on the event loop's thread.
"""

import itertools
import logging
import os
import re
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from typing import Protocol

from appliance import errors
from appliance.mux.exchange import Handler, Request, problem_response
from appliance.mux.grpc_call import Open
from appliance.mux.limits import Limits, Observer
from appliance.mux.memory import Memory

log = logging.getLogger("codeq.mux")

_acceptable_request_id = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}").fullmatch


def _internal_error() -> errors.Problem:
    return errors.Problem(errors.INTERNAL, "the request failed; the log has the details")


class Pace(Protocol):
    """Who knows that somebody wants little now, and should not wait for those who want much."""

    @property
    def sliced(self) -> bool:
        """Whether turns of the loop are to be short."""

    @property
    def hurried(self) -> bool:
        """Whether the answer that is given right now should leave at once, not at the end of the turn."""

    def fed(self) -> None:
        """While `sliced`: what a read brought was handed over."""


class _Even:
    sliced = False
    hurried = False

    def fed(self) -> None:
        raise AssertionError("nothing is sliced")


class Line:
    """Connections with much to feed while turns of the loop are to be short: one per turn, whoever came first."""

    __slots__ = ("_standing",)

    def __init__(self) -> None:
        self._standing: deque[Callable[[], None]] = deque()

    def stand(self, call_soon: Callable[[Callable[[], None]], object], feed: Callable[[], None]) -> None:
        """Call `feed` once, in a turn of its own."""
        self._standing.append(feed)
        if len(self._standing) == 1:
            call_soon(partial(self._next, call_soon))

    def _next(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        feed = self._standing[0]
        try:
            feed()
        finally:
            self._standing.popleft()
            if self._standing:
                call_soon(partial(self._next, call_soon))


class Hub:
    """Shared by the connections of one listener. `draining` is True from the moment it shuts down."""

    __slots__ = (
        "_numbers",
        "_prefix",
        "date",
        "draining",
        "handler",
        "limits",
        "line",
        "memory",
        "observer",
        "open_call",
        "pace",
    )

    def __init__(self, handler: Handler, limits: Limits, observer: Observer) -> None:
        self.handler = handler
        self.open_call: Open | None = None
        """The handler of gRPC calls; without one they are requests like any other."""
        self.pace: Pace = _Even()
        self.line = Line()
        self.limits = limits
        self.observer = observer
        self.memory = Memory(limits.memory_bytes, limits.memory_stop_reading, limits.memory_shed)
        self.draining = False
        self.date = b""
        self.refresh_date(0)
        self._prefix = os.urandom(6).hex()
        self._numbers = itertools.count(1)

    def refresh_date(self, wall_seconds: float) -> None:
        """Renders the Date header for the wall-clock time given."""
        self.date = formatdate(wall_seconds, usegmt=True).encode()

    def request_id(self, offered: bytes | None) -> str:
        """The request's id: the one that the client sent when it is harmless, else a new one."""
        if offered is not None and _acceptable_request_id(offered):
            return offered.decode()
        return f"{self._prefix}-{next(self._numbers):x}"

    def dispatch(self, request: Request) -> None:
        """Calls the handler. Whatever it raises becomes an answer; the connection lives on.

        While the buffers are too full the answer is 503 and the handler never sees the request.
        """
        if self.memory.full:
            self.observer.refused("memory")
            request.respond(problem_response(errors.unavailable("the node's buffers are full")))
            return
        try:
            self.handler(request)
        except errors.Problem as problem:
            if not request.answered:
                request.respond(problem_response(problem))
        except Exception:  # one request's bug must not end the requests of others
            log.exception("request %s: the handler failed", request.request_id)
            if not request.answered:
                request.respond(problem_response(_internal_error()))

    def client_left(self, request: Request) -> bool:
        """Tells the handler that the client has gone; see `Request.client_left`. Never raises."""
        try:
            return request.client_left()
        except Exception:  # the connection's clean-up must reach its other requests
            log.exception("request %s: the close callback failed", request.request_id)
            return True
