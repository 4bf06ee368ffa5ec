"""What the clients of a campaign sent and heard, and whether a correct queue could have produced it.

Owns the log of every request and every answer, and the judgement over it: one function per rule, each of which yields
what breaks it. Pure: it knows no socket, no process and no clock. Every time is wall-clock milliseconds; clients and
node share one machine, so their clocks differ by `TOLERANCE_MS` at most.

An outcome is ok (200, 201), refused (any 4xx) or unknown (no answer, or 5xx: it may have happened). Rules count an
unknown outcome against the queue only where no reading of it is innocent. Streams speak in the same statuses, as
`clients.STATUS_OF_CODE` has them. The rules about times and order are in `order`.

Q8 (durable before the worker sees it) shows as Q6 here: a claim that a kill undid would be given out again while its
lease lasts. Q13 and Q14 are what `codeq check` looks at after each kill.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, TypeVar

from tests.campaigns import order

T = TypeVar("T")

TOLERANCE_MS: Final = 25
UNKNOWN: Final = 0
RESULT: Final = "result"
HEARTBEAT: Final = "heartbeat"
NACK: Final = "nack"
ABANDON: Final = "abandon"
MAX_DELIVERIES: Final = 100
TERMINAL: Final = ("COMPLETED", "FAILED", "DLQ")


@dataclass(slots=True)
class Create:
    """One attempt to create one task. `mark` is in the payload; `key` is the idempotency key, of its retries too.

    `not_before_ms` is the earliest end of a delay, 0 where there is none; `queue` is tenant and command.
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
    """A task as it was found when everything was drained; `task` None for 404."""

    at_ms: float
    task: dict[str, Any] | None


@dataclass(slots=True)
class History:
    """Everything that was sent and heard."""

    retention_ms: int
    creates: list[Create] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    empty_claims: list[EmptyClaim] = field(default_factory=list)
    ends: dict[str, End] = field(default_factory=dict)
    unknown_claims: int = 0
    """Tasks that claims without an answer may have taken."""
    oddities: list[str] = field(default_factory=list)
    """Answers that no rule allows, as they came."""

    def ids(self) -> set[str]:
        """Every task that is known to have existed."""
        return {each.id for each in self.creates if each.id} | {each.id for each in self.deliveries}

    def violations(self) -> list[str]:
        """All that a correct queue could not have done, with the history of the task concerned."""
        return [*(f"odd answer: {text}" for text in self.oddities), *_Judge(self).all(), *order.violations(self)]


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

    def _told(self, rule: str, task: str, detail: str) -> str:
        story: list[Create | Delivery | Action] = [*self.deliveries[task], *self.actions[task]]
        story += [each for each in self.history.creates if each.id == task]
        lines = "".join(f"\n    {each}" for each in sorted(story, key=_told_at))
        return f"{rule}: {task}: {detail}; end {self.history.ends.get(task)}{lines}"

    def _finish_sent_ms(self, task: str) -> float:
        """The earliest moment at which the task can have been finished; infinity when nobody tried."""
        sent = (each.sent_ms for each in self.actions[task] if each.kind == RESULT and each.status in (UNKNOWN, 200))
        return min(sent, default=float("inf"))

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
            for action in self.actions[task]:
                if action.status == 404 and action.answered_ms < gone_ms:
                    yield self._told("lost", task, f"not found by {action}")
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

    def _spent(self, task: str) -> bool:
        return max((each.number for each in self.deliveries[task]), default=0) >= MAX_DELIVERIES

    def nothing_appears_from_nowhere(self) -> Iterator[str]:
        """Q2: what is delivered was asked for, and not refused."""
        for delivery in self.history.deliveries:
            creates = self.creates[delivery.mark]
            if not creates:
                yield self._told("unexpected", delivery.id, "nobody created it")
            elif all(400 <= each.status < 500 for each in creates):
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
        """Q11: one attempt per delivery, given back by an abandon only (also one in the name of a lost caller)."""
        unseen = 0
        for task, deliveries in self.deliveries.items():
            sure = maybe = 0
            given = {
                status: {each.number for each in self.actions[task] if each.kind == ABANDON and each.status == status}
                for status in (200, UNKNOWN)
            }
            for seen, delivery in enumerate(deliveries):
                missing = delivery.number - 1 - seen
                low = delivery.number - sure - maybe - missing
                if not max(low, 1) <= delivery.attempts <= delivery.number - sure:
                    yield self._told("attempts", task, f"{delivery.attempts} at lease {delivery.number}")
                if delivery.attempts > delivery.max_attempts:
                    yield self._told("too many attempts", task, f"{delivery.attempts} of {delivery.max_attempts}")
                sure += delivery.number in given[200]
                maybe += delivery.number in given[UNKNOWN] and delivery.number not in given[200]
            unseen += deliveries[-1].number - len(deliveries)
        if unseen > self.history.unknown_claims:
            yield f"leases nobody got: {unseen}, while claims without an answer asked for {self.history.unknown_claims}"

    def batches_are_whole(self) -> Iterator[str]:
        """Q18: of a batch without an answer either everything was made or nothing."""
        seen = {each.mark for each in self.history.deliveries}
        batches: dict[int, list[Create]] = defaultdict(list)
        for create in self.history.creates:
            if create.batch and not create.key:
                batches[create.batch].append(create)
        for number, creates in batches.items():
            if all(each.status == UNKNOWN for each in creates):
                made = sum(each.mark in seen for each in creates)
                if made not in (0, len(creates)):
                    yield f"torn batch {number}: {made} of {len(creates)} tasks were made"


def _told_at(event: Create | Delivery | Action) -> float:
    return event.received_ms if isinstance(event, Delivery) else event.sent_ms


def _made_ms(task: str) -> int:
    """When a task was made: its id is a UUID that begins with the time."""
    return uuid.UUID(task).int >> 80


def summary(history: History) -> dict[str, int]:
    """How much was there to be judged."""
    outcomes: list[Create | Action] = [*history.creates, *history.actions]
    return {
        "creates acknowledged": sum(each.status in (200, 201) for each in history.creates),
        "deliveries": len(history.deliveries),
        "results accepted": sum(each.kind == RESULT and each.status == 200 for each in history.actions),
        "actions refused": sum(400 <= each.status < 500 for each in history.actions),
        "unknown outcomes": sum(each.status == UNKNOWN for each in outcomes),
        "leases expired": _expired(history),
        "empty claims": len(history.empty_claims),
        **{f"answers of {kind}s": _answers(history, kind) for kind in (HEARTBEAT, NACK, ABANDON)},
        "swept at the end": sum(each.task is None for each in history.ends.values()),
        "dead letters": sum((each.task or {}).get("status") == "DLQ" for each in history.ends.values()),
    }


def _answers(history: History, kind: str) -> int:
    return sum(each.kind == kind and each.status == 200 for each in history.actions)


def _expired(history: History) -> int:
    settled = {(each.id, each.number) for each in history.actions if each.kind != HEARTBEAT and each.status == 200}
    return sum((each.id, each.number) not in settled for each in history.deliveries)
