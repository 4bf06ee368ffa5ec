"""The courier under the simulated node: it has little room, takes its time, and its receivers fail as the plan says.

It notes what it was given and what a receiver got. A crash takes it along; what receivers got stays with them.
"""

from collections import deque
from typing import TYPE_CHECKING, Any

from appliance.errors import Problem
from appliance.tasks.model import Due, Settle
from appliance.tasks.notifier import Notification
from tests.simulation.chance import Chance

if TYPE_CHECKING:
    from tests.simulation.node import Node

PARKED_PER_TENANT_MAX = 3


class Courier:
    """One process's courier."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._world = node.world
        self._rng = Chance(f"{node.world.plan.seed}/courier/{node.incarnation}")
        self._parked: deque[Due] = deque()
        self._under_way = 0
        self._full: set[str] = set()
        self._room_max = self._rng.choice((1, 4, 16))
        self._slots = self._rng.choice((1, 2, 4))

    def room(self) -> int:
        return self._room_max - len(self._parked) - self._under_way

    def accept(self, due: Due) -> bool:
        for sending in self._world.watchers.sending:
            sending(due, self._node)
        self._world.log("sending", due.id.hex(), due.attempts)
        self._parked.append(due)
        self._next()
        if sum(each.tenant == due.tenant for each in self._parked) < PARKED_PER_TENANT_MAX:
            return True
        self._full.add(due.tenant)
        return False

    def notify(self, tenant: str, notification: Notification) -> None:
        self._world.log("notify", tenant, notification.command)
        self._world.at(self._rng.randint(0, 400), self._notified, notification)

    def _notified(self, notification: Notification) -> None:
        if self._node.alive:
            heard = not self._world.faults or self._rng.random() >= self._world.plan.receiver_failure_chance
            self._node.scheduler.outgoing.notified(self._node.now(), notification, heard=heard)

    def _next(self) -> None:
        while self._parked and self._under_way < self._slots:
            self._under_way += 1
            self._world.at(self._rng.randint(0, 400), self._attempted, self._parked.popleft())

    def _attempted(self, due: Due) -> None:
        if not self._node.alive:
            return
        letter = self._node.scheduler.reads.letter(due.id)
        fails = self._world.faults and self._rng.random() < self._world.plan.receiver_failure_chance
        heard = not fails or self._rng.random() < 0.3  # a receiver may get it and fail to say so
        if heard:
            for received in self._world.watchers.received:
                received(due, letter)
        final = fails and self._rng.random() < 0.05
        self._world.log("attempted", due.id.hex(), not fails, final)

        def settled(outcome: bool | Problem) -> None:
            self._under_way -= 1
            self._node.scheduler.outgoing.landed(due.id, settled=not isinstance(outcome, Problem))
            self._next()
            for tenant in sorted(self._full):
                if sum(each.tenant == tenant for each in self._parked) < PARKED_PER_TENANT_MAX:
                    self._full.discard(tenant)
                    self._node.scheduler.outgoing.resume_deliveries(tenant)

        for attempted in self._world.watchers.attempted:
            attempted(due, delivered=not fails, final=final)
        settle: Any = Settle(due.tenant, settled, due.id, not fails, "it fails" if fails else "", final)
        self._node.scheduler.offer(settle)
