"""When the watchdog is fed, and when it is not."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.service.beat import Beat
from appliance.service.notify import Notifier
from appliance.service.watchdog import Judge, Pulse

LIMIT = 20.0


def pulse(now: float, group: int | None = None, *, alive: bool = True, late: float = 0.0) -> Pulse:
    return Pulse(now, group, alive, late)


def test_an_idle_node_lives() -> None:
    judge = Judge(LIMIT)
    assert not any(judge.complaint(pulse(now)) for now in (0, 100, 10_000))


def test_a_committer_that_is_always_busy_with_another_group_lives() -> None:
    judge = Judge(LIMIT)
    assert not any(judge.complaint(pulse(number * 15.0, number)) for number in range(100))


def test_a_group_may_take_as_long_as_the_limit_and_not_longer() -> None:
    judge = Judge(LIMIT)
    assert not judge.complaint(pulse(0, 5))
    assert not judge.complaint(pulse(LIMIT, 5))
    assert judge.complaint(pulse(LIMIT + 1, 5)) == "the committer has been at one group for 21 s"
    assert not judge.complaint(pulse(LIMIT + 2)), "it came back after all"
    assert not judge.complaint(pulse(LIMIT + 3, 6))


def test_a_committer_that_ended_and_a_timer_that_does_not_fire_are_seen() -> None:
    assert Judge(LIMIT).complaint(pulse(0, alive=False)) == "the committer has ended"
    assert Judge(LIMIT).complaint(pulse(0, late=math.inf)) == "the timer of the tasks does not fire"
    assert not Judge(LIMIT).complaint(pulse(0, late=LIMIT))


@given(st.lists(st.tuples(st.floats(0.1, 30), st.booleans()), max_size=40))
def test_it_complains_exactly_while_one_group_is_older_than_the_limit(steps: list[tuple[float, bool]]) -> None:
    judge, now, group, since = Judge(LIMIT), 0.0, 0, 0.0
    judge.complaint(pulse(now, group))
    for seconds, is_next in steps:
        now += seconds
        if is_next:
            group, since = group + 1, now
        assert bool(judge.complaint(pulse(now, group))) == (now - since > LIMIT)


class Heard(Notifier):
    """Keeps what it is told."""

    def __init__(self, watchdog_seconds: float) -> None:
        super().__init__("", watchdog_seconds)
        self.words: list[str] = []

    @property
    def enabled(self) -> bool:
        return True

    def _send(self, *lines: str) -> None:
        self.words += lines


def test_the_beat_feeds_the_watchdog_only_while_the_node_moves(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        loop, notifier = asyncio.get_running_loop(), Heard(0.04)
        pulses = iter([pulse(0, 1), pulse(0.01, 1), pulse(1, 1), pulse(2)])
        done = asyncio.Event()

        def status() -> str:
            return "fine"

        def look() -> Pulse:
            found = next(pulses)
            if found.group is None:
                done.set()
            return found

        beat = Beat(loop, notifier, look, status)
        beat.start()
        await done.wait()
        beat.stop()
        fed, stuck = ["WATCHDOG=1", "STATUS=fine"], ["STATUS=the committer has been at one group for 1 s"]
        assert notifier.words == [*fed, *fed, *stuck, *fed]

    asyncio.run(scenario())
    assert "the watchdog is not fed: the committer has been at one group for 1 s" in caplog.text
