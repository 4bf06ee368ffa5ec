"""Key layouts: order of bytes is order of values, and everything stays below LMDB's limit."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.tables import (
    ID_BYTES,
    IDEM_PLAIN_BYTES,
    KEY_BYTES_MAX,
    META,
    QUEUE_BYTES,
    READY_KEY_BYTES,
    TABLE_COUNT,
    TABLE_NAMES,
    TIME_KEY_BYTES,
    command_name_key,
    idem_key,
    prefix_end,
    queue_prefix,
    ready_key,
    tenant_name_key,
    tenant_prefix,
    time_key,
    time_of,
)

NAME_CHARACTERS_MAX = 100
"""More than the contract gives to the name of a tenant or a command."""

IDEM_KEY_CHARACTERS_MAX = 256
"""The contract's limit on an idempotency key."""

numbers = st.integers(0, 2**32 - 1)
times = st.integers(0, 2**64 - 1)
ids = st.binary(min_size=ID_BYTES, max_size=ID_BYTES)
queues = st.builds(queue_prefix, numbers, numbers)


def test_every_table_has_a_name_of_its_own() -> None:
    assert len(set(TABLE_NAMES)) == TABLE_COUNT
    assert TABLE_NAMES[META] == "meta"


@given(queues, st.integers(0, 255), ids, st.integers(0, 255), ids)
def test_ready_keys_sort_by_priority_falling_and_then_by_id(
    queue: bytes, one: int, first: bytes, other: int, second: bytes
) -> None:
    keys = ready_key(queue, one, first), ready_key(queue, other, second)
    assert (keys[0] < keys[1]) == ((-one, first) < (-other, second))
    assert {len(key) for key in keys} == {READY_KEY_BYTES}
    assert keys[0][:QUEUE_BYTES] == queue


@given(queues, times, ids, times, ids)
def test_time_keys_sort_by_time_and_then_by_id(queue: bytes, one: int, first: bytes, other: int, second: bytes) -> None:
    keys = time_key(queue, one, first), time_key(queue, other, second)
    assert (keys[0] < keys[1]) == ((one, first) < (other, second))
    assert {len(key) for key in keys} == {TIME_KEY_BYTES}
    assert time_of(keys[0]) == one
    assert keys[0][-ID_BYTES:] == first


@given(numbers, numbers)
def test_a_queue_begins_with_its_tenant(tenant: int, command: int) -> None:
    assert queue_prefix(tenant, command).startswith(tenant_prefix(tenant))
    assert len(queue_prefix(tenant, command)) == QUEUE_BYTES


def test_every_layout_stays_below_the_longest_key_at_the_limits_of_the_contract() -> None:
    widest = "\U0010ffff"
    assert len(idem_key(queue_prefix(1, 1), widest * IDEM_KEY_CHARACTERS_MAX)) <= KEY_BYTES_MAX
    assert len(tenant_name_key(widest * NAME_CHARACTERS_MAX)) <= KEY_BYTES_MAX
    assert len(command_name_key(1, widest * NAME_CHARACTERS_MAX)) <= KEY_BYTES_MAX


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_different_idempotency_keys_have_different_rows(one: str, other: str) -> None:
    queue = queue_prefix(1, 1)
    assert (idem_key(queue, one) == idem_key(queue, other)) == (one == other)


def test_a_hashed_idempotency_key_keeps_its_head_and_equals_no_plain_one() -> None:
    queue = queue_prefix(1, 1)
    long = "a" * (IDEM_PLAIN_BYTES + 1)
    hashed = idem_key(queue, long)
    assert hashed.startswith(queue + b"a" * (IDEM_PLAIN_BYTES - 32))
    assert hashed != idem_key(queue, long + "a")
    assert len(hashed) > len(idem_key(queue, "a" * IDEM_PLAIN_BYTES))


@given(st.binary(min_size=1, max_size=12), st.binary(max_size=12), st.binary(min_size=1, max_size=12))
def test_the_end_of_a_prefix_parts_its_keys_from_the_later_ones(prefix: bytes, tail: bytes, other: bytes) -> None:
    end = prefix_end(prefix)
    assert prefix + tail < end
    if other >= prefix and not other.startswith(prefix):
        assert other >= end
