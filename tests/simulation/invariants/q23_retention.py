"""Q23: the sweep takes only what has ended, and only when its retention is over, or an operator says so."""

from appliance.engine.rows import CLAIMED, COMPLETED, DLQ, QueueControl, State
from appliance.tasks.model import Purge
from tests.simulation.ledger import Change
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World


class Retention(Watcher):
    """The end of each row."""

    def __init__(self, world: World) -> None:
        self._settings = world.plan.settings
        self._history = world.history
        self._controls = world.ledger.queue_controls

    def committed(self, change: Change) -> None:
        for task_id, (old, new) in change.states.items():
            if new is not None and new.status >= COMPLETED:
                kept_ms = new.expires - new.completed
                wanted_ms = self._wanted_ms(new)
                # What was set in this very group may have come before the end or after it.
                if kept_ms != wanted_ms and new.queue not in change.queue_controls:
                    raise Violation("Q23", f"{task_id.hex()} is kept for {kept_ms} ms, not {wanted_ms}")
            if new is None and old is not None:
                may_be_purged = self._history.may_have(task_id, Purge)
                if old.status < COMPLETED and not may_be_purged:
                    raise Violation("Q23", f"{task_id.hex()} was swept alive")
                if old.expires > change.clock_ms and not (old.status in (CLAIMED, DLQ) and may_be_purged):
                    raise Violation("Q23", f"{task_id.hex()} was swept {old.expires - change.clock_ms} ms too early")

    def _wanted_ms(self, state: State) -> int:
        control = self._controls.get(state.queue, QueueControl())
        if state.status == DLQ:
            own, of_node = control.dead_retention_ms, self._settings.dead_retention_ms
        else:
            own, of_node = control.retention_ms, self._settings.retention_ms
        return of_node if own is None else own
