"""Lines of waiting claims: order of arrival, lazy leaving, and deadlines."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.tasks.lines import Line, Waiter, Waits
from tests.tasks.desk import claim


def _waits(deadlines: list[int]) -> tuple[Waits, list[Waiter]]:
    waits = Waits()
    return waits, [waits.add(claim(tenant=f"t{at % 2}"), deadline) for at, deadline in enumerate(deadlines)]


def test_who_came_first_is_first() -> None:
    waits, (one, two) = _waits([10, 5])
    line = Line()
    line.join(one)
    line.join(two)
    assert line.first() is one
    waits.finish(one)
    assert line.first() is two
    waits.finish(two)
    assert line.first() is None
    assert not line


def test_a_waiter_leaves_all_of_its_lines_at_once() -> None:
    waits, (one,) = _waits([10])
    lines = [Line(), Line()]
    for line in lines:
        line.join(one)
    waits.finish(one)
    assert [line.first() for line in lines] == [None, None]
    assert one.lines == []


def test_who_is_done_but_still_in_line_keeps_no_claim() -> None:
    waits, (one,) = _waits([10])
    line = Line()
    line.join(one)
    waits.finish(one)
    assert line
    assert not hasattr(one, "claim")


def test_those_who_are_done_are_thrown_out_when_they_are_many() -> None:
    waits, waiters = _waits([10] * 100)
    line = Line()
    for waiter in waiters:
        line.join(waiter)
    for waiter in waiters[1:]:
        waits.finish(waiter)
    assert len(line._waiters) <= 20
    assert line.first() is waiters[0]


def test_waits_are_counted_by_tenant() -> None:
    waits, waiters = _waits([1, 2, 3])
    assert (len(waits), waits.waiting("t0"), waits.waiting("t1"), waits.waiting("t2")) == (3, 2, 1, 0)
    for waiter in waiters:
        waits.finish(waiter)
    assert (len(waits), waits.waiting("t0")) == (0, 0)


def test_claims_that_wait_are_listed_in_order_of_arrival() -> None:
    waits, waiters = _waits([30, 10, 20])
    waits.finish(waiters[1])
    assert waits.live_claims() == [waiters[0].claim, waiters[2].claim]
    assert waiters[0].claim.deadline == 30


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60))
def test_deadlines_come_in_their_order_and_skip_those_who_are_done(entries: list[tuple[int, bool]]) -> None:
    waits, waiters = _waits([deadline for deadline, _ in entries])
    for waiter, (_, gone) in zip(waiters, entries, strict=True):
        if gone:
            waits.finish(waiter)
    wanted = sorted((deadline, at) for at, (deadline, gone) in enumerate(entries) if not gone)
    assert waits.next_deadline() == (wanted[0][0] if wanted else None)
    ended = []
    for waiter in waits.take_ended(25):
        waits.finish(waiter)
        ended.append(waiters.index(waiter))
    assert ended == [at for deadline, at in wanted if deadline <= 25]
    assert len(waits) == len(wanted) - len(ended)
    assert len(waits._deadlines) <= 2 * len(waits) + 17
