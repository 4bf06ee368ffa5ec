"""The leases that one worker stream received: which delivery an event without `lease_id` stands for, and which of them
never left this node.

Owns a bounded memory by task id as text. Leases that are over stay known for a while: an event that comes late must
not be taken for the task's newest delivery, which may be somebody else's. Must not know streams or operations.
"""

from collections import deque
from collections.abc import Iterable

from appliance.api.streams.settings import HELD_MAX, SETTLED_KEPT

Lease = tuple[bytes, int]
"""One delivery: the task's id and the number of the lease."""

Delivered = list[tuple[str, Lease]]
"""Task ids as text, each with its lease."""


class Leases:
    """Leases by task id, held ones and the last that were settled."""

    __slots__ = ("_older", "_settled", "held")

    def __init__(self) -> None:
        self.held: dict[str, Lease] = {}
        """Received and not settled, as far as this stream knows, oldest first."""
        self._settled: dict[str, Lease] = {}
        self._older: dict[str, Lease] = {}

    def received(self, delivered: Delivered) -> None:
        """Tasks were sent to the worker."""
        held = self.held
        held.update(delivered)
        while len(held) > HELD_MAX:
            self.settled(next(iter(held)))

    def find(self, text: str) -> Lease | None:
        """The last lease that was received for a task, held or not."""
        return self.held.get(text) or self._settled.get(text) or self._older.get(text)

    def settled(self, text: str, number: int | None = None) -> None:
        """A lease is over, in the worker's or in the server's words; a newer one of the task stays held."""
        self.all_settled(((text, number),))

    def all_settled(self, over: Iterable[tuple[str, int | None]]) -> None:
        """`settled` for the leases of one answer."""
        if len(self._settled) >= SETTLED_KEPT:
            # Two generations, so that forgetting costs nothing for each lease.
            self._older, self._settled = self._settled, {}
        held, settled = self.held, self._settled
        for text, number in over:
            lease = held.get(text)
            if lease is not None and (number is None or number == lease[1]):
                del held[text]
                settled[text] = lease


class Outbox:
    """Which tasks went with which message, as long as the message may still be unsent.

    An entry is the number of its first message, tasks per message, and the tasks.
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: deque[tuple[int, int, Delivered]] = deque()

    def add(self, first: int, count: int, delivered: Delivered, written: int) -> None:
        """Tasks were given to the call, beginning with message `first`; `written` messages have left it."""
        entries = self._entries
        while entries and entries[0][0] + -(-len(entries[0][2]) // entries[0][1]) <= written:
            entries.popleft()
        entries.append((first, count, delivered))

    def unsent(self, written: int) -> list[tuple[str, Lease]]:
        """The tasks of messages that have not left."""
        return [
            lease for first, count, delivered in self._entries for lease in delivered[max(0, written - first) * count :]
        ]
