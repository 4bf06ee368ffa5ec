"""Reading what wrk leaves behind, and saying so where it cannot be run."""

import pytest

from loadtest import wrk
from loadtest.wrk import Load, WrkError

LINE = (
    'RESULT {"requests":%d,"seconds":2.5,"p50_ms":1.5,"p99_ms":9.25,"max_ms":11.0,"errors":3,'
    '"counters":{"finished":40}}'
)


def test_the_line_of_the_script_is_found_among_the_others() -> None:
    outcome = wrk.parse(f"Running 2s test\n  1 threads\n{LINE % 100}\nbye\n")
    assert outcome.per_second == 40
    assert (outcome.p50_ms, outcome.p99_ms, outcome.max_ms, outcome.errors) == (1.5, 9.25, 11, 3)
    assert outcome.counters == {"finished": 40}


def test_a_run_without_any_answer_is_an_error() -> None:
    with pytest.raises(WrkError, match="no answer"):
        wrk.parse(LINE % 0)


def test_a_run_that_failed_shows_its_complaint() -> None:
    with pytest.raises(WrkError, match="unable to connect"):
        wrk.parse("", "unable to connect to 127.0.0.1")


def test_a_missing_wrk_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(WrkError, match="apt-get install wrk"):
        wrk.run("http://127.0.0.1:1", "", Load(1, 1, 1))
