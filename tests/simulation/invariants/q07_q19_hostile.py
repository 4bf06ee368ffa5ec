"""Q7: an old or foreign lease is refused and changes nothing. Q19: no tenant sees or changes anything of another."""

from appliance import errors
from appliance.errors import Problem
from appliance.tasks.model import Claimed, Created, OwnerAction
from tests.simulation.history import FAIL, OK, UNKNOWN, Call
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World

_REFUSALS = (
    errors.NOT_FOUND,
    errors.PERMISSION_DENIED,
    errors.NOT_CLAIMED,
    errors.LEASE_LOST,
    errors.CANCELLED,
)


class Hostile(Watcher):
    """Calls that must be refused are. That they change nothing follows from Q6: their actions excuse no change."""

    def __init__(self, world: World) -> None:
        self._queues: dict[bytes, str] = {}

    def answered(self, call: Call) -> None:
        if call.verdict != UNKNOWN:
            if call.expect and call.verdict == OK:
                raise Violation("Q19" if call.expect == "not-found" else "Q7", f"call {call.number} was accepted")
            if call.expect and isinstance(call.outcome, Problem):
                self._check_code(call, call.outcome.code)
        for action in call.actions:
            if action.verdict == FAIL and isinstance(action.asked, OwnerAction) and action.outcome is not None:
                code = action.outcome.code
                if code not in _REFUSALS:
                    raise Violation("Q7", f"call {call.number} was refused with {code}")
        self._check_tenant(call)

    def _check_code(self, call: Call, code: str) -> None:
        if call.expect == "not-found" and code != errors.NOT_FOUND:
            raise Violation("Q19", f"call {call.number} learned more than that there is no such task: {code}")
        if call.expect == "refused" and code not in _REFUSALS:
            raise Violation("Q7", f"call {call.number} was refused with {code}")

    def _check_tenant(self, call: Call) -> None:
        tasks = call.outcome.tasks if isinstance(call.outcome, Claimed) else []
        outcomes = [item.outcome for item in call.items]
        tasks = [*tasks, *(outcome.task for outcome in outcomes if isinstance(outcome, Created))]
        for task in tasks:
            owner = self._queues.setdefault(task.state.queue[:4], call.operation.tenant)
            if owner != call.operation.tenant:
                raise Violation("Q19", f"tenant {call.operation.tenant} got task {task.id.hex()} of {owner}")
