"""The connection that a producer or a worker keeps: when to connect, where to, and when to give up.

Owns the states below, the pauses between attempts, and the hint of a server that another node leads. Must not know
what the events mean beyond Hello, nor how a connection is made. Time and randomness are arguments.

               connecting             greeted              half_close
    PAUSED ───────────────► GREETING ─────────► OPEN ─────────────────► ENDING
      ▲  ▲                     │                  │                        │ ended
      │  └──── ended ──────────┴──────────────────┘                        ▼
      │                                  (or ended with a fatal status)  CLOSED
      └── the first state
"""

import enum
import re
from collections.abc import Callable, Sequence
from typing import Final

from codeq.errors import CodeqError, from_status

BACKOFF_BASE_SECONDS: Final = 0.1
BACKOFF_CAP_SECONDS: Final = 15.0
"""A fleet that lost its server comes back within this time, spread by full jitter, and never as a stampede."""
HELLO_SECONDS: Final = 10.0
"""From the start of an attempt to the answer to Hello; past that the attempt is given up."""
STABLE_SECONDS: Final = 5.0
"""A connection that lived so long was a good one: the next pause starts small again. One that is greeted and ended
at once, by a node that is about to go, counts as a failure."""
GREETED_ATTEMPTS_MAX: Final = 3
"""What failures before a greeting still count for after it: somebody is there, so the next pause is under a second."""
REDIRECTS_MAX: Final = 3
"""Hints to the leader that are followed in a row without a pause: two nodes that point at each other cost no more."""
FATAL: Final = frozenset({"PERMISSION_DENIED", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNIMPLEMENTED"})
"""Statuses that the same request with the same token meets again."""
_LEADER: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253}):[0-9]{1,5}")


class State(enum.Enum):
    """Of one connection."""

    PAUSED = "paused"
    GREETING = "greeting"
    OPEN = "open"
    ENDING = "ending"
    CLOSED = "closed"


class Link:
    """The state of the connection to one of `targets` (each `host:port`).

    `token_changes` says that the next attempt may carry another token, so that a refused one is not the end.
    `jitter` returns a number from 0 to 1. All times are seconds of one monotonic clock.
    """

    __slots__ = (
        "_attempts",
        "_deadline",
        "_greeted",
        "_jitter",
        "_leader",
        "_next_target",
        "_open_since",
        "_redirects",
        "_targets",
        "_token_changes",
        "fatal",
        "pause_until",
        "state",
        "trouble",
    )

    def __init__(self, targets: Sequence[str], *, token_changes: bool, jitter: Callable[[], float]) -> None:
        self.state = State.PAUSED
        self.pause_until = 0.0
        self.trouble: CodeqError | None = None
        """Why there is no connection, or why the latest ended."""
        self.fatal: CodeqError | None = None
        self._targets = tuple(targets)
        self._next_target = 0
        self._token_changes = token_changes
        self._jitter = jitter
        self._leader = ""
        self._attempts = 0
        self._redirects = 0
        self._deadline = 0.0
        self._greeted = False
        self._open_since = 0.0

    @property
    def target(self) -> str:
        """Where the next attempt goes: the leader if one was named, else the configured ones in turn."""
        return self._leader or self._targets[self._next_target]

    @property
    def ending(self) -> bool:
        """Whether the writing side is to be closed."""
        return self.state in (State.ENDING, State.CLOSED)

    def connecting(self, now: float) -> None:
        """An attempt begins; Hello is the first event to send."""
        assert self.state is State.PAUSED
        self.state = State.GREETING
        self._deadline = now + HELLO_SECONDS
        self._greeted = False

    def greeted(self, now: float) -> None:
        """Hello was answered."""
        if self.state is State.GREETING:
            self.state = State.OPEN
            self._greeted = True
            self._open_since = now
            self._attempts = min(self._attempts, GREETED_ATTEMPTS_MAX)
            self._redirects = 0
            self.trouble = None

    def half_close(self) -> None:
        """Nothing more will be sent; the server ends the stream."""
        self.state = State.ENDING

    def ended(self, now: float, status: str, details: str, leader: str) -> None:
        """The connection is over, with the name of its gRPC status and the leader that its trailers named."""
        if self.ending:
            self.state = State.CLOSED
            return
        self.trouble = from_status(status, details)
        if status in FATAL or (status == "UNAUTHENTICATED" and not self._greeted and not self._token_changes):
            self.close(self.trouble)
            return
        self.state = State.PAUSED
        if self._greeted and now - self._open_since >= STABLE_SECONDS:
            self._attempts = 0
        self._choose_target(leader)
        self.pause_until = now + self._pause_seconds()

    def close(self, fatal: CodeqError | None = None) -> None:
        """No further attempt. The first fatal error stays."""
        self.state = State.CLOSED
        self.fatal = self.fatal or fatal

    def overdue(self, now: float) -> bool:
        """Whether the answer to Hello is late, so that the attempt has to be given up."""
        return self.state is State.GREETING and now >= self._deadline

    def wake_at(self) -> float | None:
        """When `overdue` may become true."""
        return self._deadline if self.state is State.GREETING else None

    def _choose_target(self, leader: str) -> None:
        if leader and _LEADER.fullmatch(leader) and self._redirects < REDIRECTS_MAX:
            self._leader = leader
            self._redirects += 1
            return
        if not self._leader:
            self._next_target = (self._next_target + 1) % len(self._targets)
        self._leader = ""

    def _pause_seconds(self) -> float:
        if self._leader:
            return 0.0
        longest = min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2.0 ** min(self._attempts, 16))
        self._attempts += 1
        return longest * self._jitter()
