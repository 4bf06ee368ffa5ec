"""From bodies to what the state machine takes."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.api.bodies import read_create
from appliance.api.parse import NO_SUCH_LEASE, lease_number, new_task
from appliance.tasks.ids import id_text
from appliance.tasks.model import NewTask

NOW = 1_780_000_000_000
TASK_ID = bytes.fromhex("019e704488007000800000002265b1f5")
TEXT = id_text(TASK_ID)


def _new(body: bytes) -> NewTask:
    return new_task(read_create(body), NOW, 7, 1000)


def test_defaults_are_filled_in() -> None:
    assert _new(b'{"command":"a","payload":null}') == NewTask("a", b"null", max_attempts=7, queue_attempts=True)


def test_every_field_arrives() -> None:
    task = _new(
        b'{"command":"a","payload":[1, 2],"priority":9,"maxAttempts":2,"webhook":"http://x/","idempotencyKey":"k",'
        b'"delaySeconds":3,"traceParent":"p","traceState":"s","runAt":"2026-05-28T20:26:41Z"}'
    )
    assert (task.payload, task.priority, task.max_attempts, task.webhook) == (b"[1, 2]", 9, 2, "http://x/")
    assert (task.key, task.delay_ms, task.trace_parent, task.trace_state) == ("k", 3000, "p", "s")
    assert task.run_at == NOW + 1000
    assert len(task.terms_hash) == 16


def test_a_run_at_in_the_past_still_beats_the_delay() -> None:
    assert _new(b'{"command":"a","payload":1,"delaySeconds":3,"runAt":"1969-01-01T00:00:00Z"}').run_at == 1


def test_trace_fields_are_not_compared() -> None:
    first = _new(b'{"command":"a","payload":1,"idempotencyKey":"k","traceParent":"p"}')
    second = _new(b'{"payload": 1.0, "command":"a","idempotencyKey":"k","priority":0,"maxAttempts":7}')
    assert first.terms_hash == second.terms_hash


def test_a_lease_id_gives_its_number() -> None:
    assert lease_number(None, TASK_ID) is None
    assert lease_number(f"{TEXT}:1", TASK_ID) == 1
    assert lease_number(f"{TEXT.upper()}:12", TASK_ID) == 12


@given(st.text() | st.sampled_from(["", ":", TEXT, f"{TEXT}:", f"{TEXT}:0", f"{TEXT}:01", f"{TEXT}:-1", f"{TEXT}:1:1"]))
def test_any_other_lease_id_is_no_lease(text: str) -> None:
    assert lease_number(text, TASK_ID) == NO_SUCH_LEASE


def test_a_lease_id_that_python_would_read_as_a_number_is_none() -> None:
    for digits in ("\u0663", "1_0", " 1", "1 ", "+1", "1" * 19, "1" * 10_000):
        assert lease_number(f"{TEXT}:{digits}", TASK_ID) == NO_SUCH_LEASE


def test_the_lease_id_of_another_task_is_no_lease() -> None:
    assert lease_number(f"{TEXT}:1", bytes(16)) == NO_SUCH_LEASE
