"""A window over a store shows the same head as all of the keys in order would."""

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engine.group import TableWrites
from appliance.engine.overlay import Overlay
from appliance.engine.rows import seal
from appliance.engine.tables import READY
from appliance.tasks.window import FIRST_REFILL_KEYS, Window
from tests.simulation.store import DictionaryStore

PREFIX = b"queue-01"
KEYS = [PREFIX + bytes([number // 256, number % 256]) for number in range(400)]


class Model:
    """All keys in order, beside a window over an overlay whose groups land now and then."""

    def __init__(self, limit: int, stored: list[bytes]) -> None:
        self.store = DictionaryStore()
        rows = [(key, seal(READY, key, b"")) for key in sorted(stored)]
        self.store.apply([TableWrites(READY, [], rows)], [set()] * 16)
        self.overlay = Overlay(self.store)
        self.keys = set(stored)
        self.window = Window(READY, PREFIX, limit, empty=not stored)

    def push(self, key: bytes) -> None:
        if key not in self.keys:
            self.keys.add(key)
            self.overlay.open.put_new(READY, key, b"")
            first = self.window.push(key)
            if first:
                assert key == min(self.keys)

    def pop(self) -> None:
        head = self.window.head(self.overlay)
        assert head == (min(self.keys) if self.keys else None)
        if head is not None:
            self.take(1)

    def take(self, most: int, end: bytes | None = None) -> None:
        taken = self.window.take(self.overlay, most, end)
        assert taken == sorted(key for key in self.keys if end is None or key < end)[:most]
        self.keys.difference_update(taken)
        self.overlay.open.delete_keys(READY, taken)

    def refill(self, keys: int) -> None:
        if self.window.wants_refill:
            self.window.refill(self.overlay, keys)

    def land(self) -> None:
        group = self.overlay.close()
        self.store.apply(group.close(), group.fresh)
        self.overlay.durable(group.number)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 399)),
        st.tuples(st.just("pop"), st.just(0)),
        st.tuples(st.just("pop"), st.just(0)),
        st.tuples(st.just("take"), st.integers(1, 40)),
        st.tuples(st.just("take early"), st.integers(1, 40)),
        st.tuples(st.just("refill"), st.integers(1, 5)),
        st.tuples(st.just("land"), st.just(0)),
    ),
    max_size=150,
)


@settings(max_examples=150, deadline=None)
@given(st.integers(4, 12), st.sets(st.integers(0, 399), max_size=90), steps)
def test_the_head_is_the_smallest_key_of_all(limit: int, stored: set[int], what: list[tuple[str, int]]) -> None:
    model = Model(limit, [KEYS[number] for number in stored])
    for step, number in what:
        if step == "push":
            model.push(KEYS[number])
        elif step == "pop":
            model.pop()
        elif step == "take":
            model.take(number)
        elif step == "take early":
            model.take(number, PREFIX + b"\x01")
        elif step == "refill":
            model.refill(number)
        else:
            model.land()
    while model.keys:
        model.pop()
    model.pop()


def test_a_window_does_not_grow_with_the_backlog() -> None:
    model = Model(8, [])
    for key in reversed(KEYS):
        model.push(key)
        assert len(model.window.heap) <= 8
    for key in KEYS:
        assert model.window.head(model.overlay) == key
        assert len(model.window.heap) <= max(8, FIRST_REFILL_KEYS)
        model.pop()


def test_a_later_key_than_the_horizon_stays_in_the_store() -> None:
    model = Model(4, [])
    for key in KEYS[:5]:
        model.push(key)
    assert model.window.horizon == KEYS[2]
    assert not model.window.push(KEYS[4])
    assert len(model.window.heap) == 3


def test_a_window_on_a_full_store_reads_nothing_before_it_is_asked() -> None:
    model = Model(4, KEYS[:10])
    assert model.window.heap == []
    assert model.window.wants_refill
    assert model.window.head(model.overlay) == KEYS[0]


def test_an_empty_window_wants_no_refill() -> None:
    model = Model(4, [])
    assert not model.window.wants_refill
    assert model.window.refill(model.overlay, 10) == []
    assert model.window.head(model.overlay) is None


def test_keys_of_other_ranges_are_not_seen() -> None:
    model = Model(4, [b"queue-00\xff\xff", b"queue-02\x00\x00"])
    model.keys.clear()
    assert model.window.head(model.overlay) is None
