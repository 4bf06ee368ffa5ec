"""How one state follows from another, and when an end repeats one."""

from appliance.engine.rows import CLAIMED, COMPLETED, DLQ, FAILED, PENDING, State
from appliance.tasks import table
from appliance.tasks.judgement import repeats
from appliance.tasks.states import claimed, ended, requeued, returned
from appliance.tasks.table import TABLE
from tests.simulation.node import same_json
from tests.tasks.desk import Desk, claim, finish

QUEUE = b"\0\0\0\1\0\0\0\2"
WAITING = State(PENDING, QUEUE, 7, 5, 100, run_at=90, keyed=True, attempts=1, deliveries=3, abandons=2, lease_number=4)
CLAIM = TABLE[table.READY, table.CLAIM, table.PLAIN]


def _claimed() -> State:
    operation = claim("mail", worker="w1", lease_ms=30)
    return claimed(CLAIM, WAITING, 200, operation)


def test_a_claim_sets_the_owner_and_counts() -> None:
    state = _claimed()
    assert (state.status, state.subject, state.worker) == (CLAIMED, "workers", "w1")
    assert (state.lease_until, state.lease_ms, state.claimed, state.updated) == (230, 30, 200, 200)
    assert (state.attempts, state.deliveries, state.lease_number, state.abandons) == (2, 4, 5, 2)
    assert (state.queue, state.priority, state.max_attempts, state.keyed) == (QUEUE, 7, 5, True)


def test_a_return_drops_the_owner_and_keeps_the_fence() -> None:
    edge = TABLE[table.CLAIMED, table.ABANDON, table.LATER]
    state = returned(edge, _claimed(), 300, 400, 3, "why")
    assert (state.status, state.subject, state.worker, state.lease_until) == (PENDING, "", "", 0)
    assert (state.attempts, state.deliveries, state.lease_number, state.abandons) == (1, 4, 5, 3)
    assert (state.run_at, state.error, state.keyed) == (400, "why", True)


def test_an_end_keeps_the_last_owner_and_no_lease() -> None:
    state = ended(COMPLETED, _claimed(), 300, 900, "", b"1", b"[]")
    assert (state.status, state.subject, state.worker, state.lease_until) == (COMPLETED, "workers", "w1", 0)
    assert (state.completed, state.expires, state.result, state.artifacts) == (300, 900, b"1", b"[]")
    assert (state.attempts, state.lease_number, state.claimed) == (2, 5, 200)


def test_a_requeue_starts_the_counts_again_and_keeps_the_fence() -> None:
    state = requeued(ended(DLQ, _claimed(), 300, 900, "spent"), 400)
    assert (state.attempts, state.deliveries, state.abandons, state.lease_number) == (0, 0, 0, 5)
    assert (state.status, state.error, state.run_at, state.expires, state.keyed) == (PENDING, "", 0, 0, True)


def test_a_repeat_is_the_same_end_with_the_same_values() -> None:
    state = ended(FAILED, _claimed(), 300, 900, "bad", b'{"a":1}')
    task = Desk().create()
    same = finish(task, b'{ "a" : 1 }', completed=False, error="bad")
    assert repeats(state, same, same_json)
    same.lease = 5
    assert repeats(state, same, same_json)
    for name, other in (("lease", 4), ("completed", True), ("result", b"2"), ("error", ""), ("artifacts", b"[]")):
        before = getattr(same, name)
        setattr(same, name, other)
        assert not repeats(state, same, same_json), name
        setattr(same, name, before)
