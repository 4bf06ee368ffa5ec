"""Ends of pauses against a plain dictionary."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.tasks.pauses import Pauses

QUEUES = st.sampled_from([b"a", b"b", b"c"])
SETS = st.lists(st.tuples(QUEUES, st.integers(0, 9), st.integers(0, 9)), max_size=300)


@given(SETS)
def test_the_next_end_is_the_earliest_that_still_counts(sets: list[tuple[bytes, int, int]]) -> None:
    pauses, model = Pauses(), dict[bytes, int]()
    for queue, dispatch, intake in sets:
        pauses.set(queue, dispatch, intake)
        model[queue] = min((end for end in (dispatch, intake) if end), default=0)
        assert pauses.next_time() == min((end for end in model.values() if end), default=None)
    live = {queue: end for queue, end in model.items() if end}
    assert pauses.take(0) is None
    taken = []
    while (queue_or_none := pauses.take(9)) is not None:
        taken.append(queue_or_none)
    assert sorted(taken) == sorted(live)
    assert [live[queue] for queue in taken] == sorted(live.values())
