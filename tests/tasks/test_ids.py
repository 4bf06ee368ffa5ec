"""Ids only grow, whatever the clock does, and have the layout of UUIDv7."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from appliance.tasks.ids import Ids, id_text, id_time_ms, parse_id, shard_of

FIRST = bytes(16)
times = st.lists(st.integers(0, (1 << 48) - 1) | st.integers(10**12, 10**12 + 20), min_size=1, max_size=60)


@given(times, st.integers(0, 1_023), st.integers(0, (1 << 32) - 1))
def test_ids_grow_strictly_over_any_clock(clock: list[int], shard: int, tag: int) -> None:
    ids = Ids(FIRST, shard, tag)
    made = [ids.next(now_ms) for now_ms in clock]
    assert made == sorted(set(made))
    assert ids.last == made[-1]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 40)), min_size=1), st.integers(0, 1 << 32))
def test_many_ids_at_once_are_those_that_come_one_by_one(takes: list[tuple[int, int]], counter: int) -> None:
    last = Ids(FIRST, 5, 1).take(10, 1)[0]
    # Not far from the place where the counter carries into its high bits.
    started = int.from_bytes(last, "big") + ((1 << 20) - 1 - counter % 60 << 42)
    together, alone = (Ids(started.to_bytes(16, "big"), 5, 1) for _ in range(2))
    for now_ms, count in takes:
        assert together.take(now_ms, count) == [alone.next(now_ms) for _ in range(count)]
    assert together.last == alone.last


@given(times, times)
def test_a_new_start_goes_on_after_the_last_id(clock: list[int], later: list[int]) -> None:
    ids = Ids(FIRST, 5, 1)
    before = [ids.next(now_ms) for now_ms in clock]
    again = Ids(before[-1], 5, 2)
    assert all(again.next(now_ms) > before[-1] for now_ms in later)


@given(times, st.integers(0, 1_023))
def test_an_id_is_a_uuid_of_version_7_with_its_time_and_shard(clock: list[int], shard: int) -> None:
    ids = Ids(FIRST, shard, 0xFFFFFFFF)
    highest = 0
    for now_ms in clock:
        made = ids.next(now_ms)
        highest = max(highest, now_ms)
        as_uuid = uuid.UUID(bytes=made)
        assert (as_uuid.version, as_uuid.variant) == (7, uuid.RFC_4122)
        assert id_time_ms(made) == highest
        assert shard_of(made) == shard
        assert id_text(made) == str(as_uuid)


def test_the_counter_carries_into_its_high_bits_and_stays_in_order() -> None:
    ids = Ids(FIRST, 0, 0)
    first = ids.next(1_000)
    ids._counter = (1 << 20) - 2
    below, above = ids.next(1_000), ids.next(1_000)
    assert first < below < above
    assert Ids(above, 0, 9).next(1_000) > above


def test_two_starts_that_go_on_from_the_same_id_make_different_ones() -> None:
    assert Ids(FIRST, 0, 1).next(7) != Ids(FIRST, 0, 2).next(7)


@given(st.binary(min_size=16, max_size=16))
def test_the_text_of_an_id_is_read_back(raw: bytes) -> None:
    assert parse_id(id_text(raw)) == raw
    assert parse_id(id_text(raw).upper()) == raw


@given(st.text(max_size=40))
def test_any_other_text_names_no_task(text: str) -> None:
    parsed = parse_id(text)
    assert parsed is None or id_text(parsed) == text.lower()


def test_texts_that_only_look_like_ids_name_no_task() -> None:
    good = id_text(bytes(range(16)))
    for bad in ("", good[:-1], good + "0", good.replace("-", "_"), good[:-1] + "g", good[:-1] + " ", good[:-1] + "-"):
        assert parse_id(bad) is None
