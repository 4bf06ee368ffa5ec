"""Rules of a campaign's judge about times and order: delays, the order of deliveries, and claims that end empty.

Pure, like `history`, whose records it reads. Q15, Q16 and Q17 look at a task's first lease only: from then on a lost
answer may have given the task back at a moment that nobody knows. A delivery's time is the node's own clock, which goes
on over restarts, so that deliveries of one node compare without a tolerance.
"""

from bisect import bisect_left
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.campaigns import pauses

if TYPE_CHECKING:
    from tests.campaigns.history import Delivery, History

TOLERANCE_MS: Final = 25
"""Clients and node read the same clock a moment apart."""


class _Known(NamedTuple):
    """A task that was ready from `ready_ms` on, at the latest, until its first lease."""

    place: tuple[int, str]
    ready_ms: float
    claimed_ms: float


def violations(history: "History") -> Iterator[str]:
    """Whatever came too early, out of order, or not at all."""
    yield from _nothing_early(history)
    first = {each.id: each for each in history.deliveries if each.number == 1}
    queues = _known(history, first)
    queue_of = {create.mark: create.queue for create in history.creates}
    claims: dict[str, list[Delivery]] = {}
    for delivery in first.values():
        claims.setdefault(queue_of.get(delivery.mark, ""), []).append(delivery)
    for queue, known in queues.items():
        yield from _nothing_passed_over(history, known, claims.get(queue, []))
    yield from _nothing_left_beside_an_empty_claim(history, queues)


def _nothing_early(history: "History") -> Iterator[str]:
    """Q15: no delivery before the end of the task's delay."""
    due: dict[str, float] = {}
    for create in history.creates:
        due[create.mark] = min(due.get(create.mark, create.not_before_ms), create.not_before_ms)
    for delivery in history.deliveries:
        early_ms = due.get(delivery.mark, 0) - delivery.claimed_ms
        if early_ms > TOLERANCE_MS:
            yield f"delivered too early: {delivery.id}: by {early_ms:.0f} ms"


def _known(history: "History", first: dict[str, "Delivery"]) -> dict[str, list[_Known]]:
    queues: dict[str, list[_Known]] = {}
    seen: set[str] = set()
    for create in history.creates:
        delivery = first.get(create.id)
        if delivery is None or create.not_before_ms or create.id in seen:
            continue
        seen.add(create.id)
        place = (255 - create.priority, create.id)
        queues.setdefault(create.queue, []).append(_Known(place, create.answered_ms, delivery.claimed_ms))
    return queues


def _nothing_passed_over(history: "History", known: list[_Known], claims: list["Delivery"]) -> Iterator[str]:
    """Q16: no first delivery while a task with more priority, or an older one, stood ready in the same queue."""
    priorities = {create.mark: create.priority for create in history.creates}
    waiting: list[tuple[tuple[int, str], float]] = []
    known.sort(key=lambda each: each.ready_ms)
    at = 0
    for claim in sorted(claims, key=lambda each: each.claimed_ms):
        while at < len(known) and known[at].ready_ms < claim.claimed_ms - TOLERANCE_MS:
            heappush(waiting, (known[at].place, known[at].claimed_ms))
            at += 1
        while waiting and waiting[0][1] <= claim.claimed_ms:
            heappop(waiting)
        place = (255 - priorities[claim.mark], claim.id)
        if waiting and waiting[0][0] < place:
            yield f"out of order: {claim.id} was delivered before {waiting[0][0][1]}, which was ready"


def _nothing_left_beside_an_empty_claim(history: "History", queues: dict[str, list[_Known]]) -> Iterator[str]:
    """Q17: an empty answer only where nothing was ready at some moment of the claim, or was not to be had."""
    paused = pauses.maybe(history, pauses.DISPATCH)
    index: dict[str, tuple[list[float], list[float]]] = {}
    for queue, known in queues.items():
        known.sort(key=lambda each: each.ready_ms)
        index[queue] = ([each.ready_ms for each in known], list(accumulate((each.claimed_ms for each in known), max)))
    for claim in history.empty_claims:
        for queue in claim.queues:
            ready, latest = index.get(queue, ([], []))
            before = bisect_left(ready, claim.sent_ms)
            passed_over = before and latest[before - 1] > claim.answered_ms + TOLERANCE_MS
            if passed_over and not paused[queue].meet(claim.sent_ms, claim.answered_ms):
                yield f"not delivered: a claim ended empty beside a ready task of {queue}, {claim}"
