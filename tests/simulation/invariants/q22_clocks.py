"""Q22: clocks that jump lose nothing and end no lease early by more than the stated bound.

While the process lives, a lease lasts at least 19/20 of its length in true time, whatever the wall clock does. After a
restart with a clock that went back, no lease lies further ahead than its own length.
"""

from appliance.engine.rows import CLAIMED, PENDING
from appliance.engine.tables import DUE, time_key
from appliance.tasks.moves import LEASE_EXPIRED
from tests.simulation.ledger import Change
from tests.simulation.node import Node
from tests.simulation.plan import STALL_MS_MAX
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World

REBASED_MS = 25_000


class Clocks(Watcher):
    """When each lease was set, in true time, and by which life of the process; and which tasks wait for another."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._set: dict[bytes, tuple[int, int, int]] = {}
        self._waiting_again: set[bytes] = set()
        self._life = 0
        self._clock_ms = 0

    def started(self, node: Node) -> None:
        self._life = node.incarnation
        self._clock_ms = 0

    def committed(self, change: Change) -> None:
        if change.clock_ms < self._clock_ms:
            raise Violation("Q22", "the node's clock went back while it ran")
        self._clock_ms = change.clock_ms
        for task_id, (old, new) in change.states.items():
            if new is not None and new.status == PENDING and new.lease_number:
                self._waiting_again.add(task_id)
            else:
                self._waiting_again.discard(task_id)
            if new is None:
                self._set.pop(task_id, None)
            elif new.status == CLAIMED:
                self._set[task_id] = (self._life, change.opened_ms, new.lease_until - new.updated)
            elif old is not None and old.status == CLAIMED:
                life, opened_ms, length_ms = self._set.pop(task_id)
                by_time = new.status == PENDING and new.error == LEASE_EXPIRED and new.updated >= old.lease_until
                if by_time and old.error != LEASE_EXPIRED and life == self._life:
                    lasted_ms = change.closed_ms - opened_ms
                    if lasted_ms < length_ms * 9 // 10 - 10:
                        raise Violation("Q22", f"a lease of {length_ms} ms on {task_id.hex()} lasted {lasted_ms} ms")

    def ticked(self, node: Node) -> None:
        world = self._world
        if not world.went_back or world.now - node.healthy_ms < REBASED_MS:
            return
        now = node.now()
        states = world.ledger.states
        for task_id in self._set:
            state = states[task_id]
            if state.lease_until > now + state.lease_ms + STALL_MS_MAX:
                raise Violation("Q22", f"the lease of {task_id.hex()} lies {state.lease_until - now} ms ahead")
        farthest = now + max(world.plan.settings.backoff_cap_ms, 1_000) + STALL_MS_MAX
        for task_id in self._waiting_again:
            state = states[task_id]
            # A task that has become due keeps the time at which it did, which may lie ahead of a clock that went back.
            if state.run_at > farthest and time_key(state.queue, state.run_at, task_id) in world.store.rows[DUE]:
                raise Violation("Q22", f"the retry of {task_id.hex()} lies {state.run_at - now} ms ahead")
