"""Q8: an answer leaves only when everything that it says is on disk, a claim before all."""

from appliance.engine.rows import CLAIMED, COMPLETED, FAILED
from appliance.tasks.model import Claimed, Extended, Finish, Record, Returned, Task
from tests.simulation.history import OK, Action, Call
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World


class DurableAnswers(Watcher):
    """Compares each answer with the disk at the moment at which it is given."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ledger = world.ledger

    def answered(self, call: Call) -> None:
        # The disk may be some groups ahead of the answer, up to the sweep or the purge of the task.
        swept = self._ledger.swept
        if isinstance(call.outcome, Claimed):
            for task in call.outcome.tasks:
                if task.id not in swept:
                    self._check_claimed(call, task)
        for action in call.actions:
            if action.verdict == OK and action.asked.id not in swept:
                self._check_action(call, action)

    def _check_claimed(self, call: Call, task: Task) -> None:
        durable, told = self._ledger.states.get(task.id), task.state
        if durable is None or durable.lease_number < told.lease_number:
            raise Violation(
                "Q8", f"call {call.number} got lease {told.lease_number} of {task.id.hex()} before the disk"
            )
        if durable.lease_number == told.lease_number and durable.status == CLAIMED:
            if (durable.subject, durable.worker, durable.attempts) != (told.subject, told.worker, told.attempts):
                raise Violation("Q8", f"call {call.number} was told of a lease that the disk does not have")
            operation = call.operation
            if (told.subject, told.worker) != (operation.subject, operation.worker):
                raise Violation("Q8", f"call {call.number} got the lease of another")
        body = self._ledger.bodies.get(task.id)
        if body is None or body.payload != task.body.payload:
            raise Violation("Q8", f"call {call.number} got a payload that the disk does not have")

    def _check_action(self, call: Call, action: Action) -> None:
        outcome, asked = action.outcome, action.asked
        state = self._ledger.states.get(asked.id)
        if isinstance(outcome, Record):
            if state is None or state.status not in (COMPLETED, FAILED) or state.result != outcome.state.result:
                raise Violation("Q8", f"call {call.number} got a record that is not on disk")
            if isinstance(asked, Finish) and (state.status == COMPLETED) != asked.completed:
                raise Violation("Q8", f"call {call.number} was told of another end")
            return
        lease = getattr(asked, "lease", None)
        if state is None or lease is None or state.lease_number != lease:
            return
        # After a clock that went back, a lease that was just extended is shortened by one of the next groups.
        if (
            isinstance(outcome, Extended)
            and state.status == CLAIMED
            and state.lease_until < outcome.lease_until
            and not self._world.went_back
        ):
            raise Violation("Q8", f"call {call.number} was told of an extension that is not on disk")
        if isinstance(outcome, Returned) and state.status == CLAIMED:
            raise Violation("Q8", f"call {call.number} gave back a lease that the disk still has")
