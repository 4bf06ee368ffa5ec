"""The clock never goes back, does not jump, and follows the wall slowly."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.tasks.clock import JUMP_MS, SLEW_DIVISOR, Clock

WALL = 1_800_000_000_000
HOUR_MS = 3_600_000


def test_it_advances_with_the_monotonic_clock() -> None:
    clock = Clock(WALL, 500)
    assert clock.read(WALL + 40, 540) == WALL + 40
    assert clock.jumps == 0


def test_a_jump_of_the_wall_is_counted_once_and_does_not_move_it() -> None:
    clock = Clock(WALL, 0)
    assert clock.read(WALL + HOUR_MS, 10) == WALL + 10
    clock.read(WALL + HOUR_MS + 10, 20)
    assert clock.jumps == 1
    clock.read(WALL + 20, 30)
    assert clock.jumps == 2


def test_it_follows_the_wall_by_a_twentieth_of_the_time() -> None:
    for direction in (1, -1):
        clock = Clock(WALL, 0)
        for monotonic in range(1_000, 100_001, 1_000):
            clock.read(WALL + direction * HOUR_MS + monotonic, monotonic)
        assert clock.now == WALL + 100_000 + direction * 100_000 // SLEW_DIVISOR


def test_a_clock_that_is_read_all_the_time_follows_the_wall_as_well() -> None:
    clock = Clock(WALL, 0)
    for monotonic in range(1, 10_001):
        clock.read(WALL + monotonic - 100, monotonic)
    assert clock.now == WALL + 10_000 - 100


def test_it_stops_at_the_wall_when_it_has_caught_up() -> None:
    clock = Clock(WALL, 0)
    for monotonic in range(1_000, 60_001, 1_000):
        clock.read(WALL + 300 + monotonic, monotonic)
    assert clock.now == WALL + 300 + 60_000
    assert clock.jumps == 0


def test_a_monotonic_clock_that_stands_still_changes_nothing() -> None:
    clock = Clock(WALL, 100)
    assert clock.read(WALL + 999_999, 100) == WALL
    assert clock.read(WALL + 999_999, 50) == WALL


@given(st.lists(st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 100_000)), max_size=60))
def test_it_never_goes_back_and_never_errs_by_more_than_its_bound(steps: list[tuple[int, int]]) -> None:
    clock = Clock(WALL, 0)
    monotonic = 0
    for offset, passed in steps:
        before = clock.now
        monotonic += passed
        now = clock.read(WALL + monotonic + offset, monotonic)
        assert now >= before
    assert abs(clock.now - WALL - monotonic) <= monotonic // SLEW_DIVISOR + 1


def test_small_corrections_are_not_jumps() -> None:
    clock = Clock(WALL, 0)
    for step in range(1, 20):
        clock.read(WALL + step * 1_000 + (step % 2) * JUMP_MS // 2, step * 1_000)
    assert clock.jumps == 0
