"""Streams in the long run: none outlives its token or its age, and each Ready that waits stands in a claim.

That claims are woken is Q17.

What each event, answer and end must be is looked at when it happens, in `contract`.
"""

from typing import Any

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
        self._unasked_since: dict[tuple[Pipe, Any], int] = {}

    def ticked(self, node: Node) -> None:
        world = self._world
        world.pipes = [pipe for pipe in world.pipes if not pipe.over and pipe.node is node]
        self._unasked_since = {place: since for place, since in self._unasked_since.items() if not place[0].over}
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
        unasked = {(pipe, kind) for kind in pipe.unasked()}
        self._unasked_since = {
            place: since for place, since in self._unasked_since.items() if place[0] is not pipe or place in unasked
        }
        for place in unasked:
            since_ms = max(self._unasked_since.setdefault(place, world.now), node.healthy_ms, contract.readys_ms)
            if world.now - since_ms > WAKE_LATE_MS and not world.overloaded():
                raise Violation("sessions", f"{contract.name} has readys that stand in no claim")
