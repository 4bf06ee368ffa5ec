"""Whether the node moves: what decides that the service manager's watchdog is fed.

Owns the judgement over loop, committer and timers, from samples that it is given. No clock and no thread in here: that
somebody asks is the proof that the loop turns, so it has to be asked on the loop and never from a helper thread.
"""

from dataclasses import dataclass
from typing import Final

LOOKS_PER_INTERVAL: Final = 4
"""How often the watchdog is fed in the time after which it would bite: two lost turns don't matter."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What was seen at one look.

    `group` is the number of the group that the committer has, None when it has none. `timer_late_seconds` is how long
    ago the timer of the tasks should have fired; infinite when nobody has set it.
    """

    now_seconds: float
    group: int | None
    committer_alive: bool
    timer_late_seconds: float


class Judge:
    """Compares each pulse with those before. Nothing may stand still for longer than `limit_seconds`."""

    __slots__ = ("_group", "_limit_seconds", "_since_seconds")

    def __init__(self, limit_seconds: float) -> None:
        self._limit_seconds = limit_seconds
        self._group: int | None = None
        self._since_seconds = 0.0

    def complaint(self, pulse: Pulse) -> str:
        """What stands still, in words for the log; empty when all is well."""
        if pulse.group != self._group:
            self._group = pulse.group
            self._since_seconds = pulse.now_seconds
        if not pulse.committer_alive:
            return "the committer has ended"
        at_it_seconds = pulse.now_seconds - self._since_seconds
        if self._group is not None and at_it_seconds > self._limit_seconds:
            return f"the committer has been at one group for {at_it_seconds:.0f} s"
        if pulse.timer_late_seconds > self._limit_seconds:
            return "the timer of the tasks does not fire"
        return ""
