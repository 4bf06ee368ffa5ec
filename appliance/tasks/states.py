"""States of a task as values: how one is made from the one before it. Pure functions, one per kind of change.

A state is never changed in place: rows in open groups, answers under way and the cache share them.
"""

import msgspec

from appliance.engine.rows import CLAIMED, PENDING, State
from appliance.tasks.model import Claim
from appliance.tasks.table import Edge

replaced = msgspec.structs.replace
"""A copy with some fields changed."""


def claimed(edge: Edge, old: State, now: int, claim: Claim) -> State:
    """The state of a task that was just leased to the caller of `claim`."""
    return State(
        CLAIMED,
        old.queue,
        old.priority,
        old.max_attempts,
        now,
        old.run_at,
        old.keyed,
        old.attempts + edge.attempts,
        old.deliveries + edge.deliveries,
        old.abandons,
        claim.subject,
        claim.worker,
        now + claim.lease_ms,
        claim.lease_ms,
        old.error,
        0,
        False,
        b"",
        b"",
        0,
        old.lease_number + 1,
        now,
        old.hooked,
        old.payload_bytes,
    )


def returned(edge: Edge, old: State, now: int, run_at: int, abandons: int, error: str) -> State:
    """The state of a task that goes back to its queue: no owner, no lease."""
    return State(
        PENDING,
        old.queue,
        old.priority,
        old.max_attempts,
        now,
        run_at,
        old.keyed,
        old.attempts + edge.attempts,
        old.deliveries,
        abandons,
        error=error,
        lease_number=old.lease_number,
        hooked=old.hooked,
        payload_bytes=old.payload_bytes,
    )


def ended(
    status: int,
    old: State,
    now: int,
    expires: int,
    error: str,
    result: bytes = b"",
    artifacts: bytes = b"",
    cancelled: bool = False,
) -> State:
    """The terminal state of a task: its last owner stays, its lease does not."""
    return State(
        status,
        old.queue,
        old.priority,
        old.max_attempts,
        now,
        old.run_at,
        old.keyed,
        old.attempts,
        old.deliveries,
        old.abandons,
        old.subject,
        old.worker,
        0,
        0,
        error,
        now,
        cancelled,
        result,
        artifacts,
        expires,
        old.lease_number,
        old.claimed,
        old.hooked,
        old.payload_bytes,
    )


def requeued(old: State, now: int) -> State:
    """The state of a dead letter that gets another life. Its leases go on counting: an old lease stays an old one."""
    return State(
        PENDING,
        old.queue,
        old.priority,
        old.max_attempts,
        now,
        keyed=old.keyed,
        lease_number=old.lease_number,
        hooked=old.hooked,
        payload_bytes=old.payload_bytes,
    )
