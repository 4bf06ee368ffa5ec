"""The state table of a task: what may happen in each state, and what it does, as data.

            create                 claim                  result COMPLETED
  ABSENT ──────────► READY ◄─────► CLAIMED ─────────────────────────────────► COMPLETED
     │                 ▲  requeue    │ │ │    result FAILED, cancel
     │ create later    │◄─ ─ ─ DLQ   │ │ └─────────────────────────────────► FAILED
     └──────────► DELAYED ◄──────────┘ │ nack or expiry when spent,
                       due: ─► READY   └ abandon at the delivery bound ─────► DLQ
                                       sweep: any terminal state ─► ABSENT, purge: DLQ ─► ABSENT

The code asks `TABLE[state, event, guard]` for an edge and does what the edge says: a missing entry is our own error and
raises. An edge either refuses (`refusal` is the contract's code) and changes nothing, or moves the task to `next` and
changes attempts, deliveries and the owner as stated. `machine` computes the guard; the simulation counts the edges.
"""

from typing import Final, NamedTuple

from appliance import errors

ABSENT: Final = "absent"
READY: Final = "ready"
DELAYED: Final = "delayed"
CLAIMED: Final = "claimed"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
DLQ: Final = "dlq"
WAITING_STATES: Final = (READY, DELAYED)
TERMINAL_STATES: Final = (COMPLETED, FAILED, DLQ)

CREATE: Final = "create"
DUE: Final = "due"
CLAIM: Final = "claim"
HEARTBEAT: Final = "heartbeat"
COMPLETE: Final = "complete"
FAIL: Final = "fail"
NACK: Final = "nack"
ABANDON: Final = "abandon"
EXPIRE: Final = "expire"
CANCEL: Final = "cancel"
REQUEUE: Final = "requeue"
PURGE: Final = "purge"
SWEEP: Final = "sweep"
REBASE: Final = "rebase"  # the clock went back: a time that the system chose is brought near again
OWNER_EVENTS: Final = (HEARTBEAT, COMPLETE, FAIL, NACK, ABANDON)

# Guards that lead on.
PLAIN: Final = "-"
AT_ONCE: Final = "at-once"  # no delay: claimable now
LATER: Final = "later"  # delayed first
SPENT: Final = "spent"  # no attempt, or no delivery, is left
UNDELIVERED: Final = "undelivered"  # the claim's caller left before it heard
SAME: Final = "same"  # a known idempotency key with the same request

# Guards that refuse or repeat.
OTHER: Final = "other"  # a known idempotency key with another request
STRANGER: Final = "stranger"  # neither the owner nor, once terminal, the last owner
LAST_OWNER: Final = "last-owner"
WITHDRAWN: Final = "withdrawn"  # the last owner of a task that an operator cancelled
REPEAT: Final = "repeat"  # the recorded result again, from its owner
LEASED: Final = "leased"  # names a lease where none is held
UNLEASED: Final = "unleased"  # names no lease where none is held
STALE: Final = "stale"  # the owner, with a lease that is not the newest
OVERDUE: Final = "overdue"  # the lease ended before this came: it expires first, then the event is judged again


class Edge(NamedTuple):
    """One row of the table. `owner` is "set", "keep" or "drop"; `again` judges the event anew in the next state."""

    number: int
    state: str
    event: str
    guard: str
    next: str
    attempts: int = 0
    deliveries: int = 0
    owner: str = "keep"
    refusal: str = ""
    again: bool = False

    @property
    def name(self) -> str:
        """`state event guard`, as metrics and the simulation print it."""
        return f"{self.state} {self.event} {self.guard}"


TABLE: Final[dict[tuple[str, str, str], Edge]] = {}


def _edge(
    state: str,
    event: str,
    guard: str,
    next_state: str,
    *,
    attempts: int = 0,
    deliveries: int = 0,
    owner: str = "keep",
    refusal: str = "",
    again: bool = False,
) -> None:
    key = (state, event, guard)
    assert key not in TABLE, key
    TABLE[key] = Edge(len(TABLE), *key, next_state, attempts, deliveries, owner, refusal, again)


# The life of a task.
_edge(ABSENT, CREATE, AT_ONCE, READY)
_edge(ABSENT, CREATE, LATER, DELAYED)
_edge(DELAYED, DUE, PLAIN, READY)
_edge(READY, CLAIM, PLAIN, CLAIMED, attempts=+1, deliveries=+1, owner="set")
_edge(CLAIMED, HEARTBEAT, PLAIN, CLAIMED)
_edge(CLAIMED, COMPLETE, PLAIN, COMPLETED)
_edge(CLAIMED, FAIL, PLAIN, FAILED)
_edge(CLAIMED, NACK, AT_ONCE, READY, owner="drop")
_edge(CLAIMED, NACK, LATER, DELAYED, owner="drop")
_edge(CLAIMED, NACK, SPENT, DLQ)
_edge(CLAIMED, ABANDON, AT_ONCE, READY, attempts=-1, owner="drop")
_edge(CLAIMED, ABANDON, LATER, DELAYED, attempts=-1, owner="drop")
_edge(CLAIMED, ABANDON, UNDELIVERED, READY, attempts=-1, owner="drop")
_edge(CLAIMED, ABANDON, SPENT, DLQ)
_edge(CLAIMED, EXPIRE, AT_ONCE, READY, owner="drop")
_edge(CLAIMED, EXPIRE, LATER, DELAYED, owner="drop")
_edge(CLAIMED, EXPIRE, SPENT, DLQ)
_edge(CLAIMED, REBASE, PLAIN, CLAIMED)
_edge(DELAYED, REBASE, PLAIN, DELAYED)
_edge(DLQ, REQUEUE, PLAIN, READY, owner="drop")
_edge(DLQ, PURGE, PLAIN, ABSENT)
for _state in (*WAITING_STATES, CLAIMED):
    _edge(_state, CANCEL, PLAIN, FAILED)
for _state in TERMINAL_STATES:
    _edge(_state, SWEEP, PLAIN, ABSENT)

# Creates that meet their own key again.
for _state in (*WAITING_STATES, CLAIMED, *TERMINAL_STATES):
    _edge(_state, CREATE, SAME, _state)
    _edge(_state, CREATE, OTHER, _state, refusal=errors.IDEMPOTENCY_CONFLICT)

# Owner actions that come too late, too often or from the wrong caller, in the contract's order of judgement.
for _event in OWNER_EVENTS:
    _edge(ABSENT, _event, PLAIN, ABSENT, refusal=errors.NOT_FOUND)
    for _state in TERMINAL_STATES:
        _edge(_state, _event, LAST_OWNER, _state, refusal=errors.NOT_CLAIMED)
        _edge(_state, _event, STRANGER, _state, refusal=errors.PERMISSION_DENIED)
    _edge(FAILED, _event, WITHDRAWN, FAILED, refusal=errors.CANCELLED)
    for _state in WAITING_STATES:
        _edge(_state, _event, LEASED, _state, refusal=errors.LEASE_LOST)
        _edge(_state, _event, UNLEASED, _state, refusal=errors.NOT_CLAIMED)
    _edge(CLAIMED, _event, OVERDUE, CLAIMED, again=True)
    _edge(CLAIMED, _event, STRANGER, CLAIMED, refusal=errors.PERMISSION_DENIED)
    _edge(CLAIMED, _event, STALE, CLAIMED, refusal=errors.LEASE_LOST)
_edge(COMPLETED, COMPLETE, REPEAT, COMPLETED)
_edge(FAILED, FAIL, REPEAT, FAILED)

# Operators' actions where they do not apply.
_edge(ABSENT, CANCEL, PLAIN, ABSENT, refusal=errors.NOT_FOUND)
for _event in (REQUEUE, PURGE):
    _edge(ABSENT, _event, PLAIN, ABSENT, refusal=errors.NOT_FOUND)
    for _state in (*WAITING_STATES, CLAIMED, COMPLETED, FAILED):
        _edge(_state, _event, PLAIN, _state, refusal=errors.NOT_CLAIMED)
for _state in TERMINAL_STATES:
    _edge(_state, CANCEL, PLAIN, _state, refusal=errors.NOT_CLAIMED)

EDGES: Final = tuple(TABLE.values())

REFUSAL_MESSAGES: Final = {
    errors.NOT_FOUND: "no such task",
    errors.IDEMPOTENCY_CONFLICT: "the idempotency key was used with a different request",
    errors.PERMISSION_DENIED: "the task is leased to another subject or worker",
    errors.LEASE_LOST: "the lease is not held any more",
    errors.NOT_CLAIMED: "the task is not claimed",
    errors.CANCELLED: "the task was cancelled",
}
"""What a refused event tells people; the edge's `refusal` is what it tells programs."""

OPERATOR_MESSAGES: Final = {
    CANCEL: "the task has ended",
    REQUEUE: "the task is not a dead letter",
    PURGE: "the task is not a dead letter",
}
"""What an operator is told where the contract's `not-claimed` stands for another reason."""


def message_of(edge: Edge) -> str:
    """What a refusing edge tells people."""
    if edge.refusal == errors.NOT_CLAIMED and edge.event in OPERATOR_MESSAGES:
        return OPERATOR_MESSAGES[edge.event]
    return REFUSAL_MESSAGES[edge.refusal]
