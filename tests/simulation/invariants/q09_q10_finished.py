"""Q9: a finished task is never delivered again and never changes. Q10: the first accepted result stays."""

import msgspec

from appliance.engine.rows import COMPLETED, DLQ, State
from appliance.tasks.model import Claimed, Finish, Record, Requeue
from tests.simulation.history import OK, Call
from tests.simulation.ledger import Change
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World


class Finished(Watcher):
    """The end of each task, and the step at which it was on disk."""

    def __init__(self, world: World) -> None:
        self._history = world.history
        self._ends: dict[bytes, tuple[int, State]] = {}

    def committed(self, change: Change) -> None:
        for task_id, (old, new) in change.states.items():
            if old is not None and old.status >= COMPLETED and new is not None:
                if old.status != DLQ or not self._history.may_have(task_id, Requeue):
                    raise Violation("Q9", f"task {task_id.hex()} has changed after its end")
                self._ends.pop(task_id, None)
            if new is not None and new.status >= COMPLETED:
                self._ends[task_id] = (change.step, new)

    def answered(self, call: Call) -> None:
        if isinstance(call.outcome, Claimed):
            for task in call.outcome.tasks:
                end = self._ends.get(task.id)
                if end is not None and end[0] < call.sent:
                    raise Violation("Q9", f"task {task.id.hex()} was delivered after its end")
        for action in call.actions:
            asked = action.asked
            if action.verdict == OK and isinstance(asked, Finish) and isinstance(action.outcome, Record):
                self._check_result(call, asked, action.outcome)

    def _check_result(self, call: Call, asked: Finish, record: Record) -> None:
        end = self._ends.get(asked.id)  # kept also when the task has been swept meanwhile
        if end is None or end[1] != record.state:
            raise Violation("Q10", f"call {call.number} got a result that is not the recorded one")
        if _value(record.state.result) != _value(asked.result):
            raise Violation("Q10", f"call {call.number} was told ok with the result of another")


def _value(text: bytes) -> object:
    return msgspec.json.decode(text) if text else None
