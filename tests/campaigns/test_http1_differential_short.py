"""A thousand cases of the differential campaign, and that it would notice a difference."""

import pytest

from tests.campaigns import http1_differential
from tests.campaigns.http1_differential import Reading, case, compare

SEED = 11
CASES = 1_000


def test_a_thousand_cases_are_read_alike() -> None:
    wrong = [(number, finding) for number in range(CASES) if (finding := compare(*case(SEED, number)).finding)]
    assert wrong == [], f"python -m tests.campaigns.http1_differential --seed {SEED} --case {wrong[0][0]}"


@pytest.mark.parametrize("mine", [Reading([(b"GET", b"x")], 0, []), Reading([], 0, []), Reading([], 400, [])])
def test_a_request_too_many_too_few_or_refused_for_no_reason_is_found(
    monkeypatch: pytest.MonkeyPatch, mine: Reading
) -> None:
    monkeypatch.setattr(http1_differential, "ours", lambda _: mine)
    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert compare(data, [data]).finding
