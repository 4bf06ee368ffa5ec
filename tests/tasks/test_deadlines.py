"""Timers: nothing early, nothing forgotten, and tenants in turn."""

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engine.group import TableWrites
from appliance.engine.overlay import Overlay
from appliance.engine.rows import seal
from appliance.engine.tables import DUE, queue_prefix, time_key
from appliance.tasks.deadlines import Deadlines
from appliance.tasks.queues import Tenant
from tests.simulation.store import DictionaryStore


def _key(tenant: int, time_ms: int, number: int = 0) -> bytes:
    return time_key(queue_prefix(tenant, 1), time_ms, number.to_bytes(16, "big"))


def _overlay(keys: list[bytes]) -> Overlay:
    store = DictionaryStore()
    store.apply([TableWrites(DUE, [], [(key, seal(DUE, key, b"")) for key in sorted(keys)])], [set()] * 16)
    return Overlay(store)


def test_nothing_is_due_before_its_time() -> None:
    deadlines, overlay = Deadlines(DUE, 8), _overlay([])
    deadlines.push(_key(1, 100))
    assert deadlines.next_time() == 100
    assert deadlines.take(overlay, 99, 10) == []
    assert deadlines.oldest_due(99) is None
    assert deadlines.oldest_due(100) == 100
    assert deadlines.take(overlay, 100, 10) == [_key(1, 100)]
    assert deadlines.next_time() is None


def test_tenants_take_turns() -> None:
    deadlines, overlay = Deadlines(DUE, 100), _overlay([])
    for number in range(5):
        deadlines.push(_key(1, 10, number))
    deadlines.push(_key(2, 20))
    taken = [deadlines.take(overlay, 50, 2) for _ in range(5)]
    assert [len(keys) for keys in taken] == [2, 1, 2, 1, 0]
    assert taken[1] == [_key(2, 20)]


def test_while_a_tenant_waits_for_its_turn_the_next_time_is_now() -> None:
    deadlines, overlay = Deadlines(DUE, 100), _overlay([])
    for number in range(3):
        deadlines.push(_key(1, 10, number))
    deadlines.take(overlay, 50, 2)
    assert deadlines.next_time() == 0
    assert deadlines.oldest_due(50) == 10
    deadlines.take(overlay, 50, 2)
    assert deadlines.next_time() is None


def test_what_the_store_holds_is_taken_up() -> None:
    keys = [_key(3, 10 * number, number) for number in range(200)]
    deadlines, overlay = Deadlines(DUE, 8), _overlay(keys)
    deadlines.load(overlay, Tenant("three", 3))
    deadlines.load(overlay, Tenant("four", 4))
    assert deadlines.next_time() == 0
    taken: list[bytes] = []
    while some := deadlines.take(overlay, 10**6, 7):
        taken += some
    assert taken == keys


def test_keys_that_were_not_dealt_with_come_again() -> None:
    deadlines, overlay = Deadlines(DUE, 8), _overlay([])
    deadlines.push(_key(1, 10))
    taken = deadlines.take(overlay, 10, 5)
    deadlines.put_back(taken)
    assert deadlines.take(overlay, 10, 5) == taken


def test_keys_in_falling_order_of_time_leave_no_heap_of_entries() -> None:
    deadlines = Deadlines(DUE, 8)
    for time_ms in range(10_000, 0, -1):
        deadlines.push(_key(1, time_ms))
    assert len(deadlines._order) <= 70
    assert deadlines.next_time() == 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 100), st.booleans()), max_size=80, unique_by=lambda e: e[:2]),
    st.integers(4, 10),
    st.integers(1, 5),
)
def test_everything_is_taken_once_and_in_the_order_of_its_tenant(
    entries: list[tuple[int, int, bool]], limit: int, quantum: int
) -> None:
    stored = [_key(tenant, time_ms) for tenant, time_ms, early in entries if early]
    deadlines, overlay = Deadlines(DUE, limit), _overlay(stored)
    for tenant in (1, 2, 3):
        deadlines.load(overlay, Tenant(str(tenant), tenant))
    for tenant, time_ms, early in entries:
        if not early:
            overlay.open.put_new(DUE, _key(tenant, time_ms), b"")
            deadlines.push(_key(tenant, time_ms))
    taken: list[bytes] = []
    for now_ms in (30, 60, 100):
        while some := deadlines.take(overlay, now_ms, quantum):
            assert len(some) <= quantum
            for key in some:
                overlay.open.delete(DUE, key)
            taken += some
        assert set(taken) == {_key(*entry[:2]) for entry in entries if entry[1] <= now_ms}
    assert len(taken) == len(entries)
    for tenant in (1, 2, 3):
        mine = [key for key in taken if key[:4] == Tenant("", tenant).prefix]
        assert mine == sorted(mine)
