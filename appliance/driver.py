"""The driver: what the sans-IO scheduler needs from the outside world, on the event loop.

Owns the calls of the pump (once per turn, on wake-ups and at the next time), the clock readings, the local seam from
the scheduler to the committer and back, and the watch over free disk space. Must not know HTTP, nor what an operation
means.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from random import Random

from appliance.engine import crashpoints
from appliance.engine.committer import Committer, CommitTimes
from appliance.engine.crashpoints import reach
from appliance.engine.faults import DiskNotTrusted, NoSpace, StoreError
from appliance.engine.group import TableWrites
from appliance.engine.store import Store
from appliance.engine.toucher import Toucher
from appliance.errors import unavailable
from appliance.service.watchdog import Pulse
from appliance.tasks.clock import Clock
from appliance.tasks.judgement import SameRequest
from appliance.tasks.moves import Timings
from appliance.tasks.scheduler import NEVER, Scheduler
from appliance.tasks.settings import TaskSettings

log = logging.getLogger("codeq.driver")

FLOOR_LOOK_SECONDS = 1.0
"""How often the free space is looked at. At 500 MB/s, faster than any disk here, this is half of the default floor."""

TIMER_SECONDS_MAX = 60.0
"""The loop looks at the time at least this often, so that the clock keeps following the wall clock."""


class LocalSeam:
    """The seam of a single node: straight to the committer."""

    def __init__(self) -> None:
        self.committer: Committer | None = None

    def ready(self) -> bool:
        """Whether the committer is free."""
        return self.committer is not None and not self.committer.busy

    def submit(self, number: int, writes: list[TableWrites]) -> None:
        """Hand a closed group to the committer; the loop is parked until its rows are in the transaction."""
        assert self.committer is not None
        reach(crashpoints.BEFORE_HAND_OVER)
        self.committer.submit(number, writes)
        reach(crashpoints.COMMITTING)


class Driver:
    """Runs one shard's scheduler over a store.

    `on_fatal` is called once, with the reason, when nothing may be acknowledged any more. `on_group` hears of every
    durable group: transitions, milliseconds parked, milliseconds of the commit.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        store: Store,
        settings: TaskSettings,
        rng: Random,
        *,
        same_json: Callable[[bytes, bytes], bool],
        same_request: SameRequest,
        timings: Timings,
        on_fatal: Callable[[StoreError], None],
        on_group: Callable[[int, float, float], None],
        free_floor_bytes: int,
    ) -> None:
        self._loop = loop
        self._store = store
        self._on_fatal = on_fatal
        self._on_group = on_group
        self.free_floor_bytes = free_floor_bytes
        """Below this, creates are refused; looked at every second, and may change."""
        self._woken = False
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self.clock = Clock(_wall_ms(), _steady_ms())
        self.free_bytes = store.free_bytes()
        self._seam = LocalSeam()
        self._toucher = Toucher(store, loop.call_soon_threadsafe)
        self.scheduler = Scheduler(
            store,
            self._seam,
            settings,
            rng,
            wake=self.wake,
            now=self.clock.now,
            same_json=same_json,
            same_request=same_request,
            on_error=self._report,
            touch=self._toucher.touch,
            timings=timings,
        )
        self._seam.committer = self._committer = Committer(
            store, loop.call_soon_threadsafe, self._durable, self._failed
        )
        self._look_at_floor()
        self.wake()

    def now_ms(self) -> int:
        """Our clock: milliseconds since the epoch."""
        return self.clock.read(_wall_ms(), _steady_ms())

    def wake(self) -> None:
        """Have the pump run once in the next turn of the loop."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._pump)

    @property
    def idle(self) -> bool:
        """Whether nothing is undecided and nothing decided waits to become durable."""
        scheduler = self.scheduler
        return not (
            self._woken
            or self._committer.busy
            or scheduler.inboxes.tenants_waiting
            or scheduler.overlay.open.transitions
        )

    @property
    def sliced(self) -> bool:
        """Whether turns of the loop are to be short now; see the scheduler."""
        return self.scheduler.sliced

    @property
    def hurried(self) -> bool:
        """Whether the answer that is given right now is for somebody who should not wait for others."""
        return self.scheduler.hurried

    def fed(self) -> None:
        """What was read from a connection is offered: if a quiet tenant is among it, it need not wait for the pump, nor
        for the rest of this turn if the group that is in its way is durable meanwhile."""
        self._committer.look()
        if self.scheduler.quiet_waits and not self._stopped:
            try:
                self.scheduler.hurry(self.now_ms())
            except StoreError as error:
                self._end(error)

    def pulse(self) -> Pulse:
        """What the watchdog looks at. Times are the loop's, which stand still while the machine is suspended."""
        now_seconds = self._loop.time()
        if self._timer is not None:
            late_seconds = max(0.0, now_seconds - self._timer.when())
        else:
            late_seconds = 0.0 if self._woken else math.inf
        return Pulse(now_seconds, self._committer.group, self._committer.alive, late_seconds)

    def stop(self) -> None:
        """Stop the threads after the commit under way. What was offered and not decided is forgotten, unanswered."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._committer.stop()
        self._toucher.stop()

    def _pump(self) -> None:
        try:
            # What is durable already is answered before more is decided. Still woken: this pump is enough.
            self._committer.look()
        finally:
            self._woken = False
        if self._stopped:
            return
        now = self.now_ms()
        try:
            self.scheduler.pump(now)
        except StoreError as error:
            self._end(error)
            return
        reach(crashpoints.DECIDED)
        self._set_timer(now)

    def _set_timer(self, now: int) -> None:
        at = min(self.scheduler.next_time(), now + int(TIMER_SECONDS_MAX * 1000))
        if self._timer is not None:
            if at >= self._timer_at:
                return  # it fires early at worst, and then sets itself again
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - now, 0) / 1000, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self.wake()

    def _durable(self, number: int, times: CommitTimes) -> None:
        if self._stopped:
            return
        reach(crashpoints.BEFORE_ANSWERS)
        transitions = self.scheduler.overlay.oldest_transitions
        try:
            self.scheduler.durable(number, self.now_ms(), times.parked_ms)
        except StoreError as error:
            self._end(error)
            return
        reach(crashpoints.ANSWERED)
        self._on_group(transitions, times.parked_ms, times.commit_ms)

    def _failed(self, number: int, error: StoreError) -> None:
        if self._stopped:
            return
        if not isinstance(error, NoSpace):
            self._end(error)
            return
        log.error("group %d was not written: %s", number, error)
        self._set_accepts(accepts=False)
        try:
            self.scheduler.failed(number, self.now_ms(), unavailable("the disk is full; nothing was changed", 10))
        except StoreError as fatal:
            self._end(fatal)

    def _end(self, error: StoreError) -> None:
        self._stopped = True
        self._on_fatal(error)

    def _report(self, error: BaseException) -> None:
        if isinstance(error, DiskNotTrusted):
            self._end(error)
        else:
            log.error("%s: %s", type(error).__name__, error, exc_info=error)

    def _look_at_floor(self) -> None:
        if self._stopped:
            return
        try:
            self.free_bytes = self._store.free_bytes()
        except OSError as error:
            self._end(DiskNotTrusted(f"the free space of the store's disk cannot be read: {error}"))
            return
        self._set_accepts(accepts=self.free_bytes >= self.free_floor_bytes)
        if dropped := self._store.drop_dead_readers():
            log.warning("%d copies of the store were given up by processes that died", dropped)
        self._loop.call_later(FLOOR_LOOK_SECONDS, self._look_at_floor)

    def _set_accepts(self, *, accepts: bool) -> None:
        if accepts != self.scheduler.accepts_creates:
            log.warning(
                "creates are %s: %d bytes free, floor %d",
                "accepted again" if accepts else "refused",
                self.free_bytes,
                self.free_floor_bytes,
            )
            self.scheduler.set_accepts_creates(accepts)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _steady_ms() -> int:
    # Unlike the monotonic clock this one goes on while the machine is suspended: leases end on time after a resume.
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
