"""Inboxes: what clients have asked for and nobody has decided yet, one bounded line per tenant, served in rotation.

Owns fairness between tenants and the bound on each. An inbox takes everything that is offered, so that nothing parsed
is lost; once it is full it says so, and whoever reads for that tenant stops until there is room again.
"""

from collections import deque
from collections.abc import Callable

from appliance.tasks.model import Operation

Resume = Callable[[], bool | None]
"""Has whoever waited for room read again. False: nobody is there any more."""


class Inbox:
    """One tenant's undecided operations."""

    __slots__ = ("bytes_count", "held", "operations", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.operations: deque[tuple[Operation, int, int]] = deque()
        """Each with its cost in transitions and its size in bytes."""
        self.bytes_count = 0
        self.held: list[Resume] = []
        """Whom to tell when there is room again."""


class Inboxes:
    """All tenants' inboxes. Those with something in them take turns."""

    def __init__(self, operations_max: int, bytes_max: int) -> None:
        self._operations_max = operations_max
        self._bytes_max = bytes_max
        self._inboxes: dict[str, Inbox] = {}
        self._turns: deque[str] = deque()

    def __len__(self) -> int:
        return sum(len(inbox.operations) for inbox in self._inboxes.values())

    @property
    def tenants_waiting(self) -> int:
        """How many tenants have something undecided."""
        return len(self._turns)

    def offer(self, operation: Operation) -> bool:
        """Take an operation. False: the inbox is full now, so the caller must stop reading for this tenant."""
        inbox = self._inboxes.get(operation.tenant)
        if inbox is None:
            # An inbox has its turn for as long as it is here, also while its last operation is being decided: the
            # answer to that one may bring the next.
            inbox = self._inboxes[operation.tenant] = Inbox(operation.tenant)
            self._turns.append(operation.tenant)
        size_bytes = operation.size_bytes
        inbox.operations.append((operation, operation.cost, size_bytes))
        inbox.bytes_count += size_bytes
        return len(inbox.operations) < self._operations_max and inbox.bytes_count < self._bytes_max

    def put_back(self, operations: list[Operation]) -> None:
        """Offer operations again, before everything that came after them."""
        for operation in reversed(operations):
            self.offer(operation)
            inbox = self._inboxes[operation.tenant]
            inbox.operations.rotate(1)

    def when_room(self, tenant: str, resume: Resume) -> None:
        """Call `resume` once when this tenant's inbox is half empty; at once where it is already."""
        inbox = self._inboxes.get(tenant)
        if inbox is None:
            resume()
        else:
            inbox.held.append(resume)

    def turn(self) -> Inbox | None:
        """The inbox whose turn it is, or None where all are empty. Give it back with `done`."""
        return self._inboxes[self._turns[0]] if self._turns else None

    def of(self, tenant: str) -> Inbox | None:
        """This tenant's inbox, out of turn, or None where it is empty. Give it back with `done`."""
        return self._inboxes.get(tenant)

    def done(self, inbox: Inbox) -> list[Resume]:
        """This inbox was served: all others come before it again. Returns whom to tell that there is room again."""
        tenant = inbox.tenant
        assert self._inboxes[tenant] is inbox
        self._turns.remove(tenant)
        if inbox.operations:
            self._turns.append(tenant)
        else:
            del self._inboxes[tenant]
        if (
            inbox.held
            and len(inbox.operations) * 2 <= self._operations_max
            and inbox.bytes_count * 2 <= self._bytes_max
        ):
            held, inbox.held = inbox.held, []
            return held
        return []
