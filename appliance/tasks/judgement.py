"""The order of judgement: which guard of the state table an owner's action meets. Pure functions.

Owns the words between rows and table (a row's status, a table's state) and what each edge that refuses says. Must not
know how anything is read or written.
"""

from collections.abc import Callable
from typing import Final

from appliance.engine.rows import CLAIMED, COMPLETED, DLQ, FAILED, PENDING, Idem, State
from appliance.errors import Problem
from appliance.tasks import table
from appliance.tasks.model import Finish, NewTask, OwnerAction
from appliance.tasks.table import EDGES

SameRequest = Callable[[Idem, bytes, NewTask], bool]
"""Whether a create is the one that made the task of its key, which has this payload."""

STATUS_OF: Final = {
    table.READY: PENDING,
    table.DELAYED: PENDING,
    table.CLAIMED: CLAIMED,
    table.COMPLETED: COMPLETED,
    table.FAILED: FAILED,
    table.DLQ: DLQ,
}
STATE_OF: Final = {CLAIMED: table.CLAIMED, COMPLETED: table.COMPLETED, FAILED: table.FAILED, DLQ: table.DLQ}

REFUSALS: Final = {edge.number: Problem(edge.refusal, table.message_of(edge)) for edge in EDGES if edge.refusal}


def guard(state: State, action: OwnerAction, same_json: Callable[[bytes, bytes], bool] | None = None) -> str:
    """The contract's order of judgement for owner actions, after 404."""
    owns = state.subject == action.subject and not (action.worker and state.worker and action.worker != state.worker)
    if state.status >= COMPLETED:
        if not owns or not state.lease_number:
            return table.STRANGER
        if state.cancelled:
            return table.WITHDRAWN
        if same_json is not None and isinstance(action, Finish) and repeats(state, action, same_json):
            return table.REPEAT
        return table.LAST_OWNER
    if state.status == PENDING:
        return table.UNLEASED if action.lease is None else table.LEASED
    if not owns:
        return table.STRANGER
    if action.lease is not None and action.lease != state.lease_number:
        return table.STALE
    return table.PLAIN


def holds(state: State, action: OwnerAction, now: int) -> bool:
    """Whether the task is leased to the caller of this action, by the lease that it means where it names one."""
    return (
        state.status == CLAIMED
        and state.lease_until > now
        and state.subject == action.subject
        and (action.worker == state.worker or not action.worker or not state.worker)
        and (action.lease is None or action.lease == state.lease_number)
    )


def repeats(state: State, action: Finish, same_json: Callable[[bytes, bytes], bool]) -> bool:
    """Whether this is the recorded result again; of a certain delivery only where the caller names it."""
    return (
        (action.lease is None or action.lease == state.lease_number)
        and state.status == (COMPLETED if action.completed else FAILED)
        and state.error == action.error
        and same_json(state.result, action.result)
        and same_json(state.artifacts, action.artifacts)
    )
