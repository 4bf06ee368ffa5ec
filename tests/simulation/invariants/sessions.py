"""Streams in the long run: none outlives its token or its age, and no Ready waits for long beside a ready task.

What each event, answer and end must be is looked at when it happens, in `contract`.
"""

from bisect import bisect_left

from appliance.engine.tables import READY, prefix_end
from tests.simulation.invariants.q16_q17_order import WAKE_LATE_MS
from tests.simulation.node import Node
from tests.simulation.sessions import Pipe
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World

END_LATE_MS = 25_000
"""More than stalled disks and paused processes cost in a run."""


class Sessions(Watcher):
    """Looks at the streams that are open."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting_since: dict[Pipe, int] = {}

    def ticked(self, node: Node) -> None:
        world = self._world
        world.pipes = [pipe for pipe in world.pipes if not pipe.over and pipe.node is node]
        self._waiting_since = {pipe: since for pipe, since in self._waiting_since.items() if not pipe.over}
        for pipe in world.pipes:
            if not pipe.closed:
                self._ends(pipe)
                self._wakes(pipe, node)

    def _ends(self, pipe: Pipe) -> None:
        contract, plan = pipe.contract, self._world.plan
        late_ms = END_LATE_MS + plan.settle_seconds * 1_000
        if plan.running_jumps != (0,) or not contract.greeted or self._world.now - pipe.node.healthy_ms < late_ms:
            return
        aged_seconds = contract.aged_seconds and contract.aged_seconds + 0.2 * plan.age_seconds
        for seconds, what in (
            (contract.expires_seconds, "token"),
            (aged_seconds, "age"),
            (contract.drained_seconds, "drain"),
        ):
            if 0 < seconds * 1_000 < self._world.wall_ms() - late_ms:
                raise Violation("sessions", f"{contract.name} has outlived its {what}")

    def _wakes(self, pipe: Pipe, node: Node) -> None:
        world, contract = self._world, pipe.contract
        if contract.shut or pipe.ending:
            return
        waiting = pipe.waiting()
        if sum(count for _, count in waiting) != contract.readys.total():
            raise Violation("sessions", f"{contract.name} has lost count of its readys: {waiting}")
        rests = pipe.full or not pipe.reads or node.scheduler.inboxes.tenants_waiting > 0
        since_ms = world.now if rests else self._waiting_since.setdefault(pipe, world.now)
        if rests:
            self._waiting_since.pop(pipe, None)
        if world.now - max(since_ms, node.healthy_ms, contract.readys_ms) < WAKE_LATE_MS:
            return
        for commands, count in waiting:
            for queue in world.ledger.queues_of(contract.tenant, commands) if count else ():
                self._none_ready(contract.name, queue)

    def _none_ready(self, name: str, queue: bytes) -> None:
        if self._world.now - self._world.ledger.free_since(queue)[1] < WAKE_LATE_MS:
            return
        keys = self._world.store.keys[READY]
        for key in keys[bisect_left(keys, queue) : bisect_left(keys, prefix_end(queue))]:
            if self._world.now - self._world.ledger.ready[key][1] > WAKE_LATE_MS:
                raise Violation("sessions", f"{name} waits beside {key[-16:].hex()}, which is ready")
