"""RFC 3339, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.times import parse_time, time_text

YEAR_9999_MS = 253_402_300_799_999


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.5Z", 500),
        ("1970-01-01t00:00:00.0019z", 1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:30:00.250-00:30", 250),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2026-05-18T12:00:00.123456789012Z", 1_779_105_600_123),
    ],
)
def test_a_time_is_read(text: str, time_ms: int) -> None:
    assert parse_time(text) == time_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-05-18",
        "2026-05-18T12:00:00",
        "2026-05-18 12:00:00Z",
        "2026-05-18T12:00Z",
        "2026-05-18T12:00:00+0100",
        "2026-05-18T12:00:00+24:00",
        "2026-05-18T12:00:00+01:60",
        "2026-05-18T24:00:00Z",
        "2026-05-18T12:60:00Z",
        "2026-05-18T12:00:61Z",
        "2026-13-18T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-05-18T12:00:00.Z",
        "2026-05-18T12:00:00Z ",
        "2026-05-18T12:00:00Z\n",
        "٢٠٢٦-05-18T12:00:00Z",
        "+2026-05-18T12:00:00Z",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse_time(text) is None


@given(st.integers(0, YEAR_9999_MS))
def test_a_time_that_was_written_is_read_again(time_ms: int) -> None:
    text = time_text(time_ms)
    assert len(text) == len("2026-05-18T12:00:00.000Z")
    assert parse_time(text) == time_ms


@given(st.text())
def test_any_text_is_a_time_or_none(text: str) -> None:
    parse_time(text)
