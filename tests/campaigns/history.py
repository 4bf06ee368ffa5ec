"""What the clients of a campaign sent and heard, and whether a correct queue could have produced it.

Owns the log of every request and every answer, and the judgement over it: one function per rule, each of which yields
what breaks it. Pure: it knows no socket, no process and no clock. Every time is wall-clock milliseconds; clients and
node share one machine, so their clocks differ by `TOLERANCE_MS` at most.

An outcome is ok (200, 201), refused (any 4xx, and `PAUSED`) or unknown (no answer, or another 5xx: it may have
happened). Rules count an unknown outcome against the queue only where no reading of it is innocent. Streams speak in
the same statuses, as `field.STATUS_OF_CODE` has them. The rules about times and order are in `order`, what goes for
paused queues is in `pauses`.

Q8 (durable before the worker sees it) shows as Q6 here: a claim that a kill undid would be given out again while its
lease lasts. Q13 and Q14 are what `codeq check` looks at after each kill.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, TypeVar

from tests.campaigns import order, pauses
from tests.campaigns.pauses import DISPATCH, INTAKE, LATE_MS, PAUSE, PAUSED, RESUME

T = TypeVar("T")

TOLERANCE_MS: Final = 25
UNKNOWN: Final = 0
RESULT: Final = "result"
HEARTBEAT: Final = "heartbeat"
NACK: Final = "nack"
ABANDON: Final = "abandon"
CANCEL: Final = "cancel"
REQUEUE: Final = "requeue"
REQUEUE_ALL: Final = "requeue of all"
CANCELLED: Final = "cancelled"
MAX_DELIVERIES: Final = 100
TERMINAL: Final = ("COMPLETED", "FAILED", "DLQ")


@dataclass(slots=True)
class Create:
    """One attempt to create one task. `mark` is in the payload; `key` is the idempotency key, of its retries too.

    `not_before_ms` is the earliest end of a delay, 0 where there is none; `queue` is tenant and command. Without an
    answer `answered_ms` is when it was given up.
    """

    mark: str
    key: str
    batch: int
    sent_ms: float
    queue: str = ""
    priority: int = 0
    not_before_ms: float = 0
    answered_ms: float = 0
    status: int = UNKNOWN
    id: str = ""


@dataclass(slots=True)
class Delivery:
    """A task as a claim returned it. `number` counts the task's leases, `claimed_ms` and `until_ms` are the node's."""

    id: str
    mark: str
    number: int
    attempts: int
    max_attempts: int
    claimed_ms: float
    until_ms: float
    received_ms: float


@dataclass(slots=True)
class Action:
    """What an owner, or somebody who was one, asked for. A granted heartbeat lasts from `until_ms` at least to
    `until_max_ms` at most: streams don't say which."""

    kind: str
    id: str
    number: int
    sent_ms: float
    value: str = ""
    answered_ms: float = 0
    status: int = UNKNOWN
    until_ms: float = 0
    until_max_ms: float = 0


@dataclass(slots=True)
class Deed:
    """What an operator asked for: a cancel or a requeue of the task `about`, or something for the queue `about`.

    A step of requeues (`about` "" for every queue) says how many it took, not which: those that were seen before are
    requeues of their own, done once no more were left. `died_ms` is when a requeued task had died, by the node's clock.
    `part` is what of a queue is paused or resumed, `until_ms` the end of a pause that ends by itself. Without an answer
    `answered_ms` is when it was given up.
    """

    kind: str
    about: str
    sent_ms: float
    died_ms: float = 0
    part: str = ""
    until_ms: float = 0
    answered_ms: float = 0
    status: int = UNKNOWN

    @property
    def done(self) -> bool:
        """Whether the answer said so."""
        return self.status == 200

    @property
    def possible(self) -> bool:
        """Whether it was done, or may have been."""
        return self.status in (UNKNOWN, 200)

    @property
    def over_ms(self) -> float:
        """From when on it cannot be done any more."""
        return self.answered_ms + (LATE_MS if self.status == UNKNOWN else 0)


@dataclass(slots=True)
class EmptyClaim:
    """A claim over these queues that was answered with nothing."""

    queues: tuple[str, ...]
    sent_ms: float
    answered_ms: float


@dataclass(slots=True)
class Read:
    """A GET of a task that had been created, with the status of the answer."""

    id: str
    sent_ms: float
    answered_ms: float
    status: int


@dataclass(slots=True)
class End:
    """A task as it was found when everything was drained; `task` None for 404. It had ended at `ended_ms`."""

    at_ms: float
    task: dict[str, Any] | None
    ended_ms: float = 0


@dataclass(slots=True)
class History:
    """Everything that was sent and heard."""

    retention_ms: int
    creates: list[Create] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    empty_claims: list[EmptyClaim] = field(default_factory=list)
    ends: dict[str, End] = field(default_factory=dict)
    unknown_claims: int = 0
    """Tasks that claims without an answer may have taken."""
    oddities: list[str] = field(default_factory=list)
    """Answers that no rule allows, as they came."""
    kills_ms: list[float] = field(default_factory=list)
    """When the node had died. No rule asks for it: it shows what the deaths fell into."""

    def ids(self) -> set[str]:
        """Every task that is known to have existed."""
        return {each.id for each in self.creates if each.id} | {each.id for each in self.deliveries}

    def violations(self) -> list[str]:
        """All that a correct queue could not have done, with the history of the task concerned."""
        odd = (f"odd answer: {text}" for text in self.oddities)
        return [*odd, *_Judge(self).all(), *order.violations(self), *pauses.violations(self)]


class _Groups(dict[str, list[T]]):
    """Events by what they are about; none, where there are none."""

    def __init__(self, events: Iterable[T], key: Callable[[T], str]) -> None:
        super().__init__()
        for event in events:
            self.setdefault(key(event), []).append(event)

    def __missing__(self, key: str) -> list[T]:
        return []


class _Judge:
    def __init__(self, history: History) -> None:
        self.history = history
        self.deliveries = _Groups(history.deliveries, lambda delivery: delivery.id)
        self.actions = _Groups(history.actions, lambda action: action.id)
        self.creates = _Groups(history.creates, lambda create: create.mark)
        self.deeds = _Groups(history.deeds, lambda deed: deed.about)
        for each in self.deliveries.values():
            each.sort(key=lambda delivery: delivery.number)

    def all(self) -> Iterator[str]:
        yield from self.nothing_is_lost()
        yield from self.nothing_appears_from_nowhere()
        yield from self.one_task_per_key()
        yield from self.one_lease_at_a_time()
        yield from self.finished_stays_finished()
        yield from self.old_leases_are_worth_nothing()
        yield from self.attempts_add_up()
        yield from self.batches_are_whole()
        yield from self.cancelled_stays_cancelled()
        yield from self.requeued_comes_again()
        yield from self.repeats_are_answered()

    def _told(self, rule: str, task: str, detail: str) -> str:
        story: list[Create | Delivery | Action | Deed] = [
            *self.deliveries[task],
            *self.actions[task],
            *self.deeds[task],
        ]
        story += [each for each in self.history.creates if each.id == task]
        lines = "".join(f"\n    {each}" for each in sorted(story, key=_told_at))
        return f"{rule}: {task}: {detail}; end {self.history.ends.get(task)}{lines}"

    def _finish_sent_ms(self, task: str) -> float:
        """The earliest moment at which the task can have been finished or cancelled; infinity when nobody tried."""
        sent = [each.sent_ms for each in self.actions[task] if each.kind == RESULT and each.status in (UNKNOWN, 200)]
        sent += [each.sent_ms for each in self._possible(CANCEL, task)]
        return min(sent, default=float("inf"))

    def _possible(self, kind: str, about: str) -> list[Deed]:
        return [each for each in self.deeds[about] if each.kind == kind and each.possible]

    def _beats(self, delivery: Delivery) -> list[Action]:
        return [
            each
            for each in self.actions[delivery.id]
            if each.kind == HEARTBEAT and each.number == delivery.number and each.status == 200
        ]

    def _lease_end_ms(self, delivery: Delivery) -> float:
        """Until when a lease lasts at least."""
        return max([delivery.until_ms, *(each.until_ms for each in self._beats(delivery))])

    def _lease_end_max_ms(self, delivery: Delivery) -> float:
        """Until when a lease can last, as far as its holder was answered."""
        return max([delivery.until_ms, *(max(each.until_ms, each.until_max_ms) for each in self._beats(delivery))])

    def nothing_is_lost(self) -> Iterator[str]:
        """Q1, Q9, Q12: an acknowledged task is there until it is finished and its retention is over, stays as it ended,
        and is dead only with a reason."""
        retention_ms = self.history.retention_ms - TOLERANCE_MS
        for task in sorted(self.history.ids()):
            gone_ms = self._finish_sent_ms(task) + retention_ms
            end = self.history.ends.get(task)
            if end is None:
                yield self._told("lost", task, "nobody looked for it at the end")
            elif end.task is None:
                if end.at_ms < gone_ms:
                    yield self._told("lost", task, "not found at the end")
            else:
                yield from self._wrong_end(task, end.task)
            asked: list[Action | Deed] = [*self.actions[task], *self.deeds[task]]
            for each in asked:
                if each.status == 404 and each.answered_ms < gone_ms:
                    yield self._told("lost", task, f"not found by {each}")
        for read in self.history.reads:
            if read.status == 404 and read.answered_ms < self._finish_sent_ms(read.id) + retention_ms:
                yield self._told("lost", read.id, f"not found by {read}")

    def _wrong_end(self, task: str, end: dict[str, Any]) -> Iterator[str]:
        accepted = {each.value for each in self.actions[task] if each.kind == RESULT and each.status == 200}
        if len(accepted) > 1:
            yield self._told("finished twice", task, f"accepted results {accepted}")
        if end["status"] not in TERMINAL:
            yield self._told("not drained", task, end["status"])
        elif accepted and end["status"] not in accepted:
            yield self._told("changed after its end", task, f"accepted {accepted}")
        elif end["status"] == "DLQ" and end["attempts"] < end["maxAttempts"] and not self._spent(task):
            yield self._told("dead too early", task, f"{end['attempts']} of {end['maxAttempts']} attempts")
        elif end["attempts"] > end["maxAttempts"]:
            yield self._told("too many attempts", task, f"{end['attempts']} of {end['maxAttempts']}")
        elif end["status"] == "DLQ" and not end["error"]:
            yield self._told("dead without a reason", task, "")
        elif end.get("error") == CANCELLED and not self._possible(CANCEL, task):
            yield self._told("cancelled by nobody", task, "")

    def _spent(self, task: str) -> bool:
        return max((each.number for each in self.deliveries[task]), default=0) >= MAX_DELIVERIES

    def nothing_appears_from_nowhere(self) -> Iterator[str]:
        """Q2: what is delivered was asked for, and not refused."""
        for delivery in self.history.deliveries:
            creates = self.creates[delivery.mark]
            if not creates:
                yield self._told("unexpected", delivery.id, "nobody created it")
            elif all(each.status >= 400 for each in creates):
                yield self._told("unexpected", delivery.id, "its create was refused")

    def one_task_per_key(self) -> Iterator[str]:
        """Q3, Q4: one id per create; a key makes a second task only when the first was finished and swept."""
        ids: dict[tuple[str, str], set[str]] = defaultdict(set)
        for create in self.history.creates:
            if create.id:
                ids[create.queue, create.key or create.mark].add(create.id)
        for delivery in self.history.deliveries:
            for create in self.creates[delivery.mark][:1]:
                ids[create.queue, create.key or create.mark].add(delivery.id)
        keys = {(create.queue, create.key) for create in self.history.creates if create.key}
        for place, tasks in ids.items():
            ordered = sorted(tasks)
            for first, second in pairwise(ordered):
                free_ms = self._finish_sent_ms(first) + self.history.retention_ms - TOLERANCE_MS
                if place not in keys or _made_ms(second) < free_ms:
                    yield self._told("two tasks for one create", second, f"{place} is also {first}")

    def one_lease_at_a_time(self) -> Iterator[str]:
        """Q5, Q6: a new lease only after nack, abandon or the end of the old one."""
        for task, deliveries in self.deliveries.items():
            for old, new in pairwise(deliveries):
                if old.number == new.number:
                    yield self._told("double lease", task, f"lease {old.number} was given out twice")
                elif new.claimed_ms < self._lease_end_ms(old) - TOLERANCE_MS and not self._given_back(old, new):
                    yield self._told("double lease", task, f"lease {new.number} began before {old.number} had ended")

    def _given_back(self, old: Delivery, new: Delivery) -> bool:
        return any(
            each.kind in (NACK, ABANDON)
            and each.number == old.number
            and each.status in (UNKNOWN, 200)
            and each.sent_ms <= new.received_ms
            for each in self.actions[old.id]
        )

    def finished_stays_finished(self) -> Iterator[str]:
        """Q9, Q10: no delivery after an accepted result."""
        for task, actions in self.actions.items():
            accepted = [each.number for each in actions if each.kind == RESULT and each.status == 200]
            for delivery in self.deliveries[task]:
                if accepted and delivery.number > min(accepted):
                    yield self._told("delivered again", task, f"lease {delivery.number} after lease {min(accepted)}")

    def old_leases_are_worth_nothing(self) -> Iterator[str]:
        """Q5, Q7: nothing is accepted in the name of a lease that has ended or been followed by another."""
        for task, actions in self.actions.items():
            by_number = {each.number: each for each in self.deliveries[task]}
            for action in actions:
                lease = by_number.get(action.number)
                if action.status != 200 or lease is None or self._is_repeat(action):
                    continue
                newer = [each for each in self.deliveries[task] if each.number > action.number]
                if any(each.received_ms < action.sent_ms for each in newer):
                    yield self._told("old lease accepted", task, f"{action}")
                elif action.sent_ms > self._lease_end_max_ms(lease) + TOLERANCE_MS and not self._maybe_longer(action):
                    yield self._told("ended lease accepted", task, f"{action}")

    def _is_repeat(self, action: Action) -> bool:
        return action.kind == RESULT and any(
            each is not action and each.kind == RESULT and each.value == action.value and each.sent_ms <= action.sent_ms
            for each in self.actions[action.id]
        )

    def _maybe_longer(self, action: Action) -> bool:
        return any(
            each.kind == HEARTBEAT and each.number == action.number and each.status == UNKNOWN
            for each in self.actions[action.id]
        )

    def attempts_add_up(self) -> Iterator[str]:
        """Q11: one attempt per delivery, given back by an abandon only (also one in the name of a lost caller), and
        counted anew from a requeue on."""
        unseen = 0
        for task, deliveries in self.deliveries.items():
            for old, new in pairwise([None, *deliveries]):
                assert new is not None
                low, high = self._attempts_after(old, new)
                if not low <= new.attempts <= high:
                    yield self._told("attempts", task, f"{new.attempts} at lease {new.number}, not {low} to {high}")
                if new.attempts > new.max_attempts:
                    yield self._told("too many attempts", task, f"{new.attempts} of {new.max_attempts}")
            unseen += deliveries[-1].number - len(deliveries)
        if unseen > self.history.unknown_claims:
            yield f"leases nobody got: {unseen}, while claims without an answer asked for {self.history.unknown_claims}"

    def _attempts_after(self, old: Delivery | None, new: Delivery) -> tuple[int, int]:
        """The fewest and the most attempts that a delivery can have, after the one that was seen before it."""
        if old is None:
            return 1, new.number
        unseen = new.number - old.number - 1
        given = {each.status for each in self.actions[new.id] if each.kind == ABANDON and each.number == old.number}
        low = old.attempts + 1 - (200 in given or UNKNOWN in given)
        high = old.attempts + 1 + unseen - (200 in given)
        if new.attempts < low and self._maybe_requeued(new, old.claimed_ms):
            low = 1
        if self._surely_requeued(old, new):
            low, high = 1, unseen + 1
        return max(low, 1), high

    def _maybe_requeued(self, delivery: Delivery, since_ms: float) -> bool:
        """Whether its task may have been brought back between a moment and its delivery."""
        queue = next((each.queue for each in self.creates[delivery.mark]), "")
        steps = self._possible(REQUEUE_ALL, queue) + self._possible(REQUEUE_ALL, "")
        return any(
            each.over_ms > since_ms - TOLERANCE_MS and each.sent_ms < delivery.claimed_ms + TOLERANCE_MS
            for each in self._possible(REQUEUE, delivery.id) + steps
        )

    def _surely_requeued(self, old: Delivery, new: Delivery) -> bool:
        return any(
            each.kind == REQUEUE
            and each.done
            and each.died_ms > old.claimed_ms
            and each.answered_ms < new.claimed_ms - TOLERANCE_MS
            for each in self.deeds[new.id]
        )

    def batches_are_whole(self) -> Iterator[str]:
        """Q18: of a batch without an answer either everything was made or nothing; what its queue may have refused
        while it was paused counts apart."""
        seen = {each.mark for each in self.history.deliveries}
        paused = pauses.maybe(self.history, INTAKE)
        batches: dict[int, list[Create]] = defaultdict(list)
        for create in self.history.creates:
            if create.batch and not create.key:
                batches[create.batch].append(create)
        for number, creates in batches.items():
            if any(each.status != UNKNOWN for each in creates):
                continue
            parts: dict[str, list[Create]] = defaultdict(list)
            for create in creates:
                apart = paused[create.queue].meet(create.sent_ms, create.answered_ms + LATE_MS)
                parts[create.queue if apart else ""].append(create)
            for part in parts.values():
                made = sum(each.mark in seen for each in part)
                if made not in (0, len(part)):
                    yield f"torn batch {number}: {made} of {len(part)} tasks were made"

    def cancelled_stays_cancelled(self) -> Iterator[str]:
        """An acknowledged cancel is the end of its task: nothing is delivered or accepted after it, and it stays. One
        that was refused because the task had ended was right."""
        for task, deeds in self.deeds.items():
            done = [each for each in deeds if each.kind == CANCEL and each.done]
            if done:
                yield from self._wrong_after_a_cancel(task, done[0])
            if len(done) > 1:
                yield self._told("cancelled twice", task, f"{done}")
            for refused in deeds:
                if refused.kind == CANCEL and refused.status == 409 and self._lived_on(task, refused):
                    yield self._told("not cancelled", task, f"it had not ended at {refused}")

    def _wrong_after_a_cancel(self, task: str, cancel: Deed) -> Iterator[str]:
        for action in self.actions[task]:
            if action.status == 200 and (action.kind == RESULT or action.sent_ms > cancel.answered_ms):
                yield self._told("accepted beside a cancel", task, f"{action}")
        for delivery in self.deliveries[task]:
            if delivery.claimed_ms > cancel.answered_ms + TOLERANCE_MS:
                yield self._told("delivered after its cancel", task, f"lease {delivery.number}")
        end = self.history.ends.get(task)
        if end and end.task and (end.task["status"], end.task.get("error")) != ("FAILED", CANCELLED):
            yield self._told("cancel undone", task, end.task["status"])

    def _lived_on(self, task: str, refused: Deed) -> bool:
        """Whether a task was delivered later without having been brought back."""
        return any(
            delivery.claimed_ms > refused.answered_ms + TOLERANCE_MS
            and not self._maybe_requeued(delivery, refused.sent_ms)
            for delivery in self.deliveries[task]
        )

    def requeued_comes_again(self) -> Iterator[str]:
        """What was requeued is delivered again, unless it was cancelled, or died again of claims that were lost."""
        for task, deeds in self.deeds.items():
            end = self.history.ends.get(task)
            for deed in deeds:
                if (
                    deed.kind == REQUEUE
                    and deed.done
                    and not any(each.claimed_ms >= deed.died_ms for each in self.deliveries[task])
                    and not any(each.over_ms > deed.died_ms for each in self._possible(CANCEL, task))
                    and not (end and end.task and end.task["status"] == "DLQ" and end.ended_ms > deed.died_ms)
                ):
                    yield self._told("requeue undone", task, f"never delivered after {deed}")

    def repeats_are_answered(self) -> Iterator[str]:
        """A repeat of a create is answered while its queue is paused, as long as the task's row lives."""
        for create in self.history.creates:
            if create.status == PAUSED and create.key:
                for earlier in self.creates[create.mark]:
                    gone_ms = self._finish_sent_ms(earlier.id) + self.history.retention_ms - TOLERANCE_MS
                    if earlier.id and earlier.answered_ms < create.sent_ms and create.answered_ms < gone_ms:
                        yield self._told("repeat refused", earlier.id, f"{create}")


def _told_at(event: Create | Delivery | Action | Deed) -> float:
    return event.received_ms if isinstance(event, Delivery) else event.sent_ms


def _made_ms(task: str) -> int:
    """When a task was made: its id is a UUID that begins with the time."""
    return uuid.UUID(task).int >> 80


def summary(history: History) -> dict[str, int]:
    """How much was there to be judged."""
    outcomes: list[Create | Action | Deed] = [*history.creates, *history.actions, *history.deeds]
    asleep = pauses.surely(history, DISPATCH).values()
    return {
        "creates acknowledged": sum(each.status in (200, 201) for each in history.creates),
        "deliveries": len(history.deliveries),
        "results accepted": sum(each.kind == RESULT and each.status == 200 for each in history.actions),
        "actions refused": sum(400 <= each.status < 500 for each in history.actions),
        "unknown outcomes": sum(each.status == UNKNOWN for each in outcomes),
        "leases expired": _expired(history),
        "empty claims": len(history.empty_claims),
        **{f"answers of {kind}s": _answers(history, kind) for kind in (HEARTBEAT, NACK, ABANDON)},
        **{f"{kind}s acknowledged": _done(history, kind) for kind in (CANCEL, REQUEUE, PAUSE, RESUME)},
        "creates refused by a pause": sum(each.status == PAUSED for each in history.creates),
        "pauses of dispatch that a kill fell into": sum(
            each.around(kill) for each in asleep for kill in history.kills_ms
        ),
        "swept at the end": sum(each.task is None for each in history.ends.values()),
        "dead letters": sum((each.task or {}).get("status") == "DLQ" for each in history.ends.values()),
    }


def _answers(history: History, kind: str) -> int:
    return sum(each.kind == kind and each.status == 200 for each in history.actions)


def _done(history: History, kind: str) -> int:
    return sum(each.kind == kind and each.done for each in history.deeds)


def _expired(history: History) -> int:
    settled = {(each.id, each.number) for each in history.actions if each.kind != HEARTBEAT and each.status == 200}
    return sum((each.id, each.number) not in settled for each in history.deliveries)
