"""The account of buffered bytes."""

# mypy: disable-error-code="unreachable"
# (an attribute that a call has changed is taken for unchanged)

from appliance.mux.memory import Memory


def test_the_marks_follow_the_shares() -> None:
    memory = Memory(1000, 0.8, 0.9)
    memory.take(800)
    assert not memory.tight
    memory.take(1)
    assert memory.tight and not memory.full
    memory.take(100)
    assert memory.full and not memory.exhausted
    memory.take(100)
    assert memory.exhausted


def test_waiters_are_woken_once_and_only_below_the_mark() -> None:
    memory = Memory(1000, 0.8, 0.9)
    woken: list[str] = []

    def one() -> None:
        woken.append("one")

    def two() -> None:
        woken.append("two")

    memory.take(900)
    memory.wait(one)
    memory.wait(two)
    memory.forget(two)
    memory.give(100)
    assert woken == []
    memory.give(50)
    assert woken == ["one"]
    memory.give(700)
    assert woken == ["one"]
