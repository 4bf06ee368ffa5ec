"""Claims for several answers: how answers are spent, who is next in line, and how such a claim ends."""

from typing import Any

from appliance.tasks.model import FOREVER_MS, OUTCOME_TASKS_MAX, Claim, Claimed
from appliance.tasks.scheduler import NEVER
from appliance.tasks.settings import TaskSettings
from tests.tasks.desk import SUBJECT, TENANT, Desk, claim, code, create, create_batch, unheard


def _stream(answers: int, count: int = 1, commands: tuple[str, ...] | None = None, **fields: Any) -> Claim:
    return Claim(TENANT, unheard, SUBJECT, "", commands, 60_000, count, FOREVER_MS, answers=answers, **fields)


def _sizes(heard: list[Any]) -> list[int]:
    return [len(outcome.tasks) for outcome in heard]


def test_each_answer_is_spent_once() -> None:
    desk = Desk()
    stream = _stream(3)
    heard = desk.offer(stream)
    desk.settle()
    for _ in range(4):
        desk.create()
    assert _sizes(heard) == [1, 1, 1]
    assert stream.answers == 0


def test_one_outcome_may_spend_several_answers() -> None:
    desk = Desk()
    desk.ask(create_batch(5))
    stream = _stream(4, count=2)
    heard = desk.offer(stream)
    desk.settle()
    assert _sizes(heard) == [5]
    assert stream.answers == 1
    desk.create()
    assert _sizes(heard) == [5, 1]
    assert stream.answers == 0


def test_answers_may_be_added_while_the_claim_waits() -> None:
    desk = Desk()
    stream = _stream(1)
    heard = desk.offer(stream)
    desk.settle()
    stream.answers += 2
    desk.ask(create_batch(5))
    assert sum(_sizes(heard)) == 3


def test_an_outcome_is_bounded_in_tasks_and_in_bytes() -> None:
    desk = Desk(TaskSettings(group_transitions_max=10_000))
    desk.ask(create_batch(OUTCOME_TASKS_MAX * 2))
    heard = desk.offer(_stream(OUTCOME_TASKS_MAX * 2))
    desk.settle()
    assert sum(_sizes(heard)) == OUTCOME_TASKS_MAX * 2
    assert max(_sizes(heard)) <= OUTCOME_TASKS_MAX
    for _ in range(3):
        desk.create(payload=b'"' + b"x" * 600 + b'"')
    heavy = desk.offer(_stream(3, enough_bytes=1_000))
    desk.settle()
    assert _sizes(heavy) == [2, 1]


def test_with_what_is_left_the_claim_goes_to_the_end_of_the_line() -> None:
    desk = Desk()
    one, two = desk.offer(_stream(2)), desk.offer(_stream(2))
    desk.settle()
    order = []
    for _ in range(4):
        before = len(one)
        desk.create()
        order.append("one" if len(one) > before else "two")
    assert order == ["one", "two", "one", "two"]
    assert len(two) == 2


def test_a_withdrawn_claim_gets_nothing_more() -> None:
    desk = Desk()
    stream = _stream(3)
    heard = desk.offer(stream)
    desk.settle()
    desk.scheduler.withdraw(stream)
    desk.create()
    assert heard == []
    assert len(desk.claim()) == 1


def test_a_claim_withdrawn_before_it_was_decided_ends_empty() -> None:
    desk = Desk()
    desk.create()
    stream = _stream(3)
    heard = desk.offer(stream)
    desk.scheduler.withdraw(stream)
    desk.settle()
    assert heard == [Claimed([])]


def test_claims_that_wait_for_ever_have_no_deadline_and_take_nobodys_place() -> None:
    desk = Desk(TaskSettings(waiting_per_tenant_max=1))
    for _ in range(5):
        desk.offer(_stream(1))
    waiting = desk.offer(claim("other", wait_ms=1_000))
    desk.settle()
    assert waiting == []
    desk.pass_ms(1_000)
    assert waiting == [Claimed([])]
    assert desk.scheduler.next_time() == NEVER


def test_after_a_failure_the_claim_hears_of_what_was_lost_and_stands_in_line_with_the_rest() -> None:
    desk = Desk()
    desk.create()
    heard = desk.offer(_stream(3))
    desk.scheduler.pump(desk.now)
    desk.fail()
    assert code(heard[0]) == "unavailable"
    desk.settle()
    assert _sizes(heard[1:]) == [1]
    desk.offer(create())
    desk.settle()
    assert _sizes(heard[1:]) == [1, 1]


def test_a_claim_that_is_withdrawn_when_it_hears_of_a_failure_takes_nothing() -> None:
    desk = Desk()
    task = desk.create()
    stream = _stream(3)
    heard: list[Any] = []

    def hear(outcome: Any) -> None:
        heard.append(outcome)
        if not isinstance(outcome, Claimed):
            desk.scheduler.withdraw(stream)

    stream.sink = hear
    desk.scheduler.offer(stream)
    desk.scheduler.pump(desk.now)
    desk.fail()
    desk.settle()
    assert [isinstance(outcome, Claimed) and outcome.tasks for outcome in heard[1:]] in ([], [[]])
    assert [each.id for each in desk.claim()] == [task.id]


def test_claims_of_one_queue_that_fill_every_group_do_not_keep_those_of_another_waiting() -> None:
    desk = Desk(TaskSettings(group_transitions_max=OUTCOME_TASKS_MAX))
    for _ in range(8):
        desk.ask(create_batch(OUTCOME_TASKS_MAX))
    waits = desk.offer(claim("mail", tenant="other", wait_ms=60_000))
    desk.settle()
    bulk = desk.offer(_stream(8 * OUTCOME_TASKS_MAX))
    desk.scheduler.pump(desk.now)
    desk.offer(create("mail", "other"))
    for _ in range(4):
        desk.land()
        desk.scheduler.pump(desk.now)
    assert _sizes(waits) == [1]
    assert 1 < len(bulk) < 5
