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

    __slots__ = ("_clock", "_left_seconds", "_looked_at", "_made_at", "_render", "_text", "_took_seconds")

    def __init__(self, render: Callable[[], bytes], clock: Callable[[], float]) -> None:
        self._render = render
        self._clock = clock
        self._text = b""
        self._left_seconds = SAVED_SECONDS
        self._took_seconds = 0.0
        self._looked_at = self._made_at = clock()

    def text(self) -> bytes:
        """The text, as fresh as may be."""
        now = self._clock()
        self._left_seconds = min(SAVED_SECONDS, self._left_seconds + (now - self._looked_at) * SHARE)
        self._looked_at = now
        # A text is as old as it took to make at least: scrapes that arrive together hold up the loop for one.
        if self._left_seconds > 0 and now - self._made_at >= self._took_seconds:
            self._text = self._render()
            self._made_at = self._clock()
            self._took_seconds = self._made_at - now
            self._left_seconds -= self._took_seconds
        return self._text
