"""The node under test: the production Scheduler and Clock, over a dictionary store and a seam that takes its time.

The seam makes groups durable in order after a delay, with a moment between the row being on disk and the loop hearing
of it; it fails groups, and a crash keeps any prefix of what was on its way.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from appliance.engine.group import TableWrites
from appliance.engine.rows import Idem
from appliance.engine.tables import DUE, LEASE, POST
from appliance.errors import unavailable
from appliance.tasks import scheduler
from appliance.tasks.clock import Clock
from appliance.tasks.model import NewTask, Operation
from appliance.tasks.scheduler import NEVER, Scheduler
from tests.simulation.chance import Chance
from tests.simulation.courier import Courier
from tests.simulation.ledger import Change
from tests.simulation.plan import STALL_MS_MAX
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World

EPOCH_MS = 1_800_000_000_000
PUMPS_AT_ONE_MOMENT_MAX = 2_000
"""Pumps at one moment of virtual time: many more than any amount of work there needs."""


class Flight:
    """A group on its way to the disk."""

    __slots__ = ("applied", "change", "fails", "fresh", "number", "parked_ms", "writes")

    def __init__(self, number: int, writes: list[TableWrites], fresh: list[set[bytes]], change: Change) -> None:
        self.number = number
        self.writes = writes
        self.fresh = fresh
        self.change = change
        self.fails = False
        self.applied = False
        self.parked_ms = 0.0


class Node:
    """One life of the process, from a start to a crash."""

    def __init__(self, world: "World", incarnation: int) -> None:
        plan = world.plan
        self.world = world
        self.incarnation = incarnation
        self.alive = True
        self.healthy_ms = world.now
        self._rng = Chance(f"{plan.seed}/seam/{incarnation}")
        self._flights: deque[Flight] = deque()
        self._last_landing_ms = world.now
        self._last_heard_ms = world.now
        self._opened_ms = world.now
        self._paused_until_ms = 0
        self._pump_due = False
        self._timer = 0
        self._moment = (-1, 0)
        self._held: dict[str, deque[Operation]] = {}
        self.clock = Clock(world.wall_ms(), self._monotonic_ms())
        self.scheduler = Scheduler(
            world.store,
            self,
            plan.settings,
            Chance(f"{plan.seed}/node/{incarnation}"),
            wake=self._wake,
            now=self.clock.now,
            same_json=same_json,
            same_request=same_request,
            on_error=_raise,
            touch=None if plan.touch == "none" else self._touch,
        )
        self.scheduler.outgoing.courier = Courier(self)
        self._wake()

    # What clients do.

    def offer(self, operation: Operation) -> None:
        """An operation arrives; while its tenant's inbox is full it waits on its connection."""
        held = self._held.get(operation.tenant)
        if held is not None:
            held.append(operation)
        elif not self.scheduler.offer(operation):
            self._held[operation.tenant] = deque()
            self.scheduler.when_room(operation.tenant, lambda: self._resume(operation.tenant))
        if self.scheduler.quiet_waits and self._rng.random() < 0.5:
            self.world.at(0, self._hurry)

    def _hurry(self) -> None:
        if self.alive and self.world.now >= self._paused_until_ms:
            self.scheduler.hurry(self.now())

    def _resume(self, tenant: str) -> None:
        held = self._held.pop(tenant)
        while held:
            if not self.scheduler.offer(held.popleft()):
                self._held[tenant] = held
                self.scheduler.when_room(tenant, lambda: self._resume(tenant))
                return

    def now(self) -> int:
        """The node's clock (ms)."""
        return self.clock.read(self.world.wall_ms(), self._monotonic_ms())

    @property
    def quiet(self) -> bool:
        """Whether everything that was asked for has been decided and is durable, and nothing is about to happen."""
        scheduler = self.scheduler
        return not (
            self._flights
            or self._held
            or self._pump_due
            or scheduler.inboxes.tenants_waiting
            or scheduler.overlay.open.transitions
        )

    def pause(self, ms: int) -> None:
        """The process does not run for so long."""
        self._paused_until_ms = self.healthy_ms = self.world.now + ms

    def crash(self) -> None:
        """The process ends here; the disk keeps a prefix of the groups that were on their way."""
        self.alive = False
        for flight in self._flights:
            if not flight.applied:
                if flight.fails or self._rng.random() < 0.5:
                    break
                self._apply(flight)
        self._flights.clear()

    # The seam.

    def ready(self) -> bool:
        return len(self._flights) < self.world.plan.depth

    def submit(self, number: int, writes: list[TableWrites]) -> None:
        world, plan, rng = self.world, self.world.plan, self._rng
        group = self.scheduler.overlay.all_groups()[-2]
        if group.number != number:
            raise Violation("seam", f"group {number} was submitted while {group.number} was closed")
        change = Change(number, self.clock.now, self._opened_ms, world.now, world.went_back)
        self._opened_ms = world.now
        flight = Flight(number, writes, group.fresh, change)
        delay = rng.randint(*plan.commit_ms)
        if world.faults and rng.random() < plan.stall_chance:
            delay = rng.randint(500, STALL_MS_MAX)
            self.healthy_ms = max(self.healthy_ms, world.now + delay)
        lost_before = bool(self._flights) and self._flights[-1].fails
        flight.fails = lost_before or (world.faults and rng.random() < plan.failure_chance)
        flight.parked_ms = 5.0 if rng.random() < 0.1 else 0.5
        self._flights.append(flight)
        world.log("submit", number, sum(len(each.puts) + len(each.deletes) for each in writes))
        self._last_landing_ms = max(self._last_landing_ms, world.now + delay)
        world.at(self._last_landing_ms - world.now, self._land, flight)

    def _land(self, flight: Flight) -> None:
        if not self.alive or flight not in self._flights:
            return
        if not flight.fails:
            self._apply(flight)
        self._last_heard_ms = max(self._last_heard_ms, self.world.now + self._rng.randint(0, 2))
        self.world.at(self._last_heard_ms - self.world.now, self._complete, flight)

    def _apply(self, flight: Flight) -> None:
        flight.applied = True
        self.world.commit(flight.writes, flight.fresh, flight.change)

    def _complete(self, flight: Flight) -> None:
        if not self.alive or flight not in self._flights:
            return
        now = self.now()
        if flight.fails:
            self.world.log("failed", flight.number)
            self._flights.clear()
            self.healthy_ms = self.world.now
            problem = unavailable("no space for this group", 10) if self._rng.random() < 0.5 else None
            self.scheduler.failed(flight.number, now, problem)
        else:
            assert self._flights[0] is flight
            self._flights.popleft()
            self.scheduler.durable(flight.number, now, flight.parked_ms)
            self.world.durable(flight.change)

    def _touch(self, _tables: Sequence[int], _keys: Sequence[bytes], done: Callable[[], None]) -> bool:
        if self.world.plan.touch == "mixed" and self._rng.random() < 0.3:
            return False
        self.world.at(self._rng.randint(0, 40), self._touched, done)
        return True

    def _touched(self, done: Callable[[], None]) -> None:
        if self.alive:
            done()

    # The loop.

    def _monotonic_ms(self) -> int:
        divisor = self.world.plan.drift_divisor
        return self.world.now + (self.world.now // divisor if divisor else 0)

    def _wake(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            self.world.at(0, self._pump)

    def _pump(self) -> None:
        if not self.alive:
            return
        world = self.world
        if world.now < self._paused_until_ms:
            world.at(self._paused_until_ms - world.now, self._pump)
            return
        self._pump_due = False
        moment, count = self._moment
        self._moment = (world.now, count + 1 if moment == world.now else 1)
        if self._moment[1] > PUMPS_AT_ONE_MOMENT_MAX and self._moment[1] > self._pumps_max():
            raise Violation("spin", f"the pump was called {self._moment[1]} times in one moment")
        now = self.now()
        self.scheduler.pump(now)
        next_ms = self.scheduler.next_time()
        self._timer += 1
        if next_ms != NEVER:
            world.at(max(0, next_ms - now), self._timer_rings, self._timer)

    def _pumps_max(self) -> int:
        """How often the pump may be called at one moment. Times that a clock which went back has left far ahead are
        looked through a few rows at a time."""
        if not self.world.went_back:
            return PUMPS_AT_ONE_MOMENT_MAX
        rows = sum(len(self.world.store.rows[table]) for table in (LEASE, DUE, POST))
        return PUMPS_AT_ONE_MOMENT_MAX + rows // scheduler.REBASE_ROWS

    def _timer_rings(self, timer: int) -> None:
        if self.alive and timer == self._timer and not self._pump_due:
            self._pump_due = True
            self._pump()


def same_json(one: bytes, other: bytes) -> bool:
    """Whether two JSON texts are the same value; both may be empty."""
    return one == other or (bool(one) and bool(other) and bool(msgspec.json.decode(one) == msgspec.json.decode(other)))


def same_request(idem: Idem, _payload: bytes, new: NewTask) -> bool:
    """Whether two requests with one key are one. Payloads are marked here, so that each differs: the hash decides."""
    return idem.request_hash == new.terms_hash


def _raise(error: BaseException) -> Any:
    raise error
