"""Q5: at most one live lease, and nothing of an older one is accepted. Q6: a new lease only after the old one ended."""

from appliance.engine.rows import CLAIMED, DLQ, PENDING, State
from appliance.tasks.model import Cancel, Claimed, OwnerAction
from appliance.tasks.moves import LEASE_EXPIRED
from tests.simulation.history import OK, Call
from tests.simulation.ledger import Change
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World


class Leases(Watcher):
    """Every lease has one beginning and an end that somebody asked for or that time brought."""

    def __init__(self, world: World) -> None:
        self._history = world.history
        self._granted: set[tuple[bytes, int]] = set()

    def committed(self, change: Change) -> None:
        for task_id, (old, new) in change.states.items():
            if old is not None and old.status == CLAIMED:
                if new is not None and new.status == CLAIMED and new.lease_number == old.lease_number:
                    self._same_lease(task_id, old, new, change)
                else:
                    self._lease_ended(task_id, old, new, change)
            if old is not None and new is not None and new.lease_number < old.lease_number:
                raise Violation("Q5", f"the leases of {task_id.hex()} count backwards")

    def _same_lease(self, task_id: bytes, old: State, new: State, change: Change) -> None:
        if (new.subject, new.worker, new.attempts, new.deliveries) != (
            old.subject,
            old.worker,
            old.attempts,
            old.deliveries,
        ):
            raise Violation("Q5", f"lease {old.lease_number} of {task_id.hex()} has changed its owner or its count")
        if new.lease_until > old.lease_until and not self._history.heartbeats(task_id, old):
            raise Violation("Q7", f"lease {old.lease_number} of {task_id.hex()} was extended by nobody")
        # Shortened by a clock that went back, at any moment while the group was open.
        open_ms = change.closed_ms - change.opened_ms + 1
        shortest = new.updated + min(old.lease_ms, new.lease_ms) - open_ms * 2
        if new.lease_until < old.lease_until and not (change.went_back and new.lease_until >= shortest):
            raise Violation("Q6", f"lease {old.lease_number} of {task_id.hex()} was shortened")

    def _lease_ended(self, task_id: bytes, old: State, new: State | None, change: Change) -> None:
        expired = change.clock_ms >= old.lease_until
        returned = new is not None and new.status in (PENDING, DLQ) and new.lease_number == old.lease_number
        if returned and new is not None and new.error == LEASE_EXPIRED and old.error != LEASE_EXPIRED:
            expired = new.updated >= old.lease_until
        if expired or change.went_back:
            return
        history = self._history
        if history.releases(task_id, old) or history.may_have(task_id, Cancel):
            return
        raise Violation("Q6", f"lease {old.lease_number} of {task_id.hex()} ended before its time by nobody's will")

    def answered(self, call: Call) -> None:
        if isinstance(call.outcome, Claimed):
            for task in call.outcome.tasks:
                lease = (task.id, task.state.lease_number)
                if lease in self._granted:
                    raise Violation("Q5", f"lease {lease[1]} of {task.id.hex()} was granted twice")
                self._granted.add(lease)
        for action in call.actions:
            asked = action.asked
            if action.verdict != OK or not isinstance(asked, OwnerAction):
                continue
            if asked.lease is not None and asked.lease < action.lease_before:
                raise Violation("Q5", f"call {call.number} did something with lease {asked.lease}, which was over")
