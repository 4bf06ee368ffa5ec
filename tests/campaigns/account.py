"""What the clients of a campaign were told, in as little memory as it takes: the ids of unfinished tasks.

Owns the sets of ids and the oddities. Must not know how anything was sent. Ids are bytes, as streams have them;
times are seconds of the monotonic clock.
"""

from collections.abc import Iterable, Mapping
from typing import Final

ODDITIES_MAX: Final = 100


class Account:
    """Acknowledged creates that are not finished yet, and the reverse. Nothing else is kept."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.finished = 0
        """Results that were accepted, for the first time or again."""
        self.oddities: list[str] = []
        self._open: set[bytes] = set()
        self._early: set[bytes] = set()
        self._earlier: set[bytes] = set()
        self._doubts: dict[bytes, float] = {}

    def created(self, tasks: Iterable[bytes]) -> None:
        """Creates were acknowledged. A finish may have been heard of before."""
        for task in tasks:
            self.acknowledged += 1
            if task in self._early:
                self._early.remove(task)
            elif task in self._earlier:
                self._earlier.remove(task)
            else:
                self._open.add(task)

    def done(self, tasks: Iterable[bytes]) -> None:
        """Results were accepted."""
        for task in tasks:
            self.finished += 1
            if task in self._open:
                self._open.remove(task)
            else:
                self._early.add(task)

    def doubt(self, tasks: Mapping[bytes, float]) -> None:
        """Results were sent at these times, and nobody said that they were accepted."""
        self._doubts.update(tasks)

    def doubts(self) -> list[tuple[bytes, float]]:
        """What is in doubt still: a task that somebody else has finished is not."""
        self._doubts = {task: since for task, since in self._doubts.items() if task in self._open}
        return list(self._doubts.items())

    def is_open(self, task: bytes) -> bool:
        """Whether it was acknowledged, and is not known to be finished."""
        return task in self._open

    def forget(self) -> None:
        """Forget finishes that were heard of before the last call and had no acknowledgement: their creates were lost
        on the way, and nobody waits for an answer any more."""
        self._early, self._earlier = set(), self._early

    def odd(self, text: str) -> None:
        """Something was said that should not have been; of many such things the first are kept."""
        if len(self.oddities) < ODDITIES_MAX:
            self.oddities.append(text)

    @property
    def unfinished(self) -> int:
        """Acknowledged, and not known to be finished."""
        return len(self._open)
