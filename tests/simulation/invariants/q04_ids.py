"""Q4: ids are unique, never used again, and grow in the order in which tasks are created."""

from tests.simulation.ledger import Change
from tests.simulation.violation import Violation
from tests.simulation.world import Watcher, World


class Ids(Watcher):
    """The newest id on disk."""

    def __init__(self, world: World) -> None:
        self._newest = b""

    def committed(self, change: Change) -> None:
        for task_id in sorted(task_id for task_id, body in change.bodies.items() if body is not None):
            if task_id <= self._newest:
                raise Violation("Q4", f"id {task_id.hex()} is not greater than {self._newest.hex()}")
            self._newest = task_id
        if change.mark is None or change.mark.last_id < self._newest:
            raise Violation("Q4", "a group does not carry the newest id")
