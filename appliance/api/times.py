"""Times as clients see them: RFC 3339, in UTC, with milliseconds.

Owns both directions. Must not know what a time is for. Formatting costs a dictionary look-up: the text of a second is
remembered, since nearly every time in an answer lies in the last few seconds. Runs on the event loop's thread.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_SECONDS_MAX: Final = 4096
"""About 400 KB of remembered texts; then the memory starts anew."""

_MILLISECONDS: Final = tuple(f".{ms:03d}Z" for ms in range(1000))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC_3339: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9})\d{0,15})?(?:[Zz]|([+-])(\d{2}):(\d{2}))",
    re.ASCII,
)

_seconds: dict[int, str] = {}


def time_text(time_ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339, for example `2026-05-18T12:00:00.000Z`."""
    second, ms = divmod(time_ms, 1000)
    text = _seconds.get(second)
    if text is None:
        if len(_seconds) >= _SECONDS_MAX:
            _seconds.clear()
        text = _seconds[second] = (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")
    return text + _MILLISECONDS[ms]


def parse_time(text: str) -> int | None:
    """Milliseconds since the epoch of an RFC 3339 time with its offset, or None where it is none.

    Digits past the milliseconds are dropped. A leap second counts as the second after it.
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.group(1, 2, 3, 4, 5, 6))
    fraction, sign, offset_hours, offset_minutes = match.group(7, 8, 9, 10)
    leap = second == 60
    try:
        moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    except ValueError:
        return None
    offset_seconds = 0
    if sign is not None:
        if int(offset_hours) > 23 or int(offset_minutes) > 59:
            return None
        offset_seconds = (int(offset_hours) * 60 + int(offset_minutes)) * (60 if sign == "+" else -60)
    seconds = (moment - _EPOCH) // timedelta(seconds=1) - offset_seconds + leap
    return seconds * 1000 + int((fraction or "0").ljust(3, "0")[:3])
