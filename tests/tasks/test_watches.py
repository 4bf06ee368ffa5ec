"""Watches are told once: at the end of their task or when their time is over."""

from appliance.tasks.watches import Watch, Watches

ID, OTHER = bytes(16), bytes(15) + b"\1"


def _watch(watches: Watches, task_id: bytes, deadline_ms: int, told: list[str], name: str) -> object:
    return watches.add(task_id, Watch("acme", lambda: told.append(name)), deadline_ms)


def test_the_end_of_a_task_is_told_to_all_who_watch_it() -> None:
    watches, told = Watches(), list[str]()
    _watch(watches, ID, 10, told, "one")
    _watch(watches, ID, 20, told, "two")
    _watch(watches, OTHER, 20, told, "other")
    watches.ended([ID])
    watches.ended([ID])
    assert told == ["one", "two"]
    assert (len(watches), watches.watching("acme")) == (1, 1)


def test_a_watch_is_told_when_its_time_is_over() -> None:
    watches, told = Watches(), list[str]()
    _watch(watches, ID, 20, told, "late")
    _watch(watches, ID, 10, told, "early")
    assert watches.next_deadline() == 10
    watches.run_out(9)
    assert told == []
    watches.run_out(15)
    assert told == ["early"]
    assert watches.next_deadline() == 20
    watches.ended([ID])
    assert told == ["early", "late"]
    assert watches.next_deadline() is None


def test_a_watch_that_was_stopped_is_not_told() -> None:
    watches, told = Watches(), list[str]()
    stop = watches.add(ID, Watch("acme", lambda: told.append("no")), 10)
    stop()
    stop()
    watches.ended([ID])
    watches.run_out(100)
    assert told == []
    assert (len(watches), watches.watching("acme"), watches.next_deadline()) == (0, 0, None)


def test_stopped_watches_leave_no_heap_of_deadlines() -> None:
    watches = Watches()
    for number in range(1_000):
        watches.add(ID, Watch("acme", lambda: None), number)()
    assert len(watches._deadlines) <= 20


def test_a_watch_may_be_added_while_another_is_told() -> None:
    watches, told = Watches(), list[str]()

    def tell() -> None:
        _watch(watches, ID, 50, told, "again")

    watches.add(ID, Watch("acme", tell), 10)
    watches.run_out(10)
    assert len(watches) == 1
    watches.ended([ID])
    assert told == ["again"]
