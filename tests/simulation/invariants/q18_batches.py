"""Q18: each item's answer is true for that item, and a whole batch is in one durable commit."""

import msgspec

from appliance.tasks.model import CreateBatch, FinishBatch, Record
from tests.simulation.history import OK, Call
from tests.simulation.ledger import Change
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World


class Batches(Watcher):
    """The group in which each batch became durable."""

    def __init__(self, world: World) -> None:
        self._plain: dict[int, int] = {}
        self._call_of: dict[int, int] = {}
        """By the number that its payloads begin with."""
        self._made: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        # Where a tenant may not have all commands, or somebody pauses queues, some items of a batch are refused.
        self._all_fit = world.plan.settings.queues_per_tenant_max > len(world.plan.commands) and not world.plan.stewards
        self._results: dict[int, int] = {}

    def sent(self, call: Call) -> None:
        if isinstance(call.operation, CreateBatch):
            self._plain[call.number] = sum(1 for item in call.items if not item.new.key)
            self._call_of.update((msgspec.json.decode(item.new.payload)[0], call.number) for item in call.items)

    def committed(self, change: Change) -> None:
        plain: dict[int, int] = {}
        for body in change.bodies.values():
            if body is not None:
                number = self._call_of.get(msgspec.json.decode(body.payload)[0])
                if number is not None:
                    if self._made.setdefault(number, change.number) != change.number:
                        raise Violation("Q18", f"batch {number} is in two commits")
                    plain[number] = plain.get(number, 0) + (not body.key)
        self._counts.update(plain)
        for number, count in plain.items():
            if count > self._plain[number] or (self._all_fit and count < self._plain[number]):
                raise Violation("Q18", f"batch {number} made {count} tasks of {self._plain[number]}")
        for _, new in change.states.values():
            if new is not None and new.result.startswith(b'["together"'):
                number = msgspec.json.decode(new.result)[1]
                if self._results.setdefault(number, change.number) != change.number:
                    raise Violation("Q18", f"the results of call {number} are in two commits")

    def answered(self, call: Call) -> None:
        if call.verdict != OK or not isinstance(call.operation, CreateBatch | FinishBatch):
            return
        size = len(call.operation.tasks if isinstance(call.operation, CreateBatch) else call.operation.items)
        if len(call.outcome) != size:
            raise Violation("Q18", f"call {call.number} got {len(call.outcome)} answers for {size} items")
        made = sum(1 for item in call.items if item.verdict == OK and not item.new.key)
        if made != self._counts.get(call.number, 0):
            raise Violation("Q18", f"call {call.number} was told of {made} tasks of {self._counts.get(call.number)}")
        for action in call.actions:
            if isinstance(action.outcome, Record) and action.outcome.id != action.asked.id:
                raise Violation("Q18", f"call {call.number} got the answer of another item")
