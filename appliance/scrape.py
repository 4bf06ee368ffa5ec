"""The text of `/metrics`, fresh as long as that costs little of the loop's time.

Owns the last text and the time that may be spent on making new ones: a scrape needs no token, and with a thousand
queues it costs tens of milliseconds. Whoever asks too often gets what was made last. Runs on the event loop; the clock
is an argument, in seconds.
"""

from collections.abc import Callable
from typing import Final

SHARE: Final = 0.05
"""Of the loop's time, in the long run."""
SAVED_SECONDS: Final = 1.0
"""Saved up for a burst: a hundred scrapes of a small node."""


class Scrape:
    """Calls `render` when there is time for it."""

    __slots__ = ("_clock", "_left_seconds", "_looked_at", "_render", "_text")

    def __init__(self, render: Callable[[], bytes], clock: Callable[[], float]) -> None:
        self._render = render
        self._clock = clock
        self._text = b""
        self._left_seconds = SAVED_SECONDS
        self._looked_at = clock()

    def text(self) -> bytes:
        """The text, as fresh as may be."""
        now = self._clock()
        self._left_seconds = min(SAVED_SECONDS, self._left_seconds + (now - self._looked_at) * SHARE)
        self._looked_at = now
        if self._left_seconds > 0:
            self._text = self._render()
            self._left_seconds -= self._clock() - now
        return self._text
