"""Q15: a delayed task is never delivered before its time, and is claimable soon after it. So for ends of leases."""

from bisect import bisect_left

from appliance.engine.rows import CLAIMED, PENDING
from appliance.engine.tables import DUE, EXPIRE, LEASE, time_key, time_of
from appliance.tasks import scheduler, shares
from appliance.tasks.model import Claimed
from tests.simulation.history import Call
from tests.simulation.ledger import Change
from tests.simulation.node import Node
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World

LATE_MS = 25_000
"""More than a stalled disk, a paused process and small groups together may cost in a run."""


class Delays(Watcher):
    """Nothing early, nothing late."""

    def __init__(self, world: World) -> None:
        self._world = world

    def committed(self, change: Change) -> None:
        rows = self._world.store.rows[DUE]
        for task_id, (old, new) in change.states.items():
            if new is None or change.went_back:
                continue
            if old is not None and old.status == PENDING and new.status == CLAIMED:
                if new.lease_number == old.lease_number + 1 and new.claimed < old.run_at:
                    raise Violation("Q15", f"{task_id.hex()} was claimed {old.run_at - new.claimed} ms too early")
            elif (
                new.status == PENDING
                and new.run_at > change.clock_ms
                and time_key(new.queue, new.run_at, task_id) not in rows
            ):
                raise Violation("Q15", f"{task_id.hex()} is claimable before its time")

    def answered(self, call: Call) -> None:
        if isinstance(call.outcome, Claimed) and not self._world.went_back:
            for task in call.outcome.tasks:
                if task.state.lease_number == 1 and task.state.claimed < task.state.run_at:
                    raise Violation("Q15", f"{task.id.hex()} was delivered before its time")

    def ticked(self, node: Node) -> None:
        for table in (DUE, LEASE, EXPIRE):
            late_ms = LATE_MS + (self._sweep_ms() if table == EXPIRE else 0)
            if self._world.now - node.healthy_ms < late_ms:
                continue
            overdue = node.now() - late_ms
            keys = self._world.store.keys[table]
            at = 0
            while at < len(keys):
                if time_of(keys[at]) < overdue:
                    raise Violation("Q15", f"a row of table {table} is overdue by more than {late_ms} ms")
                at = bisect_left(keys, keys[at][:4] + b"\xff" * 24)

    def _sweep_ms(self) -> int:
        """How long the sweep of everything may take where each group has room for a few tasks only."""
        plan = self._world.plan
        # Groups are small where the loop was parked for long, and beside a quiet tenant.
        least = min(plan.settings.group_transitions_max, scheduler.GROUP_TRANSITIONS_MIN, shares.SMALL_TRANSITIONS)
        share = min(scheduler.SWEEP_QUANTUM, max(1, least // scheduler.SWEEP_SHARE_DIVISOR))
        return len(self._world.store.keys[EXPIRE]) * (plan.commit_ms[1] + 50) // share
