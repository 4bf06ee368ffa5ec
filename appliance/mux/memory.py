"""One account of the bytes that all connections together buffer.

Owns the sum (requests not yet answered, answers not yet written) and its two marks: above the first no new request is
read, above the second new requests are answered 503. Connections that stopped reading are woken once when the sum has
fallen. Knows no connection, only callables. Runs on the event loop's thread.
"""

from collections.abc import Callable

RESUME_SHARE = 0.95
"""Of the stop mark: reading starts again only somewhat below it, or every release would wake everybody."""


class Memory:
    """Counts bytes against a total of `total_bytes`.

    Invariant: `used_bytes` is the sum of all `take` less all `give`, and never negative.
    """

    __slots__ = ("_resume_bytes", "_waiting", "shed_bytes", "stop_bytes", "total_bytes", "used_bytes")

    def __init__(self, total_bytes: int, stop_share: float, shed_share: float) -> None:
        self.used_bytes = 0
        self.total_bytes = total_bytes
        self.stop_bytes = int(total_bytes * stop_share)
        self.shed_bytes = int(total_bytes * shed_share)
        self._resume_bytes = int(self.stop_bytes * RESUME_SHARE)
        self._waiting: dict[Callable[[], None], None] = {}

    @property
    def busy(self) -> bool:
        """Half full: patience with those who do not read ends."""
        return self.used_bytes * 2 > self.total_bytes

    @property
    def tight(self) -> bool:
        """Too full to read new requests."""
        return self.used_bytes > self.stop_bytes

    @property
    def full(self) -> bool:
        """Too full to accept a request that has been read."""
        return self.used_bytes > self.shed_bytes

    @property
    def exhausted(self) -> bool:
        """Too full to go on with a body that is half read."""
        return self.used_bytes > self.total_bytes

    def take(self, count: int) -> None:
        """Adds `count` bytes."""
        self.used_bytes += count

    def give(self, count: int) -> None:
        """Returns `count` bytes that were taken, and wakes those who wait for room."""
        self.used_bytes -= count
        if self._waiting and self.used_bytes <= self._resume_bytes:
            waiting, self._waiting = self._waiting, {}
            for wake in waiting:
                wake()

    def wait(self, wake: Callable[[], None]) -> None:
        """Calls `wake` once when there is room again."""
        self._waiting[wake] = None

    def forget(self, wake: Callable[[], None]) -> None:
        """Withdraws a `wait`."""
        self._waiting.pop(wake, None)
