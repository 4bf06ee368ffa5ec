"""The judge of a campaign about what operators did: a good history passes, and each lie is told by its name."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.campaigns.history import (
    ABANDON,
    CANCEL,
    CANCELLED,
    HEARTBEAT,
    REQUEUE,
    REQUEUE_ALL,
    RESULT,
    UNKNOWN,
    Deed,
    EmptyClaim,
    End,
    History,
    summary,
)
from tests.campaigns.pauses import BOTH, DISPATCH, INTAKE, LATE_MS, PAUSE, PAUSED, RESUME, Spans, maybe, surely
from tests.campaigns.test_history import MADE_MS, OTHER, RETENTION_MS, TASK, action, create, delivery, task_id

MAIL, IMAGE = "acme/mail", "acme/image"
LATER = task_id(4, MADE_MS + 4_200)


def deed(kind: str, about: str, sent_ms: float, status: int = 200, **changes: Any) -> Deed:
    """What an operator asked for, and heard 5 ms later."""
    sent = MADE_MS + sent_ms
    return Deed(kind, about, sent, **{"answered_ms": sent + 5, "status": status, **changes})


def good() -> History:
    """One task that is cancelled while a worker has it; one that dies, is requeued and completed; pauses of a queue."""
    cancelled = {"status": "FAILED", "error": CANCELLED, "attempts": 1, "maxAttempts": 5}
    completed = {"status": "COMPLETED", "attempts": 1, "maxAttempts": 1}
    return History(
        RETENTION_MS,
        creates=[
            create(),
            create("m2", OTHER, queue=IMAGE),
            create("m3", "", sent_ms=MADE_MS + 3_000, answered_ms=MADE_MS + 3_005, status=PAUSED),
            create("m4", LATER, sent_ms=MADE_MS + 4_199, answered_ms=MADE_MS + 4_205),
        ],
        deliveries=[
            delivery(1, 10),
            delivery(1, 10, OTHER, "m2", max_attempts=1),
            delivery(2, 1_500, OTHER, "m2", attempts=1, max_attempts=1),
            delivery(1, 4_300, LATER, "m4"),
        ],
        actions=[
            action(HEARTBEAT, 1, 20, until_ms=MADE_MS + 1_020),
            action(RESULT, 1, 200, status=409),
            action(RESULT, 2, 1_600, task=OTHER),
            action(RESULT, 1, 4_400, task=LATER),
        ],
        deeds=[
            deed(CANCEL, TASK, 100),
            deed(CANCEL, TASK, 150, 409),
            deed(CANCEL, OTHER, 1_100, 409),
            deed(REQUEUE, OTHER, 1_200, died_ms=MADE_MS + 1_010),
            deed(PAUSE, MAIL, 2_000, part=BOTH),
            deed(RESUME, MAIL, 4_000, part=BOTH),
        ],
        empty_claims=[EmptyClaim((MAIL,), MADE_MS + 2_500, MADE_MS + 3_500)],
        ends={
            TASK: End(MADE_MS + 2_000, cancelled, MADE_MS + 102),
            OTHER: End(MADE_MS + 2_000, completed, MADE_MS + 1_602),
            LATER: End(MADE_MS + 5_000, {**completed, "maxAttempts": 5}, MADE_MS + 4_402),
        },
        kills_ms=[MADE_MS + 2_200],
    )


def test_a_good_history_has_no_violations() -> None:
    history = good()
    assert history.violations() == []
    counts = summary(history)
    assert counts["cancels acknowledged"] == counts["requeues acknowledged"] == counts["pauses acknowledged"] == 1
    assert counts["creates refused by a pause"] == counts["pauses of dispatch that a kill fell into"] == 1


def _lose_every_answer(history: History) -> None:
    for each in history.deeds:
        each.status = UNKNOWN


def _lose_every_answer_and_do_nothing(history: History) -> None:
    _lose_every_answer(history)
    history.ends[TASK].task = {"status": "COMPLETED", "attempts": 1, "maxAttempts": 5}
    history.actions[1].status = 200
    history.creates[2] = create("m3", task_id(5, MADE_MS + 3_002), queue=MAIL)
    history.ends[task_id(5, MADE_MS + 3_002)] = history.ends[LATER]
    history.deliveries[2:3] = []
    history.actions[2:3] = []
    history.ends[OTHER].task = {"status": "DLQ", "attempts": 1, "maxAttempts": 1, "error": "nobody did it"}


def _sweep_the_cancelled(history: History) -> None:
    history.ends[TASK] = End(MADE_MS + 200 + RETENTION_MS, None)


def _cancel_what_was_requeued(history: History) -> None:
    history.deliveries[2:3] = []
    history.actions[2:3] = []
    history.deeds.append(deed(CANCEL, OTHER, 1_300))
    history.ends[OTHER].task = {"status": "FAILED", "error": CANCELLED, "attempts": 0, "maxAttempts": 1}


def _die_again_unseen(history: History) -> None:
    history.deliveries[2:3] = []
    history.actions[2:3] = []
    history.ends[OTHER] = End(
        MADE_MS + 5_000, {"status": "DLQ", "attempts": 1, "maxAttempts": 1, "error": "lost"}, MADE_MS + 2_500
    )


def _requeue_by_a_step(history: History) -> None:
    history.deeds[3] = deed(REQUEUE_ALL, IMAGE, 1_200)


def _requeue_by_a_step_over_every_queue_without_an_answer(history: History) -> None:
    history.deeds[3] = deed(REQUEUE_ALL, "", 1_200, UNKNOWN)


def _tear_where_a_pause_may_have_come_between(history: History) -> None:
    for number, queue in enumerate((MAIL, IMAGE, MAIL, IMAGE)):
        lost = create(f"b{number}", "", batch=1, status=UNKNOWN, queue=queue, answered_ms=MADE_MS + 1_990)
        history.creates.append(lost)
    for number in (1, 3):
        made = task_id(10 + number, MADE_MS + 2_001)
        history.deliveries.append(delivery(1, 2_100, made, f"b{number}"))
        history.ends[made] = End(MADE_MS + 5_000, {"status": "DLQ", "attempts": 5, "maxAttempts": 5, "error": "lost"})


def _end_by_itself(history: History) -> None:
    history.deeds[4].until_ms = MADE_MS + 4_000
    history.deeds.pop()


@pytest.mark.parametrize(
    "change",
    [
        _lose_every_answer,
        _lose_every_answer_and_do_nothing,
        _sweep_the_cancelled,
        _cancel_what_was_requeued,
        _die_again_unseen,
        _requeue_by_a_step,
        _requeue_by_a_step_over_every_queue_without_an_answer,
        _tear_where_a_pause_may_have_come_between,
        _end_by_itself,
    ],
)
def test_what_may_have_been_is_not_held_against_the_queue(change: Callable[[History], None]) -> None:
    history = good()
    change(history)
    assert history.violations() == []


def _deliver_the_cancelled(history: History) -> None:
    history.deliveries.append(delivery(2, 1_100))


def _complete_the_cancelled(history: History) -> None:
    history.actions[1].status = 200


def _listen_to_the_owner_of_the_cancelled(history: History) -> None:
    history.actions.append(action(ABANDON, 1, 300))


def _undo_the_cancel(history: History) -> None:
    history.ends[TASK].task = {"status": "DLQ", "attempts": 5, "maxAttempts": 5, "error": "too often"}


def _change_the_reason(history: History) -> None:
    history.ends[TASK].task = {"status": "FAILED", "error": "", "attempts": 1, "maxAttempts": 5}


def _cancel_twice(history: History) -> None:
    history.deeds[1].status = 200


def _sweep_the_cancelled_early(history: History) -> None:
    history.ends[TASK] = End(MADE_MS + 2_000, None)


def _cancel_by_itself(history: History) -> None:
    history.deeds[:2] = []


def _not_know_what_is_to_be_cancelled(history: History) -> None:
    history.deeds[1].status = 404


def _not_know_what_is_to_be_requeued(history: History) -> None:
    history.deeds[3].status = 404


def _refuse_to_cancel_a_live_task(history: History) -> None:
    history.deeds.append(deed(CANCEL, LATER, 4_250, 409))


def _undo_the_requeue(history: History) -> None:
    history.deliveries[2:3] = []
    history.actions[2:3] = []
    history.ends[OTHER] = End(
        MADE_MS + 5_000, {"status": "DLQ", "attempts": 1, "maxAttempts": 1, "error": "lost"}, MADE_MS + 1_010
    )


def _requeue_and_go_on_counting(history: History) -> None:
    history.deliveries[1].max_attempts = history.deliveries[2].max_attempts = 5
    history.deliveries[2].attempts = 2


def _count_anew_without_a_requeue(history: History) -> None:
    history.deeds[3:4] = []


def _count_anew_by_a_step_of_another_queue(history: History) -> None:
    history.deeds[3] = deed(REQUEUE_ALL, MAIL, 1_200)


def _deliver_while_paused(history: History) -> None:
    history.deliveries[3] = delivery(1, 3_900, LATER, "m4")


def _forget_the_pause_with_its_end(history: History) -> None:
    _end_by_itself(history)
    _deliver_while_paused(history)


def _make_while_paused(history: History) -> None:
    history.creates[3].id = task_id(4, MADE_MS + 3_900)
    history.ends[history.creates[3].id] = history.ends.pop(LATER)
    history.deliveries.pop()
    history.actions.pop()


def _make_while_paused_and_not_say_so(history: History) -> None:
    _make_while_paused(history)
    made, history.creates[3].id, history.creates[3].status = history.creates[3].id, "", UNKNOWN
    history.deliveries.append(delivery(1, 4_300, made, "m4"))


def _refuse_before_the_pause(history: History) -> None:
    history.creates[2].sent_ms, history.creates[2].answered_ms = MADE_MS + 1_000, MADE_MS + 1_005


def _forget_the_resume(history: History) -> None:
    history.creates[2].sent_ms, history.creates[2].answered_ms = MADE_MS + 4_100, MADE_MS + 4_105


def _never_end_the_pause(history: History) -> None:
    _end_by_itself(history)
    history.creates[2].sent_ms, history.creates[2].answered_ms = MADE_MS + 5_100, MADE_MS + 5_105


def _refuse_while_only_dispatch_is_paused(history: History) -> None:
    history.deeds[4].part = DISPATCH


def _make_what_was_refused(history: History) -> None:
    history.deliveries.append(delivery(1, 4_500, task_id(5, MADE_MS + 3_002), "m3"))


def _refuse_a_repeat(history: History) -> None:
    key = {"key": "m4", "queue": MAIL}
    history.creates[3] = create("m4", LATER, sent_ms=MADE_MS + 1_000, answered_ms=MADE_MS + 1_005, **key)
    history.creates.append(create("m4", "", sent_ms=MADE_MS + 3_000, answered_ms=MADE_MS + 3_005, status=PAUSED, **key))


def _leave_beside_an_empty_claim(history: History) -> None:
    """Dispatch is not paused, and the task of `m1` is claimed only afterwards."""
    history.deeds[4].part = history.deeds[5].part = INTAKE
    history.deliveries[0] = delivery(1, 3_900)


def _tear_beside_a_pause(history: History) -> None:
    _tear_where_a_pause_may_have_come_between(history)
    history.deliveries.pop()


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (_deliver_the_cancelled, "delivered after its cancel"),
        (_complete_the_cancelled, "accepted beside a cancel"),
        (_listen_to_the_owner_of_the_cancelled, "accepted beside a cancel"),
        (_undo_the_cancel, "cancel undone"),
        (_change_the_reason, "cancel undone"),
        (_cancel_twice, "cancelled twice"),
        (_sweep_the_cancelled_early, "lost"),
        (_cancel_by_itself, "cancelled by nobody"),
        (_not_know_what_is_to_be_cancelled, "lost"),
        (_not_know_what_is_to_be_requeued, "lost"),
        (_refuse_to_cancel_a_live_task, "not cancelled"),
        (_undo_the_requeue, "requeue undone"),
        (_requeue_and_go_on_counting, "attempts"),
        (_count_anew_without_a_requeue, "attempts"),
        (_count_anew_by_a_step_of_another_queue, "attempts"),
        (_deliver_while_paused, "delivered while paused"),
        (_forget_the_pause_with_its_end, "delivered while paused"),
        (_make_while_paused, "created while paused"),
        (_make_while_paused_and_not_say_so, "created while paused"),
        (_refuse_before_the_pause, "refused without a pause"),
        (_forget_the_resume, "refused without a pause"),
        (_never_end_the_pause, "refused without a pause"),
        (_refuse_while_only_dispatch_is_paused, "refused without a pause"),
        (_make_what_was_refused, "unexpected"),
        (_refuse_a_repeat, "repeat refused"),
        (_leave_beside_an_empty_claim, "not delivered"),
        (_tear_beside_a_pause, "torn batch"),
    ],
)
def test_each_violation_is_told(break_it: Callable[[History], None], told: str) -> None:
    history = good()
    break_it(history)
    assert any(violation.startswith(told) for violation in history.violations()), history.violations()


def test_a_pause_lasts_from_its_answer_to_the_request_to_resume_and_may_last_from_request_to_answer() -> None:
    history = good()
    sure, possible = surely(history, DISPATCH)[MAIL], maybe(history, DISPATCH)[MAIL]
    assert [sure.around(MADE_MS + moment) for moment in (2_000, 2_100, 3_900, 4_000)] == [False, True, True, False]
    assert possible.meet(MADE_MS, MADE_MS + 2_000) and not possible.meet(MADE_MS, MADE_MS + 1_999)
    assert possible.meet(MADE_MS + 4_005, MADE_MS + 9_000) and not possible.meet(MADE_MS + 4_006, MADE_MS + 9_000)


def test_a_resume_without_an_answer_may_have_been_and_ends_nothing_for_certain() -> None:
    history = good()
    history.deeds[5].status = UNKNOWN
    assert not surely(history, INTAKE)[MAIL].around(MADE_MS + 4_500)
    assert maybe(history, INTAKE)[MAIL].meet(MADE_MS + 90_000, MADE_MS + 90_001)
    history.deeds.append(deed(RESUME, MAIL, 6_000, part=INTAKE))
    assert not maybe(history, INTAKE)[MAIL].meet(MADE_MS + 90_000, MADE_MS + 90_001)
    assert maybe(history, DISPATCH)[MAIL].meet(MADE_MS + 90_000, MADE_MS + 90_001)


def test_a_pause_without_an_answer_may_begin_late_and_is_not_ended_by_a_resume_that_may_have_come_before_it() -> None:
    history = good()
    history.deeds[4:] = [deed(PAUSE, MAIL, 2_000, UNKNOWN, part=BOTH), deed(RESUME, MAIL, 2_100, part=BOTH)]
    assert not surely(history, INTAKE)[MAIL].around(MADE_MS + 2_050)
    assert maybe(history, INTAKE)[MAIL].meet(MADE_MS + 9_000, MADE_MS + 9_001)
    history.deeds[5] = deed(RESUME, MAIL, 2_100 + LATE_MS, part=BOTH)
    assert not maybe(history, INTAKE)[MAIL].meet(MADE_MS + 9_000, MADE_MS + 9_001)


def test_spans_are_a_union() -> None:
    spans = Spans([(500, 600), (0, 100), (50, 200), (300, 300)])
    assert [spans.meet(at, at) for at in (0, 150, 200, 250, 300, 500)] == [True, True, True, False, False, True]
    assert spans.around(100) and not spans.around(190) and not Spans().meet(0, 1)
