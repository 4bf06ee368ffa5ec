"""The judge of a campaign: a good history passes, and each way of being wrong is told by its name."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.campaigns.history import (
    ABANDON,
    HEARTBEAT,
    NACK,
    RESULT,
    UNKNOWN,
    Action,
    Create,
    Delivery,
    EmptyClaim,
    End,
    History,
    Read,
    summary,
)

RETENTION_MS = 3_000
MADE_MS = 1_800_000_000_000


def task_id(number: int, made_ms: int = MADE_MS) -> str:
    """An id whose time is `made_ms`."""
    return str(uuid.UUID(int=made_ms << 80 | 7 << 76 | 2 << 62 | number))


TASK, OTHER = task_id(1), task_id(2)


def delivery(number: int, claimed_ms: float, task: str = TASK, mark: str = "m1", **changes: Any) -> Delivery:
    """A lease of one second."""
    fields: dict[str, Any] = {"attempts": number, "max_attempts": 5, **changes}
    return Delivery(
        task,
        mark,
        number,
        claimed_ms=MADE_MS + claimed_ms,
        until_ms=MADE_MS + claimed_ms + 1_000,
        received_ms=MADE_MS + claimed_ms + 5,
        **fields,
    )


def action(kind: str, number: int, sent_ms: float, status: int = 200, task: str = TASK, **changes: Any) -> Action:
    """What an owner sent and heard."""
    value = "COMPLETED" if kind == RESULT else ""
    sent = MADE_MS + sent_ms
    return Action(kind, task, number, sent, **{"value": value, "answered_ms": sent + 5, "status": status, **changes})


def create(mark: str = "m1", task: str = TASK, **changes: Any) -> Create:
    """An acknowledged create."""
    fields: dict[str, Any] = {"key": "", "batch": 0, "sent_ms": MADE_MS, "status": 201, "id": task, **changes}
    return Create(mark, **{"queue": "acme/mail", "answered_ms": MADE_MS + 2, **fields})


def good() -> History:
    """One task, delivered, nacked, delivered again, kept alive and finished, still there in the end."""
    ended = {"status": "COMPLETED", "attempts": 2, "maxAttempts": 5}
    return History(
        RETENTION_MS,
        creates=[create()],
        deliveries=[delivery(1, 10), delivery(2, 200)],
        actions=[
            action(NACK, 1, 50),
            action(HEARTBEAT, 2, 300, until_ms=MADE_MS + 2_300),
            action(RESULT, 2, 1_500),
        ],
        reads=[Read(TASK, MADE_MS + 20, MADE_MS + 25, 200)],
        ends={TASK: End(MADE_MS + 2_000, ended)},
    )


def test_a_good_history_has_no_violations() -> None:
    history = good()
    assert history.violations() == []
    assert summary(history)["results accepted"] == 1


def test_a_swept_task_is_not_lost() -> None:
    history = good()
    history.ends[TASK] = End(MADE_MS + 1_500 + RETENTION_MS, None)
    assert history.violations() == []


def test_a_key_is_free_again_when_its_task_was_swept() -> None:
    history = good()
    second = task_id(3, MADE_MS + 1_500 + RETENTION_MS)
    history.creates = [create(key="m1"), create(task=second, key="m1")]
    history.ends[second] = End(
        MADE_MS + 9_000, {"status": "DLQ", "attempts": 5, "maxAttempts": 5, "error": "too often"}
    )
    assert history.violations() == []


def test_an_unknown_outcome_is_not_held_against_the_queue() -> None:
    history = good()
    history.actions[0].status = UNKNOWN
    history.creates[0].status = UNKNOWN
    history.creates[0].id = ""
    assert history.violations() == []


def test_a_claim_may_end_empty_beside_a_task_of_another_queue_or_one_that_came_later() -> None:
    history = good()
    history.deliveries[0] = delivery(1, 150)
    history.empty_claims.append(EmptyClaim(("acme/other",), MADE_MS + 20, MADE_MS + 60))
    history.empty_claims.append(EmptyClaim(("acme/mail",), MADE_MS - 20, MADE_MS + 1))
    assert not any(violation.startswith("not delivered") for violation in history.violations())


def test_a_higher_priority_may_pass_and_so_may_a_delayed_task() -> None:
    history = good()
    _pass_over(history)
    history.creates[1].priority = 1
    assert not any(violation.startswith("out of order") for violation in history.violations())
    history = good()
    _pass_over(history)
    history.creates[0].not_before_ms = MADE_MS + 10
    assert not any(violation.startswith("out of order") for violation in history.violations())


def _vanish(history: History) -> None:
    history.ends[TASK] = End(MADE_MS + 2_000, None)


def _vanish_for_a_reader(history: History) -> None:
    history.reads.append(Read(TASK, MADE_MS + 100, MADE_MS + 105, 404))


def _vanish_for_its_owner(history: History) -> None:
    history.actions.append(action(HEARTBEAT, 2, 400, 404))


def _forget_to_look(history: History) -> None:
    history.ends.clear()


def _stay(history: History) -> None:
    history.ends[TASK] = End(MADE_MS + 2_000, {"status": "PENDING", "attempts": 2, "maxAttempts": 5})


def _change(history: History) -> None:
    history.ends[TASK] = End(MADE_MS + 2_000, {"status": "FAILED", "attempts": 2, "maxAttempts": 5})


def _accept_two(history: History) -> None:
    history.actions.append(action(RESULT, 2, 1_600, value="FAILED"))


def _die_early(history: History) -> None:
    history.actions.pop()
    history.ends[TASK] = End(MADE_MS + 9_000, {"status": "DLQ", "attempts": 2, "maxAttempts": 5})


def _live_on(history: History) -> None:
    history.actions.pop()
    history.ends[TASK] = End(MADE_MS + 9_000, {"status": "DLQ", "attempts": 6, "maxAttempts": 5})


def _invent(history: History) -> None:
    history.deliveries.append(delivery(1, 10, OTHER, "m2"))
    history.ends[OTHER] = End(MADE_MS + 9_000, {"status": "DLQ", "attempts": 5, "maxAttempts": 5, "error": "too often"})


def _refuse(history: History) -> None:
    history.creates[0].status = 400


def _make_two(history: History) -> None:
    history.creates = [create(key="m1"), create(task=OTHER, key="m1")]
    history.ends[OTHER] = End(MADE_MS + 9_000, {"status": "DLQ", "attempts": 5, "maxAttempts": 5, "error": "too often"})


def _lease_twice(history: History) -> None:
    history.deliveries.append(delivery(2, 210))


def _lease_early(history: History) -> None:
    history.actions.pop(0)


def _lease_early_despite_a_heartbeat(history: History) -> None:
    history.actions[0] = action(HEARTBEAT, 1, 50, until_ms=MADE_MS + 5_000)
    history.deliveries[1] = delivery(2, 1_400)
    history.actions[1:2] = []


def _deliver_again(history: History) -> None:
    history.deliveries.append(delivery(3, 2_400))


def _listen_to_the_old(history: History) -> None:
    history.actions.append(action(ABANDON, 1, 250))


def _listen_to_the_late(history: History) -> None:
    history.actions[2] = action(RESULT, 2, 2_500)


def _count_wrong(history: History) -> None:
    history.deliveries[1] = delivery(2, 200, attempts=1)


def _count_on(history: History) -> None:
    history.deliveries[1] = delivery(2, 200, max_attempts=1)


def _lose_leases(history: History) -> None:
    history.deliveries[1] = delivery(9, 1_100)
    history.actions = []
    history.ends[TASK] = End(MADE_MS + 9_000, {"status": "DLQ", "attempts": 5, "maxAttempts": 5, "error": "too often"})


def _tear(history: History) -> None:
    history.creates = [create(batch=1, status=UNKNOWN, task=""), create("m2", batch=1, status=UNKNOWN, task="")]


def _use_a_key_twice(history: History) -> None:
    history.creates = [create(key="k"), create("m2", OTHER, key="k")]
    history.ends[OTHER] = End(MADE_MS + 9_000, {"status": "DLQ", "attempts": 5, "maxAttempts": 5, "error": "too often"})


def _die_of_nothing(history: History) -> None:
    history.actions.pop()
    history.ends[TASK] = End(MADE_MS + 9_000, {"status": "DLQ", "attempts": 5, "maxAttempts": 5, "error": ""})


def _listen_to_the_late_after_a_stream_heartbeat(history: History) -> None:
    history.actions[1] = action(HEARTBEAT, 2, 300, until_ms=MADE_MS + 1_300, until_max_ms=MADE_MS + 1_305)


def _deliver_early(history: History) -> None:
    history.creates[0].not_before_ms = MADE_MS + 100


def _pass_over(history: History) -> None:
    """The older one of two equals is claimed 100 ms after the younger."""
    history.creates.append(create("m2", OTHER))
    history.deliveries = [delivery(1, 150), delivery(1, 50, OTHER, "m2")]
    history.actions = []
    history.ends[OTHER] = history.ends[TASK]


def _pass_over_a_higher_priority(history: History) -> None:
    _pass_over(history)
    history.creates[0].priority, history.creates[1].priority = 0, 1
    history.deliveries = [delivery(1, 50), delivery(1, 150, OTHER, "m2")]


def _leave_beside_an_empty_claim(history: History) -> None:
    history.deliveries[0] = delivery(1, 150)
    history.empty_claims.append(EmptyClaim(("acme/mail",), MADE_MS + 20, MADE_MS + 60))


def _answer_oddly(history: History) -> None:
    history.oddities.append("claim: 500")


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (_vanish, "lost"),
        (_vanish_for_a_reader, "lost"),
        (_vanish_for_its_owner, "lost"),
        (_forget_to_look, "lost"),
        (_stay, "not drained"),
        (_change, "changed after its end"),
        (_accept_two, "finished twice"),
        (_die_early, "dead too early"),
        (_live_on, "too many attempts"),
        (_invent, "unexpected"),
        (_refuse, "unexpected"),
        (_make_two, "two tasks for one create"),
        (_lease_twice, "double lease"),
        (_lease_early, "double lease"),
        (_lease_early_despite_a_heartbeat, "double lease"),
        (_deliver_again, "delivered again"),
        (_listen_to_the_old, "old lease accepted"),
        (_listen_to_the_late, "ended lease accepted"),
        (_count_wrong, "attempts"),
        (_count_on, "too many attempts"),
        (_lose_leases, "leases nobody got"),
        (_tear, "torn batch"),
        (_use_a_key_twice, "two tasks for one create"),
        (_die_of_nothing, "dead without a reason"),
        (_listen_to_the_late_after_a_stream_heartbeat, "ended lease accepted"),
        (_deliver_early, "delivered too early"),
        (_pass_over, "out of order"),
        (_pass_over_a_higher_priority, "out of order"),
        (_leave_beside_an_empty_claim, "not delivered"),
        (_answer_oddly, "odd answer"),
    ],
)
def test_each_violation_is_told(break_it: Callable[[History], None], told: str) -> None:
    history = good()
    break_it(history)
    assert any(violation.startswith(told) for violation in history.violations()), history.violations()
