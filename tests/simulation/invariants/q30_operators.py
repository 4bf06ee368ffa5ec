"""Q30: what operators set is kept from the group on in which it is durable, ends when it should, and is audited.

Groups are decided one after the other. So what was set by an earlier group, and is not touched by this one, held for
each decision in this one.
"""

from appliance.engine.rows import CLAIMED, COMPLETED, DLQ, FAILED, PENDING, QueueControl, State, TenantControl
from appliance.errors import CANCELLED, Problem
from appliance.tasks import operators
from appliance.tasks.model import OwnerAction
from tests.simulation.history import Call
from tests.simulation.ledger import Change
from tests.simulation.node import Node
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World

LATE_MS = 25_000


class Operators(Watcher):
    """What is set, and who is claimed or created in spite of it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ledger = world.ledger
        self._claimed: dict[bytes, int] = {}
        self._waiting: dict[bytes, int] = {}
        self._cancelled: dict[bytes, tuple[int, State]] = {}
        self._ends: dict[tuple[bytes, str], tuple[int, int]] = {}
        """For queues and what is paused about them: the end that was set, and when it has to be over by the node's
        clock. That is later where the end had passed already when it was set, as it may have behind the wall clock."""

    def committed(self, change: Change) -> None:
        claimed_before = dict(self._claimed)
        for task_id, (old, new) in change.states.items():
            self._count(old, -1)
            self._count(new, +1)
            if new is not None:
                self._check_queue(change, task_id, old, new)
            self._check_audit(change, task_id, old, new)
            if new is not None and new.cancelled:
                self._cancelled[task_id] = (change.step, new)
        for tenant in {(new or old).queue[:4] for old, new in change.states.values() if new or old}:  # type: ignore[union-attr]
            self._check_tenant(change, tenant, claimed_before.get(tenant, 0))
        if (change.queue_controls or change.limits_changed) and not change.audited:
            raise Violation("Q30", "something was set and is not in the audit")
        for tenant, limits in self._ledger.tenant_controls.items():
            if limits.audit_next - limits.audit_first > operators.AUDIT_ENTRIES_MAX + 1:
                raise Violation("Q30", f"the audit of {tenant.hex()} grows without bound")
        for queue in change.queue_controls:
            control = self._ledger.queue_controls[queue]
            self._note_end(change, queue, "dispatch", control.dispatch_until if control.dispatch_paused else 0)
            self._note_end(change, queue, "intake", control.intake_until if control.intake_paused else 0)

    def _note_end(self, change: Change, queue: bytes, part: str, until: int) -> None:
        if not until:
            self._ends.pop((queue, part), None)
        elif self._ends.get((queue, part), (0, 0))[0] != until:
            self._ends[queue, part] = (until, max(until, change.clock_ms))

    def _count(self, state: State | None, by: int) -> None:
        if state is not None and state.status == CLAIMED:
            self._claimed[state.queue[:4]] = self._claimed.get(state.queue[:4], 0) + by
        if state is not None and state.status == PENDING:
            self._waiting[state.queue] = self._waiting.get(state.queue, 0) + by

    def _check_queue(self, change: Change, task_id: bytes, old: State | None, new: State) -> None:
        if new.queue in change.queue_controls:
            return
        control = self._ledger.queue_controls.get(new.queue, QueueControl())
        leased = new.lease_number > (old.lease_number if old is not None else 0)
        if leased and control.dispatch_paused:
            raise Violation("Q30", f"{task_id.hex()} was claimed while its queue's dispatch is paused")
        if old is None and control.intake_paused:
            raise Violation("Q30", f"{task_id.hex()} was created while its queue's intake is paused")
        if old is None and control.depth_max is not None:
            # What else this group took out of the queue or put into it leaves room for doubt.
            others = any(before is not None and before.queue == new.queue for before, _ in change.states.values())
            if not others and self._waiting.get(new.queue, 0) > control.depth_max:
                raise Violation("Q30", f"{task_id.hex()} was created beyond the depth of its queue")

    def _check_tenant(self, change: Change, tenant: bytes, claimed_before: int) -> None:
        control = self._ledger.tenant_controls.get(tenant, TenantControl())
        if tenant in change.limits_changed:
            return
        most, claimed = control.in_flight_max, self._claimed.get(tenant, 0)
        if most is not None and claimed > max(most, claimed_before):
            raise Violation("Q30", f"{claimed} tasks of {tenant.hex()} are claimed, the limit is {most}")

    def _check_audit(self, change: Change, task_id: bytes, old: State | None, new: State | None) -> None:
        by_operator = (
            (new is not None and new.status == FAILED and new.cancelled and not (old is not None and old.cancelled))
            or (old is not None and old.status == DLQ and new is not None and new.status == PENDING)
            or (old is not None and old.status == DLQ and new is None and old.expires > change.clock_ms)
        )
        if by_operator and not change.audited:
            raise Violation("Q30", f"an operator changed {task_id.hex()}, which is not in the audit")

    def answered(self, call: Call) -> None:
        for action in call.actions:
            asked, outcome = action.asked, action.outcome
            end = self._cancelled.get(asked.id)
            if not isinstance(asked, OwnerAction) or end is None or end[0] >= call.sent:
                continue
            state = self._ledger.states.get(asked.id)
            if state is None or not state.cancelled or not state.lease_number or asked.tenant != _tenant(call):
                continue
            owner = asked.subject == state.subject and (asked.worker in ("", state.worker) or not state.worker)
            refused = isinstance(outcome, Problem) and outcome.code in (CANCELLED, "unavailable", "not-found")
            if owner and action.outcome is not None and not refused:
                raise Violation("Q30", f"the owner of {asked.id.hex()}, which was cancelled, was told {outcome}")

    def ticked(self, node: Node) -> None:
        if self._world.now - node.healthy_ms < LATE_MS:
            return
        overdue = node.now() - LATE_MS
        for (queue, part), (_, due) in self._ends.items():
            if due < overdue:
                raise Violation("Q30", f"a pause of {queue.hex()}'s {part} does not end")

    def drained(self) -> None:
        if any(state.status < COMPLETED for state in self._ledger.states.values()):
            raise Violation("Q30", "something is left that nobody may claim")


def _tenant(call: Call) -> str:
    return str(call.operation.tenant)
