"""Q11: attempts count deliveries and only an abandon gives one back. Q12: dead letters exactly when nothing is left."""

from appliance.engine.rows import CLAIMED, DLQ, PENDING, State
from appliance.tasks.model import Abandon, Claimed, Nack, Requeue, Returned
from tests.simulation.history import FAIL, OK, Call, owns
from tests.simulation.ledger import Change
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World


class Attempts(Watcher):
    """The counts of each delivery."""

    def __init__(self, world: World) -> None:
        self._history = world.history
        self._settings = world.plan.settings
        self._counts: dict[tuple[bytes, int], State] = {}

    def committed(self, change: Change) -> None:
        for task_id, (old, new) in change.states.items():
            if new is None:
                continue
            self._check_bounds(task_id, new)
            if old is not None:
                self._check_step(task_id, old, new)
            elif new.deliveries != new.lease_number:
                raise Violation("Q11", f"a new task {task_id.hex()} has a wrong count")

    def _bound(self, state: State) -> int:
        return max(self._settings.max_deliveries, 2 * state.max_attempts)

    def _check_bounds(self, task_id: bytes, state: State) -> None:
        bound = self._bound(state)
        if not 0 <= state.attempts <= min(state.max_attempts, state.deliveries) or state.deliveries > bound:
            raise Violation("Q11", f"{task_id.hex()} has {state.attempts} attempts of {state.deliveries} deliveries")
        spent = state.attempts >= state.max_attempts or state.deliveries >= bound
        if state.status == PENDING and spent:
            raise Violation("Q12", f"{task_id.hex()} waits and has nothing left")
        if state.status == DLQ:
            if not spent:
                raise Violation("Q12", f"{task_id.hex()} is dead after {state.attempts} of {state.max_attempts}")
            if not state.error:
                raise Violation("Q12", f"{task_id.hex()} is dead without a reason")

    def _check_step(self, task_id: bytes, old: State, new: State) -> None:
        if old.status == DLQ and new.status != DLQ:
            if not self._history.may_have(task_id, Requeue):
                raise Violation("Q12", f"{task_id.hex()} came back from the dead by itself")
            return
        granted = new.lease_number - old.lease_number
        if new.deliveries - old.deliveries != granted and not self._history.may_have(task_id, Requeue):
            raise Violation(
                "Q11", f"{granted} leases of {task_id.hex()} are {new.deliveries - old.deliveries} deliveries"
            )
        given_back = old.attempts + granted - new.attempts
        if given_back and not self._history.may_have(task_id, Requeue):
            abandons = sum(
                1
                for action in self._history.actions.get(task_id, ())
                if isinstance(action.asked, Abandon)
                and action.verdict != FAIL
                and (action.asked.lease is None or old.lease_number <= action.asked.lease <= new.lease_number)
            )
            if not 0 <= given_back <= abandons:
                raise Violation("Q11", f"{given_back} attempts of {task_id.hex()} were given back by nobody")

    def answered(self, call: Call) -> None:
        if isinstance(call.outcome, Claimed):
            for task in call.outcome.tasks:
                if task.state.status != CLAIMED or task.state.attempts < 1:
                    raise Violation("Q11", f"call {call.number} got a delivery that was not counted")
                self._counts[task.id, task.state.lease_number] = task.state
        for action in call.actions:
            asked, outcome = action.asked, action.outcome
            if action.verdict == OK and isinstance(asked, Nack | Abandon) and isinstance(outcome, Returned):
                held = self._counts.get((asked.id, asked.lease or 0))
                if held is None or not owns(asked, held):
                    continue
                expected = held.attempts - (isinstance(asked, Abandon) and not outcome.dead)
                if outcome.attempts != expected:
                    raise Violation("Q11", f"call {call.number} was told {outcome.attempts} attempts, not {expected}")
