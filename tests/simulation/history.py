"""What clients asked for and heard: calls, the tasks they wanted to create and the actions they took on tasks.

Every call ends in one of three classes. *ok*: answered. *fail*: certainly did nothing. *unknown*: it may have happened.
"""

from collections.abc import Callable
from typing import Any

from appliance import errors
from appliance.engine.rows import State
from appliance.errors import Problem
from appliance.tasks.model import (
    Abandon,
    Cancel,
    Create,
    CreateBatch,
    Finish,
    FinishBatch,
    Heartbeat,
    Nack,
    NewTask,
    Operation,
    OwnerAction,
    Purge,
    PurgeDead,
    Requeue,
    RequeueDead,
    Step,
)

OPEN = "open"
OK = "ok"
FAIL = "fail"
UNKNOWN = "unknown"

_IN_STEPS: dict[type[Operation], type[Step]] = {Requeue: RequeueDead, Purge: PurgeDead}

RELEASES = (Nack, Abandon, Finish)


def class_of(outcome: Any) -> str:
    """Which class an outcome puts its call in."""
    if not isinstance(outcome, Problem):
        return OK
    return UNKNOWN if outcome.code == errors.UNAVAILABLE else FAIL


class Item:
    """One task that a call asks to create."""

    __slots__ = ("call", "new", "outcome", "place", "verdict")

    def __init__(self, call: "Call", place: int, new: NewTask) -> None:
        self.call = call
        self.place = place
        self.new = new
        self.verdict = OPEN
        self.outcome: Any = None


class Action:
    """One thing that a call wants done to a task. `lease_before` is the newest durable lease when it was sent."""

    __slots__ = ("asked", "call", "lease_before", "outcome", "place", "verdict")

    def __init__(self, call: "Call", place: int, asked: Any, lease_before: int) -> None:
        self.call = call
        self.place = place
        self.asked = asked
        self.lease_before = lease_before
        self.verdict = OPEN
        self.outcome: Any = None


class Call:
    """One request of one client. `expect` says what a hostile client must get: "", "refused" or "not-found"."""

    __slots__ = (
        "actions",
        "answered",
        "answered_ms",
        "expect",
        "incarnation",
        "items",
        "left",
        "number",
        "operation",
        "outcome",
        "sent",
        "sent_ms",
        "then",
        "verdict",
    )

    def __init__(self, number: int, then: Callable[["Call"], None] | None, expect: str) -> None:
        self.number = number
        self.then = then
        self.expect = expect
        self.operation: Any = None
        self.items: list[Item] = []
        self.actions: list[Action] = []
        self.verdict = OPEN
        self.outcome: Any = None
        self.sent = self.sent_ms = 0
        self.answered = self.answered_ms = 0
        self.incarnation = 0
        self.left = False

    def close(self, verdict: str, outcome: Any = None) -> None:
        """The call is over; each of its parts has its own class."""
        self.verdict = verdict
        self.outcome = outcome
        parts: list[Any] = [*self.items, *self.actions]
        for part in parts:
            part.outcome = outcome[part.place] if isinstance(outcome, list) else outcome
            part.verdict = class_of(part.outcome) if verdict == OK else verdict


class History:
    """All calls, and the actions by task."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.open: dict[int, Call] = {}
        self.actions: dict[bytes, list[Action]] = {}
        self.steps: list[Call] = []

    def begin(self, call: Call, operation: Operation, lease_of: Callable[[bytes], int]) -> None:
        """A call is sent."""
        call.operation = operation
        self.calls.append(call)
        self.open[call.number] = call
        if isinstance(operation, Create):
            call.items.append(Item(call, 0, operation.task))
        elif isinstance(operation, CreateBatch):
            call.items += [Item(call, at, new) for at, new in enumerate(operation.tasks) if isinstance(new, NewTask)]
        elif isinstance(operation, FinishBatch):
            asked = [(at, each) for at, each in enumerate(operation.items) if isinstance(each, Finish)]
            call.actions += [Action(call, at, each, lease_of(each.id)) for at, each in asked]
        elif isinstance(operation, OwnerAction | Cancel | Requeue | Purge):
            call.actions.append(Action(call, 0, operation, lease_of(operation.id)))
        elif isinstance(operation, Step):
            self.steps.append(call)
        for action in call.actions:
            self.actions.setdefault(action.asked.id, []).append(action)

    def may_have(self, task_id: bytes, kind: type[Operation]) -> bool:
        """Whether an action of this kind was asked for and is not known to have done nothing.

        A step may have met any task: whether it met those that it should is seen in the store.
        """
        in_steps = _IN_STEPS.get(kind)
        if in_steps is not None and any(isinstance(call.operation, in_steps) for call in self.steps):
            return True
        return any(
            isinstance(action.asked, kind) and action.verdict != FAIL for action in self.actions.get(task_id, ())
        )

    def releases(self, task_id: bytes, state: State) -> list[Action]:
        """Actions by the owner of this lease that may have ended it."""
        return [
            action
            for action in self.actions.get(task_id, ())
            if isinstance(action.asked, RELEASES) and action.verdict != FAIL and owns(action.asked, state)
        ]

    def heartbeats(self, task_id: bytes, state: State) -> list[Action]:
        """Heartbeats by the owner of this lease that may have extended it."""
        return [
            action
            for action in self.actions.get(task_id, ())
            if isinstance(action.asked, Heartbeat) and action.verdict != FAIL and owns(action.asked, state)
        ]


def owns(asked: OwnerAction, state: State) -> bool:
    """Whether an action names this lease: its subject, its worker where both are named, its number where named."""
    return (
        asked.subject == state.subject
        and (not asked.worker or not state.worker or asked.worker == state.worker)
        and (asked.lease is None or asked.lease == state.lease_number)
    )
