"""Groups and overlay against a plain dictionary: what was decided is seen, durable or not, and ends in the store."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.engine.group import Group
from appliance.engine.overlay import Overlay, Reader
from appliance.engine.rows import DamagedRow, unseal
from appliance.engine.store import Store
from appliance.engine.tables import BODY, READY
from tests.engine.committing import Outcomes

TABLES = (BODY, READY)
KEYS = [bytes([letter]) * length for letter in b"abc" for length in (1, 2)]

tables = st.sampled_from(TABLES)
keys = st.sampled_from(KEYS)
bounds = st.sampled_from([b"", *KEYS, b"z"])
contents = st.binary(max_size=3)

Rows = dict[tuple[int, bytes], bytes]


class DictionaryStore:
    """A Reader over a dictionary, which counts how often its snapshot was released."""

    def __init__(self) -> None:
        self.rows: Rows = {}
        self.released = 0

    def get(self, table: int, key: bytes) -> bytes | None:
        return self.rows.get((table, key))

    def get_all(self, table: int, keys: Sequence[bytes], on_damage: Callable[[DamagedRow], None]) -> dict[bytes, bytes]:
        return {key: row for key in keys if (row := self.get(table, key)) is not None}

    def scan(self, table: int, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return scan(self.rows, table, low, high, limit)

    def release(self) -> None:
        self.released += 1


def scan(rows: Rows, table: int, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
    found = sorted((key, content) for (in_table, key), content in rows.items() if in_table == table)
    return [row for row in found if low <= row[0] < high][:limit]


class OverlayModel(RuleBasedStateMachine):
    """Random writes, closes and completions; the model is what was decided, the store what became durable."""

    def __init__(self) -> None:
        super().__init__()
        self.store = self.make_store()
        self.overlay = Overlay(self.store)
        self.decided: Rows = {}
        self.at_close: list[Rows] = []
        self.waiting: list[int] = []

    def make_store(self) -> Reader:
        return DictionaryStore()

    def write(self, group: Group) -> None:
        """What the committer does."""
        assert isinstance(self.store, DictionaryStore)
        for table, deletes, puts in group.close():
            for key in deletes:
                self.store.rows.pop((table, key), None)
            self.store.rows.update({(table, key): unseal(table, key, row) for key, row in puts})

    @rule(table=tables, key=keys, content=contents)
    def put(self, table: int, key: bytes, content: bytes) -> None:
        self.overlay.open.put(table, key, content)
        self.decided[table, key] = content

    @rule(table=tables, key=keys, content=contents)
    def put_new_where_absent(self, table: int, key: bytes, content: bytes) -> None:
        if (table, key) not in self.decided:
            self.overlay.open.put_new(table, key, content)
            self.decided[table, key] = content

    @rule(table=tables, key=keys)
    def delete_where_present(self, table: int, key: bytes) -> None:
        if self.decided.pop((table, key), None) is not None:
            self.overlay.open.delete(table, key)

    @rule()
    def close(self) -> None:
        self.waiting.append(self.overlay.close().number)
        self.at_close.append(dict(self.decided))

    @precondition(lambda self: self.waiting)
    @rule()
    def durable(self) -> None:
        oldest = self.overlay.all_groups()[0]
        self.write(oldest)
        assert self.overlay.durable(self.waiting.pop(0)) is oldest
        rows = self.at_close.pop(0)
        for table in TABLES:
            assert self.store.scan(table, b"", b"z", 100) == scan(rows, table, b"", b"z", 100)

    @rule(table=tables, low=bounds, high=bounds, limit=st.integers(0, 8))
    def scan_equals_the_model(self, table: int, low: bytes, high: bytes, limit: int) -> None:
        assert self.overlay.scan(table, low, high, limit) == scan(self.decided, table, low, high, limit)

    @invariant()
    def every_get_equals_the_model(self) -> None:
        for table in TABLES:
            for key in KEYS:
                assert self.overlay.get(table, key) == self.decided.get((table, key))

    @rule(table=tables, wanted=st.lists(keys))
    def get_all_equals_the_model(self, table: int, wanted: list[bytes]) -> None:
        found = {key: self.decided[table, key] for key in wanted if (table, key) in self.decided}
        assert self.overlay.get_all(table, wanted, _raise) == found

    @invariant()
    def numbers_are_in_order(self) -> None:
        numbers = [group.number for group in self.overlay.all_groups()]
        assert numbers == [*self.waiting, numbers[-1]]
        assert self.overlay.undurable == len(self.waiting)


class LmdbOverlayModel(OverlayModel):
    """The same over a real store and its committer."""

    def make_store(self) -> Reader:
        self.directory = tempfile.TemporaryDirectory()
        store = Store.open(Path(self.directory.name))
        self.outcomes = Outcomes(store)
        return store

    def write(self, group: Group) -> None:
        self.outcomes.commit(group.number, group.close())
        assert self.outcomes.durable[-1][0] == group.number

    def teardown(self) -> None:
        self.outcomes.committer.stop()
        assert isinstance(self.store, Store)
        self.store.close()
        self.directory.cleanup()


TestLmdbOverlayModel = LmdbOverlayModel.TestCase
TestLmdbOverlayModel.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)

TestOverlayModel = OverlayModel.TestCase
TestOverlayModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_the_newest_written_group_is_the_last_one_with_a_write_that_is_not_durable() -> None:
    overlay = Overlay(DictionaryStore())
    assert overlay.newest_written() is None
    overlay.open.put(BODY, b"k", b"1")
    written = overlay.newest_written()
    assert written is overlay.open
    overlay.close()
    assert overlay.newest_written() is written
    overlay.durable(1)
    assert overlay.newest_written() is None


def test_a_group_out_of_turn_is_a_bug() -> None:
    overlay = Overlay(DictionaryStore())
    overlay.close()
    with pytest.raises(AssertionError):
        overlay.durable(2)


def test_a_durable_group_releases_the_snapshot() -> None:
    store = DictionaryStore()
    overlay = Overlay(store)
    overlay.close()
    overlay.durable(1)
    assert store.released == 1


def _raise(damage: DamagedRow) -> None:
    raise damage
