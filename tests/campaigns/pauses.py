"""Rules of a campaign's judge about paused queues, and when a queue was paused as far as its operators were told.

Pure, like `history`, whose records it reads. From the answer to a pause to the request to resume, a queue is surely
paused, whatever dies in between. From the request to pause to the answer to a resume it may be. A delivery is timed by
its lease, and a create by its id: both are the node's own clock.
"""

import uuid
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.campaigns.history import Deed, History

PAUSE: Final = "pause"
RESUME: Final = "resume"
DISPATCH: Final = "dispatch"
INTAKE: Final = "intake"
BOTH: Final = "both"
PAUSED: Final = 503
"""Of a create that was refused because its queue's intake was paused. Every other 5xx is unknown."""
TOLERANCE_MS: Final = 25
"""Clients and node read the same clock a moment apart."""
LATE_MS: Final = 1_000
"""So long a request that was given up may still be carried out, and a pause that ends by itself go on past its end."""


class Spans:
    """Spans of time, as their union."""

    def __init__(self, spans: Iterable[tuple[float, float]] = ()) -> None:
        self._begins: list[float] = []
        self._ends: list[float] = []
        for begin, end in sorted(spans):
            if self._ends and begin <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            elif begin < end:
                self._begins.append(begin)
                self._ends.append(end)

    def meet(self, begin: float, end: float) -> bool:
        """Whether any of them has a moment between these two."""
        at = bisect_right(self._begins, end) - 1
        return at >= 0 and self._ends[at] >= begin

    def around(self, moment: float) -> bool:
        """Whether one of them goes from well before this moment to well after it."""
        at = bisect_right(self._begins, moment - TOLERANCE_MS) - 1
        return at >= 0 and self._ends[at] > moment + TOLERANCE_MS


def surely(history: "History", part: str) -> dict[str, Spans]:
    """By queue, when this part of it was paused for certain."""
    return _spans(
        (queue, ((each.answered_ms, _first_end_ms(each, deeds)) for each in deeds if each.kind == PAUSE and each.done))
        for queue, deeds in _deeds(history, part).items()
    )


def maybe(history: "History", part: str) -> dict[str, Spans]:
    """By queue, when this part of it may have been paused."""
    return _spans(
        (queue, ((each.sent_ms, _last_end_ms(each, deeds)) for each in deeds if each.kind == PAUSE and each.possible))
        for queue, deeds in _deeds(history, part).items()
    )


def _spans(spans: Iterable[tuple[str, Iterable[tuple[float, float]]]]) -> dict[str, Spans]:
    return defaultdict(Spans, ((queue, Spans(each)) for queue, each in spans))


def _deeds(history: "History", part: str) -> dict[str, list["Deed"]]:
    """What was asked about this part of each queue."""
    deeds: dict[str, list[Deed]] = {}
    for deed in history.deeds:
        if deed.part in (part, BOTH):
            deeds.setdefault(deed.about, []).append(deed)
    return deeds


def _first_end_ms(pause: "Deed", deeds: list["Deed"]) -> float:
    """The earliest moment at which an acknowledged pause can have ended."""
    later = [each for each in deeds if each.possible and each.over_ms > pause.sent_ms]
    ends = [each.sent_ms for each in later if each.kind == RESUME]
    ends += [each.until_ms for each in later if each.until_ms]
    return min(ends, default=float("inf"))


def _last_end_ms(pause: "Deed", deeds: list["Deed"]) -> float:
    """From when on a pause has surely ended."""
    ends = [each.answered_ms for each in deeds if each.kind == RESUME and each.done and each.sent_ms > pause.over_ms]
    if pause.until_ms:
        ends.append(pause.until_ms + LATE_MS)
    return min(ends, default=float("inf"))


def violations(history: "History") -> Iterator[str]:
    """Whatever went on in spite of a pause, or was refused without one."""
    yield from _nothing_delivered(history)
    yield from _nothing_made(history)
    yield from _nothing_refused_without_a_pause(history)


def _nothing_delivered(history: "History") -> Iterator[str]:
    paused = surely(history, DISPATCH)
    queue_of = {create.mark: create.queue for create in history.creates}
    for delivery in history.deliveries:
        queue = queue_of.get(delivery.mark, "")
        if paused[queue].around(delivery.claimed_ms):
            yield f"delivered while paused: {delivery.id} of {queue}: {delivery}"


def _nothing_made(history: "History") -> Iterator[str]:
    paused = surely(history, INTAKE)
    queue_of = {create.mark: create.queue for create in history.creates}
    made = {create.id: create.queue for create in history.creates if create.id}
    made |= {delivery.id: queue_of.get(delivery.mark, "") for delivery in history.deliveries}
    for task, queue in made.items():
        if paused[queue].around(uuid.UUID(task).int >> 80):
            yield f"created while paused: {task} of {queue}"


def _nothing_refused_without_a_pause(history: "History") -> Iterator[str]:
    paused = maybe(history, INTAKE)
    for create in history.creates:
        if create.status == PAUSED and not paused[create.queue].meet(create.sent_ms, create.answered_ms):
            yield f"refused without a pause: {create}"
