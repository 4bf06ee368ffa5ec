"""One group: the last write wins, pairs that cancel vanish, and what is closed is sorted and sealed."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.group import Group, TableWrites
from appliance.engine.rows import seal
from appliance.engine.tables import BODY, META, READY


def test_an_empty_group_has_no_writes() -> None:
    group = Group(1)
    assert not group.has_writes
    assert group.close() == []


def test_the_last_write_to_a_key_wins() -> None:
    group = Group(1)
    group.put(BODY, b"k", b"one")
    group.put(BODY, b"k", b"two")
    assert group.close() == [TableWrites(BODY, [], [(b"k", seal(BODY, b"k", b"two"))])]


def test_a_new_row_that_is_deleted_again_leaves_nothing() -> None:
    group = Group(1)
    group.put_new(READY, b"k", b"")
    group.put(READY, b"k", b"more")
    group.delete(READY, b"k")
    assert not group.has_writes


def test_a_row_that_may_exist_is_deleted_in_the_store_too() -> None:
    group = Group(1)
    group.put(READY, b"k", b"")
    group.delete(READY, b"k")
    assert group.close() == [TableWrites(READY, [b"k"], [])]


def test_put_delete_and_put_again_is_a_put() -> None:
    group = Group(1)
    group.put_new(READY, b"k", b"1")
    group.delete(READY, b"k")
    group.put_new(READY, b"k", b"2")
    assert group.close() == [TableWrites(READY, [], [(b"k", seal(READY, b"k", b"2"))])]


def test_delete_put_and_delete_again_is_a_delete() -> None:
    group = Group(1)
    group.delete(READY, b"k")
    group.put_new(READY, b"k", b"2")
    group.delete(READY, b"k")
    assert group.close() == [TableWrites(READY, [b"k"], [])]


def test_a_closed_group_is_sorted_by_table_and_key() -> None:
    group = Group(1)
    for key in (b"c", b"a", b"b"):
        group.put(META, key, b"")
        group.put(BODY, key, b"")
        group.delete(BODY, b"x" + key)
    closed = group.close()
    assert [writes.table for writes in closed] == [BODY, META]
    assert closed[0].deletes == [b"xa", b"xb", b"xc"]
    assert [key for key, _ in closed[0].puts] == [b"a", b"b", b"c"]


def test_a_group_counts_the_bytes_that_were_put() -> None:
    group = Group(1)
    group.put(BODY, b"k", b"12345")
    group.put_new(BODY, b"l", b"678")
    assert group.bytes_count == 8


@given(st.sets(st.integers(0, 9)), st.lists(st.sets(st.integers(0, 9), min_size=1), max_size=12), st.booleans())
def test_lists_of_rows_come_to_the_same_as_one_row_after_the_other(
    stored: set[int], steps: list[set[int]], bare: bool
) -> None:
    """Each step deletes those of its rows that are there, and puts the others."""
    listed, single, there = Group(1), Group(1), {b"%d" % number for number in stored}
    content = b"" if bare else b"content"
    for step in steps:
        keys = {b"%d" % number for number in step}
        new, old = sorted(keys - there), sorted(keys & there)
        if new and bare:
            listed.put_keys(READY, new)
        elif new:
            listed.put_all_new(READY, new, [content] * len(new))
        if old:
            listed.delete_keys(READY, old)
        for key in new:
            single.put_new(READY, key, content)
        for key in old:
            single.delete(READY, key)
        there ^= keys
    assert listed.close() == single.close()
    assert listed.fresh == single.fresh
