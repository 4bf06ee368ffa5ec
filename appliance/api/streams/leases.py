"""The leases that one worker stream received: which delivery an event without `lease_id` stands for.

Owns a bounded memory by task id as text. Leases that are over stay known for a while: an event that comes late must
not be taken for the task's newest delivery, which may be somebody else's. Must not know streams or operations.
"""

from appliance.api.streams.settings import HELD_MAX, SETTLED_KEPT

Lease = tuple[bytes, int]
"""One delivery: the task's id and the number of the lease."""


class Leases:
    """Leases by task id, held ones and the last that were settled."""

    __slots__ = ("_older", "_settled", "held")

    def __init__(self) -> None:
        self.held: dict[str, Lease] = {}
        """Received and not settled, as far as this stream knows, oldest first."""
        self._settled: dict[str, Lease] = {}
        self._older: dict[str, Lease] = {}

    def received(self, text: str, lease: Lease) -> None:
        """A task was sent to the worker."""
        held = self.held
        held[text] = lease
        if len(held) > HELD_MAX:
            self.settled(next(iter(held)))

    def find(self, text: str) -> Lease | None:
        """The last lease that was received for a task, held or not."""
        return self.held.get(text) or self._settled.get(text) or self._older.get(text)

    def settled(self, text: str, number: int | None = None) -> None:
        """A lease is over, in the worker's or in the server's words; a newer one of the task stays held."""
        lease = self.held.get(text)
        if lease is None or (number is not None and number != lease[1]):
            return
        del self.held[text]
        if len(self._settled) >= SETTLED_KEPT:
            # Two generations, so that forgetting costs nothing for each lease.
            self._older, self._settled = self._settled, {}
        self._settled[text] = lease
