"""Counts what an HTTP/2 peer makes us do for nothing.

Owns one connection's counters. Each method records one event and raises CalmDownError when its limit is passed; the
connection then ends with GOAWAY ENHANCE_YOUR_CALM and the reason. Pure: the time is an argument.

Invariant: an honest client never gets here. A PING that follows DATA in either direction is a bandwidth probe, and a
reset of a stream that was answered costs nothing, so neither is counted.
"""

from collections import deque

from appliance.mux.limits import Limits


class CalmDownError(Exception):
    """The peer passed a limit; `reason` is a key of `limits.REASONS` and is told to the peer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Rate:
    """Events within a span that begins with its first event; at most `limit` per `seconds`."""

    __slots__ = ("_began_at", "_count", "_limit", "_reason", "_seconds")

    def __init__(self, limit: int, seconds: float, reason: str) -> None:
        self._limit = limit
        self._seconds = seconds
        self._reason = reason
        self._count = 0
        self._began_at = 0.0

    def hit(self, now: float) -> None:
        """Records one event. Raises CalmDownError."""
        if now - self._began_at >= self._seconds or not self._count:
            self._began_at = now
            self._count = 0
        self._count += 1
        if self._count > self._limit:
            raise CalmDownError(self._reason)


class Abuse:
    """The counters of one connection."""

    __slots__ = (
        "_block_bytes",
        "_continuations",
        "_empty_frames",
        "_limits",
        "_pings",
        "_priorities",
        "_reset_streams",
        "_resets",
        "_settings",
        "_streams",
        "_unknown_frames",
        "_window_updates",
        "data_flowed",
        "data_frames_sent",
    )

    def __init__(self, limits: Limits) -> None:
        seconds = limits.h2_rate_seconds
        self._limits = limits
        self._resets = Rate(limits.h2_resets, seconds, "h2-resets")
        self._pings = Rate(limits.h2_pings, seconds, "h2-pings")
        self._settings = Rate(limits.h2_settings, seconds, "h2-settings")
        self._empty_frames = Rate(limits.h2_empty_frames, seconds, "h2-empty-frames")
        self._unknown_frames = Rate(limits.h2_unknown_frames, seconds, "h2-unknown-frames")
        self._streams = 0
        self._reset_streams: deque[int] | None = None
        self._priorities = 0
        self._window_updates = 0
        self._continuations = 0
        self._block_bytes = 0
        self.data_flowed = False
        self.data_frames_sent = 0

    def headers(self, size: int, ends_block: bool, now: float) -> None:
        """A HEADERS frame with `size` bytes of payload."""
        self._streams += 1
        self._continuations = 0
        self._block_bytes = size
        if not size and not ends_block:
            self._empty_frames.hit(now)

    def continuation(self, size: int, ends_block: bool, now: float) -> None:
        """A CONTINUATION frame."""
        self._continuations += 1
        self._block_bytes += size
        if self._continuations > self._limits.h2_continuations:
            raise CalmDownError("h2-continuations")
        if self._block_bytes > self._limits.h2_header_block_bytes:
            raise CalmDownError("h2-header-block")
        if not size and not ends_block:
            self._empty_frames.hit(now)

    def data(self, carries: bool, now: float) -> None:
        """A DATA frame; `carries` says whether it has content or ends its stream."""
        if carries:
            self.data_flowed = True
        else:
            self._empty_frames.hit(now)

    def ping(self, now: float) -> None:
        """A PING that wants an answer."""
        if self.data_flowed:
            self.data_flowed = False
        else:
            self._pings.hit(now)

    def settings(self, now: float) -> None:
        """A SETTINGS frame that wants an answer."""
        self._settings.hit(now)

    def unknown(self, now: float) -> None:
        """A frame of a type that we do not know."""
        self._unknown_frames.hit(now)

    def priority(self) -> None:
        """A PRIORITY frame; it is ignored."""
        self._priorities += 1
        if self._priorities > self._limits.h2_priority_base + self._limits.h2_priority_per_stream * self._streams:
            raise CalmDownError("h2-priority")

    def window_update(self) -> None:
        """A WINDOW_UPDATE frame."""
        self._window_updates += 1
        units = self._streams + self.data_frames_sent
        if self._window_updates > self._limits.h2_window_update_base + self._limits.h2_window_updates_per_unit * units:
            raise CalmDownError("h2-window-updates")

    def reset(self, now: float) -> None:
        """A stream ended before its answer, by the peer or by us because of the peer."""
        self._resets.hit(now)
        span = self._limits.h2_reset_share_streams
        resets = self._reset_streams
        if resets is None:
            resets = self._reset_streams = deque()
        resets.append(self._streams)
        while resets[0] <= self._streams - span:
            resets.popleft()
        if len(resets) > span // 2:
            raise CalmDownError("h2-reset-share")

    def data_sent(self) -> None:
        """We sent a DATA frame."""
        self.data_flowed = True
        self.data_frames_sent += 1
